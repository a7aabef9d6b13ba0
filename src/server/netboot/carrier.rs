//! A few threads carry all TFTP transfers, each on the sockets that its epoll watches.
//!
//! An ACK costs one system call to receive, one to send, and its part of one to wait: less than a switch between threads
//! costs. A transfer takes memory for its state and a read-ahead of 16 KiB, not for a stack; buffers for whole windows are
//! the thread's. A slow disk holds up the transfers of one thread.

use std::collections::HashMap;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, warn};

use super::Context;
use super::clients::now;
use super::tftp;
use super::transfer::{Drive, Scratch};
use super::transfers::{Stop, Ticket, Transfers};

/// How exactly deadlines are kept.
const TICK_MS: u8 = 20;
/// More threads than this never have enough to do: the network is slower.
const MOST_THREADS: usize = 4;
/// Transfers that may wait for one thread to take them.
const INBOX: usize = 256;
/// New transfers that a thread takes before it looks after those that it has: a flood of requests must not keep it.
const TAKEN_AT_ONCE: usize = 16;
/// Marks the event that something is in the inbox.
const WAKE: u64 = u64::MAX;

/// A transfer on its way to its thread.
struct Parcel {
    ticket: Arc<Ticket>,
    socket: UdpSocket,
}

/// The threads.
pub(super) struct Carriers {
    each: Vec<Carrier>,
    /// Counts the threads, so that the end can wait for them without blocking.
    tracker: TaskTracker,
}

struct Carrier {
    inbox: SyncSender<Parcel>,
    bell: Arc<EventFd>,
    /// Transfers that it carries.
    load: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// Why a transfer was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("too many requests wait already")]
    Full,
    #[error("the thread that should carry it has ended")]
    Ended,
}

impl Carriers {
    pub(super) fn start(context: &Arc<Context>, transfers: &Transfers) -> io::Result<Carriers> {
        let count = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, MOST_THREADS);
        let tracker = TaskTracker::new();
        let each = (0..count).map(|_| Carrier::start(context.clone(), transfers.clone(), tracker.token()));
        Ok(Carriers { each: each.collect::<io::Result<_>>()?, tracker })
    }

    /// Gives a transfer to the thread that has the fewest.
    pub(super) fn take(&self, ticket: Arc<Ticket>, socket: UdpSocket) -> Result<(), NotTaken> {
        let least = self.each.iter().min_by_key(|carrier| carrier.load.load(Ordering::Relaxed));
        let carrier = least.ok_or(NotTaken::Ended)?;
        carrier.load.fetch_add(1, Ordering::Relaxed);
        let taken = carrier.inbox.try_send(Parcel { ticket, socket });
        if let Err(refused) = taken {
            carrier.load.fetch_sub(1, Ordering::Relaxed);
            return Err(match refused {
                TrySendError::Full(_) => NotTaken::Full,
                TrySendError::Disconnected(_) => NotTaken::Ended,
            });
        }
        carrier.ring();
        Ok(())
    }

    /// Has the threads look which transfers were stopped.
    pub(super) fn look(&self) {
        self.each.iter().for_each(Carrier::ring);
    }

    /// Ends all transfers and waits for the threads.
    pub(super) async fn end(self) {
        let mut threads = Vec::new();
        for Carrier { inbox, bell, thread, .. } in self.each {
            drop(inbox);
            ring(&bell);
            threads.push(thread);
        }
        self.tracker.close();
        self.tracker.wait().await;
        // They are past their last line: joining takes no time.
        if threads.into_iter().any(|thread| thread.join().is_err()) {
            error!("a thread that carries TFTP transfers panicked");
        }
    }
}

impl Carrier {
    fn start(context: Arc<Context>, transfers: Transfers, counted: TaskTrackerToken) -> io::Result<Carrier> {
        let (inbox, parcels) = sync_channel(INBOX);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        epoll.add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let load = Arc::new(AtomicUsize::new(0));
        let work = Work {
            epoll,
            bell: bell.clone(),
            parcels,
            load: load.clone(),
            driven: HashMap::new(),
            context,
            transfers,
            scratch: Scratch::default(),
        };
        let run = move || {
            work.run();
            drop(counted);
        };
        let thread = std::thread::Builder::new().name("tftp".into()).spawn(run)?;
        Ok(Carrier { inbox, bell, load, thread })
    }

    fn ring(&self) {
        ring(&self.bell);
    }
}

fn ring(bell: &EventFd) {
    // Fails only when it has been rung without end: then it is heard anyway.
    let _ = bell.write(1);
}

/// What one thread works with.
struct Work {
    epoll: Epoll,
    bell: Arc<EventFd>,
    parcels: Receiver<Parcel>,
    load: Arc<AtomicUsize>,
    driven: HashMap<u64, Drive>,
    context: Arc<Context>,
    transfers: Transfers,
    scratch: Scratch,
}

impl Work {
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 128];
        let mut looked = now();
        loop {
            let idle = self.driven.is_empty();
            let patience = if idle { EpollTimeout::NONE } else { EpollTimeout::from(TICK_MS) };
            let count = match self.epoll.wait(&mut events, patience) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    error!(%error, "TFTP sockets cannot be waited for: {error}");
                    return self.end();
                }
            };
            let now = now();
            let mut woken = false;
            for event in &events[..count] {
                if event.data() == WAKE {
                    woken = true;
                } else {
                    self.ready(event, now);
                }
            }
            if woken || now.saturating_duration_since(looked) >= Duration::from_millis(TICK_MS.into()) {
                looked = now;
                self.look(now);
            }
            if woken && !self.receive_parcels(now) {
                return self.end();
            }
        }
    }

    /// A socket has a packet, or room for one.
    fn ready(&mut self, event: &EpollEvent, now: Instant) {
        let id = event.data();
        let Some(drive) = self.driven.get_mut(&id) else { return };
        let mut ended = false;
        // An error counts as a packet: receiving it says what it is.
        if event.events() != EpollFlags::EPOLLOUT {
            ended = drive.on_packet(&self.context, &mut self.scratch, now);
        }
        if !ended && event.events().contains(EpollFlags::EPOLLOUT) {
            ended = drive.on_room(&mut self.scratch);
        }
        self.after(id, ended);
    }

    /// What follows a step: the end, or other events to wait for.
    fn after(&mut self, id: u64, ended: bool) {
        if ended {
            return self.finish(id);
        }
        let Some(drive) = self.driven.get_mut(&id) else { return };
        if let Some(wants_room) = drive.wants_changed() {
            let wanted =
                if wants_room { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            if let Err(error) = self.epoll.modify(&drive.socket, &mut EpollEvent::new(wanted, id)) {
                warn!(%error, "a TFTP socket cannot be watched any more: {error}");
            }
        }
    }

    /// Deadlines that have come, and transfers that were stopped.
    fn look(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, drive) in &self.driven {
            if drive.is_due(now) {
                due.push(*id);
            }
        }
        for id in due {
            let Some(drive) = self.driven.get_mut(&id) else { continue };
            let ended = drive.on_time(&mut self.scratch, now);
            self.after(id, ended);
        }
    }

    /// False when there will be no more of them.
    fn receive_parcels(&mut self, now: Instant) -> bool {
        // Nothing to read when the bell was rung twice and heard once.
        let _ = self.bell.read();
        for _ in 0..TAKEN_AT_ONCE {
            match self.parcels.try_recv() {
                Ok(parcel) => self.begin(parcel, now),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        ring(&self.bell);
        true
    }

    fn begin(&mut self, parcel: Parcel, now: Instant) {
        let Parcel { ticket, socket } = parcel;
        let id = ticket.id.unsigned_abs();
        if let Err(error) = self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, id)) {
            warn!(%error, "no TFTP transfer with {}: {error}", ticket.from);
            self.transfers.leave(&ticket);
            self.load.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut drive = Drive::new(ticket, socket);
        let ended = drive.begin(&self.context, &mut self.scratch, now);
        self.driven.insert(id, drive);
        self.after(id, ended);
    }

    fn finish(&mut self, id: u64) {
        let Some(drive) = self.driven.remove(&id) else { return };
        self.load.fetch_sub(1, Ordering::Relaxed);
        // Closing the socket takes it out of the epoll.
        let (ticket, outcome) = drive.outcome();
        self.transfers.leave(&ticket);
        tftp::report(&self.context, &ticket, outcome);
    }

    fn end(mut self) {
        let now = now();
        let ids: Vec<u64> = self.driven.keys().copied().collect();
        for id in ids {
            if let Some(drive) = self.driven.get_mut(&id) {
                drive.ticket.stop(Stop::Shutdown);
                drive.on_time(&mut self.scratch, now);
            }
            self.finish(id);
        }
    }
}
