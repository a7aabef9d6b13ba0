//! Lists of Macs as CSV, in and out.

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use crate::api::admin::RosterReport;
use crate::api::runner::Problem;
use crate::db::{DbError, Owner, RosterLine};
use crate::sequence::target::schedule::{LocalTime, Zone};
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Query;
use crate::server::roster;
use crate::value::Right;

/// Longest list: what [`export`] writes of as many Macs as a list may have.
pub(super) const LONGEST_LIST: usize = 64 << 20;
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

/// Take a list of Macs in: all of it, or nothing where a line is wrong. At most 64 MiB.
#[utoipa::path(post, path = "/api/v1/devices/import", tag = "devices", params(How),
    request_body(content = String, content_type = "text/csv"), responses(
    (status = 200, body = RosterReport, description = "With faults: nothing was changed"),
    (status = 413, body = Problem),
))]
pub async fn import(
    State(app): State<App>,
    caller: Caller,
    Query(how): Query<How>,
    bytes: Bytes,
) -> Result<Answer<RosterReport>, Refusal> {
    let secrets = app.secrets.clone();
    let read = spawn_blocking(move || roster::read(&bytes, &secrets)).await;
    let lines = match read.map_err(|error| Refusal::fault(&error))? {
        Ok(lines) => lines,
        Err(faults) => return Ok(Answer(RosterReport { faults, ..RosterReport::default() })),
    };
    // As where one variable is set: secrets are an owner's matter.
    if lines.iter().any(|line| line.set.iter().any(|row| row.secret)) {
        caller.must(Right::Own, || "set secret variables".to_owned())?;
    }
    if !caller.may(Right::Own) {
        may_replace(&app, &lines).await?;
    }
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

/// Who may set no secrets cannot put something else in the place of one either.
async fn may_replace(app: &App, lines: &[RosterLine]) -> Result<(), Refusal> {
    for line in lines.iter().filter(|line| !line.set.is_empty() || !line.unset.is_empty()) {
        let names = line.set.iter().map(|row| row.name.as_str()).chain(line.unset.iter().map(String::as_str));
        let names: Vec<&str> = names.collect();
        for device in app.db.with_identity(line.serial.as_ref(), line.uuid).await? {
            let own = app.db.variables(&Owner::Device(device)).await?;
            let secret = |name: &&str| {
                own.iter().any(|row| row.secret && row.name.as_str().eq_ignore_ascii_case(name))
            };
            if let Some(name) = names.iter().copied().find(|name| secret(name)) {
                return Err(Refusal::forbidden(
                    format!("line {} would change the secret {name}, which is an owner's matter", line.line),
                    "leave the column out, or ask an owner",
                ));
            }
        }
    }
    Ok(())
}

/// The list of all Macs as CSV, by number.
#[utoipa::path(get, path = "/api/v1/devices/export", tag = "devices",
    responses((status = 200, body = String, content_type = "text/csv")))]
pub async fn export(State(app): State<App>) -> Result<Response, Refusal> {
    // Columns first: every variable that some Mac has, and secret ones never.
    let names = app.db.roster_variables().await?;
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
