//! Against the library of bzip2: the same bytes, or both refuse.

use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};

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
    let mut jobs = [Job { packed, out: &mut out, result: Ok(0) }];
    Bunzip::new().run(&mut jobs);
    let made = jobs[0].result?;
    out.truncate(made);
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
fn what_the_library_packed_comes_back_from_streams_of_every_kind_unpacked_together() {
    let mut texts = vec![vec![], vec![9], vec![0; 3_000_000], noise(250_000, 256), noise(150_000, 2)];
    for run in [3, 4, 5, 254, 255, 256, 258, 259, 260, 261, 600] {
        texts.push([vec![1; run], vec![2; run], noise(40, 256)].concat());
    }
    // A run over the edge of a block of 100 000.
    texts.extend((99_970..99_985).map(|edge| [noise(edge, 200), vec![250; 300], noise(50, 9)].concat()));
    let packed: Vec<Vec<u8>> = texts.iter().map(|text| pack(text, 1)).collect();
    let mut outs: Vec<Vec<u8>> = texts.iter().map(|text| vec![7; text.len()]).collect();
    let mut jobs: Vec<Job<'_>> =
        packed.iter().zip(&mut outs).map(|(packed, out)| Job { packed, out, result: Ok(0) }).collect();
    Bunzip::new().run(&mut jobs);
    for (job, text) in jobs.iter().zip(&texts) {
        assert_eq!(job.result, Ok(text.len()));
        assert!(job.out[..] == text[..]);
    }
}

#[test]
fn a_block_of_the_highest_level_comes_back() {
    let text = noise(1 << 20, 3);
    assert!(ours(&pack(&text, 9), text.len()).unwrap() == text);
}

#[test]
fn a_damaged_stream_does_not_hinder_the_others_and_says_where_it_is_damaged() {
    let text = noise(5000, 60);
    let good = pack(&text, 9);
    let mut bad = good.clone();
    bad[12] ^= 1;
    let mut outs = vec![vec![0; 5000]; 3];
    let mut jobs: Vec<Job<'_>> = [&good, &bad, &good]
        .into_iter()
        .zip(&mut outs)
        .map(|(packed, out)| Job { packed, out, result: Ok(0) })
        .collect();
    Bunzip::new().run(&mut jobs);
    assert_eq!((jobs[0].result, jobs[2].result), (Ok(5000), Ok(5000)));
    let said = jobs[1].result.unwrap_err().to_string();
    assert!(said.contains("in block 0, before its byte") && said.contains("sum"), "{said}");
    assert!(outs[0] == text && outs[2] == text);
}

#[test]
fn a_stream_that_is_cut_anywhere_is_refused() {
    let packed = pack(&noise(300, 20), 9);
    for length in 0..packed.len() {
        assert!(ours(&packed[..length], 300).is_err(), "cut to {length}");
    }
}

#[test]
fn every_flipped_bit_is_judged_as_the_library_judges_it() {
    let packed = pack(&[noise(200, 30), vec![5; 300]].concat(), 9);
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
}
