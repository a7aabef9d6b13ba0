//! `[library]`: what imports may use, and where files come from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::rule::{check, within};
use super::upstream::{Upstream, UpstreamFragment};
use crate::api::admin::Retention;
use crate::server::naming::{self, NameRule};
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
    /// Hours after which an upload that nothing arrives for is removed.
    pub upload_expires: Option<u64>,
    /// Largest file that may be uploaded.
    pub upload_max: Option<String>,
    /// Folders of the appliance that may be imported from over the network.
    pub import_folders: Option<Vec<PathBuf>>,
    /// Folder whose files are imported as they come.
    pub drop_folder: Option<PathBuf>,
    /// Name of the image that a dropped file becomes.
    pub drop_name: Option<String>,
    /// Seconds that a dropped file must be unchanged.
    pub drop_settle: Option<u64>,
    /// What becomes of a dropped file after its import.
    pub drop_after: Option<DropAfter>,
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
    /// Hours after which an upload that nothing arrives for is removed.
    pub upload_expires: u64,
    /// Bytes of the largest file that may be uploaded.
    pub upload_max: u64,
    /// Folders of the appliance that may be imported from over the network.
    pub import_folders: Vec<PathBuf>,
    /// Files that are imported as they come.
    pub drop: Option<DropFolder>,
}

/// A folder whose files are imported as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropFolder {
    /// The folder.
    pub path: PathBuf,
    /// Name of the image that a file becomes.
    pub name: NameRule,
    /// Seconds that a file must be unchanged.
    pub settle: u64,
    /// What becomes of a file after its import.
    pub after: DropAfter,
}

/// What becomes of a dropped file after its import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropAfter {
    /// Moved to `done/`.
    Keep,
    /// Removed.
    Remove,
}

impl LibraryFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: LibraryFragment) -> LibraryFragment {
        LibraryFragment {
            workers: self.workers.or(earlier.workers),
            keep_free: self.keep_free.or(earlier.keep_free),
            upload_expires: self.upload_expires.or(earlier.upload_expires),
            upload_max: self.upload_max.or(earlier.upload_max),
            import_folders: self.import_folders.or(earlier.import_folders),
            drop_folder: self.drop_folder.or(earlier.drop_folder),
            drop_name: self.drop_name.or(earlier.drop_name),
            drop_settle: self.drop_settle.or(earlier.drop_settle),
            drop_after: self.drop_after.or(earlier.drop_after),
            keep_versions: self.keep_versions.or(earlier.keep_versions),
            keep_days: self.keep_days.or(earlier.keep_days),
            collect: self.collect.or(earlier.collect),
            upstream: self.upstream.or(earlier.upstream),
        }
    }

    pub(super) fn validate(self) -> Result<Library, ConfigError> {
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
        let hours = self.upload_expires.unwrap_or(7 * 24);
        let import_folders = self.import_folders.unwrap_or_default();
        for path in import_folders.iter().chain(&self.drop_folder) {
            let key = if Some(path) == self.drop_folder.as_ref() {
                "library.drop-folder"
            } else {
                "library.import-folders"
            };
            check(key, &path.display(), path.is_absolute(), "must be an absolute path")?;
        }
        let rule = self.drop_name.map(|text| {
            NameRule::new(&text).ok_or_else(|| ConfigError::Value {
                key: "library.drop-name",
                value: format!("`{text}`"),
                rule: naming::RULE_OF_RULES,
            })
        });
        let name = rule.transpose()?.unwrap_or_default();
        let settle =
            within("library.drop-settle", self.drop_settle.unwrap_or(10), 0, 3600, "0 to 3600 seconds")?;
        let after = self.drop_after.unwrap_or(DropAfter::Keep);
        Ok(Library {
            workers: workers.map(|n| n as usize),
            keep_free: size("library.keep-free", self.keep_free, 1 << 30)?,
            upload_expires: within("library.upload-expires", hours, 1, 24 * 365, "1 to 8760 hours")?,
            upload_max: size("library.upload-max", self.upload_max, 4 << 40)?,
            import_folders,
            drop: self.drop_folder.map(|path| DropFolder { path, name, settle, after }),
            retention,
            collect,
            upstream,
        })
    }
}

fn size(key: &'static str, text: Option<String>, usual: u64) -> Result<u64, ConfigError> {
    let Some(text) = text else { return Ok(usual) };
    text.parse::<ByteSize>().map(|size| size.0).map_err(|_| ConfigError::Value {
        key,
        value: format!("`{text}`"),
        rule: "a size, as in \"5 GiB\"",
    })
}

impl Library {
    /// As the uploads want them.
    pub fn upload_rules(&self) -> crate::server::upload::Rules {
        crate::server::upload::Rules {
            keep_free: self.keep_free,
            most: self.upload_max,
            expires: Duration::from_secs(self.upload_expires * 3600),
        }
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
        writeln!(f, "upload-expires = {}\nupload-max = \"{}B\"", self.upload_expires, self.upload_max)?;
        writeln!(f, "import-folders = {:?}", self.import_folders)?;
        match &self.drop {
            None => writeln!(f, "# drop-folder: no folder is watched")?,
            Some(drop) => {
                writeln!(f, "drop-folder = {:?}\ndrop-name = {:?}", drop.path, drop.name.to_string())?;
                let after = if drop.after == DropAfter::Keep { "keep" } else { "remove" };
                writeln!(f, "drop-settle = {}\ndrop-after = {after:?}", drop.settle)?;
            }
        }
        match &self.upstream {
            Some(upstream) => write!(f, "{upstream}"),
            None => writeln!(f, "# [library.upstream]: lost chunks are not fetched from another appliance"),
        }
    }
}
