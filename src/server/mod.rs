//! rootstockd.

pub mod config;
pub mod library;
pub mod netboot;
