//! `rootstock status`: whether the appliance is up, and where it listens.

use std::process::ExitCode;

use clap::Args;

use super::connection::{Connection, Online};
use super::output::{Table, say, say_json, span};
use crate::api::admin::Status;

/// `rootstock status`
#[derive(Args, Debug)]
pub struct Show {}

/// Prints how the appliance stands.
///
/// # Errors
/// When it does not answer.
pub fn status(verb: Online<Show>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, |_, appliance| {
        let status: Status = appliance.client.get("/api/v1/status")?;
        if appliance.json {
            say_json(&status)?;
            return Ok(ExitCode::SUCCESS);
        }
        say(format!("{}: rootstockd {}, up for {}", status.appliance, status.version, span(status.uptime)))?;
        let address = status.address.as_deref().unwrap_or("none that Macs could be told").to_owned();
        let mut table = Table::new(["data".to_owned(), status.data.clone()]);
        table.row(["address".to_owned(), address]);
        table.row(["CA".to_owned(), format!("SHA-256 {}", status.ca_fingerprint)]);
        for listener in &status.listeners {
            table.row([listener.service.clone(), listener.address.clone()]);
        }
        table.print("")?;
        say(format!(
            "{} runs going on, {} clients heard in the last hour",
            status.active_runs, status.clients
        ))?;
        Ok(ExitCode::SUCCESS)
    })
}
