//! What happens to a run, as it is recorded: replayed in order, the events are the run.
//!
//! A record holds the values of secret variables and stays on the appliance. People and programs are shown
//! [`Event::line`] instead.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::Chosen;
use crate::sequence::model::Sequence;
use crate::sequence::name::VariableName;
use crate::sequence::program::Others;
use crate::sequence::variable::{BootMethod, Facts, Scope, Value};
use crate::value::{Digest, Pick, Ring};

/// Everything that a run is pinned to when it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The revision, whole.
    pub sequence: Sequence,
    /// The Mac.
    pub facts: Facts,
    /// Variables of its collections.
    #[serde(default)]
    pub collection: Scope,
    /// Variables of the Mac.
    #[serde(default)]
    pub device: Scope,
    /// Every image that [`super::images_wanted`] names.
    #[serde(default)]
    pub images: Vec<PinnedImage>,
    /// Every sequence that it runs, whole, as it was when the run started.
    #[serde(default, skip_serializing_if = "Others::is_empty")]
    pub others: Others,
    /// Who started it; none: it started by itself, or nobody had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Nobody can be asked: a Required deployment started it by itself on a live macOS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unattended: bool,
}

/// An image as it was when the run started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// Name in the library.
    pub name: String,
    /// The version that the step asks for.
    pub asked: Option<u32>,
    /// The ring that the step asks for; neither: production, else the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
    /// The version that was found.
    pub version: u32,
    /// Digest of its signed manifest.
    pub manifest: Digest,
}

impl PinnedImage {
    /// Whether this is what a step asks for.
    pub fn is_for(&self, name: &str, pick: Pick) -> bool {
        self.name == name && self.asked == pick.version() && self.ring == pick.ring()
    }
}

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Milliseconds since 1970 UTC, by the appliance's clock.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. Steps are counted from 1, as people are shown them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The technician confirmed, or a Required deployment started by itself. Always the first.
    Started(Box<Start>),
    /// A Set Variables step took effect. The engine's own.
    VariablesSet {
        /// Which step.
        step: u32,
        /// Names and values, in order.
        values: Vec<(VariableName, Value)>,
    },
    /// An action was handed out. The engine's own.
    Assigned {
        /// Which step.
        step: u32,
        /// Number of the action in the run, from 1.
        number: u32,
    },
    /// A step could not begin. The engine's own.
    Refused {
        /// Which step.
        step: u32,
        /// Why.
        failure: Failure,
    },
    /// The runner reported that an action ended well.
    Done {
        /// Which action.
        number: u32,
        /// What came of it.
        #[serde(flatten)]
        result: ActionResult,
    },
    /// The runner reported that an action failed.
    Failed {
        /// Which action.
        number: u32,
        /// Why.
        failure: Failure,
    },
    /// The condition of a step does not hold. The engine's own.
    Skipped {
        /// Which step.
        step: u32,
        /// The values that decided.
        why: String,
    },
    /// A group began. The engine's own.
    GroupEntered {
        /// Number of the group, from 1.
        group: u32,
        /// The values that decided, when it has a condition.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// The condition of a group does not hold. The engine's own.
    GroupSkipped {
        /// Number of the group, from 1.
        group: u32,
        /// The values that decided.
        why: String,
    },
    /// A script set variables.
    ValuesSet {
        /// Its action.
        number: u32,
        /// Names and values, in order.
        values: Vec<(VariableName, Value)>,
    },
    /// A person gave values to empty variables that were asked for.
    Answered {
        /// Who.
        by: String,
        /// Names and values.
        values: Vec<(VariableName, Value)>,
    },
    /// Empty variables are used, and nobody can be asked for them. The engine's own.
    CannotAsk {
        /// Which.
        variables: Vec<VariableName>,
    },
    /// A person chose where an image goes.
    DestinationChosen {
        /// Which step puts it there.
        step: u32,
        /// Who.
        by: String,
        /// Where.
        chosen: Chosen,
    },
    /// A Wait for technician step began. The engine's own.
    Waiting {
        /// Which step.
        step: u32,
    },
    /// A person said that the run may go on.
    Confirmed {
        /// Which step waited.
        step: u32,
        /// Who.
        by: String,
    },
    /// Nobody confirmed within the step's time limit. The engine's own.
    WaitedTooLong {
        /// Which step.
        step: u32,
    },
    /// A person lets a failed run go on with the step that failed.
    Resumed {
        /// Who.
        by: String,
    },
    /// The Mac said hello again: its runner was started anew and remembers nothing.
    Reconnected {
        /// How it was started.
        boot: BootMethod,
        /// The runner alone: the Mac is at the same start of its kernel. False too where that is not known.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        same_start: bool,
    },
    /// A person stopped the run.
    Cancelled {
        /// Who.
        by: String,
    },
    /// The sequence's maximum run time is over, or the time that a stopped run has for its *finally* parts. The engine's own.
    RanOutOfTime,
    /// The step is macOS's, and the Mac is not there: it is restarted, unless it was just now, and the run waits for its
    /// agent. The engine's own.
    HandedToMacos {
        /// Which step.
        step: u32,
        /// Number of the restart, when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
    },
    /// A person ends a run that waits for macOS.
    Closed {
        /// Who.
        by: String,
        /// Whether they vouch that what is left was done, or is not needed.
        done: bool,
    },
    /// An event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What came of an action that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// Exit code of a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Device nodes of the partitions that a format step made, in its order; of a capture, the one that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The manifest that the receipt of an applied image names; set only when the receipt's signature was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Digest>,
    /// The image version that a capture made, `lab-mac 4`; set only from what the library itself recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<String>,
    /// The file that a capture wrote on a share and read back, as [`ShareFolder`](crate::sequence::capture::ShareFolder) names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// Manifests that a Verify Image step read back whole and found right, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<Digest>,
    /// What did not go well and does not matter enough to fail the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Why something failed: each part one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, naming the thing.
    pub cause: String,
    /// What was seen.
    pub evidence: String,
    /// What to do next.
    pub next_step: String,
    /// Exit code of a script, if one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl Event {
    /// The word that the record calls it by.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Started(_) => "started",
            Event::VariablesSet { .. } => "variables-set",
            Event::Assigned { .. } => "assigned",
            Event::Refused { .. } => "refused",
            Event::Done { .. } => "done",
            Event::Failed { .. } => "failed",
            Event::Skipped { .. } => "skipped",
            Event::GroupEntered { .. } => "group-entered",
            Event::GroupSkipped { .. } => "group-skipped",
            Event::ValuesSet { .. } => "values-set",
            Event::Answered { .. } => "answered",
            Event::CannotAsk { .. } => "cannot-ask",
            Event::DestinationChosen { .. } => "destination-chosen",
            Event::Waiting { .. } => "waiting",
            Event::Confirmed { .. } => "confirmed",
            Event::WaitedTooLong { .. } => "waited-too-long",
            Event::Resumed { .. } => "resumed",
            Event::Reconnected { .. } => "reconnected",
            Event::Cancelled { .. } => "cancelled",
            Event::RanOutOfTime => "ran-out-of-time",
            Event::HandedToMacos { .. } => "handed-to-macos",
            Event::Closed { .. } => "closed",
            Event::Unknown => "unknown",
        }
    }

    /// The step that it is about, from 1.
    pub fn step(&self) -> Option<u32> {
        match self {
            Event::VariablesSet { step, .. }
            | Event::Assigned { step, .. }
            | Event::Refused { step, .. }
            | Event::Skipped { step, .. }
            | Event::Waiting { step }
            | Event::DestinationChosen { step, .. }
            | Event::Confirmed { step, .. }
            | Event::HandedToMacos { step, .. }
            | Event::WaitedTooLong { step } => Some(*step),
            _ => None,
        }
    }

    /// The group that it is about, from 1.
    pub fn group(&self) -> Option<u32> {
        match self {
            Event::GroupEntered { group, .. } | Event::GroupSkipped { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// Whether it holds the value of a secret.
    pub fn has_secrets(&self) -> bool {
        let any = |values: &[(VariableName, Value)]| values.iter().any(|(_, value)| value.secret);
        match self {
            Event::Started(start) => {
                let scopes = [&start.collection, &start.device];
                let sequences = std::iter::once(&start.sequence).chain(start.others.values());
                scopes.iter().any(|scope| scope.values().any(|value| value.secret))
                    || sequences.flat_map(Sequence::walk).any(|(_, step)| step.kind.has_secrets())
            }
            Event::VariablesSet { values, .. }
            | Event::ValuesSet { values, .. }
            | Event::Answered { values, .. } => any(values),
            _ => false,
        }
    }

    /// One line for people, without secrets.
    pub fn line(&self) -> String {
        match self {
            Event::Started(start) => started(start),
            Event::VariablesSet { values, .. } => format!("set {}", shown(values)),
            Event::ValuesSet { values, .. } => format!("the script set {}", shown(values)),
            Event::Answered { by, values } => format!("{by} answered {}", shown(values)),
            Event::CannotAsk { variables } => {
                let names: Vec<&str> = variables.iter().map(VariableName::as_str).collect();
                format!("nobody can be asked for {}", names.join(", "))
            }
            Event::Skipped { why, .. } | Event::GroupSkipped { why, .. } => format!("left out: {why}"),
            Event::GroupEntered { why, .. } if why.is_empty() => "begins".to_owned(),
            Event::GroupEntered { why, .. } => format!("begins: {why}"),
            Event::DestinationChosen { by, chosen, .. } => format!("{by} chose {}", chosen.described),
            Event::Waiting { .. } => "waits for a person".to_owned(),
            Event::Confirmed { by, .. } => format!("confirmed by {by}"),
            Event::WaitedTooLong { .. } => "nobody confirmed within the step's time limit".to_owned(),
            Event::Resumed { by } => format!("resumed from the failed step by {by}"),
            Event::Assigned { number, .. } => format!("handed out as action {number}"),
            Event::Refused { failure, .. } | Event::Failed { failure, .. } => failure.line(),
            Event::Done { number, result } => result.line(*number),
            Event::Reconnected { boot, same_start: false } => {
                format!("the Mac was started anew ({})", boot.as_str())
            }
            Event::Reconnected { boot, same_start: true } => {
                format!("the runner was started anew, the Mac was not ({})", boot.as_str())
            }
            Event::Cancelled { by } => format!("cancelled by {by}"),
            Event::RanOutOfTime => "the time of the run is over".to_owned(),
            Event::HandedToMacos { number: Some(number), .. } => {
                format!(
                    "is done on macOS: the Mac is restarted (action {number}), then its agent is waited for"
                )
            }
            Event::HandedToMacos { number: None, .. } => {
                "is done on macOS: its agent is waited for".to_owned()
            }
            Event::Closed { by, done: true } => {
                format!("closed by {by}: what is left was done, or is not needed")
            }
            Event::Closed { by, done: false } => format!("closed by {by}: macOS did not report"),
            Event::Unknown => "recorded by a newer version of the appliance".to_owned(),
        }
    }
}

impl Failure {
    /// The parts in one line.
    pub fn line(&self) -> String {
        let parts = [&self.cause, &self.evidence, &self.next_step];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" · ")
    }
}

impl ActionResult {
    fn line(&self, number: u32) -> String {
        let mut line = format!("action {number} done");
        if let Some(code) = self.exit_code {
            let _ = write!(line, ", exit code {code}");
        }
        if !self.nodes.is_empty() {
            // A capture says what it read, a step that formats says what it made.
            let verb = if self.captured.is_some() { "read" } else { "made" };
            let _ = write!(line, ", {verb} {}", self.nodes.join(", "));
        }
        if let Some(manifest) = self.receipt {
            let _ = write!(line, ", verified against manifest {manifest}");
        }
        if let Some(captured) = &self.captured {
            let _ = write!(line, ", captured as {captured}");
        }
        for manifest in &self.verified {
            let _ = write!(line, ", read back and equal to manifest {manifest}");
        }
        if let Some(warning) = &self.warning {
            let _ = write!(line, "; warning: {warning}");
        }
        line
    }
}

fn shown(values: &[(VariableName, Value)]) -> String {
    let set: Vec<String> = values.iter().map(|(name, value)| format!("{name}={}", value.shown())).collect();
    set.join(", ")
}

fn started(start: &Start) -> String {
    let mut line = format!("`{}`, {} steps", start.sequence.name, start.sequence.walk().count());
    for name in start.others.keys() {
        let _ = write!(line, ", with `{name}`");
    }
    for image in &start.images {
        let _ = write!(line, ", {} {}", image.name, image.version);
    }
    if let Some(by) = &start.by {
        let _ = write!(line, ", started by {by}");
    }
    line
}
