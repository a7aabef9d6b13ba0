//! Plain values of the domain: parse strictly, print canonically, compare.
//!
//! Owns: spelling and validity of digests, base64, MAC addresses, sizes, identities, rings, roles, secrets and what hides them, shares; what is known of each Mac model ([`model`]).
//! Must not know: protocols, files, clock.

mod base64;
mod digest;
mod free;
mod identity;
mod image_name;
mod mac;
mod mask;
pub mod model;
mod ring;
mod role;
mod secret;
mod share;
mod size;

pub use self::base64::{decode_base64, encode_base64};
pub use digest::{BadDigest, Digest};
pub use free::{BadFreeSpace, FreeSpace};
pub use identity::{BadIdentity, Model, Serial};
pub use image_name::{IMAGE_NAME_RULE, is_image_name};
pub use mac::{BadMac, MacAddr};
pub use mask::{MASK, Mask};
pub use ring::{BadPick, BadRing, Pick, Ring, Rings};
pub use role::{BadRole, Right, Role};
pub use secret::Secret;
pub use share::{BadShareAccount, BadSharePath, ShareAccount, SharePath};
pub use size::{BadSize, ByteSize};
