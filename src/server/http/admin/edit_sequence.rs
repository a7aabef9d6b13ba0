//! Entries of saved sequences copied, moved, removed: what comes of it is checked like a text that somebody saves.
//!
//! Must not know: how an entry is found or put anywhere (`sequence::edit`).

use axum::Json as Answer;
use axum::extract::State;

use super::sequence::{absent, read, surroundings, wrong};
use crate::api::admin::{EditSequence, EditedSequence, PasteEntry, PutEntry, PutProfile, SequenceEdit};
use crate::api::runner::Problem;
use crate::db::RevisionRow;
use crate::sequence::check;
use crate::sequence::edit::{CannotEdit, Direction, Put, Spot};
use crate::sequence::macos::ApplyProfile;
use crate::sequence::model::{Kind, Node, Section, Sequence, Step};
use crate::sequence::profile::Profile;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};

/// A sequence as it is saved, and as it shall be.
struct Draft {
    row: RevisionRow,
    sequence: Sequence,
}

/// Change the entries of a sequence: copy, move, remove them, or put a configuration profile into one.
#[utoipa::path(post, path = "/api/v1/sequences/{name}/entries", tag = "sequences", params(("name" = String, Path)), request_body = EditSequence, responses(
    (status = 200, body = EditedSequence),
    (status = 404, body = Problem, description = "There is no such sequence or entry"),
    (status = 409, body = Problem, description = "There is a newer revision than the caller has seen"),
    (status = 422, body = Problem, description = "It cannot be changed so, or not saved: every finding in one text"),
))]
pub async fn edit(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(asked): Json<EditSequence>,
) -> Result<Answer<EditedSequence>, Refusal> {
    let mut draft = draft(&app, &name, None).await?;
    if asked.revision.is_some_and(|seen| seen != draft.row.revision) {
        return Err(moved(&name));
    }
    let mut other: Option<Draft> = None;
    let spot = match asked.edit {
        SequenceEdit::Copy(PasteEntry { entry, from, from_revision, to }) => {
            let from = self::draft(&app, from.as_deref().unwrap_or(&name), from_revision).await?.sequence;
            let spot = from.find(&entry).map_err(refused)?;
            let node = from.entry(&spot).cloned();
            node.map(|node| draft.sequence.paste(node, &put(to))).transpose().map_err(refused)?
        }
        SequenceEdit::Move(PasteEntry { entry, from: Some(from), from_revision: None, to })
            if from != name =>
        {
            let source = other.insert(self::draft(&app, &from, None).await?);
            let node = source.sequence.cut(&entry).map_err(refused)?;
            Some(draft.sequence.paste(node, &put(to)).map_err(refused)?)
        }
        SequenceEdit::Move(PasteEntry { from_revision: Some(_), .. }) => {
            return Err(Refusal::wrong(
                "an entry is moved out of the newest revision only",
                "copy it from an older one",
            ));
        }
        SequenceEdit::Move(PasteEntry { entry, to, .. }) => {
            Some(draft.sequence.relocate(&entry, &put(to)).map_err(refused)?)
        }
        SequenceEdit::Up(which) => Some(draft.sequence.shift(&which.entry, Direction::Up).map_err(refused)?),
        SequenceEdit::Down(which) => {
            Some(draft.sequence.shift(&which.entry, Direction::Down).map_err(refused)?)
        }
        SequenceEdit::Remove(which) => draft.sequence.cut(&which.entry).map(|_| None).map_err(refused)?,
        SequenceEdit::Profile(asked) => Some(put_profile(&mut draft.sequence, asked)?),
    };
    let mut texts = Vec::new();
    for draft in std::iter::once(&draft).chain(&other) {
        texts.push((draft.row.name.as_str(), draft.row.revision, text(&app, &draft.sequence).await?));
    }
    let rows: Vec<_> = texts.iter().map(|(name, seen, yaml)| (*name, *seen, yaml.as_str())).collect();
    let saved = app.db.save_sequences(&rows, now_ms()).await?.ok_or_else(|| moved(&name))?;
    let mut saved = saved.into_iter();
    let Some(first) = saved.next() else { return Err(moved(&name)) };
    Ok(Answer(EditedSequence {
        saved: first,
        other: saved.next(),
        entry: spot.as_ref().map(Spot::to_string),
    }))
}

async fn draft(app: &App, name: &str, revision: Option<u32>) -> Result<Draft, Refusal> {
    let row = app.db.sequence(name, revision).await?.ok_or_else(|| absent(name, revision))?;
    Ok(Draft { sequence: read(&row.yaml)?, row })
}

/// The text of a sequence with which nothing is wrong; secrets in it are sealed already.
async fn text(app: &App, sequence: &Sequence) -> Result<String, Refusal> {
    let findings = check::check(sequence, &surroundings(app, sequence).await?);
    if !findings.is_empty() {
        return Err(Refusal::wrong(wrong(&sequence.name, &findings), "nothing was changed"));
    }
    sequence.to_yaml().map_err(|error| Refusal::fault(&error))
}

fn put(to: Option<PutEntry>) -> Put {
    match to {
        None => Put::End,
        Some(PutEntry::Before(which)) => Put::Before(which),
        Some(PutEntry::After(which)) => Put::After(which),
        Some(PutEntry::Group(which)) => Put::Into(which, Section::Steps),
        Some(PutEntry::Catch(which)) => Put::Into(which, Section::Catch),
        Some(PutEntry::Finally(which)) => Put::Into(which, Section::Finally),
    }
}

fn put_profile(sequence: &mut Sequence, asked: PutProfile) -> Result<Spot, Refusal> {
    let PutProfile { profile, entry, name, to } = asked;
    let profile = Profile(profile);
    profile
        .facts()
        .map_err(|error| Refusal::wrong(error.to_string(), "take a .mobileconfig as it was exported"))?;
    let Some(entry) = entry else {
        let kind = Kind::ApplyProfile(ApplyProfile { profile });
        let step = Step::new(name.unwrap_or_else(|| kind.title().to_owned()), kind);
        return sequence.paste(Node::Step(step), &put(to)).map_err(refused);
    };
    let spot = sequence.find(&entry).map_err(refused)?;
    match sequence.entry_mut(&spot) {
        Some(Node::Step(Step { kind: Kind::ApplyProfile(apply), .. })) => apply.profile = profile,
        _ => {
            return Err(Refusal::wrong(
                format!("{entry} is no Apply Configuration Profile step"),
                "name one of them, or none to make a new step",
            ));
        }
    }
    Ok(spot)
}

fn refused(error: CannotEdit) -> Refusal {
    let next = "see its entries: rootstock sequence step list NAME";
    match error {
        CannotEdit::Absent { .. } => Refusal::absent(error.to_string(), next),
        other => Refusal::wrong(other.to_string(), next),
    }
}

fn moved(name: &str) -> Refusal {
    Refusal::conflict(
        format!("{name} has a newer revision than the one that was to be changed"),
        "look at it and try again",
    )
}
