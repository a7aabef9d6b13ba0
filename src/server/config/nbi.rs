//! `[nbi]`: boot sets.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;
use crate::netboot::nbi::NfsExport;
use crate::server::nbi::scan::Rules;

/// `[nbi]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NbiFragment {
    /// Seconds that a set which was copied by hand must be unchanged before it is offered.
    pub settle: Option<u64>,
    /// NFS export that shows the boot folder: `/PATH` of this machine, or `ADDRESS:/PATH`.
    pub nfs: Option<String>,
}

/// Boot sets, in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nbi {
    /// Seconds that a set which was copied by hand must be unchanged before it is offered.
    pub settle: u64,
    /// NFS export that shows the boot folder.
    pub nfs: Option<NfsExport>,
}

impl NbiFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: NbiFragment) -> NbiFragment {
        NbiFragment { settle: self.settle.or(earlier.settle), nfs: self.nfs.or(earlier.nfs) }
    }

    pub(super) fn validate(self) -> Result<Nbi, ConfigError> {
        let settle = within("nbi.settle", self.settle.unwrap_or(5), 0, 3600, "0 to 3600 seconds")?;
        let read = |text: String| {
            text.parse().map_err(|_| ConfigError::Value {
                key: "nbi.nfs",
                value: format!("`{text}`"),
                rule: "`/PATH` of this machine, or `ADDRESS:/PATH`, of at most 150 bytes",
            })
        };
        Ok(Nbi { settle, nfs: self.nfs.map(read).transpose()? })
    }
}

impl Nbi {
    /// As the boot folder wants them.
    pub fn rules(&self) -> Rules {
        Rules { settle: Duration::from_secs(self.settle), nfs: self.nfs.clone() }
    }
}

impl fmt::Display for Nbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[nbi]\nsettle = {}", self.settle)?;
        match &self.nfs {
            Some(export) => writeln!(f, "nfs = {:?}", export.to_string()),
            None => writeln!(f, "# nfs: the boot folder is not exported"),
        }
    }
}
