//! The door of the admin API: who asks, whether they may, and that it stands in the audit log.
//!
//! Owns: the ways to be known (socket, `Authorization`, cookie), what a browser of another site cannot do, the line in the audit
//! log for what was not recorded with its change. Must not know: what each request needs (`access`), what it does.
//!
//! A cookie is `__Host-…; Secure; HttpOnly; SameSite=Strict`: no other site makes a browser send it. A request that changes
//! something and is known by its cookie must also say that it comes from a page of ours (`Sec-Fetch-Site`, else `Origin`).

use std::net::{IpAddr, SocketAddr};

use axum::body::{self, Body, HttpBody};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::access;
use super::error::{Refusal, chain};
use crate::db::{self, Acting, Change};
use crate::server::app::{App, Origin};
use crate::server::caller::{Caller, How, LocalAccount};
use crate::server::clock::now_ms;
use crate::server::token;
use crate::value::{Digest, Right};

/// Name of the cookie. `__Host-`: browsers take it over TLS, for this host and all its paths only (RFC 6265bis section 4.1.3).
pub const COOKIE_NAME: &str = "__Host-rootstock";
/// How every API token begins: programs that look for leaked secrets find it.
pub const TOKEN_HEAD: &str = "rootstock_";
/// Bodies up to this length are told to the audit log.
const TOLD_BODY: usize = 16 << 10;
/// Longest text of a body that is told.
const TOLD_TEXT: usize = 512;

/// Lets in over the network whoever is known and may.
pub async fn network(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let from = peer(&request);
    let caller = caller(&app, request.headers(), request.method().is_safe(), from).await?;
    request.extensions_mut().insert(Origin::Network);
    admit(app, caller, request, next).await
}

/// Lets in through the socket whoever may open it.
pub async fn socket(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let account = request.extensions().get::<ConnectInfo<LocalAccount>>().map(|info| info.0);
    request.extensions_mut().insert(Origin::Socket);
    admit(app, Caller::on_this_machine(account.unwrap_or(LocalAccount { uid: None })), request, next).await
}

/// Address of the one who asks.
pub fn peer(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

async fn caller(
    app: &App,
    headers: &HeaderMap,
    is_safe: bool,
    from: Option<IpAddr>,
) -> Result<Caller, Refusal> {
    if headers.contains_key(AUTHORIZATION) {
        let text = bearer(headers)?;
        return by_token(app, text, from).await;
    }
    let Some(session) = cookie(headers) else {
        return Err(Refusal::unauthorized("nobody is signed in", HINT));
    };
    let caller = by_session(app, token::digest(session), from).await?;
    if !is_safe && !is_ours(headers) {
        return Err(Refusal::forbidden(
            "a page of another site asked for this, or the browser does not say which",
            "use a page of the appliance, or send a token: `Authorization: Bearer TOKEN`",
        ));
    }
    Ok(caller)
}

const HINT: &str = "sign in at /login, with rootstock login, or send `Authorization: Bearer TOKEN`";

async fn by_token(app: &App, text: &str, from: Option<IpAddr>) -> Result<Caller, Refusal> {
    let digest = token::digest(text);
    if text.starts_with(TOKEN_HEAD) {
        let address = from.map(|from| from.to_string()).unwrap_or_default();
        let known = app.db.token_account(digest, &address, now_ms()).await?;
        let known = known.ok_or_else(|| {
            Refusal::unauthorized(
                "this token is unknown, revoked or expired",
                "make another: rootstock token create",
            )
        })?;
        return Ok(Caller {
            account: Some(known.account.id),
            name: known.account.shown(),
            roles: vec![known.account.role, known.role],
            areas: known.areas,
            how: How::Token(known.name),
            from,
        });
    }
    // Digests are compared, so the time that it takes says nothing about the token.
    if digest == app.admin_token {
        return Ok(Caller::with_admin_token(from));
    }
    by_session(app, digest, from).await
}

async fn by_session(app: &App, digest: Digest, from: Option<IpAddr>) -> Result<Caller, Refusal> {
    let idle_ms = i64::from(app.config.accounts.session_idle) * 60_000;
    let account = app.db.session_account(digest, idle_ms, now_ms()).await?;
    let account =
        account.ok_or_else(|| Refusal::unauthorized("the token is wrong, or the session has ended", HINT))?;
    Ok(Caller {
        account: Some(account.id),
        name: account.shown(),
        roles: vec![account.role],
        areas: Vec::new(),
        how: How::Session,
        from,
    })
}

/// The token in the `Authorization` header (RFC 6750 section 2.1).
///
/// # Errors
/// 401.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() && token.len() <= 256 => Ok(token),
        _ => Err(Refusal::unauthorized("a token is needed", "send `Authorization: Bearer TOKEN`")),
    }
}

/// The session of a browser.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE_NAME && value.len() <= 256).map(|(_, value)| value)
}

/// Whether a browser says that a page of this appliance sends the request.
pub fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => is_our_origin(text(ORIGIN.as_str()), text(HOST.as_str())),
    }
}

fn is_our_origin(origin: Option<&str>, host: Option<&str>) -> bool {
    match (origin.and_then(|origin| origin.strip_prefix("https://")), host) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

async fn admit(app: App, caller: Caller, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let path = matched.unwrap_or_else(|| request.uri().path().to_owned());
    let line = access::of(request.method(), &path);
    let right = line.map_or(Some(Right::Own), |line| line.right);
    if let Some(right) = right {
        let shown = || format!("ask {} {}", request.method(), access::shown(request.uri().path()));
        if !caller.may(right) || !caller.areas.is_empty() && !is_within(&caller, &path) {
            tracing::warn!(from = ?caller.from, "{} was refused {} {path}", caller.by(), request.method());
        }
        caller.must(right, shown)?;
        if !caller.areas.is_empty() && !is_within(&caller, &path) {
            return Err(Refusal::forbidden(
                format!("{} is for {} only", caller.by(), caller.areas.join(", ")),
                "make a token for more: rootstock token create --only AREA",
            ));
        }
    }
    request.extensions_mut().insert(caller.clone());
    let action = match line {
        Some(line) => line.action.map(str::to_owned),
        None => (!request.method().is_safe()).then(|| format!("{} {path}", request.method())),
    };
    let Some(action) = action else { return Ok(next.run(request).await) };
    let object = access::object(request.uri().path());
    let (request, asked) = asked(request).await?;
    let from = caller.from.map(|from| from.to_string());
    let acting = Acting::new(caller.who(), caller.how(), from, action, now_ms);
    // Told also when the client goes away in the middle: what was done may be done.
    let mut told =
        Told { app, acting: acting.clone(), change: Some(Change { after: asked, ..Change::of(object, 0) }) };
    let response = db::acting(acting.clone(), next.run(request)).await;
    let change = told.change.take();
    if response.status().is_success()
        && !acting.was_recorded()
        && let Some(change) = change
    {
        write(&told.app, acting, change).await;
    }
    Ok(response)
}

/// Whoever has a token may see what it is, and the description of the API.
fn is_within(caller: &Caller, path: &str) -> bool {
    let area = access::area(path);
    path == "/api/v1/session" || area == "openapi.json" || caller.areas.iter().any(|own| own == area)
}

struct Told {
    app: App,
    acting: std::sync::Arc<Acting>,
    change: Option<Change<'static>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        let Some(mut change) = self.change.take().filter(|_| !self.acting.was_recorded()) else { return };
        let asked = change.after.take();
        change.after =
            Some(serde_json::json!({ "asked": asked, "answer": "the client went away before it" }));
        let (app, acting) = (self.app.clone(), self.acting.clone());
        tokio::spawn(async move { write(&app, acting, change).await });
    }
}

async fn write(app: &App, acting: std::sync::Arc<Acting>, change: Change<'static>) {
    let line = format!("{} {} by {}", acting.action, change.object, acting.who);
    if let Err(error) = db::acting(acting, app.db.audit(change)).await {
        tracing::error!("the audit log could not be written ({}): {line}", chain(&error));
    }
}

/// What a request asks for, secrets masked; the request is handed on as it was.
async fn asked(request: Request) -> Result<(Request, Option<Value>), Refusal> {
    let json = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let length = request.body().size_hint().exact();
    if !json || request.method() == Method::GET || length.is_none_or(|length| length > TOLD_BODY as u64) {
        return Ok((request, None));
    }
    let (head, body) = request.into_parts();
    let bytes = body::to_bytes(body, TOLD_BODY).await;
    let bytes = bytes.map_err(|error| Refusal::unreadable(format!("the request broke off: {error}")))?;
    let mut value: Option<Value> = serde_json::from_slice(&bytes).ok();
    if let Some(value) = &mut value {
        mask(value);
    }
    Ok((Request::from_parts(head, Body::from(bytes)), value))
}

/// Takes out what is secret, or may be: passwords, values of secret variables, texts of sequences, values that people gave.
fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let secret = map.get("secret").and_then(Value::as_bool).unwrap_or(false);
            for (key, value) in map.iter_mut() {
                let hidden =
                    ["password", "passphrase", "token", "code", "old", "new", "yaml", "values", "pass"];
                if hidden.contains(&key.as_str()) || (secret && key == "value") {
                    *value = "••••••••".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::String(text) if text.len() > TOLD_TEXT => {
            *text = text.chars().take(TOLD_TEXT / 4).chain("…".chars()).collect();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_audit_log_is_told_no_secret() {
        let mut asked = json!({
            "name": "ana", "password": "hunter2", "value": "hunter2", "secret": true, "yaml": "hunter2",
            "values": {"Key": "hunter2"}, "list": [{"old": "hunter2", "new": "hunter2"}], "long": "x".repeat(5000),
        });
        mask(&mut asked);
        let text = asked.to_string();
        assert!(!text.contains("hunter2") && text.contains("ana") && text.len() < 1000, "{text}");
        let mut plain = json!({"value": "shown", "secret": false});
        mask(&mut plain);
        assert_eq!(plain["value"], "shown");
    }

    #[test]
    fn a_page_of_another_site_is_not_ours() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (name.parse().unwrap(), value.parse().unwrap())
            };
            pairs.iter().map(pair).collect::<HeaderMap>()
        };
        assert!(is_ours(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(is_ours(&headers(&[("origin", "https://box:8443"), ("host", "box:8443")])));
        for other in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "https://box"), ("host", "box")],
            &[("origin", "https://evil"), ("host", "box")],
            &[("origin", "http://box"), ("host", "box")],
            &[("origin", "null"), ("host", "box")],
            &[("host", "box")],
        ] {
            assert!(!is_ours(&headers(other)), "{other:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let headers: HeaderMap =
            [(COOKIE, "a=b; __Host-rootstock=abc; c=d".parse().unwrap())].into_iter().collect();
        assert_eq!(cookie(&headers), Some("abc"));
        assert_eq!(cookie(&HeaderMap::new()), None);
    }
}
