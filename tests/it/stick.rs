//! `rootstock media usb` into a file: read by other programs than ours, and everything it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rootstock::api::runner::BootMethod;
use rootstock::runner::settings::{Flags, Settings};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const BOOT_FILES: [&str; 6] = [
    "vmlinuz",
    "initramfs.cpio.zst",
    "usb/BOOTX64.EFI",
    "usb/BOOTIA32.EFI",
    "usb/ssh.cpio.zst",
    "usb/wifi.cpio.zst",
];
const MIB: usize = 1 << 20;

/// A data folder with boot files as `media boot` lists them; their content is their name, the initramfs is long.
fn data() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let boot = data.path().join("boot");
    fs::create_dir_all(boot.join("usb")).unwrap();
    let mut list = Vec::new();
    for name in BOOT_FILES {
        let bytes = name.as_bytes().repeat(if name.starts_with("init") { 100_000 } else { 1 });
        fs::write(boot.join(name), &bytes).unwrap();
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        list.push(serde_json::json!({ "path": name, "size": bytes.len(), "sha256": sha256 }));
    }
    let contents = serde_json::json!({ "kernel": "6.1", "files": list });
    fs::write(boot.join("contents.json"), contents.to_string()).unwrap();
    data
}

fn usb(data: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .args(["media", "usb", "--data"])
        .arg(data.path())
        .arg("--to")
        .arg(stick(data))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn stick(data: &TempDir) -> PathBuf {
    data.path().join("stick.img")
}

fn refused(data: &TempDir, arguments: &[&str]) -> String {
    let output = usb(data, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!data.path().join(".stick.img.partial").exists());
    String::from_utf8(output.stderr).unwrap()
}

/// Runs a foreign program, which must be content.
fn judge(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; ./dev test installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The volume of a stick in a file of its own.
fn volume(data: &TempDir) -> PathBuf {
    let image = fs::read(stick(data)).unwrap();
    let volume = data.path().join("volume.img");
    fs::write(&volume, &image[MIB..image.len() - MIB]).unwrap();
    volume
}

fn file_on(volume: &Path, path: &str) -> Vec<u8> {
    let output = Command::new("mtype").arg("-i").arg(volume).arg(format!("::{path}")).output();
    let output = output.unwrap_or_else(|error| panic!("mtype: {error}; ./dev test installs mtools"));
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text_on(volume: &Path, path: &str) -> String {
    String::from_utf8(file_on(volume, path)).unwrap()
}

#[test]
fn a_stick_is_sound_to_sgdisk_fsck_and_mtools_and_has_the_boot_files() {
    let data = data();
    let output = usb(&data, &["--server", "192.0.2.7:8443", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["server"], "https://192.0.2.7:8443");
    let table = judge("sgdisk", &["-v", "-p"], &stick(&data));
    assert!(table.contains("No problems found") && table.contains("EF00  ROOTSTOCK-EFI"), "{table}");
    let volume = volume(&data);
    judge("fsck.fat", &["-n"], &volume);
    for (from, to) in [
        ("vmlinuz", "rootstock/vmlinuz"),
        ("initramfs.cpio.zst", "rootstock/initramfs.cpio.zst"),
        ("usb/BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI"),
        ("usb/BOOTIA32.EFI", "EFI/BOOT/BOOTIA32.EFI"),
    ] {
        assert!(file_on(&volume, to) == fs::read(data.path().join("boot").join(from)).unwrap(), "{to}");
    }
    let menu = text_on(&volume, "EFI/BOOT/grub.cfg");
    let line = "linux /rootstock/vmlinuz 'console=ttyS0,115200' 'console=tty0' 'rootstock.boot=usb' \
                'rootstock.server=https://192.0.2.7:8443'\n";
    assert!(menu.contains(line) && menu.contains("initrd /rootstock/initramfs.cpio.zst\n"), "{menu}");
    assert_eq!(text_on(&volume, "EFI/BOOT/.disk_label.contentDetails"), "Rootstock");
    assert_eq!(file_on(&volume, "EFI/BOOT/.disk_label")[0], 1);
}

#[test]
fn a_stick_without_a_server_tells_the_runner_to_look_for_it_whatever_is_baked_in() {
    let data = data();
    let output = usb(&data, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("will look for its appliance by DNS-SD"));
    let menu = text_on(&volume(&data), "EFI/BOOT/grub.cfg");
    let line = menu.lines().find_map(|line| line.trim().strip_prefix("linux /rootstock/vmlinuz ")).unwrap();
    assert!(line.ends_with(" 'rootstock.server='"), "{line}");
    // As the kernel shows it, and the runner of an initramfs that was made with an address reads it.
    let root = data.path().join("root");
    fs::create_dir_all(root.join("etc/rootstock")).unwrap();
    fs::create_dir_all(root.join("proc")).unwrap();
    fs::write(root.join("etc/rootstock/server"), "https://192.0.2.99\n").unwrap();
    fs::write(root.join("etc/rootstock/ca.pem"), "pem").unwrap();
    fs::write(root.join("proc/cmdline"), line.replace('\'', "") + "\n").unwrap();
    let flags = Flags { root: Some(root), ..Flags::default() };
    let settings = Settings::read(flags).unwrap();
    assert_eq!((settings.server, settings.boot), (None, BootMethod::Usb));
}

#[test]
fn keys_and_a_wireless_network_are_added_and_the_password_is_told_to_nobody() {
    let data = data();
    let (keys, password) = (data.path().join("keys"), data.path().join("password"));
    fs::write(&keys, "ssh-ed25519 AAAA admin\n").unwrap();
    fs::write(&password, "correct horse\n").unwrap();
    let output = usb(
        &data,
        &[
            "--ssh-authorized-keys",
            keys.to_str().unwrap(),
            "--wifi",
            "Lab 2",
            "--wifi-password-file",
            password.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(told.contains("readable on it") && !told.contains("horse"), "{told}");
    let volume = volume(&data);
    let menu = text_on(&volume, "EFI/BOOT/grub.cfg");
    let archives = "initrd /rootstock/initramfs.cpio.zst /rootstock/ssh.cpio.zst /rootstock/wifi.cpio.zst \
                    /rootstock/own.cpio\n";
    assert!(menu.contains(archives) && menu.contains("'rootstock.wifi=1'"), "{menu}");
    let own = text_on(&volume, "rootstock/own.cpio");
    assert!(own.contains("\tpsk=\"correct horse\"\n") && own.contains("ssh-ed25519 AAAA admin\n"));
    // Regular files with mode 0600 (0100600).
    assert_eq!(own.matches("00008180").count(), 2);
}

#[test]
fn a_password_that_wpa_does_not_take_is_refused_and_not_shown() {
    let data = data();
    let password = data.path().join("password");
    fs::write(&password, "short\n").unwrap();
    let error = refused(&data, &["--wifi", "Lab", "--wifi-password-file", password.to_str().unwrap()]);
    assert!(error.contains("has 5 characters") && !error.contains("short"), "{error}");
}

#[test]
fn boot_files_that_are_missing_or_of_two_makings_are_refused_with_the_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let error = refused(&empty, &[]);
    assert!(error.contains("contents.json is missing") && error.contains("rootstock media boot"), "{error}");
    let data = data();
    fs::write(data.path().join("boot/initramfs.cpio.zst"), "of another kernel").unwrap();
    let error = refused(&data, &[]);
    assert!(error.contains("initramfs.cpio.zst is not the file that contents.json tells of"), "{error}");
    assert!(!stick(&data).exists());
}

#[test]
fn a_file_is_overwritten_only_with_yes_and_then_whole() {
    let data = data();
    fs::write(stick(&data), "precious").unwrap();
    let error = refused(&data, &[]);
    assert!(error.contains("stick.img exists and has 8 bytes: add --yes"), "{error}");
    assert_eq!(fs::read_to_string(stick(&data)).unwrap(), "precious");
    let error = refused(&data, &["--yes", "--size", "100MiB"]);
    assert!(error.contains("the stick needs 538968064"), "{error}");
    assert_eq!(fs::read_to_string(stick(&data)).unwrap(), "precious");
    assert!(usb(&data, &["--yes", "--size", "600MiB"]).status.success());
    assert_eq!(fs::metadata(stick(&data)).unwrap().len(), 600 << 20);
    judge("sgdisk", &["-v"], &stick(&data));
}

#[test]
fn a_device_that_is_not_there_is_not_made_as_a_file() {
    let data = data();
    let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .args(["media", "usb", "--to", "/dev/rootstock-no-such-stick", "--yes", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("there is no /dev/rootstock-no-such-stick"), "{error}");
    assert!(!Path::new("/dev/rootstock-no-such-stick").exists());
}

#[test]
fn a_kernel_argument_that_the_boot_menu_would_read_is_a_wrong_command_line() {
    let data = data();
    let output = usb(&data, &["--kernel-arguments", "quiet $root"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("`$root` is no kernel argument"));
}
