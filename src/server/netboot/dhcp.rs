//! The loops on ports 67 and 4011: receive, decide, send, log.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Context;
use super::folder::Catalog;
use super::socket::{Arrived, Datagrams};
use crate::api::timeline::Stage;
use crate::netboot::bsdp;
use crate::netboot::dhcp::Packet;
use crate::netboot::offer::{Answer, Door, Exchange, Silence, Site, Unanswered, answer};
use crate::netboot::pxe;

/// Larger than any DHCP packet of an Ethernet client, fragments included.
const LONGEST_DATAGRAM: usize = 9000;

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

pub(super) async fn serve(
    door: Door,
    socket: Datagrams,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    while let Some(got) = stop.run_until_cancelled(socket.receive(&mut buffer)).await {
        match got {
            Ok(arrived) if arrived.is_by(&context.settings.interfaces) => {
                one(door, &buffer[..arrived.length], &arrived, &socket, &context).await;
            }
            Ok(arrived) => {
                debug!(from = %arrived.from, "ignored a packet of an interface that is not served")
            }
            // An interface went down, memory was short: the socket stays good.
            Err(error) => {
                warn!(%error, "a DHCP packet could not be received: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}

async fn one(door: Door, bytes: &[u8], arrived: &Arrived, socket: &Datagrams, context: &Arc<Context>) {
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => return context.clients.malformed("DHCP", *arrived.from.ip(), &error),
    };
    if let (true, Some(mac), Some(address)) = (packet.is_request, packet.mac(), packet.client_address()) {
        context.clients.learn(address, mac);
    }
    if let (true, Some(mac), Some(class)) = (packet.is_request, packet.mac(), packet.option(60)) {
        context.clients.learn_model(mac, &class);
    }
    let is_boot_client = bsdp::Request::is_claimed_by(&packet) || pxe::Client::claimed_by(&packet).is_some();
    let catalog = if is_boot_client { look(context).await } else { Arc::default() };
    let server = context.settings.advertise.unwrap_or(arrived.local);
    let own = if is_boot_client { own_addresses(server) } else { vec![server] };
    let site = Site {
        server,
        own: &own,
        host_name: &context.settings.host_name,
        http_port: context.http_port,
        sets: &catalog.sets,
        loaders: &catalog.loaders,
        remembered: context.clients.remembered(),
    };
    match answer(&packet, door, arrived.from, &site) {
        Ok(told) => send(told, arrived, socket, context).await,
        Err(silence) => log_silence(silence, arrived, context),
    }
}

/// The boot folder as it is now. Looking takes some file system calls, which a broken disk can hold up.
async fn look(context: &Arc<Context>) -> Arc<Catalog> {
    let context = context.clone();
    tokio::task::spawn_blocking(move || context.folder.catalog()).await.unwrap_or_default()
}

/// Every address of this machine, and the advertised one.
fn own_addresses(server: Ipv4Addr) -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    std::iter::once(server).chain(addresses).filter(|address| !address.is_unspecified()).collect()
}

async fn send(told: Answer, arrived: &Arrived, socket: &Datagrams, context: &Context) {
    let Answer { mac, exchange, bytes, to, also, mut detail, started } = told;
    let mut sent = true;
    for to in [Some(to), also].into_iter().flatten() {
        if let Err(error) = socket.send(&bytes, to, arrived).await {
            sent = false;
            detail = format!("{detail}; the reply to {to} could not be sent: {error}");
            warn!(%mac, %to, %error, "the reply to {mac} at {to} could not be sent: {error}; check address and route");
        }
    }
    if let Some(image) = started {
        context.clients.has_started(mac);
        debug!(%mac, %image, "{mac} starts {image}");
    }
    info!(%mac, %to, stage = ?exchange, "{mac}: {detail}");
    context.clients.tell(mac, exchange.into(), sent, detail);
}

fn log_silence(silence: Unanswered, arrived: &Arrived, context: &Context) {
    let Unanswered { client, reason } = silence;
    let from = arrived.from;
    // Claims to be a boot client's and is broken: treated like any malformed packet.
    if let Silence::Bsdp(_) | Silence::Pxe(_) = &reason {
        context.clients.malformed("boot client's", *from.ip(), &reason);
        if let Some((mac, exchange)) = client {
            context.clients.tell(mac, exchange.into(), false, format!("unanswered: {reason}"));
        }
        return;
    }
    match client {
        None if matches!(reason, Silence::NoOwnAddress) => {
            if context.clients.may_complain(Ipv4Addr::UNSPECIFIED, "own address").is_some() {
                warn!(%from, interface = arrived.interface, "left a boot client unanswered: {reason}");
            }
        }
        None => debug!(%from, "left a packet from {from} unanswered: {reason}"),
        // What every boot client sends to its DHCP server is no fault.
        Some((mac, exchange)) => {
            if matches!(reason, Silence::AddressMatter(_)) {
                debug!(%mac, "left {mac} unanswered: {reason}");
            } else {
                info!(%mac, %from, "left {mac} unanswered: {reason}");
            }
            context.clients.tell(mac, exchange.into(), false, format!("unanswered: {reason}"));
        }
    }
}
