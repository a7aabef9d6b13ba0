//! Laws of HFS+ volumes: what they say, which blocks are in use, damage anywhere.

use std::io::Cursor;

use proptest::prelude::*;

use super::make::{Kept, Make};
use crate::image::chunk::Span;
use crate::image::volume::{self, Allocation, Distrust, Facts, Kind, Startup, System};

const PLIST: &str = "<plist version=\"1.0\"><dict><key>ProductName</key><string>Mac OS X</string>\
    <key>ProductVersion</key><string>10.11.6</string><key>ProductBuildVersion</key><string>15G31</string></dict></plist>";

const VERSION: &str = "System/Library/CoreServices/SystemVersion.plist";
const FOLDER: &str = "System/Library/CoreServices";

fn facts(volume: &[u8]) -> Facts {
    volume::read(&mut Cursor::new(volume), 0, volume.len() as u64).unwrap()
}

fn judged(volume: &[u8]) -> Result<Allocation, Distrust> {
    volume::judged_allocation(&mut Cursor::new(volume), 0, volume.len() as u64).unwrap()
}

fn el_capitan(kept: Kept) -> Make {
    let mut files = vec![(VERSION, PLIST.as_bytes().to_vec(), kept)];
    files.push(("System/Library/CoreServices/boot.efi", vec![1; 9000], Kept::Plain));
    let more = ["a", "b", "c", "d", "Applications/x", "Library/y", "System/Library/CoreServices/z"];
    files.extend(more.map(|path| (path, vec![2; 10], Kept::Plain)));
    Make { files, blessed: Some(FOLDER), node: 1024, ..Make::default() }
}

/// Free bytes of the map in the volume, counted in another way: bit by bit.
fn free(allocation: &Allocation) -> u64 {
    allocation.runs().iter().filter(|run| !run.used).map(|run| run.span.length).sum()
}

#[test]
fn a_system_volume_says_what_is_on_it_however_its_files_are_kept() {
    for kept in [Kept::Plain, Kept::Attribute, Kept::Resource] {
        let facts = facts(&el_capitan(kept).make());
        assert_eq!((facts.kind, facts.label.as_deref()), (Kind::HfsPlus, Some("Made/ by hand")));
        let system = System { product: "Mac OS X".into(), version: "10.11.6".into(), build: "15G31".into() };
        assert_eq!(facts.system, Some(system));
        assert_eq!(
            (facts.startup, facts.unclean, facts.case_sensitive),
            (Startup::Present, None, Some(false))
        );
        assert_eq!(facts.top, ["a", "Applications", "b", "c", "d", "Library", "System"]);
        assert_eq!(facts.files, Some(9 + 5));
    }
}

#[test]
fn without_a_blessed_folder_or_a_loader_in_it_nothing_starts() {
    let unblessed = Make { blessed: None, ..el_capitan(Kept::Plain) };
    assert_eq!(facts(&unblessed.make()).startup, Startup::Absent);
    let mut empty = el_capitan(Kept::Plain);
    empty.files.remove(1);
    assert_eq!(facts(&empty.make()).startup, Startup::Absent);
}

#[test]
fn hfsx_is_case_sensitive_by_its_catalog() {
    let facts = facts(&Make { signature: *b"HX", ..el_capitan(Kept::Plain) }.make());
    assert_eq!((facts.kind, facts.case_sensitive), (Kind::Hfsx, Some(true)));
}

#[test]
fn the_map_of_blocks_is_the_allocation_file_and_both_headers_count_as_used() {
    for (block, blocks, tail) in [(512, 900, 0), (4096, 100, 1024), (8192, 60, 3000)] {
        let make = Make { block, blocks, tail, ..el_capitan(Kept::Plain) };
        let volume = make.make();
        let allocation = judged(&volume).unwrap();
        assert_eq!(allocation.block_size(), block);
        let header = u64::from(u32::from_be_bytes(volume[1024 + 48..1024 + 52].try_into().unwrap()));
        assert_eq!(free(&allocation), header * u64::from(block), "block {block}");
        let end = volume.len() as u64;
        assert!(!allocation.is_free(Span { offset: 1024, length: 1 }));
        assert!(!allocation.is_free(Span { offset: end - 1024, length: 1 }));
        assert!(!allocation.is_free(Span { offset: end - 1, length: 1 }));
    }
}

#[test]
fn an_allocation_file_in_more_than_eight_pieces_is_read_whole() {
    let make = Make { block: 512, blocks: 50_000, fragments: 13, ..el_capitan(Kept::Plain) };
    let volume = make.make();
    let allocation = judged(&volume).unwrap();
    // Each piece is followed by a free block.
    assert!(allocation.runs().len() > 24, "{}", allocation.runs().len());
    let header = u64::from(u32::from_be_bytes(volume[1024 + 48..1024 + 52].try_into().unwrap()));
    assert_eq!(free(&allocation), header * 512);
}

#[test]
fn around_an_embedded_volume_everything_is_used() {
    let make = Make { block: 512, blocks: 900, ..el_capitan(Kept::Plain) };
    let (plain, wrapped) = (make.make(), make.wrapped(32));
    let (inner, outer) = (judged(&plain).unwrap(), judged(&wrapped).unwrap());
    assert_eq!(facts(&wrapped).system, facts(&plain).system);
    let moved = inner.runs().iter().filter(|run| !run.used).map(|run| run.span.offset + 32 * 512);
    assert!(moved.eq(outer.runs().iter().filter(|run| !run.used).map(|run| run.span.offset)));
    assert_eq!(outer.used() - inner.used(), (wrapped.len() - plain.len()) as u64);
}

#[test]
fn a_region_that_lies_anywhere_is_described_in_bytes_of_its_disk() {
    let volume = el_capitan(Kept::Plain).make();
    let disk = [vec![7; 20_480], volume.clone(), vec![7; 512]].concat();
    let length = volume.len() as u64;
    let there = volume::allocation(&mut Cursor::new(disk), 20_480, length).unwrap().unwrap();
    assert_eq!(there.runs()[0].span.offset, 20_480);
    assert_eq!(there.runs().last().unwrap().span.end(), 20_480 + length);
    assert_eq!(there.used(), judged(&volume).unwrap().used());
}

#[test]
fn an_unclean_volume_or_journal_and_a_map_that_does_not_add_up_are_not_believed() {
    let unclean = Make { attributes: 0, ..el_capitan(Kept::Plain) };
    assert_eq!(judged(&unclean.make()), Err(Distrust::Mounted));
    let journal = |journal| Make { attributes: 1 << 8 | 1 << 13, journal, ..el_capitan(Kept::Plain) }.make();
    assert!(judged(&journal(Some((512, 512)))).is_ok());
    assert_eq!(judged(&journal(Some((512, 1024)))), Err(Distrust::Journal));
    assert_eq!(facts(&journal(Some((512, 1024)))).unclean, Some(Distrust::Journal));
    assert!(matches!(judged(&journal(None)), Err(Distrust::Damaged(_))));
    let mut volume = el_capitan(Kept::Plain).make();
    volume[1024 + 51] ^= 1;
    assert!(matches!(judged(&volume), Err(Distrust::Damaged(_))));
    let volume = el_capitan(Kept::Plain).make();
    assert!(matches!(judged(&volume[..volume.len() - 4096]), Err(Distrust::Damaged(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::image::volume::cases()))]
    #[test]
    fn a_mutated_volume_never_panics_and_its_map_covers_it(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        near in any::<bool>(), wrapped in any::<bool>(),
    ) {
        let make = Make { block: 512, blocks: 300, fragments: 9, ..el_capitan(Kept::Attribute) };
        let mut volume = if wrapped { make.wrapped(8) } else { make.make() };
        for (at, byte) in &flips {
            let at = if near { 1024 + at.index(512) } else { at.index(volume.len()) };
            volume[at] = *byte;
        }
        facts(&volume);
        if let Ok(allocation) = judged(&volume) {
            prop_assert_eq!(allocation.runs()[0].span.offset, 0);
            prop_assert_eq!(allocation.runs().last().unwrap().span.end(), volume.len() as u64);
        }
    }
}
