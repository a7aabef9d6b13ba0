//! The appliance itself, and its library.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};

use crate::api::admin::{Job, JobKind, Library, Status};
use crate::api::runner::Problem;
use crate::server::app::{App, Origin};
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::{images, listen};

/// Version, addresses, health.
#[utoipa::path(get, path = "/api/v1/status", tag = "appliance", responses((status = 200, body = Status)))]
pub async fn status(State(app): State<App>) -> Result<Answer<Status>, Refusal> {
    let now = now_ms();
    let active = app.db.active_runs().await?.len();
    Ok(Answer(Status {
        appliance: app.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: now,
        uptime: u64::try_from((now - app.started_ms) / 1000).unwrap_or(0),
        data: app.data.display().to_string(),
        address: app.config.network.address.or_else(listen::address).map(|address| address.to_string()),
        listeners: app.listeners.clone(),
        ca_fingerprint: app.ca_fingerprint.clone(),
        active_runs: u32::try_from(active).unwrap_or(u32::MAX),
        clients: app.db.count_clients(now - 3_600_000).await?,
    }))
}

/// Where the library lies and how full it is.
#[utoipa::path(get, path = "/api/v1/library", tag = "library", responses((status = 200, body = Library)))]
pub async fn library(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
) -> Result<Answer<Library>, Refusal> {
    let mut library = images::library(&app).await?;
    if origin == Origin::Network {
        library.store = None;
    }
    Ok(Answer(library))
}

/// Remove chunks that no manifest names. Runs beside imports and restores.
#[utoipa::path(post, path = "/api/v1/library/collect", tag = "library", responses(
    (status = 202, body = Job),
    (status = 503, body = Problem, description = "Too many jobs wait already"),
))]
pub async fn collect(State(app): State<App>) -> Result<(StatusCode, Answer<Job>), Refusal> {
    let worker = app.clone();
    let job = app.jobs.start_beside(JobKind::Collect, "the library".to_owned(), |_, _| async move {
        images::collect(&worker).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
}
