//! What the writers of test input share: their arguments, and numbers that look random.
//!
//! Knows nothing of what is written.

use std::error::Error;
use std::str::FromStr;

use anyhow::Context;

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// The words behind the name of the program: `wanted` of them, and at most `more`.
#[allow(dead_code, reason = "tests take the writers in as modules")]
pub fn words(wanted: usize, more: usize, usage: &str) -> anyhow::Result<Vec<String>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!((wanted..=wanted + more).contains(&words.len()), "usage: {usage}");
    Ok(words)
}

/// The number in word `place`, or the one that stands for it where it was left out.
#[allow(dead_code, reason = "tests take the writers in as modules")]
pub fn number<T>(words: &[String], place: usize, default: T) -> anyhow::Result<T>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    let Some(text) = words.get(place) else { return Ok(default) };
    text.parse().with_context(|| format!("`{text}` is no number"))
}
