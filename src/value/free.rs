//! What happens to the space of a volume that nothing is in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a restore does with space that the image says nothing about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub enum FreeSpace {
    /// The medium is told that it is not needed: fast, good for flash; old content may stay where the medium does not do it.
    #[default]
    Discard,
    /// Nothing: old content stays.
    Leave,
    /// It is made zeros, and read back.
    Zero,
}

/// The text is none of the three words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not what can be done with free space: discard, leave or zero")]
pub struct BadFreeSpace(String);

impl FreeSpace {
    /// All of them.
    pub const ALL: [FreeSpace; 3] = [FreeSpace::Discard, FreeSpace::Leave, FreeSpace::Zero];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            FreeSpace::Discard => "discard",
            FreeSpace::Leave => "leave",
            FreeSpace::Zero => "zero",
        }
    }

    /// Whether it is what nobody needs to write down.
    pub fn is_default(&self) -> bool {
        *self == FreeSpace::default()
    }
}

impl FromStr for FreeSpace {
    type Err = BadFreeSpace;

    fn from_str(text: &str) -> Result<FreeSpace, BadFreeSpace> {
        let known = FreeSpace::ALL.into_iter().find(|free| free.as_str() == text);
        known.ok_or_else(|| BadFreeSpace(text.chars().take(40).collect()))
    }
}

impl fmt::Display for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for free in FreeSpace::ALL {
            assert_eq!(free.to_string().parse(), Ok(free));
            assert_eq!(serde_json::to_string(&free).unwrap(), format!("\"{free}\""));
        }
        assert_eq!("trim".parse::<FreeSpace>(), Err(BadFreeSpace("trim".into())));
    }
}
