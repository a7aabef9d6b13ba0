//! The directory that people sign in with: how it is set up, the password of the account that searches, a try.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::admin::{LdapGroup, LdapPerson, LdapState, SetLdapPassword, TestLdap};
use crate::api::runner::Problem;
use crate::server::accounts::directory::Directory;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Json;

/// How the directory is set up.
#[utoipa::path(get, path = "/api/v1/ldap", tag = "ldap", responses(
    (status = 200, body = LdapState),
    (status = 404, body = Problem, description = "There is no directory"),
))]
pub async fn show(State(app): State<App>) -> Result<Answer<LdapState>, Refusal> {
    let settings = directory(&app)?.settings();
    Ok(Answer(LdapState {
        url: settings.url.clone(),
        domain: settings.domain.clone(),
        bind_dn: settings.bind_dn.clone(),
        password_set: app.accounts.has_bind_password().await?,
        groups: settings.groups.iter().map(|(dn, role)| LdapGroup { dn: dn.clone(), role: *role }).collect(),
    }))
}

/// Set the password of the account that searches. It is kept sealed with the appliance's key and never shown.
#[utoipa::path(put, path = "/api/v1/ldap/password", tag = "ldap", request_body = SetLdapPassword, responses(
    (status = 204),
    (status = 404, body = Problem, description = "There is no directory"),
    (status = 422, body = Problem, description = "An empty password"),
))]
pub async fn set_password(
    State(app): State<App>,
    Json(request): Json<SetLdapPassword>,
) -> Result<StatusCode, Refusal> {
    directory(&app)?;
    let length = request.password.expose().len();
    if !(1..=1024).contains(&length) {
        return Err(Refusal::wrong("the password is empty or too long", "1 to 1024 bytes"));
    }
    app.accounts.set_bind_password(&request.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask the directory whom a name means, and what they may here. Nobody's password is needed.
#[utoipa::path(post, path = "/api/v1/ldap/test", tag = "ldap", request_body = TestLdap, responses(
    (status = 200, body = LdapPerson),
    (status = 404, body = Problem, description = "There is no directory, or nobody of this name in it"),
    (status = 503, body = Problem, description = "The directory cannot be reached, or refuses; why"),
))]
pub async fn test(
    State(app): State<App>,
    Json(request): Json<TestLdap>,
) -> Result<Answer<LdapPerson>, Refusal> {
    let settings = directory(&app)?.settings();
    let user: String = request.user.trim().chars().take(128).collect();
    let person = app.accounts.look_up(&user).await?.ok_or_else(|| {
        Refusal::absent(
            format!("the directory has no {user:?} below {}", settings.base),
            "look at `ldap.base` and `ldap.user-filter`",
        )
    })?;
    let (dn, full_name, role) = (person.dn, person.full_name, person.role);
    Ok(Answer(LdapPerson { dn, name: person.name, full_name, role, groups: person.groups }))
}

fn directory(app: &App) -> Result<&Directory, Refusal> {
    app.accounts.directory().ok_or_else(|| {
        Refusal::absent("this appliance uses no directory", "name one in the settings: [ldap]")
    })
}
