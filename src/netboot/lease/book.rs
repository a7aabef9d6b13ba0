//! One request, one decision: the server's side of RFC 2131 section 4.3 over the plan and the table of leases.
//!
//! A lease that is to be kept comes back with the answer: the caller writes it to disk, then sends. An address that is new
//! to its client comes back as [`Step::Probe`] first; told the result, the book is asked again with the same packet.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::answer::{Boot, Grant, grant, inform, refuse};
use super::decision::{Ground, Identity, Silence, Step, Told};
use super::plan::{Plan, Reservation, Subnet, Who};
use super::table::{Key, Lease, State, Table};
use crate::netboot::bsdp;
use crate::netboot::dhcp::{MessageType, Packet, code};
use crate::netboot::pxe;
use crate::value::{MacAddr, Serial};

/// How long an offer stands. PXE collects offers for up to 32 seconds (PXE 2.1 section 2.2.2, its last time-out).
const OFFER_MS: i64 = 40_000;
/// How long an address is set aside that another machine uses.
const DECLINED_MS: i64 = 600_000;
/// How long a probed address counts as free.
const PROBED_MS: i64 = 60_000;
/// Shortest lease that a client gets who asks for a shorter one.
const SHORTEST_SECS: u32 = 60;

/// Who asks.
struct Asker<'a> {
    key: Key,
    mac: MacAddr,
    serial: Option<&'a Serial>,
    host_name: Option<String>,
}

impl Asker<'_> {
    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Mac(mac) => *mac == self.mac,
            Who::Serial(serial) => Some(serial) == self.serial,
        }
    }
}

/// The plan, the leases, and what was learnt about the wire.
#[derive(Clone, Debug)]
pub struct Book {
    plan: Plan,
    table: Table,
    /// When an address was last found free.
    probed: HashMap<Ipv4Addr, i64>,
    /// Until when a subnet has nothing to give: spares a search through its pools for everyone who asks.
    full: HashMap<Ipv4Addr, i64>,
}

impl Book {
    /// A book over the leases that were kept. Those that the plan no longer has are left out.
    pub fn new(plan: Plan, kept: Vec<Lease>) -> Book {
        let mut table = Table::default();
        kept.into_iter().filter(|lease| plan.hands_out(lease.address)).for_each(|lease| table.put(lease));
        Book { plan, table, probed: HashMap::new(), full: HashMap::new() }
    }

    /// What is handed out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// All leases, by address; at most as many as the plan has addresses.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.table.iter()
    }

    /// How many addresses were ever given.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no address was ever given.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One request.
    pub fn receive(
        &mut self,
        packet: &Packet<'_>,
        identity: Identity<'_>,
        ground: &Ground<'_>,
    ) -> Result<Step, Silence> {
        let kind = packet.message_type().filter(|_| packet.is_request).ok_or(Silence::NotARequest)?;
        let mac = packet.mac().ok_or(Silence::Hardware(packet.htype))?;
        if ground.server.is_unspecified() {
            return Err(Silence::NoOwnAddress);
        }
        let asker = Asker {
            key: Key::new(mac, packet.option(code::CLIENT_ID).as_deref()),
            mac,
            serial: identity.serial,
            host_name: packet.option(code::HOST_NAME).and_then(|name| readable(&name)),
        };
        let subnet = self.subnet(packet, ground).ok_or_else(|| Silence::NoSubnet(place(packet, ground)))?;
        let named = packet.address(code::SERVER_ID);
        let other = named.filter(|server| *server != ground.server && !ground.own.contains(server));
        match (kind, other) {
            (MessageType::Discover, _) => self.discover(packet, &asker, &subnet, ground),
            (MessageType::Request, Some(other)) => {
                self.forget_offers(&asker.key);
                Err(Silence::AnotherServer(other))
            }
            (MessageType::Request, None) => {
                self.request(packet, &asker, &subnet, ground, named.is_some()).map(Step::Tell)
            }
            (MessageType::Decline | MessageType::Release, Some(other)) => Err(Silence::AnotherServer(other)),
            (MessageType::Decline, None) => self.decline(packet, &asker, ground.now_ms).map(Step::Tell),
            (MessageType::Release, None) => self.give_back(packet, &asker, ground.now_ms).map(Step::Tell),
            (MessageType::Inform, _) => told_inform(packet, &asker, &subnet, ground).map(Step::Tell),
            _ => Err(Silence::NotARequest),
        }
    }

    /// The result of a probe. The lease that comes back is to be kept.
    pub fn probed(&mut self, address: Ipv4Addr, holder: Option<MacAddr>, now_ms: i64) -> Option<Lease> {
        let Some(mac) = holder else {
            self.probed.insert(address, now_ms);
            return None;
        };
        self.probed.remove(&address);
        let until_ms = now_ms + DECLINED_MS;
        let (key, state) = (Key::Mac(mac), State::Declined);
        let lease = Lease { address, key, mac, host_name: None, state, since_ms: now_ms, until_ms };
        self.table.put(lease.clone());
        Some(lease)
    }

    /// Frees an address, whoever holds it: an admin says so. The lease that comes back is to be kept.
    pub fn release(&mut self, address: Ipv4Addr, now_ms: i64) -> Option<Lease> {
        let lease = self.table.get(address).filter(|lease| lease.is_held(now_ms))?.clone();
        let lease = Lease { state: State::Released, until_ms: now_ms, ..lease };
        self.table.put(lease.clone());
        self.full.clear();
        Some(lease)
    }

    /// The subnet that a client is in (RFC 2131 section 4.3.1): its relay's; its own, where that is behind a relay and the
    /// client speaks to us directly to renew; the interface's.
    fn subnet(&self, packet: &Packet<'_>, ground: &Ground<'_>) -> Option<Subnet> {
        if !packet.giaddr.is_unspecified() {
            return self.plan.subnet_of(packet.giaddr).cloned();
        }
        let beyond = self.plan.subnet_of(packet.ciaddr).filter(|subnet| subnet.interface.is_none());
        beyond.or_else(|| self.plan.subnet_on(ground.interface)).cloned()
    }

    fn discover(
        &mut self,
        packet: &Packet<'_>,
        asker: &Asker<'_>,
        subnet: &Subnet,
        ground: &Ground<'_>,
    ) -> Result<Step, Silence> {
        let now_ms = ground.now_ms;
        let full = || Silence::Full { network: subnet.network, size: subnet.size() };
        let address =
            self.choose(asker, subnet, packet.address(code::REQUESTED_ADDRESS), ground).ok_or_else(full)?;
        let held = self.table.get(address).filter(|lease| lease.key == asker.key && lease.is_held(now_ms));
        let is_bound = held.is_some_and(|lease| lease.state == State::Bound);
        if !is_bound {
            self.table.put(asker.lease(address, State::Offered, now_ms, now_ms + OFFER_MS));
        }
        let is_probed = self.probed.get(&address).is_some_and(|at| (0..PROBED_MS).contains(&(now_ms - at)));
        if ground.probes && !is_bound && !is_probed {
            return Ok(Step::Probe { address, interface: subnet.interface.clone() });
        }
        let secs = lease_secs(packet, subnet);
        let kind = MessageType::Offer;
        let answer = grant(packet, kind, ground.server, subnet, Grant { address, secs }, ground.boot);
        let detail = format!("DISCOVER: offered {address} for {secs} s{}", boot_words(ground.boot));
        Ok(Step::Tell(Told { mac: asker.mac, keep: None, answer: Some(answer), detail, granted: true }))
    }

    /// The address for a client, in the order of RFC 2131 section 4.3.1; a reservation before all.
    fn choose(
        &mut self,
        asker: &Asker<'_>,
        subnet: &Subnet,
        wish: Option<Ipv4Addr>,
        ground: &Ground<'_>,
    ) -> Option<Ipv4Addr> {
        let reserved = reservation(subnet, asker).map(|reservation| reservation.address);
        let had = self.table.of(&asker.key).into_iter().map(|lease| lease.address);
        let first = reserved.into_iter().chain(had).chain(wish).find(|address| {
            subnet.network.contains(*address) && self.may_have(*address, asker, subnet, ground)
        });
        first.or_else(|| self.any(asker, subnet, ground))
    }

    /// A pool address that nobody ever had, else the one that is free for longest. Each client begins its search at a place
    /// of its own.
    fn any(&mut self, asker: &Asker<'_>, subnet: &Subnet, ground: &Ground<'_>) -> Option<Ipv4Addr> {
        let (size, base) = (subnet.size(), subnet.network.mask() & subnet.pools.first()?.first);
        if self.full.get(&base).is_some_and(|until| ground.now_ms < *until) {
            return None;
        }
        let start = asker.key.spread() % size.max(1);
        let mut oldest: Option<(i64, Ipv4Addr)> = None;
        let mut next_free = i64::MAX;
        for address in (0..size).filter_map(|step| subnet.nth((start + step) % size)) {
            match self.table.get(address) {
                None if self.may_have(address, asker, subnet, ground) => return Some(address),
                Some(lease) if lease.is_held(ground.now_ms) => next_free = next_free.min(lease.until_ms),
                Some(lease) if self.may_have(address, asker, subnet, ground) => {
                    let this = (lease.until_ms, address);
                    oldest = Some(oldest.map_or(this, |best| best.min(this)));
                }
                _ => {}
            }
        }
        if oldest.is_none() {
            self.full.insert(base, next_free);
        }
        oldest.map(|(_, address)| address)
    }

    /// Whether a client may be given an address now.
    fn may_have(&self, address: Ipv4Addr, asker: &Asker<'_>, subnet: &Subnet, ground: &Ground<'_>) -> bool {
        let reserved = subnet.reserved(address);
        let is_allowed = match reserved {
            Some(reservation) => asker.is(&reservation.who),
            None => subnet.is_in_pool(address),
        };
        let is_free = self.table.get(address).is_none_or(|lease| {
            !lease.is_held(ground.now_ms)
                || lease.state != State::Declined
                    // A Mac's firmware and its system have different client ids, and one reservation.
                    && (lease.key == asker.key || reserved.is_some() && lease.mac == asker.mac)
        });
        is_allowed && is_free && address != ground.server && !ground.own.contains(&address)
    }

    fn request(
        &mut self,
        packet: &Packet<'_>,
        asker: &Asker<'_>,
        subnet: &Subnet,
        ground: &Ground<'_>,
        is_selecting: bool,
    ) -> Result<Told, Silence> {
        let keeps = !packet.ciaddr.is_unspecified();
        let wish = packet.address(code::REQUESTED_ADDRESS);
        let address = if keeps { Some(packet.ciaddr) } else { wish };
        let address = address.ok_or(Silence::NoAddress("REQUEST"))?;
        let state = match (is_selecting, keeps) {
            (true, _) => "REQUEST",
            (false, true) => "renewal",
            (false, false) => "REQUEST after a restart",
        };
        let nak = |why: &str| Told {
            mac: asker.mac,
            keep: None,
            answer: Some(refuse(packet, ground.server, why)),
            detail: format!("{state}: {address} refused, {why}"),
            granted: false,
        };
        if !subnet.network.contains(address) {
            return Ok(nak("it is an address of another network"));
        }
        if !is_selecting && !keeps {
            // RFC 2131 section 4.3.2, INIT-REBOOT.
            let reserved = reservation(subnet, asker).map(|reservation| reservation.address);
            let known = self.table.of(&asker.key);
            if known.is_empty() && reserved.is_none() {
                return Err(Silence::Unknown(address));
            }
            let is_its_own = known.iter().any(|lease| lease.address == address) || reserved == Some(address);
            let is_moved =
                reserved.is_some_and(|own| own != address && self.may_have(own, asker, subnet, ground));
            if !is_its_own || is_moved {
                return Ok(nak("it has another address here"));
            }
        }
        if !self.may_have(address, asker, subnet, ground) {
            return Ok(nak("it is not free for this client"));
        }
        let secs = lease_secs(packet, subnet);
        let until_ms = ground.now_ms + i64::from(secs) * 1000;
        let mut lease = asker.lease(address, State::Bound, ground.now_ms, until_ms);
        if let Some(before) = self.table.get(address)
            && (&before.key, before.state) == (&lease.key, State::Bound)
        {
            lease.since_ms = before.since_ms;
        }
        self.table.put(lease.clone());
        let kind = MessageType::Ack;
        let answer = grant(packet, kind, ground.server, subnet, Grant { address, secs }, ground.boot);
        let detail = format!("{state}: has {address} for {secs} s{}", boot_words(ground.boot));
        Ok(Told { mac: asker.mac, keep: Some(lease), answer: Some(answer), detail, granted: true })
    }

    /// Another server was chosen: what was held for this client is free again.
    fn forget_offers(&mut self, key: &Key) {
        let offered: Vec<Ipv4Addr> = self
            .table
            .of(key)
            .into_iter()
            .filter(|lease| lease.state == State::Offered)
            .map(|lease| lease.address)
            .collect();
        for address in offered {
            self.table.remove(address);
            self.full.clear();
        }
    }

    fn decline(&mut self, packet: &Packet<'_>, asker: &Asker<'_>, now_ms: i64) -> Result<Told, Silence> {
        let address = packet.address(code::REQUESTED_ADDRESS).ok_or(Silence::NoAddress("DECLINE"))?;
        let mut lease = self.own(address, asker)?;
        (lease.state, lease.since_ms, lease.until_ms) = (State::Declined, now_ms, now_ms + DECLINED_MS);
        self.table.put(lease.clone());
        self.probed.remove(&address);
        let detail = format!(
            "DECLINE: another machine uses {address}; it is set aside for {} minutes",
            DECLINED_MS / 60_000
        );
        Ok(Told { mac: asker.mac, keep: Some(lease), answer: None, detail, granted: false })
    }

    fn give_back(&mut self, packet: &Packet<'_>, asker: &Asker<'_>, now_ms: i64) -> Result<Told, Silence> {
        let address = packet.ciaddr;
        if address.is_unspecified() {
            return Err(Silence::NoAddress("RELEASE"));
        }
        let mut lease = self.own(address, asker)?;
        (lease.state, lease.until_ms) = (State::Released, now_ms);
        self.table.put(lease.clone());
        self.full.clear();
        let detail = format!("RELEASE: gave back {address}");
        Ok(Told { mac: asker.mac, keep: Some(lease), answer: None, detail, granted: true })
    }

    /// What a client holds and may give up.
    fn own(&self, address: Ipv4Addr, asker: &Asker<'_>) -> Result<Lease, Silence> {
        let lease =
            self.table.get(address).filter(|lease| lease.key == asker.key && lease.state == State::Bound);
        lease.cloned().ok_or(Silence::NotTheirs(address))
    }
}

impl Asker<'_> {
    fn lease(&self, address: Ipv4Addr, state: State, since_ms: i64, until_ms: i64) -> Lease {
        let (key, host_name) = (self.key.clone(), self.host_name.clone());
        Lease { address, key, mac: self.mac, host_name, state, since_ms, until_ms }
    }
}

/// The reservation of a client: by its address before by its serial number.
fn reservation<'a>(subnet: &'a Subnet, asker: &Asker<'_>) -> Option<&'a Reservation> {
    let mut own: Vec<_> =
        subnet.reservations.iter().filter(|reservation| asker.is(&reservation.who)).collect();
    own.sort_by_key(|reservation| matches!(reservation.who, Who::Serial(_)));
    own.first().copied()
}

fn told_inform(
    packet: &Packet<'_>,
    asker: &Asker<'_>,
    subnet: &Subnet,
    ground: &Ground<'_>,
) -> Result<Told, Silence> {
    if bsdp::Request::is_claimed_by(packet) || pxe::Client::claimed_by(packet).is_some() {
        return Err(Silence::BootMatter);
    }
    // An address of many is no client's: one forged packet would be answered to all of them.
    let is_host = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
    let client = Some(packet.ciaddr).filter(is_host);
    let client = client.ok_or(Silence::NoAddress("INFORM"))?;
    let answer = inform(packet, ground.server, subnet, client, ground.boot);
    let detail = format!("INFORM: told the options of {}", subnet.network);
    Ok(Told { mac: asker.mac, keep: None, answer: Some(answer), detail, granted: true })
}

/// Option 51 where it is shorter than ours.
fn lease_secs(packet: &Packet<'_>, subnet: &Subnet) -> u32 {
    let wish = packet.option(code::LEASE_TIME);
    let wish = wish.and_then(|value| <[u8; 4]>::try_from(value.as_ref()).ok()).map(u32::from_be_bytes);
    wish.map_or(subnet.lease_secs, |wish| wish.max(SHORTEST_SECS).min(subnet.lease_secs))
}

fn boot_words(boot: Option<&Boot>) -> String {
    boot.map_or_else(String::new, |boot| format!(", and told to start {}", boot.file))
}

fn place(packet: &Packet<'_>, ground: &Ground<'_>) -> String {
    if packet.giaddr.is_unspecified() {
        format!("the interface {}", ground.interface)
    } else {
        format!("the network of the relay {}", packet.giaddr)
    }
}

/// What a client calls itself, as far as it can be printed.
fn readable(name: &[u8]) -> Option<String> {
    let name: String = name
        .iter()
        .map(|byte| char::from(*byte))
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        .take(63)
        .collect();
    Some(name).filter(|name| !name.is_empty())
}
