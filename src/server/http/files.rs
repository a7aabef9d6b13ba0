//! Files of the appliance for the Copy Files step that is at work.
//!
//! Must not know: what is done with them.

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::auth::RunToken;
use super::error::{Refusal, chain};
use super::extract::Path;
use crate::api::runner::FileList;
use crate::server::app::App;
use crate::server::files::{self, FilesError};

/// What the step copies.
pub async fn list(
    State(app): State<App>,
    token: RunToken,
    Path((run, number)): Path<(i64, u32)>,
) -> Result<Answer<FileList>, Refusal> {
    let from = copied(&app, token, run, number).await?;
    let folder = app.files();
    let listed = spawn_blocking(move || files::list(&folder, &from)).await;
    let (list, _) = listed.map_err(|error| Refusal::fault(&error))??;
    Ok(Answer(list))
}

/// The content of one file, by range.
pub async fn content(
    State(app): State<App>,
    token: RunToken,
    Path((run, number, file)): Path<(i64, u32, usize)>,
    request: Request,
) -> Result<Response, Refusal> {
    let from = copied(&app, token, run, number).await?;
    let folder = app.files();
    let found = spawn_blocking(move || files::file(&folder, &from, file)).await;
    let path = found.map_err(|error| Refusal::fault(&error))??;
    match ServeFile::new(path).oneshot(request).await {
        Ok(response) => Ok(response.into_response()),
        Err(never) => match never {},
    }
}

async fn copied(app: &App, token: RunToken, run: i64, number: u32) -> Result<String, Refusal> {
    token.must_be(run)?;
    app.runs.copied(run, number).await?.ok_or_else(|| {
        Refusal::conflict(
            format!("action {number} of run {run} copies no files now"),
            "ask `next` what is to be done now",
        )
    })
}

impl From<FilesError> for Refusal {
    fn from(error: FilesError) -> Refusal {
        let text = chain(&error);
        match error {
            FilesError::Outside(_) => Refusal::wrong(text, "correct the step"),
            FilesError::Read { .. } => Refusal::absent(
                text,
                "put it there on the appliance, readable for rootstockd's account, then resume the run",
            ),
            FilesError::TooMany(_) => Refusal::wrong(text, ""),
            FilesError::Gone(_) => Refusal::absent(text, "resume the run: it is listed anew then"),
        }
    }
}
