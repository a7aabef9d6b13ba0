//! `[runner]`: how Macs that boot are taken in.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;
use crate::db::Newcomers;

/// `[runner]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunnerFragment {
    /// Seconds that a person has to cancel a Required run.
    pub countdown: Option<u32>,
    /// Macs that nobody knows, heard for the first time, that are taken in within a minute.
    pub new_macs_a_minute: Option<u32>,
    /// Macs that nobody knows that are taken in altogether.
    pub unknown_macs: Option<u32>,
    /// Whether a technician signs in at a Mac before choosing.
    pub sign_in: Option<SignInRule>,
    /// Minutes after which a technician at a Mac signs in again.
    pub technician_minutes: Option<u32>,
}

/// For what a technician signs in at a Mac.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignInRule {
    /// For everything that does not start by itself, as soon as there are accounts.
    #[default]
    Available,
    /// For nothing: who stands before the Mac may choose.
    Never,
}

/// `[runner]` in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Seconds that a person has to cancel a Required run.
    pub countdown: u32,
    /// How many Macs that nobody knows are taken in.
    pub newcomers: Newcomers,
    /// Whether a technician signs in.
    pub sign_in: SignInRule,
    /// For how long.
    pub technician_minutes: u32,
}

impl RunnerFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: RunnerFragment) -> RunnerFragment {
        RunnerFragment {
            countdown: self.countdown.or(earlier.countdown),
            new_macs_a_minute: self.new_macs_a_minute.or(earlier.new_macs_a_minute),
            unknown_macs: self.unknown_macs.or(earlier.unknown_macs),
            sign_in: self.sign_in.or(earlier.sign_in),
            technician_minutes: self.technician_minutes.or(earlier.technician_minutes),
        }
    }

    pub(super) fn validate(self) -> Result<Runner, ConfigError> {
        let countdown = self.countdown.unwrap_or(30);
        let (minute, unknown) = (self.new_macs_a_minute.unwrap_or(600), self.unknown_macs.unwrap_or(10_000));
        let minutes = self.technician_minutes.unwrap_or(60);
        Ok(Runner {
            sign_in: self.sign_in.unwrap_or_default(),
            technician_minutes: within("runner.technician-minutes", minutes, 1, 1440, "1 to 1440 minutes")?,
            countdown: within("runner.countdown", countdown, 0, 3600, "0 to 3600 seconds")?,
            newcomers: Newcomers {
                a_minute: within("runner.new-macs-a-minute", minute, 1, 100_000, "1 to 100000 Macs")?,
                unknown: within("runner.unknown-macs", unknown, 1, 1_000_000, "1 to 1000000 Macs")?,
            },
        })
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Newcomers { a_minute, unknown } = self.newcomers;
        writeln!(f, "[runner]\ncountdown = {}", self.countdown)?;
        writeln!(f, "new-macs-a-minute = {a_minute}\nunknown-macs = {unknown}")?;
        let rule = match self.sign_in {
            SignInRule::Available => "available",
            SignInRule::Never => "never",
        };
        writeln!(f, "sign-in = {rule:?}\ntechnician-minutes = {}", self.technician_minutes)
    }
}
