//! What a restarted runner still knows of the network page. Lies in `/run`, so it ends with the boot.
//!
//! | file | what |
//! |---|---|
//! | `network.json` | the interface's settings that are in force |
//! | `appliance.json` | the appliance and proxy that the technician named |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::wire::Wire;

/// Longest file that is read.
const LONGEST: u64 = 64 << 10;

/// Where the appliance is, as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its address, `https://host[:port]`.
    pub server: Option<String>,
    /// The HTTP proxy on the way, `http://host:port`.
    pub proxy: Option<String>,
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written: what the network page set is forgotten when the runner restarts", path.display())]
pub struct NotKept {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The files, in the runner's folder.
pub struct Kept;

impl Kept {
    /// The interface's settings in force, when the page made any.
    pub fn wire(state: &Path) -> Option<Wire> {
        read(&state.join("network.json"))
    }

    /// What the technician named.
    pub fn place(state: &Path) -> Place {
        read(&state.join("appliance.json")).unwrap_or_default()
    }

    /// Keeps the interface's settings.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_wire(state: &Path, wire: &Wire) -> Result<(), NotKept> {
        write(state.join("network.json"), wire)
    }

    /// Keeps what the technician named.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_place(state: &Path, place: &Place) -> Result<(), NotKept> {
        write(state.join("appliance.json"), place)
    }
}

/// A file that is absent or damaged is as good as none: the page can be filled in again.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let size = fs::metadata(path).ok()?.len();
    let text = fs::read(path).ok().filter(|_| size <= LONGEST)?;
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!("{} is passed over: {error}", path.display()))
        .ok()
}

/// Written beside and renamed: a runner that dies in between leaves the old one.
fn write<T: Serialize>(path: PathBuf, value: &T) -> Result<(), NotKept> {
    let temporary = path.with_extension("new");
    let written = (|| {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(&temporary, serde_json::to_vec(value).map_err(io::Error::other)?)?;
        fs::rename(&temporary, &path)
    })();
    written.map_err(|source| NotKept { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::network::Addressing;

    #[test]
    fn a_restarted_runner_knows_what_was_set_and_nothing_where_nothing_was() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!((Kept::wire(state.path()), Kept::place(state.path())), (None, Place::default()));
        let wire = Wire { interface: "eth0".into(), vlan: Some(5), addressing: Addressing::Dhcp };
        let place = Place { server: Some("https://10.0.0.2".into()), proxy: None };
        Kept::keep_wire(state.path(), &wire).unwrap();
        Kept::keep_place(state.path(), &place).unwrap();
        assert_eq!((Kept::wire(state.path()), Kept::place(state.path())), (Some(wire), place));
    }

    #[test]
    fn a_damaged_file_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("network.json"), "{\"interface\": 7").unwrap();
        assert_eq!(Kept::wire(state.path()), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let error = Kept::keep_place(Path::new("/proc/none"), &Place::default()).unwrap_err().to_string();
        assert!(error.contains("/proc/none/appliance.json"), "{error}");
    }
}
