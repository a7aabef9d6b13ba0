//! The USB stick that starts a Mac whose firmware cannot, or may not, start from the network.
//!
//! Reading order: [`content`] (which files, the boot menu) → [`label`], [`wifi`] (bytes of two of them) → [`volume`] (a
//! FAT32 file system with them) → [`layout`] (the whole stick: volume and partition tables) → [`write`] (on to the
//! medium, in an order that leaves a whole stick or none, and read back).
//!
//! Everything is laid out in memory first, as [`pieces::Pieces`]: what is written is what is compared.
//!
//! Must not know: which device, who asked, how boot files are made.

pub mod content;
pub mod label;
pub mod layout;
pub mod pieces;
pub mod volume;
pub mod wifi;
pub mod write;
