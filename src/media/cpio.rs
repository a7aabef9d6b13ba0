//! A `cpio` archive in the `newc` format, the one that Linux unpacks as initramfs.
//!
//! Owns: the order and the bytes of the archive. Same tree, same bytes: entries are sorted by path, every time is
//! zero, everything belongs to root, inode numbers count up. Must not know: what the files are for, where they came from.
//!
//! | field of an entry | bytes | here |
//! |---|---|---|
//! | magic | 6 | `070701` |
//! | ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check | 13 × 8 hexadecimal digits | uid, gid, mtime, devmajor, devminor, check: 0 |
//! | name with NUL, padded to 4 | namesize | relative, no leading slash |
//! | content, padded to 4 | filesize | file bytes or link target |
//!
//! Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

/// What stands at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder with its permissions.
    Folder(u32),
    /// A file with its permissions.
    File(u32, Vec<u8>),
    /// A symbolic link and where it points.
    Link(String),
    /// A character device: major and minor number, permissions 0600.
    Character(u32, u32),
}

/// A file tree in memory. Folders above an entry come into being with it.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Puts `node` at `path`, which is relative to the root and has no trailing slash. A later entry replaces an
    /// earlier one.
    pub fn put(&mut self, path: &str, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Folder(0o755));
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Puts a file that everybody may read.
    pub fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.put(path, Node::File(0o644, bytes.into()));
    }

    /// Puts a program.
    pub fn program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.put(path, Node::File(0o755, bytes.into()));
    }

    /// Puts a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Node::Link(target.to_owned()));
    }

    /// Whether something stands at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// What is here and not, or not so, in `base`: an archive of it makes `base` into this.
    #[must_use]
    pub fn beyond(&self, base: &Tree) -> Tree {
        let mut rest = Tree::default();
        for (path, node) in self.0.iter().filter(|(path, node)| base.0.get(*path) != Some(*node)) {
            rest.put(path, node.clone());
        }
        rest
    }

    /// Paths and nodes in the order of the archive.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// What `to` says; a file of 4 GiB or more, which the format cannot hold.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for (number, (path, node)) in (1u32..).zip(&self.0) {
            let (mode, links, device, content): (u32, u32, (u32, u32), &[u8]) = match node {
                Node::Folder(mode) => (0o040_000 | mode, 2, (0, 0), &[]),
                Node::File(mode, bytes) => (0o100_000 | mode, 1, (0, 0), bytes),
                Node::Link(target) => (0o120_777, 1, (0, 0), target.as_bytes()),
                Node::Character(major, minor) => (0o020_600, 1, (*major, *minor), &[]),
            };
            entry(to, number, mode, links, device, path, content)?;
        }
        entry(to, 0, 0, 1, (0, 0), "TRAILER!!!", &[])
    }
}

fn entry(
    to: &mut impl Write,
    number: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
    path: &str,
    content: &[u8],
) -> io::Result<()> {
    let size = u32::try_from(content.len())
        .map_err(|_| io::Error::other(format!("{path} is too long for a cpio archive (4 GiB or more)")))?;
    let name = u32::try_from(path.len() + 1)
        .map_err(|_| io::Error::other(format!("the name {path} is too long for a cpio archive")))?;
    write!(to, "070701{number:08X}{mode:08X}{0:08X}{0:08X}{links:08X}{0:08X}{size:08X}", 0)?;
    write!(to, "{0:08X}{0:08X}{1:08X}{2:08X}{name:08X}{0:08X}{path}\0", 0, device.0, device.1)?;
    // The header is 110 bytes, so that name and header are padded together.
    to.write_all(padding(110 + path.len() + 1))?;
    to.write_all(content)?;
    to.write_all(padding(content.len()))
}

fn padding(length: usize) -> &'static [u8] {
    &[0; 3][..length.wrapping_neg() % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tree: &Tree) -> Vec<u8> {
        let mut archive = Vec::new();
        tree.write(&mut archive).unwrap();
        archive
    }

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut tree = Tree::default();
        tree.file("a", b"hello".to_vec());
        let archive = bytes(&tree);
        let header = "07070100000001000081A4000000000000000000000001000000000000000500000000000000000000000000000000\
                      0000000200000000";
        assert_eq!(&archive[..110], header.as_bytes());
        assert_eq!(&archive[110..120], b"a\0hello\0\0\0");
        assert!(archive[120..].starts_with(b"070701"));
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_are_made_when_missing() {
        let mut tree = Tree::default();
        tree.file("sbin/b/c", Vec::new());
        tree.link("sbin/a", "../bin/a");
        let paths: Vec<_> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["sbin", "sbin/a", "sbin/b", "sbin/b/c"]);
        assert_eq!(tree.entries().next().unwrap().1, &Node::Folder(0o755));
    }

    #[test]
    fn the_order_of_putting_does_not_change_the_bytes() {
        let put = |paths: &[&str]| {
            let mut tree = Tree::default();
            for path in paths {
                tree.file(path, path.as_bytes());
            }
            bytes(&tree)
        };
        assert_eq!(put(&["x/1", "y", "a"]), put(&["a", "y", "x/1"]));
    }

    #[test]
    fn what_is_beyond_another_tree_has_its_folders_and_nothing_twice() {
        let mut base = Tree::default();
        base.file("etc/a", "1");
        base.file("etc/b", "1");
        let mut more = base.clone();
        more.file("etc/b", "2");
        more.file("sbin/c", "3");
        let paths: Vec<_> = more.beyond(&base).entries().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(paths, ["etc", "etc/b", "sbin", "sbin/c"]);
    }

    #[test]
    fn a_device_carries_its_numbers() {
        let mut tree = Tree::default();
        tree.put("console", Node::Character(5, 1));
        let archive = bytes(&tree);
        assert_eq!(&archive[14..22], b"00002180");
        assert_eq!(&archive[78..94], b"0000000500000001");
    }
}
