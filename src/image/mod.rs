//! Disk images: what a file is, what is on it, how it is cut, named, signed and put on a disk.
//!
//! Reading order, bytes to decisions:
//! * [`source`]: what an image file is: UDIF, compressed raw, raw; a reader of runs (data, zero, unallocated)
//! * [`partition`]: GPT, APM, MBR: where the volumes are
//! * [`volume`]: HFS+, APFS, FAT, exFAT: label, size, used blocks, the macOS on it
//! * [`doctor`]: what an admin should know of an image before a Mac gets it
//! * [`chunk`]: the grid of 64 KiB cells, the zstd frame around several chunks, bytes whose digest was checked
//! * [`manifest`]: what an image consists of, signed by the appliance; where its frames lie
//! * [`ingest`]: from an image source to cells of a manifest, once through, in parallel
//! * [`capture`]: from a disk to an image, used blocks only
//! * [`plan`]: what a restore must fetch and write, as data
//! * [`restore`]: the engine: fetch, verify, write, read back, and only then the head
//! * [`export`]: an image as a file again: raw, raw.zst with a bmap, `.dmg`, partclone
//!
//! `crc` adds up CRC-32 from pieces. `field` reads big- and little-endian numbers out of headers, checked. Must not know: where
//! bytes lie, block devices, HTTP.

mod crc;
mod field;

pub mod capture;
pub mod chunk;
pub mod doctor;
pub mod export;
pub mod ingest;
pub mod manifest;
pub mod partition;
pub mod plan;
pub mod restore;
pub mod source;
pub mod volume;
