//! A few files of a volume: enough to say which macOS is on it, and whether a Mac can start from it.
//!
//! Owns: finding a file by its path, its content whether packed or not, SystemVersion.plist. Must not know: how HFS+ and
//! APFS keep files (`hfs::files`, `apfs::files`). Files that are asked for are small, longer ones are not read.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::decmpfs;

/// Bytes of a file that is read.
pub(super) const MOST_CONTENT: u64 = 256 << 10;

/// Entries of a folder that are looked at. /System/Library/CoreServices has some hundred.
const MOST_ENTRIES: usize = 4096;

/// Names of the root folder that are kept.
const MOST_TOP: usize = 64;

/// Characters of a text in SystemVersion.plist.
const MOST_TEXT: usize = 64;

/// The macOS on a volume, by its SystemVersion.plist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `macOS`, `Mac OS X`, as it calls itself.
    pub product: String,
    /// `10.15.7`.
    pub version: String,
    /// `19H2`; may be empty.
    pub build: String,
}

/// A file or folder.
pub(super) struct Entry {
    pub name: String,
    pub id: u64,
    pub is_folder: bool,
    /// What the file system keeps of it.
    pub record: Vec<u8>,
}

/// The files of a volume. Each method gives `None` or stops where the volume is damaged, or the answer too long.
pub(super) trait Files {
    /// The root folder.
    fn root(&self) -> u64;
    /// What lies in a folder.
    fn list(&mut self, folder: u64, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> io::Result<()>;
    /// The data of a file, empty where it is packed.
    fn data(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>>;
    /// The resource fork.
    fn resource(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>>;
    /// An extended attribute that is kept beside the file's record.
    fn attribute(&mut self, file: &Entry, name: &str) -> io::Result<Option<Vec<u8>>>;
}

/// What lies at a path below a folder. Names are compared without regard to case.
pub(super) fn find(files: &mut dyn Files, folder: u64, path: &str) -> io::Result<Option<Entry>> {
    let mut found: Option<Entry> = None;
    for name in path.split('/') {
        let folder = match found {
            None => folder,
            Some(Entry { is_folder: true, id, .. }) => id,
            Some(_) => return Ok(None),
        };
        found = None;
        let mut seen = 0;
        files.list(folder, &mut |entry| {
            seen += 1;
            if entry.name.eq_ignore_ascii_case(name) {
                found = Some(entry);
            }
            if found.is_some() || seen >= MOST_ENTRIES {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if found.is_none() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// The content of a small file, unpacked.
pub(super) fn content(files: &mut dyn Files, file: &Entry) -> io::Result<Option<Vec<u8>>> {
    match files.data(file)? {
        Some(data) if !data.is_empty() => return Ok(Some(data)),
        Some(_) => {}
        None => return Ok(None),
    }
    let Some(head) = files.attribute(file, "com.apple.decmpfs")? else { return Ok(Some(Vec::new())) };
    let resource = if decmpfs::needs_resource(&head) { files.resource(file)? } else { None };
    Ok(decmpfs::unpack(&head, resource.as_deref(), MOST_CONTENT))
}

/// Names in the root folder, in the order of the file system.
pub(super) fn top(files: &mut dyn Files) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    files.list(files.root(), &mut |entry| {
        names.extend(Some(entry.name).filter(|name| !name.is_empty()));
        if names.len() < MOST_TOP { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(names)
}

/// The macOS, or the macOS whose Recovery it is.
pub(super) fn system(files: &mut dyn Files) -> io::Result<Option<System>> {
    let root = files.root();
    for path in
        ["System/Library/CoreServices/SystemVersion.plist", "com.apple.recovery.boot/SystemVersion.plist"]
    {
        if let Some(file) = find(files, root, path)?
            && let Some(plist) = content(files, &file)?
            && let Some(system) = parse(&plist)
        {
            return Ok(Some(system));
        }
    }
    Ok(None)
}

/// Reads SystemVersion.plist, XML or binary. It is flat; what is nested is none.
fn parse(plist: &[u8]) -> Option<System> {
    let Flat(entries) = plist::from_bytes(plist).ok()?;
    let value = |key: &str| {
        let text = &entries.iter().find(|(name, _)| name == key)?.1;
        let text: String = text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect();
        Some(text.trim().to_owned())
    };
    Some(System {
        product: value("ProductName").unwrap_or_default(),
        version: value("ProductVersion").filter(|version| !version.is_empty())?,
        build: value("ProductBuildVersion").unwrap_or_default(),
    })
}

/// The texts of a dictionary.
struct Flat(Vec<(String, String)>);

/// Entries of a dictionary: SystemVersion.plist has ten at most.
const MOST_KEYS: usize = 64;

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flat, D::Error> {
        struct Dictionary;
        impl<'de> Visitor<'de> for Dictionary {
            type Value = Flat;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dictionary of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Flat, A::Error> {
                let mut texts = Vec::new();
                while texts.len() < MOST_KEYS
                    && let Some(entry) = entries.next_entry()?
                {
                    texts.push(entry);
                }
                if texts.len() == MOST_KEYS {
                    while entries.next_entry::<IgnoredAny, String>()?.is_some() {}
                }
                Ok(Flat(texts))
            }
        }
        deserializer.deserialize_map(Dictionary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What macOS 10.15.7 has.
    pub const CATALINA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>ProductBuildVersion</key><string>19H2</string>
<key>ProductCopyright</key><string>1983-2020 Apple Inc.</string>
<key>ProductName</key><string>Mac OS X</string>
<key>ProductVersion</key><string>10.15.7</string>
</dict></plist>"#;

    #[test]
    fn a_system_version_is_read_from_xml_and_binary() {
        let want = System { product: "Mac OS X".into(), version: "10.15.7".into(), build: "19H2".into() };
        assert_eq!(parse(CATALINA.as_bytes()), Some(want.clone()));
        let mut binary = Vec::new();
        plist::from_bytes::<plist::Value>(CATALINA.as_bytes())
            .unwrap()
            .to_writer_binary(&mut binary)
            .unwrap();
        assert_eq!(parse(&binary), Some(want));
    }

    #[test]
    fn a_nested_or_foreign_list_is_no_system_version() {
        let deep = format!("<plist><dict><key>a</key>{}</dict></plist>", "<array>".repeat(100_000));
        let none = "<plist><dict><key>ProductName</key><string>x</string></dict></plist>";
        for plist in [deep.as_str(), none, "<plist><array/></plist>", "", "bplist00"] {
            assert_eq!(parse(plist.as_bytes()), None);
        }
    }
}
