//! Checking sequences, and copying them.
//!
//! The check of a text is no part of a path below `sequences`: any name there may be that of a sequence.

use axum::Json as Answer;
use axum::extract::State;

use super::sequence::{absent, read, surroundings};
use crate::api::admin::{CopySequence, Finding, SavedSequence, SequenceFindings, SequenceText};
use crate::api::runner::Problem;
use crate::sequence::check;
use crate::sequence::model::Sequence;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::wire;

/// Everything that is wrong with a text, without saving it.
#[utoipa::path(post, path = "/api/v1/sequence-checks", tag = "sequences", request_body = SequenceText, responses(
    (status = 200, body = Vec<Finding>),
    (status = 422, body = Problem, description = "The text is no sequence: where and why"),
))]
pub async fn check(
    State(app): State<App>,
    Json(text): Json<SequenceText>,
) -> Result<Answer<Vec<Finding>>, Refusal> {
    let sequence = read(&text.yaml)?;
    let findings = check::check(&sequence, &surroundings(&app, &sequence).await?);
    Ok(Answer(findings.iter().map(wire::finding).collect()))
}

/// What is wrong with the saved sequences as things are now: an image that was deleted since, a variable that nobody defines any more.
#[utoipa::path(get, path = "/api/v1/sequence-checks", tag = "sequences", responses((status = 200, body = Vec<SequenceFindings>)))]
pub async fn check_all(State(app): State<App>) -> Result<Answer<Vec<SequenceFindings>>, Refusal> {
    let deployments = app.db.deployments().await?;
    let mut all = Vec::new();
    for row in app.db.sequences().await? {
        let findings = match Sequence::from_yaml(&row.yaml) {
            Ok(sequence) => {
                let found = check::check(&sequence, &surroundings(&app, &sequence).await?);
                found.iter().map(wire::finding).collect()
            }
            Err(error) => {
                let message = format!("this version cannot read it: {error}");
                vec![Finding { code: "unreadable".to_owned(), path: String::new(), message }]
            }
        };
        let of_this = deployments.iter().filter(|one| one.deployment.sequence == row.name);
        let deployed_to = of_this.map(|one| one.deployment.collection.clone()).collect();
        all.push(SequenceFindings { name: row.name, revision: row.revision, deployed_to, findings });
    }
    Ok(Answer(all))
}

/// Save a sequence under another name, too; secrets in it stay sealed.
#[utoipa::path(post, path = "/api/v1/sequences/{name}/copy", tag = "sequences", params(("name" = String, Path)), request_body = CopySequence, responses(
    (status = 200, body = SavedSequence),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "There is a sequence of that name"),
    (status = 422, body = Problem, description = "It cannot have that name"),
))]
pub async fn copy(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(request): Json<CopySequence>,
) -> Result<Answer<SavedSequence>, Refusal> {
    let row =
        app.db.sequence(&name, request.revision).await?.ok_or_else(|| absent(&name, request.revision))?;
    let sequence = read(&row.yaml)?;
    if !request.replace && app.db.sequence(&request.to, None).await?.is_some() {
        return Err(Refusal::conflict(
            format!("there is a sequence {} already", request.to),
            "choose another name, or replace it: rootstock sequence copy --replace",
        ));
    }
    let named = Sequence { name: request.to.clone(), ..sequence };
    let around = surroundings(&app, &named).await?;
    let wrong = check::check(&named, &around);
    // What was wrong before is no reason not to copy it; a name that cannot be one is.
    if let Some(finding) = wrong.iter().find(|finding| finding.path.is_empty()) {
        return Err(Refusal::wrong(finding.message.clone(), "choose another name"));
    }
    let yaml = renamed(&row.yaml, &named)?;
    Ok(Answer(app.db.save_sequence(&request.to, &yaml, now_ms()).await?))
}

/// The text with another name: its line is changed, so that comments stay; where that is not enough it is written anew.
fn renamed(yaml: &str, named: &Sequence) -> Result<String, Refusal> {
    let quoted = serde_json::to_string(&named.name).unwrap_or_default();
    let line = |line: &str| match line.strip_prefix("name:") {
        Some(_) => format!("name: {quoted}"),
        None => line.to_owned(),
    };
    let text: String = yaml.lines().map(|one| line(one) + "\n").collect();
    match Sequence::from_yaml(&text) {
        Ok(read) if read == *named => Ok(text),
        _ => named.to_yaml().map_err(|error| Refusal::fault(&error)),
    }
}
