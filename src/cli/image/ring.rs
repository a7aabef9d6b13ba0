//! `rootstock image promote`, `rollback`, `rings`, `note`: which version goes to whom.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::version::ImageName;
use crate::api::admin::{ImageEvent, ImageEventKind, ImageRings, NoteImage, PromoteImage, RollBackImage};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, printable, say, say_json, segment, stamp};
use crate::value::{Pick, Ring};

/// `rootstock image promote`
#[derive(Args, Debug)]
pub struct Promote {
    /// Name of the image, or name@version, or name@ring [default: the version in the ring before]
    image: ImageName,
    /// Ring that shall point to it [default: the next ring]
    #[arg(long, value_name = "RING")]
    to: Option<Ring>,
}

/// `rootstock image rollback`
#[derive(Args, Debug)]
pub struct Rollback {
    /// Name of the image
    name: String,
    /// Ring that goes back to the version it had before
    #[arg(long, default_value = "production")]
    ring: Ring,
}

/// `rootstock image rings`
#[derive(Args, Debug)]
pub struct Rings {
    /// Name of the image
    name: String,
}

/// `rootstock image note`
#[derive(Args, Debug)]
pub struct Note {
    /// Which: name@version, as in lab-mac@3
    #[arg(value_name = "NAME@VERSION")]
    image: ImageName,
    /// The new note; an empty text takes it away
    text: String,
}

/// Promotes.
pub fn promote(verb: Promote, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let version = match verb.image.pick {
        Pick::Usual => None,
        Pick::Version(version) => Some(version),
        Pick::Ring(_) => Some(verb.image.find(appliance)?.1.version),
    };
    let path = format!("/api/v1/images/{}/promote", segment(&verb.image.name));
    let rings = appliance.client.post(&path, &PromoteImage { version, ring: verb.to })?;
    tell(&rings, appliance)
}

/// Rolls back.
pub fn rollback(verb: Rollback, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/images/{}/rollback", segment(&verb.name));
    let rings = appliance.client.post(&path, &RollBackImage { ring: verb.ring })?;
    tell(&rings, appliance)
}

fn tell(rings: &ImageRings, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(rings)?;
    } else {
        say(line(rings))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `lab-mac: draft 3, test 3, production 2`
fn line(rings: &ImageRings) -> String {
    let all = Ring::ALL.map(|ring| format!("{ring} {}", number(rings.rings.get(ring))));
    format!("{}: {}", rings.name, all.join(", "))
}

pub(super) fn number(version: Option<u32>) -> String {
    version.map_or_else(|| "-".to_owned(), |version| version.to_string())
}

/// Shows rings and history.
pub fn rings(verb: Rings, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let rings: ImageRings = appliance.client.get(&format!("/api/v1/images/{}/rings", segment(&verb.name)))?;
    if appliance.json {
        say_json(&rings)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(line(&rings))?;
    say("")?;
    let mut table = Table::new(["WHEN", "WHAT", "RING", "FROM", "TO", "BY", "DETAIL"]);
    for event in &rings.history {
        table.row([
            stamp(event.at_ms),
            what(event.kind).to_owned(),
            event.ring.map_or_else(|| "-".to_owned(), |ring| ring.to_string()),
            number(event.from),
            number(event.to),
            event.by.clone(),
            shortened(event),
        ]);
    }
    table.print("nothing was decided about it yet")?;
    Ok(ExitCode::SUCCESS)
}

fn shortened(event: &ImageEvent) -> String {
    let text: String = printable(&event.detail).chars().take(61).collect();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
}

fn what(kind: ImageEventKind) -> &'static str {
    match kind {
        ImageEventKind::Added => "added",
        ImageEventKind::Promoted => "promoted",
        ImageEventKind::RolledBack => "rolled back",
        ImageEventKind::MovedOn => "moved on",
        ImageEventKind::Deleted => "deleted",
        ImageEventKind::Noted => "noted",
        ImageEventKind::Retention => "retention",
        ImageEventKind::Unknown => "other",
    }
}

/// Changes a note.
pub fn note(verb: Note, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if verb.image.pick == Pick::Usual {
        bail!("say which version: {0}@1, …; rootstock image show {0} lists them", verb.image.name);
    }
    let (name, found) = verb.image.find(appliance)?;
    let path = format!("/api/v1/images/{}/versions/{}/note", segment(&name), found.version);
    let image: crate::api::admin::Image = appliance.client.put(&path, &NoteImage { note: verb.text })?;
    if appliance.json {
        say_json(&image)?;
    } else {
        say(format!("the note of {name}@{} is changed", found.version))?;
    }
    Ok(ExitCode::SUCCESS)
}
