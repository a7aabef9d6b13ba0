//! Frames of a restore, fetched by range from the appliance's packs over kept-alive connections.
//!
//! Owns: waiting out an appliance that is not there, as long as it takes, and going on at the byte where it broke off.
//! How many fetches are in flight, and which neighbours are fetched together, the restore's plan decides.
//! Must not know: what frames hold.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Client, Patience};
use crate::image::restore::{FetchError, Frames, Place};

/// Pauses while nothing answers.
pub(super) const OUTAGE: Patience = Patience {
    tries: u32::MAX,
    first_pause: Duration::from_millis(500),
    longest_pause: Duration::from_secs(5),
};

/// Shared with whoever watches a restore: whether the appliance is there, and the wish to stop waiting for it.
#[derive(Debug, Default)]
pub struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    outage: Option<String>,
}

impl Watch {
    /// What was seen last, while the appliance does not answer.
    pub fn outage(&self) -> Option<String> {
        self.lock().outage.clone()
    }

    /// Ends all waiting; fetches that wait fail.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether it is to stop.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses, and lets others see why; false when it is to stop.
    pub fn pause(&self, error: String, time: Duration) -> bool {
        let mut state = self.lock();
        state.outage = Some(error);
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.stopped);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }

    /// Whatever was waited for is there.
    pub fn over(&self) {
        self.lock().outage = None;
    }
}

/// [`Frames`] from the appliance.
pub struct HttpFrames<'w> {
    client: Client,
    watch: &'w Watch,
}

impl<'w> HttpFrames<'w> {
    /// Fetches with `client`, which bears the run's token.
    pub fn new(client: &Client, watch: &'w Watch) -> HttpFrames<'w> {
        HttpFrames { client: client.with_patience(Patience::NONE), watch }
    }
}

/// Somebody asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped while the appliance did not answer")]
struct Stopped;

impl Frames for HttpFrames<'_> {
    fn fetch(&self, place: Place, into: &mut [u8]) -> Result<(), FetchError> {
        let path = format!("/runner/v1/packs/{}", place.pack);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Failed {
            pack: place.pack,
            offset: place.offset,
            source,
        };
        let mut filled = 0;
        let mut attempt = 0;
        loop {
            let before = filled;
            let error = match self.client.fill(&path, place.offset, place.fresh, into, &mut filled) {
                Ok(()) => {
                    self.watch.over();
                    return Ok(());
                }
                Err(error) if matches!(error.status(), Some(404 | 410)) => {
                    return Err(FetchError::Gone(place.pack));
                }
                Err(error) if !error.may_pass() => return Err(failed(Box::new(error))),
                Err(error) => error,
            };
            attempt = if filled > before { 1 } else { attempt + 1 };
            tracing::debug!(%error, "waiting for the appliance");
            if !self.watch.pause(error.to_string(), OUTAGE.pause(attempt)) {
                return Err(failed(Box::new(Stopped)));
            }
        }
    }
}
