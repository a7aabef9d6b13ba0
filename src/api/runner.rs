//! The runner protocol, `/runner/v1/…` over HTTPS: a Mac says who it is, is given one action at a time, reports.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /runner/v1/hello` | [`Hello`] | [`Welcome`] |
//! | `POST /runner/v1/sign-in`, `…/sign-out` (session token) | see [`crate::api::sign_in`] | |
//! | `POST /runner/v1/runs` (session token) | [`StartRun`] | [`RunTicket`] |
//! | `POST /runner/v1/runs/{run}/next` (run token) | [`AskNext`] | [`Next`] |
//! | `POST /runner/v1/runs/{run}/report` (run token) | [`Report`] | [`Accepted`] |
//! | `POST /runner/v1/runs/{run}/captures/{action}` and below (run token) | see [`crate::api::capture`] | |
//! | `GET /runner/v1/runs/{run}/files/{action}` (run token) | | [`FileList`] |
//! | `GET /runner/v1/runs/{run}/files/{action}/{number}` (run token) | `Range` | bytes of a file |
//! | `POST /runner/v1/screen`, `…/news`, `…/messages`, `…/runs/{run}/answers` and its kin | see [`crate::api::wizard`] | |
//! | `GET /runner/v1/manifests/{digest}` (run token) | | signed manifest, `application/octet-stream` |
//! | `GET /runner/v1/manifests/{digest}/locations` (run token) | | frame locations, binary (see `image::manifest`) |
//! | `GET /runner/v1/packs/{digest}` (run token) | `Range` | bytes of a pack |
//!
//! Tokens travel as `Authorization: Bearer …`. A failed request is answered with [`Problem`] and a 4xx or 5xx status.
//! Every request may be repeated: `next` gives the same assignment until it is reported on, a report with a number
//! that was already reported is accepted again without effect.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use super::action::*;
pub use super::admin::{
    AskedDestination, AskedKind, AskedVariable, ChooseDestination, DestinationDisk, DestinationPartition,
    FailedStep, RunAnswers, RunQuestion,
};
pub use super::inventory::{
    BatteryFacts, DiskFacts, DiskHealth, HealthVerdict, Inventory, MemoryModule, NicFacts,
};
use super::sign_in::SignInAsked;
pub use super::told::{Delta, Progress, Receipt, SignedReceipt};
pub use crate::sequence::capture::CaptureSource;
pub use crate::sequence::model::VolumeFormat;
pub use crate::sequence::run::act::MacosAct;
use crate::value::{Digest, MacAddr, Model, Secret, Serial};

/// The protocol version that this build speaks.
pub const PROTOCOL: u32 = 1;

/// Who the Mac is and what it has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the runner.
    pub protocol: u32,
    /// Version of the runner program.
    pub version: String,
    /// How the Mac was started.
    pub boot: BootMethod,
    /// The machine.
    pub device: DeviceFacts,
    /// Ed25519 public key (32 bytes, hexadecimal) that signs this runner's receipts; made anew at each start.
    pub receipt_key: String,
    /// Which start of the kernel this is: a runner that was started anew on it takes its run over at once. Empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
}

/// How the program that speaks was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// Over the network: BSDP, PXE or HTTP boot.
    Netboot,
    /// From a stick.
    Usb,
    /// From the installed macOS.
    Macos,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Inventory of one Mac. Identity is serial and UUID; MAC addresses are hints (a dongle serves many Macs).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// SMBIOS serial number; none when the firmware gives none.
    pub serial: Option<Serial>,
    /// SMBIOS system UUID.
    pub uuid: Option<Uuid>,
    /// SMBIOS product name.
    pub model: Option<Model>,
    /// SMBIOS manufacturer.
    pub manufacturer: Option<String>,
    /// Addresses of all Ethernet interfaces; the one that booted first.
    pub macs: Vec<MacAddr>,
    /// Main memory in bytes.
    pub memory: u64,
    /// Processor name.
    pub cpu: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Disks in the order in which sequences number them.
    pub disks: Vec<DiskFacts>,
    /// Further parts.
    #[serde(default)]
    pub inventory: Inventory,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Key of this Mac in the appliance's database.
    pub device: i64,
    /// Token of this session: starts runs.
    pub session: Secret,
    /// Name of the appliance, for the wizard's head line.
    pub appliance: String,
    /// The appliance's clock in milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// Ed25519 public keys (hexadecimal) whose signature a manifest must bear.
    pub manifest_keys: Vec<String>,
    /// What this Mac may run now. Empty: `why_empty` says why and what to do.
    pub offers: Vec<Offer>,
    /// Cause and next step when `offers` is empty.
    pub why_empty: Option<String>,
    /// A run of this Mac that has not ended: goes on at the step where it was.
    pub run: Option<RunTicket>,
    /// The keyboard layout that a person chose on this Mac last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyboard: Option<String>,
    /// Set where a technician signs in before anything else may be chosen: `offers` holds what starts by itself only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInAsked>,
}

/// Answer to `GET /runner/v1/keys`: the keys of [`Welcome`], now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestKeys {
    /// Ed25519 public keys (hexadecimal) whose signature a manifest must bear.
    pub manifest_keys: Vec<String>,
}

/// One deployed task sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Key of the deployment.
    pub deployment: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Its description, may be empty.
    pub description: String,
    /// Required starts by itself after `countdown` seconds; Available is chosen by a person.
    pub purpose: Purpose,
    /// Seconds that a person has to cancel a Required run.
    pub countdown: u32,
    /// Numbers of the disks that the sequence erases: named on the page that asks for confirmation.
    pub erases: Vec<u32>,
    /// Revision of the sequence; 0: not told.
    #[serde(default)]
    pub revision: u32,
    /// A person is asked during the run for a partition, which is erased.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_destination: bool,
    /// What the sequence belongs to, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// Bytes that a run fetches, as the sequence's author says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_size: Option<u64>,
}

/// What a person, or a countdown, agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOffer {
    /// [`Offer::revision`] as it was shown.
    pub revision: u32,
    /// [`Offer::erases`] as it was shown.
    pub erases: Vec<u32>,
}

impl Offer {
    /// What whoever starts it agrees to.
    pub fn seen(&self) -> SeenOffer {
        SeenOffer { revision: self.revision, erases: self.erases.clone() }
    }
}

/// Whether a deployment starts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Starts by itself.
    Required,
    /// Chosen by a person.
    Available,
}

/// The technician confirmed, or the countdown of a Required deployment ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartRun {
    /// Which [`Offer`].
    pub deployment: i64,
    /// Of the technician who confirmed, where one signed in: [`SignedIn::pass`](crate::api::sign_in::SignedIn::pass).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Secret>,
    /// The offer as it was shown: a sequence that was changed since is not started. Absent: whatever it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenOffer>,
}

/// A run that this runner may work on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunTicket {
    /// Key of the run.
    pub run: i64,
    /// Token for `next` and `report` of this run only.
    pub token: Secret,
    /// Name of the sequence.
    pub sequence: String,
    /// Number of steps.
    pub steps: u32,
}

/// Body of `next`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskNext {
    /// Where the caller executes actions now.
    pub boot: BootMethod,
    /// The Mac's disks as they are now; sent where the last answer asked for a destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DestinationDisk>,
}

/// What to do now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Next {
    /// Execute this and report.
    Act(Box<Assignment>),
    /// Nothing yet: ask again after `seconds`.
    Wait {
        /// Seconds until the next question.
        seconds: u32,
        /// Shown to the technician.
        why: String,
        /// What a person is asked, when that is what is waited for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<Box<RunQuestion>>,
    },
    /// The run has ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// One line for the technician: what was done, or what failed and what to do.
        message: String,
        /// Why it failed, when a step did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
        /// Whether it can go on with the step that failed.
        #[serde(default)]
        can_resume: bool,
        /// The step that it failed at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed_step: Option<Box<FailedStep>>,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step ended well or was skipped by its condition.
    Succeeded,
    /// A step failed and nothing caught it.
    Failed,
    /// A person stopped it.
    Cancelled,
}

/// One action of one step, numbered within the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Number of this action in the run, from 1; every report names it.
    pub number: u32,
    /// The step's place, from 1.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// Name of the step.
    pub name: String,
    /// Seconds after which the runner stops the action, if the step has a limit.
    pub timeout: Option<u32>,
    /// What to do, all variables resolved.
    pub action: Action,
}

/// What a runner says about the assignment that it works on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`Assignment::number`].
    pub number: u32,
    /// What happened.
    pub event: ReportEvent,
}

/// Events of an assignment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ReportEvent {
    /// Sent about twice a second while an action moves bytes.
    Progress(Progress),
    /// Lines for the run's log, secrets masked.
    Log {
        /// Number of the first line within the assignment, from 0: lines that are sent again are taken in once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<u64>,
        /// Lines without line ends.
        lines: Vec<String>,
    },
    /// The script set these variables; the last value of a name counts, also when the script fails afterwards.
    Variables {
        /// Names and values.
        values: Vec<(String, String)>,
    },
    /// The action ended well.
    Done(Box<Done>),
    /// The action failed.
    Failed(Failure),
    /// An event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Results of an action.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Exit code of a script.
    pub exit_code: Option<i32>,
    /// Device nodes of the partitions made, in the order of [`Action::FormatDisk`]'s list; of a capture, the one that was read.
    pub nodes: Vec<String>,
    /// Receipt of an applied image.
    pub receipt: Option<SignedReceipt>,
    /// Manifests that were read back whole and found right, in the order of [`Action::VerifyImage`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<Digest>,
    /// The file that [`Action::CaptureToShare`] wrote and read back, as people write its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// What did not go well and does not matter enough to fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Why an action failed: each part one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Failure {
    /// What went wrong, naming the thing.
    pub cause: String,
    /// What was seen: numbers, paths, exit codes.
    pub evidence: String,
    /// What to do next.
    pub next_step: String,
    /// Exit code of a script, if one ended.
    pub exit_code: Option<i32>,
}

/// A report was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// True when the run was cancelled: the runner stops what it does and asks `next`.
    pub stop: bool,
}

/// Body of every answer that is not a success: what, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[error("{error}")]
pub struct Problem {
    /// One sentence that names the thing and the cause.
    pub error: String,
    /// What to do next; may be empty.
    #[serde(default)]
    pub next_step: String,
}
