//! Collections.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::admin::{
    Collection, CollectionDetails, CreateCollection, EditCollection, RuleFact, RuleFinding, RulePreview,
    RuleText,
};
use crate::api::runner::Problem;
use crate::db::{CollectionRow, MOST_COLLECTIONS, NotSaved};
use crate::sequence::target::fact::{Fact, Kind};
use crate::sequence::target::rule::Rule;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::offer;

/// Members of a preview that are named.
const SHOWN: usize = 100;
/// Highest priority.
const HIGHEST: i64 = 1_000_000;
/// Longest name and longest description.
const LONGEST: (usize, usize) = (100, 4096);

/// Collections, the built-in ones first, then by name.
#[utoipa::path(get, path = "/api/v1/collections", tag = "collections", responses((status = 200, body = Vec<Collection>)))]
pub async fn list(State(app): State<App>) -> Result<Answer<Vec<Collection>>, Refusal> {
    let mut all = built_in(&app).await?.to_vec();
    all.extend(app.db.all_collections().await?.into_iter().map(summary));
    Ok(Answer(all))
}

async fn built_in(app: &App) -> Result<[Collection; 2], Refusal> {
    let (all, unknown) = app.db.count_devices().await?;
    Ok(offer::Collection::BUILT_IN.map(|collection| Collection {
        name: collection.name().to_owned(),
        built_in: true,
        description: collection.description().to_owned(),
        members: match collection {
            offer::Collection::AllMacs => all,
            offer::Collection::UnknownMacs => 0,
        },
        applies_to: match collection {
            offer::Collection::AllMacs => all,
            offer::Collection::UnknownMacs => unknown,
        },
        rule: None,
        priority: collection.priority(),
        stale: false,
    }))
}

fn summary(row: CollectionRow) -> Collection {
    Collection {
        name: row.name,
        built_in: false,
        description: row.description,
        members: row.members,
        applies_to: row.members,
        rule: row.rule,
        priority: row.priority,
        stale: row.stale,
    }
}

/// Make a collection, and judge its members.
#[utoipa::path(post, path = "/api/v1/collections", tag = "collections", request_body = CreateCollection, responses(
    (status = 201, body = CollectionDetails),
    (status = 409, body = Problem, description = "The name is taken, or the rule holds for every Mac and `confirm` does not name their number"),
    (status = 422, body = Problem, description = "The rule with the places where it is wrong, a circle, something that is not there"),
))]
pub async fn create(
    State(app): State<App>,
    Json(wanted): Json<CreateCollection>,
) -> Result<(StatusCode, Answer<CollectionDetails>), Refusal> {
    let row = CollectionRow {
        name: wanted.name.trim().to_owned(),
        description: wanted.description,
        rule: Some(wanted.rule).filter(|rule| !rule.trim().is_empty()),
        priority: wanted.priority,
        includes: wanted.includes,
        excludes: wanted.excludes,
        ..CollectionRow::default()
    };
    check(&app, &row, true, wanted.confirm).await?;
    let details = save(&app, &row, &wanted.direct, &[]).await?;
    Ok((StatusCode::CREATED, Answer(details)))
}

/// One collection.
#[utoipa::path(get, path = "/api/v1/collections/{collection}", tag = "collections", params(("collection" = String, Path)), responses(
    (status = 200, body = CollectionDetails),
    (status = 404, body = Problem),
))]
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Answer<CollectionDetails>, Refusal> {
    details(&app, &name).await.map(Answer)
}

async fn details(app: &App, name: &str) -> Result<CollectionDetails, Refusal> {
    if let Some(named) = offer::Collection::named(name) {
        let summary = built_in(app).await?.into_iter().find(|one| one.name == named.name());
        let summary = summary.ok_or_else(|| absent(name))?;
        return Ok(CollectionDetails {
            summary,
            direct: Vec::new(),
            includes: Vec::new(),
            excludes: Vec::new(),
            created_ms: None,
            changed_ms: None,
        });
    }
    let (mut row, direct) = find(app, name).await?;
    Ok(CollectionDetails {
        direct,
        includes: std::mem::take(&mut row.includes),
        excludes: std::mem::take(&mut row.excludes),
        created_ms: Some(row.created_ms),
        changed_ms: Some(row.changed_ms),
        summary: summary(row),
    })
}

/// Change a collection, and judge its members anew.
#[utoipa::path(patch, path = "/api/v1/collections/{collection}", tag = "collections", params(("collection" = String, Path)),
    request_body = EditCollection, responses(
    (status = 200, body = CollectionDetails),
    (status = 404, body = Problem),
    (status = 409, body = Problem),
    (status = 422, body = Problem),
))]
pub async fn edit(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(edit): Json<EditCollection>,
) -> Result<Answer<CollectionDetails>, Refusal> {
    refuse_built_in(&name)?;
    let (before, _) = find(&app, &name).await?;
    let rule = match edit.rule {
        None => before.rule.clone(),
        Some(rule) => Some(rule).filter(|rule| !rule.trim().is_empty()),
    };
    let row = CollectionRow {
        name: edit.name.map_or_else(|| before.name.clone(), |name| name.trim().to_owned()),
        description: edit.description.unwrap_or_else(|| before.description.clone()),
        rule,
        priority: edit.priority.unwrap_or(before.priority),
        includes: edit.includes.unwrap_or_else(|| before.includes.clone()),
        excludes: edit.excludes.unwrap_or_else(|| before.excludes.clone()),
        ..before.clone()
    };
    check(&app, &row, row.rule != before.rule, edit.confirm).await?;
    Ok(Answer(save(&app, &row, &edit.add, &edit.remove).await?))
}

/// Delete a collection with its variables.
#[utoipa::path(delete, path = "/api/v1/collections/{collection}", tag = "collections", params(("collection" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "Something is deployed to it, or another collection names it"),
))]
pub async fn delete(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    refuse_built_in(&name)?;
    match app.db.remove_collection(&name).await? {
        None => Err(absent(&name)),
        Some(Err(users)) => Err(Refusal::conflict(
            format!("{name} is in use: {}", users.join("; ")),
            "take those back first: rootstock deployment delete, rootstock collection edit",
        )),
        Some(Ok(())) => Ok(StatusCode::NO_CONTENT),
    }
}

/// What rules may ask.
#[utoipa::path(get, path = "/api/v1/collections/facts", tag = "collections", responses((status = 200, body = Vec<RuleFact>)))]
pub async fn facts() -> Answer<Vec<RuleFact>> {
    let fact = |(name, kind, about): (&str, Kind, &str)| RuleFact {
        name: name.to_owned(),
        kind: kind.in_words(),
        about: about.to_owned(),
    };
    let variable = ("variable.NAME", Kind::Text, "a variable of the Mac itself that is not secret");
    let all = Fact::ALL.iter().map(|fact| (fact.name(), fact.kind(), fact.about())).chain([variable]);
    Answer(all.map(fact).collect())
}

/// For which Macs a rule would hold.
#[utoipa::path(post, path = "/api/v1/collections/preview", tag = "collections", request_body = RuleText,
    responses((status = 200, body = RulePreview)))]
pub async fn preview(
    State(app): State<App>,
    Json(text): Json<RuleText>,
) -> Result<Answer<RulePreview>, Refusal> {
    let (total, _) = app.db.count_devices().await?;
    let rule = match Rule::read(&text.rule) {
        Ok(rule) => rule,
        Err(bad) => {
            let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            let finding = |one: crate::sequence::target::rule::RuleFinding| RuleFinding {
                at: place(one.at),
                length: place(one.length),
                message: one.message,
            };
            let findings = bad.findings.into_iter().map(finding).collect();
            return Ok(Answer(RulePreview { findings, matches: 0, total, members: Vec::new() }));
        }
    };
    let found = app.db.preview(&rule, SHOWN).await?;
    Ok(Answer(RulePreview {
        findings: Vec::new(),
        matches: found.matches,
        total: found.total,
        members: found.members,
    }))
}

/// What can be said without looking at other collections. `rule_is_new`: it was not confirmed before.
async fn check(
    app: &App,
    row: &CollectionRow,
    rule_is_new: bool,
    confirm: Option<u32>,
) -> Result<(), Refusal> {
    let name = &row.name;
    let printable = name.chars().all(|c| !c.is_control() && !";\"".contains(c));
    if name.is_empty() || name.len() > LONGEST.0 || !printable {
        return Err(Refusal::wrong(
            format!(
                "`{}` is no name of a collection: 1 to {} bytes without `;` and `\"`",
                shortened(name),
                LONGEST.0
            ),
            "give it another name",
        ));
    }
    refuse_built_in(name)?;
    if row.description.len() > LONGEST.1 {
        return Err(Refusal::wrong(
            format!("the description has more than {} bytes", LONGEST.1),
            "shorten it",
        ));
    }
    if !(0..=HIGHEST).contains(&row.priority) {
        return Err(Refusal::wrong(
            format!("a priority is 0 to {HIGHEST}, not {}", row.priority),
            "take another number",
        ));
    }
    let built_in = row.includes.iter().chain(&row.excludes).find_map(|other| offer::Collection::named(other));
    if let Some(built_in) = built_in {
        return Err(Refusal::wrong(
            format!("{built_in} stands in no other collection"),
            "ask in the rule: known, or not known",
        ));
    }
    let Some(text) = row.rule.as_ref().filter(|_| rule_is_new) else { return Ok(()) };
    let rule = Rule::read(text).map_err(|bad| {
        Refusal::wrong(
            format!("the rule is wrong:\n{bad}"),
            "correct it; what it may ask: rootstock collection facts",
        )
    })?;
    let found = app.db.preview(&rule, 0).await?;
    if found.total > 0 && found.matches == found.total && confirm != Some(found.total) {
        let all = found.total;
        return Err(Refusal::conflict(
            format!(
                "the rule holds for every Mac, all {all} that the appliance has seen: whatever is deployed to it reaches them all"
            ),
            format!("if that is meant, say so with their number: --confirm {all}"),
        ));
    }
    Ok(())
}

async fn save(
    app: &App,
    row: &CollectionRow,
    add: &[i64],
    remove: &[i64],
) -> Result<CollectionDetails, Refusal> {
    app.db.save_collection(row, add, remove, now_ms()).await?.map_err(|error| match error {
        NotSaved::Name(name) => Refusal::conflict(
            format!("there is a collection {name} already"),
            "take another name, or change that one: rootstock collection edit",
        ),
        NotSaved::NoCollection(name) => {
            Refusal::wrong(format!("there is no collection {name}"), "list them: rootstock collection list")
        }
        NotSaved::NoDevice(device) => {
            Refusal::wrong(format!("there is no device {device}"), "list them: rootstock device list")
        }
        NotSaved::Circle(circle) => Refusal::wrong(circle.to_string(), "take one of them out"),
        NotSaved::TooMany => {
            Refusal::conflict(format!("there are {MOST_COLLECTIONS} collections already"), "delete some")
        }
    })?;
    app.members.settle().await;
    tracing::info!("the collection {} was saved", row.name);
    details(app, &row.name).await
}

/// A collection that administrators made, with the numbers of its direct members.
pub(super) async fn find(app: &App, name: &str) -> Result<(CollectionRow, Vec<i64>), Refusal> {
    app.db.collection(name).await?.ok_or_else(|| absent(name))
}

pub(super) fn absent(name: &str) -> Refusal {
    Refusal::absent(format!("there is no collection {name:?}"), "list them: rootstock collection list")
}

fn refuse_built_in(name: &str) -> Result<(), Refusal> {
    match offer::Collection::named(name) {
        None => Ok(()),
        Some(built_in) => Err(Refusal::conflict(
            format!("{built_in} is made by the appliance and cannot be changed or deleted"),
            "make another collection: rootstock collection create",
        )),
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
