//! `[history]`: how long the details of runs are kept.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;

/// `[history]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HistoryFragment {
    /// Days that events, log and times of a run are kept after its end.
    pub keep_days: Option<u32>,
}

/// `[history]` in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Days that events, log and times of a run are kept after its end; 0: for ever.
    pub keep_days: u32,
}

impl HistoryFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: HistoryFragment) -> HistoryFragment {
        HistoryFragment { keep_days: self.keep_days.or(earlier.keep_days) }
    }

    pub(super) fn validate(self) -> Result<History, ConfigError> {
        let days = self.keep_days.unwrap_or(400);
        Ok(History { keep_days: within("history.keep-days", days, 0, 36_500, "0 (for ever) to 36500 days")? })
    }
}

impl History {
    /// Runs that ended before this moment lose their details; none: they are kept.
    pub fn before_ms(self, now_ms: i64) -> Option<i64> {
        (self.keep_days > 0).then(|| now_ms.saturating_sub(i64::from(self.keep_days) * 24 * 3600 * 1000))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[history]\nkeep-days = {}", self.keep_days)
    }
}
