//! Variables of devices and collections. Values of secrets come in and never go out.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::admin::{Variable, VariableValue};
use crate::api::runner::Problem;
use crate::db::{Owner, VariableRow};
use crate::sequence::name::VariableName;
use crate::sequence::template::LONGEST;
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::{offer, variables};
use crate::value::Right;

/// Variables that one device or collection may have.
const MOST: i64 = 1000;

/// Variables of a device.
#[utoipa::path(get, path = "/api/v1/devices/{device}/variables", tag = "variables", params(("device" = i64, Path)), responses(
    (status = 200, body = Vec<Variable>),
    (status = 404, body = Problem),
))]
pub async fn of_device(
    State(app): State<App>,
    Path(device): Path<i64>,
) -> Result<Answer<Vec<Variable>>, Refusal> {
    list(&app, device_owner(&app, device).await?).await
}

/// Set a variable of a device.
#[utoipa::path(put, path = "/api/v1/devices/{device}/variables/{name}", tag = "variables",
    params(("device" = i64, Path), ("name" = String, Path)), request_body = VariableValue, responses(
    (status = 200, body = Variable),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "No name of a variable, a fact of the Mac, or a value that is too long"),
))]
pub async fn set_of_device(
    State(app): State<App>,
    caller: Caller,
    Path((device, name)): Path<(i64, String)>,
    Json(value): Json<VariableValue>,
) -> Result<Answer<Variable>, Refusal> {
    set(&app, &caller, device_owner(&app, device).await?, &name, value).await
}

/// Take a variable of a device away.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/variables/{name}", tag = "variables",
    params(("device" = i64, Path), ("name" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub async fn unset_of_device(
    State(app): State<App>,
    caller: Caller,
    Path((device, name)): Path<(i64, String)>,
) -> Result<StatusCode, Refusal> {
    unset(&app, &caller, device_owner(&app, device).await?, &name).await
}

/// Variables of a collection.
#[utoipa::path(get, path = "/api/v1/collections/{collection}/variables", tag = "variables",
    params(("collection" = String, Path)), responses((status = 200, body = Vec<Variable>), (status = 404, body = Problem)))]
pub async fn of_collection(
    State(app): State<App>,
    Path(collection): Path<String>,
) -> Result<Answer<Vec<Variable>>, Refusal> {
    list(&app, collection_owner(&app, &collection).await?).await
}

/// Set a variable of a collection.
#[utoipa::path(put, path = "/api/v1/collections/{collection}/variables/{name}", tag = "variables",
    params(("collection" = String, Path), ("name" = String, Path)), request_body = VariableValue, responses(
    (status = 200, body = Variable),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "No name of a variable, a fact of the Mac, or a value that is too long"),
))]
pub async fn set_of_collection(
    State(app): State<App>,
    caller: Caller,
    Path((collection, name)): Path<(String, String)>,
    Json(value): Json<VariableValue>,
) -> Result<Answer<Variable>, Refusal> {
    set(&app, &caller, collection_owner(&app, &collection).await?, &name, value).await
}

/// Take a variable of a collection away.
#[utoipa::path(delete, path = "/api/v1/collections/{collection}/variables/{name}", tag = "variables",
    params(("collection" = String, Path), ("name" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub async fn unset_of_collection(
    State(app): State<App>,
    caller: Caller,
    Path((collection, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    unset(&app, &caller, collection_owner(&app, &collection).await?, &name).await
}

async fn device_owner(app: &App, device: i64) -> Result<Owner, Refusal> {
    match app.db.device(device).await? {
        Some(_) => Ok(Owner::Device(device)),
        None => {
            Err(Refusal::absent(format!("there is no device {device}"), "list them: rootstock device list"))
        }
    }
}

async fn collection_owner(app: &App, name: &str) -> Result<Owner, Refusal> {
    if let Some(built_in) = offer::Collection::named(name) {
        return Ok(Owner::Collection(built_in.name().to_owned()));
    }
    match app.db.collection(name).await? {
        Some((collection, _)) => Ok(Owner::Collection(collection.name)),
        None => Err(Refusal::absent(
            format!("there is no collection {name:?}"),
            "list them: rootstock collection list",
        )),
    }
}

/// A rule may ask for a variable of a Mac.
async fn settle(app: &App, owner: &Owner) -> Result<(), Refusal> {
    if let Owner::Device(device) = owner {
        app.db.settle_device(*device).await?;
    }
    Ok(())
}

async fn list(app: &App, owner: Owner) -> Result<Answer<Vec<Variable>>, Refusal> {
    Ok(Answer(app.db.variables(&owner).await?.into_iter().map(|row| shown(app, row)).collect()))
}

async fn set(
    app: &App,
    caller: &Caller,
    owner: Owner,
    name: &str,
    value: VariableValue,
) -> Result<Answer<Variable>, Refusal> {
    let name: VariableName = name.parse().map_err(|error| Refusal::wrong(format!("{error}"), ""))?;
    if name.is_read_only() {
        return Err(Refusal::wrong(
            format!("{name} is a fact of the Mac and cannot be set"),
            "take another name",
        ));
    }
    if value.value.len() > LONGEST {
        return Err(Refusal::wrong(
            format!("the value of {name} has {} bytes: at most {LONGEST}", value.value.len()),
            "shorten it",
        ));
    }
    if value.secret {
        caller.must(Right::Own, || "set a secret".to_owned())?;
    }
    may_replace(app, caller, &owner, &name).await?;
    if app.db.count_variables(&owner).await? >= MOST {
        return Err(Refusal::conflict(format!("there are {MOST} variables already"), "take one away first"));
    }
    let row = variables::row(&app.secrets, name, value.value, value.secret);
    app.db.set_variable(&owner, &row).await?;
    settle(app, &owner).await?;
    tracing::info!(variable = row.name.as_str(), "the variable {} of {owner:?} is set", row.name);
    Ok(Answer(shown(app, row)))
}

/// Who may set no secrets cannot put something else in the place of one either.
async fn may_replace(app: &App, caller: &Caller, owner: &Owner, name: &VariableName) -> Result<(), Refusal> {
    let rows = app.db.variables(owner).await?;
    if rows.iter().any(|row| row.secret && row.name == *name) {
        caller.must(Right::Own, || format!("change the secret {name}"))?;
    }
    Ok(())
}

async fn unset(app: &App, caller: &Caller, owner: Owner, name: &str) -> Result<StatusCode, Refusal> {
    let name: VariableName = name.parse().map_err(|error| Refusal::wrong(format!("{error}"), ""))?;
    may_replace(app, caller, &owner, &name).await?;
    if app.db.unset_variable(&owner, &name).await? {
        settle(app, &owner).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::absent(format!("there is no variable {name} here"), "list them: rootstock variable list"))
}

pub(super) fn shown(app: &App, row: VariableRow) -> Variable {
    let empty = variables::is_empty(&app.secrets, &row);
    let value = (!row.secret).then_some(row.value);
    Variable { name: row.name.into(), value, secret: row.secret, empty }
}
