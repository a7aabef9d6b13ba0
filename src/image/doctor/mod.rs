//! The image doctor: what an admin should know of an image before a Mac gets it.
//!
//! Reading order: [`Subject`] (facts, gathered once) · `checks` (facts in, findings out) · [`Finding`].
//! Owns: the codes, which never change their meaning, and the words. Must not know: where images are kept, who asks.
//!
//! Nothing is refused: a finding says what to expect. An import makes a draft, and people decide what goes to Macs.

mod checks;

use std::fmt;
use std::io::{self, Read, Seek};

use crate::image::partition::{Layout, Oddity, PartitionType, Scheme};
use crate::image::source::Checksums;
use crate::image::volume::{self, Distrust, Facts};

pub use checks::examine;

/// What was found, by a name that programs may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// No volume of a Mac.
    NoMacVolume,
    /// A volume of a Mac with next to nothing on it.
    NearlyEmpty,
    /// An installer, not an installed system.
    Installer,
    /// Apple's NetBoot set, which belongs elsewhere.
    NetbootSet,
    /// A volume without macOS.
    NoMacos,
    /// macOS without a loader where firmware looks for one.
    NotBootable,
    /// FileVault.
    Encrypted,
    /// A sealed system volume.
    SealedSystem,
    /// One half of a Fusion Drive.
    FusionHalf,
    /// Not unmounted cleanly, or a journal with transactions.
    UncleanVolume,
    /// The map of used blocks is not to be believed.
    DamagedVolume,
    /// A file system that is larger than its partition.
    ShortenedVolume,
    /// The primary partition table is damaged, the backup was used.
    BackupTableUsed,
    /// The backup partition table is missing or damaged.
    BackupTableMissing,
    /// Larger than the disk of any known Mac.
    LargerThanTargets,
    /// macOS that some Macs cannot run.
    NeedsNewerMac,
    /// No Recovery.
    NoRecovery,
    /// Nothing in the file says whether it is whole.
    NoChecksums,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 18] = [
        Code::NoMacVolume,
        Code::NearlyEmpty,
        Code::Installer,
        Code::NetbootSet,
        Code::NoMacos,
        Code::NotBootable,
        Code::Encrypted,
        Code::SealedSystem,
        Code::FusionHalf,
        Code::UncleanVolume,
        Code::DamagedVolume,
        Code::ShortenedVolume,
        Code::BackupTableUsed,
        Code::BackupTableMissing,
        Code::LargerThanTargets,
        Code::NeedsNewerMac,
        Code::NoRecovery,
        Code::NoChecksums,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NoMacVolume => "no-mac-volume",
            Code::NearlyEmpty => "nearly-empty",
            Code::Installer => "installer",
            Code::NetbootSet => "netboot-set",
            Code::NoMacos => "no-macos",
            Code::NotBootable => "not-bootable",
            Code::Encrypted => "encrypted",
            Code::SealedSystem => "sealed-system",
            Code::FusionHalf => "fusion-half",
            Code::UncleanVolume => "unclean-volume",
            Code::DamagedVolume => "damaged-volume",
            Code::ShortenedVolume => "shortened-volume",
            Code::BackupTableUsed => "backup-table-used",
            Code::BackupTableMissing => "backup-table-missing",
            Code::LargerThanTargets => "larger-than-targets",
            Code::NeedsNewerMac => "needs-newer-mac",
            Code::NoRecovery => "no-recovery",
            Code::NoChecksums => "no-checksums",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A Mac that gets this image will not start from it.
    Error,
    /// It may not work, or not on every Mac.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What is so, with its evidence.
    pub message: String,
    /// What to do.
    pub next_step: String,
}

/// An image, as far as the doctor looks at it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Bytes of the decoded image.
    pub size: u64,
    /// How it is divided.
    pub scheme: Scheme,
    /// What is odd about the partition table.
    pub oddities: Vec<Oddity>,
    /// Its partitions; a bare volume is one without a number.
    pub places: Vec<Place>,
    /// Checksums of the file, once it was read.
    pub checksums: Option<Checksums>,
}

/// A partition, or the bare volume.
#[derive(Clone, Debug)]
pub struct Place {
    /// Number in the table.
    pub number: Option<u32>,
    /// Type in the table.
    pub partition: Option<PartitionType>,
    /// Name in the table.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What the file system says.
    pub facts: Facts,
    /// What its map of blocks says, or why it is not believed.
    pub blocks: Result<Blocks, Distrust>,
}

/// The map of used blocks in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Bytes in use, with what is reserved around the file system.
    pub used: u64,
    /// From the start of the volume to the end of its last block in use, and what belongs at its very end: the room that
    /// it needs, were it made smaller first.
    pub needed: u64,
}

/// What is known of the Macs that an image is for.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Bytes of the largest disk of any known Mac.
    pub largest_disk: Option<u64>,
    /// Model identifiers of the known Macs, and how many Macs of each there are.
    pub models: Vec<(String, u32)>,
}

impl Subject {
    /// Reads what the volumes of an image say, and their maps.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn gather(
        reader: &mut (impl Read + Seek),
        size: u64,
        layout: &Layout,
        checksums: Option<Checksums>,
    ) -> io::Result<Subject> {
        let mut places = Vec::new();
        for found in &layout.partitions {
            let (partition, name) = (Some(found.kind.clone()), found.name.clone());
            places.push(Place::read(reader, Some(found.number), partition, name, found.start, found.size)?);
        }
        if layout.scheme == Scheme::None {
            places.push(Place::read(reader, None, None, String::new(), 0, size)?);
        }
        Ok(Subject { size, scheme: layout.scheme, oddities: layout.warnings.clone(), places, checksums })
    }

    /// The volume that the image is about: the largest of a Mac, Recovery and helpers left out.
    pub fn main(&self) -> Option<&Place> {
        let helper = |place: &&Place| {
            let recovery = |name: &str| name == "Apple_APFS_Recovery" || name == "Apple_APFS_ISC";
            let kind = place.partition.as_ref();
            kind.is_some_and(|kind| *kind == PartitionType::AppleBoot || recovery(kind.as_str()))
        };
        let macs = self.places.iter().filter(|place| !helper(place) && place.is_mac());
        macs.max_by_key(|place| place.size)
    }
}

impl Place {
    fn read(
        reader: &mut (impl Read + Seek),
        number: Option<u32>,
        partition: Option<PartitionType>,
        name: String,
        start: u64,
        size: u64,
    ) -> io::Result<Place> {
        let facts = volume::read(reader, start, size)?;
        let blocks = volume::judged_allocation(reader, start, size)?;
        let blocks = blocks.map(|map| Blocks { used: map.used(), needed: map.needed() });
        Ok(Place { number, partition, name, start, size, facts, blocks })
    }

    /// Whether it holds a file system of macOS, readable or not.
    pub fn is_mac(&self) -> bool {
        self.facts.kind.is_mac() || self.partition == Some(PartitionType::AppleCoreStorage)
    }

    /// How people know it.
    pub fn title(&self) -> String {
        let label = self.facts.label.as_deref().filter(|label| !label.is_empty());
        match (label, self.number) {
            (Some(label), _) => format!("`{label}`"),
            (None, Some(number)) => format!("partition {number}"),
            (None, None) => "the volume".to_owned(),
        }
    }
}
