//! Rootstock: a network boot and imaging appliance for Macs.
//!
//! Floors, lowest first. A module uses lower floors and itself, never another room of its own floor
//! (`tests/tidy.rs` checks it; ARCHITECTURE.md draws it).
//!
//! | floor | rooms |
//! |---|---|
//! | 1 values | [`value`] |
//! | 2 wings, pure | [`netboot`] · [`image`] · [`sequence`] |
//! | 3 wire types | [`api`] |
//! | 4 tools, one kind of effect each | [`store`] · [`db`] · [`client`] · [`device`] · [`host`] · [`input`] |
//! | 5 boot media | [`media`] |
//! | 6 programs | [`server`] · [`runner`] · [`cli`] |

pub mod value;

pub mod image;
pub mod netboot;
pub mod sequence;

pub mod api;

pub mod client;
#[cfg(feature = "server")]
pub mod db;
pub mod device;
pub mod host;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod input;
pub mod store;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod media;
#[cfg(feature = "runner")]
pub mod runner;
#[cfg(feature = "server")]
pub mod server;
