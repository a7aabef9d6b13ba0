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

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Mutex;

    use super::super::layout::{START, lay_out};
    use super::*;
    use crate::image::chunk::Span;

    const SIZE: u64 = 8 << 20;

    /// A medium in memory that fails from its `operations`th write or flush on.
    struct Medium {
        state: Mutex<(Vec<u8>, usize)>,
        /// A byte that it does not keep.
        weak: Option<usize>,
    }

    impl Medium {
        /// It was a stick before: its first and last sectors are not empty.
        fn new(operations: usize) -> Medium {
            Medium { state: Mutex::new((vec![0xee; SIZE as usize], operations)), weak: None }
        }

        fn operation(&self, act: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.1 = state.1.checked_sub(1).ok_or_else(|| io::Error::other("pulled out"))?;
            act(&mut state.0);
            Ok(())
        }

        fn bytes(&self) -> Vec<u8> {
            self.state.lock().unwrap().0.clone()
        }
    }

    impl Target for Medium {
        fn size(&self) -> u64 {
            SIZE
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.operation(|medium| {
                medium[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                if let Some(weak) = self.weak {
                    medium[weak] = 0xbb;
                }
            })
        }

        fn zero(&self, _: Span) -> io::Result<()> {
            unreachable!("a stick's zeros are written")
        }

        fn release(&self, _: Span) -> io::Result<bool> {
            unreachable!("nothing of a stick is given back")
        }

        fn flush(&self) -> io::Result<()> {
            self.operation(|_| ())
        }

        fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            into.copy_from_slice(&self.state.lock().unwrap().0[offset as usize..][..into.len()]);
            Ok(())
        }
    }

    fn layout() -> Layout {
        let mut volume = Pieces::new(6 << 20);
        for at in [0, 5 << 20] {
            volume.seek(SeekFrom::Start(at)).unwrap();
            volume.write_all(b"volume").unwrap();
        }
        lay_out(volume, SIZE, [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)]).unwrap()
    }

    fn has_table(medium: &[u8]) -> bool {
        let backup = medium.len() - 512;
        medium[510..512] == [0x55, 0xaa]
            || &medium[512..520] == b"EFI PART"
            || &medium[backup..backup + 8] == b"EFI PART"
    }

    #[test]
    fn a_written_stick_has_the_table_at_both_ends_and_its_volume_between() {
        let medium = Medium::new(usize::MAX);
        let (mut last, mut steps) = ((0, 0), 0);
        let written =
            write(&layout(), &medium, &mut |done, all| (last, steps) = ((done, all), steps + 1)).unwrap();
        let bytes = medium.bytes();
        assert!(&bytes[512..520] == b"EFI PART" && &bytes[SIZE as usize - 512..][..8] == b"EFI PART");
        assert_eq!(&bytes[START as usize..][..6], b"volume");
        assert_eq!((last, steps > 4), ((2 * written.bytes, 2 * written.bytes), true));
    }

    #[test]
    fn a_stick_pulled_out_at_any_moment_has_no_table_or_all_of_its_volume() {
        let whole = Medium::new(usize::MAX);
        write(&layout(), &whole, &mut |_, _| ()).unwrap();
        let mut tables = 0;
        for operations in 1..200 {
            let medium = Medium::new(operations);
            let result = write(&layout(), &medium, &mut |_, _| ());
            let bytes = medium.bytes();
            if result.is_ok() {
                assert!(tables > 0, "no cut fell between the tables");
                return;
            }
            // The first clearing writes over the old table block by block: after it nothing old is left.
            if operations > 33 && has_table(&bytes) {
                tables += 1;
                for (at, block) in layout().volume.blocks() {
                    assert!(
                        bytes[at as usize..][..block.len()] == *block,
                        "cut after {operations}, byte {at}"
                    );
                }
            }
        }
        panic!("it never ended");
    }

    #[test]
    fn a_medium_that_keeps_something_else_is_told_and_left_without_a_table() {
        let medium = Medium { weak: Some((START + (5 << 20) + 3) as usize), ..Medium::new(usize::MAX) };
        let error = write(&layout(), &medium, &mut |_, _| ()).unwrap_err();
        assert!(matches!(error, WriteError::Differs(at) if at == START + (5 << 20) + 3), "{error}");
        assert!(!has_table(&medium.bytes()));
    }

    #[test]
    fn a_stick_that_is_too_small_is_told_what_it_needs() {
        let error = lay_out(Pieces::new(7 << 20), SIZE, [uuid::Uuid::nil(); 2]).unwrap_err().to_string();
        assert_eq!(error, "8388608 bytes are too few: the stick needs 9437184");
    }
}
