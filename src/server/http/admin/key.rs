//! Keys that sign manifests and countersign receipts.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::task::spawn_blocking;

use crate::api::admin::{Job, JobKind, SigningKey};
use crate::api::runner::Problem;
use crate::image::manifest::ManifestKey;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Path;
use crate::server::keys::KeyError;
use crate::server::trust;

/// Every key there was, newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, body = Vec<SigningKey>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<SigningKey>> {
    Answer(told(&app))
}

/// A new key signs from now on; manifests of the keys before it stay believed.
#[utoipa::path(post, path = "/api/v1/keys/rotate", tag = "keys", responses((status = 200, body = Vec<SigningKey>)))]
pub async fn rotate(State(app): State<App>) -> Result<Answer<Vec<SigningKey>>, Refusal> {
    let library = app.library.clone();
    let rotated =
        spawn_blocking(move || library.keys().rotate()).await.map_err(|error| Refusal::fault(&error))?;
    let key = rotated.map_err(|error| Refusal::fault(&error))?;
    tracing::info!("manifests are signed with key {key} from now on");
    Ok(Answer(told(&app)))
}

/// Sign everything of an old key again with the newest, then do not believe it any more.
#[utoipa::path(post, path = "/api/v1/keys/{key}/retire", tag = "keys", params(("key" = String, Path)), responses(
    (status = 202, body = Job),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is the key that signs now"),
))]
pub async fn retire(
    State(app): State<App>,
    Path(key): Path<String>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    let absent = || KeyError::Absent(key.chars().take(64).collect());
    let found: ManifestKey = key.parse().map_err(|_| absent())?;
    if !app.library.keys().all().iter().any(|known| known.link.key == key) {
        return Err(absent().into());
    }
    if app.library.key() == found {
        return Err(KeyError::Current(found).into());
    }
    let worker = app.clone();
    let job = app.jobs.start(JobKind::Sign, format!("manifests of key {key}"), move |work| async move {
        trust::retire(&worker, found, &work).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
}

fn told(app: &App) -> Vec<SigningKey> {
    let current = app.library.key().to_string();
    let keys = app.library.keys().all().into_iter().rev();
    keys.map(|known| SigningKey {
        signs: known.link.key == current,
        key: known.link.key,
        since_ms: known.link.since_ms,
        retired_ms: known.retired_ms,
    })
    .collect()
}
