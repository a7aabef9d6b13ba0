//! `rootstock store …`: the library's packs and manifests as a whole.
//!
//! Checks through the daemon; without one, a store's folder itself. Must not know: how damage is found.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json};
use super::watch;
use crate::api::admin::{CheckLibrary, CheckReport, Job};
use crate::image::manifest::ManifestKey;
use crate::store::{CheckProgress, Checking, Flaw, Store};

/// Verbs of `rootstock store`.
#[derive(Subcommand)]
pub enum Command {
    /// Read everything in the library, name every damage and the images that it hits, and mend it
    #[command(after_help = "\
Reads every pack, every chunk and every manifest, and compares them with each other and with the versions of the images. Runs beside \
imports, runs and restores.\n\
With --repair: good chunks of bad packs are saved, bad files are moved to quarantine/ in the library's folder and never deleted, lost \
chunks are fetched from the appliance of [library.upstream], and no run starts with a version that stays damaged. Lost chunks also \
come back when their image is imported again.\n\
Exit code: 0 the library is whole, or is now · 1 something is damaged: every finding is printed.")]
    Check(Online<Check>),
    /// Check the folder of a library whose daemon is stopped; changes nothing but with --repair
    #[command(after_help = "\
Which versions the images have is not known here: damage is told by packs and manifests.\n\
Exit code: 0 whole, or mended as far as that is possible here · 1 something is damaged.")]
    CheckFolder(CheckFolder),
}

/// `rootstock store check`
#[derive(Args, Debug)]
pub struct Check {
    /// Also take damage out of the way, save what is good, and fetch what is lost from the upstream appliance
    #[arg(long, conflicts_with = "last")]
    repair: bool,
    /// Show what the last check found, and check nothing
    #[arg(long)]
    last: bool,
}

/// `rootstock store check-folder`
#[derive(Args, Debug)]
pub struct CheckFolder {
    /// Folder of the library: `store` in the data folder of rootstockd
    folder: PathBuf,
    /// File with a key that manifests are checked with; may be given several times, for keys before a rotation
    /// [default: keys/manifest.pub beside the folder]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Also save good chunks of bad packs and move bad files to quarantine/
    #[arg(long)]
    repair: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Check(verb) => verb.run(before, check),
            Command::CheckFolder(verb) => check_folder(&verb),
        }
    }
}

fn check(verb: Check, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let ended = if verb.last {
        Ok(ExitCode::SUCCESS)
    } else {
        let body = CheckLibrary { repair: verb.repair };
        let job: Job = appliance.client.post("/api/v1/library/check", &body)?;
        let ended = watch::job_quietly(job, appliance);
        // Without a report the check itself came to nothing.
        if appliance.client.get::<CheckReport>("/api/v1/library/check").is_err() {
            return ended;
        }
        ended
    };
    let report: CheckReport = appliance.client.get("/api/v1/library/check")?;
    if appliance.json {
        say_json(&report)?;
    } else {
        tell(&report)?;
    }
    ended
}

fn tell(report: &CheckReport) -> anyhow::Result<()> {
    if !report.findings.is_empty() {
        let mut table = Table::new(["KIND", "FINDING", "VERSIONS"]);
        for finding in &report.findings {
            table.row([finding.code.clone(), finding.message.clone(), finding.versions.join(", ")]);
        }
        table.print("")?;
    }
    for line in &report.done {
        say(printable(line))?;
    }
    for version in &report.damaged {
        say(format!("DAMAGED {} {}: {}", version.image, version.version, printable(&version.damage)))?;
    }
    say(format!(
        "{} packs, {} chunks and {} manifests read: {} findings",
        report.packs,
        report.chunks,
        report.manifests,
        report.findings.len()
    ))
}

fn check_folder(verb: &CheckFolder) -> anyhow::Result<ExitCode> {
    let beside = verb.folder.parent().unwrap_or(&verb.folder).join("keys/manifest.pub");
    let paths = if verb.key.is_empty() { vec![beside] } else { verb.key.clone() };
    let mut keys: Vec<ManifestKey> = Vec::new();
    for path in paths {
        let of_file = || format!("the key {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(of_file)?;
        keys.push(text.trim().parse().with_context(of_file)?);
    }
    anyhow::ensure!(verb.folder.join("packs").is_dir(), "{} is no library", verb.folder.display());
    let store = Store::open(&verb.folder)
        .context("while rootstockd runs, use rootstock store check; else run this as root or as its user")?;
    let progress = CheckProgress::default();
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    let checking = Checking { keys: &keys, wanted: None, workers, progress: &progress };
    let checked = store.check(&checking)?;
    let findings: Vec<_> = checked
        .flaws
        .iter()
        .map(|flaw| serde_json::json!({ "code": flaw.code(), "message": flaw.to_string() }))
        .collect();
    if verb.json {
        say_json(&findings)?;
    } else {
        let mut table = Table::new(["KIND", "FINDING"]);
        checked.flaws.iter().for_each(|flaw| table.row([flaw.code().to_owned(), flaw.to_string()]));
        table.print(&format!(
            "the library is whole: {} packs, {} chunks and {} manifests read",
            checked.packs, checked.chunks, checked.manifests
        ))?;
    }
    let mut left = checked.flaws;
    if verb.repair && !left.is_empty() {
        let repaired = store.repair(&left)?;
        repaired.quarantined.iter().for_each(|path| eprintln!("moved to {}", path.display()));
        repaired.failed.iter().for_each(|line| eprintln!("not done: {line}"));
        left = store.check(&checking)?.flaws;
        for flaw in &left {
            eprintln!("still there: {}: {flaw}{}", flaw.code(), advice(flaw));
        }
    }
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn advice(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::Incomplete { .. } => "; start rootstockd and import the image again, or fetch it from upstream",
        _ => "",
    }
}
