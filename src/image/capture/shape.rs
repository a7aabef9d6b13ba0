//! What of a disk an image takes: which partitions, where they lie in it, which of their bytes are in use.
//!
//! Owns: the choice, its errors, [`Shape`] and its promise (parts follow each other from byte 0), bytes of a shape by their
//! place in the image. Must not know: chunks' names, libraries.

use std::fmt;
use std::io;

use crate::image::capture::table::{self, Made};
use crate::image::capture::{Origin, Reader};
use crate::image::chunk::Span;
use crate::image::partition::{self, Layout, Partition, PartitionError, PartitionType, Scheme};
use crate::image::volume::{self, Allocation, Distrust};

/// What is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole disk, partition table included.
    Whole,
    /// One partition: the image is a bare volume.
    Partition(u32),
    /// The volume with macOS on it and, where there is one beside it, its Recovery partition, in a disk of their own.
    Macos,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Whole => f.write_str("the whole disk"),
            Selection::Partition(number) => write!(f, "partition {number}"),
            Selection::Macos => f.write_str("macOS and its Recovery"),
        }
    }
}

/// Why there is nothing to take.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// The partition table.
    #[error(transparent)]
    Table(#[from] PartitionError),
    /// Reading what volumes say of themselves.
    #[error("reading the volumes of the disk")]
    Read(#[source] io::Error),
    /// Nothing there.
    #[error("the disk is empty: it has no bytes")]
    Empty,
    /// No such partition.
    #[error("there is no partition {number}; the disk has {have}")]
    NoPartition {
        /// As asked.
        number: u32,
        /// What there is.
        have: String,
    },
    /// No partition with macOS, or more than one.
    #[error("{found} macOS; name a partition, or take the whole disk; the disk has {have}")]
    NotOne {
        /// `no partition seems to have`, `partitions 2, 4 seem to have`.
        found: String,
        /// What there is.
        have: String,
    },
    /// Only a GPT can be made anew.
    #[error(
        "partitions of a disk with {0} cannot be put on a disk of their own: name one partition, or take the whole disk"
    )]
    Scheme(Scheme),
}

/// An image before it is read.
#[derive(Debug)]
pub struct Shape {
    /// The partition that was asked for, or has macOS; none of a whole disk.
    partition: Option<u32>,
    pub(super) layout: Layout,
    pub(super) parts: Vec<Part>,
    size: u64,
    warnings: Vec<String>,
}

/// A stretch of the image.
#[derive(Debug)]
pub(super) struct Part {
    /// First byte in the image.
    pub at: u64,
    pub content: Content,
}

/// Where its bytes come from.
#[derive(Debug)]
pub(super) enum Content {
    /// Made here: tables, gaps.
    Made(Vec<u8>),
    /// As on the disk.
    Copied(Copied),
}

/// Bytes as on the disk.
#[derive(Debug)]
pub(super) struct Copied {
    /// Where they lie there.
    pub from: Span,
    /// Whether a file system is looked for in them.
    pub volume: bool,
    /// Which of them are in use; none: all.
    pub allocation: Option<Allocation>,
}

impl Part {
    pub fn length(&self) -> u64 {
        match &self.content {
            Content::Made(bytes) => bytes.len() as u64,
            Content::Copied(copied) => copied.from.length,
        }
    }
}

impl Shape {
    /// Looks at a disk and chooses.
    ///
    /// # Errors
    /// See [`ShapeError`].
    pub fn of(origin: &impl Origin, selection: Selection) -> Result<Shape, ShapeError> {
        let size = origin.size();
        if size == 0 {
            return Err(ShapeError::Empty);
        }
        let layout = partition::read(&mut Reader::new(origin), size)?;
        let mut shape = match selection {
            Selection::Whole => whole(layout, size),
            Selection::Partition(number) => one(&layout, number)?,
            Selection::Macos if layout.scheme == Scheme::None => whole(layout, size),
            Selection::Macos => macos(origin, &layout)?,
        };
        let mut warnings = Vec::new();
        for copied in shape.copied_mut().filter(|copied| copied.volume) {
            let Span { offset, length } = copied.from;
            let judged = volume::judged_allocation(&mut Reader::new(origin), offset, length);
            match judged.map_err(ShapeError::Read)? {
                Ok(allocation) => copied.allocation = Some(allocation),
                Err(Distrust::Unknown) => {}
                Err(why) => warnings
                    .push(format!("all of the volume at byte {offset} is captured, free blocks too: {why}")),
            }
        }
        let odd = shape.layout.warnings.iter().map(ToString::to_string);
        shape.warnings = odd.chain(warnings).collect();
        Ok(shape)
    }

    fn new(layout: Layout, contents: Vec<Content>) -> Shape {
        let mut shape = Shape { partition: None, layout, parts: Vec::new(), size: 0, warnings: Vec::new() };
        for content in contents {
            let part = Part { at: shape.size, content };
            if part.length() > 0 {
                shape.size += part.length();
                shape.parts.push(part);
            }
        }
        shape
    }

    /// The number that the partition has on the disk, where one was chosen: asked for, or the one with macOS.
    pub fn partition(&self) -> Option<u32> {
        self.partition
    }

    /// Bytes of the image.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are read from the disk.
    pub fn used(&self) -> u64 {
        let used = |copied: &Copied| match &copied.allocation {
            Some(allocation) => allocation.used(),
            None => copied.from.length,
        };
        self.copied().map(used).sum()
    }

    /// What is odd about the partition table or a volume and stops nobody.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Partitions of the image, one line each.
    pub fn partitions(&self) -> String {
        have(&self.layout)
    }

    pub(super) fn copied(&self) -> impl Iterator<Item = &Copied> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::Copied(copied) => Some(copied),
            Content::Made(_) => None,
        })
    }

    fn copied_mut(&mut self) -> impl Iterator<Item = &mut Copied> {
        self.parts.iter_mut().filter_map(|part| match &mut part.content {
            Content::Copied(copied) => Some(copied),
            Content::Made(_) => None,
        })
    }

    /// The part that has this byte of the image.
    pub(super) fn part_of(&self, at: u64) -> Option<&Part> {
        let before = self.parts.partition_point(|part| part.at <= at);
        self.parts[..before].last().filter(|part| at < part.at + part.length())
    }

    /// The bytes of the image in `span`, which lies within one part, free blocks as zeros; read past caches.
    pub(super) fn read_again(&self, origin: &impl Origin, span: Span) -> io::Result<Vec<u8>> {
        let Some(part) = self.part_of(span.offset).filter(|part| span.end() <= part.at + part.length())
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let inner = (span.offset - part.at) as usize;
        match &part.content {
            Content::Made(bytes) => Ok(bytes[inner..][..span.length as usize].to_vec()),
            Content::Copied(copied) => {
                let from = Span { offset: copied.from.offset + inner as u64, length: span.length };
                let mut bytes = vec![0; span.length as usize];
                origin.read_again(from.offset, &mut bytes)?;
                copied.clear_free(from, &mut bytes);
                Ok(bytes)
            }
        }
    }
}

impl Copied {
    /// Zeroes what is free in the bytes of the disk at `span`.
    pub fn clear_free(&self, span: Span, bytes: &mut [u8]) {
        let Some(allocation) = &self.allocation else { return };
        for run in allocation.within(span).filter(|run| !run.used) {
            let from = (run.span.offset - span.offset) as usize;
            bytes[from..from + run.span.length as usize].fill(0);
        }
    }
}

/// Which bytes of a region are in use, past caches when `reader` is. None: all of them, as far as anybody can tell.
pub(super) fn allocation<O: Origin>(
    reader: &mut Reader<'_, O>,
    region: Span,
) -> io::Result<Option<Allocation>> {
    volume::allocation(reader, region.offset, region.length)
}

fn whole(layout: Layout, size: u64) -> Shape {
    let copied = |offset: u64, end: u64, volume: bool| {
        let from = Span { offset, length: end - offset };
        Content::Copied(Copied { from, volume, allocation: None })
    };
    let (mut contents, mut at) = (Vec::new(), 0);
    for partition in &layout.partitions {
        contents.push(copied(at, partition.start, false));
        at = partition.start + partition.size;
        contents.push(copied(partition.start, at, true));
    }
    contents.push(copied(at, size, layout.scheme == Scheme::None));
    Shape::new(layout, contents)
}

fn partition_content(partition: &Partition) -> Content {
    let from = Span { offset: partition.start, length: partition.size };
    Content::Copied(Copied { from, volume: true, allocation: None })
}

fn one(layout: &Layout, number: u32) -> Result<Shape, ShapeError> {
    let found = layout.partitions.iter().find(|partition| partition.number == number);
    let found = found.ok_or_else(|| ShapeError::NoPartition { number, have: have(layout) })?;
    let bare = Layout {
        scheme: Scheme::None,
        block_size: layout.block_size,
        partitions: Vec::new(),
        warnings: layout.warnings.clone(),
    };
    Ok(Shape { partition: Some(number), ..Shape::new(bare, vec![partition_content(found)]) })
}

fn macos(origin: &impl Origin, layout: &Layout) -> Result<Shape, ShapeError> {
    let mut reader = Reader::new(origin);
    let mut candidates = Vec::new();
    for (index, partition) in layout.partitions.iter().enumerate() {
        let mac = partition.kind.holds_macos() || partition.kind == PartitionType::AppleCoreStorage;
        if mac {
            let facts =
                volume::read(&mut reader, partition.start, partition.size).map_err(ShapeError::Read)?;
            candidates.push((index, has_macos(&facts)));
        }
    }
    // A volume that tells its macOS is it. Where none does (FileVault), the only one that could have it is.
    let telling: Vec<usize> =
        candidates.iter().filter(|(_, tells)| *tells).map(|(index, _)| *index).collect();
    let chosen = match (telling.as_slice(), candidates.as_slice()) {
        ([one], _) | ([], [(one, _)]) => *one,
        ([], _) => {
            let found = "no partition, or none alone, seems to have".to_owned();
            return Err(ShapeError::NotOne { found, have: have(layout) });
        }
        (several, _) => {
            let numbers: Vec<String> =
                several.iter().map(|index| layout.partitions[*index].number.to_string()).collect();
            let found = format!("partitions {} have", numbers.join(", "));
            return Err(ShapeError::NotOne { found, have: have(layout) });
        }
    };
    let recovery = recovery(&layout.partitions, chosen);
    let chosen: Vec<Partition> =
        std::iter::once(&layout.partitions[chosen]).chain(recovery).cloned().collect();
    if layout.scheme != Scheme::Gpt {
        return Err(ShapeError::Scheme(layout.scheme));
    }
    let made =
        table::make(&mut reader, origin.size(), layout.block_size, &chosen).map_err(ShapeError::Read)?;
    let Made { layout: own, head, tail } = made.ok_or(ShapeError::Scheme(layout.scheme))?;
    let (mut contents, mut at) = (vec![Content::Made(head)], 0);
    for (placed, source) in own.partitions.iter().zip(&chosen) {
        if at > 0 {
            contents.push(Content::Made(vec![0; (placed.start - at) as usize]));
        }
        contents.push(partition_content(source));
        at = placed.start + placed.size;
    }
    contents.push(Content::Made(tail));
    Ok(Shape { partition: chosen.first().map(|one| one.number), ..Shape::new(own, contents) })
}

/// The Recovery partition of the volume at `chosen`: the installer of macOS makes it right behind (up to 10.12; an APFS
/// container has it inside).
fn recovery(partitions: &[Partition], chosen: usize) -> Option<&Partition> {
    let boot = |partition: &&Partition| partition.kind == PartitionType::AppleBoot;
    let next = partitions.get(chosen + 1).filter(boot);
    next.or_else(|| partitions.iter().filter(boot).find(|partition| partition.name == "Recovery HD"))
}

fn has_macos(facts: &volume::Facts) -> bool {
    facts.system.is_some()
}

/// `2 Apple_HFS "Macintosh HD" 120 GiB, …`.
fn have(layout: &Layout) -> String {
    if layout.partitions.is_empty() {
        return "no partition table".to_owned();
    }
    let line = |partition: &Partition| {
        let size = crate::value::ByteSize(partition.size);
        match partition.name.as_str() {
            "" => format!("{} {} {size}", partition.number, partition.kind),
            name => format!("{} {} {name:?} {size}", partition.number, partition.kind),
        }
    };
    layout.partitions.iter().map(line).collect::<Vec<_>>().join(", ")
}
