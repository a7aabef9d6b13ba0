//! Runs.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::screen;
use crate::api::admin::{
    ChooseDestination, CloseRun, Run, RunAnswers, RunEvent, RunStep, RunSummary, RunWait,
};
use crate::api::runner::{Problem, Progress};
use crate::db::{EventBody, EventRow};
use crate::sequence;
use crate::sequence::model::Step;
use crate::sequence::name::VariableName;
use crate::sequence::run::{Decision, StepRecord};
use crate::sequence::template::LONGEST;
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::clock::now_ms;
use crate::server::http::destination;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path, Query, Watch};
use crate::server::runs::RunError;
use crate::server::wire;
use crate::value::Pick;

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
    /// Seconds to wait for one, at most 15; not after the end of the run.
    wait: u64,
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

/// Recorded events and log lines, oldest first; with `wait`, as soon as there is one.
#[utoipa::path(get, path = "/api/v1/runs/{run}/events", tag = "runs", params(("run" = i64, Path), After), responses(
    (status = 200, body = Vec<RunEvent>),
    (status = 404, body = Problem),
))]
pub async fn events(
    State(app): State<App>,
    Path(id): Path<i64>,
    Query(after): Query<After>,
) -> Result<Answer<Vec<RunEvent>>, Refusal> {
    if after.wait > 0 {
        let patience = Watch { after: 0, wait: after.wait }.patience();
        let news = app.runs.recorded(id, i64::from(after.after), patience);
        app.stopping.run_until_cancelled(news).await.transpose()?;
    }
    Ok(Answer(some_events(&app, id, after.after).await?))
}

/// At most [`MOST_EVENTS`] after a number, masked.
pub(super) async fn some_events(app: &App, id: i64, after: u32) -> Result<Vec<RunEvent>, Refusal> {
    let rows = app.db.events(id, i64::from(after), MOST_EVENTS).await?;
    let events = app.runs.watch(id, 0, Duration::ZERO, |run, _| {
        let shown = |row| {
            let event = event(app, run, id, row);
            RunEvent { detail: run.masked(&event.detail), ..event }
        };
        rows.iter().map(shown).collect()
    });
    Ok(events.await?)
}

/// Stop a run; what was done to the disk stays.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It has ended already"),
))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
) -> Result<Answer<Run>, Refusal> {
    moved(&app, run, app.runs.cancel(run, &caller.by()).await, "there is nothing to cancel").await
}

/// A failed run goes on with the step that failed; what was done before it stays.
#[utoipa::path(post, path = "/api/v1/runs/{run}/resume", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It did not fail at a step, or its Mac is at another run"),
))]
pub async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
) -> Result<Answer<Run>, Refusal> {
    may_go_on(&app, run).await?;
    moved(&app, run, app.runs.resume(run, &caller.by()).await, "look at it: rootstock run show").await
}

/// Refuses to let a run go on whose images are not there any more.
pub async fn may_go_on(app: &App, run: i64) -> Result<(), Refusal> {
    let images = app.runs.watch(run, 0, Duration::ZERO, |run, _| run.images().to_vec()).await?;
    for image in images {
        let found = app.db.version(&image.name, Pick::Version(image.version)).await?;
        if found.is_none_or(|found| found.manifest != image.manifest) {
            return Err(Refusal::conflict(
                format!(
                    "run {run} cannot go on: {} {} was deleted from the library",
                    image.name, image.version
                ),
                "start the sequence again",
            ));
        }
    }
    Ok(())
}

/// Start the deployment of a run anew on the same Mac, which must be at its wizard.
#[utoipa::path(post, path = "/api/v1/runs/{run}/retry", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 201, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It has not ended, its Mac is not at the wizard, or is not offered this any more"),
))]
pub async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
) -> Result<(StatusCode, Answer<Run>), Refusal> {
    let row = app.db.run(run).await?.ok_or(RunError::Absent(run))?;
    screen::start_on(&app, row.summary.device, row.deployment, &caller.by()).await
}

/// End a run that waits for the Mac's agent on macOS.
#[utoipa::path(post, path = "/api/v1/runs/{run}/close", tag = "runs", params(("run" = i64, Path)), request_body = CloseRun, responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It does not wait for macOS"),
))]
pub async fn close(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
    Json(request): Json<CloseRun>,
) -> Result<Answer<Run>, Refusal> {
    let closed = app.runs.close_run(run, &caller.by(), request.done).await;
    moved(
        &app,
        run,
        closed,
        "see where it is: rootstock run show; a run at work is stopped by rootstock run cancel",
    )
    .await
}

/// Give values to the empty variables that a run asks for; the first answer wins.
#[utoipa::path(post, path = "/api/v1/runs/{run}/answers", tag = "runs", params(("run" = i64, Path)), request_body = RunAnswers, responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It does not ask for this, or not any more"),
    (status = 422, body = Problem, description = "No name of a variable, or a value that is too long"),
))]
pub async fn answer(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
    Json(said): Json<RunAnswers>,
) -> Result<Answer<Run>, Refusal> {
    let values = answers(said)?;
    moved(&app, run, app.runs.answer(run, &caller.by(), values).await, "see what it asks: rootstock run show")
        .await
}

/// Say where an image goes when the run asks; the first answer wins. What lies there is erased, and there is no way back.
#[utoipa::path(post, path = "/api/v1/runs/{run}/destination", tag = "runs", params(("run" = i64, Path)), request_body = ChooseDestination, responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It does not ask for this, or not any more, or the Mac has not said yet what it has"),
    (status = 422, body = Problem, description = "There is no such partition, or it cannot take the image"),
))]
pub async fn choose_destination(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
    Json(said): Json<ChooseDestination>,
) -> Result<Answer<Run>, Refusal> {
    destination::choose(&app, run, &caller.by(), said).await?;
    nudged(&app, run).await
}

/// Answers as the engine takes them.
pub fn answers(said: RunAnswers) -> Result<Vec<(VariableName, String)>, Refusal> {
    let mut values = Vec::with_capacity(said.values.len());
    for (name, value) in said.values {
        if value.len() > LONGEST {
            return Err(Refusal::wrong(
                format!("the value of {name} has more than {LONGEST} bytes"),
                "shorten it",
            ));
        }
        values.push((
            name.parse::<VariableName>().map_err(|error| Refusal::wrong(error.to_string(), ""))?,
            value,
        ));
    }
    Ok(values)
}

/// A Wait for technician step ends, and the run goes on.
#[utoipa::path(post, path = "/api/v1/runs/{run}/confirm", tag = "runs", params(("run" = i64, Path)), responses(
    (status = 200, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "No step waits"),
))]
pub async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<i64>,
) -> Result<Answer<Run>, Refusal> {
    moved(&app, run, app.runs.confirm(run, &caller.by()).await, "see where it is: rootstock run show").await
}

/// What was done to a run, or why it does not fit there and what is next.
async fn moved(
    app: &App,
    run: i64,
    result: Result<(), RunError>,
    next: &str,
) -> Result<Answer<Run>, Refusal> {
    result.map_err(|error| match error {
        RunError::OutOfOrder(error) => Refusal::conflict(error.to_string(), next),
        other => other.into(),
    })?;
    nudged(app, run).await
}

/// The run as it is now. Its Mac looks at once, instead of when it would have asked by itself.
async fn nudged(app: &App, run: i64) -> Result<Answer<Run>, Refusal> {
    if let Some(row) = app.db.run(run).await? {
        app.screens.nudge(row.summary.device, now_ms());
    }
    view(app, run, 0, Duration::ZERO).await.map(Answer)
}

pub async fn view(app: &App, id: i64, after: u64, wait: Duration) -> Result<Run, Refusal> {
    let (
        change,
        progress,
        at,
        step_list,
        message,
        failure,
        images,
        mut question,
        (can_resume, waits, failed_step),
    ) = app
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
                    .enumerate()
                    .map(|(index, (step, record))| step_of_run(run, index, step, record))
                    .collect(),
                run.message().map(|message| run.masked(message)),
                run.failure().map(|failure| wire::masked(run, wire::failure_out(failure))),
                images.collect(),
                run.question(now_ms()).map(|question| wire::question(question, run, seen.since_ms)),
                (run.can_resume(), waits(run), wire::failed_step(run)),
            )
        })
        .await?;
    if let Some(question) = &mut question {
        destination::complete(app, id, question).await?;
    }
    let summary = app.db.run(id).await?.ok_or(RunError::Absent(id))?.summary;
    let receipts = app.db.receipts(id).await?;
    Ok(Run {
        summary,
        change,
        progress,
        at,
        step_list,
        message,
        failure,
        failed_step,
        question,
        can_resume,
        waits,
        images,
        receipts,
    })
}

/// Why nothing happens now, when nothing does.
fn waits(run: &sequence::run::Run) -> Option<RunWait> {
    match run.next(now_ms()) {
        Decision::Wait { why, .. } => {
            Some(RunWait { why: run.masked(&why), for_macos: run.waits_for_macos() })
        }
        _ => None,
    }
}

fn step_of_run(run: &sequence::run::Run, index: usize, step: &Step, record: &StepRecord) -> RunStep {
    let program = run.program();
    let failed = record.failure.as_ref().map(|failure| run.masked(&failure.cause));
    RunStep {
        name: step.name.clone(),
        state: wire::step_state(record.state),
        started_ms: record.started_ms,
        ended_ms: record.ended_ms,
        place: program.step_item(index).place.as_ref().map(ToString::to_string).unwrap_or_default(),
        groups: program.groups_around(index).into_iter().map(str::to_owned).collect(),
        why: record.why.as_ref().map(|why| run.masked(why)).or(failed),
        exit_code: record.exit_code,
        tries: record.tries,
        kind: step.kind.title().to_owned(),
    }
}

/// Recorded values of secret variables stay here: people are shown the event's own line.
fn event(app: &App, run: &sequence::run::Run, id: i64, row: &EventRow) -> RunEvent {
    let base = |kind: &str, step: Option<String>, detail: String| RunEvent {
        number: u64::try_from(row.number).unwrap_or(0),
        at_ms: row.at_ms,
        kind: kind.to_owned(),
        step,
        detail,
    };
    match &row.body {
        EventBody::Log(lines) => base("log", None, lines.clone()),
        EventBody::State(body) => match app.runs.opened(id, row.number, body) {
            Ok(recorded) => {
                let subject = run.subject(&recorded.event).map(str::to_owned);
                base(recorded.event.kind(), subject, recorded.event.line())
            }
            Err(_) => base("unknown", None, "recorded by another version of the appliance".to_owned()),
        },
    }
}
