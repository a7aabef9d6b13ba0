//! Everything beside everything: imports, deletions, collections and readers in threads, on one store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rootstock::image::manifest::Manifest;
use rootstock::image::plan::{Plan, Selection};
use rootstock::image::restore::{FetchError, Frames, Place};
use rootstock::store::Store;
use rootstock::value::Digest;

use super::{MIB, Telling, all_well, bare, import, noise, open, packs, signer, take_in};

/// Rounds of each importing thread.
fn rounds() -> u64 {
    std::env::var("ROOTSTOCK_STRESS_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap())
}

/// Parts that images share, in an order that differs: what one deletes, another begins to count on.
fn image(seed: u64) -> Vec<u8> {
    let part = |n: u64| noise(1000 + (seed * 7 + n * 3) % 11, MIB / 2);
    [part(0), noise(seed, MIB / 4), part(1), part(2)].concat()
}

#[test]
fn no_collection_takes_what_an_import_that_ends_well_names() {
    // In memory: what is tested is the order of things, not the disk's patience.
    let memory =
        ["/dev/shm", "/tmp"].into_iter().find(|folder| std::path::Path::new(folder).is_dir()).unwrap();
    let folder = tempfile::tempdir_in(memory).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let living: Mutex<HashMap<Digest, Manifest>> = Mutex::default();
    let (done, imported, collected) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let importers: Vec<_> = (0..3)
            .map(|thread| {
                let (store, living, imported) = (&store, &living, &imported);
                scope.spawn(move || {
                    for round in 0..rounds() {
                        let session = store.import().unwrap();
                        let image = image(thread * 1000 + round);
                        // A chunk at a time, so that collections come between any two.
                        let slow = Telling(&session, std::thread::yield_now);
                        let manifest = take_in(&slow, &image, bare()).unwrap();
                        if round % 5 == 4 {
                            // Another collection may be at work: then that is left to the next one.
                            drop(session.abandon());
                            continue;
                        }
                        let digest = session.finish(&manifest, &signer().sign(&manifest)).unwrap();
                        assert!(all_well(store, &manifest), "at its end");
                        imported.fetch_add(1, Ordering::Relaxed);
                        let mut living = living.lock().unwrap();
                        living.insert(digest, manifest);
                        if living.len() > 4 {
                            let gone = *living.keys().min().unwrap();
                            living.remove(&gone);
                            store.remove_manifest(gone).unwrap();
                        }
                    }
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(collection) = store.collection() {
                    collected.fetch_add(collection.run().unwrap().packs, Ordering::Relaxed);
                }
            }
        });
        let reader = scope.spawn(|| {
            let other = Store::open_to_read(folder.path()).unwrap();
            while !done.load(Ordering::Relaxed) {
                let one = living
                    .lock()
                    .unwrap()
                    .iter()
                    .next()
                    .map(|(digest, manifest)| (*digest, manifest.clone()));
                // Removed between the two: then there is nothing to hold.
                let Some((manifest, _hold)) = one.and_then(|(digest, manifest)| {
                    let hold = other.hold(digest).ok()?;
                    Some((manifest, hold))
                }) else {
                    continue;
                };
                let read = other.verify(&manifest, 1, &AtomicU64::new(0));
                assert!(read.damage.is_empty(), "{:?}", read.damage);
                restore(&other, &manifest);
            }
        });
        importers.into_iter().for_each(|importer| importer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        collector.join().unwrap();
        reader.join().unwrap();
    });
    assert!(imported.into_inner() > rounds() && collected.into_inner() > 0);
    let left = store.collection().unwrap().run().unwrap();
    let living = living.into_inner().unwrap();
    for store in [&store, &Store::open_to_read(folder.path()).unwrap()] {
        assert!(living.values().all(|manifest| all_well(store, manifest)), "after {left:?}");
    }
    assert_eq!(store.usage().packs, packs(&folder).len() as u64, "the index knows what is there");
}

/// Reads all frames as a restore does: by their places, asked again when a pack is gone.
fn restore(store: &Store, manifest: &Manifest) {
    'again: for _ in 0..50 {
        let plan = Plan::new(manifest, store.locations(manifest).unwrap(), Selection::Whole).unwrap();
        assert!(plan.to_fetch() > 0);
        let locations = store.locations(manifest).unwrap();
        for place in locations.frames() {
            let pack = locations.packs()[place.pack as usize];
            let mut frame = vec![0; place.length as usize];
            match store.fetch(Place { pack, offset: place.offset, fresh: false }, &mut frame) {
                Ok(()) => {}
                Err(FetchError::Gone(_)) => {
                    store.catch_up().unwrap();
                    continue 'again;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        return;
    }
    panic!("the chunks move without end");
}

#[test]
fn what_an_import_was_told_is_held_stays_though_its_manifest_goes_at_once() {
    let (_folder, store) = open();
    let bytes = noise(1, 2 * MIB);
    let (first, _) = import(&store, &bytes, bare()).unwrap();
    let session = store.import().unwrap();
    let manifest = take_in(&session, &bytes, bare()).unwrap();
    assert_eq!(store.garbage().unwrap().reclaimable, 0);
    assert!(store.remove_manifest(first).unwrap());
    assert_eq!(store.garbage().unwrap().reclaimable, 0, "the import counts on it");
    let collected = store.collection().unwrap().run().unwrap();
    assert_eq!(collected.packs, 0);
    session.finish(&manifest, &signer().sign(&manifest)).unwrap();
    assert!(all_well(&store, &manifest));
}

#[test]
fn what_an_import_stored_and_has_not_finished_stays_and_goes_when_it_is_given_up() {
    let (folder, store) = open();
    let session = store.import().unwrap();
    take_in(&session, &noise(1, 2 * MIB), bare()).unwrap();
    session.settle().unwrap();
    assert_eq!(store.collection().unwrap().run().unwrap().packs, 0);
    assert_eq!(packs(&folder).len(), 1);
    session.abandon().unwrap();
    assert_eq!(packs(&folder).len(), 0);
    assert_eq!(store.usage().chunks, 0);
}

#[test]
fn one_collection_runs_at_a_time_and_a_damaged_chunk_keeps_its_pack_only() {
    let (folder, store) = open();
    let (gone, _) = import(&store, &[noise(1, 2 * MIB), noise(2, 6 * MIB)].concat(), bare()).unwrap();
    let (_, kept) = import(&store, &noise(1, 2 * MIB), bare()).unwrap();
    let collection = store.collection().unwrap();
    assert!(store.collection().is_err());
    drop(collection);
    store.remove_manifest(gone).unwrap();
    let pack = packs(&folder).pop().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[MIB / 2] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let collected = store.collection().unwrap().run().unwrap();
    assert_eq!((collected.packs, collected.damaged), (0, 1));
    bytes[MIB / 2] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let collected = store.collection().unwrap().run().unwrap();
    assert_eq!((collected.packs, collected.damaged), (1, 0));
    assert!(all_well(&store, &kept));
}
