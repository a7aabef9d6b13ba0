//! A stored image as something to read and seek in: for looking into volumes without a decode.
//!
//! Owns: which chunk a byte is in. Must not know: what is read.

use std::io::{self, Read, Seek, SeekFrom};

use crate::image::chunk::{CHUNK, Span, Verified};
use crate::image::manifest::{Region, Run};
use crate::store::Store;
use crate::value::Digest;

/// Reads the bytes of an image, each chunk checked. Keeps the chunk that was read last.
#[derive(Debug)]
pub struct StoredImage<'a> {
    store: &'a Store,
    /// Runs with their place, in order.
    runs: Vec<(Span, &'a Run)>,
    size: u64,
    position: u64,
    last: Option<Verified>,
}

impl<'a> StoredImage<'a> {
    /// Reads the image of these regions.
    pub fn new(store: &'a Store, regions: &'a [Region]) -> StoredImage<'a> {
        let runs: Vec<_> = regions.iter().flat_map(Region::placed_runs).collect();
        let size = regions.last().map_or(0, |last| last.start + last.size);
        StoredImage { store, runs, size, position: 0, last: None }
    }

    /// The chunk of the present position; none for zeros. With the bytes of its cell.
    fn cell(&self) -> Option<(Span, Option<Digest>)> {
        let number = self.runs.partition_point(|(span, _)| span.end() <= self.position);
        let (span, run) = *self.runs.get(number)?;
        let Run::Data(digests) = run else { return Some((span, None)) };
        let cell = (self.position - span.offset) / CHUNK;
        Some((span.cell(cell), Some(*digests.get(cell as usize)?)))
    }
}

impl Read for StoredImage<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some((span, digest)) = self.cell().filter(|_| self.position < self.size) else { return Ok(0) };
        let step = (span.end() - self.position).min(into.len() as u64) as usize;
        let from = (self.position - span.offset) as usize;
        match digest {
            None => into[..step].fill(0),
            Some(digest) => {
                let chunk = match self.last.take().filter(|chunk| chunk.digest() == digest) {
                    Some(chunk) => chunk,
                    None => self.store.get(digest).map_err(io::Error::other)?,
                };
                let bytes = chunk.bytes().get(from..from + step);
                into[..step].copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                self.last = Some(chunk);
            }
        }
        self.position += step as u64;
        Ok(step)
    }
}

impl Seek for StoredImage<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
