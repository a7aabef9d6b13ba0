//! The transfers that run: who holds a place, what an administrator sees of it, how one is stopped.
//!
//! Owns: the register that the loop on port 69, the threads that carry transfers, and the API share. Must not know: sockets,
//! packets.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::api::admin;
use crate::netboot::tftp::{Admission, ReadRequest, Running, Transfer, admit};
use crate::server::clock::now_ms;
use crate::value::MacAddr;

/// The register. Cheap to clone; every clone is the same register.
#[derive(Clone, Debug, Default)]
pub struct Transfers(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    last: i64,
    running: HashMap<SocketAddrV4, Arc<Ticket>>,
}

/// Why a transfer ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// For a new request.
    #[error("it gives way to a newer request")]
    Displaced,
    /// `rootstock transfer stop`.
    #[error("an administrator stopped it")]
    Admin,
    /// The daemon ends.
    #[error("the server ends")]
    Shutdown,
}

/// One transfer, as all sides see it.
#[derive(Debug)]
pub(super) struct Ticket {
    pub id: i64,
    pub from: SocketAddrV4,
    pub request: ReadRequest,
    opened: Instant,
    since_ms: i64,
    /// Microseconds from `opened` to the client's last packet, plus one; 0 before the first.
    heard: AtomicU64,
    /// Number of the [`Stop`], plus one; 0 while it runs.
    stop: AtomicU8,
    pub mac: OnceLock<MacAddr>,
    size: OnceLock<u64>,
    acknowledged: AtomicU64,
    block_size: AtomicU16,
    window: AtomicU16,
    resent: AtomicU64,
}

const STOPS: [Stop; 3] = [Stop::Displaced, Stop::Admin, Stop::Shutdown];

impl Ticket {
    /// The client has sent something. True the first time.
    pub(super) fn was_heard(&self, at: Instant) -> bool {
        let since = at.saturating_duration_since(self.opened).as_micros();
        let heard = u64::try_from(since).unwrap_or(u64::MAX - 1) + 1;
        self.heard.swap(heard, Ordering::Relaxed) == 0
    }

    /// Whose it is; the first word counts.
    pub(super) fn is_of(&self, mac: Option<MacAddr>) {
        if let Some(mac) = mac {
            // Fails when it is known already.
            let _ = self.mac.set(mac);
        }
    }

    /// What it agreed on with the client.
    pub(super) fn has_begun(&self, transfer: &Transfer) {
        // Set once, at the beginning.
        let _ = self.size.set(transfer.size());
        self.block_size.store(transfer.block_size(), Ordering::Relaxed);
        self.window.store(transfer.window(), Ordering::Relaxed);
    }

    /// How far it is.
    pub(super) fn is_at(&self, transfer: &Transfer) {
        self.acknowledged.store(transfer.arrived(), Ordering::Relaxed);
        self.resent.store(transfer.resent(), Ordering::Relaxed);
    }

    /// Whether it is to end, and why. The first reason counts.
    pub(super) fn stopped(&self) -> Option<Stop> {
        let number = self.stop.load(Ordering::Acquire);
        STOPS.get(usize::from(number).checked_sub(1)?).copied()
    }

    pub(super) fn stop(&self, why: Stop) {
        let number = STOPS.iter().position(|stop| *stop == why).map_or(0, |at| at as u8 + 1);
        // Fails when it was stopped already.
        let _ = self.stop.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
    }

    fn seen(&self) -> Running<'_> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1);
        let heard = heard.map(|since| self.opened + Duration::from_micros(since));
        Running { from: self.from, request: &self.request, opened: self.opened, heard }
    }

    fn shown(&self) -> admin::Transfer {
        admin::Transfer {
            id: self.id,
            client: self.from.to_string(),
            mac: self.mac.get().copied(),
            file: String::from_utf8_lossy(&self.request.file).escape_debug().take(200).collect(),
            size: self.size.get().copied(),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            block_size: self.block_size.load(Ordering::Relaxed),
            window: self.window.load(Ordering::Relaxed),
            retransmissions: self.resent.load(Ordering::Relaxed),
            since_ms: self.since_ms,
        }
    }
}

impl Transfers {
    /// The transfers that run, longest first.
    pub fn list(&self) -> Vec<admin::Transfer> {
        let mut list: Vec<_> = self.held().running.values().map(|ticket| ticket.shown()).collect();
        list.sort_by_key(|transfer| transfer.id);
        list
    }

    /// Ends a transfer: its client is sent an ERROR, its timeline gets a line. None when no such transfer runs.
    pub fn stop(&self, id: i64) -> Option<admin::Transfer> {
        let register = self.held();
        let ticket = register.running.values().find(|ticket| ticket.id == id)?;
        ticket.stop(Stop::Admin);
        Some(ticket.shown())
    }

    /// Decides about a request. Where it opens a transfer, that one is in the register now, and what gave way is out.
    pub(super) fn open(
        &self,
        from: SocketAddrV4,
        request: ReadRequest,
        most: usize,
        now: Instant,
    ) -> Result<Opened, Admission> {
        let mut register = self.held();
        let seen: Vec<_> = register.running.values().map(|ticket| ticket.seen()).collect();
        let ends = match admit(from, &request, &seen, most, now) {
            Admission::Open { ends } => ends,
            other => return Err(other),
        };
        let displaced = ends.and_then(|ends| register.running.remove(&ends));
        if let Some(ticket) = &displaced {
            ticket.stop(Stop::Displaced);
        }
        register.last += 1;
        let ticket = Arc::new(Ticket {
            id: register.last,
            from,
            request,
            opened: now,
            since_ms: now_ms(),
            heard: AtomicU64::new(0),
            stop: AtomicU8::new(0),
            mac: OnceLock::new(),
            size: OnceLock::new(),
            acknowledged: AtomicU64::new(0),
            block_size: AtomicU16::new(0),
            window: AtomicU16::new(0),
            resent: AtomicU64::new(0),
        });
        register.running.insert(from, ticket.clone());
        Ok(Opened { ticket, displaced: displaced.is_some() })
    }

    /// Takes a transfer off the register, unless another has taken its entry.
    pub(super) fn leave(&self, ticket: &Ticket) {
        let mut register = self.held();
        if register.running.get(&ticket.from).is_some_and(|current| current.id == ticket.id) {
            register.running.remove(&ticket.from);
        }
    }

    fn held(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transfer that may begin.
pub(super) struct Opened {
    pub ticket: Arc<Ticket>,
    /// Another one was ended for it.
    pub displaced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::tftp::read_opening;
    use crate::server::netboot::clients::now;

    fn open(transfers: &Transfers, port: u16, file: &str) -> Result<Opened, Admission> {
        let request = read_opening(format!("\0\u{1}{file}\0octet\0").as_bytes()).unwrap();
        transfers.open(SocketAddrV4::new([10, 0, 0, 1].into(), port), request, 3, now())
    }

    #[test]
    fn a_transfer_is_listed_until_it_leaves_and_stopped_by_its_number() {
        let transfers = Transfers::default();
        let one = open(&transfers, 1, "one").unwrap().ticket;
        let two = open(&transfers, 2, "t\u{7}wo").unwrap().ticket;
        let listed: Vec<_> = transfers.list().into_iter().map(|shown| (shown.id, shown.file)).collect();
        assert_eq!(listed, [(1, "one".to_owned()), (2, "t\\u{7}wo".to_owned())]);
        assert_eq!(transfers.stop(2).unwrap().client, "10.0.0.1:2");
        assert_eq!((one.stopped(), two.stopped()), (None, Some(Stop::Admin)));
        two.stop(Stop::Shutdown);
        assert_eq!(two.stopped(), Some(Stop::Admin), "the first reason counts");
        transfers.leave(&one);
        assert!(transfers.stop(1).is_none() && transfers.list().len() == 1);
    }

    #[test]
    fn a_transfer_that_gave_way_leaves_its_successor_alone() {
        let transfers = Transfers::default();
        let old = open(&transfers, 1, "old").unwrap().ticket;
        let new = open(&transfers, 1, "new").unwrap();
        assert!(new.displaced);
        assert_eq!(old.stopped(), Some(Stop::Displaced));
        transfers.leave(&old);
        assert_eq!(transfers.list().len(), 1);
        assert!(matches!(open(&transfers, 1, "new"), Err(Admission::Repeated)));
    }
}
