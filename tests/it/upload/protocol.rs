//! tus 1.0.0 by the letter: every rule of the specification that a client can see.

use rootstock::api::admin::{Image, ImportUpload, Job, UploadState};
use rootstock::value::encode_base64;
use tempfile::tempdir;

use super::{Answer, BODY, TUS, ask, begin, ended, offset, send};
use crate::api::appliance::{Appliance, FREE_PORTS, image_file, json, refused};
use crate::api::daemon::Daemon;

#[test]
fn options_say_what_is_spoken_and_another_version_is_refused_with_the_right_one() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let options = ask(&appliance.data, "OPTIONS", "/api/v1/uploads", &[], b"");
    assert_eq!((options.status, options.header("tus-version")), (204, "1.0.0"));
    assert_eq!(options.header("tus-checksum-algorithm"), "sha1,sha256,crc32");
    for extension in ["creation", "creation-with-upload", "checksum", "termination", "expiration"] {
        assert!(options.header("tus-extension").split(',').any(|known| known == extension), "{extension}");
    }
    assert_eq!(options.header("tus-max-size"), (4_u64 << 40).to_string());
    let path = begin(&appliance.data, 3, &[("name", "lab")]);
    for (method, path) in [("POST", "/api/v1/uploads"), ("HEAD", &path), ("PATCH", &path), ("DELETE", &path)]
    {
        let old = ("Tus-Resumable", "0.2.2");
        let answer = ask(
            &appliance.data,
            method,
            path,
            &[old, BODY, ("Upload-Length", "3"), ("Upload-Offset", "0")],
            b"abc",
        );
        assert_eq!((answer.status, answer.header("tus-version")), (412, "1.0.0"), "{method}");
        assert_eq!(answer.header("tus-resumable"), "1.0.0");
    }
    assert_eq!(offset(&appliance.data, &path), 0, "nothing happened");
}

#[test]
fn an_upload_in_pieces_becomes_a_version_that_says_who_sent_it_and_its_file_goes() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let bytes = std::fs::read(image_file(&folder, 2 << 20)).unwrap();
    let path =
        begin(&appliance.data, bytes.len(), &[("filename", "a/Lab Mac.img"), ("note", "with Ünicode")]);
    let (first, rest) = bytes.split_at(1 << 20);
    let answer = send(&appliance.data, &path, 0, first);
    assert_eq!((answer.status, answer.offset()), (204, 1 << 20), "{answer:?}");
    assert!(answer.header("upload-expires").ends_with(" GMT"), "{answer:?}");
    let answer = send(&appliance.data, &path, 1 << 20, rest);
    assert_eq!((answer.status, answer.offset()), (204, bytes.len() as u64));
    assert_ne!(answer.header("rootstock-job"), "", "{answer:?}");
    let upload = ended(&appliance.admin(), &path);
    assert_eq!(upload.state, UploadState::Done { version: 1 }, "{upload:?}");
    let image: Image = appliance.admin().get("/api/v1/images/Lab%20Mac").unwrap();
    let version = &image.versions[0];
    assert_eq!((version.source.as_str(), version.note.as_str()), ("Lab Mac.img", "with Ünicode"));
    assert!(!version.uploader.is_empty() && version.uploader == upload.uploader, "{version:?}");
    let kept = appliance.data.join(format!("uploads/{}", upload.id));
    assert!(!kept.join("data").exists(), "the file is in the library");
    assert_eq!(
        offset(&appliance.data, &path),
        bytes.len() as u64,
        "a client that asks late sees it complete"
    );
}

#[test]
fn bytes_that_are_not_the_next_ones_are_refused_and_change_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let path = begin(&appliance.data, 10, &[("name", "lab")]);
    assert_eq!(send(&appliance.data, &path, 0, b"hello").offset(), 5);
    for (at, bytes, status) in [(4, &b"x"[..], 409), (6, b"x", 409), (5, b"worldX", 413)] {
        let answer = send(&appliance.data, &path, at, bytes);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let untyped = ask(&appliance.data, "PATCH", &path, &[TUS, ("Upload-Offset", "5")], b"x");
    assert_eq!(untyped.status, 415);
    for headers in [vec![TUS, BODY], vec![TUS, BODY, ("Upload-Offset", "-5")]] {
        assert_eq!(ask(&appliance.data, "PATCH", &path, &headers, b"x").status, 400);
    }
    assert_eq!(send(&appliance.data, "/api/v1/uploads/none", 0, b"x").status, 404);
    assert_eq!(offset(&appliance.data, &path), 5);
    assert_eq!(send(&appliance.data, &path, 5, b"").status, 204, "no bytes are no harm");
}

#[test]
fn a_body_without_its_checksum_is_discarded_and_with_it_kept() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let path = begin(&appliance.data, 20, &[("name", "lab")]);
    let with = |at: &str, sum: &str, bytes: &[u8]| -> Answer {
        let headers = [TUS, BODY, ("Upload-Offset", at), ("Upload-Checksum", sum)];
        ask(&appliance.data, "PATCH", &path, &headers, bytes)
    };
    let answer = with("0", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello world!");
    assert_eq!(answer.status, 460, "{answer:?}");
    assert_eq!(offset(&appliance.data, &path), 0);
    assert_eq!(with("0", "md5 AAAA", b"hello world").status, 400);
    assert_eq!(with("0", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello world").offset(), 11);
    let sum = encode_base64(ring::digest::digest(&ring::digest::SHA256, b"more").as_ref());
    assert_eq!(with("11", &format!("sha256 {sum}"), b"more").offset(), 15);
}

#[test]
fn creation_may_bring_the_bytes_and_override_stands_for_the_method() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let name = format!("name {}", encode_base64(b"lab"));
    let headers = [TUS, BODY, ("Upload-Length", "10"), ("Upload-Metadata", &name)];
    let begun = ask(&appliance.data, "POST", "/api/v1/uploads", &headers, b"hello");
    assert_eq!((begun.status, begun.offset()), (201, 5), "{begun:?}");
    let path = begun.header("location");
    let patch = [TUS, BODY, ("Upload-Offset", "5"), ("X-HTTP-Method-Override", "PATCH")];
    assert_eq!(ask(&appliance.data, "POST", path, &patch, b"wor").offset(), 8);
    let head = ask(&appliance.data, "POST", path, &[TUS, ("X-HTTP-Method-Override", "HEAD")], b"");
    assert_eq!(
        (head.offset(), head.header("upload-length"), head.header("upload-metadata")),
        (8, "10", name.as_str())
    );
    let delete = ask(&appliance.data, "POST", path, &[TUS, ("X-HTTP-Method-Override", "DELETE")], b"");
    assert_eq!(delete.status, 204);
    assert_eq!(ask(&appliance.data, "HEAD", path, &[TUS], b"").status, 404);
    assert_eq!(std::fs::read_dir(appliance.data.join("uploads")).unwrap().count(), 0);
}

#[test]
fn what_cannot_become_an_image_is_not_begun() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start_library(&folder.path().join("data"), "upload-max = '1 MiB'\n");
    let sent = |length: &str, metadata: &str| {
        let headers = [TUS, ("Upload-Length", length), ("Upload-Metadata", metadata)];
        ask(&appliance.data, "POST", "/api/v1/uploads", &headers, b"").status
    };
    let name = |text: &str| format!("name {}", encode_base64(text.as_bytes()));
    assert_eq!(sent("5", &name("../etc")), 422);
    assert_eq!(sent("5", ""), 400, "nothing to name it after");
    assert_eq!(sent("5", "name $$$"), 400);
    assert_eq!(sent("18446744073709551615", &name("lab")), 413);
    assert_eq!(sent("18446744073709551616", &name("lab")), 400);
    assert_eq!(
        ask(&appliance.data, "POST", "/api/v1/uploads", &[TUS, ("Upload-Metadata", &name("lab"))], b"")
            .status,
        400
    );
    for _ in 0..64 {
        begin(&appliance.data, 1, &[("name", "lab")]);
    }
    assert_eq!(sent("5", &name("lab")), 429);
}

#[test]
fn a_disk_without_room_is_said_before_the_first_byte_and_the_upload_goes_on_when_there_is_some() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    let path = begin(&data, 10, &[("name", "lab")]);
    assert_eq!(send(&data, &path, 0, b"hello").offset(), 5);
    appliance.stop();
    let keep = FREE_PORTS.replace("keep-free = '0'", "keep-free = '1000 TiB'");
    let full = Appliance::start_settings(&data, &keep);
    let answer = send(&data, &path, 5, b"world");
    assert!(answer.status == 507 && answer.body.contains("must stay free"), "{answer:?}");
    let headers = [TUS, ("Upload-Length", "5"), ("Upload-Metadata", "name bGFi")];
    let begun = ask(&data, "POST", "/api/v1/uploads", &headers, b"");
    assert!(begun.status == 507 && begun.body.contains("library.keep-free"), "{begun:?}");
    assert_eq!(offset(&data, &path), 5);
    full.stop();
    let _roomy = Appliance::start(&data);
    assert_eq!(send(&data, &path, 5, b"world").offset(), 10);
}

#[test]
fn whole_file_digests_are_checked_and_what_failed_is_kept_and_can_be_imported_again() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let bytes = std::fs::read(image_file(&folder, 1 << 20)).unwrap();
    let sum = "0".repeat(64);
    let path = begin(&appliance.data, bytes.len(), &[("name", "lab"), ("sha256", &sum)]);
    send(&appliance.data, &path, 0, &bytes);
    let upload = ended(&appliance.admin(), &path);
    let UploadState::Failed { error, next_step } = &upload.state else { panic!("{upload:?}") };
    assert!(error.contains("its SHA-256 is") && next_step.contains("upload cancel"), "{upload:?}");
    assert_eq!(json(&appliance.admin(), "/api/v1/images"), serde_json::json!([]));
    // No image at all: the reason stays with it, another try gives the same, and it can be cancelled.
    let path = begin(&appliance.data, 5, &[("name", "lab")]);
    send(&appliance.data, &path, 0, b"hello");
    let failed = ended(&appliance.admin(), &path);
    assert!(matches!(failed.state, UploadState::Failed { .. }) && failed.expires_ms.is_some(), "{failed:?}");
    let admin = appliance.admin();
    let body = ImportUpload { name: Some("other".into()), password: None };
    let _: Job = admin.post(&format!("{path}/import"), &body).unwrap();
    let again = ended(&admin, &path);
    assert!(again.name == "other" && matches!(again.state, UploadState::Failed { .. }), "{again:?}");
    admin.delete(&path).unwrap();
    let (status, _) = refused(admin.post::<_, Job>(&format!("{path}/import"), &ImportUpload::default()));
    assert_eq!(status, 404);
}

#[test]
fn the_right_sha256_is_accepted_also_when_the_daemon_was_restarted_in_the_middle() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let bytes = std::fs::read(image_file(&folder, 1 << 20)).unwrap();
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let appliance = Appliance::start(&data);
    let (one, two) = (
        begin(&data, bytes.len(), &[("name", "one"), ("sha256", &sum)]),
        begin(&data, bytes.len(), &[("name", "two"), ("sha256", &sum)]),
    );
    send(&data, &one, 0, &bytes);
    assert_eq!(ended(&appliance.admin(), &one).state, UploadState::Done { version: 1 });
    send(&data, &two, 0, &bytes[..700_000]);
    appliance.stop();
    let appliance = Appliance::start(&data);
    assert_eq!(send(&data, &two, 700_000, &bytes[700_000..]).status, 204);
    assert_eq!(ended(&appliance.admin(), &two).state, UploadState::Done { version: 1 });
}

#[test]
fn kill_in_the_middle_of_a_request_keeps_what_was_acknowledged_and_the_upload_ends_well() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let bytes = std::fs::read(image_file(&folder, 48 << 20)).unwrap();
    let daemon = Daemon::start(&folder);
    let path = begin(&data, bytes.len(), &[("name", "lab")]);
    assert_eq!(send(&data, &path, 0, &bytes[..1000]).offset(), 1000);
    // A request that announces all and stops short of it: killed with bytes on the way.
    let sent = 40 << 20;
    let mut stream = std::os::unix::net::UnixStream::connect(data.join("rootstock.sock")).unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 1000\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        bytes.len() - 1000
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    std::io::Write::write_all(&mut stream, &bytes[1000..sent]).unwrap();
    // What is acknowledged while the request goes on holds as well.
    let mut seen = 0;
    while seen < 16 << 20 {
        seen = offset(&data, &path);
    }
    drop(daemon);
    let appliance = Appliance::start(&data);
    let at = usize::try_from(offset(&data, &path)).unwrap();
    assert!(at as u64 >= seen && at <= sent, "{at} of {seen}");
    assert_eq!(send(&data, &path, at, &bytes[at..]).status, 204);
    assert_eq!(ended(&appliance.admin(), &path).state, UploadState::Done { version: 1 });
    let image: Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let want = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let want: String = want.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(image.versions[0].sha256, want);
}

#[test]
fn kill_while_an_upload_is_imported_makes_one_version_of_it() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let bytes = std::fs::read(image_file(&folder, 24 << 20)).unwrap();
    let daemon = Daemon::start(&folder);
    let path = begin(&data, bytes.len(), &[("name", "lab")]);
    let answer = send(&data, &path, 0, &bytes);
    assert_ne!(answer.header("rootstock-job"), "");
    drop(daemon);
    let appliance = Appliance::start(&data);
    assert_eq!(ended(&appliance.admin(), &path).state, UploadState::Done { version: 1 });
    let image: Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    assert_eq!(image.versions.len(), 1);
}
