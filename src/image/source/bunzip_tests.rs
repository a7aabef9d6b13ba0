//! Against the library of bzip2: the same bytes, or both refuse. What its packer does not write is written by hand.

use super::super::block::RANDOM;
use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};

#[path = "../../../tests/fuzz/laws/bzip2_writer.rs"]
mod writer;

use writer::{Choices, stream};

const PLAIN: Choices = Choices { level: 9, randomised: false, codes: 2, spare: 0, steps: 0, selectors: 0 };

fn pack(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn library(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    bzip2::read::BzDecoder::new(packed).take(most as u64 + 1).read_to_end(&mut out).ok()?;
    (!packed.is_empty() && out.len() <= most).then_some(out)
}

fn ours(packed: &[u8], most: usize) -> Result<Vec<u8>, BunzipError> {
    let mut out = vec![7; most];
    let length = Bunzip::new().unpack(packed, &mut out)?;
    out.truncate(length);
    Ok(out)
}

fn noise(length: usize, values: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % values
    };
    (0..length).map(|_| next() as u8).collect()
}

#[test]
fn what_the_library_packed_comes_back_from_one_decoder_after_the_other() {
    let mut texts = vec![vec![], vec![9], vec![0; 3_000_000], noise(250_000, 256), noise(150_000, 2)];
    for run in [3, 4, 5, 254, 255, 256, 258, 259, 260, 261, 600] {
        texts.push([vec![1; run], vec![2; run], noise(40, 256)].concat());
    }
    // A run over the edge of a block of 100 000.
    texts.extend((99_977..99_982).map(|edge| [noise(edge, 200), vec![250; 300], noise(50, 9)].concat()));
    let mut bunzip = Bunzip::new();
    for text in texts {
        let mut out = vec![7; text.len()];
        assert_eq!(bunzip.unpack(&pack(&text, 1), &mut out), Ok(text.len()));
        assert!(out == text);
    }
}

#[test]
fn a_block_of_the_highest_level_comes_back() {
    let text = noise(1 << 20, 3);
    assert!(ours(&pack(&text, 9), text.len()).unwrap() == text);
}

#[test]
fn bits_that_an_early_version_flipped_are_flipped_back_over_the_whole_list() {
    // Longer than all distances together.
    let text = noise(270_000, 200);
    let packed = stream(&text, &Choices { randomised: true, ..PLAIN }, &RANDOM);
    assert!(library(&packed, text.len()).unwrap() == text, "the list is another than the library's");
    assert!(ours(&packed, text.len()).unwrap() == text);
}

#[test]
fn selectors_that_no_block_needs_are_read_and_not_kept() {
    let text = noise(300, 20);
    for selectors in [1, 17_900, 18_003, 32_000] {
        let packed = stream(&text, &Choices { selectors, ..PLAIN }, &RANDOM);
        assert_eq!(library(&packed, 300).as_ref(), Some(&text), "{selectors}");
        assert_eq!(ours(&packed, 300).as_ref(), Ok(&text), "{selectors}");
    }
}

#[test]
fn a_block_longer_than_its_level_is_refused() {
    let mut packed = pack(&noise(150_000, 5), 9);
    packed[3] = b'1';
    assert_eq!(library(&packed, 1 << 20), None);
    let refused = ours(&packed, 1 << 20).unwrap_err().to_string();
    assert!(
        refused.starts_with("in block 0, before byte") && refused.ends_with("longer than a block may be"),
        "{refused}"
    );
}

#[test]
fn a_stream_that_expands_beyond_its_room_is_refused() {
    let packed = pack(&[0; 5000], 9);
    assert_eq!(ours(&packed, 4999), Err(BunzipError::Long { most: 4999 }));
}

#[test]
fn what_follows_the_stream_is_not_looked_at() {
    let text = noise(1000, 90);
    let packed = [pack(&text, 9), pack(&text, 9), vec![1]].concat();
    assert_eq!(ours(&packed, 5000), Ok(text));
}

#[test]
fn a_damaged_stream_says_where_it_is_damaged() {
    let mut packed = pack(&noise(250_000, 60), 1);
    let last = packed.len() - 40;
    packed[last] ^= 1;
    let refused = ours(&packed, 250_000).unwrap_err().to_string();
    assert!(refused.starts_with("in block 2, before byte"), "{refused}");
}

#[test]
fn a_stream_that_is_cut_anywhere_is_refused_as_cut() {
    let packed = pack(&noise(300, 20), 9);
    for length in 0..packed.len() {
        let refused = ours(&packed[..length], 300);
        assert!(matches!(refused, Err(BunzipError::Cut { .. })), "cut to {length}: {refused:?}");
    }
}

#[test]
fn every_flipped_bit_is_judged_as_the_library_judges_it() {
    let packed = pack(&[noise(120, 30), vec![5; 300]].concat(), 9);
    for bit in 0..packed.len() * 8 {
        let mut bad = packed.clone();
        bad[bit / 8] ^= 0x80 >> (bit % 8);
        assert_eq!(ours(&bad, 600).ok(), library(&bad, 600), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_comes_back(text in prop::collection::vec((any::<u8>(), 1..400_usize), 0..60)) {
        let text: Vec<u8> = text.into_iter().flat_map(|(byte, times)| vec![byte; times]).collect();
        prop_assert!(ours(&pack(&text, 1), text.len()).unwrap() == text);
    }

    #[test]
    fn any_text_comes_back_however_it_is_written(
        text in prop::collection::vec((any::<u8>(), 1..9_usize), 1..300),
        level in 1..=9_u8, randomised: bool, codes in 2..=6_usize, spare in 0..20_u32, steps in 0..12_u32, selectors in 0..99_usize
    ) {
        let text: Vec<u8> = text.into_iter().flat_map(|(byte, times)| vec![byte; times]).collect();
        let packed = stream(&text, &Choices { level, randomised, codes, spare, steps, selectors }, &RANDOM);
        prop_assert!(library(&packed, text.len()).unwrap() == text);
        prop_assert!(ours(&packed, text.len()).unwrap() == text);
    }
}
