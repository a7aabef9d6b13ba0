//! How a machine without a system asks for one, and what it is answered: from the bytes up, in reading order.
//!
//! * [`dhcp`]: packets, options, where a reply goes
//! * [`bsdp`]: Apple's messages inside option 43, boot image ids, list splitting
//! * [`pxe`]: ordinary PXE, iPXE and UEFI HTTP clients
//! * [`nbi`]: `.nbi` folders, what their NBImageInfo.plist allows
//! * [`offer`]: who asks, and the one answer or the reason for silence
//! * [`intake`]: who is answered first when many ask
//! * [`lease`]: addresses, where this server is the one that hands them out
//! * [`ipxe`]: the script for those who run iPXE already
//! * [`arguments`]: kernel arguments that every boot loader hands on as they are
//! * [`tftp`]: a read transfer as a state machine that is told the time
//!
//! Owns: protocols and decisions as values. Must not know: sockets, files, clock, SQL.

pub mod arguments;
pub mod bsdp;
pub mod dhcp;
pub mod intake;
pub mod ipxe;
pub mod lease;
pub mod nbi;
pub mod offer;
pub mod pxe;
pub mod tftp;

#[cfg(test)]
mod fixture;
