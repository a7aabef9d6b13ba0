//! Block tables in a classic resource fork: how images of Mac OS X 10.0 and 10.1 keep them, and those whose XML list was taken off.
//!
//! | at | fork, big-endian | | at | map |
//! |---|---|---|---|---|
//! | 0 | data at u32, map at u32 | | 24 | type list at u16, name list at u16 |
//! | 8 | data length u32, map length u32 | | | a type: name (4), count - 1 u16, references at u16 |
//! | | | | | a reference: id u16, name at u16, attributes u8, data at u24, (4) |
//!
//! Data stand behind their length, u32. The type list begins with its count - 1, u16.
//! (Inside Macintosh: More Macintosh Toolbox, "Resource File Format".)

use crate::image::field::Fields;

/// Names and data of all `blkx` resources; none where the fork is damaged.
pub(super) fn tables(fork: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let header = Fields(fork);
    let (data, map) = (header.be32(0) as usize, header.be32(4) as usize);
    let map = Fields(fork.get(map..)?);
    let types = Fields(map.0.get(usize::from(map.be16(24))..)?);
    let names = map.0.get(usize::from(map.be16(26))..)?;
    let (mut found, mut total) = (Vec::new(), 0);
    for kind in 0..count(types.be16(0)) {
        let kind = 2 + 8 * kind;
        if !types.has(kind, b"blkx") {
            continue;
        }
        for reference in 0..count(types.be16(kind + 4)) {
            let at = usize::from(types.be16(kind + 6)) + 12 * reference;
            let entry = Fields(types.0.get(at..at + 12)?);
            let place = data + (entry.be32(4) & 0xff_ffff) as usize;
            let length = Fields(fork.get(place..place + 4)?).be32(0) as usize;
            let bytes = fork.get(place + 4..)?.get(..length)?;
            // No two resources share their data, so together they are no longer than the fork.
            total += length;
            if total > fork.len() {
                return None;
            }
            let name = match entry.be16(2) {
                u16::MAX => String::new(),
                at => {
                    let name = names.get(usize::from(at)..)?;
                    String::from_utf8_lossy(name.get(1..=usize::from(*name.first()?))?).into_owned()
                }
            };
            found.push((name, bytes));
        }
    }
    Some(found)
}

/// Counts stand less one: 0xffff is none.
fn count(field: u16) -> usize {
    usize::from(field.wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fork() -> Vec<u8> {
        let mut data = vec![];
        for text in [&b"licence"[..], b"first", b"second"] {
            data.extend((text.len() as u32).to_be_bytes());
            data.extend(text);
        }
        let reference = |id: u16, name: u16, at: u32| {
            [&id.to_be_bytes()[..], &name.to_be_bytes(), &at.to_be_bytes(), &[0; 4]].concat()
        };
        let references =
            [reference(128, u16::MAX, 0), reference(0, 0, 11), reference(1, u16::MAX, 20)].concat();
        let types = [&1_u16.to_be_bytes()[..], b"LPic\0\0\0\x12", b"blkx\0\x01\0\x1e", &references].concat();
        let map = [
            &[0; 24][..],
            &28_u16.to_be_bytes(),
            &(28 + types.len() as u16).to_be_bytes(),
            &types,
            b"\x03two",
        ];
        let map = map.concat();
        let mut fork = Vec::new();
        for field in [256, 256 + data.len() as u32, data.len() as u32, map.len() as u32] {
            fork.extend(field.to_be_bytes());
        }
        fork.resize(256, 0);
        [fork, data, map].concat()
    }

    #[test]
    fn tables_are_found_by_their_type_with_their_names() {
        let fork = fork();
        let want = [("two".to_owned(), &b"first"[..]), (String::new(), b"second")];
        assert_eq!(tables(&fork).unwrap(), want);
    }

    proptest! {
        #[test]
        fn a_mutated_or_cut_fork_never_panics(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), length in 0..500_usize
        ) {
            let mut fork = fork();
            for (at, byte) in flips {
                let at = at.index(fork.len());
                fork[at] = byte;
            }
            fork.truncate(length);
            tables(&fork);
        }
    }
}
