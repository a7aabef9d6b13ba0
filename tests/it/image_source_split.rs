//! Images in parts, as `split`, FOG and Clonezilla leave them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::image::source::Format;
use rootstock::input::{self, OpenError, Opened};

use crate::image_source_build::*;

/// Splits bytes as `split` does.
pub fn split(folder: &Path, bytes: &[u8], size: usize, arguments: &[&str], prefix: &str) -> Vec<PathBuf> {
    let whole = folder.join("whole");
    fs::write(&whole, bytes).unwrap();
    let prefix = folder.join(prefix);
    let size = format!("--bytes={size}");
    let told = Command::new("split").args(arguments).arg(size).arg(&whole).arg(&prefix).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    fs::remove_file(whole).unwrap();
    let mut parts: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.to_str().unwrap().starts_with(prefix.to_str().unwrap()));
    parts.sort();
    parts
}

fn open(path: &Path) -> Result<Opened, OpenError> {
    input::open(path, None, None)
}

fn digest(path: &Path) -> (Format, String, usize) {
    let mut opened = open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let whole = gather(&mut opened.source, 2).unwrap();
    (opened.source.format(), whole.digest, opened.parts.len())
}

#[test]
fn a_first_part_brings_the_others_however_they_are_numbered() {
    for (arguments, prefix) in [
        (&[][..], "sda1.hfsp-ptcl-img.gz."),
        (&["-d", "-a3"], "d1p1.img."),
        (&["--numeric-suffixes=1", "-a3"], "lab.img."),
        (&["-a3"], "lab-"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in [
            ("disk.raw.gz", Format::RawGz),
            ("disk.raw.zst", Format::RawZst),
            ("disk-udzo.dmg", Format::Udif),
        ] {
            let bytes = fixture(name);
            let parts = split(folder.path(), &bytes, bytes.len() / 4 + 1, arguments, prefix);
            assert_eq!(parts.len(), 4);
            assert_eq!(digest(&parts[0]), (format, fixture_digest(), 4), "{name} {prefix}");
            parts.iter().for_each(|part| fs::remove_file(part).unwrap());
        }
    }
}

#[test]
fn a_later_part_leads_to_the_first_and_neighbours_are_no_parts() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fixture("disk.raw.gz");
    let parts = split(folder.path(), &bytes, bytes.len() / 3 + 1, &[], "lab.");
    // What is called like the 181st part, and is none.
    fs::write(folder.path().join("lab.gz"), fixture("disk.raw.gz")).unwrap();
    for path in &parts {
        assert_eq!(digest(path), (Format::RawGz, fixture_digest(), 3));
    }
    assert_eq!(digest(&folder.path().join("lab.gz")), (Format::RawGz, fixture_digest(), 0));
}

#[test]
fn a_missing_part_and_one_that_was_cut_off_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fixture("disk.raw.gz");
    let parts = split(folder.path(), &bytes, bytes.len() / 5 + 1, &["-d", "-a3"], "lab.");
    let named = |path: &Path| open(path).err().unwrap().to_string();
    fs::rename(&parts[2], folder.path().join("away")).unwrap();
    let error = named(&parts[0]);
    assert!(error.contains("lab.002 is missing") && error.contains("4 parts"), "{error}");
    fs::write(&parts[2], b"short").unwrap();
    let error = named(&parts[0]);
    assert!(error.contains("lab.002 has 5 bytes"), "{error}");
    fs::rename(folder.path().join("away"), &parts[2]).unwrap();

    // A number 1 may be the first, so what is in it says that it is not.
    fs::rename(&parts[0], folder.path().join("first")).unwrap();
    let error = named(&parts[3]);
    assert!(error.contains("is the part before") && error.contains("lab.001 missing?"), "{error}");
    fs::rename(&parts[1], folder.path().join("second")).unwrap();
    let error = named(&parts[3]);
    assert!(error.contains("lab.001 is missing"), "{error}");
    fs::rename(folder.path().join("first"), &parts[0]).unwrap();
    fs::rename(folder.path().join("second"), &parts[1]).unwrap();
    assert!(open(&parts[0]).is_ok());
}

#[test]
fn a_missing_last_part_is_told_by_what_the_image_says_of_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let raw = gather_raw();
    let parts = split(folder.path(), &raw, raw.len() / 3 + 512, &[], "lab.img.");
    fs::remove_file(&parts[2]).unwrap();
    let error = open(&parts[0]).err().unwrap();
    assert!(matches!(error, OpenError::LastPart { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("lab.img.ab"), "{error}");
}

/// The disk of the fixtures.
fn gather_raw() -> Vec<u8> {
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&fixture("disk.raw.gz")[..]), &mut raw)
        .unwrap();
    raw
}

#[test]
fn images_that_are_only_numbered_alike_are_opened_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("lab.00{number}"));
    for (image, format) in [
        (gather_raw(), Format::Raw),
        (fixture("disk.raw.xz"), Format::RawXz),
        (fixture("disk-ulfo.dmg"), Format::Udif),
    ] {
        (1..4).for_each(|number| fs::write(path(number), &image).unwrap());
        for number in 1..4 {
            assert_eq!(digest(&path(number)), (format, fixture_digest(), 0), "{format} {number}");
        }
    }
}

#[test]
fn a_raw_disk_in_parts_is_joined() {
    let folder = tempfile::tempdir().unwrap();
    let raw = gather_raw();
    let parts = split(folder.path(), &raw, 512 << 10, &["-d", "-a2"], "lab.dd.");
    assert_eq!(digest(&parts[0]), (Format::Raw, fixture_digest(), 4));
}

#[test]
fn a_link_beside_a_part_is_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fixture("disk.raw.gz");
    let parts = split(folder.path(), &bytes, bytes.len() / 3 + 1, &[], "lab.");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(&parts[1], elsewhere.path().join("secret")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("secret"), &parts[1]).unwrap();
    let error = open(&parts[0]).err().unwrap();
    assert!(matches!(&error, OpenError::MissingPart { missing, .. } if *missing == parts[1]), "{error}");
}
