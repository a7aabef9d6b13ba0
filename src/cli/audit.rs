//! `rootstock audit …`: who did what.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, say, say_json, segment, stamp};
use crate::api::admin::{AuditEntry, AuditVerdict, Chain};

/// Longest line of an export: what was changed is told in short.
const LONGEST_LINE: u64 = 1 << 20;

/// Verbs of `rootstock audit`.
#[derive(Subcommand)]
pub enum Command {
    /// Who did what, newest first
    List(Online<List>),
    /// Look at the whole chain: whether a line is missing or was changed
    #[command(after_help = "\
The last number and hash are printed: note them elsewhere (the log of the daemon has them every day). With --known a log that was cut off \
or written anew since then is found, too.\n\
Exit code: 0 every line is as it was written · 1 one is not, and which.")]
    Verify(Online<Verify>),
    /// The whole log as JSON lines, to be kept elsewhere
    #[command(
        after_help = "  rootstock audit export --to audit.jsonl && rootstock audit verify --file audit.jsonl"
    )]
    Export(Online<Export>),
}

/// `rootstock audit list`
#[derive(Args, Debug)]
pub struct List {
    /// Whose: the beginning of their name
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// What was done: the beginning of it, `image.` or `run.start`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// To what: a part of its name, `image lab`
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// Only entries before this number: the next page
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    before: i64,
    /// At most this many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// `rootstock audit verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// An entry that was noted before, NUMBER:HASH
    #[arg(long, value_name = "NUMBER:HASH")]
    known: Option<String>,
    /// An export instead of the appliance's own log; needs no appliance
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// `rootstock audit export`
#[derive(Args, Debug)]
pub struct Export {
    /// File to write; standard output without it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Only entries with a greater number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Verify(verb) => verb.run(before, verify),
            Command::Export(verb) => verb.run(before, export),
        }
    }
}

fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/audit?limit={}&before={}", verb.limit, verb.before);
    for (key, text) in [("who", &verb.who), ("action", &verb.action), ("object", &verb.object)] {
        if let Some(text) = text {
            path.push_str(&format!("&{key}={}", segment(text)));
        }
    }
    let entries: Vec<AuditEntry> = appliance.client.get(&path)?;
    if appliance.json {
        say_json(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NO", "WHEN", "WHO", "FROM", "ACTION", "OBJECT", "BEFORE", "AFTER"]);
    for entry in entries {
        let told = |value: Option<serde_json::Value>| value.map_or(String::new(), |value| value.to_string());
        table.row([
            entry.number.to_string(),
            stamp(entry.at_ms),
            entry.who,
            entry.from.unwrap_or_default(),
            entry.action,
            entry.object,
            told(entry.before),
            told(entry.after),
        ]);
    }
    table.print("nothing was done yet")?;
    Ok(ExitCode::SUCCESS)
}

fn verify(verb: Verify, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let known = verb.known.as_deref().map(known).transpose()?;
    let verdict = match &verb.file {
        Some(file) => {
            let opened = File::open(file).with_context(|| format!("reading {}", file.display()))?;
            verify_export(BufReader::new(opened), known)?
        }
        None => {
            let noted = known.map_or(String::new(), |(number, hash)| format!("?number={number}&hash={hash}"));
            appliance.client.get(&format!("/api/v1/audit/verify{noted}"))?
        }
    };
    if appliance.json {
        say_json(&verdict)?;
    } else {
        match &verdict.broken {
            None => say(format!(
                "{} entries, every one as it was written; the last is {}:{}",
                verdict.entries, verdict.entries, verdict.hash
            ))?,
            Some(broken) => say(format!("after {} good entries: {broken}", verdict.entries))?,
        }
    }
    Ok(if verdict.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn known(text: &str) -> anyhow::Result<(i64, String)> {
    let parts = text.split_once(':').and_then(|(number, hash)| Some((number.parse().ok()?, hash)));
    match parts {
        Some((number, hash)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok((number, hash.to_ascii_lowercase()))
        }
        _ => bail!("--known is NUMBER:HASH, as rootstock audit verify prints it"),
    }
}

fn verify_export(lines: impl BufRead, known: Option<(i64, String)>) -> anyhow::Result<AuditVerdict> {
    let mut chain = Chain::new();
    if let Some((number, hash)) = known {
        chain = chain.known(number, hash);
    }
    let (mut lines, mut line) = (lines, String::new());
    let (mut entries, mut hash) = (0, String::new());
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_LINE).read_line(&mut line).context("reading the export")?;
        ensure!(read as u64 != LONGEST_LINE, "line {} is longer than any entry", entries + 1);
        if read == 0 {
            break;
        }
        let entry: AuditEntry =
            serde_json::from_str(&line).with_context(|| format!("line {} is no entry", entries + 1))?;
        if let Err(broken) = chain.follow(&entry) {
            return Ok(AuditVerdict { entries, hash, broken: Some(broken.to_string()) });
        }
        (entries, hash) = (entry.number, entry.hash);
    }
    Ok(AuditVerdict { entries, hash, broken: chain.end().err().map(|broken| broken.to_string()) })
}

fn export(verb: Export, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/audit/export?after={}", verb.after);
    let write = |mut to: Box<dyn Write>| -> anyhow::Result<()> {
        appliance.client.stream(&path, &mut |bytes| to.write_all(bytes))??;
        Ok(to.flush()?)
    };
    match &verb.to {
        None => write(Box::new(io::stdout().lock()))?,
        Some(file) => {
            let made = File::create(file).with_context(|| format!("writing {}", file.display()))?;
            write(Box::new(io::BufWriter::new(made)))
                .with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
