//! Who asks, and the one answer: a packet and the facts of the site give a reply, or a reason for silence.
//!
//! * this file: what goes in, what comes out, and PXE and HTTP clients
//! * `apple`: Macs, by BSDP
//!
//! Owns: the decision. Must not know: sockets, folders, clock. No path here gives an address to anyone.

mod apple;
mod single_step;

pub use single_step::with_address;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::bsdp::{self, BindingTable, Change, ImageId, NotBsdp, Shadow};
use super::dhcp::{Destination, FileName, MessageType, Packet, Reply, code};
use super::nbi::BootSet;
use super::pxe::{Client, LeftAlone, Loaders, NotPxe, Transport};
use crate::value::MacAddr;

/// What the answer depends on besides the packet.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Our address as this client reaches it: option 54, siaddr, URLs.
    pub server: Ipv4Addr,
    /// Every address that means us in a SELECT.
    pub own: &'a [Ipv4Addr],
    /// Our name, as a client may put it into `sname`.
    pub host_name: &'a str,
    /// Port of the plain HTTP server.
    pub http_port: u16,
    /// Boot sets, in the order of their folders' names.
    pub sets: &'a [BootSet],
    /// First programs for PXE and HTTP clients.
    pub loaders: &'a Loaders,
    /// Which Mac took which image here.
    pub bindings: &'a BindingTable,
    /// What the site wants done.
    pub policy: &'a Policy,
}

/// What the site can choose about BSDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a bound Mac is offered its image in answer to its DISCOVER; if not, it always asks for the list.
    pub answer_discover: bool,
    /// Whether replies name server and boot file in options 66 and 67 too, for booters that read no header fields.
    pub also_options_66_67: bool,
    /// Where Macs without a disk of their own write what they change.
    pub shadow: Option<Shadow>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { answer_discover: true, also_options_66_67: false, shadow: None }
    }
}

/// The port that a packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// 67.
    Dhcp,
    /// 4011.
    Proxy,
}

/// Which exchange a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// DISCOVER or REQUEST of a boot client.
    Discover,
    /// BSDP LIST.
    List,
    /// BSDP SELECT.
    Select,
    /// proxyDHCP on port 4011.
    Pxe,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who asked.
    pub mac: MacAddr,
    /// What for.
    pub exchange: Exchange,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
    /// A second place, for Startup Disk of old systems that names no reply port but does not listen on 68.
    pub also: Option<Destination>,
    /// One line for people.
    pub detail: String,
    /// The image that was confirmed.
    pub started: Option<ImageId>,
    /// What is to be remembered before the reply is sent.
    pub change: Option<Change>,
}

/// A packet that is left unanswered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Who asked, and for what, when it is a boot client.
    pub client: Option<(MacAddr, Exchange)>,
    /// Why.
    pub reason: Silence,
    /// What is to be remembered all the same.
    pub change: Option<Box<Change>>,
}

/// Why a packet is left unanswered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// A server's packet.
    #[error("it is a server's reply")]
    NotARequest,
    /// BOOTP, or option 53 is broken.
    #[error("it has no DHCP message type")]
    NoMessageType,
    /// An ordinary DHCP client.
    #[error("it is no boot client (option 60 begins with none of AAPLBSDPC, PXEClient, HTTPClient)")]
    NotABootClient,
    /// Claims to be BSDP and is not.
    #[error("not a BSDP request that can be answered: {0}")]
    Bsdp(#[from] NotBsdp),
    /// Claims to be PXE and is not.
    #[error("not a PXE request that can be answered: {0}")]
    Pxe(#[from] NotPxe),
    /// Names another server in the header or in BSDP option 3.
    #[error("it is meant for the server {0}")]
    AnotherServer(String),
    /// The site's DHCP server is asked for an address.
    #[error("{0} is for the site's DHCP server; no address is handed out here")]
    AddressMatter(&'static str),
    /// The site leaves this client to others.
    #[error("{0}")]
    LeftAlone(#[from] LeftAlone),
    /// INFORM, or REQUEST on port 4011, from a client that has no address.
    #[error("it names no address to answer to")]
    NoAddress,
    /// A broadcast came by an interface without address: nothing that a client could answer to.
    #[error(
        "the interface that it came by has no IPv4 address; give it one, or set the address to advertise"
    )]
    NoOwnAddress,
    /// INFORM without BSDP option 1.
    #[error("INFORM without a BSDP message type")]
    NoBsdpType,
    /// SELECT without BSDP option 3.
    #[error("SELECT names no server")]
    NoServer,
    /// DISCOVER of a Mac that has no image here. Its LIST follows when it has an address.
    #[error("it has taken no image here; its DHCP server gives it an address, then it asks for the list")]
    NotBound,
    /// The site wants every Mac to ask for the list.
    #[error(
        "it is bound to {0}, but bound Macs are not to be answered before they ask for the list (bsdp.answer-discover)"
    )]
    DiscoverNotAnswered(ImageId),
    /// What a Mac is bound to is gone, disabled, or not for it any more.
    #[error(
        "it is bound to {0}, which is not offered to it now; it will ask for the list, or `rootstock client forget` frees it"
    )]
    Stale(ImageId),
    /// No set for this client.
    #[error(
        "no boot set for {arch}/{system} with this MAC address and filter; make one with `rootstock media boot`, or widen \
         EnabledSystemIdentifiers and EnabledMACAddresses of an .nbi"
    )]
    NothingToOffer {
        /// BSDP architecture.
        arch: String,
        /// Model identifier.
        system: String,
    },
    /// No loader for this architecture.
    #[error("no loader for {0} in the boot folder; `rootstock media boot` makes the one for 64-bit UEFI")]
    NoLoader(String),
}

/// The one decision.
pub fn answer(
    packet: &Packet<'_>,
    door: Door,
    from: SocketAddrV4,
    site: &Site<'_>,
) -> Result<Answer, Unanswered> {
    let unanswered = |client| move |reason| Unanswered { client, reason, change: None };
    let kind = readable_kind(packet).map_err(unanswered(None))?;
    let is_mac = bsdp::Request::is_claimed_by(packet);
    let transport = Client::claimed_by(packet);
    if (is_mac || transport.is_some()) && site.server.is_unspecified() {
        let client = packet.mac().map(|mac| (mac, Exchange::Discover));
        return Err(unanswered(client)(Silence::NoOwnAddress));
    }
    if door == Door::Dhcp && is_mac {
        return apple::answer(packet, kind, from, site);
    }
    let change = (door == Door::Dhcp).then(|| address_asked_for(packet, kind, None)).flatten().map(Box::new);
    let with_change = |unanswered: Unanswered| Unanswered { change: change.clone(), ..unanswered };
    let transport =
        transport.ok_or_else(|| unanswered(None)(Silence::NotABootClient)).map_err(with_change)?;
    let exchange = if door == Door::Proxy { Exchange::Pxe } else { Exchange::Discover };
    let client = Client::read(packet, transport, site.loaders)
        .map_err(|reason| unanswered(packet.mac().map(|mac| (mac, exchange)))(reason.into()))?;
    let told = match (door, kind) {
        (Door::Dhcp, MessageType::Discover) => discovery(packet, &client, site),
        (Door::Proxy, MessageType::Request | MessageType::Inform) => proxy(packet, &client, from, site),
        (_, kind) => Err(Silence::AddressMatter(name(kind))),
    };
    let (reply, to, detail) = told.map_err(unanswered(Some((client.mac, exchange)))).map_err(with_change)?;
    let bytes = echo_relay(packet, reply, to).encode();
    Ok(Answer { mac: client.mac, exchange, bytes, to, also: None, detail, started: None, change: None })
}

/// A DHCP REQUEST tells which address a bound Mac has, whoever is asked for it (bootpd keeps it up to date this way).
fn address_asked_for(packet: &Packet<'_>, kind: MessageType, system: Option<&str>) -> Option<Change> {
    let address = (kind == MessageType::Request).then(|| packet.client_address()).flatten()?;
    let system = system.map(str::to_owned);
    Some(Change::Seen { mac: packet.mac()?, system, address: Some(address) })
}

fn readable_kind(packet: &Packet<'_>) -> Result<MessageType, Silence> {
    if packet.is_request {
        packet.message_type().ok_or(Silence::NoMessageType)
    } else {
        Err(Silence::NotARequest)
    }
}

/// The name of a message type in a reason for silence.
fn name(kind: MessageType) -> &'static str {
    match kind {
        MessageType::Discover => "DISCOVER on port 4011",
        MessageType::Request => "REQUEST",
        MessageType::Inform => "INFORM of a PXE client",
        MessageType::Release => "RELEASE",
        MessageType::Decline => "DECLINE",
        _ => "this message type",
    }
}

/// RFC 3046 section 2.2: what a relay added is given back to it.
fn echo_relay(packet: &Packet<'_>, reply: Reply, to: Destination) -> Reply {
    match (to, packet.option(code::RELAY_AGENT)) {
        (Destination::Unicast(to), Some(relay)) if *to.ip() == packet.giaddr => {
            reply.option(code::RELAY_AGENT, relay.into_owned())
        }
        _ => reply,
    }
}

type Told = Result<(Reply, Destination, String), Silence>;

/// What a client loads: iPXE the script, everyone else the loader of its architecture.
fn boot_file(client: &Client, site: &Site<'_>) -> Result<FileName, Silence> {
    let no_loader = || Silence::NoLoader(client.architecture.to_string());
    let base = HttpBase(site.server, site.http_port);
    if client.is_ipxe {
        return FileName::try_from(format!("{base}/boot/ipxe?mac={}", client.mac)).map_err(|_| no_loader());
    }
    let loader = site.loaders.get(client.architecture).ok_or_else(no_loader)?;
    match client.transport {
        Transport::Tftp => Ok(loader.clone()),
        Transport::Http => FileName::try_from(format!("{base}/boot/{loader}")).map_err(|_| no_loader()),
    }
}

/// DISCOVER on port 67.
fn discovery(packet: &Packet<'_>, client: &Client, site: &Site<'_>) -> Told {
    let file = boot_file(client, site)?;
    let to = Destination::for_discovery(packet);
    let goes_to_4011 = client.transport == Transport::Tftp
        && !client.is_ipxe
        && client.architecture != super::pxe::Architecture::Bios;
    if goes_to_4011 {
        let detail = format!("PXE DISCOVER of {}: invited to port 4011 for {file}", client.architecture);
        return Ok((client.invite(packet, site.server), to, detail));
    }
    let who = match (client.is_ipxe, client.transport) {
        (true, _) => "iPXE",
        (false, Transport::Tftp) => "PXE",
        (false, Transport::Http) => "HTTP boot",
    };
    let detail = format!("{who} DISCOVER of {}: offered {file}", client.architecture);
    Ok((client.tell(packet, MessageType::Offer, site.server, &file), to, detail))
}

/// REQUEST on port 4011: answered to where it came from (PXE 2.1 section 2.2.3).
fn proxy(packet: &Packet<'_>, client: &Client, from: SocketAddrV4, site: &Site<'_>) -> Told {
    let file = boot_file(client, site)?;
    if from.ip().is_unspecified() || from.port() == 0 {
        return Err(Silence::NoAddress);
    }
    let detail = format!("PXE REQUEST of {} on port 4011: told {file}", client.architecture);
    Ok((client.tell(packet, MessageType::Ack, site.server, &file), Destination::Unicast(from), detail))
}

/// `http://10.0.0.1` or `http://10.0.0.1:8080`.
struct HttpBase(Ipv4Addr, u16);

impl fmt::Display for HttpBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)?;
        if self.1 == 80 { Ok(()) } else { write!(f, ":{}", self.1) }
    }
}

#[cfg(test)]
mod bound;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
