//! API tokens. A token is shown once; its digest is kept.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::user::{absent, parts};
use crate::api::admin::{ApiToken, CreateToken, CreatedToken};
use crate::api::runner::Problem;
use crate::db::NewToken;
use crate::server::app::App;
use crate::server::caller::{Caller, How};
use crate::server::clock::now_ms;
use crate::server::http::access;
use crate::server::http::door::TOKEN_HEAD;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::token;
use crate::value::{Right, Secret};

/// Longest name of a token.
const LONGEST_NAME: usize = 64;
/// Most days of a token's life.
const MOST_DAYS: u32 = 3660;

/// One's own tokens; an owner sees all.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses((status = 200, body = Vec<ApiToken>)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<Answer<Vec<ApiToken>>, Refusal> {
    Ok(Answer(app.db.tokens(of(&caller)).await?))
}

/// Make a token. What it may is never more than its account may, whatever happens to that later.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken, responses(
    (status = 201, body = CreatedToken, description = "The token is shown this once"),
    (status = 403, body = Problem, description = "Asked with a token, for another account, or for more than the account may"),
    (status = 404, body = Problem, description = "No such account"),
    (status = 409, body = Problem, description = "The account has a token of this name"),
    (status = 422, body = Problem, description = "A bad name, area or time"),
))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<CreateToken>,
) -> Result<(StatusCode, Answer<CreatedToken>), Refusal> {
    if let How::Token(name) = &caller.how {
        return Err(Refusal::forbidden(
            format!("the token {name} cannot make another token"),
            "sign in: rootstock login",
        ));
    }
    check(&request)?;
    let user = match &request.user {
        Some(user) if *user != caller.name || caller.account.is_none() => {
            caller.must(Right::Own, || format!("make a token for {user}"))?;
            user.clone()
        }
        _ if caller.account.is_none() => {
            return Err(Refusal::wrong(
                format!("{} is no account: say whose the token is", caller.by()),
                "name the account: rootstock token create NAME --user ACCOUNT",
            ));
        }
        _ => caller.name.clone(),
    };
    let (domain, name) = parts(&user);
    let account = app.db.account(domain, name).await?.ok_or_else(|| absent(&user))?;
    let role = request.role.unwrap_or(account.role);
    if !role.is_within(account.role) || !caller.roles.iter().all(|own| role.is_within(*own)) {
        return Err(Refusal::forbidden(
            format!("a token of {user} cannot be {role}: the account is {}", account.role),
            "ask for a role that the account has",
        ));
    }
    let secret = Secret::new(format!("{TOKEN_HEAD}{}", token::random()?.expose()));
    let now = now_ms();
    let new = NewToken {
        token: token::digest(secret.expose()),
        account: &account,
        name: request.name.trim(),
        role,
        areas: &request.areas,
        expires_ms: request.days.map(|days| now + i64::from(days) * 86_400_000),
    };
    let facts = app.db.add_token(&new, now).await?.ok_or_else(|| {
        Refusal::conflict(
            format!("{user} has a token {:?} already", new.name),
            "take another name, or revoke that one: rootstock token revoke",
        )
    })?;
    Ok((StatusCode::CREATED, Answer(CreatedToken { token: secret, facts })))
}

/// Take a token back: one's own; an owner any.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "tokens", params(("token" = i64, Path)), responses(
    (status = 200, body = ApiToken, description = "What was revoked"),
    (status = 404, body = Problem),
))]
pub async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Answer<ApiToken>, Refusal> {
    let revoked = app.db.revoke_token(id, of(&caller)).await?;
    revoked.map(Answer).ok_or_else(|| {
        Refusal::absent(format!("there is no token {id} of yours"), "list them: rootstock token list")
    })
}

/// Whose tokens one deals with; none: everybody's.
fn of(caller: &Caller) -> Option<i64> {
    // Nobody has the account 0.
    if caller.may(Right::Own) { None } else { Some(caller.account.unwrap_or(-1)) }
}

fn check(request: &CreateToken) -> Result<(), Refusal> {
    let name = request.name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::wrong(
            "this cannot be the name of a token",
            format!("1 to {LONGEST_NAME} characters that say what it is for"),
        ));
    }
    if let Some(area) = request.areas.iter().find(|area| !access::areas().any(|known| known == **area)) {
        let known: Vec<_> = access::areas().collect();
        let shown: String = area.chars().take(64).collect();
        return Err(Refusal::wrong(
            format!("the API has no area {shown:?}"),
            format!("there are {}", known.join(", ")),
        ));
    }
    if request.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return Err(Refusal::wrong("a token lives 1 to 3660 days", "or without end: leave it out"));
    }
    Ok(())
}
