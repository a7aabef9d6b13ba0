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

/// Change the entries of a sequence; the result is its next revision, when nothing is wrong with it. An entry is named by its path,
/// `steps[2].group[0]`, or by its name where one alone has it. Comments of the file are not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EditSequence {
    /// The newest revision that the caller has seen: when there is another one meanwhile, nothing is changed.
    #[serde(default)]
    pub revision: Option<u32>,
    /// What is done.
    pub edit: SequenceEdit,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SequenceEdit {
    /// Paste a copy of an entry, a group with everything in it; names and properties stay as they are.
    Copy(PasteEntry),
    /// Move an entry: within the sequence, or out of another one, which gets a new revision, too.
    Move(PasteEntry),
    /// Let an entry walk one place up, in and out of groups.
    Up(EntryOf),
    /// The same, down.
    Down(EntryOf),
    /// Remove an entry.
    Remove(EntryOf),
    /// Put a configuration profile into an Apply Configuration Profile step, or make such a step.
    Profile(PutProfile),
}

/// Which entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EntryOf {
    /// Its path or name.
    pub entry: String,
}

/// An entry, and where it comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasteEntry {
    /// Its path or name.
    pub entry: String,
    /// The sequence that it is taken from; the same one when left out.
    #[serde(default)]
    pub from: Option<String>,
    /// A certain revision of that, to copy from.
    #[serde(default)]
    pub from_revision: Option<u32>,
    /// Where it comes; at the end when left out.
    #[serde(default)]
    pub to: Option<PutEntry>,
}

/// Where an entry comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PutEntry {
    /// Before this entry.
    Before(String),
    /// After this entry.
    After(String),
    /// At the end of this group's steps.
    Group(String),
    /// At the end of this group's *catch*.
    Catch(String),
    /// At the end of this group's *finally*.
    Finally(String),
}

/// A profile, and the step that holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutProfile {
    /// The `.mobileconfig`: its XML text, or base64 of a signed one.
    pub profile: String,
    /// The step whose profile it replaces: its path or name. Left out: a new step is made.
    #[serde(default)]
    pub entry: Option<String>,
    /// Name of the new step; that of its type when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the new step comes; at the end when left out.
    #[serde(default)]
    pub to: Option<PutEntry>,
}

/// What was saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EditedSequence {
    /// The sequence.
    pub saved: SavedSequence,
    /// The other one, which an entry was moved out of.
    pub other: Option<SavedSequence>,
    /// Path of the entry now; none when it was removed.
    pub entry: Option<String>,
}

/// One sequence in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SequenceSummary {
    /// Name.
    pub name: String,
    /// Description, may be empty.
    pub description: String,
    /// What it belongs to, may be empty.
    #[serde(default)]
    pub category: String,
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
