//! Errors become answers here and nowhere else: a status, and a [`Problem`] that says what, why and what to do.
//!
//! | status | when |
//! |---|---|
//! | 400 | the request cannot be read |
//! | 401 | no token, or a wrong one |
//! | 403 | the token is for something else |
//! | 404 | no such thing |
//! | 409 | the state of things forbids it |
//! | 411 | a body without a length |
//! | 412 | another version of tus |
//! | 413 | too long |
//! | 422 | readable, but what it asks for is wrong |
//! | 423 | somebody else is at it |
//! | 429 | too many |
//! | 460 | not what its checksum says (tus) |
//! | 500 | our fault; the cause is in the log |
//! | 503 | not now |
//! | 507 | no room on the disk |

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

use crate::api::runner::Problem;
use crate::api::tus;
use crate::db::DbError;
use crate::server::accounts::SignInError;
use crate::server::accounts::password::BadPassword;
use crate::server::captures::CaptureError;
use crate::server::folders::FolderError;
use crate::server::jobs::Full;
use crate::server::keys::KeyError;
use crate::server::library::ImportError;
use crate::server::nbi::NbiError;
use crate::server::runs::RunError;
use crate::server::runs::claim::SILENT_MS;
use crate::server::token::NoRandomness;
use crate::server::upload::UploadError;
use crate::server::upload::work::StartError;
use crate::store::StoreError;

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
    retry_after: Option<u32>,
}

impl Refusal {
    /// With this status.
    pub fn new(status: StatusCode, error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal {
            status,
            problem: Problem { error: error.into(), next_step: next_step.into() },
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        }
    }

    /// 400.
    pub fn unreadable(error: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, error, "")
    }

    /// 401.
    pub fn unauthorized(error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, error, next_step)
    }

    /// 403.
    pub fn forbidden(error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, error, next_step)
    }

    /// 404.
    pub fn absent(error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, error, next_step)
    }

    /// 409.
    pub fn conflict(error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, error, next_step)
    }

    /// 422.
    pub fn wrong(error: impl Into<String>, next_step: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error, next_step)
    }

    /// 500. The cause goes to the log, not over the network.
    pub fn fault(error: &(dyn std::error::Error + 'static)) -> Refusal {
        tracing::error!(error, "a request failed: {}", chain(error));
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the appliance failed at this request",
            "look into the log of rootstockd; free disk space and the health of its disk are the usual suspects",
        )
    }

    /// 429 with the seconds to wait.
    pub fn wait(error: impl Into<String>, seconds: u32) -> Refusal {
        Refusal {
            retry_after: Some(seconds),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, error, "wait, then try again")
        }
    }

    /// 403 where this is a 401: of something else than the token that the request carries.
    pub fn not_the_session(self) -> Refusal {
        match self.status {
            StatusCode::UNAUTHORIZED => Refusal { status: StatusCode::FORBIDDEN, ..self },
            _ => self,
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Another answer with the same status, told when to come again as this one is.
    pub fn with_retry(&self, mut response: Response) -> Response {
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    /// What went wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// An error and everything under it in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Refusal {
        if error.is_full() {
            tracing::error!("a request was refused: the disk of the database is full");
            let next = "make room on it: delete images that nobody needs and collect (rootstock image collect), or remove other files";
            let text = "the disk of the appliance's database is full; nothing was written down";
            return Refusal::new(StatusCode::INSUFFICIENT_STORAGE, text, next);
        }
        Refusal::fault(&error)
    }
}

impl From<BadPassword> for Refusal {
    fn from(error: BadPassword) -> Refusal {
        Refusal::wrong(error.to_string(), "choose another: a sentence of some words is good")
    }
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Refusal {
        let text = error.to_string();
        match error {
            SignInError::Wrong => Refusal::unauthorized(
                text,
                "try again; an owner sets a new password: rootstock user password",
            ),
            SignInError::Disabled(_) => {
                Refusal::forbidden(text, "an owner enables it: rootstock user enable")
            }
            SignInError::Wait(wait) => Refusal::wait(text, wait.seconds),
            SignInError::Busy => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text, "try again"),
            SignInError::NoRole(_) => Refusal::forbidden(
                text,
                "ask for a group that has a role: `[[ldap.group]]` in the settings of the appliance",
            ),
            SignInError::Directory(_) => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                text,
                "try again; accounts of the appliance's own work on (domain `local`); an owner looks with rootstock ldap test",
            ),
            SignInError::Sealed(error) => {
                Refusal::conflict(error.to_string(), "set it anew: rootstock ldap password")
            }
            SignInError::NoDomain(_) => Refusal::wrong(text, "leave the domain empty, or use `local`"),
            SignInError::NoRandomness(error) => Refusal::fault(&error),
            SignInError::Db(error) => error.into(),
        }
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Refusal {
        match error {
            RunError::Absent(run) => {
                Refusal::absent(format!("there is no run {run}"), "list them: rootstock run list")
            }
            RunError::Forgotten(_) => Refusal::absent(
                error.to_string(),
                "its line is in rootstock run list, its receipts in rootstock receipt list",
            ),
            RunError::OutOfOrder(error) => {
                Refusal::conflict(error.to_string(), "ask `next` what is to be done now")
            }
            RunError::NoAnswer { .. } => Refusal::wrong(error.to_string(), ""),
            RunError::Busy { other, .. } => Refusal::conflict(
                error.to_string(),
                format!("wait for its end, or cancel it: rootstock run cancel {other}"),
            ),
            // It passes by itself where the other one is gone: the runner asks again.
            RunError::Taken { .. } => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.to_string(),
                format!(
                    "if this is the same Mac, started anew, it goes on as soon as the other is silent for {} s; else two Macs have one serial number and UUID",
                    SILENT_MS / 1000
                ),
            ),
            RunError::Moved(_) => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "try again")
            }
            other => Refusal::fault(&other),
        }
    }
}

impl From<NbiError> for Refusal {
    fn from(error: NbiError) -> Refusal {
        let text = chain(&error);
        match error {
            NbiError::Absent(_) => Refusal::absent(text, "list them: rootstock nbi list"),
            NbiError::Name(_) => Refusal::wrong(text, "give it a plain name that ends in .nbi"),
            NbiError::Exists(folder) => Refusal::conflict(
                text,
                format!("delete it first, rootstock nbi delete {folder}, or import under another name"),
            ),
            NbiError::Busy => Refusal::conflict(text, "wait for its end, then try again"),
            NbiError::SameId { .. } => {
                Refusal::conflict(text, "give one of them another index: --index 1 to 4095")
            }
            NbiError::Room { .. } => Refusal::new(
                StatusCode::INSUFFICIENT_STORAGE,
                text,
                "delete sets or images that nobody needs, or lower `library.keep-free`",
            ),
            NbiError::Archive(_)
            | NbiError::Misplaced(_)
            | NbiError::NotOffered { .. }
            | NbiError::Side(_) => Refusal::wrong(text, ""),
            NbiError::Disk { .. } => Refusal::fault(&error),
        }
    }
}

impl From<CaptureError> for Refusal {
    fn from(error: CaptureError) -> Refusal {
        let busy =
            |error: &CaptureError, next| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, chain(error), next);
        match &error {
            CaptureError::Ended | CaptureError::Busy | CaptureError::NotNow(_) => busy(&error, "try again"),
            CaptureError::TooMany(_) => busy(&error, "try again when one of them has ended"),
            CaptureError::Store(StoreError::Busy(_)) => busy(&error, "try again when that has ended"),
            full if full.is_full() => no_room(full),
            CaptureError::Import(ImportError::NoImage(_) | ImportError::Cell { .. }) => {
                Refusal::wrong(chain(&error), "update both sides to the same version, then capture again")
            }
            _ => Refusal::fault(&error),
        }
    }
}

impl From<ImportError> for Refusal {
    fn from(error: ImportError) -> Refusal {
        Refusal::from(CaptureError::from(error))
    }
}

fn no_room(error: &dyn std::error::Error) -> Refusal {
    let next = "delete images that nobody needs and collect (rootstock image collect), or lower `library.keep-free`; \
                run it again then";
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, chain(error), next)
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Refusal {
        let text = chain(&error);
        let refusal = |status, next_step: &str| Refusal::new(status, text.clone(), next_step);
        match error {
            UploadError::Absent(_) => Refusal::absent(text, "list them: rootstock upload list"),
            UploadError::TooLarge { .. } => {
                refusal(StatusCode::PAYLOAD_TOO_LARGE, "set `library.upload-max` higher")
            }
            UploadError::TooMany(_) => refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "finish or cancel some: rootstock upload list, rootstock upload cancel ID",
            ),
            UploadError::Room { .. } | UploadError::Full { .. } => refusal(
                StatusCode::INSUFFICIENT_STORAGE,
                "make room, then send again, what arrived is kept: delete images that nobody needs and rootstock image collect, \
                 cancel other uploads, or lower `library.keep-free`",
            ),
            UploadError::Locked => refusal(StatusCode::LOCKED, "wait until it ends, then ask for the offset"),
            UploadError::Offset { .. } => {
                Refusal::conflict(text, "ask for the offset with HEAD, and send from there")
            }
            UploadError::TooLong { .. } => {
                refusal(StatusCode::PAYLOAD_TOO_LARGE, "send the file that was announced")
            }
            UploadError::Checksum => refusal(
                StatusCode::from_u16(tus::CHECKSUM_MISMATCH).unwrap_or(StatusCode::CONFLICT),
                "send the same bytes again",
            ),
            UploadError::Broken { .. } => refusal(StatusCode::REQUEST_TIMEOUT, "go on from there"),
            UploadError::State(_) => Refusal::conflict(text, "see how it stands: rootstock upload list"),
            UploadError::Disk { .. } => Refusal::fault(&error),
        }
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Refusal {
        match error {
            StartError::Upload(error) => error.into(),
            StartError::Full(full) => full.into(),
        }
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Refusal {
        match error {
            KeyError::Absent(_) => Refusal::absent(error.to_string(), "list them: rootstock key list"),
            KeyError::Current(_) => {
                Refusal::conflict(error.to_string(), "make the next one first: rootstock key rotate")
            }
            _ => Refusal::fault(&error),
        }
    }
}

impl From<FolderError> for Refusal {
    fn from(error: FolderError) -> Refusal {
        let text = chain(&error);
        match error {
            FolderError::Relative(_) => {
                Refusal::wrong(text, "name the file as it lies on the appliance, from `/` on")
            }
            FolderError::Outside(_) | FolderError::LeadsOut(_) => Refusal::forbidden(
                text,
                "name its folder in `library.import-folders`, import it on the appliance itself, or upload it: rootstock image upload",
            ),
            FolderError::Read { .. } => {
                Refusal::absent(text, "check the path, and that rootstockd's account may read it")
            }
        }
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Refusal {
        Refusal::fault(&error)
    }
}

impl From<Full> for Refusal {
    fn from(error: Full) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "try again later")
    }
}
