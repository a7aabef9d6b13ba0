//! The bytes of a disk in zstd: frames of their own, one behind the other, each with its checksum. Holes cost a few bytes.

use super::bmap::Bmap;
use super::line::in_order;
use super::shape::{Kind, Shape, Stretch};
use super::{Counted, ExportError, Feed, PIECE};

const LEVEL: i32 = 3;

/// A frame of zeros stands for this many.
pub(super) const ZEROS: u64 = 16 << 20;

enum Job {
    Data(Stretch, Vec<u8>),
    Zeros(Stretch),
}

/// Writes it from byte `from` of the image on, and of the whole says its bmap.
pub(super) fn write(
    from: u64,
    shape: &Shape,
    feed: &mut Feed<'_>,
    workers: usize,
    out: &mut Counted<'_>,
) -> Result<Option<String>, ExportError> {
    let failed = |source| ExportError::Pack { codec: "zstd", source };
    let many = frame(&vec![0; ZEROS as usize]).map_err(failed)?;
    let mut bmap = Bmap::new(shape);
    let mut pieces = shape.pieces_from(from);
    let mut next = || {
        let Some(stretch) = pieces.next() else { return Ok(None) };
        feed.reached(stretch.offset)?;
        if stretch.kind != Kind::Data {
            return Ok(Some(Job::Zeros(stretch)));
        }
        let mut bytes = Vec::with_capacity(PIECE as usize);
        feed.read(stretch, &mut bytes)?;
        Ok(Some(Job::Data(stretch, bytes)))
    };
    let work = |_: &mut (), job| match job {
        Job::Data(stretch, bytes) => frame(&bytes).map(|frame| (stretch, bytes, frame)),
        Job::Zeros(stretch) => Ok((stretch, Vec::new(), Vec::new())),
    };
    let mut take = |done: std::io::Result<(Stretch, Vec<u8>, Vec<u8>)>| {
        let (stretch, bytes, packed) = done.map_err(failed)?;
        if stretch.kind == Kind::Data {
            bmap.take(&bytes);
            return out.put(&packed);
        }
        bmap.zeros(stretch.length);
        for _ in 0..stretch.length / ZEROS {
            out.put(&many)?;
        }
        match stretch.length % ZEROS {
            0 => Ok(()),
            rest => out.put(&frame(&vec![0; rest as usize]).map_err(failed)?),
        }
    };
    in_order(workers, &mut next, &|| (), &work, &mut take)?;
    Ok((from == 0).then(|| bmap.finish()))
}

fn frame(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    std::io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}
