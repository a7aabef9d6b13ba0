//! A share that a Capture Image step writes to is tried before.

use axum::Json as Answer;
use axum::http::StatusCode;

use crate::api::admin::{ShareVerdict, VerifyShare};
use crate::api::runner::Problem;
use crate::server::http::error::Refusal;
use crate::server::http::extract::Json;
use crate::server::shares::{self, TryError};
use crate::value::{ShareAccount, SharePath};

/// Try whether an account could capture to a folder of an SMB share: green, or red and why.
///
/// A file of a few bytes is written, renamed and deleted there. Nothing is kept, the password neither.
#[utoipa::path(post, path = "/api/v1/shares/verify", tag = "sequences", request_body = VerifyShare, responses(
    (status = 200, body = ShareVerdict, description = "Green or red"),
    (status = 422, body = Problem, description = "No path of a share, or no account"),
    (status = 503, body = Problem, description = "The appliance lacks the program that tries it"),
))]
pub async fn verify(Json(request): Json<VerifyShare>) -> Result<Answer<ShareVerdict>, Refusal> {
    let wrong = |error: String| Refusal::wrong(error, "");
    let path: SharePath = request.share.parse().map_err(|error| wrong(format!("{error}")))?;
    let account: ShareAccount = request.account.parse().map_err(|error| wrong(format!("{error}")))?;
    let tried = shares::verify(&path, &account, &request.password).await;
    Ok(Answer(tried.map_err(|error| match error {
        TryError::NoProgram => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error.to_string(),
            "install it on the appliance: apt install smbclient; a capture itself does not need it",
        ),
        TryError::Busy => Refusal::conflict(error.to_string(), "try again in a moment"),
        TryError::Password => Refusal::wrong(error.to_string(), "a capture itself takes it"),
        TryError::Run(_) => Refusal::fault(&error),
    })?))
}
