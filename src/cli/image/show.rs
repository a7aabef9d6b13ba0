//! `rootstock image show`: one image, every version.

use std::process::ExitCode;

use clap::Args;

use crate::api::admin::{Image, ImageFinding, ImagePartition, ImageVersion};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, printable, say, say_json, segment, stamp};
use crate::value::ByteSize;

/// `rootstock image show`
#[derive(Args, Debug)]
pub struct Show {
    /// Name of the image
    name: String,
}

/// Shows.
pub fn run(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let image: Image = appliance.client.get(&format!("/api/v1/images/{}", segment(&verb.name)))?;
    if appliance.json {
        say_json(&image)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (place, version) in image.versions.iter().enumerate() {
        if place > 0 {
            say("")?;
        }
        print(&image.name, version)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(name: &str, version: &ImageVersion) -> anyhow::Result<()> {
    say(format!(
        "{name}@{}: {}, imported {}",
        version.version,
        ByteSize(version.size),
        stamp(version.imported_ms)
    ))?;
    let sums = match version.had_checksums {
        Some(true) => ", its checksums were right",
        Some(false) => ", it had no checksums",
        None => "",
    };
    say(format!("from      {} ({}{sums})", version.source, version.format))?;
    for (what, text) in [("by        ", &version.uploader), ("note      ", &version.note)] {
        if !text.is_empty() {
            say(format!("{what}{}", printable(text)))?;
        }
    }
    say(format!("SHA-256   {}", version.sha256))?;
    say(format!("manifest  {}", version.manifest))?;
    say(format!("chunks    {}, {} added to the library", version.chunks, ByteSize(version.added)))?;
    if let Some(system) = &version.system {
        say(format!("holds     {}", printable(&system.to_string())))?;
    }
    if !version.uploader.is_empty() {
        say(format!("by        {}", printable(&version.uploader)))?;
    }
    if !version.rings.is_empty() {
        let rings: Vec<String> = version.rings.iter().map(ToString::to_string).collect();
        say(format!("rings     {}", rings.join(", ")))?;
    }
    for (place, line) in version.note.lines().enumerate() {
        say(format!("{} {}", if place == 0 { "note     " } else { "         " }, printable(line)))?;
    }
    if !version.damage.is_empty() {
        say(format!(
            "DAMAGED   {}; no run starts with it: import it again, then rootstock store check",
            version.damage
        ))?;
    }
    for user in &version.used_by {
        say(format!("needed by {user}"))?;
    }
    let mut table = Table::new(["PARTITION", "TYPE", "NAME", "SIZE", "VOLUME", ""]);
    for partition in &version.partitions {
        table.row([
            partition.number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            partition.r#type.clone(),
            partition.name.clone(),
            ByteSize(partition.size).to_string(),
            volume(partition),
            if partition.main { "main" } else { "" }.to_owned(),
        ]);
    }
    table.print("no partitions")?;
    findings(&version.findings)
}

/// What the image doctor found, one after the other.
pub(super) fn findings(findings: &[ImageFinding]) -> anyhow::Result<()> {
    for finding in findings {
        say(format!("{:<9} {}: {}", finding.severity, finding.code, printable(&finding.message)))?;
        if !finding.next_step.is_empty() {
            say(format!("{:<9} -> {}", "", printable(&finding.next_step)))?;
        }
    }
    Ok(())
}

fn volume(partition: &ImagePartition) -> String {
    let Some(volume) = &partition.volume else { return String::new() };
    let label = volume.label.as_deref().map(|label| format!(" `{label}`")).unwrap_or_default();
    let used = volume.used.map(|used| format!(", {} used", ByteSize(used))).unwrap_or_default();
    format!("{}{label}{used}", volume.kind)
}
