//! Independent clients of the protocol: curl, by the specification's own examples; tuspy, the protocol's Python client.

use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::api::admin::UploadState;
use rootstock::value::encode_base64;
use tempfile::tempdir;

use super::ended;
use crate::api::appliance::{Appliance, image_file};

fn curl(appliance: &Appliance, arguments: &[&str]) -> String {
    let token = std::fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--http1.1", "--cacert"])
        .arg(appliance.data.join("keys/ca.pem"))
        .args(["-H", &format!("Authorization: Bearer {}", token.trim()), "-H", "Tus-Resumable: 1.0.0"])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let found = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn curl_uploads_with_a_known_and_with_an_unknown_length() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = image_file(&folder, 4 << 20);
    let base = format!("https://127.0.0.1:{}", appliance.https);
    let metadata = format!("Upload-Metadata: name {}", encode_base64(b"lab"));
    let size = format!("Upload-Length: {}", std::fs::metadata(&file).unwrap().len());
    let begun =
        curl(&appliance, &["-X", "POST", "-H", &size, "-H", &metadata, &format!("{base}/api/v1/uploads")]);
    let path = header(&begun, "location").to_owned();
    let url = format!("{base}{path}");
    let half = folder.path().join("half");
    std::fs::write(&half, &std::fs::read(&file).unwrap()[..2 << 20]).unwrap();
    let kind = "Content-Type: application/offset+octet-stream";
    let part = [
        "-X",
        "PATCH",
        "-H",
        kind,
        "-H",
        "Upload-Offset: 0",
        "--data-binary",
        &format!("@{}", half.display()),
        &url,
    ];
    assert_eq!(header(&curl(&appliance, &part), "upload-offset"), (2 << 20).to_string());
    assert_eq!(header(&curl(&appliance, &["--head", &url]), "upload-offset"), (2 << 20).to_string());
    std::fs::write(&half, &std::fs::read(&file).unwrap()[2 << 20..]).unwrap();
    let at = format!("Upload-Offset: {}", 2 << 20);
    let chunked = "Transfer-Encoding: chunked";
    let rest = ["-X", "PATCH", "-H", kind, "-H", &at, "-H", chunked, "-T", half.to_str().unwrap(), &url];
    assert_eq!(header(&curl(&appliance, &rest), "upload-offset"), (5 << 20).to_string());
    assert_eq!(ended(&appliance.admin(), &path).state, UploadState::Done { version: 1 });
}

/// Installed by `./dev test`.
fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/tus/bin/python3");
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none(), "tuspy is missing: ./dev test installs it");
        println!("skipped: tuspy is not installed; ./dev test installs it");
        return None;
    }
    Some(path)
}

const TUSPY: &str = "
import os, sys
from tusclient.client import TusClient
url, token, file = sys.argv[1:]
client = TusClient(url, headers={'Authorization': 'Bearer ' + token})
def uploader(**more):
    return client.uploader(file, chunk_size=300000, metadata={'filename': 'lab.img'}, upload_checksum=True,
                           verify_tls_cert=False, **more)
first = uploader()
first.upload(stop_at=600000)
print(first.url)
# Another process that knows nothing but the address.
second = uploader(url=first.url)
assert second.offset == 600000, second.offset
second.upload()
assert second.offset == os.path.getsize(file)
";

#[test]
fn tuspy_uploads_in_two_goes_with_checksums() {
    let Some(python) = python() else { return };
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = image_file(&folder, 1 << 20);
    let token = std::fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap();
    let url = format!("https://127.0.0.1:{}/api/v1/uploads", appliance.https);
    let output = Command::new(python)
        .args(["-W", "ignore", "-c", TUSPY, &url, token.trim()])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let address = String::from_utf8(output.stdout).unwrap();
    let path = address.trim().split_once(&appliance.https.to_string()).unwrap().1.to_owned();
    assert_eq!(ended(&appliance.admin(), &path).state, UploadState::Done { version: 1 });
}
