//! TFTP transfers.

use axum::Json as Answer;
use axum::extract::State;

use crate::api::admin::Transfer;
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Path;

/// TFTP transfers that run, longest first.
#[utoipa::path(get, path = "/api/v1/transfers", tag = "devices", responses((status = 200, body = Vec<Transfer>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<Transfer>> {
    Answer(app.transfers.list())
}

/// Stop a TFTP transfer: its client is told by an ERROR packet and may ask again.
#[utoipa::path(delete, path = "/api/v1/transfers/{transfer}", tag = "devices", params(("transfer" = i64, Path)), responses(
    (status = 200, body = Transfer, description = "How far it was"),
    (status = 404, body = Problem),
))]
pub async fn stop(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<Transfer>, Refusal> {
    app.transfers.stop(id).map(Answer).ok_or_else(|| {
        Refusal::absent(
            format!("no transfer {id} runs"),
            "transfers leave the list when they end; list those that run: rootstock transfer list",
        )
    })
}
