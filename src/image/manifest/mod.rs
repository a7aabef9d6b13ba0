//! What an image consists of: its regions, and for each cell the chunk, or that it is zero or unallocated.
//!
//! Owns: [`Manifest`] and its invariants, its canonical bytes (`codec`), the signature over them (`signed`),
//! and the table that says in which packs the chunks lie (`locations`).
//! Must not know: who keeps manifests, how chunks are fetched.
//!
//! A manifest is named by the BLAKE3 digest of its canonical bytes; the signature is not part of the name.

mod codec;
mod locations;
mod signed;

pub use codec::BadManifest;
pub use locations::{BadLocations, Location, Locations};
pub use signed::{BadKey, MAX_SIGNED, ManifestKey, SignedManifest, Signer, Untrusted};

use crate::image::chunk::{Span, cell_count};
use crate::image::partition::{PartitionType, Scheme};
use crate::value::Digest;

/// Largest image: 128 TiB, so that runs count their cells in 32 bits.
pub const MAX_IMAGE: u64 = 1 << 47;
/// GPT has up to 128 partitions in practice, each with a gap before it.
const MAX_REGIONS: usize = 4096;

/// An image, whole: the regions follow each other without gap from 0 to its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    size: u64,
    source: Sha256,
    scheme: Scheme,
    regions: Vec<Region>,
}

/// SHA-256 of a whole decoded image: what people compare with other tools.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

/// A stretch of an image with its own grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte in the image.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What it is, when it is a partition; none for maps, gaps and bare volumes.
    pub partition: Option<PartitionFacts>,
    /// File system in it, when it is a partition or a bare volume and was recognised.
    pub volume: Option<VolumeFacts>,
    /// Its cells in order, alike ones together.
    pub runs: Vec<Run>,
}

/// What the partition map says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Number in the map, from 1.
    pub number: u32,
    /// Type as [`PartitionType`] prints it.
    pub kind: String,
    /// Name, may be empty.
    pub name: String,
}

/// What the file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// `hfs+`, `apfs` …
    pub kind: String,
    /// Volume name, may be empty.
    pub label: String,
    /// Bytes.
    pub size: u64,
    /// Bytes in use, where the file system tells.
    pub used: Option<u64>,
    /// Allocation block in bytes.
    pub block_size: u32,
}

/// Neighbouring cells of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Chunks by name, one a cell.
    Data(Vec<Digest>),
    /// This many cells of zeros.
    Zero(u64),
    /// This many cells that the image says nothing about. They read as zeros; no checksum covers them
    /// (UDIF "ignore" runs).
    Unallocated(u64),
}

impl Run {
    /// Number of cells.
    pub fn cells(&self) -> u64 {
        match self {
            Run::Data(digests) => digests.len() as u64,
            Run::Zero(count) | Run::Unallocated(count) => *count,
        }
    }
}

impl Region {
    /// Where it lies in the image.
    pub fn span(&self) -> Span {
        Span { offset: self.start, length: self.size }
    }

    /// Chunks in it, doubles counted.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.runs.iter().flat_map(|run| match run {
            Run::Data(digests) => digests.as_slice(),
            Run::Zero(_) | Run::Unallocated(_) => &[],
        })
    }

    /// Number of chunks in it, doubles counted.
    pub fn data_cells(&self) -> usize {
        let count = |run: &Run| match run {
            Run::Data(digests) => digests.len(),
            Run::Zero(_) | Run::Unallocated(_) => 0,
        };
        self.runs.iter().map(count).sum()
    }

    /// Its runs, each with the bytes of the image that it covers.
    pub fn placed_runs(&self) -> impl Iterator<Item = (Span, &Run)> {
        let mut number = 0;
        self.runs.iter().map(move |run| {
            let span = self.span().cell_run(number, run.cells());
            number += run.cells();
            (span, run)
        })
    }
}

/// Regions that are no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// A region does not begin where the one before it ends.
    #[error("region {region} starts at byte {start}, but the one before it ends at {end}")]
    NotContiguous {
        /// Number of the region.
        region: usize,
        /// Its start.
        start: u64,
        /// Where the one before ends.
        end: u64,
    },
    /// The runs do not add up to the size of their region.
    #[error("region {region} has {cells} cells, its size needs {needed}")]
    CellCount {
        /// Number of the region.
        region: usize,
        /// Cells in its runs.
        cells: u64,
        /// Cells that its size needs.
        needed: u64,
    },
    /// A run is empty, or like the one before it: the canonical form has neither.
    #[error("run {run} of region {region} is empty or continues the one before it")]
    NotCanonical {
        /// Number of the region.
        region: usize,
        /// Number of the run.
        run: usize,
    },
    /// No regions.
    #[error("the image is empty")]
    Empty,
    /// A region without bytes, or an image beyond every disk.
    #[error("region {region} of the image cannot have {size} bytes")]
    Size {
        /// Number of the region.
        region: usize,
        /// Its size.
        size: u64,
    },
    /// More regions than any partition map makes.
    #[error("the image has {0} regions, more than any partition map makes")]
    TooMany(usize),
}

impl Manifest {
    /// Puts an image together from its regions.
    ///
    /// # Errors
    /// When the regions do not cover it, or their runs do not cover them: see [`NoImage`].
    pub fn new(source: Sha256, scheme: Scheme, regions: Vec<Region>) -> Result<Manifest, NoImage> {
        if regions.len() > MAX_REGIONS {
            return Err(NoImage::TooMany(regions.len()));
        }
        let mut end = 0_u64;
        for (number, region) in regions.iter().enumerate() {
            if region.start != end {
                return Err(NoImage::NotContiguous { region: number, start: region.start, end });
            }
            end = match end.checked_add(region.size) {
                Some(next) if next > end && next <= MAX_IMAGE => next,
                _ => return Err(NoImage::Size { region: number, size: region.size }),
            };
            check_runs(number, region)?;
        }
        if end == 0 {
            return Err(NoImage::Empty);
        }
        Ok(Manifest { size: end, source, scheme, regions })
    }

    /// Bytes of the decoded image.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of the whole decoded image.
    pub fn source(&self) -> Sha256 {
        self.source
    }

    /// Partition map.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Regions in order.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Chunks of the image in order, doubles included: the order of [`Locations`].
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.regions.iter().flat_map(Region::digests)
    }

    /// Every cell that has a chunk, with its place in the image: as [`Manifest::digests`].
    pub fn cells(&self) -> impl Iterator<Item = (Span, Digest)> + '_ {
        self.regions.iter().flat_map(Region::placed_runs).flat_map(|(span, run)| {
            let digests: &[Digest] = match run {
                Run::Data(digests) => digests,
                Run::Zero(_) | Run::Unallocated(_) => &[],
            };
            digests.iter().zip(0..).map(move |(digest, number)| (span.cell(number), *digest))
        })
    }

    /// The region of partition `number`.
    pub fn partition(&self, number: u32) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| region.partition.as_ref().is_some_and(|facts| facts.number == number))
    }

    /// What Apply Image writes when no partition is named: the largest HFS or APFS partition; a bare volume is
    /// its own main region. None when the image has partitions but no such one.
    pub fn main(&self) -> Option<&Region> {
        if self.scheme == Scheme::None && self.regions.len() == 1 {
            return self.regions.first();
        }
        self.regions
            .iter()
            .filter(|region| region.partition.as_ref().is_some_and(|facts| is_mac_volume(&facts.kind)))
            .max_by_key(|region| region.size)
    }
}

/// Whether a partition of this type is one that macOS starts from.
fn is_mac_volume(kind: &str) -> bool {
    [PartitionType::AppleHfs, PartitionType::AppleApfs].iter().any(|known| known.as_str() == kind)
}

fn check_runs(number: usize, region: &Region) -> Result<(), NoImage> {
    let mut cells = 0_u64;
    for (at, run) in region.runs.iter().enumerate() {
        let alike = at > 0 && std::mem::discriminant(run) == std::mem::discriminant(&region.runs[at - 1]);
        if run.cells() == 0 || alike {
            return Err(NoImage::NotCanonical { region: number, run: at });
        }
        cells = cells.saturating_add(run.cells());
    }
    let needed = cell_count(region.size);
    if cells == needed { Ok(()) } else { Err(NoImage::CellCount { region: number, cells, needed }) }
}

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::CHUNK;

    fn region(start: u64, size: u64, kind: &str) -> Region {
        Region {
            start,
            size,
            partition: Some(PartitionFacts {
                number: 1 + start as u32 % 97,
                kind: kind.into(),
                name: String::new(),
            }),
            volume: None,
            runs: vec![Run::Zero(cell_count(size))],
        }
    }

    fn manifest(regions: Vec<Region>) -> Result<Manifest, NoImage> {
        Manifest::new(Sha256([0; 32]), Scheme::Gpt, regions)
    }

    #[test]
    fn the_main_region_is_the_largest_mac_volume_whatever_surrounds_it() {
        let image = manifest(vec![
            region(0, CHUNK, "EFI"),
            region(CHUNK, 2 * CHUNK, "Apple_HFS"),
            region(3 * CHUNK, 3 * CHUNK, "Apple_APFS"),
            region(6 * CHUNK, 9 * CHUNK, "Microsoft Basic Data"),
        ]);
        assert_eq!(image.unwrap().main().unwrap().start, 3 * CHUNK);
        assert_eq!(manifest(vec![region(0, CHUNK, "Linux")]).unwrap().main(), None);
    }

    #[test]
    fn regions_that_leave_a_gap_or_miss_cells_are_no_image() {
        let gap = manifest(vec![region(0, CHUNK, ""), region(CHUNK + 512, CHUNK, "")]);
        assert_eq!(gap, Err(NoImage::NotContiguous { region: 1, start: CHUNK + 512, end: CHUNK }));
        let mut short = region(0, 2 * CHUNK, "");
        short.runs = vec![Run::Zero(1)];
        assert_eq!(manifest(vec![short.clone()]), Err(NoImage::CellCount { region: 0, cells: 1, needed: 2 }));
        short.runs = vec![Run::Zero(1), Run::Zero(1)];
        assert_eq!(manifest(vec![short]), Err(NoImage::NotCanonical { region: 0, run: 1 }));
        assert_eq!(manifest(vec![]), Err(NoImage::Empty));
    }

    #[test]
    fn placed_runs_cover_a_region_to_its_last_byte() {
        let mut region = region(4096, 3 * CHUNK + 512, "");
        region.runs =
            vec![Run::Zero(1), Run::Data(vec![Digest::of(b"a"), Digest::of(b"b")]), Run::Unallocated(1)];
        let spans: Vec<(u64, u64)> =
            region.placed_runs().map(|(span, _)| (span.offset, span.length)).collect();
        assert_eq!(spans, [(4096, CHUNK), (4096 + CHUNK, 2 * CHUNK), (4096 + 3 * CHUNK, 512)]);
    }
}
