//! Who holds a manifest keeps it, also when it is signed again meanwhile; and what is remembered of manifests stays right.

use rootstock::image::manifest::{Manifest, Signer};
use rootstock::store::{ManifestError, Store, StoreError};
use rootstock::value::Digest;

use super::{MIB, bare, import, noise, open, packs};

/// Another key than that of all tests.
fn other() -> Signer {
    let mut document = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend([8; 32]);
    Signer::from_pkcs8(&document).unwrap()
}

fn sign_again(store: &Store, manifest: &Manifest, digest: Digest) {
    let signed = other().sign(manifest);
    store.replace_manifest(&signed).unwrap();
    assert_eq!(store.manifest(digest).unwrap().signed_by(), other().key());
}

#[test]
fn a_manifest_that_is_signed_again_stays_for_everybody_who_held_it_before_and_after() {
    let (folder, store) = open();
    let (digest, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    let reader = Store::open_to_read(folder.path()).unwrap();
    let before = reader.hold(digest).unwrap();
    sign_again(&store, &manifest, digest);
    let after = reader.hold(digest).unwrap();
    sign_again(&store, &manifest, digest);
    for hold in [before, after] {
        assert!(store.is_held(&digest) && reader.is_held(&digest));
        assert!(matches!(store.remove_manifest(digest), Err(StoreError::Held(_))));
        drop(hold);
    }
    assert!(!store.is_held(&digest) && store.remove_manifest(digest).unwrap());
    assert!(matches!(reader.hold(digest), Err(ManifestError::Missing(_))));
    assert_eq!(std::fs::read_dir(folder.path().join("superseded")).unwrap().count(), 0);
    assert!(!store.remove_manifest(digest).unwrap());
}

#[test]
fn a_hold_on_a_superseded_manifest_outlives_the_process_that_signed_it() {
    let (folder, store) = open();
    let (digest, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    let reader = Store::open_to_read(folder.path()).unwrap();
    let hold = reader.hold(digest).unwrap();
    sign_again(&store, &manifest, digest);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(store.remove_manifest(digest), Err(StoreError::Held(_))));
    drop((hold, store));
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("superseded")).unwrap().count(), 0, "swept at the start");
    assert!(store.remove_manifest(digest).unwrap());
}

#[test]
fn holds_taken_while_a_manifest_is_signed_again_and_again_are_all_seen() {
    let (folder, store) = open();
    let (digest, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| (0..40).for_each(|_| sign_again(&store, &manifest, digest)));
        let reader = Store::open_to_read(folder.path()).unwrap();
        while !signing.is_finished() {
            let hold = reader.hold(digest).unwrap();
            assert!(store.is_held(&digest));
            assert!(matches!(store.remove_manifest(digest), Err(StoreError::Held(_))));
            drop(hold);
        }
    });
    assert!(store.remove_manifest(digest).unwrap());
}

#[test]
fn what_is_remembered_of_manifests_gives_the_same_garbage_as_reading_them_all() {
    let (folder, store) = open();
    let same = |store: &Store| {
        let remembered = store.garbage().unwrap();
        assert_eq!(remembered, store.collection().unwrap().plan().unwrap());
        assert_eq!(remembered, store.garbage().unwrap(), "asked twice");
        remembered.reclaimable
    };
    let (shared, own) = (noise(1, 2 * MIB), noise(2, 3 * MIB));
    let first = import(&store, &[shared.clone(), own].concat(), bare()).unwrap().0;
    assert_eq!(same(&store), 0);
    let second = import(&store, &[shared, noise(3, MIB)].concat(), bare()).unwrap().0;
    assert_eq!(same(&store), 0);
    store.remove_manifest(first).unwrap();
    assert!(same(&store) > 2 * MIB as u64);
    store.collection().unwrap().run().unwrap();
    assert_eq!(same(&store), 0);
    assert_eq!(packs(&folder).len(), 2);
    store.remove_manifest(second).unwrap();
    assert!(same(&store) > 2 * MIB as u64);
}
