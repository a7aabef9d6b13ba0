//! Variables of devices and collections.

use serde::{Deserialize, Serialize};

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Variable {
    /// Name as typed; compared without regard to case.
    pub name: String,
    /// Its value; none when it is secret: a secret is written, never read. Empty: a person is asked during the run.
    pub value: Option<String>,
    /// Whether it is.
    pub secret: bool,
    /// Whether its value is empty.
    pub empty: bool,
}

/// A value to set.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VariableValue {
    /// The value; empty: a person is asked during the run.
    pub value: String,
    /// Never shown again, masked in logs.
    #[serde(default)]
    pub secret: bool,
}
