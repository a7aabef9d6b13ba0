//! How a disk is, by its own record: the SMART log of NVMe, the SMART data of ATA.
//!
//! Owns: which pages are asked for, what their bytes mean, which numbers make a verdict. What a disk answers is other people's
//! bytes: pages have a fixed length, and what makes no sense is left out. Must not know: sequences, the network.
//!
//! | page | bytes | meaning |
//! |---|---|---|
//! | NVMe log 02h (base specification 1.4, section 5.14.1.2) | 0 | critical warnings |
//! | | 1-2 | kelvin |
//! | | 3, 4, 5 | spare left, its threshold, life used: percent |
//! | | 48-63, 112-127, 128-143, 160-175 | written (512,000 bytes each), starts, hours, media errors |
//! | ATA SMART data (ACS-3, 7.48.6), thresholds | 2 + 12 n | attribute: id, flags u16, value, worst, raw u48; threshold: id, value |
//! | | 511 | makes the sum of all bytes zero |

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::ioctl;
use crate::api::inventory::{DiskHealth, HealthVerdict};

/// Bytes of every page.
pub(super) const PAGE: usize = 512;

/// What the disk says; none when it keeps no record, or nobody may ask.
pub fn health(node: &Path, rotates: bool) -> Option<DiskHealth> {
    let disk = File::open(node).ok()?;
    let name = node.file_name()?.to_str()?;
    let mut page = [0; PAGE];
    if name.starts_with("nvme") {
        ioctl::nvme_health(disk.as_fd(), &mut page).ok()?;
        return Some(of_nvme(&page));
    }
    ioctl::ata_smart(disk.as_fd(), ioctl::Smart::Data, &mut page).ok()?;
    let mut thresholds = [0; PAGE];
    let thresholds = ioctl::ata_smart(disk.as_fd(), ioctl::Smart::Thresholds, &mut thresholds)
        .is_ok()
        .then_some(thresholds);
    let failing = ioctl::ata_says_it_fails(disk.as_fd()).unwrap_or(false);
    of_ata(&page, thresholds.as_ref(), failing, rotates)
}

fn of_nvme(page: &[u8; PAGE]) -> DiskHealth {
    // Counters have 16 bytes; no disk lives to need more than 8.
    let counter = |at: usize| {
        let low = page[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if page[at + 8..at + 16].iter().any(|byte| *byte != 0) { u64::MAX } else { low }
    };
    let (warning, spare, threshold, wear) = (page[0], page[3], page[4], u32::from(page[5]));
    let errors = counter(160);
    let mut failing = Vec::new();
    let mut worn = Vec::new();
    if warning & 0b0_0001 != 0 || spare < threshold {
        failing.push(format!("{spare} % of its spare blocks are left, {threshold} % are needed"));
    }
    for (bit, words) in [
        (2, "it says that it is not reliable any more"),
        (3, "it takes no more writes"),
        (4, "its volatile memory has no back-up any more"),
    ] {
        if warning >> bit & 1 != 0 {
            failing.push(words.to_owned());
        }
    }
    if errors > 0 {
        worn.push(format!("{errors} blocks could not be read or written"));
    }
    if wear >= 100 {
        worn.push(format!("{wear} % of its life are used"));
    }
    let kelvin = i32::from(u16::from_le_bytes([page[1], page[2]]));
    DiskHealth {
        verdict: verdict(&failing, &worn),
        why: failing.into_iter().chain(worn).collect(),
        hours: Some(counter(128)),
        starts: Some(counter(112)),
        temperature: (kelvin > 0).then(|| kelvin - 273),
        wear: Some(wear),
        written: Some(counter(48).saturating_mul(512_000)),
    }
}

/// None when the page is none: its sum is not zero.
fn of_ata(
    page: &[u8; PAGE],
    thresholds: Option<&[u8; PAGE]>,
    fails: bool,
    rotates: bool,
) -> Option<DiskHealth> {
    let is_whole = |page: &[u8; PAGE]| page.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0;
    if !is_whole(page) || page.iter().all(|byte| *byte == 0) {
        return None;
    }
    let rows = |page: &[u8; PAGE]| -> Vec<[u8; 12]> {
        page[2..362]
            .chunks_exact(12)
            .filter_map(|row| row.try_into().ok())
            .filter(|row: &[u8; 12]| row[0] != 0)
            .collect()
    };
    let attributes = rows(page);
    let raw = |id: u8| {
        let row = attributes.iter().find(|row| row[0] == id)?;
        Some(row[5..11].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let value = |id: u8| attributes.iter().find(|row| row[0] == id).map(|row| u32::from(row[3]));
    let thresholds = thresholds.filter(|page| is_whole(page)).map(rows).unwrap_or_default();
    let mut failing = Vec::new();
    let mut worn = Vec::new();
    if fails {
        failing.push("it says itself that it is failing".to_owned());
    }
    for row in &attributes {
        let limit = thresholds.iter().find(|limit| limit[0] == row[0]).map_or(0, |limit| limit[1]);
        // Values 0, 254 and 255 are none. Bit 0 of the flags: below its threshold the disk fails soon.
        if row[1] & 1 != 0 && limit > 0 && (1..=253).contains(&row[3]) && row[3] <= limit {
            failing.push(format!("attribute {} is at {}, {limit} and below mean failure", row[0], row[3]));
        }
    }
    // The upper bytes of these are other counters with some makers.
    let sectors = |id: u8| raw(id).map_or(0, |raw| raw & 0xffff_ffff);
    for (id, words) in [(197, "sectors cannot be read at present"), (198, "sectors are lost")] {
        if sectors(id) > 0 {
            failing.push(format!("{} {words}", sectors(id)));
        }
    }
    if sectors(5) > 0 {
        worn.push(format!("{} sectors were replaced", sectors(5)));
    }
    // What is left of the life of an SSD: normalised from 100 downwards; the id depends on the maker.
    let left = [231, 233, 177, 173, 202].into_iter().find_map(value).filter(|left| !rotates && *left <= 100);
    let wear = left.map(|left| 100 - left);
    if wear.is_some_and(|wear| wear >= 100) {
        worn.push("all of its life is used".to_owned());
    }
    let temperature = raw(194)
        .or_else(|| raw(190))
        .map(|raw| (raw & 0xff) as i32)
        .filter(|degrees| (1..=120).contains(degrees));
    Some(DiskHealth {
        verdict: verdict(&failing, &worn),
        why: failing.into_iter().chain(worn).take(8).collect(),
        // The upper bytes hold minutes or milliseconds with some makers.
        hours: raw(9).map(|raw| raw & 0xffff_ffff).filter(|hours| *hours < 1_000_000),
        starts: raw(12).map(|raw| raw & 0xffff_ffff),
        temperature,
        wear,
        written: raw(241).and_then(|sectors| sectors.checked_mul(512)).filter(|_| !rotates),
    })
}

fn verdict(failing: &[String], worn: &[String]) -> HealthVerdict {
    match (failing.is_empty(), worn.is_empty()) {
        (false, _) => HealthVerdict::Failing,
        (true, false) => HealthVerdict::Worn,
        (true, true) => HealthVerdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvme(change: impl FnOnce(&mut [u8; PAGE])) -> DiskHealth {
        let mut page = [0; PAGE];
        page[1..3].copy_from_slice(&310_u16.to_le_bytes());
        (page[3], page[4], page[5]) = (100, 10, 3);
        page[48..50].copy_from_slice(&2000_u16.to_le_bytes());
        page[128..130].copy_from_slice(&9000_u16.to_le_bytes());
        change(&mut page);
        of_nvme(&page)
    }

    #[test]
    fn section_6_an_nvme_disk_says_how_it_is() {
        let good = nvme(|_| {});
        assert_eq!((good.verdict, good.temperature, good.wear), (HealthVerdict::Good, Some(37), Some(3)));
        assert_eq!((good.hours, good.written), (Some(9000), Some(1_024_000_000)));
        assert_eq!(nvme(|page| page[5] = 104).verdict, HealthVerdict::Worn);
        assert_eq!(nvme(|page| page[160] = 1).why, ["1 blocks could not be read or written"]);
        for change in [|page: &mut [u8; PAGE]| page[0] = 0b1000, |page: &mut [u8; PAGE]| page[3] = 9] {
            assert_eq!(nvme(change).verdict, HealthVerdict::Failing);
        }
        assert_eq!(nvme(|page| page[0] = 0b10).verdict, HealthVerdict::Good, "warm is not broken");
        assert_eq!(nvme(|page| page.fill(0xff)).hours, Some(u64::MAX));
    }

    fn page(rows: &[[u8; 12]]) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[0] = 1;
        for (index, row) in rows.iter().enumerate() {
            page[2 + 12 * index..14 + 12 * index].copy_from_slice(row);
        }
        page[511] = page.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        page
    }

    fn attribute(id: u8, value: u8, raw: u64) -> [u8; 12] {
        let mut row = [id, 1, 0, value, value, 0, 0, 0, 0, 0, 0, 0];
        row[5..11].copy_from_slice(&raw.to_le_bytes()[..6]);
        row
    }

    #[test]
    fn section_6_an_ata_disk_says_how_it_is() {
        let rows = [
            attribute(9, 99, 12_000),
            attribute(5, 100, 0),
            attribute(173, 91, 0),
            attribute(194, 60, 0x19_0015_0023),
        ];
        let good = of_ata(&page(&rows), None, false, false).unwrap();
        assert_eq!(
            (good.verdict, good.hours, good.wear, good.temperature),
            (HealthVerdict::Good, Some(12_000), Some(9), Some(35))
        );
        assert_eq!(
            of_ata(&page(&rows), None, false, true).unwrap().wear,
            None,
            "of a disk that rotates it is something else"
        );
        let verdict = |row, limit: u8, fails| {
            let limits = page(&[[5, limit, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]);
            of_ata(&page(&[row]), Some(&limits), fails, true).unwrap().verdict
        };
        assert_eq!(verdict(attribute(5, 90, 7), 36, false), HealthVerdict::Worn);
        assert_eq!(verdict(attribute(5, 36, 900), 36, false), HealthVerdict::Failing);
        assert_eq!(verdict(attribute(197, 100, 2), 0, false), HealthVerdict::Failing);
        assert_eq!(verdict(attribute(9, 100, 2), 0, true), HealthVerdict::Failing);
    }

    #[test]
    fn a_page_that_does_not_add_up_is_none_and_no_bytes_panic() {
        let mut wrong = page(&[attribute(5, 100, 1)]);
        wrong[100] ^= 1;
        assert_eq!(of_ata(&wrong, None, false, false), None);
        assert_eq!(of_ata(&[0; PAGE], None, false, false), None);
        let mut state = 7_u64;
        for _ in 0..500 {
            let rows: Vec<[u8; 12]> = (0..30)
                .map(|_| {
                    std::array::from_fn(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 56) as u8
                    })
                })
                .collect();
            let page = page(&rows);
            let _ = (of_ata(&page, Some(&page), false, false), of_nvme(&page));
        }
        assert_eq!(health(Path::new("/dev/null"), false), None);
        assert_eq!(health(Path::new("/nonexistent"), false), None);
    }
}
