//! `rootstock image upload`: over the socket and over HTTPS, through kills of either side.

use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rootstock::api::admin::{Image, Upload, UploadState};
use tempfile::tempdir;

use super::{begin, offset};
use crate::api::appliance::{Appliance, image_file, json};
use crate::api::daemon::Daemon;

fn rootstock(data: &Path) -> Command {
    let mut command = Command::cargo_bin("rootstock").unwrap();
    command.env("ROOTSTOCK_SOCKET", data.join("rootstock.sock"));
    command
}

fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_file_is_sent_once_over_https_and_shown_with_its_note() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = image_file(&folder, 9 << 20);
    let upload = || {
        let mut command = rootstock(&appliance.data);
        command.args(["image", "upload", "--name", "lab", "--note", "spring"]).arg(&file);
        command.args(["--server", &format!("127.0.0.1:{}", appliance.https)]);
        command.arg("--token-file").arg(appliance.data.join("keys/admin.token"));
        command.arg("--ca").arg(appliance.data.join("keys/ca.pem"));
        command
    };
    let (good, text) = said(&mut upload());
    assert!(good && text.contains("lab@1 is in the library"), "{text}");
    let (good, text) = said(&mut upload());
    assert!(good && text.contains("uploaded before and is lab@1"), "{text}");
    let (good, text) = said(upload().arg("--again"));
    assert!(good && text.contains("lab@2 is in the library"), "{text}");
    let (_, text) = said(rootstock(&appliance.data).args(["image", "show", "lab"]));
    assert!(text.contains("token from 127.0.0.1") && text.contains("spring"), "{text}");
    let (_, text) = said(rootstock(&appliance.data).args(["upload", "list"]));
    assert!(text.contains("version 1") && text.contains("lab.img"), "{text}");
}

#[test]
fn a_sender_that_is_killed_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = image_file(&folder, 96 << 20);
    let upload = || {
        let mut command = rootstock(&appliance.data);
        command.args(["image", "upload", "--name", "lab"]).arg(&file);
        command
    };
    let mut child = upload().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = loop {
        let uploads: Vec<Upload> = appliance.admin().get("/api/v1/uploads").unwrap();
        if let Some(upload) = uploads.iter().find(|upload| upload.offset > 0) {
            break upload.clone();
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let (good, text) = said(&mut upload());
    assert!(good && text.contains("lab@1 is in the library"), "{text}");
    let uploads: Vec<Upload> = appliance.admin().get("/api/v1/uploads").unwrap();
    assert_eq!((uploads.len(), &uploads[0].id), (1, &seen.id), "the same upload went on");
    assert_eq!(uploads[0].state, UploadState::Done { version: 1 });
}

#[test]
fn an_appliance_that_is_killed_and_comes_back_is_sent_the_rest() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let file = image_file(&folder, 96 << 20);
    let daemon = Daemon::start(&folder);
    let child = rootstock(&data)
        .args(["image", "upload", "--name", "lab"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let client = rootstock::client::Client::unix(data.join("rootstock.sock"));
    while json(&client, "/api/v1/uploads").as_array().unwrap().iter().all(|upload| upload["offset"] == 0) {}
    drop(daemon);
    let appliance = Appliance::start(&data);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("lab@1 is in the library"), "{text}");
    let image: Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let want = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let want: String = want.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(image.versions[0].sha256, want);
}

#[test]
fn what_failed_says_why_and_an_upload_is_cancelled_by_its_id() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = folder.path().join("notes.dmg");
    std::fs::write(&file, "no image at all").unwrap();
    let (good, text) = said(rootstock(&appliance.data).args(["image", "upload", "--name", "lab"]).arg(&file));
    assert!(!good && text.contains("error: ") && text.contains("rootstock upload import"), "{text}");
    let (_, text) = said(rootstock(&appliance.data).args(["upload", "list"]));
    assert!(text.contains("failed"), "{text}");
    let path = begin(&appliance.data, 5, &[("name", "lab")]);
    let id = path.rsplit('/').next().unwrap();
    let (good, text) = said(rootstock(&appliance.data).args(["upload", "cancel", id]));
    assert!(good && text.contains("is gone"), "{text}");
    assert_eq!(super::ask(&appliance.data, "HEAD", &path, &[super::TUS], b"").status, 404);
    let other = begin(&appliance.data, 5, &[("name", "lab")]);
    assert_eq!(offset(&appliance.data, &other), 0);
}
