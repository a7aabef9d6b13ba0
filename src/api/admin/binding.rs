//! Bindings: which Mac took which boot image.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::value::MacAddr;

/// A Mac, and the image that it is offered until it chooses another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Binding {
    /// Hardware address of the Mac or of its dongle.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub mac: MacAddr,
    /// Model identifier: one dongle serves many Macs.
    pub system: String,
    /// BSDP architecture, `i386` for every Intel Mac.
    pub arch: String,
    /// Boot image id, as it stands in NBImageInfo.plist and packets: `0x81000001`.
    pub image: String,
    /// The address that the Mac had last.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub address: Ipv4Addr,
    /// The computer name that it is given.
    pub name: String,
    /// When it chose last, milliseconds since 1970 UTC.
    pub bound_ms: i64,
    /// When it was heard last, at an hour's accuracy.
    pub seen_ms: i64,
}
