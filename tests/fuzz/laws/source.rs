//! An image file, whatever its bytes: it opens or not, in bounded time; its pieces follow each other; random access gives the
//! same bytes.

use std::io::{Cursor, Read, Seek, SeekFrom};

use rootstock::image::source::{DecodeError, Piece, Source, SourceError};
use rootstock::value::Secret;

/// Bytes of an image that are compared: a small file may rightly expand without end.
const MOST: usize = 4 << 20;

/// Password of the encrypted images in the corpus.
const PASSWORD: &str = "x";

pub fn check(bytes: &[u8]) {
    if is_costly(bytes) {
        return;
    }
    let open = || Source::open_with(Cursor::new(bytes.to_vec()), Some(&Secret::new(PASSWORD)));
    let mut source = match open() {
        Ok(source) => source,
        Err(error) => return super::assert_fit_for_a_log(&chain(&error)),
    };
    let promised = source.size();
    let mut held = Vec::new();
    let mut next = 0_u64;
    let decoded = source.decode(2, &mut |piece| {
        let (offset, length) = match piece {
            Piece::Data { offset, bytes } => {
                held.extend_from_slice(&bytes[..bytes.len().min(MOST - held.len())]);
                (offset, bytes.len() as u64)
            }
            Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => {
                held.resize(held.len() + length.min((MOST - held.len()) as u64) as usize, 0);
                (offset, length)
            }
        };
        assert_eq!(offset, next, "a piece is out of order");
        assert!(length > 0, "an empty piece at {offset}");
        next = next.checked_add(length).expect("pieces beyond all numbers");
        assert!(promised.is_none_or(|size| next <= size), "a piece beyond the promised end");
        if held.len() == MOST { Err(()) } else { Ok(()) }
    });
    match decoded {
        Ok(decoded) => {
            assert_eq!(decoded.size, next);
            assert!(promised.is_none_or(|size| size == next));
        }
        Err(DecodeError::Source(error)) => super::assert_fit_for_a_log(&chain(&error)),
        Err(DecodeError::Sink(())) => assert_eq!(held.len(), MOST),
    }
    let Ok(mut reader) = open().expect("it opened before").into_reader() else { return };
    assert_eq!(Some(reader.size()), promised);
    // From the end to the front, so that nothing is there because it was read before.
    let step = (held.len() / 5).max(1);
    for at in (0..held.len()).step_by(step).rev() {
        let mut got = vec![0xa5; step.min(held.len() - at)];
        reader.seek(SeekFrom::Start(at as u64)).expect("a place within the image");
        reader.read_exact(&mut got).expect("bytes that a decode gave");
        assert!(got == held[at..][..got.len()], "other bytes at {at}");
    }
}

/// The error and what it comes from, as a log has it.
fn chain(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Whether a header asks for so much key derivation, which is its right, that a search would stand still.
fn is_costly(bytes: &[u8]) -> bool {
    let be32 = |at: usize| {
        bytes.get(at..at + 4).map_or(0, |field| u32::from_be_bytes(field.try_into().expect("four")))
    };
    let starts = bytes.windows(8).enumerate().filter(|(_, window)| *window == b"encrcdsa").map(|(at, _)| at);
    starts.into_iter().any(|start| {
        (0..be32(start + 72).min(32) as usize).any(|key| {
            let place = be32(start + 76 + 20 * key + 8) as usize;
            be32(start.saturating_add(place).saturating_add(8)) > 2000
        })
    })
}
