//! Macs, and network clients with their timelines.

use axum::Json as Answer;
use axum::extract::State;

use crate::api::admin::{Client, ClientSummary, Device, DeviceSummary};
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Path;
use crate::value::MacAddr;

/// Runs that are shown with their device.
const RUNS_SHOWN: u32 = 50;

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
    Ok(Answer(app.db.clients().await?))
}

/// The timeline of one network client.
#[utoipa::path(get, path = "/api/v1/clients/{mac}", tag = "devices", params(("mac" = String, Path)), responses(
    (status = 200, body = Client),
    (status = 404, body = Problem, description = "Nothing was heard of it"),
))]
pub async fn client(State(app): State<App>, Path(mac): Path<MacAddr>) -> Result<Answer<Client>, Refusal> {
    app.db.client(mac).await?.map(Answer).ok_or_else(|| {
        Refusal::absent(
            format!("nothing was heard of {mac}"),
            "check that it is in the same network, and that its packets reach the appliance: rootstock client list",
        )
    })
}
