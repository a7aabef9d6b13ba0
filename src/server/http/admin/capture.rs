//! Captures that a command line sends, and those of runs to look at.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::image::check_name;
use crate::api::capture::{Capture, CreateCapture, Finish, Taken};
use crate::api::runner::Problem;
use crate::db::NewCapture;
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::captures;
use crate::server::http::capture;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};

/// Captures under way and lately finished, newest first.
#[utoipa::path(get, path = "/api/v1/captures", tag = "captures", responses((status = 200, body = Vec<Capture>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<Capture>>, Refusal> {
    Ok(Answer(app.db.captures().await?))
}

/// Begin a capture, or go on with the same one that was not finished.
#[utoipa::path(post, path = "/api/v1/captures", tag = "captures", request_body = CreateCapture, responses(
    (status = 200, body = Capture),
    (status = 409, body = Problem, description = "Garbage is collected at this moment"),
    (status = 422, body = Problem, description = "A bad name"),
    (status = 503, body = Problem, description = "Too many captures"),
    (status = 507, body = Problem, description = "No room on the disk"),
))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<CreateCapture>,
) -> Result<Answer<Capture>, Refusal> {
    check_name(&request.name)?;
    capture::check_texts(&request.source, &request.note)?;
    capture::check_texts(&request.resume, "")?;
    let new = NewCapture {
        // A run's own is found by the run.
        resume: format!("admin {}", request.resume),
        image: request.name,
        note: request.note,
        source: request.source,
        size: request.size,
        used: request.used,
        by: caller.by(),
        run: None,
    };
    Ok(Answer(captures::open(&app, new).await?))
}

/// One capture.
#[utoipa::path(get, path = "/api/v1/captures/{capture}", tag = "captures", params(("capture" = i64, Path)), responses(
    (status = 200, body = Capture),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<Capture>, Refusal> {
    app.db.capture(id).await?.map(Answer).ok_or_else(|| captures::absent(id))
}

/// Give a capture up. What it sent is collected with the next garbage.
#[utoipa::path(delete, path = "/api/v1/captures/{capture}", tag = "captures", params(("capture" = i64, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It belongs to a run"),
))]
pub async fn abandon(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    mine(&app, id).await?;
    captures::abandon(&app, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Ask which chunks the library lacks.
#[utoipa::path(post, path = "/api/v1/captures/{capture}/lacking", tag = "captures", params(("capture" = i64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem),
))]
pub async fn lacking(State(app): State<App>, Path(id): Path<i64>, body: Body) -> Result<Response, Refusal> {
    capture::lacking(&app, &mine(&app, id).await?, body).await
}

/// Send frames.
#[utoipa::path(post, path = "/api/v1/captures/{capture}/frames", tag = "captures", params(("capture" = i64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Taken),
        (status = 404, body = Problem),
        (status = 422, body = Problem, description = "A frame does not hold what it says; nothing of the body was kept"),
        (status = 507, body = Problem, description = "No room on the disk"),
))]
pub async fn frames(
    State(app): State<App>,
    Path(id): Path<i64>,
    body: Body,
) -> Result<Answer<Taken>, Refusal> {
    capture::frames(&app, &mine(&app, id).await?, body).await
}

/// Make the image, or learn that chunks are lacking.
#[utoipa::path(post, path = "/api/v1/captures/{capture}/finish", tag = "captures", params(("capture" = i64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Finish),
        (status = 404, body = Problem),
        (status = 422, body = Problem, description = "The manifest is none"),
))]
pub async fn finish(
    State(app): State<App>,
    Path(id): Path<i64>,
    body: Body,
) -> Result<Answer<Finish>, Refusal> {
    capture::finish(&app, &mine(&app, id).await?, body).await
}

/// A capture that is no run's: only its runner sends to that one.
async fn mine(app: &App, id: i64) -> Result<Capture, Refusal> {
    let capture = app.db.capture(id).await?.ok_or_else(|| captures::absent(id))?;
    match capture.run {
        None => Ok(capture),
        Some(run) => Err(Refusal::conflict(
            format!("capture {id} belongs to run {run}, whose Mac sends it"),
            format!("cancel the run to end it: rootstock run cancel {run}"),
        )),
    }
}
