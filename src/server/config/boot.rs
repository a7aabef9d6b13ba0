//! `[boot]`: which Macs are started, and how the kernel of the boot environment is.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use crate::netboot::arguments::KernelArguments;
use crate::netboot::offer::Then;

/// `[boot]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BootFragment {
    /// What becomes of a Mac to which nothing is deployed: `boot` or `ignore`.
    pub without_deployment: Option<String>,
    /// Further kernel arguments of the boot environment.
    pub kernel_arguments: Option<String>,
}

/// `[boot]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What becomes of a Mac to which nothing is deployed.
    pub without_deployment: Then,
    /// Further kernel arguments of the boot environment, where iPXE starts it. GRUB's stand in its menu.
    pub kernel_arguments: KernelArguments,
}

impl BootFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: BootFragment) -> BootFragment {
        BootFragment {
            without_deployment: self.without_deployment.or(earlier.without_deployment),
            kernel_arguments: self.kernel_arguments.or(earlier.kernel_arguments),
        }
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
        let kernel_arguments = match self.kernel_arguments {
            None => KernelArguments::default(),
            Some(text) => text.parse().map_err(|_| ConfigError::Value {
                key: "boot.kernel-arguments",
                value: format!("`{}`", text.escape_debug()),
                rule: "words of letters, digits and . , : ; = _ + - / @ % [ ], separated by spaces, at most 1024 bytes",
            })?,
        };
        Ok(Boot { without_deployment, kernel_arguments })
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.without_deployment {
            Then::Boot => "boot",
            Then::Ignore => "ignore",
        };
        writeln!(f, "[boot]\nwithout-deployment = \"{word}\"")?;
        writeln!(f, "kernel-arguments = \"{}\"", self.kernel_arguments)
    }
}
