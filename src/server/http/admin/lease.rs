//! Leases of the appliance's own DHCP server.

use std::net::Ipv4Addr;

use axum::Json as Answer;
use axum::extract::State;

use crate::api::admin::{Lease, LeaseState};
use crate::api::runner::Problem;
use crate::netboot::lease;
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Path;

/// Every address that was ever given, by address.
#[utoipa::path(get, path = "/api/v1/leases", tag = "devices", responses((status = 200, body = Vec<Lease>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<Lease>> {
    let now = now_ms();
    let leases = app.leases.as_ref().map(|leases| leases.list()).unwrap_or_default();
    Answer(leases.iter().map(|lease| shown(lease, now)).collect())
}

/// Give an address back for its holder, who keeps using it until it asks again: for machines that are gone.
#[utoipa::path(delete, path = "/api/v1/leases/{address}", tag = "devices", params(("address" = String, Path)), responses(
    (status = 200, body = Lease),
    (status = 404, body = Problem, description = "Nobody has it"),
    (status = 409, body = Problem, description = "No addresses are handed out here"),
))]
pub async fn release(
    State(app): State<App>,
    caller: Caller,
    Path(address): Path<Ipv4Addr>,
) -> Result<Answer<Lease>, Refusal> {
    let leases = app.leases.as_ref().ok_or_else(|| {
        let problem = "this appliance hands out no addresses: the site's DHCP server does";
        Refusal::conflict(problem, "to change that, set `dhcp.enabled = true`")
    })?;
    let released = leases.release(address).await?.ok_or_else(|| {
        Refusal::absent(format!("nobody holds {address}"), "list who holds what: rootstock lease list")
    })?;
    tracing::info!(%address, mac = %released.mac, "{address} of {} was released by {}", released.mac, caller.by());
    Ok(Answer(shown(&released, now_ms())))
}

fn shown(lease: &lease::Lease, now_ms: i64) -> Lease {
    let state = match lease.state {
        _ if !lease.is_held(now_ms) => LeaseState::Free,
        lease::State::Offered => LeaseState::Offered,
        lease::State::Bound => LeaseState::Bound,
        lease::State::Released => LeaseState::Free,
        lease::State::Declined => LeaseState::SetAside,
    };
    Lease {
        address: lease.address,
        mac: lease.mac,
        client: lease.key.to_string(),
        host_name: lease.host_name.clone(),
        state,
        since_ms: lease.since_ms,
        until_ms: lease.until_ms,
    }
}
