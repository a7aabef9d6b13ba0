//! The wizard's side of its remote twin, `/runner/v1/…`: what the Mac shows, what it is told from afar, what its technician says
//! to a run. See `crate::api::wizard`.

use std::time::Duration;

use axum::Json as Answer;
use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::admin::run::{answers, may_go_on};
use super::auth::{Peer, RunToken, Session};
use super::bounds::longest;
use super::error::Refusal;
use super::extract::{Json, Path};
use crate::api::admin::{ChooseDestination, RunAnswers};
use crate::api::wizard::{
    Acknowledge, AskNews, Descent, GoesDown, LONGEST_LINE, MOST_LINES, News, Said, Say, SayAnswers,
    SayDestination, ScreenReport, ScreenTaken, TechnicianMessage,
};
use crate::db::{self, Acting, Change};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::runs::RunError;
use crate::server::token;
use crate::value::Secret;

/// Longest time that a question for news is held.
const LONGEST_WAIT: u32 = 15;
/// Who says something to a run, when it is said at the Mac and nobody is logged in there.
const AT_THE_MAC: &str = "the technician at the Mac";

/// The routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/runner/v1/screen", post(screen))
        .route("/runner/v1/news", post(news))
        .route("/runner/v1/down", post(goes_down))
        .route("/runner/v1/messages/{message}", post(acknowledge))
        .route("/runner/v1/runs/{run}/answers", post(answer))
        .route("/runner/v1/runs/{run}/destination", post(destination))
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

/// Told to the audit log alone: it goes down whatever is answered.
async fn goes_down(
    State(app): State<App>,
    session: Session,
    peer: Peer,
    Json(GoesDown { how, run, pass }): Json<GoesDown>,
) -> Result<Answer<Said>, Refusal> {
    let action = match how {
        Descent::Restart => "device.restart",
        Descent::ShutDown => "device.shutdown",
        Descent::Unknown => return Err(Refusal::unreadable("a Mac restarts or shuts down")),
    };
    let gone = || Refusal::absent("this Mac is not known any more", "say hello again");
    let (facts, _) = app.db.device_facts(session.device).await?.ok_or_else(gone)?;
    // Of a run of another Mac nothing is said here.
    let run = match run {
        Some(run) => app.db.run(run).await?.filter(|row| row.summary.device == session.device).map(|_| run),
        None => None,
    };
    let speaker = Speaker::with(&app, session.device, &session.receipt_key, pass.as_ref(), peer).await?;
    let name = super::start::device_name(&facts);
    let at_run = run.map_or(String::new(), |run| format!(", at the page of run {run}"));
    let line = format!("{action} of {name} by {}{at_run}", speaker.who);
    // Whoever has a session may say it: said again at once it is not told again.
    if !app.timeline.is_news(facts.macs.first(), &line) {
        return Ok(Answer(Said {}));
    }
    tracing::info!(device = session.device, "{line}");
    let told = async |_: &str| {
        let after = Some(serde_json::json!({ "mac": name, "run": run }));
        let object = format!("device {}", session.device);
        Ok(app.db.audit(Change { after, ..Change::of(object, now_ms()) }).await?)
    };
    speaker.says(action, told).await
}

async fn answer(
    State(app): State<App>,
    token: RunToken,
    peer: Peer,
    Path(run): Path<i64>,
    Json(SayAnswers { values, pass }): Json<SayAnswers>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    let values = answers(RunAnswers { values })?;
    let speaker = Speaker::of(&app, run, pass.as_ref(), peer).await?;
    speaker.says("run.answer", async |by| Ok(app.runs.answer(run, by, values).await?)).await
}

async fn destination(
    State(app): State<App>,
    token: RunToken,
    peer: Peer,
    Path(run): Path<i64>,
    Json(SayDestination { step, disk, partition, pass }): Json<SayDestination>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    let said = ChooseDestination { step, disk, partition };
    let speaker = Speaker::of(&app, run, pass.as_ref(), peer).await?;
    let choose = async |by: &str| super::destination::choose(&app, run, by, said).await;
    speaker.says("run.destination", choose).await
}

async fn confirm(
    State(app): State<App>,
    token: RunToken,
    peer: Peer,
    Path(run): Path<i64>,
    Json(say): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    let speaker = Speaker::of(&app, run, say.pass.as_ref(), peer).await?;
    speaker.says("run.confirm", async |by| Ok(app.runs.confirm(run, by).await?)).await
}

async fn cancel(
    State(app): State<App>,
    token: RunToken,
    peer: Peer,
    Path(run): Path<i64>,
    Json(say): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    let speaker = Speaker::of(&app, run, say.pass.as_ref(), peer).await?;
    speaker.says("run.cancel", async |by| Ok(app.runs.cancel(run, by).await?)).await
}

async fn resume(
    State(app): State<App>,
    token: RunToken,
    peer: Peer,
    Path(run): Path<i64>,
    Json(say): Json<Say>,
) -> Result<Answer<Said>, Refusal> {
    token.must_be(run)?;
    may_go_on(&app, run).await?;
    let speaker = Speaker::of(&app, run, say.pass.as_ref(), peer).await?;
    speaker.says("run.resume", async |by| Ok(app.runs.resume(run, by).await?)).await
}

/// Whoever stands in front of the Mac of a run.
struct Speaker {
    who: String,
    from: Option<String>,
}

impl Speaker {
    /// The account that is logged in there, where the pass of one comes with what is said.
    async fn of(app: &App, run: i64, pass: Option<&Secret>, peer: Peer) -> Result<Speaker, Refusal> {
        let row = app.db.run(run).await?.ok_or(RunError::Absent(run))?;
        Speaker::with(app, row.summary.device, &row.receipt_key, pass, peer).await
    }

    /// Of the runner with this receipt key.
    async fn with(
        app: &App,
        device: i64,
        receipt_key: &str,
        pass: Option<&Secret>,
        peer: Peer,
    ) -> Result<Speaker, Refusal> {
        let known = match pass {
            Some(pass) => app.db.pass_holder(token::digest(pass.expose()), device, receipt_key).await?,
            None => None,
        };
        let who = match known {
            Some((who, expires_ms)) if expires_ms > now_ms() => who,
            Some((who, _)) => format!("{who}, whose log in has expired"),
            None => AT_THE_MAC.to_owned(),
        };
        Ok(Speaker { who, from: peer.0.map(|from| from.to_string()) })
    }

    /// Does what is said in their name: the event that it comes to is told to the audit log with it.
    async fn says(
        self,
        action: &str,
        say: impl AsyncFnOnce(&str) -> Result<(), Refusal>,
    ) -> Result<Answer<Said>, Refusal> {
        let acting = Acting::new(self.who.clone(), "mac", self.from, action.to_owned(), now_ms);
        db::acting(acting, say(&self.who)).await?;
        Ok(Answer(Said {}))
    }
}
