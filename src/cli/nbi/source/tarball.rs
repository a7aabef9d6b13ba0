//! A set in a tar, plain or compressed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;

use super::Visit;
use crate::netboot::nbi::Tar;

/// Memory that an xz stream may claim.
const MOST_XZ_MEMORY: u64 = 256 << 20;

/// Whether a file is a tar, by its content.
pub fn is_tar(path: &Path) -> anyhow::Result<bool> {
    let mut head = Vec::new();
    // What cannot be unpacked is something else, and told as that.
    let read = plain(path)?.take(512).read_to_end(&mut head);
    Ok(read.is_ok() && head.get(257..262) == Some(b"ustar"))
}

/// Goes through the tar.
pub fn each(path: &Path, visit: Visit<'_>) -> anyhow::Result<()> {
    let mut tar = Tar::new(plain(path)?);
    while let Some(entry) = tar.advance()? {
        if !entry.path.is_empty() {
            visit(entry, &mut tar)?;
        }
    }
    Ok(())
}

/// The bytes of the tar itself.
fn plain(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut file = BufReader::with_capacity(256 << 10, file);
    let start = file.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MOST_XZ_MEMORY, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        _ => Box::new(file),
    })
}
