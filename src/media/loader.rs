//! A program of an unpacked Debian package, run on this machine under its own dynamic linker and libraries, so that nothing is
//! installed and nothing of this machine matters.
//!
//! Must not know: which programs there are.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The dynamic linker among the libraries' packages; else where it would be.
///
/// # Errors
/// The path that is missing.
pub fn linker(libraries: &[PathBuf]) -> Result<PathBuf, PathBuf> {
    let mut places = libraries.iter().map(|root| root.join("lib64/ld-linux-x86-64.so.2"));
    places.clone().find(|path| path.exists()).ok_or_else(|| places.next_back().unwrap_or_default())
}

/// `program` with the libraries of these packages. Links to them are made in `scratch`.
///
/// # Errors
/// When the links cannot be made; the path that cannot.
pub fn command(
    linker: &Path,
    libraries: &[PathBuf],
    program: &Path,
    scratch: &Path,
) -> Result<Command, (PathBuf, io::Error)> {
    let path = library_path(libraries, scratch)?;
    let mut command = Command::new(linker);
    command.arg("--library-path").arg(path).arg(program).env("LC_ALL", "C");
    Ok(command)
}

/// Folders of the libraries. A version like `2:1.02` in a folder's name would end an entry of the list: links do not.
fn library_path(libraries: &[PathBuf], scratch: &Path) -> Result<OsString, (PathBuf, io::Error)> {
    let mut list = OsString::new();
    for (number, root) in libraries.iter().enumerate() {
        let link = scratch.join(format!("library-{number}"));
        let made = match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::canonicalize(root).and_then(|root| symlink(root, &link)),
        };
        made.map_err(|source| (link.clone(), source))?;
        for folder in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
            list.push(link.join(folder));
            list.push(":");
        }
    }
    Ok(list)
}
