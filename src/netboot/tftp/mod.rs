//! TFTP, reading only, without sockets: RFC 1350 with options of RFC 2347, 2348 (blksize), 2349 (timeout, tsize)
//! and 7440 (windowsize).
//!
//! | opcode | packet |
//! |---|---|
//! | 1 | RRQ: file NUL mode NUL {option NUL value NUL} |
//! | 2 | WRQ: refused |
//! | 3 | DATA: block(2) bytes |
//! | 4 | ACK: block(2) |
//! | 5 | ERROR: code(2) message NUL |
//! | 6 | OACK: {option NUL value NUL} |
//!
//! Owns: packets, option negotiation, who may open a transfer, which path is meant, what to send when. Must not know: files, sockets, clock.

mod admission;
mod cap;
mod pace;
mod packet;
mod path;
mod transfer;

pub use admission::{Admission, Crowded, Running, admit, share};
pub use cap::{Cap, largest_block};
pub use packet::{
    ErrorCode, FromClient, Malformed, Mode, ReadRequest, Refusal, data_head, error, netascii, read_opening,
};
pub use path::{BadPath, BootPath};
pub use transfer::{End, Limits, Step, Transfer};

/// Longest opening packet that is read. RFC 2347 allows 512 bytes; some firmware pads.
pub const LONGEST_REQUEST: usize = 1500;
