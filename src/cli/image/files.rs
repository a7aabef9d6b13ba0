//! `rootstock image files`: what lies on the appliance's own disk, ready to be imported.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::api::admin::FolderListing;
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say, say_json, segment, stamp};
use crate::value::ByteSize;

/// `rootstock image files`
#[derive(Args, Debug)]
pub struct Files {
    /// Folder on the appliance; without it, the folders of its setting library.import-folders
    folder: Option<PathBuf>,
}

/// Lists.
pub fn run(verb: Files, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut path = "/api/v1/library/folder".to_owned();
    if let Some(folder) = &verb.folder {
        let folder = folder.to_str().with_context(|| format!("{} is not UTF-8", folder.display()))?;
        path = format!("{path}?path={}", segment(folder));
    }
    let listing: FolderListing = appliance.client.get(&path)?;
    if appliance.json {
        say_json(&listing)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["PATH", "SIZE", "CHANGED", "FORMAT"]);
    for entry in &listing.entries {
        let format = match (&entry.format, &entry.problem) {
            (Some(format), _) => format.clone(),
            (None, Some(problem)) => format!("no: {problem}"),
            (None, None) if entry.folder => "folder".to_owned(),
            (None, None) => "no file".to_owned(),
        };
        let size = if entry.folder { String::new() } else { ByteSize(entry.size).to_string() };
        table.row([entry.path.clone(), size, stamp(entry.modified_ms), format]);
    }
    table.print(match listing.path {
        Some(_) => "the folder is empty",
        None => "no folder is open for imports over the network: set library.import-folders on the appliance",
    })?;
    if listing.cut_off {
        say("…and more")?;
    }
    Ok(ExitCode::SUCCESS)
}
