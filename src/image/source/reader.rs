//! Random access to the decoded bytes of an image, for partition tables and file-system headers.
//!
//! Owns: a small cache of unpacked runs. Checks no checksums (those need the whole image); a run that cannot be
//! unpacked is an error of the read that needs it.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::codec::{Codec, Unpacker};
use super::error::SourceError;
use super::extent::{ExtentMap, Filling};
use super::{Input, read_into};

/// Unpacked bytes that are kept.
const MOST_CACHED: usize = 16 << 20;

/// The decoded image as a file that is read anywhere.
pub struct Reader<'a> {
    input: Box<dyn Input + 'a>,
    map: Arc<ExtentMap>,
    position: u64,
    unpacker: Unpacker,
    packed: Vec<u8>,
    /// Extent index and its bytes, latest last.
    cache: VecDeque<(usize, Vec<u8>)>,
    cached: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: Box<dyn Input + 'a>, map: Arc<ExtentMap>) -> Reader<'a> {
        Reader {
            input,
            map,
            position: 0,
            unpacker: Unpacker::new(),
            packed: Vec::new(),
            cache: VecDeque::new(),
            cached: 0,
        }
    }

    /// Bytes of the decoded image.
    pub fn size(&self) -> u64 {
        self.map.size()
    }

    /// The unpacked bytes of an extent.
    fn unpacked(
        &mut self,
        index: usize,
        offset: u64,
        length: u64,
        from: Filling,
    ) -> Result<&[u8], SourceError> {
        let found = self.cache.iter().position(|(cached, _)| *cached == index);
        let entry = match found.and_then(|at| self.cache.remove(at)) {
            Some(entry) => entry,
            None => {
                let Filling::Stored { codec, at, stored } = from else { return Ok(&[]) };
                read_into(self.input.as_mut(), at, stored as usize, &mut self.packed)?;
                let mut bytes = Vec::new();
                self.unpacker.unpack(codec, &self.packed, length as usize, &mut bytes).map_err(|reason| {
                    let (codec, reason) = (codec.name(), reason.to_string());
                    SourceError::BadRun { codec, at, stored, offset, reason }
                })?;
                self.cached += bytes.len();
                while self.cached > MOST_CACHED
                    && let Some((_, old)) = self.cache.pop_front()
                {
                    self.cached -= old.len();
                }
                (index, bytes)
            }
        };
        self.cache.push_back(entry);
        Ok(self.cache.back().map_or(&[], |(_, bytes)| bytes))
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((index, extent)) = self.map.at(self.position) else { return Ok(0) };
        let extent = *extent;
        let skip = self.position - extent.start;
        let length = (extent.length - skip).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..length];
        let got = match extent.filling {
            Filling::Zero | Filling::Unallocated => {
                buffer.fill(0);
                length
            }
            Filling::Stored { codec: Codec::Raw, at, .. } => {
                self.input.seek(SeekFrom::Start(at + skip))?;
                self.input.read(buffer)?
            }
            packed @ Filling::Stored { .. } => {
                let bytes =
                    self.unpacked(index, extent.start, extent.length, packed).map_err(io::Error::other)?;
                let skip = skip as usize;
                buffer.copy_from_slice(&bytes[skip..skip + length]);
                length
            }
        };
        self.position += got as u64;
        Ok(got)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
