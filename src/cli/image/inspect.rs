//! `rootstock image inspect FILE`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::file::{Image, Output, nameless};
use super::password::Password;
use super::show;
use crate::api::admin::{ImageFinding, ImageSystem};
use crate::cli::output::printable;
use crate::image::doctor::{self, Place, Subject, Surroundings};
use crate::image::partition;
use crate::image::source::{Checksums, DecodeError, Source, SourceError};
use crate::image::volume::{self, Kind, Startup};
use crate::value::ByteSize;

/// The arguments of `inspect`.
#[derive(Args)]
pub struct Inspect {
    /// The image: .dmg, .sparseimage, .sparsebundle, partclone or raw, compressed or split; recognised by its content
    file: PathBuf,
    #[command(flatten)]
    password: Password,
    /// Print one JSON object; sizes and starts are in bytes
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    /// `udif`, `sparseimage`, `sparsebundle`, `sparsebundle.tar`, `raw`, `partclone`, and the last two with `.gz`, `.xz`,
    /// `.zst`, `.bz2`.
    format: String,
    /// The files of one that was split, in order; else empty.
    parts: Vec<String>,
    codecs: Vec<&'static str>,
    /// Whether the image file is encrypted. A FileVault volume in it is a warning.
    encrypted: bool,
    virtual_size: u64,
    /// `gpt`, `apm`, `mbr`, `none`.
    partition_scheme: String,
    partitions: Vec<Partition>,
    checksums: Sums,
    minimum_target_size: u64,
    /// The macOS on the main volume.
    system: Option<ImageSystem>,
    /// What the image doctor finds, the worst first.
    findings: Vec<ImageFinding>,
    /// What is odd about the file itself.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Partition {
    number: u32,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    start: u64,
    size: u64,
    /// None where no known file system is.
    volume: Option<Volume>,
}

#[derive(Serialize)]
struct Volume {
    kind: String,
    label: Option<String>,
    size: u64,
    used: Option<u64>,
    block_size: Option<u32>,
    /// From the start of the volume to the end of its last block in use; none where the map of blocks is not believed.
    needed: Option<u64>,
    case_sensitive: Option<bool>,
    /// Files and folders.
    files: Option<u64>,
    /// Whether a Mac starts from it; none where that cannot be told.
    startup: Option<bool>,
    /// Why it is not in its last state.
    unclean: Option<String>,
    system: Option<ImageSystem>,
    /// Volumes of an APFS container.
    volumes: Vec<ApfsVolume>,
}

#[derive(Serialize)]
struct ApfsVolume {
    name: String,
    role: Option<&'static str>,
    used: u64,
    encrypted: bool,
    sealed: bool,
    case_sensitive: bool,
    snapshots: u64,
    files: u64,
}

#[derive(Serialize)]
struct Sums {
    present: bool,
    /// No checksum that is present is wrong.
    ok: bool,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let of_file = || self.file.display().to_string();
        let (mut report, wrong) = look(&self.file, &self.password).with_context(of_file)?;
        if self.password.is_given() && !report.encrypted {
            report.warnings.push("the image is not encrypted: the password was not used".to_owned());
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print(&self.file, &report)?;
        }
        match wrong {
            None => Ok(ExitCode::SUCCESS),
            Some(error) => Err(error).with_context(of_file),
        }
    }
}

/// Reads everything. A wrong checksum comes beside the report: the rest of it is what helps to understand why.
fn look(path: &Path, password: &Password) -> anyhow::Result<(Report, Option<SourceError>)> {
    let mut image = Image::open(path, password)?;
    let format = image.source.format().to_string();
    let codecs = image.source.codecs();
    let parts: Vec<String> = image.parts.iter().map(|part| part.display().to_string()).collect();
    let warnings = image.source.warnings().to_vec();
    let encrypted = image.source.is_encrypted();
    let streamed = image.source.size().is_none();
    let mut wrong = None;
    let (checksums, mut reader) = if streamed {
        let mut output = Output::Sparse(nameless()?);
        let decoded = image.decode_into(&mut output).map_err(reading)?;
        let spooled = output.finish(decoded.size).context("writing a temporary file")?;
        (decoded.checksums, Source::open(spooled)?.into_reader()?)
    } else {
        let checksums = match image.check() {
            Ok(decoded) => decoded.checksums,
            Err(DecodeError::Source(error)) if error.is_checksum() => {
                wrong = Some(error);
                Checksums { present: true, ok: false }
            }
            Err(error) => return Err(reading(error)),
        };
        (checksums, image.source.into_reader()?)
    };
    let size = reader.size();
    let layout = partition::read(&mut reader, size)?;
    let subject =
        Subject::gather(&mut reader, size, &layout, Some(checksums)).context("reading the volumes")?;
    let findings = doctor::examine(&subject, &Surroundings::default());
    let report = Report {
        format,
        parts,
        codecs,
        encrypted,
        virtual_size: size,
        partition_scheme: layout.scheme.to_string(),
        checksums: Sums { present: checksums.present, ok: checksums.ok },
        minimum_target_size: size,
        system: subject.main().and_then(|main| main.facts.system.clone()).map(Into::into),
        findings: findings.into_iter().map(Into::into).collect(),
        partitions: subject.places.into_iter().map(Partition::from).collect(),
        warnings,
    };
    Ok((report, wrong))
}

fn reading(error: DecodeError<io::Error>) -> anyhow::Error {
    match error {
        DecodeError::Source(error) => error.into(),
        DecodeError::Sink(error) => anyhow::Error::new(error).context("writing a temporary file"),
    }
}

/// An image without a table is one partition, number 0, from byte 0.
impl From<Place> for Partition {
    fn from(place: Place) -> Partition {
        let kind = place.partition.map_or_else(|| "whole image".to_owned(), |kind| kind.to_string());
        let (facts, blocks) = (place.facts, place.blocks.ok());
        let volume = (facts.kind != Kind::Unknown).then(|| Volume {
            kind: facts.kind.to_string(),
            label: facts.label,
            size: facts.size,
            used: facts.used,
            block_size: facts.block_size,
            needed: blocks.map(|blocks| blocks.needed),
            case_sensitive: facts.case_sensitive,
            files: facts.files,
            startup: match facts.startup {
                Startup::Unknown => None,
                Startup::Absent => Some(false),
                Startup::Present => Some(true),
            },
            unclean: facts.unclean.map(|reason| reason.to_string()),
            system: facts.system.map(Into::into),
            volumes: facts.volumes.into_iter().map(ApfsVolume::from).collect(),
        });
        let (number, name) = (place.number.unwrap_or(0), place.name);
        Partition { number, kind, name, start: place.start, size: place.size, volume }
    }
}

impl From<volume::ApfsVolume> for ApfsVolume {
    fn from(volume: volume::ApfsVolume) -> ApfsVolume {
        ApfsVolume {
            name: volume.name,
            role: volume.role,
            used: volume.used,
            encrypted: volume.is_encrypted,
            sealed: volume.is_sealed,
            case_sensitive: volume.is_case_sensitive,
            snapshots: volume.snapshots,
            files: volume.files,
        }
    }
}

fn print(path: &Path, report: &Report) -> anyhow::Result<()> {
    let sums = match report.checksums {
        Sums { present: false, .. } => "none in the file",
        Sums { ok: true, .. } => "verified",
        Sums { ok: false, .. } => "WRONG",
    };
    println!("{}", path.display());
    let encrypted = if report.encrypted { ", encrypted" } else { "" };
    println!("  format      {} ({}){encrypted}", report.format, report.codecs.join(", "));
    if let [first, .., last] = report.parts.as_slice() {
        println!("  parts       {} from {first} to {last}", report.parts.len());
    }
    println!("  size        {} ({} bytes)", ByteSize(report.virtual_size), report.virtual_size);
    println!("  checksums   {sums}");
    println!("  partitions  {}", report.partition_scheme);
    let mut rows = vec![["#", "type", "name", "start", "size", "volume", "label", "used"].map(str::to_owned)];
    for partition in &report.partitions {
        let volume = partition.volume.as_ref();
        let size = |size: u64| ByteSize(size).to_string();
        rows.push([
            partition.number.to_string(),
            partition.kind.clone(),
            partition.name.clone(),
            size(partition.start),
            size(partition.size),
            volume.map(|volume| volume.kind.clone()).unwrap_or_default(),
            volume.and_then(|volume| volume.label.clone()).unwrap_or_default(),
            volume.and_then(|volume| volume.used).map(size).unwrap_or_default(),
        ]);
    }
    let widths: [usize; 8] =
        std::array::from_fn(|k| rows.iter().map(|row| row[k].chars().count()).max().unwrap_or_default());
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("    {}", cells.join("  ").trim_end());
    }
    for volume in report.partitions.iter().filter_map(|partition| partition.volume.as_ref()) {
        for inner in &volume.volumes {
            let marks = [
                inner.role.map(str::to_owned),
                inner.encrypted.then(|| "encrypted".to_owned()),
                inner.sealed.then(|| "sealed".to_owned()),
                (inner.snapshots > 0).then(|| format!("snapshots: {}", inner.snapshots)),
            ];
            let marks: Vec<String> = marks.into_iter().flatten().collect();
            println!("  apfs        {}: {} used, {}", inner.name, ByteSize(inner.used), marks.join(", "));
        }
    }
    if let Some(system) = &report.system {
        println!("  system      {}", printable(&system.to_string()));
    }
    for warning in &report.warnings {
        println!("  warning     {warning}");
    }
    show::findings(&report.findings)
}
