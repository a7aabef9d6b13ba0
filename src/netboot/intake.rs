//! Which packet is answered next when more come than can be answered at once.
//!
//! | lane | who | when it is full |
//! |---|---|---|
//! | selections | BSDP SELECT: a person waits, and the Mac asks only twice | oldest is dropped |
//! | ordinary | everything else | oldest is dropped |
//! | surplus | sources that ask more often than any client does | oldest is dropped |
//!
//! A lane is served when those above it are empty. So nobody is refused while there is time for everybody, and a flood
//! displaces itself: selections come before lists, the rest of the wire before whoever floods it. A client that is
//! dropped asks again (a Mac sends LIST seven times).
//!
//! Owns: order and bounds. Must not know: what a packet says, sockets, the clock.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Packets that wait at most, in each lane.
pub const LANE: usize = 512;
/// Sources that are counted at one time.
const MOST_SOURCES: usize = 8192;

/// How urgent a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// BSDP SELECT.
    Selection,
    /// Everything else.
    Ordinary,
    /// Of a source that asks too often.
    Surplus,
}

/// Packets that wait for their answer.
#[derive(Debug)]
pub struct Intake<T> {
    lanes: [VecDeque<T>; 3],
    most: usize,
}

impl<T> Intake<T> {
    /// With at most `most` packets in each lane.
    pub fn new(most: usize) -> Intake<T> {
        Intake { lanes: Default::default(), most: most.max(1) }
    }

    /// Takes a packet in; gives back the one that had to leave for it.
    pub fn push(&mut self, lane: Lane, packet: T) -> Option<T> {
        let lane = &mut self.lanes[lane as usize];
        let dropped = if lane.len() >= self.most { lane.pop_front() } else { None };
        lane.push_back(packet);
        dropped
    }

    /// The next to be answered. Surplus only when everything `is_in`: among what still has to be taken in there may be
    /// somebody who goes before it.
    pub fn next(&mut self, is_in: bool) -> Option<(Lane, T)> {
        [Lane::Selection, Lane::Ordinary, Lane::Surplus]
            .into_iter()
            .filter(|lane| is_in || *lane != Lane::Surplus)
            .find_map(|lane| Some((lane, self.lanes[lane as usize].pop_front()?)))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }
}

/// How often a source may ask before it is surplus: `a_second` in the long run, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets a second.
    pub a_second: u32,
    /// Packets at once.
    pub burst: u32,
}

/// One token bucket a source, in a table of bounded size.
///
/// A full table drops the buckets that are full again, which hold no knowledge. Where all are in use (a flood with forged
/// sources) new sources share one bucket: what is known of the others stays.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    sources: HashMap<K, Bucket>,
    others: Option<Bucket>,
    /// When the table was last found full of buckets in use; it is not searched again at once.
    full_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let regained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate.a_second);
        self.tokens = (self.tokens + regained).min(f64::from(rate.burst));
        self.at = self.at.max(now);
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let regained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate.a_second);
        self.tokens + regained >= f64::from(rate.burst)
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Empty.
    pub fn new(rate: Rate) -> Buckets<K> {
        Buckets { rate, sources: HashMap::new(), others: None, full_at: None }
    }

    /// Counts a packet of `source`; whether it is within the rate.
    pub fn admits(&mut self, source: K, now: Instant) -> bool {
        let fresh = Bucket { tokens: f64::from(self.rate.burst), at: now };
        if let Some(bucket) = self.sources.get_mut(&source) {
            return bucket.take(self.rate, now);
        }
        if self.has_room(now) {
            return self.sources.entry(source).or_insert(fresh).take(self.rate, now);
        }
        self.others.get_or_insert(fresh).take(self.rate, now)
    }

    fn has_room(&mut self, now: Instant) -> bool {
        const SEARCH_AGAIN: Duration = Duration::from_millis(250);
        if self.sources.len() < MOST_SOURCES {
            return true;
        }
        let was_searched = |at: Instant| now.saturating_duration_since(at) < SEARCH_AGAIN;
        if self.full_at.is_some_and(was_searched) {
            return false;
        }
        let rate = self.rate;
        self.sources.retain(|_, bucket| !bucket.is_full(rate, now));
        let has_room = self.sources.len() < MOST_SOURCES;
        self.full_at = (!has_room).then_some(now);
        has_room
    }

    /// How many sources are counted one by one.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning; tests only add to it")]
    fn start() -> Instant {
        Instant::now()
    }

    const RATE: Rate = Rate { a_second: 10, burst: 20 };

    #[test]
    fn selections_are_served_before_lists_and_lists_before_whoever_floods() {
        let mut intake = Intake::new(4);
        for (lane, name) in
            [(Lane::Surplus, "s"), (Lane::Ordinary, "a"), (Lane::Selection, "x"), (Lane::Ordinary, "b")]
        {
            assert_eq!(intake.push(lane, name), None);
        }
        let order: Vec<&str> = std::iter::from_fn(|| intake.next(false)).map(|(_, name)| name).collect();
        assert_eq!(order, ["x", "a", "b"]);
        assert_eq!(intake.next(true), Some((Lane::Surplus, "s")));
        assert!(intake.is_empty());
    }

    #[test]
    fn a_full_lane_drops_its_oldest_and_leaves_the_others_alone() {
        let mut intake = Intake::new(2);
        intake.push(Lane::Selection, 0);
        let dropped: Vec<_> = (1..=5).filter_map(|n| intake.push(Lane::Surplus, n)).collect();
        assert_eq!(dropped, [1, 2, 3]);
        let left: Vec<_> = std::iter::from_fn(|| intake.next(true)).collect();
        assert_eq!(left, [(Lane::Selection, 0), (Lane::Surplus, 4), (Lane::Surplus, 5)]);
    }

    #[test]
    fn a_source_may_burst_and_then_asks_at_its_rate() {
        let (now, mut buckets) = (start(), Buckets::new(RATE));
        let admitted = (0..50).filter(|_| buckets.admits("flood", now)).count();
        assert_eq!(admitted, 20);
        assert!(buckets.admits("mac", now), "another source is not touched");
        let later = now + Duration::from_millis(500);
        assert_eq!((0..50).filter(|_| buckets.admits("flood", later)).count(), 5);
        assert!(!buckets.admits("flood", now), "a clock that goes back gives nothing");
    }

    #[test]
    fn twenty_thousand_sources_stay_within_the_table_and_do_not_wash_out_who_is_known() {
        let (now, mut buckets) = (start(), Buckets::new(RATE));
        while buckets.admits(u32::MAX, now) {}
        let admitted = (0..20_000).filter(|source| buckets.admits(*source, now)).count();
        assert_eq!(buckets.len(), MOST_SOURCES);
        assert_eq!(admitted, MOST_SOURCES - 1 + 20, "the others share one bucket");
        assert!(!buckets.admits(u32::MAX, now), "the one that flooded before is still known");
        // They fall silent: their buckets fill, and say nothing any more.
        let later = now + Duration::from_secs(3);
        assert!(buckets.admits(30_000, later));
        assert_eq!(buckets.len(), 1);
    }
}
