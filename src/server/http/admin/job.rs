//! Jobs.

use axum::Json as Answer;
use axum::extract::State;

use crate::api::admin::Job;
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Path, Query, Watch};

/// Jobs at work and lately ended, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", responses((status = 200, body = Vec<Job>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<Job>> {
    Answer(app.jobs.list())
}

/// One job; with `after` and `wait`, as soon as something new happened to it.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", tag = "jobs", params(("job" = i64, Path), Watch), responses(
    (status = 200, body = Job),
    (status = 404, body = Problem),
))]
pub async fn show(
    State(app): State<App>,
    Path(job): Path<i64>,
    Query(watch): Query<Watch>,
) -> Result<Answer<Job>, Refusal> {
    let news = app.jobs.watch(job, watch.after, watch.patience());
    let seen = app.stopping.run_until_cancelled(news).await.unwrap_or_else(|| app.jobs.get(job));
    seen.map(Answer).ok_or_else(|| absent(job))
}

/// Ask a job to stop; nothing of it stays in the library.
#[utoipa::path(delete, path = "/api/v1/jobs/{job}", tag = "jobs", params(("job" = i64, Path)), responses(
    (status = 200, body = Job),
    (status = 404, body = Problem),
))]
pub async fn cancel(State(app): State<App>, Path(job): Path<i64>) -> Result<Answer<Job>, Refusal> {
    app.jobs.cancel(job).map(Answer).ok_or_else(|| absent(job))
}

fn absent(job: i64) -> Refusal {
    Refusal::absent(
        format!("there is no job {job}"),
        "jobs are forgotten some time after their end and when rootstockd restarts; start it again if its effect is missing",
    )
}
