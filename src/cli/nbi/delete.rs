//! `rootstock nbi delete`: a boot set goes.

use std::process::ExitCode;

use clap::Args;

use super::folder_of;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json, segment};

/// `rootstock nbi delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Its folder, NetInstall.nbi or NetInstall, or its name in the picker
    name: String,
}

/// Deletes.
pub fn run(verb: Delete, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let folder = folder_of(appliance, &verb.name)?;
    appliance.client.delete(&format!("/api/v1/nbi/{}", segment(&folder)))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": folder }))?;
    } else {
        say(format!("{folder} is deleted"))?;
    }
    Ok(ExitCode::SUCCESS)
}
