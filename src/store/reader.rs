//! A stored image as something to read and seek in: for looking into volumes without a decode.
//!
//! Owns: which chunk a byte is in. Must not know: what is read.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use crate::image::chunk::{CHUNK, Frame, Opener, Span};
use crate::image::manifest::{Region, Run};
use crate::store::{GetError, Store};
use crate::value::Digest;

/// Frames that are kept open: a walk through a file system goes back and forth between a few places.
const KEPT: usize = 16;

/// Reads the bytes of an image, each chunk checked. Keeps the frames that were read last.
pub struct StoredImage<'a> {
    store: &'a Store,
    /// Runs with their place, in order.
    runs: Vec<(Span, &'a Run)>,
    size: u64,
    position: u64,
    /// Last used last; named by pack and offset.
    open: VecDeque<((Digest, u64), Opener)>,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for StoredImage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredImage({} of {} bytes)", self.position, self.size)
    }
}

impl<'a> StoredImage<'a> {
    /// Reads the image of these regions.
    pub fn new(store: &'a Store, regions: &'a [Region]) -> StoredImage<'a> {
        let runs: Vec<_> = regions.iter().flat_map(Region::placed_runs).collect();
        let size = regions.last().map_or(0, |last| last.start + last.size);
        StoredImage { store, runs, size, position: 0, open: VecDeque::new(), bytes: Vec::new() }
    }

    /// The chunk of the present position; none for zeros. With the bytes of its cell.
    fn cell(&self) -> Option<(Span, Option<Digest>)> {
        let number = self.runs.partition_point(|(span, _)| span.end() <= self.position);
        let (span, run) = *self.runs.get(number)?;
        let Run::Data(digests) = run else { return Some((span, None)) };
        let cell = (self.position - span.offset) / CHUNK;
        Some((span.cell(cell), Some(*digests.get(cell as usize)?)))
    }

    /// Copies bytes of a chunk, from its byte `from` on.
    fn copy(&mut self, digest: Digest, from: usize, into: &mut [u8]) -> Result<(), GetError> {
        let mut found = self.store.find(&digest)?;
        let mut name = (found.pack, found.place.offset);
        let opener = match self.open.iter().position(|(open, _)| *open == name) {
            Some(at) => self.open.remove(at).map(|(_, opener)| opener),
            None => None,
        };
        let opener = match opener {
            Some(opener) => opener,
            None => {
                found = self.store.frame_of(digest, &mut self.bytes)?;
                name = (found.pack, found.place.offset);
                let oldest = if self.open.len() < KEPT { None } else { self.open.pop_front() };
                let mut opener = oldest.map_or_else(Opener::default, |(_, opener)| opener);
                let damaged = |source| GetError::Damaged { pack: found.pack, source };
                opener.open(Frame(&self.bytes)).map_err(damaged)?;
                opener
            }
        };
        self.open.push_back((name, opener));
        let Some((_, opener)) = self.open.back_mut() else { return Err(GetError::Missing(digest)) };
        let mut contents = opener.opened();
        let damaged = |source| GetError::Damaged { pack: found.pack, source };
        let chunk = contents.chunk(found.slot.chunk(), digest).map_err(damaged)?;
        let bytes = chunk.bytes().get(from..from + into.len());
        let short = || GetError::Read { digest, source: io::ErrorKind::UnexpectedEof.into() };
        into.copy_from_slice(bytes.ok_or_else(short)?);
        Ok(())
    }
}

impl Read for StoredImage<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some((span, digest)) = self.cell().filter(|_| self.position < self.size) else { return Ok(0) };
        let step = (span.end() - self.position).min(into.len() as u64) as usize;
        let from = (self.position - span.offset) as usize;
        match digest {
            None => into[..step].fill(0),
            Some(digest) => self.copy(digest, from, &mut into[..step]).map_err(io::Error::other)?,
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
