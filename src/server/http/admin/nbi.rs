//! Boot sets.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use tokio::task::spawn_blocking;

use crate::api::admin::{ImportNbi, Nbi, NbiOverrides, NbiSummary};
use crate::api::runner::Problem;
use crate::server::app::App;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path, Query};
use crate::server::nbi::{NbiError, body};
use crate::value::MacAddr;

/// Every boot set of the boot folder.
#[utoipa::path(get, path = "/api/v1/nbi", tag = "nbi", responses((status = 200, body = Vec<NbiSummary>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<NbiSummary>>, Refusal> {
    blocking(move || Ok(app.shelf.list())).await.map(Answer)
}

/// One boot set.
#[utoipa::path(get, path = "/api/v1/nbi/{folder}", tag = "nbi", params(("folder" = String, Path)), responses(
    (status = 200, body = Nbi),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(folder): Path<String>) -> Result<Answer<Nbi>, Refusal> {
    blocking(move || app.shelf.show(&folder)).await.map(Answer)
}

/// Take a boot set in: whole, or not at all.
#[utoipa::path(post, path = "/api/v1/nbi", tag = "nbi", params(ImportNbi),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses(
        (status = 201, body = Nbi),
        (status = 409, body = Problem, description = "A set of this name or image id is there, or another import is at work"),
        (status = 411, body = Problem, description = "No Content-Length"),
        (status = 422, body = Problem, description = "It would not be offered, and why"),
        (status = 507, body = Problem, description = "No room on the disk"),
))]
pub async fn import(
    State(app): State<App>,
    Query(request): Query<ImportNbi>,
    headers: HeaderMap,
    sent: Body,
) -> Result<(StatusCode, Answer<Nbi>), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length.ok_or_else(|| {
        let error = "the body has no Content-Length";
        Refusal::new(StatusCode::LENGTH_REQUIRED, error, "send the archive with its length, not in chunks")
    })?;
    let (folder, overrides) = read(request)?;
    let turn = app.shelf.turn()?;
    let (shelf, name) = (app.shelf.clone(), folder.clone());
    blocking(move || shelf.may_come(&name, length)).await?;
    let (pump, reader) = body::split(sent, length);
    let taking = tokio::spawn(blocking(move || app.shelf.import(&folder, overrides, reader, &turn)));
    pump.run().await;
    let taken = taking.await.map_err(|error| Refusal::fault(&error))?;
    taken.map(|nbi| (StatusCode::CREATED, Answer(nbi)))
}

/// Say what holds instead of what its property list says; what is left out is as the list says.
#[utoipa::path(put, path = "/api/v1/nbi/{folder}/overrides", tag = "nbi", params(("folder" = String, Path)),
    request_body = NbiOverrides,
    responses(
        (status = 200, body = Nbi),
        (status = 404, body = Problem),
        (status = 409, body = Problem),
        (status = 422, body = Problem),
))]
pub async fn edit(
    State(app): State<App>,
    Path(folder): Path<String>,
    Json(overrides): Json<NbiOverrides>,
) -> Result<Answer<Nbi>, Refusal> {
    let turn = app.shelf.turn()?;
    blocking(move || app.shelf.edit(&folder, overrides, &turn)).await.map(Answer)
}

/// Remove a boot set. Macs that are fetching a file of it get that file to its end.
#[utoipa::path(delete, path = "/api/v1/nbi/{folder}", tag = "nbi", params(("folder" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem),
))]
pub async fn delete(State(app): State<App>, Path(folder): Path<String>) -> Result<StatusCode, Refusal> {
    let turn = app.shelf.turn()?;
    blocking(move || app.shelf.remove(&folder, &turn)).await.map(|()| StatusCode::NO_CONTENT)
}

fn read(request: ImportNbi) -> Result<(String, NbiOverrides), Refusal> {
    let words = |list: String| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let macs = request.macs.map(|list| {
        words(list)
            .into_iter()
            .map(|word| word.parse::<MacAddr>().map_err(|error| Refusal::wrong(format!("macs: {error}"), "")))
            .collect::<Result<Vec<_>, _>>()
    });
    let overrides = NbiOverrides {
        name: request.name,
        index: request.index,
        default: request.default,
        enabled: request.enabled,
        models: request.models.map(words),
        macs: macs.transpose()?,
        root_path: request.root_path,
    };
    Ok((request.folder, overrides))
}

/// Disk work beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NbiError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await.map_err(|error| Refusal::fault(&error))?;
    Ok(done?)
}
