//! DHCPv4 packets (RFC 2131, RFC 2132): read without trust, written byte for byte as meant; both sides' own.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | op, htype, hlen, hops |
//! | 4 | 4 | xid |
//! | 8 | 4 | secs, flags |
//! | 12 | 16 | ciaddr, yiaddr, siaddr, giaddr |
//! | 28 | 16 | chaddr |
//! | 44 | 64 | sname |
//! | 108 | 128 | file |
//! | 236 | 4 | magic cookie 63 82 53 63 |
//! | 240 | … | options |
//!
//! Owns: header, options, option overload, padding. Must not know: what an option means to BSDP or PXE.

mod packet;
mod reply;
mod request;

pub use dhcproto::v4::MessageType;
pub use packet::{Malformed, Packet};
pub use reply::{Destination, FileName, FileNameTooLong, Reply};
pub use request::Request;

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen unless they say otherwise.
pub const CLIENT_PORT: u16 = 68;

/// Length of everything before the options: header and magic cookie.
pub const HEADER: usize = 240;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

/// Option codes in use here.
pub mod code {
    #![allow(missing_docs, reason = "the names are those of RFC 2132")]
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS_SERVER: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const ROOT_PATH: u8 = 17;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const NTP_SERVER: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLASS_ID: u8 = 60;
    pub const SERVER_NAME: u8 = 66;
    pub const CLIENT_ID: u8 = 61;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY_AGENT: u8 = 82;
    pub const CLIENT_ARCHITECTURE: u8 = 93;
    pub const CLIENT_INTERFACE: u8 = 94;
    pub const CLIENT_UUID: u8 = 97;
    pub const END: u8 = 255;
}
