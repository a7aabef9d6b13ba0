//! Bindings: which Mac took which boot image, and to forget it.

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;

use crate::api::admin::Binding;
use crate::api::runner::Problem;
use crate::netboot::bsdp;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Path, Query};
use crate::value::MacAddr;

/// Whom to forget behind an address.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only the Mac of this model; all behind the address without it.
    pub system: Option<String>,
}

/// Every Mac that took an image, by hardware address.
#[utoipa::path(get, path = "/api/v1/bindings", tag = "devices", responses((status = 200, body = Vec<Binding>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<Binding>> {
    Answer(app.bindings.read().iter().map(shown).collect())
}

/// Forget what the Macs behind an address took: the next time they are offered the default.
#[utoipa::path(delete, path = "/api/v1/bindings/{mac}", tag = "devices", params(("mac" = String, Path), Which), responses(
    (status = 200, body = Vec<Binding>, description = "What was forgotten"),
    (status = 404, body = Problem, description = "Nothing is remembered of it"),
))]
pub async fn forget(
    State(app): State<App>,
    Path(mac): Path<MacAddr>,
    Query(which): Query<Which>,
) -> Result<Answer<Vec<Binding>>, Refusal> {
    let gone = app.bindings.forget(mac, which.system.as_deref()).await?;
    if gone.is_empty() {
        let model = which.system.map_or_else(String::new, |system| format!(" as {system}"));
        let problem = format!("{mac} has taken no boot image{model}");
        return Err(Refusal::absent(problem, "list who has: rootstock client bindings"));
    }
    Ok(Answer(gone.iter().map(shown).collect()))
}

fn shown(binding: &bsdp::Binding) -> Binding {
    let bsdp::Binding { mac, system, arch, image, address, name, bound_ms, seen_ms } = binding.clone();
    Binding { mac, system, arch, image: image.to_string(), address, name, bound_ms, seen_ms }
}
