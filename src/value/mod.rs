//! Plain values of the domain: parse strictly, print canonically, compare.
//!
//! Owns: spelling and validity of digests, MAC addresses, sizes, identities, rings, secrets; what is known of each Mac model ([`model`]).
//! Must not know: protocols, files, clock.

mod digest;
mod identity;
mod mac;
pub mod model;
mod ring;
mod secret;
mod size;

pub use digest::{BadDigest, Digest};
pub use identity::{BadIdentity, Model, Serial};
pub use mac::{BadMac, MacAddr};
pub use ring::{BadPick, BadRing, Pick, Ring, Rings};
pub use secret::Secret;
pub use size::{BadSize, ByteSize};
