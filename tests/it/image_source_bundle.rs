//! Sparse bundles: as a folder, as tar archives that tar itself made, encrypted, and the one of the corpus.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::image::source::{Foreign, Format, Source, SourceError};
use rootstock::input::{self, OpenError, Opened, Room};
use rootstock::value::Secret;

use crate::image_source_build::*;
use crate::image_source_encrypted::Sealed;

const BAND: usize = 64 << 10;

/// A disk whose second half was never written, but for its end.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 10 * BAND + 5 * 512];
    disk[..4 * BAND].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 7 % 251) as u8 + 1);
    disk[2 * BAND..3 * BAND].fill(0);
    disk[3 * BAND..4 * BAND].copy_from_slice(&holed());
    disk[10 * BAND..].fill(9);
    disk
}

fn info(size: usize) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\"><plist version=\"1.0\"><dict>\
         <key>CFBundleInfoDictionaryVersion</key><string>6.0</string><key>band-size</key><integer>{BAND}</integer>\
         <key>bundle-backingstore-version</key><integer>1</integer><key>diskimage-bundle-type</key>\
         <string>com.apple.diskimage.sparsebundle</string><key>size</key><integer>{size}</integer></dict></plist>"
    )
}

/// A bundle of what is stored: bands without anything are left out, the rest loses its zeros at the end.
pub fn bundle(folder: &Path, stored: &[u8], token: &[u8]) -> PathBuf {
    let path = folder.join("lab.sparsebundle");
    fs::create_dir_all(path.join("bands")).unwrap();
    fs::write(path.join("Info.plist"), info(stored.len())).unwrap();
    fs::write(path.join("Info.bckup"), info(stored.len())).unwrap();
    fs::write(path.join("token"), token).unwrap();
    for (number, band) in stored.chunks(BAND).enumerate() {
        let end = band.iter().rposition(|&byte| byte != 0).map_or(0, |last| (last + 1).next_multiple_of(512));
        if end > 0 {
            sparse(&path.join("bands").join(format!("{number:x}")), &band[..end]);
        }
    }
    path
}

/// Writes a file with holes where whole pages are zeros.
fn sparse(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, page) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, at).unwrap();
        }
    }
}

/// A band with a hole in the middle and one at its end.
fn holed() -> Vec<u8> {
    let mut band = vec![7; BAND];
    band[8192..40960].fill(0);
    band[61440..].fill(0);
    band
}

fn open(path: &Path) -> Result<Opened, OpenError> {
    let folder = path.parent().unwrap();
    input::open(path, None, Some(Room { folder, keep_free: 0, go_on: &|_| true }))
}

fn holds_the_disk(path: &Path, format: Format) {
    let mut opened = open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(opened.source.format(), format, "{}", path.display());
    let whole = gather(&mut opened.source, 2).unwrap();
    assert_eq!(whole.digest, sha256(&disk()), "{}", path.display());
    assert!(whole.holes >= 6 * BAND as u64 && !whole.decoded.checksums.present);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut opened.source.into_reader().unwrap(), &mut bytes).unwrap();
    assert!(bytes == disk());
}

fn tar(folder: &Path, arguments: &[&str]) {
    let told = Command::new("tar").current_dir(folder).args(arguments).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

#[test]
fn a_bundle_is_read_from_its_folder_and_from_archives_of_it_without_unpacking_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path(), &disk(), b"");
    holds_the_disk(&path, Format::SparseBundle);
    for (name, how) in [
        ("gnu.tar", &["--format=gnu"][..]),
        ("pax.tar", &["--format=pax"]),
        ("ustar.tar", &["--format=ustar"]),
        ("holes-gnu.tar", &["--format=gnu", "--sparse", "--hole-detection=raw"]),
        ("holes-pax.tar", &["--format=pax", "--sparse", "--sparse-version=1.0", "--hole-detection=raw"]),
    ] {
        tar(folder.path(), &[how, &["-cf", name, "lab.sparsebundle"]].concat());
        let length = fs::metadata(folder.path().join(name)).unwrap().len();
        // Three bands and more, less the holes.
        assert_eq!(length < 3 * BAND as u64, name.starts_with("holes"), "{name}: {length}");
        holds_the_disk(&folder.path().join(name), Format::SparseBundleTar);
    }
    // As Finder and others make them: from inside, with clutter beside the files.
    fs::write(path.join("._Info.plist"), "clutter").unwrap();
    fs::write(path.join("bands/._0"), "clutter").unwrap();
    tar(folder.path(), &["-cf", "dot.tar", "./lab.sparsebundle"]);
    holds_the_disk(&folder.path().join("dot.tar"), Format::SparseBundleTar);
}

#[test]
fn bands_whose_holes_were_stored_in_the_old_way_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path(), &disk(), b"");
    for version in ["0.0", "0.1"] {
        let version = format!("--sparse-version={version}");
        tar(
            folder.path(),
            &[
                "--format=pax",
                "--sparse",
                "--hole-detection=raw",
                &version,
                "-cf",
                "old.tar",
                "lab.sparsebundle",
            ],
        );
        let error = open(&folder.path().join("old.tar")).err().unwrap();
        assert!(matches!(error, OpenError::Source(SourceError::OddHoles { band: 3 })), "{error}");
    }
}

#[test]
fn a_compressed_archive_is_unpacked_into_nothing_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path(), &disk(), b"");
    tar(folder.path(), &["-cf", "lab.tar", "lab.sparsebundle"]);
    let plain = fs::read(folder.path().join("lab.tar")).unwrap();
    fs::write(folder.path().join("lab.tzst"), zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
    let mut xz = Vec::new();
    std::io::Read::read_to_end(&mut liblzma::read::XzEncoder::new(&plain[..], 1), &mut xz).unwrap();
    fs::write(folder.path().join("lab.txz"), xz).unwrap();
    let mut gz = Vec::new();
    let level = flate2::Compression::fast();
    std::io::Read::read_to_end(&mut flate2::read::GzEncoder::new(&plain[..], level), &mut gz).unwrap();
    fs::write(folder.path().join("lab.tgz"), gz).unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    for name in ["lab.tgz", "lab.txz", "lab.tzst"] {
        holds_the_disk(&folder.path().join(name), Format::SparseBundleTar);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    // Without room it is only said what it is.
    let error = input::open(&folder.path().join("lab.tgz"), None, None).err().unwrap();
    assert!(matches!(error, OpenError::Source(SourceError::Inside(Foreign::Tar))), "{error}");
}

#[test]
fn an_encrypted_bundle_opens_by_its_password_and_what_was_never_written_reads_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk();
    let (token, sealed) = Sealed::new(&disk).parts(BAND);
    let path = bundle(folder.path(), &sealed, &token);
    for absent in [5, 6] {
        fs::remove_file(path.join(format!("bands/{absent:x}"))).unwrap();
    }
    tar(folder.path(), &["-cf", "lab.tar", "lab.sparsebundle"]);
    for path in [path, folder.path().join("lab.tar")] {
        let error = open(&path).err().unwrap();
        assert!(error.wants_password(), "{error}");
        let with = |password: &str| input::open(&path, Some(&Secret::new(password)), None);
        let error = with("wrong").err().unwrap();
        assert!(error.to_string().contains("the password is wrong"), "{error}");
        let mut source = with("open sesame").unwrap().source;
        assert!(source.is_encrypted());
        let whole = gather(&mut source, 2).unwrap();
        assert_eq!((whole.digest, whole.holes), (sha256(&disk), 2 * BAND as u64));
    }
}

#[test]
fn folders_and_archives_that_are_no_bundle_or_a_damaged_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(open(&empty).err().unwrap(), OpenError::NoBundle));
    tar(folder.path(), &["-cf", "empty.tar", "empty"]);
    let error = open(&folder.path().join("empty.tar")).err().unwrap();
    assert!(matches!(error, OpenError::Source(SourceError::Unsupported(Foreign::Tar))), "{error}");

    let path = bundle(folder.path(), &disk(), b"");
    tar(folder.path(), &["-cf", "cut.tar", "lab.sparsebundle"]);
    let cut = folder.path().join("cut.tar");
    let length = fs::metadata(&cut).unwrap().len();
    fs::File::options().write(true).open(&cut).unwrap().set_len(length / 2).unwrap();
    let error = open(&cut).err().unwrap();
    assert!(matches!(error, OpenError::Source(SourceError::Truncated { .. })), "{error}");
    fs::copy(path.join("bands/0"), path.join("bands/ff")).unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Source(SourceError::Malformed { found: 255, .. })), "{error}");
    fs::remove_file(path.join("bands/ff")).unwrap();
    // The list's twin stands in for it.
    fs::remove_file(path.join("Info.plist")).unwrap();
    holds_the_disk(&path, Format::SparseBundle);
}

#[test]
fn two_bundles_in_one_archive_are_not_guessed_between() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        bundle(&folder.path().join(name), &disk(), b"");
    }
    tar(folder.path(), &["-cf", "two.tar", "a", "b"]);
    let error = open(&folder.path().join("two.tar")).err().unwrap();
    assert!(matches!(error, OpenError::Source(SourceError::SeveralBundles)), "{error}");
}

#[test]
fn an_archive_with_a_wrong_byte_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path(), &disk(), b"");
    tar(
        folder.path(),
        &["--format=pax", "--sparse", "--hole-detection=raw", "-cf", "lab.tar", "lab.sparsebundle"],
    );
    let whole = fs::read(folder.path().join("lab.tar")).unwrap();
    for at in (0..whole.len()).step_by(1999) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        if let Ok(mut source) = Source::open(Cursor::new(bytes)) {
            drop(gather(&mut source, 1));
        }
    }
}

#[test]
fn the_bundle_of_the_corpus_has_its_bands_in_their_places() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; made bundles test the same code");
        return;
    };
    // Bands of 1024 bytes: 0 is whole, 1 is absent, 2 is half.
    let path = corpus.join("dmg-forensic-synthetic.sparsebundle");
    let band = |name: &str| fs::read(path.join("bands").join(name)).unwrap();
    let want = [&band("0")[..], &[0; 1024], &band("2"), &[0; 512]].concat();
    let mut opened = input::open(&path, None, None).unwrap();
    let whole = gather(&mut opened.source, 2).unwrap();
    assert_eq!((whole.digest, whole.holes), (sha256(&want), 1536));
    assert_eq!(opened.length, 1536);
}
