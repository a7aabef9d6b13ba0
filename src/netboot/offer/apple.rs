//! Macs: what a BSDP request is answered (bsdpd.c of Apple's bootp), and what is remembered of it.
//!
//! | request | answer | remembered |
//! |---|---|---|
//! | DISCOVER | OFFER with the image that the Mac is bound to, no address; else silence | that it was heard |
//! | REQUEST | silence | the address that it asks for |
//! | INFORM LIST | ACK with every image that is for it | |
//! | INFORM SELECT, our identifier | ACK with the boot file, or FAILED | the choice |
//! | INFORM SELECT, another identifier | silence | forgotten: it went to the other server |

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    Answer, Deployed, Exchange, HttpBase, Silence, Site, Then, Unanswered, address_asked_for, echo_relay,
    name,
};
use crate::netboot::bsdp::{self, Binding, Change, Confirmation};
use crate::netboot::dhcp::{CLIENT_PORT, Destination, MessageType, Packet, Reply, SERVER_PORT, code};
use crate::netboot::nbi::{BootSet, RootPath};
use crate::value::MacAddr;
use crate::value::model::{self, Firmware};

/// The set that `rootstock media boot` makes. What our boot environment needs is asked of Macs for this one only; Apple's own
/// sets say themselves whom they are for.
const OUR_SET: &str = "rootstock.nbi";

/// Longest packet that a list may take, whatever the client says (bootpd's own cap for INFORM).
const LONGEST_LIST: u16 = 8192;

/// A BSDP request and what it is judged by.
pub(super) struct Bsdp<'a> {
    pub(super) packet: &'a Packet<'a>,
    pub(super) request: bsdp::Request,
    pub(super) from: SocketAddrV4,
    pub(super) site: &'a Site<'a>,
}

/// The decision about a packet whose option 60 begins with `AAPLBSDPC`.
pub(super) fn answer(
    packet: &Packet<'_>,
    kind: MessageType,
    from: SocketAddrV4,
    site: &Site<'_>,
) -> Result<Answer, Unanswered> {
    let request = bsdp::Request::read(packet).map_err(|reason| Unanswered {
        client: packet.mac().map(|mac| (mac, Exchange::Discover)),
        reason: reason.into(),
        change: None,
    })?;
    let exchange = match request.kind {
        Some(bsdp::MessageType::List) => Exchange::List,
        Some(bsdp::MessageType::Select) => Exchange::Select,
        _ => Exchange::Discover,
    };
    let asked = Bsdp { packet, request, from, site };
    let told = asked.is_for_us().and_then(|()| asked.answer(kind));
    told.map_err(|reason| Unanswered {
        client: Some((asked.request.mac, exchange)),
        change: asked.learnt_in_silence(kind, &reason).map(Box::new),
        reason,
    })
}

impl Bsdp<'_> {
    fn answer(&self, kind: MessageType) -> Result<Answer, Silence> {
        match kind {
            MessageType::Inform => match self.request.kind {
                Some(bsdp::MessageType::List) => self.list(),
                Some(bsdp::MessageType::Select) => self.select(),
                _ => Err(Silence::NoBsdpType),
            },
            MessageType::Discover => self.discover(),
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

    /// What a packet tells that is not answered. A selection with zeros in place of a server names none.
    fn learnt_in_silence(&self, kind: MessageType, reason: &Silence) -> Option<Change> {
        let Self { packet, request, .. } = self;
        let elsewhere = |server: &Ipv4Addr| !server.is_unspecified() && !self.site.own.contains(server);
        let is_gone = kind == MessageType::Inform
            && request.kind == Some(bsdp::MessageType::Select)
            && request.server.as_ref().is_some_and(elsewhere)
            && matches!(reason, Silence::AnotherServer(_));
        if is_gone {
            return Some(Change::Forget { mac: request.mac, system: request.system.clone() });
        }
        address_asked_for(packet, kind, Some(&request.system))
    }

    /// Sets that admit this client.
    fn admitting(&self) -> impl Iterator<Item = &BootSet> {
        let Self { request, site, .. } = self;
        site.sets.iter().filter(|set| set.allows(&request.arch, &request.system, request.mac))
    }

    /// Sets that this client may start, in the server's order.
    pub(super) fn candidates(&self) -> Vec<&BootSet> {
        let mut sets: Vec<&BootSet> = self.admitting().filter(|set| self.left_out(set).is_none()).collect();
        sets.sort_by_key(|set| set.rank());
        sets
    }

    /// Why a set is not for this Mac although it admits it. An unknown model is given the benefit of the doubt.
    fn left_out(&self, set: &BootSet) -> Option<Silence> {
        if set.folder != OUR_SET {
            return None;
        }
        let known = model::by_identifier(&self.request.system);
        if let Some((system, obstacle)) = known.and_then(|known| Some((known.identifier, known.obstacle()?)))
        {
            return Some(Silence::CannotRun { system, obstacle });
        }
        (self.site.deployed == Deployed::Nothing(Then::Ignore)).then_some(Silence::NothingDeployed)
    }

    /// The only sets for this Mac have no booter for its 32-bit firmware.
    fn too_wide(&self) -> Option<Silence> {
        let Self { request, site, .. } = self;
        let known = model::by_identifier(&request.system)?;
        // Whose model is not known is given any booter.
        let fits_another = |set: &BootSet| set.is_enabled && set.boot_file(&request.arch, "").is_some();
        let is_narrow = known.firmware == Firmware::Efi32 && site.sets.iter().any(fits_another);
        let obstacle = match known.unconfirmed {
            None => "its EFI has 32 bits, and no set has a booter for that (`rootstock nbi show`)",
            Some(_) => {
                "its EFI has 32 bits (not confirmed for this model), and no set has a booter for that \
                 (`rootstock nbi show`)"
            }
        };
        is_narrow.then_some(Silence::CannotRun { system: known.identifier, obstacle })
    }

    /// What the timeline says beside the offer of a set.
    fn remark(&self, set: &BootSet) -> String {
        let mut remark = String::new();
        if self.site.deployed == Deployed::Nothing(Then::Boot) && set.folder == OUR_SET {
            remark.push_str("; nothing is deployed to it, the wizard will say so");
        }
        if let Some(bits) = self.assumed_bits(set) {
            let assumed = format!("; booter for {bits}-bit EFI, which is not confirmed for this model");
            remark.push_str(&assumed);
        }
        remark
    }

    /// The bits of this model's EFI, where they decide which booter it is given and the table is not sure of them.
    fn assumed_bits(&self, set: &BootSet) -> Option<u8> {
        let Self { request, .. } = self;
        let known = model::by_identifier(&request.system).filter(|known| known.unconfirmed.is_some())?;
        let has_both = set.boot_files.iter().any(|own| own.arch == request.arch && own.ia32.is_some());
        match known.firmware {
            Firmware::Efi32 if has_both => Some(32),
            Firmware::Efi64 if has_both => Some(64),
            _ => None,
        }
    }

    fn binding(&self) -> Option<&Binding> {
        self.site.bindings.of(self.request.mac, &self.request.system)
    }

    fn nothing(&self) -> Silence {
        if let Some(why) = self.admitting().find_map(|set| self.left_out(set)).or_else(|| self.too_wide()) {
            return why;
        }
        let visible = |text: &str| text.escape_debug().to_string();
        Silence::NothingToOffer { arch: visible(&self.request.arch), system: visible(&self.request.system) }
    }

    fn reply(&self, kind: MessageType, server: Ipv4Addr) -> Reply {
        Reply::to(self.packet, kind, server).option(code::CLASS_ID, bsdp::CLASS)
    }

    fn list(&self) -> Result<Answer, Silence> {
        let address = self.address()?;
        let mut sets = self.candidates();
        sets.retain(|set| set.passes(&self.request.filter));
        let default = sets.first().ok_or_else(|| self.nothing())?;
        let bound = self.binding().and_then(|bound| sets.iter().find(|set| set.id == bound.image));
        let wanted = self.packet.number(code::MAX_MESSAGE_SIZE);
        let room = bsdp::room_for_lists(self.request.max_size, wanted, LONGEST_LIST);
        let images = sets.iter().filter(|_| self.request.understands_lists);
        let written = bsdp::List {
            priority: 32768u16.saturating_sub(self.site.bindings.len().try_into().unwrap_or(u16::MAX)),
            default: default.id,
            selected: bound.map(|set| set.id),
            images: images.map(|set| (set.id, set.name.as_str())).collect(),
        }
        .write(room);
        let mut detail = format!("LIST of {}: {} offered, default {}", self.who(), sets.len(), default.name);
        if let Some(set) = bound {
            detail.push_str(&format!(", bound to {}", set.name));
        }
        detail.push_str(&self.remark(default));
        if written.left_out > 0 {
            let room = format!("; {} left out, the client takes no longer packet", written.left_out);
            detail.push_str(&room);
        }
        let reply = self.reply(MessageType::Ack, self.site.server).ciaddr(address);
        let reply = written.bodies.into_iter().fold(reply, |reply, body| reply.option(code::VENDOR, body));
        Ok(self.to_client(Exchange::List, reply, address, detail))
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
        let reply = self.reply(MessageType::Ack, chosen).ciaddr(address);
        let name = machine_name(self.request.mac);
        let Some((set, (reply, file))) =
            set.and_then(|set| Some((set, self.boot(reply.clone(), set, chosen, |c| c.ack(), &name)?)))
        else {
            let wanted = self.request.selected.map_or("the default image".to_owned(), |id| id.to_string());
            let detail = format!("SELECT of {}: {wanted} is not offered to it, FAILED", self.who());
            let reply = reply.option(code::VENDOR, bsdp::failed());
            return Ok(self.to_client(Exchange::Select, reply, address, detail));
        };
        let detail = format!(
            "SELECT of {}: {} ({}), boot file {file}{}",
            self.who(),
            set.name,
            set.id,
            self.remark(set)
        );
        let change = Change::Bind {
            mac: self.request.mac,
            system: self.request.system.clone(),
            arch: self.request.arch.clone(),
            image: set.id,
            address,
            name,
        };
        let answer = self.to_client(Exchange::Select, reply, address, detail);
        Ok(Answer { started: Some(set.id), change: Some(change), ..answer })
    }

    /// A second OFFER beside the one of the site's DHCP server: everything of an ACK\[SELECT\] but the message type, and
    /// no address. The Mac takes both and skips LIST and SELECT.
    fn discover(&self) -> Result<Answer, Silence> {
        let bound = self.binding().ok_or(Silence::NotBound)?;
        if !self.site.policy.answer_discover {
            return Err(Silence::DiscoverNotAnswered(bound.image));
        }
        let is_bound = |set: &&BootSet| set.id == bound.image && set.passes(&self.request.filter);
        let set = self.candidates().into_iter().find(is_bound).ok_or(Silence::Stale(bound.image))?;
        let server = self.site.server;
        let reply = self.reply(MessageType::Offer, server);
        let (reply, file) =
            self.boot(reply, set, server, |c| c.offer(), &bound.name).ok_or(Silence::Stale(bound.image))?;
        let to = if self.packet.giaddr.is_unspecified() {
            Destination::Broadcast
        } else {
            Destination::for_discovery(self.packet)
        };
        // A relay sends to yiaddr unless the flag is set, and yiaddr is 0 here (RFC 2131 section 4.1).
        let reply = if to == Destination::Broadcast { reply } else { reply.broadcast() };
        let Binding { mac, system, .. } = bound;
        Ok(Answer {
            mac: *mac,
            exchange: Exchange::Discover,
            bytes: echo_relay(self.packet, reply, to).encode(),
            to,
            also: None,
            detail: format!(
                "DISCOVER of {}: bound to {} ({}), boot file {file}{}",
                self.who(),
                set.name,
                set.id,
                self.remark(set)
            ),
            started: Some(set.id),
            change: Some(Change::Seen { mac: *mac, system: Some(system.clone()), address: None }),
        })
    }

    /// Completes a reply with everything that starts a set: server, file, root path, vendor option, in Apple's order.
    fn boot(
        &self,
        reply: Reply,
        set: &BootSet,
        server: Ipv4Addr,
        body: impl Fn(&Confirmation<'_>) -> Vec<u8>,
        machine_name: &str,
    ) -> Option<(Reply, String)> {
        let policy = self.site.policy;
        let file = set.boot_file(&self.request.arch, &self.request.system)?;
        let mut reply = reply.file(file);
        reply = match set.load_balance {
            Some(other) => reply.other_server(other),
            None => reply.next_server(server),
        };
        let root = self.root_path(set, server);
        // A booter without root path has nothing to mount, so nothing that a shadow would cover.
        let shadow = policy.shadow.as_ref().filter(|_| root.is_some());
        if let Some(root) = root {
            reply = reply.option(code::ROOT_PATH, root);
        }
        reply = reply.option(code::VENDOR, body(&Confirmation { image: set.id, machine_name, shadow }));
        if policy.also_options_66_67 {
            let host = set.load_balance.unwrap_or(server).to_string();
            reply = reply.option(code::SERVER_NAME, host).option(code::BOOT_FILE, file.as_str());
        }
        Some((reply, file.to_string()))
    }

    pub(super) fn root_path(&self, set: &BootSet, server: Ipv4Addr) -> Option<String> {
        Some(match set.root.as_ref()? {
            RootPath::Elsewhere(path) => path.clone(),
            RootPath::OursByNfs(path) => format!("nfs:{}:{path}", set.load_balance.unwrap_or(server)),
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

    /// To the client's own address, even when a relay passed the request on: it would lose the reply port.
    fn to_client(&self, exchange: Exchange, reply: Reply, address: Ipv4Addr, detail: String) -> Answer {
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
            started: None,
            change: None,
        }
    }
}

/// BSDP option 130. Made from the address, so that the same Mac has the same name without a register.
fn machine_name(mac: MacAddr) -> String {
    let [.., a, b, c] = mac.as_bytes();
    format!("NetBoot-{a:02x}{b:02x}{c:02x}")
}
