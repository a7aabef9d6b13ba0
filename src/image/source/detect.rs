//! What a file is, by its magic bytes and never by its name.
//!
//! Owns: the table of formats, those that are read and those that are only called by their name.

use super::error::SourceError;
use super::stream::Compression;
use super::{Input, read_exact_at};
use crate::image::field::Fields;

/// Bytes at the front that detection looks at: the volume descriptor of an ISO 9660 image is the farthest.
pub(super) const HEAD: usize = 36 << 10;

/// Bytes at the end that detection looks at: the trailer of a UDIF image.
pub(super) const TAIL: usize = 512;

/// Bytes at the end of a zip archive in which names are looked for.
const DIRECTORY: u64 = 1 << 20;

/// A format that is known and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// `encrcdsa` where it cannot be read (inside a compressed file), or `cdsaencr`, its version 1.
    EncryptedDmg,
    /// `.sparseimage` where it cannot be read: inside a compressed file.
    SparseImage,
    /// `.sparsebundle`, a folder.
    SparseBundle,
    /// A part of a UDIF image in several files.
    SegmentedUdif,
    /// ISO 9660.
    Iso,
    /// zip.
    Zip,
    /// A zip with the firmware and system of a Mac or other device.
    Ipsw,
    /// xar: `.pkg`, `.xip`.
    Xar,
    /// Windows imaging format.
    Wim,
    /// Apple Archive.
    AppleArchive,
    /// Apple Encrypted Archive.
    AppleEncryptedArchive,
    /// qcow2.
    Qcow2,
    /// VMDK.
    Vmdk,
    /// VHDX or VHD.
    Vhd,
    /// Apple sparse image format of macOS 26.
    Asif,
    /// VirtualBox.
    Vdi,
    /// Parallels Desktop.
    Parallels,
    /// Expert Witness format of EnCase.
    ExpertWitness,
    /// ntfsclone's special image format.
    Ntfsclone,
    /// Partimage, of older Clonezilla and FOG.
    Partimage,
    /// lz4 frame.
    Lz4,
    /// lzop.
    Lzop,
    /// lzip.
    Lzip,
    /// lrzip.
    Lrzip,
    /// RAR.
    Rar,
    /// tar.
    Tar,
    /// 7-Zip.
    SevenZip,
    /// gzip, xz, zstd or bzip2 where it cannot be read: inside another one.
    Compressed,
    /// UDIF where it cannot be read: inside a compressed file.
    Udif,
}

impl Foreign {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::EncryptedDmg => "an encrypted disk image",
            Foreign::SparseImage => "a sparse image (.sparseimage)",
            Foreign::SparseBundle => "a sparse bundle (.sparsebundle)",
            Foreign::SegmentedUdif => "one segment of a disk image in several files (.dmgpart)",
            Foreign::Iso => "an ISO 9660 disc image",
            Foreign::Zip => "a zip archive (.zip)",
            Foreign::Ipsw => "Apple firmware (.ipsw)",
            Foreign::Xar => "a xar archive (.pkg, .xip)",
            Foreign::Wim => "a Windows image (.wim)",
            Foreign::AppleArchive => "an Apple Archive (.aar)",
            Foreign::AppleEncryptedArchive => "an Apple Encrypted Archive (.aea)",
            Foreign::Qcow2 => "a QEMU image (qcow2)",
            Foreign::Vmdk => "a VMware image (.vmdk)",
            Foreign::Vhd => "a Hyper-V image (.vhd, .vhdx)",
            Foreign::Asif => "an Apple sparse image (.asif)",
            Foreign::Vdi => "a VirtualBox image (.vdi)",
            Foreign::Parallels => "a Parallels image (.hdd, .hds)",
            Foreign::ExpertWitness => "an Expert Witness image (.E01)",
            Foreign::Ntfsclone => "an ntfsclone image",
            Foreign::Partimage => "a Partimage image",
            Foreign::Lz4 => "an lz4 file",
            Foreign::Lzop => "an lzop file",
            Foreign::Lzip => "an lzip file",
            Foreign::Lrzip => "an lrzip file",
            Foreign::Rar => "a RAR archive",
            Foreign::Tar => "a tar archive",
            Foreign::SevenZip => "a 7-Zip archive",
            Foreign::Compressed => "another compressed file",
            Foreign::Udif => "a UDIF image (.dmg)",
        }
    }

    /// What to do with it.
    pub fn advice(self) -> &'static str {
        match self {
            Foreign::EncryptedDmg => {
                "on a Mac, `hdiutil convert IN.dmg -format UDZO -o OUT.dmg` asks for the password and \
                 writes a plain one"
            }
            Foreign::SparseBundle => "give the folder itself, or a tar archive of it",
            Foreign::Asif => "on a Mac, convert it with `hdiutil convert IN -format UDZO -o OUT.dmg`",
            Foreign::SegmentedUdif => {
                "on a Mac, join the segments with `hdiutil convert FIRST.dmg -format UDZO -o OUT.dmg`"
            }
            Foreign::Iso => "a disc is no system volume; take an image of the installed disk",
            Foreign::Zip | Foreign::SevenZip | Foreign::Rar | Foreign::Compressed => {
                "give the disk image that is packed in it"
            }
            Foreign::Tar => {
                "give the disk image that is packed in it; of archives, only those of a sparse bundle are read"
            }
            Foreign::Ipsw => {
                "it is written by Apple Configurator or `cfgutil restore` to a Mac in DFU mode; for the library, install \
                 macOS on one Mac and take an image of its disk"
            }
            Foreign::Lz4 => "unpack it with `lz4 -d IN OUT` and give what comes out",
            Foreign::Lzop => "unpack it with `lzop -d IN` and give what comes out",
            Foreign::Lzip => "unpack it with `lzip -d IN` and give what comes out",
            Foreign::Lrzip => "unpack it with `lrzip -d IN` and give what comes out",
            Foreign::ExpertWitness => "write its disk with `ewfexport -f raw IN.E01`",
            Foreign::Ntfsclone => "write its volume with `ntfsclone --restore-image -O OUT.img IN`",
            Foreign::Partimage => "restore it with `partimage restore` and take an image with partclone",
            Foreign::Xar => "a package is installed, not imaged; give a disk image",
            Foreign::Wim => {
                "a file-based image cannot be written to a disk block by block; give a disk image"
            }
            Foreign::AppleArchive | Foreign::AppleEncryptedArchive => {
                "on a Mac, unpack it with `aa extract` or `aea decrypt` and give the disk image in it"
            }
            Foreign::Parallels => "convert it with `qemu-img convert -f parallels -O raw IN OUT.img`",
            Foreign::Qcow2 | Foreign::Vmdk | Foreign::Vdi => {
                "convert it with `qemu-img convert -O raw IN OUT.img`"
            }
            // Without its name, qemu-img takes a .vhd of fixed size for a raw image.
            Foreign::Vhd => {
                "convert it with `qemu-img convert -f vpc -O raw IN OUT.img` (a .vhdx: `-f vhdx`)"
            }
            Foreign::SparseImage => "give the .sparseimage itself",
            Foreign::Udif => "give the .dmg itself; it is compressed already",
        }
    }
}

impl Foreign {
    /// What an archive is by what it holds, which its first bytes do not tell.
    pub(super) fn closer(self, input: &mut dyn Input, file: u64) -> Result<Foreign, SourceError> {
        if self != Foreign::Zip {
            return Ok(self);
        }
        // The names of all files stand at the end; those of firmware are some hundred.
        let length = file.min(DIRECTORY);
        let directory = read_exact_at(input, file - length, length as usize)?;
        let names = |name: &[u8]| directory.windows(name.len()).any(|window| window == name);
        Ok(if names(b"BuildManifest.plist") && names(b"Restore.plist") {
            Foreign::Ipsw
        } else {
            Foreign::Zip
        })
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detected {
    Udif,
    Raw,
    Encrypted,
    Sparse,
    Partclone,
    Stream(Compression),
    Foreign(Foreign),
    Unknown,
}

/// Magic at the front: offset, bytes, format.
const FRONT: [(usize, &[u8], Detected); 36] = [
    (0, b"encrcdsa", Detected::Encrypted),
    (0, b"sprs", Detected::Sparse),
    (0, b"shdw", Detected::Foreign(Foreign::Asif)),
    (0, b"partclone-image", Detected::Partclone),
    (0, b"PK\x03\x04", Detected::Foreign(Foreign::Zip)),
    (0, b"PK\x05\x06", Detected::Foreign(Foreign::Zip)),
    (0, b"PK\x07\x08", Detected::Foreign(Foreign::Zip)),
    (0, b"Rar!\x1a\x07", Detected::Foreign(Foreign::Rar)),
    (0, b"xar!", Detected::Foreign(Foreign::Xar)),
    (0, b"MSWIM\0\0\0", Detected::Foreign(Foreign::Wim)),
    (0, b"AA01", Detected::Foreign(Foreign::AppleArchive)),
    (0, b"YAA1", Detected::Foreign(Foreign::AppleArchive)),
    (0, b"pbz", Detected::Foreign(Foreign::AppleArchive)),
    (0, b"AEA1", Detected::Foreign(Foreign::AppleEncryptedArchive)),
    (0, b"QFI\xfb", Detected::Foreign(Foreign::Qcow2)),
    (0, b"KDMV", Detected::Foreign(Foreign::Vmdk)),
    (0, b"# Disk DescriptorFile", Detected::Foreign(Foreign::Vmdk)),
    (0, b"vhdxfile", Detected::Foreign(Foreign::Vhd)),
    (0, b"conectix", Detected::Foreign(Foreign::Vhd)),
    (0x40, b"\x7f\x10\xda\xbe", Detected::Foreign(Foreign::Vdi)),
    (0, b"WithoutFreeSpace", Detected::Foreign(Foreign::Parallels)),
    (0, b"WithouFreSpacExt", Detected::Foreign(Foreign::Parallels)),
    (0, b"EVF\x09\x0d\x0a\xff\0", Detected::Foreign(Foreign::ExpertWitness)),
    (0, b"EVF2\x0d\x0a\x81\0", Detected::Foreign(Foreign::ExpertWitness)),
    (0, b"\0ntfsclone-image", Detected::Foreign(Foreign::Ntfsclone)),
    (0, b"PaRtImAgE-VoLuMe", Detected::Foreign(Foreign::Partimage)),
    (0, b"\x89LZO\0\x0d\x0a\x1a\x0a", Detected::Foreign(Foreign::Lzop)),
    (0, b"LZIP", Detected::Foreign(Foreign::Lzip)),
    (0, b"LRZI", Detected::Foreign(Foreign::Lrzip)),
    (0, b"\x04\x22\x4d\x18", Detected::Foreign(Foreign::Lz4)),
    (0, b"7z\xbc\xaf\x27\x1c", Detected::Foreign(Foreign::SevenZip)),
    (257, b"ustar", Detected::Foreign(Foreign::Tar)),
    (0, b"\x1f\x8b\x08", Detected::Stream(Compression::Gzip)),
    (0, b"\xfd7zXZ\0", Detected::Stream(Compression::Xz)),
    (0, b"\x28\xb5\x2f\xfd", Detected::Stream(Compression::Zstd)),
    (0, b"BZh", Detected::Stream(Compression::Bzip2)),
];

/// Magic of what the first sectors of a disk or volume hold: offset and bytes.
const DISK: [(usize, &[u8]); 14] = [
    (512, b"EFI PART"),
    (4096, b"EFI PART"),
    (0, b"ER"),
    (512, b"PM"),
    (2048, b"PM"),
    (510, b"\x55\xaa"),
    (1024, b"H+"),
    (1024, b"HX"),
    (1024, b"BD"),
    (32, b"NXSB"),
    (88, b"CS"),
    (0x438, b"\x53\xef"),
    (3, b"EXFAT   "),
    (3, b"NTFS    "),
];

/// What makes more of an ISO 9660 disc than a disc: a volume of a Mac, or a partition table with one.
const HYBRID: [(usize, &[u8]); 7] = [
    (1024, b"H+"),
    (1024, b"HX"),
    (1024, b"BD"),
    (32, b"NXSB"),
    (512, b"EFI PART"),
    (512, b"PM"),
    (2048, b"PM"),
];

/// What a file is, from its first [`HEAD`] and last [`TAIL`] bytes.
///
/// The trailer goes first: the front of a UDIF image is that of its first run and may look like anything.
pub(super) fn detect(head: &[u8], tail: &[u8]) -> Detected {
    if tail.len() == TAIL && tail.starts_with(b"koly") {
        return Detected::Udif;
    }
    if tail.ends_with(b"cdsaencr") {
        return Detected::Foreign(Foreign::EncryptedDmg);
    }
    // A VHD of fixed size is raw up to this footer (Virtual Hard Disk specification 1.0).
    if tail.len() == TAIL && tail.starts_with(b"conectix") {
        return Detected::Foreign(Foreign::Vhd);
    }
    let head = Fields(head);
    if let Some((.., format)) = FRONT.iter().find(|(at, magic, _)| head.has(*at, magic)) {
        return *format;
    }
    // A skippable frame may stand before the first zstd frame (RFC 8878 section 3.1.2).
    if head.le32(0) & 0xffff_fff0 == 0x184d_2a50 {
        return Detected::Stream(Compression::Zstd);
    }
    let disk = DISK.iter().any(|(at, magic)| head.has(*at, magic));
    if head.has(32769, b"CD001") && !HYBRID.iter().any(|(at, magic)| head.has(*at, magic)) {
        return Detected::Foreign(Foreign::Iso);
    }
    if disk { Detected::Raw } else { Detected::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[at..at + magic.len()].copy_from_slice(magic);
        head
    }

    #[test]
    fn every_magic_is_found_where_it_stands_and_nowhere_else() {
        for (at, magic, format) in FRONT {
            assert_eq!(detect(&with(at, magic), &[]), format, "{magic:?}");
            assert_ne!(detect(&with(at + 7, magic), &[]), format, "{magic:?}");
        }
        for (at, magic) in DISK {
            assert_eq!(detect(&with(at, magic), &[]), Detected::Raw, "{magic:?}");
        }
    }

    #[test]
    fn a_trailer_says_more_than_the_front() {
        let mut tail = [0; TAIL];
        tail[..4].copy_from_slice(b"koly");
        assert_eq!(detect(&with(510, b"\x55\xaa"), &tail), Detected::Udif);
        assert_eq!(detect(&with(0, b"PK\x03\x04"), &tail), Detected::Udif);
        assert_eq!(detect(&[], b"cdsaencr"), Detected::Foreign(Foreign::EncryptedDmg));
        tail[..8].copy_from_slice(b"conectix");
        assert_eq!(detect(&with(510, b"\x55\xaa"), &tail), Detected::Foreign(Foreign::Vhd));
    }

    #[test]
    fn a_disc_is_an_iso_and_text_is_nothing() {
        assert_eq!(detect(&with(32769, b"CD001"), &[]), Detected::Foreign(Foreign::Iso));
        for (at, magic) in [(512, &b"PM"[..]), (2048, b"PM"), (1024, b"H+"), (512, b"EFI PART")] {
            let mut hybrid = with(32769, b"CD001");
            hybrid[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(detect(&hybrid, &[]), Detected::Raw, "{magic:?} at {at}");
        }
        assert_eq!(detect(b"hello", b"hello"), Detected::Unknown);
        assert_eq!(detect(&[], &[]), Detected::Unknown);
    }

    #[test]
    fn every_foreign_format_has_a_name_and_advice() {
        for (.., format) in FRONT {
            if let Detected::Foreign(foreign) = format {
                assert!(foreign.name().starts_with("a") && !foreign.advice().is_empty());
            }
        }
    }
}
