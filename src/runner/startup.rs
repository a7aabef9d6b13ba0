//! Set Startup Disk: which volume the firmware starts from now on, written into NVRAM through efivarfs.
//!
//! Two variables of Apple's namespace, as `bless` writes them: `efi-boot-device`, a property list that people and macOS read, and
//! `efi-boot-device-data`, the EFI device path that the firmware follows. The path is the short form, a hard drive node with the
//! partition's GUID (UEFI 2.10 sections 3.1.2 and 10.3.5.1), because the way to the controller is not told to Linux. Whether a
//! firmware follows it is the firmware's: this is a best effort, and says so. What was written is read back.
//!
//! Must not know: steps, the appliance.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::device::clear_immutable;

/// Where variables are files, below the root that is looked at.
const EFIVARS: &str = "sys/firmware/efi/efivars";
/// Apple's namespace of variables.
const APPLE: Uuid = uuid::uuid!("7c436110-ab2a-4bbb-a880-fe41995c9f82");
/// Kept when the Mac is off, there for boot and run time (UEFI 2.10 section 8.2.1).
const ATTRIBUTES: u32 = 1 | 2 | 4;

/// A partition, as firmware names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootPartition {
    /// Number in the GPT, from 1.
    pub number: u32,
    /// First logical block.
    pub first_block: u64,
    /// Logical blocks.
    pub blocks: u64,
    /// Unique GUID of the partition, in the order in which it is printed.
    pub guid: Uuid,
}

/// The firmware cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// No EFI, or not mounted.
    #[error("this Mac shows no EFI variables ({} is absent)", .0.display())]
    NoVariables(PathBuf),
    /// Writing failed.
    #[error("the EFI variable {name} cannot be written")]
    Write {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another value is there afterwards.
    #[error("the firmware did not keep the EFI variable {0}")]
    NotKept(&'static str),
}

/// The EFI device path of a partition: a hard drive node (type 4, subtype 1), then the end.
pub fn device_path(partition: &BootPartition) -> Vec<u8> {
    let mut path = vec![4, 1, 42, 0];
    path.extend_from_slice(&partition.number.to_le_bytes());
    path.extend_from_slice(&partition.first_block.to_le_bytes());
    path.extend_from_slice(&partition.blocks.to_le_bytes());
    // A GUID lies with its first three fields in little-endian order (UEFI 2.10 appendix A).
    path.extend_from_slice(&partition.guid.to_bytes_le());
    // Format of the table: GPT; kind of the signature: GUID.
    path.extend_from_slice(&[2, 2]);
    path.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    path
}

/// The property list of `efi-boot-device`: finds the medium by its GUID. Ends with a zero byte, as Apple's does.
pub fn boot_device(partition: &BootPartition) -> Vec<u8> {
    let guid = partition.guid.hyphenated().to_string().to_uppercase();
    let mut text = format!(
        "<array><dict><key>IOMatch</key><dict><key>IOProviderClass</key><string>IOMedia</string>\
         <key>IOPropertyMatch</key><dict><key>UUID</key><string>{guid}</string></dict></dict>\
         <key>BLLastBSDName</key><string>disk0s{}</string></dict></array>",
        partition.number
    )
    .into_bytes();
    text.push(0);
    text
}

/// Writes both variables and reads them back.
///
/// # Errors
/// See [`StartupError`].
pub fn set(root: &Path, partition: &BootPartition) -> Result<(), StartupError> {
    let folder = root.join(EFIVARS);
    // Without variables the folder of the kernel is there and empty, or absent.
    if fs::read_dir(&folder).ok().and_then(|mut entries| entries.next()).is_none() {
        return Err(StartupError::NoVariables(folder));
    }
    for (name, value) in
        [("efi-boot-device-data", device_path(partition)), ("efi-boot-device", boot_device(partition))]
    {
        write(&folder, name, &value)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &'static str, value: &[u8]) -> Result<(), StartupError> {
    let failed = |source| StartupError::Write { name, source };
    let path = folder.join(format!("{name}-{APPLE}"));
    let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
    bytes.extend_from_slice(value);
    if fs::read(&path).is_ok_and(|held| held == bytes) {
        return Ok(());
    }
    // The kernel protects variables that it does not know (efivarfs): the protection is taken away first.
    clear_immutable(&path).map_err(failed)?;
    // One write is one variable: it must be a single call.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let written = file.write(&bytes).map_err(failed)?;
    drop(file);
    let held = fs::read(&path).map_err(failed)?;
    if written == bytes.len() && held == bytes { Ok(()) } else { Err(StartupError::NotKept(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: BootPartition = BootPartition {
        number: 2,
        first_block: 0x0006_4028,
        blocks: 0x1d1b_7b80,
        guid: uuid::uuid!("7a8b9c0d-1e2f-3a4b-5c6d-7e8f90a1b2c3"),
    };

    #[test]
    fn section_2_the_device_path_is_the_one_of_the_specification_to_the_byte() {
        let want = [
            4, 1, 42, 0, // hard drive, 42 bytes
            2, 0, 0, 0, // partition 2
            0x28, 0x40, 0x06, 0, 0, 0, 0, 0, // first block
            0x80, 0x7b, 0x1b, 0x1d, 0, 0, 0, 0, // blocks
            0x0d, 0x9c, 0x8b, 0x7a, 0x2f, 0x1e, 0x4b, 0x3a, 0x5c, 0x6d, 0x7e, 0x8f, 0x90, 0xa1, 0xb2, 0xc3,
            2, 2, 0x7f, 0xff, 4, 0, // the end
        ];
        assert_eq!(device_path(&PARTITION), want);
    }

    #[test]
    fn section_2_the_property_list_is_one_and_names_the_partition() {
        let bytes = boot_device(&PARTITION);
        let text = bytes.strip_suffix(&[0]).unwrap();
        let list: plist::Value =
            plist::from_bytes(&[b"<plist version=\"1.0\">", text, b"</plist>"].concat()).unwrap();
        let one = list.as_array().unwrap()[0].as_dictionary().unwrap();
        let found = one["IOMatch"].as_dictionary().unwrap()["IOPropertyMatch"].as_dictionary().unwrap();
        assert_eq!(found["UUID"].as_string(), Some("7A8B9C0D-1E2F-3A4B-5C6D-7E8F90A1B2C3"));
        assert_eq!(one["BLLastBSDName"].as_string(), Some("disk0s2"));
    }

    #[test]
    fn variables_are_written_with_their_attributes_and_a_mac_without_any_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(set(root.path(), &PARTITION), Err(StartupError::NoVariables(_))));
        let folder = root.path().join(EFIVARS);
        fs::create_dir_all(&folder).unwrap();
        assert!(
            matches!(set(root.path(), &PARTITION), Err(StartupError::NoVariables(_))),
            "nothing is mounted there"
        );
        fs::write(folder.join("BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [7, 0, 0, 0]).unwrap();
        set(root.path(), &PARTITION).unwrap();
        set(root.path(), &PARTITION).unwrap();
        let held =
            fs::read(folder.join("efi-boot-device-data-7c436110-ab2a-4bbb-a880-fe41995c9f82")).unwrap();
        assert_eq!((&held[..4], &held[4..]), (&[7, 0, 0, 0][..], &device_path(&PARTITION)[..]));
    }
}
