//! HTTP: the admin API and the runner protocol over what the daemon has.
//!
//! Owns: routes, sign-in, the shape of errors. Handlers extract, call, wrap; errors become answers in `error` only.
//! Must not know: SQL, how a run is decided.

pub mod access;
pub mod admin;
mod auth;
mod bounds;
mod capture;
mod destination;
pub(super) mod door;
pub mod error;
mod extract;
mod files;
mod packs;
mod page;
mod runner;
mod screen;
mod sign_in;
mod start;

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use self::error::Refusal;
use crate::api::tus;
use crate::server::app::App;

/// Bodies up to this length are taken in whole before anything else is looked at.
const BUFFERED_BODY: usize = 1 << 20;
/// How long a client may take to send one.
const SENDING: Duration = Duration::from_secs(30);

/// What HTTPS serves: the API for whoever is known, the pages that they sign in on, and the runner protocol.
pub fn network(app: App) -> Router {
    let admin = admin::router().route_layer(middleware::from_fn_with_state(app.clone(), door::network));
    finish(
        Router::new()
            .merge(admin)
            .merge(admin::open_router())
            .merge(page::router())
            .merge(runner::router())
            .merge(screen::router()),
        app,
    )
}

/// What the Unix socket serves: the API, for whoever may open the socket.
pub fn socket(app: App) -> Router {
    let admin = admin::router().route_layer(middleware::from_fn_with_state(app.clone(), door::socket));
    finish(admin.merge(admin::open_router()), app)
}

fn finish(router: Router<App>, app: App) -> Router {
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(take_body))
        .layer(middleware::from_fn(harden))
        .with_state(app)
}

async fn no_such_path(request: Request) -> Refusal {
    Refusal::absent(
        format!("there is nothing at {}", shown_path(&request)),
        "the API is described at /api/v1/openapi.json",
    )
}

async fn wrong_method(request: Request) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} cannot be asked with {}", shown_path(&request), request.method()),
        "the API is described at /api/v1/openapi.json",
    )
}

fn shown_path(request: &Request) -> String {
    request.uri().path().chars().take(200).collect()
}

/// A panic is our fault: told as one, and the other requests go on.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text");
    tracing::error!("a request panicked: {text}");
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the appliance failed at this request",
        "report it with the log of rootstockd",
    )
    .into_response()
}

/// Takes a request in whole before it is answered. A refusal that leaves a body unread makes hyper close the connection
/// (RFC 9112 section 9.3), and a client that is still sending it would see a broken connection instead of the refusal.
async fn take_body(request: Request, next: Next) -> Result<Response, Refusal> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // A body without a length (RFC 9112 section 7.1) is an upload's only; any other is taken in within the same bounds.
    let upload = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == tus::CONTENT_TYPE);
    let bounded = request.headers().contains_key(TRANSFER_ENCODING) && !upload
        || length.is_some_and(|length: usize| (1..=BUFFERED_BODY).contains(&length));
    if !bounded {
        return Ok(next.run(request).await);
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(SENDING, body::to_bytes(body, BUFFERED_BODY)).await {
        Ok(Ok(bytes)) => Ok(next.run(Request::from_parts(head, Body::from(bytes))).await),
        Ok(Err(error)) => Err(Refusal::unreadable(format!("the request broke off: {error}"))),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request came too slowly", "try again")),
    }
}

/// Answers are not pages: browsers shall neither guess their kind nor keep them.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}
