//! Re-imaging by the real appliance and the runner's program: what crosses the wire when nothing or little has changed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rootstock::api::admin::{CreateDeployment, Deployment, JobState};
use rootstock::api::runner::{Outcome, Purpose, Receipt};
use rootstock::store::Store;
use rootstock::value::{Digest, FreeSpace};

use crate::api::appliance::{Appliance, mbr};
use crate::runner::Mac;
use crate::store::noise;

const MIB: usize = 1 << 20;
const VOLUME: usize = 48 * MIB;

const AGAIN: &str = "  - apply_image: {image: lab, destination: {disk: 0, partition: 2}, free: leave}\n";

/// A sequence that every Mac runs once.
fn deploy(appliance: &Appliance, name: &str, steps: &str) {
    appliance.apply(&format!("name: {name}\nsteps:\n{steps}"));
    let body = CreateDeployment::new(name, "all macs", Purpose::Required);
    let _made: Deployment = appliance.admin().post("/api/v1/deployments", &body).unwrap();
}

/// A disk with a volume at 1 MiB that is half full; `changed` of its 768 cells of 64 KiB differ from the first version.
fn image(path: &Path, changed: usize) {
    let file = File::create(path).unwrap();
    file.set_len((MIB + VOLUME) as u64).unwrap();
    let mut map = [0; 512];
    mbr(&mut map, VOLUME);
    file.write_all_at(&map, 0).unwrap();
    for part in 0..3 {
        file.write_all_at(&noise(part, 8 * MIB), (1 + part * 16) * MIB as u64).unwrap();
    }
    for number in 0..changed {
        file.write_all_at(
            b"changed",
            (MIB + number * 16 * 65_536 % (8 * MIB) + number % 3 * 16 * MIB) as u64,
        )
        .unwrap();
    }
}

fn import(appliance: &Appliance, path: &Path, version: u32) {
    let job = appliance.import("lab", path);
    assert!(matches!(job.state, JobState::Done { version: Some(made), .. } if made == version), "{job:?}");
}

/// Bytes of manifest and locations.
fn tables(appliance: &Appliance, manifest: Digest) -> u64 {
    let store = Store::open_to_read(&appliance.data.join("store")).unwrap();
    let signed = store.manifest(manifest).unwrap();
    let locations = store.locations(&signed.contents().unwrap()).unwrap().encode();
    (signed.as_bytes().len() + locations.len()) as u64
}

/// One boot of the Mac, to the end of its run.
fn run(appliance: &Appliance, mac: &Mac, number: i64) -> (Receipt, u64) {
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    runner.says("SUCCEEDED");
    drop(runner);
    let run = appliance.run(number);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    let receipt: Receipt = serde_json::from_str(&run.receipts[0].receipt).unwrap();
    let wire = receipt.fetched + tables(appliance, receipt.manifest);
    (receipt, wire)
}

#[test]
fn an_unchanged_mac_costs_the_manifest_and_one_of_which_a_hundredth_changed_the_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.img");
    let appliance = Appliance::start(&folder.path().join("data"));
    image(&file, 0);
    import(&appliance, &file, 1);
    let format = "  - format_disk: {partitions: [{name: Mac, format: raw, size: 100%}]}\n  - apply_image: {image: lab}\n";
    deploy(&appliance, "First", format);
    let mac = Mac::with_disk(600 * MIB as u64);
    let (first, _) = run(&appliance, &mac, 1);
    assert!(!first.equal && first.fetched > VOLUME as u64 / 2);
    assert!(mac.volume(VOLUME) == fs::read(&file).unwrap()[MIB..]);

    deploy(&appliance, "Again", AGAIN);
    let (same, wire) = run(&appliance, &mac, 2);
    assert!(same.equal && same.fetched == 0, "{same:?}");
    assert_eq!(same.delta.free, FreeSpace::Leave);
    assert!(wire * 1000 <= VOLUME as u64 * 5, "{wire} bytes crossed the wire");

    image(&file, 7);
    import(&appliance, &file, 2);
    deploy(&appliance, "Once more", AGAIN);
    let (changed, wire) = run(&appliance, &mac, 3);
    assert!(!changed.equal && changed.delta.decision.starts_with("the disk is read first"), "{changed:?}");
    assert!(mac.volume(VOLUME) == fs::read(&file).unwrap()[MIB..]);
    assert!(wire * 100 <= VOLUME as u64 * 2, "{wire} bytes crossed the wire: {changed:?}");
}
