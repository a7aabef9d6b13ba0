//! Deployments.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::{collection, sequence};
use crate::api::admin::{BadTerms, CreateDeployment, Deployment, EditDeployment};
use crate::api::runner::{Problem, Purpose};
use crate::sequence::check;
use crate::sequence::model::Sequence;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::offer;

/// Deployments, oldest first.
#[utoipa::path(get, path = "/api/v1/deployments", tag = "deployments", responses((status = 200, body = Vec<Deployment>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<Deployment>>, Refusal> {
    Ok(Answer(app.db.deployments().await?.into_iter().map(|row| shown(row.deployment)).collect()))
}

/// One deployment.
#[utoipa::path(get, path = "/api/v1/deployments/{deployment}", tag = "deployments", params(("deployment" = i64, Path)), responses(
    (status = 200, body = Deployment),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<Deployment>, Refusal> {
    Ok(Answer(shown(find(&app, id).await?)))
}

/// Make a sequence available to the Macs of a collection.
#[utoipa::path(post, path = "/api/v1/deployments", tag = "deployments", request_body = CreateDeployment, responses(
    (status = 201, body = Deployment),
    (status = 404, body = Problem, description = "No such sequence or collection"),
    (status = 409, body = Problem, description = "Required, and its collection's rule makes every Mac a member"),
    (status = 422, body = Problem, description = "The sequence does not check, or the terms do not go together"),
))]
pub async fn deploy(
    State(app): State<App>,
    Json(request): Json<CreateDeployment>,
) -> Result<(StatusCode, Answer<Deployment>), Refusal> {
    let collection = match offer::Collection::named(&request.collection) {
        Some(built_in) => built_in.name().to_owned(),
        None => target(&app, &request).await?,
    };
    request.terms.read(request.purpose)?;
    let row = app
        .db
        .sequence(&request.sequence, None)
        .await?
        .ok_or_else(|| sequence::absent(&request.sequence, None))?;
    let text = Sequence::from_yaml(&row.yaml).map_err(|error| {
        Refusal::wrong(format!("{} is unreadable: {error}", request.sequence), "apply it again")
    })?;
    let findings = check::check(&text, &sequence::surroundings(&app, &text).await?);
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
        return Err(Refusal::wrong(
            format!("{} is not deployed, it does not check:{}", request.sequence, lines.concat()),
            "correct the sequence or what it names, then deploy it",
        ));
    }
    let deployed =
        app.db.deploy(&request.sequence, &collection, request.purpose, &request.terms, now_ms()).await?;
    let deployment = deployed.ok_or_else(|| sequence::absent(&request.sequence, None))?;
    tracing::info!(deployment = deployment.id, "{} is deployed to {collection}", deployment.sequence);
    Ok((StatusCode::CREATED, Answer(shown(deployment))))
}

/// The collection's own spelling. What starts by itself and reaches every Mac by a rule must be meant.
async fn target(app: &App, request: &CreateDeployment) -> Result<String, Refusal> {
    let (row, _) = match app.db.collection(&request.collection).await? {
        Some(found) => found,
        None => return Err(collection::absent(&request.collection)),
    };
    let (all, _) = app.db.count_devices().await?;
    let by_accident = row.rule.is_some() && row.members == all && all > 0 && request.confirm != Some(all);
    if request.purpose == Purpose::Required && by_accident {
        return Err(Refusal::conflict(
            format!(
                "{} has every Mac in it, all {all} that the appliance has seen, and what is Required starts by itself",
                row.name
            ),
            format!("if that is meant, say so with their number: --confirm {all}"),
        ));
    }
    Ok(row.name)
}

/// Change the terms of a deployment: times, window, rerun, pause. Runs that were started go on.
#[utoipa::path(patch, path = "/api/v1/deployments/{deployment}", tag = "deployments", params(("deployment" = i64, Path)),
    request_body = EditDeployment, responses(
    (status = 200, body = Deployment),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "The terms do not go together"),
))]
pub async fn edit(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(edit): Json<EditDeployment>,
) -> Result<Answer<Deployment>, Refusal> {
    let before = find(&app, id).await?;
    let terms = before.terms.edited(&edit.terms);
    terms.read(before.purpose)?;
    if !app.db.set_terms(&before, &terms, now_ms()).await? {
        return Err(absent(id));
    }
    tracing::info!(deployment = id, "the terms of deployment {id} were changed");
    Ok(Answer(shown(find(&app, id).await?)))
}

/// Take a deployment back; runs that were started go on.
#[utoipa::path(delete, path = "/api/v1/deployments/{deployment}", tag = "deployments", params(("deployment" = i64, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn undeploy(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    if app.db.undeploy(id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(absent(id)) }
}

async fn find(app: &App, id: i64) -> Result<Deployment, Refusal> {
    app.db.deployment(id).await?.ok_or_else(|| absent(id))
}

fn absent(id: i64) -> Refusal {
    Refusal::absent(format!("there is no deployment {id}"), "list them: rootstock deployment list")
}

/// With the reason why nothing of it begins now on any Mac.
fn shown(mut deployment: Deployment) -> Deployment {
    deployment.closed = match deployment.terms.read(deployment.purpose) {
        Ok(terms) => terms.closed(now_ms()).map(|reason| reason.to_string()),
        Err(error) => Some(error.to_string()),
    };
    deployment
}

impl From<BadTerms> for Refusal {
    fn from(error: BadTerms) -> Refusal {
        Refusal::wrong(format!("the terms do not go together: {error}"), "see rootstock deploy --help")
    }
}
