//! `rootstock sequence diff`: what differs between two files or revisions.

use std::process::ExitCode;

use clap::Args;

use super::rehearse::file_or_sequence;
use crate::cli::connection::Appliance;
use crate::cli::output::{printable, say, say_json};
use crate::sequence::difference::{Change, What, difference};

/// `rootstock sequence diff`
#[derive(Args, Debug)]
pub struct Diff {
    /// YAML file, NAME or NAME@REVISION of the appliance
    before: String,
    /// The same
    after: String,
}

/// Prints the differences. Exit code 1 when there are some.
pub fn diff(verb: Diff, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (before, after) =
        (file_or_sequence(appliance, &verb.before)?, file_or_sequence(appliance, &verb.after)?);
    let changes = difference(&before, &after);
    if appliance.json {
        say_json(&changes)?;
    } else {
        for change in &changes {
            print(change)?;
        }
        if changes.is_empty() {
            say("no difference")?;
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(change: &Change) -> anyhow::Result<()> {
    let name = printable(&change.name);
    let (before, after) =
        (change.before.as_deref().unwrap_or_default(), change.after.as_deref().unwrap_or_default());
    match change.what {
        What::Added => say(format!("+ {} `{name}`", change.place)),
        What::Removed => say(format!("- {} `{name}`", change.place)),
        What::Moved => say(format!("> {before} → {after} `{name}`")),
        What::Changed => {
            let place = if change.place.is_empty() { "the sequence" } else { &change.place };
            if !before.contains('\n') && !after.contains('\n') {
                let shown = |text: &Option<String>| match text {
                    Some(text) => format!("`{}`", printable(text)),
                    None => "nothing".to_owned(),
                };
                let (before, after) = (shown(&change.before), shown(&change.after));
                return say(format!("~ {place} `{name}`: {} {before} → {after}", change.property));
            }
            say(format!("~ {place} `{name}`: {}", change.property))?;
            lines(before, after)
        }
    }
}

/// The lines between what both texts begin and end with.
fn lines(before: &str, after: &str) -> anyhow::Result<()> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - same;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
    for line in &old[same..old.len() - end] {
        say(format!("    - {}", printable(line)))?;
    }
    for line in &new[same..new.len() - end] {
        say(format!("    + {}", printable(line)))?;
    }
    Ok(())
}
