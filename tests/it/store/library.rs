//! Files become images of the library, or leave no trace.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use rootstock::image::ingest::Progress;
use rootstock::input::OpenError;
use rootstock::server::library::{ImportError, Library, LibraryError};
use tempfile::TempDir;

use super::{MIB, noise};

fn open() -> (TempDir, Library) {
    let folder = tempfile::tempdir().unwrap();
    let library = at(&folder);
    (folder, library)
}

fn at(folder: &TempDir) -> Library {
    Library::open(&folder.path().join("store"), &folder.path().join("keys"), 2, 0).unwrap()
}

/// Real images, where they lie beside the checkout.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path =
        std::env::var_os("ROOTSTOCK_SHARED").map_or_else(beside, PathBuf::from).join("corpus").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

/// An APM disk image: map, a partition of 3 MiB, free space. Two blocks of map entries (Inside Macintosh: Devices, 3-25).
fn apm_disk() -> Vec<u8> {
    let mut disk = vec![0; 5 * MIB];
    let entry = |disk: &mut Vec<u8>, block: usize, start: u32, count: u32, name: &[u8], kind: &[u8]| {
        let at = block * 512;
        disk[at..at + 2].copy_from_slice(b"PM");
        disk[at + 4..at + 8].copy_from_slice(&2_u32.to_be_bytes());
        disk[at + 8..at + 12].copy_from_slice(&start.to_be_bytes());
        disk[at + 12..at + 16].copy_from_slice(&count.to_be_bytes());
        disk[at + 16..at + 16 + name.len()].copy_from_slice(name);
        disk[at + 48..at + 48 + kind.len()].copy_from_slice(kind);
    };
    disk[0..2].copy_from_slice(b"ER");
    disk[2..4].copy_from_slice(&512_u16.to_be_bytes());
    disk[4..8].copy_from_slice(&(5 * 2048_u32).to_be_bytes());
    entry(&mut disk, 1, 1, 63, b"Apple", b"Apple_partition_map");
    entry(&mut disk, 2, 64, 3 * 2048, b"disk image", b"Apple_HFS");
    disk[64 * 512..64 * 512 + 3 * MIB].copy_from_slice(&noise(5, 3 * MIB));
    disk
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_same_disk_raw_and_compressed_is_one_manifest_and_its_chunks_are_kept_once() {
    let (folder, library) = open();
    let (raw, packed) = (folder.path().join("disk.img"), folder.path().join("disk.img.gz"));
    fs::write(&raw, apm_disk()).unwrap();
    fs::write(&packed, gzip(&apm_disk())).unwrap();
    let first = library.import(&raw, &Progress::default()).unwrap();
    let second = library.import(&packed, &Progress::default()).unwrap();
    assert_eq!((second.digest, second.new_chunks), (first.digest, 0));
    assert_eq!(first.manifest.size(), 5 * MIB as u64);
    assert_eq!(first.manifest.main().unwrap().start, 64 * 512);
    assert_eq!(first.manifest.regions().len(), 4, "block zero, map, volume, free space");
    assert!(library.verify(first.digest, &AtomicU64::new(0)).unwrap().damage.is_empty());
}

#[test]
fn a_file_that_was_cut_off_leaves_no_trace_however_it_is_packed() {
    let (folder, library) = open();
    let disk = apm_disk();
    let cut = &disk[..2 * MIB];
    for (name, bytes) in [
        ("cut.img", cut.to_vec()),
        ("cut.img.gz", gzip(cut)),
        ("short.gz", {
            let mut whole = gzip(&disk);
            whole.truncate(whole.len() - 9);
            whole
        }),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = library.import(&path, &Progress::default()).unwrap_err();
        let known = matches!(
            error,
            ImportError::CutOff { .. }
                | ImportError::Open(OpenError::Source(_))
                | ImportError::Source(_)
                | ImportError::Partition(_)
        );
        assert!(known, "{name}: {error:?}");
        assert!(library.store().manifests().unwrap().is_empty(), "{name}");
        assert_eq!(library.store().usage().chunks, 0, "{name}");
    }
}

/// More than a pack holds, so that a pack was closed before the end is seen to be missing.
#[test]
fn a_long_import_that_fails_at_its_end_takes_its_packs_back_and_keeps_those_of_others() {
    let (folder, library) = open();
    let path = folder.path().join("disk.img");
    fs::write(&path, apm_disk()).unwrap();
    let kept = library.import(&path, &Progress::default()).unwrap();
    let before = library.store().usage();
    let mut long = apm_disk();
    long.extend(noise(8, 140 * MIB));
    let mut packed = zstd::bulk::compress(&long, 1).unwrap();
    packed.truncate(packed.len() - 4096);
    let cut = folder.path().join("cut.zst");
    fs::write(&cut, packed).unwrap();
    let progress = Progress::default();
    assert!(matches!(library.import(&cut, &progress), Err(ImportError::Source(_))));
    assert!(progress.kept() > 129 * MIB as u64, "no pack was closed");
    assert_eq!(library.store().usage(), before);
    assert_eq!(library.store().manifests().unwrap(), [kept.digest]);
    assert!(library.verify(kept.digest, &AtomicU64::new(0)).unwrap().damage.is_empty());
}

#[test]
fn a_stopped_import_and_one_without_room_say_so_and_leave_no_trace() {
    let (folder, library) = open();
    let path = folder.path().join("disk.img");
    fs::write(&path, apm_disk()).unwrap();
    let progress = Progress::default();
    progress.stop();
    assert!(matches!(library.import(&path, &progress), Err(ImportError::Stopped)));
    drop(library);
    let greedy =
        Library::open(&folder.path().join("store"), &folder.path().join("keys"), 2, u64::MAX / 2).unwrap();
    let error = greedy.import(&path, &Progress::default()).unwrap_err();
    assert!(matches!(error, ImportError::Room { .. }), "{error:?}");
    assert_eq!(greedy.store().usage().chunks, 0);
}

#[test]
fn the_key_is_made_once_for_its_owner_only_and_a_damaged_one_is_never_replaced() {
    let (folder, library) = open();
    let key = library.key();
    drop(library);
    assert_eq!(at(&folder).key(), key);
    let path = folder.path().join("keys/manifest.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let public = fs::read_to_string(folder.path().join("keys/manifest.pub")).unwrap();
    assert_eq!(public.trim().parse(), Ok(key));
    fs::write(&path, b"damaged").unwrap();
    let again = Library::open(&folder.path().join("store"), &folder.path().join("keys"), 1, 0);
    assert!(matches!(again, Err(LibraryError::Key { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"damaged");
}

#[test]
fn a_real_mac_image_comes_in_with_its_volume_named() {
    let Some(path) = corpus("go-apfs-v2-hfs-basic.dmg") else { return };
    let (_folder, library) = open();
    let imported = library.import(&path, &Progress::default()).unwrap();
    let main = imported.manifest.main().unwrap();
    assert_eq!(main.volume.as_ref().unwrap().kind, "hfs+");
    assert!(imported.checksums.present && imported.checksums.ok);
    assert!(library.verify(imported.digest, &AtomicU64::new(0)).unwrap().damage.is_empty());
}
