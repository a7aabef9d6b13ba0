//! Proof that a disk did not change while it was read.
//!
//! Owns: what is looked at twice. Must not know: who could have changed it.
//!
//! A file system that is written to changes its own records first or last; so these are compared, whole:
//!
//! | what | where |
//! |---|---|
//! | length and time of the last change | of a file |
//! | partition tables | first MiB and last 64 KiB of the disk |
//! | volume headers (HFS+ counts its writes there), boot sectors, APFS block 0 | first and last 64 KiB of each volume |
//! | APFS checkpoints: every transaction writes one | the descriptor area |
//! | the map of used blocks | read anew and compared |
//! | content | a sample of the cells, against their digests |
//!
//! All of it is read from the medium, past caches.

use std::io;

use crate::image::capture::shape::{Copied, Shape, allocation};
use crate::image::capture::{Origin, Reader};
use crate::image::chunk::Span;
use crate::image::field::Fields;
use crate::image::manifest::Manifest;
use crate::value::Digest;

const TABLE: u64 = 1 << 20;
const EDGE: u64 = 64 << 10;
/// Bytes of a descriptor area that are looked at; macOS makes some hundred blocks of 4 KiB.
const MOST_CHECKPOINTS: u64 = 16 << 20;
/// Cells of the sample.
const SAMPLE: usize = 256;

/// The disk changed.
#[derive(Debug, thiserror::Error)]
pub enum Changed {
    /// Something is different now.
    #[error("the disk changed while it was read: {what} at byte {at} is different now")]
    Different {
        /// What.
        what: &'static str,
        /// Where, on the disk or, for a cell, in the image.
        at: u64,
    },
    /// A file has another length or time of change now.
    #[error("the file was written to while it was read: its length or time of change is another one now")]
    Touched,
    /// It cannot be read any more.
    #[error("reading the disk again at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// What a disk looked like before it was read.
#[derive(Debug)]
pub struct Witness {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    what: &'static str,
    span: Span,
    digest: Digest,
}

impl Witness {
    /// Looks at the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(origin: &impl Origin, shape: &Shape) -> Result<Witness, Changed> {
        let mut spans = vec![("the partition table", edge(0, origin.size(), TABLE, true))];
        spans.push(("the backup partition table", edge(0, origin.size(), EDGE, false)));
        for Copied { from, .. } in shape.copied().filter(|copied| copied.volume) {
            spans.push(("the header of a volume", edge(from.offset, from.length, EDGE, true)));
            spans.push(("the end of a volume", edge(from.offset, from.length, EDGE, false)));
            let area = checkpoints(origin, *from);
            let area = area.map_err(|source| Changed::Read { at: from.offset, source })?;
            spans.extend(area.map(|span| ("the APFS checkpoints", span)));
        }
        let seen = spans.into_iter().map(|(what, span)| Ok(Seen { what, span, digest: look(origin, span)? }));
        Ok(Witness { seen: seen.collect::<Result<_, _>>()? })
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`Changed`] names what is different.
    pub fn check(&self, origin: &impl Origin, shape: &Shape) -> Result<(), Changed> {
        if origin.was_touched().map_err(|source| Changed::Read { at: 0, source })? {
            return Err(Changed::Touched);
        }
        for Seen { what, span, digest } in &self.seen {
            if look(origin, *span)? != *digest {
                return Err(Changed::Different { what, at: span.offset });
            }
        }
        for copied in shape.copied().filter(|copied| copied.volume) {
            let at = copied.from.offset;
            let now = allocation(&mut Reader::past_caches(origin), copied.from);
            if now.map_err(|source| Changed::Read { at, source })? != copied.allocation {
                return Err(Changed::Different { what: "the map of used blocks of the volume", at });
            }
        }
        Ok(())
    }
}

/// The first or last `length` bytes of the stretch at `offset`.
fn edge(offset: u64, size: u64, length: u64, front: bool) -> Span {
    let length = length.min(size);
    Span { offset: if front { offset } else { offset + size - length }, length }
}

fn look(origin: &impl Origin, span: Span) -> Result<Digest, Changed> {
    let mut bytes = vec![0; span.length as usize];
    let read = origin.read_again(span.offset, &mut bytes);
    read.map_err(|source| Changed::Read { at: span.offset, source })?;
    Ok(Digest::of(&bytes))
}

/// The checkpoint descriptor area of an APFS container (Apple File System Reference, `nx_xp_desc_blocks` at 104 and
/// `nx_xp_desc_base` at 112), where it is contiguous.
fn checkpoints(origin: &impl Origin, volume: Span) -> io::Result<Option<Span>> {
    let mut first = [0; 4096];
    if volume.length < first.len() as u64 {
        return Ok(None);
    }
    origin.read_at(volume.offset, &mut first)?;
    let fields = Fields(&first);
    let (block, count, base) = (u64::from(fields.le32(36)), fields.le32(104), fields.le64(112));
    if !fields.has(32, b"NXSB") || count >> 31 == 1 {
        return Ok(None);
    }
    let from = base.saturating_mul(block).min(volume.length);
    let length = u64::from(count).saturating_mul(block).min(MOST_CHECKPOINTS).min(volume.length - from);
    Ok(Some(Span { offset: volume.offset + from, length }))
}

/// Reads some cells again, spread evenly over the image, and compares them with their digests.
///
/// # Errors
/// [`Changed`] names the first cell that is different.
pub(super) fn sample(origin: &impl Origin, shape: &Shape, manifest: &Manifest) -> Result<(), Changed> {
    let every = (manifest.digests().count() / SAMPLE).max(1);
    // The middle of each stretch: its first cell is often a header that is looked at anyway.
    for (span, digest) in manifest.cells().skip(every / 2).step_by(every) {
        let bytes = shape.read_again(origin, span);
        let bytes = bytes.map_err(|source| Changed::Read { at: span.offset, source })?;
        if Digest::of(&bytes) != digest {
            return Err(Changed::Different { what: "a block", at: span.offset });
        }
    }
    Ok(())
}
