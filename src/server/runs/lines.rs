//! Waiting for what is recorded of a run.

use std::time::Duration;

use super::{RunError, Runs, change_of};

impl Runs {
    /// Waits until something with a greater number than `after` is recorded, the run has ended, or the time is over.
    pub async fn recorded(&self, id: i64, after: i64, wait: Duration) -> Result<(), RunError> {
        let next = change_of(after.saturating_add(1)).saturating_sub(1);
        self.watch(id, next, wait, |_, _| ()).await
    }
}
