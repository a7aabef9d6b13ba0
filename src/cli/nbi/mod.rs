//! `rootstock nbi …`: one file a verb; `source` reads what is imported.

mod delete;
mod edit;
mod import;
mod list;
mod show;
mod source;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::connection::{Appliance, Connection, Online};
use crate::api::admin::NbiSummary;
use crate::value::MacAddr;

/// Verbs of `rootstock nbi`.
#[derive(Subcommand)]
pub enum Command {
    /// Take in a NetBoot set: an .nbi folder, or a tar, zip or disk image of one
    #[command(after_help = "\
The set comes whole or not at all, and is offered at once. Its files stay as Apple's tools wrote them: what the options \
say is kept beside them, in rootstock.toml of its folder, and wins.\n\
Exit code: 0 the set is in the boot folder · 1 nothing was added, and why.")]
    Import(Online<import::Import>),
    /// Boot sets: what Macs are offered, and what not and why
    List(Online<list::List>),
    /// One boot set: what its property list says, what the site says instead, its files
    Show(Online<show::Show>),
    /// Change name, index, default, whether it is offered, and to whom; takes effect at once
    #[command(after_help = "NBImageInfo.plist is not written; --reset gives its values back.")]
    Edit(Online<edit::Edit>),
    /// Remove a boot set
    #[command(after_help = "A Mac that is fetching a file of it gets that file to its end.")]
    Delete(Online<delete::Delete>),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb, with the set that it was about.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Import(verb) => verb.run(before, import::run),
            Command::List(verb) => verb.run(before, list::run),
            Command::Show(verb) => verb.run(before, show::run),
            Command::Edit(verb) => verb.run(before, edit::run),
            Command::Delete(verb) => verb.run(before, delete::run),
        }
    }
}

/// The folder that people mean: `Lab.nbi`, `Lab`, or the name in the picker if only one set has it.
fn folder_of(appliance: &Appliance, name: &str) -> anyhow::Result<String> {
    let sets: Vec<NbiSummary> = appliance.client.get("/api/v1/nbi")?;
    let named = |folder: &str| sets.iter().find(|set| set.folder == folder).map(|set| set.folder.clone());
    if let Some(folder) = named(name).or_else(|| named(&format!("{name}.nbi"))) {
        return Ok(folder);
    }
    let shown = |set: &&NbiSummary| set.facts.as_ref().is_some_and(|facts| facts.name == name);
    match sets.iter().filter(shown).collect::<Vec<_>>().as_slice() {
        [set] => Ok(set.folder.clone()),
        [] => bail!("there is no boot set `{name}`; list them: rootstock nbi list"),
        several => {
            let folders: Vec<&str> = several.iter().map(|set| set.folder.as_str()).collect();
            bail!("several boot sets are named `{name}`: {}; give the folder", folders.join(", "))
        }
    }
}

/// Models or addresses as people write them, each its own word or several in quotes; `any` alone is everyone.
fn words(list: &[String]) -> Vec<String> {
    let words: Vec<String> =
        list.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    match words.as_slice() {
        [any] if any.eq_ignore_ascii_case("any") => Vec::new(),
        _ => words,
    }
}

fn macs(list: &[String]) -> anyhow::Result<Vec<MacAddr>> {
    words(list).iter().map(|word| word.parse().with_context(|| format!("`{word}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_words_and_any_is_everyone() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            words(&list(&["iMac14,2 iMac14,1", "Macmini7,1"])),
            ["iMac14,2", "iMac14,1", "Macmini7,1"]
        );
        assert!(words(&list(&["any"])).is_empty());
        assert_eq!(macs(&list(&["0:1:2:3:4:5", "00-1b-63-aa-0f-02"])).unwrap().len(), 2);
        assert!(macs(&list(&["x"])).unwrap_err().to_string().contains("`x`"));
    }
}
