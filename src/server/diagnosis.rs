//! The image doctor at the appliance: looks into an image of the library, and at the Macs that are known.
//!
//! Owns: where the doctor's facts come from. Must not know: what a finding means. An image that cannot be looked into is
//! logged; it has no findings.

use tokio::task::spawn_blocking;

use super::app::App;
use super::http::error::chain;
use super::library::Imported;
use crate::api::admin::{ImageFinding, ImageSeverity, ImageVersion};
use crate::image::doctor::{self, Surroundings};

/// Adds to a new version what the doctor finds, and the macOS in it.
pub async fn add(app: &App, imported: &Imported, version: &mut ImageVersion) {
    let (library, digest) = (app.library.clone(), imported.digest);
    // What was captured never had a checksum of its own.
    let checksums = imported.format.map(|_| imported.checksums);
    let looked = spawn_blocking(move || library.subject(digest, checksums)).await;
    let subject = match looked {
        Ok(Ok(subject)) => subject,
        Ok(Err(error)) => return tracing::error!("image {digest} was not examined: {}", chain(&error)),
        Err(panic) => return tracing::error!("image {digest} was not examined: {panic}"),
    };
    let around = match app.db.macs().await {
        Ok((models, largest_disk)) => Surroundings { models, largest_disk },
        Err(error) => {
            tracing::error!("the known Macs were not looked at: {}", chain(&error));
            Surroundings::default()
        }
    };
    version.system = subject.main().and_then(|main| main.facts.system.clone()).map(Into::into);
    version.findings = doctor::examine(&subject, &around).into_iter().map(ImageFinding::from).collect();
}

/// What people are told at the end of an import: `; not-bootable (error), no-recovery (note)`.
pub fn in_short(findings: &[ImageFinding]) -> String {
    let worth = findings.iter().filter(|finding| finding.severity != ImageSeverity::Note);
    let codes: Vec<String> =
        worth.map(|finding| format!("{} ({})", finding.code, finding.severity)).collect();
    if codes.is_empty() { String::new() } else { format!("; look at it: {}", codes.join(", ")) }
}
