//! The wizard on a Mac's console and its remote twin: what the Mac shows, what it waits for, what people say to it from afar.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /runner/v1/screen` (session token) | [`ScreenReport`] | [`ScreenTaken`] |
//! | `POST /runner/v1/news` (session token) | [`AskNews`] | [`News`], as soon as there is some, else after `wait` seconds |
//! | `POST /runner/v1/down` (session token) | [`GoesDown`] | [`Said`] |
//! | `POST /runner/v1/messages/{message}` (session token) | [`Acknowledge`] | [`TechnicianMessage`] |
//! | `POST /runner/v1/runs/{run}/answers` (run token) | [`SayAnswers`] | [`Said`] |
//! | `POST /runner/v1/runs/{run}/destination` (run token) | [`SayDestination`] | [`Said`] |
//! | `POST /runner/v1/runs/{run}/confirm`, `…/cancel`, `…/resume` (run token) | [`Say`] | [`Said`] |
//! | `GET /api/v1/devices/{device}/screen` `?after=N&wait=S` | | [`Screen`] |
//! | `POST /api/v1/devices/{device}/start` | [`StartOnDevice`] | 201 [`Run`](crate::api::admin::Run) |
//! | `POST /api/v1/devices/{device}/restart`, `…/shutdown` | | [`Screen`] |
//! | `GET`, `POST /api/v1/devices/{device}/messages` | [`SendMessage`] | `[`[`TechnicianMessage`]`]`, 201 [`TechnicianMessage`] |
//!
//! The appliance keeps of a screen what was reported last, in memory; messages are kept until they are acknowledged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::runner::Offer;
use crate::value::Secret;

/// Lines of a screen that are reported at most.
pub const MOST_LINES: usize = 60;
/// Bytes of the longest line of a screen.
pub const LONGEST_LINE: usize = 1024;
/// Bytes of the longest message to a technician.
pub const LONGEST_MESSAGE: usize = 2000;

/// Which page a Mac shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PageName {
    /// It looks for its appliance, or waits for an answer.
    Connecting,
    /// Which appliance?
    Appliances,
    /// A person has to log in.
    LogIn,
    /// What may run: a person chooses.
    Choose,
    /// What will be erased: a person confirms.
    Confirm,
    /// A Required run starts by itself soon.
    Countdown,
    /// Values of variables are asked for.
    Prompt,
    /// A partition is asked for that an image goes to.
    Destination,
    /// A person has to do something before the run goes on.
    Wait,
    /// A run is at work.
    Running,
    /// A run has ended.
    Ended,
    /// It cannot go on by itself.
    Problem,
    /// It restarts or shuts down.
    GoingDown,
    /// A page that this version does not know.
    #[serde(other)]
    Unknown,
}

impl PageName {
    /// Whether a run may be started from afar while this page is shown.
    pub fn takes_a_run(self) -> bool {
        use PageName::{Choose, Confirm, Countdown, Ended, LogIn, Problem};
        matches!(self, LogIn | Choose | Confirm | Countdown | Ended | Problem)
    }

    /// What it waits for, in words.
    pub fn in_words(self) -> &'static str {
        match self {
            PageName::Connecting => "looks for the appliance",
            PageName::Appliances => "asks which appliance to use",
            PageName::LogIn => "waits for somebody to log in",
            PageName::Choose => "waits for a choice",
            PageName::Confirm => "waits for a confirmation",
            PageName::Countdown => "counts down to a run",
            PageName::Prompt => "asks for values",
            PageName::Destination => "asks where an image shall go",
            PageName::Wait => "waits for a person",
            PageName::Running => "is at work",
            PageName::Ended => "shows how a run ended",
            PageName::Problem => "cannot go on",
            PageName::GoingDown => "goes down",
            PageName::Unknown => "shows a page that this version does not know",
        }
    }
}

/// What a Mac shows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenReport {
    /// Which page.
    pub page: PageName,
    /// What the page is about, one line.
    pub title: String,
    /// The screen as text, line by line; what is typed into a hidden field is not in it.
    pub text: Vec<String>,
    /// The run that it is about.
    pub run: Option<i64>,
    /// The keyboard layout that a person chose.
    pub keyboard: Option<String>,
}

/// A report was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenTaken {}

/// Asks for what people said from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskNews {
    /// Number of the last order that was taken; 0 at first.
    pub after: u64,
    /// Number of the last message that was taken; 0 at first.
    #[serde(default)]
    pub message: i64,
    /// Seconds to wait for some, at most 15.
    pub wait: u32,
}

/// What people said from afar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// In order.
    pub orders: Vec<RemoteOrder>,
    /// Number of the last of them: the next question names it.
    pub last: u64,
    /// Newer messages that nobody has acknowledged, oldest first.
    pub messages: Vec<TechnicianMessage>,
}

/// What a Mac is told to do from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteOrder {
    /// Ask the appliance again: something has changed.
    Look,
    /// Restart.
    Restart,
    /// Shut down.
    ShutDown,
    /// Stop the countdown: what is Required does not start by itself any more, as after a key.
    Hold,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Somebody at the Mac has read a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {}

/// Something is said to the run without further words.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Say {
    /// Of the technician who is logged in at the Mac, where one is: [`SignedIn::pass`](crate::api::sign_in::SignedIn::pass). It
    /// says in whose name this is recorded; that it may be said is proved by the run's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Secret>,
}

/// How a Mac goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Descent {
    /// It starts again.
    Restart,
    /// It stays off.
    ShutDown,
    /// A way that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Somebody at the Mac restarts it or shuts it down, by a key of the wizard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GoesDown {
    /// How.
    pub how: Descent,
    /// The run whose page was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// See [`Say::pass`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Secret>,
}

/// Values of empty variables, typed at the Mac.
#[derive(Clone, Serialize, Deserialize)]
pub struct SayAnswers {
    /// By name.
    pub values: BTreeMap<String, String>,
    /// See [`Say::pass`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Secret>,
}

/// Where an image goes, selected at the Mac.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SayDestination {
    /// The step that it is asked for.
    pub step: u32,
    /// Disk number.
    pub disk: u32,
    /// Partition number.
    pub partition: u32,
    /// See [`Say::pass`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Secret>,
}

/// What was said to the run was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {}

/// A message to whoever stands in front of a Mac.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TechnicianMessage {
    /// Number of the message.
    pub id: i64,
    /// What it says.
    pub text: String,
    /// Who sent it.
    pub by: String,
    /// When, milliseconds since 1970 UTC.
    pub sent_ms: i64,
    /// When somebody at the Mac acknowledged it.
    pub acknowledged_ms: Option<i64>,
}

/// Body of `POST …/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// What it says: one or more lines, at most 2000 bytes.
    pub text: String,
}

/// Body of `POST …/start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StartOnDevice {
    /// Which of the deployments that the Mac is offered.
    pub deployment: i64,
}

/// What a Mac shows, seen from afar.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Screen {
    /// Number of the device.
    pub device: i64,
    /// Grows with everything that happens on the screen.
    pub change: u64,
    /// Which page.
    pub page: PageName,
    /// What the page is about.
    pub title: String,
    /// The screen as text.
    pub text: Vec<String>,
    /// Since when it shows this page, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// When the Mac spoke last.
    pub seen_ms: i64,
    /// Whether it is there: it spoke within the last half minute.
    pub here: bool,
    /// The run that it is about.
    pub run: Option<i64>,
    /// The keyboard layout that a person chose there.
    pub keyboard: Option<String>,
    /// What it may run now: `POST …/start`.
    #[cfg_attr(feature = "server", schema(value_type = Vec<Object>))]
    pub offers: Vec<Offer>,
    /// Messages that nobody has acknowledged.
    pub messages: Vec<TechnicianMessage>,
}
