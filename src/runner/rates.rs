//! From byte counters to what people and the appliance are shown: rates over two seconds, time left, what limits.
//! Pure: told the time.
//!
//! Must not know: where the counters come from.

use std::collections::VecDeque;
use std::time::Duration;

use crate::api::runner::Progress;

/// Rates are taken over this long.
const WINDOW: Duration = Duration::from_secs(2);
/// After this long without a byte nothing is said of the time left.
const STANDSTILL: Duration = Duration::from_secs(5);

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do in this phase.
    pub total: u64,
    /// Bytes from the network since the beginning.
    pub network: u64,
    /// Bytes written to the disk, or read back from it, since the beginning.
    pub disk: u64,
    /// Bytes that the phases after this one have to do.
    pub after: u64,
}

/// Remembers enough counters for rates.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    phase: String,
    phase_began: Duration,
    /// When something was done last, and how much that was.
    moved: (Duration, u64),
    seen: VecDeque<(Duration, Counters)>,
}

impl Rates {
    /// What to show at `at` (time since the action began).
    pub fn progress(&mut self, at: Duration, phase: &str, now: Counters) -> Progress {
        if self.phase != phase {
            self.phase = phase.to_owned();
            self.phase_began = at;
            self.moved = (at, now.done);
            self.seen.clear();
        }
        if now.done != self.moved.1 {
            self.moved = (at, now.done);
        }
        self.seen.push_back((at, now));
        while self.seen.len() > 2 && at.saturating_sub(self.seen[1].0) >= WINDOW {
            self.seen.pop_front();
        }
        let (from, first) = self.seen[0];
        let rate = |now: u64, then: u64| per_second(now.saturating_sub(then), at.saturating_sub(from));
        Progress {
            phase: phase.to_owned(),
            done: now.done,
            total: now.total,
            network: now.network,
            network_rate: rate(now.network, first.network),
            disk_rate: rate(now.disk, first.disk),
            seconds_left: self.left(at, now),
            delta: None,
            limit: None,
        }
    }

    /// By the average of the phase, which jumps less than the rate; not told in its first two seconds, nor where nothing moves:
    /// it would only grow.
    fn left(&self, at: Duration, now: Counters) -> Option<u32> {
        let spent = at.saturating_sub(self.phase_began);
        let stands_still = at.saturating_sub(self.moved.0) >= STANDSTILL && now.done < now.total;
        if spent < WINDOW || now.done == 0 || stands_still {
            return None;
        }
        let to_do = now.total.saturating_sub(now.done).saturating_add(now.after);
        let seconds = spent.as_secs_f64() * to_do as f64 / now.done as f64;
        (seconds < f64::from(u32::MAX)).then_some(seconds.ceil() as u32)
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    match time.as_millis() {
        0 => 0,
        millis => u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn a_rate_is_that_of_the_last_two_seconds() {
        let mut rates = Rates::default();
        let mut last = Progress::default();
        for half in 0..20_u64 {
            // 10 MB a second for five seconds, then 100.
            let bytes = if half <= 10 { half * 5 * MB } else { 50 * MB + (half - 10) * 50 * MB };
            let counters =
                Counters { done: bytes, total: 1000 * MB, network: bytes / 2, disk: bytes, after: 0 };
            last = rates.progress(Duration::from_millis(half * 500), "writing", counters);
        }
        assert_eq!((last.disk_rate, last.network_rate), (100 * MB, 50 * MB));
        assert!(rates.seen.len() <= 6);
    }

    #[test]
    fn time_left_counts_what_comes_after_and_is_not_guessed_too_early() {
        let mut rates = Rates::default();
        let at = |seconds, done| {
            (Duration::from_secs(seconds), Counters { done, total: 100, after: 100, ..Counters::default() })
        };
        let (time, counters) = at(1, 10);
        assert_eq!(rates.progress(time, "writing", counters).seconds_left, None);
        let (time, counters) = at(11, 50);
        assert_eq!(rates.progress(time, "writing", counters).seconds_left, Some(30));
        let (time, counters) = at(12, 0);
        assert_eq!(rates.progress(time, "reading back", counters).seconds_left, None);
    }

    #[test]
    fn section_8_a_time_left_that_would_only_grow_is_not_told() {
        let mut rates = Rates::default();
        let mut at = |seconds, done| {
            let counters = Counters { done, total: 100, ..Counters::default() };
            rates.progress(Duration::from_secs(seconds), "writing", counters).seconds_left
        };
        at(0, 0);
        assert_eq!(at(10, 50), Some(10));
        assert_eq!(at(12, 50), Some(12));
        assert_eq!(at(16, 50), None);
        assert_eq!(at(300, 51), Some(289));
    }

    #[test]
    fn counters_that_stand_still_or_fall_make_no_rate() {
        let mut rates = Rates::default();
        let high = Counters { done: 9, total: 9, network: 9, disk: 9, after: 0 };
        rates.progress(Duration::ZERO, "a", high);
        let progress = rates.progress(Duration::ZERO, "a", Counters::default());
        assert_eq!((progress.network_rate, progress.disk_rate), (0, 0));
    }
}
