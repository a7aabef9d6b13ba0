//! A disk becomes an image: used blocks only, only what the library lacks is sent, and the disk is proven unchanged.
//!
//! Reading order:
//! * [`Origin`] (here): a disk that is read
//! * [`Shape`] (`shape`, `table`): which parts of it the image has, and which of their bytes are in use
//! * `feed`: those bytes, in order, for [`crate::image::ingest`], which cuts and names them as it does an image file
//! * `proof`: that the disk is at the end what it was at the beginning
//! * [`Picture`] (`picture`): the same as an image that [`crate::image::export`] writes into a file
//! * [`capture`] (`engine`): the walk, against a [`Library`] that may be far away
//!
//! Blocks that the file system does not use are not read: a cell without a used byte is unallocated, in a cell that has one
//! they are zeros. So two captures of an unchanged disk give the same chunks, and the SHA-256 of the image is that of the disk
//! with zeros in its free blocks.
//!
//! Must not know: devices, HTTP, who keeps the image.

mod engine;
mod feed;
mod picture;
mod proof;
mod shape;
mod table;

use std::io::{self, Read, Seek, SeekFrom};

pub use engine::{CaptureError, Captured, Library, Phase, Progress, Snapshot, capture};
pub use picture::Picture;
pub use proof::{Changed, Witness};
pub use shape::{Selection, Shape, ShapeError};

/// A disk, partition or file that is captured; read by several threads.
pub trait Origin: Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When the medium fails or ends.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// The same, from the medium itself and not from a cache.
    ///
    /// # Errors
    /// As [`Origin::read_at`].
    fn read_again(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Whether somebody wrote to it since it was opened, as far as that can be told without reading.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn was_touched(&self) -> io::Result<bool>;
}

/// An origin as something to read and seek in.
pub(crate) struct Reader<'a, O> {
    origin: &'a O,
    position: u64,
    again: bool,
}

impl<'a, O: Origin> Reader<'a, O> {
    fn new(origin: &'a O) -> Reader<'a, O> {
        Reader { origin, position: 0, again: false }
    }

    fn past_caches(origin: &'a O) -> Reader<'a, O> {
        Reader { origin, position: 0, again: true }
    }
}

impl<O: Origin> Read for Reader<'_, O> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.origin.size().saturating_sub(self.position);
        let length = left.min(into.len() as u64) as usize;
        if length > 0 {
            match self.again {
                false => self.origin.read_at(self.position, &mut into[..length])?,
                true => self.origin.read_again(self.position, &mut into[..length])?,
            }
            self.position += length as u64;
        }
        Ok(length)
    }
}

impl<O: Origin> Seek for Reader<'_, O> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.origin.size().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
