//! What a block device is: for the person who is about to overwrite it.
//!
//! Owns: reading `/sys/class/block`. Must not know: what will be written, how devices are opened.

use std::fs;
use std::path::{Path, PathBuf};

use super::mounts;

/// A block device as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Name of its node: `sdb`.
    pub name: String,
    /// Maker and model, as far as they are told.
    pub model: String,
    /// Serial number; empty where none is told.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Whether its medium comes out, or it is made to be pulled out: sticks and cards say so, hard disks in a USB case
    /// do not.
    pub removable: bool,
    /// Whether it hangs on USB.
    pub usb: bool,
    /// The whole disk that this is a partition of.
    pub part_of: Option<String>,
    /// Who uses it or one of its partitions now: `sda2 is mounted at /`.
    pub users: Vec<String>,
}

impl Disk {
    /// The block device at `path`. None where `path` is none, or the kernel tells nothing of it.
    pub fn at(path: &Path) -> Option<Disk> {
        let mut disk = Disk::read(&mounts::sys_folder(path)?)?;
        disk.users = mounts::users(path);
        Some(disk)
    }

    /// Reads a folder of `/sys/class/block`, links resolved.
    fn read(folder: &Path) -> Option<Disk> {
        let name = folder.file_name()?.to_str()?.to_owned();
        let whole = folder.join("partition").exists().then(|| folder.parent()).flatten();
        let disk = whole.unwrap_or(folder);
        let usb = folder.ancestors().find(|folder| folder.join("idVendor").exists());
        let sectors: u64 = line(&folder.join("size"))?.parse().ok()?;
        let blocks = line(&disk.join("queue/logical_block_size")).and_then(|text| text.parse().ok());
        Some(Disk {
            model: model(disk, usb),
            serial: serial(disk, usb),
            // Always in units of 512 bytes, whatever the block.
            size: sectors.checked_mul(512)?,
            block_size: blocks.unwrap_or(512),
            removable: line(&disk.join("removable")).as_deref() == Some("1"),
            usb: usb.is_some(),
            part_of: whole.and_then(|whole| Some(whole.file_name()?.to_str()?.to_owned())),
            users: Vec::new(),
            name,
        })
    }
}

fn model(disk: &Path, usb: Option<&Path>) -> String {
    let of_disk = ["device/vendor", "device/model"].map(|file| line(&disk.join(file)));
    let of_usb = ["manufacturer", "product"].map(|file| line(&usb?.join(file)));
    let words = |words: [Option<String>; 2]| words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let model = words(of_disk);
    if model.is_empty() { words(of_usb) } else { model }
}

/// NVMe, MMC and virtio give text; SCSI and SATA the unit serial number page (SPC-4 section 7.8.15); bridges of USB
/// often have it only in their own descriptor.
fn serial(disk: &Path, usb: Option<&Path>) -> String {
    let page = || {
        let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
        let length = usize::from(*page.get(3)?);
        let text = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    line(&disk.join("device/serial"))
        .or_else(|| line(&disk.join("serial")))
        .or_else(page)
        .or_else(|| line(&usb?.join("serial")))
        .unwrap_or_default()
}

fn line(path: &PathBuf) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_stick_tells_its_maker_serial_and_that_it_comes_out() {
        let root = tempfile::tempdir().unwrap();
        let port = root.path().join("usb1/1-2");
        put(&port.join("idVendor"), "0781\n");
        put(&port.join("serial"), "4C53\n");
        let disk = port.join("host6/block/sdb");
        for (file, text) in [
            ("size", "8192\n"),
            ("removable", "1\n"),
            ("device/vendor", "SanDisk "),
            ("device/model", "Ultra\n"),
        ] {
            put(&disk.join(file), text);
        }
        put(&disk.join("sdb1/partition"), "1\n");
        put(&disk.join("sdb1/size"), "2048\n");
        let found = Disk::read(&disk).unwrap();
        assert_eq!(
            (found.model.as_str(), found.serial.as_str(), found.size),
            ("SanDisk Ultra", "4C53", 4 << 20)
        );
        assert!(found.removable && found.usb && found.part_of.is_none());
        let part = Disk::read(&disk.join("sdb1")).unwrap();
        assert_eq!((part.part_of.as_deref(), part.size), (Some("sdb"), 1 << 20));
    }

    #[test]
    fn a_disk_that_tells_nothing_has_empty_words_and_is_fixed() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("virtual/block/loop0");
        put(&disk.join("size"), "2048");
        let found = Disk::read(&disk).unwrap();
        assert!(!found.removable && !found.usb && found.model.is_empty() && found.serial.is_empty());
        assert_eq!(Disk::read(root.path()), None);
    }

    #[test]
    fn a_regular_file_is_no_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Disk::at(file.path()), None);
    }
}
