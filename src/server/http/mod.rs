//! HTTP: the admin API and the runner protocol over what the daemon has.
//!
//! Owns: routes, sign-in, the shape of errors. Handlers extract, call, wrap; errors become answers in `error` only.
//! Must not know: SQL, how a run is decided.

pub mod admin;
mod auth;
pub mod error;
mod extract;
mod packs;
mod runner;
mod start;

use std::any::Any;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use self::error::Refusal;
use crate::server::app::{App, Origin};

/// What HTTPS serves: the API with the admin token, and the runner protocol.
pub fn network(app: App) -> Router {
    let admin = admin::router().route_layer(middleware::from_fn_with_state(app.clone(), auth::admin));
    finish(Router::new().merge(admin).merge(runner::router()), app)
}

/// What the Unix socket serves: the API, for whoever may open the socket.
pub fn socket(app: App) -> Router {
    finish(admin::router().layer(Extension(Origin::Socket)), app)
}

fn finish(router: Router<App>, app: App) -> Router {
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
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

/// Answers are not pages: browsers shall neither guess their kind nor keep them.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}
