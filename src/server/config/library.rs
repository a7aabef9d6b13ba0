//! `[library]`: what imports may use.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;
use super::upstream::{Upstream, UpstreamFragment};
use crate::api::admin::Retention;
use crate::value::ByteSize;

/// Garbage is worth a collection from here on, in percent.
const COLLECT: u32 = 25;

/// `[library]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LibraryFragment {
    /// Threads that an import uses.
    pub workers: Option<u32>,
    /// Free space that an import leaves on the disk of the library.
    pub keep_free: Option<String>,
    /// The newest so many versions of each image are kept.
    pub keep_versions: Option<u32>,
    /// Versions younger than so many days are kept.
    pub keep_days: Option<u32>,
    /// Percent of the library that may be garbage before it is collected by itself.
    pub collect: Option<u32>,
    /// Another appliance that lost chunks are fetched from.
    pub upstream: Option<UpstreamFragment>,
}

/// `[library]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Threads that an import uses; none: one a core.
    pub workers: Option<usize>,
    /// Bytes that an import leaves free on the library's disk.
    pub keep_free: u64,
    /// Which versions are kept of images that have no rules of their own.
    pub retention: Retention,
    /// Percent of the library that may be garbage before it is collected by itself; 100: never.
    pub collect: u32,
    /// Another appliance that lost chunks are fetched from.
    pub upstream: Option<Upstream>,
}

impl LibraryFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: LibraryFragment) -> LibraryFragment {
        LibraryFragment {
            workers: self.workers.or(earlier.workers),
            keep_free: self.keep_free.or(earlier.keep_free),
            keep_versions: self.keep_versions.or(earlier.keep_versions),
            keep_days: self.keep_days.or(earlier.keep_days),
            collect: self.collect.or(earlier.collect),
            upstream: self.upstream.or(earlier.upstream),
        }
    }

    pub(super) fn validate(self) -> Result<Library, ConfigError> {
        let keep_free = match self.keep_free {
            None => 1 << 30,
            Some(text) => text.parse::<ByteSize>().map(|size| size.0).map_err(|_| ConfigError::Value {
                key: "library.keep-free",
                value: format!("`{text}`"),
                rule: "a size, as in \"5 GiB\"",
            })?,
        };
        let workers =
            self.workers.map(|n| within("library.workers", n, 1, 256, "1 to 256 threads")).transpose()?;
        let versions = |n| within("library.keep-versions", n, 1, 100_000, "1 to 100000 versions");
        let days = |n| within("library.keep-days", n, 1, 36_500, "1 to 36500 days");
        let retention = Retention {
            keep_versions: self.keep_versions.map(versions).transpose()?,
            keep_days: self.keep_days.map(days).transpose()?,
        };
        let percent = |n| within("library.collect", n, 1, 100, "1 to 100 percent; 100 is never");
        let collect = self.collect.map_or(Ok(COLLECT), percent)?;
        let upstream = self.upstream.map(UpstreamFragment::validate).transpose()?;
        Ok(Library { workers: workers.map(|n| n as usize), keep_free, retention, collect, upstream })
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[library]")?;
        match self.workers {
            Some(workers) => writeln!(f, "workers = {workers}")?,
            None => writeln!(f, "# workers: one a core")?,
        }
        writeln!(f, "keep-free = \"{}B\"", self.keep_free)?;
        match self.retention.keep_versions {
            Some(count) => writeln!(f, "keep-versions = {count}")?,
            None => writeln!(f, "# keep-versions: old versions are not deleted for their number")?,
        }
        match self.retention.keep_days {
            Some(days) => writeln!(f, "keep-days = {days}")?,
            None => writeln!(f, "# keep-days: old versions are not deleted for their age")?,
        }
        writeln!(f, "collect = {}", self.collect)?;
        match &self.upstream {
            Some(upstream) => write!(f, "{upstream}"),
            None => writeln!(f, "# [library.upstream]: lost chunks are not fetched from another appliance"),
        }
    }
}
