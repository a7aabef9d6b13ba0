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
pub fn saved_by_partclone(kind: Kind, volume: &Path, folder: &Path) -> Vec<Range<u64>> {
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

/// Judges several images at a time: partclone waits for its own progress display.
fn judge_all(images: Vec<(String, Vec<u8>)>) -> Vec<String> {
    std::thread::scope(|scope| {
        let judges: Vec<_> =
            images.iter().map(|(name, image)| scope.spawn(move || judge(name, image))).collect();
        judges.into_iter().flat_map(|judge| judge.join().unwrap()).collect()
    })
}

#[test]
fn no_block_of_the_corpus_is_called_free_that_partclone_saves() {
    let Some(corpus) = corpus() else { return eprintln!("no ../shared/corpus: not judged") };
    let mut images: Vec<(String, Vec<u8>)> = Vec::new();
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
        let image = decoded(&path, password);
        if images.iter().all(|(_, known)| *known != image) {
            images.push((name, image));
        }
    }
    let lines = judge_all(images);
    eprintln!("{}", lines.join("\n"));
    assert!(lines.len() >= 12, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("nothing is free")), "{lines:#?}");
}

#[test]
fn no_block_of_volumes_made_here_is_called_free_that_partclone_saves() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut images = Vec::new();
    // Whole chunks of 128 MiB: partclone 0.3.23 takes block 0 for the map of a shorter last chunk that needs none, and saves
    // more blocks than it says are in use.
    for (name, size) in [("two chunks", 256_u64 << 20), ("three chunks", 384 << 20)] {
        let path = at(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        run("mkapfs", &["-L", "Made here", path.to_str().unwrap()]);
        images.push((name.to_owned(), fs::read(path).unwrap()));
    }
    let path = at("hfs");
    crate::image_source::mkvolume::write(&path, 24 << 20, 3).unwrap();
    images.push(("files".to_owned(), fs::read(path).unwrap()));
    let lines = judge_all(images);
    eprintln!("{}", lines.join("\n"));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().all(|line| line.ends_with(", 0 more than partclone")), "{lines:#?}");
}

#[test]
fn a_large_container_is_mapped_by_all_its_chunks() {
    let container = tempfile::NamedTempFile::new().unwrap();
    let size = 600 << 30;
    container.as_file().set_len(size).unwrap();
    run("mkapfs", &[container.path().to_str().unwrap()]);
    let mut file = File::open(container.path()).unwrap();
    let map = volume::allocation(&mut file, 0, size).unwrap().expect("mkapfs makes no mistakes");
    let facts = volume::read(&mut file, 0, size).unwrap();
    assert_eq!(facts.used, Some(map.used()));
    assert!(map.used() < 1 << 30, "{}", map.used());
}

/// What a program says behind a word, line by line.
fn told(text: &str, word: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            Some(line.trim().strip_prefix(word)?.trim_start().strip_prefix(':')?.trim().to_owned())
        })
        .collect()
}

#[test]
fn names_and_encryption_of_apfs_volumes_are_those_that_fsapfsinfo_reads() {
    let Some(corpus) = corpus() else { return eprintln!("no ../shared/corpus: not judged") };
    let folder = tempfile::tempdir().unwrap();
    for name in ["Sparkle-SparkleTestCodeSign_apfs.dmg", "dmgwiz-input_lzma.dmg", "go-apfs-v2-basic.dmg"] {
        let image = decoded(&corpus.join(name), None);
        for (start, size) in places(&image) {
            let facts = volume::read(&mut Cursor::new(&image), start, size).unwrap();
            if facts.kind != Kind::Apfs {
                continue;
            }
            let volume = folder.path().join("volume");
            fs::write(&volume, &image[start as usize..(start + size) as usize]).unwrap();
            let text = String::from_utf8(run("fsapfsinfo", &[volume.to_str().unwrap()])).unwrap();
            let names: Vec<&str> = facts.volumes.iter().map(|volume| volume.name.as_str()).collect();
            assert_eq!(told(&text, "Name"), names, "{name}: {text}");
            let locked = facts.volumes.iter().any(|volume| volume.is_encrypted);
            assert_eq!(text.contains("Is locked"), locked, "{name}: {text}");
        }
    }
}
