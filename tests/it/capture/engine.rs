//! The laws of a capture, whatever the disk.

use std::collections::HashSet;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use rootstock::image::capture::{
    CaptureError, Captured, Changed, Progress, Selection, Shape, ShapeError, capture,
};
use rootstock::image::chunk::CHUNK;
use rootstock::image::manifest::{Manifest, Run};
use rootstock::image::partition::{self, Scheme};
use rootstock::image::source::{Piece, Source};
use sha2::Digest as _;

use super::disk::{Dead, Disk, Shelf, mac_disk, noise, with_noise_where_it_is_free};

const MIB: usize = 1 << 20;

fn take(disk: &Disk, selection: Selection, shelf: &Shelf) -> Result<Captured<()>, CaptureError<Dead>> {
    let shape = Shape::of(disk, selection).unwrap();
    capture(disk, &shape, shelf, 3, &Progress::default())
}

/// Captures the whole disk, and again: its image is `want`, its SHA-256 true, and nothing is sent a second time.
fn keeps_the_laws(name: &str, disk: Vec<u8>, want: &[u8]) -> Manifest {
    let (disk, shelf) = (Disk::new(disk), Shelf::default());
    let first = take(&disk, Selection::Whole, &shelf).unwrap();
    assert!(shelf.image(&first.manifest) == want, "{name}: the image differs from the disk");
    assert_eq!(first.manifest.source().0, <[u8; 32]>::from(sha2::Sha256::digest(want)), "{name}");
    let sent = shelf.received.lock().unwrap().clone();
    assert_eq!(sent.len(), sent.iter().collect::<HashSet<_>>().len(), "{name}: a chunk was sent twice");
    let second = take(&disk, Selection::Whole, &shelf).unwrap();
    assert_eq!((second.sent_chunks, second.sent), (0, 0), "{name}");
    assert_eq!(second.manifest, first.manifest, "{name}");
    first.manifest
}

#[test]
fn used_blocks_of_an_hfs_volume_and_all_else_come_back_and_free_ones_are_zero() {
    let folder = tempfile::tempdir().unwrap();
    for (size, seed) in [(8 * MIB as u64, 1), (17 * MIB as u64 + 4096, 2)] {
        let (disk, want) = mac_disk(folder.path(), size, seed);
        assert!(disk != want, "nothing is free on the disk");
        let manifest = keeps_the_laws("made", disk, &want);
        let free = manifest.regions().iter().flat_map(|region| &region.runs);
        assert!(free.clone().any(|run| matches!(run, Run::Unallocated(_))), "nothing was left out");
    }
}

#[test]
fn a_disk_without_a_known_file_system_is_taken_whole() {
    let mut raw = vec![0; 3 * MIB + 4 * 512];
    noise(7, &mut raw[MIB / 2..2 * MIB + 512]);
    keeps_the_laws("raw", raw.clone(), &raw);
    let mut short = vec![0; 512];
    noise(8, &mut short);
    keeps_the_laws("a block", short.clone(), &short);
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("ROOTSTOCK_SHARED").map_or_else(beside, PathBuf::from);
    Some(shared.join("corpus")).filter(|folder| folder.is_dir())
}

fn decoded(path: &Path) -> Vec<u8> {
    let mut image = Vec::new();
    let mut source = Source::open(File::open(path).unwrap()).unwrap();
    source
        .decode(2, &mut |piece| {
            match piece {
                Piece::Data { bytes, .. } => image.extend_from_slice(bytes),
                Piece::Zero { length, .. } | Piece::Unallocated { length, .. } => {
                    image.resize(image.len() + length as usize, 0);
                }
            }
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    image
}

#[test]
fn disks_that_macs_made_keep_the_laws() {
    let Some(corpus) = corpus() else { return eprintln!("no ../shared/corpus: not tried") };
    for name in [
        "go-apfs-v2-basic.dmg",
        "go-apfs-v2-encrypted.img.gz",
        "Sparkle-SparkleTestCodeSign_apfs.dmg",
        "go-apfs-v2-hfs-basic.dmg",
        "go-apfs-v2-hfs-apm.img.gz",
        "dfvfs-hfsplus.raw",
        "plaso-spotlight.10.13.dmg",
    ] {
        let image = decoded(&corpus.join(name));
        // The last sector of a disk may be missing in an image of it.
        let (disk, want) = with_noise_where_it_is_free(image);
        keeps_the_laws(name, disk, &want);
    }
}

#[test]
fn one_partition_is_a_bare_volume_with_the_chunks_that_it_has_in_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, want) = mac_disk(folder.path(), 9 * MIB as u64, 3);
    let layout = partition::read(&mut Cursor::new(&want), want.len() as u64).unwrap();
    let (disk, shelf) = (Disk::new(disk), Shelf::default());
    take(&disk, Selection::Whole, &shelf).unwrap();
    let volume = take(&disk, Selection::Partition(2), &shelf).unwrap();
    assert_eq!((volume.sent_chunks, volume.manifest.scheme()), (0, Scheme::None));
    let place = layout.partitions[1].start as usize
        ..(layout.partitions[1].start + layout.partitions[1].size) as usize;
    assert!(shelf.image(&volume.manifest) == want[place]);
    let error = Shape::of(&disk, Selection::Partition(9)).unwrap_err();
    assert!(
        matches!(error, ShapeError::NoPartition { number: 9, .. })
            && error.to_string().contains("2 Apple_HFS")
    );
}

const EFI: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const HFS: &str = "48465300-0000-11aa-aa11-00306543ecac";
const BOOT: &str = "426f6f74-0000-11aa-aa11-00306543ecac";

/// A GPT disk with these partitions, one behind the other: type, name, content.
fn gpt_disk(partitions: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let (mut table, mut content, mut at) = (vec![0; 128 * 128], Vec::new(), 40_u64);
    for (slot, (kind, name, bytes)) in partitions.iter().enumerate() {
        let count = bytes.len() as u64 / 512;
        let entry = &mut table[slot * 128..][..128];
        entry[..16].copy_from_slice(&kind.parse::<uuid::Uuid>().unwrap().to_bytes_le());
        entry[16..32].copy_from_slice(&[slot as u8 + 1; 16]);
        entry[32..40].copy_from_slice(&at.to_le_bytes());
        entry[40..48].copy_from_slice(&(at + count - 1).to_le_bytes());
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[56..56 + name.len()].copy_from_slice(&name);
        content.extend_from_slice(bytes);
        at += count;
    }
    let blocks = at + 34;
    let mut disk = vec![0; blocks as usize * 512];
    disk[40 * 512..][..content.len()].copy_from_slice(&content);
    for (own, other, first) in [(1, blocks - 1, 2), (blocks - 1, 1, blocks - 33)] {
        let mut header = [0; 92];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (place, number) in [(24, own), (32, other), (40, 34), (48, blocks - 34), (72, first)] {
            header[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (place, number) in [(80, 128_u32), (84, 128), (88, crc32fast::hash(&table))] {
            header[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        disk[own as usize * 512..][..92].copy_from_slice(&header);
        disk[first as usize * 512..][..table.len()].copy_from_slice(&table);
    }
    disk
}

/// An HFS+ volume of 8 MiB with a file; and with macOS, as far as its version tells.
fn hfs_volume(folder: &Path, macos: bool) -> Vec<u8> {
    use fstool::block::FileBackend;
    use fstool::fs::hfs_plus::HfsPlus;
    use fstool::fs::hfs_plus::writer::FormatOpts;
    const VERSION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
        <key>ProductBuildVersion</key><string>17G66</string><key>ProductName</key><string>Mac OS X</string>\
        <key>ProductVersion</key><string>10.13.6</string></dict></plist>\n";
    let path = folder.join("volume.hfs");
    let mut disk = FileBackend::create(&path, 8 << 20).unwrap();
    let mut volume = HfsPlus::format(&mut disk, &FormatOpts::default()).unwrap();
    let mut put = |path: &str, text: &str| {
        let mut bytes = text.as_bytes();
        volume.create_file(&mut disk, path, &mut bytes, text.len() as u64, 0o644, 0, 0, 0).unwrap();
    };
    put("/file", &"content ".repeat(9000));
    if macos {
        let mut folder = String::new();
        for name in ["System", "Library", "CoreServices"] {
            folder = format!("{folder}/{name}");
            volume.create_dir(&mut disk, &folder, 0o755, 0, 0, 0).unwrap();
        }
        let (path, mut bytes) = (format!("{folder}/SystemVersion.plist"), VERSION.as_bytes());
        volume.create_file(&mut disk, &path, &mut bytes, VERSION.len() as u64, 0o644, 0, 0, 0).unwrap();
    }
    volume.flush(&mut disk).unwrap();
    drop(disk);
    std::fs::read(path).unwrap()
}

fn noisy(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    noise(seed, &mut bytes);
    bytes
}

#[test]
fn macos_and_its_recovery_become_a_disk_of_their_own_that_other_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, recovery) = (hfs_volume(folder.path(), false), noisy(9, 700 * 512));
    let (disk, clear) = with_noise_where_it_is_free(gpt_disk(&[
        (EFI, "EFI", &noisy(8, 800 * 512)),
        (HFS, "Macintosh HD", &volume),
        (BOOT, "Recovery HD", &recovery),
    ]));
    let source = partition::read(&mut Cursor::new(&disk), disk.len() as u64).unwrap();
    let (disk, shelf) = (Disk::new(disk), Shelf::default());
    let taken = take(&disk, Selection::Macos, &shelf).unwrap();
    let image = shelf.image(&taken.manifest);
    let layout = partition::read(&mut Cursor::new(&image), image.len() as u64).unwrap();
    assert!(layout.warnings.is_empty(), "{:?}", layout.warnings);
    let kinds: Vec<_> =
        layout.partitions.iter().map(|part| (part.number, part.kind.as_str(), part.name.as_str())).collect();
    assert_eq!(kinds, [(1, "Apple_HFS", "Macintosh HD"), (2, "Apple_Boot", "Recovery HD")]);
    for (made, from) in layout.partitions.iter().zip(&source.partitions[1..]) {
        let of = |bytes: &[u8], start: u64| bytes[start as usize..(start + from.size) as usize].to_vec();
        assert_eq!(made.size, from.size);
        assert!(of(&image, made.start) == of(&clear, from.start), "partition {}", made.number);
    }
    assert_eq!(taken.manifest.main().unwrap().partition.as_ref().unwrap().number, 1);
    // The same again gives the same bytes: nothing of it is drawn by lot.
    assert_eq!(take(&disk, Selection::Macos, &shelf).unwrap().sent_chunks, 0);
    let path = folder.path().join("macos.img");
    std::fs::write(&path, &image).unwrap();
    let verified = std::process::Command::new("sgdisk").arg("-v").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("No problems found"), "{said}");
}

#[test]
fn of_several_volumes_the_one_with_macos_is_taken_and_where_nobody_can_tell_the_admin_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (data, mac) = (hfs_volume(folder.path(), false), hfs_volume(folder.path(), true));
    let names = |disk: Vec<u8>| {
        let shape = Shape::of(&Disk::new(disk), Selection::Macos)?;
        Ok::<_, ShapeError>(shape.partitions())
    };
    let recovery = noisy(5, 512 * 9);
    let taken = names(gpt_disk(&[
        (HFS, "Data", &data),
        (HFS, "Macintosh HD", &mac),
        (BOOT, "Recovery HD", &recovery),
        (HFS, "More", &data),
    ]));
    assert_eq!(taken.unwrap(), "1 Apple_HFS \"Macintosh HD\" 8.0 MiB, 2 Apple_Boot \"Recovery HD\" 4.5 KiB");
    for several in [
        vec![(HFS, "Data", &data[..]), (HFS, "More", &data[..])],
        vec![(HFS, "A", &mac[..]), (HFS, "B", &mac[..])],
        vec![(EFI, "EFI", &recovery[..])],
    ] {
        let error = names(gpt_disk(&several)).unwrap_err();
        assert!(matches!(error, ShapeError::NotOne { .. }), "{error}");
    }
}

#[test]
fn a_library_that_loses_what_it_took_in_is_sent_that_again_and_not_more() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, want) = mac_disk(folder.path(), 8 * MIB as u64, 5);
    let disk = Disk::new(disk);
    let whole = Shelf::default();
    let chunks = take(&disk, Selection::Whole, &whole).unwrap().sent_chunks;
    let shelf = Shelf { forgets: Some(chunks as usize / 2).into(), ..Shelf::default() };
    let taken = take(&disk, Selection::Whole, &shelf).unwrap();
    assert!(shelf.image(&taken.manifest) == want);
    let again = taken.sent_chunks - chunks;
    assert!(again >= chunks / 2 && again <= chunks / 2 + 4, "{again} of {chunks} were sent again");
}

#[test]
fn after_the_death_of_a_sender_the_next_one_sends_only_what_is_lacking() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, want) = mac_disk(folder.path(), 8 * MIB as u64, 6);
    let disk = Disk::new(disk);
    let mut shelf = Shelf { dies: Some(40), ..Shelf::default() };
    assert!(matches!(take(&disk, Selection::Whole, &shelf), Err(CaptureError::Library(Dead))));
    shelf.dies = None;
    let taken = take(&disk, Selection::Whole, &shelf).unwrap();
    assert!(shelf.image(&taken.manifest) == want);
    let received = shelf.received.lock().unwrap();
    assert_eq!(received.len(), received.iter().collect::<HashSet<_>>().len(), "a chunk was sent twice");
}

#[test]
fn a_disk_that_changes_while_it_is_read_is_not_captured() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = mac_disk(folder.path(), 8 * MIB as u64, 7);
    let layout = partition::read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let hfs = layout.partitions[1].start as usize;
    let mut reads = Disk::new(bytes.clone());
    take(&reads, Selection::Whole, &Shelf::default()).unwrap();
    let all = *reads.reads.get_mut();
    // The write count of the volume header, its backup, the partition table, content in the first half.
    for place in [hfs + 1024 + 68, bytes.len() - 34 * 512 - 1024 + 68, 520, hfs + 3 * MIB] {
        let middle = all * 2 / 3;
        let disk = Disk { change: Some((middle, place)), ..Disk::new(bytes.clone()) };
        match take(&disk, Selection::Whole, &Shelf::default()) {
            Err(CaptureError::Changed(Changed::Different { .. })) => {}
            other => panic!("byte {place}: {other:?}"),
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_told_with_the_place() {
    let mut raw = vec![0; 2 * MIB];
    noise(3, &mut raw);
    let disk = Disk::new(raw);
    let shape = Shape::of(&disk, Selection::Whole).unwrap();
    disk.bytes.lock().unwrap().truncate(MIB);
    let error = capture(&disk, &shape, &Shelf::default(), 2, &Progress::default()).unwrap_err();
    let text = format!("{error}");
    assert!(
        matches!(error, CaptureError::Changed(Changed::Read { .. }) | CaptureError::Read { .. }),
        "{text}"
    );
    assert!(Shape::of(&Disk::new(Vec::new()), Selection::Whole).is_err());
}

#[test]
fn a_cell_with_one_used_block_has_zeros_in_its_free_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, want) = mac_disk(folder.path(), 8 * MIB as u64, 8);
    let (one, other) = (Shelf::default(), Shelf::default());
    let first = take(&Disk::new(disk), Selection::Whole, &one).unwrap();
    let second = take(&Disk::new(want), Selection::Whole, &other).unwrap();
    // Whatever lies in free blocks: the same chunks.
    assert_eq!(first.manifest, second.manifest);
    assert!(first.manifest.cells().all(|(span, _)| span.length <= CHUNK));
}
