//! The audit log: read, looked at as a chain, exported.

use async_stream::stream;
use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::api::admin::{AuditEntry, AuditVerdict};
use crate::api::runner::Problem;
use crate::db::AuditQuery;
use crate::server::app::App;
use crate::server::http::error::{Refusal, chain};
use crate::server::http::extract::Query;

/// Entries in one answer.
const MOST: u32 = 1000;

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Whose: the beginning of their name.
    who: Option<String>,
    /// What was done: the beginning of the action, `image.`.
    action: Option<String>,
    /// To what: a part of the object, `image lab`.
    object: Option<String>,
    /// Not before, milliseconds since 1970 UTC.
    since_ms: i64,
    /// Only entries before this number: the next page.
    before: i64,
    /// At most this many, up to 1000.
    limit: u32,
}

impl Default for Which {
    fn default() -> Which {
        Which { who: None, action: None, object: None, since_ms: 0, before: 0, limit: 100 }
    }
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(Which), responses((status = 200, body = Vec<AuditEntry>)))]
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Answer<Vec<AuditEntry>>, Refusal> {
    let Which { who, action, object, since_ms, before, limit } = which;
    let query = AuditQuery { who, action, object, since_ms, before, limit: limit.min(MOST) };
    Ok(Answer(app.db.audit_entries(&query).await?))
}

/// An entry that was noted elsewhere.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Noted {
    /// Its number.
    number: Option<i64>,
    /// Its hash.
    hash: Option<String>,
}

/// Look at the whole chain: whether every entry is there, as it was written.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "audit", params(Noted), responses(
    (status = 200, body = AuditVerdict),
    (status = 422, body = Problem, description = "A number without a hash, or the other way round"),
))]
pub async fn verify(
    State(app): State<App>,
    Query(noted): Query<Noted>,
) -> Result<Answer<AuditVerdict>, Refusal> {
    let known = match (noted.number, noted.hash) {
        (Some(number), Some(hash)) => Some((number, hash.to_ascii_lowercase())),
        (None, None) => None,
        _ => return Err(Refusal::wrong("number and hash go together", "give both, or none")),
    };
    Ok(Answer(app.db.verify_audit(known).await?))
}

/// After which entry.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct After {
    /// Only entries with a greater number.
    after: i64,
}

/// The log as JSON lines, oldest first, to be kept elsewhere.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit", params(After), responses(
    (status = 200, body = AuditEntry, content_type = "application/jsonl", description = "One entry a line"),
))]
pub async fn export(State(app): State<App>, Query(after): Query<After>) -> Response {
    let lines = stream! {
        let mut last = after.after;
        loop {
            let page = match app.db.audit_after(last, MOST).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!("an export of the audit log broke off: {}", chain(&error));
                    yield Err(std::io::Error::other("the database did not answer"));
                    return;
                }
            };
            let Some(end) = page.last() else { return };
            last = end.number;
            let mut text = String::new();
            for entry in &page {
                match serde_json::to_string(entry) {
                    Ok(line) => text.push_str(&line),
                    Err(error) => {
                        yield Err(std::io::Error::other(error));
                        return;
                    }
                }
                text.push('\n');
            }
            yield Ok::<_, std::io::Error>(text);
        }
    };
    ([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}
