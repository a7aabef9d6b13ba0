//! Images and their versions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use crate::api::admin::{
    Deleted, FolderListing, Image, ImageSummary, ImportImage, Job, JobKind, VerifyImage,
};
use crate::api::runner::Problem;
use crate::db::Removal;
use crate::server::app::{App, Origin};
use crate::server::caller::Caller;
use crate::server::folders;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path, Query};
use crate::server::images::{self, Provenance};
use crate::value::{IMAGE_NAME_RULE, is_image_name};

/// Every image with its newest version.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", responses((status = 200, body = Vec<ImageSummary>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<ImageSummary>>, Refusal> {
    Ok(Answer(app.db.images().await?))
}

/// Take a file of the appliance's own disk into the library.
#[utoipa::path(post, path = "/api/v1/images", tag = "images", request_body = ImportImage, responses(
    (status = 202, body = Job),
    (status = 403, body = Problem, description = "Over the network: a path outside `library.import-folders`"),
    (status = 404, body = Problem, description = "No such file"),
    (status = 422, body = Problem, description = "A bad name, or a path that is not absolute"),
    (status = 503, body = Problem, description = "Too many jobs wait already"),
))]
pub async fn import(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    caller: Caller,
    Json(mut request): Json<ImportImage>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    check_name(&request.name)?;
    let (worker, subject) = (app.clone(), format!("{} from {}", request.name, request.path));
    let file = request.path.rsplit('/').next().unwrap_or_default().to_owned();
    let from = Provenance { file, uploader: caller.by(), received: String::new() };
    let path = folders::permitted(&app.config.library.import_folders, origin, &request.path)?;
    // What was checked is what is opened, whatever a link says by then.
    request.path = path.into_os_string().into_string().map_err(|_| {
        Refusal::wrong("the file's real path is not UTF-8", "rename it, or name it without the link")
    })?;
    let job = app.jobs.start(JobKind::Import, subject, |work| async move {
        images::import(&worker, request, from, &work).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
}

/// `?path=P`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Folder {
    /// Absolute path of a folder on the appliance; none: which folders may be looked into.
    pub path: Option<String>,
}

/// What may be imported from the appliance's own disk.
#[utoipa::path(get, path = "/api/v1/library/folder", tag = "library", params(Folder), responses(
    (status = 200, body = FolderListing),
    (status = 403, body = Problem, description = "Over the network: a path outside `library.import-folders`"),
    (status = 404, body = Problem),
))]
pub async fn folder(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    Query(folder): Query<Folder>,
) -> Result<Answer<FolderListing>, Refusal> {
    let looking = spawn_blocking(move || {
        folders::list(&app.config.library.import_folders, origin, folder.path.as_deref())
    });
    Ok(Answer(looking.await.map_err(|error| Refusal::fault(&error))??))
}

/// One image with all versions.
#[utoipa::path(get, path = "/api/v1/images/{name}", tag = "images", params(("name" = String, Path)), responses(
    (status = 200, body = Image),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Answer<Image>, Refusal> {
    images::image(&app, &name).await?.map(Answer).ok_or_else(|| absent(&name, None))
}

/// Read every chunk of a version and compare it with the manifest.
#[utoipa::path(post, path = "/api/v1/images/{name}/verify", tag = "images", params(("name" = String, Path)),
    request_body = VerifyImage,
    responses((status = 202, body = Job), (status = 404, body = Problem)))]
pub async fn verify(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(request): Json<VerifyImage>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    let version =
        app.db.version(&name, request.version).await?.ok_or_else(|| absent(&name, request.version))?;
    let (worker, subject) = (app.clone(), format!("{name} {}", version.version));
    let job = app.jobs.start(JobKind::Verify, subject, |work| async move {
        images::verify(&worker, version, &work).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
}

/// Delete a version that nothing needs.
#[utoipa::path(delete, path = "/api/v1/images/{name}/versions/{version}", tag = "images",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = Deleted), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((name, version)): Path<(String, u32)>,
) -> Result<Answer<Deleted>, Refusal> {
    match images::remove(&app, &name, version, &caller.by(), "").await? {
        Removal::Absent => Err(absent(&name, Some(version))),
        Removal::InUse(users) => Err(Refusal::conflict(
            format!("{name} {version} is in use: {}", users.join("; ")),
            "wait for runs to end, or cancel them: rootstock run cancel RUN; move rings: rootstock image promote; change or take back \
             deployed sequences",
        )),
        Removal::Removed { orphan } => {
            tracing::info!(image = name, version, "{name} {version} was deleted");
            Ok(Answer(Deleted { reclaimable: images::forget(&app, orphan).await? }))
        }
    }
}

pub(super) fn absent(name: &str, version: Option<u32>) -> Refusal {
    let version = version.map_or(String::new(), |version| format!(" version {version}"));
    Refusal::absent(format!("there is no image {name}{version}"), "list them: rootstock image list")
}

/// An image may have this name.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if is_image_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Refusal::wrong(format!("{shown:?} cannot be the name of an image"), IMAGE_NAME_RULE))
}
