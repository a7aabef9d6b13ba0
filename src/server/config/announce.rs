//! `[announce]`: whether the appliance tells its networks that it is there.

use std::fmt;

use serde::Deserialize;

/// `[announce]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AnnounceFragment {
    /// Whether to announce the appliance by DNS-SD.
    pub dns_sd: Option<bool>,
}

/// Announcements in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Whether the appliance is announced by DNS-SD, for USB sticks that name no appliance.
    pub dns_sd: bool,
}

impl AnnounceFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: AnnounceFragment) -> AnnounceFragment {
        AnnounceFragment { dns_sd: self.dns_sd.or(earlier.dns_sd) }
    }

    pub(super) fn validate(self) -> Announce {
        Announce { dns_sd: self.dns_sd.unwrap_or(true) }
    }
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[announce]\ndns-sd = {}", self.dns_sd)
    }
}
