//! Lists of Macs as CSV, in and out.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::api::admin::RosterReport;
use crate::api::runner::Problem;
use crate::db::DbError;
use crate::sequence::target::schedule::{LocalTime, Zone};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Query;
use crate::server::roster;

/// Macs that are read at once for a list.
const CHUNK: u32 = 500;

/// How.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Says what would change, and changes nothing.
    dry_run: bool,
}

/// Take a list of Macs in: all of it, or nothing where a line is wrong. At most 4 MiB.
#[utoipa::path(post, path = "/api/v1/devices/import", tag = "devices", params(How),
    request_body(content = String, content_type = "text/csv"), responses(
    (status = 200, body = RosterReport, description = "With faults: nothing was changed"),
    (status = 413, body = Problem),
))]
pub async fn import(
    State(app): State<App>,
    Query(how): Query<How>,
    bytes: Bytes,
) -> Result<Answer<RosterReport>, Refusal> {
    let lines = match roster::read(&bytes, &app.secrets) {
        Ok(lines) => lines,
        Err(faults) => return Ok(Answer(RosterReport { faults, ..RosterReport::default() })),
    };
    let report = app.db.import_roster(&lines, how.dry_run, now_ms()).await?;
    if report.faults.is_empty() && !how.dry_run {
        tracing::info!(
            "a list of {} Macs was taken in: {} new, {} changed",
            report.lines,
            report.created,
            report.changed
        );
    }
    Ok(Answer(report))
}

/// The list of all Macs as CSV, by number.
#[utoipa::path(get, path = "/api/v1/devices/export", tag = "devices",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>) -> Result<Response, Refusal> {
    // Columns first: every variable that some Mac has, once whatever its case, and secret ones never.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut after = 0;
    loop {
        let rows = app.db.roster(after, CHUNK).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        let plain = rows.iter().flat_map(|row| &row.variables).filter(|variable| variable.value.is_some());
        for variable in plain {
            names.entry(variable.name.to_lowercase()).or_insert_with(|| variable.name.clone());
        }
    }
    let names: Vec<String> = names.into_values().collect();
    let lines = async_stream::stream! {
        yield Ok::<_, DbError>(Bytes::from(roster::head(&names)));
        let mut after = 0;
        loop {
            let rows = match app.db.roster(after, CHUNK).await {
                Ok(rows) => rows,
                Err(error) => {
                    yield Err(error);
                    break;
                }
            };
            let Some(last) = rows.last() else { break };
            after = last.id;
            let stamp = |at_ms| format!("{} UTC", LocalTime::at(at_ms, &Zone::utc()));
            let text: Vec<u8> = rows.iter().flat_map(|row| roster::written(row, &names, stamp)).collect();
            yield Ok(Bytes::from(text));
        }
    };
    let head = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"macs.csv\""),
    ];
    Ok((head, Body::from_stream(lines)).into_response())
}
