//! `rootstock media boot`: what it refuses before it asks the network for anything.

use std::fs;

use assert_cmd::Command;
use tempfile::TempDir;

fn refused(data: &TempDir, arguments: &[&str]) -> String {
    let output = Command::cargo_bin("rootstock")
        .unwrap()
        .args(["media", "boot", "--server", "192.0.2.1", "--data"])
        .arg(data.path())
        // Nobody listens there: a request would fail with another error than the ones expected.
        .args(["--mirror", "http://127.0.0.1:1"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!data.path().join("boot").exists());
    String::from_utf8(output.stderr).unwrap()
}

fn data_with_authority() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("keys")).unwrap();
    fs::write(data.path().join("keys/ca.pem"), "PEM").unwrap();
    data
}

#[test]
fn boot_files_need_the_authority_that_rootstockd_makes() {
    let error = refused(&tempfile::tempdir().unwrap(), &[]);
    assert!(error.contains("keys/ca.pem is missing: start rootstockd"), "{error}");
}

#[test]
fn a_private_key_is_refused_by_its_line_and_not_shown() {
    let data = data_with_authority();
    let keys = data.path().join("keys.txt");
    fs::write(&keys, "# admin\nssh-ed25519 AAAA admin\nMC4CAQAwBQYDK2VwBCIEIsecret\n").unwrap();
    let error = refused(&data, &["--ssh-authkeys", keys.to_str().unwrap()]);
    assert!(error.contains("line 3 of") && !error.contains("MC4C"), "{error}");
    fs::write(&keys, "# nobody\n").unwrap();
    let error = refused(&data, &["--ssh-authkeys", keys.to_str().unwrap()]);
    assert!(error.contains("has no SSH key"), "{error}");
}

#[test]
fn a_runner_that_needs_libraries_is_refused() {
    let error = refused(&data_with_authority(), &["--runner", "/bin/sh"]);
    assert!(error.contains("/bin/sh is not a static program") && error.contains("libc.so"), "{error}");
}

#[test]
fn a_mirror_that_does_not_answer_is_named() {
    let runner = env!("CARGO_BIN_EXE_rootstock-runner");
    let error = refused(&data_with_authority(), &["--runner", runner]);
    assert!(
        error.contains("fetching the package lists of bookworm from http://127.0.0.1:1 failed"),
        "{error}"
    );
}
