//! `rootstock media usb`: a stick, or a file with its content.
//!
//! Owns: arguments, the question, what is printed. The work is in [`crate::media::stick`].

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::confirm::{self, Consent, Next};
use super::read_keys;
use crate::api::runner::Progress;
use crate::cli::output::{printable, say, say_json};
use crate::cli::progress::Meter;
use crate::device::{Device, Disk};
use crate::image::partition;
use crate::image::volume::{self as facts, Kind};
use crate::media::server::Server;
use crate::media::stick::content::{self, Wishes};
use crate::media::stick::layout::{self, Layout, SECTOR};
use crate::media::stick::volume::{self, StickFile};
use crate::media::stick::wifi::Network;
use crate::media::stick::write;
use crate::netboot::arguments::{KernelArguments, USUAL};
use crate::value::{ByteSize, Secret};

/// Label of the volume in lists of systems other than Apple's.
const LABEL: &str = "ROOTSTOCK";
/// Most bytes of a password file that are read.
const LONGEST_PASSWORD: u64 = 4096;

/// `rootstock media usb`
#[derive(Args)]
pub struct UsbArguments {
    /// The stick (/dev/sdb: the whole disk), or a file to copy on to sticks later
    #[arg(long, value_name = "DEVICE|FILE")]
    to: PathBuf,
    /// Address of the appliance that the Mac reports to [default: it is looked for by DNS-SD where the
    /// stick is used, else a person is asked]
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Server>,
    /// Let the holders of these keys sign in as root by SSH while a Mac is booted from this stick
    #[arg(long, value_name = "FILE")]
    ssh_authorized_keys: Option<PathBuf>,
    /// Join this wireless network. Its password will be readable on the stick
    #[arg(long, value_name = "SSID")]
    wifi: Option<String>,
    /// File with the password of the wireless network; a newline at its end does not count [default: an open network]
    #[arg(long, value_name = "FILE", requires = "wifi")]
    wifi_password_file: Option<PathBuf>,
    /// Further kernel arguments
    #[arg(long, value_name = "TEXT", default_value = USUAL, allow_hyphen_values = true)]
    kernel_arguments: KernelArguments,
    /// Size of a FILE: 8GB [default: as small as it can be]
    #[arg(long, value_name = "SIZE")]
    size: Option<ByteSize>,
    /// Data folder of rootstockd, with the boot files
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rootstock")]
    data: PathBuf,
    /// Do not ask before a removable medium or a file is overwritten
    #[arg(long)]
    yes: bool,
    /// With --yes: do not ask either when the disk is not removable
    #[arg(long, requires = "yes")]
    even_if_internal: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made {
    target: PathBuf,
    /// Of the medium.
    size: u64,
    /// Written and compared.
    bytes: u64,
    server: Option<String>,
    files: Vec<MadeFile>,
}

#[derive(Serialize)]
struct MadeFile {
    path: String,
    size: u64,
}

/// Makes the stick.
pub(super) fn run(arguments: UsbArguments) -> anyhow::Result<ExitCode> {
    let wishes = wishes(&arguments)?;
    let files = content::collect(&arguments.data.join("boot"), &wishes)?;
    let consent = Consent {
        yes: arguments.yes,
        even_if_internal: arguments.even_if_internal,
        person: io::stdin().is_terminal(),
    };
    let is_device = fs::metadata(&arguments.to).is_ok_and(|found| found.file_type().is_block_device());
    let result = match is_device {
        true if arguments.size.is_some() => {
            bail!("--size is for files: {} has its own size", arguments.to.display())
        }
        true => on_device(&arguments.to, &files, consent, arguments.json)?,
        false => into_file(&arguments.to, &files, arguments.size, consent, arguments.json)?,
    };
    let Some((size, bytes)) = result else { bail!("nothing was written") };
    let made = Made {
        target: arguments.to,
        size,
        bytes,
        server: wishes.server.as_ref().map(Server::https),
        files: files
            .iter()
            .map(|file| MadeFile { path: file.path.clone(), size: file.bytes.len() as u64 })
            .collect(),
    };
    tell(&made, &wishes, arguments.json)
}

fn wishes(arguments: &UsbArguments) -> anyhow::Result<Wishes> {
    let password = arguments.wifi_password_file.as_deref().map(read_password).transpose()?;
    let wifi = arguments.wifi.as_deref().map(|ssid| Network::new(ssid, password)).transpose()?;
    Ok(Wishes {
        server: arguments.server.clone(),
        ssh_keys: arguments.ssh_authorized_keys.as_deref().map(read_keys).transpose()?,
        wifi,
        arguments: arguments.kernel_arguments.clone(),
    })
}

fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let reading = || format!("reading {}", path.display());
    if fs::metadata(path).with_context(reading)?.len() > LONGEST_PASSWORD {
        bail!("{} is too long to be a password file", path.display());
    }
    let text = fs::read_to_string(path).with_context(reading)?;
    Ok(Secret::new(text.strip_suffix('\n').map_or(text.as_str(), |line| line.trim_end_matches('\r'))))
}

/// Size of the medium and bytes written; none when the person did not agree.
type Done = Option<(u64, u64)>;

fn on_device(path: &Path, files: &[StickFile], consent: Consent, quiet: bool) -> anyhow::Result<Done> {
    let disk = Disk::at(path)
        .with_context(|| format!("the kernel tells nothing of {}: is it a disk?", path.display()))?;
    // Opened before the question: what is shown cannot be mounted while somebody thinks.
    if let Next::Refuse(why) = confirm::decide(&disk, consent) {
        bail!("{why}");
    }
    let device = Device::open_block(path)?;
    if u64::from(disk.block_size) != SECTOR {
        bail!(
            "{} has blocks of {} bytes; Macs start only from those of 512",
            path.display(),
            disk.block_size
        );
    }
    let layout = lay_out(files, disk.size)?;
    eprintln!("/dev/{}: {}", disk.name, printable(&confirm::in_words(&disk)));
    for line in contents(path, disk.size) {
        eprintln!("  {}", printable(&line));
    }
    if let Next::Ask(answer) = confirm::decide(&disk, consent) {
        eprint!("{}", confirm::question(&disk, &answer));
        let mut typed = String::new();
        io::stdin().lock().read_line(&mut typed).context("reading the answer")?;
        if typed.trim() != answer {
            return Ok(None);
        }
    }
    let bytes = write_to(&device, &layout, path, quiet)?;
    device.reread_partitions()?;
    Ok(Some((disk.size, bytes)))
}

/// Whole under its name, or not there: made beside it, then renamed.
fn into_file(
    path: &Path,
    files: &[StickFile],
    size: Option<ByteSize>,
    consent: Consent,
    quiet: bool,
) -> anyhow::Result<Done> {
    let has = match fs::metadata(path) {
        Ok(found) if !found.is_file() => bail!("{} is neither a file nor a disk", path.display()),
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.starts_with("/dev") => {
            bail!("there is no {}: is the stick plugged in?", path.display())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if has > 0 && !consent.yes {
        bail!("{} exists and has {}: add --yes to overwrite it", path.display(), ByteSize(has));
    }
    let least = layout::least(volume::size_for(files));
    let size = size.map_or(least, |size| size.0 / SECTOR * SECTOR);
    let layout = lay_out(files, size)?;
    let name = path.file_name().with_context(|| format!("{} is no file name", path.display()))?;
    let partial = path.with_file_name(format!(".{}.partial", name.display()));
    // Left over from a run that was stopped.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| partial.display().to_string());
        }
        _ => {}
    }
    let written = Device::open(&partial, size)
        .map_err(anyhow::Error::from)
        .and_then(|device| write_to(&device, &layout, path, quiet))
        .and_then(|bytes| {
            fs::rename(&partial, path).with_context(|| format!("naming {}", path.display()))?;
            Ok(bytes)
        });
    if written.is_err() {
        // What stopped it is what is told.
        let _gone = fs::remove_file(&partial);
    }
    Ok(Some((size, written?)))
}

fn lay_out(files: &[StickFile], size: u64) -> anyhow::Result<Layout> {
    let needs = volume::size_for(files);
    let identity = [Uuid::new_v4(), Uuid::new_v4()];
    // Serial number of the FAT volume: any that other sticks do not have.
    let number = u32::from_be_bytes(identity[0].as_bytes()[..4].try_into()?);
    if size < layout::least(needs) {
        bail!(layout::LayoutError::TooSmall { has: size, needs: layout::least(needs) });
    }
    Ok(layout::lay_out(volume::make(files, needs, LABEL, number)?, size, identity)?)
}

fn write_to(device: &Device, layout: &Layout, path: &Path, quiet: bool) -> anyhow::Result<u64> {
    let mut meter = Meter::new(quiet);
    let label = format!("writing {}", path.display());
    let written = write::write(layout, device, &mut |done, all| {
        let phase = "write and read back".to_owned();
        meter.show(&label, Some(&Progress { phase, done, total: all, ..Progress::default() }));
    });
    meter.clear();
    Ok(written.with_context(|| path.display().to_string())?.bytes)
}

/// What is on a disk, a line each; nothing is an answer too.
fn contents(path: &Path, size: u64) -> Vec<String> {
    let Ok(mut file) = File::open(path) else { return vec!["what is on it cannot be read".to_owned()] };
    let table = match partition::read(&mut file, size) {
        Ok(table) => table,
        Err(error) => return vec![error.to_string()],
    };
    let lines: Vec<String> = table
        .partitions
        .iter()
        .filter_map(|part| {
            let found = facts::read(&mut file, part.start, part.size).ok();
            let known = found.filter(|found| found.kind != Kind::Unknown);
            if known.is_none() && table.scheme == partition::Scheme::None {
                return None;
            }
            let label = known.as_ref().and_then(|found| found.label.clone()).unwrap_or_default();
            let kind = known.map_or_else(|| part.kind.as_str().to_owned(), |found| found.kind.to_string());
            Some(format!("{} {} {kind} {label}", part.number, ByteSize(part.size)).trim_end().to_owned())
        })
        .collect();
    if lines.is_empty() { vec!["no partitions, no volume that is known here".to_owned()] } else { lines }
}

fn tell(made: &Made, wishes: &Wishes, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say_json(made)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format!("{}: {} written, read back and compared", made.target.display(), ByteSize(made.bytes)))?;
    match &made.server {
        Some(server) => say(format!("the Mac will report to {server}"))?,
        None => {
            say("the Mac will look for its appliance by DNS-SD, and ask for the address if it finds none")?
        }
    }
    if wishes.wifi.is_some() {
        say("the password of the wireless network is readable on it: keep the stick as you keep a key")?;
    }
    Ok(ExitCode::SUCCESS)
}
