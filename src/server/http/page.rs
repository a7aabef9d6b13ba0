//! The pages that people sign in on: plain HTML, one file each, no script, nothing from elsewhere.
//!
//! Owns: the two forms, the cookie. Must not know: how a password is judged.

use std::fmt::Write;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, REFERRER_POLICY,
    SET_COOKIE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::admin::session;
use super::auth::Peer;
use super::door::{self, COOKIE_NAME};
use super::error::Refusal;
use crate::api::admin::{BeginSession, SetUp};
use crate::server::app::App;
use crate::server::caller::with_article;
use crate::server::clock::now_ms;
use crate::server::token;
use crate::value::Secret;

/// Longest form.
const LONGEST_FORM: usize = 8 << 10;

/// The pages.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(async || see("/login")))
        .route("/login", get(login).post(sign_in))
        .route("/logout", post(sign_out))
        .route("/setup", get(setup).post(set_up))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
}

/// What was typed into the log in form.
#[derive(Deserialize)]
struct Typed {
    #[serde(default)]
    domain: String,
    #[serde(default)]
    name: String,
    password: Secret,
}

/// What was typed into the set-up form.
#[derive(Deserialize)]
struct TypedSetUp {
    code: Secret,
    #[serde(default)]
    name: String,
    password: Secret,
    again: Secret,
}

async fn login(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    if let Some(text) = door::cookie(&headers) {
        let idle_ms = i64::from(app.config.accounts.session_idle) * 60_000;
        if let Some(account) = app.db.session_account(token::digest(text), idle_ms, now_ms()).await? {
            let (who, role) = (account.shown(), with_article(account.role));
            let body = format!(
                "<p role=\"status\">You are signed in as <strong>{}</strong>, {role}.</p>\
                 <form method=\"post\" action=\"/logout\"><button>Log out</button></form>",
                escaped(&who)
            );
            return Ok(page(&app, StatusCode::OK, "Signed in", &body));
        }
    }
    if !app.accounts.are_in_use().await? {
        return Ok(see("/setup"));
    }
    Ok(login_form(
        &app,
        StatusCode::OK,
        None,
        &Typed { domain: String::new(), name: String::new(), password: Secret::new("") },
    ))
}

async fn sign_in(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    form: Result<Form<Typed>, FormRejection>,
) -> Result<Response, Refusal> {
    let Form(typed) = form.map_err(|error| Refusal::unreadable(error.body_text()))?;
    not_from_elsewhere(&headers)?;
    let domain = Some(typed.domain.clone()).filter(|domain| !domain.is_empty());
    let wanted = BeginSession { domain, name: typed.name.clone(), password: typed.password.clone() };
    match session::begin(&app, peer.0, "page", &wanted).await {
        Ok(begun) => {
            let age = i64::from(app.config.accounts.session_hours) * 3600;
            let mut response = see("/login");
            set_cookie(&mut response, begun.token.expose(), age);
            Ok(response)
        }
        Err(refusal) => {
            let response = login_form(&app, refusal.status(), Some(&refusal.problem().error), &typed);
            Ok(refusal.with_retry(response))
        }
    }
}

async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    not_from_elsewhere(&headers)?;
    if let Some(text) = door::cookie(&headers) {
        app.db.end_session(token::digest(text), now_ms()).await?;
    }
    let mut response = see("/login");
    set_cookie(&mut response, "", 0);
    Ok(response)
}

async fn setup(State(app): State<App>) -> Result<Response, Refusal> {
    if app.accounts.are_in_use().await? {
        return Ok(see("/login"));
    }
    Ok(setup_form(&app, StatusCode::OK, None, ""))
}

async fn set_up(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    form: Result<Form<TypedSetUp>, FormRejection>,
) -> Result<Response, Refusal> {
    let Form(typed) = form.map_err(|error| Refusal::unreadable(error.body_text()))?;
    not_from_elsewhere(&headers)?;
    if typed.password != typed.again {
        let why = "the two passwords are not the same";
        return Ok(setup_form(&app, StatusCode::UNPROCESSABLE_ENTITY, Some(why), &typed.name));
    }
    let TypedSetUp { code, name, password, .. } = typed;
    let wanted = SetUp { code, name: name.trim().to_lowercase(), full_name: String::new(), password };
    match session::make_first_owner(&app, peer.0, &wanted).await {
        Ok(_) => Ok(see("/login")),
        Err(refusal) => {
            let response = setup_form(&app, refusal.status(), Some(&refusal.problem().error), &name);
            Ok(refusal.with_retry(response))
        }
    }
}

/// A form of another site must not sign a browser in or out here. Programs that are no browsers say nothing of it.
fn not_from_elsewhere(headers: &HeaderMap) -> Result<(), Refusal> {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(ORIGIN);
    if !says && !headers.contains_key(COOKIE) || door::is_ours(headers) {
        return Ok(());
    }
    Err(Refusal::forbidden("this form was sent by a page of another site", "open /login on the appliance"))
}

fn see(path: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path), (CACHE_CONTROL, "no-store")]).into_response()
}

fn set_cookie(response: &mut Response, value: &str, seconds: i64) {
    let text = format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
}

fn login_form(app: &App, status: StatusCode, error: Option<&str>, typed: &Typed) -> Response {
    let mut body = told(error);
    body.push_str("<form method=\"post\" action=\"/login\">");
    let domains = app.accounts.domains();
    if domains.len() > 1 {
        body.push_str("<label for=\"domain\">Domain</label><select id=\"domain\" name=\"domain\">");
        for domain in &domains {
            let selected = if *domain == typed.domain { " selected" } else { "" };
            let domain = escaped(domain);
            let _ = write!(body, "<option value=\"{domain}\"{selected}>{domain}</option>");
        }
        body.push_str("</select>");
    }
    let invalid = if error.is_some() { " aria-invalid=\"true\" aria-describedby=\"error\"" } else { "" };
    let focus = if typed.name.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let _ = write!(
        body,
        "<label for=\"name\">Name</label>\
         <input id=\"name\" name=\"name\" value=\"{}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"128\" \
         required{}{invalid}>\
         <label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"256\" required{}{invalid}>\
         <button>Log in</button></form>",
        escaped(&typed.name),
        focus.0,
        focus.1
    );
    page(app, status, "Log in", &body)
}

fn setup_form(app: &App, status: StatusCode, error: Option<&str>, name: &str) -> Response {
    let body = format!(
        "<p>Nobody has an account here yet. Make the first one, the owner’s: it may everything.</p>{}\
         <form method=\"post\" action=\"/setup\">\
         <label for=\"code\">Set-up code</label>\
         <input id=\"code\" name=\"code\" autocomplete=\"one-time-code\" autocapitalize=\"characters\" spellcheck=\"false\" maxlength=\"64\" \
         aria-describedby=\"where\" required autofocus>\
         <p id=\"where\" class=\"hint\">It stands in the log of the appliance: journalctl -u rootstockd. It works once, for {} hours.</p>\
         <label for=\"name\">Name</label>\
         <input id=\"name\" name=\"name\" value=\"{}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"64\" required>\
         <label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"new-password\" minlength=\"{short}\" maxlength=\"256\" \
         aria-describedby=\"rule\" required>\
         <p id=\"rule\" class=\"hint\">At least {short} characters.</p>\
         <label for=\"again\">Password again</label>\
         <input id=\"again\" name=\"again\" type=\"password\" autocomplete=\"new-password\" maxlength=\"256\" required>\
         <button>Make the owner’s account</button></form>",
        told(error),
        app.config.accounts.setup_hours,
        escaped(name),
        short = crate::server::accounts::password::SHORTEST
    );
    page(app, status, "Set up", &body)
}

fn told(error: Option<&str>) -> String {
    let text = |error: &str| {
        let mut letters = error.chars();
        let first = letters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
        format!(
            "<p id=\"error\" class=\"error\" role=\"alert\">{}{}.</p>",
            escaped(&first),
            escaped(letters.as_str())
        )
    };
    error.map(text).unwrap_or_default()
}

const STYLE: &str = "\
:root{color-scheme:light dark;font:100%/1.5 system-ui,sans-serif}\
body{margin:0;display:grid;min-height:100vh;place-items:center;background:Canvas;color:CanvasText}\
main{box-sizing:border-box;width:min(24rem,100%);padding:1.5rem}\
h1{font-size:1.5rem;margin:0 0 1rem}\
label{display:block;margin:1rem 0 .25rem;font-weight:600}\
input,select,button{box-sizing:border-box;width:100%;min-height:2.75rem;padding:.5rem .75rem;font:inherit;border:1px solid GrayText;border-radius:.375rem}\
button{margin-top:1.5rem;font-weight:600;cursor:pointer}\
:focus-visible{outline:3px solid Highlight;outline-offset:2px}\
.error{border-left:.375rem solid #c00;padding:.5rem .75rem;margin:0}\
.hint{margin:.25rem 0 0;font-size:.875rem}";

fn page(app: &App, status: StatusCode, title: &str, body: &str) -> Response {
    let nonce = token::random()
        .map(|nonce| nonce.expose().chars().take(32).collect())
        .unwrap_or_else(|_| String::new());
    let name = escaped(&app.config.name);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title} · {name}</title>\
         <style nonce=\"{nonce}\">{STYLE}</style></head><body><main><h1>{name}</h1>{body}</main></body></html>\n"
    );
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy.as_str()),
        // `no-referrer` would make browsers send `Origin: null` with our own form.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, html).into_response()
}

/// Text as it may stand in HTML and in its attributes.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c if c.is_control() => html.push(' '),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_cannot_become_markup() {
        assert_eq!(escaped("<a href=\"'&\n"), "&lt;a href=&quot;&#39;&amp; ");
        assert!(told(Some("the <name> is wrong")).contains(">The &lt;name&gt; is wrong.<"));
    }
}
