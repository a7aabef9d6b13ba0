//! Rings of images, notes, and which versions are kept.

use axum::Json as Answer;
use axum::extract::State;

use super::image::absent;
use crate::api::admin::{
    ApplyRetention, Image, ImageRings, NoteImage, PromoteImage, RetentionPlan, RollBackImage, SetRetention,
};
use crate::api::runner::Problem;
use crate::db::{Move, Standing};
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::rings::{self, NoMove};
use crate::server::{images, retention};

/// Characters of a note.
const LONGEST_NOTE: usize = 2000;

/// Where the rings of an image point, and every decision about its versions.
#[utoipa::path(get, path = "/api/v1/images/{name}/rings", tag = "images", params(("name" = String, Path)),
    responses((status = 200, body = ImageRings), (status = 404, body = Problem)))]
pub async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Answer<ImageRings>, Refusal> {
    let standing = app.db.standing(&name).await?.ok_or_else(|| absent(&name, None))?;
    Ok(Answer(shown(name, standing)))
}

/// Move a ring to a version: the next ring, when none is named. Also back: restoring is moving the pointer.
#[utoipa::path(post, path = "/api/v1/images/{name}/promote", tag = "images", params(("name" = String, Path)),
    request_body = PromoteImage, responses(
    (status = 200, body = ImageRings, description = "As it is now; nothing was moved when it pointed there already"),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "There is nothing to promote, or it is in production already"),
))]
pub async fn promote(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<PromoteImage>,
) -> Result<Answer<ImageRings>, Refusal> {
    let PromoteImage { version, ring } = request;
    moved(&app, caller, name, |standing| rings::promotion(standing, version, ring)).await
}

/// Move a ring back to the version it had before; asked again, further back.
#[utoipa::path(post, path = "/api/v1/images/{name}/rollback", tag = "images", params(("name" = String, Path)),
    request_body = RollBackImage, responses(
    (status = 200, body = ImageRings),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It pointed to nothing before that is still there"),
))]
pub async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<RollBackImage>,
) -> Result<Answer<ImageRings>, Refusal> {
    moved(&app, caller, name, |standing| rings::rollback(standing, request.ring)).await
}

async fn moved(
    app: &App,
    caller: Caller,
    name: String,
    decide: impl FnOnce(&Standing) -> Result<Option<Move>, NoMove>,
) -> Result<Answer<ImageRings>, Refusal> {
    let decided = app.db.move_ring(&name, &caller.by(), now_ms(), decide).await?;
    let standing = decided.ok_or_else(|| absent(&name, None))?.map_err(|error| match error {
        NoMove::NoVersion(version) => absent(&name, Some(version)),
        error => Refusal::conflict(
            format!("{name}: {error}"),
            format!("look at its rings: rootstock image rings {name:?}; name a version: {name}@VERSION"),
        ),
    })?;
    tracing::info!(image = name, "rings of {name}: {:?}", standing.rings);
    Ok(Answer(shown(name, standing)))
}

fn shown(name: String, standing: Standing) -> ImageRings {
    let Standing { rings, mut history, .. } = standing;
    history.reverse();
    ImageRings { name, rings, history }
}

/// Change the note of a version; nothing else of it ever changes.
#[utoipa::path(put, path = "/api/v1/images/{name}/versions/{version}/note", tag = "images",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = NoteImage, responses(
    (status = 200, body = Image),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "Too long, or with characters that are not text"),
))]
pub async fn note(
    State(app): State<App>,
    caller: Caller,
    Path((name, version)): Path<(String, u32)>,
    Json(request): Json<NoteImage>,
) -> Result<Answer<Image>, Refusal> {
    let note = request.note.trim();
    if note.chars().count() > LONGEST_NOTE || note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Refusal::wrong(
            "this cannot be a note",
            format!("at most {LONGEST_NOTE} characters of text; lines may end with a newline"),
        ));
    }
    if !app.db.set_note(&name, version, note, &caller.by(), now_ms()).await? {
        return Err(absent(&name, Some(version)));
    }
    Ok(Answer(images::image(&app, &name).await?.ok_or_else(|| absent(&name, None))?))
}

/// Give an image rules of its own for which versions are kept, or take them away. Nothing is deleted now.
#[utoipa::path(put, path = "/api/v1/images/{name}/retention", tag = "images", params(("name" = String, Path)),
    request_body = SetRetention, responses(
    (status = 200, body = RetentionPlan, description = "What will be deleted after the next import, and every day"),
    (status = 404, body = Problem),
))]
pub async fn set_retention(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<SetRetention>,
) -> Result<Answer<RetentionPlan>, Refusal> {
    if app.db.image(&name).await?.is_none() {
        return Err(absent(&name, None));
    }
    app.db.set_retention(&name, request.retention, &caller.by(), now_ms()).await?;
    Ok(Answer(retention::of(&app, &name).await?.ok_or_else(|| absent(&name, None))?))
}

/// Delete the versions that need not be kept, as happens by itself after each import and every day.
#[utoipa::path(post, path = "/api/v1/library/retention", tag = "library", request_body = ApplyRetention, responses(
    (status = 200, body = Vec<RetentionPlan>, description = "What was deleted, or would be"),
    (status = 404, body = Problem, description = "No such image"),
))]
pub async fn apply_retention(
    State(app): State<App>,
    Json(request): Json<ApplyRetention>,
) -> Result<Answer<Vec<RetentionPlan>>, Refusal> {
    let plans = retention::apply(&app, request.image.as_deref(), request.dry_run).await?;
    match request.image {
        Some(name) if plans.is_empty() => Err(absent(&name, None)),
        _ => Ok(Answer(plans)),
    }
}
