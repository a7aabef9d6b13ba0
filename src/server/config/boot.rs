//! `[boot]`: which Macs are started.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use crate::netboot::offer::Then;

/// `[boot]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BootFragment {
    /// What becomes of a Mac to which nothing is deployed: `boot` or `ignore`.
    pub without_deployment: Option<String>,
}

/// `[boot]` in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What becomes of a Mac to which nothing is deployed.
    pub without_deployment: Then,
}

impl BootFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: BootFragment) -> BootFragment {
        BootFragment { without_deployment: self.without_deployment.or(earlier.without_deployment) }
    }

    pub(super) fn validate(self) -> Result<Boot, ConfigError> {
        let without_deployment = match self.without_deployment.as_deref() {
            None | Some("boot") => Then::Boot,
            Some("ignore") => Then::Ignore,
            Some(other) => {
                return Err(ConfigError::Value {
                    key: "boot.without-deployment",
                    value: format!("`{other}`"),
                    rule: "boot (the wizard says that nothing is deployed) or ignore (it is not offered Rootstock)",
                });
            }
        };
        Ok(Boot { without_deployment })
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.without_deployment {
            Then::Boot => "boot",
            Then::Ignore => "ignore",
        };
        writeln!(f, "[boot]\nwithout-deployment = \"{word}\"")
    }
}
