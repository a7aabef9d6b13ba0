//! The site's own values for a set: they win over its NBImageInfo.plist, which stays as Apple's tools wrote it.
//!
//! Must not know: the file that keeps them.

use serde::{Deserialize, Serialize};

use crate::value::MacAddr;

/// What the site says instead of the property list; none: what the list says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Overrides {
    /// What people see in the picker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 1 to 4095 for this server alone, 4096 to 65535 where several servers have the same set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// First choice for Macs whose user does not choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Whether it is offered at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Model identifiers that may have it; empty: every model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// MAC addresses that may have it; empty: every address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<Vec<String>>))]
    pub macs: Option<Vec<MacAddr>>,
    /// What the kernel mounts: a file of the set, `http://ADDRESS/…`, or for NFS `ADDRESS:EXPORT:IMAGE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_path: Option<String>,
}
