//! Boot sets: `.nbi` folders that Macs are offered in their picker.

use serde::{Deserialize, Serialize};

pub use crate::netboot::nbi::Overrides as NbiOverrides;

/// One boot set in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NbiSummary {
    /// Name of its folder, `NetInstall.nbi`.
    pub folder: String,
    /// Whether it is offered, or why not.
    #[serde(flatten)]
    pub state: NbiState,
    /// Bytes of all its files.
    pub size: u64,
    /// What it is; none while its property list cannot be used.
    pub facts: Option<NbiFacts>,
}

/// What a set is: its NBImageInfo.plist with what the site says instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NbiFacts {
    /// What people see in the picker.
    pub name: String,
    /// 32-bit image id, `0x81000001`.
    pub id: String,
    /// `boot`, `install` or `diagnostics`.
    pub kind: String,
    /// `HTTP`, `NFS` or `BootFileOnly`.
    pub r#type: String,
    /// First choice for Macs whose user does not choose.
    pub default: bool,
    /// Whether it may be offered.
    pub enabled: bool,
    /// Models that may have it; empty: every model.
    pub models: Vec<String>,
    /// Models that may not.
    pub disabled_models: Vec<String>,
    /// Addresses that may have it; empty: every address.
    pub macs: Vec<String>,
    /// Addresses that may not.
    pub disabled_macs: Vec<String>,
}

/// How a set stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum NbiState {
    /// Offered to whom it is for.
    Offered,
    /// Switched off.
    Disabled,
    /// Its files are still changing.
    Waiting {
        /// Which, and what is waited for.
        reason: String,
    },
    /// Not offered to anybody.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One boot set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Nbi {
    /// As in the list.
    #[serde(flatten)]
    pub summary: NbiSummary,
    /// What its NBImageInfo.plist says by itself; none when it cannot be used.
    pub plist: Option<NbiFacts>,
    /// What the site says instead.
    pub overrides: NbiOverrides,
    /// Its boot files.
    pub boot_files: Vec<NbiBootFile>,
    /// What the kernel is told to mount; `SERVER` stands for the address that a Mac reaches.
    pub root_path: Option<String>,
    /// Its files.
    pub files: Vec<NbiFile>,
}

/// A boot file of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NbiBootFile {
    /// `i386` for Intel Macs, `ppc`.
    pub architecture: String,
    /// Its path as TFTP clients ask for it.
    pub path: String,
    /// Firmware that it is for: `64-bit EFI`, `32-bit EFI`, `32- and 64-bit EFI`, or `unknown`.
    pub firmware: String,
}

/// A file of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NbiFile {
    /// Path in the set.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// What goes with an import. The body is a tar of the set, NBImageInfo.plist at its top, with a Content-Length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "server", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ImportNbi {
    /// Name of the new folder, `NetInstall.nbi`.
    pub folder: String,
    /// Overrides its name in the picker.
    pub name: Option<String>,
    /// Overrides its index.
    pub index: Option<i64>,
    /// Overrides whether it is the default.
    pub default: Option<bool>,
    /// Overrides whether it is enabled.
    pub enabled: Option<bool>,
    /// Overrides the models that may have it, with spaces between them.
    pub models: Option<String>,
    /// Overrides the addresses that may have it, with spaces between them.
    pub macs: Option<String>,
    /// Overrides what the kernel mounts.
    pub root_path: Option<String>,
}
