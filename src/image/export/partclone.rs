//! partclone 0002: the blocks of one volume that are not unallocated. For the format see `image::source`'s partclone.

use super::shape::{Kind, Shape, Unfit, pieces};
use super::{Counted, ExportError, Feed};

/// Blocks that one checksum covers, as partclone has it.
const STRIP: u64 = 256;
/// Largest block; smaller where the volume is no whole number of them.
const MOST_BLOCK: u64 = 4096;
/// Bytes of the header.
const HEADER: usize = 110;
/// Bytes of zeros that are written at a time.
const ZEROS: u64 = 1 << 20;

/// Writes it.
pub(super) fn write(shape: &Shape, feed: &mut Feed<'_>, out: &mut Counted<'_>) -> Result<(), ExportError> {
    let [area] = shape.areas.as_slice() else {
        return Err(Unfit::OneVolume { present: shape.present() }.into());
    };
    let block = (area.size & area.size.wrapping_neg()).clamp(1, MOST_BLOCK);
    let blocks = area.size / block;
    let mut bitmap = vec![0_u8; blocks.div_ceil(8) as usize];
    let mut used = 0;
    for stretch in area.stretches.iter().filter(|stretch| stretch.kind != Kind::Free) {
        for number in stretch.offset / block..stretch.end().div_ceil(block) {
            let bit = 1 << (number % 8);
            used += u64::from(bitmap[(number / 8) as usize] & bit == 0);
            bitmap[(number / 8) as usize] |= bit;
        }
    }
    let system = area.volume.as_ref().map_or("raw", |volume| system(&volume.kind));
    out.put(&header(system, area.size, block, blocks, used))?;
    out.put(&bitmap)?;
    out.put(&unfinished(crc32fast::hash(&bitmap)).to_le_bytes())?;
    drop(bitmap);

    let mut strips = Strips { out, length: STRIP * block, held: 0, sum: crc32fast::Hasher::new() };
    let (mut bytes, zeros) = (Vec::new(), vec![0; ZEROS as usize]);
    for stretch in area.stretches.iter().copied().filter(|stretch| stretch.kind != Kind::Free) {
        for piece in pieces(stretch) {
            feed.reached(piece.offset)?;
            if piece.kind == Kind::Data {
                feed.read(piece, &mut bytes)?;
                strips.put(&bytes)?;
                continue;
            }
            let mut left = piece.length;
            while left > 0 {
                let some = left.min(ZEROS);
                strips.put(&zeros[..some as usize])?;
                left -= some;
            }
        }
    }
    strips.finish()
}

fn header(system: &str, size: u64, block: u64, blocks: u64, used: u64) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"partclone-image\0");
    put(16, b"0.3.23");
    put(30, b"0002\xde\xc0");
    put(36, system.as_bytes());
    for (at, field) in [(52, size), (60, blocks), (68, used), (76, used)] {
        put(at, &field.to_le_bytes());
    }
    put(84, &(block as u32).to_le_bytes());
    // Options: their length and version, bits of the machine, CRC-32 of 4 bytes, blocks a checksum, each anew, a bit a block.
    put(88, &18_u32.to_le_bytes());
    for (at, field) in [(92, 2_u16), (94, 64), (96, 0x20), (98, 4)] {
        put(at, &field.to_le_bytes());
    }
    put(100, &(STRIP as u32).to_le_bytes());
    put(104, &[1, 1]);
    let sum = unfinished(crc32fast::hash(&header[..106]));
    header[106..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// What partclone calls a file system.
fn system(kind: &str) -> &'static str {
    match kind {
        "hfs+" | "hfsx" => "HFSPLUS",
        "apfs" => "APFS",
        "exfat" => "EXFAT",
        "fat12" => "FAT12",
        "fat16" => "FAT16",
        "fat32" => "FAT32",
        "ntfs" => "NTFS",
        _ => "raw",
    }
}

/// partclone stores CRC-32 without its last step.
fn unfinished(crc: u32) -> u32 {
    !crc
}

/// Blocks with a checksum after every strip of them.
struct Strips<'a, 'b> {
    out: &'a mut Counted<'b>,
    length: u64,
    /// Bytes of the present strip.
    held: u64,
    sum: crc32fast::Hasher,
}

impl Strips<'_, '_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), ExportError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min((self.length - self.held) as usize));
            self.sum.update(now);
            self.out.put(now)?;
            self.held += now.len() as u64;
            bytes = later;
            if self.held == self.length {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExportError> {
        let sum = std::mem::take(&mut self.sum).finalize();
        self.held = 0;
        self.out.put(&unfinished(sum).to_le_bytes())
    }

    fn finish(mut self) -> Result<(), ExportError> {
        if self.held > 0 { self.close() } else { Ok(()) }
    }
}
