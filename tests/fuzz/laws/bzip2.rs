//! A bzip2 stream: our decoder and the library of bzip2 give the same bytes or both refuse; what the library packed, and what is
//! written by the format's description, comes back.
//!
//! The first byte says which: any bytes; a text packed by the library; a text written by hand. Of the latter two one byte may be
//! changed. What follows a stream is looked at by neither.

use std::io::Read;

use rootstock::image::source::Bunzip;

use super::bzip2_writer::{Choices, stream};
use super::input::Input;

/// Bytes that are compared: a small stream may rightly expand without end.
const MOST: usize = 1 << 20;

/// Distances of the flipped bits in a randomised block, of 512: those for the texts that are written here.
const FLIPS: [u16; 8] = [619, 720, 127, 481, 931, 816, 813, 233];

/// Longest text that is written by hand: less than the sum of the distances.
const MOST_BY_HAND: usize = 3600;

pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    match input.byte() % 3 {
        0 => compare(input.0),
        1 => {
            let level = bzip2::Compression::new(u32::from(input.byte() % 9) + 1);
            let change = (input.word(), input.byte());
            let mut packed = Vec::new();
            bzip2::read::BzEncoder::new(input.0, level).read_to_end(&mut packed).expect("memory is not full");
            written(packed, change, input.0);
        }
        _ => {
            let choices = Choices {
                level: input.byte() % 9 + 1,
                randomised: input.byte() % 2 == 1,
                codes: usize::from(input.byte() % 5) + 2,
                spare: u32::from(input.byte() % 20),
                steps: u32::from(input.byte() % 12),
                selectors: usize::from(input.byte()),
            };
            let change = (input.word(), input.byte());
            // Four equal bytes become five.
            let text = input.bytes(MOST_BY_HAND);
            if !text.is_empty() {
                written(stream(text, &choices, &FLIPS), change, text);
            }
        }
    }
}

/// What a stream that holds `text` gives, and what it gives when one of its bytes is another.
fn written(mut packed: Vec<u8>, (at, change): (u16, u8), text: &[u8]) {
    assert!(ours(&packed).is_some_and(|got| got == text), "a text that does not come back");
    compare(&packed);
    if change != 0 {
        let at = usize::from(at) % packed.len();
        packed[at] ^= change;
        compare(&packed);
    }
}

fn compare(packed: &[u8]) {
    let (ours, theirs) = (ours(packed), library(packed));
    assert_eq!(ours.is_some(), theirs.is_some(), "one refuses what the other accepts");
    assert!(ours == theirs, "other bytes than the library's");
}

fn ours(packed: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xa5; MOST];
    match Bunzip::new().unpack(packed, &mut out) {
        Ok(length) => {
            out.truncate(length);
            Some(out)
        }
        Err(error) => {
            super::assert_fit_for_a_log(&error.to_string());
            None
        }
    }
}

fn library(packed: &[u8]) -> Option<Vec<u8>> {
    let mut stream = bzip2::Decompress::new(false);
    // One byte more tells a stream that is too long.
    let mut out = vec![0; MOST + 1];
    loop {
        let (used, made) = (stream.total_in() as usize, stream.total_out() as usize);
        let status = stream.decompress(&packed[used..], &mut out[made..]).ok()?;
        let (now_used, now_made) = (stream.total_in() as usize, stream.total_out() as usize);
        if now_made > MOST {
            return None;
        }
        if status == bzip2::Status::StreamEnd {
            out.truncate(now_made);
            return Some(out);
        }
        if (now_used, now_made) == (used, made) {
            return None;
        }
    }
}
