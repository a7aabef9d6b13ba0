//! What a task sequence is: an ordered tree of groups and steps with their properties, and what can be told from it alone.
//!
//! Existing does not mean sensible: [`super::check`] tells what is wrong. How it stands in a file is [`super::yaml`]'s.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::capture::CaptureImage;
use super::condition::If;
use super::name::VariableName;
use super::prompt::Prompt;
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
    /// How people are asked for variables, in the order of asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Prompt>,
    /// What is done, in order.
    pub steps: Vec<Node>,
}

/// One entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Does something.
    Step(Step),
    /// Holds others.
    Group(Group),
}

/// Entries that belong together: under one condition, and failing as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Notes for the next admin.
    pub description: String,
    /// Left out of every run, with everything in it.
    pub disabled: bool,
    /// The run goes on after the group when something in it failed.
    pub continue_on_error: bool,
    /// Left out when it does not hold.
    pub condition: Option<If>,
    /// In order; ends at the first failure that is not passed over.
    pub steps: Vec<Node>,
    /// What is done after such a failure; when it ends well, the failure is mended.
    pub catch: Vec<Node>,
    /// What is done last, failure or not.
    pub finally: Vec<Node>,
}

/// A part of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Its steps.
    Steps,
    /// After a failure.
    Catch,
    /// Last.
    Finally,
}

impl Section {
    /// In the order of their work.
    pub const ALL: [Section; 3] = [Section::Steps, Section::Catch, Section::Finally];

    /// Its key in a file.
    pub const fn key(self) -> &'static str {
        match self {
            Section::Steps => "group",
            Section::Catch => "catch",
            Section::Finally => "finally",
        }
    }
}

impl Group {
    /// The entries of one part.
    pub fn section(&self, section: Section) -> &[Node] {
        match section {
            Section::Steps => &self.steps,
            Section::Catch => &self.catch,
            Section::Finally => &self.finally,
        }
    }
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Node::Step(step) => &step.name,
            Node::Group(group) => &group.name,
        }
    }

    /// Whether it is left out of every run.
    pub fn disabled(&self) -> bool {
        match self {
            Node::Step(step) => step.disabled,
            Node::Group(group) => group.disabled,
        }
    }

    /// What must hold for it to be done.
    pub fn condition(&self) -> Option<&If> {
        match self {
            Node::Step(step) => step.condition.as_ref(),
            Node::Group(group) => group.condition.as_ref(),
        }
    }
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
    /// Left out when it does not hold.
    pub condition: Option<If>,
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
    /// Wait for technician.
    WaitForTechnician(WaitForTechnician),
    /// Run Sequence.
    RunSequence(RunSequence),
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
            Kind::WaitForTechnician(_) => "Wait for technician",
            Kind::RunSequence(_) => "Run Sequence",
        }
    }

    /// Whether a value in it is secret.
    pub fn has_secrets(&self) -> bool {
        matches!(self, Kind::SetVariables(set) if set.iter().any(|one| one.secret))
    }

    /// Whether it makes a sequence one that brings an operating system (task-sequences section 1).
    pub fn is_of_os_deployment(&self) -> bool {
        matches!(self, Kind::FormatDisk(_) | Kind::ApplyImage(_) | Kind::CaptureImage(_))
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

/// Waits until a person says that it may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitForTechnician {
    /// What the person shall do.
    pub message: Template,
    /// What stands on the button.
    #[serde(default = "go_on", skip_serializing_if = "is_go_on")]
    pub button: String,
}

fn go_on() -> String {
    "Continue".to_owned()
}

fn is_go_on(button: &str) -> bool {
    button == "Continue"
}

/// Does everything that another sequence does, as if its steps stood in a group here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSequence {
    /// Name of the other sequence; its newest revision when the run starts.
    pub sequence: String,
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
