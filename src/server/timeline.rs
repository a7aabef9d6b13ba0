//! From the boot services and the runner protocol into the database: client events, in batches.
//!
//! The queue is bounded. When the disk cannot keep up, events are dropped and counted: a boot is never slowed down by its
//! own record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// A runner that waits for its technician says hello every quarter of a minute. The same words within this time are one line.
const SAME_MS: i64 = 60_000;
/// Macs whose last hello is remembered at most: anybody can say hello.
const REMEMBERED: usize = 4096;

/// Where events go in. Cheap to clone.
#[derive(Clone)]
pub struct Timeline {
    sender: mpsc::Sender<ClientEvent>,
    dropped: Arc<AtomicU64>,
    hellos: Arc<Mutex<Hellos>>,
}

/// The last hello of each Mac.
#[derive(Default)]
struct Hellos(HashMap<MacAddr, (String, i64)>);

impl Hellos {
    /// Whether these words are new at `now_ms`; remembers them.
    fn is_new(&mut self, mac: MacAddr, words: &str, now_ms: i64) -> bool {
        let last = self.0.get_mut(&mac).filter(|(said, at)| said == words && now_ms - *at < SAME_MS);
        if let Some((_, at)) = last {
            *at = now_ms;
            return false;
        }
        if self.0.len() >= REMEMBERED {
            // Costs a line twice at worst.
            self.0.clear();
        }
        self.0.insert(mac, (words.to_owned(), now_ms));
        true
    }
}

impl Timeline {
    /// A timeline and the end that [`write`] reads.
    pub fn new() -> (Timeline, mpsc::Receiver<ClientEvent>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Timeline { sender, dropped: Arc::default(), hellos: Arc::default() }, receiver)
    }

    /// The queue itself, for the boot services.
    pub fn sender(&self) -> mpsc::Sender<ClientEvent> {
        self.sender.clone()
    }

    /// Whether a runner's hello is worth a line: not when it said the same a moment ago.
    pub fn is_news(&self, mac: Option<&MacAddr>, words: &str) -> bool {
        let mut hellos = self.hellos.lock().unwrap_or_else(PoisonError::into_inner);
        mac.is_none_or(|mac| hellos.is_new(*mac, words, now_ms()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_that_waits_is_one_line_and_one_that_comes_back_or_is_offered_something_else_a_new_one() {
        let mut hellos = Hellos::default();
        let (one, other) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        assert!(hellos.is_new(one, "offered nothing", 0));
        // Each repetition counts from the one before.
        assert!((1..=20).all(|turn| !hellos.is_new(one, "offered nothing", turn * 15_000)));
        assert!(hellos.is_new(other, "offered nothing", 300_000));
        assert!(hellos.is_new(one, "offered 1 sequence", 310_000));
        assert!(hellos.is_new(one, "offered 1 sequence", 310_000 + SAME_MS));
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut hellos = Hellos::default();
        for number in 0..100_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            hellos.is_new(MacAddr::new([2, 0, a, b, c, d]), "x", 0);
        }
        assert!(hellos.0.len() <= REMEMBERED);
    }
}
