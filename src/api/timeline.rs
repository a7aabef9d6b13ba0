//! One timeline per client: every stage from the first DHCP packet to the receipt, with the reason for silence.

use serde::{Deserialize, Serialize};

use crate::value::MacAddr;

/// Where in its way from power-on to a finished run a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// DHCP DISCOVER or REQUEST of a BSDP, PXE or HTTP boot client.
    Discover,
    /// BSDP INFORM\[LIST\].
    List,
    /// BSDP INFORM\[SELECT\].
    Select,
    /// proxyDHCP exchange on port 4011.
    Pxe,
    /// An address from this appliance's own DHCP server.
    Lease,
    /// A TFTP transfer.
    Tftp,
    /// An HTTP request for a boot file.
    Http,
    /// The runner spoke.
    Runner,
    /// A stage that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One line of a client's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ClientEvent {
    /// The client's hardware address.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub mac: MacAddr,
    /// Milliseconds since 1970-01-01 UTC, by the appliance's clock.
    pub at_ms: i64,
    /// What was going on.
    pub stage: Stage,
    /// Whether the client got what it asked for; false when it was left unanswered or refused.
    pub answered: bool,
    /// One readable line: what was asked, what was answered, or why not.
    pub detail: String,
}
