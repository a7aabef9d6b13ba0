//! How captured chunks come in, for the admin API and the runner protocol alike, see `crate::api::capture`; and the runner's own
//! paths. Who may send is decided by whoever finds the capture.

use std::time::Duration;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::auth::RunToken;
use super::error::Refusal;
use super::extract::{Json, Path};
use crate::api::capture::{
    Capture, Finish, MOST_ASKED, MOST_SENT, StartCapture, Taken, decode_digests, encode_bits,
};
use crate::db::NewCapture;
use crate::image::manifest::{MAX_SIGNED, Manifest};
use crate::server::app::App;
use crate::server::captures;
use crate::server::http::bounds;

const BINARY: &str = "application/octet-stream";

/// How long a sender may take for one body: a manifest of hundreds of MiB over a slow network.
const SENDING: Duration = Duration::from_secs(600);

/// Longest text that says what is captured.
const LONGEST_SOURCE: usize = 512;

/// Answers which chunks are lacking.
pub async fn lacking(app: &App, capture: &Capture, body: Body) -> Result<Response, Refusal> {
    let body = whole(body, 32 * MOST_ASKED).await?;
    if body.is_empty() || !body.len().is_multiple_of(32) {
        return Err(Refusal::unreadable("the body must be digests of 32 bytes, at least one"));
    }
    let lacking = captures::lacking(app, capture, decode_digests(&body)).await?;
    Ok(([(CONTENT_TYPE, BINARY)], encode_bits(&lacking)).into_response())
}

/// Takes frames in.
pub async fn frames(app: &App, capture: &Capture, body: Body) -> Result<Answer<Taken>, Refusal> {
    let place = app.captures.body().await?;
    let body = whole(body, MOST_SENT).await?;
    let taken = captures::take(app, capture, body).await?;
    drop(place);
    Ok(Answer(taken))
}

/// Makes the image. What was begun is brought to its end, even when nobody waits for the answer any more.
pub async fn finish(app: &App, capture: &Capture, body: Body) -> Result<Answer<Finish>, Refusal> {
    let place = app.captures.body().await?;
    let body = whole(body, MAX_SIGNED as usize).await?;
    let manifest = Manifest::decode(&body).map_err(|error| {
        Refusal::wrong(error.to_string(), "update both sides to the same version, then capture again")
    })?;
    drop((place, body));
    let (app, id) = (app.clone(), capture.id);
    let finishing = tokio::spawn(async move { captures::finish(&app, id, manifest).await });
    finishing.await.map_err(|error| Refusal::fault(&error))?.map(Answer)
}

async fn whole(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let taken = tokio::time::timeout(SENDING, axum::body::to_bytes(body, most)).await;
    let taken = taken
        .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request came too slowly", "try again"))?;
    taken.map_err(|error| {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body broke off, or has more than {most} bytes: {error}"),
            "send it again, in smaller parts",
        )
    })
}

/// Refuses texts that nobody needs so long.
pub fn check_texts(source: &str, note: &str) -> Result<(), Refusal> {
    bounds::longest("source", source, LONGEST_SOURCE)?;
    bounds::longest("note", note, LONGEST_SOURCE)
}

/// `POST /runner/v1/runs/{run}/captures/{action}`
pub async fn start(
    State(app): State<App>,
    token: RunToken,
    Path((run, number)): Path<(i64, u32)>,
    Json(request): Json<StartCapture>,
) -> Result<Answer<Capture>, Refusal> {
    token.must_be(run)?;
    check_texts(&request.source, "")?;
    let (image, note) = app.runs.capture(run, number).await?.ok_or_else(|| not_now(run, number))?;
    let new = NewCapture {
        resume: format!("run {run} action {number}"),
        image,
        note,
        source: request.source,
        size: request.size,
        used: request.used,
        by: format!("run {run}"),
        run: Some((run, number)),
    };
    Ok(Answer(captures::open(&app, new).await?))
}

/// The capture that the run is at.
async fn of_run(app: &App, token: RunToken, run: i64, number: u32) -> Result<Capture, Refusal> {
    token.must_be(run)?;
    if app.runs.capture(run, number).await?.is_none() {
        return Err(not_now(run, number));
    }
    app.db.run_capture(run, number).await?.ok_or_else(|| {
        Refusal::absent(format!("the capture of run {run} was not begun"), "begin it with `POST` to its path")
    })
}

fn not_now(run: i64, number: u32) -> Refusal {
    Refusal::conflict(
        format!("action {number} of run {run} is no capture, or not what the run does now"),
        "ask `next` what is to be done now",
    )
}

/// `POST …/lacking` of a run.
pub async fn run_lacking(
    State(app): State<App>,
    token: RunToken,
    Path((run, number)): Path<(i64, u32)>,
    body: Body,
) -> Result<Response, Refusal> {
    lacking(&app, &of_run(&app, token, run, number).await?, body).await
}

/// `POST …/frames` of a run.
pub async fn run_frames(
    State(app): State<App>,
    token: RunToken,
    Path((run, number)): Path<(i64, u32)>,
    body: Body,
) -> Result<Answer<Taken>, Refusal> {
    frames(&app, &of_run(&app, token, run, number).await?, body).await
}

/// `POST …/finish` of a run.
pub async fn run_finish(
    State(app): State<App>,
    token: RunToken,
    Path((run, number)): Path<(i64, u32)>,
    body: Body,
) -> Result<Answer<Finish>, Refusal> {
    finish(&app, &of_run(&app, token, run, number).await?, body).await
}
