//! What is on a volume, by the judgement of other programs: which blocks are in use (partclone).

use std::fs::{self, File};
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::image::partition::{self, Scheme};
use rootstock::image::source::{Piece, Source};
use rootstock::image::volume::{self, Allocation, Kind};
use rootstock::value::Secret;

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let told = Command::new(program).args(arguments).output();
    let told = told.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    assert!(told.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&told.stderr));
    told.stdout
}

/// The blocks that partclone saves of a volume, as ranges of bytes.
fn saved_by_partclone(kind: Kind, volume: &Path, folder: &Path) -> Vec<Range<u64>> {
    let program = if kind == Kind::Apfs { "partclone.apfs" } else { "partclone.hfsplus" };
    let (image, log) = (folder.join("saved.pc"), folder.join("log"));
    let [from, to, log] = [volume, &image, &log].map(|path| path.to_str().unwrap());
    run(program, &["-c", "-F", "-a0", "-s", from, "-O", to, "-L", log]);
    let mut saved = Vec::new();
    let mut source = Source::open(File::open(&image).unwrap()).unwrap();
    source
        .decode(1, &mut |piece| {
            if let Piece::Data { offset, bytes } = piece {
                saved.push(offset..offset + bytes.len() as u64);
            }
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    fs::remove_file(image).unwrap();
    saved
}

/// Panics where `ours` calls bytes free that partclone saves; returns how many bytes it uses that partclone does not.
fn compare(ours: &Allocation, saved: &[Range<u64>], name: &str) -> u64 {
    let mut both = 0;
    for range in saved {
        for run in ours.runs() {
            let common = run.span.offset.max(range.start)..run.span.end().min(range.end);
            assert!(common.is_empty() || run.used, "{name}: partclone saves {common:?}, we call it free");
            both += common.end.saturating_sub(common.start);
        }
    }
    ours.used() - both
}

/// The volumes of a decoded image, each with its place.
fn places(image: &[u8]) -> Vec<(u64, u64)> {
    let size = image.len() as u64;
    let layout = partition::read(&mut Cursor::new(image), size).unwrap();
    match layout.scheme {
        Scheme::None => vec![(0, size)],
        _ => layout.partitions.iter().map(|found| (found.start, found.size)).collect(),
    }
}

fn decoded(path: &Path, password: Option<&str>) -> Vec<u8> {
    let password = password.map(|text| Secret::new(text.to_owned()));
    let mut image = Vec::new();
    let mut source = Source::open_with(File::open(path).unwrap(), password.as_ref()).unwrap();
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

/// Compares every HFS+ and APFS volume of an image with partclone. Name, kind, block size, what we use more.
fn judge(name: &str, image: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for (start, size) in places(image) {
        let mut reader = Cursor::new(image);
        let kind = volume::read(&mut reader, start, size).unwrap().kind;
        if !matches!(kind, Kind::HfsPlus | Kind::Hfsx | Kind::Apfs) {
            continue;
        }
        let ours = volume::judged_allocation(&mut reader, start, size).unwrap();
        let ours = match ours {
            Ok(ours) => ours,
            Err(reason) => {
                lines.push(format!("{name} at {start}: {kind}, nothing is free: {reason}"));
                continue;
            }
        };
        let volume = folder.path().join("volume");
        fs::write(&volume, &image[start as usize..(start + size) as usize]).unwrap();
        let saved: Vec<_> = saved_by_partclone(kind, &volume, folder.path())
            .into_iter()
            .map(|range| range.start + start..range.end + start)
            .collect();
        let more = compare(&ours, &saved, name);
        lines.push(format!(
            "{name} at {start}: {kind} of {size}, {} used in {} runs, {more} more than partclone",
            ours.used(),
            ours.runs().len()
        ));
    }
    lines
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("ROOTSTOCK_SHARED").map_or_else(beside, PathBuf::from);
    Some(shared.join("corpus")).filter(|folder| folder.is_dir())
}

#[test]
fn no_block_of_the_corpus_is_called_free_that_partclone_saves() {
    let Some(corpus) = corpus() else { return eprintln!("no ../shared/corpus: not judged") };
    let mut lines = Vec::new();
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let password = match name.as_str() {
            "dmgwiz-input_aes256.dmg" => Some("test123"),
            "Sparkle-SparkleTestCodeSignApp.enc.dmg" => Some("testpass"),
            _ => None,
        };
        if [".tsv", ".sparsebundle"].iter().any(|end| name.ends_with(end)) || name.contains("synthetic") {
            continue;
        }
        lines.extend(judge(&name, &decoded(&path, password)));
    }
    eprintln!("{}", lines.join("\n"));
    assert!(lines.len() > 15, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("nothing is free")), "{lines:#?}");
}
