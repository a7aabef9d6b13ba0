//! `[log]`: how much of the daemon's log is kept in files. Values out of range are no errors: they become the nearest that is in it
//! (task-sequences section 8).

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use crate::host::Limits;
use crate::value::ByteSize;

/// `[log]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogFragment {
    /// Size of the newest file, `1 MB`.
    pub size: Option<String>,
    /// Files that are kept.
    pub files: Option<u32>,
}

/// `[log]` in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log(pub Limits);

impl LogFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: LogFragment) -> LogFragment {
        LogFragment { size: self.size.or(earlier.size), files: self.files.or(earlier.files) }
    }

    pub(super) fn validate(self) -> Result<Log, ConfigError> {
        let size = self.size.map(|text| {
            let bad =
                || ConfigError::Value { key: "log.size", value: format!("`{text}`"), rule: "a size, `1 MB`" };
            text.parse::<ByteSize>().map(|size| size.0).map_err(|_| bad())
        });
        Ok(Log(Limits::new(size.transpose()?, self.files)))
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[log]\nsize = \"{}B\"\nfiles = {}", self.0.size(), self.0.files())
    }
}
