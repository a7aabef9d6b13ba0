//! `rootstock image import`: an image file becomes a version of an image in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::password::Password;
use crate::api::admin::{ImportImage, Job};
use crate::cli::connection::Appliance;
use crate::cli::watch;
use crate::input;

/// `rootstock image import`
#[derive(Args, Debug)]
pub struct Import {
    /// Image: .dmg, .sparseimage, .sparsebundle, partclone or raw, compressed or split; with --server, its absolute path on
    /// the appliance, in a folder of its setting library.import-folders
    file: PathBuf,
    /// Name of the image; one that exists gets a new version
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What people shall read about the version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    password: Password,
}

/// Imports and waits for the end.
pub fn run(verb: Import, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let path = if appliance.local {
        verb.file.canonicalize().with_context(|| format!("opening {}", verb.file.display()))?
    } else if verb.file.is_absolute() {
        verb.file
    } else {
        bail!(
            "{} must be an absolute path: the appliance reads the file from its own disk",
            verb.file.display()
        );
    };
    let mut password = verb.password.given(&path)?;
    // What cannot be opened here, the appliance may open; and what is wrong with it, it says.
    let wants = || input::open(&path, None, None).is_err_and(|error| error.wants_password());
    if password.is_none() && appliance.local && verb.password.may_ask() && wants() {
        password = Some(verb.password.ask(&path)?);
    }
    let Some(path) = path.to_str().map(str::to_owned) else {
        bail!("{} is not UTF-8: rename the file", path.display());
    };
    let body = ImportImage { name: verb.name, path, note: verb.note, password };
    let job: Job = appliance.client.post("/api/v1/images", &body)?;
    watch::job(job, appliance)
}
