//! Who was seen: addresses to MACs, the timeline, and what the log has said already.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tracing::warn;

use crate::api::timeline::{ClientEvent, Stage};
use crate::netboot::intake::{Buckets, Rate};
use crate::value::MacAddr;
use crate::value::Model;

/// Most entries of each table. A full one starts anew: what it held is learnt again from the next packets.
const MOST: usize = 8192;
/// Timeline lines of those that ask too often, all of them together: a flood shall not keep the database at work.
const OF_SURPLUS: Rate = Rate { a_second: 100, burst: 1000 };
/// How long a source is not complained about again.
const QUIET: Duration = Duration::from_secs(60);

/// What happened since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were answered, of all services.
    pub answered: AtomicU64,
    /// Requests of boot clients that were left unanswered or refused.
    pub refused: AtomicU64,
    /// Packets that could not be read.
    pub malformed: AtomicU64,
    /// DHCP packets that were given up because more came than could be answered.
    pub crowded_out: AtomicU64,
    /// DHCP packets of sources that ask more often than any client does; answered when nobody else waits.
    pub surplus: AtomicU64,
    /// Timeline entries lost because nobody took them in time.
    pub events_lost: AtomicU64,
    /// Bytes that TFTP clients acknowledged.
    pub tftp_bytes: AtomicU64,
    /// Bytes of boot files sent over HTTP.
    pub http_bytes: AtomicU64,
}

/// When a source was last complained about, and how often it gave reason to since.
type Complaint = (Instant, u64);

/// What was complained about.
#[derive(Default)]
struct Complaints {
    said: HashMap<(Ipv4Addr, &'static str), Complaint>,
    /// When the table was full and was looked through for what is old.
    searched: Option<Instant>,
}

impl Complaints {
    fn may(&mut self, from: Ipv4Addr, about: &'static str, now: Instant) -> Option<u64> {
        if let Some((last, held_back)) = self.said.get_mut(&(from, about)) {
            if now.duration_since(*last) < QUIET {
                *held_back += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(held_back));
        }
        // A flood with forged sources fills the table; those that find no room are only counted.
        self.has_room(now).then(|| {
            self.said.insert((from, about), (now, 0));
            0
        })
    }

    /// A full table is looked through once a second, not for each packet of a flood.
    fn has_room(&mut self, now: Instant) -> bool {
        let was_searched = |at: Instant| now.duration_since(at) < Duration::from_secs(1);
        if self.said.len() >= MOST && !self.searched.is_some_and(was_searched) {
            self.said.retain(|_, (last, _)| now.duration_since(*last) < QUIET);
            self.searched = Some(now);
        }
        self.said.len() < MOST
    }
}

pub(super) struct Clients {
    timeline: mpsc::Sender<ClientEvent>,
    pub(super) counters: Arc<Counters>,
    addresses: Mutex<HashMap<Ipv4Addr, MacAddr>>,
    models: Mutex<HashMap<MacAddr, Model>>,
    complaints: Mutex<Complaints>,
    /// Lines of those that ask too often.
    surplus: Mutex<Buckets<()>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clients {
    pub(super) fn new(timeline: mpsc::Sender<ClientEvent>, counters: Arc<Counters>) -> Clients {
        Clients {
            timeline,
            counters,
            addresses: Mutex::default(),
            models: Mutex::default(),
            complaints: Mutex::default(),
            surplus: Mutex::new(Buckets::new(OF_SURPLUS)),
        }
    }

    /// A DHCP packet told that `mac` has, or is about to have, `address`.
    pub(super) fn learn(&self, address: Ipv4Addr, mac: MacAddr) {
        let mut addresses = held(&self.addresses);
        if addresses.len() >= MOST {
            addresses.clear();
        }
        addresses.insert(address, mac);
    }

    /// A DHCP packet of `mac` has this option 60: a Mac's firmware tells its model there, `AAPLBSDPC/i386/iMac14,2`.
    pub(super) fn learn_model(&self, mac: MacAddr, class: &[u8]) {
        let mut parts = class.split(|byte| *byte == b'/');
        if parts.next() != Some(b"AAPLBSDPC") {
            return;
        }
        let model = parts.nth(1).and_then(|model| std::str::from_utf8(model).ok()?.parse().ok());
        if let Some(model) = model {
            let mut models = held(&self.models);
            if models.len() >= MOST {
                models.clear();
            }
            models.insert(mac, model);
        }
    }

    /// What this Mac said that it is.
    pub(super) fn model_of(&self, mac: MacAddr) -> Option<Model> {
        held(&self.models).get(&mac).cloned()
    }

    /// Whose address this is, from DHCP packets seen: costs nothing.
    pub(super) fn mac_learnt(&self, address: Ipv4Addr) -> Option<MacAddr> {
        held(&self.addresses).get(&address).copied()
    }

    /// Whose address this is: from DHCP packets seen, else from the kernel's neighbour table.
    pub(super) fn mac_of(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.mac_learnt(address)
            .or_else(|| in_arp_table(&std::fs::read_to_string("/proc/thread-self/net/arp").ok()?, address))
    }

    /// One line of a client's timeline. Never waits: a full queue loses the line and counts it.
    pub(super) fn tell(&self, mac: MacAddr, stage: Stage, answered: bool, detail: String) {
        self.count(answered);
        let event = ClientEvent { mac, at_ms: now_ms(), stage, answered, detail };
        if self.timeline.try_send(event).is_err() {
            self.lose_event();
        }
    }

    /// The same for a source that asks too often: it has half of the queue, the other half is for everybody else.
    pub(super) fn tell_if_quiet(&self, mac: MacAddr, stage: Stage, answered: bool, detail: String) {
        let has_room = self.timeline.capacity() * 2 > self.timeline.max_capacity();
        if has_room && held(&self.surplus).admits((), now()) {
            self.tell(mac, stage, answered, detail);
        } else {
            self.count(answered);
            self.lose_event();
        }
    }

    fn count(&self, answered: bool) {
        let count = if answered { &self.counters.answered } else { &self.counters.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn lose_event(&self) {
        self.counters.events_lost.fetch_add(1, Ordering::Relaxed);
        if self.may_complain(Ipv4Addr::UNSPECIFIED, "timeline").is_some() {
            warn!("timeline entries are left out: more come than the database is given");
        }
    }

    /// A packet that could not wait any longer, because more came than could be answered.
    pub(super) fn crowded_out(&self, from: Ipv4Addr) {
        self.counters.crowded_out.fetch_add(1, Ordering::Relaxed);
        if let Some(before) = self.may_complain(Ipv4Addr::UNSPECIFIED, "crowd") {
            let all = self.counters.crowded_out.load(Ordering::Relaxed);
            warn!(
                %from, before,
                "DHCP packets come faster than they can be answered: {all} were given up so far, the last from {from}; \
                 their clients ask again"
            );
        }
    }

    /// A packet that could not be read: counted, and logged once per source and minute.
    pub(super) fn malformed(&self, service: &'static str, from: Ipv4Addr, error: &dyn std::error::Error) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        if let Some(before) = self.may_complain(from, service) {
            warn!(%from, service, before, "dropped a malformed {service} packet from {from}: {error}");
        }
    }

    /// Whether a complaint about this source is due, and how many were held back since the last.
    pub(super) fn may_complain(&self, from: Ipv4Addr, about: &'static str) -> Option<u64> {
        held(&self.complaints).may(from, about, now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge reads the clock for the wing")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge stamps timeline entries")]
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One complete entry (flag 0x2) of `/proc/thread-self/net/arp`.
fn in_arp_table(table: &str, address: Ipv4Addr) -> Option<MacAddr> {
    let wanted = address.to_string();
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (ip, _, flags, mac) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
        (ip == wanted && flags != "0x0").then(|| mac.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(queue: usize) -> (Clients, mpsc::Receiver<ClientEvent>) {
        let (sender, receiver) = mpsc::channel(queue);
        (Clients::new(sender, Arc::default()), receiver)
    }

    #[test]
    fn the_neighbour_table_is_read_without_incomplete_entries() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.2         0x1         0x2         02:00:00:00:00:02     *        eth0\n\
                     10.0.0.3         0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(in_arp_table(table, Ipv4Addr::new(10, 0, 0, 2)), Some(MacAddr::new([2, 0, 0, 0, 0, 2])));
        assert_eq!(in_arp_table(table, Ipv4Addr::new(10, 0, 0, 3)), None);
        assert_eq!(in_arp_table("garbage", Ipv4Addr::new(10, 0, 0, 2)), None);
    }

    #[test]
    fn a_mac_is_known_by_its_vendor_class() {
        let (clients, _queue) = clients(1);
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        for class in [&b"PXEClient:Arch:00007"[..], b"AAPLBSDPC", b"AAPLBSDPC/i386/", b"X/i386/iMac14,2"] {
            clients.learn_model(mac, class);
            assert_eq!(clients.model_of(mac), None, "{}", String::from_utf8_lossy(class));
        }
        clients.learn_model(mac, b"AAPLBSDPC/i386/iMac14,2");
        assert_eq!(clients.model_of(mac).unwrap().as_str(), "iMac14,2");
    }

    #[test]
    fn a_source_is_complained_about_once_a_minute() {
        let (clients, _queue) = clients(1);
        let from = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(clients.may_complain(from, "DHCP"), Some(0));
        assert_eq!(clients.may_complain(from, "DHCP"), None);
        assert_eq!(clients.may_complain(from, "TFTP"), Some(0));
    }

    #[test]
    fn a_flood_of_sources_stays_within_the_table() {
        let (clients, _queue) = clients(1);
        for source in 0..20_000u32 {
            clients.may_complain(Ipv4Addr::from(source), "DHCP");
            clients.learn(Ipv4Addr::from(source), MacAddr::new([2, 0, 0, 0, 0, 1]));
        }
        assert!(held(&clients.complaints).said.len() <= MOST && held(&clients.addresses).len() <= MOST);
    }

    #[test]
    fn a_full_timeline_loses_lines_and_counts_them() {
        let (clients, mut queue) = clients(1);
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        clients.tell(mac, Stage::List, true, "one".into());
        clients.tell(mac, Stage::List, true, "two".into());
        assert_eq!(queue.try_recv().unwrap().detail, "one");
        assert_eq!(clients.counters.events_lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn whoever_floods_leaves_half_of_the_timeline_to_others() {
        let (clients, mut queue) = clients(4);
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        for _ in 0..100 {
            clients.tell_if_quiet(mac, Stage::List, true, "flood".into());
        }
        clients.tell(mac, Stage::List, true, "real".into());
        let told: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).map(|event| event.detail).collect();
        assert_eq!(told, ["flood", "flood", "real"]);
        assert_eq!(clients.counters.answered.load(Ordering::Relaxed), 101);
    }
}
