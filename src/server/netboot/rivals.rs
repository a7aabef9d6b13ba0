//! Other DHCP servers on the wires that this one serves: asked for before the start, and watched for ever after.
//!
//! Must not know: leases.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::client::dhcp::{AskError, Ports, ask, hardware_address};
use crate::netboot::dhcp::{MessageType, Packet, Request, code};
use crate::netboot::lease::Plan;

/// Option 60 of our own questions: the server beside us does not answer them.
const CLASS: &str = "Rootstock looks for DHCP servers";
/// How long other servers may take: dnsmasq pings an address for three seconds before it offers it.
const WAIT: Duration = Duration::from_secs(4);
/// How often they are looked for after the start.
const EVERY: Duration = Duration::from_secs(300);

/// Why no address is handed out.
#[derive(Debug, thiserror::Error)]
pub enum RivalError {
    /// Another one is there.
    #[error(
        "another DHCP server answers on `{interface}`: {server}. Two would give one address to two machines: switch that \
         one off, or set `dhcp.enabled = false` (Macs boot from Rootstock beside any DHCP server), or, if it is meant so, \
         `dhcp.force = true`"
    )]
    Answers {
        /// Where.
        interface: String,
        /// Who.
        server: String,
    },
    /// It could not be found out.
    #[error("whether another DHCP server answers on `{interface}` could not be asked; set `dhcp.force = true` to start without asking")]
    Unasked {
        /// Where.
        interface: String,
        /// Why.
        #[source]
        source: AskError,
    },
    /// The task that asked panicked.
    #[error("whether another DHCP server answers could not be asked")]
    Task(#[from] tokio::task::JoinError),
}

/// Whether a packet is one of our own questions.
pub(super) fn is_own_question(packet: &Packet<'_>) -> bool {
    packet.option(code::CLASS_ID).is_some_and(|class| class.as_ref() == CLASS.as_bytes())
}

/// Asks on every wire of the plan; an answer is an error that names who answered.
pub async fn refuse_beside_others(plan: &Plan) -> Result<(), RivalError> {
    for found in look(plan).await? {
        let (interface, answered) = found;
        let servers = answered.map_err(|source| RivalError::Unasked { interface: interface.clone(), source })?;
        if !servers.is_empty() {
            return Err(RivalError::Answers { interface, server: words(&servers) });
        }
    }
    Ok(())
}

/// Warns of others as long as they are there.
pub(super) async fn watch(plan: Plan, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let Some(Ok(found)) = stop.run_until_cancelled(look(&plan)).await else { continue };
        for (interface, answered) in found {
            // A question that could not be asked now is asked again.
            let servers = answered.unwrap_or_default();
            if !servers.is_empty() {
                let servers = words(&servers);
                warn!(%interface, %servers, "another DHCP server answers on {interface}: {servers}; switch it off, or Rootstock's");
            }
        }
    }
}

type Answered = (String, Result<BTreeSet<Ipv4Addr>, AskError>);

/// Asks on all wires at once.
async fn look(plan: &Plan) -> Result<Vec<Answered>, tokio::task::JoinError> {
    let mut asking = JoinSet::new();
    for interface in plan.subnets().iter().filter_map(|subnet| subnet.interface.clone()) {
        asking.spawn_blocking(move || {
            let answered = servers_on(&interface);
            (interface, answered)
        });
    }
    let mut found = Vec::new();
    while let Some(answered) = asking.join_next().await {
        found.push(answered?);
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn servers_on(interface: &str) -> Result<BTreeSet<Ipv4Addr>, AskError> {
    let mac = hardware_address(interface)?;
    let [.., a, b, c] = *mac.as_bytes();
    // One question at a time is asked from this address: its transaction need not be random.
    let request = Request::new(MessageType::Discover, mac, u32::from_be_bytes([0x52, a, b, c]))
        .broadcast()
        .class(CLASS)
        .wants(&[code::SUBNET_MASK, code::ROUTER]);
    let heard = ask(interface, &request, Ports::BROADCAST, WAIT)?;
    let offers = heard.iter().filter(|heard| {
        let packet = heard.packet();
        packet.is_ok_and(|packet| packet.message_type() == Some(MessageType::Offer) && !packet.yiaddr.is_unspecified())
    });
    Ok(offers.map(|heard| heard.server()).collect())
}

fn words(servers: &BTreeSet<Ipv4Addr>) -> String {
    servers.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
}
