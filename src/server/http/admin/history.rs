//! History: a step across runs, a run as a file, everything for whoever helps.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::run;
use crate::api::admin::{RunEvent, StepTimes};
use crate::api::report::{Report, html};
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Path, Query};
use crate::server::problem;

/// Events that one report shows.
const MOST_EVENTS: usize = 20_000;

/// Which step.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichStep {
    /// Its name.
    step: String,
    /// Only in runs of this sequence.
    #[serde(default)]
    sequence: Option<String>,
    /// At most this many, up to 1000; 100 when left out.
    #[serde(default)]
    limit: Option<u32>,
}

/// Times of a step across runs that have ended, newest first, with median and spread.
#[utoipa::path(get, path = "/api/v1/step-times", tag = "runs", params(WhichStep), responses((status = 200, body = StepTimes)))]
pub async fn step_times(
    State(app): State<App>,
    Query(which): Query<WhichStep>,
) -> Result<Answer<StepTimes>, Refusal> {
    let limit = which.limit.unwrap_or(100).clamp(1, 1000);
    let rows = app.db.step_times(&which.step, which.sequence.as_deref(), limit).await?;
    Ok(Answer(StepTimes::new(which.step, rows)))
}

/// A run as one HTML file that needs nothing else.
#[utoipa::path(get, path = "/api/v1/runs/{run}/report", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 200, content_type = "text/html", body = String),
    (status = 404, body = Problem),
))]
pub async fn report(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Refusal> {
    let page = page(&app, id).await?;
    // The page says the same; a browser that opens it from here holds to it before it reads it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)], page)
        .into_response())
}

/// The page of a run.
pub async fn page(app: &App, id: i64) -> Result<String, Refusal> {
    let run = run::view(app, id, 0, Duration::ZERO).await?;
    let (events, cut_off) = events(app, id).await?;
    let device = app.db.device(run.summary.device).await?;
    let report = Report {
        appliance: &app.config.name,
        version: env!("CARGO_PKG_VERSION"),
        made_ms: now_ms(),
        run: &run,
        device: device.as_ref(),
        events: &events,
        cut_off,
    };
    Ok(html(&report))
}

/// Everything that was recorded, masked; true when there is more.
pub async fn events(app: &App, id: i64) -> Result<(Vec<RunEvent>, bool), Refusal> {
    let mut all: Vec<RunEvent> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| u32::try_from(event.number).unwrap_or(u32::MAX));
        let some = run::some_events(app, id, after).await?;
        if some.is_empty() {
            return Ok((all, false));
        }
        all.extend(some);
        if all.len() >= MOST_EVENTS {
            return Ok((all, true));
        }
    }
}

/// Which run belongs to the problem.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AboutRun {
    /// Its number.
    run: Option<i64>,
}

/// Versions, settings, logs, timelines and a run, without secrets, as one `.tar.zst` for whoever helps.
#[utoipa::path(get, path = "/api/v1/problem-report", tag = "status", params(AboutRun), responses(
    (status = 200, content_type = "application/zstd", body = Vec<u8>),
    (status = 404, body = Problem, description = "No such run"),
))]
pub async fn problem_report(
    State(app): State<App>,
    Query(about): Query<AboutRun>,
) -> Result<Response, Refusal> {
    let bundle = problem::bundle(&app, about.run).await?;
    let name = "attachment; filename=\"rootstock-problem.tar.zst\"";
    Ok(([(CONTENT_TYPE, "application/zstd"), (CONTENT_DISPOSITION, name)], bundle).into_response())
}
