//! Port 69: each request becomes a transfer with a socket and a thread of its own, bounded in number.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::clients::now;
use super::socket::{Arrived, Datagrams};
use super::transfer::{self, Outcome};
use super::{Context, clients};
use crate::api::timeline::Stage;
use crate::netboot::tftp::{
    Admission, ErrorCode, LONGEST_REQUEST, ReadRequest, Running, admit, error, read_opening,
};

/// Stack of a transfer's thread; its buffers are on the heap.
const STACK: usize = 256 * 1024;
/// How long the loop waits for the place of a transfer that it has ended.
const HANDOVER: Duration = Duration::from_millis(250);

/// Transfers that are running, by the client's address and port.
type Register = Arc<Mutex<HashMap<SocketAddrV4, Arc<Transfer>>>>;

/// What the loop and the transfer's thread share.
pub(super) struct Transfer {
    pub request: ReadRequest,
    /// Connected: packets of others never reach it, and a client that closed its port is noticed at once.
    pub socket: UdpSocket,
    opened: Instant,
    /// Microseconds from `opened` to the client's last packet, plus one; 0 before the first.
    heard: AtomicU64,
    stop: CancellationToken,
}

impl Transfer {
    /// A socket whose port is the transfer's id (RFC 1350 section 4).
    fn open(request: ReadRequest, arrived: &Arrived, stop: CancellationToken) -> io::Result<Transfer> {
        let socket = UdpSocket::bind((arrived.local, 0))?;
        socket.connect(arrived.from)?;
        socket.set_read_timeout(Some(transfer::TICK))?;
        Ok(Transfer { request, socket, opened: now(), heard: AtomicU64::new(0), stop })
    }

    /// The client has sent something.
    pub(super) fn was_heard(&self, at: Instant) {
        let since = at.saturating_duration_since(self.opened).as_micros();
        self.heard.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends the transfer and wakes its thread, which waits for a packet.
    fn end(&self) {
        self.stop.cancel();
        // Fails when the client's port is closed: the thread has been woken by that already.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Read);
    }

    fn seen(&self, from: SocketAddrV4) -> Running<'_> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1);
        let heard = heard.map(|since| self.opened + Duration::from_micros(since));
        Running { from, request: &self.request, opened: self.opened, heard }
    }
}

pub(super) async fn serve(
    socket: Datagrams,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = Service {
        places: Arc::new(Semaphore::new(context.settings.tftp_transfers)),
        running: Register::default(),
        tracker: TaskTracker::new(),
        context,
        stop: stop.clone(),
    };
    let mut buffer = vec![0; LONGEST_REQUEST + 1];
    while let Some(got) = stop.run_until_cancelled(socket.receive(&mut buffer)).await {
        match got {
            Ok(arrived) if !arrived.is_by(&service.context.settings.interfaces) => {
                debug!(from = %arrived.from, "ignored a packet of an interface that is not served");
            }
            Ok(arrived) => service.open(&buffer[..arrived.length], arrived).await,
            Err(error) => {
                warn!(%error, "a TFTP packet could not be received: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    service.tracker.close();
    service.tracker.wait().await;
    Ok(())
}

struct Service {
    places: Arc<Semaphore>,
    running: Register,
    /// Counts the threads, so that the end can wait for them.
    tracker: TaskTracker,
    context: Arc<Context>,
    stop: CancellationToken,
}

impl Service {
    async fn open(&self, bytes: &[u8], arrived: Arrived) {
        let from = arrived.from;
        if from.port() == 0
            || from.ip().is_broadcast()
            || from.ip().is_multicast()
            || from.ip().is_unspecified()
        {
            return debug!(%from, "dropped a TFTP packet that cannot be answered");
        }
        let request = match read_opening(bytes) {
            Ok(request) => request,
            Err(refusal) => {
                match refusal.code() {
                    Some(code) => refuse(&arrived, code, &refusal),
                    None => self.context.clients.malformed("TFTP", *from.ip(), &refusal),
                }
                return tell(&self.context, *from.ip(), false, format!("TFTP request refused: {refusal}"));
            }
        };
        match self.admit(from, &request) {
            Admission::Repeated => debug!(%from, "a TFTP request was repeated while it is being served"),
            Admission::Open { .. } => match self.place().await {
                Some(place) => self.start(request, arrived, place),
                None => debug!(%from, "a TFTP request found no place in time; the client will repeat it"),
            },
            Admission::Refused(crowded) => {
                refuse(&arrived, ErrorCode::Undefined, &crowded);
                if self.context.clients.may_complain(*from.ip(), "TFTP transfers").is_some() {
                    warn!(%from, "refused a TFTP request of {from}: {crowded}");
                }
                tell(&self.context, *from.ip(), false, format!("TFTP request refused: {crowded}"));
            }
        }
    }

    /// Decides about a request, and ends the transfer that gives way to it.
    fn admit(&self, from: SocketAddrV4, request: &ReadRequest) -> Admission {
        let mut running = held(&self.running);
        let seen: Vec<_> = running.iter().map(|(from, transfer)| transfer.seen(*from)).collect();
        let told = admit(from, request, &seen, self.context.settings.tftp_transfers, now());
        if let Admission::Open { ends: Some(other) } = told
            && let Some(transfer) = running.remove(&other)
        {
            transfer.end();
        }
        told
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = tokio::time::timeout(HANDOVER, self.places.clone().acquire_owned()).await;
        place.ok()?.ok()
    }

    /// Starts a thread. Not one of the runtime's: those look at the boot folder for DHCP, and must not be used up here.
    fn start(&self, request: ReadRequest, arrived: Arrived, place: OwnedSemaphorePermit) {
        let from = arrived.from;
        let transfer = match Transfer::open(request, &arrived, self.stop.child_token()) {
            Ok(transfer) => Arc::new(transfer),
            Err(error) => return warn!(%from, %error, "no TFTP socket towards {from}: {error}"),
        };
        held(&self.running).insert(from, transfer.clone());
        let (context, running, counted) = (self.context.clone(), self.running.clone(), self.tracker.token());
        let own = transfer.clone();
        let run = move || {
            let ended = transfer::run(&own, &context);
            leave(&running, from, &own);
            report(&context, from, ended);
            drop((place, counted));
        };
        if let Err(error) = std::thread::Builder::new().name("tftp".into()).stack_size(STACK).spawn(run) {
            leave(&self.running, from, &transfer);
            warn!(%from, %error, "no thread for the TFTP transfer of {from}: {error}");
        }
    }
}

fn held(running: &Register) -> std::sync::MutexGuard<'_, HashMap<SocketAddrV4, Arc<Transfer>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a transfer off the register, unless another has taken its entry.
fn leave(running: &Register, from: SocketAddrV4, transfer: &Arc<Transfer>) {
    let mut running = held(running);
    if running.get(&from).is_some_and(|current| Arc::ptr_eq(current, transfer)) {
        running.remove(&from);
    }
}

/// Sends an ERROR from a port of its own, as a transfer would.
fn refuse(arrived: &Arrived, code: ErrorCode, reason: &impl std::fmt::Display) {
    let sent = std::net::UdpSocket::bind((arrived.local, 0))
        .and_then(|socket| socket.send_to(&error(code, reason), arrived.from));
    if let Err(error) = sent {
        debug!(to = %arrived.from, %error, "a TFTP refusal could not be sent: {error}");
    }
}

fn report(context: &Context, from: SocketAddrV4, ended: Outcome) {
    let Outcome { good, detail, bytes } = ended;
    context.clients.counters.tftp_bytes.fetch_add(bytes, Ordering::Relaxed);
    if good {
        info!(%from, "TFTP {from}: {detail}");
    } else if context.clients.may_complain(*from.ip(), "TFTP transfer").is_some() {
        warn!(%from, "TFTP {from}: {detail}");
    } else {
        debug!(%from, "TFTP {from}: {detail}");
    }
    tell(context, *from.ip(), good, format!("TFTP {detail}"));
}

fn tell(context: &Context, from: Ipv4Addr, good: bool, detail: String) {
    let clients: &clients::Clients = &context.clients;
    match clients.mac_of(from) {
        Some(mac) => clients.tell(mac, Stage::Tftp, good, detail),
        None => debug!(%from, "no MAC address is known for {from}, its timeline lacks: {detail}"),
    }
}
