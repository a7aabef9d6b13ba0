//! Rings of an image, what was decided about its versions, and how long they are kept.

use serde::{Deserialize, Serialize};

use crate::value::{Ring, Rings};

/// Where the rings of an image point, and everything that was decided about its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageRings {
    /// Name of the image.
    pub name: String,
    /// Where they point now.
    pub rings: Rings,
    /// Every decision, newest first. What once stands here is never changed or taken away.
    pub history: Vec<ImageEvent>,
}

/// One decision about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageEvent {
    /// Grows from one to the next, over all images.
    pub number: i64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who.
    pub by: String,
    /// What.
    pub kind: ImageEventKind,
    /// The ring that moved; none when none did.
    pub ring: Option<Ring>,
    /// The version that it concerned before: where the ring pointed, or the one that was deleted.
    pub from: Option<u32>,
    /// The version that it concerns now: where the ring points, or whose note was changed.
    pub to: Option<u32>,
    /// More, for people; may be empty.
    pub detail: String,
}

/// Kinds of decisions about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ImageEventKind {
    /// A version came in, and draft points to it.
    Added,
    /// A ring was moved to a version.
    Promoted,
    /// A ring was moved back to the version it had before.
    RolledBack,
    /// Draft moved on, because its version was deleted.
    MovedOn,
    /// A version was deleted.
    Deleted,
    /// The note of a version was changed.
    Noted,
    /// It was decided which versions are kept.
    Retention,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Move a ring to a version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PromoteImage {
    /// Which version; none: the one in the ring before.
    #[serde(default)]
    pub version: Option<u32>,
    /// To which ring; none: the one after the ring that the version is in.
    #[serde(default)]
    pub ring: Option<Ring>,
}

/// Move a ring back to the version it had before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RollBackImage {
    /// Which ring.
    pub ring: Ring,
}

/// Change the note of a version; nothing else of a version ever changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NoteImage {
    /// The new note: at most 2000 characters; empty takes it away.
    pub note: String,
}

/// Which old versions go by themselves. A version goes when every rule that is given says so; without a rule none goes. The
/// newest version, one in a ring, and one that a run or a deployed sequence needs never goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The newest so many are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<u32>,
    /// Versions younger than so many days are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
}

/// Decide which versions of an image are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetRetention {
    /// Its own rules; none: those of the settings, `library.keep-versions` and `library.keep-days`.
    pub retention: Option<Retention>,
}

/// Delete the versions that need not be kept, as happens by itself after each import and every day.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApplyRetention {
    /// Of this image only.
    #[serde(default)]
    pub image: Option<String>,
    /// Say what would be deleted, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What becomes of the versions of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RetentionPlan {
    /// Name of the image.
    pub name: String,
    /// The rules in force.
    pub retention: Retention,
    /// Whether they are its own; else they are those of the settings.
    pub own: bool,
    /// Every version, newest first.
    pub versions: Vec<RetentionLine>,
}

/// What becomes of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RetentionLine {
    /// Which.
    pub version: u32,
    /// Whether it goes, or has gone.
    pub delete: bool,
    /// Why it goes or stays.
    pub why: String,
}
