//! Apple Data Compression, the LZ77 code of UDCO images.
//!
//! | first byte | bytes | meaning |
//! |---|---|---|
//! | `1nnnnnnn` | 1 + n+1 | n+1 literal bytes follow |
//! | `01nnnnnn` | 3 | copy n+4 bytes from distance `b1·256 + b2 + 1` |
//! | `00nnnndd` | 2 | copy n+3 bytes from distance `dd·256 + b1 + 1` |

/// Why a run cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::image) enum AdcError {
    #[error("its data ends inside a token")]
    Cut,
    #[error("a copy reaches back before its first byte")]
    Distance,
    #[error("it expands to more than its declared length")]
    Long,
}

/// Decodes `packed` into `out` and says how many bytes that made.
pub(super) fn decode(packed: &[u8], out: &mut [u8]) -> Result<usize, AdcError> {
    let mut made = 0;
    let mut rest = packed;
    // Trailing zero bytes after the last token pad the run in some writers; a full output ends it.
    while made < out.len()
        && let Some((&token, after)) = rest.split_first()
    {
        rest = after;
        if token & 0x80 != 0 {
            let length = usize::from(token & 0x7f) + 1;
            let (literal, after) = rest.split_at_checked(length).ok_or(AdcError::Cut)?;
            out.get_mut(made..made + length).ok_or(AdcError::Long)?.copy_from_slice(literal);
            (made, rest) = (made + length, after);
        } else {
            let (length, distance, used) = match (token & 0x40, rest) {
                (0, [low, ..]) => {
                    (usize::from(token >> 2) + 3, usize::from(token & 3) << 8 | usize::from(*low), 1)
                }
                (0x40, [high, low, ..]) => {
                    (usize::from(token & 0x3f) + 4, usize::from(*high) << 8 | usize::from(*low), 2)
                }
                _ => return Err(AdcError::Cut),
            };
            rest = &rest[used..];
            copy(out, made, distance + 1, length)?;
            made += length;
        }
    }
    Ok(made)
}

/// Repeats `length` bytes from `distance` before `at`; the two may overlap.
fn copy(out: &mut [u8], at: usize, distance: usize, length: usize) -> Result<(), AdcError> {
    let from = at.checked_sub(distance).ok_or(AdcError::Distance)?;
    if out.len() - at < length {
        return Err(AdcError::Long);
    }
    if distance >= length {
        out.copy_within(from..from + length, at);
    } else if distance == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
    } else {
        for k in 0..length {
            out[at + k] = out[from + k];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_short_and_long_copies_are_decoded() {
        // "ab" literal, short copy of 4 from distance 2, long copy of 5 from distance 1.
        let packed = [0x81, b'a', b'b', 0b0000_0100, 1, 0x41, 0, 0];
        let mut out = [0; 11];
        assert_eq!(decode(&packed, &mut out), Ok(11));
        assert_eq!(&out, b"abababbbbbb");
    }

    #[test]
    fn each_damage_has_its_name() {
        let mut out = [0; 8];
        assert_eq!(decode(&[0x83, 1, 2], &mut out), Err(AdcError::Cut));
        assert_eq!(decode(&[0x80, 1, 0x00], &mut out), Err(AdcError::Cut));
        assert_eq!(decode(&[0x80, 1, 0x00, 1], &mut out), Err(AdcError::Distance));
        assert_eq!(decode(&[0x80, 1, 0x7f, 0, 0], &mut out), Err(AdcError::Long));
    }

    proptest! {
        #[test]
        fn no_input_panics_or_writes_more_than_there_is_room(packed: Vec<u8>, room in 0..4096_usize) {
            let mut out = vec![0; room];
            if let Ok(made) = decode(&packed, &mut out) {
                prop_assert!(made <= room);
            }
        }
    }
}
