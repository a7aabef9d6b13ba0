//! A stick on to its medium: whole, or clearly none.
//!
//! Owns: the order, and that everything is compared with what the medium holds, past all caches. Must not know: what is
//! on the stick, which device it is.
//!
//! 1. both ends are cleared and flushed: from here on the medium has no partition table, old or new
//! 2. the volume is written, flushed, read back
//! 3. both partition tables are written, flushed, read back
//!
//! Power that fails before step 3 leaves a medium without partitions, which no firmware offers.

use std::io;

use super::layout::{Layout, MARGIN};
use super::pieces::{BLOCK, Pieces};
use crate::image::restore::Target;

/// The stick was not written. It has no partition table then.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The medium fails.
    #[error("{doing} failed; the medium has no usable content now")]
    Medium {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The medium does not hold what was written: worn out, or smaller than it says.
    #[error(
        "byte {0} was written and reads back differently: the medium is worn out or smaller than it claims; take \
         another one"
    )]
    Differs(u64),
}

/// What was done, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes written, and read back.
    pub bytes: u64,
}

/// Writes `layout` to `target`; `tell` gets the bytes done and the bytes in all, writing and reading counted.
///
/// # Errors
/// [`WriteError`]; the partition tables are cleared again then, as far as the medium lets us.
pub fn write(
    layout: &Layout,
    target: &impl Target,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Written, WriteError> {
    let bytes: u64 = [&layout.volume, &layout.tables]
        .into_iter()
        .flat_map(Pieces::blocks)
        .map(|(_, b)| b.len() as u64)
        .sum();
    let mut done = 0;
    let mut step = |length: usize| {
        done += length as u64;
        tell(done, 2 * bytes);
    };
    clear(target).map_err(medium("clearing both ends of the medium"))?;
    let result = put(&layout.volume, target, &mut step).and_then(|()| put(&layout.tables, target, &mut step));
    if let Err(error) = result {
        // The reason of the failure is what counts; a medium that is gone cannot be cleared.
        let _gone = clear(target);
        return Err(error);
    }
    Ok(Written { bytes })
}

fn medium(doing: &'static str) -> impl Fn(io::Error) -> WriteError {
    move |source| WriteError::Medium { doing, source }
}

/// Old tables and signatures of old file systems go, at both ends.
fn clear(target: &impl Target) -> io::Result<()> {
    let size = target.size();
    let length = size.min(MARGIN);
    let zeros = vec![0; BLOCK];
    for start in [0, size - length] {
        let mut at = start;
        while at < start + length {
            let step = (start + length - at).min(BLOCK as u64);
            target.write_at(at, &zeros[..step as usize])?;
            at += step;
        }
    }
    target.flush()
}

fn put(pieces: &Pieces, target: &impl Target, step: &mut dyn FnMut(usize)) -> Result<(), WriteError> {
    for (at, block) in pieces.blocks() {
        target.write_at(at, block).map_err(medium("writing"))?;
        step(block.len());
    }
    target.flush().map_err(medium("flushing"))?;
    let mut held = Aligned::new();
    for (at, block) in pieces.blocks() {
        let held = held.first(block.len());
        target.read_back(at, held).map_err(medium("reading back"))?;
        if let Some(wrong) = held.iter().zip(block).position(|(held, written)| held != written) {
            return Err(WriteError::Differs(at + wrong as u64));
        }
        step(block.len());
    }
    Ok(())
}

/// Memory that a medium reads into without another copy.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Aligned {
        const PAGE: usize = 4096;
        let memory = vec![0; BLOCK + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Aligned { memory, start }
    }

    fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.memory[self.start..][..length]
    }
}
