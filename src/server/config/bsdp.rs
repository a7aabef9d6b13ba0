//! `[bsdp]`: how Macs that hold N are answered, and for how long their choice is remembered.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, printable, within};
use crate::netboot::bsdp::Shadow;
use crate::netboot::offer::Policy;

/// `[bsdp]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BsdpFragment {
    /// Whether a bound Mac is answered before it asks for the list.
    pub answer_discover: Option<bool>,
    /// Days for which a choice is remembered; 0 is for ever.
    pub binding_days: Option<u32>,
    /// Whether replies carry options 66 and 67 too.
    #[serde(rename = "also-options-66-67")]
    pub also_options_66_67: Option<bool>,
    /// Share for Macs without a disk of their own.
    pub shadow_mount: Option<String>,
    /// Path in that share.
    pub shadow_file: Option<String>,
}

/// `[bsdp]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bsdp {
    /// What replies say.
    pub policy: Policy,
    /// Days for which a choice is remembered; 0 is for ever.
    pub binding_days: u32,
}

impl BsdpFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: BsdpFragment) -> BsdpFragment {
        BsdpFragment {
            answer_discover: self.answer_discover.or(earlier.answer_discover),
            binding_days: self.binding_days.or(earlier.binding_days),
            also_options_66_67: self.also_options_66_67.or(earlier.also_options_66_67),
            shadow_mount: self.shadow_mount.or(earlier.shadow_mount),
            shadow_file: self.shadow_file.or(earlier.shadow_file),
        }
    }

    pub(super) fn validate(self) -> Result<Bsdp, ConfigError> {
        let defaults = Policy::default();
        // Long enough for a Startup Disk choice to survive a holiday, short enough that a new default image is not ignored for ever.
        let binding_days = self.binding_days.unwrap_or(30);
        Ok(Bsdp {
            policy: Policy {
                answer_discover: self.answer_discover.unwrap_or(defaults.answer_discover),
                also_options_66_67: self.also_options_66_67.unwrap_or(defaults.also_options_66_67),
                shadow: shadow(self.shadow_mount, self.shadow_file)?,
            },
            binding_days: within("bsdp.binding-days", binding_days, 0, 3650, "0 (for ever) to 3650 days")?,
        })
    }
}

/// Both or none. Both stand in one option 43 with the machine name.
fn shadow(mount: Option<String>, file: Option<String>) -> Result<Option<Shadow>, ConfigError> {
    if mount.is_none() && file.is_none() {
        return Ok(None);
    }
    let (mount, file) = (mount.unwrap_or_default(), file.unwrap_or_default());
    let is_url = printable(&mount, 100) && (mount.starts_with("afp://") || mount.starts_with("nfs:"));
    check(
        "bsdp.shadow-mount",
        &mount,
        is_url,
        "afp://… or nfs:…, at most 100 characters, together with shadow-file",
    )?;
    let is_path = printable(&file, 40) && !file.starts_with('/');
    check("bsdp.shadow-file", &file, is_path, "a path in the share of shadow-mount, at most 40 characters")?;
    Ok(Some(Shadow { mount, file }))
}

impl fmt::Display for Bsdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bsdp { policy, binding_days } = self;
        writeln!(f, "[bsdp]\nanswer-discover = {}\nbinding-days = {binding_days}", policy.answer_discover)?;
        writeln!(f, "also-options-66-67 = {}", policy.also_options_66_67)?;
        match &policy.shadow {
            Some(Shadow { mount, file }) => writeln!(f, "shadow-mount = {mount:?}\nshadow-file = {file:?}"),
            None => writeln!(
                f,
                "# shadow-mount, shadow-file: none, Macs keep what they change in memory or on their disk"
            ),
        }
    }
}
