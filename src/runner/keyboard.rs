//! Keyboard layouts of the console: which there are, which one is in force, how one is loaded. The maps are made when the boot
//! environment is built (`media::keymap`); busybox's `loadkmap` gives them to the kernel.
//!
//! Must not know: how a person chooses.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the boot environment has its maps, `de.bmap`.
const FOLDER: &str = "usr/share/rootstock/keymaps";
/// Program that gives a map to the kernel.
const LOADER: &str = "loadkmap";

/// Layouts that people know by a name, in the order in which they are shown.
const NAMES: [(&str, &str); 6] = [
    ("us", "US English"),
    ("gb", "British English"),
    ("de", "German"),
    ("fr", "French"),
    ("ch-de", "Swiss German"),
    ("ch-fr", "Swiss French"),
];

/// Layouts, and the one in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyboards {
    /// Names of the layouts that are there: `us`, `de`.
    pub layouts: Vec<String>,
    /// The one that was chosen; none: the kernel's own, which is US English.
    pub current: Option<String>,
}

impl Keyboards {
    /// Whether there is such a layout.
    pub fn has(&self, layout: &str) -> bool {
        self.layouts.iter().any(|known| known == layout)
    }

    /// Place of the one in force.
    pub fn marked(&self) -> usize {
        let current = self.current.as_deref().unwrap_or("us");
        self.layouts.iter().position(|layout| layout == current).unwrap_or(0)
    }

    /// What the layout in force is called.
    pub fn current_name(&self) -> &str {
        name(self.current.as_deref().unwrap_or("us"))
    }
}

/// What people call a layout.
pub fn name(layout: &str) -> &str {
    NAMES.iter().find(|(known, _)| *known == layout).map_or(layout, |(_, name)| name)
}

/// A layout could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyboardError {
    /// Its map cannot be read, or the program not be started.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take it.
    #[error("the kernel does not take the keyboard layout {layout}: {said}")]
    Refused {
        /// Which.
        layout: String,
        /// What the program said.
        said: String,
    },
}

/// Layouts of the boot environment, and the one that was chosen before the runner was started anew, else the one that the kernel
/// command line asks for.
pub fn found(root: &Path, state: &Path, asked: Option<&str>) -> Keyboards {
    let names = fs::read_dir(root.join(FOLDER)).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_suffix(".bmap")).map(str::to_owned)
    });
    let mut layouts: Vec<String> = names.collect();
    let place = |layout: &String| NAMES.iter().position(|(known, _)| known == layout).unwrap_or(NAMES.len());
    layouts.sort_by_key(|layout| (place(layout), layout.clone()));
    let kept = fs::read_to_string(state.join("keyboard")).unwrap_or_default();
    let wanted = Some(kept.trim()).filter(|kept| !kept.is_empty()).or(asked);
    let current = layouts.iter().find(|layout| Some(layout.as_str()) == wanted).cloned();
    Keyboards { layouts, current }
}

/// Brings a layout into force and remembers it for a runner that is started anew.
///
/// # Errors
/// See [`KeyboardError`].
pub fn load(root: &Path, state: &Path, layout: &str) -> Result<(), KeyboardError> {
    let path = root.join(FOLDER).join(format!("{layout}.bmap"));
    let map = File::open(&path).map_err(|source| KeyboardError::File { path, source })?;
    let ended = Command::new(LOADER).stdin(map).stdout(Stdio::null()).output();
    let ended = ended.map_err(|source| KeyboardError::File { path: LOADER.into(), source })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(KeyboardError::Refused { layout: layout.to_owned(), said });
    }
    let kept = state.join("keyboard");
    fs::write(&kept, format!("{layout}\n")).map_err(|source| KeyboardError::File { path: kept, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_stand_in_the_order_that_people_know_and_the_last_choice_wins() {
        let root = tempfile::tempdir().unwrap();
        let (folder, state) = (root.path().join(FOLDER), root.path().join("state"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&state).unwrap();
        assert_eq!(found(root.path(), &state, Some("de")), Keyboards::default());
        for name in ["zz.bmap", "de.bmap", "us.bmap", "README"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let seen = found(root.path(), &state, Some("de"));
        assert_eq!(seen.layouts, ["us", "de", "zz"]);
        assert_eq!((seen.current.as_deref(), seen.current_name(), seen.marked()), (Some("de"), "German", 1));
        fs::write(state.join("keyboard"), "us\n").unwrap();
        assert_eq!(found(root.path(), &state, Some("de")).current.as_deref(), Some("us"));
        assert_eq!(found(root.path(), &state, None).current_name(), "US English");
    }

    #[test]
    fn a_layout_that_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = load(root.path(), root.path(), "xx").unwrap_err().to_string();
        assert!(error.contains("xx.bmap"), "{error}");
    }
}
