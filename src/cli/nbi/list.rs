//! `rootstock nbi list`: every boot set.

use std::process::ExitCode;

use clap::Args;

use crate::api::admin::{NbiFacts, NbiState, NbiSummary};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say, say_json};
use crate::value::ByteSize;

/// `rootstock nbi list`
#[derive(Args, Debug)]
pub struct List {}

/// Lists.
pub fn run(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let sets: Vec<NbiSummary> = appliance.client.get("/api/v1/nbi")?;
    if appliance.json {
        say_json(&sets)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["FOLDER", "NAME", "ID", "KIND", "TYPE", "SIZE", "DEFAULT", "FOR", "STATE"]);
    for set in &sets {
        let fact = |of: fn(&NbiFacts) -> String| set.facts.as_ref().map_or_else(|| "-".to_owned(), of);
        table.row([
            set.folder.clone(),
            fact(|facts| facts.name.clone()),
            fact(|facts| facts.id.clone()),
            fact(|facts| facts.kind.clone()),
            fact(|facts| facts.r#type.clone()),
            ByteSize(set.size).to_string(),
            fact(|facts| if facts.default { "yes" } else { "" }.to_owned()),
            fact(whom),
            state(&set.state).0.to_owned(),
        ]);
    }
    table.print("no boot sets: rootstock media boot makes ours, rootstock nbi import takes in Apple's")?;
    for set in &sets {
        if let (word, Some(reason)) = state(&set.state) {
            say(format!("{} is {word}: {reason}", set.folder))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Who may have it, in a few words.
fn whom(facts: &NbiFacts) -> String {
    let count = |list: &[String], what: &str| match list {
        [] => None,
        [one] => Some(one.clone()),
        more => Some(format!("{} {what}", more.len())),
    };
    let parts = [
        count(&facts.models, "models"),
        count(&facts.macs, "addresses"),
        count(&facts.disabled_models, "models").map(|text| format!("not {text}")),
        count(&facts.disabled_macs, "addresses").map(|text| format!("not {text}")),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "every Mac".to_owned() } else { text }
}

/// A state as a word, and its reason.
pub fn state(state: &NbiState) -> (&'static str, Option<&str>) {
    match state {
        NbiState::Offered => ("offered", None),
        NbiState::Disabled => ("disabled", None),
        NbiState::Waiting { reason } => ("not offered yet", Some(reason)),
        NbiState::Refused { reason } => ("not offered", Some(reason)),
        NbiState::Unknown => ("in a state that this version does not know", None),
    }
}
