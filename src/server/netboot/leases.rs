//! The DHCP server at the edge: requests in, leases onto the disk, answers out.
//!
//! One task decides, so that no two requests meet. What arrived while the disk was busy is decided together and kept in
//! one transaction; only then are the answers sent. Probes run beside it: nobody waits for another's.
//!
//! Must not know: who gets which address (`netboot::lease` decides).

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::socket::{Arrived, Datagrams};
use super::{Context, probe, rivals};
use crate::api::timeline::Stage;
use crate::db::{Db, DbError};
use crate::netboot::dhcp::{MessageType, Packet, code};
use crate::netboot::lease::{Book, Boot, Ground, Identity, Lease, Plan, Silence, Step, Told};
use crate::server::clock::now_ms;
use crate::value::{MacAddr, Serial};

/// Requests that wait at most; who finds no room asks again.
const QUEUE: usize = 1024;
/// Requests that are decided together.
const BATCH: usize = 64;
/// Probes at one time; each has a socket.
const MOST_PROBES: usize = 128;
/// Addresses that are tried for one request when others use them.
const MOST_TRIES: u8 = 5;

/// The leases, for the server and for the admin's API.
pub struct Leases {
    book: Mutex<Book>,
    db: Db,
    probe: Duration,
    single_step: bool,
    /// Held from a decision until it is on the disk, so that the disk has them in the same order.
    keeping: tokio::sync::Mutex<()>,
}

/// Why the DHCP server does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Leases cannot be read.
    #[error("the leases cannot be read")]
    Db(#[from] DbError),
    /// Probing is not allowed.
    #[error(
        "addresses cannot be probed on `{interface}` before they are offered; start Rootstock as root or with CAP_NET_RAW, \
         or set `dhcp.probe-ms = 0`"
    )]
    Probe {
        /// Where.
        interface: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Leases {
    /// Takes up the leases that were kept.
    pub async fn open(db: Db, plan: Plan, probe: Duration, single_step: bool) -> Result<Leases, OpenError> {
        for interface in plan.subnets().iter().filter_map(|subnet| subnet.interface.as_deref()) {
            if !probe.is_zero() {
                probe::may_probe(interface)
                    .map_err(|source| OpenError::Probe { interface: interface.to_owned(), source })?;
            }
        }
        let kept = db.leases().await?;
        let gone = kept.iter().map(|lease| lease.address).filter(|address| !plan.hands_out(*address));
        db.forget_leases(&gone.collect::<Vec<_>>()).await?;
        let book = Mutex::new(Book::new(plan, kept));
        Ok(Leases { book, db, probe, single_step, keeping: tokio::sync::Mutex::default() })
    }

    /// All leases, by address.
    pub fn list(&self) -> Vec<Lease> {
        self.book().leases().cloned().collect()
    }

    /// Frees an address; none when nobody holds it.
    pub async fn release(&self, address: Ipv4Addr) -> Result<Option<Lease>, DbError> {
        let _keeping = self.keeping.lock().await;
        let released = self.book().release(address, now_ms());
        if let Some(lease) = &released {
            self.db.keep_leases(std::slice::from_ref(lease)).await?;
        }
        Ok(released)
    }

    /// Whether Macs that hold N are told the default image with their address.
    pub(super) fn tells_image(&self) -> bool {
        self.single_step
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for its decision.
pub(super) struct Asked {
    bytes: Vec<u8>,
    arrived: Arrived,
    boot: Option<Boot>,
    tries: u8,
}

/// Where requests go in.
pub(super) struct Desk {
    pub(super) leases: Arc<Leases>,
    queue: mpsc::Sender<Asked>,
}

/// A desk and the end that [`serve`] reads.
pub(super) fn desk(leases: Arc<Leases>) -> (Desk, mpsc::Receiver<Asked>) {
    let (queue, asked) = mpsc::channel(QUEUE);
    (Desk { leases, queue }, asked)
}

impl Desk {
    /// Takes in what may be about an address. Never waits; false when there is no room.
    pub(super) fn take(
        &self,
        packet: &Packet<'_>,
        bytes: &[u8],
        arrived: &Arrived,
        boot: Option<Boot>,
    ) -> bool {
        if !packet.is_request || packet.message_type().is_none() || rivals::is_own_question(packet) {
            return true;
        }
        self.queue.try_send(Asked { bytes: bytes.to_vec(), arrived: *arrived, boot, tries: 0 }).is_ok()
    }
}

/// A probe that has ended.
struct Probed {
    asked: Asked,
    address: Ipv4Addr,
    holder: io::Result<Option<MacAddr>>,
}

/// Serves until `stop` is cancelled.
pub(super) async fn serve(
    leases: Arc<Leases>,
    mut queue: mpsc::Receiver<Asked>,
    socket: Arc<Datagrams>,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut desk = Server { leases, socket, context, probes: JoinSet::new(), probing: HashSet::new() };
    let plan = desk.leases.book().plan().clone();
    let watching = tokio::spawn(rivals::watch(plan, stop.clone()));
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            () = stop.cancelled() => break,
            Some(asked) = queue.recv() => batch.push(asked),
            Some(Ok(probed)) = desk.probes.join_next() => batch.extend(desk.probed(probed).await),
        }
        while batch.len() < BATCH
            && let Ok(asked) = queue.try_recv()
        {
            batch.push(asked);
        }
        while batch.len() < BATCH
            && let Some(Ok(probed)) = desk.probes.try_join_next()
        {
            batch.extend(desk.probed(probed).await);
        }
        desk.decide(batch).await;
    }
    watching.abort();
    Ok(())
}

struct Server {
    leases: Arc<Leases>,
    socket: Arc<Datagrams>,
    context: Arc<Context>,
    probes: JoinSet<Probed>,
    /// Addresses that are being probed: a client that repeats itself meanwhile is answered once.
    probing: HashSet<Ipv4Addr>,
}

impl Server {
    /// Decides a batch, keeps it, sends it.
    async fn decide(&mut self, batch: Vec<Asked>) {
        let own = own_addresses();
        let leases = self.leases.clone();
        let keeping = leases.keeping.lock().await;
        let mut told = Vec::new();
        for asked in batch {
            if let Some(decided) = self.one(&asked, &own).await {
                match decided {
                    Step::Tell(words) => told.push((words, asked.arrived)),
                    Step::Probe { address, interface } => self.probe(asked, address, interface),
                }
            }
        }
        let keep: Vec<Lease> = told.iter().filter_map(|(told, _)| told.keep.clone()).collect();
        if let Err(error) = leases.db.keep_leases(&keep).await {
            error!("no lease was given: {}", crate::server::http::error::chain(&error));
            return;
        }
        drop(keeping);
        for (told, arrived) in told {
            self.send(told, &arrived).await;
        }
    }

    async fn one(&self, asked: &Asked, own: &[Ipv4Addr]) -> Option<Step> {
        let packet = Packet::parse(&asked.bytes).ok()?;
        let interface = nix::net::if_::if_indextoname(asked.arrived.interface).ok()?;
        let interface = interface.to_string_lossy();
        let serial = self.serial(&packet).await;
        let mut book = self.leases.book();
        let ground = Ground {
            server: self.server_id(book.plan(), &packet, &asked.arrived, &interface, own),
            own,
            interface: &interface,
            probes: !self.leases.probe.is_zero(),
            boot: asked.boot.as_ref(),
            now_ms: now_ms(),
        };
        let decided = book.receive(&packet, Identity { serial: serial.as_ref() }, &ground);
        drop(book);
        decided.map_err(|silence| self.left_unanswered(&packet, &silence, &asked.arrived)).ok()
    }

    /// Our address as the client reaches it: the configured one; that of the subnet where the interface has several.
    fn server_id(
        &self,
        plan: &Plan,
        packet: &Packet<'_>,
        arrived: &Arrived,
        interface: &str,
        own: &[Ipv4Addr],
    ) -> Ipv4Addr {
        let subnet = plan.subnet_on(interface).filter(|_| packet.giaddr.is_unspecified());
        let in_subnet =
            || own.iter().copied().find(|own| subnet.is_some_and(|subnet| subnet.network.contains(*own)));
        self.context.settings.advertise.or_else(in_subnet).unwrap_or(arrived.local)
    }

    /// The serial number behind a packet, where reservations need it.
    async fn serial(&self, packet: &Packet<'_>) -> Option<Serial> {
        if !self.leases.book().plan().knows_serials() {
            return None;
        }
        match self.leases.db.serial_of_client(packet.mac()?, &uuids(packet)).await {
            Ok(serial) => serial,
            Err(error) => {
                warn!("reservations by serial number are not seen: {error}");
                None
            }
        }
    }

    fn probe(&mut self, asked: Asked, address: Ipv4Addr, interface: Option<String>) {
        let asker = Packet::parse(&asked.bytes).ok().and_then(|packet| packet.mac());
        let (Some(asker), true) = (asker, self.probes.len() < MOST_PROBES) else { return };
        if self.probes.is_empty() {
            // Whatever became of the last ones.
            self.probing.clear();
        }
        if !self.probing.insert(address) {
            return;
        }
        let wait = self.leases.probe;
        self.probes.spawn(async move {
            let holder = probe::holder(address, interface.as_deref(), asker, wait).await;
            Probed { asked, address, holder }
        });
    }

    /// Tells the book what a probe found; the request comes back to be decided again.
    async fn probed(&mut self, probed: Probed) -> Option<Asked> {
        let Probed { mut asked, address, holder } = probed;
        self.probing.remove(&address);
        let holder = holder.unwrap_or_else(|error| {
            warn!(%address, %error, "{address} is offered unprobed: {error}");
            None
        });
        let _keeping = self.leases.keeping.lock().await;
        let lease = self.leases.book().probed(address, holder, now_ms());
        if let Some(lease) = lease {
            warn!(%address, mac = %lease.mac, "{address} is used by {} without a lease: it is set aside", lease.mac);
            let detail = format!("uses {address} without a lease; the address is set aside");
            if lease.mac != probe::UNSEEN {
                self.context.clients.tell(lease.mac, Stage::Lease, false, detail);
            }
            if let Err(error) = self.leases.db.keep_leases(&[lease]).await {
                error!("{}", crate::server::http::error::chain(&error));
            }
        }
        asked.tries += 1;
        Some(asked).filter(|asked| asked.tries <= MOST_TRIES)
    }

    async fn send(&self, told: Told, arrived: &Arrived) {
        let Told { mac, keep, answer, mut detail, mut granted } = told;
        if let Some(answer) = answer
            && let Err(error) = self.socket.send(&answer.bytes, answer.to, arrived).await
        {
            granted = false;
            detail = format!("{detail}; the answer to {} could not be sent: {error}", answer.to);
        }
        if let (Some(lease), true) = (keep, granted) {
            self.context.clients.learn(lease.address, mac);
        }
        if granted {
            info!(%mac, stage = "lease", "{mac}: {detail}");
        } else {
            warn!(%mac, stage = "lease", "{mac}: {detail}");
        }
        self.context.clients.tell(mac, Stage::Lease, granted, detail);
    }

    fn left_unanswered(&self, packet: &Packet<'_>, silence: &Silence, arrived: &Arrived) {
        let clients = &self.context.clients;
        let who = packet.mac().map_or_else(|| arrived.from.to_string(), |mac| mac.to_string());
        let tell = |detail: String| {
            if let Some(mac) = packet.mac() {
                clients.tell(mac, Stage::Lease, false, detail);
            }
        };
        match silence {
            Silence::AnotherServer(server) => {
                if packet.message_type() == Some(MessageType::Request)
                    && clients.may_complain(*server, "another DHCP server").is_some()
                {
                    warn!(%server, "{who} takes an address from another DHCP server, {server}: switch that one off, or Rootstock's");
                }
                tell(format!("unanswered: {silence}"));
            }
            Silence::Full { network, .. } => {
                // Once a minute: everyone who asks gets the same.
                if clients.may_complain(network.broadcast(), "full pool").is_some() {
                    warn!(%network, "{who} gets no address: {silence}");
                }
                tell(format!("unanswered: {silence}"));
            }
            Silence::Unknown(_) | Silence::NotTheirs(_) | Silence::NoAddress(_) => {
                info!("left {who} unanswered: {silence}");
                tell(format!("unanswered: {silence}"));
            }
            _ => debug!("left {who} without an address: {silence}"),
        }
    }
}

/// UUIDs by which firmware names itself: option 97, and option 61 of type 0 (RFC 4578 section 2.3, RFC 2132 section 9.14),
/// in both orders of bytes that firmware writes.
fn uuids(packet: &Packet<'_>) -> Vec<Uuid> {
    [code::CLIENT_UUID, code::CLIENT_ID]
        .into_iter()
        .filter_map(|code| packet.option(code))
        .filter_map(|value| match value.as_ref() {
            [0, uuid @ ..] => <[u8; 16]>::try_from(uuid).ok(),
            _ => None,
        })
        .flat_map(|bytes| [Uuid::from_bytes_le(bytes), Uuid::from_bytes(bytes)])
        .collect()
}

fn own_addresses() -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect()
}
