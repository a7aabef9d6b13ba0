//! Keys of the appliance.

use serde::{Deserialize, Serialize};

/// A key that signs manifests and countersigns receipts, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SigningKey {
    /// Ed25519 public key, hexadecimal.
    pub key: String,
    /// When it began to sign, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Whether it is the one that signs now.
    pub signs: bool,
    /// When its signatures stopped to be believed; none: they are.
    pub retired_ms: Option<i64>,
}
