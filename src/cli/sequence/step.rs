//! `rootstock sequence step …`: entries of sequences of the appliance.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::rehearse::of_appliance;
use crate::api::admin::{
    EditSequence, EditedSequence, EntryOf, PasteEntry, PutEntry, Sequence as Saved, SequenceEdit,
};
use crate::cli::connection::{Appliance, Connection, Online};
use crate::cli::output::{Table, say, say_json, segment};
use crate::sequence::model::{Node, Sequence};

/// Verbs of `rootstock sequence step`.
#[derive(Subcommand)]
pub enum Command {
    /// Entries of a sequence with their paths
    List(Online<List>),
    /// Paste a copy of an entry, of another sequence or of the same: `rootstock sequence step copy "Lab Mac" steps[2] "Office Mac" --before steps[0]`
    Copy(Online<Copy>),
    /// Move an entry: up, down, before or after another, into a group, or out of one sequence into another
    Move(Online<Move>),
    /// Remove an entry
    Remove(Online<Remove>),
}

/// `rootstock sequence step list`
#[derive(Args, Debug)]
pub struct List {
    /// Name of the sequence, or NAME@REVISION
    sequence: String,
}

/// `rootstock sequence step copy`
#[derive(Args, Debug)]
pub struct Copy {
    /// Sequence that it is copied from: NAME, or NAME@REVISION
    from: String,
    /// Its path or name
    entry: String,
    /// Sequence that receives it
    to: String,
    #[command(flatten)]
    place: Place,
}

/// `rootstock sequence step move`
#[derive(Args, Debug)]
pub struct Move {
    /// Name of the sequence
    sequence: String,
    /// Its path or name
    entry: String,
    /// One place up, in and out of groups
    #[arg(long, group = "where")]
    up: bool,
    /// One place down, in and out of groups
    #[arg(long, group = "where")]
    down: bool,
    /// Into this other sequence, which gets a new revision, too
    #[arg(long, value_name = "SEQUENCE", conflicts_with_all = ["up", "down"])]
    to: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// `rootstock sequence step remove`
#[derive(Args, Debug)]
pub struct Remove {
    /// Name of the sequence
    sequence: String,
    /// Its path or name
    entry: String,
}

/// Where an entry comes; at the end when nothing is said.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// Before this entry
    #[arg(long, value_name = "ENTRY", group = "where")]
    before: Option<String>,
    /// After this entry
    #[arg(long, value_name = "ENTRY", group = "where")]
    after: Option<String>,
    /// At the end of this group's steps
    #[arg(long, value_name = "GROUP", group = "where")]
    into: Option<String>,
    /// At the end of what this group does after a failure
    #[arg(long, value_name = "GROUP", group = "where")]
    into_catch: Option<String>,
    /// At the end of what this group does last
    #[arg(long, value_name = "GROUP", group = "where")]
    into_finally: Option<String>,
}

impl Place {
    pub fn put(self) -> Option<PutEntry> {
        let Place { before, after, into, into_catch, into_finally } = self;
        before
            .map(PutEntry::Before)
            .or(after.map(PutEntry::After))
            .or(into.map(PutEntry::Group))
            .or(into_catch.map(PutEntry::Catch))
            .or(into_finally.map(PutEntry::Finally))
    }
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Copy(verb) => verb.run(before, copy),
            Command::Move(verb) => verb.run(before, relocate),
            Command::Remove(verb) => verb.run(before, |verb, appliance| {
                edit(appliance, &verb.sequence, SequenceEdit::Remove(EntryOf { entry: verb.entry }))
            }),
        }
    }
}

fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let sequence = Sequence::from_yaml(&of_appliance(appliance, &verb.sequence)?)?;
    let kind = |node: &Node| match node {
        Node::Step(step) => step.kind.title(),
        Node::Group(_) => "group",
    };
    if appliance.json {
        let entries: Vec<_> = sequence
            .nodes()
            .iter()
            .map(|one| {
                serde_json::json!({"entry": one.place.to_string(), "name": one.node.name(), "type": kind(one.node), "disabled": one.left_out})
            })
            .collect();
        say_json(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ENTRY", "NAME", "TYPE"]);
    for one in sequence.nodes() {
        let disabled = if one.left_out { " (disabled)" } else { "" };
        table.row([
            one.place.to_string(),
            format!("{}{disabled}", one.node.name()),
            kind(one.node).to_owned(),
        ]);
    }
    table.print("the sequence has no steps")?;
    Ok(ExitCode::SUCCESS)
}

fn copy(verb: Copy, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (from, from_revision) = match verb.from.rsplit_once('@') {
        Some((name, revision)) if revision.parse::<u32>().is_ok() => (name.to_owned(), revision.parse().ok()),
        _ => (verb.from, None),
    };
    let paste = PasteEntry { entry: verb.entry, from: Some(from), from_revision, to: verb.place.put() };
    edit(appliance, &verb.to, SequenceEdit::Copy(paste))
}

fn relocate(verb: Move, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let which = EntryOf { entry: verb.entry.clone() };
    if verb.up || verb.down {
        let walk = if verb.up { SequenceEdit::Up(which) } else { SequenceEdit::Down(which) };
        return edit(appliance, &verb.sequence, walk);
    }
    let (entry, to) = (verb.entry, verb.place.put());
    let (receiver, from) = match verb.to {
        Some(other) => (other, Some(verb.sequence)),
        None => (verb.sequence, None),
    };
    edit(appliance, &receiver, SequenceEdit::Move(PasteEntry { entry, from, from_revision: None, to }))
}

/// Changes a sequence as it is now, and says what came of it.
pub(super) fn edit(appliance: &Appliance, sequence: &str, edit: SequenceEdit) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/sequences/{}", segment(sequence));
    let seen: Saved = appliance.client.get(&path)?;
    let asked = EditSequence { revision: Some(seen.revision), edit };
    let edited: EditedSequence = appliance.client.post(&format!("{path}/entries"), &asked)?;
    if appliance.json {
        say_json(&edited)?;
        return Ok(ExitCode::SUCCESS);
    }
    let EditedSequence { saved, other, entry } = edited;
    for one in std::iter::once(&saved).chain(&other) {
        match one.unchanged {
            true => say(format!("{} is as it was: revision {}", one.name, one.revision))?,
            false => say(format!("{} is saved as revision {}", one.name, one.revision))?,
        }
    }
    if let Some(entry) = entry {
        say(format!("the entry stands at {entry} of {}", saved.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
