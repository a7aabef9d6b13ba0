//! `rootstock image delete`: one version of an image goes.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::version::ImageName;
use crate::api::admin::Library;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json, segment};
use crate::value::{ByteSize, Pick};

/// `rootstock image delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Which: name@version, as in lab-mac@3
    #[arg(value_name = "NAME@VERSION")]
    image: ImageName,
}

/// Deletes.
pub fn run(verb: Delete, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let ImageName { name, pick: Pick::Version(version) } = verb.image else {
        bail!("say which version: {0}@1, …; rootstock image show {0} lists them", verb.image.name);
    };
    appliance.client.delete(&format!("/api/v1/images/{}/versions/{version}", segment(&name)))?;
    let library: Library = appliance.client.get("/api/v1/library")?;
    if appliance.json {
        say_json(
            &serde_json::json!({ "deleted": format!("{name}@{version}"), "reclaimable": library.reclaimable }),
        )?;
    } else {
        let room = match library.reclaimable {
            0 => String::new(),
            bytes => format!("; rootstock image collect gives {} back to the disk", ByteSize(bytes)),
        };
        say(format!("{name}@{version} is deleted{room}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
