//! Runs.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;

use crate::api::admin::{Run, RunEvent, RunStep, RunSummary};
use crate::api::runner::{Failure, Problem, Progress};
use crate::db::{EventBody, EventRow};
use crate::sequence;
use crate::sequence::run::event::{Event, Recorded};
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Path, Query, Watch};
use crate::server::runs::RunError;
use crate::server::wire;

/// Events in one answer.
const MOST_EVENTS: u32 = 1000;

/// How many.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Limit {
    /// At most this many, up to 1000.
    limit: u32,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit { limit: 100 }
    }
}

/// After what.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct After {
    /// Only events with a greater number.
    after: u32,
}

/// Runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Limit), responses((status = 200, body = Vec<RunSummary>)))]
pub async fn list(
    State(app): State<App>,
    Query(limit): Query<Limit>,
) -> Result<Answer<Vec<RunSummary>>, Refusal> {
    Ok(Answer(app.db.runs(limit.limit.min(1000)).await?))
}

/// One run with its steps; with `after` and `wait`, as soon as something new happened to it.
#[utoipa::path(get, path = "/api/v1/runs/{run}", tag = "runs", params(("run" = i64, Path), Watch), responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
))]
pub async fn show(
    State(app): State<App>,
    Path(run): Path<i64>,
    Query(watch): Query<Watch>,
) -> Result<Answer<Run>, Refusal> {
    let news = view(&app, run, watch.after, watch.patience());
    match app.stopping.run_until_cancelled(news).await {
        Some(seen) => seen.map(Answer),
        None => view(&app, run, 0, Duration::ZERO).await.map(Answer),
    }
}

/// Recorded events and log lines, oldest first.
#[utoipa::path(get, path = "/api/v1/runs/{run}/events", tag = "runs", params(("run" = i64, Path), After), responses(
    (status = 200, body = Vec<RunEvent>),
    (status = 404, body = Problem),
))]
pub async fn events(
    State(app): State<App>,
    Path(run): Path<i64>,
    Query(after): Query<After>,
) -> Result<Answer<Vec<RunEvent>>, Refusal> {
    let rows = app.db.events(run, i64::from(after.after), MOST_EVENTS).await?;
    let events = app.runs.watch(run, 0, Duration::ZERO, |run, _| {
        let names: Vec<String> = run.steps().map(|(step, _)| step.name.clone()).collect();
        let shown = |row| {
            let event = event(row, &names);
            RunEvent { detail: run.masked(&event.detail), ..event }
        };
        rows.iter().map(shown).collect()
    });
    Ok(Answer(events.await?))
}

/// Stop a run; what was done to the disk stays.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It has ended already"),
))]
pub async fn cancel(State(app): State<App>, Path(run): Path<i64>) -> Result<Answer<Run>, Refusal> {
    app.runs.cancel(run, "an administrator").await.map_err(|error| match error {
        RunError::OutOfOrder(error) => Refusal::conflict(error.to_string(), "there is nothing to cancel"),
        other => other.into(),
    })?;
    view(&app, run, 0, Duration::ZERO).await.map(Answer)
}

async fn view(app: &App, id: i64, after: u64, wait: Duration) -> Result<Run, Refusal> {
    let (change, progress, at, step_list, message, failure, images) = app
        .runs
        .watch(id, after, wait, |run, seen| {
            let images = run.images().iter().map(|image| format!("{} {}", image.name, image.version));
            (
                seen.change,
                seen.progress
                    .clone()
                    .map(|progress| Progress { phase: run.masked(&progress.phase), ..progress }),
                run.assignment().map(|assignment| assignment.name.clone()),
                run.steps()
                    .map(|(step, record)| RunStep {
                        name: step.name.clone(),
                        state: wire::step_state(record.state),
                        started_ms: record.started_ms,
                        ended_ms: record.ended_ms,
                    })
                    .collect(),
                run.message().map(|message| run.masked(message)),
                run.failure().map(|failure| masked(run, wire::failure_out(failure))),
                images.collect(),
            )
        })
        .await?;
    let summary = app.db.run(id).await?.ok_or(RunError::Absent(id))?.summary;
    let receipts = app.db.receipts(id).await?;
    Ok(Run { summary, change, progress, at, step_list, message, failure, images, receipts })
}

fn masked(run: &sequence::run::Run, failure: Failure) -> Failure {
    Failure {
        cause: run.masked(&failure.cause),
        evidence: run.masked(&failure.evidence),
        next_step: run.masked(&failure.next_step),
        ..failure
    }
}

/// Recorded values of secret variables stay here: people are shown the event's own line.
fn event(row: &EventRow, steps: &[String]) -> RunEvent {
    let base = |kind: &str, step: Option<String>, detail: String| RunEvent {
        number: u64::try_from(row.number).unwrap_or(0),
        at_ms: row.at_ms,
        kind: kind.to_owned(),
        step,
        detail,
    };
    match &row.body {
        EventBody::Log(lines) => base("log", None, lines.clone()),
        EventBody::State(body) => match serde_json::from_str::<Recorded>(body) {
            Ok(recorded) => {
                let step = step_of(&recorded.event).and_then(|place| steps.get(place as usize - 1).cloned());
                base(recorded.event.kind(), step, recorded.event.line())
            }
            Err(_) => base("unknown", None, "recorded by another version of the appliance".to_owned()),
        },
    }
}

fn step_of(event: &Event) -> Option<u32> {
    match event {
        Event::VariablesSet { step, .. } | Event::Assigned { step, .. } | Event::Refused { step, .. } => {
            Some(*step).filter(|step| *step > 0)
        }
        _ => None,
    }
}
