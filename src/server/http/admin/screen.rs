//! What Macs show their technicians, and what is said to them from afar.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::run::view;
use crate::api::admin::Run;
use crate::api::runner::Problem;
use crate::api::wizard::{
    LONGEST_MESSAGE, PageName, RemoteOrder, Screen, SendMessage, StartOnDevice, TechnicianMessage,
};
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::clock::now_ms;
use crate::server::http::auth::Session;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path, Query, Watch};
use crate::server::http::start::{self, Starter};
use crate::server::screens::NotHere;

/// What a Mac shows now, and since when; with `after` and `wait`, as soon as that has changed.
#[utoipa::path(get, path = "/api/v1/devices/{device}/screen", tag = "devices", params(("device" = i64, Path), Watch), responses(
    (status = 200, body = Screen),
    (status = 404, body = Problem, description = "No such Mac, or its wizard has said nothing since the appliance started"),
))]
pub async fn show(
    State(app): State<App>,
    Path(device): Path<i64>,
    Query(watch): Query<Watch>,
) -> Result<Answer<Screen>, Refusal> {
    must_exist(&app, device).await?;
    let seen = app.screens.watch(device, watch.after, watch.patience(), now_ms);
    let seen = match app.stopping.run_until_cancelled(seen).await {
        Some(seen) => seen,
        None => app.screens.watch(device, 0, Duration::ZERO, now_ms).await,
    };
    let screen = seen.ok_or_else(|| not_here(device, NotHere { seen_ms: None }, StatusCode::NOT_FOUND))?;
    Ok(Answer(Screen { messages: waiting(&app, device).await?, ..screen }))
}

/// Start a deployment on a Mac that is at its wizard, as if somebody there had chosen and confirmed it.
#[utoipa::path(post, path = "/api/v1/devices/{device}/start", tag = "devices", params(("device" = i64, Path)), request_body = StartOnDevice, responses(
    (status = 201, body = Run),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is not at its wizard, is at a run, or is not offered this deployment"),
    (status = 422, body = Problem, description = "The sequence cannot be prepared for this Mac"),
))]
pub async fn start(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<i64>,
    Json(asked): Json<StartOnDevice>,
) -> Result<(StatusCode, Answer<Run>), Refusal> {
    must_exist(&app, device).await?;
    start_on(&app, device, asked.deployment, &caller.by()).await
}

/// The run is made here, so that what keeps it from starting is told to whoever asked; the Mac then finds that it has one.
pub async fn start_on(
    app: &App,
    device: i64,
    deployment: i64,
    by: &str,
) -> Result<(StatusCode, Answer<Run>), Refusal> {
    let gone = |gone| not_here(device, gone, StatusCode::CONFLICT);
    let screen = app.screens.watch(device, 0, Duration::ZERO, now_ms).await;
    let screen = screen.ok_or_else(|| gone(NotHere { seen_ms: None }))?;
    if !screen.here {
        return Err(gone(NotHere { seen_ms: Some(screen.seen_ms) }));
    }
    if !screen.page.takes_a_run() {
        return Err(Refusal::conflict(
            format!("device {device} {}", screen.page.in_words()),
            format!("look at it: rootstock device screen {device}"),
        ));
    }
    let session = app.db.last_session(device, now_ms()).await?;
    let (receipt_key, boot) = session.ok_or_else(|| gone(NotHere { seen_ms: Some(screen.seen_ms) }))?;
    let session = Session { device, receipt_key, boot, from: None };
    let ticket = start::run(app, &session, deployment, Starter::Afar(by)).await?;
    app.screens.nudge(device, now_ms());
    Ok((StatusCode::CREATED, Answer(view(app, ticket.run, 0, Duration::ZERO).await?)))
}

/// Stop the countdown that a Mac shows: what is Required does not start by itself there any more, until the Mac is started anew.
#[utoipa::path(post, path = "/api/v1/devices/{device}/hold", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Screen),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is not at its wizard, or does not count down"),
))]
pub async fn hold(State(app): State<App>, Path(device): Path<i64>) -> Result<Answer<Screen>, Refusal> {
    must_exist(&app, device).await?;
    let gone = |gone| not_here(device, gone, StatusCode::CONFLICT);
    let screen = app.screens.watch(device, 0, Duration::ZERO, now_ms).await;
    let screen = screen.ok_or_else(|| gone(NotHere { seen_ms: None }))?;
    if screen.here && screen.page != PageName::Countdown {
        return Err(Refusal::conflict(
            format!("device {device} does not count down: it {}", screen.page.in_words()),
            "a run that has begun is stopped with rootstock run cancel",
        ));
    }
    app.screens.order(device, RemoteOrder::Hold, now_ms()).map_err(gone)?;
    Ok(Answer(screen))
}

/// Restart a Mac that is at its wizard and not at a run.
#[utoipa::path(post, path = "/api/v1/devices/{device}/restart", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Screen),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is not at its wizard, or at a run"),
))]
pub async fn restart(State(app): State<App>, Path(device): Path<i64>) -> Result<Answer<Screen>, Refusal> {
    down(&app, device, RemoteOrder::Restart).await
}

/// Shut down a Mac that is at its wizard and not at a run.
#[utoipa::path(post, path = "/api/v1/devices/{device}/shutdown", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Screen),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is not at its wizard, or at a run"),
))]
pub async fn shut_down(State(app): State<App>, Path(device): Path<i64>) -> Result<Answer<Screen>, Refusal> {
    down(&app, device, RemoteOrder::ShutDown).await
}

async fn down(app: &App, device: i64, order: RemoteOrder) -> Result<Answer<Screen>, Refusal> {
    must_exist(app, device).await?;
    if let Some(run) = app.db.active_run(device).await? {
        return Err(Refusal::conflict(
            format!("device {device} is at run {run}, which has not ended"),
            format!("wait for its end, or cancel it: rootstock run cancel {run}"),
        ));
    }
    let gone = |gone| not_here(device, gone, StatusCode::CONFLICT);
    app.screens.order(device, order, now_ms()).map_err(gone)?;
    let screen = app.screens.watch(device, 0, Duration::ZERO, now_ms).await;
    screen.map(Answer).ok_or_else(|| gone(NotHere { seen_ms: None }))
}

/// Messages to whoever stands in front of a Mac, oldest first, with the time when they were acknowledged.
#[utoipa::path(get, path = "/api/v1/devices/{device}/messages", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Vec<TechnicianMessage>),
    (status = 404, body = Problem),
))]
pub async fn messages(
    State(app): State<App>,
    Path(device): Path<i64>,
) -> Result<Answer<Vec<TechnicianMessage>>, Refusal> {
    must_exist(&app, device).await?;
    Ok(Answer(app.db.messages(device).await?))
}

/// Show a message on a Mac until somebody there acknowledges it; one that is not there shows it when it comes.
#[utoipa::path(post, path = "/api/v1/devices/{device}/messages", tag = "devices", params(("device" = i64, Path)), request_body = SendMessage, responses(
    (status = 201, body = TechnicianMessage),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "It says nothing, or too much"),
))]
pub async fn send(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<i64>,
    Json(message): Json<SendMessage>,
) -> Result<(StatusCode, Answer<TechnicianMessage>), Refusal> {
    must_exist(&app, device).await?;
    let text = message.text.trim();
    if text.is_empty() || text.len() > LONGEST_MESSAGE {
        return Err(Refusal::wrong(
            format!("a message has 1 to {LONGEST_MESSAGE} bytes, this one has {}", text.len()),
            "say it shorter",
        ));
    }
    let plain: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let message = app.db.send_message(device, &plain, &caller.by(), now_ms()).await?;
    app.screens.ring(device);
    Ok((StatusCode::CREATED, Answer(message)))
}

async fn waiting(app: &App, device: i64) -> Result<Vec<TechnicianMessage>, Refusal> {
    let all = app.db.messages(device).await?;
    Ok(all.into_iter().filter(|message| message.acknowledged_ms.is_none()).collect())
}

async fn must_exist(app: &App, device: i64) -> Result<(), Refusal> {
    match app.db.device(device).await? {
        Some(_) => Ok(()),
        None => {
            Err(Refusal::absent(format!("there is no device {device}"), "list them: rootstock device list"))
        }
    }
}

fn not_here(device: i64, gone: NotHere, status: StatusCode) -> Refusal {
    let when = match gone.seen_ms {
        Some(seen_ms) => format!("it spoke last {} s ago", now_ms().saturating_sub(seen_ms) / 1000),
        None => "it has not spoken since the appliance started".to_owned(),
    };
    Refusal::new(
        status,
        format!("device {device} is not at its wizard: {when}"),
        "start the Mac from the network or from a stick, and wait for its wizard",
    )
}
