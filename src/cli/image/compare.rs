//! `rootstock image compare`: what a restore would find on a disk and do to it, without writing.
//!
//! Must not know: how bytes are compared (`image::restore`), how the library is read (`super::restore`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::restore::{Stored, options, watch};
use super::version::ImageName;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::cli::progress::Meter;
use crate::device::Device;
use crate::image::plan::Selection;
use crate::image::restore::{Compared, compare};
use crate::value::{ByteSize, FreeSpace};

/// Neither equal nor different: nothing could be compared.
const TROUBLE: u8 = 2;

/// `rootstock image compare`
#[derive(Args, Debug)]
pub struct Compare {
    /// Name of the image, name@version or name@ring [default: what production points to, else the newest version]
    image: ImageName,
    /// File or block device to read; it is not written, and may be in use
    #[arg(long, value_name = "PATH")]
    with: PathBuf,
    /// Only this partition of the image, against the start of PATH [default: the whole image, partition table included]
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
}

/// Compares.
pub fn run(verb: Compare, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    match compared(&verb, appliance) {
        Ok(compared) => {
            tell(&verb, &compared, appliance.json)?;
            Ok(if compared.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

fn compared(verb: &Compare, appliance: &Appliance) -> anyhow::Result<Compared> {
    let stored = Stored::open("compare", &verb.image, appliance)?;
    let plan = stored.plan(verb.partition.map_or(Selection::Whole, Selection::Partition))?;
    let with: &Path = &verb.with;
    let device = Device::open_to_read(with)?;
    let mut meter = Meter::new(appliance.json);
    let label = format!("{} with {}", stored.label, with.display());
    let options = options(FreeSpace::Discard);
    let result = watch(|progress| compare(plan, &device, options, progress), &mut |shown| {
        meter.show(&label, Some(shown))
    });
    meter.clear();
    result.with_context(|| with.display().to_string())
}

fn tell(verb: &Compare, compared: &Compared, json: bool) -> anyhow::Result<()> {
    let Compared { bytes, equal, differing, elsewhere, to_fetch, to_write, unallocated } = *compared;
    if json {
        return say_json(&serde_json::json!({
            "same": differing == 0, "bytes": bytes, "equal": equal, "differing": differing, "elsewhere": elsewhere,
            "to_fetch": to_fetch, "to_write": to_write, "unallocated": unallocated,
        }));
    }
    let with = verb.with.display();
    let free = match unallocated {
        0 => String::new(),
        bytes => format!("; {} unallocated in the image and not compared", ByteSize(bytes)),
    };
    if differing == 0 {
        return say(format!("{with} holds the image: {} are equal{free}", ByteSize(equal)));
    }
    say(format!("{with} differs in {}, {} are equal{free}", ByteSize(differing), ByteSize(equal)))?;
    say(format!(
        "a restore would write {}: {} of packs fetched, {} copied from elsewhere on it",
        ByteSize(to_write),
        ByteSize(to_fetch),
        ByteSize(elsewhere)
    ))
}
