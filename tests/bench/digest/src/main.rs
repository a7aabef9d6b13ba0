//! How fast one core digests chunks: bytes a second, best of some rounds, one line `NAME BYTES-A-SECOND` each.

use std::hint::black_box;
use std::time::Instant;

use sha2::Digest;

/// As large as a chunk, and as what is digested in one go.
const SIZES: [usize; 2] = [64 << 10, 1 << 20];
const ROUNDS: usize = 5;
const BYTES: usize = 192 << 20;

fn measure<R>(name: &str, size: usize, digest: impl Fn(&[u8]) -> R) {
    let bytes: Vec<u8> = (0..size).map(|n| (n * 31 >> 3) as u8).collect();
    let best = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..BYTES / size {
                black_box(digest(black_box(&bytes)));
            }
            begin.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name}/{}KiB {:.0}", size >> 10, (BYTES / size * size) as f64 / best.as_secs_f64());
}

fn main() {
    for size in SIZES {
        measure("blake3", size, blake3::hash);
        measure("sha256-ring", size, |bytes| ring::digest::digest(&ring::digest::SHA256, bytes));
        measure("sha256-sha2", size, |bytes| sha2::Sha256::digest(bytes));
        measure("sha512-ring", size, |bytes| ring::digest::digest(&ring::digest::SHA512, bytes));
    }
}
