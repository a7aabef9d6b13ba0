//! `rootstock image collect`: room that deleted images took is given back to the disk.

use std::process::ExitCode;

use clap::Args;

use crate::api::admin::Job;
use crate::cli::connection::Appliance;
use crate::cli::watch;

/// `rootstock image collect`
#[derive(Args, Debug)]
pub struct Collect {}

/// Collects and waits for the end.
pub fn run(_: Collect, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let job: Job = appliance.client.post("/api/v1/library/collect", &serde_json::json!({}))?;
    watch::job(job, appliance)
}
