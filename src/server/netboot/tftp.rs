//! Port 69: each request becomes a transfer with a socket of its own, bounded in number, carried by a few threads.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Context;
use super::carrier::Carriers;
use super::clients::now;
use super::socket::{Arrived, Datagrams};
use super::transfer::Outcome;
use super::transfers::{Opened, Ticket, Transfers};
use crate::api::timeline::Stage;
use crate::netboot::tftp::{Admission, ErrorCode, LONGEST_REQUEST, error, read_opening};
use crate::value::MacAddr;

pub(super) async fn serve(
    socket: Datagrams,
    transfers: Transfers,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let carriers = Carriers::start(&context, &transfers)?;
    let service = Service { transfers, carriers, context };
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
    service.carriers.end().await;
    Ok(())
}

struct Service {
    transfers: Transfers,
    carriers: Carriers,
    context: Arc<Context>,
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
        // RFC 1123 section 4.2.3.5: every server in the segment would answer.
        if arrived.destination != arrived.local {
            return debug!(%from, "ignored a TFTP request to {}, which is not one machine's", arrived.destination);
        }
        let request = match read_opening(bytes) {
            Ok(request) => request,
            Err(refusal) => {
                match refusal.code() {
                    Some(code) => refuse(&arrived, code, &refusal),
                    None => self.context.clients.malformed("TFTP", *from.ip(), &refusal),
                }
                return self.complain(
                    *from.ip(),
                    "TFTP requests",
                    format!("TFTP request refused: {refusal}"),
                );
            }
        };
        match self.transfers.open(from, request, self.context.settings.tftp_transfers, now()) {
            Ok(opened) => self.start(opened, &arrived),
            Err(Admission::Refused(crowded)) => {
                refuse(&arrived, ErrorCode::Undefined, &crowded);
                self.complain(*from.ip(), "TFTP places", format!("TFTP request refused: {crowded}"));
            }
            Err(Admission::Deferred) => {
                self.complain(
                    *from.ip(),
                    "TFTP places",
                    "TFTP requests come faster than they are answered".into(),
                );
            }
            Err(Admission::Repeated | Admission::Open { .. }) => {
                debug!(%from, "a TFTP request was repeated while it is being served");
            }
        }
    }

    fn start(&self, opened: Opened, arrived: &Arrived) {
        let Opened { ticket, displaced } = opened;
        let from = ticket.from;
        if displaced {
            self.carriers.look();
        }
        let given = socket(arrived)
            .map_err(|error| error.to_string())
            .and_then(|socket| self.carriers.take(ticket.clone(), socket).map_err(|error| error.to_string()));
        if let Err(error) = given {
            self.transfers.leave(&ticket);
            if self.context.clients.may_complain(*from.ip(), "TFTP sockets").is_some() {
                warn!(%from, "no TFTP transfer with {from}: {error}; the client will ask again");
            }
        }
    }

    /// A line in log and timeline, once a minute for each source: floods come packet by packet.
    fn complain(&self, from: Ipv4Addr, about: &'static str, detail: String) {
        if self.context.clients.may_complain(from, about).is_some() {
            warn!(%from, "{from}: {detail}");
            tell(&self.context, None, from, false, detail);
        }
    }
}

/// A socket whose port is the transfer's id (RFC 1350 section 4).
fn socket(arrived: &Arrived) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((arrived.local, 0))?;
    socket.connect(arrived.from)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends an ERROR from a port of its own, as a transfer would.
fn refuse(arrived: &Arrived, code: ErrorCode, reason: &impl std::fmt::Display) {
    let sent = UdpSocket::bind((arrived.local, 0))
        .and_then(|socket| socket.send_to(&error(code, reason), arrived.from));
    if let Err(error) = sent {
        debug!(to = %arrived.from, %error, "a TFTP refusal could not be sent: {error}");
    }
}

/// A transfer has ended.
pub(super) fn report(context: &Context, ticket: &Ticket, ended: Outcome) {
    let Outcome { good, detail, bytes, quiet } = ended;
    let from = ticket.from;
    context.clients.counters.tftp_bytes.fetch_add(bytes, Ordering::Relaxed);
    if good {
        info!(%from, "TFTP {from}: {detail}");
    } else if context.clients.may_complain(*from.ip(), "TFTP transfer").is_some() {
        warn!(%from, "TFTP {from}: {detail}");
    } else {
        debug!(%from, "TFTP {from}: {detail}");
        if quiet {
            return;
        }
    }
    tell(context, ticket.mac.get().copied(), *from.ip(), good, format!("TFTP {detail}"));
}

fn tell(context: &Context, mac: Option<MacAddr>, from: Ipv4Addr, good: bool, detail: String) {
    match mac.or_else(|| context.clients.mac_of(from)) {
        Some(mac) => context.clients.tell(mac, Stage::Tftp, good, detail),
        None => debug!(%from, "no MAC address is known for {from}, its timeline lacks: {detail}"),
    }
}
