//! From the boot services and the runner protocol into the database: client events, in batches.
//!
//! The queue is bounded. When the disk cannot keep up, events are dropped and counted: a boot is never slowed down by its
//! own record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock::now_ms;
use super::http::error::chain;
use crate::api::timeline::{ClientEvent, Stage};
use crate::db::Db;
use crate::value::MacAddr;

/// Events that wait at most.
pub const QUEUE: usize = 4096;
/// Events that are written in one transaction at most.
const BATCH: usize = 512;

/// Where events go in. Cheap to clone.
#[derive(Clone)]
pub struct Timeline {
    sender: mpsc::Sender<ClientEvent>,
    dropped: Arc<AtomicU64>,
}

impl Timeline {
    /// A timeline and the end that [`write`] reads.
    pub fn new() -> (Timeline, mpsc::Receiver<ClientEvent>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Timeline { sender, dropped: Arc::default() }, receiver)
    }

    /// The queue itself, for the boot services.
    pub fn sender(&self) -> mpsc::Sender<ClientEvent> {
        self.sender.clone()
    }

    /// Notes something that a runner did; without an address there is no client to note it for.
    pub fn runner(&self, mac: Option<&MacAddr>, answered: bool, detail: String) {
        let Some(mac) = mac else { return };
        let event = ClientEvent { mac: *mac, at_ms: now_ms(), stage: Stage::Runner, answered, detail };
        if self.sender.try_send(event).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "the timeline is full: {dropped} events were not recorded so far");
            }
        }
    }
}

/// Writes events until `end` is cancelled, then what is still in the queue. Events that the database refuses are logged
/// and given up.
pub async fn write(db: Db, mut events: mpsc::Receiver<ClientEvent>, end: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let got = tokio::select! {
            biased;
            got = events.recv_many(&mut batch, BATCH) => got,
            () = end.cancelled(), if !events.is_closed() => {
                events.close();
                continue;
            }
        };
        if got == 0 {
            return;
        }
        if let Err(error) = db.add_client_events(&batch).await {
            tracing::error!("{got} events of timelines were not recorded: {}", chain(&error));
        }
        batch.clear();
    }
}
