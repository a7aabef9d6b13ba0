//! A disk without room: a clear error, no damage, the room given back, and all goes on where there is room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::statvfs::statvfs;

use crate::appliance::{Appliance, bytes_read};
use crate::mounts::{Mounted, ext4, private};
use crate::random::Random;
use crate::work::{Act, MAKERS, Promises, Sources, check};

const SIZE: u64 = 56 << 20;

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
        small.does(Act::Collect);
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
    // Room can be made on a full disk: also where something of a pack lives, and must be written elsewhere first.
    small.does(Act::Delete(2));
    small.does(Act::Collect);
    assert!(free(&place) > 2 << 20, "only {} bytes are free", free(&place));
    fill(&place);
    small.appliance.restart();
    take_ballast_out(&place);
    small.is_sound();
    small.does(Act::Collect);
    for (number, make) in (30..).zip(MAKERS) {
        small.does(make(number));
    }
    small.is_sound();
}

/// Uploads the file under the name until about `stop` bytes of it were read, and kills the command then. Bytes that the appliance
/// acknowledges.
fn cut_off_upload(appliance: &Appliance, file: &str, name: &str, size: u64, stop: u64) -> u64 {
    let mut client = appliance.command(&["image", "upload", file, "--name", name]);
    let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while bytes_read(client.id()).is_some_and(|read| read < stop) && client.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    client.kill().unwrap();
    client.wait().unwrap();
    // The daemon takes to its end what is on the way.
    loop {
        let uploads = appliance.json(&["upload", "list"]);
        let upload = uploads.as_array().unwrap().iter().find(|upload| upload["name"] == name);
        let Some(upload) = upload else { return 0 };
        if upload["state"]["active"] != true {
            let safe = upload["offset"].as_u64().unwrap();
            assert!(safe < size, "the upload was over before it was cut off: {upload}");
            return safe;
        }
    }
}

#[test]
fn an_upload_whose_sender_was_killed_meets_a_full_disk_and_goes_on_when_there_is_room() {
    const LENGTH: u64 = 16 << 20;
    let mut small = Small::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.img");
    let mut content = Sources::content(1);
    content[458..462].copy_from_slice(&((LENGTH >> 9) as u32 - 2048).to_le_bytes());
    content.extend(Random(5).bytes(LENGTH as usize - content.len()));
    fs::write(&file, &content).unwrap();
    let file = file.display().to_string();
    let safe = cut_off_upload(&small.appliance, &file, "lab", LENGTH, LENGTH / 3);
    let place = small.mounted.path().to_owned();
    fill(&place);
    let words = ["image", "upload", &file, "--name", "lab"];
    said_to_be_full(&small.appliance.run(&words), "upload");
    let uploads = small.appliance.json(&["upload", "list"]);
    assert_eq!((uploads.as_array().unwrap().len(), uploads[0]["offset"].as_u64()), (1, Some(safe)));
    small.is_sound();
    take_ballast_out(&place);
    let said = small.appliance.must(&words);
    assert!(said.contains("lab@1 is in the library"), "{said}");
    let back = folder.path().join("back");
    small.appliance.must(&["image", "restore", "lab", "--to", back.to_str().unwrap()]);
    assert!(fs::read(back).unwrap() == content);
    let uploads = small.appliance.json(&["upload", "list"]);
    assert_eq!(uploads.as_array().unwrap().len(), 1, "it was begun anew: {uploads}");
}
