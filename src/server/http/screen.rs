//! The wizard's side of its remote twin, `/runner/v1/…`: what the Mac shows, what it is told from afar, what its technician says
//! to a run. See `crate::api::wizard`.

use std::time::Duration;

use axum::Json as Answer;
use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::admin::run::{answers, may_go_on};
use super::auth::{RunToken, Session};
use super::bounds::longest;
use super::error::Refusal;
use super::extract::{Json, Path};
use crate::api::admin::RunAnswers;
use crate::api::wizard::{
    Acknowledge, AskNews, LONGEST_LINE, MOST_LINES, News, Said, Say, ScreenReport, ScreenTaken,
    TechnicianMessage,
};
use crate::server::app::App;
use crate::server::clock::now_ms;

/// Longest time that a question for news is held.
const LONGEST_WAIT: u32 = 15;
/// Who says something to a run, when it is said at the Mac.
const AT_THE_MAC: &str = "the technician at the Mac";

/// The routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/runner/v1/screen", post(screen))
        .route("/runner/v1/news", post(news))
        .route("/runner/v1/messages/{message}", post(acknowledge))
        .route("/runner/v1/runs/{run}/answers", post(answer))
        .route("/runner/v1/runs/{run}/confirm", post(confirm))
        .route("/runner/v1/runs/{run}/cancel", post(cancel))
        .route("/runner/v1/runs/{run}/resume", post(resume))
}

async fn screen(
    State(app): State<App>,
    session: Session,
    Json(report): Json<ScreenReport>,
) -> Result<Answer<ScreenTaken>, Refusal> {
    if report.text.len() > MOST_LINES {
        return Err(Refusal::unreadable(format!("a screen has at most {MOST_LINES} lines")));
    }
    longest("title", &report.title, LONGEST_LINE)?;
    longest("keyboard", report.keyboard.as_deref().unwrap_or_default(), 32)?;
    report.text.iter().try_for_each(|line| longest("text", line, LONGEST_LINE))?;
    let keyboard = report.keyboard.clone();
    if app.screens.report(session.device, report, now_ms())
        && let Some(layout) = keyboard
    {
        app.db.set_keyboard(session.device, &layout).await?;
    }
    Ok(Answer(ScreenTaken {}))
}

/// Answered as soon as there is an order or a message, else when the time is over.
async fn news(
    State(app): State<App>,
    session: Session,
    Json(asked): Json<AskNews>,
) -> Result<Answer<News>, Refusal> {
    let wait = Duration::from_secs(asked.wait.min(LONGEST_WAIT).into());
    let until = tokio::time::Instant::now() + wait;
    loop {
        let (orders, last, mut bell) = app.screens.orders(session.device, asked.after, now_ms());
        let messages = app.db.messages(session.device).await?;
        let fresh =
            |message: &TechnicianMessage| message.id > asked.message && message.acknowledged_ms.is_none();
        let messages: Vec<_> = messages.into_iter().filter(fresh).collect();
        let news = News { orders, last, messages };
        if !news.orders.is_empty() || !news.messages.is_empty() {
            return Ok(Answer(news));
        }
        let rung = tokio::time::timeout_at(until, bell.changed());
        match app.stopping.run_until_cancelled(rung).await {
            Some(Ok(Ok(()))) => {}
            _ => return Ok(Answer(news)),
        }
    }
}

async fn acknowledge(
    State(app): State<App>,
    session: Session,
    Path(message): Path<i64>,
    Json(_): Json<Acknowledge>,
) -> Result<Answer<TechnicianMessage>, Refusal> {
    let message = app.db.acknowledge_message(session.device, message, now_ms()).await?;
    app.screens.ring(session.device);
    message.map(Answer).ok_or_else(|| Refusal::absent("there is no such message to this Mac", ""))
}

async fn answer(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(said): Json<RunAnswers>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    app.runs.answer(run, AT_THE_MAC, answers(said)?).await?;
    Ok(Answer(Said {}))
}

async fn confirm(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(_): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    app.runs.confirm(run, AT_THE_MAC).await?;
    Ok(Answer(Said {}))
}

async fn cancel(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(_): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    app.runs.cancel(run, AT_THE_MAC).await?;
    Ok(Answer(Said {}))
}

async fn resume(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(_): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    may_go_on(&app, run).await?;
    app.runs.resume(run, AT_THE_MAC).await?;
    Ok(Answer(Said {}))
}
