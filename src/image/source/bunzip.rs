//! bzip2 streams.
//!
//! Owns: the stream around its blocks, run lengths, sums. `block` reads a block from the bits, `transform` makes its text. Knows
//! nothing of images.
//!
//! | field | bits | |
//! |---|---|---|
//! | `BZh`, level | 32 | level `1` to `9`: most bytes of a block, in 100 000 |
//! | block mark, CRC, randomised, origin | 48, 32, 1, 24 | then symbols in use, selectors, code lengths, symbols |
//! | end mark, CRC | 48, 32 | the CRC of all blocks, rotated and added |
//!
//! CRC-32 is that of the polynomial 04C11DB7, most significant bit first. What follows the stream is not looked at.

use super::bits::Bits;
use super::block::{BLOCK_MARK, Block, END_MARK};
use super::transform::Transform;

/// `BZh`.
const MAGIC: u32 = 0x42_5a68;

/// Why a stream gives no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BunzipError {
    /// The stream goes on beyond the bytes that are there.
    #[error("it ends within block {block}")]
    Cut {
        /// Number of the block, from 0.
        block: u32,
    },
    /// Nobody wrote it so.
    #[error("in block {block}, before byte {at} of the stream: {what}")]
    Damaged {
        /// Number of the block, from 0.
        block: u32,
        /// Bytes of the stream that were read.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// There is no room for all of it.
    #[error("it expands to more than {most} bytes")]
    Long {
        /// Bytes that there is room for.
        most: usize,
    },
}

/// Unpacks bzip2 streams; keeps its memory: 6 MB, and 19 MB after a stream that was made to need it.
pub struct Bunzip {
    block: Block,
    transform: Transform,
}

impl Bunzip {
    /// Takes its memory.
    pub fn new() -> Bunzip {
        Bunzip { block: Block::new(), transform: Transform::new() }
    }

    /// Unpacks the stream at the beginning of `packed` into `out`: how many bytes it has. What was made of a damaged one may be
    /// anything.
    ///
    /// # Errors
    /// The stream is damaged or cut, or `out` has no room for it.
    pub fn unpack(&mut self, packed: &[u8], out: &mut [u8]) -> Result<usize, BunzipError> {
        let mut bits = Bits::new(packed);
        let (mut number, mut made, mut sum) = (0, 0, 0_u32);
        let fault = |bits: &Bits<'_>, block: u32, what: &'static str| {
            if bits.overrun() {
                BunzipError::Cut { block }
            } else {
                BunzipError::Damaged { block, at: bits.position(), what }
            }
        };
        let (magic, level) = (bits.take(24), bits.take(8) as u8);
        if magic != MAGIC || !(b'1'..=b'9').contains(&level) {
            return Err(fault(&bits, number, "no bzip2 stream begins so"));
        }
        let most = usize::from(level - b'0') * 100_000;
        loop {
            match u64::from(bits.take(24)) << 24 | u64::from(bits.take(24)) {
                BLOCK_MARK => {}
                END_MARK if bits.take_word() != sum => {
                    return Err(fault(&bits, number, "the sum of the stream is another"));
                }
                END_MARK if bits.overrun() => return Err(BunzipError::Cut { block: number }),
                END_MARK => return Ok(made),
                _ => return Err(fault(&bits, number, "neither a block nor the end begins here")),
            }
            let block = &mut self.block;
            block.read(&mut bits, most).map_err(|what| fault(&bits, number, what))?;
            if bits.overrun() {
                return Err(BunzipError::Cut { block: number });
            }
            let room = &mut out[made..];
            let length = match expand(block.text(&mut self.transform), room) {
                Ok(length) => length,
                Err(Expand::Full) => return Err(BunzipError::Long { most: out.len() }),
                Err(Expand::NoCount) => return Err(fault(&bits, number, "a run without its length")),
            };
            if crc(&room[..length]) != block.crc {
                return Err(fault(&bits, number, "the sum of the block is another"));
            }
            sum = sum.rotate_left(1) ^ block.crc;
            made += length;
            number += 1;
        }
    }
}

impl Default for Bunzip {
    fn default() -> Bunzip {
        Bunzip::new()
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
