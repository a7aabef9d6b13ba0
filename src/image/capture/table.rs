//! A partition table for an image that takes some partitions of a disk and not the others.
//!
//! Owns: where the partitions lie in such an image, protective MBR, both tables (UEFI 2.10 section 5). The entries are
//! those of the disk, with the place changed: type, own GUID, attributes and name stay. Must not know: what is in them.
//!
//! | image | |
//! |---|---|
//! | from 0 | protective MBR, header, 128 entries |
//! | from 1 MiB | the partitions, one after the other, each on a whole 4 KiB |
//! | after them, on a whole 4 KiB | 128 entries, header |

use std::io::{self, Read, Seek, SeekFrom};

use crate::image::field::Fields;
use crate::image::partition::{Layout, Partition, Scheme};

/// Where the first partition starts.
const FIRST: u64 = 1 << 20;
/// What starts and ends are rounded up to.
const ALIGN: u64 = 4096;
const ENTRY: usize = 128;
const ENTRIES: usize = 128;
/// Longest entry that a table may have, see `image::partition::gpt`.
const MOST_ENTRY: u32 = 4096;

/// The table of an image.
pub(super) struct Made {
    /// What [`crate::image::partition::read`] will say of it.
    pub layout: Layout,
    /// The bytes from 0 to the first partition.
    pub head: Vec<u8>,
    /// The bytes from the end of the last partition to the end of the image.
    pub tail: Vec<u8>,
}

/// Makes the table for `chosen` partitions of a GPT disk with blocks of `block` bytes, in the order given.
/// None when the disk's own entries cannot be found again.
///
/// # Errors
/// Reading them.
pub(super) fn make(
    disk: &mut (impl Read + Seek),
    size: u64,
    block: u32,
    chosen: &[Partition],
) -> io::Result<Option<Made>> {
    let Some(raw) = entries(disk, size, block, chosen)? else { return Ok(None) };
    let bytes = u64::from(block);
    let (mut at, mut entries, mut partitions) = (FIRST, vec![0; ENTRY * ENTRIES], Vec::new());
    for (slot, (mut entry, partition)) in raw.into_iter().zip(chosen).enumerate() {
        entry[32..40].copy_from_slice(&(at / bytes).to_le_bytes());
        entry[40..48].copy_from_slice(&((at + partition.size) / bytes - 1).to_le_bytes());
        entries[slot * ENTRY..][..ENTRY].copy_from_slice(&entry);
        partitions.push(Partition { number: slot as u32 + 1, start: at, ..partition.clone() });
        at = (at + partition.size).next_multiple_of(ALIGN);
    }
    let end = partitions.last().map_or(FIRST, |last| last.start + last.size);
    let table = (ENTRY * ENTRIES) as u64;
    let whole = at + table.next_multiple_of(bytes) + bytes;
    let (whole, last) = (whole.next_multiple_of(ALIGN), whole.next_multiple_of(ALIGN) / bytes - 1);
    let backup = last - table.div_ceil(bytes);
    // The disk's GUID names this one disk; what it is restored to is another, so the image's is made of what is in it.
    let guid = identity(&entries);
    let usable = (2 + table.div_ceil(bytes), backup - 1);
    let header = |own: u64, other: u64, first: u64| {
        let mut header = vec![0; block as usize];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (place, number) in [(24, own), (32, other), (40, usable.0), (48, usable.1), (72, first)] {
            header[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].copy_from_slice(&guid);
        for (place, number) in [(80, ENTRIES as u32), (84, ENTRY as u32), (88, crc32fast::hash(&entries))] {
            header[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    };
    let mut head = vec![0; FIRST as usize];
    protect(&mut head, last);
    head[block as usize..][..block as usize].copy_from_slice(&header(1, last, 2));
    head[2 * block as usize..][..entries.len()].copy_from_slice(&entries);
    let mut tail = vec![0; (whole - end) as usize];
    tail[(backup * bytes - end) as usize..][..entries.len()].copy_from_slice(&entries);
    tail[(last * bytes - end) as usize..].copy_from_slice(&header(last, 1, backup));
    let layout = Layout { scheme: Scheme::Gpt, block_size: block, partitions, warnings: Vec::new() };
    Ok(Some(Made { layout, head, tail }))
}

/// A version 8 UUID (RFC 9562) of the entries, as a GPT spells it.
fn identity(entries: &[u8]) -> [u8; 16] {
    let digest = crate::value::Digest::of(entries);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_bytes_le()
}

/// The MBR that keeps other tools away (UEFI section 5.2.3).
fn protect(head: &mut [u8], last: u64) {
    head[446..450].copy_from_slice(&[0, 0, 2, 0]);
    head[450..454].copy_from_slice(&[0xee, 0xff, 0xff, 0xff]);
    head[454..458].copy_from_slice(&1_u32.to_le_bytes());
    head[458..462].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// The disk's own entries of the chosen partitions: by the table at the front, else by the one at the end.
fn entries(
    disk: &mut (impl Read + Seek),
    size: u64,
    block: u32,
    chosen: &[Partition],
) -> io::Result<Option<Vec<[u8; ENTRY]>>> {
    let block = u64::from(block);
    let last = size.checked_sub(block).map_or(block, |last| last / block * block);
    for at in [block, last] {
        let mut header = [0; 512];
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut header)?;
        let header = Fields(&header);
        let length = header.le32(84);
        let Some(table) = header.le64(72).checked_mul(block) else { continue };
        if !header.has(0, b"EFI PART") || !(ENTRY as u32..=MOST_ENTRY).contains(&length) {
            continue;
        }
        let found = chosen.iter().map(|partition| {
            let mut entry = [0; ENTRY];
            let place =
                table.saturating_add(u64::from(partition.number.saturating_sub(1)) * u64::from(length));
            if place.saturating_add(ENTRY as u64) > size {
                return Ok(None);
            }
            disk.seek(SeekFrom::Start(place))?;
            disk.read_exact(&mut entry)?;
            let first = Fields(&entry).le64(32).checked_mul(block);
            Ok((first == Some(partition.start)).then_some(entry))
        });
        if let Some(found) = found.collect::<io::Result<Option<Vec<_>>>>()? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
