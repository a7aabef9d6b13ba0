//! What this machine is beside us: which programs run on it, and which ports they hold.
//!
//! Owns: reading `/proc`. Must not know: what a port is wanted for, what is said to whom.

mod holders;

pub use holders::{Holder, Holders, Processes, Transport};
