//! An engine at work in its own threads, restore or capture, and the runner beside it that tells how far it is.
//!
//! Owns: the loop, when the engine is stopped, what people are told while the appliance does not answer. Must not know: what the
//! engine does, how its counters become progress.

use std::cell::Cell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::perform::Work;
use super::wizard::{Order, Told};
use crate::client::Watch;

/// How often progress is told.
const PACE: Duration = Duration::from_millis(500);

/// Lets `engine` work to its end, and tells meanwhile how far it is; `tell` is given what the appliance is waited for with. When the
/// work is to stop, `stop` and `watch` end the engine. `left` says that a person named another appliance while this one did not
/// answer: the run goes on from there.
pub fn attended<T: Send>(
    work: &Work<'_>,
    watch: &Watch,
    stop: &dyn Fn(),
    left: &Cell<bool>,
    tell: &mut dyn FnMut(Option<String>),
    engine: impl FnOnce() -> T + Send,
) -> T {
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let engine = scope.spawn(move || {
            let result = engine();
            drop(ended);
            result
        });
        while end.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
            tell(watch.outage());
            // Its token and address are another client's from here on.
            left.set(left.get() || matches!(work.link.order(Duration::ZERO), Some(Order::Moved(_))));
            if work.stopped() || left.get() {
                stop();
                watch.stop();
            }
        }
        let result = engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        tell(None);
        result
    })
}

/// Whether the appliance, or somebody else, is being waited for, told once at each change.
#[derive(Debug)]
pub struct Outage {
    whom: &'static str,
    on: bool,
}

impl Default for Outage {
    fn default() -> Outage {
        Outage::of("the appliance")
    }
}

impl Outage {
    /// Nobody is waited for yet.
    pub fn of(whom: &'static str) -> Outage {
        Outage { whom, on: false }
    }

    /// What is so now: the last error of whoever does not answer.
    pub fn tell(&mut self, work: &Work<'_>, error: Option<String>) {
        match error {
            Some(error) => {
                let what = format!("Waiting for {}; it goes on by itself", self.whom);
                work.link.tell(Told::Waiting { what, error: Some(error) });
                self.on = true;
            }
            None if self.on => {
                work.link.tell(Told::GoesOn);
                self.on = false;
            }
            None => {}
        }
    }

    /// Whether it is waited for.
    pub fn is_on(&self) -> bool {
        self.on
    }
}
