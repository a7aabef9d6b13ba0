//! Verify Image: reads a volume back past all caches and compares every cell with the manifest. Writes nothing.
//!
//! Must not know: how an image comes to its place.

use std::io;
use std::time::Duration;

use super::apply::{Image, clock, fetch_manifest};
use super::failure::{self, chain, failure};
use super::identity::called;
use super::perform::{Failed, Work};
use super::place::{partition_of, partition_place};
use super::rates::{Counters, Rates};
use super::target::Part;
use crate::api::runner::{Done, Failure, VerifyRequest};
use crate::client::Patience;
use crate::image::chunk::{CHUNK, PIECE, Span, is_zero};
use crate::image::manifest::{Region, Run};
use crate::image::restore::Target;
use crate::value::{ByteSize, Digest, FreeSpace};

/// How often progress is told.
const PACE: Duration = Duration::from_millis(500);

/// Verifies every image.
///
/// # Errors
/// The first that is not there as it should be; whether the runner shall stop.
pub fn verify(work: &Work<'_>, images: &[VerifyRequest]) -> Result<Done, Failed> {
    let mut verified = Vec::with_capacity(images.len());
    for image in images {
        one(work, image)?;
        verified.push(image.manifest);
    }
    Ok(Done { verified, ..Done::default() })
}

fn one(work: &Work<'_>, asked: &VerifyRequest) -> Result<(), Failed> {
    let (disk, number) =
        partition_of(&asked.destination, &work.machine.disks).map_err(|error| failure::of_place(&error))?;
    let place = partition_place(disk, number).map_err(|error| failure::of_place(&error))?;
    let image = Image {
        chosen: None,
        manifest: asked.manifest,
        name: &asked.image,
        partition: asked.source_partition,
        destination: &asked.destination,
        free: FreeSpace::Leave,
    };
    let manifest = fetch_manifest(work, &work.client.with_patience(Patience::NONE), image)?;
    let region = match asked.source_partition {
        Some(number) => manifest.partition(number),
        None => manifest.main(),
    };
    let Some(region) = region else {
        let next = "Correct the image or its partition in the step.";
        return Err(failure(format!("{} has no such part to verify", asked.image), "", next).into());
    };
    let part = Part::open(&place).map_err(|error| {
        let next = "Restart this Mac and try again; if it stays, check the disk.";
        failure(format!("partition {number} of {} cannot be read", disk.node), chain(&error), next)
    })?;
    let what = format!("{} on partition {number} of {}", asked.image, called(disk));
    work.reporter.log(vec![format!("reading back {what}, {}", ByteSize(region.size))]);
    if part.size() < region.size {
        let evidence =
            format!("the image needs {}, the partition has {}", ByteSize(region.size), ByteSize(part.size()));
        return Err(differs(&what, evidence).into());
    }
    let compared = compare(work, region, &part, &what)?;
    work.reporter.log(vec![format!("{what} is as it was written: {} compared", ByteSize(compared))]);
    Ok(())
}

/// Compares the cells of `region` with what lies on `part`. Bytes compared.
fn compare(work: &Work<'_>, region: &Region, part: &Part, what: &str) -> Result<u64, Failure> {
    let total: u64 = spans(region).map(|(span, _)| span.length).sum();
    let (mut rates, mut done, mut told) = (Rates::default(), 0_u64, Duration::ZERO);
    let began = clock();
    let mut buffer = vec![0_u8; PIECE as usize];
    for (span, run) in spans(region) {
        let mut at = 0;
        while at < span.length {
            if work.stopped() {
                return Err(stopped(work));
            }
            let length = (span.length - at).min(PIECE) as usize;
            let bytes = &mut buffer[..length];
            part.read_back(span.offset + at, bytes)
                .map_err(|error| unreadable(what, span.offset + at, &error))?;
            let first = (at / CHUNK) as usize;
            if let Some(cell) = first_wrong(run, first, bytes) {
                let offset = span.offset + (cell as u64) * CHUNK;
                let evidence =
                    format!("the first difference lies in the 64 KiB at byte {offset} of the volume");
                return Err(differs(what, evidence));
            }
            at += length as u64;
            done += length as u64;
            let now = clock().saturating_sub(began);
            if now.saturating_sub(told) >= PACE {
                told = now;
                let counters = Counters { done, total, network: 0, disk: done, after: 0 };
                work.reporter.progress(rates.progress(now, "reading back", counters), None);
            }
        }
    }
    Ok(done)
}

/// Number within the run of the first cell that is not what it should be.
fn first_wrong(run: &Run, first: usize, bytes: &[u8]) -> Option<usize> {
    let cells = (first..).zip(bytes.chunks(CHUNK as usize));
    for (cell, bytes) in cells {
        let right = match run {
            Run::Data(digests) => digests.get(cell).is_some_and(|digest| *digest == Digest::of(bytes)),
            Run::Zero(_) => is_zero(bytes),
            Run::Unallocated(_) => true,
        };
        if !right {
            return Some(cell);
        }
    }
    None
}

/// What must be there, by offset in the volume.
fn spans(region: &Region) -> impl Iterator<Item = (Span, &Run)> {
    let runs = region.placed_runs().filter(|(_, run)| !matches!(run, Run::Unallocated(_)));
    runs.map(|(span, run)| (Span { offset: span.offset - region.start, ..span }, run))
}

fn differs(what: &str, evidence: String) -> Failure {
    let next = "Something wrote to the volume after it was applied: move this step directly behind Apply Image, or apply the image again; \
                if nothing wrote there, replace the disk.";
    failure(format!("{what} is not as it was written"), evidence, next)
}

fn unreadable(what: &str, offset: u64, error: &io::Error) -> Failure {
    failure(
        format!("{what} cannot be read back"),
        format!("at byte {offset}: {}", chain(error)),
        "Replace the disk, its cable or its controller.",
    )
}

fn stopped(work: &Work<'_>) -> Failure {
    match work.timed_out() {
        true => failure(
            "verifying took longer than the step's limit",
            format!("the limit is {} seconds", work.limit.unwrap_or_default()),
            "Raise the step's limit.",
        ),
        false => failure("verifying was stopped because the run was stopped", "", "Start a new run."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_cell_is_found_and_free_space_is_not_looked_at() {
        let cell = |byte: u8| vec![byte; CHUNK as usize];
        let digests = [1, 2, 3].map(|byte| Digest::of(&cell(byte))).to_vec();
        let bytes = [cell(1), cell(2), cell(3)].concat();
        let run = Run::Data(digests);
        assert_eq!(first_wrong(&run, 0, &bytes), None);
        let mut wrong = bytes.clone();
        wrong[CHUNK as usize + 7] ^= 1;
        assert_eq!(first_wrong(&run, 0, &wrong), Some(1));
        assert_eq!(first_wrong(&run, 1, &bytes[CHUNK as usize..]), None);
        assert_eq!(first_wrong(&Run::Zero(2), 0, &bytes[..1]), Some(0));
        assert_eq!(first_wrong(&Run::Unallocated(2), 0, &bytes), None);
        let region = Region {
            start: 4096,
            size: 5 * CHUNK,
            partition: None,
            volume: None,
            runs: vec![Run::Zero(1), Run::Unallocated(1), run],
        };
        let places: Vec<u64> = spans(&region).map(|(span, _)| span.offset).collect();
        assert_eq!(places, [0, 2 * CHUNK]);
    }
}
