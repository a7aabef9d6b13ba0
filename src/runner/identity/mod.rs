//! Who this Mac is and what it has, read from the kernel's files under one folder.
//!
//! Owns: the meaning of `sys/class/dmi`, `proc/cpuinfo`, `sys/class/net`, `sys/block`. Everything takes the folder that holds
//! `sys`, `proc` and `dev`, so that tests use a made one.
//! Must not know: the appliance, terminals.

mod disks;
mod machine;
mod parts;
mod records;

use std::fs;
use std::path::Path;

use crate::api::runner::DeviceFacts;
use crate::value::MacAddr;

pub use disks::{called, disks, partition_node};
pub use records::Records;

/// Longest kernel file that is read; all are short.
const LONGEST: usize = 1 << 20;

/// Everything about this machine. What the firmware does not tell is none.
pub fn facts(root: &Path, boot_interface: Option<MacAddr>) -> DeviceFacts {
    machine::machine(root, boot_interface, disks(root))
}

/// Which start of its kernel this is; empty where that does not say.
pub fn boot_id(root: &Path) -> String {
    line(&root.join("proc/sys/kernel/random/boot_id")).filter(|text| text.len() <= 64).unwrap_or_default()
}

/// The text of a kernel file without surrounding white space; none when it is absent, empty or no text.
fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok().filter(|text| text.len() <= LONGEST)?;
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Names in a folder, sorted so that `sda10` comes after `sda9`.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_by_cached_key(|name| natural(name));
    names
}

/// Text and numbers apart, for sorting as people do.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, next) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = next;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_comes_after_nine() {
        let mut names = vec!["sda10", "sdb", "sda9", "nvme1n1", "sda"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["nvme1n1", "sda9", "sda10", "sda", "sdb"]);
    }
}
