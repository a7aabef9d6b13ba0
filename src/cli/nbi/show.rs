//! `rootstock nbi show`: one boot set.

use std::process::ExitCode;

use clap::Args;

use super::folder_of;
use super::list::state;
use crate::api::admin::{Nbi, NbiFacts};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say, say_json, segment};
use crate::value::ByteSize;

/// `rootstock nbi show`
#[derive(Args, Debug)]
pub struct Show {
    /// Its folder, NetInstall.nbi or NetInstall, or its name in the picker
    name: String,
}

/// Shows.
pub fn run(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let folder = folder_of(appliance, &verb.name)?;
    let nbi: Nbi = appliance.client.get(&format!("/api/v1/nbi/{}", segment(&folder)))?;
    tell(&nbi, appliance)
}

/// Prints a set as the options say.
pub fn tell(nbi: &Nbi, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(nbi)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (word, reason) = state(&nbi.summary.state);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    say(format!("{}: {word}{reason}", nbi.summary.folder))?;
    if let Some(facts) = &nbi.summary.facts {
        let mut table = Table::new(["", "IN FORCE", "NBImageInfo.plist"]);
        for (key, of) in ROWS {
            let own = nbi.plist.as_ref().map_or_else(|| "-".to_owned(), of);
            table.row([(*key).to_owned(), of(facts), own]);
        }
        table.print("")?;
    }
    if let Some(path) = &nbi.overrides.root_path {
        say(format!("root path by rootstock.toml: {path}"))?;
    }
    say(format!("root path {}", nbi.root_path.as_deref().unwrap_or("none")))?;
    for file in &nbi.boot_files {
        say(format!("booter    {} ({}, {})", file.path, file.architecture, file.firmware))?;
    }
    let mut table = Table::new(["FILE", "SIZE"]);
    for file in &nbi.files {
        table.row([file.path.clone(), ByteSize(file.size).to_string()]);
    }
    table.print("no files")?;
    Ok(ExitCode::SUCCESS)
}

type Row = (&'static str, fn(&NbiFacts) -> String);

const ROWS: &[Row] = &[
    ("name", |facts| facts.name.clone()),
    ("id", |facts| facts.id.clone()),
    ("kind", |facts| facts.kind.clone()),
    ("type", |facts| facts.r#type.clone()),
    ("default", |facts| yes(facts.default)),
    ("enabled", |facts| yes(facts.enabled)),
    ("models", |facts| list(&facts.models, "every model")),
    ("not models", |facts| list(&facts.disabled_models, "none")),
    ("addresses", |facts| list(&facts.macs, "every address")),
    ("not addresses", |facts| list(&facts.disabled_macs, "none")),
];

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn list(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(" ") }
}
