//! `rootstock doctor` beside a running daemon, without one, and on wires with other servers.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::lab::{Lab, Running};
use crate::probe::{dnsmasq, efi};
use crate::served::serve;

const PLIST: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key>
    <integer>1</integer><key>Kind</key><integer>1</integer><key>IsInstall</key><true/>
    <key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>
    <key>Architectures</key><array><string>i386</string></array></dict></plist>";

/// A data folder with boot files as `rootstock media boot` leaves them, for an appliance at 10.77.0.1.
fn data() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let boot = data.join("boot");
    fs::create_dir_all(boot.join("rootstock.nbi/i386")).unwrap();
    let mut kernel = vec![0; 100_000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    let files: [(&str, &[u8]); 4] = [
        ("vmlinuz", &kernel),
        ("initramfs.cpio.zst", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("rootstock.nbi/NBImageInfo.plist", PLIST.as_bytes()),
        ("rootstock.nbi/i386/booter", &efi()),
    ];
    let mut made = Vec::new();
    for (path, bytes) in files {
        fs::write(boot.join(path), bytes).unwrap();
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        made.push(serde_json::json!({ "path": path, "size": bytes.len(), "sha256": digest }));
    }
    let contents = serde_json::json!({ "server": "https://10.77.0.1", "files": made });
    fs::write(boot.join("contents.json"), contents.to_string()).unwrap();
    (folder, data)
}

/// Starts the daemon in a machine and waits until it says that it is ready.
fn daemon(lab: &Lab, machine: &str, data: &Path) -> Running {
    let socket = data.with_extension("ready");
    let ready = UnixDatagram::bind(&socket).unwrap();
    ready.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let notify = format!("NOTIFY_SOCKET={}", socket.display());
    let config = data.with_extension("toml");
    fs::write(&config, "name = \"Lab\"\n[nbi]\nsettle = 0\n").unwrap();
    let arguments = [
        &notify,
        env!("CARGO_BIN_EXE_rootstockd"),
        "--config",
        config.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    let running = lab.start(machine, "env", &arguments);
    ready.recv(&mut [0; 100]).expect("rootstockd did not become ready");
    running
}

fn doctor(lab: &Lab, machine: &str, data: &Path) -> (i32, Vec<Value>) {
    let (socket, data) = (data.join("rootstock.sock"), data.to_str().unwrap());
    let words = ["--socket", socket.to_str().unwrap(), "doctor", "--json", "--wait", "2", "--data", data];
    let done = lab.run(machine, env!("CARGO_BIN_EXE_rootstock"), &words);
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    let read: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let findings = read["findings"].as_array().unwrap().clone();
    assert_eq!(read["well"] == true, done.status.success(), "{out}");
    (done.status.code().unwrap(), findings)
}

/// The finding about this, with this verdict, that says this.
fn finds(findings: &[Value], verdict: &str, topic: &str, words: &str) {
    let fits = |one: &&Value| {
        one["topic"] == topic && one["verdict"] == verdict && one["text"].as_str().unwrap().contains(words)
    };
    let all = serde_json::to_string_pretty(findings).unwrap();
    let found =
        findings.iter().find(fits).unwrap_or_else(|| panic!("no {verdict} {topic} `{words}` in {all}"));
    assert_eq!(verdict == "ok", found["remedy"] == "", "{found:#}");
}

#[test]
fn a_served_appliance_beside_the_sites_dhcp_server_is_well() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("site", "eth0", "lan", &["10.77.0.2/24"]);
    let _site = dnsmasq(&lab, "site");
    let (_folder, data) = data();
    let _daemon = daemon(&lab, "server", &data);
    let (code, findings) = doctor(&lab, "server", &data);
    assert_eq!(code, 0, "{findings:#?}");
    finds(&findings, "ok", "rootstockd", "Lab");
    for port in ["port 67", "port 4011", "port 69", "port 80", "port 443"] {
        finds(&findings, "ok", port, "rootstockd (process ");
    }
    finds(&findings, "ok", "interface", "eth0: 10.77.0.1");
    finds(&findings, "ok", "DHCP", "10.77.0.2 leases addresses on eth0");
    finds(&findings, "ok", "BSDP", "no other NetBoot server on eth0");
    finds(&findings, "ok", "boot files", "4 files as they were made");
    finds(&findings, "ok", "boot sets", "Rootstock");
    finds(&findings, "ok", "TFTP", "the same bytes");
    finds(&findings, "ok", "HTTP", "script and kernel through http://10.77.0.1:80");
    finds(&findings, "ok", "HTTPS", "https://10.77.0.1:443 answers");
    finds(&findings, "ok", "authority", "more days");
    finds(&findings, "ok", "certificate", "more days");
}

#[test]
fn another_netboot_server_and_changed_or_foreign_boot_files_are_named() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("other", "eth0", "lan", &["10.77.0.3/24"]);
    let _other = serve(&lab, "other", |_| {});
    let (_folder, data) = data();
    let _daemon = daemon(&lab, "server", &data);
    fs::write(data.join("boot/rootstock.nbi/i386/booter"), [0; 4000]).unwrap();
    let (code, findings) = doctor(&lab, "server", &data);
    assert_eq!(code, 1, "{findings:#?}");
    finds(&findings, "warning", "DHCP", "nobody leases addresses on eth0");
    finds(&findings, "warning", "BSDP", "10.77.0.3 is another NetBoot server on eth0: it offers Rootstock");
    finds(&findings, "fails", "boot files", "not as they were made");
    let contents = fs::read_to_string(data.join("boot/contents.json")).unwrap();
    fs::write(data.join("boot/contents.json"), contents.replace("10.77.0.1", "10.99.0.1")).unwrap();
    fs::write(data.join("boot/rootstock.nbi/i386/booter"), efi()).unwrap();
    let (_, findings) = doctor(&lab, "server", &data);
    finds(&findings, "fails", "boot files", "they lead Macs to 10.99.0.1, but this machine has 10.77.0.1");
}

#[test]
fn without_the_daemon_the_rest_is_checked_and_a_port_that_another_program_has_is_named_with_it() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    let (_folder, data) = data();
    let _held = lab.inside("server", || UdpSocket::bind("0.0.0.0:69").unwrap());
    let (code, findings) = doctor(&lab, "server", &data);
    assert_eq!(code, 1, "{findings:#?}");
    finds(&findings, "fails", "rootstockd", "rootstock.sock");
    finds(&findings, "fails", "port 69", &format!("(process {}) has it", std::process::id()));
    finds(&findings, "ok", "port 67", "free");
    finds(&findings, "ok", "boot files", "4 files as they were made");
    assert!(findings.iter().all(|one| one["topic"] != "TFTP"), "nothing is served: {findings:#?}");
}
