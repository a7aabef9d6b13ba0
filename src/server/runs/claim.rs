//! Whose a run is: the runner that was heard last, as long as it speaks. Another one that says the same serial number is told so,
//! and gets the run when the first is silent, or at once when it can only be the same Mac.
//!
//! Pure but for the map of who was heard. Must not know: tokens, how a runner is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A runner that was not heard for this long is gone: two questions for news, and no Mac starts anew in less.
pub const SILENT_MS: i64 = 20_000;
/// Runners that are remembered at least; those that are silent go first.
const MOST: usize = 4096;

/// When each runner was heard last, by its receipt key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heard {
    known: Arc<Mutex<HashMap<String, Last>>>,
    /// Who is not known may have spoken just before this daemon started.
    since_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at_ms: i64,
    from: Option<IpAddr>,
}

/// A runner that wants a run.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// Its receipt key.
    pub receipt_key: &'a str,
    /// Which start of its kernel it is of; empty: not known.
    pub boot_id: &'a str,
}

/// The runner that has the run.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Its receipt key.
    pub receipt_key: &'a str,
    /// Which start of its kernel it is of; empty: not known.
    pub boot_id: &'a str,
    /// Whether its Mac was told to start anew.
    pub leaves: bool,
}

/// What a claim comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The same runner.
    Same,
    /// The same Mac, started anew: the run goes over to it.
    Anew {
        /// Its runner alone: the Mac is at the same start of its kernel.
        same_start: bool,
    },
    /// Another runner is at work.
    Taken {
        /// Where that speaks from, where known.
        by: Option<IpAddr>,
        /// How long ago it was heard, in milliseconds.
        silent_ms: i64,
    },
}

impl Heard {
    /// Nobody was heard yet.
    pub fn new(now_ms: i64) -> Heard {
        Heard { known: Arc::default(), since_ms: now_ms }
    }

    /// A runner spoke.
    pub fn note(&self, receipt_key: &str, from: Option<IpAddr>, now_ms: i64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.get_mut(receipt_key) {
            *last = Last { at_ms: now_ms, from: from.or(last.from) };
            return;
        }
        if known.len() >= MOST {
            known.retain(|_, last| now_ms.saturating_sub(last.at_ms) <= SILENT_MS);
        }
        known.insert(receipt_key.to_owned(), Last { at_ms: now_ms, from });
    }

    /// Whether a runner gets the run that another one has.
    pub fn claim(&self, claimant: Claimant<'_>, holder: Holder<'_>, now_ms: i64) -> Claim {
        if claimant.receipt_key == holder.receipt_key {
            return Claim::Same;
        }
        let same_start = !claimant.boot_id.is_empty() && claimant.boot_id == holder.boot_id;
        if same_start || holder.leaves {
            return Claim::Anew { same_start };
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = Last { at_ms: self.since_ms, from: None };
        let last = known.entry(holder.receipt_key.to_owned()).or_insert(nobody);
        // The clock was set back: it counts from here.
        last.at_ms = last.at_ms.min(now_ms);
        let silent_ms = now_ms.saturating_sub(last.at_ms).max(0);
        if silent_ms > SILENT_MS {
            return Claim::Anew { same_start };
        }
        Claim::Taken { by: last.from, silent_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER_START: Claim = Claim::Anew { same_start: false };
    const FIRST: Holder<'_> = Holder { receipt_key: "first", boot_id: "a", leaves: false };

    fn second(boot_id: &str) -> Claimant<'_> {
        Claimant { receipt_key: "second", boot_id }
    }

    #[test]
    fn section_8_a_run_is_its_runner_s_as_long_as_that_speaks() {
        let heard = Heard::new(0);
        let here: IpAddr = [10, 0, 0, 5].into();
        heard.note("first", Some(here), 100_000);
        let taken = heard.claim(second("b"), FIRST, 103_000);
        assert_eq!(taken, Claim::Taken { by: Some(here), silent_ms: 3_000 });
        assert_eq!(heard.claim(second("b"), FIRST, 100_001 + SILENT_MS), OTHER_START);
        assert_eq!(heard.claim(Claimant { receipt_key: "first", boot_id: "b" }, FIRST, 103_000), Claim::Same);
    }

    #[test]
    fn section_8_a_mac_whose_runner_was_started_anew_or_that_was_told_to_restart_does_not_wait() {
        let heard = Heard::new(0);
        heard.note("first", None, 100_000);
        assert_eq!(heard.claim(second("a"), FIRST, 100_001), Claim::Anew { same_start: true });
        assert_eq!(heard.claim(second("b"), Holder { leaves: true, ..FIRST }, 100_001), OTHER_START);
        let unknown = Holder { boot_id: "", ..FIRST };
        assert!(
            matches!(heard.claim(second(""), unknown, 100_001), Claim::Taken { .. }),
            "two unknown starts"
        );
    }

    #[test]
    fn section_8_after_a_restart_of_the_appliance_a_runner_has_time_to_be_heard() {
        let heard = Heard::new(50_000);
        assert!(matches!(
            heard.claim(second("b"), FIRST, 51_000),
            Claim::Taken { by: None, silent_ms: 1_000 }
        ));
        assert_eq!(heard.claim(second("b"), FIRST, 50_001 + SILENT_MS), OTHER_START);
    }

    #[test]
    fn section_8_a_clock_that_is_set_back_keeps_no_mac_from_its_run() {
        for heard in [Heard::new(0), Heard::new(9_000_000)] {
            if heard.since_ms == 0 {
                heard.note("first", None, 9_000_000);
            }
            assert!(matches!(heard.claim(second("b"), FIRST, 100_000), Claim::Taken { silent_ms: 0, .. }));
            assert_eq!(heard.claim(second("b"), FIRST, 100_001 + SILENT_MS), OTHER_START);
        }
    }

    #[test]
    fn runners_that_are_silent_are_forgotten() {
        let heard = Heard::new(0);
        (0..MOST).for_each(|number| heard.note(&number.to_string(), None, 0));
        heard.note("late", None, SILENT_MS + 1);
        assert_eq!(heard.known.lock().unwrap().len(), 1);
    }
}
