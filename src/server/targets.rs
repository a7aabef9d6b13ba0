//! Between the database and what a Mac is offered: its collections, its past, the deployments, judged together.
//!
//! Must not know: HTTP, how a rule is judged, who starts a run.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::app::App;
use super::clock::now_ms;
use super::http::error::chain;
use super::nested;
use super::offer::{Judged, Mac, judge};
use crate::api::runner::BootMethod;
use crate::db::{Db, DbError};

/// Every deployment judged for a device as it is now. None when the device is absent.
pub async fn judged(app: &App, device: i64, boot: BootMethod) -> Result<Option<Judged>, DbError> {
    let Some((_, known)) = app.db.device_facts(device).await? else { return Ok(None) };
    let collections = app.db.collections_of(device).await?;
    let mac = Mac {
        known,
        boot,
        collections: collections.into_iter().map(|(name, _)| name.to_lowercase()).collect(),
        past: app.db.past_of_deployments(device).await?,
        conflict: app.db.conflict_of(device).await?,
        now_ms: now_ms(),
    };
    let deployments = app.db.deployments().await?;
    let others = nested::of_deployments(&app.db, &deployments).await?;
    Ok(Some(judge(deployments, &others, &mac, app.config.runner.countdown)))
}

/// Judges members of changed collections, one change after the other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Members {
    db: Db,
    one: Arc<Mutex<()>>,
}

impl Members {
    /// Of this database.
    pub fn new(db: Db) -> Members {
        Members { db, one: Arc::default() }
    }

    /// Judges the members of everything that is stale, to its end even where nobody waits for it any more.
    pub async fn settle(&self) {
        let own = self.clone();
        let work = tokio::spawn(async move {
            let _one = own.one.lock().await;
            if let Err(error) = own.db.settle_stale().await {
                tracing::error!(
                    "members of collections could not be judged; it is tried again at the next change: {}",
                    chain(&error)
                );
            }
        });
        if let Err(error) = work.await {
            tracing::error!("judging members of collections ended early: {error}");
        }
    }
}
