//! `rootstock device import`, `export`: many Macs as CSV.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::api::admin::RosterReport;
use crate::cli::connection::Appliance;
use crate::cli::output::{printable, say, say_json};

/// Longest list that is sent.
const LONGEST: u64 = 64 << 20;
/// Longest report of one.
const LONGEST_REPORT: u64 = 4 << 20;
/// Longest list that is taken.
const LONGEST_ANSWER: u64 = 1 << 30;

/// What stands under the help of `import`.
pub const HELP: &str = "\
The first line names the columns: serial or uuid (one is needed), hostname, known, owner, note, tags and collections (`;` between \
several), var:NAME for a variable, secret:NAME for a secret one. Columns that begin with info: are not read. An empty cell leaves things \
as they are, `-` takes them away. Nothing is changed while a line is wrong; each fault is told with its line.
  serial,hostname,tags,var:Room
  C02FEAS00001,lab-01,lab;b12,B12";

/// `rootstock device import`
#[derive(Args, Debug)]
pub struct Import {
    /// CSV file; `-` reads standard input
    file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// `rootstock device export`
#[derive(Args, Debug)]
pub struct Export {
    /// File to write; standard output when left out
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn import(verb: Import, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut bytes = Vec::new();
    let read = |reader: &mut dyn Read, bytes: &mut Vec<u8>| reader.take(LONGEST + 1).read_to_end(bytes);
    match verb.file == Path::new("-") {
        true => read(&mut std::io::stdin().lock(), &mut bytes).context("reading standard input")?,
        false => {
            let opened = || format!("reading {}", verb.file.display());
            read(&mut fs::File::open(&verb.file).with_context(opened)?, &mut bytes).with_context(opened)?
        }
    };
    anyhow::ensure!(bytes.len() as u64 <= LONGEST, "the list has more than {} MiB: split it", LONGEST >> 20);
    let path = format!("/api/v1/devices/import?dry_run={}", verb.dry_run);
    let answer = appliance.client.post_bytes(&path, &bytes, LONGEST_REPORT)?;
    let report: RosterReport = appliance.client.read_json(&path, &answer)?;
    if appliance.json {
        say_json(&report)?;
    } else {
        for fault in &report.faults {
            let column =
                if fault.column.is_empty() { String::new() } else { format!(", column {}", fault.column) };
            say(format!("line {}{column}: {}", fault.line, printable(&fault.message)))?;
        }
        let RosterReport { lines, created, changed, unchanged, .. } = report;
        match (report.faults.is_empty(), verb.dry_run) {
            (false, _) => say("nothing was changed")?,
            (true, dry) => {
                let would = if dry { "would be " } else { "" };
                say(format!(
                    "{lines} Macs: {created} {would}registered, {changed} {would}changed, {unchanged} as they were"
                ))?;
            }
        }
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn export(verb: Export, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let bytes = appliance.client.download("/api/v1/devices/export", LONGEST_ANSWER)?;
    match verb.output {
        Some(path) => {
            fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
            if appliance.json {
                say_json(&serde_json::json!({ "file": path, "bytes": bytes.len() }))?;
            } else {
                say(format!("{} bytes are in {}", bytes.len(), path.display()))?;
            }
        }
        None => {
            use std::io::Write;
            std::io::stdout().lock().write_all(&bytes).context("writing to standard output")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
