//! What a Capture Image step takes and where to: the words of its source and destination, as a file has them and as a runner is told.
//!
//! What a share leaves out takes the value of the guide's variable of that name (task-sequences section 2). Must not know: how a
//! disk is read, how a share is reached.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::macos::{is_variable, variable};
use super::template::Template;
use crate::value::{Secret, ShareAccount, SharePath};

/// Takes an image from this Mac: into the library, or as a file on a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureImage {
    /// Name of the image: in the library, where one that exists gets a new version, or of the `.dmg` on the share.
    pub image: Template,
    /// A note for the version in the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Template>,
    /// What is taken.
    #[serde(default, skip_serializing_if = "CaptureSource::is_macos")]
    pub source: CaptureSource,
    /// Where to.
    #[serde(default, skip_serializing_if = "CaptureDestination::is_appliance")]
    pub destination: CaptureDestination,
}

/// Where a captured image goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CaptureDestination {
    /// Into the appliance's library: `appliance`.
    #[default]
    Appliance,
    /// Into a folder of an SMB share, as a disk image: `share`, or what is not as the guide's variables have it.
    Share(Box<ShareDestination>),
}

/// A folder of an SMB share, and who may write there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareDestination {
    /// `\\server\share\folder`; it must be there.
    #[serde(default = "share", skip_serializing_if = "is_share")]
    pub share: Template,
    /// A folder in it, made where it is absent; none: `%PmmOSDCaptureDestinationDir%` where it is defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<Template>,
    /// `DOMAIN\user`, `user@domain` or `user`.
    #[serde(default = "account", skip_serializing_if = "is_account")]
    pub account: Template,
    /// Its password: a secret variable.
    #[serde(default = "password", skip_serializing_if = "is_password")]
    pub password: Template,
}

/// The guide's variable with the folder.
pub const FOLDER: &str = "PmmOSDCaptureDestinationDir";
/// The guide's variable with the node of the partition that a capture read; nothing sets it but a capture.
pub const SOURCE_DISK: &str = "PmmOSDSourceDisk";

impl Default for ShareDestination {
    fn default() -> ShareDestination {
        ShareDestination { share: share(), folder: None, account: account(), password: password() }
    }
}

fn share() -> Template {
    variable("OSDCaptureDestination")
}

fn account() -> Template {
    variable("OSDCaptureAccount")
}

fn password() -> Template {
    variable("PmmOSDCaptureAccountPassword")
}

fn is_share(text: &Template) -> bool {
    is_variable(text, "OSDCaptureDestination")
}

fn is_account(text: &Template) -> bool {
    is_variable(text, "OSDCaptureAccount")
}

fn is_password(text: &Template) -> bool {
    is_variable(text, "PmmOSDCaptureAccountPassword")
}

/// A file on a share, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareFolder {
    /// What must be there.
    pub path: SharePath,
    /// The folder that the file lies in: the same, or one below it, which is made.
    pub folder: SharePath,
    /// Who may write there.
    pub account: ShareAccount,
    /// Its password; may be empty.
    pub password: Secret,
}

/// Name of the file of an image.
pub fn file_name(image: &str) -> String {
    format!("{image}.dmg")
}

/// The whole path of an image's file, for people.
pub fn saved_as(image: &str, share: &ShareFolder) -> String {
    let name = file_name(image);
    share.folder.inside(&name).map_or(name, |path| path.to_string())
}

impl CaptureDestination {
    fn is_appliance(&self) -> bool {
        *self == CaptureDestination::Appliance
    }
}

/// What is right for a destination.
const DESTINATIONS: &str = "a destination is `appliance`, or `share`, or of a share what its variables do not say: `share`, `folder`, `account`, `password`";

impl Serialize for CaptureDestination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            CaptureDestination::Appliance => serializer.serialize_str("appliance"),
            CaptureDestination::Share(share) if **share == ShareDestination::default() => {
                serializer.serialize_str("share")
            }
            CaptureDestination::Share(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CaptureDestination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CaptureDestination, D::Error> {
        deserializer.deserialize_any(Destinations)
    }
}

struct Destinations;

impl<'de> Visitor<'de> for Destinations {
    type Value = CaptureDestination;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DESTINATIONS)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<CaptureDestination, E> {
        match word {
            "appliance" => Ok(CaptureDestination::Appliance),
            "share" => Ok(CaptureDestination::Share(Box::default())),
            _ => Err(E::custom(DESTINATIONS)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CaptureDestination, A::Error> {
        let share = ShareDestination::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(CaptureDestination::Share(Box::new(share)))
    }
}

/// What a capture takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureSource {
    /// The volume with macOS on it and its Recovery partition, on whatever numbered disk they are: `macos`.
    #[default]
    Macos,
    /// A whole disk: `{disk: 0}`.
    Disk {
        /// 0 is the first internal disk.
        disk: u32,
    },
    /// One partition: `{disk: 0, partition: 2}`.
    Partition {
        /// 0 is the first internal disk.
        disk: u32,
        /// Number in the partition table.
        partition: u32,
    },
}

impl fmt::Display for CaptureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureSource::Macos => f.write_str("the volume with macOS and its Recovery"),
            CaptureSource::Disk { disk } => write!(f, "disk {disk}"),
            CaptureSource::Partition { disk, partition } => write!(f, "partition {partition} of disk {disk}"),
        }
    }
}

impl CaptureSource {
    fn is_macos(&self) -> bool {
        *self == CaptureSource::Macos
    }
}

/// What is right, for every way to be wrong.
const FORMS: &str = "a source is `macos`, or `disk`, or `disk` and `partition`";

impl Serialize for CaptureSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (disk, partition) = match self {
            CaptureSource::Macos => return serializer.serialize_str("macos"),
            CaptureSource::Disk { disk } => (disk, None),
            CaptureSource::Partition { disk, partition } => (disk, Some(partition)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("disk", disk)?;
        if let Some(partition) = partition {
            map.serialize_entry("partition", partition)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CaptureSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CaptureSource, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = CaptureSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMS)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<CaptureSource, E> {
        if word == "macos" { Ok(CaptureSource::Macos) } else { Err(E::custom(FORMS)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CaptureSource, A::Error> {
        let (mut disk, mut partition) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                "disk" => &mut disk,
                "partition" => &mut partition,
                _ => return Err(A::Error::custom(FORMS)),
            };
            if slot.replace(map.next_value::<u32>()?).is_some() {
                return Err(A::Error::custom(format!("`{key}` stands twice in one source")));
            }
        }
        match (disk, partition) {
            (Some(disk), None) => Ok(CaptureSource::Disk { disk }),
            (Some(disk), Some(partition)) => Ok(CaptureSource::Partition { disk, partition }),
            (None, _) => Err(A::Error::custom(FORMS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_2_a_destination_survives_json_and_what_it_leaves_out_are_the_variables_of_the_guide() {
        let read = |text: &str| serde_json::from_str::<CaptureDestination>(text);
        for text in
            ["\"appliance\"", "\"share\"", "{\"share\":\"//s/a\"}", "{\"folder\":\"b\",\"account\":\"ana\"}"]
        {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
        let CaptureDestination::Share(share) = read("{}").unwrap() else { panic!() };
        let texts = [&share.share, &share.account, &share.password].map(Template::as_str);
        assert_eq!(
            texts,
            ["%OSDCaptureDestination%", "%OSDCaptureAccount%", "%PmmOSDCaptureAccountPassword%"]
        );
        assert_eq!(read("\"share\"").unwrap(), CaptureDestination::Share(share));
        for text in ["\"tape\"", "{\"path\":\"//s/a\"}", "3"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_survives_json_and_what_is_none_is_told_the_forms() {
        for (text, source) in [
            ("\"macos\"", CaptureSource::Macos),
            ("{\"disk\":1}", CaptureSource::Disk { disk: 1 }),
            ("{\"disk\":0,\"partition\":3}", CaptureSource::Partition { disk: 0, partition: 3 }),
        ] {
            assert_eq!(serde_json::from_str::<CaptureSource>(text).unwrap(), source);
            assert_eq!(serde_json::to_string(&source).unwrap(), text);
        }
        for text in ["\"tape\"", "{}", "{\"partition\":1}", "{\"disk\":1,\"x\":1}", "3", "null"] {
            let error = serde_json::from_str::<CaptureSource>(text).unwrap_err().to_string();
            assert!(error.contains("`macos`"), "{text}: {error}");
        }
    }
}
