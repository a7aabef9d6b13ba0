//! Macs, and network clients with their timelines.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;

use crate::api::admin::{Client, ClientSummary, Device, DeviceSummary};
use crate::api::conclusion::conclude;
use crate::api::runner::Problem;
use crate::api::timeline::ClientEvent;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Path;
use crate::value::MacAddr;

/// Runs that are shown with their device.
const RUNS_SHOWN: u32 = 50;

/// Events by which the list of clients tells how a start went: enough for one with many retries.
const EVENTS_OF_A_START: i64 = 64;

/// Every Mac that said hello, last seen first.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", responses((status = 200, body = Vec<DeviceSummary>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<DeviceSummary>>, Refusal> {
    Ok(Answer(app.db.devices().await?))
}

/// One Mac with its inventory and its last runs.
#[utoipa::path(get, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Device),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<Device>, Refusal> {
    let device = app.db.device(id).await?.ok_or_else(|| {
        Refusal::absent(format!("there is no device {id}"), "list them: rootstock device list")
    })?;
    Ok(Answer(Device { runs: app.db.runs_of(id, RUNS_SHOWN).await?, ..device }))
}

/// Every network client that was heard, last seen first.
#[utoipa::path(get, path = "/api/v1/clients", tag = "devices", responses((status = 200, body = Vec<ClientSummary>)))]
pub async fn clients(State(app): State<App>) -> Result<Answer<Vec<ClientSummary>>, Refusal> {
    let (mut clients, events) = (app.db.clients().await?, app.db.last_events(EVENTS_OF_A_START).await?);
    let now = now_ms();
    let starts: BTreeMap<MacAddr, &[ClientEvent]> =
        events.chunk_by(|one, other| one.mac == other.mac).map(|events| (events[0].mac, events)).collect();
    for client in &mut clients {
        client.conclusion = starts.get(&client.last.mac).and_then(|events| conclude(events, now));
    }
    Ok(Answer(clients))
}

/// The timeline of one network client.
#[utoipa::path(get, path = "/api/v1/clients/{mac}", tag = "devices", params(("mac" = String, Path)), responses(
    (status = 200, body = Client),
    (status = 404, body = Problem, description = "Nothing was heard of it"),
))]
pub async fn client(State(app): State<App>, Path(mac): Path<MacAddr>) -> Result<Answer<Client>, Refusal> {
    let client = app.db.client(mac).await?.ok_or_else(|| {
        Refusal::absent(
            format!("nothing was heard of {mac}"),
            "check that it is in the same network, and that its packets reach the appliance: rootstock client list",
        )
    })?;
    Ok(Answer(Client { conclusion: conclude(&client.events, now_ms()), ..client }))
}
