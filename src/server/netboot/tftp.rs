//! Port 69: each request becomes a transfer with a socket and a thread of its own, bounded in number.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::socket::{Arrived, Datagrams};
use super::transfer::{self, Outcome};
use super::{Context, clients};
use crate::api::timeline::Stage;
use crate::netboot::tftp::{ErrorCode, LONGEST_REQUEST, ReadRequest, error, read_opening};

/// Transfers that are running, by the client's address and port.
type Running = Arc<Mutex<HashMap<SocketAddrV4, Arc<Transfer>>>>;

struct Transfer {
    request: ReadRequest,
    /// The client has answered; a request repeated before that is the same one, sent again by an impatient client.
    begun: AtomicBool,
    stop: CancellationToken,
}

pub(super) async fn serve(
    socket: Datagrams,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = Service {
        places: Arc::new(Semaphore::new(context.settings.tftp_transfers)),
        running: Running::default(),
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
            Ok(arrived) => service.open(&buffer[..arrived.length], arrived),
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
    running: Running,
    tracker: TaskTracker,
    context: Arc<Context>,
    stop: CancellationToken,
}

impl Service {
    fn open(&self, bytes: &[u8], arrived: Arrived) {
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
        if !self.replaces(from, &request) {
            return debug!(%from, "a TFTP request was repeated before its answer arrived");
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let most = self.context.settings.tftp_transfers;
            let reason = format!("{most} transfers are running, ask again later");
            refuse(&arrived, ErrorCode::Undefined, &reason);
            if self.context.clients.may_complain(Ipv4Addr::UNSPECIFIED, "TFTP transfers").is_some() {
                warn!(%from, "refused a TFTP request: {reason}");
            }
            return tell(&self.context, *from.ip(), false, format!("TFTP request refused: {reason}"));
        };
        let stop = self.stop.child_token();
        let transfer = Arc::new(Transfer { request, begun: AtomicBool::new(false), stop });
        self.running().insert(from, transfer.clone());
        let (context, running) = (self.context.clone(), self.running.clone());
        self.tracker.spawn_blocking(move || {
            let ended = transfer::run(&transfer.request, &arrived, &context, &transfer.begun, &transfer.stop);
            let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.get(&from).is_some_and(|current| Arc::ptr_eq(current, &transfer)) {
                running.remove(&from);
            }
            drop(running);
            report(&context, from, ended);
            drop(place);
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddrV4, Arc<Transfer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request opens a transfer. A client that asks anew from the same port has given up what it was
    /// reading: that transfer is stopped.
    fn replaces(&self, from: SocketAddrV4, request: &ReadRequest) -> bool {
        let running = self.running();
        let Some(current) = running.get(&from) else { return true };
        if current.request == *request && !current.begun.load(Ordering::Relaxed) {
            return false;
        }
        current.stop.cancel();
        true
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
