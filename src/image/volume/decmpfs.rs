//! Files that HFS+ and APFS keep packed: the attribute `com.apple.decmpfs`, and the resource fork of long ones.
//!
//! | at | attribute | | type | packed bytes |
//! |---|---|---|---|---|
//! | 0 | `fpmc` | | 3, 4 | zlib: in the attribute, in the resource fork |
//! | 4 | type u32 | | 7, 8 | LZVN |
//! | 8 | bytes of the file u64 | | 11, 12 | LZFSE |
//! | 16 | packed bytes | | 1, 9, 10 | not packed |
//!
//! A resource fork is cut into pieces of 64 KiB. Its table for zlib: `00 00 01 00` (where resources begin) at 0, there a
//! length u32, number of pieces u32, each with offset u32 from that number on and length u32. For the others: offsets u32
//! from the start of the fork, the first of which is where the table ends. A piece that packing did not make shorter
//! stands as it is behind a byte: 0xff of zlib (any with 15 in its low half), 6 of LZVN, 0xff of LZFSE.
//!
//! Owns: the bound on what is unpacked. Must not know: where attributes and forks come from.

use crate::image::field::Fields;
use crate::image::source::codec::{Codec, Unpacker};

const PIECE: u64 = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Stored,
    Zlib,
    Lzvn,
    Lzfse,
}

/// Packing, and whether the bytes are in the resource fork.
fn kind(head: Fields<'_>) -> Option<(Packing, bool)> {
    Some(match head.le32(4) {
        1 | 9 => (Packing::Stored, false),
        10 => (Packing::Stored, true),
        3 => (Packing::Zlib, false),
        4 => (Packing::Zlib, true),
        7 => (Packing::Lzvn, false),
        8 => (Packing::Lzvn, true),
        11 => (Packing::Lzfse, false),
        12 => (Packing::Lzfse, true),
        _ => return None,
    })
    .filter(|_| head.has(0, b"fpmc"))
}

/// Whether the bytes are in the resource fork.
pub(super) fn needs_resource(head: &[u8]) -> bool {
    kind(Fields(head)).is_some_and(|(_, resource)| resource)
}

/// The file; none where it is damaged, longer than `most`, or packed in a way of its own.
pub(super) fn unpack(head: &[u8], resource: Option<&[u8]>, most: u64) -> Option<Vec<u8>> {
    let fields = Fields(head);
    let (packing, in_resource) = kind(fields)?;
    let size = Some(fields.le64(8)).filter(|size| *size <= most)?;
    if !in_resource {
        return piece(packing, head.get(16..)?, size as usize);
    }
    let fork = resource?;
    let mut file = Vec::new();
    for number in 0..size.div_ceil(PIECE) as usize {
        let want = (size - file.len() as u64).min(PIECE) as usize;
        file.extend_from_slice(&piece(packing, stretch(packing, fork, number)?, want)?);
    }
    Some(file)
}

/// Packed bytes of a piece in the resource fork.
fn stretch(packing: Packing, fork: &[u8], number: usize) -> Option<&[u8]> {
    let fields = Fields(fork);
    if packing == Packing::Zlib {
        let table = (fields.be32(0) as usize).checked_add(4)?;
        let entry = table.checked_add(4 + 8 * number)?;
        let from = table.checked_add(fields.le32(entry) as usize)?;
        (number < fields.le32(table) as usize).then_some(())?;
        return fork.get(from..from.checked_add(fields.le32(entry + 4) as usize)?);
    }
    let end = fields.le32(0) as usize;
    (4 * number + 8 <= end).then_some(())?;
    fork.get(fields.le32(4 * number) as usize..fields.le32(4 * number + 4) as usize)
}

fn piece(packing: Packing, packed: &[u8], want: usize) -> Option<Vec<u8>> {
    let mark = *packed.first()?;
    let as_it_is = match packing {
        Packing::Stored => return stored(packed, want),
        Packing::Zlib => mark & 15 == 15,
        Packing::Lzvn => mark == 6,
        Packing::Lzfse => mark == 0xff,
    };
    if as_it_is {
        return packed.get(1..=want).map(<[u8]>::to_vec);
    }
    let mut out = Vec::new();
    let mut unpacker = Unpacker::new();
    match packing {
        Packing::Zlib => unpacker.unpack(Codec::Zlib, packed, want, &mut out),
        Packing::Lzfse => unpacker.unpack(Codec::Lzfse, packed, want, &mut out),
        // A block of LZVN, as an LZFSE stream has it.
        _ => {
            let lengths = [want, packed.len()].map(|length| (length as u32).to_le_bytes());
            let stream = [b"bvxn", &lengths[0][..], &lengths[1], packed, b"bvx$"].concat();
            unpacker.unpack(Codec::Lzfse, &stream, want, &mut out)
        }
    }
    .ok()?;
    Some(out)
}

/// The last bytes of a stored piece, before which some writers put a mark.
fn stored(piece: &[u8], length: usize) -> Option<Vec<u8>> {
    let from = piece.len().checked_sub(length).filter(|mark| *mark <= 1)?;
    Some(piece[from..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn head(kind: u32, size: usize, packed: &[u8]) -> Vec<u8> {
        [b"fpmc", &kind.to_le_bytes()[..], &(size as u64).to_le_bytes(), packed].concat()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lzfse(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        lzfse_rust::encode_bytes(bytes, &mut out).unwrap();
        out
    }

    /// A block of LZVN out of a stream that is too short for anything better.
    fn lzvn(bytes: &[u8]) -> Vec<u8> {
        let stream = lzfse(bytes);
        assert_eq!(&stream[..4], b"bvxn");
        stream[12..stream.len() - 4].to_vec()
    }

    fn text(length: usize) -> Vec<u8> {
        b"<key>ProductVersion</key>".iter().copied().cycle().take(length).collect()
    }

    fn fork(kind: u32, pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut at = 4 * (pieces.len() + 1);
        if kind != 4 {
            let mut fork = Vec::new();
            for piece in pieces {
                fork.extend((at as u32).to_le_bytes());
                at += piece.len();
            }
            fork.extend((at as u32).to_le_bytes());
            return [fork, pieces.concat()].concat();
        }
        let mut fork = vec![0; 260];
        fork[2] = 1;
        fork.extend((pieces.len() as u32).to_le_bytes());
        at = 4 + 8 * pieces.len();
        for piece in pieces {
            fork.extend((at as u32).to_le_bytes());
            fork.extend((piece.len() as u32).to_le_bytes());
            at += piece.len();
        }
        [fork, pieces.concat()].concat()
    }

    #[test]
    fn every_packing_in_the_attribute_gives_the_file_back() {
        let text = text(600);
        let stored = |mark: u8| [&[mark], &text[..]].concat();
        for (kind, packed) in [
            (3, zlib(&text)),
            (3, stored(0xff)),
            (7, lzvn(&text)),
            (7, stored(6)),
            (11, lzfse(&text)),
            (11, stored(0xff)),
            (9, stored(0xcc)),
            (1, text.clone()),
        ] {
            let head = head(kind, text.len(), &packed);
            assert!(!needs_resource(&head));
            assert_eq!(unpack(&head, None, 1 << 20).as_ref(), Some(&text), "type {kind}");
            assert_eq!(unpack(&head, None, 599), None);
        }
    }

    #[test]
    fn every_packing_in_the_resource_fork_gives_the_file_back() {
        let text = text(70_000);
        let (first, second) = text.split_at(65_536);
        let stored = |mark: u8, bytes: &[u8]| [&[mark], bytes].concat();
        for (kind, pieces) in [
            (4, vec![zlib(first), stored(0xff, second)]),
            (8, vec![stored(6, first), stored(6, second)]),
            (12, vec![lzfse(first), lzfse(second)]),
        ] {
            let head = head(kind, text.len(), b"");
            assert!(needs_resource(&head));
            assert!(unpack(&head, Some(&fork(kind, &pieces)), 1 << 20) == Some(text.clone()), "type {kind}");
            assert_eq!(unpack(&head, None, 1 << 20), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_give_no_more_than_is_allowed(
            kind in 0..14_u32, size in 0..200_000_u64,
            packed in prop::collection::vec(any::<u8>(), 0..200),
            fork in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        ) {
            let head = head(kind, size as usize, &packed);
            if let Some(file) = unpack(&head, fork.as_deref(), 100_000) {
                prop_assert!(file.len() as u64 == size && size <= 100_000);
            }
        }
    }
}
