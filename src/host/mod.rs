//! What this machine is beside us: which programs run on it, and which ports they hold; and the log files that a program leaves on it.
//!
//! Owns: reading `/proc`, how logs rotate. Must not know: what a port is wanted for, what is said to whom.

mod holders;
mod log_file;

pub use holders::{Holder, Holders, Processes, Transport};
pub use log_file::{Limits, LogFile};
