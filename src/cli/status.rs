//! `rootstock status`: whether the appliance is up, and where it listens.

use std::process::ExitCode;

use clap::Args;

use super::connection::{Connection, Online};
use super::output::{say, say_json, span};
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
        say(format!("data     {}", status.data))?;
        say(format!("address  {}", status.address.as_deref().unwrap_or("none that Macs could be told")))?;
        say(format!("CA       SHA-256 {}", status.ca_fingerprint))?;
        for listener in &status.listeners {
            say(format!("{:<8} {}", listener.service, listener.address))?;
        }
        say(format!(
            "{} runs going on, {} clients heard in the last hour",
            status.active_runs, status.clients
        ))?;
        Ok(ExitCode::SUCCESS)
    })
}
