//! Who asks, and the one answer: a packet and the facts of the site give a reply, or a reason for silence.
//!
//! Owns: the decision. Must not know: sockets, folders, clock. No path here gives an address to anyone.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::bsdp::{self, ImageId, NotBsdp};
use super::dhcp::{CLIENT_PORT, Destination, FileName, MessageType, Packet, Reply, SERVER_PORT, code};
use super::nbi::{BootSet, RootPath};
use super::pxe::{Client, Loaders, NotPxe, Transport};
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
    /// Macs that were started from here; lowers our priority among several servers.
    pub remembered: usize,
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
}

/// A packet that is left unanswered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Who asked, and for what, when it is a boot client.
    pub client: Option<(MacAddr, Exchange)>,
    /// Why.
    pub reason: Silence,
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
    let unanswered = |client| move |reason| Unanswered { client, reason };
    let kind = readable_kind(packet).map_err(unanswered(None))?;
    let is_boot_client = bsdp::Request::is_claimed_by(packet) || Client::claimed_by(packet).is_some();
    if is_boot_client && site.server.is_unspecified() {
        return Err(unanswered(None)(Silence::NoOwnAddress));
    }
    if door == Door::Dhcp && bsdp::Request::is_claimed_by(packet) {
        let request = bsdp::Request::read(packet)
            .map_err(|reason| unanswered(packet.mac().map(|mac| (mac, Exchange::Discover)))(reason.into()))?;
        let exchange = match request.kind {
            Some(bsdp::MessageType::List) => Exchange::List,
            Some(bsdp::MessageType::Select) => Exchange::Select,
            _ => Exchange::Discover,
        };
        let asked = Bsdp { packet, request, from, site };
        return asked.answer(kind).map_err(unanswered(Some((asked.request.mac, exchange))));
    }
    let transport = Client::claimed_by(packet).ok_or_else(|| unanswered(None)(Silence::NotABootClient))?;
    let exchange = if door == Door::Proxy { Exchange::Pxe } else { Exchange::Discover };
    let client = Client::read(packet, transport, site.loaders)
        .map_err(|reason| unanswered(packet.mac().map(|mac| (mac, exchange)))(reason.into()))?;
    let told = match (door, kind) {
        (Door::Dhcp, MessageType::Discover) => discovery(packet, &client, site),
        (Door::Proxy, MessageType::Request | MessageType::Inform) => proxy(packet, &client, from, site),
        (_, kind) => Err(Silence::AddressMatter(name(kind))),
    };
    let (reply, to, detail) = told.map_err(unanswered(Some((client.mac, exchange))))?;
    let bytes = echo_relay(packet, reply, to).encode();
    Ok(Answer { mac: client.mac, exchange, bytes, to, also: None, detail, started: None })
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

/// A BSDP request and what it is judged by.
struct Bsdp<'a> {
    packet: &'a Packet<'a>,
    request: bsdp::Request,
    from: SocketAddrV4,
    site: &'a Site<'a>,
}

impl Bsdp<'_> {
    fn answer(&self, kind: MessageType) -> Result<Answer, Silence> {
        self.is_for_us()?;
        match kind {
            MessageType::Inform => match self.request.kind {
                Some(bsdp::MessageType::List) => self.list(),
                Some(bsdp::MessageType::Select) => self.select(),
                _ => Err(Silence::NoBsdpType),
            },
            // A bound client would be offered its image here (OFFER*). No binding is kept: it comes back with LIST.
            MessageType::Discover => {
                Err(Silence::AddressMatter("DISCOVER of a Mac, whose LIST will follow,"))
            }
            kind => Err(Silence::AddressMatter(name(kind))),
        }
    }

    /// Apple's server drops requests whose header names another server.
    fn is_for_us(&self) -> Result<(), Silence> {
        let Self { packet, site, .. } = self;
        let named = String::from_utf8_lossy(packet.sname);
        let is_us = |name: &str| name == site.host_name || site.own.iter().any(|own| own.to_string() == name);
        if !named.is_empty() && !is_us(&named) {
            return Err(Silence::AnotherServer(named.escape_debug().to_string()));
        }
        if !packet.siaddr.is_unspecified() && !site.own.contains(&packet.siaddr) {
            return Err(Silence::AnotherServer(packet.siaddr.to_string()));
        }
        Ok(())
    }

    /// Sets that this client may start, in the server's order.
    fn candidates(&self) -> Vec<&BootSet> {
        let Self { request, site, .. } = self;
        let mut sets: Vec<&BootSet> =
            site.sets.iter().filter(|set| set.allows(&request.arch, &request.system, request.mac)).collect();
        sets.sort_by_key(|set| set.rank());
        sets
    }

    fn nothing(&self) -> Silence {
        let visible = |text: &str| text.escape_debug().to_string();
        Silence::NothingToOffer { arch: visible(&self.request.arch), system: visible(&self.request.system) }
    }

    fn reply(&self, server: Ipv4Addr, address: Ipv4Addr) -> Reply {
        Reply::to(self.packet, MessageType::Ack, server).ciaddr(address).option(code::CLASS_ID, bsdp::CLASS)
    }

    fn list(&self) -> Result<Answer, Silence> {
        const LARGEST: u16 = 8192;
        let address = self.address()?;
        let mut sets = self.candidates();
        sets.retain(|set| set.passes(&self.request.filter));
        let default = sets.first().ok_or_else(|| self.nothing())?;
        let room =
            bsdp::room_for_lists(self.request.max_size, self.packet.number(code::MAX_MESSAGE_SIZE), LARGEST);
        let images = sets.iter().filter(|_| self.request.understands_lists);
        let written = bsdp::List {
            priority: 32768u16.saturating_sub(self.site.remembered.try_into().unwrap_or(u16::MAX)),
            default: default.id,
            selected: None,
            images: images.map(|set| (set.id, set.name.as_str())).collect(),
        }
        .write(room);
        let mut detail = format!("LIST of {}: {} offered, default {}", self.who(), sets.len(), default.name);
        if written.left_out > 0 {
            let room = format!("; {} left out, the client takes no longer packet", written.left_out);
            detail.push_str(&room);
        }
        let reply = written
            .bodies
            .into_iter()
            .fold(self.reply(self.site.server, address), |reply, body| reply.option(code::VENDOR, body));
        Ok(self.send(Exchange::List, reply, address, detail, None))
    }

    fn select(&self) -> Result<Answer, Silence> {
        let chosen = self.request.server.ok_or(Silence::NoServer)?;
        if !self.site.own.contains(&chosen) {
            return Err(Silence::AnotherServer(chosen.to_string()));
        }
        let address = self.address()?;
        let sets = self.candidates();
        let set = match self.request.selected {
            // What a LIST without filter would call the default.
            None => sets.iter().copied().find(|set| set.passes(&[])),
            Some(id) => sets.iter().copied().find(|set| set.id == id),
        };
        let confirmed = set.and_then(|set| Some((set, set.boot_file(&self.request.arch)?)));
        let Some((set, file)) = confirmed else {
            let wanted = self.request.selected.map_or("the default image".to_owned(), |id| id.to_string());
            let detail = format!("SELECT of {}: {wanted} is not offered to it, FAILED", self.who());
            let reply = self.reply(chosen, address).option(code::VENDOR, bsdp::failed());
            return Ok(self.send(Exchange::Select, reply, address, detail, None));
        };
        let reply = self.reply(chosen, address).file(file);
        let mut reply = match set.load_balance {
            Some(other) => reply.other_server(other),
            None => reply.next_server(chosen),
        };
        if let Some(root) = self.root_path(set, chosen) {
            reply = reply.option(code::ROOT_PATH, root);
        }
        let reply = reply.option(code::VENDOR, bsdp::select(set.id, &machine_name(self.request.mac)));
        let detail = format!("SELECT of {}: {} ({}), boot file {file}", self.who(), set.name, set.id);
        Ok(self.send(Exchange::Select, reply, address, detail, Some(set.id)))
    }

    fn root_path(&self, set: &BootSet, server: Ipv4Addr) -> Option<String> {
        Some(match set.root.as_ref()? {
            RootPath::Elsewhere(path) => path.clone(),
            RootPath::Ours(path) => {
                let base = HttpBase(set.load_balance.unwrap_or(server), self.site.http_port);
                format!("{base}/boot/{path}")
            }
        })
    }

    fn who(&self) -> String {
        let system =
            if self.request.system.is_empty() { "a client without model" } else { &self.request.system };
        system.escape_debug().to_string()
    }

    /// Where the client is: ciaddr, else option 50, else where the packet came from, unless a relay sent it.
    fn address(&self) -> Result<Ipv4Addr, Silence> {
        let is_direct = self.packet.giaddr.is_unspecified();
        self.packet
            .client_address()
            .or(Some(*self.from.ip()).filter(|ip| is_direct && !ip.is_unspecified()))
            .ok_or(Silence::NoAddress)
    }

    fn send(
        &self,
        exchange: Exchange,
        reply: Reply,
        address: Ipv4Addr,
        detail: String,
        started: Option<ImageId>,
    ) -> Answer {
        let at = |port| Destination::Unicast(SocketAddrV4::new(address, port));
        let port = self.request.reply_port.unwrap_or(CLIENT_PORT);
        let elsewhere =
            self.request.reply_port.is_none() && ![0, SERVER_PORT, CLIENT_PORT].contains(&self.from.port());
        Answer {
            mac: self.request.mac,
            exchange,
            bytes: reply.encode(),
            to: at(port),
            also: elsewhere.then(|| at(self.from.port())),
            detail,
            started,
        }
    }
}

/// BSDP option 130. Made from the address, so that the same Mac has the same name without a register.
fn machine_name(mac: MacAddr) -> String {
    let [.., a, b, c] = mac.as_bytes();
    format!("NetBoot-{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
