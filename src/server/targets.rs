//! Between the database and what a Mac is offered: its collections, its past, the deployments, judged together.
//!
//! Must not know: HTTP, how a rule is judged, who starts a run.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::app::App;
use super::clock::now_ms;
use super::http::error::chain;
use super::offer::{Judged, Mac, judge};
use super::{nested, variables, wire};
use crate::api::runner::BootMethod;
use crate::db::{Db, DbError, DeploymentRow};
use crate::sequence::model::Sequence;
use crate::sequence::program::{Others, Program};
use crate::sequence::run::images_wanted;
use crate::sequence::variable::Facts;

/// The word of `Rerun::IfChanged`.
const IF_CHANGED: &str = "if-changed";

/// Every deployment judged for a device as it is now. None when the device is absent.
pub async fn judged(app: &App, device: i64, boot: BootMethod) -> Result<Option<Judged>, DbError> {
    let Some((facts, known)) = app.db.device_facts(device).await? else { return Ok(None) };
    let collections = app.db.collections_of(device).await?;
    let mut mac = Mac {
        known,
        boot,
        collections: collections.into_iter().map(|(name, _)| name.to_lowercase()).collect(),
        past: app.db.past_of_deployments(device).await?,
        conflict: app.db.conflict_of(device).await?,
        now_ms: now_ms(),
    };
    let deployments = app.db.deployments().await?;
    let others = nested::of_deployments(&app.db, &deployments).await?;
    for row in &deployments {
        let id = row.deployment.id;
        let by_change = row.deployment.terms.rerun.as_deref() == Some(IF_CHANGED);
        if by_change
            && mac.past.contains_key(&id)
            && images_are_new(app, (device, known), &wire::facts(&facts, boot), row, &others).await?
        {
            // Whatever revision ran, what it put on the disk is not what it would put there now.
            mac.past.entry(id).or_default().revision = 0;
        }
    }
    Ok(Some(judge(deployments, &others, &mac, app.config.runner.countdown)))
}

/// Whether a run would apply an image version that the last one did not.
async fn images_are_new(
    app: &App,
    (device, known): (i64, bool),
    facts: &Facts,
    row: &DeploymentRow,
    others: &Others,
) -> Result<bool, DbError> {
    let program =
        Sequence::from_yaml(&row.yaml).ok().and_then(|sequence| Program::of(&sequence, others).ok());
    let collection = variables::of_collections(&app.db, &app.secrets, device, known).await;
    let own = variables::of_device(&app.db, &app.secrets, device).await;
    // What cannot be told is told when it is started.
    let (Some(program), Ok((collection, _)), Ok(own)) = (program, collection, own) else { return Ok(false) };
    let Ok(wanted) = images_wanted(&program, facts, &collection, &own) else { return Ok(false) };
    let before = app.db.images_of_last_run(device, row.deployment.id).await?;
    for image in wanted {
        if let Some(now) = app.db.version(&image.name, image.pick).await?
            && !before.contains(&format!("{} {}", now.image, now.version))
        {
            return Ok(true);
        }
    }
    Ok(false)
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
