//! `rootstock image export`: an image of the library as a file.
//!
//! Owns: the output, which appears when it is complete; the words about it. Must not know: formats.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;

use super::file::{Partial, progress, write_sparse};
use super::received;
use super::restore::Stored;
use super::version::ImageName;
use crate::api::admin::ImageVersion;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::image::export::{self, Exported, Format, Out, Shape};
use crate::store::StoredImage;
use crate::value::ByteSize;

/// `rootstock image export`
#[derive(Args, Debug)]
pub struct Export {
    /// Name of the image, name@version or name@ring [default: what production points to, else the newest version]
    image: ImageName,
    /// File to write; it appears when it is complete
    pub(super) out: PathBuf,
    /// raw, raw.zst (with OUT.bmap beside it), udzo or ulfo (.dmg), partclone (of one volume)
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Format,
    /// Only this partition [default: the whole image, partition table included]
    #[arg(long, value_name = "NUMBER")]
    pub(super) partition: Option<u32>,
    /// Replace a file OUT that is there
    #[arg(long)]
    force: bool,
}

/// Exports.
pub fn run(verb: Export, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let to_out = || verb.out.display().to_string();
    match fs::metadata(&verb.out) {
        Ok(found) if !found.is_file() => bail!("{}: this is no file; name one", to_out()),
        Ok(_) if !verb.force => bail!("{}: it is there already; name another file, or say --force", to_out()),
        _ => {}
    }
    let (name, version) = verb.image.find(appliance)?;
    let resumes = !appliance.local && verb.format == Format::RawZst;
    let partial = if resumes { Partial::go_on(&verb.out)? } else { Partial::create(&verb.out)? };
    let bar = progress(version.size);
    let made = if appliance.local {
        local(&verb, &name, &version, appliance, &partial.file, &bar)
    } else {
        received::remote(&verb, &name, &version, appliance, &partial.file, &bar)
    };
    bar.finish_and_clear();
    let exported = match made {
        Err(error) if resumes && partial.file.metadata().is_ok_and(|file| file.len() > 0) => {
            let kept =
                format!("{}; run it again to go on from what is in {}", to_out(), partial.path.display());
            partial.keep();
            return Err(error.context(kept));
        }
        made => made.with_context(to_out)?,
    };
    partial.file.sync_all().with_context(to_out)?;
    if let Some(bmap) = exported.as_ref().and_then(|exported| exported.bmap.as_ref()) {
        publish_bmap(&verb, bmap)?;
    }
    partial.publish(&verb.out, verb.force)?;
    tell(&verb, &name, &version, exported.as_ref(), appliance.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the library's own folder.
fn local(
    verb: &Export,
    name: &str,
    version: &ImageVersion,
    appliance: &Appliance,
    file: &File,
    bar: &ProgressBar,
) -> anyhow::Result<Option<Exported>> {
    let stored = Stored::of(name, version, appliance)?;
    let shape = Shape::new(stored.manifest(), verb.partition)?;
    bar.set_length(shape.size);
    let mut image = StoredImage::new(&stored.store, stored.manifest().regions());
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    let mut out = SparseFile { file, at: 0 };
    let mut go_on = |done| {
        bar.set_position(done);
        true
    };
    let exported = export::export(&shape, &mut image, verb.format, workers, &mut out, &mut go_on)?;
    file.set_len(out.at).context("writing the export")?;
    Ok(Some(exported))
}

/// The block map goes first: an image without it is taken for one that has none.
fn publish_bmap(verb: &Export, bmap: &str) -> anyhow::Result<()> {
    let mut path = verb.out.clone().into_os_string();
    path.push(".bmap");
    let path = PathBuf::from(path);
    let mut partial = Partial::create(&path)?;
    let written = partial.file.write_all(bmap.as_bytes()).and_then(|()| partial.file.sync_all());
    written.with_context(|| format!("writing {}", path.display()))?;
    partial.publish(&path, verb.force)
}

fn tell(
    verb: &Export,
    name: &str,
    version: &ImageVersion,
    exported: Option<&Exported>,
    json: bool,
) -> anyhow::Result<()> {
    let length = fs::metadata(&verb.out).with_context(|| verb.out.display().to_string())?.len();
    let whole = verb.partition.is_none();
    if json {
        return say_json(&serde_json::json!({
            "image": name, "version": version.version, "out": verb.out, "format": verb.format.to_string(),
            "file_bytes": length, "size": exported.map(|exported| exported.size),
            "unallocated": exported.map(|exported| exported.unallocated),
            "sha256": whole.then_some(&version.sha256), "bmap": exported.map(|exported| exported.bmap.is_some()),
        }));
    }
    say(format!("{name}@{} is in {}: {}", version.version, verb.out.display(), ByteSize(length)))?;
    match exported {
        Some(exported) if exported.unallocated > 0 => say(format!(
            "{} of it are unallocated and read as zeros; where the imported image had old content there, its SHA-256 is another",
            ByteSize(exported.unallocated)
        )),
        _ if whole => say(format!("SHA-256 of the disk in it: {}", version.sha256)),
        _ => Ok(()),
    }
}

/// A file that gets holes for zeros.
struct SparseFile<'a> {
    file: &'a File,
    at: u64,
}

impl Write for SparseFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_sparse(self.file, self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out for SparseFile<'_> {
    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at += length;
        Ok(())
    }
}

/// Words for the exit code, in the verb's help.
pub const AFTER_HELP: &str = "\
Checked on the way: every chunk against the signed manifest, here as well when raw or raw.zst come over the network. raw and raw.zst hold the bytes of the disk, udzo and ulfo are \
disk images for macOS with all checksums, partclone is for partclone.restore. `bmaptool copy OUT DEVICE` writes a raw.zst. \
With --server the appliance makes the file and sends it; raw and raw.zst go on where a connection broke off, raw.zst also where the \
command was killed (OUT.partial).\n\
Exit code: 0 the file is there and complete · 1 there is no file, or the one that was there.";
