//! rootstockd.

pub mod config;
pub mod netboot;
