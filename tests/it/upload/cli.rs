//! `rootstock image upload`: over the socket and over HTTPS, through kills of either side.

use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rootstock::api::admin::{Image, ImportUpload, Job, Upload, UploadState};
use rootstock::value::Secret;
use tempfile::tempdir;

use super::{begin, offset};
use crate::api::appliance::{Appliance, image_file, json};
use crate::api::daemon::Daemon;
use crate::image_source_build::{fixture, fixture_digest};
use crate::image_source_bundle::bundle;
use crate::image_source_encrypted::Sealed;
use crate::image_source_split::split;

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

/// SHA-256 of version 1, and the name of the file that it came from.
fn first(appliance: &Appliance, name: &str) -> (String, String) {
    let image: Image = appliance.admin().get(&format!("/api/v1/images/{name}")).unwrap();
    (image.versions[0].sha256.clone(), image.versions[0].source.clone())
}

#[test]
fn a_split_image_goes_up_as_a_whole_from_any_of_its_parts() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let bytes = fixture("disk.raw.gz");
    for (arguments, prefix, name) in
        [(&[][..], "letters.img.gz.", "letters"), (&["-d", "-a3"], "digits.img.gz.", "digits")]
    {
        let parts = split(folder.path(), &bytes, bytes.len() / 4 + 1, arguments, prefix);
        let upload = |part: &Path| {
            let mut command = rootstock(&appliance.data);
            command.args(["image", "upload", "--name", name]).arg(part);
            command
        };
        let (good, text) = said(&mut upload(&parts[2]));
        assert!(good && text.contains(&format!("{name}@1 is in the library")), "{text}");
        assert_eq!(first(&appliance, name), (fixture_digest(), format!("{name}.img.gz")));
        // Whichever part is named, it is the same image.
        let (good, text) = said(&mut upload(&parts[0]));
        assert!(good && text.contains("uploaded before"), "{text}");
        std::fs::remove_file(&parts[1]).unwrap();
        let (good, text) = said(&mut upload(&parts[0]));
        assert!(!good && text.contains("is missing") && text.contains(parts[1].to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_sparse_bundle_goes_up_from_its_folder_and_one_that_is_killed_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    // Random bytes: every chunk is another one, and takes its time.
    let disk = std::fs::read(image_file(&folder, 48 << 20)).unwrap();
    let path = bundle(folder.path(), &disk, b"");
    let upload = || {
        let mut command = rootstock(&appliance.data);
        command.args(["image", "upload", "--name", "lab"]).arg(&path);
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
    assert_eq!(
        first(&appliance, "lab"),
        (crate::image_source_build::sha256(&disk), "lab.sparsebundle.tar".into())
    );
    let (good, text) =
        said(rootstock(&appliance.data).args(["image", "upload", "--name", "lab"]).arg(folder.path()));
    assert!(!good && text.contains("no sparse bundle"), "{text}");
}

#[test]
fn an_encrypted_upload_is_imported_with_its_password_at_once_later_or_when_it_was_wrong_before() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let path = |name: &str| folder.path().join(name);
    let (header, data) = Sealed::new(&fixture("disk-udzo.dmg")).parts(usize::MAX);
    let sealed = [header, data].concat();
    std::fs::write(path("lab.dmg"), &sealed).unwrap();
    std::fs::write(path("right"), "open sesame\n").unwrap();
    std::fs::write(path("wrong"), "open barley\n").unwrap();
    let upload = |name: &str, password: Option<&str>| {
        let mut command = rootstock(&appliance.data);
        command.args(["image", "upload", "--name", name]).arg(path("lab.dmg"));
        if let Some(password) = password {
            command.arg("--password-file").arg(path(password));
        }
        command
    };
    let (good, text) = said(&mut upload("given", Some("right")));
    assert!(good && text.contains("given@1 is in the library"), "{text}");
    assert_eq!(first(&appliance, "given").0, fixture_digest());

    // Without one, and with a wrong one: it is kept, and said what it needs.
    let (good, text) = said(&mut upload("later", None));
    assert!(!good && text.contains("needs its password") && text.contains("upload import"), "{text}");
    let (good, text) = said(&mut upload("later", Some("wrong")));
    assert!(!good && text.contains("the password is wrong"), "{text}");
    let uploads: Vec<Upload> = appliance.admin().get("/api/v1/uploads").unwrap();
    let kept = uploads.iter().find(|upload| upload.name == "later").unwrap();
    assert_eq!((uploads.len(), kept.offset), (2, sealed.len() as u64), "nothing was sent again");
    let mut import = rootstock(&appliance.data);
    import.args(["upload", "import", &kept.id, "--password-file"]).arg(path("right"));
    let (good, text) = said(&mut import);
    assert!(good && text.contains("later@1 is in the library"), "{text}");
    assert_eq!(first(&appliance, "later").0, fixture_digest());

    // By the API: held back until the password comes with the order to import it.
    let held = begin(&appliance.data, sealed.len(), &[("name", "held"), ("import", "request")]);
    assert_eq!(super::send(&appliance.data, &held, 0, &sealed).status, 204);
    let waiting: Upload = appliance.admin().get(&held).unwrap();
    assert_eq!(waiting.state, UploadState::Received);
    let body = ImportUpload { name: None, password: Some(Secret::new("open sesame")) };
    let _: Job = appliance.admin().post(&format!("{held}/import"), &body).unwrap();
    assert_eq!(super::ended(&appliance.admin(), &held).state, UploadState::Done { version: 1 });
    assert_eq!(first(&appliance, "held").0, fixture_digest());
}
