//! `kill -9` at any point: a child imports, removes and collects; it is killed while it does; the store is looked at.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;

use rootstock::store::{Store, StoreError};
use rootstock::value::Digest;

use super::{MIB, Telling, bare, noise, signer, take_in};

const FOLDER: &str = "ROOTSTOCK_TEST_STORE";
const SEED: &str = "ROOTSTOCK_TEST_SEED";
const ROUNDS: u64 = 36;

/// Says something to the parent at once, past the capture of the test harness.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Imports three images, removes one, collects garbage, imports again.
fn work(folder: &Path, seed: u64) -> Result<(), StoreError> {
    let store = Store::open(folder)?;
    let mut made = Vec::new();
    for number in 0..4 {
        if number == 3 {
            let gone: Digest = made.remove(0);
            // Told before it is done: from here on it may or may not be there.
            tell(&format!("forget {gone}"));
            store.remove_manifest(gone)?;
            tell("step");
            store.collection()?.run()?;
            tell("step");
        }
        let image = [noise(seed * 10 + number, 3 * MIB), noise(number, MIB)].concat();
        let import = store.import()?;
        let manifest = take_in(&Telling(&import, || tell("step")), &image, bare())?;
        tell("step");
        let digest = import.finish(&manifest, &signer().sign(&manifest))?;
        tell(&format!("have {digest}"));
        made.push(digest);
    }
    Ok(())
}

/// The child when the environment names a folder; by itself one undisturbed run of the same work.
#[test]
fn the_work_that_is_killed_ends_well_when_it_is_not() {
    let own = tempfile::tempdir().unwrap();
    let folder = env::var_os(FOLDER).map_or(own.path().to_owned(), Into::into);
    let seed = env::var(SEED).map_or(0, |seed| seed.parse().unwrap());
    work(&folder, seed).unwrap();
    check(&folder, &BTreeSet::new(), &BTreeSet::new());
}

/// What was acknowledged is there, whole; what is there is whole; nothing else lies around.
fn check(folder: &Path, must: &BTreeSet<Digest>, may_be_gone: &BTreeSet<Digest>) {
    let store = Store::open(folder).unwrap();
    assert_eq!(fs::read_dir(folder.join("incoming")).unwrap().count(), 0);
    assert_eq!(store.unreadable(), []);
    let there: BTreeSet<Digest> = store.manifests().unwrap().into_iter().collect();
    let lost: Vec<_> = must.difference(&there).filter(|digest| !may_be_gone.contains(digest)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for digest in there {
        let manifest = store.manifest(digest).unwrap().verify(digest, &[signer().key()]).unwrap();
        let verified = store.verify(&manifest, 2, &AtomicU64::new(0));
        assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    }
}

#[test]
fn a_store_whose_process_is_killed_at_any_point_keeps_what_it_acknowledged_and_shows_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let (mut must, mut may_be_gone) = (BTreeSet::new(), BTreeSet::new());
    let mut killed = 0;
    for seed in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::kill::the_work_that_is_killed_ends_well_when_it_is_not", "--nocapture"])
            .envs([(FOLDER, folder.path().as_os_str()), (SEED, seed.to_string().as_ref())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed right after a line that it says: the places differ from round to round.
        let mut left = seed * 7 % 31 + 1;
        let mut lines = lines.map(Result::unwrap);
        for line in lines.by_ref() {
            let Some((word, digest)) = line.split_once(' ') else {
                left -= u64::from(line == "step");
                if left == 0 {
                    break;
                }
                continue;
            };
            match word {
                "have" => drop(must.insert(digest.parse().unwrap())),
                "forget" => drop(may_be_gone.insert(digest.parse().unwrap())),
                _ => {}
            }
        }
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        // What it said between the last line read and its death.
        for line in lines {
            if let Some(("forget", digest)) = line.split_once(' ') {
                may_be_gone.insert(digest.parse().unwrap());
            }
        }
        child.wait().unwrap();
        check(folder.path(), &must, &may_be_gone);
    }
    assert!(killed > ROUNDS / 2, "only {killed} of {ROUNDS} children lived long enough to be killed");
}

/// As root only: a file system of its own that is full after a few chunks.
#[test]
fn a_full_disk_is_said_and_leaves_the_store_as_it_was() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a file system of a few MiB can be made by root only");
        return;
    }
    let Some(folder) = env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        let mount = "mount -t tmpfs -o size=9m rootstock \"$1\" && shift && exec \"$@\"";
        let status = Command::new("unshare")
            .args(["--mount", "sh", "-c", mount, "sh"])
            .arg(folder.path())
            .arg(env::current_exe().unwrap())
            .args(["--exact", "store::kill::a_full_disk_is_said_and_leaves_the_store_as_it_was"])
            .env(FOLDER, folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    let store = Store::open(Path::new(&folder)).unwrap();
    let (_, small) = super::import(&store, &noise(1, 2 * MIB), bare()).unwrap();
    let before = store.usage();
    let error = super::import(&store, &noise(2, 20 * MIB), bare()).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(store.usage(), before);
    assert!(super::all_well(&store, &small));
    assert!(super::import(&store, &noise(3, 2 * MIB), bare()).is_ok(), "the room came back");
}
