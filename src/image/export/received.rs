//! `raw.zst` as it arrives: cut into its frames, each compared with the manifest before it counts.
//!
//! So whoever is cut off has whole frames only and knows how far they reach, and goes on there. Owns: cutting, comparing, the bmap
//! of what came. Must not know: where the bytes come from, where frames are kept.

use std::iter::Peekable;

use super::bmap::Bmap;
use super::packed::ZEROS;
use super::{PIECE, Shape};
use crate::image::chunk::Span;
use crate::image::manifest::Manifest;
use crate::value::Digest;

/// Longest frame: a piece that does not become smaller, and what zstd adds to it.
const MOST_PACKED: usize = PIECE as usize + (64 << 10);

/// A frame that was compared.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where its bytes stand in the image.
    pub at: u64,
    /// As it came.
    pub packed: &'a [u8],
    /// What is in it.
    pub bytes: &'a [u8],
}

/// What arrived is not the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// No frame of zstd, or a damaged one.
    #[error("what arrived for byte {0} of the image is no frame of zstd, or a damaged one")]
    Frame(u64),
    /// Bytes that the manifest does not say.
    #[error("what arrived for byte {0} of the image is not what the signed manifest says")]
    Bytes(u64),
}

/// An image on its way.
pub struct Received<'a> {
    cells: Peekable<Box<dyn Iterator<Item = (Span, Digest)> + 'a>>,
    size: u64,
    at: u64,
    pending: Vec<u8>,
    bmap: Bmap,
}

impl<'a> Received<'a> {
    /// Nothing has come yet of what `shape` says of the image of `manifest`.
    pub fn new(manifest: &'a Manifest, shape: &Shape) -> Received<'a> {
        let (start, end) = (shape.start, shape.start + shape.size);
        let within = manifest.cells().skip_while(move |(span, _)| span.offset < start);
        let within = within.take_while(move |(span, _)| span.offset < end);
        let placed = within.map(move |(span, digest)| (Span { offset: span.offset - start, ..span }, digest));
        let cells: Box<dyn Iterator<Item = (Span, Digest)> + 'a> = Box::new(placed);
        Received {
            cells: cells.peekable(),
            size: shape.size,
            at: 0,
            pending: Vec::new(),
            bmap: Bmap::new(shape),
        }
    }

    /// Bytes of the image that came whole: where to go on.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether that was all.
    pub fn is_complete(&self) -> bool {
        self.at == self.size && self.pending.is_empty()
    }

    /// The bytes that follow what came whole will come again.
    pub fn cut_off(&mut self) {
        self.pending.clear();
    }

    /// Takes the next bytes; every frame that is complete with them is given to `keep`.
    ///
    /// # Errors
    /// [`Odd`], or what `keep` says; nothing more can be taken then.
    pub fn take<E: From<Odd>>(
        &mut self,
        more: &[u8],
        keep: &mut dyn FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pending.extend_from_slice(more);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(length) = self.frame(rest)? {
            let (packed, behind) = rest.split_at(length);
            let bytes = self.unpack(packed)?;
            self.compare(&bytes)?;
            keep(Frame { at: self.at, packed, bytes: &bytes })?;
            self.bmap.take(&bytes);
            (self.at, rest) = (self.at + bytes.len() as u64, behind);
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// The bmap of all that came.
    pub fn bmap(self) -> String {
        self.bmap.finish()
    }

    /// Length of the frame in front; none where it is not all there.
    fn frame(&self, bytes: &[u8]) -> Result<Option<usize>, Odd> {
        match zstd::zstd_safe::find_frame_compressed_size(bytes) {
            Ok(length) if (1..=bytes.len()).contains(&length) => Ok(Some(length)),
            _ if bytes.len() > MOST_PACKED => Err(Odd::Frame(self.at)),
            _ => Ok(None),
        }
    }

    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, Odd> {
        let odd = Odd::Frame(self.at);
        let size = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
        let size = size.filter(|size| (1..=ZEROS.min(self.size - self.at)).contains(size));
        let Some(size) = size else { return Err(odd) };
        let bytes = zstd::bulk::decompress(packed, size as usize).map_err(|_| odd.clone())?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(odd) }
    }

    /// Compares every cell with its name; what is in none is zeros.
    fn compare(&mut self, bytes: &[u8]) -> Result<(), Odd> {
        let (at, end) = (self.at, self.at + bytes.len() as u64);
        let mut done = 0;
        while let Some((span, digest)) = self.cells.next_if(|(span, _)| span.offset < end) {
            let place = (span.offset.saturating_sub(at)) as usize;
            let cell = bytes.get(place..place + span.length as usize).filter(|_| place >= done);
            let before = bytes.get(done..place).unwrap_or_default();
            if before.iter().any(|&byte| byte != 0) || cell.is_none_or(|cell| Digest::of(cell) != digest) {
                return Err(Odd::Bytes(span.offset));
            }
            done = place + span.length as usize;
        }
        match bytes[done..].iter().any(|&byte| byte != 0) {
            true => Err(Odd::Bytes(at + done as u64)),
            false => Ok(()),
        }
    }
}
