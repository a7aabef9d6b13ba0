//! Runs: how they stand and what was recorded of them.

use serde::{Deserialize, Serialize};

use crate::api::runner::{Failure, Outcome, Progress, SignedReceipt};

/// One run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RunSummary {
    /// Number of the run.
    pub id: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Revision that it is pinned to.
    pub revision: u32,
    /// Number of the device.
    pub device: i64,
    /// What the device is called: its serial number, else UUID or MAC address.
    pub device_name: String,
    /// How it ended; none while it goes on.
    pub outcome: Option<Outcome>,
    /// Place of the step at work or reached last, from 1; 0 before the first.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// When it was started, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
}

/// One run, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Run {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Grows with everything that happens to it.
    pub change: u64,
    /// How far the action at work is.
    pub progress: Option<Progress>,
    /// Name of the step at work.
    pub at: Option<String>,
    /// Every step in order.
    pub step_list: Vec<RunStep>,
    /// One line when it has ended: what was done, or what failed.
    pub message: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The step that it failed at.
    #[serde(default)]
    pub failed_step: Option<FailedStep>,
    /// What a person must say before it goes on.
    #[serde(default)]
    pub question: Option<RunQuestion>,
    /// Whether it failed at a step and can go on with that step.
    #[serde(default)]
    pub can_resume: bool,
    /// Why nothing happens now, when nothing does.
    #[serde(default)]
    pub waits: Option<RunWait>,
    /// Images that it applies, pinned at its start: `lab-mac 3`.
    pub images: Vec<String>,
    /// Signed proofs of what was applied.
    pub receipts: Vec<SignedReceipt>,
}

/// The step that a run failed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FailedStep {
    /// From 1.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// Its name.
    pub name: String,
    /// Where it stands in the sequence: `steps[2].group[0]`.
    pub place: String,
    /// Names of the groups around it, outermost first.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RunStep {
    /// Name.
    pub name: String,
    /// How it stands.
    pub state: StepState,
    /// When it began, milliseconds since 1970 UTC.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Where it stands in the sequence: `steps[2].group[0]`.
    #[serde(default)]
    pub place: String,
    /// Names of the groups around it, outermost first.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Why it was left out, why its last try failed, or what it warns of.
    #[serde(default)]
    pub why: Option<String>,
    /// Exit code of its script's last try.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Tries so far.
    #[serde(default)]
    pub tries: u32,
    /// Its type: `Apply Image`.
    #[serde(default)]
    pub kind: String,
}

/// Why a run does nothing now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RunWait {
    /// One line.
    pub why: String,
    /// Whether it waits for the Mac's agent on macOS: `POST /api/v1/runs/{run}/close` ends that.
    pub for_macos: bool,
}

/// End a run that waits for macOS.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CloseRun {
    /// What is left was done, or is not needed: the run has succeeded. Else it has failed, and can be resumed.
    #[serde(default)]
    pub done: bool,
}

/// What a run asks a person: values of variables, or to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RunQuestion {
    /// Variables that are empty and that a step uses: `POST /api/v1/runs/{run}/answers`.
    pub variables: Vec<AskedVariable>,
    /// What the person shall do before the run goes on: `POST /api/v1/runs/{run}/confirm`.
    pub message: Option<String>,
    /// What stands on the button.
    pub button: Option<String>,
    /// Since when it is asked, milliseconds since 1970 UTC.
    #[serde(default)]
    pub since_ms: i64,
    /// Where an image shall go: `POST /api/v1/runs/{run}/destination`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<AskedDestination>,
}

/// An image that goes where a person says. What lies there is erased, and there is no way back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AskedDestination {
    /// The step that puts it there, from 1.
    pub step: u32,
    /// Name of the step.
    pub name: String,
    /// The image with its version, `lab-mac 3`.
    pub image: String,
    /// Bytes that the partition must have; 0: not known.
    pub needs: u64,
    /// What the Mac has, as it said last; empty: it has not said yet.
    pub disks: Vec<DestinationDisk>,
}

/// A disk with its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DestinationDisk {
    /// Its number; none for one that must not be touched.
    pub number: Option<u32>,
    /// Device node.
    pub node: String,
    /// Model text.
    pub model: String,
    /// Serial number; may be empty.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// Whether it sits on a removable bus.
    pub external: bool,
    /// Why nothing on it may be chosen; empty: something may.
    #[serde(default)]
    pub why_not: String,
    /// In the order of their numbers.
    pub partitions: Vec<DestinationPartition>,
}

/// A partition that may receive an image, or may not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DestinationPartition {
    /// Its number in the GPT.
    pub number: u32,
    /// What lies on it: `Macintosh HD (apfs)`.
    pub contents: String,
    /// Bytes.
    pub size: u64,
    /// Why it may not be chosen; empty: it may.
    #[serde(default)]
    pub why_not: String,
}

/// Where an image shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChooseDestination {
    /// The step that it is asked for, as the question says.
    pub step: u32,
    /// Disk number.
    pub disk: u32,
    /// Partition number.
    pub partition: u32,
}

impl FailedStep {
    /// As people are shown it: `step 2 of 3: Lab / Apply Image`.
    pub fn named(&self) -> String {
        let groups: String = self.groups.iter().map(|group| format!("{group} / ")).collect();
        format!("step {} of {}: {groups}{}", self.step, self.steps, self.name)
    }
}

impl AskedDestination {
    /// The partition with these numbers, with its disk.
    pub fn find(&self, disk: u32, partition: u32) -> Option<(&DestinationDisk, &DestinationPartition)> {
        let disk = self.disks.iter().find(|one| one.number == Some(disk))?;
        Some((disk, disk.partitions.iter().find(|one| one.number == partition)?))
    }
}

impl DestinationPartition {
    /// As people are shown it: `2 Macintosh HD (apfs)`.
    pub fn named(&self) -> String {
        format!("{} {}", self.number, self.contents).trim_end().to_owned()
    }
}

/// A variable whose value is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AskedVariable {
    /// Which.
    pub name: String,
    /// Whether what is typed is not shown.
    pub secret: bool,
    /// What people are shown in the place of its name; empty: the name.
    #[serde(default)]
    pub label: String,
    /// A line that helps to answer.
    #[serde(default)]
    pub help: String,
    /// How it is answered.
    #[serde(default, rename = "type")]
    pub kind: AskedKind,
    /// What may be chosen.
    #[serde(default)]
    pub choices: Vec<String>,
    /// What is proposed.
    #[serde(default)]
    pub default: String,
    /// Whether an empty answer is refused.
    #[serde(default)]
    pub required: bool,
}

/// How a variable is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AskedKind {
    /// A text is typed.
    #[default]
    Text,
    /// One of several is chosen.
    Choice,
    /// `yes` or `no`.
    YesNo,
    /// A way that this version does not know: a text is typed.
    #[serde(other)]
    Unknown,
}

/// Values of empty variables.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunAnswers {
    /// By name.
    pub values: std::collections::BTreeMap<String, String>,
}

/// How a step of a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not reached.
    Pending,
    /// At work.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed.
    Failed,
    /// Left out: disabled, or its condition was false.
    Skipped,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One recorded event of a run: what decided its state, and its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RunEvent {
    /// Number within the run, from 1.
    pub number: u64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Kind: `started`, `assigned`, `done`, `failed`, `log`, …
    pub kind: String,
    /// Name of the step it belongs to, if any.
    pub step: Option<String>,
    /// One or more readable lines.
    pub detail: String,
}
