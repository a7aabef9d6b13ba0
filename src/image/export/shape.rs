//! What an export covers: areas of the image, and in each what is data, zero or unallocated.
//!
//! Owns: the cut into areas and pieces. An area is what the partition map tells apart, so no run of a `.dmg` crosses it.

use super::{Format, PIECE};
use crate::image::manifest::{Manifest, PartitionFacts, Region, Run, VolumeFacts};
use crate::image::partition::Scheme;

const SECTOR: u64 = 512;

/// What fills a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Data,
    /// Zeros that are part of the image.
    Zero,
    /// Unallocated: reads as zeros, and need not be written.
    Free,
}

/// Bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First byte in the export.
    pub offset: u64,
    /// How many; never 0.
    pub length: u64,
    /// What they are.
    pub kind: Kind,
}

impl Stretch {
    /// The byte behind the last.
    pub fn end(self) -> u64 {
        self.offset + self.length
    }
}

/// A part of the image that belongs together.
#[derive(Clone, Debug)]
pub struct Area {
    /// First byte in the export.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// What it is, when it is a partition.
    pub partition: Option<PartitionFacts>,
    /// The file system in it.
    pub volume: Option<VolumeFacts>,
    /// What is in it, in order; neighbours are of different kinds.
    pub stretches: Vec<Stretch>,
}

/// An image, or one partition of it, as it is exported.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Where the export begins in the image.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The partition map, none for a partition alone.
    pub scheme: Scheme,
    /// In order, from 0 to the end.
    pub areas: Vec<Area>,
    /// What a `.dmg` is numbered, where it has a number of its own.
    pub id: Option<u128>,
}

/// The image cannot be exported so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No such partition.
    #[error("the image has no partition {number}; it has {present}")]
    NoPartition {
        /// The number that was asked for.
        number: u32,
        /// Those that are there.
        present: String,
    },
    /// partclone holds one volume.
    #[error(
        "partclone holds one volume and this image has several partitions: name one with --partition, it has {present}"
    )]
    OneVolume {
        /// Those that are there.
        present: String,
    },
    /// Only raw.zst is made of parts that stand for themselves.
    #[error(
        "an export as {format} cannot begin at byte {from} of an image of {size}: only raw.zst begins anywhere in it"
    )]
    From {
        /// Where it should begin.
        from: u64,
        /// Bytes of the image.
        size: u64,
        /// The format.
        format: Format,
    },
    /// A size that the format has no unit for.
    #[error("{size} bytes are no whole number of sectors, as {format} has them; export it raw")]
    Sectors {
        /// Bytes.
        size: u64,
        /// The format.
        format: Format,
    },
}

impl Shape {
    /// The whole image, or one partition of it.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn new(manifest: &Manifest, partition: Option<u32>) -> Result<Shape, Unfit> {
        let regions: Vec<&Region> = match partition {
            None => manifest.regions().iter().collect(),
            Some(number) => match manifest.partition(number) {
                Some(region) => vec![region],
                None => return Err(Unfit::NoPartition { number, present: present(manifest.regions()) }),
            },
        };
        let start = regions.first().map_or(0, |first| first.start);
        let areas: Vec<Area> = regions.into_iter().map(|region| area(region, start)).collect();
        let size = areas.iter().map(|area| area.size).sum();
        let scheme = if partition.is_some() { Scheme::None } else { manifest.scheme() };
        Ok(Shape { start, size, scheme, areas, id: None })
    }

    /// Whether the format can hold it.
    ///
    /// # Errors
    /// It cannot.
    pub fn fits(&self, format: Format) -> Result<(), Unfit> {
        match format {
            Format::Raw | Format::RawZst => Ok(()),
            Format::Partclone if self.areas.len() != 1 => Err(Unfit::OneVolume { present: self.present() }),
            Format::Partclone | Format::Udzo | Format::Ulfo => {
                let odd = self.areas.iter().find(|area| !area.size.is_multiple_of(SECTOR));
                odd.map_or(Ok(()), |odd| Err(Unfit::Sectors { size: odd.size, format }))
            }
        }
    }

    /// Whether an export can begin there.
    ///
    /// # Errors
    /// It cannot.
    pub fn may_begin(&self, from: u64, format: Format) -> Result<(), Unfit> {
        match from {
            0 => Ok(()),
            _ if format == Format::RawZst && from < self.size => Ok(()),
            _ => Err(Unfit::From { from, size: self.size, format }),
        }
    }

    /// Numbers of its partitions, for people.
    pub fn present(&self) -> String {
        numbers(self.areas.iter().filter_map(|area| area.partition.as_ref()))
    }

    /// Bytes that are unallocated.
    pub fn unallocated(&self) -> u64 {
        let all = self.areas.iter().flat_map(|area| &area.stretches);
        all.filter(|stretch| stretch.kind == Kind::Free).map(|stretch| stretch.length).sum()
    }

    /// Everything in order: data in pieces, the rest of any length.
    pub fn pieces(&self) -> impl Iterator<Item = Stretch> + '_ {
        self.areas.iter().flat_map(|area| area.stretches.iter().copied()).flat_map(pieces)
    }

    /// The same from a byte on.
    pub fn pieces_from(&self, from: u64) -> impl Iterator<Item = Stretch> + '_ {
        self.pieces().filter(move |stretch| stretch.end() > from).map(move |stretch| {
            let skip = from.saturating_sub(stretch.offset);
            Stretch { offset: stretch.offset + skip, length: stretch.length - skip, ..stretch }
        })
    }
}

/// Data in pieces from its start on, the rest whole.
pub(super) fn pieces(stretch: Stretch) -> impl Iterator<Item = Stretch> {
    let step = if stretch.kind == Kind::Data { PIECE } else { stretch.length };
    (0..stretch.length.div_ceil(step)).map(move |number| {
        let skip = number * step;
        Stretch { offset: stretch.offset + skip, length: step.min(stretch.length - skip), ..stretch }
    })
}

fn area(region: &Region, start: u64) -> Area {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (span, run) in region.placed_runs() {
        let kind = match run {
            Run::Data(_) => Kind::Data,
            Run::Zero(_) => Kind::Zero,
            Run::Unallocated(_) => Kind::Free,
        };
        stretches.push(Stretch { offset: span.offset - start, length: span.length, kind });
    }
    Area {
        offset: region.start - start,
        size: region.size,
        partition: region.partition.clone(),
        volume: region.volume.clone(),
        stretches,
    }
}

fn present(regions: &[Region]) -> String {
    numbers(regions.iter().filter_map(|region| region.partition.as_ref()))
}

fn numbers<'a>(partitions: impl Iterator<Item = &'a PartitionFacts>) -> String {
    let all: Vec<String> = partitions.map(|facts| facts.number.to_string()).collect();
    if all.is_empty() { "no partitions".to_owned() } else { all.join(", ") }
}
