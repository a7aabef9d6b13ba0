//! Task sequences.

use serde::{Deserialize, Serialize};

/// A task sequence as a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SequenceText {
    /// The YAML text, as it lies in the file.
    pub yaml: String,
}

/// A sequence was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SavedSequence {
    /// Name, from the text.
    pub name: String,
    /// Number of the revision that holds this text.
    pub revision: u32,
    /// True when the newest revision was the same text already.
    pub unchanged: bool,
}

/// One thing that is wrong with a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Finding {
    /// Short name of the rule: `script-without-shebang`.
    pub code: String,
    /// Where, `steps[2]`; empty for the sequence as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What is wrong with a saved sequence now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SequenceFindings {
    /// Name.
    pub name: String,
    /// Its newest revision.
    pub revision: u32,
    /// Collections that it is deployed to.
    pub deployed_to: Vec<String>,
    /// Everything that is wrong; empty: nothing is.
    pub findings: Vec<Finding>,
}

/// Save a sequence under another name, too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CopySequence {
    /// The other name; a sequence of this name gets a new revision only with `replace`.
    pub to: String,
    /// Revision that is copied; the newest when left out.
    #[serde(default)]
    pub revision: Option<u32>,
    /// A sequence that has the name already gets the copy as its newest revision.
    #[serde(default)]
    pub replace: bool,
}

/// One sequence in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SequenceSummary {
    /// Name.
    pub name: String,
    /// Description, may be empty.
    pub description: String,
    /// Newest revision.
    pub revision: u32,
    /// Whether it starts nowhere.
    pub disabled: bool,
    /// Number of steps.
    pub steps: u32,
    /// Bytes that a run fetches, as its author says.
    #[serde(default)]
    pub download_size: Option<u64>,
    /// When the newest revision was saved, milliseconds since 1970 UTC.
    pub saved_ms: i64,
}

/// One revision of a sequence, with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Sequence {
    /// Name.
    pub name: String,
    /// This revision.
    pub revision: u32,
    /// The newest revision.
    pub newest: u32,
    /// When this revision was saved, milliseconds since 1970 UTC.
    pub saved_ms: i64,
    /// The YAML text as it was saved.
    pub yaml: String,
}
