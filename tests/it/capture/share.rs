//! Disks become disk images on a share: what other programs read in them, what a second try goes on with.

use std::fs::{self, File, OpenOptions};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rootstock::client::Watch;
use rootstock::image::capture::{Picture, Selection, Shape};
use rootstock::image::export::{self, ExportError, Format, dmg_id};
use rootstock::image::ingest::Progress;
use rootstock::image::partition;
use rootstock::runner::share::file::{Counters, FileError, Lost, write};
use rootstock::runner::share::needed;
use rootstock::server::library::Library;

use super::disk::{Disk, mac_disk, noise};

#[derive(Debug, thiserror::Error)]
enum Odd {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Captures to a file, which may be there in part: bytes of it that were there, bytes written. `most`: the Mac goes down when it
/// has read so many.
fn save(disk: &Disk, selection: Selection, path: &Path, most: u64) -> Result<(u64, u64), Odd> {
    let shape = Shape::of(disk, selection).unwrap();
    let (watch, counters, read) = (Watch::default(), Counters::default(), AtomicU64::new(0));
    let mut picture = Picture::new(disk, &shape, &read);
    let mut reach = || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        file.map_err(|error| Lost::Now(error.to_string()))
    };
    let plan = shape.to_export(disk, 7).unwrap();
    let whole = write(&mut reach, &watch, &counters, |sink| {
        let mut go_on = |_| read.load(Ordering::Relaxed) < most;
        export::export(&plan, &mut picture, Format::Udzo, 3, sink, &mut go_on)?;
        Ok::<(), Odd>(())
    })?;
    picture.check().unwrap();
    assert_eq!(whole.read_back()?, fs::metadata(path).unwrap().len());
    Ok((counters.kept(), counters.written()))
}

fn told(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn section_2_used_blocks_of_a_disk_are_a_dmg_that_7z_qemu_img_dmg2img_and_the_library_read() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, clear) = mac_disk(folder.path(), 9 << 20, 41);
    let layout = partition::read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let volume = &layout.partitions[1];
    let volume = clear[volume.start as usize..][..volume.size as usize].to_vec();
    let disk = Disk::new(bytes);
    let library = Library::open(&folder.path().join("store"), &folder.path().join("keys"), 2, 0).unwrap();
    for (selection, want) in [(Selection::Whole, clear.clone()), (Selection::Partition(2), volume)] {
        let dmg = folder.path().join("made.dmg");
        let _ = fs::remove_file(&dmg);
        let (kept, written) = save(&disk, selection, &dmg, u64::MAX).unwrap();
        assert_eq!((kept, written), (0, fs::metadata(&dmg).unwrap().len()), "{selection}");
        let text = dmg.to_str().unwrap();
        // 7z compares every checksum.
        assert!(told("7z", &["x", "-so", "-tdmg", text]) == want, "7z reads other bytes: {selection}");
        for (program, before) in
            [("qemu-img", ["convert", "-f", "dmg", "-O", "raw"].as_slice()), ("dmg2img", &["-s"])]
        {
            let out = folder.path().join("out.img");
            let _ = fs::remove_file(&out);
            told(program, &[before, &[text, out.to_str().unwrap()]].concat());
            let got = fs::read(&out).unwrap();
            let rest = want.strip_prefix(got.as_slice()).unwrap_or_else(|| panic!("{program}: {selection}"));
            assert!(rest.iter().all(|byte| *byte == 0), "{program}: {selection}");
        }
        let imported = library.import(&dmg, &Progress::default()).unwrap();
        let used: u64 = imported.manifest.cells().map(|(span, _)| span.length).sum();
        let shape = Shape::of(&disk, selection).unwrap();
        // Cells of 64 KiB, short free stretches among them.
        assert!(used < want.len() as u64 && used < shape.used() + (4 << 20), "{used} of {}", want.len());
        assert_eq!(needed(&shape), 2 * shape.used());
        let file = fs::read(&dmg).unwrap();
        assert_eq!(dmg_id(file.last_chunk().unwrap()), Some(7));
    }
}

#[test]
fn section_2_a_capture_that_was_cut_off_goes_on_and_one_of_a_disk_that_changed_meanwhile_does_not_keep_the_old()
 {
    let folder = tempfile::tempdir().unwrap();
    let mut clear = vec![0; 24 << 20];
    noise(43, &mut clear[..23 << 20]);
    let (disk, part) = (Disk::new(clear.clone()), folder.path().join("part"));
    let cut = save(&disk, Selection::Whole, &part, 14 << 20).unwrap_err();
    assert!(matches!(cut, Odd::Export(ExportError::Stopped)), "{cut:?}");
    let left = File::open(&part).unwrap().metadata().unwrap().len();
    let (kept, written) = save(&disk, Selection::Whole, &part, u64::MAX).unwrap();
    assert!(kept >= 4 << 20 && kept <= left && written > 0, "{left} {kept} {written}");
    assert!(told("7z", &["x", "-so", "-tdmg", part.to_str().unwrap()]) == clear);
    // The same once more writes nothing.
    assert_eq!(save(&disk, Selection::Whole, &part, u64::MAX).unwrap(), (kept + written, 0));
    // A byte changes near the end: the file follows.
    let place = 22 << 20;
    disk.bytes.lock().unwrap()[place] ^= 1;
    let (again, anew) = save(&disk, Selection::Whole, &part, u64::MAX).unwrap();
    assert!(again < kept + written && anew > 0, "{again} {anew}");
    let mut want = clear;
    want[place] ^= 1;
    assert!(told("7z", &["x", "-so", "-tdmg", part.to_str().unwrap()]) == want);
}
