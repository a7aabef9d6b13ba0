//! `rootstock image list`: the library.

use std::process::ExitCode;

use clap::Args;

use super::ring::number;
use crate::api::admin::ImageSummary;
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say_json, stamp};
use crate::value::ByteSize;

/// `rootstock image list`
#[derive(Args, Debug)]
pub struct List {}

/// Lists.
pub fn run(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let images: Vec<ImageSummary> = appliance.client.get("/api/v1/images")?;
    if appliance.json {
        say_json(&images)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(["NAME", "NEWEST", "VERSIONS", "DRAFT", "TEST", "PRODUCTION", "SIZE", "IMPORTED"]);
    for image in &images {
        table.row([
            image.name.clone(),
            image.version.to_string(),
            image.versions.to_string(),
            number(image.rings.draft),
            number(image.rings.test),
            number(image.rings.production),
            ByteSize(image.size).to_string(),
            stamp(image.imported_ms),
        ]);
    }
    table.print("the library is empty: rootstock image import FILE --name NAME")?;
    Ok(ExitCode::SUCCESS)
}
