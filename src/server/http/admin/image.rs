//! Images and their versions.

use std::path::Path as FilePath;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};

use crate::api::admin::{Deleted, Image, ImageSummary, ImportImage, Job, JobKind, VerifyImage};
use crate::api::runner::Problem;
use crate::db::Removal;
use crate::server::app::{App, Origin};
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::images;
use crate::value::{IMAGE_NAME_RULE, is_image_name};

/// Every image with its newest version.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", responses((status = 200, body = Vec<ImageSummary>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<ImageSummary>>, Refusal> {
    Ok(Answer(app.db.images().await?))
}

/// Take a file of the appliance's own disk into the library.
#[utoipa::path(post, path = "/api/v1/images", tag = "images", request_body = ImportImage, responses(
    (status = 202, body = Job),
    (status = 422, body = Problem, description = "A bad name, or a path that is not absolute"),
    (status = 503, body = Problem, description = "Too many jobs wait already"),
))]
pub async fn import(
    State(app): State<App>,
    Json(request): Json<ImportImage>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    check_name(&request.name)?;
    if !FilePath::new(&request.path).is_absolute() {
        return Err(Refusal::wrong(
            format!("`{}` is no absolute path", request.path),
            "name the file as it lies on the appliance, from `/` on",
        ));
    }
    let (worker, subject) = (app.clone(), format!("{} from {}", request.name, request.path));
    let job = app.jobs.start(JobKind::Import, subject, |work| async move {
        images::import(&worker, request, &work).await
    })?;
    Ok((StatusCode::ACCEPTED, Answer(job)))
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
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<Answer<Deleted>, Refusal> {
    match images::remove(&app, &name, version, origin.by(), "").await? {
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

pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if is_image_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Refusal::wrong(format!("{shown:?} cannot be the name of an image"), IMAGE_NAME_RULE))
}
