//! One damaged store for each kind of damage: how the check names it, what a repair makes of it. `UPDATE=1` writes the report anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rootstock::image::chunk::FRAME_CHUNKS;
use rootstock::image::manifest::{Manifest, Signer};
use rootstock::store::{CheckProgress, Checked, Checking, Flaw, Store};
use rootstock::value::Digest;
use tempfile::TempDir;

use super::{MIB, all_well, bare, import, noise, open, packs, signer};

/// A store with two images that share nothing, each in a pack of its own.
struct Fixture {
    folder: TempDir,
    store: Option<Store>,
    images: Vec<(Digest, Manifest)>,
    /// The pack of the first image.
    pack: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let (folder, store) = open();
        let first = import(&store, &noise(1, FIRST), bare()).unwrap();
        let pack = packs(&folder).pop().unwrap();
        let second = import(&store, &noise(2, MIB / 2), bare()).unwrap();
        for (digest, _) in [&first, &second] {
            store.recorded(digest);
        }
        store.begin_sweep();
        Fixture { folder, store: Some(store), images: vec![first, second], pack }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// As after a restart of the daemon.
    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.folder.path()).unwrap());
    }

    fn check(&self) -> Checked {
        let wanted: Vec<Digest> = self.images.iter().map(|(digest, _)| *digest).collect();
        check(self.store(), Some(&wanted))
    }

    /// The findings, with names that are the same in every run.
    fn report(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for flaw in self.check().flaws {
            let mut line = format!("  {}: {flaw}", flaw.code());
            line = line.replace(&self.folder.path().display().to_string(), "STORE");
            for (name, (digest, _)) in ["FIRST", "SECOND"].iter().zip(&self.images) {
                line = line.replace(&digest.to_string(), name);
            }
            lines.push(line);
        }
        if lines.is_empty() { "  nothing".to_owned() } else { lines.join("\n") }
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn manifest(&self, number: usize) -> PathBuf {
        self.store().manifest_path(&self.images[number].0)
    }

    fn quarantine(&self) -> Vec<String> {
        let folder = self.folder.path().join("quarantine");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn check(store: &Store, wanted: Option<&[Digest]>) -> Checked {
    let (keys, progress) = ([signer().key()], CheckProgress::default());
    store.check(&Checking { keys: &keys, wanted, workers: 2, progress: &progress }).unwrap()
}

/// Bytes of the first image: two frames and a chunk of 999 bytes.
const FIRST: usize = 2 * MIB + 999;

type Deed = fn(&mut Fixture);

/// Every kind of damage by its name, and how it is done.
const DAMAGE: [(&str, Deed); 13] = [
    ("none", |_| {}),
    ("a byte of a frame flipped", |it| it.change(&it.pack, |bytes| bytes[MIB / 2] ^= 1)),
    ("a byte between frames flipped", |it| it.change(&it.pack, |bytes| bytes[9] ^= 1)),
    ("a pack cut short", |it| {
        it.change(&it.pack, |bytes| bytes.truncate(MIB + MIB / 2));
        it.reopen();
    }),
    ("the table of a pack damaged", |it| {
        it.change(&it.pack, |bytes| {
            let place = bytes.len() - 100;
            bytes[place] ^= 1;
        });
        it.reopen();
    }),
    ("a pack removed under the daemon", |it| fs::remove_file(&it.pack).unwrap()),
    ("a pack removed while the daemon was stopped", |it| {
        fs::remove_file(&it.pack).unwrap();
        it.reopen();
    }),
    ("a manifest with a flipped byte", |it| {
        it.change(&it.manifest(0), |bytes| {
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
        });
    }),
    ("a manifest signed by another appliance", |it| {
        let mut document = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        document.extend([8; 32]);
        let foreign = Signer::from_pkcs8(&document).unwrap().sign(&it.images[0].1);
        fs::write(it.manifest(0), foreign.as_bytes()).unwrap();
    }),
    ("a manifest removed", |it| fs::remove_file(it.manifest(0)).unwrap()),
    ("a manifest that no version names", |it| drop(it.images.pop())),
    ("files that do not belong there", |it| {
        for name in ["packs/notes.txt", "manifests/x", "core"] {
            fs::write(it.folder.path().join(name), "hello").unwrap();
        }
    }),
    ("permissions", |it| {
        fs::set_permissions(&it.pack, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(it.manifest(0), fs::Permissions::from_mode(0o000)).unwrap();
    }),
];

/// Digests of packs differ with the version of zstd.
fn without_packs(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digests: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_digest(word)).collect();
    digests.iter().fold(text.to_owned(), |text, digest| text.replace(digest, "PACK"))
}

#[test]
fn every_kind_of_damage_is_named_as_in_the_report_that_is_checked_in() {
    let mut now = String::new();
    for (name, damage) in DAMAGE {
        let mut fixture = Fixture::new();
        damage(&mut fixture);
        let report: Vec<String> = fixture.report().lines().map(without_packs).collect();
        now += &format!("{name}\n{}\n\n", report.join("\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/store/damage.snapshot.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap_or_default();
    assert!(now == then, "the report changed; if that is meant, run again with UPDATE=1:\n{now}");
}

#[test]
fn a_repair_leaves_no_damage_but_what_is_lost_and_importing_the_image_again_brings_that_back() {
    for (name, damage) in DAMAGE {
        let mut fixture = Fixture::new();
        damage(&mut fixture);
        let flaws = fixture.check().flaws;
        let repaired = fixture.store().repair(&flaws).unwrap();
        assert!(repaired.failed.is_empty(), "{name}: {repaired:?}");
        let left = fixture.check().flaws;
        let lost = |flaw: &Flaw| {
            matches!(
                flaw,
                Flaw::ManifestForeign { .. }
                    | Flaw::Incomplete { damaged: 0, .. }
                    | Flaw::ManifestMissing { .. }
                    | Flaw::ManifestUnused { .. }
            )
        };
        assert!(left.iter().all(lost), "{name}: {left:?}");
        for (seed, length) in [(1, FIRST), (2, MIB / 2)].into_iter().take(fixture.images.len()) {
            let (digest, _) = import(fixture.store(), &noise(seed, length), bare()).unwrap();
            fixture.store().recorded(&digest);
        }
        let left: Vec<_> = fixture.check().flaws;
        assert!(left.iter().all(|flaw| matches!(flaw, Flaw::ManifestUnused { .. })), "{name}: {left:?}");
        assert!(fixture.images.iter().all(|(_, manifest)| all_well(fixture.store(), manifest)), "{name}");
        // And a start of the daemon finds the same.
        fixture.reopen();
        assert!(fixture.images.iter().all(|(_, manifest)| all_well(fixture.store(), manifest)), "{name}");
    }
}

#[test]
fn good_chunks_of_a_bad_pack_are_saved_and_the_pack_is_kept_aside() {
    for damage in [1, 3, 4] {
        let mut fixture = Fixture::new();
        (DAMAGE[damage].1)(&mut fixture);
        let name = fixture.pack.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&fixture.pack).unwrap();
        let repaired = fixture.store().repair(&fixture.check().flaws).unwrap();
        let lost = fixture.store().missing(&fixture.images[0].1).len();
        let all = fixture.images[0].1.digests().count();
        assert!(
            (1..=FRAME_CHUNKS as usize + 1).contains(&lost) || damage == 4 && lost == 0,
            "{}: {lost}",
            DAMAGE[damage].0
        );
        assert_eq!(repaired.saved as usize, all - lost);
        assert_eq!(fixture.quarantine(), std::slice::from_ref(&name));
        assert!(fs::read(fixture.folder.path().join("quarantine").join(name)).unwrap() == bytes);
        assert!(all_well(fixture.store(), &fixture.images[1].1), "the other image is not touched");
        // What is in quarantine stays there, and does not become a finding.
        assert!(fixture.store().repair(&fixture.check().flaws).unwrap().quarantined.is_empty());
    }
}

#[test]
fn a_check_beside_imports_and_collections_finds_nothing() {
    let (folder, store) = open();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for seed in 0..12 {
                let (digest, _) = import(&store, &noise(seed, MIB), bare()).unwrap();
                if seed % 2 == 0 {
                    store.remove_manifest(digest).unwrap();
                }
                store.collection().unwrap().run().unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(check(&store, None).flaws, []);
        }
        worker.join().unwrap();
    });
    assert_eq!(check(&store, None).packs, packs(&folder).len() as u64);
}

#[test]
fn a_check_that_is_stopped_says_so() {
    let fixture = Fixture::new();
    let (keys, progress) = ([signer().key()], CheckProgress::default());
    progress.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let checking = Checking { keys: &keys, wanted: None, workers: 1, progress: &progress };
    let checked = fixture.store().check(&checking).unwrap();
    assert!(checked.stopped && checked.packs == 0);
}
