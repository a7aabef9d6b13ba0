//! What a decision depends on, and what it may be.
//!
//! Must not know: how it is made.

use std::net::Ipv4Addr;

use super::answer::{Answer, Boot};
use super::plan::Network;
use super::table::Lease;
use crate::value::{MacAddr, Serial};

/// Where and when a packet arrived.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Our address there: option 54.
    pub server: Ipv4Addr,
    /// Every address of this machine: they mean us in option 54, and are never handed out.
    pub own: &'a [Ipv4Addr],
    /// The interface that it came by.
    pub interface: &'a str,
    /// Whether addresses are probed before they are offered.
    pub probes: bool,
    /// What this boot client is told besides.
    pub boot: Option<&'a Boot>,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
}

/// Who asks, beyond what its packet says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Serial number of the Mac that has this address or UUID, where exactly one is known.
    pub serial: Option<&'a Serial>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the wire whether a machine has the address, tell [`Book::probed`], and ask again with the same packet.
    Probe {
        /// The address.
        address: Ipv4Addr,
        /// The interface whose wire it is on; none: behind a relay.
        interface: Option<String>,
    },
    /// Keep, then send.
    Tell(Told),
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who asked.
    pub mac: MacAddr,
    /// What must be on disk before the answer is sent.
    pub keep: Option<Lease>,
    /// What to send; none: nothing is expected.
    pub answer: Option<Answer>,
    /// One line for people.
    pub detail: String,
    /// Whether the client got what it asked for.
    pub granted: bool,
}

/// Why a packet gets no address and no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// A server's packet, BOOTP, or of no known type.
    #[error("it is no DHCP request")]
    NotARequest,
    /// Not Ethernet.
    #[error("hardware type {0} is not Ethernet")]
    Hardware(u8),
    /// Our interface has no address.
    #[error("the interface that it came by has no IPv4 address")]
    NoOwnAddress,
    /// Not our network.
    #[error("no `[[dhcp.subnet]]` is for {0}")]
    NoSubnet(String),
    /// BSDP or PXE.
    #[error("it is a boot request, which the boot services answer")]
    BootMatter,
    /// The client took another server's offer.
    #[error("it takes an address from the DHCP server {0}")]
    AnotherServer(Ipv4Addr),
    /// INIT-REBOOT of a client that was never seen (RFC 2131 section 4.3.2: silence, another server may know it).
    #[error("it asks to keep {0}, and was never seen here")]
    Unknown(Ipv4Addr),
    /// All addresses are held.
    #[error(
        "no address of {network} is free: the pools have {size}; enlarge `pools`, shorten `lease-time`, or `rootstock lease release` some"
    )]
    Full {
        /// The subnet.
        network: Network,
        /// Addresses of its pools.
        size: u64,
    },
    /// A required field is missing.
    #[error("its {0} names no address")]
    NoAddress(&'static str),
    /// RELEASE or DECLINE of someone else's address.
    #[error("it gives up {0}, which it does not hold")]
    NotTheirs(Ipv4Addr),
}
