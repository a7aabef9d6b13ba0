//! A shape as an image that an export reads: what is where, and the bytes.
//!
//! Owns: which free stretches are left out of an export, a few places that are looked at again at the end. Must not know: formats.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::capture::shape::{Content, Copied, Part, Shape};
use crate::image::capture::{Changed, Origin, Reader};
use crate::image::chunk::Span;
use crate::image::export::{self, Area, Kind, Stretch};
use crate::image::manifest::{PartitionFacts, VolumeFacts};
use crate::image::partition::Scheme;
use crate::image::volume;
use crate::value::Digest;

/// Free blocks in a row that are fewer are read over and written as zeros: a run of an image has its price, too.
const BRIDGE: u64 = 512 << 10;
/// Every format's smallest unit.
const SECTOR: u64 = 512;
/// Bytes of a place that is looked at again.
const GLANCE: u64 = 64 << 10;
/// Places that are remembered at most; then every second one is.
const MOST_SEEN: usize = 512;

impl Shape {
    /// What an export of it has, as a file that is numbered `id`.
    ///
    /// # Errors
    /// Reading what the volume says of itself.
    pub fn to_export(&self, origin: &impl Origin, id: u128) -> io::Result<export::Shape> {
        let mut areas: Vec<Area> = self.parts.iter().map(|part| self.area(part)).collect();
        // A volume without a partition map around it is called by its own kind.
        if self.layout.scheme == Scheme::None
            && let (Some(area), Some(copied)) = (areas.first_mut(), self.copied().next())
        {
            area.volume = facts(origin, copied)?;
        }
        Ok(export::Shape { start: 0, size: self.size(), scheme: self.layout.scheme, areas, id: Some(id) })
    }

    fn area(&self, part: &Part) -> Area {
        let of = &self.layout.partitions;
        let partition = of.iter().find(|one| one.start == part.at && one.size == part.length());
        Area {
            offset: part.at,
            size: part.length(),
            partition: partition.map(|partition| PartitionFacts {
                number: partition.number,
                kind: partition.kind.to_string(),
                name: partition.name.clone(),
            }),
            volume: None,
            stretches: match &part.content {
                Content::Made(_) => vec![whole(part)],
                Content::Copied(copied) => stretches(part, copied),
            },
        }
    }
}

fn facts(origin: &impl Origin, copied: &Copied) -> io::Result<Option<VolumeFacts>> {
    let found = volume::read(&mut Reader::new(origin), copied.from.offset, copied.from.length)?;
    Ok((found.kind != volume::Kind::Unknown).then(|| VolumeFacts {
        kind: found.kind.to_string(),
        label: found.label.unwrap_or_default(),
        size: found.size,
        used: found.used,
        block_size: found.block_size.unwrap_or(0),
    }))
}

fn whole(part: &Part) -> Stretch {
    Stretch { offset: part.at, length: part.length(), kind: Kind::Data }
}

/// Free stretches that are long enough, and data between them.
fn stretches(part: &Part, copied: &Copied) -> Vec<Stretch> {
    let Some(allocation) = &copied.allocation else { return vec![whole(part)] };
    let mut stretches: Vec<Stretch> = Vec::new();
    for run in allocation.within(copied.from) {
        let offset = part.at + (run.span.offset - copied.from.offset);
        let whole_sectors = offset.is_multiple_of(SECTOR) && run.span.length.is_multiple_of(SECTOR);
        let free = !run.used && run.span.length >= BRIDGE && whole_sectors;
        let kind = if free { Kind::Free } else { Kind::Data };
        match stretches.last_mut() {
            Some(last) if last.kind == kind => last.length += run.span.length,
            _ => stretches.push(Stretch { offset, length: run.span.length, kind }),
        }
    }
    stretches
}

/// The bytes of a shape, free blocks as zeros.
pub struct Picture<'a, O> {
    origin: &'a O,
    shape: &'a Shape,
    position: u64,
    /// Bytes read.
    read: &'a AtomicU64,
    /// Reads so far, and every how many of them one is remembered.
    reads: usize,
    every: usize,
    seen: Vec<(Span, Digest)>,
}

impl<'a, O: Origin> Picture<'a, O> {
    /// From its first byte on; what is read is added to `read`.
    pub fn new(origin: &'a O, shape: &'a Shape, read: &'a AtomicU64) -> Picture<'a, O> {
        Picture { origin, shape, position: 0, read, reads: 0, every: 1, seen: Vec::new() }
    }

    /// Looks again, past caches, at places all over what was read.
    ///
    /// # Errors
    /// [`Changed`] names the first that is different.
    pub fn check(&self) -> Result<(), Changed> {
        for (span, digest) in &self.seen {
            let bytes = self.shape.read_again(self.origin, *span);
            let bytes = bytes.map_err(|source| Changed::Read { at: span.offset, source })?;
            if Digest::of(&bytes) != *digest {
                return Err(Changed::Different { what: "a block", at: span.offset });
            }
        }
        Ok(())
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.reads += 1;
        if !self.reads.is_multiple_of(self.every) {
            return;
        }
        if self.seen.len() == MOST_SEEN {
            let mut number = 0;
            self.seen.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.every *= 2;
        }
        let length = GLANCE.min(bytes.len() as u64);
        let span = Span { offset: self.position, length };
        self.seen.push((span, Digest::of(&bytes[..length as usize])));
    }
}

impl<O: Origin> Read for Picture<'_, O> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.shape.part_of(self.position) else { return Ok(0) };
        let left = part.at + part.length() - self.position;
        let length = left.min(into.len() as u64);
        if length == 0 {
            return Ok(0);
        }
        let into = &mut into[..length as usize];
        let inner = self.position - part.at;
        match &part.content {
            Content::Made(bytes) => into.copy_from_slice(&bytes[inner as usize..][..length as usize]),
            Content::Copied(copied) => {
                let span = Span { offset: copied.from.offset + inner, length };
                self.origin.read_at(span.offset, into)?;
                copied.clear_free(span, into);
                self.read.fetch_add(length, Ordering::Relaxed);
            }
        }
        self.remember(into);
        self.position += length;
        Ok(length as usize)
    }
}

impl<O: Origin> Seek for Picture<'_, O> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.shape.size().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
