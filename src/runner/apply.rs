//! Apply Image: manifest, check of its signature, restore onto a partition, receipt.
//!
//! Owns: what surrounds the restore engine: where the image comes from, who watches, what proves it.
//! Must not know: the order in which the engine writes.

use std::cell::Cell;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::attend::{Outage, attended};
use super::clock::now_ms;
use super::failure::{self, chain, failure};
use super::format::set_partition_type;
use super::identity::called;
use super::link::Interrupted;
use super::perform::{Failed, Work};
use super::place::{open_writable, partition_of, partition_place};
use super::rates::{Counters, Rates};
use super::target::{Busy, Part, Timed, limit};
use crate::api::runner::{
    ChosenPartition, Delta, Destination, DiskFacts, Done, Failure, ManifestKeys, Progress as Shown, Receipt,
};
use crate::client::{Client, HttpFrames, Patience, Watch};
use crate::device::Device;
use crate::image::manifest::{
    Locations, MAX_SIGNED, Manifest, ManifestKey, Region, SignedManifest, Untrusted,
};
use crate::image::plan::{Plan, Selection};
use crate::image::restore::{
    FetchError, Options, Phase, Progress, RestoreError, Restored, Snapshot, Target, restore,
};
use crate::value::{ByteSize, Digest, FreeSpace};

/// How often chunks may move to other packs during one restore.
const MOVES: u32 = 5;

/// The arguments of the action.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Digest of the signed manifest.
    pub manifest: Digest,
    /// Name for people.
    pub name: &'a str,
    /// Which partition of it.
    pub partition: Option<u32>,
    /// Where to.
    pub destination: &'a Destination,
    /// What a person saw there when they chose it.
    pub chosen: Option<&'a ChosenPartition>,
    /// What happens to space that the image says nothing about.
    pub free: FreeSpace,
}

/// Applies an image.
///
/// # Errors
/// [`Failed`] says whether the action failed or the runner shall stop.
pub fn apply(work: &Work<'_>, image: Image<'_>) -> Result<Done, Failed> {
    let (disk, number) =
        partition_of(image.destination, &work.machine.disks).map_err(|error| failure::of_place(&error))?;
    let place = partition_place(disk, number).map_err(|error| failure::of_place(&error))?;
    if let Some(chosen) = image.chosen {
        is_the_same(chosen, disk, number, place.size)?;
    }
    let client = work.client.with_patience(Patience::NONE);
    let manifest = fetch_manifest(work, &client, image)?;
    let selection = image.partition.map_or(Selection::Main, Selection::Partition);
    let region = match image.partition {
        Some(number) => manifest.partition(number),
        None => manifest.main(),
    };
    let target = Part::open(&place).map_err(|error| {
        let next = "Restart this Mac and try again; if it stays, check the disk.";
        failure(
            format!("partition {number} of {} cannot be opened for writing", disk.node),
            chain(&error),
            next,
        )
    })?;
    work.reporter.log(vec![format!(
        "applying {} ({}) to partition {number} of {}, {}",
        image.name,
        region.map_or(String::new(), |region| ByteSize(region.size).to_string()),
        called(disk),
        ByteSize(target.size())
    )]);

    let mut moves = 0;
    let restored = loop {
        let places = fetch_locations(work, &client, image, &manifest)?;
        let plan = Plan::new(&manifest, places, selection).map_err(|error| {
            let next = "Correct the image or its partition in the step.";
            failure(
                format!("{} cannot be applied as asked; nothing was written", image.name),
                error.to_string(),
                next,
            )
        })?;
        let left = Cell::new(false);
        match watched(work, &client, plan, image.free, &target, &left) {
            _ if left.get() => return Err(Failed::Left(Interrupted::Moved)),
            Err(RestoreError::Fetch(FetchError::Gone(_))) if moves < MOVES => moves += 1,
            Err(error) => return Err(of_restore(work, image, &error)),
            Ok(restored) => break restored,
        }
    };
    drop(target);
    if let Some(kind) = region.and_then(partition_type) {
        follow_type(work, disk, number, kind)?;
    }
    report(work, disk, number, image, restored)
}

/// Numbers of disks move when one comes or goes: what a person did not see is not erased.
fn is_the_same(chosen: &ChosenPartition, disk: &DiskFacts, number: u32, size: u64) -> Result<(), Failure> {
    if disk.serial == chosen.serial && size == chosen.size {
        return Ok(());
    }
    let serial = |serial: &str| match serial {
        "" => "without a serial number".to_owned(),
        serial => format!("with the serial number {serial}"),
    };
    Err(failure(
        format!(
            "partition {number} of {} is not the one that was selected; nothing was written",
            called(disk)
        ),
        format!(
            "selected were {} on a disk {}; there are {} on a disk {}",
            ByteSize(chosen.size),
            serial(&chosen.serial),
            ByteSize(size),
            serial(&disk.serial)
        ),
        "Resume the run: the destination is asked for again.",
    ))
}

pub(super) fn fetch_manifest(work: &Work<'_>, client: &Client, image: Image<'_>) -> Result<Manifest, Failed> {
    let path = format!("/runner/v1/manifests/{}", image.manifest);
    let doing = format!("the manifest of {} could not be fetched", image.name);
    let fetch = || {
        let fetched =
            work.link.persist("Fetching the image's manifest", || client.download(&path, MAX_SIGNED));
        fetched.map_err(|error| refused(&doing, error))
    };
    let verified = |bytes: Vec<u8>, keys: &[String]| {
        let keys: Vec<ManifestKey> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        SignedManifest::from_bytes(bytes)?.verify(image.manifest, &keys)
    };
    let mut manifest = verified(fetch()?, work.manifest_keys);
    if let Err(Untrusted::Stranger { .. }) = manifest
        // Perhaps the appliance has another key since this Mac said hello: it is asked over the same trusted connection, and the
        // manifest fetched once more, which may have been signed again since.
        && let Ok(now) = client.get::<ManifestKeys>("/runner/v1/keys")
    {
        manifest = verified(fetch()?, &now.manifest_keys);
    }
    manifest.map_err(|error| {
        let next = "Import the image again on this appliance; if the appliance was replaced, build the boot files again.";
        let cause = format!("the manifest of {} is not trusted; nothing was written", image.name);
        failure(cause, chain(&error), next).into()
    })
}

fn fetch_locations(
    work: &Work<'_>,
    client: &Client,
    image: Image<'_>,
    manifest: &Manifest,
) -> Result<Locations, Failed> {
    let path = format!("/runner/v1/manifests/{}/locations", image.manifest);
    let doing = format!("where the chunks of {} lie could not be asked", image.name);
    let cells = manifest.regions().iter().map(Region::data_cells).sum::<usize>() as u64;
    let limit = Locations::longest(cells);
    let bytes = work.link.persist("Asking where the image lies", || client.download(&path, limit));
    let bytes = bytes.map_err(|error| refused(&doing, error))?;
    Locations::decode(&bytes, cells).map_err(|error| {
        failure(doing, error.to_string(), "Update runner and appliance to the same version.").into()
    })
}

fn refused(doing: &str, interrupted: Interrupted) -> Failed {
    match interrupted {
        Interrupted::Refused(error) => failure::of_client(doing, &error).into(),
        left => Failed::Left(left),
    }
}

/// The restore, attended. `left`: a person named another appliance.
fn watched(
    work: &Work<'_>,
    client: &Client,
    plan: Plan<'_>,
    free: FreeSpace,
    part: &Part,
    left: &Cell<bool>,
) -> Result<Restored, RestoreError> {
    let workers = thread::available_parallelism().map_or(4, usize::from).clamp(4, 8);
    let (watch, progress) = (Watch::default(), Progress::default());
    let (network, disk) = (Busy::default(), Busy::default());
    let frames = HttpFrames::new(client, &watch);
    let frames = Timed { inner: &frames, busy: &network };
    let target = Timed { inner: part, busy: &disk };
    let mut teller = Teller::new(work, workers, free, (plan.to_write(), plan.to_check()));
    let options = Options { free, ..Options::new(workers, clock) };
    attended(
        work,
        &watch,
        &|| progress.stop(),
        left,
        &mut |outage| teller.tell(progress.snapshot(), outage, network.total(), disk.total()),
        || restore(plan, &frames, &target, options, &progress),
    )
}

/// Turns looks at the engine into news.
struct Teller<'a> {
    work: &'a Work<'a>,
    began: Instant,
    rates: Rates,
    workers: usize,
    free: FreeSpace,
    decided: bool,
    to_write: u64,
    to_check: u64,
    last: (Duration, Duration, Duration),
    outage: Outage,
}

#[expect(clippy::disallowed_methods, reason = "the edge: rates need a clock")]
fn now() -> Instant {
    Instant::now()
}

/// Time since this program first asked.
pub(super) fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(now).elapsed()
}

impl<'a> Teller<'a> {
    fn new(
        work: &'a Work<'a>,
        workers: usize,
        free: FreeSpace,
        (to_write, to_check): (u64, u64),
    ) -> Teller<'a> {
        let last = Default::default();
        let rates = Rates::default();
        Teller {
            work,
            began: now(),
            rates,
            workers,
            free,
            decided: false,
            to_write,
            to_check,
            last,
            outage: Outage::default(),
        }
    }

    fn tell(&mut self, seen: Snapshot, outage: Option<String>, network: Duration, disk: Duration) {
        let at = now().duration_since(self.began);
        self.outage.tell(self.work, outage);
        let after = match seen.phase {
            // What was read is read once: the rest of it has to be written and read back, as far as is known.
            Phase::Preparing => self.to_write + self.to_check,
            Phase::Looking => 0,
            Phase::Copying => self.to_write.saturating_sub(seen.present),
            Phase::Writing => self.to_check.saturating_sub(seen.present),
            Phase::ReadingBack | Phase::Closing | Phase::Done => 0,
        };
        let (done, total) = match seen.phase {
            Phase::Done => (self.to_check, self.to_check),
            _ => (seen.done, seen.total),
        };
        let counters = Counters {
            done,
            total,
            network: seen.fetched,
            disk: match seen.phase {
                Phase::Looking | Phase::ReadingBack => seen.done,
                _ => seen.written,
            },
            after,
        };
        let delta = seen.decision.map(|decision| Delta {
            decision: decision.to_string(),
            present: seen.present,
            copied: seen.copied,
            free: self.free,
        });
        if let (Some(delta), false) = (&delta, self.decided) {
            self.decided = true;
            self.work.reporter.log(vec![delta.decision.clone()]);
        }
        let progress = Shown { delta, ..self.rates.progress(at, seen.phase.text(), counters) };
        let (last_at, last_network, last_disk) = std::mem::replace(&mut self.last, (at, network, disk));
        let limit = match seen.phase {
            Phase::Writing if !self.outage.is_on() => limit(
                self.workers,
                at.saturating_sub(last_at),
                network.saturating_sub(last_network),
                disk.saturating_sub(last_disk),
            ),
            _ => None,
        };
        self.work.reporter.progress(progress, limit.map(str::to_owned));
    }
}

fn of_restore(work: &Work<'_>, image: Image<'_>, error: &RestoreError) -> Failed {
    let cause = match error {
        RestoreError::TooSmall { .. } => format!("the partition is too small for {}", image.name),
        _ if work.timed_out() => format!("applying {} took longer than the step's limit", image.name),
        _ => format!("applying {} failed; the volume does not start until it is applied again", image.name),
    };
    let next = match error {
        RestoreError::TooSmall { .. } => "Make the partition larger in the step, or use a larger disk.",
        _ if work.timed_out() => "Raise the step's limit, or find what makes it slow.",
        RestoreError::Fetch(_) => "Look into the appliance's log, then start the run again.",
        RestoreError::Damaged { .. } | RestoreError::Length { .. } => {
            "Run `rootstock image verify` on the appliance and import the image again."
        }
        RestoreError::Write { .. } | RestoreError::Flush(_) | RestoreError::Unsound { .. } => {
            "Replace the disk, its cable or its controller."
        }
        RestoreError::Stopped => "Start a new run.",
    };
    failure(cause, chain(error), next).into()
}

/// The GPT type of a partition that holds this region: firmware and macOS look at it before they look inside.
fn partition_type(region: &Region) -> Option<Uuid> {
    const HFS: Uuid = uuid::uuid!("48465300-0000-11aa-aa11-00306543ecac");
    const APFS: Uuid = uuid::uuid!("7c3457ef-0000-11aa-aa11-00306543ecac");
    let by_name = |name: &str| match name.to_ascii_lowercase() {
        name if name.starts_with("apple_hfs") || name.starts_with("hfs") => Some(HFS),
        name if name.starts_with("apple_apfs") || name.starts_with("apfs") => Some(APFS),
        _ => None,
    };
    let kind = region.partition.as_ref().map(|partition| partition.kind.as_str());
    let volume = region.volume.as_ref().and_then(|volume| by_name(&volume.kind));
    kind.and_then(|kind| by_name(kind).or_else(|| kind.parse().ok())).or(volume)
}

fn follow_type(work: &Work<'_>, disk: &DiskFacts, number: u32, kind: Uuid) -> Result<(), Failure> {
    let path = disk.node.as_ref();
    let mut file = open_writable(path).map_err(|error| failure::of_open(&disk.node, &error))?;
    let changed = set_partition_type(&mut file, disk.block_size, number, kind)
        .map_err(|error| failure::of_table(&disk.node, &error))?;
    drop(file);
    if changed {
        work.reporter.log(vec![format!("partition {number} of {} has type {kind} now", disk.node)]);
        let reread = Device::open(path, 0).and_then(|device| device.reread_partitions());
        reread.map_err(|error| {
            let next = "Restart this Mac and try again.";
            failure(
                format!("the kernel did not take the new partition table of {}", disk.node),
                chain(&error),
                next,
            )
        })?;
    }
    Ok(())
}

fn report(
    work: &Work<'_>,
    disk: &DiskFacts,
    number: u32,
    image: Image<'_>,
    restored: Restored,
) -> Result<Done, Failed> {
    let node = super::identity::partition_node(&disk.node, number);
    work.reporter.log(vec![match restored.equal {
        true => format!(
            "{} was there already, every byte of {} compared; nothing was written",
            image.name,
            ByteSize(restored.bytes)
        ),
        false => format!(
            "{} applied: {}, {} fetched, {} there already, {} copied from elsewhere on the disk, {} cells read back, {} written again",
            image.name,
            ByteSize(restored.bytes),
            ByteSize(restored.fetched),
            ByteSize(restored.present_bytes),
            ByteSize(restored.copied),
            restored.read_back,
            restored.rewritten
        ),
    }]);
    let receipt = Receipt {
        run: work.run.run,
        number: work.number,
        manifest: image.manifest,
        serial: work.machine.serial.clone(),
        node,
        disk: format!("{} {}", disk.model, disk.serial).trim().to_owned(),
        bytes: restored.bytes,
        fetched: restored.fetched,
        delta: Delta {
            decision: restored.decision.map(|decision| decision.to_string()).unwrap_or_default(),
            present: restored.present_bytes,
            copied: restored.copied,
            free: image.free,
        },
        equal: restored.equal,
        left: restored.left,
        chunks_read_back: restored.read_back,
        rewritten: restored.rewritten,
        at_ms: now_ms(),
    };
    let signed = work.key.sign(&receipt).map_err(|error| {
        failure(
            "the receipt could not be signed; the image is applied",
            chain(&error),
            "Restart this Mac and try again.",
        )
    })?;
    Ok(Done { receipt: Some(signed), ..Done::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::{PartitionFacts, VolumeFacts};

    fn region(kind: Option<&str>, volume: Option<&str>) -> Region {
        Region {
            start: 0,
            size: 0,
            partition: kind.map(|kind| PartitionFacts { number: 1, kind: kind.into(), name: String::new() }),
            volume: volume.map(|kind| VolumeFacts {
                kind: kind.into(),
                label: String::new(),
                size: 0,
                used: None,
                block_size: 4096,
            }),
            runs: Vec::new(),
        }
    }

    #[test]
    fn the_type_follows_the_images_partition_and_for_bare_volumes_the_file_system() {
        let kind =
            |kind, volume| partition_type(&region(kind, volume)).map(|uuid| uuid.to_string()[..8].to_owned());
        assert_eq!(kind(Some("Apple_HFS"), None).unwrap(), "48465300");
        assert_eq!(kind(Some("7C3457EF-0000-11AA-AA11-00306543ECAC"), Some("apfs")).unwrap(), "7c3457ef");
        assert_eq!(kind(None, Some("hfs+")).unwrap(), "48465300");
        assert_eq!(kind(Some("0xaf"), Some("hfsx")).unwrap(), "48465300");
        assert_eq!(kind(None, Some("exfat")), None);
        assert_eq!(kind(None, None), None);
    }
}
