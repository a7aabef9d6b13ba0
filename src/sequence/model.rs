//! What a task sequence is: an ordered list of steps and their properties, and what can be told from it alone.
//!
//! Existing does not mean sensible: [`super::check`] tells what is wrong. How it stands in a file is [`super::yaml`]'s.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::capture::CaptureImage;
use super::name::VariableName;
use super::quantity::{Duration, PartitionSize};
use super::template::Template;
use crate::value::{FreeSpace, Pick, Ring};

/// A task sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Name: what it is saved and deployed under.
    pub name: String,
    /// What it does, for the page where a technician chooses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Heading that lists group it under.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// A disabled sequence starts nowhere.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// A run that takes longer fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_run_time: Option<Duration>,
    /// What is done, in order.
    pub steps: Vec<Node>,
}

/// One entry of the tree. Groups will stand beside steps here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Does something.
    Step(Step),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name; a step without one in its file is called as its type is.
    pub name: String,
    /// Notes for the next admin.
    pub description: String,
    /// Left out of every run.
    pub disabled: bool,
    /// The run goes on when the step fails.
    pub continue_on_error: bool,
    /// The action is stopped, and has failed, after this time.
    pub timeout: Option<Duration>,
    /// What is tried again after a failure.
    pub retry: Option<Retry>,
    /// What it does.
    pub kind: Kind,
}

/// How often a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries after the first one.
    pub count: u32,
    /// Time before each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
}

/// What a step does, with its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Format and Partition Disk.
    FormatDisk(FormatDisk),
    /// Apply Image.
    ApplyImage(ApplyImage),
    /// Capture Image.
    CaptureImage(CaptureImage),
    /// Set Variables, in order.
    SetVariables(Vec<SetVariable>),
    /// Execute Script.
    ExecuteScript(ExecuteScript),
    /// Restart.
    Restart,
}

impl Kind {
    /// The name of the step type in the field.
    pub fn title(&self) -> &'static str {
        match self {
            Kind::FormatDisk(_) => "Format and Partition Disk",
            Kind::ApplyImage(_) => "Apply Image",
            Kind::CaptureImage(_) => "Capture Image",
            Kind::SetVariables(_) => "Set Variables",
            Kind::ExecuteScript(_) => "Execute Script",
            Kind::Restart => "Restart",
        }
    }
}

/// Writes a new GPT and formats its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatDisk {
    /// 0 is the first internal disk.
    #[serde(default)]
    pub disk: u32,
    /// In order, after an EFI System Partition.
    pub partitions: Vec<Partition>,
}

/// One partition to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// GPT name and volume label.
    pub name: Template,
    /// File system.
    pub format: VolumeFormat,
    /// How much room.
    pub size: PartitionSize,
    /// Receives the partition's device node: the *partition identifier variable*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<VariableName>,
}

/// File systems that Format and Partition Disk can make (task-sequences section 2). The runner is told the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeFormat {
    /// APFS container with one volume.
    #[serde(rename = "apfs")]
    Apfs,
    /// HFS+ without journal.
    #[serde(rename = "hfs+")]
    Hfs,
    /// HFS+ with journal.
    #[serde(rename = "hfs+ journaled")]
    HfsJournaled,
    /// HFSX, case-sensitive, with journal.
    #[serde(rename = "hfs+ case-sensitive")]
    HfsCaseSensitive,
    /// exFAT.
    #[serde(rename = "exfat")]
    ExFat,
    /// FAT32.
    #[serde(rename = "fat32")]
    Fat32,
    /// No file system, the partition's first MiB is cleared: an image will bring one.
    #[serde(rename = "raw")]
    Raw,
}

impl VolumeFormat {
    /// UTF-16 units of the longest label: a GPT name has 36 (UEFI 2.10 section 5.3.3), a FAT label 11 and an
    /// exFAT label 11 (their directory entries).
    pub fn longest_label(self) -> usize {
        match self {
            VolumeFormat::ExFat | VolumeFormat::Fat32 => 11,
            _ => 36,
        }
    }
}

/// Writes an image to a partition, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ApplyImageFields", into = "ApplyImageFields")]
pub struct ApplyImage {
    /// Name of the image in the library.
    pub image: Template,
    /// Which version of it, decided when the run starts.
    pub pick: Pick,
    /// A certain partition of the image; none: its main volume.
    pub source_partition: Option<u32>,
    /// Where to.
    pub destination: Destination,
    /// What happens to space that the image says nothing about.
    pub free: FreeSpace,
}

/// An [`ApplyImage`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyImageFields {
    image: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ring: Option<Ring>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_partition: Option<u32>,
    #[serde(default, skip_serializing_if = "Destination::is_next")]
    destination: Destination,
    #[serde(default, skip_serializing_if = "FreeSpace::is_default")]
    free: FreeSpace,
}

impl TryFrom<ApplyImageFields> for ApplyImage {
    type Error = &'static str;

    fn try_from(fields: ApplyImageFields) -> Result<ApplyImage, &'static str> {
        let ApplyImageFields { image, version, ring, source_partition, destination, free } = fields;
        let both = "an image has a `version` or a `ring`, not both; without them, it is what production points to, else the newest version";
        let pick = Pick::new(version, ring).ok_or(both)?;
        Ok(ApplyImage { image, pick, source_partition, destination, free })
    }
}

impl From<ApplyImage> for ApplyImageFields {
    fn from(apply: ApplyImage) -> ApplyImageFields {
        let ApplyImage { image, pick, source_partition, destination, free } = apply;
        ApplyImageFields {
            image,
            version: pick.version(),
            ring: pick.ring(),
            source_partition,
            destination,
            free,
        }
    }
}

/// Where an image goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DestinationFields", into = "DestinationFields")]
pub enum Destination {
    /// The next partition that this sequence formatted and has not applied to yet.
    #[default]
    NextFormatted,
    /// A partition by its number in the GPT.
    Partition {
        /// Disk number.
        disk: u32,
        /// Partition number; 1 is the EFI System Partition of a disk that a sequence formatted.
        partition: u32,
    },
    /// The partition whose device node a variable holds.
    Variable(VariableName),
}

impl Destination {
    fn is_next(&self) -> bool {
        *self == Destination::NextFormatted
    }
}

/// A [`Destination`] as it is written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variable: Option<VariableName>,
}

impl TryFrom<DestinationFields> for Destination {
    type Error = &'static str;

    fn try_from(fields: DestinationFields) -> Result<Destination, &'static str> {
        match (fields.disk, fields.partition, fields.variable) {
            (Some(disk), Some(partition), None) => Ok(Destination::Partition { disk, partition }),
            (None, None, Some(name)) => Ok(Destination::Variable(name)),
            _ => Err(
                "a destination is `disk` and `partition`, or `variable`; left out, it is the next formatted partition",
            ),
        }
    }
}

impl From<Destination> for DestinationFields {
    fn from(destination: Destination) -> DestinationFields {
        match destination {
            Destination::NextFormatted => DestinationFields::default(),
            Destination::Partition { disk, partition } => {
                DestinationFields { disk: Some(disk), partition: Some(partition), variable: None }
            }
            Destination::Variable(name) => {
                DestinationFields { variable: Some(name), ..DestinationFields::default() }
            }
        }
    }
}

/// Sets one variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetVariable {
    /// Which.
    pub name: VariableName,
    /// To what.
    pub value: Template,
    /// Shown as dots, masked in logs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
}

impl fmt::Debug for SetVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, if self.secret { "••••••••" } else { self.value.as_str() })
    }
}

/// Runs a script as root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteScript {
    /// Where it runs.
    #[serde(default)]
    pub phase: Phase,
    /// Exit codes that mean success.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub success_codes: Vec<i32>,
    /// The text; `%` means nothing in it, variables are in its environment.
    pub script: String,
}

/// Where a script runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In the boot environment, before macOS starts.
    #[default]
    Runner,
}

fn zero() -> Vec<i32> {
    vec![0]
}

fn is_zero(codes: &[i32]) -> bool {
    codes == [0]
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Place of a step in its sequence, from 0 as in the file: `steps[2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub usize);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steps[{}]", self.0)
    }
}

impl Sequence {
    /// Every step in order, with its place.
    pub fn walk(&self) -> impl Iterator<Item = (Place, &Step)> {
        self.steps.iter().enumerate().map(|(index, Node::Step(step))| (Place(index), step))
    }

    /// Every step that a run does not leave out.
    pub fn enabled(&self) -> impl Iterator<Item = (Place, &Step)> {
        self.walk().filter(|(_, step)| !step.disabled)
    }

    /// Whether it brings an operating system to a Mac or takes one from it (task-sequences section 1): such a sequence
    /// never starts on a live macOS. Found by looking at the steps, those that are disabled included.
    pub fn deploys_an_os(&self) -> bool {
        let of_an_os =
            |kind: &Kind| matches!(kind, Kind::FormatDisk(_) | Kind::ApplyImage(_) | Kind::CaptureImage(_));
        self.walk().any(|(_, step)| of_an_os(&step.kind))
    }

    /// Which versions of the image `name` its steps ask for. A step whose image depends on the Mac counts where it may be
    /// that image.
    pub fn picks(&self, name: &str) -> impl Iterator<Item = Pick> {
        self.enabled().filter_map(move |(_, step)| match &step.kind {
            Kind::ApplyImage(apply) if apply.image.may_be(name) => Some(apply.pick),
            _ => None,
        })
    }

    /// Numbers of the disks on which something is lost, for the page that asks for confirmation.
    pub fn erases(&self) -> Vec<u32> {
        let disks: BTreeSet<u32> = self
            .enabled()
            .filter_map(|(_, step)| match &step.kind {
                Kind::FormatDisk(format) => Some(format.disk),
                Kind::ApplyImage(ApplyImage { destination: Destination::Partition { disk, .. }, .. }) => {
                    Some(*disk)
                }
                _ => None,
            })
            .collect();
        disks.into_iter().collect()
    }
}
