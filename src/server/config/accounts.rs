//! `[accounts]`: how long somebody stays signed in.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;

/// `[accounts]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccountsFragment {
    /// Minutes without a request after which a session ends.
    pub session_idle: Option<u32>,
    /// Hours after which a session ends whatever happens.
    pub session_hours: Option<u32>,
    /// Hours that the set-up code of a start is good.
    pub setup_hours: Option<u32>,
}

/// `[accounts]` in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// Minutes without a request after which a session ends.
    pub session_idle: u32,
    /// Hours after which a session ends whatever happens.
    pub session_hours: u32,
    /// Hours that the set-up code of a start is good.
    pub setup_hours: u32,
}

impl AccountsFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: AccountsFragment) -> AccountsFragment {
        AccountsFragment {
            session_idle: self.session_idle.or(earlier.session_idle),
            session_hours: self.session_hours.or(earlier.session_hours),
            setup_hours: self.setup_hours.or(earlier.setup_hours),
        }
    }

    pub(super) fn validate(self) -> Result<AccountSettings, ConfigError> {
        let (idle, hours) = (self.session_idle.unwrap_or(30), self.session_hours.unwrap_or(12));
        let setup = self.setup_hours.unwrap_or(24);
        Ok(AccountSettings {
            session_idle: within("accounts.session-idle", idle, 1, 1440, "1 to 1440 minutes")?,
            session_hours: within("accounts.session-hours", hours, 1, 168, "1 to 168 hours")?,
            setup_hours: within("accounts.setup-hours", setup, 1, 168, "1 to 168 hours")?,
        })
    }
}

impl fmt::Display for AccountSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[accounts]\nsession-idle = {}", self.session_idle)?;
        writeln!(f, "session-hours = {}\nsetup-hours = {}", self.session_hours, self.setup_hours)
    }
}
