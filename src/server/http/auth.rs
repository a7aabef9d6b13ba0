//! Who a runner is: session and run tokens.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::door;
use super::error::Refusal;
use crate::api::runner::BootMethod;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::token;
use crate::value::Digest;

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
    /// From where it asks.
    pub from: Option<String>,
}

impl FromRequestParts<App> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Session, Refusal> {
        let token = bearer(&parts.headers)?;
        match app.db.session(token, now_ms()).await? {
            Some((device, receipt_key, boot)) => {
                let Ok(Peer(from)) = Peer::from_request_parts(parts, app).await;
                app.runs.heard().note(&receipt_key, from, now_ms());
                let from = from.map(|from| from.to_string());
                Ok(Session { device, receipt_key, boot, from })
            }
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

/// Digest of the token in the `Authorization` header.
fn bearer(headers: &axum::http::HeaderMap) -> Result<Digest, Refusal> {
    Ok(token::digest(door::bearer(headers)?))
}
