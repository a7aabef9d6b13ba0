//! Images of every mode made by the format's rules, damaged ones, and any bytes at all.

use std::convert::Infallible;
use std::hash::Hasher as _;
use std::io::{Cursor, Read, Seek, SeekFrom, Write as _};

use proptest::prelude::*;

use super::*;
use crate::image::source::Source;

const BLOCK: u32 = 512;

fn crc(bytes: &[u8]) -> Vec<u8> {
    (!crc32fast::hash(bytes)).to_le_bytes().to_vec()
}

/// Block `number` of the image that all tests pack.
fn block(number: usize) -> Vec<u8> {
    (0..BLOCK as usize).map(|at| (number * 31 + at * 7 + 1) as u8).collect()
}

/// The image: used blocks as they are, free ones zero.
fn disk(used: &[bool], device: u64) -> Vec<u8> {
    let blocks = used.iter().enumerate();
    let mut bytes: Vec<u8> = blocks
        .flat_map(|(number, used)| if *used { block(number) } else { vec![0; BLOCK as usize] })
        .collect();
    bytes.resize(bytes.len().max(device as usize), 0);
    bytes
}

fn used_blocks(used: &[bool]) -> Vec<Vec<u8>> {
    used.iter().enumerate().filter(|(_, used)| **used).map(|(number, _)| block(number)).collect()
}

/// Version 0002 with this checksum mode (its size, blocks a checksum, whether it begins anew) and bitmap mode.
fn version_2(used: &[bool], device: u64, mode: (u16, u16, u32, bool), bitmap: u8) -> Vec<u8> {
    let (mode, size, every, anew) = mode;
    let mut file = Vec::new();
    file.extend_from_slice(b"partclone-image\0");
    file.extend_from_slice(b"0.3.23\0\0\0\0\0\0\0\0");
    file.extend_from_slice(b"0002\xde\xc0");
    file.extend_from_slice(b"HFS Plus\0\0\0\0\0\0\0\0");
    let count = used.iter().filter(|used| **used).count() as u64;
    for number in [device, used.len() as u64, count, count] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    file.extend_from_slice(&BLOCK.to_le_bytes());
    file.extend_from_slice(&18u32.to_le_bytes());
    for number in [2, 64, mode, size] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    file.extend_from_slice(&every.to_le_bytes());
    file.extend_from_slice(&[u8::from(anew), bitmap]);
    let sum = crc(&file);
    file.extend_from_slice(&sum);
    let map: Vec<u8> = match bitmap {
        0 => Vec::new(),
        8 => used.iter().map(|used| u8::from(*used)).collect(),
        _ => used
            .chunks(8)
            .map(|eight| eight.iter().enumerate().map(|(bit, used)| u8::from(*used) << bit).sum())
            .collect(),
    };
    file.extend_from_slice(&map);
    if bitmap != 0 {
        file.extend_from_slice(&crc(&map));
    }
    let blocks = used_blocks(used);
    let mut seen = Vec::new();
    for strip in blocks.chunks((every as usize).max(1)) {
        if anew {
            seen.clear();
        }
        strip.iter().for_each(|block| seen.extend_from_slice(block));
        strip.iter().for_each(|block| file.extend_from_slice(block));
        match mode {
            0x20 => file.extend_from_slice(&crc(&seen)),
            0x30 => {
                let mut sum = twox_hash::XxHash64::with_seed(0);
                sum.write(&seen);
                file.extend_from_slice(&sum.finish().to_le_bytes());
            }
            0x31 => file.extend_from_slice(&twox_hash::XxHash3_128::oneshot(&seen).to_le_bytes()),
            _ => {}
        }
    }
    file
}

/// Version 0001, with or without what 64-bit programs added.
fn version_1(used: &[bool], device: u64, gap: bool) -> Vec<u8> {
    let mut file = [&b"partclone-imageHFS Plus\0\0\0\0\0\0\0"[..], b"0001\0\0"].concat();
    file.extend_from_slice(&BLOCK.to_le_bytes());
    let count = used.iter().filter(|used| **used).count() as u64;
    for number in [device, used.len() as u64, count] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    file.resize(4160, 0);
    file.extend(used.iter().map(|used| u8::from(*used)));
    file.extend_from_slice(b"BiTmAgIc");
    let mut seen = Vec::new();
    for block in used_blocks(used) {
        seen.extend(std::iter::repeat_n(block[0], BLOCK as usize));
        file.extend_from_slice(&block);
        file.extend_from_slice(&crc(&seen));
        file.extend_from_slice(if gap { b"\0\0\0\0" } else { b"" });
    }
    file
}

const CRC32: (u16, u16, u32, bool) = (0x20, 4, 3, true);

fn decode(source: &mut Source) -> Result<(Vec<u8>, Decoded), DecodeError<Infallible>> {
    let mut disk = Vec::new();
    let decoded = source.decode(2, &mut |piece| {
        match piece {
            Piece::Data { offset, bytes } => {
                assert_eq!(offset, disk.len() as u64);
                disk.extend_from_slice(bytes);
            }
            Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => {
                assert_eq!(offset, disk.len() as u64);
                disk.resize(disk.len() + length as usize, 0);
            }
        }
        Ok(())
    })?;
    Ok((disk, decoded))
}

fn open(file: Vec<u8>) -> Result<Source, SourceError> {
    Source::open(Cursor::new(file))
}

fn refused(file: Vec<u8>) -> String {
    let error = match open(file) {
        Ok(mut source) => match decode(&mut source) {
            Ok(_) => panic!("a damaged image was read"),
            Err(DecodeError::Source(error)) => error,
        },
        Err(error) => error,
    };
    error.to_string()
}

/// Reads a file by all ways and compares.
fn reads(file: &[u8], want: &[u8], has_sums: bool) {
    let mut source = open(file.to_vec()).unwrap();
    assert_eq!(
        (source.format(), source.size()),
        (crate::image::source::Format::Partclone, Some(want.len() as u64))
    );
    let (disk, decoded) = decode(&mut source).unwrap();
    assert!(disk == want);
    assert_eq!(decoded.checksums, Checksums { present: has_sums, ok: true });
    let mut reader = source.into_reader().unwrap();
    let mut read = Vec::new();
    reader.seek(SeekFrom::Start(0)).and_then(|_| reader.read_to_end(&mut read)).unwrap();
    assert!(read == want, "random access");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(file).unwrap();
    let mut packed = open(packer.finish().unwrap()).unwrap();
    assert_eq!(packed.format().to_string(), "partclone.gz");
    assert!(decode(&mut packed).unwrap().0 == want, "compressed");
}

#[test]
fn every_checksum_mode_and_bitmap_mode_is_read() {
    let used = [false, true, true, true, true, false, false, true, false, true, false];
    for mode in [
        (0, 0, 0, true),
        CRC32,
        (0x20, 4, 2, false),
        (0x30, 8, 2, true),
        (0x31, 16, 4, true),
        (0x31, 16, 1, false),
    ] {
        for bitmap in [1, 8] {
            for device in [11 * 512, 11 * 512 + 1024, 0] {
                let file = version_2(&used, device, mode, bitmap);
                reads(&file, &disk(&used, device), mode.0 != 0);
            }
        }
    }
    let all = [true; 9];
    reads(&version_2(&all, 9 * 512, CRC32, 0), &disk(&all, 0), true);
}

#[test]
fn version_1_is_read_with_and_without_the_bytes_that_64_bit_programs_added() {
    let used = [true, false, true, true, false, false, true];
    for used in [&used[..], &[true, false], &[false, true], &[true, true]] {
        for gap in [false, true] {
            let file = version_1(used, 0, gap);
            reads(&file, &disk(used, 0), true);
        }
    }
}

#[test]
fn an_image_without_a_used_block_is_all_free() {
    reads(&version_2(&[false; 12], 6144, CRC32, 1), &[0; 6144], true);
    reads(&version_1(&[false; 12], 6144, false), &[0; 6144], true);
}

#[test]
fn every_damaged_byte_that_a_sum_covers_is_found() {
    let used = [true, false, true, true, true];
    let good = version_2(&used, 0, CRC32, 1);
    // Of the two bytes of the marker and the version, another check speaks first.
    for at in 36..good.len() {
        let mut file = good.clone();
        file[at] ^= 0x10;
        let told = refused(file);
        assert!(told.contains("the image is damaged"), "{at}: {told}");
    }
    for mode in [(0x30, 8, 2, true), (0x31, 16, 2, true)] {
        let mut file = version_2(&used, 0, mode, 1);
        let at = file.len() - 20;
        file[at] ^= 1;
        assert!(refused(file).contains("the XXH of the blocks before byte 2560"));
    }
}

#[test]
fn a_file_that_ends_early_or_goes_on_is_refused() {
    for good in
        [version_2(&[true, false, true, true], 0, CRC32, 1), version_1(&[true, true, false], 0, false)]
    {
        for length in 15..good.len() {
            let told = refused(good[..length].to_vec());
            assert!(told.contains("cut off") || told.contains("damaged"), "{length}: {told}");
        }
        let mut longer = good.clone();
        longer.extend_from_slice(b"12345");
        assert!(refused(longer).contains("goes on with something else"));
    }
}

#[test]
fn what_no_real_image_says_is_refused_before_anything_is_allocated() {
    let good = version_2(&[true], 0, CRC32, 1);
    for (at, bytes, told) in [
        (60, &u64::MAX.to_le_bytes()[..], "the size of a partclone image"),
        (60, &(1u64 << 40).to_le_bytes()[..], "blocks in a partclone image of 1099511627776"),
        (84, &0u32.to_le_bytes()[..], "the block size of a partclone image at byte 84 is 0"),
        (84, &u32::MAX.to_le_bytes()[..], "the block size of a partclone image"),
        (88, &20u32.to_le_bytes()[..], "the length of the options"),
        (96, &7u16.to_le_bytes()[..], "the checksum mode of a partclone image at byte 96 is 7"),
        (100, &0u32.to_le_bytes()[..], "the blocks a checksum"),
        (105, &[9][..], "the bitmap mode of a partclone image at byte 105 is 9"),
        (34, &[0xc0, 0xde][..], "the byte order of a partclone image"),
        (30, b"0003", "the version of a partclone image"),
    ] {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = crc(&file[..106]);
        file[106..110].copy_from_slice(&sum);
        let error = refused(file);
        assert!(error.contains(told), "{error}");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_after_the_magic_never_panic(mut file in prop::collection::vec(any::<u8>(), 200..6000), version in 1..3u8) {
        file[..15].copy_from_slice(b"partclone-image");
        file[30..34].copy_from_slice(format!("000{version}").as_bytes());
        file[34..36].copy_from_slice(&[0xde, 0xc0]);
        let sum = crc(&file[..106]);
        file[106..110].copy_from_slice(&sum);
        if let Ok(mut source) = open(file) {
            drop(decode(&mut source));
            drop(source.into_reader());
        }
    }

    #[test]
    fn any_bitmap_gives_the_disk_in_pieces_of_any_length(used in prop::collection::vec(any::<bool>(), 1..40), every in 1..5u32, length in 1..700usize) {
        let file = version_2(&used, 0, (0x20, 4, every, true), 1);
        let mut got = Vec::new();
        let mut sink = |piece: Piece<'_>| {
            match piece {
                Piece::Data { bytes, .. } => got.extend_from_slice(bytes),
                Piece::Zero { length, .. } | Piece::Unallocated { length, .. } => got.resize(got.len() + length as usize, 0),
            }
            Ok::<(), Infallible>(())
        };
        let mut unpacker = Unpacker::new();
        for bytes in file.chunks(length) {
            unpacker.take(bytes, &mut sink).unwrap();
        }
        unpacker.finish(&mut sink).unwrap();
        prop_assert_eq!(got, disk(&used, 0));
    }
}
