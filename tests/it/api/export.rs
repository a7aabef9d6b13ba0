//! An encrypted image comes in by its password, and leaves as a file: through the socket, over HTTPS, by the command line.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assert_cmd::Command;
use rootstock::api::admin::{self, JobState};
use rootstock::value::Secret;
use tempfile::tempdir;

use super::appliance::{Appliance, image_file};
use crate::image_source_build::{decode_bytes, fixture, fixture_digest, sha256};
use crate::image_source_encrypted::Sealed;

fn rootstock(appliance: &Appliance, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output =
        command.arg("--socket").arg(appliance.data.join("rootstock.sock")).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn an_encrypted_image_is_imported_by_its_password_which_stays_nowhere_and_leaves_in_every_format() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (header, data) = Sealed::new(&fixture("disk-udzo.dmg")).parts(usize::MAX);
    fs::write(path("lab.dmg"), [header, data].concat()).unwrap();
    fs::write(path("right"), "open sesame\n").unwrap();
    fs::write(path("wrong"), "open barley\n").unwrap();

    let (code, said) = rootstock(&appliance, &["image", "import", &path("lab.dmg"), "--name", "lab"]);
    assert!(code == 1 && said.contains("needs its password") && said.contains("--password-file"), "{said}");
    let wrong = ["image", "import", &path("lab.dmg"), "--name", "lab", "--password-file", &path("wrong")];
    let (code, said) = rootstock(&appliance, &wrong);
    assert!(code == 1 && said.contains("the password is wrong"), "{said}");
    let right = ["image", "import", &path("lab.dmg"), "--name", "lab", "--password-file", &path("right")];
    let (code, said) = rootstock(&appliance, &right);
    assert!(code == 0 && said.contains("its checksums are right"), "{said}");
    let body = admin::ImportImage {
        name: "lab".into(),
        path: path("lab.dmg"),
        password: Some(Secret::new("open sesame")),
        ..Default::default()
    };
    let job = appliance.ended(appliance.admin().post("/api/v1/images", &body).unwrap());
    assert!(matches!(job.state, JobState::Done { version: Some(2), .. }), "{job:?}");
    assert!(!format!("{job:?}{body:?}").contains("sesame"));
    for entry in walk(&appliance.data) {
        let bytes = fs::read(&entry).unwrap_or_default();
        assert!(!bytes.windows(6).any(|window| window == b"sesame"), "{}", entry.display());
    }

    let raw = ["image", "export", "lab@1", &path("lab.img"), "--format", "raw"];
    let (code, said) = rootstock(&appliance, &raw);
    assert!(code == 0 && said.contains("lab@1 is in"), "{said}");
    let exported = fs::read(path("lab.img")).unwrap();
    assert_eq!(sha256(&exported), fixture_digest());
    let (code, said) = rootstock(&appliance, &raw);
    assert!(code == 1 && said.contains("it is there already"), "{said}");
    for (format, name) in [("udzo", "a.dmg"), ("ulfo", "b.dmg"), ("raw.zst", "c.img.zst")] {
        let (code, said) =
            rootstock(&appliance, &["image", "export", "lab@1", &path(name), "--format", format]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(decode_bytes(fs::read(path(name)).unwrap()).unwrap().digest, fixture_digest(), "{format}");
    }
    assert!(fs::read_to_string(path("c.img.zst.bmap")).unwrap().contains("<bmap version=\"2.0\">"));
    let names = fs::read_dir(folder.path()).unwrap();
    assert!(names.flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(".partial")));

    // Over HTTPS, as it is made.
    let token = Secret::new(fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap().trim());
    let network = appliance.network(Some(&token));
    for format in ["raw", "raw.zst", "udzo", "ulfo"] {
        let mut bytes = Vec::new();
        let path = format!("/api/v1/images/lab/versions/1/export?format={format}");
        let taken = network.stream(&path, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), ()>(())
        });
        taken.unwrap().unwrap();
        let digest = if format == "raw" { sha256(&bytes) } else { decode_bytes(bytes).unwrap().digest };
        assert_eq!(digest, fixture_digest(), "{format}");
    }
    let server = format!("https://127.0.0.1:{}", appliance.https);
    let keys = appliance.data.join("keys");
    for (format, name) in [("raw", "d.img"), ("udzo", "d.dmg")] {
        let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
            .args(["--server", &server, "--token-file"])
            .arg(keys.join("admin.token"))
            .arg("--ca")
            .arg(keys.join("ca.pem"))
            .args(["image", "export", "lab@1", &path(name), "--format", format])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(path(name)).unwrap();
        let digest = if format == "raw" { sha256(&bytes) } else { decode_bytes(bytes).unwrap().digest };
        assert_eq!(digest, fixture_digest(), "{format}");
    }
    for (query, status) in [("format=zip", 422), ("format=raw&partition=9", 422)] {
        let path = format!("/api/v1/images/lab/versions/1/export?{query}");
        let refused = appliance.admin().download(&path, 1 << 20).unwrap_err();
        assert_eq!(refused.status(), Some(status), "{query}: {refused}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(walk(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Passes connections on to a port, and cuts each off after so many bytes of answers, one number a connection. Counts all.
fn relay(port: u16, cuts: Vec<usize>) -> (u16, Arc<AtomicU64>) {
    let (listener, passed) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicU64::new(0)));
    let (own, counter) = (listener.local_addr().unwrap().port(), passed.clone());
    std::thread::spawn(move || {
        let mut cuts = cuts.into_iter();
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut asking, &mut asked)));
            let (most, counter) = (cuts.next().unwrap_or(usize::MAX), counter.clone());
            std::thread::spawn(move || {
                let (mut server, mut client, mut left, mut piece) = (server, client, most, [0; 16 << 10]);
                while let Ok(count @ 1..) = server.read(&mut piece) {
                    let step = count.min(left);
                    left -= step;
                    counter.fetch_add(step as u64, Ordering::Relaxed);
                    if client.write_all(&piece[..step]).is_err() || left == 0 {
                        break;
                    }
                }
                drop((client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)));
            });
        }
    });
    (own, passed)
}

#[test]
fn a_packed_export_over_the_network_has_its_bmap_and_goes_on_through_cuts_and_after_a_kill() {
    const CUT: usize = 3 << 20;
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let appliance = Appliance::start(&folder.path().join("data"));
    let image = image_file(&folder, 8 << 20);
    appliance.import("lab", &image);
    let local = ["image", "export", "lab", &path("local.zst"), "--format", "raw.zst"];
    assert_eq!(rootstock(&appliance, &local).0, 0);
    let (keys, whole) = (appliance.data.join("keys"), fs::read(path("local.zst")).unwrap());
    let export = |port: u16, out: &str, format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        command.args(["--server", &format!("https://127.0.0.1:{port}"), "--token-file"]);
        command.arg(keys.join("admin.token")).arg("--ca").arg(keys.join("ca.pem"));
        let output =
            command.args(["image", "export", "lab", &path(out), "--format", format]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };

    // Cut off twice in the middle of what it asked for.
    let (port, passed) = relay(appliance.https, vec![usize::MAX, CUT, CUT]);
    export(port, "cut.zst", "raw.zst");
    assert!(fs::read(path("cut.zst")).unwrap() == whole);
    assert_eq!(fs::read(path("cut.zst.bmap")).unwrap(), fs::read(path("local.zst.bmap")).unwrap());
    let sent = passed.load(Ordering::Relaxed) as usize;
    assert!(sent < whole.len() + (3 << 20), "{sent} bytes crossed the wire for {}", whole.len());

    // A command that was killed left the most of it, the end of it torn.
    let most = whole.len() * 3 / 4;
    fs::write(path("killed.zst.partial"), [&whole[..most], b"torn"].concat()).unwrap();
    let (port, passed) = relay(appliance.https, Vec::new());
    export(port, "killed.zst", "raw.zst");
    assert!(
        fs::read(path("killed.zst")).unwrap() == whole && !fs::exists(path("killed.zst.partial")).unwrap()
    );
    let sent = passed.load(Ordering::Relaxed) as usize;
    assert!(sent < whole.len() / 2, "{sent} bytes crossed the wire");
    // What lies there and is another image, or nothing, does no harm.
    fs::write(path("other.zst.partial"), zstd::encode_all(&[1; 1 << 20][..], 1).unwrap()).unwrap();
    export(appliance.https, "other.zst", "raw.zst");
    assert!(fs::read(path("other.zst")).unwrap() == whole);

    // Raw is written where it belongs as it comes.
    let (port, _) = relay(appliance.https, vec![usize::MAX, CUT]);
    export(port, "lab.raw", "raw");
    assert!(fs::read(path("lab.raw")).unwrap() == fs::read(&image).unwrap());
    let from = "/api/v1/images/lab/versions/1/export?format=udzo&from=1048576";
    assert_eq!(appliance.admin().download(from, 1 << 20).unwrap_err().status(), Some(422));
}
