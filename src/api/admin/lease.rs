//! Leases: which address the appliance's own DHCP server gave to whom.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::value::MacAddr;

/// How an address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Offered, not yet taken.
    Offered,
    /// Leased.
    Bound,
    /// Its time is over, or it was given back; the client gets it again while nobody else needs it.
    Free,
    /// Another machine uses it without a lease: set aside for a while.
    SetAside,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Lease {
    /// The address.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub address: Ipv4Addr,
    /// Hardware address of who has it, had it last, or uses it unasked; zeros when that was not seen.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub mac: MacAddr,
    /// By what the client is told apart: `mac:` and its address, or `id:` and option 61 in hexadecimal.
    pub client: String,
    /// What it calls itself.
    pub host_name: Option<String>,
    /// How it is held.
    pub state: LeaseState,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
}
