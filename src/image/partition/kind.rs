//! What a partition is for, by one name whatever the table.

use std::fmt;

/// What a partition is for. Printed as diskutil and hdiutil name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartitionType {
    /// HFS+ or HFSX (`Apple_HFS`).
    AppleHfs,
    /// An APFS container.
    AppleApfs,
    /// Recovery HD and boot helpers of macOS up to 10.12.
    AppleBoot,
    /// Core Storage: FileVault 2 and Fusion drives up to 10.12.
    AppleCoreStorage,
    /// EFI system partition.
    Efi,
    /// Every other kind: its name in an Apple partition map or among the well-known ones, else GUID or number.
    Other(String),
}

/// GPT type GUIDs, as they are written.
const GUIDS: [(&str, &str); 13] = [
    ("48465300-0000-11AA-AA11-00306543ECAC", "Apple_HFS"),
    ("7C3457EF-0000-11AA-AA11-00306543ECAC", "Apple_APFS"),
    ("426F6F74-0000-11AA-AA11-00306543ECAC", "Apple_Boot"),
    ("53746F72-6167-11AA-AA11-00306543ECAC", "Apple_CoreStorage"),
    ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI"),
    ("52414944-0000-11AA-AA11-00306543ECAC", "Apple_RAID"),
    ("55465300-0000-11AA-AA11-00306543ECAC", "Apple_UFS"),
    ("69646961-6700-11AA-AA11-00306543ECAC", "Apple_APFS_ISC"),
    ("52637672-7900-11AA-AA11-00306543ECAC", "Apple_APFS_Recovery"),
    ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "Microsoft Basic Data"),
    ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "Microsoft Reserved"),
    ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux"),
    ("21686148-6449-6E6F-744E-656564454649", "BIOS Boot"),
];

impl PartitionType {
    /// From the name in an Apple partition map.
    pub(super) fn from_name(name: &str) -> PartitionType {
        match name {
            // HFSX was given its own name in maps that DiskUtility of 10.3 wrote.
            "Apple_HFS" | "Apple_HFSX" => PartitionType::AppleHfs,
            "Apple_APFS" => PartitionType::AppleApfs,
            "Apple_Boot" => PartitionType::AppleBoot,
            "Apple_CoreStorage" => PartitionType::AppleCoreStorage,
            "EFI" | "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" => PartitionType::Efi,
            other => PartitionType::Other(other.to_owned()),
        }
    }

    /// From a type GUID as it stands in a GPT: the first three fields little-endian (UEFI section 5.3.3).
    pub(super) fn from_guid(bytes: [u8; 16]) -> PartitionType {
        let guid = uuid::Uuid::from_bytes_le(bytes).as_hyphenated().to_string().to_ascii_uppercase();
        let name = GUIDS.iter().find(|(known, _)| *known == guid).map_or(guid.as_str(), |(_, name)| name);
        PartitionType::from_name(name)
    }

    /// From the type byte of an MBR.
    pub(super) fn from_mbr(kind: u8) -> PartitionType {
        match kind {
            0xaf => PartitionType::AppleHfs,
            0xab => PartitionType::AppleBoot,
            0xef => PartitionType::Efi,
            0x04 | 0x06 | 0x0e => PartitionType::Other("DOS_FAT_16".to_owned()),
            0x0b | 0x0c => PartitionType::Other("DOS_FAT_32".to_owned()),
            0x07 => PartitionType::Other("Windows_NTFS".to_owned()),
            0x83 => PartitionType::Other("Linux".to_owned()),
            0xee => PartitionType::Other("GPT_protective".to_owned()),
            other => PartitionType::Other(format!("0x{other:02X}")),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            PartitionType::AppleHfs => "Apple_HFS",
            PartitionType::AppleApfs => "Apple_APFS",
            PartitionType::AppleBoot => "Apple_Boot",
            PartitionType::AppleCoreStorage => "Apple_CoreStorage",
            PartitionType::Efi => "EFI",
            PartitionType::Other(name) => name,
        }
    }

    /// Whether it can hold a macOS system volume.
    pub fn holds_macos(&self) -> bool {
        matches!(self, PartitionType::AppleHfs | PartitionType::AppleApfs)
    }
}

impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_guid_has_its_name_and_an_unknown_one_is_its_own() {
        for (guid, name) in GUIDS {
            let bytes = guid.parse::<uuid::Uuid>().unwrap().to_bytes_le();
            assert_eq!(PartitionType::from_guid(bytes).as_str(), name);
        }
        let unknown = PartitionType::from_guid([0x11; 16]);
        assert_eq!(unknown.as_str(), "11111111-1111-1111-1111-111111111111");
        assert!(!unknown.holds_macos());
    }

    #[test]
    fn the_same_kind_is_the_same_whatever_the_table() {
        assert_eq!(PartitionType::from_mbr(0xaf), PartitionType::from_name("Apple_HFS"));
        assert!(PartitionType::from_name("Apple_HFSX").holds_macos());
    }
}
