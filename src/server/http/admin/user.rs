//! Accounts.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::admin::{ChangeUser, CreateUser, SetPassword, User};
use crate::api::runner::Problem;
use crate::db::{AccountChange, AccountRow, Changed, NewAccount};
use crate::server::accounts::{ACCOUNT_NAME_RULE, is_account_name, password};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};

/// Longest name of a person.
const LONGEST_FULL_NAME: usize = 128;

/// Accounts, the appliance's own first.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", responses((status = 200, body = Vec<User>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<User>>, Refusal> {
    Ok(Answer(app.db.accounts().await?.into_iter().map(shown).collect()))
}

/// Make an account of the appliance's own.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = CreateUser, responses(
    (status = 201, body = User),
    (status = 409, body = Problem, description = "The name is taken"),
    (status = 422, body = Problem, description = "A bad name, or a password that anybody guesses"),
))]
pub async fn create(
    State(app): State<App>,
    Json(request): Json<CreateUser>,
) -> Result<(StatusCode, Answer<User>), Refusal> {
    let CreateUser { name, full_name, role, password } = request;
    check_name(&name)?;
    check_full_name(&full_name)?;
    password::check(&password, &name)?;
    let hash = app.accounts.hash(&password).await?;
    let new =
        NewAccount { domain: "", name: &name, full_name: full_name.trim(), role, password: Some(&hash) };
    let made = done(app.db.add_account(&new, now_ms()).await?, &name)?;
    tracing::info!("the account {name} was made, {role}");
    Ok((StatusCode::CREATED, Answer(shown(made))))
}

/// One account.
#[utoipa::path(get, path = "/api/v1/users/{user}", tag = "users", params(("user" = String, Path)), responses(
    (status = 200, body = User),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(user): Path<String>) -> Result<Answer<User>, Refusal> {
    let (domain, name) = parts(&user);
    let account = app.db.account(domain, name).await?;
    account.map(|account| Answer(shown(account))).ok_or_else(|| absent(&user))
}

/// Change an account: its role, whether it may be used, the person's name. Another role or a lock ends its sessions.
#[utoipa::path(patch, path = "/api/v1/users/{user}", tag = "users", params(("user" = String, Path)), request_body = ChangeUser,
    responses(
    (status = 200, body = User),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is the last owner, or its role comes from a directory"),
))]
pub async fn change(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(request): Json<ChangeUser>,
) -> Result<Answer<User>, Refusal> {
    let (domain, name) = parts(&user);
    if !domain.is_empty() && request.role.is_some() {
        return Err(Refusal::conflict(
            format!("{user} is of a directory: its groups say its role"),
            "change its groups there, or `[[ldap.group]]` in the settings",
        ));
    }
    if let Some(full_name) = &request.full_name {
        check_full_name(full_name)?;
    }
    let change = AccountChange {
        role: request.role,
        disabled: request.disabled,
        password: None,
        full_name: request.full_name.as_deref().map(str::trim),
    };
    Ok(Answer(shown(done(app.db.change_account(domain, name, &change).await?, &user)?)))
}

/// Set a new password. The sessions of the account end.
#[utoipa::path(put, path = "/api/v1/users/{user}/password", tag = "users", params(("user" = String, Path)),
    request_body = SetPassword, responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "Its password is kept by a directory"),
    (status = 422, body = Problem, description = "A password that anybody guesses"),
))]
pub async fn set_password(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(request): Json<SetPassword>,
) -> Result<StatusCode, Refusal> {
    let (domain, name) = parts(&user);
    if !domain.is_empty() {
        return Err(Refusal::conflict(
            format!("the password of {user} is kept by its directory"),
            "change it there",
        ));
    }
    password::check(&request.new, name)?;
    let hash = app.accounts.hash(&request.new).await?;
    let change = AccountChange { password: Some(&hash), ..AccountChange::default() };
    done(app.db.change_account(domain, name, &change).await?, &user)?;
    tracing::info!("the password of {name} was set");
    Ok(StatusCode::NO_CONTENT)
}

/// Remove an account with its sessions and tokens. What it did stays on record.
#[utoipa::path(delete, path = "/api/v1/users/{user}", tag = "users", params(("user" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is the last owner"),
))]
pub async fn remove(State(app): State<App>, Path(user): Path<String>) -> Result<StatusCode, Refusal> {
    let (domain, name) = parts(&user);
    done(app.db.remove_account(domain, name).await?, &user)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `ana`, `ana@EXAMPLE`: directory and name.
pub(super) fn parts(user: &str) -> (&str, &str) {
    user.rsplit_once('@').map_or(("", user), |(name, domain)| (domain, name))
}

pub(super) fn shown(account: AccountRow) -> User {
    User {
        name: account.shown(),
        directory: (!account.domain.is_empty()).then_some(account.domain),
        full_name: account.full_name,
        role: account.role,
        disabled: account.disabled,
        created_ms: account.created_ms,
        signed_in_ms: account.signed_in_ms,
    }
}

pub(super) fn absent(user: &str) -> Refusal {
    let user: String = user.chars().take(128).collect();
    Refusal::absent(format!("there is no account {user}"), "list them: rootstock user list")
}

pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if is_account_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Refusal::wrong(format!("{shown:?} cannot be the name of an account"), ACCOUNT_NAME_RULE))
}

fn check_full_name(name: &str) -> Result<(), Refusal> {
    if name.chars().count() <= LONGEST_FULL_NAME && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::wrong(
        "this cannot be the name of a person",
        format!("at most {LONGEST_FULL_NAME} characters in one line"),
    ))
}

/// The account, or why nothing was changed.
pub(super) fn done(changed: Changed, user: &str) -> Result<AccountRow, Refusal> {
    match changed {
        Changed::Done(account) => Ok(account),
        Changed::Absent => Err(absent(user)),
        Changed::Exists => Err(Refusal::conflict(
            format!("there is an account {user} already"),
            "take another name, or change that one",
        )),
        Changed::LastOwner => Err(Refusal::conflict(
            format!("{user} is the last owner that can sign in"),
            "make another owner first: rootstock user add NAME --role owner",
        )),
    }
}
