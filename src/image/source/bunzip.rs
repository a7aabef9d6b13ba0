//! bzip2 streams, unpacked several at a time.
//!
//! Owns: the inverse of the Burrows-Wheeler transform over several blocks at once, run lengths, sums. `block` reads the
//! blocks from the bits. Knows nothing of images. The transform is a chain of reads, each waiting for the one before;
//! blocks do not depend on each other, so the waits of several are spent together.
//!
//! | field | bits | |
//! |---|---|---|
//! | `BZh`, level | 32 | level `1` to `9`: most bytes of a block, in 100 000 |
//! | block mark, CRC, randomised, origin | 48, 32, 1, 24 | then symbols in use, selectors, code lengths, symbols |
//! | end mark, CRC | 48, 32 | the CRC of all blocks, rotated and added |
//!
//! CRC-32 is that of the polynomial 04C11DB7, most significant bit first. What follows the stream is not looked at.

use std::cmp::Reverse;

use super::bits::Bits;
use super::block::{BLOCK_MARK, Block, END_MARK, Huffman, MOST};

/// Blocks that are walked together. Each takes 4.5 MB.
const LANES: usize = 6;

/// Why a stream gives no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::image) enum BunzipError {
    #[error("it does not begin as a bzip2 stream does")]
    NoStream,
    #[error("its bzip2 stream ends within block {block}")]
    Cut { block: u32 },
    #[error("its bzip2 stream is damaged in block {block}, before its byte {at}: {what}")]
    Damaged { block: u32, at: usize, what: &'static str },
    #[error("it expands to more than its declared {want} bytes")]
    Long { want: usize },
}

/// A stream and the place for its bytes.
pub(in crate::image) struct Job<'a> {
    pub packed: &'a [u8],
    pub out: &'a mut [u8],
    /// Bytes made of it.
    pub result: Result<usize, BunzipError>,
}

/// Where the reading of a job stands.
struct Progress<'a> {
    bits: Bits<'a>,
    most: usize,
    block: u32,
    made: usize,
    sum: u32,
    /// Nothing more is read.
    ended: bool,
    /// A block that was read is bad.
    failed: bool,
}

/// Unpacks bzip2 streams; keeps its memory, up to 27 MB.
pub(in crate::image) struct Bunzip {
    huffman: Box<Huffman>,
    lanes: Vec<Lane>,
}

struct Lane {
    block: Block,
    job: usize,
    turn: usize,
}

impl Bunzip {
    pub fn new() -> Bunzip {
        Bunzip { huffman: Box::default(), lanes: Vec::new() }
    }

    /// Unpacks every job. What was made of a damaged one may be anything.
    pub fn run(&mut self, jobs: &mut [Job<'_>]) {
        let mut all: Vec<Progress<'_>> = jobs.iter_mut().map(Progress::start).collect();
        loop {
            let mut used = 0;
            for (index, (job, progress)) in jobs.iter_mut().zip(&mut all).enumerate() {
                while used < LANES && !progress.ended {
                    if self.lanes.len() == used {
                        self.lanes.push(Lane { block: Block::new(), job: 0, turn: 0 });
                    }
                    let lane = &mut self.lanes[used];
                    (lane.job, lane.turn) = (index, used);
                    match progress.next(&mut lane.block, &mut self.huffman) {
                        Ok(true) => used += 1,
                        Ok(false) => {}
                        Err(error) => {
                            progress.ended = true;
                            job.result = Err(error);
                        }
                    }
                }
            }
            if used == 0 {
                break;
            }
            let lanes = &mut self.lanes[..used];
            walk_all(lanes);
            for lane in lanes {
                let (job, progress) = (&mut jobs[lane.job], &mut all[lane.job]);
                // What is wrong with an earlier block is told rather than what was found while reading on.
                if progress.failed {
                    continue;
                }
                if let Err(error) = progress.finish(&mut lane.block, job.out) {
                    (progress.ended, progress.failed) = (true, true);
                    job.result = Err(error);
                }
            }
        }
        for (job, progress) in jobs.iter_mut().zip(&all) {
            job.result = job.result.map(|_| progress.made);
        }
    }
}

impl<'a> Progress<'a> {
    fn start(job: &mut Job<'a>) -> Progress<'a> {
        let mut bits = Bits::new(job.packed);
        let (magic, level) = (bits.take(24), bits.take(8) as u8);
        let fine = magic == 0x42_5a68 && level.is_ascii_digit() && level != b'0' && !bits.overrun();
        job.result = if fine { Ok(0) } else { Err(BunzipError::NoStream) };
        let most = usize::from(level.wrapping_sub(b'0')) * 100_000;
        Progress { bits, most, block: 0, made: 0, sum: 0, ended: !fine, failed: false }
    }

    fn damaged(&self, what: &'static str) -> BunzipError {
        if self.bits.overrun() {
            return BunzipError::Cut { block: self.block };
        }
        BunzipError::Damaged { block: self.block, at: self.bits.position(), what }
    }

    /// Reads the next block; false at the end of the stream.
    fn next(&mut self, block: &mut Block, huffman: &mut Huffman) -> Result<bool, BunzipError> {
        let mark = u64::from(self.bits.take(24)) << 24 | u64::from(self.bits.take(24));
        match mark {
            BLOCK_MARK => {
                block.number = self.block;
                block.read(&mut self.bits, self.most, huffman).map_err(|what| self.damaged(what))?;
                if self.bits.overrun() {
                    return Err(BunzipError::Cut { block: self.block });
                }
                block.ends_at = self.bits.position();
                self.block += 1;
                self.sum = self.sum.rotate_left(1) ^ block.crc;
                Ok(true)
            }
            END_MARK => {
                self.ended = true;
                let stored = self.bits.take_word();
                if stored != self.sum || self.bits.overrun() {
                    return Err(self.damaged("the sum of the stream is another"));
                }
                Ok(false)
            }
            _ => Err(self.damaged("neither a block nor the end begins here")),
        }
    }

    /// Writes out a block that was walked.
    fn finish(&mut self, block: &mut Block, out: &mut [u8]) -> Result<(), BunzipError> {
        block.derandomise();
        let (number, at) = (block.number, block.ends_at);
        let room = &mut out[self.made..];
        let made = match expand(&block.text[..block.length], room) {
            Ok(made) => made,
            Err(Expand::Full) => return Err(BunzipError::Long { want: out.len() }),
            Err(Expand::NoCount) => {
                let what = "a run without its length";
                return Err(BunzipError::Damaged { block: number, at, what });
            }
        };
        if crc(&room[..made]) != block.crc {
            return Err(BunzipError::Damaged { block: number, at, what: "the sum of the block is another" });
        }
        self.made += made;
        Ok(())
    }
}

/// Walks the blocks of all lanes: all together to the end of the shortest, then the others on.
fn walk_all(lanes: &mut [Lane]) {
    lanes.sort_unstable_by_key(|lane| Reverse(lane.block.length));
    let mut from = 0;
    for width in (1..=lanes.len()).rev() {
        let to = lanes[width - 1].block.length;
        if to > from {
            match width {
                1 => walk::<1>(lanes, from, to),
                2 => walk::<2>(lanes, from, to),
                3 => walk::<3>(lanes, from, to),
                4 => walk::<4>(lanes, from, to),
                5 => walk::<5>(lanes, from, to),
                _ => walk::<LANES>(lanes, from, to),
            }
            from = to;
        }
    }
    lanes.sort_unstable_by_key(|lane| lane.turn);
}

fn walk<const WIDTH: usize>(lanes: &mut [Lane], from: usize, to: usize) {
    let Some(lanes) = lanes.first_chunk_mut::<WIDTH>() else { return };
    let mut at = [0_u32; WIDTH];
    let mut parts = lanes.each_mut().map(|lane| {
        let Block { table, text, place, .. } = &mut lane.block;
        (&**table, &mut text[from..to], place)
    });
    for (at, part) in at.iter_mut().zip(&parts) {
        *at = *part.2;
    }
    for step in 0..to - from {
        for (at, (table, text, _)) in at.iter_mut().zip(&mut parts) {
            let entry = table[*at as usize & (MOST - 1)];
            text[step] = entry as u8;
            *at = entry >> 8;
        }
    }
    for (at, part) in at.iter().zip(parts) {
        *part.2 = *at;
    }
}

enum Expand {
    Full,
    NoCount,
}

/// Four equal bytes are followed by the number of those that were left out.
fn expand(text: &[u8], out: &mut [u8]) -> Result<usize, Expand> {
    let (mut at, mut copied, mut made) = (0, 0, 0);
    while let Some(&[a, b, c, d]) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        // The pair that differs rules out every run that would hold it.
        if c != d {
            at += 3;
        } else if b != c {
            at += 2;
        } else if a != b {
            at += 1;
        } else {
            let part = &text[copied..at + 4];
            let room = out.get_mut(made..).ok_or(Expand::Full)?;
            let count = usize::from(*text.get(at + 4).ok_or(Expand::NoCount)?);
            let room = room.get_mut(..part.len() + count).ok_or(Expand::Full)?;
            let (plain, run) = room.split_at_mut(part.len());
            plain.copy_from_slice(part);
            run.fill(a);
            made += part.len() + count;
            at += 5;
            copied = at;
        }
    }
    let part = text.get(copied..).unwrap_or_default();
    out.get_mut(made..made + part.len()).ok_or(Expand::Full)?.copy_from_slice(part);
    Ok(made + part.len())
}

/// The same polynomial as that of zip, with the bits of every byte and of the sum the other way round.
fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let mut mirrored = [0; 4096];
    for part in bytes.chunks(mirrored.len()) {
        let mirrored = &mut mirrored[..part.len()];
        for (to, from) in mirrored.iter_mut().zip(part) {
            *to = from.reverse_bits();
        }
        hasher.update(mirrored);
    }
    hasher.finalize().reverse_bits()
}

#[cfg(test)]
#[path = "bunzip_tests.rs"]
mod tests;
