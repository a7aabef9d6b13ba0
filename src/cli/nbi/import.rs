//! `rootstock nbi import`: a set goes to the appliance as a tar stream, wherever the appliance is.

use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::Args;

use super::edit::Values;
use super::show::tell;
use super::source::Set;
use crate::api::admin::{Nbi, NbiOverrides};
use crate::api::runner::Progress;
use crate::cli::connection::Appliance;
use crate::cli::output::segment;
use crate::cli::progress::Meter;

/// `rootstock nbi import`
#[derive(Args, Debug)]
pub struct Import {
    /// The .nbi folder, or a tar (plain, gzip, xz, zstd, bzip2), zip or disk image (.dmg) with one
    #[arg(value_name = "FOLDER|TAR|ZIP|DMG")]
    source: PathBuf,
    /// Name of the set's folder on the appliance, if not that of the source
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
    #[command(flatten)]
    values: Values,
}

/// Imports.
pub fn run(verb: Import, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let Import { source, folder, values } = verb;
    let overrides = values.over(NbiOverrides::default())?;
    let mut set = Set::open(&source)?;
    if let Some(folder) = folder {
        set.folder = if folder.ends_with(".nbi") { folder } else { format!("{folder}.nbi") };
    }
    let path = format!("/api/v1/nbi?{}", query(&set.folder, &overrides));
    let meter = Meter::new(appliance.json);
    let nbi =
        send(set, &path, appliance, meter).with_context(|| format!("importing {}", source.display()))?;
    tell(&nbi, appliance)
}

/// One thread reads the source, the other sends. What stops the reading is told, not that the sending then broke off.
fn send(set: Set, path: &str, appliance: &Appliance, meter: Meter) -> anyhow::Result<Nbi> {
    let (length, label) = (set.length(), format!("sending {}", set.folder));
    let (reader, writer) = io::pipe().context("making a pipe")?;
    let mut metered = Metered { reader, meter, label, done: 0, total: length };
    let (packed, sent) = thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(256 << 10, writer);
            set.write(&mut out)?;
            Ok::<_, anyhow::Error>(out.flush()?)
        });
        let sent = appliance.client.upload::<Nbi>(path, "application/x-tar", length, &mut metered);
        // The writer sees a closed pipe if the sending ended early.
        metered.meter.clear();
        drop(metered);
        (packing.join(), sent)
    });
    match (packed, sent) {
        (_, Ok(nbi)) => Ok(nbi),
        (Ok(Err(error)), _) if !is_closed_pipe(&error) => Err(error),
        (_, Err(error)) => Err(error.into()),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What is sent, with a bar that follows it.
struct Metered<R> {
    reader: R,
    meter: Meter,
    label: String,
    done: u64,
    total: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.done += count as u64;
        let progress = Progress {
            phase: "sending".to_owned(),
            done: self.done,
            total: self.total,
            network: self.done,
            network_rate: 0,
            disk_rate: 0,
            seconds_left: None,
            delta: None,
            limit: None,
        };
        self.meter.show(&self.label, Some(&progress));
        Ok(count)
    }
}

fn query(folder: &str, own: &NbiOverrides) -> String {
    let macs = own.macs.as_ref().map(|macs| macs.iter().map(ToString::to_string).collect::<Vec<_>>());
    let values = [
        ("folder", Some(folder.to_owned())),
        ("name", own.name.clone()),
        ("index", own.index.map(|index| index.to_string())),
        ("default", own.default.map(|flag| flag.to_string())),
        ("enabled", own.enabled.map(|flag| flag.to_string())),
        ("models", own.models.as_ref().map(|models| models.join(" "))),
        ("macs", macs.map(|macs| macs.join(" "))),
        ("root_path", own.root_path.clone()),
    ];
    let pairs = values.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", segment(&value?))));
    pairs.collect::<Vec<_>>().join("&")
}
