//! `rootstock upload …`: image files on their way into the library.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::image::{Password, follow_upload};
use super::output::{Table, say, say_json, segment, stamp};
use crate::api::admin::{ImportUpload, Job, Upload, UploadState};
use crate::value::ByteSize;

/// Verbs of `rootstock upload`.
#[derive(Subcommand)]
pub enum Command {
    /// All uploads: how far they are, what came of them, when they expire
    List(Online<List>),
    /// Import an upload that failed or waits, with a password if it needs one
    Import(Online<Import>),
    /// Remove an upload and its bytes
    Cancel(Online<Cancel>),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Import(verb) => verb.run(before, import),
            Command::Cancel(verb) => verb.run(before, cancel),
        }
    }
}

/// `rootstock upload list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock upload import`
#[derive(Args, Debug)]
pub struct Import {
    /// Id of the upload
    id: String,
    /// Take it in under this name instead of the one it was sent with
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    password: Password,
}

/// `rootstock upload cancel`
#[derive(Args, Debug)]
pub struct Cancel {
    /// Id of the upload
    id: String,
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let uploads: Vec<Upload> = appliance.client.get("/api/v1/uploads")?;
    if appliance.json {
        say_json(&uploads)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ID", "IMAGE", "FILE", "ARRIVED", "SIZE", "STATE", "BY", "EXPIRES"]);
    for upload in &uploads {
        table.row([
            upload.id.clone(),
            upload.name.clone(),
            upload.file.clone(),
            ByteSize(upload.offset).to_string(),
            ByteSize(upload.size).to_string(),
            state(&upload.state),
            upload.uploader.clone(),
            upload.expires_ms.map(stamp).unwrap_or_default(),
        ]);
    }
    table.print("there are no uploads: rootstock image upload FILE --name NAME")?;
    for upload in &uploads {
        if let UploadState::Failed { error, next_step } = &upload.state {
            say(format!("{}: {error}; {next_step}", upload.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(state: &UploadState) -> String {
    match state {
        UploadState::Receiving { active: true } => "arriving".to_owned(),
        UploadState::Receiving { active: false } => "interrupted".to_owned(),
        UploadState::Received => "waits for its import".to_owned(),
        UploadState::Importing { job } => format!("job {job} imports it"),
        UploadState::Failed { .. } => "failed".to_owned(),
        UploadState::Done { version } => format!("version {version}"),
        UploadState::Unknown => "unknown".to_owned(),
    }
}

fn import(verb: Import, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let password = verb.password.given(Path::new(&verb.id))?;
    let path = format!("/api/v1/uploads/{}", segment(&verb.id));
    let body = ImportUpload { name: verb.name, password };
    let _: Job = appliance.client.post(&format!("{path}/import"), &body)?;
    follow_upload(&path, appliance)
}

fn cancel(verb: Cancel, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&format!("/api/v1/uploads/{}", segment(&verb.id)))?;
    if !appliance.json {
        say(format!("upload {} is gone", verb.id))?;
    }
    Ok(ExitCode::SUCCESS)
}
