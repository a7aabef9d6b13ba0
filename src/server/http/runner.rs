//! The runner protocol: `/runner/v1/…`, see `crate::api::runner`.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json as Answer, Router};

use super::auth::{Peer, RunToken, Session};
use super::bounds::{LONGEST_HELLO, check_disks, check_hello, check_report, short};
use super::error::Refusal;
use super::extract::{Json, Path};
use super::start::Starter;
use super::{capture, destination, files, packs, sign_in, start};
use crate::api::runner::{
    Accepted, AskNext, BootMethod, DeviceFacts, Hello, ManifestKeys, Next, Report, ReportEvent, RunTicket,
    StartRun, Welcome,
};
use crate::db::{self, Full, Greeted, Newcomers};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::offer::why_empty;
use crate::server::runs::RunError;
use crate::server::runs::claim::Claimant;
use crate::server::targets;
use crate::server::token;
use crate::server::trust;

/// A session ends after this time: long enough for a wizard that is left open over night.
const SESSION_MS: i64 = 24 * 3600 * 1000;
/// Longest request of a runner: an inventory, or a batch of log lines.
const LONGEST_BODY: usize = 1 << 20;

/// The routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/runner/v1/hello", post(hello).layer(DefaultBodyLimit::max(LONGEST_HELLO)))
        .route("/runner/v1/sign-in", post(sign_in::sign_in))
        .route("/runner/v1/sign-out", post(sign_in::sign_out))
        .route("/runner/v1/runs", post(start_run))
        .route("/runner/v1/runs/{run}/next", post(next))
        .route("/runner/v1/runs/{run}/report", post(report))
        .route("/runner/v1/runs/{run}/captures/{number}", post(capture::start))
        .route("/runner/v1/runs/{run}/captures/{number}/lacking", post(capture::run_lacking))
        .route("/runner/v1/runs/{run}/captures/{number}/frames", post(capture::run_frames))
        .route("/runner/v1/runs/{run}/captures/{number}/finish", post(capture::run_finish))
        .route("/runner/v1/runs/{run}/files/{number}", get(files::list))
        .route("/runner/v1/runs/{run}/files/{number}/{file}", get(files::content))
        .route("/runner/v1/keys", get(keys))
        .route("/runner/v1/manifests/{digest}", get(packs::manifest))
        .route("/runner/v1/manifests/{digest}/locations", get(packs::locations))
        .route("/runner/v1/packs/{digest}", get(packs::pack))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}

async fn hello(
    State(app): State<App>,
    peer: Peer,
    Json(hello): Json<Hello>,
) -> Result<Answer<Welcome>, Refusal> {
    check_hello(&hello)?;
    refuse_second(&app, &hello).await?;
    let session = token::random()?;
    let now = now_ms();
    let said = db::Hello {
        facts: hello.device,
        boot: hello.boot,
        receipt_key: hello.receipt_key,
        boot_id: hello.boot_id,
        token: token::digest(session.expose()),
        expires_ms: now + SESSION_MS,
        address: peer.0,
    };
    let known = match app.db.hello(&said, app.config.runner.newcomers, now).await? {
        Greeted::Device(known) => known,
        Greeted::Full(full) => return Err(crowded(app.config.runner.newcomers, full)),
    };
    let name = start::device_name(&said.facts);
    let claimant = Claimant { receipt_key: &said.receipt_key, boot_id: &said.boot_id };
    let run = resume(&app, known.device, said.boot, claimant).await?;
    let judged = targets::judged(&app, known.device, said.boot).await?.unwrap_or_default();
    let mut why_empty = why_empty(&judged.explained, &name);
    let mut offers: Vec<_> = judged.offers.into_iter().map(|offered| offered.offer).collect();
    app.screens.offered(known.device, &offers, now);
    let asked = sign_in::asked(&app).await?;
    if asked.is_some() && !offers.iter().all(sign_in::starts_by_itself) {
        offers.retain(sign_in::starts_by_itself);
        why_empty = "a technician logs in to see what may be chosen on this Mac".to_owned();
    }
    note_hello(&app, &said.facts, &hello.version, &name, run.as_ref(), offers.len());
    Ok(Answer(Welcome {
        device: known.device,
        session,
        appliance: app.config.name.clone(),
        now_ms: now,
        manifest_keys: believed(&app),
        why_empty: offers.is_empty().then_some(why_empty),
        offers,
        run,
        keyboard: app.db.keyboard(known.device).await?,
        sign_in: asked,
    }))
}

/// Nobody has signed in here: how many Macs that nobody knows are taken in is bounded.
fn crowded(bounds: Newcomers, full: Full) -> Refusal {
    let (why, next) = match full {
        Full::Minute => (
            format!("{} new Macs said hello within a minute, more are not taken in", bounds.a_minute),
            "the runner tries again; a larger lab needs `runner.new-macs-a-minute`",
        ),
        Full::Total => (
            format!("{} unknown Macs are listed already, more are not taken in", bounds.unknown),
            "look at rootstock device list for what fills it; a larger site needs `runner.unknown-macs`",
        ),
    };
    tracing::warn!("a hello was refused: {why}");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why, next)
}

/// The device's run that has not ended gets a new token: an older runner, if one still lives, is out.
async fn resume(
    app: &App,
    device: i64,
    boot: BootMethod,
    claimant: Claimant<'_>,
) -> Result<Option<RunTicket>, Refusal> {
    let Some(run) = app.db.active_run(device).await? else { return Ok(None) };
    app.runs.reconnect(run, boot, claimant).await?;
    start::ticket(app, run, claimant.receipt_key).await
}

/// While a runner is at work at a run, another one that says it is the same Mac changes nothing: neither what is known of the Mac
/// nor whose the run is. It is told, and so are those who look after the appliance.
async fn refuse_second(app: &App, hello: &Hello) -> Result<(), Refusal> {
    let Some(device) = app.db.device_of(&hello.device).await? else { return Ok(()) };
    let Some(run) = app.db.active_run(device).await? else { return Ok(()) };
    let claimant = Claimant { receipt_key: &hello.receipt_key, boot_id: &hello.boot_id };
    app.runs.may_have(run, claimant).await.inspect_err(|error| {
        if let RunError::Taken { .. } = error {
            let mac = hello.device.macs.first();
            let line = format!(
                "a second runner says that it is {}; run {run} stays with the first",
                start::device_name(&hello.device)
            );
            if app.timeline.is_news(mac, &line) {
                tracing::warn!(run, "{line}");
                app.timeline.runner(mac, false, line);
            }
        }
    })?;
    Ok(())
}

async fn start_run(
    State(app): State<App>,
    session: Session,
    Json(request): Json<StartRun>,
) -> Result<Answer<RunTicket>, Refusal> {
    Ok(Answer(
        start::run(
            &app,
            &session,
            request.deployment,
            Starter::AtTheMac(request.pass.as_ref(), request.seen.as_ref()),
        )
        .await?,
    ))
}

async fn next(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(asked): Json<AskNext>,
) -> Result<Answer<Next>, Refusal> {
    token.must_be(run)?;
    check_disks(&asked.disks)?;
    if !asked.disks.is_empty() {
        app.runs.has_disks(run, asked.disks).await?;
    }
    let mut next = app.runs.next(run).await?;
    if let Next::Wait { question: Some(question), .. } = &mut next {
        destination::complete(&app, run, question).await?;
    }
    Ok(Answer(next))
}

/// For a runner that said hello before a key was changed.
async fn keys(State(app): State<App>, _: RunToken) -> Answer<ManifestKeys> {
    Answer(ManifestKeys { manifest_keys: believed(&app) })
}

fn believed(app: &App) -> Vec<String> {
    app.library.keys().believed().iter().map(ToString::to_string).collect()
}

async fn report(
    State(app): State<App>,
    token: RunToken,
    Path(run): Path<i64>,
    Json(report): Json<Report>,
) -> Result<Answer<Accepted>, Refusal> {
    token.must_be(run)?;
    check_report(&report)?;
    let has_receipt = matches!(&report.event, ReportEvent::Done(done) if done.receipt.is_some());
    let stop = app.runs.report(run, report).await?;
    if has_receipt {
        trust::countersign(&app).await;
    }
    Ok(Answer(Accepted { stop }))
}

fn note_hello(
    app: &App,
    facts: &DeviceFacts,
    version: &str,
    name: &str,
    run: Option<&RunTicket>,
    offers: usize,
) {
    let model = facts.model.as_ref().map(ToString::to_string).unwrap_or_else(|| "unknown model".to_owned());
    let what = match (run, offers) {
        (Some(run), _) => format!("goes on with run {} of {}", run.run, run.sequence),
        (None, 0) => "offered nothing".to_owned(),
        (None, 1) => "offered 1 sequence".to_owned(),
        (None, count) => format!("offered {count} sequences"),
    };
    let answered = run.is_some() || offers > 0;
    let line = format!("runner {} on {model} {name}: {what}", short(version));
    if app.timeline.is_news(facts.macs.first(), &line) {
        tracing::info!("{line}");
        app.timeline.runner(facts.macs.first(), answered, line);
    }
}
