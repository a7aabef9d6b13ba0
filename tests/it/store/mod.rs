//! The store on a real disk: what is acknowledged stays, what is not leaves nothing.

mod beside;
mod check;
mod hold;
mod kill;
mod library;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use rootstock::image::chunk::{CHUNK, FRAME_CHUNKS, Packed};
use rootstock::image::ingest::{Halt, Keeper, Progress, Sink, ingest};
use rootstock::image::manifest::{Manifest, Signer};
use rootstock::image::partition::{Layout, Scheme};
use rootstock::image::source::Piece;
use rootstock::store::{GetError, Import, Store, StoreError, StoredImage};
use rootstock::value::Digest;
use tempfile::TempDir;

/// Bytes that do not compress and never are zero in a stretch.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A key for tests: PKCS#8 (RFC 8410 section 7) around a constant.
pub fn signer() -> Signer {
    let mut document = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend([7; 32]);
    Signer::from_pkcs8(&document).unwrap()
}

pub fn bare() -> Layout {
    Layout { scheme: Scheme::None, block_size: 512, partitions: vec![], warnings: vec![] }
}

/// Takes `image` in without making it whole.
pub fn take_in<K: Keeper>(keeper: &K, image: &[u8], layout: Layout) -> Result<Manifest, K::Error>
where
    K::Error: std::fmt::Debug,
{
    let feed = |sink: Sink<'_>| {
        let mut offset = 0;
        for bytes in image.chunks(300_000) {
            sink(Piece::Data { offset, bytes })?;
            offset += bytes.len() as u64;
        }
        Ok::<(), Halt>(())
    };
    match ingest(feed, |_| Ok(layout), keeper, 2, &Progress::default()) {
        Ok(ingested) => Ok(ingested.into_manifest().unwrap()),
        Err(rootstock::image::ingest::IngestError::Keep(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

pub fn import(store: &Store, image: &[u8], layout: Layout) -> Result<(Digest, Manifest), StoreError> {
    let import = store.import()?;
    let manifest = take_in(&import, image, layout)?;
    let digest = import.finish(&manifest, &signer().sign(&manifest))?;
    Ok((digest, manifest))
}

fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn packs(folder: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(folder.path().join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn all_well(store: &Store, manifest: &Manifest) -> bool {
    store.verify(manifest, 2, &AtomicU64::new(0)).damage.is_empty()
}

const MIB: usize = 1 << 20;
/// Chunks in a MiB.
const CHUNKS: u64 = MIB as u64 / CHUNK;

#[test]
fn an_image_is_there_after_the_store_was_closed_and_opened_again() {
    let (folder, store) = open();
    let image = noise(1, 5 * MIB + 77);
    let (digest, manifest) = import(&store, &image, bare()).unwrap();
    drop(store);
    for store in [Store::open_to_read(folder.path()).unwrap(), Store::open(folder.path()).unwrap()] {
        assert_eq!(store.manifests().unwrap(), [digest]);
        let signed = store.manifest(digest).unwrap();
        assert_eq!(signed.verify(digest, &[signer().key()]).unwrap(), manifest);
        let mut bytes = Vec::new();
        for chunk in manifest.digests() {
            bytes.extend_from_slice(store.get(*chunk).unwrap().bytes());
        }
        assert!(bytes == image);
    }
}

#[test]
fn an_import_that_is_dropped_leaves_nothing_visible() {
    let (folder, store) = open();
    take_in(&store.import().unwrap(), &noise(1, 3 * MIB), bare()).unwrap();
    assert_eq!(packs(&folder).len(), 0);
    assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(store.usage().chunks, 0);
}

#[test]
fn a_manifest_is_refused_as_long_as_one_of_its_chunks_is_missing() {
    let (_folder, store) = open();
    let manifest = take_in(&store.import().unwrap(), &noise(1, MIB), bare()).unwrap();
    let error = store.import().unwrap().finish(&manifest, &signer().sign(&manifest)).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete(GetError::Missing(_))), "{error:?}");
    assert!(store.manifests().unwrap().is_empty());
}

#[test]
fn two_imports_at_the_same_time_do_not_disturb_each_other() {
    let (_folder, store) = open();
    let images = [noise(1, 4 * MIB), [noise(2, MIB), noise(1, 2 * MIB)].concat()];
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| import(&store, &images[0], bare()).unwrap().1);
        let second = scope.spawn(|| import(&store, &images[1], bare()).unwrap().1);
        (first.join().unwrap(), second.join().unwrap())
    });
    assert!(all_well(&store, &first) && all_well(&store, &second));
}

#[test]
fn a_flipped_byte_in_a_pack_is_named_and_the_next_import_repairs_it() {
    let (folder, store) = open();
    let image = noise(1, 3 * MIB);
    let (_, manifest) = import(&store, &image, bare()).unwrap();
    let pack = packs(&folder).pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[MIB + MIB / 2] ^= 1;
    fs::write(&pack, bytes).unwrap();

    let damage = store.verify(&manifest, 2, &AtomicU64::new(0)).damage;
    // The frame no longer decompresses, or one of its chunks is another.
    assert!((1..=FRAME_CHUNKS as usize).contains(&damage.len()), "{damage:?}");
    let middle = (CHUNKS + CHUNKS / 2) as usize;
    let near: Vec<_> =
        manifest.digests().skip(middle - FRAME_CHUNKS as usize).take(2 * FRAME_CHUNKS as usize).collect();
    for damage in damage {
        assert!(near.contains(&&damage.chunk), "{damage:?}");
        assert!(matches!(damage.error, GetError::Damaged { .. }), "{}", damage.error);
    }

    let again = import(&store, &image, bare()).unwrap().1;
    assert!(all_well(&store, &again));
}

#[test]
fn a_pack_that_was_cut_short_is_reported_and_its_chunks_are_missing() {
    let (folder, store) = open();
    let (_, manifest) = import(&store, &noise(1, 2 * MIB), bare()).unwrap();
    drop(store);
    let pack = packs(&folder).pop().unwrap();
    let length = fs::metadata(&pack).unwrap().len();
    fs::File::options().write(true).open(&pack).unwrap().set_len(length - 1).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.unreadable()[0].0, pack);
    assert!(matches!(store.locations(&manifest), Err(GetError::Missing(_))));
}

#[test]
fn a_second_process_may_read_but_not_write() {
    let (folder, store) = open();
    let (_, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))));
    let reader = Store::open_to_read(folder.path()).unwrap();
    assert!(all_well(&reader, &manifest));
    assert!(matches!(reader.import(), Err(StoreError::ReadOnly(_))));
}

#[test]
fn a_held_manifest_is_not_removed_whoever_holds_it() {
    let (folder, store) = open();
    let (digest, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    let other = Store::open_to_read(folder.path()).unwrap();
    let hold = other.hold(digest).unwrap();
    assert!(store.is_held(&digest));
    assert!(matches!(store.remove_manifest(digest), Err(StoreError::Held(_))));
    store.collection().unwrap().run().unwrap();
    assert!(all_well(&other, &manifest));
    drop(hold);
    assert!(!store.is_held(&digest) && store.remove_manifest(digest).unwrap());
    assert!(other.hold(digest).is_err() && !store.remove_manifest(digest).unwrap());
}

#[test]
fn a_manifest_is_not_swept_before_its_use_is_written_down_and_a_sweep_has_seen_that() {
    let (_folder, store) = open();
    let (digest, _) = import(&store, &noise(1, MIB), bare()).unwrap();
    store.begin_sweep();
    assert!(!store.remove_stale_manifest(digest).unwrap(), "nobody said what it is for");
    store.recorded(&digest);
    assert!(!store.remove_stale_manifest(digest).unwrap(), "said after this sweep began");
    store.begin_sweep();
    let (again, _) = import(&store, &noise(1, MIB), bare()).unwrap();
    assert!(again == digest && !store.remove_stale_manifest(digest).unwrap(), "made again");
    store.recorded(&digest);
    store.begin_sweep();
    assert!(store.remove_stale_manifest(digest).unwrap());
}

#[test]
fn a_collection_gives_back_what_no_manifest_names_and_nothing_else() {
    let (folder, store) = open();
    let shared = noise(1, 2 * MIB);
    let (_, kept) = import(&store, &shared, bare()).unwrap();
    let (gone, _) = import(&store, &[shared.clone(), noise(2, 6 * MIB)].concat(), bare()).unwrap();
    let (mixed, _) = import(&store, &[noise(3, 4 * MIB), noise(4, MIB)].concat(), bare()).unwrap();
    let (_, part) = import(&store, &noise(4, MIB), bare()).unwrap();
    assert_eq!(store.garbage().unwrap().reclaimable, 0);

    assert!(store.remove_manifest(gone).unwrap() && store.remove_manifest(mixed).unwrap());
    assert!(!store.remove_manifest(gone).unwrap());
    let plan = store.collection().unwrap().plan().unwrap();
    assert_eq!((plan.remove.len(), plan.rewrite.len()), (1, 1), "{plan:?}");
    let before = store.usage();
    let collected = store.collection().unwrap().run().unwrap();
    assert_eq!(collected.packs, 2);
    assert!(collected.bytes > 9 * MIB as u64, "{collected:?}");
    assert_eq!(store.usage().bytes, before.bytes - collected.bytes);
    assert_eq!(store.usage().chunks, 3 * CHUNKS);
    for store in [&store, &Store::open_to_read(folder.path()).unwrap()] {
        assert!(all_well(store, &kept) && all_well(store, &part));
    }
}

/// One chunk of each frame lives: they are packed together again, and none of the others is left.
#[test]
fn a_collection_packs_the_living_chunks_of_half_dead_frames_together() {
    let (folder, store) = open();
    let image = noise(1, 4 * MIB + 777);
    let (gone, whole) = import(&store, &image, bare()).unwrap();
    let (chunk, frame) = (CHUNK as usize, (CHUNK * FRAME_CHUNKS) as usize);
    let few: Vec<u8> =
        image.chunks(frame).flat_map(|frame| &frame[..chunk.min(frame.len())]).copied().collect();
    let (_, kept) = import(&store, &few, bare()).unwrap();
    assert!(store.usage().chunks == whole.digests().count() as u64, "nothing was stored twice");
    store.remove_manifest(gone).unwrap();
    assert_eq!(store.collection().unwrap().plan().unwrap().rewrite.len(), 1);
    store.collection().unwrap().run().unwrap();
    assert_eq!(store.usage().chunks, kept.digests().count() as u64);
    let frames = store.locations(&kept).unwrap().frames().len() as u64;
    // The short last frame lives whole and is moved as it is.
    assert_eq!(frames, (store.usage().chunks - 1).div_ceil(FRAME_CHUNKS) + 1);
    for store in [&store, &Store::open_to_read(folder.path()).unwrap()] {
        assert!(all_well(store, &kept));
    }
}

/// What is left of a pack may be smaller than its headers; rewritten it would be the very same file.
#[test]
fn a_pack_with_little_in_it_outlives_any_number_of_collections() {
    let (folder, store) = open();
    let little = vec![7; CHUNK as usize];
    let (gone, _) = import(&store, &[little.clone(), noise(1, MIB)].concat(), bare()).unwrap();
    let (_, kept) = import(&store, &little, bare()).unwrap();
    store.remove_manifest(gone).unwrap();
    for _ in 0..3 {
        store.collection().unwrap().run().unwrap();
        assert_eq!(store.usage().chunks, 1);
        assert!(all_well(&store, &kept));
    }
    assert!(all_well(&Store::open_to_read(folder.path()).unwrap(), &kept));
}

/// Each import, however small, leaves a pack of its own.
#[test]
fn many_small_packs_become_one_and_few_are_left_alone() {
    let (folder, store) = open();
    let images: Vec<_> = (0..40)
        .map(|seed| import(&store, &noise(seed, MIB / 8 + seed as usize), bare()).unwrap().1)
        .collect();
    let (gone, _) = import(&store, &noise(99, MIB / 8), bare()).unwrap();
    store.remove_manifest(gone).unwrap();
    assert_eq!((packs(&folder).len(), store.garbage().unwrap().join.len()), (41, 40));
    let before = store.usage();
    let collected = store.collection().unwrap().run().unwrap();
    assert_eq!((packs(&folder).len(), collected.packs), (1, 41));
    assert_eq!(store.usage().bytes, before.bytes - collected.bytes, "{collected:?}");
    for seed in 100..110 {
        import(&store, &noise(seed, MIB / 8), bare()).unwrap();
    }
    assert_eq!(store.garbage().unwrap().join, []);
    store.collection().unwrap().run().unwrap();
    assert_eq!(packs(&folder).len(), 11);
    for store in [&store, &Store::open_to_read(folder.path()).unwrap()] {
        assert!(images.iter().all(|image| all_well(store, image)));
    }
}

/// A chunk that was found damaged is stored anew, in a pack with the name of the bad one: that is one pack, not two.
#[test]
fn a_pack_that_is_written_once_more_under_its_name_is_not_collected_as_garbage() {
    let (folder, store) = open();
    let image = noise(1, MIB / 2);
    let (name, kept) = import(&store, &image, bare()).unwrap();
    let pack = packs(&folder).remove(0);
    let bytes = fs::read(&pack).unwrap();
    let mut bad = bytes.clone();
    bad[1000] ^= 1;
    fs::write(&pack, bad).unwrap();
    assert!(!all_well(&store, &kept));
    // All chunks are doubted, so that all are written again.
    store.remove_manifest(name).unwrap();
    store.collection().unwrap().run().unwrap();
    let (_, kept) = import(&store, &image, bare()).unwrap();
    assert!(fs::read(&pack).unwrap() == bytes, "the same pack again");
    store.collection().unwrap().run().unwrap();
    assert!(all_well(&store, &kept));
}

#[test]
fn a_store_of_the_first_version_is_refused_with_what_to_do() {
    let (folder, store) = open();
    drop(store);
    let old = [b"RSPACK01".as_slice(), &[0; 90], b"RSPKEND1"].concat();
    fs::write(folder.path().join(format!("packs/{}.pack", Digest::of(&old))), old).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Older(_)), "{error:?}");
    assert!(error.to_string().contains("older version") && error.to_string().contains("import"), "{error}");
}

#[test]
fn a_stored_image_reads_as_the_image_wherever_one_looks() {
    let (_folder, store) = open();
    let image = [noise(1, MIB + 5), vec![0; 2 * MIB], noise(2, 3 * MIB)].concat();
    let (_, manifest) = import(&store, &image, bare()).unwrap();
    let mut reader = StoredImage::new(&store, manifest.regions());
    for at in [0, MIB * 3 + 1, 70_000, MIB - 3, image.len() - 9, 5 * MIB, 65_535] {
        let mut bytes = vec![0; 300_000.min(image.len() - at)];
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes == image[at..at + bytes.len()], "at {at}");
    }
}

#[test]
fn garbage_is_not_collected_when_a_manifest_cannot_be_read() {
    let (_folder, store) = open();
    let (digest, manifest) = import(&store, &noise(1, MIB), bare()).unwrap();
    fs::write(store.manifest_path(&digest), b"RSSIGNM1 damaged").unwrap();
    assert!(matches!(store.collection().unwrap().run(), Err(StoreError::Roots(_))));
    assert!(all_well(&store, &manifest));
}

/// A keeper that tells after each frame.
pub struct Telling<'a, F: Fn() + Sync>(pub &'a Import<'a>, pub F);

impl<F: Fn() + Sync> Keeper for Telling<'_, F> {
    type Error = StoreError;

    fn holds(&self, digest: &Digest) -> bool {
        self.0.holds(digest)
    }

    fn keep(&self, packed: &Packed) -> Result<(), StoreError> {
        self.0.keep(packed)?;
        self.1();
        Ok(())
    }
}
