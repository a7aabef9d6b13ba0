//! The page that selects a destination, for both of its ends: which partitions the Mac has, which of them can take the image, and
//! what was chosen.
//!
//! Must not know: who chooses.

use tokio::task::spawn_blocking;

use super::error::Refusal;
use crate::api::runner::{ChooseDestination, RunQuestion};
use crate::sequence::run::{Chosen, OutOfOrder};
use crate::server::app::App;
use crate::server::runs::{RunError, Wanted};
use crate::value::ByteSize;

/// Fills in what the Mac has and what the image needs, where a question asks for a destination.
pub async fn complete(app: &App, run: i64, question: &mut RunQuestion) -> Result<(), Refusal> {
    let Some(asked) = &mut question.destination else { return Ok(()) };
    let Some((wanted, places)) = app.runs.wants_place(run).await? else { return Ok(()) };
    asked.disks = places.disks;
    asked.needs = match (wanted, places.needs) {
        (Some(wanted), Some((known, bytes))) if wanted == known => bytes,
        (Some(wanted), _) => {
            let bytes = size(app, wanted).await;
            app.runs.needs(run, wanted, bytes).await?;
            bytes
        }
        (None, _) => 0,
    };
    let needs = asked.needs;
    for disk in asked.disks.iter_mut().filter(|disk| disk.why_not.is_empty()) {
        for partition in disk.partitions.iter_mut().filter(|one| one.why_not.is_empty() && one.size < needs) {
            partition.why_not = format!(
                "too small: it has {}, the image needs {}",
                ByteSize(partition.size),
                ByteSize(needs)
            );
        }
    }
    Ok(())
}

/// Bytes of what is put there; 0 where the manifest cannot be read: applying it says why.
async fn size(app: &App, (manifest, partition): Wanted) -> u64 {
    let library = app.library.clone();
    let read = spawn_blocking(move || {
        let (_, manifest) = library.manifest(manifest).ok()?;
        let region = partition.map_or_else(|| manifest.main(), |number| manifest.partition(number));
        region.map(|region| region.size)
    });
    read.await.ok().flatten().unwrap_or(0)
}

/// Takes in what a person chose, when it is there and can take the image.
pub async fn choose(app: &App, run: i64, by: &str, said: ChooseDestination) -> Result<(), Refusal> {
    let question = app.runs.asks(run).await?;
    let mut question = question.unwrap_or_default();
    complete(app, run, &mut question).await?;
    let not_asked = || {
        let error = RunError::OutOfOrder(OutOfOrder::NoDestinationAsked(said.step));
        Refusal::conflict(error.to_string(), format!("see what it asks: rootstock run show {run}"))
    };
    let asked = question.destination.filter(|asked| asked.step == said.step).ok_or_else(not_asked)?;
    let see = format!("see what it has: rootstock run show {run}");
    let named = format!("partition {} of disk {}", said.partition, said.disk);
    if asked.disks.is_empty() {
        return Err(Refusal::conflict(
            format!("the Mac of run {run} has not said yet which partitions it has"),
            "try again when it has asked the appliance; it does so every few seconds",
        ));
    }
    let Some((disk, partition)) = asked.find(said.disk, said.partition) else {
        return Err(Refusal::wrong(format!("the Mac has no {named}"), see));
    };
    let why_not = [&disk.why_not, &partition.why_not].into_iter().find(|why| !why.is_empty());
    if let Some(why) = why_not {
        return Err(Refusal::wrong(format!("{named} cannot take {}: {why}", asked.image), see));
    }
    let chosen = Chosen {
        disk: said.disk,
        partition: said.partition,
        serial: disk.serial.clone(),
        size: partition.size,
        described: format!(
            "{named} ({}, {}) on {}",
            partition.contents,
            ByteSize(partition.size),
            disk.model
        ),
    };
    app.runs.choose(run, by, said.step, chosen).await.map_err(|error| match error {
        RunError::OutOfOrder(_) => not_asked(),
        other => other.into(),
    })
}
