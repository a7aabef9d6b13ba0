//! Sessions at other appliances that `rootstock login` began: a file of the person's own, mode 0600.
//!
//! `$XDG_STATE_HOME/rootstock/sessions.json`, else `~/.local/state/rootstock/sessions.json`: `{"format": 1, "sessions": {ADDRESS: …}}`.
//! Must not know: what a session is good for.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::value::Secret;

const FORMAT: u32 = 1;

/// A session at one appliance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What is shown there.
    pub token: Secret,
    /// Who.
    pub name: String,
    /// Certificates of its authority, PEM.
    pub ca: String,
    /// When it ends whatever happens, milliseconds since 1970 UTC.
    pub ends_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Whole {
    format: u32,
    sessions: BTreeMap<String, Kept>,
}

impl Kept {
    /// The session at an appliance.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(address: &str) -> anyhow::Result<Option<Kept>> {
        let Some(path) = path() else { return Ok(None) };
        Ok(read(&path)?.sessions.remove(address))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, address: &str) -> anyhow::Result<()> {
        let path = path().context("neither XDG_STATE_HOME nor HOME says where sessions are kept")?;
        let mut whole = read(&path)?;
        whole.sessions.insert(address.to_owned(), self);
        write(&path, &whole)
    }

    /// Forgets the one at an appliance; its certificate is asked for again at the next log in.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(address: &str) -> anyhow::Result<Option<Kept>> {
        let Some(path) = path() else { return Ok(None) };
        let mut whole = read(&path)?;
        let forgotten = whole.sessions.remove(address);
        if forgotten.is_some() {
            write(&path, &whole)?;
        }
        Ok(forgotten)
    }
}

fn path() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("rootstock/sessions.json"))
}

fn read(path: &Path) -> anyhow::Result<Whole> {
    let empty = Whole { format: FORMAT, sessions: BTreeMap::new() };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(empty),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let unreadable = || format!("{} is damaged; remove it and log in again", path.display());
    let whole: Whole = serde_json::from_str(&text).with_context(unreadable)?;
    if whole.format != FORMAT {
        bail!("{} is of another version; remove it and log in again", path.display());
    }
    Ok(whole)
}

/// The old file or the new one, whole; readable by its owner only from the first byte on.
fn write(path: &Path, whole: &Whole) -> anyhow::Result<()> {
    let failed = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).with_context(failed)?;
    file.write_all(&serde_json::to_vec_pretty(whole)?).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    fs::rename(&new, path).with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn sessions_are_kept_by_address_in_a_file_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/sessions.json");
        let mut whole = read(&path).unwrap();
        let kept = Kept { token: Secret::new("t"), name: "ana".into(), ca: "pem".into(), ends_ms: 1 };
        whole.sessions.insert("https://box".into(), kept);
        write(&path, &whole).unwrap();
        write(&path, &whole).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().sessions["https://box"].name, "ana");
        fs::write(&path, "{").unwrap();
        assert!(read(&path).err().unwrap().to_string().contains("log in again"));
    }
}
