//! What administrators say of Macs: registered before they come, named, tagged, merged, told apart, forgotten.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::device::{absent, shown};
use crate::api::admin::{CreateDevice, Device, DeviceConflict, EditDevice, MergeDevice, RosterReport};
use crate::api::runner::Problem;
use crate::db::{BadAbout, CannotForget, CannotMerge, RosterLine, Search};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};

/// Register a Mac before it comes: it is known then.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = CreateDevice, responses(
    (status = 201, body = Device),
    (status = 409, body = Problem, description = "It is there already"),
    (status = 422, body = Problem),
))]
pub async fn create(
    State(app): State<App>,
    Json(wanted): Json<CreateDevice>,
) -> Result<(StatusCode, Answer<Device>), Refusal> {
    let name =
        wanted.serial.as_ref().map(ToString::to_string).or_else(|| wanted.uuid.map(|uuid| uuid.to_string()));
    let Some(name) = name else {
        return Err(Refusal::wrong("neither serial number nor UUID: which Mac is meant", "give one of them"));
    };
    let line =
        RosterLine { serial: wanted.serial, uuid: wanted.uuid, about: wanted.about, ..RosterLine::default() };
    // Only one that is not there yet: a second look in the same transaction would be `import`.
    let before = app.db.import_roster(std::slice::from_ref(&line), true, now_ms()).await?;
    if before.faults.is_empty() && before.created == 0 {
        return Err(Refusal::conflict(
            format!("{name} is there already"),
            format!("change it: rootstock device edit {name}"),
        ));
    }
    let RosterReport { faults, .. } = app.db.import_roster(&[line], false, now_ms()).await?;
    if let Some(fault) = faults.first() {
        return Err(Refusal::wrong(fault.message.clone(), ""));
    }
    let found = app.db.devices(&Search { name: Some(name.clone()), limit: 1, ..Search::default() }).await?;
    let device = found.first().ok_or_else(|| Refusal::absent(format!("there is no Mac {name}"), ""))?;
    tracing::info!(device = device.id, "{name} is registered");
    Ok((StatusCode::CREATED, Answer(shown(&app, device.id).await?)))
}

/// Change what is said of a Mac.
#[utoipa::path(patch, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = i64, Path)), request_body = EditDevice,
    responses((status = 200, body = Device), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn edit(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(about): Json<EditDevice>,
) -> Result<Answer<Device>, Refusal> {
    app.db.edit_device(id, &about).await?.ok_or_else(|| absent(id))??;
    tracing::info!(device = id, "what is said of device {id} was changed");
    Ok(Answer(shown(&app, id).await?))
}

/// Forget a Mac that never ran anything.
#[utoipa::path(delete, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It has runs, which are kept"),
))]
pub async fn delete(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    match app.db.forget_device(id).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CannotForget::Absent) => Err(absent(id)),
        Err(CannotForget::Runs(runs)) => Err(Refusal::conflict(
            format!("device {id} has {runs} runs, whose history is kept"),
            "make it unknown instead: rootstock device edit --known no; or merge it into another",
        )),
    }
}

/// Macs that cannot both be right, and that nobody has told apart or merged.
#[utoipa::path(get, path = "/api/v1/devices/conflicts", tag = "devices", responses((status = 200, body = Vec<DeviceConflict>)))]
pub async fn conflicts(State(app): State<App>) -> Result<Answer<Vec<DeviceConflict>>, Refusal> {
    Ok(Answer(app.db.conflicts(None).await?))
}

/// This device is the Mac that `other` was before its logic board was changed: its runs and what it says of itself become those
/// of `other`, and it goes.
#[utoipa::path(post, path = "/api/v1/devices/{device}/merge", tag = "devices", params(("device" = i64, Path)),
    request_body = MergeDevice, responses(
    (status = 200, body = Device, description = "`other`, as it is now"),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "Both have runs that have not ended"),
))]
pub async fn merge(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(MergeDevice { other }): Json<MergeDevice>,
) -> Result<Answer<Device>, Refusal> {
    match app.db.merge_devices(id, other).await? {
        Ok(()) => {}
        Err(CannotMerge::Absent(device)) => return Err(absent(device)),
        Err(CannotMerge::Busy) => {
            return Err(Refusal::conflict(
                format!(
                    "devices {id} and {other} are the same number, or both have runs that have not ended"
                ),
                "wait for the runs, or cancel one: rootstock run list",
            ));
        }
    }
    tracing::info!(device = other, "device {id} was merged into device {other}");
    Ok(Answer(shown(&app, other).await?))
}

/// These are two Macs, whatever they share: nothing is held back on either any more.
#[utoipa::path(post, path = "/api/v1/devices/{device}/distinct", tag = "devices", params(("device" = i64, Path)),
    request_body = MergeDevice, responses((status = 200, body = Device), (status = 404, body = Problem)))]
pub async fn distinct(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(MergeDevice { other }): Json<MergeDevice>,
) -> Result<Answer<Device>, Refusal> {
    if app.db.are_distinct(id, other, now_ms()).await? {
        return Ok(Answer(shown(&app, id).await?));
    }
    Err(Refusal::absent(
        format!("devices {id} and {other} are not in conflict"),
        "list conflicts: rootstock device conflicts",
    ))
}

impl From<BadAbout> for Refusal {
    fn from(error: BadAbout) -> Refusal {
        Refusal::wrong(error.to_string(), "")
    }
}
