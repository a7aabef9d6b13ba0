//! `rootstock media usb` on a block device: a loop device, which needs root. What it must not write is not written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A loop device over a file, detached when the test ends.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Loop {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(file).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        Loop(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ended = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

/// Mounted while it lives.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg(self.0).status();
    }
}

fn data() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir_all(data.path().join("boot/usb")).unwrap();
    let mut list = Vec::new();
    for name in ["vmlinuz", "initramfs.cpio.zst", "usb/BOOTX64.EFI", "usb/BOOTIA32.EFI"] {
        fs::write(data.path().join("boot").join(name), name).unwrap();
        let sha256: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        list.push(serde_json::json!({ "path": name, "size": name.len(), "sha256": sha256 }));
    }
    fs::write(data.path().join("boot/contents.json"), serde_json::json!({ "files": list }).to_string())
        .unwrap();
    data
}

fn usb(data: &TempDir, to: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .args(["media", "usb", "--to", to, "--data"])
        .arg(data.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_disk_that_is_mounted_or_not_removable_is_left_alone_and_another_becomes_a_stick() {
    assert!(nix::unistd::geteuid().is_root(), "the netns tier needs root: run `./dev test netns`");
    let data = data();
    let file = data.path().join("disk");
    fs::File::create(&file).unwrap().set_len(600 << 20).unwrap();
    let disk = Loop::over(&file);
    run("mke2fs", &["-q", "-F", &disk.0]);
    let there = data.path().join("mounted");
    fs::create_dir(&there).unwrap();
    run("mount", &[&disk.0, there.to_str().unwrap()]);
    let mounted = Mounted(&there);
    let all = ["--yes", "--even-if-internal"];
    let error = refused(&usb(&data, &disk.0, &all));
    assert!(error.contains("is in use") && error.contains(there.to_str().unwrap()), "{error}");
    drop(mounted);

    let error = refused(&usb(&data, &disk.0, &[]));
    assert!(error.contains("nobody is here to agree") && error.contains("629145600 bytes"), "{error}");
    let error = refused(&usb(&data, &disk.0, &["--yes"]));
    assert!(error.contains("is no removable medium") && error.contains("--even-if-internal"), "{error}");
    // What was refused was not touched: the file system is whole.
    run("e2fsck", &["-fn", &disk.0]);

    let output = usb(&data, &disk.0, &all);
    assert!(output.status.success(), "{output:?}");
    let table = run("sgdisk", &["-v", "-p", &disk.0]);
    assert!(table.contains("No problems found") && table.contains("ROOTSTOCK-EFI"), "{table}");
    // A second time: what is on it now is named.
    let output = usb(&data, &disk.0, &all);
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 512.0 MiB fat32 ROOTSTOCK"), "{output:?}");
}
