//! Names of variables: what can be one, when two are the same, which ones nothing can set.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names that nothing can set.
pub const READ_ONLY: [&str; 11] = [
    "SerialNumber",
    "Model",
    "UUID",
    "MACAddress",
    "MemoryGB",
    "Disk0SizeGB",
    "BootMethod",
    "LastActionSucceeded",
    "LastActionName",
    "LastActionExitCode",
    "PmmOSDSourceDisk",
];

/// Name of a variable: compared without regard to case, kept as typed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

/// The text cannot name a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no variable name: 1 to 64 letters (A to Z), digits or `_`, not beginning with a digit")]
pub struct BadVariableName(String);

impl VariableName {
    /// The name as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a fact of the Mac or of the last action, which nothing can set.
    pub fn is_read_only(&self) -> bool {
        READ_ONLY.iter().any(|name| self.0.eq_ignore_ascii_case(name))
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl FromStr for VariableName {
    type Err = BadVariableName;

    fn from_str(text: &str) -> Result<VariableName, BadVariableName> {
        let name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && (1..=64).contains(&text.len());
        if name {
            Ok(VariableName(text.to_owned()))
        } else {
            Err(BadVariableName(text.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for VariableName {
    type Error = BadVariableName;

    fn try_from(text: String) -> Result<VariableName, BadVariableName> {
        text.parse()
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> String {
        name.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for VariableName {
    fn eq(&self, other: &VariableName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for VariableName {}

impl PartialOrd for VariableName {
    fn partial_cmp(&self, other: &VariableName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VariableName {
    fn cmp(&self, other: &VariableName) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for VariableName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_3_names_differ_by_letters_not_by_case_and_keep_their_spelling() {
        assert_eq!(name("OSDComputerName"), name("osdcomputername"));
        assert_eq!(name("OSDComputerName").as_str(), "OSDComputerName");
        for bad in ["", "1st", "a b", "a-b", "Ü", "a%", &"x".repeat(65)] {
            assert!(bad.parse::<VariableName>().is_err(), "{bad}");
        }
    }

    fn name(text: &str) -> VariableName {
        text.parse().unwrap()
    }
}
