//! What lies on a target is not fetched: wherever it lies, and whatever lay there before, the image is there afterwards.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;
use rootstock::image::chunk::{CHUNK, FRAME_CHUNKS};
use rootstock::image::ingest::{Halt, Progress as Ingesting, Sink, ingest};
use rootstock::image::plan::{HEAD, Selection};
use rootstock::image::restore::{Compared, Decision, Options, Progress, Restored, Survey, compare, restore};
use rootstock::image::source::Piece;
use rootstock::store::Store;
use rootstock::value::FreeSpace;

use super::disk::Disk;
use super::{MIB, OPTIONS, Stored, Wire, frame_of, volume, whole_disk};
use crate::store::{bare, noise, signer};

const CELL: usize = CHUNK as usize;
const HEAD_CELLS: usize = (HEAD / CHUNK) as usize;
const HEAD_BYTES: usize = HEAD_CELLS * CELL;
const FULL: Options = Options { survey: Survey::Full, ..OPTIONS };

fn cases() -> u32 {
    std::env::var("ROOTSTOCK_TEST_CASES").map_or(24, |cases| cases.parse().unwrap())
}

/// What a cell holds: 0 zeros, 1 nothing that matters, from 2 on bytes of this number.
fn cell(kind: u8) -> Vec<u8> {
    if kind < 2 { vec![0; CELL] } else { noise(kind.into(), CELL) }
}

/// An image with a head and cells of these kinds; the last one is cut.
fn stored(kinds: &[u8], cut: usize) -> Stored {
    let mut image = noise(1000, HEAD_CELLS * CELL);
    kinds.iter().for_each(|kind| image.extend(cell(*kind)));
    image.truncate(image.len() - cut);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let import = store.import().unwrap();
    let feed = |sink: Sink<'_>| {
        let all = std::iter::repeat_n(&2, HEAD_CELLS).chain(kinds);
        for (number, (kind, bytes)) in all.zip(image.chunks(CELL)).enumerate() {
            let (offset, length) = ((number * CELL) as u64, bytes.len() as u64);
            sink(match kind {
                1 => Piece::Unallocated { offset, length },
                _ => Piece::Data { offset, bytes },
            })?;
        }
        Ok::<(), Halt>(())
    };
    let ingested = ingest(feed, |_| Ok(bare()), &import, 2, &Ingesting::default()).unwrap();
    let manifest = ingested.into_manifest().unwrap();
    import.finish(&manifest, &signer().sign(&manifest)).unwrap();
    Stored { image, manifest, store, _folder: folder }
}

fn to(stored: &Stored, disk: &Disk, options: Options) -> Restored {
    let plan = stored.plan(Selection::Whole);
    restore(plan, &stored.store, disk, options, &Progress::default()).unwrap()
}

fn compared(stored: &Stored, disk: &Disk) -> Compared {
    compare(stored.plan(Selection::Whole), disk, FULL, &Progress::default()).unwrap()
}

#[test]
fn a_disk_that_holds_the_image_is_read_and_nothing_else() {
    for stored in [volume(), whole_disk()] {
        for survey in [Survey::Sample, Survey::Full] {
            let disk = Disk::new(stored.image.clone());
            let done = to(&stored, &disk, Options { survey, ..OPTIONS });
            assert!(done.equal && done.fetched == 0 && done.copied == 0, "{done:?}");
            assert_eq!(disk.writes(), 0);
        }
        let disk = Disk::new(stored.image.clone());
        let same = compared(&stored, &disk);
        assert_eq!((same.equal, same.differing, same.to_fetch, same.to_write), (same.bytes, 0, 0, 0));
    }
}

#[test]
fn one_wrong_byte_anywhere_is_a_difference_and_the_disk_does_not_boot_until_it_is_mended() {
    let stored = whole_disk();
    for place in [0, 600, 30_000, MIB, 3 * MIB + 7, stored.image.len() - 1] {
        let disk = Disk::new(stored.image.clone());
        disk.flip(place as u64);
        let before = compared(&stored, &disk);
        assert!((1..=CHUNK).contains(&before.differing) && before.to_fetch > 0, "{place}: {before:?}");
        assert_eq!(disk.operations(), 0, "comparing writes nothing");
        let done = to(&stored, &disk, FULL);
        assert!(!done.equal && disk.content() == stored.image, "{place}");
        assert!(done.fetched < 2 * CHUNK * FRAME_CHUNKS, "{place}: {done:?}");
    }
}

#[test]
fn an_old_backup_table_at_the_end_of_a_larger_disk_is_a_difference() {
    let stored = whole_disk();
    let mut content = stored.image.clone();
    content.resize(9 * MIB, 0);
    content[9 * MIB - 100] = 1;
    let disk = Disk::new(content);
    assert!(compared(&stored, &disk).differing > 0);
    assert!(!to(&stored, &disk, FULL).equal);
    assert!(disk.content()[stored.image.len()..].iter().all(|byte| *byte == 0));
    assert!(to(&stored, &disk, FULL).equal);
}

#[test]
fn cells_that_changed_places_in_a_ring_are_copied_and_nothing_of_them_is_fetched() {
    let kinds: Vec<u8> = (10..40).collect();
    let stored = stored(&kinds, 0);
    let mut content = stored.image.clone();
    // One ring of thirty, and the head is there.
    content[HEAD_CELLS * CELL..].rotate_left(CELL);
    let disk = Disk::new(content);
    assert_eq!(compared(&stored, &disk).elsewhere, 30 * CHUNK);
    let done = to(&stored, &disk, FULL);
    assert!(disk.content() == stored.image);
    assert_eq!((done.fetched, done.copied, done.present), (0, 30 * CHUNK, 0));
}

#[test]
fn what_lies_in_free_space_is_copied_before_that_is_given_away() {
    let stored = stored(&[10, 1, 1, 11, 12], 0);
    let mut content = stored.image.clone();
    let at = |cell: usize| (HEAD_CELLS + cell) * CELL..(HEAD_CELLS + cell + 1) * CELL;
    content[at(2)].copy_from_slice(&cell(11));
    content[at(3)].fill(7);
    for free in FreeSpace::ALL {
        let disk = Disk::new(content.clone());
        let done = to(&stored, &disk, Options { free, ..FULL });
        assert_eq!((done.fetched, done.copied), (0, CHUNK), "{free}: {done:?}");
        let now = disk.content();
        let zeroed = now[at(2)].iter().all(|byte| *byte == 0);
        assert_eq!(zeroed, free != FreeSpace::Leave, "{free}");
        assert_eq!(done.left, if free == FreeSpace::Leave { 2 * CHUNK } else { 0 });
        assert_eq!(done.unallocated, if free == FreeSpace::Zero { 0 } else { 2 * CHUNK });
        assert!(now[at(3)] == stored.image[at(3)] && now[at(4)] == stored.image[at(4)]);
    }
}

#[test]
fn a_stranger_s_disk_is_sampled_and_not_read() {
    let kinds: Vec<u8> = (0..200).map(|number| 10 + number).collect();
    // More pieces than a sample has.
    let many: Vec<u8> = kinds.iter().cycle().take(70 * 16).copied().collect();
    let stored = stored(&many, 0);
    let disk = Disk::new(noise(5, stored.image.len()));
    let done = to(&stored, &disk, Options { survey: Survey::Sample, ..OPTIONS });
    assert!(matches!(done.decision, Some(Decision::Stranger { .. })), "{done:?}");
    assert!(disk.content() == stored.image);
    let again = to(&stored, &disk, Options { survey: Survey::Sample, ..OPTIONS });
    assert!(matches!(again.decision, Some(Decision::Measured { read: true, there: 100, .. })), "{again:?}");
    assert!(again.equal);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Kinds of cells: few, so that chunks occur often, in both.
    #[test]
    fn whatever_a_disk_held_it_holds_the_image_and_nothing_was_fetched_that_lay_on_it(
        kinds in prop::collection::vec(0..9_u8, 1..40),
        before in prop::collection::vec(0..12_u8, 40),
        cut in 0..CELL,
        head_is_there in any::<bool>(),
        free in prop::sample::select(FreeSpace::ALL.to_vec()),
        workers in 1..4_usize,
    ) {
        let stored = stored(&kinds, cut);
        let size = stored.image.len();
        let mut old = if head_is_there { stored.image[..HEAD_CELLS * CELL].to_vec() } else { noise(7, HEAD_CELLS * CELL) };
        before.iter().for_each(|kind| old.extend(cell(*kind)));
        old.truncate(size);
        let disk = Disk::new(old.clone());
        let wire = Wire { store: &stored.store, fetches: AtomicU32::new(0), asked: Default::default(), fault: |_, _, _: &mut [u8]| {} };
        let plan = stored.plan(Selection::Whole);
        let options = Options { workers, free, ..FULL };
        let done = restore(plan, &wire, &disk, options, &Progress::default()).unwrap();

        let now = disk.content();
        for (number, kind) in kinds.iter().enumerate() {
            let at = (HEAD_CELLS + number) * CELL;
            let to = (at + CELL).min(size);
            let free_cell = *kind == 1;
            let want = if free_cell && free == FreeSpace::Leave { &old } else { &stored.image };
            prop_assert!(done.equal && free_cell || now[at..to] == want[at..to], "cell {} of kind {}", number, kind);
        }
        prop_assert!(now[..HEAD_BYTES] == stored.image[..HEAD_BYTES]);

        // Frames of which a chunk is missing, and no others.
        let plan = stored.plan(Selection::Whole);
        let lies_there = |digest| old[HEAD_BYTES..].chunks(CELL).any(|bytes| rootstock::value::Digest::of(bytes) == digest);
        let missing = (0..plan.cells()).filter(|cell| !lies_there(plan.cell(*cell).digest));
        let missing: Vec<_> = missing.map(|cell| frame_of(&plan, cell)).collect();
        let asked = wire.asked.lock().unwrap();
        prop_assert_eq!(asked.is_empty(), missing.is_empty() && head_is_there);
        let fetched: u64 = missing.iter().collect::<std::collections::BTreeSet<_>>().iter().map(|place| u64::from(place.length)).sum();
        // The head, and what lies between frames.
        let most = fetched * 11 / 10 + if head_is_there { 0 } else { HEAD * 11 / 10 };
        prop_assert!(done.fetched <= most, "{} of {}", done.fetched, most);

        let again = to(&stored, &disk, options);
        prop_assert!(again.equal && again.fetched == 0);
    }
}
