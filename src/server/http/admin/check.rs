//! The check of the library.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::admin::{CheckLibrary, CheckReport, Job, JobKind, JobState};
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::check;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Json;

/// Read everything in the library, name every damage, and mend it when asked. Runs beside imports, restores and collections.
#[utoipa::path(post, path = "/api/v1/library/check", tag = "library", request_body = CheckLibrary, responses(
    (status = 202, body = Job, description = "It fails when something is damaged at its end"),
    (status = 409, body = Problem, description = "A check is at work already"),
    (status = 503, body = Problem, description = "Too many jobs wait already"),
))]
pub async fn start(
    State(app): State<App>,
    Json(request): Json<CheckLibrary>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    let at_work =
        |job: &&Job| job.kind == JobKind::Check && matches!(job.state, JobState::Queued | JobState::Running);
    if let Some(job) = app.jobs.list().iter().find(at_work) {
        return Err(Refusal::conflict(
            format!("the library is being checked already, by job {}", job.id),
            "wait for its end, or stop it: DELETE /api/v1/jobs/JOB",
        ));
    }
    let worker = app.clone();
    let subject = if request.repair { "the library, with repair" } else { "the library" };
    let job = app.jobs.start_beside(JobKind::Check, subject.to_owned(), move |work, job| async move {
        check::check(&worker, job, request.repair, &work).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
}

/// What the last check found.
#[utoipa::path(get, path = "/api/v1/library/check", tag = "library", responses(
    (status = 200, body = CheckReport),
    (status = 404, body = Problem, description = "There was none since the daemon started"),
))]
pub async fn last(State(app): State<App>) -> Result<Answer<CheckReport>, Refusal> {
    app.last_check.get().map(Answer).ok_or_else(|| {
        Refusal::absent(
            "the library was not checked since rootstockd started",
            "check it: rootstock store check",
        )
    })
}
