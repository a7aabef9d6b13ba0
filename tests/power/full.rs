//! A disk without room: a clear error, no damage, the room given back, and all goes on where there is room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Output;

use nix::sys::statvfs::statvfs;

use crate::appliance::Appliance;
use crate::mounts::{Mounted, ext4, private};
use crate::random::Random;
use crate::work::{Act, MAKERS, Promises, Sources, check};

const SIZE: u64 = 48 << 20;

fn free(folder: &Path) -> u64 {
    let found = statvfs(folder).unwrap();
    found.blocks_available() * found.fragment_size()
}

/// Takes all room that is left.
fn fill(folder: &Path) {
    let mut ballast = File::create(folder.join("ballast")).unwrap();
    let block = Random(7).bytes(4096);
    while ballast.write_all(&block).is_ok() {}
    drop(ballast.sync_all());
    assert_eq!(free(folder), 0);
}

fn take_ballast_out(folder: &Path) {
    fs::remove_file(folder.join("ballast")).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

/// It has failed, and says that there is no room.
fn said_to_be_full(done: &Output, what: &str) {
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "{what} succeeded on a full disk: {said}");
    let clear = ["full", "no space", "room", "free"].iter().any(|word| said.to_lowercase().contains(word));
    assert!(clear, "{what} does not say that the disk is full: {said}");
    println!("{what}: {}", said.lines().last().unwrap_or_default());
}

/// A file that looks like a disk and does not fit.
fn too_large(folder: &Path) -> String {
    let mut content = Sources::content(1);
    content[458..462].copy_from_slice(&(60_u32 << 11).to_le_bytes());
    content.extend(Random(99).bytes(59 << 20));
    let file = folder.join("large.img");
    fs::write(&file, content).unwrap();
    file.display().to_string()
}

/// Dropped in this order: the daemon, what it lies on.
struct Small {
    appliance: Appliance,
    mounted: Mounted,
    promises: Promises,
    sources: Sources,
    _folder: tempfile::TempDir,
}

impl Small {
    /// A library with two images on a small disk.
    fn new() -> Small {
        private();
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk");
        fs::write(&image, ext4(SIZE)).unwrap();
        let mounted = Mounted::image(&image);
        let appliance = Appliance::start(&mounted.path().join("data"));
        let mut small = Small {
            appliance,
            mounted,
            promises: Promises::default(),
            sources: Sources::new(),
            _folder: folder,
        };
        small.does(Act::Import(1));
        small.does(Act::Import(2));
        small
    }

    fn does(&mut self, act: Act) {
        self.promises.begun(act);
        let done = self.sources.command(&self.appliance, act, self.mounted.path()).status().unwrap();
        assert!(done.success(), "{act:?} was refused: {}", self.sources.said());
        self.promises.kept(act);
    }

    fn is_sound(&mut self) {
        check(&self.appliance, &mut self.promises, self.mounted.path());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_room_as_it_was() {
    let mut small = Small::new();
    let folder = tempfile::tempdir().unwrap();
    let large = too_large(folder.path());
    for (number, make) in (10..).zip(MAKERS) {
        let before = free(small.mounted.path());
        let kind = make(number).kind();
        let words = match kind {
            "capture" => vec!["image", "capture", "--from", &large, "--name", "large"],
            _ => vec!["image", kind, &large, "--name", "large"],
        };
        said_to_be_full(&small.appliance.run(&words), kind);
        small.is_sound();
        if kind == "capture" {
            // What was sent is kept for the next try, for as long as the appliance waits for one; then it is garbage.
            small.appliance.restart();
            small.does(Act::Collect);
        }
        let gone = before.saturating_sub(free(small.mounted.path()));
        assert!(gone < 1 << 20, "{kind} keeps {gone} bytes");
        small.does(make(number));
    }
    small.is_sound();
}

#[test]
fn a_disk_that_others_fill_stops_the_library_and_does_not_damage_it() {
    let mut small = Small::new();
    small.does(Act::Import(3));
    small.does(Act::Delete(1));
    let place = small.mounted.path().to_owned();
    fill(&place);
    for (number, make) in (20..).zip(MAKERS) {
        let act = make(number);
        let done = small.sources.command(&small.appliance, act, &place).output().unwrap();
        assert!(!done.status.success(), "{act:?} succeeded on a full disk");
        println!("{}: {}", act.kind(), small.sources.said().lines().last().unwrap_or_default());
    }
    // Room can be made on a full disk, or it is said why not.
    let done = small.appliance.run(&["image", "collect"]);
    if !done.status.success() {
        said_to_be_full(&done, "collect");
    }
    small.appliance.restart();
    take_ballast_out(&place);
    small.is_sound();
    small.does(Act::Collect);
    for (number, make) in (30..).zip(MAKERS) {
        small.does(make(number));
    }
    small.is_sound();
}
