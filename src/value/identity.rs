//! What a Mac is called: serial number and model identifier.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text cannot be a serial number or model identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: 1 to 64 printable ASCII characters")]
pub struct BadIdentity {
    what: &'static str,
    text: String,
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it was given, without surrounding white space.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadIdentity;

            fn from_str(text: &str) -> Result<$name, BadIdentity> {
                let trimmed = text.trim();
                if trimmed.is_empty() || trimmed.len() > 64 || !trimmed.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                    return Err(BadIdentity { what: $what, text: text.chars().take(64).collect() });
                }
                Ok($name(trimmed.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadIdentity;

            fn try_from(text: String) -> Result<$name, BadIdentity> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identity!(
    /// The serial number that the firmware reports (SMBIOS type 1).
    Serial,
    "serial number"
);
identity!(
    /// A model identifier such as `MacBookPro11,1`: SMBIOS product name, third part of BSDP's option 60.
    Model,
    "model identifier"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_loses_its_padding_and_nothing_else() {
        assert_eq!(" C02FEAS00001 ".parse::<Serial>().unwrap().as_str(), "C02FEAS00001");
    }

    #[test]
    fn empty_long_and_unprintable_names_are_refused() {
        for text in ["", "   ", "a\nb", "Ü", &"x".repeat(65)] {
            assert!(text.parse::<Model>().is_err(), "{text:?}");
        }
    }
}
