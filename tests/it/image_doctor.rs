//! What `rootstock image inspect` says of every image that is at hand, kept word by word (`UPDATE=1` writes it anew), and
//! of damaged ones; what the appliance keeps with a version.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use proptest::prelude::*;
use rootstock::api::admin::{self, ImageSeverity, JobState};
use rootstock::image::doctor::{self, Subject, Surroundings};
use rootstock::image::partition;
use rootstock::image::source::Source;
use serde_json::Value;

use crate::api::appliance::Appliance;
use crate::image_source::mkvolume;
use crate::image_source_build::{corpus, fixture_path};

fn inspect(path: &Path, password: Option<&str>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(cargo_bin!("rootstock"));
    command.args(["image", "inspect", "--json"]).arg(path);
    if let Some(password) = password {
        fs::write(folder.path().join("password"), password).unwrap();
        command.arg("--password-file").arg(folder.path().join("password"));
    }
    let output = command.output().unwrap();
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => report,
        Err(_) => Value::String(
            String::from_utf8(output.stderr)
                .unwrap()
                .replace(path.to_str().unwrap(), "FILE")
                .trim()
                .to_owned(),
        ),
    }
}

/// Compares with the kept answers in `file`.
fn compare(file: &str, got: &BTreeMap<String, Value>) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/doctor").join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&kept, serde_json::to_string_pretty(got).unwrap() + "\n").unwrap();
    }
    let want: BTreeMap<String, Value> = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(want.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    for (name, want) in &want {
        assert_eq!(&got[name], want, "{name}: UPDATE=1 keeps the new answer");
    }
}

#[test]
fn what_is_said_of_the_fixtures_is_kept() {
    let names =
        ["disk-udzo.dmg", "disk-udro.dmg.gz", "disk.raw.bz2", "disk.raw.xz", "exfat.img.xz", "fat32.img.xz"];
    let mut got: BTreeMap<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), inspect(&fixture_path(name), None))).collect();
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    mkvolume::write(&disk, 8 << 20, 3).unwrap();
    got.insert("made with folders and files".to_owned(), inspect(&disk, None));
    let mut damaged = fs::read(&disk).unwrap();
    damaged[512 + 60] ^= 1;
    fs::write(&disk, &damaged).unwrap();
    got.insert("made, its primary table damaged".to_owned(), inspect(&disk, None));
    damaged[512 + 60] ^= 1;
    let end = damaged.len();
    damaged[end - 512 + 60] ^= 1;
    fs::write(&disk, &damaged).unwrap();
    got.insert("made, its backup table damaged".to_owned(), inspect(&disk, None));
    compare("fixtures.json", &got);
}

#[test]
fn what_is_said_of_the_corpus_is_kept() {
    let Some(corpus) = corpus() else { return println!("skipped: no ../shared/corpus") };
    let mut files: Vec<PathBuf> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file() && path.extension().is_none_or(|extension| extension != "tsv"));
    let got = files.iter().map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let password = match name.as_str() {
            "dmgwiz-input_aes256.dmg" => Some("test123"),
            "Sparkle-SparkleTestCodeSignApp.enc.dmg" => Some("testpass"),
            _ => None,
        };
        (name, inspect(path, password))
    });
    compare("corpus.json", &got.collect());
}

/// Looks at an image as `inspect` does; an error must have something to say.
fn look(bytes: Vec<u8>) {
    let look = || -> Result<(), Box<dyn std::error::Error>> {
        let mut source = Source::open(Cursor::new(bytes))?;
        let checksums = source.decode(1, &mut |_| Ok::<(), Infallible>(()))?.checksums;
        let mut reader = source.into_reader()?;
        let size = reader.size();
        let layout = partition::read(&mut reader, size)?;
        let subject = Subject::gather(&mut reader, size, &layout, Some(checksums))?;
        for finding in doctor::examine(&subject, &Surroundings::default()) {
            assert!(!finding.message.is_empty() && !finding.message.contains(char::is_control));
        }
        Ok(())
    };
    if let Err(error) = look() {
        assert!(error.to_string().len() > 10, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("ROOTSTOCK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
    ))]
    #[test]
    fn a_damaged_image_gives_findings_or_an_error_and_never_a_panic(
        which in 0..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        near in any::<bool>(), cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match which {
            0 => fs::read(fixture_path("disk-udzo.dmg")).unwrap(),
            1 => unpacked("fat32.img.xz"),
            _ => made(),
        };
        for (at, byte) in &flips {
            let at = at.index(if near { bytes.len().min(24 << 10) } else { bytes.len() });
            bytes[at] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        look(bytes);
    }
}

fn unpacked(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(fixture_path(name)).unwrap();
    std::io::copy(&mut liblzma::read::XzDecoder::new(file), &mut bytes).unwrap();
    bytes
}

fn made() -> Vec<u8> {
    static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.img");
        mkvolume::write(&disk, 8 << 20, 3).unwrap();
        fs::read(disk).unwrap()
    })
    .clone()
}

#[test]
fn a_version_keeps_what_was_found_at_its_import_and_the_job_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let disk = folder.path().join("disk.img");
    mkvolume::write(&disk, 8 << 20, 3).unwrap();
    let job = appliance.import("files", &disk);
    let JobState::Done { message, .. } = job.state else { panic!("{job:?}") };
    assert!(message.ends_with("; look at it: no-macos (warning)"), "{message}");
    let image: admin::Image = appliance.admin().get("/api/v1/images/files").unwrap();
    let found: Vec<_> =
        image.versions[0].findings.iter().map(|found| (found.code.as_str(), found.severity)).collect();
    assert_eq!(found, [("no-macos", ImageSeverity::Warning), ("no-checksums", ImageSeverity::Note)]);
}
