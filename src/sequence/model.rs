//! What a task sequence is: an ordered tree of groups and steps with their properties, and what can be told from it alone.
//!
//! Existing does not mean sensible: [`super::check`] tells what is wrong. How it stands in a file is [`super::yaml`]'s.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::capture::CaptureImage;
use super::condition::If;
use super::macos::{ApplyProfile, Enroll, InstallApplication, InstallPackage, JoinDomain, SetHostname};
use super::name::VariableName;
use super::notify::Notify;
use super::prompt::Prompt;
use super::quantity::{Duration, PartitionSize};
use super::template::Template;

pub use super::place::{ApplyImage, CopyFiles, Destination, SetStartupDisk, VerifyImage};

/// A task sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Name: what it is saved and deployed under.
    pub name: String,
    /// What it does, for the page where a technician chooses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it belongs to, for lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// How much a run fetches, for the page where a technician chooses; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_size: Option<PartitionSize>,
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

impl Sequence {
    /// Bytes that a run fetches, as its author says.
    pub fn download_bytes(&self) -> Option<u64> {
        match self.download_size {
            Some(PartitionSize::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }
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

impl Step {
    /// A step with nothing but its name and what it does.
    pub fn new(name: String, kind: Kind) -> Step {
        Step {
            name,
            description: String::new(),
            disabled: false,
            continue_on_error: false,
            condition: None,
            timeout: None,
            retry: None,
            kind,
        }
    }
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
    /// Verify Image.
    VerifyImage(VerifyImage),
    /// Copy Files.
    CopyFiles(CopyFiles),
    /// Set Startup Disk.
    SetStartupDisk(SetStartupDisk),
    /// Notify.
    Notify(Notify),
    /// Join Domain.
    JoinDomain(JoinDomain),
    /// Set Hostname.
    SetHostname(SetHostname),
    /// Install Package.
    InstallPackage(InstallPackage),
    /// Install Application.
    InstallApplication(InstallApplication),
    /// Apply Configuration Profile.
    ApplyProfile(ApplyProfile),
    /// Install Management Client, or enroll without one.
    Enroll(Enroll),
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
            Kind::VerifyImage(_) => "Verify Image",
            Kind::CopyFiles(_) => "Copy Files",
            Kind::SetStartupDisk(_) => "Set Startup Disk",
            Kind::Notify(_) => "Notify",
            Kind::JoinDomain(_) => "Join Domain",
            Kind::SetHostname(_) => "Set Hostname",
            Kind::InstallPackage(_) => "Install Package",
            Kind::InstallApplication(_) => "Install Application",
            Kind::ApplyProfile(_) => "Apply Configuration Profile",
            Kind::Enroll(_) => "Install Management Client",
        }
    }

    /// Whether a value in it is secret.
    pub fn has_secrets(&self) -> bool {
        matches!(self, Kind::SetVariables(set) if set.iter().any(|one| one.secret))
    }

    /// Whether it makes a sequence one that brings an operating system (task-sequences section 1).
    pub fn is_of_os_deployment(&self) -> bool {
        matches!(self, Kind::FormatDisk(_) | Kind::ApplyImage(_) | Kind::CaptureImage(_) | Kind::Enroll(_))
    }

    /// Whether only the boot environment can do it: it works on volumes that nothing else uses.
    pub fn needs_boot_environment(&self) -> bool {
        matches!(
            self,
            Kind::FormatDisk(_)
                | Kind::ApplyImage(_)
                | Kind::CaptureImage(_)
                | Kind::VerifyImage(_)
                | Kind::CopyFiles(_)
                | Kind::SetStartupDisk(_)
        )
    }

    /// Whether only the installed macOS can do it.
    pub fn needs_macos(&self) -> bool {
        match self {
            Kind::ExecuteScript(script) => script.phase == Phase::Macos,
            Kind::JoinDomain(_)
            | Kind::SetHostname(_)
            | Kind::InstallPackage(_)
            | Kind::InstallApplication(_)
            | Kind::ApplyProfile(_)
            | Kind::Enroll(_) => true,
            _ => false,
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
    /// In the boot environment, before macOS starts; in a run that was started on macOS, there.
    #[default]
    Runner,
    /// On the installed macOS, by its agent.
    Macos,
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
