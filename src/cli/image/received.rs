//! An export that the appliance makes and sends: compared with the manifest as it comes, gone on with where it broke off.
//!
//! Owns: the connection, how often it is tried again. Must not know: frames (`image::export`), the file's name.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use indicatif::ProgressBar;

use super::export::Export;
use super::file::write_sparse;
use super::restore::believed;
use crate::api::admin::{ImageVersion, Library};
use crate::cli::connection::Appliance;
use crate::cli::output::segment;
use crate::client::ClientError;
use crate::image::export::{Exported, Format, Frame, Odd, Received, Shape};
use crate::image::manifest::{MAX_SIGNED, Manifest, SignedManifest};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row that bring nothing.
const MOST_TRIES: u32 = 120;
/// Bytes that are read at once of what an earlier try left.
const PIECE: usize = 256 << 10;

/// Why a frame does not count.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Odd(#[from] Odd),
    #[error("writing it")]
    Write(#[from] io::Error),
}

/// Has the appliance make it. Raw comes packed, so that zeros are not sent.
pub(super) fn remote(
    verb: &Export,
    name: &str,
    version: &ImageVersion,
    appliance: &Appliance,
    file: &File,
    bar: &ProgressBar,
) -> anyhow::Result<Option<Exported>> {
    let (number, partition) = (version.version, verb.partition);
    let partition = partition.map(|number| format!("&partition={number}")).unwrap_or_default();
    let path = format!("/api/v1/images/{}/versions/{number}/export?format=", segment(name));
    if !matches!(verb.format, Format::Raw | Format::RawZst) {
        let path = format!("{path}{}{partition}", verb.format);
        let mut received = 0;
        bar.set_length(0);
        appliance.client.stream(&path, &mut |bytes| {
            received += bytes.len() as u64;
            bar.set_position(received);
            (&mut &*file).write_all(bytes)
        })??;
        return Ok(None);
    }
    let manifest = manifest(version, appliance)?;
    let shape = Shape::new(&manifest, verb.partition)?;
    bar.set_length(shape.size);
    let mut received = Received::new(&manifest, &shape);
    let path = format!("{path}{}{partition}", Format::RawZst);
    if verb.format == Format::Raw {
        fetch(appliance, &path, &mut received, bar, &mut |frame| write_sparse(file, frame.at, frame.bytes))?;
        file.set_len(shape.size)?;
        return Ok(Some(exported(&shape, file, None)?));
    }
    let mut kept = kept_before(file, &mut received)?;
    fetch(appliance, &path, &mut received, bar, &mut |frame| {
        file.write_all_at(frame.packed, kept)?;
        kept += frame.packed.len() as u64;
        Ok(())
    })?;
    Ok(Some(exported(&shape, file, Some(received.bmap()))?))
}

fn exported(shape: &Shape, file: &File, bmap: Option<String>) -> io::Result<Exported> {
    Ok(Exported { size: shape.size, written: file.metadata()?.len(), unallocated: shape.unallocated(), bmap })
}

/// The manifest of the version, as this appliance signed it.
fn manifest(version: &ImageVersion, appliance: &Appliance) -> anyhow::Result<Manifest> {
    let library: Library = appliance.client.get("/api/v1/library")?;
    let path = format!("/api/v1/library/manifests/{}", version.manifest);
    let signed = SignedManifest::from_bytes(appliance.client.download(&path, MAX_SIGNED)?)?;
    Ok(signed.verify(version.manifest, &believed(&library)?)?)
}

/// Takes over what an earlier try left, as far as it is the image. Bytes of the file that count.
fn kept_before(mut file: &File, received: &mut Received<'_>) -> anyhow::Result<u64> {
    let (mut kept, mut piece) = (0, vec![0; PIECE]);
    file.rewind()?;
    loop {
        let count = file.read(&mut piece).context("reading what an earlier try left")?;
        let taken = received.take::<TakeError>(&piece[..count], &mut |frame| {
            kept += frame.packed.len() as u64;
            Ok(())
        });
        if count == 0 || taken.is_err() {
            break;
        }
    }
    received.cut_off();
    file.set_len(kept)?;
    Ok(kept)
}

/// Asks for what is missing until nothing is.
fn fetch(
    appliance: &Appliance,
    path: &str,
    received: &mut Received<'_>,
    bar: &ProgressBar,
    keep: &mut dyn FnMut(Frame<'_>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut tries = 0;
    while !received.is_complete() {
        let from = received.at();
        let taken = appliance.client.stream(&format!("{path}&from={from}"), &mut |bytes| {
            received.take(bytes, &mut |frame| {
                keep(frame)?;
                bar.set_position(frame.at + frame.bytes.len() as u64);
                Ok::<(), TakeError>(())
            })
        });
        tries = if received.at() > from { 0 } else { tries + 1 };
        match taken {
            Ok(taken) => {
                taken?;
                ensure!(received.is_complete(), "the export ended early; the appliance's log says why");
            }
            Err(error) if may_go_on(&error) && tries < MOST_TRIES => {
                received.cut_off();
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether to ask again from where it broke off; the appliance may not have seen yet that the connection is gone (409).
fn may_go_on(error: &ClientError) -> bool {
    error.may_pass() || error.status() == Some(409)
}
