//! `rootstock model`: what a Mac is, and how it can be imaged. Needs no appliance.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::output::{Table, say, say_json};
use crate::value::model::{self, Imaging, Model};

/// `rootstock model`
#[derive(Args, Debug)]
pub struct Show {
    /// Model identifier (MacBookPro15,1), or words of its name (mini late 2014)
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    model: Vec<String>,
    /// Every model that is known
    #[arg(long)]
    all: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A model with what follows from it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    model: &'a Model,
    imaging: Imaging,
    steps: &'static [&'static str],
}

impl<'a> From<&'a Model> for Shown<'a> {
    fn from(model: &'a Model) -> Shown<'a> {
        let imaging = model.imaging();
        Shown { model, imaging, steps: imaging.steps() }
    }
}

/// Prints one model, or those that the words fit.
///
/// # Errors
/// When no model is meant.
pub fn model(verb: Show) -> anyhow::Result<ExitCode> {
    let words = verb.model.join(" ");
    let found: Vec<&Model> = match (verb.all, model::by_identifier(&words)) {
        (true, _) => model::all().iter().collect(),
        (false, Some(model)) => vec![model],
        (false, None) => model::search(&words).collect(),
    };
    if found.is_empty() {
        bail!(
            "no Mac `{words}` is known; nothing is guessed from the look of a name. `rootstock model --all` lists those that are; \
             on the Mac: Apple menu > About This Mac > More Info > System Report, Model Identifier"
        );
    }
    match found.as_slice() {
        _ if verb.json => say_json(&found.into_iter().map(Shown::from).collect::<Vec<_>>())?,
        [one] => show(one)?,
        several => list(several)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(models: &[&Model]) -> anyhow::Result<()> {
    let mut table = Table::new(["MODEL", "NAME", "FIRMWARE", "HOW TO IMAGE"]);
    for model in models {
        table.row([
            model.identifier.to_owned(),
            model.name.to_owned(),
            format!("{}{}", model.firmware.in_words(), if model.unconfirmed.is_some() { " (?)" } else { "" }),
            model.imaging().in_words().to_owned(),
        ]);
    }
    table.print("")?;
    if models.iter().any(|model| model.unconfirmed.is_some()) {
        say("(?) not confirmed by a document or report; `rootstock model MODEL` tells what")?;
    }
    Ok(())
}

fn show(model: &Model) -> anyhow::Result<()> {
    let (first, last) = model.years;
    let years = if first == last { first.to_string() } else { format!("{first}-{last}") };
    say(format!("{}: {}", model.identifier, model.name))?;
    let newest = model.newest_macos.unwrap_or("current");
    for (name, value) in [
        ("came out", years.as_str()),
        ("firmware", model.firmware.in_words()),
        ("processor", if model.processor_bits == 32 { "32 bits" } else { "64 bits" }),
        ("guarded by", model.guard.in_words()),
        ("last macOS", newest),
        ("source", model.source),
        ("unconfirmed", model.unconfirmed.unwrap_or("nothing")),
        ("to image", model.imaging().in_words()),
    ] {
        say(format!("  {name:<12} {value}"))?;
    }
    for (number, step) in (1..).zip(model.imaging().steps()) {
        say(format!("  {number:>12}. {step}"))?;
    }
    Ok(())
}
