//! Captures against the real appliance: command line, kills on either side, refusals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use rootstock::api::admin::{self, JobState};
use rootstock::api::capture::*;
use rootstock::client::{Client, HttpLibrary, Patience, SendError, Watch};
use rootstock::device::Source;
use rootstock::image::capture::{Captured, Library, Progress, Selection, Shape, capture};
use rootstock::image::chunk::{Packed, Packer, Verified};
use rootstock::image::manifest::Manifest;
use rootstock::value::Digest;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::disk::{mac_disk, noise};
use crate::api::appliance::{Appliance, json, refused};
use crate::api::daemon::Daemon;

const MIB: u64 = 1 << 20;

fn rootstock(data: &Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output = command.arg("--socket").arg(data.join("rootstock.sock")).args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn captured(data: &Path, disk: &Path, more: &[&str]) -> Value {
    let words =
        [&["image", "capture", "--json", "--name", "lab", "--from", disk.to_str().unwrap()], more].concat();
    let (code, text) = rootstock(data, &words);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn restored(data: &Path, to: &Path, more: &[&str]) -> Vec<u8> {
    let words = [&["image", "restore", "lab", "--to", to.to_str().unwrap()], more].concat();
    let (code, text) = rootstock(data, &words);
    assert_eq!(code, 0, "{text}");
    fs::read(to).unwrap()
}

/// A disk in a file, and what an image of it has.
fn disk_file(folder: &TempDir, size: u64, seed: u64) -> (PathBuf, Vec<u8>) {
    let (disk, want) = mac_disk(folder.path(), size, seed);
    let path = folder.path().join("disk.img");
    fs::write(&path, disk).unwrap();
    (path, want)
}

#[test]
fn a_captured_disk_is_restored_with_every_used_block_and_a_second_capture_sends_nothing() {
    let folder = tempdir().unwrap();
    let (disk, want) = disk_file(&folder, 12 * MIB, 11);
    let appliance = Appliance::start(&folder.path().join("data"));
    let first = captured(&appliance.data, &disk, &["--note", "before the summer"]);
    assert_eq!((&first["version"], &first["unchanged"]), (&1.into(), &true.into()));
    assert!(
        first["sent_chunks"].as_u64().unwrap() > 20 && first["used"].as_u64() < first["size"].as_u64(),
        "{first}"
    );
    let back = folder.path().join("back.img");
    assert!(restored(&appliance.data, &back, &[]) == want, "the restored disk differs");

    let second = captured(&appliance.data, &disk, &["--whole"]);
    assert_eq!(
        (&second["version"], &second["sent_chunks"], &second["added"]),
        (&2.into(), &0.into(), &0.into())
    );
    assert_eq!(second["manifest"], first["manifest"]);
    let (code, text) = rootstock(&appliance.data, &["image", "verify", "lab"]);
    assert_eq!(code, 0, "{text}");
    let image = json(&appliance.admin(), "/api/v1/images/lab");
    assert_eq!(
        (&image["rings"]["draft"], &image["versions"][1]["note"]),
        (&2.into(), &"before the summer".into())
    );
    let version = &image["versions"][0];
    assert_eq!((&version["format"], &version["sha256"]), (&"capture".into(), &first["sha256"]));
    assert_eq!(version["partitions"][1]["volume"]["kind"], "hfs+");

    let volume = captured(&appliance.data, &disk, &["--partition", "2"]);
    assert_eq!(
        (&volume["version"], &volume["sent_chunks"]),
        (&3.into(), &0.into()),
        "the same cells: {volume}"
    );
    let made = &json(&appliance.admin(), "/api/v1/captures")[0];
    assert_eq!(made["made"]["version"], 3);
    // Who it was stands with the version, as with an upload.
    assert!(made["by"].as_str().is_some_and(|by| !by.is_empty() && version["uploader"] == by), "{made}");
}

#[test]
fn another_machine_captures_over_the_network_with_the_admin_token() {
    let folder = tempdir().unwrap();
    let (disk, _) = disk_file(&folder, 8 * MIB, 12);
    let appliance = Appliance::start(&folder.path().join("data"));
    let keys = appliance.data.join("keys");
    let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .args(["--server", &format!("https://127.0.0.1:{}", appliance.https)])
        .args([Path::new("--ca"), &keys.join("ca.pem")])
        .args([Path::new("--token-file"), &keys.join("admin.token")])
        .args(["image", "capture", "--name", "lab", "--from"])
        .arg(&disk)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("lab 1: 8.0 MiB with"), "{text}");
    assert!(text.contains("did not change"), "{text}");
}

/// A library that kills and restarts its daemon after some frames.
struct Killing<'a, 'w> {
    inner: &'a HttpLibrary<'w>,
    folder: &'a TempDir,
    daemon: Mutex<Option<Daemon>>,
    sends: Mutex<usize>,
    at: usize,
}

impl Library for Killing<'_, '_> {
    type Error = SendError;
    type Made = Made;

    fn lacking(&self, chunks: &[Digest]) -> Result<Vec<bool>, SendError> {
        self.inner.lacking(chunks)
    }

    fn send(&self, packed: Packed) -> Result<bool, SendError> {
        let mut sends = self.sends.lock().unwrap();
        *sends += 1;
        if *sends == self.at {
            // Everything before it was taken in, and nothing of it is durable yet.
            self.inner.flush()?;
            let mut daemon = self.daemon.lock().unwrap();
            drop(daemon.take());
            *daemon = Some(Daemon::start(self.folder));
        }
        drop(sends);
        self.inner.send(packed)
    }

    fn flush(&self) -> Result<(), SendError> {
        self.inner.flush()
    }

    fn finish(&self, manifest: &Manifest) -> Result<Option<Made>, SendError> {
        self.inner.finish(manifest)
    }
}

fn create(name: &str) -> CreateCapture {
    CreateCapture {
        name: name.into(),
        note: String::new(),
        source: "test".into(),
        size: 1,
        used: 1,
        resume: "x".into(),
    }
}

#[test]
fn an_appliance_that_is_killed_in_the_middle_goes_on_with_the_capture_and_is_sent_what_it_lost() {
    let folder = tempdir().unwrap();
    let (disk, want) = disk_file(&folder, 16 * MIB, 13);
    let data = folder.path().join("data");
    let daemon = Daemon::start(&folder);
    let client = Client::unix(data.join("rootstock.sock")).with_patience(Patience::NONE);
    let begun: Capture = client.post("/api/v1/captures", &create("lab")).unwrap();
    let source = Source::open(&disk).unwrap();
    let shape = Shape::of(&source, Selection::Whole).unwrap();
    let watch = Watch::default();
    let base = format!("/api/v1/captures/{}", begun.id);
    let (done, _daemon): (Captured<Made>, _) = HttpLibrary::with(&client, base, &watch, |inner| {
        let daemon = Mutex::new(Some(daemon));
        let killing = Killing { inner, folder: &folder, daemon, sends: Mutex::new(0), at: 5 };
        let done = capture(&source, &shape, &killing, 3, &Progress::default()).unwrap();
        (done, killing.daemon.into_inner().unwrap())
    });
    assert_eq!(done.made.version, 1);
    // Five frames of at most sixteen chunks were lost.
    let distinct = done.manifest.digests().collect::<std::collections::HashSet<_>>().len() as u64;
    assert!(
        done.sent_chunks > distinct && done.sent_chunks <= distinct + 80,
        "{} of {distinct}",
        done.sent_chunks
    );
    let back = folder.path().join("back.img");
    assert!(restored(&data, &back, &[]) == want, "the restored disk differs");
    // An answer that got lost is told again.
    let again: Capture = client.get(&format!("/api/v1/captures/{}", begun.id)).unwrap();
    assert_eq!(again.made, Some(done.made));
}

#[test]
fn a_command_that_is_killed_and_run_again_goes_on_with_its_capture() {
    let folder = tempdir().unwrap();
    let (disk, want) = disk_file(&folder, 24 * MIB, 14);
    let appliance = Appliance::start(&folder.path().join("data"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .arg("--socket")
        .arg(appliance.data.join("rootstock.sock"))
        .args(["image", "capture", "--name", "lab", "--from"])
        .arg(&disk)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while json(&appliance.admin(), "/api/v1/captures") == serde_json::json!([]) {}
    command.kill().unwrap();
    command.wait().unwrap();
    let left: Vec<Capture> = appliance.admin().get("/api/v1/captures").unwrap();
    let made = captured(&appliance.data, &disk, &[]);
    let after: Vec<Capture> = appliance.admin().get("/api/v1/captures").unwrap();
    assert_eq!(after.len(), if left[0].made.is_some() { 2 } else { 1 }, "{after:?}");
    assert!(made["version"].as_u64().unwrap() >= 1);
    assert!(restored(&appliance.data, &folder.path().join("back.img"), &[]) == want);
}

fn packed(bytes: &[u8]) -> Packed {
    let mut packer = Packer::new().unwrap();
    let full = packer.add(&Verified::seal(bytes.to_vec())).unwrap();
    full.or_else(|| packer.finish().unwrap()).unwrap()
}

#[test]
fn what_is_not_what_it_says_is_not_kept_and_a_hole_in_an_image_is_told() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let begun: Capture = admin.post("/api/v1/captures", &create("lab")).unwrap();
    let path = |verb: &str| format!("/api/v1/captures/{}/{verb}", begun.id);
    let good = packed(&[1; 5000]);
    let lacks = |chunk: Digest| admin.post_bytes(&path("lacking"), chunk.as_bytes(), 10).unwrap() == [1];
    assert!(lacks(good.chunks[0]));
    for wrong in [
        Packed { chunks: vec![Digest::of(b"other")], ..good.clone() },
        Packed { raw: 4999, ..good.clone() },
        Packed { frame: vec![7; 30], ..good.clone() },
    ] {
        // The good one before it is not kept either.
        let body = encode_frames(&[good.clone(), wrong]);
        assert_eq!(refused(admin.post_bytes(&path("frames"), &body, 1000)).0, 422);
    }
    assert_eq!(refused(admin.post_bytes(&path("frames"), b"garbage", 1000)).0, 422);
    assert_eq!(refused(admin.post_bytes(&path("lacking"), b"short", 1000)).0, 400);
    assert!(lacks(good.chunks[0]));

    let manifest = |cell: u64, chunk: Digest| {
        use rootstock::image::manifest::{Region, Run, Sha256};
        let region = Region {
            start: 0,
            size: cell,
            partition: None,
            volume: None,
            runs: vec![Run::Data(vec![chunk])],
        };
        Manifest::new(Sha256([0; 32]), rootstock::image::partition::Scheme::None, vec![region])
            .unwrap()
            .encode()
    };
    let finish = |body: &[u8]| admin.post_bytes(&path("finish"), body, 1000);
    let lacking = finish(&manifest(5000, good.chunks[0])).unwrap();
    assert_eq!(serde_json::from_slice::<Finish>(&lacking).unwrap(), Finish::Lacking { chunks: 1 });
    let taken = admin.post_bytes(&path("frames"), &encode_frames(std::slice::from_ref(&good)), 1000).unwrap();
    assert_eq!(serde_json::from_slice::<Taken>(&taken).unwrap().chunks, 1);
    let taken = admin.post_bytes(&path("frames"), &encode_frames(std::slice::from_ref(&good)), 1000).unwrap();
    assert_eq!(
        serde_json::from_slice::<Taken>(&taken).unwrap(),
        Taken::default(),
        "the second time it is known"
    );
    assert_eq!(refused(finish(b"no manifest")).0, 422);
    // A chunk of another length than its cell would tear a hole into a disk.
    assert_eq!(refused(finish(&manifest(4096, good.chunks[0]))).0, 422);
    let made = finish(&manifest(5000, good.chunks[0])).unwrap();
    assert!(
        matches!(serde_json::from_slice::<Finish>(&made).unwrap(), Finish::Made(made) if made.version == 1)
    );
    assert_eq!(finish(&manifest(5000, good.chunks[0])).unwrap(), made, "told again");
}

#[test]
fn a_capture_that_is_given_up_is_forgotten_and_what_it_sent_is_garbage() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let begun: Capture = admin.post("/api/v1/captures", &create("lab")).unwrap();
    let again: Capture = admin.post("/api/v1/captures", &create("lab")).unwrap();
    assert_eq!(again.id, begun.id, "it goes on");
    let mut bytes = vec![0; 60_000];
    noise(1, &mut bytes);
    let path = format!("/api/v1/captures/{}", begun.id);
    admin.post_bytes(&format!("{path}/frames"), &encode_frames(&[packed(&bytes)]), 1000).unwrap();
    admin.delete(&path).unwrap();
    assert_eq!(refused(admin.delete(&path)).0, 404);
    assert_eq!(refused(admin.post_bytes(&format!("{path}/lacking"), &[0; 32], 10)).0, 404);
    let job = appliance.ended(admin.post("/api/v1/library/collect", &()).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    let library: admin::Library = admin.get("/api/v1/library").unwrap();
    assert_eq!(library.chunks, 0);
}

#[test]
fn bad_names_and_a_full_disk_are_refused_before_anything_is_sent() {
    let folder = tempdir().unwrap();
    let (disk, _) = disk_file(&folder, 8 * MIB, 15);
    let appliance = Appliance::start_with(&folder.path().join("data"), "");
    assert_eq!(refused(appliance.admin().post::<_, Capture>("/api/v1/captures", &create("a/b"))).0, 422);
    let huge = CreateCapture { used: 1 << 60, ..create("lab") };
    let (status, problem) = refused(appliance.admin().post::<_, Capture>("/api/v1/captures", &huge));
    assert!(status == 507 && problem.next_step.contains("keep-free"), "{problem:?}");
    for (words, what) in [
        (vec!["--from", "/nowhere", "--name", "x"], "/nowhere"),
        (vec!["--from", folder.path().to_str().unwrap(), "--name", "x"], "neither a file nor a block device"),
        (vec!["--from", disk.to_str().unwrap(), "--name", "x", "--partition", "7"], "no partition 7"),
    ] {
        let (code, text) = rootstock(&appliance.data, &[vec!["image", "capture"], words].concat());
        assert!(code == 1 && text.contains(what), "{text}");
    }
}

#[test]
fn a_mounted_disk_is_refused_with_its_mount_point() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let device = mounts.lines().find_map(|line| {
        let source = line.split(" - ").nth(1)?.split(' ').nth(1)?;
        let device = source.starts_with("/dev/").then(|| PathBuf::from(source))?;
        fs::File::open(&device).is_ok().then_some(device)
    });
    let Some(device) = device else { return eprintln!("no mounted disk can be opened here: not tried") };
    let error = Source::open(&device).unwrap_err().to_string();
    assert!(error.contains("is in use") && error.contains("mounted at"), "{error}");
}

#[test]
fn a_runner_sends_only_while_its_run_captures_and_is_not_believed_without_an_image() {
    use rootstock::api::runner::{Action, CaptureSource, Done, Outcome, Purpose};
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(
        "name: Keep\nsteps:\n  - capture_image: {image: 'lab %SerialNumber%', note: n}\n  - restart:\n",
    );
    appliance.deploy("Keep", Purpose::Required);
    let mac = crate::api::appliance::Mac::boot(&appliance, "C02SPINE0001");
    let work = crate::api::appliance::Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let assignment = work.act();
    let Action::CaptureImage { image, note, source } = assignment.action else { panic!("{assignment:?}") };
    assert_eq!((image.as_str(), note.as_str(), source), ("lab C02SPINE0001", "n", CaptureSource::Macos));
    let start = StartCapture { source: "mac".into(), size: 5000, used: 5000 };
    let begin = |number: u32| {
        let path = format!("/runner/v1/runs/{}/captures/{number}", work.ticket.run);
        work.client().post::<_, Capture>(&path, &start)
    };
    assert_eq!(refused(begin(2)).0, 409, "another action");
    let begun = begin(1).unwrap();
    assert_eq!((begun.image.as_str(), begun.run), ("lab C02SPINE0001", Some(work.ticket.run)));
    let path = format!("/runner/v1/runs/{}/captures/1", work.ticket.run);
    assert_eq!(work.client().post_bytes(&format!("{path}/lacking"), &[7; 32], 10).unwrap(), [1]);
    assert_eq!(refused(appliance.network(None).post_bytes(&format!("{path}/lacking"), &[7; 32], 10)).0, 401);
    let by_admin = format!("/api/v1/captures/{}/frames", begun.id);
    assert_eq!(refused(appliance.admin().post_bytes(&by_admin, b"RSFRAMS1", 100)).0, 409);
    assert_eq!(refused(appliance.admin().delete(&format!("/api/v1/captures/{}", begun.id))).0, 409);
    // It says that it is done, and the library has no such image.
    work.done(1, Done::default());
    assert_eq!(appliance.run(work.ticket.run).summary.outcome, Some(Outcome::Failed));
    assert_eq!(refused(work.client().post_bytes(&format!("{path}/lacking"), &[7; 32], 10)).0, 409);
}
