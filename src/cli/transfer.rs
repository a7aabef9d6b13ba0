//! `rootstock transfer …`: TFTP transfers that run now.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, say, say_json, stamp};
use crate::api::admin::Transfer;
use crate::value::ByteSize;

/// Verbs of `rootstock transfer`.
#[derive(Subcommand)]
pub enum Command {
    /// TFTP transfers that run, longest first
    List(Online<List>),
    /// Stop a transfer; its client gets an error and may ask again
    Stop(Online<Stop>),
}

/// `rootstock transfer list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock transfer stop`
#[derive(Args, Debug)]
pub struct Stop {
    /// Number of the transfer
    transfer: i64,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Stop(verb) => verb.run(before, stop),
        }
    }
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let transfers: Vec<Transfer> = appliance.client.get("/api/v1/transfers")?;
    if appliance.json {
        say_json(&transfers)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        "TRANSFER",
        "CLIENT",
        "MAC",
        "FILE",
        "ARRIVED",
        "BLOCK",
        "WINDOW",
        "SENT AGAIN",
        "SINCE",
    ]);
    for transfer in &transfers {
        table.row([
            transfer.id.to_string(),
            transfer.client.clone(),
            transfer.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            transfer.file.clone(),
            progress(transfer),
            transfer.block_size.to_string(),
            transfer.window.to_string(),
            transfer.retransmissions.to_string(),
            stamp(transfer.since_ms),
        ]);
    }
    table.print("no TFTP transfer runs; what ended is in the timeline: rootstock client show MAC")?;
    Ok(ExitCode::SUCCESS)
}

fn stop(verb: Stop, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let transfer: Transfer = appliance.client.remove(&format!("/api/v1/transfers/{}", verb.transfer))?;
    if appliance.json {
        say_json(&transfer)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format!(
        "stopped transfer {} of {} with {}: {} had arrived",
        transfer.id,
        transfer.file,
        transfer.client,
        progress(&transfer)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// `3.0 MB of 12.0 MB (25 %)`
fn progress(transfer: &Transfer) -> String {
    let arrived = ByteSize(transfer.acknowledged);
    match transfer.size {
        Some(size) if size > 0 => {
            format!(
                "{arrived} of {} ({} %)",
                ByteSize(size),
                transfer.acknowledged.saturating_mul(100) / size
            )
        }
        _ => arrived.to_string(),
    }
}
