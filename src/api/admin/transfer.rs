//! TFTP transfers that run.

use serde::{Deserialize, Serialize};

use crate::value::MacAddr;

/// One TFTP transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Transfer {
    /// Number of the transfer, counted from the start of the daemon.
    pub id: i64,
    /// Address and port of the client.
    pub client: String,
    /// Hardware address of the client, when it is known.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub mac: Option<MacAddr>,
    /// File, as the client spelled it.
    pub file: String,
    /// Bytes in all; none before the file is open.
    pub size: Option<u64>,
    /// Bytes that the client acknowledged.
    pub acknowledged: u64,
    /// Bytes in a block.
    pub block_size: u16,
    /// Blocks sent before an acknowledgement is awaited.
    pub window: u16,
    /// Blocks that were sent more than once.
    pub retransmissions: u64,
    /// When it was opened, milliseconds since 1970 UTC.
    pub since_ms: i64,
}
