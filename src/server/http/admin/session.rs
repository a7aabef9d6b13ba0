//! Signing in and out, one's own password, the first owner.

use std::net::IpAddr;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::user::{check_name, done, shown};
use crate::api::admin::{
    BeginSession, BegunSession, SetPassword, SetUp, SetupState, SignedInSession, User, WhoAmI,
};
use crate::api::runner::Problem;
use crate::db::{self, AccountChange, Acting, NewAccount, NewSession};
use crate::server::accounts::{Attempt, SignInError, password, setup};
use crate::server::app::App;
use crate::server::caller::{Caller, How};
use crate::server::clock::now_ms;
use crate::server::http::auth::Peer;
use crate::server::http::door;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::token;
use crate::value::Role;

/// Sign in with name and password. Nobody has to be signed in for that.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = BeginSession, responses(
    (status = 200, body = BegunSession),
    (status = 401, body = Problem, description = "Name or password are wrong"),
    (status = 403, body = Problem, description = "The account is disabled, or has no role here"),
    (status = 429, body = Problem, description = "Too many failed: `Retry-After` says how long to wait"),
    (status = 503, body = Problem, description = "The directory cannot be reached"),
))]
pub async fn sign_in(
    State(app): State<App>,
    peer: Peer,
    Json(wanted): Json<BeginSession>,
) -> Result<Answer<BegunSession>, Refusal> {
    Ok(Answer(begin(&app, peer.0, "api", &wanted).await?))
}

/// Opens a session for whoever knows the password.
pub async fn begin(
    app: &App,
    from: Option<IpAddr>,
    how: &str,
    wanted: &BeginSession,
) -> Result<BegunSession, Refusal> {
    let now = now_ms();
    let attempt = Attempt {
        domain: wanted.domain.as_deref(),
        name: &wanted.name,
        password: &wanted.password,
        from,
        now_ms: now,
    };
    let account = app.accounts.sign_in(&attempt).await?;
    let token = token::random()?;
    let ends_ms = now + i64::from(app.config.accounts.session_hours) * 3_600_000;
    let address = from.map(|from| from.to_string()).unwrap_or_default();
    let new = NewSession {
        token: token::digest(token.expose()),
        account: account.id,
        how,
        address: &address,
        ends_ms,
    };
    let who = account.shown();
    let acting = Acting::new(
        who.clone(),
        "session",
        from.map(|from| from.to_string()),
        "session.begin".to_owned(),
        now_ms,
    );
    db::acting(acting, app.db.add_session(&new, &who, now)).await?;
    tracing::info!("{who} signed in{}", from.map_or(String::new(), |from| format!(" from {from}")));
    let who = WhoAmI { name: who.clone(), shown: who, how: "session".to_owned(), role: account.role };
    Ok(BegunSession { token, who, ends_ms, idle_minutes: app.config.accounts.session_idle })
}

/// Who asks.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses((status = 200, body = WhoAmI)))]
pub async fn show(caller: Caller) -> Answer<WhoAmI> {
    Answer(WhoAmI {
        shown: caller.by(),
        how: caller.how().to_owned(),
        role: caller.role(),
        name: caller.name,
    })
}

/// End one's own session.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", responses(
    (status = 204),
    (status = 409, body = Problem, description = "Known by a token or the socket: there is no session"),
))]
pub async fn end(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    let text = door::bearer(&headers).ok().or_else(|| door::cookie(&headers));
    let (Some(text), How::Session) = (text, &caller.how) else {
        return Err(Refusal::conflict(
            format!("{} is known without a session", caller.by()),
            "revoke a token with rootstock token revoke",
        ));
    };
    app.db.end_session(token::digest(text), now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set the password of one's own account. Its sessions end, this one too.
#[utoipa::path(put, path = "/api/v1/session/password", tag = "session", request_body = SetPassword, responses(
    (status = 204),
    (status = 403, body = Problem, description = "The old password is wrong"),
    (status = 409, body = Problem, description = "Known without an account, or its password is kept by a directory"),
    (status = 422, body = Problem, description = "A password that anybody guesses"),
))]
pub async fn set_password(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<SetPassword>,
) -> Result<StatusCode, Refusal> {
    if caller.account.is_none() || !matches!(caller.how, How::Session) {
        return Err(Refusal::conflict(
            format!("{} did not sign in with a password", caller.by()),
            "name the account: rootstock user password NAME",
        ));
    }
    if caller.name.contains('@') {
        return Err(Refusal::conflict("the password is kept by the directory", "change it there"));
    }
    let name = caller.name.clone();
    let old = request.old.unwrap_or_else(|| crate::value::Secret::new(""));
    let local = Some(crate::api::sign_in::LOCAL);
    let attempt = Attempt { domain: local, name: &name, password: &old, from: caller.from, now_ms: now_ms() };
    app.accounts.sign_in(&attempt).await.map_err(|error| match error {
        SignInError::Wrong => Refusal::forbidden("the old password is wrong", "try again"),
        other => Refusal::from(other).not_the_session(),
    })?;
    password::check(&request.new, &name)?;
    let hash = app.accounts.hash(&request.new).await?;
    let change = AccountChange { password: Some(&hash), ..AccountChange::default() };
    done(app.db.change_account("", &name, &change).await?, &name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is signed in, used last first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "session", responses((status = 200, body = Vec<SignedInSession>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<SignedInSession>>, Refusal> {
    let idle_ms = i64::from(app.config.accounts.session_idle) * 60_000;
    Ok(Answer(app.db.open_sessions(idle_ms, now_ms()).await?))
}

/// End all sessions of an account, at Macs too.
#[utoipa::path(delete, path = "/api/v1/users/{user}/sessions", tag = "session", params(("user" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
))]
pub async fn end_all(State(app): State<App>, Path(user): Path<String>) -> Result<StatusCode, Refusal> {
    let (domain, name) = super::user::parts(&user);
    if app.db.end_all_sessions(domain, name).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(super::user::absent(&user))
}

/// Whether the appliance waits for its first owner. Nobody has to be signed in for that.
#[utoipa::path(get, path = "/api/v1/setup", tag = "session", responses((status = 200, body = SetupState)))]
pub async fn setup_state(State(app): State<App>) -> Result<Answer<SetupState>, Refusal> {
    Ok(Answer(SetupState { needed: !app.accounts.are_in_use().await? }))
}

/// Make the first owner with the one-time code of the daemon's log. Nobody has to be signed in for that.
#[utoipa::path(post, path = "/api/v1/setup", tag = "session", request_body = SetUp, responses(
    (status = 201, body = User),
    (status = 403, body = Problem, description = "The code is wrong, expired or used"),
    (status = 422, body = Problem, description = "A bad name, or a password that anybody guesses"),
    (status = 429, body = Problem, description = "Too many wrong codes"),
))]
pub async fn set_up(
    State(app): State<App>,
    peer: Peer,
    Json(wanted): Json<SetUp>,
) -> Result<(StatusCode, Answer<User>), Refusal> {
    Ok((StatusCode::CREATED, Answer(make_first_owner(&app, peer.0, &wanted).await?)))
}

/// Makes the first owner for whoever has the code.
pub async fn make_first_owner(app: &App, from: Option<IpAddr>, wanted: &SetUp) -> Result<User, Refusal> {
    let SetUp { code, name, full_name, password } = wanted;
    check_name(name)?;
    password::check(password, name)?;
    let counted = app.accounts.count("the set-up code", from, now_ms())?;
    let hash = app.accounts.hash(password).await?;
    let owner = NewAccount { domain: "", name, full_name, role: Role::Owner, password: Some(&hash) };
    let address = from.map(|from| from.to_string());
    let acting =
        Acting::new("the set-up code".to_owned(), "nobody", address, "user.setup".to_owned(), now_ms);
    let made = db::acting(acting, app.db.set_up(setup::digest(code), &owner, now_ms())).await?;
    let Some(made) = made else {
        return Err(Refusal::forbidden(
            "the set-up code is wrong, has expired, or was used",
            "the log of the last start has it: journalctl -u rootstockd; a restart makes a new one while there is no account",
        ));
    };
    app.accounts.forgive(&counted);
    let account = done(made, name)?;
    tracing::info!("{name} is the first owner");
    Ok(shown(account))
}
