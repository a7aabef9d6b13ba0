//! `rootstock receipt …`: what was put on which Mac, signed by its runner and by the appliance.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp};
use crate::api::runner::Receipt;
use crate::api::trust::KeptReceipt;
use crate::image::manifest::ManifestKey;
use crate::value::ByteSize;

/// Longest line of an export that is read.
const LONGEST_LINE: u64 = 1 << 20;

/// Verbs of `rootstock receipt`.
#[derive(Subcommand)]
pub enum Command {
    /// All receipts, one line each
    List(Online<List>),
    /// The receipts of one run, whole
    Show(Online<Show>),
    /// Write receipts as JSON lines, for an archive
    Export(Online<Export>),
    /// Check an export, without an appliance
    #[command(after_help = "\
Each line is checked by itself: the runner's signature, the appliance's countersignature, and, with --key, that this appliance made \
it: a key that it had at any time before leads to all its later ones.\n\
Exit code: 0 every line is what it says · 1 one is not, or the file is empty.")]
    Verify(Verify),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Show(verb) => verb.run(before, show),
            Command::Export(verb) => verb.run(before, export),
            Command::Verify(verb) => verify(&verb),
        }
    }
}

/// `rootstock receipt list`
#[derive(Args, Debug)]
pub struct List {
    /// Of this run only
    #[arg(long, value_name = "RUN")]
    run: Option<i64>,
}

/// `rootstock receipt show`
#[derive(Args, Debug)]
pub struct Show {
    /// Number of the run
    run: i64,
}

/// `rootstock receipt export`
#[derive(Args, Debug)]
pub struct Export {
    /// Of this run only
    #[arg(long, value_name = "RUN")]
    run: Option<i64>,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// `rootstock receipt verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// An export; `-` is standard input
    file: PathBuf,
    /// A key of the appliance that the receipts must come from (rootstock key list)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Every receipt, asked for in parts.
fn each(
    run: Option<i64>,
    appliance: &Appliance,
    mut take: impl FnMut(&KeptReceipt, &Receipt) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut after, only) = ((0, 0), run.map_or(String::new(), |run| format!("run={run}&")));
    loop {
        let path = format!("/api/v1/receipts?{only}after_run={}&after_number={}", after.0, after.1);
        let part: Vec<KeptReceipt> = appliance.client.get(&path)?;
        if part.is_empty() {
            return Ok(());
        }
        for kept in &part {
            let receipt: Receipt =
                serde_json::from_str(&kept.receipt).context("a receipt of the appliance")?;
            take(kept, &receipt)?;
            after = (receipt.run, receipt.number);
        }
    }
}

fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut table = Table::new(["RUN", "ACTION", "MAC", "DISK", "IMAGE", "READ BACK", "KEPT"]);
    each(verb.run, appliance, |kept, receipt| {
        if appliance.json {
            all.push(kept.clone());
        }
        table.row([
            receipt.run.to_string(),
            receipt.number.to_string(),
            receipt.serial.as_ref().map(ToString::to_string).unwrap_or_default(),
            receipt.disk.clone(),
            receipt.manifest.to_string().chars().take(12).collect(),
            receipt.chunks_read_back.to_string(),
            stamp(kept.kept_ms),
        ]);
        Ok(())
    })?;
    if appliance.json {
        say_json(&all)?;
    } else {
        table.print("there are no receipts: nothing was applied yet")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    each(Some(verb.run), appliance, |kept, _| {
        all.push(kept.clone());
        Ok(())
    })?;
    if appliance.json {
        say_json(&all)?;
    } else if all.is_empty() {
        bail!("run {} has no receipt: nothing was applied in it", verb.run);
    }
    for kept in all.iter().filter(|_| !appliance.json) {
        let receipt = kept.check(None).context("a receipt of the appliance")?;
        let serial = receipt
            .serial
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_else(|| "without a serial number".to_owned());
        say(format!("run {}, action {}: Mac {serial}", receipt.run, receipt.number))?;
        say(format!("disk           {} ({})", printable(&receipt.disk), printable(&receipt.node)))?;
        say(format!("image          {}, {}", receipt.manifest, ByteSize(receipt.bytes)))?;
        say(format!(
            "read back      {} chunks, {} written again",
            receipt.chunks_read_back, receipt.rewritten
        ))?;
        say(format!("signed by      {} (runner), {}", kept.public_key, stamp(receipt.at_ms)))?;
        say(format!("countersigned  {} (appliance), {}", kept.countersigned_by, stamp(kept.kept_ms)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn export(verb: Export, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let Some(to) = &verb.to else {
        each(verb.run, appliance, |kept, _| say(serde_json::to_string(kept)?))?;
        return Ok(ExitCode::SUCCESS);
    };
    let named = || to.display().to_string();
    let mut file = File::create_new(to).with_context(named)?;
    let mut count = 0;
    each(verb.run, appliance, |kept, _| {
        count += 1;
        writeln!(file, "{}", serde_json::to_string(kept)?).with_context(named)
    })?;
    file.sync_all().with_context(named)?;
    say(format!("{count} receipts in {}", named()))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(verb: &Verify) -> anyhow::Result<ExitCode> {
    let known: Option<ManifestKey> = verb.key.as_deref().map(str::parse).transpose()?;
    let name = verb.file.display();
    let input: Box<dyn Read> = match verb.file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(&verb.file).with_context(|| format!("opening {name}"))?),
    };
    let mut input = BufReader::new(input);
    let (mut good, mut bad) = (0_u64, 0_u64);
    let mut by = std::collections::BTreeSet::new();
    for number in 1_u64.. {
        let mut line = Vec::new();
        let count = (&mut input)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("reading {name}"))?;
        if count == 0 {
            break;
        }
        let read = serde_json::from_slice::<KeptReceipt>(&line).map_err(anyhow::Error::from);
        match read.and_then(|kept| Ok((kept.check(known)?, kept))) {
            Ok((_, kept)) => {
                good += 1;
                by.insert(kept.countersigned_by);
            }
            Err(error) => {
                bad += 1;
                say(format!("{name}:{number}: {error:#}"))?;
            }
        }
    }
    if bad > 0 {
        bail!("{bad} of {} receipts in {name} are not what they say", good + bad);
    }
    if good == 0 {
        bail!("{name} has no receipt in it");
    }
    say(format!("{good} receipts: signed by their runners, countersigned by the appliance"))?;
    if known.is_none() {
        for key in by {
            say(format!(
                "countersigned with {key}: compare it with `rootstock key list`, or name a key that you know with --key"
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
