//! Disks become images: the engine's laws, and the whole way from a disk through the appliance back to a disk.

mod appliance;
pub mod disk;
mod engine;
mod judge;
mod share;
