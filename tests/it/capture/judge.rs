//! Other programs judge an image: what partclone saves of it, whether apfsck finds its container whole.

use std::fs;
use std::process::Command;

use rootstock::image::capture::{Progress, Selection, Shape, capture};
use rootstock::image::volume::{self, Kind};

use super::disk::{Disk, Shelf, mac_disk, noise};
use crate::image_volume::saved_by_partclone;

fn image_of(disk: Vec<u8>, selection: Selection) -> Vec<u8> {
    let (disk, shelf) = (Disk::new(disk), Shelf::default());
    let shape = Shape::of(&disk, selection).unwrap();
    let taken = capture(&disk, &shape, &shelf, 2, &Progress::default()).unwrap();
    shelf.image(&taken.manifest)
}

#[test]
fn whatever_partclone_saves_of_a_volume_is_the_same_in_its_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.apfs");
    // The smallest container that mkapfs makes.
    fs::File::create(&path).unwrap().set_len(128 << 20).unwrap();
    let made = Command::new("mkapfs").args(["-L", "Macintosh HD"]).arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut apfs = fs::read(&path).unwrap();
    let map = volume::allocation(&mut std::io::Cursor::new(&apfs), 0, 128 << 20).unwrap().unwrap();
    for run in map.runs().iter().filter(|run| !run.used) {
        let some = run.span.length.min(100_000) as usize;
        noise(run.span.offset, &mut apfs[run.span.offset as usize..][..some]);
    }
    let (disk, _) = mac_disk(folder.path(), 9 << 20, 31);
    let hfs = image_of(disk.clone(), Selection::Partition(2));
    let start = disk.windows(2).skip(1024).step_by(512).position(|pair| pair == b"H+").unwrap() * 512;
    let original = disk[start..start + hfs.len()].to_vec();
    for (kind, disk, image) in
        [(Kind::HfsPlus, original, hfs), (Kind::Apfs, apfs.clone(), image_of(apfs, Selection::Whole))]
    {
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        fs::write(&before, &disk).unwrap();
        fs::write(&after, &image).unwrap();
        let saved = saved_by_partclone(kind, &before, folder.path());
        assert_eq!(saved, saved_by_partclone(kind, &after, folder.path()), "{kind}");
        let bytes: u64 = saved.iter().map(|range| range.end - range.start).sum();
        assert!(bytes > 100_000 && bytes < disk.len() as u64, "{kind}: {bytes}");
        for range in saved {
            let range = range.start as usize..range.end as usize;
            assert!(disk[range.clone()] == image[range.clone()], "{kind}: {range:?}");
        }
    }
    let checked = Command::new("apfsck").arg(folder.path().join("after")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
