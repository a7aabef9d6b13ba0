//! The check of the library through the API and the command line: what is hit, repair, marks, the upstream appliance.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rootstock::api::admin::{self, CheckReport, JobState};
use rootstock::client::Client;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, image_file, numbered_image, refused};

fn packs(appliance: &Appliance) -> Vec<PathBuf> {
    let folder = appliance.data.join("store/packs");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn damage(pack: &Path) {
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(pack, bytes).unwrap();
}

fn check(appliance: &Appliance, repair: bool) -> (JobState, CheckReport) {
    let job = appliance.admin().post("/api/v1/library/check", &admin::CheckLibrary { repair }).unwrap();
    (appliance.ended(job).state, appliance.admin().get("/api/v1/library/check").unwrap())
}

fn codes(report: &CheckReport) -> Vec<(&str, Vec<&str>)> {
    let of = |finding: &'_ admin::CheckFinding| finding.versions.len();
    assert!(report.findings.iter().map(of).sum::<usize>() < 100);
    report
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.versions.iter().map(String::as_str).collect()))
        .collect()
}

#[test]
fn damage_is_told_by_version_no_run_starts_with_it_and_a_new_import_ends_that() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    assert_eq!(refused(appliance.admin().get::<CheckReport>("/api/v1/library/check")).0, 404);
    appliance.with_sequence(&folder);
    appliance.import("other", &numbered_image(&folder, 1));
    let (state, report) = check(&appliance, false);
    assert!(matches!(state, JobState::Done { .. }), "{state:?}");
    assert_eq!((codes(&report), report.packs, report.manifests), (vec![], 2, 2));
    let pack = packs(&appliance).into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    damage(&pack);

    let (state, report) = check(&appliance, false);
    assert!(
        matches!(&state, JobState::Failed { next_step, .. } if next_step.contains("--repair")),
        "{state:?}"
    );
    assert_eq!(codes(&report), [("chunks-damaged", vec![]), ("image-incomplete", vec!["lab 1"])]);
    assert_eq!(report.damaged[0].image, "lab");
    assert!(pack.exists(), "a check changes nothing");

    let (state, report) = check(&appliance, true);
    assert!(matches!(state, JobState::Failed { .. }), "{state:?}");
    assert!(!pack.exists() && report.done.iter().any(|line| line.contains("quarantine")), "{report:?}");
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let (status, problem) = refused(mac.try_start(&appliance, 1));
    assert!(status == 409 && problem.error.contains("lab 1, which is damaged: "), "{problem:?}");

    // The same image again has the same chunks.
    appliance.import("lab", &image_file(&folder, 3 << 20));
    let (state, report) = check(&appliance, false);
    assert!(matches!(state, JobState::Done { .. }), "{state:?} {report:?}");
    let image: admin::Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    assert!(image.versions.iter().all(|version| version.damage.is_empty()), "{image:?}");
    mac.try_start(&appliance, 1).unwrap();
}

#[test]
fn lost_chunks_and_manifests_come_from_the_upstream_appliance_and_are_signed_here() {
    let folder = tempdir().unwrap();
    let upstream = Appliance::start(&folder.path().join("upstream"));
    let file = image_file(&folder, 2 << 20);
    upstream.import("theirs", &file);
    let settings = format!(
        "[library.upstream]\nurl = 'https://127.0.0.1:{}'\nca = '{}'\ntoken-file = '{}'\n",
        upstream.https,
        upstream.data.join("keys/ca.pem").display(),
        upstream.data.join("keys/admin.token").display()
    );
    let appliance = Appliance::start_with(&folder.path().join("data"), &settings);
    appliance.import("ours", &file);
    damage(&packs(&appliance)[0]);
    let manifest =
        fs::read_dir(appliance.data.join("store/manifests")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&manifest).unwrap();
    let (state, report) = check(&appliance, true);
    assert!(matches!(state, JobState::Done { .. }), "{state:?} {report:?}");
    assert!(
        report.done.iter().any(|line| line.contains("were fetched from https://127.0.0.1")),
        "{report:?}"
    );
    assert_eq!(report.damaged, []);
    let (state, report) = check(&appliance, false);
    assert!(matches!(state, JobState::Done { .. }), "{state:?} {report:?}");
    let job = appliance.admin().post("/api/v1/images/ours/verify", &admin::VerifyImage::default()).unwrap();
    let verified = appliance.ended(job).state;
    assert!(matches!(verified, JobState::Done { .. }), "{verified:?}");
    let stranger: Client = upstream.network(None);
    let name = manifest.file_name().unwrap().to_str().unwrap();
    assert_eq!(refused(stranger.download(&format!("/api/v1/library/manifests/{name}"), 1 << 20)).0, 401);
}

#[test]
fn a_manifest_with_a_foreign_signature_and_the_right_content_is_signed_again() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &numbered_image(&folder, 1));
    let other = Appliance::start(&folder.path().join("other"));
    other.import("same", &numbered_image(&folder, 1));
    let file = |appliance: &Appliance| {
        let mut files = fs::read_dir(appliance.data.join("store/manifests")).unwrap();
        files.next().unwrap().unwrap().path()
    };
    assert_eq!(file(&appliance).file_name(), file(&other).file_name());
    fs::copy(file(&other), file(&appliance)).unwrap();
    let (_, report) = check(&appliance, false);
    assert_eq!(codes(&report), [("manifest-foreign", vec!["lab 1"])]);
    let (state, report) = check(&appliance, true);
    assert!(matches!(state, JobState::Done { .. }), "{state:?} {report:?}");
    let (state, report) = check(&appliance, false);
    assert!(matches!(state, JobState::Done { .. }), "{state:?} {report:?}");
}

fn rootstock(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rootstock")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_names_findings_repairs_and_checks_a_folder_whose_daemon_is_stopped() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &image_file(&folder, 2 << 20));
    let socket = appliance.data.join("rootstock.sock").display().to_string();
    let store = appliance.data.join("store").display().to_string();
    let (code, said, _) = rootstock(&["--socket", &socket, "store", "check"]);
    assert!(code == 0 && said.contains("0 findings"), "{said}");
    let (code, _, error) = rootstock(&["store", "check-folder", &store]);
    assert!(code == 1 && error.contains("use rootstock store check"), "{error}");
    fs::write(appliance.data.join("store/packs/notes.txt"), "hello").unwrap();
    let (code, said, error) = rootstock(&["--socket", &socket, "store", "check"]);
    assert!(code == 1 && said.contains("stray-file") && error.contains("--repair"), "{said}{error}");
    let (code, said, _) = rootstock(&["--socket", &socket, "store", "check", "--repair"]);
    assert!(code == 0 && said.contains("quarantine/notes.txt"), "{said}");
    let pack = packs(&appliance).pop().unwrap();
    appliance.stop();
    let (code, said, _) = rootstock(&["store", "check-folder", &store]);
    assert!(code == 0 && said.contains("the library is whole"), "{said}");
    damage(&pack);
    let (code, said, error) = rootstock(&["store", "check-folder", &store, "--repair"]);
    assert!(
        code == 1 && said.contains("chunks-damaged") && error.contains("still there: image-incomplete"),
        "{said}{error}"
    );
}
