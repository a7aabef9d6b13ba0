//! Who may ask what: the admin token on the network, session and run tokens of runners.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::error::Refusal;
use crate::api::runner::BootMethod;
use crate::server::app::{App, Origin};
use crate::server::clock::now_ms;
use crate::server::token;
use crate::value::Digest;

/// Lets requests with the admin token through. The socket's router does not have this layer: its permissions decide.
pub async fn admin(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let token = bearer(request.headers())?;
    // Digests are compared, so the time that it takes says nothing about the token.
    if token != app.admin_token {
        return Err(Refusal::unauthorized("the admin token is wrong", ADMIN_HINT));
    }
    request.extensions_mut().insert(Origin::Network);
    Ok(next.run(request).await)
}

const ADMIN_HINT: &str = "the token is in `keys/admin.token` of the data folder, readable by root";

/// Where a request comes from; none: from this machine, through the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Peer(peer.map(|ConnectInfo(peer)| peer.ip().to_canonical())))
    }
}

/// A runner that said hello, by its session token.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its device.
    pub device: i64,
    /// Its receipt key.
    pub receipt_key: String,
    /// How it was started.
    pub boot: BootMethod,
}

impl FromRequestParts<App> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Session, Refusal> {
        let token = bearer(&parts.headers)?;
        match app.db.session(token, now_ms()).await? {
            Some((device, receipt_key, boot)) => Ok(Session { device, receipt_key, boot }),
            None => Err(Refusal::unauthorized(
                "this session is unknown or has expired",
                "say hello again: `POST /runner/v1/hello`",
            )),
        }
    }
}

/// A runner at work on a run, by its run token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunToken {
    /// The run.
    pub run: i64,
}

impl RunToken {
    /// Refuses a token for another run than the path names.
    pub fn must_be(self, run: i64) -> Result<(), Refusal> {
        if self.run == run {
            return Ok(());
        }
        Err(Refusal::forbidden(
            format!("this token is for run {}, not for run {run}", self.run),
            "say hello again: `POST /runner/v1/hello`",
        ))
    }
}

impl FromRequestParts<App> for RunToken {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<RunToken, Refusal> {
        let token = bearer(&parts.headers)?;
        let run = app.db.run_of_token(token).await?;
        run.map(|run| RunToken { run }).ok_or_else(|| {
            Refusal::unauthorized(
                "this run token is unknown, or was replaced when the Mac said hello again",
                "say hello again: `POST /runner/v1/hello`",
            )
        })
    }
}

/// Digest of the token in the `Authorization` header (RFC 6750 section 2.1).
fn bearer(headers: &axum::http::HeaderMap) -> Result<Digest, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() && token.len() <= 256 => Ok(token::digest(token)),
        _ => Err(Refusal::unauthorized("a token is needed", "send `Authorization: Bearer TOKEN`")),
    }
}
