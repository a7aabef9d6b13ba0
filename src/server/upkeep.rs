//! What the appliance does by itself: old versions and details of old runs go, garbage is collected, the database made smaller.
//!
//! Owns: when. Must not know: which versions go (`retention`), how garbage is found (`store`).

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::ServerError;
use super::app::App;
use super::clock::now_ms;
use super::http::error::chain;
use super::{images, retention};
use crate::api::admin::{Job, JobKind, JobState};
use crate::db::Compacted;
use crate::value::ByteSize;

const HOUR: Duration = Duration::from_secs(3600);
/// After the start of the daemon: it may never run for a whole hour.
const FIRST: Duration = Duration::from_secs(600);
/// Garbage of less is no reason to read and write.
const LITTLE: u64 = 64 << 20;

/// Whether so much garbage is worth a collection; `share` in percent of all bytes.
fn is_worth(reclaimable: u64, bytes: u64, share: u32) -> bool {
    share < 100
        && reclaimable >= LITTLE
        && u128::from(reclaimable) * 100 >= u128::from(bytes) * u128::from(share)
}

/// After an import: versions of its image, then garbage.
pub async fn after_import(app: &App, image: &str) {
    retention::after_import(app, image).await;
    collect_if_worth(app).await;
}

/// The same as a service; members of collections first, where a stop came before them.
///
/// # Errors
/// None.
pub async fn tend(app: App, stop: CancellationToken) -> Result<(), ServerError> {
    app.members.settle().await;
    run(app, stop).await;
    Ok(())
}

/// Every hour and every day, until the daemon stops.
pub async fn run(app: App, stop: CancellationToken) {
    let (mut pause, mut hours) = (FIRST, 0_u32);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = HOUR;
        if hours.is_multiple_of(24) {
            retention::all(&app).await;
            forget_runs(&app).await;
            compact(&app).await;
            note_audit(&app).await;
        }
        hours = hours.wrapping_add(1);
        collect_if_worth(&app).await;
    }
}

/// Removes the details of old runs.
async fn forget_runs(app: &App) {
    let Some(before) = app.config.history.before_ms(now_ms()) else { return };
    match app.runs.forget(before).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(
            "removed the details of {count} runs that are older than {} days",
            app.config.history.keep_days
        ),
        Err(error) => tracing::error!("the details of old runs were not removed: {}", chain(&error)),
    }
}

/// Room that removed rows left behind goes back to the file system.
async fn compact(app: &App) {
    match app.db.compact().await {
        Ok(Compacted { before, after }) if after < before => {
            tracing::info!("the database was compacted from {} to {}", ByteSize(before), ByteSize(after))
        }
        Ok(_) => {}
        Err(error) => tracing::error!("the database was not compacted: {}", chain(&error)),
    }
    if let Err(error) = app.db.keep_room().await {
        tracing::warn!("no room is kept for changes on a full disk: {}", chain(&error));
    }
}

/// The last hash of the audit log goes to where the database cannot change it.
async fn note_audit(app: &App) {
    match app.db.audit_head().await {
        Ok(Some((number, hash))) => tracing::info!("the audit log stands at entry {number}, hash {hash}"),
        Ok(None) => {}
        Err(error) => tracing::error!("reading the audit log: {}", chain(&error)),
    }
}

/// Starts a collection beside everything else when there is enough to collect.
async fn collect_if_worth(app: &App) {
    let at_work =
        |job: &Job| job.kind == JobKind::Collect && matches!(job.state, JobState::Queued | JobState::Running);
    if app.config.library.collect >= 100 || app.jobs.list().iter().any(at_work) {
        return;
    }
    let library = app.library.clone();
    let looked = spawn_blocking(move || {
        library.store().garbage().map(|plan| (plan.reclaimable, library.store().usage().bytes))
    });
    match looked.await {
        Ok(Ok((reclaimable, bytes))) if is_worth(reclaimable, bytes, app.config.library.collect) => {
            let worker = app.clone();
            let subject = "the library, by itself".to_owned();
            let started = app.jobs.start_beside(JobKind::Collect, subject, |_, _| async move {
                images::collect(&worker).await
            });
            if let Err(full) = started {
                tracing::warn!("garbage is not collected now: {full}");
            }
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!("garbage was not looked for: {}", chain(&error)),
        Err(panic) => tracing::error!("garbage was not looked for: {panic}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_worth_a_share_of_the_library_and_not_a_little() {
        assert!(is_worth(1 << 30, 4 << 30, 25));
        assert!(!is_worth((1 << 30) - 1, 4 << 30, 25));
        assert!(!is_worth(32 << 20, 33 << 20, 25), "little");
        assert!(!is_worth(4 << 30, 4 << 30, 100), "never");
        assert!(is_worth(u64::MAX, u64::MAX, 99));
    }
}
