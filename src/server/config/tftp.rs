//! `[tftp]`: limits of transfers.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::within;

/// `[tftp]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TftpFragment {
    /// Largest block that is agreed to.
    pub max_block_size: Option<u16>,
    /// Largest window that is agreed to.
    pub max_window: Option<u16>,
    /// Transfers at the same time.
    pub max_transfers: Option<u32>,
}

/// TFTP limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tftp {
    /// Largest block that is agreed to.
    pub max_block_size: u16,
    /// Largest window that is agreed to.
    pub max_window: u16,
    /// Transfers at the same time.
    pub max_transfers: u32,
}

impl TftpFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: TftpFragment) -> TftpFragment {
        TftpFragment {
            max_block_size: self.max_block_size.or(earlier.max_block_size),
            max_window: self.max_window.or(earlier.max_window),
            max_transfers: self.max_transfers.or(earlier.max_transfers),
        }
    }

    pub(super) fn validate(self) -> Result<Tftp, ConfigError> {
        // RFC 2348 allows 8 to 65464; below 512 no boot loader asks. 1428 fits a 1500 byte frame with IP options and a tunnel's header.
        let max_block_size = self.max_block_size.unwrap_or(1428);
        let max_window = self.max_window.unwrap_or(64);
        let max_transfers = self.max_transfers.unwrap_or(384);
        Ok(Tftp {
            max_block_size: within("tftp.max-block-size", max_block_size, 512, 65464, "512 to 65464 bytes")?,
            max_window: within("tftp.max-window", max_window, 1, 256, "1 to 256 blocks")?,
            max_transfers: within("tftp.max-transfers", max_transfers, 1, 10_000, "1 to 10000 transfers")?,
        })
    }
}

impl fmt::Display for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tftp { max_block_size, max_window, max_transfers } = self;
        writeln!(f, "[tftp]\nmax-block-size = {max_block_size}\nmax-window = {max_window}")?;
        writeln!(f, "max-transfers = {max_transfers}")
    }
}
