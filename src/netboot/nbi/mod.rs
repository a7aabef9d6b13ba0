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
//! Reading order: `plist` · `overrides` · `program` · `root` · `info`; `archive` and `layout`: a set that is sent.
//! Owns: what a set is and who may have it. Must not know: folders on disk, packets.

mod archive;
mod info;
mod layout;
mod overrides;
mod plist;
mod program;
mod root;

use std::net::Ipv4Addr;

pub use archive::{BadArchive, Entry, Tar, archive_length, head};
pub use info::{BadSet, Surroundings};
pub use layout::{INFO, Misplaced, Place, SIDE_FILE, entry_path, is_clutter, locate};
pub use overrides::Overrides;
pub use program::{Program, Width};
pub use root::{BadExport, NfsExport, RootPath};

use super::bsdp::{Attributes, ImageId};
use super::dhcp::FileName;
use crate::value::MacAddr;
use crate::value::model::{self, Firmware};

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
    /// How its root image is reached.
    pub kind: Type,
    /// Whether a switched-off set may be shown; disabled sets are never offered.
    pub is_enabled: bool,
    /// First choice for Macs whose user does not choose.
    pub is_default: bool,
    /// Shown only to clients that filter for it.
    pub filter_only: bool,
    /// What the kernel mounts; none for a booter that needs nothing (`BootFileOnly`).
    pub root: Option<RootPath>,
    /// The file of the folder that is its root image.
    pub root_file: Option<String>,
    /// The server that has the boot file, when it is another one.
    pub load_balance: Option<Ipv4Addr>,
    /// Boot file per architecture.
    pub boot_files: Vec<BootFile>,
    /// Who may have it.
    pub access: Access,
}

/// How a started system reaches its root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// By HTTP.
    Http,
    /// By NFS.
    Nfs,
    /// There is none.
    BootFileOnly,
}

impl Type {
    /// As NBImageInfo.plist spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Type::Http => "HTTP",
            Type::Nfs => "NFS",
            Type::BootFileOnly => "BootFileOnly",
        }
    }
}

/// The boot file of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// `i386` for every Intel Mac, `ppc`.
    pub arch: String,
    /// Its path, relative to the TFTP root.
    pub file: FileName,
    /// What it is.
    pub program: Program,
    /// What lies beside it for 32-bit firmware, `<BootFile>-ia32`.
    pub ia32: Option<FileName>,
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
    /// The boot file for a client: of its architecture, and for the width of its model's firmware where the
    /// table has it.
    pub fn boot_file(&self, arch: &str, system: &str) -> Option<&FileName> {
        let own = self.boot_files.iter().find(|own| own.arch == arch)?;
        let width = if arch == "i386" { width(system) } else { None };
        match (width, &own.ia32) {
            (Some(Width::Bits32), Some(narrow)) => Some(narrow),
            (Some(width), _) => own.program.starts_on(width).then_some(&own.file),
            (None, _) => Some(&own.file),
        }
    }

    /// Whether this client may start the set at all, whatever it filters for.
    pub fn allows(&self, arch: &str, system: &str, mac: MacAddr) -> bool {
        let Access { enabled_systems, disabled_systems, enabled_macs, disabled_macs } = &self.access;
        self.is_enabled
            && self.boot_file(arch, system).is_some()
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

/// The width of a model's firmware, also where the table has it unconfirmed: it is the best that is known.
fn width(system: &str) -> Option<Width> {
    match model::by_identifier(system)?.firmware {
        Firmware::Efi32 => Some(Width::Bits32),
        Firmware::Efi64 => Some(Width::Bits64),
        _ => None,
    }
}
