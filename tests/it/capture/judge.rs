//! Other programs judge an image: what partclone saves of it, whether apfsck finds its container whole.

use std::fs;
use std::process::Command;

use rootstock::image::capture::{Progress, Selection, Shape, capture};
use rootstock::image::volume::Kind;

use super::disk::{Disk, Shelf, mac_disk, with_noise_where_it_is_free};
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
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let made = Command::new("mkapfs").args(["-L", "Macintosh HD"]).arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (apfs, _) = with_noise_where_it_is_free(fs::read(&path).unwrap());
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
