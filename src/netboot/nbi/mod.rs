//! Boot sets: `.nbi` folders as their NBImageInfo.plist describes them (Apple's bootplib, nbimages.c).
//!
//! | key | rule |
//! |---|---|
//! | `Architectures` | absent: `ppc`; an empty list is refused |
//! | `BootFile`, `Name`, `Index`, `Type` | required; `Index` may be a string |
//! | `Kind`, `IsInstall` | upper half of the image id |
//! | `IsEnabled` (true), `IsDefault` (false) | |
//! | `FilterOnly` | false, but true for diagnostics (`Kind` 3) |
//! | `EnabledSystemIdentifiers`, `EnabledMACAddresses` | empty: everyone |
//! | `DisabledSystemIdentifiers`, `DisabledMACAddresses` | these not |
//! | `RootPath`, `LoadBalanceServer` | what the started kernel is told |
//!
//! Owns: what a set is and who may have it. Must not know: folders on disk, packets.

mod info;
mod plist;

use std::net::Ipv4Addr;

pub use info::BadSet;

use super::bsdp::{Attributes, ImageId};
use super::dhcp::FileName;
use crate::value::MacAddr;

/// Longest NBImageInfo.plist that is read; real ones have 2 KiB.
pub const LONGEST_PLIST: usize = 64 * 1024;

/// One `.nbi` folder that can be offered. Built only by [`BootSet::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSet {
    /// Name of its folder, `rootstock.nbi`.
    pub folder: String,
    /// What people see in the picker.
    pub name: String,
    /// Its identity on the wire.
    pub id: ImageId,
    /// Whether a switched-off set may be shown; disabled sets are never offered.
    pub is_enabled: bool,
    /// First choice for Macs whose user does not choose.
    pub is_default: bool,
    /// Shown only to clients that filter for it.
    pub filter_only: bool,
    /// What the kernel mounts; none for a booter that needs nothing (`BootFileOnly`).
    pub root: Option<RootPath>,
    /// The server that has the boot file, when it is another one.
    pub load_balance: Option<Ipv4Addr>,
    /// Boot file per architecture, relative to the TFTP root.
    pub boot_files: Vec<(String, FileName)>,
    /// Who may have it.
    pub access: Access,
}

/// What option 17 tells the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPath {
    /// A file of a folder, percent-escaped below the HTTP server's `/boot/`.
    Ours(String),
    /// `http://…` or `nfs:…` on another server, sent as it is.
    Elsewhere(String),
}

/// Restrictions by MAC address and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Empty: every model.
    pub enabled_systems: Vec<String>,
    /// These models not.
    pub disabled_systems: Vec<String>,
    /// Empty: every address.
    pub enabled_macs: Vec<MacAddr>,
    /// These addresses not.
    pub disabled_macs: Vec<MacAddr>,
}

impl BootSet {
    /// The boot file for one architecture.
    pub fn boot_file(&self, arch: &str) -> Option<&FileName> {
        self.boot_files.iter().find(|(own, _)| own == arch).map(|(_, file)| file)
    }

    /// Whether this client may start the set at all, whatever it filters for.
    pub fn allows(&self, arch: &str, system: &str, mac: MacAddr) -> bool {
        let Access { enabled_systems, disabled_systems, enabled_macs, disabled_macs } = &self.access;
        self.is_enabled
            && self.boot_file(arch).is_some()
            && (enabled_systems.is_empty() || enabled_systems.iter().any(|own| own == system))
            && !disabled_systems.iter().any(|own| own == system)
            && (enabled_macs.is_empty() || enabled_macs.contains(&mac))
            && !disabled_macs.contains(&mac)
    }

    /// Whether the set belongs into the list of a client with this filter (BSDP option 11).
    pub fn passes(&self, filter: &[Attributes]) -> bool {
        if filter.is_empty() { !self.filter_only } else { filter.contains(&self.id.attributes()) }
    }

    /// Place in the server's order: defaults first, those for every model before those for some.
    pub fn rank(&self) -> u8 {
        match (self.is_default, self.access.enabled_systems.is_empty()) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        }
    }
}
