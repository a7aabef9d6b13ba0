//! The loops on ports 67 and 4011: take in, decide, send, log.
//!
//! What has arrived is sorted before anything is answered, so that a selection overtakes the lists before it. Deciding is
//! pure and quick and done in place; a selection that must be on the disk first goes by way of `record`.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Context;
use super::clients::now;
use super::facts::{Facts, Lookout};
use super::socket::{Arrived, Datagrams};
use crate::api::timeline::Stage;
use crate::netboot::bsdp::{self, Change};
use crate::netboot::dhcp::{Packet, code};
use crate::netboot::intake::{Buckets, Intake, LANE, Lane, Rate};
use crate::netboot::offer::{
    Answer, Deployed, Door, Exchange, Silence, Site, Unanswered, answer, with_address,
};
use crate::netboot::pxe;
use crate::value::MacAddr;

/// Longer than any request of an Ethernet client, fragments included; what is longer is cut and then malformed.
const LONGEST_REQUEST: usize = 4096;
/// Packets that are taken in before the next is answered.
const TAKEN_IN: usize = 256;
/// Packets that are answered before the next are taken in.
const ANSWERED: usize = 16;
/// A Mac sends a handful of packets in a boot, and repeats each after two seconds or more (BSDPClient).
const OF_A_MAC: Rate = Rate { a_second: 3, burst: 20 };
/// A relay sends those of a whole building from one address.
const OF_AN_ADDRESS: Rate = Rate { a_second: 100, burst: 400 };

impl From<Exchange> for Stage {
    fn from(exchange: Exchange) -> Stage {
        match exchange {
            Exchange::Discover => Stage::Discover,
            Exchange::List => Stage::List,
            Exchange::Select => Stage::Select,
            Exchange::Pxe => Stage::Pxe,
        }
    }
}

/// A packet that waits for its answer.
struct Waiting {
    bytes: Vec<u8>,
    arrived: Arrived,
}

/// A port with what has arrived on it.
struct Port {
    door: Door,
    socket: Arc<Datagrams>,
    context: Arc<Context>,
    intake: Intake<Waiting>,
    macs: Buckets<MacAddr>,
    addresses: Buckets<Ipv4Addr>,
}

pub(super) async fn serve(
    door: Door,
    socket: Arc<Datagrams>,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut port = Port {
        door,
        socket,
        context,
        intake: Intake::new(LANE),
        macs: Buckets::new(OF_A_MAC),
        addresses: Buckets::new(OF_AN_ADDRESS),
    };
    let mut buffer = vec![0; LONGEST_REQUEST];
    while !stop.is_cancelled() {
        if port.intake.is_empty() {
            match stop.run_until_cancelled(port.socket.readable()).await {
                None => break,
                Some(ready) => ready?,
            }
        }
        let facts = Lookout::facts(&port.context).await;
        let is_in = match port.take_in(&mut buffer, &facts) {
            Ok(is_in) => is_in,
            // An interface went down, memory was short: the socket stays good.
            Err(error) => {
                warn!(%error, "a DHCP packet could not be received: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                true
            }
        };
        for _ in 0..ANSWERED {
            let Some((lane, waiting)) = port.intake.next(is_in) else { break };
            one(port.door, lane, &waiting, &facts, &port.socket, &port.context).await;
        }
        tokio::task::coop::consume_budget().await;
    }
    Ok(())
}

impl Port {
    /// Sorts what has arrived; whether that was all.
    fn take_in(&mut self, buffer: &mut [u8], facts: &Facts) -> io::Result<bool> {
        for _ in 0..TAKEN_IN {
            match self.socket.try_receive(buffer) {
                Ok(arrived) => self.sort(&buffer[..arrived.length], arrived, facts),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn sort(&mut self, bytes: &[u8], arrived: Arrived, facts: &Facts) {
        let clients = &self.context.clients;
        let from = *arrived.from.ip();
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(error) => return clients.malformed("DHCP", from, &error),
        };
        if !facts.serves(arrived.interface) {
            if is_boot_client(&packet) && clients.may_complain(from, "interface").is_some() {
                info!(
                    %from, interface = arrived.interface,
                    "left a boot client unanswered: the interface that it came by is not among network.interfaces"
                );
            }
            return;
        }
        let now = now();
        let mac_is_calm = packet.mac().is_none_or(|mac| self.macs.admits(mac, now));
        // Those without an address share a bucket: a flood of DISCOVER does not stand before LIST and SELECT.
        let address_is_calm = self.addresses.admits(from, now);
        let lane = match mac_is_calm && address_is_calm {
            false => Lane::Surplus,
            true if bsdp::Request::is_selection(&packet) => Lane::Selection,
            true => Lane::Ordinary,
        };
        if lane == Lane::Surplus {
            clients.counters.surplus.fetch_add(1, Ordering::Relaxed);
            if let Some(before) = clients.may_complain(from, "rate") {
                let who = packet.mac().map_or_else(|| from.to_string(), |mac| format!("{mac} at {from}"));
                warn!(%from, before, "{who} asks more often than any client does: it is answered after all others");
            }
        }
        if let Some(dropped) = self.intake.push(lane, Waiting { bytes: bytes.to_vec(), arrived }) {
            clients.crowded_out(*dropped.arrived.from.ip());
        }
    }
}

fn is_boot_client(packet: &Packet<'_>) -> bool {
    bsdp::Request::is_claimed_by(packet) || pxe::Client::claimed_by(packet).is_some()
}

async fn one(
    door: Door,
    lane: Lane,
    waiting: &Waiting,
    facts: &Facts,
    socket: &Arc<Datagrams>,
    context: &Arc<Context>,
) {
    let Waiting { bytes, arrived } = waiting;
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => return context.clients.malformed("DHCP", *arrived.from.ip(), &error),
    };
    if let (true, Some(mac), Some(address)) = (packet.is_request, packet.mac(), packet.client_address())
        && lane != Lane::Surplus
    {
        context.clients.learn(address, mac);
    }
    if let (true, Some(mac), Some(class)) = (packet.is_request, packet.mac(), packet.option(code::CLASS_ID))
        && lane != Lane::Surplus
    {
        context.clients.learn_model(mac, &class);
    }
    let deployed = deployed_to(&packet, lane, context).await;
    let known = Known { facts, deployed };
    let decided = match left_alone(&packet, door, context).await {
        Some(unanswered) => Err(unanswered),
        None => decide(&packet, door, arrived, known, context),
    };
    ask_for_address(&packet, door, waiting, known, context);
    match decided {
        Ok(mut answer) => {
            let change = answer.change.take();
            let told = Told { answer, arrived: *arrived, lane, socket: socket.clone() };
            let is_pxe_offer = door == Door::Dhcp && pxe::Client::claimed_by(&packet).is_some();
            let is_late = is_pxe_offer && !context.settings.offer_delay.is_zero();
            let told = if is_late { context.delayed.hold(told, context) } else { Some(told) };
            if let Some(told) = told {
                remember_and_send(change, told, context).await;
            }
        }
        Err(unanswered) => {
            if let Some(change) = unanswered.change.as_ref().filter(|change| context.bindings.is_news(change))
            {
                // Where the queue is full the next packet tells it again.
                let _ = context.record.push(*change.clone(), lane, None);
            }
            log_silence(unanswered, lane, arrived, context);
        }
    }
}

/// What is known beside the packet when it is decided upon.
#[derive(Clone, Copy)]
struct Known<'a> {
    facts: &'a Facts,
    deployed: Deployed,
}

/// Whether anything is deployed to the Mac that asks. A flood is answered without looking: it may as well boot.
async fn deployed_to(packet: &Packet<'_>, lane: Lane, context: &Context) -> Deployed {
    let Some(mac) = packet.mac().filter(|_| lane != Lane::Surplus && bsdp::Request::is_claimed_by(packet))
    else {
        return Deployed::Something;
    };
    match context.verdicts.something_is_deployed_to(mac).await {
        true => Deployed::Something,
        false => Deployed::Nothing(context.settings.without_deployment),
    }
}

/// Why a PXE or HTTP boot client is left to other servers, if it is.
async fn left_alone(packet: &Packet<'_>, door: Door, context: &Context) -> Option<Unanswered> {
    let policy = &context.settings.pxe;
    let mac = packet.mac().filter(|_| pxe::Client::claimed_by(packet).is_some())?;
    let is_known = policy.asks_who_is_known()
        && context.db.devices_with(mac).await.is_ok_and(|devices| !devices.is_empty());
    let reason = policy.leaves_alone(mac, is_known)?.into();
    let exchange = if door == Door::Proxy { Exchange::Pxe } else { Exchange::Discover };
    Some(Unanswered { client: Some((mac, exchange)), reason, change: None })
}

/// Hands the packet on to the DHCP server, where that is ours.
fn ask_for_address(packet: &Packet<'_>, door: Door, waiting: &Waiting, known: Known<'_>, context: &Context) {
    let (Door::Dhcp, Some(desk)) = (door, &context.desk) else { return };
    let Waiting { bytes, arrived } = waiting;
    let tell = |site: &Site<'_>| with_address(packet, door, site);
    let boot = if desk.leases.tells_image() { on_site(arrived, known, context, tell) } else { None };
    if !desk.take(packet, bytes, arrived, boot) {
        context.clients.crowded_out(*arrived.from.ip());
    }
}

fn decide(
    packet: &Packet<'_>,
    door: Door,
    arrived: &Arrived,
    known: Known<'_>,
    context: &Context,
) -> Result<Answer, Unanswered> {
    on_site(arrived, known, context, |site| answer(packet, door, arrived.from, site))
}

/// Gives `decide` the facts of the site as a client sees it whose packet arrived so.
fn on_site<T>(
    arrived: &Arrived,
    Known { facts, deployed }: Known<'_>,
    context: &Context,
    decide: impl FnOnce(&Site<'_>) -> T,
) -> T {
    let server = context.settings.advertise.unwrap_or(arrived.local);
    let with_new;
    // An address that the interface was given after the last look.
    let own = if facts.own.contains(&server) || server.is_unspecified() {
        &facts.own
    } else {
        with_new = [&[server], &facts.own[..]].concat();
        &with_new
    };
    let site = Site {
        server,
        own,
        host_name: &context.settings.host_name,
        http_port: context.http_port,
        sets: &facts.catalog.sets,
        loaders: &facts.catalog.loaders,
        bindings: &context.bindings.read(),
        policy: &context.settings.bsdp,
        deployed,
    };
    decide(&site)
}

/// An answer with all that sending it takes.
pub(super) struct Told {
    answer: Answer,
    arrived: Arrived,
    lane: Lane,
    socket: Arc<Datagrams>,
}

/// What a Mac is told about its choice must be true after a restart: that waits for the disk, nothing else does.
async fn remember_and_send(change: Option<Change>, told: Told, context: &Context) {
    match change.filter(|change| context.bindings.is_news(change)) {
        Some(change @ Change::Bind { .. }) => {
            if let Err(Some(told)) = context.record.push(change, told.lane, Some(Box::new(told))) {
                told.give_up("more Macs choose at once than the disk can write down; it asks again", context);
            }
        }
        other => {
            if let Some(change) = other {
                let _ = context.record.push(change, told.lane, None);
            }
            send(told, context).await;
        }
    }
}

pub(super) async fn send(told: Told, context: &Context) {
    let Told { answer, arrived, lane, socket } = told;
    let Answer { mac, exchange, bytes, to, also, mut detail, started, .. } = answer;
    let mut sent = true;
    for to in [Some(to), also].into_iter().flatten() {
        if let Err(error) = socket.send(&bytes, to, &arrived).await {
            sent = false;
            detail = format!("{detail}; the reply to {to} could not be sent: {error}");
            warn!(%mac, %to, %error, "the reply to {mac} at {to} could not be sent: {error}; check address and route");
        }
    }
    if let Some(image) = started {
        debug!(%mac, %image, "{mac} starts {image}");
    }
    if lane == Lane::Surplus {
        debug!(%mac, %to, stage = ?exchange, "{mac}: {detail}");
        context.clients.tell_if_quiet(mac, exchange.into(), sent, detail);
    } else {
        info!(%mac, %to, stage = ?exchange, "{mac}: {detail}");
        context.clients.tell(mac, exchange.into(), sent, detail);
    }
}

impl Told {
    /// Leaves the Mac unanswered.
    pub(super) fn give_up(self, reason: &str, context: &Context) {
        let Answer { mac, exchange, .. } = self.answer;
        debug!(%mac, "left {mac} unanswered: {reason}");
        context.clients.tell(mac, exchange.into(), false, format!("unanswered: {reason}"));
    }
}

fn log_silence(silence: Unanswered, lane: Lane, arrived: &Arrived, context: &Context) {
    let Unanswered { client, reason, .. } = silence;
    if context.desk.is_some() && matches!(reason, Silence::AddressMatter(_) | Silence::NotBound) {
        // The DHCP server here says what became of it.
        return;
    }
    let clients = &context.clients;
    let from = arrived.from;
    match &reason {
        // Claims to be a boot client's and is broken: treated like any malformed packet.
        Silence::Bsdp(_) | Silence::Pxe(_) => clients.malformed("boot client's", *from.ip(), &reason),
        Silence::NoOwnAddress => {
            if clients.may_complain(Ipv4Addr::UNSPECIFIED, "own address").is_some() {
                warn!(%from, interface = arrived.interface, "left a boot client unanswered: {reason}");
            }
        }
        // What every boot client sends to its DHCP server is no fault, and what a flood asks is no news.
        Silence::AddressMatter(_) | Silence::NotBound | Silence::DiscoverNotAnswered(_) => {
            debug!(%from, "left {from} unanswered: {reason}")
        }
        _ => match client.filter(|_| lane != Lane::Surplus) {
            Some((mac, _)) => info!(%mac, %from, "left {mac} unanswered: {reason}"),
            None => debug!(%from, "left a packet from {from} unanswered: {reason}"),
        },
    }
    if let Some((mac, exchange)) = client {
        let detail = format!("unanswered: {reason}");
        if lane == Lane::Surplus {
            clients.tell_if_quiet(mac, exchange.into(), false, detail);
        } else {
            clients.tell(mac, exchange.into(), false, detail);
        }
    }
}
