//! Task sequences.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::api::admin::{SavedSequence, Sequence, SequenceSummary, SequenceText};
use crate::api::runner::Problem;
use crate::db::RevisionRow;
use crate::sequence::check::{self, Finding, KnownImage, Surroundings};
use crate::sequence::{model, schema};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path, Query};
use crate::server::nested;

/// The newest revision of every sequence.
#[utoipa::path(get, path = "/api/v1/sequences", tag = "sequences", responses((status = 200, body = Vec<SequenceSummary>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<SequenceSummary>>, Refusal> {
    Ok(Answer(app.db.sequences().await?.into_iter().map(summary).collect()))
}

/// Save a sequence as a new revision; the same text again makes none.
#[utoipa::path(post, path = "/api/v1/sequences", tag = "sequences", request_body = SequenceText, responses(
    (status = 200, body = SavedSequence),
    (status = 422, body = Problem, description = "Not saved: every finding in one text"),
))]
pub async fn save(
    State(app): State<App>,
    Json(text): Json<SequenceText>,
) -> Result<Answer<SavedSequence>, Refusal> {
    let sequence = read(&text.yaml)?;
    let findings = check::check(&sequence, &surroundings(&app, &sequence).await?);
    if !findings.is_empty() {
        return Err(Refusal::wrong(wrong(&sequence.name, &findings), "correct the file and apply it again"));
    }
    let yaml = nested::sealed(&text.yaml, &sequence, &app.secrets).map_err(|error| {
        Refusal::wrong(
            format!("`{}` was not saved: {error}", sequence.name),
            "write the secret's value into the file",
        )
    })?;
    let saved = app.db.save_sequence(&sequence.name, &yaml, now_ms()).await?;
    if !saved.unchanged {
        tracing::info!(
            sequence = saved.name,
            revision = saved.revision,
            "saved {} revision {}",
            saved.name,
            saved.revision
        );
    }
    Ok(Answer(saved))
}

/// The JSON Schema of a sequence's file.
#[utoipa::path(get, path = "/api/v1/schemas/sequence", tag = "sequences", responses((status = 200, body = Object)))]
pub async fn schema() -> Answer<serde_json::Value> {
    Answer(schema::schema())
}

/// Which revision.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Its number; the newest when left out.
    revision: Option<u32>,
}

/// One revision with its text.
#[utoipa::path(get, path = "/api/v1/sequences/{name}", tag = "sequences", params(("name" = String, Path), Which), responses(
    (status = 200, body = Sequence),
    (status = 404, body = Problem),
))]
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Answer<Sequence>, Refusal> {
    let RevisionRow { name, revision, newest, yaml, saved_ms } =
        app.db.sequence(&name, which.revision).await?.ok_or_else(|| absent(&name, which.revision))?;
    Ok(Answer(Sequence { name, revision, newest, saved_ms, yaml }))
}

/// Delete a sequence with all its revisions.
#[utoipa::path(delete, path = "/api/v1/sequences/{name}", tag = "sequences", params(("name" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is deployed, or a run of it goes on"),
))]
pub async fn delete(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let mut users = Vec::new();
    for row in app.db.sequences().await? {
        let runs = model::Sequence::from_yaml(&row.yaml)
            .is_ok_and(|other| other.nested().any(|(_, one)| one == name));
        if runs && row.name != name {
            users.push(format!("the sequence {} runs it", row.name));
        }
    }
    if !users.is_empty() {
        return Err(Refusal::conflict(
            format!("{name} is in use: {}", users.join("; ")),
            "take the step out of those first",
        ));
    }
    match app.db.remove_sequence(&name).await? {
        None => Err(absent(&name, None)),
        Some(Err(users)) => Err(Refusal::conflict(
            format!("{name} is in use: {}", users.join("; ")),
            "take its deployments back and wait for its runs, or cancel them",
        )),
        Some(Ok(())) => Ok(StatusCode::NO_CONTENT),
    }
}

/// Every finding in one text.
pub(super) fn wrong(name: &str, findings: &[Finding]) -> String {
    let lines: String = findings.iter().map(|finding| format!("\n  {finding}")).collect();
    format!("`{name}` was not saved, {} wrong:{lines}", count(findings.len()))
}

pub(super) fn read(yaml: &str) -> Result<model::Sequence, Refusal> {
    model::Sequence::from_yaml(yaml).map_err(|error| {
        Refusal::wrong(format!("the text is no sequence: {error}"), "correct it and try again")
    })
}

pub(super) async fn surroundings(app: &App, sequence: &model::Sequence) -> Result<Surroundings, Refusal> {
    let mut images: BTreeMap<String, KnownImage> = BTreeMap::new();
    for (name, version) in app.db.version_numbers().await? {
        images.entry(name).or_default().versions.insert(version);
    }
    for (name, rings) in app.db.all_rings().await? {
        images.entry(name).and_modify(|image| image.rings = rings);
    }
    let names = app.db.variable_names().await?;
    let secrets = names.iter().filter(|(_, secret)| *secret).map(|(name, _)| name.clone()).collect();
    let variables = names.into_iter().map(|(name, _)| name).collect();
    let others = Some(nested::others(&app.db, sequence).await?);
    Ok(Surroundings { images: Some(images), variables, secrets, others })
}

fn summary(row: RevisionRow) -> SequenceSummary {
    let sequence = model::Sequence::from_yaml(&row.yaml);
    let (description, disabled, steps) = match &sequence {
        Ok(sequence) => (sequence.description.clone(), sequence.disabled, sequence.walk().count()),
        Err(error) => (format!("unreadable by this version: {error}"), true, 0),
    };
    let known = sequence.as_ref().ok();
    SequenceSummary {
        name: row.name,
        category: known.map(|sequence| sequence.category.clone()).unwrap_or_default(),
        download_size: known.and_then(model::Sequence::download_bytes),
        description,
        revision: row.revision,
        disabled,
        steps: u32::try_from(steps).unwrap_or(u32::MAX),
        saved_ms: row.saved_ms,
    }
}

pub(super) fn absent(name: &str, revision: Option<u32>) -> Refusal {
    let revision = revision.map_or(String::new(), |revision| format!(" revision {revision}"));
    Refusal::absent(format!("there is no sequence {name}{revision}"), "list them: rootstock sequence list")
}

fn count(things: usize) -> String {
    if things == 1 { "1 thing is".to_owned() } else { format!("{things} things are") }
}
