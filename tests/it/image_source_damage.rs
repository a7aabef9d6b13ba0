//! What `image::source`, `image::partition` and `image::volume` make of damaged, cut and lying images: an error that
//! names the thing, never a panic, never wrong bytes.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use rootstock::image::partition;
use rootstock::image::source::{Foreign, Source, SourceError};
use rootstock::image::volume;

use crate::image_source_build::*;

fn error_of(udif: &Udif) -> SourceError {
    match decode_bytes(udif.bytes()) {
        Ok(_) => panic!("a lying image was decoded"),
        Err(error) => error,
    }
}

#[test]
fn an_image_that_is_cut_anywhere_is_refused() {
    let streams =
        ["disk.raw.gz", "disk.raw.xz", "disk.raw.zst", "disk.raw.bz2"].map(|name| (name, fixture(name)));
    for (name, bytes) in udif_fixtures().into_iter().chain(streams) {
        let steps = (0..60).map(|step| bytes.len() * step / 60);
        let ends = [1, 2, 4, 8, 100, 511, 512, 513, 1024, 4000].map(|less| bytes.len() - less);
        for length in steps.chain(ends) {
            match decode_bytes(bytes[..length].to_vec()) {
                Ok(_) => panic!("{name} cut to {length} of {} was decoded", bytes.len()),
                Err(error) => assert!(error.to_string().len() > 30, "{name} cut to {length}: {error}"),
            }
        }
    }
}

#[test]
fn what_follows_a_stream_is_refused_unless_it_is_padding() {
    for (name, padding) in
        [("disk.raw.gz", true), ("disk.raw.xz", true), ("disk.raw.zst", false), ("disk.raw.bz2", false)]
    {
        let garbage = [fixture(name), b"garbage".to_vec()].concat();
        let ended = fixture(name).len() as u64;
        let error = decode_bytes(garbage).err().unwrap();
        assert!(matches!(error, SourceError::TrailingBytes { at, .. } if at == ended), "{name}: {error}");
        let padded = [fixture(name), vec![0; 512]].concat();
        assert_eq!(decode_bytes(padded).is_ok(), padding, "{name}");
        let both = [fixture(name), vec![0; 512], b"garbage".to_vec()].concat();
        assert!(decode_bytes(both).is_err(), "{name}");
    }
}

#[test]
fn a_compressed_file_with_something_else_in_it_is_refused_by_its_name() {
    let gzip = |bytes: &[u8]| {
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        out
    };
    let inside = |bytes: &[u8]| decode_bytes(gzip(bytes)).err().unwrap();
    assert!(matches!(inside(&fixture("disk.raw.xz")), SourceError::Inside(Foreign::Compressed)));
    assert!(matches!(inside(b"PK\x03\x04 and so on"), SourceError::Inside(Foreign::Zip)));
    assert!(matches!(inside(b"just some text"), SourceError::UnknownInside { .. }));
    assert!(matches!(inside(b""), SourceError::UnknownInside { .. }));
    assert!(matches!(inside(&stored_fixture()), SourceError::Inside(Foreign::Udif)));
}

#[test]
fn each_lie_of_a_udif_image_has_its_name() {
    let mut udif = honest();
    udif.tables[0].count = Some(u32::MAX);
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 0xffff_ffff, .. }));

    let mut udif = honest();
    udif.tables[0].sectors = u64::MAX;
    assert!(matches!(error_of(&Udif { sectors: Some(1), ..udif }), SourceError::Malformed { .. }));

    let udif = Udif { sectors: Some(u64::MAX), ..honest() };
    assert!(matches!(error_of(&udif), SourceError::Malformed { .. }));

    let udif = Udif { sectors: Some(17), ..honest() };
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 17, .. }));

    let mut udif = honest();
    udif.tables[0].runs[0].3 = u64::MAX - 5;
    assert!(matches!(error_of(&udif), SourceError::Truncated { .. }));

    let mut udif = honest();
    udif.tables[0].data_offset = u64::MAX;
    assert!(matches!(error_of(&udif), SourceError::Truncated { .. }));

    let mut udif = honest();
    udif.tables[0].runs[1].2 = 200_000;
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 200_000, .. }));

    let mut udif = honest();
    udif.tables[0].runs[1].4 = 1023;
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 1023, .. }));

    let mut udif = honest();
    udif.tables[0].runs[1].1 = 15;
    assert!(matches!(error_of(&udif), SourceError::Overlap { offset: 7680 }));

    let mut udif = honest();
    udif.tables[0].runs[0].0 = 0x8000_0009;
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 0x8000_0009, .. }));

    let udif = Udif { xml_length: Some(u64::MAX), ..honest() };
    assert!(matches!(error_of(&udif), SourceError::Truncated { .. }));

    let udif = Udif { segments: 3, ..honest() };
    assert!(matches!(error_of(&udif), SourceError::Unsupported(Foreign::SegmentedUdif)));

    let udif = Udif { tables: Vec::new(), ..honest() };
    assert!(matches!(error_of(&udif), SourceError::Malformed { found: 0, .. }));
}

#[test]
fn a_run_that_expands_to_less_or_more_than_its_sectors_says_where_it_stands() {
    for sectors in [15, 17] {
        let mut udif = honest();
        udif.tables[0].runs[0].2 = sectors;
        udif.tables[0].runs[1].1 = 17;
        udif.tables[0].sectors = 19;
        match error_of(&udif) {
            SourceError::BadRun { codec: "zlib", at: 0, offset: 0, .. } => {}
            error => panic!("{sectors}: {error}"),
        }
    }
}

#[test]
fn a_packed_run_of_gigabytes_is_not_allocated() {
    let mut udif = honest();
    udif.tables[0].runs[0].2 = 1 << 30;
    udif.tables[0].sectors = 1 << 31;
    udif.tables[0].runs[1].1 = 1 << 30;
    assert!(matches!(error_of(&udif), SourceError::TooLarge { .. }));
}

#[test]
fn each_wrong_checksum_is_named() {
    let mut udif = honest();
    udif.tables[0].crc = Some(1);
    udif.master_crc = None;
    assert!(error_of(&udif).to_string().contains("partition `part 0`"));
    let udif = Udif { data_crc: Some(1), ..honest() };
    assert!(error_of(&udif).to_string().contains("data fork"));
    let udif = Udif { master_crc: Some(1), ..honest() };
    assert!(error_of(&udif).to_string().contains("master checksum"));
}

#[test]
fn xml_that_is_nested_without_end_or_broken_is_refused() {
    let deep = [b"<plist>".to_vec(), b"<array>".repeat(200_000)].concat();
    let udif = Udif { xml: Some(deep), ..honest() };
    assert!(matches!(error_of(&udif), SourceError::TooLarge { .. }));
    for broken in [
        &b"<plist><dict><key>resource-fork</key></dict></plist>"[..],
        b"\0\0\0\0",
        b"<",
        b"<plist><dict/></plist>",
    ] {
        let udif = Udif { xml: Some(broken.to_vec()), ..honest() };
        assert!(matches!(error_of(&udif), SourceError::Resources { .. }), "{broken:?}");
    }
}

#[test]
fn a_raw_image_that_is_shorter_than_its_partitions_says_both_lengths() {
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(&fixture("disk.raw.gz")[..]).read_to_end(&mut raw).unwrap();
    let need = raw.len() as u64;
    raw.truncate(raw.len() - 512);
    let error = Source::open(Cursor::new(raw)).err().unwrap();
    assert!(
        matches!(error, SourceError::Shortened { need: n, have, .. } if n == need && have == need - 512),
        "{error}"
    );
}

/// Every byte of an image is covered by one of its checksums, or means nothing: a changed one is found, or changes
/// nothing. The exception is the size in the trailer, which may grow by free space at the end.
#[test]
fn a_flipped_byte_never_gives_wrong_bytes() {
    for (name, bytes) in udif_fixtures() {
        let good = fixture_digest();
        let trailer = bytes.len() - 512;
        // Some of the data of each, and every byte of one trailer.
        let data = (0..trailer).step_by(trailer / 90);
        let last = if name == "disk-udzo.dmg" { bytes.len() } else { trailer };
        for at in data.chain(trailer..last) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            if let Ok(whole) = decode_sparsely(damaged) {
                assert_eq!(whole, good, "{name} with byte {at} of {} flipped", bytes.len());
            }
        }
    }
}

/// SHA-256 of the first bytes of an image, as many as the fixture has; the rest must be holes.
fn decode_sparsely(bytes: Vec<u8>) -> Result<String, ()> {
    use rootstock::image::source::Piece;
    let length = 1_900_544;
    let mut image = Vec::new();
    let mut source = Source::open(Cursor::new(bytes)).map_err(drop)?;
    let result = source.decode(2, &mut |piece| {
        let end = match piece {
            Piece::Data { offset, bytes } => {
                assert_eq!(offset, image.len() as u64);
                image.extend_from_slice(bytes);
                offset + bytes.len() as u64
            }
            Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => offset + length,
        };
        image.resize(end.min(length) as usize, 0);
        Ok::<_, ()>(())
    });
    result.map_err(drop)?;
    Ok(sha256(&image))
}

/// A disk that cannot read one of its sectors.
struct BadSector {
    image: Cursor<Vec<u8>>,
    at: u64,
}

impl Read for BadSector {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = self.image.position();
        if (from..from + buffer.len() as u64).contains(&self.at) {
            return Err(io::Error::other("unreadable sector"));
        }
        self.image.read(buffer)
    }
}

impl Seek for BadSector {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.image.seek(to)
    }
}

#[test]
fn a_disk_that_cannot_read_is_told_from_an_image_that_is_damaged() {
    for name in ["disk-udzo.dmg", "disk-ulmo.dmg", "disk.raw.zst"] {
        for at in [10, 9000, fixture(name).len() as u64 - 2] {
            let error = decode(BadSector { image: Cursor::new(fixture(name)), at }, 3).err().unwrap();
            assert!(matches!(error, SourceError::Read { .. }), "{name} at {at}: {error}");
        }
    }
}

/// An input with a bug.
struct Panicking(Cursor<Vec<u8>>, u32);

impl Read for Panicking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 -= 1;
        assert!(self.1 > 0, "a bug in the input");
        self.0.read(buffer)
    }
}

impl Seek for Panicking {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_panic_on_either_side_ends_the_decode_on_all_threads() {
    let stored = Udif {
        data: vec![1; 40 << 20],
        tables: vec![Table::new(0, 81_920, vec![(STORED, 0, 81_920, 0, 40 << 20)])],
        ..Udif::default()
    };
    let sink = || {
        let mut source = Source::open(Cursor::new(stored.bytes())).unwrap();
        source.decode(3, &mut |_| -> Result<(), ()> { panic!("a bug in the sink") })
    };
    assert!(catch_unwind(AssertUnwindSafe(sink)).is_err());
    let input = || decode(Panicking(Cursor::new(stored.bytes()), 12), 3);
    assert!(catch_unwind(AssertUnwindSafe(input)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutations_never_panic_and_end_in_an_error_or_a_whole_image(
        which in 0..9_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        late in any::<bool>(),
    ) {
        let names = [
            "disk-udzo.dmg", "disk-udbz.dmg", "disk-ulfo.dmg", "disk-ulmo.dmg", "disk.raw.gz", "disk.raw.xz",
            "disk.raw.zst", "disk.raw.bz2",
        ];
        let mut bytes = names.get(which).map_or_else(stored_fixture, |name| fixture(name));
        for (at, byte) in flips {
            // Headers are in the last kilobytes: half of the cases damage only them.
            let from = if late { bytes.len() - 3000 } else { 0 };
            let at = from + at.index(bytes.len() - from);
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        drop(decode_sparsely(bytes));
    }

    #[test]
    fn mutated_tables_with_plausible_numbers_never_panic(
        runs in prop::collection::vec(
            (
                prop::sample::select(vec![ZERO, STORED, IGNORE, ZLIB, 0x8000_0004, 0x8000_0007, 0x7fff_fffe, END]),
                0..40_u64, 0..40_u64, 0..2000_u64, 0..2000_u64,
            ),
            0..8,
        ),
        first in 0..50_u64,
        sectors in 0..100_u64,
        data_offset in 0..10_u64,
    ) {
        let mut udif = honest();
        udif.tables.push(Table { data_offset, ..Table::new(first, sectors, runs) });
        udif.master_crc = None;
        if let Ok(whole) = decode_bytes(udif.bytes()) {
            prop_assert_eq!(whole.decoded.size, (first + sectors).max(18) * SECTOR);
        }
    }

    #[test]
    fn mutated_volumes_never_panic(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        near in any::<bool>(),
    ) {
        let volumes = volumes();
        let mut bytes = volumes[which.index(volumes.len())].clone();
        for (at, byte) in flips {
            let range = if near { bytes.len().min(6000) } else { bytes.len() };
            let at = at.index(range);
            bytes[at] = byte;
        }
        let size = bytes.len() as u64;
        let mut reader = Cursor::new(bytes);
        drop(partition::read(&mut reader, size));
        drop(volume::read(&mut reader, 0, size).unwrap());
    }
}

/// Bare volumes: FAT32, exFAT, the made HFS+ one, and those of the corpus where it is there.
fn volumes() -> &'static [Vec<u8>] {
    static VOLUMES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    VOLUMES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        crate::image_source::mkvolume::write(&path, 8 << 20, 1).unwrap();
        let mut images = vec![path];
        if let Some(corpus) = corpus() {
            images.extend(["dmgwiz-input_zlib.dmg", "dfvfs-hfsplus.raw"].map(|name| corpus.join(name)));
        }
        let mut volumes = ["fat32.img.xz", "exfat.img.xz"].map(crate::image_source::fixture_volume).to_vec();
        for image in images {
            let source = Source::open(std::fs::File::open(image).unwrap()).unwrap();
            let mut reader = source.into_reader().unwrap();
            let size = reader.size();
            let layout = partition::read(&mut reader, size).unwrap();
            let mut places: Vec<_> =
                layout.partitions.iter().map(|found| (found.start, found.size)).collect();
            if places.is_empty() {
                places.push((0, size));
            }
            for (start, size) in places {
                let mut volume = vec![0; size as usize];
                reader.seek(SeekFrom::Start(start)).unwrap();
                reader.read_exact(&mut volume).unwrap();
                volumes.push(volume);
            }
        }
        // What the readers look at stands in front.
        volumes.iter_mut().for_each(|volume| volume.truncate(6 << 20));
        volumes
    })
}
