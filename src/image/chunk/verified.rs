//! Bytes whose digest was checked: the only things that are stored and written to disks.
//!
//! Owns: the two ways to [`Verified`] (compute the digest, or compare it), the zstd frame.
//! Must not know: anything else. The fields are private to this file; nothing here hands out verified bytes
//! mutably.

use std::fmt;
use std::io;

use crate::image::chunk::CHUNK;
use crate::value::Digest;

/// Bytes that hash to the digest beside them. Made by [`Verified::seal`] and [`Opener::open`] only.
pub struct Verified {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Verified {
    /// Names `bytes` by their digest.
    pub fn seal(bytes: Vec<u8>) -> Verified {
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

    /// Gives the memory back for the next chunk.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// One chunk as it is stored and sent: a zstd frame. Nothing is known about it until it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(pub &'a [u8]);

impl Frame<'_> {
    /// Opens a single frame; [`Opener::open`] is for many.
    ///
    /// # Errors
    /// When the frame does not decompress to at most [`CHUNK`] bytes with the digest `expected`.
    pub fn open(self, expected: Digest) -> Result<Verified, BadFrame> {
        Opener::default().open(self, expected, Vec::new())
    }
}

/// Why a frame is not the chunk that it was taken for. All mean: fetch it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// zstd cannot read it, or it holds more than a chunk.
    #[error("chunk {expected} does not decompress: {reason}")]
    Zstd {
        /// The chunk that was expected.
        expected: Digest,
        /// What zstd says.
        reason: String,
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

/// Opens frames one after the other with one zstd context.
#[derive(Default)]
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Opener {
    /// Decompresses `frame` into `buffer` (its capacity is reused) and compares the digest.
    ///
    /// # Errors
    /// See [`BadFrame`].
    pub fn open(
        &mut self,
        frame: Frame<'_>,
        expected: Digest,
        mut buffer: Vec<u8>,
    ) -> Result<Verified, BadFrame> {
        buffer.clear();
        if buffer.capacity() != CHUNK as usize {
            buffer = Vec::with_capacity(CHUNK as usize);
        }
        // zstd never writes beyond the capacity of the vector: a frame that claims more is an error, not memory.
        self.zstd
            .decompress_to_buffer(frame.0, &mut buffer)
            .map_err(|error| BadFrame::Zstd { expected, reason: error.to_string() })?;
        match Digest::of(&buffer) {
            got if got == expected => Ok(Verified { digest: got, bytes: buffer }),
            got => Err(BadFrame::Digest { expected, got }),
        }
    }
}

/// Compresses chunks one after the other with one zstd context.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Packer {
    /// zstd level of stored chunks: import runs once, every Mac then fetches what it saved.
    pub const LEVEL: i32 = 3;

    /// A packer at [`Packer::LEVEL`].
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> io::Result<Packer> {
        zstd::bulk::Compressor::new(Packer::LEVEL).map(|zstd| Packer { zstd })
    }

    /// The zstd frame around `chunk`.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn pack(&mut self, chunk: &Verified) -> io::Result<Vec<u8>> {
        self.zstd.compress(chunk.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(bytes: &[u8]) -> Vec<u8> {
        Packer::new().unwrap().pack(&Verified::seal(bytes.to_vec())).unwrap()
    }

    #[test]
    fn a_chunk_survives_its_frame() {
        let bytes: Vec<u8> = (0..CHUNK).map(|i| ((i * i) >> 7) as u8).collect();
        let opened = Frame(&frame_of(&bytes)).open(Digest::of(&bytes)).unwrap();
        assert_eq!((opened.bytes(), opened.digest()), (&bytes[..], Digest::of(&bytes)));
    }

    #[test]
    fn no_flipped_bit_of_a_frame_passes_as_the_chunk() {
        let bytes: Vec<u8> = (0..3000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (frame, name) = (frame_of(&bytes), Digest::of(&bytes));
        for place in 0..frame.len() {
            let mut bad = frame.clone();
            bad[place] ^= 0x10;
            if let Ok(opened) = Frame(&bad).open(name) {
                // Some header bits carry no meaning; then the content is unchanged.
                assert_eq!(opened.bytes(), bytes, "byte {place}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_chunk_is_refused_with_both_names() {
        let (want, got) = (Digest::of(b"want"), Digest::of(b"got"));
        assert_eq!(
            Frame(&frame_of(b"got")).open(want).unwrap_err(),
            BadFrame::Digest { expected: want, got }
        );
    }

    #[test]
    fn a_frame_that_holds_more_than_a_chunk_is_refused() {
        let bytes = vec![0; CHUNK as usize + 1];
        let frame = zstd::bulk::compress(&bytes, 1).unwrap();
        assert!(matches!(Frame(&frame).open(Digest::of(&bytes)), Err(BadFrame::Zstd { .. })));
    }
}
