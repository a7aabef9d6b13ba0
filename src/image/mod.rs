//! Disk images: what a file is, what lies in it, how it is cut, named and signed.
//!
//! Reading order, from bytes to decisions: `field` · [`source`] · [`partition`] · [`volume`].
//! Must not know: where bytes lie, block devices, HTTP.

mod field;

pub mod partition;
pub mod source;
pub mod volume;
