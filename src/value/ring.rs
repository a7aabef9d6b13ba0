//! Rings, and the ways to say which version of an image is meant.
//!
//! Owns: their spelling, and which version a choice means. Must not know: who may move what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a version of an image stands on its way to the Macs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ring {
    /// Every new version comes here.
    Draft,
    /// Being tried out.
    Test,
    /// For everybody.
    Production,
}

impl Ring {
    /// In the order in which a version goes through them.
    pub const ALL: [Ring; 3] = [Ring::Draft, Ring::Test, Ring::Production];

    /// `draft`, `test`, `production`.
    pub fn name(self) -> &'static str {
        match self {
            Ring::Draft => "draft",
            Ring::Test => "test",
            Ring::Production => "production",
        }
    }

    /// The ring after this one.
    pub fn next(self) -> Option<Ring> {
        match self {
            Ring::Draft => Some(Ring::Test),
            Ring::Test => Some(Ring::Production),
            Ring::Production => None,
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rings are draft, test and production")]
pub struct BadRing;

impl FromStr for Ring {
    type Err = BadRing;

    fn from_str(text: &str) -> Result<Ring, BadRing> {
        Ring::ALL.into_iter().find(|ring| ring.name() == text).ok_or(BadRing)
    }
}

/// Which version each ring of an image points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Rings {
    /// The version that came last, unless somebody moved the pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<u32>,
    /// The version that is being tried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<u32>,
    /// The version for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<u32>,
}

impl Rings {
    /// Where a ring points.
    pub fn get(&self, ring: Ring) -> Option<u32> {
        match ring {
            Ring::Draft => self.draft,
            Ring::Test => self.test,
            Ring::Production => self.production,
        }
    }

    /// Where a ring points.
    pub fn get_mut(&mut self, ring: Ring) -> &mut Option<u32> {
        match ring {
            Ring::Draft => &mut self.draft,
            Ring::Test => &mut self.test,
            Ring::Production => &mut self.production,
        }
    }

    /// The rings that point to a version, in their order.
    pub fn of(&self, version: u32) -> Vec<Ring> {
        Ring::ALL.into_iter().filter(|ring| self.get(*ring) == Some(version)).collect()
    }
}

/// Which version of an image is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// Nothing was said: what production points to, else the newest version.
    #[default]
    Usual,
    /// This one.
    Version(u32),
    /// What this ring points to.
    Ring(Ring),
}

impl Pick {
    /// The version that is meant, of an image with these rings and versions.
    pub fn of(self, rings: &Rings, versions: impl IntoIterator<Item = u32>) -> Option<u32> {
        let mut versions = versions.into_iter();
        match self {
            Pick::Usual => rings.production.or_else(|| versions.max()),
            Pick::Version(wanted) => versions.find(|version| *version == wanted),
            Pick::Ring(ring) => rings.get(ring),
        }
    }

    /// From a number and a ring of which at most one is there. None when both are.
    pub fn new(version: Option<u32>, ring: Option<Ring>) -> Option<Pick> {
        match (version, ring) {
            (None, None) => Some(Pick::Usual),
            (Some(version), None) => Some(Pick::Version(version)),
            (None, Some(ring)) => Some(Pick::Ring(ring)),
            (Some(_), Some(_)) => None,
        }
    }

    /// The number, where one was said.
    pub fn version(self) -> Option<u32> {
        if let Pick::Version(version) = self { Some(version) } else { None }
    }

    /// The ring, where one was said.
    pub fn ring(self) -> Option<Ring> {
        if let Pick::Ring(ring) = self { Some(ring) } else { None }
    }
}

impl From<Option<u32>> for Pick {
    fn from(version: Option<u32>) -> Pick {
        version.map_or(Pick::Usual, Pick::Version)
    }
}

impl fmt::Display for Pick {
    /// As it stands after `@`; nothing when nothing was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pick::Usual => Ok(()),
            Pick::Version(version) => write!(f, "{version}"),
            Pick::Ring(ring) => ring.fmt(f),
        }
    }
}

/// The text names neither a version nor a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is a number from 1, or a ring: draft, test, production")]
pub struct BadPick;

impl FromStr for Pick {
    type Err = BadPick;

    fn from_str(text: &str) -> Result<Pick, BadPick> {
        if let Ok(ring) = text.parse() {
            return Ok(Pick::Ring(ring));
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let version = text.parse().ok().filter(|version| digits && *version > 0);
        version.map(Pick::Version).ok_or(BadPick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_number_from_one_or_a_ring_and_prints_as_it_was_read() {
        for text in ["1", "4294967295", "draft", "test", "production"] {
            assert_eq!(text.parse::<Pick>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "+1", "4294967296", "Production", "prod", "newest"] {
            assert_eq!(text.parse::<Pick>(), Err(BadPick), "{text}");
        }
    }

    #[test]
    fn without_a_choice_production_counts_else_the_newest() {
        let empty = Rings::default();
        let set = Rings { production: Some(2), test: Some(3), draft: Some(4) };
        assert_eq!(Pick::Usual.of(&empty, [1, 4, 2]), Some(4));
        assert_eq!(Pick::Usual.of(&empty, []), None);
        assert_eq!(Pick::Usual.of(&set, [1, 4, 2, 3]), Some(2));
        assert_eq!(Pick::Ring(Ring::Test).of(&set, [1]), Some(3));
        assert_eq!(Pick::Ring(Ring::Test).of(&empty, [1]), None);
        assert_eq!(Pick::Version(7).of(&set, [1, 4]), None);
    }
}
