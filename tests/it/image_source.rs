//! What `image::source`, `image::partition` and `image::volume` make of good images.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use rootstock::image::partition::{self, Scheme};
use rootstock::image::source::{DecodeError, Format, Piece, Source, SourceError};
use rootstock::image::volume::{self, Facts, Kind};

use crate::image_source_build::*;

#[path = "../../images/mkvolume.rs"]
pub mod mkvolume;

#[test]
fn every_packing_of_a_disk_decodes_to_the_same_bytes_and_its_checksums_hold() {
    for (name, bytes) in udif_fixtures() {
        for workers in [1, 2, 7] {
            let whole =
                decode(Cursor::new(bytes.clone()), workers).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(whole.digest, fixture_digest(), "{name} on {workers} threads");
            assert!(whole.decoded.checksums.present && whole.decoded.checksums.ok, "{name}");
            assert_eq!(whole.holes, 512 << 10, "{name} has one zero run");
        }
    }
}

#[test]
fn compressed_raw_images_decode_to_the_same_bytes() {
    for (name, format) in [
        ("disk.raw.gz", Format::RawGz),
        ("disk.raw.xz", Format::RawXz),
        ("disk.raw.zst", Format::RawZst),
        ("disk.raw.bz2", Format::RawBz2),
    ] {
        assert_eq!(Source::open(Cursor::new(fixture(name))).unwrap().format(), format);
        let whole = decode_bytes(fixture(name)).unwrap();
        assert_eq!(whole.digest, fixture_digest(), "{name}");
        assert!(whole.decoded.checksums.present, "{name}");
    }
}

#[test]
fn several_members_in_one_compressed_file_follow_each_other() {
    let raw = unpacked("disk.raw.gz");
    let pieces: Vec<&[u8]> = raw.chunks(700_000).collect();
    let mut gzip = Vec::new();
    let (mut xz, mut zstd) = (Vec::new(), Vec::new());
    for piece in pieces {
        flate2::read::GzEncoder::new(piece, flate2::Compression::fast()).read_to_end(&mut gzip).unwrap();
        liblzma::read::XzEncoder::new(piece, 1).read_to_end(&mut xz).unwrap();
        zstd.extend(zstd::encode_all(piece, 1).unwrap());
        // A skippable frame between two frames (RFC 8878 section 3.1.2).
        zstd.extend(b"\x50\x2a\x4d\x18\x03\0\0\0abc");
    }
    gzip.extend([0; 1000]);
    xz.extend([0; 8]);
    for bytes in [gzip, xz, zstd] {
        assert_eq!(decode_bytes(bytes).unwrap().digest, fixture_digest());
    }
}

fn unpacked(name: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(&fixture(name)[..]).read_to_end(&mut raw).unwrap();
    raw
}

#[test]
fn data_offsets_of_fork_and_table_add_up_and_the_order_in_the_file_does_not_matter() {
    let mut udif = honest();
    let want = decode_bytes(udif.bytes()).unwrap();
    // The stored run comes first in the file, four bytes of nothing lie between, the table counts from byte 3.
    let (packed, stored) = udif.data.split_at(udif.data.len() - 1024);
    let data = [b"abc", stored, b"gap!", packed].concat();
    let length = packed.len() as u64;
    udif.front = vec![9; 100];
    udif.tables[0].data_offset = 3;
    udif.tables[0].runs[0] = (ZLIB, 0, 16, 1024 + 4, length);
    udif.tables[0].runs[1] = (STORED, 16, 2, 0, 1024);
    udif.data_crc = Some(crc32fast::hash(&data));
    udif.data = data;
    let got = decode_bytes(udif.bytes()).unwrap();
    assert_eq!(got.digest, want.digest);
    assert!(got.decoded.checksums.present);
}

#[test]
fn zero_runs_are_summed_up_ignore_runs_and_gaps_are_not() {
    let zeros = 3 * SECTOR as usize;
    let runs = vec![(IGNORE, 0, 100, 0, 0), (ZERO, 100, 3, 0, 0), (IGNORE, 103, 5, 0, 0)];
    let crc = crc32fast::hash(&vec![0; zeros]);
    let udif = Udif { tables: vec![Table { crc: Some(crc), ..Table::new(0, 200, runs) }], ..Udif::default() };
    let mut source = Source::open(Cursor::new(udif.bytes())).unwrap();
    assert!(
        source.warnings()[0].contains("47104 bytes that no block table describes"),
        "{:?}",
        source.warnings()
    );
    let mut pieces = Vec::new();
    source
        .decode(2, &mut |piece| {
            pieces.push(match piece {
                Piece::Data { .. } => unreachable!("there is no data"),
                Piece::Zero { offset, length } => ("zero", offset / SECTOR, length / SECTOR),
                Piece::Unallocated { offset, length } => ("free", offset / SECTOR, length / SECTOR),
            });
            Ok::<_, ()>(())
        })
        .unwrap();
    assert_eq!(pieces, [("free", 0, 100), ("zero", 100, 3), ("free", 103, 5), ("free", 108, 92)]);
}

#[test]
fn checksums_that_are_absent_are_not_missed() {
    let mut udif = honest();
    (udif.data_crc, udif.master_crc, udif.tables[0].crc) = (None, None, None);
    let checksums = decode_bytes(udif.bytes()).unwrap().decoded.checksums;
    assert_eq!((checksums.present, checksums.ok), (false, true));
}

#[test]
fn a_licence_beside_the_tables_and_tables_in_a_resource_fork_change_nothing() {
    let want = decode_bytes(honest().bytes()).unwrap();
    for (fork, licence) in [(false, true), (true, false), (true, true)] {
        let udif = Udif { fork, licence, ..honest() };
        let whole = decode_bytes(udif.bytes()).unwrap_or_else(|error| panic!("{fork} {licence}: {error}"));
        assert_eq!(whole.digest, want.digest, "{fork} {licence}");
        assert!(whole.decoded.checksums.present, "{fork} {licence}");
        assert!(Source::open(Cursor::new(udif.bytes())).unwrap().warnings().is_empty());
    }
    let damaged = Udif { fork: true, xml: Some(vec![0xff; 300]), ..honest() };
    let error = decode_bytes(damaged.bytes()).err().unwrap();
    assert!(error.to_string().contains("resource fork"), "{error}");
}

#[test]
fn a_hole_of_exabytes_is_one_piece() {
    let sectors = i64::MAX as u64 / SECTOR;
    let udif = Udif {
        tables: vec![Table { crc: None, ..Table::new(0, sectors, vec![(ZERO, 0, sectors, 0, 0)]) }],
        ..Udif::default()
    };
    let mut pieces = 0;
    let mut source = Source::open(Cursor::new(udif.bytes())).unwrap();
    source
        .decode(2, &mut |_| {
            pieces += 1;
            Ok::<_, ()>(())
        })
        .unwrap();
    assert_eq!(pieces, 1);
}

#[test]
fn a_sink_that_has_had_enough_ends_the_decode_with_its_own_error() {
    for (name, bytes) in udif_fixtures().into_iter().chain([("disk.raw.gz", fixture("disk.raw.gz"))]) {
        let mut source = Source::open(Cursor::new(bytes)).unwrap();
        let mut left = 2;
        let result = source.decode(4, &mut |_| {
            left -= 1;
            if left == 0 { Err("enough") } else { Ok(()) }
        });
        assert!(matches!(result, Err(DecodeError::Sink("enough"))), "{name}");
    }
}

#[test]
fn a_source_can_be_decoded_twice() {
    for bytes in [fixture("disk-udzo.dmg"), fixture("disk.raw.xz")] {
        let mut source = Source::open(Cursor::new(bytes)).unwrap();
        let mut lengths = [0_usize; 2];
        for length in &mut lengths {
            source
                .decode(2, &mut |piece| {
                    if let Piece::Data { bytes, .. } = piece {
                        *length += bytes.len();
                    }
                    Ok::<_, ()>(())
                })
                .unwrap();
        }
        assert!(lengths[0] > 0 && lengths[0] == lengths[1]);
    }
}

#[test]
fn random_access_gives_the_bytes_of_a_decode_wherever_it_looks() {
    let raw = unpacked("disk.raw.gz");
    for (name, bytes) in udif_fixtures() {
        let mut reader = Source::open(Cursor::new(bytes)).unwrap().into_reader().unwrap();
        assert_eq!(reader.size(), raw.len() as u64);
        for (at, length) in
            [(0, 512), (524_000, 1000), (1_199_000, 20_000), (100, 1), (1_900_000, 544), (524_288, 600_000)]
        {
            let mut got = vec![0; length];
            reader.seek(SeekFrom::Start(at)).unwrap();
            reader.read_exact(&mut got).unwrap();
            assert!(got == raw[at as usize..at as usize + length], "{name} at {at}");
        }
        reader.seek(SeekFrom::End(-10)).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, raw[raw.len() - 10..]);
    }
    assert!(Source::open(Cursor::new(fixture("disk.raw.gz"))).unwrap().into_reader().is_err());
}

/// Partitions of an image file, with their facts.
fn look(path: &Path) -> (Scheme, Vec<(String, Facts)>) {
    let mut source = Source::open(File::open(path).unwrap()).unwrap();
    if source.size().is_none() {
        let mut raw = Vec::new();
        source
            .decode(1, &mut |piece| {
                if let Piece::Data { bytes, .. } = piece {
                    raw.extend_from_slice(bytes);
                }
                Ok::<_, ()>(())
            })
            .unwrap();
        source = Source::open(Cursor::new(raw)).unwrap();
    }
    let mut reader = source.into_reader().unwrap();
    let size = reader.size();
    let layout = partition::read(&mut reader, size).unwrap();
    let mut places: Vec<_> =
        layout.partitions.iter().map(|found| (found.kind.to_string(), found.start, found.size)).collect();
    if places.is_empty() {
        places.push(("whole".to_owned(), 0, size));
    }
    let facts = places
        .into_iter()
        .map(|(kind, start, size)| (kind, volume::read(&mut reader, start, size).unwrap()))
        .collect();
    (layout.scheme, facts)
}

#[test]
fn a_made_volume_is_the_same_every_time_and_says_what_was_put_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a.img", "b.img"].map(|name| folder.path().join(name));
    mkvolume::write(&first, 8 << 20, 1).unwrap();
    mkvolume::write(&second, 8 << 20, 1).unwrap();
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());

    let (scheme, volumes) = look(&first);
    assert_eq!(scheme, Scheme::Gpt);
    let [(efi, fat), (kind, hfs)] = &volumes[..] else { panic!("{volumes:?}") };
    assert_eq!(
        (efi.as_str(), fat.kind, fat.label.as_deref(), fat.used),
        ("EFI", Kind::Fat16, Some("EFI"), Some(0))
    );
    assert_eq!(
        (kind.as_str(), hfs.kind, hfs.label.as_deref()),
        ("Apple_HFS", Kind::HfsPlus, Some("Macintosh HD"))
    );
    let used = hfs.used.unwrap();
    assert!(hfs.size / 2 < used && used < hfs.size, "{used} of {}", hfs.size);
}

pub fn fixture_volume(name: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    liblzma::read::XzDecoder::new(&fixture(name)[..]).read_to_end(&mut raw).unwrap();
    raw
}

#[test]
fn fat32_and_exfat_say_what_their_own_tools_say() {
    for (name, kind, label, used, block) in [
        ("fat32.img.xz", Kind::Fat32, "BOOT STICK", 197 * 512, 512),
        ("exfat.img.xz", Kind::ExFat, "Daten", 4 * 4096, 4096),
    ] {
        let volume = fixture_volume(name);
        let size = volume.len() as u64;
        assert_eq!(partition::read(&mut Cursor::new(&volume), size).unwrap().scheme, Scheme::None, "{name}");
        let facts = volume::read(&mut Cursor::new(&volume), 0, size).unwrap();
        assert_eq!(
            (facts.kind, facts.label.as_deref(), facts.used),
            (kind, Some(label), Some(used)),
            "{name}"
        );
        assert_eq!((facts.size, facts.block_size), (size, Some(block)), "{name}");
        let short = Source::open(Cursor::new(volume[..volume.len() - 512].to_vec())).err().unwrap();
        assert!(short.to_string().contains("is cut off: its"), "{short}");
    }
}

#[test]
fn a_fat32_volume_that_does_not_say_how_much_is_free_is_counted() {
    let mut volume = fixture_volume("fat32.img.xz");
    volume[512 + 488..512 + 492].fill(0xff);
    let size = volume.len() as u64;
    assert_eq!(volume::read(&mut Cursor::new(&volume), 0, size).unwrap().used, Some(197 * 512));
}

#[test]
fn images_that_macs_made_decode_to_the_digests_of_the_corpus() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; the fixtures test the same code");
        return;
    };
    let manifest = fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let mut read = 0;
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, size, digest) = (columns[0], columns[3], columns[4]);
        let path = corpus.join(name);
        if digest == "-" {
            // Encrypted ones, which another test opens, and a sparse image whose disk is made of nothing.
            if path.extension().is_some_and(|extension| extension == "dmg") {
                let error = Source::open(File::open(&path).unwrap()).err().unwrap();
                assert!(matches!(error, SourceError::PasswordNeeded), "{name}: {error}");
            }
            continue;
        }
        let whole = decode(File::open(&path).unwrap(), 2).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (whole.decoded.size.to_string().as_str(), whole.digest.as_str()),
            (size, digest),
            "{name}"
        );
        assert!(whole.decoded.checksums.present || name.ends_with(".raw"), "{name}");
        read += 1;
    }
    assert!(read > 15, "only {read} images in the corpus");
}

#[test]
fn the_sparse_image_of_the_corpus_has_its_bands_in_their_places() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; unit tests read made ones");
        return;
    };
    // Six sectors in bands of two: band 0 in place 0, band 2 in place 1, band 1 nowhere.
    let path = corpus.join("dmg-forensic-synthetic.sparseimage");
    let file = fs::read(&path).unwrap();
    let want = [&file[4096..5120], &[0; 1024], &file[5120..6144]].concat();
    let mut source = Source::open(File::open(&path).unwrap()).unwrap();
    assert_eq!((source.format(), source.size()), (Format::SparseImage, Some(3072)));
    let whole = gather(&mut source, 2).unwrap();
    assert_eq!((whole.digest, whole.holes), (sha256(&want), 1024));
}

#[test]
fn volumes_that_macs_made_say_their_names_and_sizes() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; the made volume tests HFS+");
        return;
    };
    // HFS+: size less free space, as `7z l -slt` prints them. APFS: blocks that the allocation bitmaps have set,
    // counted by hand.
    for (name, scheme, kind, label, size, used) in [
        ("go-apfs-v2-basic.dmg", Scheme::Gpt, Kind::Apfs, "ACCEPT", 16_736_256, 2_080_768),
        ("go-apfs-v2-hfs-basic.dmg", Scheme::Gpt, Kind::HfsPlus, "HFSTEST", 16_736_256, 2_015_232),
        ("dmgwiz-input_lzma.dmg", Scheme::Gpt, Kind::Apfs, "empty", 10_469_376, 417_792),
        (
            "Sparkle-SparkleTestCodeSignApp.dmg",
            Scheme::Apm,
            Kind::HfsPlus,
            "Sparkle Test App",
            9_404_416,
            3_518_464,
        ),
        ("go-apfs-v2-hfs-apm.img.gz", Scheme::Apm, Kind::HfsPlus, "APMTest", 12_550_144, 294_912),
        ("go-apfs-v2-encrypted.img.gz", Scheme::None, Kind::Apfs, "Enc", 50_331_648, 884_736),
        ("hfsplus-rs-hfsp-small.img.xz", Scheme::None, Kind::HfsPlus, "Small", 1_048_576, 241_664),
    ] {
        let (found, volumes) = look(&corpus.join(name));
        let facts =
            volumes.into_iter().map(|(_, facts)| facts).find(|facts| facts.kind != Kind::Unknown).unwrap();
        assert_eq!(found, scheme, "{name}");
        assert_eq!((facts.kind, facts.label.as_deref()), (kind, Some(label)), "{name}");
        assert_eq!((facts.size, facts.used), (size, Some(used)), "{name}");
        assert_eq!(!facts.encrypted.is_empty(), name.contains("encrypted"), "{name}");
    }
}
