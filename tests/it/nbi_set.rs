//! A NetBoot set like those of Apple's System Image Utility, made by hand: right in its structure, without Apple's bytes.

use std::fs;
use std::path::Path;

/// What differs from set to set.
pub struct Made<'a> {
    pub name: &'a str,
    /// As it stands in the list: `<integer>7</integer>` or `<string>7</string>`.
    pub index: &'a str,
    /// Further keys.
    pub more: &'a str,
}

impl Made<'_> {
    /// The property list of a NetInstall set by HTTP.
    pub fn plist(&self) -> String {
        let Made { name, index, more } = self;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>
            <key>Architectures</key><array><string>i386</string></array>
            <key>BackwardCompatible</key><false/><key>BootFile</key><string>booter</string>
            <key>Description</key><string>macOS 10.13</string><key>Index</key>{index}
            <key>IsDefault</key><false/><key>IsEnabled</key><true/><key>IsInstall</key><true/>
            <key>Kind</key><integer>1</integer><key>Language</key><string>Default</string>
            <key>Name</key><string>{name}</string><key>RootPath</key><string>NetInstall.dmg</string>
            <key>SupportsDiskless</key><false/><key>Type</key><string>HTTP</string>
            <key>imageType</key><string>netinstall</string><key>osVersion</key><string>10.13</string>
            {more}</dict></plist>"
        )
    }

    /// Writes the set's files into `folder`, which is made.
    pub fn write(&self, folder: &Path) {
        for (path, bytes) in self.files() {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Paths and bytes, in the order of paths.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("NBImageInfo.plist", self.plist().into_bytes()),
            ("NetInstall.dmg", disk(3 << 20)),
            ("i386/PlatformSupport.plist", b"<plist><dict/></plist>".to_vec()),
            ("i386/booter", booter()),
            (
                "i386/com.apple.Boot.plist",
                b"<plist><dict><key>Kernel Flags</key><string/></dict></plist>".to_vec(),
            ),
            ("i386/x86_64/kernelcache", pattern(300_000, 3)),
        ]
    }
}

pub fn plain(name: &'static str, index: &'static str) -> Made<'static> {
    Made { name, index, more: "" }
}

pub fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251 + seed) as u8).collect()
}

/// The head of a 64-bit EFI program with one section that ends with the file, and bytes after it.
pub fn booter() -> Vec<u8> {
    let mut bytes = pattern(150_000, 5);
    bytes[..0x400].fill(0);
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x88].copy_from_slice(&[0x64, 0x86, 1, 0]);
    bytes[0x94] = 0xf0;
    let section = 0x80 + 24 + 0xf0;
    bytes[section + 16..section + 20].copy_from_slice(&(150_000_u32 - 0x400).to_le_bytes());
    bytes[section + 20..section + 24].copy_from_slice(&0x400_u32.to_le_bytes());
    bytes
}

/// A raw disk image with an MBR, whole.
pub fn disk(size: usize) -> Vec<u8> {
    let mut disk = pattern(size, 1);
    disk[..4096].fill(0);
    disk[450] = 0xaf;
    disk[454..458].copy_from_slice(&8_u32.to_le_bytes());
    disk[458..462].copy_from_slice(&(u32::try_from(size / 512).unwrap() - 8).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}
