//! Which image goes where: Apply Image, and the steps that come back to a volume (Verify Image, Copy Files, Set Startup Disk).
//!
//! Must not know: how a disk is written, what is wrong with a step.

use serde::{Deserialize, Serialize};

use super::name::VariableName;
use super::template::Template;
use crate::value::{FreeSpace, Pick, Ring};

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

/// Reads an applied image back from the disk and compares it with its manifest. Nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VerifyImageFields", into = "VerifyImageFields")]
pub struct VerifyImage {
    /// An image of the library, for a volume that this run did not write; none: what this run applied.
    pub image: Option<Template>,
    /// Which version of it.
    pub pick: Pick,
    /// A certain partition of the image; none: its main volume.
    pub source_partition: Option<u32>,
    /// Which volume; none: every one that this run applied an image to.
    pub volume: Option<Destination>,
}

/// A [`VerifyImage`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyImageFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ring: Option<Ring>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_partition: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<Destination>,
}

impl TryFrom<VerifyImageFields> for VerifyImage {
    type Error = &'static str;

    fn try_from(fields: VerifyImageFields) -> Result<VerifyImage, &'static str> {
        let VerifyImageFields { image, version, ring, source_partition, volume } = fields;
        let pick = Pick::new(version, ring).ok_or("an image has a `version` or a `ring`, not both")?;
        match (&image, &volume) {
            (None, _) if pick != Pick::Usual || source_partition.is_some() => {
                Err("`version`, `ring` and `source_partition` belong to an `image`: name it")
            }
            (Some(_), None) => Err(
                "say with `volume` where the image should lie; without `image`, what this run applied is verified",
            ),
            _ => Ok(VerifyImage { image, pick, source_partition, volume }),
        }
    }
}

impl From<VerifyImage> for VerifyImageFields {
    fn from(verify: VerifyImage) -> VerifyImageFields {
        let VerifyImage { image, pick, source_partition, volume } = verify;
        VerifyImageFields { image, version: pick.version(), ring: pick.ring(), source_partition, volume }
    }
}

/// Copies a file or folder of the appliance to a volume, in the boot environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFiles {
    /// What: a path below the appliance's folder of files, `labs/wallpapers`.
    pub from: Template,
    /// Folder on the volume that receives it, `/Users/Shared`; made where it is absent.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub to: Template,
    /// Which volume; none: the one that this run applied an image to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Destination>,
}

/// Has the firmware start a volume from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStartupDisk {
    /// Which volume; none: the one that this run applied an image to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Destination>,
    /// The step fails where the firmware does not take it. Else that is a warning: a Mac that holds one system starts it anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

fn root() -> Template {
    // `/` has no percent sign, so it is well formed.
    "/".parse().unwrap_or_else(|_| unreachable!("a plain text"))
}

fn is_root(path: &Template) -> bool {
    path.as_str() == "/"
}

/// What a `from` of Copy Files must be: it stays below the folder that it is looked for in.
pub const SOURCE_RULE: &str =
    "a path below the appliance's folder of files, without `..` and without a `/` before it";

/// Whether a path stays below the folder that it is looked for in, whatever that is.
pub fn is_inner_path(path: &str) -> bool {
    !path.is_empty() && path.len() <= 1024 && path.split('/').all(is_plain_name)
}

/// Whether a path names a folder of a volume: from its root on, without `..`.
pub fn is_volume_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || is_inner_path(rest.trim_end_matches('/')))
}

fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.contains('\\')
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_where_they_belong() {
        for path in ["a", "labs/Wall paper.jpg", "a/..b", ".hidden"] {
            assert!(is_inner_path(path), "{path}");
        }
        for path in ["", "/a", "a/../b", "..", "a//b", "a/", "./a", "a\0b", "a\\..\\b", &"x/".repeat(600)] {
            assert!(!is_inner_path(path), "{path}");
        }
        for (path, good) in [
            ("/", true),
            ("/Users/Shared", true),
            ("/Users/", true),
            ("", false),
            ("Users", false),
            ("/../x", false),
            ("//x", false),
        ] {
            assert_eq!(is_volume_path(path), good, "{path}");
        }
    }
}
