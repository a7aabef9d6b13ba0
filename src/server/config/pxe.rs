//! `[pxe]`: who among ordinary PXE and UEFI HTTP clients is answered. Macs that hold N are not meant by it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, within};
use crate::netboot::pxe::{MacPrefix, Policy, Serve};

/// `[pxe]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PxeFragment {
    /// `all`, `known`, or `none`.
    pub serve: Option<Serve>,
    /// Beginnings of hardware addresses that are left to other servers.
    pub ignore_macs: Option<Vec<MacPrefix>>,
    /// How long an offer is held back.
    pub offer_delay_ms: Option<u16>,
}

/// `[pxe]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pxe {
    /// Who is answered.
    pub policy: Policy,
    /// How long an offer is held back, so that another server's comes first.
    pub offer_delay: Duration,
}

impl PxeFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: PxeFragment) -> PxeFragment {
        PxeFragment {
            serve: self.serve.or(earlier.serve),
            ignore_macs: self.ignore_macs.or(earlier.ignore_macs),
            offer_delay_ms: self.offer_delay_ms.or(earlier.offer_delay_ms),
        }
    }

    pub(super) fn validate(self) -> Result<Pxe, ConfigError> {
        let ignored = self.ignore_macs.unwrap_or_default();
        check(
            "pxe.ignore-macs",
            &ignored.len(),
            ignored.len() <= 1000,
            "at most 1000 beginnings of addresses",
        )?;
        let rule = "0 to 3000 milliseconds: PXE waits no longer for the first offers";
        let delay = within("pxe.offer-delay-ms", self.offer_delay_ms.unwrap_or(0), 0, 3000, rule)?;
        let policy = Policy { serve: self.serve.unwrap_or_default(), ignored };
        Ok(Pxe { policy, offer_delay: Duration::from_millis(delay.into()) })
    }
}

impl fmt::Display for Pxe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ignored: Vec<String> = self.policy.ignored.iter().map(ToString::to_string).collect();
        writeln!(f, "[pxe]\nserve = \"{}\"\nignore-macs = {ignored:?}", self.policy.serve)?;
        writeln!(f, "offer-delay-ms = {}", self.offer_delay.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fragment;
    use super::*;

    fn told(text: &str) -> Result<Pxe, String> {
        let fragment: Fragment = toml::from_str(text).map_err(|error| error.to_string())?;
        fragment.validate().map(|config| config.pxe).map_err(|error| error.to_string())
    }

    #[test]
    fn everyone_is_served_at_once_unless_written_otherwise_and_what_is_printed_is_read_back() {
        let pxe = told("").unwrap();
        assert_eq!((pxe.policy.serve, pxe.offer_delay), (Serve::All, Duration::ZERO));
        let text = "[pxe]\nserve = 'known'\nignore-macs = ['52:54:00', '00-50-56']\noffer-delay-ms = 250";
        let pxe = told(text).unwrap();
        assert_eq!((pxe.policy.serve, pxe.policy.ignored.len()), (Serve::Known, 2));
        assert_eq!(told(&pxe.to_string()).unwrap(), pxe);
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, want) in [
            ("serve = 'some'", "unknown variant `some`"),
            ("ignore-macs = ['52:54:zz']", "`52:54:zz` is no beginning of a MAC address"),
            ("ignore-macs = ['']", "is no beginning"),
            ("offer-delay-ms = 9000", "`pxe.offer-delay-ms` is `9000`"),
        ] {
            let error = told(&format!("[pxe]\n{text}")).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
