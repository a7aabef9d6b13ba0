//! Real targets: files, and loop devices where the tests run as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::device::{Device, DeviceError};
use rootstock::image::chunk::Span;
use rootstock::image::plan::Selection;
use rootstock::image::restore::{Progress, Target, restore};

use super::{MIB, OPTIONS, noise, volume, whole_disk};

/// A loop device over a file of this content; none, and said so, without root.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Option<Loop> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        match made {
            Ok(made) if made.status.success() => {
                Some(Loop(String::from_utf8(made.stdout).unwrap().trim().into()))
            }
            _ => {
                println!("skipped: no loop device can be made here (root and losetup are needed)");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup").arg("--detach").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_file_that_is_not_there_becomes_the_image_with_holes_for_its_zeros() {
    let stored = volume();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.img");
    let device = Device::open(&path, stored.image.len() as u64).unwrap();
    restore(stored.plan(Selection::Whole), &stored.store, &device, OPTIONS, &Progress::default()).unwrap();
    assert!(fs::read(&path).unwrap() == stored.image);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap()) * 512;
    assert!(blocks < stored.image.len() as u64 - 2 * MIB as u64, "{blocks} bytes are allocated");
}

#[test]
fn a_file_with_content_is_a_disk_of_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    fs::write(&path, noise(1, 3 * MIB)).unwrap();
    assert_eq!(Device::open(&path, 99).unwrap().size(), 3 * MIB as u64);
}

#[test]
fn zeroing_and_reading_back_are_exact_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let mut model = noise(1, 2 * MIB + 300);
    fs::write(&path, &model).unwrap();
    let device = Device::open(&path, 0).unwrap();
    for (offset, length) in [(0, 4096), (5000, 1), (4096 * 3 + 7, 20_000), (MIB + 1, MIB + 299)] {
        device.zero(Span { offset: offset as u64, length: length as u64 }).unwrap();
        model[offset..offset + length].fill(0);
    }
    device.flush().unwrap();
    assert!(fs::read(&path).unwrap() == model);
    for (offset, length) in [(0, 2 * MIB + 300), (1, 700), (511, 2), (2 * MIB, 300), (4096, 8192)] {
        let mut bytes = vec![0xee; length];
        device.read_back(offset as u64, &mut bytes).unwrap();
        assert!(bytes == model[offset..offset + length], "{length} bytes at {offset}");
    }
    assert!(device.read_back(2 * MIB as u64, &mut [0; 301]).is_err());
}

#[test]
fn folders_and_misspelt_devices_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Device::open(folder.path(), 1), Err(DeviceError::Kind(_))));
    let path = Path::new("/dev/no-such-disk");
    assert!(matches!(Device::open(path, 1), Err(DeviceError::Open { .. })));
    assert!(!path.exists());
}

#[test]
fn shared_memory_stands_below_dev_and_takes_files_all_the_same() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("disk.img");
    assert_eq!(Device::open(&path, 4096).unwrap().size(), 4096);
}

#[test]
fn a_block_device_takes_a_whole_disk_and_is_nobody_else_s_meanwhile() {
    let stored = whole_disk();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk.img");
    fs::write(&file, noise(7, 8 * MIB)).unwrap();
    let Some(node) = Loop::over(&file) else { return };
    let device = Device::open(&node.0, 1).unwrap();
    assert_eq!((device.size(), device.block_size()), (8 * MIB as u64, Some(512)));
    assert!(matches!(Device::open(&node.0, 1), Err(DeviceError::InUse { .. })));
    restore(stored.plan(Selection::Whole), &stored.store, &device, OPTIONS, &Progress::default()).unwrap();
    device.reread_partitions().unwrap();
    assert!(fs::read(&node.0).unwrap()[..stored.image.len()] == stored.image);
    assert!(device.discard(Span { offset: 4 * MIB as u64, length: MIB as u64 }).unwrap());
}

#[test]
fn a_mounted_block_device_is_refused_and_its_mount_point_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk.img");
    fs::write(&file, vec![0; 8 * MIB]).unwrap();
    let Some(node) = Loop::over(&file) else { return };
    let at = folder.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let run = |program: &str, arguments: &[&Path]| {
        Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
    };
    if !run("mkfs.ext2", &["-q".as_ref(), &node.0]) || !run("mount", &[&node.0, &at]) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let opened = Device::open(&node.0, 1);
    assert!(run("umount", &[&at]));
    let error = opened.unwrap_err().to_string();
    assert!(error.contains(&format!("mounted at {}", at.display())), "{error}");
}
