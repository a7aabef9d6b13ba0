//! Bytes whose digest was checked: the only things that are stored and written to disks.
//!
//! Owns: the two ways to [`Verified`] (compute the digest, or compare it), the zstd frame around several chunks.
//! Must not know: anything else. The fields are private to this file; nothing here hands out verified bytes
//! mutably.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::image::chunk::{CHUNK, FRAME, FRAME_CHUNKS, chunk_count};
use crate::value::Digest;

/// Bytes that hash to the digest beside them. Made by [`Verified::seal`] and from [`Contents`] only.
pub struct Verified<'a> {
    digest: Digest,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Verified<'a> {
    /// Names `bytes` by their digest.
    pub fn seal(bytes: impl Into<Cow<'a, [u8]>>) -> Verified<'a> {
        let bytes = bytes.into();
        Verified { digest: Digest::of(&bytes), bytes }
    }

    /// The name of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A copy that owns its bytes.
    pub fn into_owned(self) -> Verified<'static> {
        Verified { digest: self.digest, bytes: Cow::Owned(self.bytes.into_owned()) }
    }
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// Neighbouring chunks of a frame, each verified: written with one system call. Made by [`Contents::run`] only.
#[derive(Clone, Copy)]
pub struct VerifiedRun<'a> {
    digests: &'a [Option<Digest>],
    bytes: &'a [u8],
}

impl<'a> VerifiedRun<'a> {
    /// The chunks, each with its bytes.
    pub fn chunks(self) -> impl Iterator<Item = (Digest, &'a [u8])> {
        self.digests.iter().flatten().copied().zip(self.bytes.chunks(CHUNK as usize))
    }

    /// The bytes of all of them.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// Several chunks as they are stored and sent: one zstd frame. Nothing is known about it until it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(pub &'a [u8]);

impl Frame<'_> {
    /// Takes one chunk out of the frame; [`Opener::open`] is for many.
    ///
    /// # Errors
    /// When the frame does not decompress to at most [`FRAME`] bytes of which number `chunk` has the digest `expected`.
    pub fn open(self, chunk: u32, expected: Digest) -> Result<Verified<'static>, BadFrame> {
        Opener::default().open(self)?.chunk(chunk, expected).map(Verified::into_owned)
    }
}

/// Why a frame does not hold the chunk that it was taken for. All mean: fetch it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// zstd cannot read it, or it holds more than a frame may.
    #[error("a frame does not decompress: {0}")]
    Zstd(String),
    /// It holds fewer chunks.
    #[error("chunk {expected} should be number {chunk} of a frame of {length} bytes")]
    Short {
        /// The chunk that was expected.
        expected: Digest,
        /// Its number in the frame.
        chunk: u32,
        /// Bytes in the frame.
        length: usize,
    },
    /// Its bytes are others.
    #[error("chunk {expected} is damaged: its bytes hash to {got}")]
    Digest {
        /// The chunk that was expected.
        expected: Digest,
        /// Digest of what was in the frame.
        got: Digest,
    },
}

/// Opens frames one after the other with one zstd context and one buffer.
#[derive(Default)]
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
    digests: [Option<Digest>; FRAME_CHUNKS as usize],
}

impl Opener {
    /// Decompresses `frame`.
    ///
    /// # Errors
    /// [`BadFrame::Zstd`].
    pub fn open(&mut self, frame: Frame<'_>) -> Result<Contents<'_>, BadFrame> {
        self.buffer.clear();
        if self.buffer.capacity() != FRAME as usize {
            self.buffer = Vec::with_capacity(FRAME as usize);
        }
        self.digests = [None; FRAME_CHUNKS as usize];
        // zstd never writes beyond the capacity of the vector: a frame that claims more is an error, not memory.
        self.zstd
            .decompress_to_buffer(frame.0, &mut self.buffer)
            .map_err(|error| BadFrame::Zstd(error.to_string()))?;
        Ok(self.opened())
    }

    /// What was opened last.
    pub fn opened(&mut self) -> Contents<'_> {
        Contents { bytes: &self.buffer, digests: &mut self.digests }
    }
}

/// What was in a frame. Nothing of it is believed before its digest was compared; each chunk is hashed at most once.
pub struct Contents<'a> {
    bytes: &'a [u8],
    digests: &'a mut [Option<Digest>; FRAME_CHUNKS as usize],
}

impl Contents<'_> {
    /// Number of chunks in it.
    pub fn chunks(&self) -> u32 {
        chunk_count(self.bytes.len() as u32)
    }

    /// Chunk number `chunk`.
    ///
    /// # Errors
    /// When it is not `expected`.
    pub fn chunk(&mut self, chunk: u32, expected: Digest) -> Result<Verified<'_>, BadFrame> {
        self.check(chunk, expected)?;
        Ok(Verified { digest: expected, bytes: Cow::Borrowed(self.part(chunk, 1)) })
    }

    /// The neighbouring chunks `expected` from number `first` on.
    ///
    /// # Errors
    /// When one of them is another.
    pub fn run(&mut self, first: u32, expected: &[Digest]) -> Result<VerifiedRun<'_>, BadFrame> {
        for (chunk, expected) in (first..).zip(expected) {
            self.check(chunk, *expected)?;
        }
        let digests = &self.digests[first as usize..][..expected.len()];
        Ok(VerifiedRun { digests, bytes: self.part(first, expected.len()) })
    }

    fn part(&self, first: u32, count: usize) -> &[u8] {
        let from = (first as usize * CHUNK as usize).min(self.bytes.len());
        &self.bytes[from..(from + count * CHUNK as usize).min(self.bytes.len())]
    }

    fn check(&mut self, chunk: u32, expected: Digest) -> Result<(), BadFrame> {
        if chunk >= self.chunks().min(FRAME_CHUNKS as u32) {
            return Err(BadFrame::Short { expected, chunk, length: self.bytes.len() });
        }
        let got = match self.digests[chunk as usize] {
            Some(known) => known,
            None => Digest::of(self.part(chunk, 1)),
        };
        self.digests[chunk as usize] = Some(got);
        if got == expected { Ok(()) } else { Err(BadFrame::Digest { expected, got }) }
    }
}

/// Chunks that were packed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Their names in order.
    pub chunks: Vec<Digest>,
    /// Their bytes before compression, all together.
    pub raw: u32,
    /// The zstd frame.
    pub frame: Vec<u8>,
}

/// Compresses chunks into frames one after the other with one zstd context.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    names: Vec<Digest>,
    raw: Vec<u8>,
}

impl Packer {
    /// zstd level of stored chunks: import runs once, every Mac then fetches what it saved.
    pub const LEVEL: i32 = 3;

    /// A packer at [`Packer::LEVEL`].
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> io::Result<Packer> {
        let zstd = zstd::bulk::Compressor::new(Packer::LEVEL)?;
        Ok(Packer { zstd, names: Vec::new(), raw: Vec::with_capacity(FRAME as usize) })
    }

    /// Adds a chunk to the present frame. Gives the frame when that is full: it has [`FRAME_CHUNKS`] chunks, or one that is
    /// shorter than [`CHUNK`] and therefore the last.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn add(&mut self, chunk: &Verified<'_>) -> io::Result<Option<Packed>> {
        debug_assert!((1..=CHUNK as usize).contains(&chunk.bytes().len()));
        self.names.push(chunk.digest());
        self.raw.extend_from_slice(chunk.bytes());
        let full = self.names.len() as u64 == FRAME_CHUNKS || chunk.bytes().len() as u64 != CHUNK;
        if full { self.finish() } else { Ok(None) }
    }

    /// The present frame, when it has a chunk.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn finish(&mut self) -> io::Result<Option<Packed>> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let frame = self.zstd.compress(&self.raw)?;
        let raw = self.raw.len() as u32;
        self.raw.clear();
        Ok(Some(Packed { chunks: std::mem::take(&mut self.names), raw, frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(chunks: &[&[u8]]) -> Packed {
        let mut packer = Packer::new().unwrap();
        for (number, chunk) in chunks.iter().enumerate() {
            if let Some(full) = packer.add(&Verified::seal(*chunk)).unwrap() {
                assert_eq!(number + 1, chunks.len(), "the frame was full too early");
                return full;
            }
        }
        packer.finish().unwrap().unwrap()
    }

    fn noise(length: u64) -> Vec<u8> {
        (0..length).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
    }

    #[test]
    fn chunks_survive_their_frame_alone_and_as_neighbours() {
        let bytes = noise(CHUNK * (FRAME_CHUNKS - 1) + 999);
        let chunks: Vec<&[u8]> = bytes.chunks(CHUNK as usize).collect();
        let packed = packed(&chunks);
        assert_eq!(packed.raw as usize, bytes.len());
        for (number, chunk) in (0..).zip(&chunks) {
            let opened = Frame(&packed.frame).open(number, Digest::of(chunk)).unwrap();
            assert_eq!((opened.bytes(), opened.digest()), (*chunk, Digest::of(chunk)));
        }
        let mut opener = Opener::default();
        let mut contents = opener.open(Frame(&packed.frame)).unwrap();
        let run = contents.run(1, &packed.chunks[1..]).unwrap();
        assert!(run.bytes() == &bytes[CHUNK as usize..]);
        assert!(run.chunks().eq(packed.chunks[1..].iter().copied().zip(chunks[1..].iter().copied())));
    }

    #[test]
    fn a_frame_ends_when_it_is_full_and_after_a_short_chunk() {
        let mut packer = Packer::new().unwrap();
        let whole = vec![1; CHUNK as usize];
        for _ in 1..FRAME_CHUNKS {
            assert_eq!(packer.add(&Verified::seal(&whole[..])).unwrap(), None);
        }
        assert_eq!(packer.add(&Verified::seal(&whole[..])).unwrap().unwrap().raw, FRAME);
        assert_eq!(packer.finish().unwrap(), None);
        assert_eq!(packer.add(&Verified::seal(&whole[1..])).unwrap().unwrap().chunks.len(), 1);
    }

    #[test]
    fn no_flipped_bit_of_a_frame_passes_as_a_chunk() {
        let bytes: Vec<u8> =
            (0..CHUNK as u32 + 3000).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 & 3).collect();
        let parts: Vec<&[u8]> = bytes.chunks(CHUNK as usize).collect();
        let packed = packed(&parts);
        let mut opener = Opener::default();
        for place in (0..packed.frame.len()).step_by(7).chain(0..64) {
            let mut bad = packed.frame.clone();
            bad[place] ^= 0x10;
            let Ok(mut contents) = opener.open(Frame(&bad)) else { continue };
            for (number, (name, part)) in (0..).zip(packed.chunks.iter().zip(&parts)) {
                if let Ok(chunk) = contents.chunk(number, *name) {
                    // Some bits carry no meaning for this chunk; then its content is unchanged.
                    assert_eq!(chunk.bytes(), *part, "byte {place}");
                }
            }
        }
    }

    #[test]
    fn a_frame_of_other_chunks_is_refused_with_both_names() {
        let (want, got) = (Digest::of(b"want"), Digest::of(b"got"));
        let frame = packed(&[b"got"]).frame;
        assert_eq!(Frame(&frame).open(0, want).unwrap_err(), BadFrame::Digest { expected: want, got });
        assert_eq!(
            Frame(&frame).open(1, got).unwrap_err(),
            BadFrame::Short { expected: got, chunk: 1, length: 3 }
        );
        let mut opener = Opener::default();
        let mut contents = opener.open(Frame(&frame)).unwrap();
        assert!(contents.run(0, &[got, got]).is_err());
    }

    #[test]
    fn a_frame_that_holds_more_than_it_may_is_refused() {
        let bytes = vec![0; FRAME as usize + 1];
        let frame = zstd::bulk::compress(&bytes, 1).unwrap();
        assert!(matches!(Frame(&frame).open(0, Digest::of(&bytes)), Err(BadFrame::Zstd(_))));
    }
}
