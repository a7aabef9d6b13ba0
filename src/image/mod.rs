//! Disk images, from the file that an admin has to the verified bytes on a Mac's disk.
//!
//! In reading order: [`chunk`] (the grid, verified bytes) → [`manifest`] (what an image consists of, signed) →
//! [`ingest`] (pieces of a file become chunks and a manifest) → [`plan`] (what a restore must do to a target) →
//! [`restore`] (doing it, so that nothing unverified ever boots).
//!
//! Must not know: where bytes lie, block devices, HTTP.

pub mod chunk;
pub mod ingest;
pub mod manifest;
pub mod plan;
pub mod restore;
