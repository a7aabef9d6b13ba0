//! How one run of a UDIF image is packed, and how it is unpacked within its declared length.
//!
//! Owns: the bound on what a run may expand to. A run that does not give exactly its declared bytes is bad.

use libdeflater::{DecompressionError, Decompressor};
use liblzma::stream::{Action, Stream};
use lzfse_rust::LzfseDecoder;

use super::adc;
use super::bunzip::{Bunzip, BunzipError};
use crate::image::field::Fields;

/// Dictionaries of xz reach 64 MiB (preset 9); what asks for more is refused, not allocated.
pub(super) const MOST_XZ_MEMORY: u64 = 96 << 20;

/// A way of packing runs, by the run type of a UDIF block table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::image) enum Codec {
    Raw,
    Adc,
    Zlib,
    Bzip2,
    Lzfse,
    Lzma,
}

impl Codec {
    /// The codec of a run type, if it is one.
    pub fn from_run_type(run_type: u32) -> Option<Codec> {
        match run_type {
            0x0000_0001 => Some(Codec::Raw),
            0x8000_0004 => Some(Codec::Adc),
            0x8000_0005 => Some(Codec::Zlib),
            0x8000_0006 => Some(Codec::Bzip2),
            0x8000_0007 => Some(Codec::Lzfse),
            0x8000_0008 => Some(Codec::Lzma),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Codec::Raw => "raw",
            Codec::Adc => "adc",
            Codec::Zlib => "zlib",
            Codec::Bzip2 => "bzip2",
            Codec::Lzfse => "lzfse",
            Codec::Lzma => "lzma",
        }
    }
}

/// Why a run gives no bytes.
#[derive(Debug, thiserror::Error)]
pub(in crate::image) enum RunError {
    #[error("its data is damaged")]
    Damaged,
    #[error("its data ends too early")]
    Cut,
    #[error("it expands to {made} bytes instead of {want}")]
    Short { made: usize, want: usize },
    #[error("it expands to more than its declared {want} bytes")]
    Long { want: usize },
    #[error(transparent)]
    Adc(#[from] adc::AdcError),
    #[error("its LZFSE data is damaged: {0}")]
    Lzfse(lzfse_rust::Error),
    #[error("its bzip2 data is damaged: {0}")]
    Bzip2(BunzipError),
    #[error("its xz data is damaged or asks for more than 96 MiB: {0}")]
    Xz(#[from] liblzma::stream::Error),
}

impl From<BunzipError> for RunError {
    fn from(error: BunzipError) -> RunError {
        match error {
            BunzipError::Cut { .. } => RunError::Cut,
            BunzipError::Long { most } => RunError::Long { want: most },
            damaged @ BunzipError::Damaged { .. } => RunError::Bzip2(damaged),
        }
    }
}

/// Unpacks runs one after the other; keeps what its codecs can use again.
pub(in crate::image) struct Unpacker {
    zlib: Decompressor,
    lzfse: LzfseDecoder,
    /// Made when it is needed: it is large.
    bunzip: Option<Box<Bunzip>>,
}

impl Unpacker {
    pub fn new() -> Unpacker {
        Unpacker { zlib: Decompressor::new(), lzfse: LzfseDecoder::default(), bunzip: None }
    }

    /// Unpacks `packed` into `out`, which afterwards holds exactly `want` bytes. `out` may hold anything before;
    /// its memory is used again. Raw runs are read in place and never come here.
    pub fn unpack(
        &mut self,
        codec: Codec,
        packed: &[u8],
        want: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        if codec == Codec::Lzfse {
            return self.unpack_lzfse(packed, want, out);
        }
        out.resize(want, 0);
        let made = match codec {
            Codec::Raw | Codec::Lzfse => 0,
            Codec::Adc => adc::decode(packed, out)?,
            Codec::Zlib => self.zlib.zlib_decompress(packed, out).map_err(|error| match error {
                DecompressionError::BadData => RunError::Damaged,
                DecompressionError::InsufficientSpace => RunError::Long { want },
            })?,
            Codec::Bzip2 => self.bunzip.get_or_insert_default().unpack(packed, out)?,
            Codec::Lzma => unxz(packed, out)?,
        };
        exactly(made, want)
    }

    /// The decoder writes to a vector without a limit, so the lengths that its block headers promise are added up
    /// first; it holds each block to its promise.
    fn unpack_lzfse(&mut self, packed: &[u8], want: usize, out: &mut Vec<u8>) -> Result<(), RunError> {
        match lzfse_length(packed) {
            None => return Err(RunError::Cut),
            Some(made) if made > want as u64 => return Err(RunError::Long { want }),
            Some(_) => {}
        }
        out.clear();
        self.lzfse.decode_bytes(packed, out).map_err(RunError::Lzfse)?;
        exactly(out.len(), want)
    }
}

fn exactly(made: usize, want: usize) -> Result<(), RunError> {
    if made == want { Ok(()) } else { Err(RunError::Short { made, want }) }
}

/// Bytes that a whole LZFSE stream promises: the sum over its block headers up to the end-of-stream mark.
///
/// | magic | header | raw bytes | payload |
/// |---|---|---|---|
/// | `bvx-` | 8 | u32 at 4 | as many |
/// | `bvxn` | 12 | u32 at 4 | u32 at 8 |
/// | `bvx1` | 772 | u32 at 4 | u32 at 20 and 24 |
/// | `bvx2` | u32 at 24 | u32 at 4 | bits 20-39 of u64 at 8, bits 40-59 of u64 at 16 |
fn lzfse_length(packed: &[u8]) -> Option<u64> {
    let mut rest = packed;
    let mut total = 0_u64;
    loop {
        let header = Fields(rest);
        let raw = u64::from(header.le32(4));
        let length = match &header.array(0) {
            b"bvx$" => return Some(total),
            b"bvx-" => 8 + raw,
            b"bvxn" => 12 + u64::from(header.le32(8)),
            b"bvx1" => 772 + u64::from(header.le32(20)) + u64::from(header.le32(24)),
            b"bvx2" => {
                let (literals, triples) = (header.le64(8) >> 20 & 0xf_ffff, header.le64(16) >> 40 & 0xf_ffff);
                u64::from(header.le32(24)).max(32) + literals + triples
            }
            _ => return None,
        };
        total += raw;
        rest = rest.get(usize::try_from(length).ok()?..)?;
    }
}

fn unxz(packed: &[u8], out: &mut [u8]) -> Result<usize, RunError> {
    let mut stream = Stream::new_stream_decoder(MOST_XZ_MEMORY, 0)?;
    let (mut used, mut made) = (0, 0);
    loop {
        let full = made == out.len();
        let mut beyond = [0];
        let room = if full { &mut beyond[..] } else { &mut out[made..] };
        let status = stream.process(&packed[used..], room, Action::Run)?;
        let progress = stream.total_in() > used as u64 || stream.total_out() > made as u64;
        if full && stream.total_out() > made as u64 {
            return Err(RunError::Long { want: out.len() });
        }
        used = stream.total_in() as usize;
        made = stream.total_out() as usize;
        match status {
            liblzma::stream::Status::StreamEnd => return Ok(made),
            _ if !progress => return Err(RunError::Cut),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..9000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match codec {
            Codec::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::new(6));
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            Codec::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::best());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            Codec::Lzma => {
                let mut encoder = liblzma::write::XzEncoder::new(&mut out, 6);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            Codec::Lzfse => drop(lzfse_rust::encode_bytes(bytes, &mut out).unwrap()),
            Codec::Adc => {
                for literal in bytes.chunks(128) {
                    out.push(0x7f + literal.len() as u8);
                    out.extend_from_slice(literal);
                }
            }
            Codec::Raw => out.extend_from_slice(bytes),
        }
        out
    }

    const PACKING: [Codec; 5] = [Codec::Adc, Codec::Zlib, Codec::Bzip2, Codec::Lzfse, Codec::Lzma];

    #[test]
    fn every_codec_gives_back_what_was_packed_into_a_buffer_used_before() {
        let (text, mut unpacker, mut out) = (text(), Unpacker::new(), vec![9; 100_000]);
        for codec in PACKING {
            unpacker.unpack(codec, &packed(codec, &text), text.len(), &mut out).unwrap();
            assert!(out == text, "{}", codec.name());
        }
    }

    #[test]
    fn a_run_that_is_longer_or_shorter_than_declared_is_bad_in_every_codec() {
        let (text, mut unpacker, mut out) = (text(), Unpacker::new(), Vec::new());
        for codec in PACKING {
            let packed = packed(codec, &text);
            let longer = unpacker.unpack(codec, &packed, text.len() + 512, &mut out);
            assert!(matches!(longer, Err(RunError::Short { .. })), "{}: {longer:?}", codec.name());
            if codec != Codec::Adc {
                let shorter = unpacker.unpack(codec, &packed, text.len() - 512, &mut out);
                assert!(matches!(shorter, Err(RunError::Long { .. })), "{}: {shorter:?}", codec.name());
            }
        }
    }

    #[test]
    fn a_run_that_is_cut_off_is_bad_in_every_codec() {
        let (text, mut unpacker, mut out) = (text(), Unpacker::new(), Vec::new());
        for codec in PACKING {
            let packed = packed(codec, &text);
            for length in [0, 1, 7, packed.len() / 2, packed.len() - 20] {
                let cut = unpacker.unpack(codec, &packed[..length], text.len(), &mut out);
                assert!(cut.is_err(), "{} cut to {length}", codec.name());
            }
        }
    }

    #[test]
    fn a_small_lzfse_run_that_promises_gigabytes_is_refused_before_it_is_decoded() {
        let mut bomb = b"bvxn".to_vec();
        bomb.extend(u32::MAX.to_le_bytes());
        bomb.extend(8_u32.to_le_bytes());
        bomb.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        bomb.extend(b"bvx$");
        let refused = Unpacker::new().unpack(Codec::Lzfse, &bomb, 1 << 20, &mut Vec::new());
        assert!(matches!(refused, Err(RunError::Long { want: 0x10_0000 })), "{refused:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn flipped_bytes_never_panic_and_never_exceed_the_declared_length(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
        ) {
            let (text, mut unpacker) = (text(), Unpacker::new());
            for codec in PACKING {
                let mut packed = packed(codec, &text);
                for (at, byte) in &flips {
                    let at = at.index(packed.len());
                    packed[at] = *byte;
                }
                let mut out = Vec::new();
                if unpacker.unpack(codec, &packed, text.len(), &mut out).is_ok() {
                    prop_assert_eq!(out.len(), text.len());
                }
            }
        }
    }
}
