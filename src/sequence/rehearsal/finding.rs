//! What stands against a plan: rules of its own, and those of the check. Must not know: how they are found.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The run would not do what it should.
    Red,
    /// Worth a look.
    Yellow,
}

/// The rules of a plan, beside those of the check ([`crate::sequence::check::Code`]), whose findings it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanCode {
    /// The sequence starts nowhere.
    Disabled,
    /// Collections of one priority give a variable different values.
    VariableTie,
    /// A step that never starts on a live macOS, and the Mac runs it.
    OnLiveMacos,
    /// A disk that is smaller than its partitions.
    DiskTooSmall,
    /// An image that the library does not hold.
    UnknownImage,
    /// Values that nobody could be asked for if a Required deployment started it.
    CannotAsk,
    /// The run would fail.
    CannotRun,
}

impl PlanCode {
    /// Every rule.
    pub const ALL: [PlanCode; 7] = [
        PlanCode::Disabled,
        PlanCode::VariableTie,
        PlanCode::OnLiveMacos,
        PlanCode::DiskTooSmall,
        PlanCode::UnknownImage,
        PlanCode::CannotAsk,
        PlanCode::CannotRun,
    ];

    /// Its short name.
    pub const fn as_str(self) -> &'static str {
        match self {
            PlanCode::Disabled => "disabled",
            PlanCode::VariableTie => "variable-tie",
            PlanCode::OnLiveMacos => "os-deployment-on-live-macos",
            PlanCode::DiskTooSmall => "disk-too-small",
            PlanCode::UnknownImage => "unknown-image",
            PlanCode::CannotAsk => "cannot-ask",
            PlanCode::CannotRun => "cannot-run",
        }
    }
}

/// Something that is wrong with the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanFinding {
    /// How bad.
    pub severity: Severity,
    /// Short name of the rule, of [`PlanCode`] or of the check.
    pub code: String,
    /// Where; empty for the whole.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl PlanFinding {
    pub(super) fn of(severity: Severity, code: PlanCode, place: &str, message: String) -> PlanFinding {
        PlanFinding { severity, code: code.as_str().to_owned(), place: place.to_owned(), message }
    }
}
