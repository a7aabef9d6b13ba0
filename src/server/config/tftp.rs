//! `[tftp]`: limits of transfers. `[[tftp.cap]]`: clients that get smaller blocks.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, within};
use crate::netboot::tftp::Cap;
use crate::value::MacAddr;

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
    /// `[[tftp.cap]]`; the list of a later file replaces that of an earlier one.
    pub cap: Option<Vec<CapFragment>>,
}

/// `[[tftp.cap]]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CapFragment {
    /// Beginnings of model identifiers.
    pub models: Vec<String>,
    /// Hardware addresses.
    pub macs: Vec<String>,
    /// Largest block for these clients.
    pub max_block_size: Option<u16>,
}

/// Most `[[tftp.cap]]`, and most models and addresses in one.
const MOST_CAPS: usize = 1000;

/// TFTP limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tftp {
    /// Largest block that is agreed to.
    pub max_block_size: u16,
    /// Largest window that is agreed to.
    pub max_window: u16,
    /// Transfers at the same time.
    pub max_transfers: u32,
    /// Clients that get smaller blocks.
    pub caps: Vec<Cap>,
}

impl TftpFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: TftpFragment) -> TftpFragment {
        TftpFragment {
            max_block_size: self.max_block_size.or(earlier.max_block_size),
            max_window: self.max_window.or(earlier.max_window),
            max_transfers: self.max_transfers.or(earlier.max_transfers),
            cap: self.cap.or(earlier.cap),
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
            caps: caps(self.cap.unwrap_or_default())?,
        })
    }
}

fn caps(written: Vec<CapFragment>) -> Result<Vec<Cap>, ConfigError> {
    check("tftp.cap", &written.len(), written.len() <= MOST_CAPS, "at most 1000 of them")?;
    written.into_iter().map(CapFragment::validate).collect()
}

impl CapFragment {
    fn validate(self) -> Result<Cap, ConfigError> {
        let CapFragment { models, macs, max_block_size } = self;
        let count = models.len() + macs.len();
        check(
            "tftp.cap",
            &count,
            (1..=MOST_CAPS).contains(&count),
            "name 1 to 1000 `models` and `macs` in each",
        )?;
        for model in &models {
            let good = (1..=64).contains(&model.len()) && model.bytes().all(|byte| byte.is_ascii_graphic());
            check(
                "tftp.cap.models",
                model,
                good,
                "the beginning of a model identifier, such as MacBookPro14",
            )?;
        }
        let macs = macs.iter().map(|text| {
            let rule = "a hardware address, such as 0a:1b:2c:3d:4e:5f";
            let value = || format!("`{text}`");
            text.parse::<MacAddr>().map_err(|_| ConfigError::Value {
                key: "tftp.cap.macs",
                value: value(),
                rule,
            })
        });
        let macs = macs.collect::<Result<_, _>>()?;
        let (key, rule) = ("tftp.cap.max-block-size", "512 to 65464 bytes");
        let missing = || ConfigError::Value { key, value: "not set".to_owned(), rule };
        let max_block_size = within(key, max_block_size.ok_or_else(missing)?, 512, 65464, rule)?;
        Ok(Cap { models, macs, max_block_size })
    }
}

impl fmt::Display for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tftp { max_block_size, max_window, max_transfers, caps } = self;
        writeln!(f, "[tftp]\nmax-block-size = {max_block_size}\nmax-window = {max_window}")?;
        writeln!(f, "max-transfers = {max_transfers}")?;
        for Cap { models, macs, max_block_size } in caps {
            let macs: Vec<String> = macs.iter().map(MacAddr::to_string).collect();
            writeln!(
                f,
                "[[tftp.cap]]\nmodels = {models:?}\nmacs = {macs:?}\nmax-block-size = {max_block_size}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(text: &str) -> Result<Tftp, ConfigError> {
        toml::from_str::<TftpFragment>(text).unwrap().validate()
    }

    #[test]
    fn caps_are_read_checked_and_printed_so_that_they_can_be_read_again() {
        let text = "[[cap]]\nmodels = ['MacBookPro14']\nmax-block-size = 1024\n\
                    [[cap]]\nmacs = ['0a-1b-2c-3d-4e-5f']\nmax-block-size = 512";
        let tftp = validated(text).unwrap();
        assert_eq!((tftp.caps.len(), tftp.caps[1].max_block_size), (2, 512));
        let printed = tftp.to_string().replace("[tftp]\n", "").replace("tftp.cap", "cap");
        assert_eq!(validated(&printed).unwrap(), tftp);
    }

    #[test]
    fn caps_for_nobody_and_with_wrong_values_are_refused_by_name() {
        for (text, want) in [
            ("[[cap]]\nmax-block-size = 1024", "`tftp.cap` is `0`: name 1 to 1000"),
            ("[[cap]]\nmodels = ['iMac']", "`tftp.cap.max-block-size` is not set: 512 to 65464"),
            ("[[cap]]\nmodels = ['']\nmax-block-size = 1024", "`tftp.cap.models` is ``"),
            ("[[cap]]\nmacs = ['x']\nmax-block-size = 1024", "`tftp.cap.macs` is `x`: a hardware address"),
            ("[[cap]]\nmodels = ['iMac']\nmax-block-size = 100", "`tftp.cap.max-block-size` is `100`"),
        ] {
            let error = validated(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
