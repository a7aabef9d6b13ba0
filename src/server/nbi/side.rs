//! `rootstock.toml` in a set's folder: what the site says of the set. Apple's files stay as they are.
//!
//! ```toml
//! imported = true
//!
//! [overrides]
//! name = "Lab"
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::netboot::nbi::{Overrides, SIDE_FILE};
use crate::server::data::write_durably;

/// Longest side file: addresses for every Mac of a large site.
const LONGEST: u64 = 256 * 1024;

/// The content of a side file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Side {
    /// Whether the folder was put here whole by an import: what is older than this file need not be waited for.
    pub imported: bool,
    /// The site's values.
    pub overrides: Overrides,
}

/// A side file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSide {
    /// Reading or writing failed.
    #[error("{SIDE_FILE} cannot be read or written")]
    File(#[from] io::Error),
    /// Not what is written here.
    #[error("{SIDE_FILE} is wrong, mend it or remove it: {0}")]
    Text(String),
    /// Longer than any that is written here.
    #[error("{SIDE_FILE} is longer than {LONGEST} bytes; remove it")]
    Long,
    /// Values that TOML cannot hold.
    #[error("{SIDE_FILE} cannot be written")]
    Values(#[from] toml::ser::Error),
}

impl Side {
    /// Reads an open side file.
    pub fn read(file: fs::File) -> Result<Side, BadSide> {
        let mut text = String::new();
        file.take(LONGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LONGEST {
            return Err(BadSide::Long);
        }
        // The error itself shows the place in several lines; its message is one.
        toml::from_str(&text).map_err(|error| BadSide::Text(error.message().to_owned()))
    }

    /// Writes the side file of a set so that there is the old one or the new one.
    pub fn write(&self, set: &Path) -> Result<(), BadSide> {
        let text = toml::to_string(self)?;
        if text.len() as u64 > LONGEST {
            return Err(BadSide::Long);
        }
        Ok(write_durably(&set.join(SIDE_FILE), text.as_bytes(), 0o644)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_a_typing_error_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides {
            name: Some("Lab \"3\"".into()),
            index: Some(7),
            models: Some(vec![]),
            macs: Some(vec!["00:1b:63:aa:0f:01".parse().unwrap()]),
            ..Overrides::default()
        };
        let side = Side { imported: true, overrides };
        side.write(folder.path()).unwrap();
        let path = folder.path().join(SIDE_FILE);
        assert_eq!(Side::read(fs::File::open(&path).unwrap()).unwrap(), side);
        fs::write(&path, "[overrides]\nnmae = 'a'").unwrap();
        let error = Side::read(fs::File::open(&path).unwrap()).unwrap_err();
        assert!(crate::server::http::error::chain(&error).contains("nmae"), "{error:?}");
        fs::write(&path, " ".repeat(300_000)).unwrap();
        assert!(matches!(Side::read(fs::File::open(&path).unwrap()), Err(BadSide::Long)));
    }
}
