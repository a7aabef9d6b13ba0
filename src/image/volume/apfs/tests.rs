//! Laws of APFS containers: what they say, which blocks are in use, damage anywhere.

use std::io::Cursor;

use proptest::prelude::*;

use super::make::{BLOCK, Make, MakeVolume};
use crate::image::volume::{self, Allocation, Distrust, Facts, Kind, Startup};

const PLIST: &str = "<plist version=\"1.0\"><dict><key>ProductName</key><string>macOS</string>\
    <key>ProductVersion</key><string>11.7.10</string><key>ProductBuildVersion</key><string>20G1427</string></dict></plist>";

fn facts(volume: &[u8]) -> Facts {
    volume::read(&mut Cursor::new(volume), 0, volume.len() as u64).unwrap()
}

fn judged(volume: &[u8]) -> Result<Allocation, Distrust> {
    volume::judged_allocation(&mut Cursor::new(volume), 0, volume.len() as u64).unwrap()
}

fn system(path: &'static str) -> MakeVolume {
    let content = PLIST.as_bytes().to_vec();
    let mut files = vec![(path, content), ("Applications/a", vec![3; 5000]), ("etc", vec![4; 10])];
    files.push(("System/Library/CoreServices/boot.efi", vec![5; 100]));
    MakeVolume { name: "Macintosh HD", role: 1, files, ..MakeVolume::default() }
}

const VERSION: &str = "System/Library/CoreServices/SystemVersion.plist";
const PACKED: &str = "System/Library/CoreServices/SystemVersion.plist*";

fn preboot(loader: &'static str) -> MakeVolume {
    MakeVolume { name: "Preboot", role: 16, files: vec![(loader, vec![1])], ..MakeVolume::default() }
}

const LOADER: &str = "0F1E2D3C-0000-4000-8000-0123456789AB/System/Library/CoreServices/boot.efi";

fn big_sur() -> Make {
    let data = MakeVolume { name: "Data", role: 64, is_encrypted: true, ..MakeVolume::default() };
    Make { volumes: vec![system(VERSION), data, preboot(LOADER)], ..Make::default() }
}

/// The runs that the marks of a [`Make`] give: free blocks of what it made.
fn free(allocation: &Allocation) -> u64 {
    allocation.runs().iter().filter(|run| !run.used).map(|run| run.span.length).sum::<u64>() / BLOCK as u64
}

fn said_free(volume: &[u8]) -> u64 {
    let at = 9 * BLOCK + 72;
    u64::from_le_bytes(volume[at..at + 8].try_into().unwrap())
}

#[test]
fn volumes_say_their_name_role_and_state_and_the_system_its_version() {
    let facts = facts(&big_sur().make());
    assert_eq!((facts.kind, facts.label.as_deref()), (Kind::Apfs, Some("Macintosh HD, Data, Preboot")));
    let system = facts.system.unwrap();
    assert_eq!(
        (system.product.as_str(), system.version.as_str(), system.build.as_str()),
        ("macOS", "11.7.10", "20G1427")
    );
    assert_eq!((facts.startup, facts.encrypted), (Startup::Present, vec!["Data".to_owned()]));
    assert_eq!(
        facts.volumes.iter().map(|volume| volume.role).collect::<Vec<_>>(),
        [Some("system"), Some("data"), Some("preboot")]
    );
    assert!(facts.top.contains(&"etc".to_owned()), "{:?}", facts.top);
    assert_eq!(facts.case_sensitive, Some(false));
}

#[test]
fn the_version_is_found_in_packed_files_deep_trees_and_sealed_volumes() {
    for (path, split, is_sealed) in [
        (PACKED, None, false),
        (VERSION, Some(2), false),
        (VERSION, Some(3), true),
        (PACKED, Some(1), true),
        (VERSION, None, true),
    ] {
        let volume = MakeVolume { split, is_sealed, snapshots: 1, ..system(path) };
        let facts = facts(&Make { volumes: vec![volume], ..Make::default() }.make());
        let version = facts.system.map(|system| system.version);
        assert_eq!(version.as_deref(), Some("11.7.10"), "{path} {split:?} {is_sealed}");
        assert_eq!((facts.volumes[0].is_sealed, facts.volumes[0].snapshots), (is_sealed, 1));
    }
}

#[test]
fn a_container_without_preboot_or_with_an_empty_one_does_not_start() {
    let with = |volumes| facts(&Make { volumes, ..Make::default() }.make()).startup;
    assert_eq!(with(vec![system(VERSION)]), Startup::Absent);
    assert_eq!(with(vec![system(VERSION), preboot("com.apple.boot/boot.efi")]), Startup::Absent);
    assert_eq!(with(vec![system(VERSION), preboot(LOADER)]), Startup::Present);
    let closed = MakeVolume { is_encrypted: true, ..preboot(LOADER) };
    assert_eq!(with(vec![closed]), Startup::Unknown);
}

#[test]
fn used_blocks_are_those_of_the_chunks_with_and_without_address_blocks() {
    for address_blocks in [false, true] {
        for (blocks, chunk, infos) in [(300, 64, 3), (257, 64, 1), (200, 32768, 5)] {
            let marked = vec![blocks - 1, blocks - 30];
            let make = Make { address_blocks, blocks, chunk, infos, marked, ..big_sur() };
            let volume = make.make();
            let allocation = judged(&volume).unwrap();
            assert_eq!(free(&allocation), said_free(&volume), "{blocks} {chunk} {address_blocks}");
            let last = allocation.runs().last().unwrap();
            assert!(last.used && last.span.length == BLOCK as u64);
            assert_eq!(facts(&volume).used, Some(allocation.used()));
        }
    }
}

#[test]
fn what_lies_behind_the_container_is_used() {
    let volume = [big_sur().make(), vec![0; 5000]].concat();
    let last = *judged(&volume).unwrap().runs().last().unwrap();
    assert!(last.used && last.span.end() == volume.len() as u64);
}

#[test]
fn any_damage_on_the_way_to_the_map_means_that_nothing_is_free() {
    let volume = big_sur().make();
    let is_damaged = |volume: &[u8]| matches!(judged(volume), Err(Distrust::Damaged(_)));
    // Both superblocks of the area, the mapping, the manager.
    for blocks in [vec![2, 4], vec![3], vec![9]] {
        let mut volume = volume.clone();
        blocks.iter().for_each(|block| volume[block * BLOCK + 100] ^= 1);
        assert!(is_damaged(&volume), "{blocks:?}");
    }
    assert!(is_damaged(&volume[..volume.len() - BLOCK]));
    // The older checkpoint alone: its mapping is of another transaction.
    let mut older = volume.clone();
    older[4 * BLOCK + 100] ^= 1;
    assert!(is_damaged(&older));
    let fusion = Make { features: 2 | 0x100, ..big_sur() }.make();
    assert!(matches!(judged(&fusion), Err(Distrust::Elsewhere(_))));
    assert!(facts(&fusion).is_fusion);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::image::volume::cases()))]
    #[test]
    fn a_mutated_container_never_panics_and_its_map_covers_it_and_is_never_freer(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..BLOCK, any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut volume = big_sur().make();
        for (block, at, byte, sound) in &flips {
            let start = block.index(60) * BLOCK;
            volume[start + at] = *byte;
            if *sound {
                // Even with its sum put right.
                let sum = super::object::checksum(&volume[start..start + BLOCK]);
                volume[start..start + 8].copy_from_slice(&sum.to_le_bytes());
            }
        }
        facts(&volume);
        if let Ok(allocation) = judged(&volume) {
            prop_assert_eq!(allocation.runs()[0].span.offset, 0);
            prop_assert_eq!(allocation.runs().last().unwrap().span.end(), volume.len() as u64);
            prop_assert!(allocation.runs()[0].used);
        }
    }
}
