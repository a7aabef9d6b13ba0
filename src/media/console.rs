//! What the console of a Mac needs beyond the kernel's own: keyboard layouts as maps that busybox's `loadkmap` reads, and fonts that
//! can be read on a Retina screen.
//!
//! Owns: which layouts and fonts go along, how Debian's `loadkeys` makes the maps, what is changed in them. Must not know: apt, when
//! they are loaded.
//!
//! A map: `bkeymap`, 256 bytes that say which tables are there, then each of them: 128 keys, two bytes, little-endian (busybox,
//! `console-tools/loadkmap.c`).

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::media::loader;
use crate::media::packages::{CONSOLE_FONTS, KEYMAPS};

/// Files by their place in the initramfs.
pub type Files = Vec<(String, Vec<u8>)>;

/// Beginning of a map.
const MAGIC: &[u8] = b"bkeymap";
/// Tables that a map may have.
const TABLES: usize = 256;
/// Keys in a table.
const KEYS: usize = 128;
/// Key code of the left Option key (`linux/input-event-codes.h`: `KEY_LEFTALT`).
const LEFT_OPTION: usize = 56;
/// What the right one means in every map: the third letter of a key (`linux/keyboard.h`: `K(KT_SHIFT, KG_ALTGR)`).
const THIRD_LETTER: u16 = 0x0701;
/// Bytes of the largest font.
const LARGEST_FONT: u64 = 1 << 20;

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// A package does not have what is taken from it.
    #[error("{} is missing: the layout of Debian's console packages changed, and src/media/packages.rs has to follow", .0.display())]
    Gone(PathBuf),
    /// The program ended with an error.
    #[error("loadkeys cannot make the keyboard layout {layout}: {said}")]
    Failed {
        /// Which.
        layout: String,
        /// Its last words.
        said: String,
    },
    /// What it made is no map.
    #[error("the keyboard layout {0} is no map that busybox reads")]
    NoMap(String),
    /// A file cannot be read or written, a program not be started.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Folders of unpacked packages.
pub struct Tools {
    /// [`CONSOLE_PACKAGES`](crate::media::packages::CONSOLE_PACKAGES).
    pub packages: [PathBuf; 3],
    /// libc: this machine's may be another.
    pub libraries: Vec<PathBuf>,
}

/// All maps and fonts.
///
/// # Errors
/// [`ConsoleError`]
pub fn files(tools: &Tools, scratch: &Path) -> Result<Files, ConsoleError> {
    let [kbd, data, fonts] = &tools.packages;
    let mut files = Files::new();
    let linker = loader::linker(&tools.libraries).map_err(ConsoleError::Gone)?;
    for (layout, path) in KEYMAPS {
        let source = there(data.join("usr/share/keymaps/i386").join(path))?;
        let program = there(kbd.join("bin/loadkeys"))?;
        let mut command = loader::command(&linker, &tools.libraries, &program, scratch)
            .map_err(|(path, source)| ConsoleError::File { path, source })?;
        let ended = command.arg("--bkeymap").arg(source).output();
        let ended = ended.map_err(|source| ConsoleError::File { path: program, source })?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', " · ");
            return Err(ConsoleError::Failed { layout: (*layout).to_owned(), said });
        }
        let map = both_options(ended.stdout).ok_or_else(|| ConsoleError::NoMap((*layout).to_owned()))?;
        files.push((format!("usr/share/rootstock/keymaps/{layout}.bmap"), map));
    }
    for font in CONSOLE_FONTS {
        let path = there(fonts.join(format!("usr/share/consolefonts/{font}.psf.gz")))?;
        let read = |path: &Path| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            GzDecoder::new(fs::File::open(path)?).take(LARGEST_FONT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read(&path).map_err(|source| ConsoleError::File { path, source })?;
        files.push((format!("usr/share/consolefonts/{font}.psf"), bytes));
    }
    Ok(files)
}

fn there(path: PathBuf) -> Result<PathBuf, ConsoleError> {
    if path.exists() { Ok(path) } else { Err(ConsoleError::Gone(path)) }
}

/// The map with both Option keys as on macOS: each reaches the third letter. Linux gives that to the right one only.
fn both_options(mut map: Vec<u8>) -> Option<Vec<u8>> {
    let flags = map.get(MAGIC.len()..MAGIC.len() + TABLES).filter(|_| map.starts_with(MAGIC))?;
    let tables = flags.iter().filter(|flag| **flag != 0).count();
    let start = MAGIC.len() + TABLES;
    if tables == 0 || map.len() != start + tables * KEYS * 2 {
        return None;
    }
    for table in 0..tables {
        let at = start + (table * KEYS + LEFT_OPTION) * 2;
        map[at..at + 2].copy_from_slice(&THIRD_LETTER.to_le_bytes());
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(tables: usize) -> Vec<u8> {
        let mut map = MAGIC.to_vec();
        map.extend((0..TABLES).map(|table| u8::from(table < tables)));
        map.extend((0..tables * KEYS).flat_map(|key| (key as u16).to_le_bytes()));
        map
    }

    #[test]
    fn both_option_keys_reach_the_third_letter_in_every_table_and_nothing_else_changes() {
        let before = map(3);
        let after = both_options(before.clone()).unwrap();
        let changed: Vec<usize> = (0..before.len())
            .filter(|at| before[*at] != after[*at])
            .map(|at| at - MAGIC.len() - TABLES)
            .collect();
        let keys: Vec<usize> = changed.iter().map(|at| at / 2 % KEYS).collect();
        assert!(!keys.is_empty() && keys.iter().all(|key| *key == LEFT_OPTION), "{changed:?}");
        let at = MAGIC.len() + TABLES + LEFT_OPTION * 2;
        assert_eq!(after[at..at + 2], [0x01, 0x07]);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert_eq!(both_options(b"keymap".to_vec()), None);
        assert_eq!(both_options(map(0)), None);
        let mut short = map(2);
        short.pop();
        assert_eq!(both_options(short), None);
    }

    #[test]
    fn a_package_that_lacks_its_program_is_named() {
        let root = tempfile::tempdir().unwrap();
        let tools =
            Tools { packages: [1, 2, 3].map(|_| root.path().into()), libraries: vec![root.path().into()] };
        let error = files(&tools, root.path()).unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }
}
