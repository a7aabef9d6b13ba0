//! The program itself: its settings, its refusals to start, and what kill -9 leaves.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rootstock::api::admin::{self, JobState};
use rootstock::client::{Client, Patience};
use tempfile::{TempDir, tempdir};

use super::appliance::{Appliance, FREE_PORTS, image_file, json};

fn rootstockd(folder: &TempDir, settings: &str) -> Command {
    let file = folder.path().join("rootstock.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::cargo_bin("rootstockd").unwrap();
    command.arg("--config").arg(file).arg("--data").arg(folder.path().join("data"));
    command
}

/// Exit code and everything that was said.
fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn check_prints_the_settings_in_force_and_names_an_unknown_key() {
    let folder = tempdir().unwrap();
    let (code, said) = outcome(rootstockd(&folder, "name = 'Lab 3'").arg("--check"));
    assert!(code == Some(0) && said.contains("name = \"Lab 3\"") && said.contains("https = 443"), "{said}");
    let (code, said) = outcome(rootstockd(&folder, "[ports]\nhtpps = 1").arg("--check"));
    assert!(code == Some(1) && said.contains("error: ") && said.contains("unknown field `htpps`"), "{said}");
    assert_eq!(said.matches("unknown field").count(), 1, "said once: {said}");
    assert!(!folder.path().join("data").exists(), "a check changes nothing");
}

#[test]
fn a_taken_port_and_a_missing_interface_are_told_with_their_remedy_before_anything_is_served() {
    let folder = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = FREE_PORTS.replace("https = 0", &format!("https = {port}"));
    let (code, said) = outcome(&mut rootstockd(&folder, &settings));
    assert!(code == Some(1) && said.contains(&format!("TCP port {port}")), "{said}");
    assert!(said.contains("set `ports.https`"), "{said}");
    let settings = format!("[network]\ninterfaces = ['nowhere0']\n{FREE_PORTS}");
    let (code, said) = outcome(&mut rootstockd(&folder, &settings));
    assert!(code == Some(1) && said.contains("no network interface `nowhere0`"), "{said}");
}

/// A daemon as a process of its own; killed when dropped.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(folder: &TempDir) -> Daemon {
        let mut child = rootstockd(folder, FREE_PORTS).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("is ready")), "rootstockd did not start");
        std::thread::spawn(move || lines.for_each(drop));
        Daemon(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGKILL: nothing is flushed, no destructor runs.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn kill_in_the_middle_of_an_import_leaves_nothing_visible_and_the_next_import_works() {
    let folder = tempdir().unwrap();
    let file = image_file(&folder, 64 << 20);
    let body =
        admin::ImportImage { name: "lab".into(), path: file.display().to_string(), ..Default::default() };
    let daemon = Daemon::start(&folder);
    let client = Client::unix(folder.path().join("data/rootstock.sock")).with_patience(Patience::NONE);
    let mut job: admin::Job = client.post("/api/v1/images", &body).unwrap();
    while job.state == JobState::Queued {
        job = client.get(&format!("/api/v1/jobs/{}?after={}&wait=5", job.id, job.change)).unwrap();
    }
    assert_eq!(job.state, JobState::Running);
    drop(daemon);

    let appliance = Appliance::start(&folder.path().join("data"));
    assert_eq!(json(&appliance.admin(), "/api/v1/images"), serde_json::json!([]));
    assert_eq!(count(&appliance.data.join("store/incoming")), 0);
    assert_eq!(count(&appliance.data.join("store/manifests")), 0);
    assert!(matches!(appliance.import("lab", &file).state, JobState::Done { version: Some(1), .. }));
}

#[test]
fn section_8_what_was_acknowledged_outlives_a_kill() {
    let folder = tempdir().unwrap();
    let file = image_file(&folder, 1 << 20);
    let daemon = Daemon::start(&folder);
    let client = Client::unix(folder.path().join("data/rootstock.sock")).with_patience(Patience::NONE);
    let body =
        admin::ImportImage { name: "lab".into(), path: file.display().to_string(), ..Default::default() };
    let mut job: admin::Job = client.post("/api/v1/images", &body).unwrap();
    while !job.state.has_ended() {
        job = client.get(&format!("/api/v1/jobs/{}?after={}&wait=5", job.id, job.change)).unwrap();
    }
    let text = admin::SequenceText { yaml: super::appliance::SEQUENCE.into() };
    let saved: admin::SavedSequence = client.post("/api/v1/sequences", &text).unwrap();
    drop(daemon);
    let appliance = Appliance::start(&folder.path().join("data"));
    assert_eq!(json(&appliance.admin(), "/api/v1/images")[0]["version"], 1);
    let again = appliance.apply(super::appliance::SEQUENCE);
    assert_eq!((again.revision, again.unchanged), (saved.revision, true));
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
