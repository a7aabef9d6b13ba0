//! A technician signs in at a Mac: `/runner/v1/sign-in`, see `crate::api::sign_in`.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::auth::{Peer, Session};
use super::error::Refusal;
use super::extract::Json;
use super::start;
use crate::api::runner::{Offer, Purpose};
use crate::api::sign_in::{SignIn, SignInAsked, SignOut, SignedIn};
use crate::db::{self, AccountRow, Acting, Pass};
use crate::server::accounts::Attempt;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::config::SignInRule;
use crate::server::token;
use crate::value::{Right, Secret};

/// A technician signs in.
pub async fn sign_in(
    State(app): State<App>,
    session: Session,
    peer: Peer,
    Json(typed): Json<SignIn>,
) -> Result<Answer<SignedIn>, Refusal> {
    let now = now_ms();
    let attempt = Attempt {
        domain: typed.domain.as_deref(),
        name: &typed.name,
        password: &typed.password,
        from: peer.0,
        now_ms: now,
    };
    // 401 means to a runner that its session is over: a wrong password is a 403.
    let account =
        app.accounts.sign_in(&attempt).await.map_err(|error| Refusal::from(error).not_the_session())?;
    if !account.role.may(Right::Run) {
        return Err(Refusal::forbidden(
            format!("{} is an {} and may start no runs", account.shown(), account.role),
            "log in with the account of a technician",
        ));
    }
    let pass = token::random()?;
    let expires_ms = now + i64::from(app.config.runner.technician_minutes) * 60_000;
    let kept = Pass {
        token: token::digest(pass.expose()),
        account: account.id,
        device: session.device,
        receipt_key: &session.receipt_key,
        expires_ms,
    };
    let who = account.shown();
    let acting =
        Acting::new(who.clone(), "mac", session.from.clone(), "technician.sign-in".to_owned(), now_ms);
    db::acting(acting, app.db.add_pass(&kept, now)).await?;
    tracing::info!(device = session.device, "{who} signed in at device {}", session.device);
    let (offers, why_empty) = start::all_offers(&app, &session).await?;
    Ok(Answer(SignedIn { pass, name: who, role: account.role, expires_ms, offers, why_empty }))
}

/// A technician leaves.
pub async fn sign_out(
    State(app): State<App>,
    session: Session,
    Json(leaving): Json<SignOut>,
) -> Result<StatusCode, Refusal> {
    app.db.end_pass(token::digest(leaving.pass.expose()), session.device, now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the log in page asks for, where somebody has to sign in: as the settings say, and as soon as anybody could.
pub async fn asked(app: &App) -> Result<Option<SignInAsked>, Refusal> {
    if app.config.runner.sign_in == SignInRule::Never || !app.accounts.are_in_use().await? {
        return Ok(None);
    }
    Ok(Some(SignInAsked { domains: app.accounts.domains() }))
}

/// Without a technician only what starts by itself is told, and may be started.
pub fn starts_by_itself(offer: &Offer) -> bool {
    offer.purpose == Purpose::Required
}

/// Who starts a run. None: nobody, where nobody has to.
pub async fn starter(
    app: &App,
    session: &Session,
    offer: &Offer,
    pass: Option<&Secret>,
) -> Result<Option<AccountRow>, Refusal> {
    let technician = match pass {
        Some(pass) => {
            let token = token::digest(pass.expose());
            app.db.technician(token, session.device, &session.receipt_key, now_ms()).await?
        }
        None => None,
    };
    let technician = technician.filter(|account| account.role.may(Right::Run));
    if technician.is_some() || starts_by_itself(offer) || asked(app).await?.is_none() {
        return Ok(technician);
    }
    let why = if pass.is_some() { "the log in has expired" } else { "nobody has logged in" };
    Err(Refusal::forbidden(
        format!("{} is started by a technician, and {why}", offer.sequence),
        "log in, then start it",
    ))
}
