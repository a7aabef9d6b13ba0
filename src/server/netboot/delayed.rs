//! Offers that are held back, so that another PXE server of the network is heard first.
//!
//! Owns: how many wait, and that none outlives the boot services. Must not know: who is held back.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Context;
use super::dhcp::{Told, send};

/// Offers that are held back at one time; what is beyond goes out at once.
const MOST: usize = 1024;

/// Those that wait.
pub(super) struct Delayed {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Delayed {
    /// None yet. What waits when `stop` is cancelled is not sent: the client asks again, and we are gone.
    pub(super) fn new(stop: CancellationToken) -> Delayed {
        Delayed { room: Arc::new(Semaphore::new(MOST)), tasks: TaskTracker::new(), stop }
    }

    /// Sends the offer after the delay that the site wants. It comes back where there is no room for it.
    pub(super) fn hold(&self, told: Told, context: &Arc<Context>) -> Option<Told> {
        let Ok(room) = self.room.clone().try_acquire_owned() else { return Some(told) };
        let (context, stop) = (context.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let delay = tokio::time::sleep(context.settings.offer_delay);
            if stop.run_until_cancelled(delay).await.is_some() {
                send(told, &context).await;
            }
            drop(room);
        });
        None
    }

    /// Waits until nothing waits any more. Called when nobody holds offers back any longer.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
