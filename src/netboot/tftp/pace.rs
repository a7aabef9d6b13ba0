//! How long a transfer waits for an ACK before it sends again: measured, not guessed (RFC 1123 section 4.2.3.2 demands it),
//! by the rule of RFC 6298. The same history always gives the same wait: nothing here is random.

use std::time::{Duration, Instant};

use super::Limits;

/// Longest wait for an ACK, unless the client asked for more.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The timer of one transfer.
#[derive(Debug)]
pub(super) struct Pace {
    /// Shortest wait.
    least: Duration,
    /// Wait before anything was measured, and the longest that measuring leads to.
    first: Duration,
    /// Wait now.
    wait: Duration,
    /// Smoothed round trip and its variation.
    measured: Option<(Duration, Duration)>,
    sent: Instant,
    /// What is outstanding was sent more than once, so that an ACK does not tell to which copy it belongs (Karn).
    again: bool,
}

impl Pace {
    /// Something was sent for the first time. A client that asked for a timeout (RFC 2349) gets exactly that one.
    pub(super) fn begin(limits: &Limits, asked: Option<u8>, now: Instant) -> Pace {
        let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
        let first = asked.unwrap_or(limits.retry);
        let least = asked.unwrap_or(limits.least).min(first);
        Pace { least, first, wait: first, measured: None, sent: now, again: false }
    }

    /// When to send again, should nothing arrive.
    pub(super) fn deadline(&self) -> Instant {
        self.sent + self.wait
    }

    /// An ACK for something new came, and the next blocks go out.
    pub(super) fn answered(&mut self, now: Instant) {
        if !std::mem::take(&mut self.again) {
            let trip = now.saturating_duration_since(self.sent);
            let (smoothed, variation) = match self.measured {
                None => (trip, trip / 2),
                Some((smoothed, variation)) => {
                    ((smoothed * 7 + trip) / 8, (variation * 3 + smoothed.abs_diff(trip)) / 4)
                }
            };
            self.measured = Some((smoothed, variation));
            self.wait = (smoothed + variation * 4).clamp(self.least, self.first);
        }
        // RFC 6298 section 5: a wait that had to be doubled holds until something is measured again.
        self.wait = self.wait.min(self.first);
        self.sent = now;
    }

    /// The same was sent again because the deadline had come: the next wait is twice as long.
    pub(super) fn expired(&mut self, now: Instant) {
        self.wait = (self.wait * 2).min(LONGEST_WAIT.max(self.first));
        self.resent(now);
    }

    /// The same was sent again because the client asked for it.
    pub(super) fn resent(&mut self, now: Instant) {
        (self.sent, self.again) = (now, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning; tests only add to it")]
    fn start() -> Instant {
        Instant::now()
    }

    const TRIP: Duration = Duration::from_millis(2);

    #[test]
    fn the_wait_follows_the_round_trip_down_to_the_least() {
        let mut now = start();
        let limits = Limits::default();
        let mut pace = Pace::begin(&limits, None, now);
        assert_eq!(pace.deadline(), now + limits.retry);
        now += TRIP;
        pace.answered(now);
        assert_eq!(pace.deadline(), now + limits.least);
        for _ in 0..20 {
            now += Duration::from_millis(200);
            pace.answered(now);
        }
        let wait = pace.deadline() - now;
        assert!(
            wait > Duration::from_millis(200) && wait < limits.retry,
            "a slow client is waited for: {wait:?}"
        );
    }

    #[test]
    fn an_answer_to_what_was_sent_twice_measures_nothing_and_keeps_the_longer_wait() {
        let mut now = start();
        let limits = Limits::default();
        let mut pace = Pace::begin(&limits, None, now);
        now += TRIP;
        pace.answered(now);
        now = pace.deadline();
        pace.expired(now);
        assert_eq!(pace.deadline(), now + limits.least * 2);
        now += TRIP;
        pace.answered(now);
        assert_eq!(pace.deadline(), now + limits.least * 2, "Karn");
        now += TRIP;
        pace.answered(now);
        assert_eq!(pace.deadline(), now + limits.least, "measured again");
    }

    #[test]
    fn a_timeout_that_the_client_asked_for_is_kept_to() {
        let mut now = start();
        let mut pace = Pace::begin(&Limits::default(), Some(3), now);
        for _ in 0..5 {
            assert_eq!(pace.deadline(), now + Duration::from_secs(3));
            now += TRIP;
            pace.answered(now);
        }
        pace.expired(now);
        assert_eq!(pace.deadline(), now + Duration::from_secs(6));
    }
}
