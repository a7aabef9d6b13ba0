//! What a Capture Image step takes: the words of its source, as a file has them and as a runner is told.
//!
//! The destination is this appliance; another one is no property yet. Must not know: how a disk is read.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::template::Template;

/// Takes an image from this Mac into the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureImage {
    /// Name of the image in the library; one that exists gets a new version.
    pub image: Template,
    /// A note for the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Template>,
    /// What is taken.
    #[serde(default, skip_serializing_if = "CaptureSource::is_macos")]
    pub source: CaptureSource,
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
