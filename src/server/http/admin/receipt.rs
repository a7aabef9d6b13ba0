//! Receipts of restores.

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;

use crate::api::trust::KeptReceipt;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Query;
use crate::server::trust;

/// Receipts in one answer.
const MOST: u32 = 1000;

/// Which receipts.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Of this run only.
    run: Option<i64>,
    /// After those of this run,
    after_run: i64,
    /// and this action of it.
    after_number: u32,
}

/// Receipts by run and action, at most 1000; ask again after the last one.
#[utoipa::path(get, path = "/api/v1/receipts", tag = "receipts", params(Which), responses((status = 200, body = Vec<KeptReceipt>)))]
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Answer<Vec<KeptReceipt>>, Refusal> {
    Ok(Answer(trust::receipts(&app, which.run, (which.after_run, which.after_number), MOST).await?))
}
