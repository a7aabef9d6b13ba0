//! rootstockd.

pub mod config;
