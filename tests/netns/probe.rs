//! `rootstock netboot probe` and `rootstock doctor` on wires with and without what they look for.

use std::fs;
use std::process::Output;

use rootstock::api::timeline::Stage;
use serde_json::Value;

use crate::lab::{Lab, Running};
use crate::nbi_set::plain;
use crate::served::{Served, serve};

/// A program that firmware of 64 bits would start.
pub fn efi() -> Vec<u8> {
    let mut bytes = vec![0; 200_000];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x40;
    bytes[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
    bytes
}

/// Boot files as far as a probe looks at them.
fn with_files(served: &Served) {
    let boot = served.folder.path().join("boot");
    let mut kernel = vec![0; 3_000_000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(boot.join("vmlinuz"), kernel).unwrap();
    fs::write(boot.join("initramfs.cpio.zst"), [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
    fs::write(boot.join("rootstock.nbi/i386/booter"), efi()).unwrap();
}

fn lab() -> (Lab, Served) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |_| {});
    with_files(&served);
    (lab, served)
}

/// The site's DHCP server.
pub fn dnsmasq(lab: &Lab, machine: &str) -> Running {
    let range = "--dhcp-range=10.77.0.100,10.77.0.150,1h";
    lab.dnsmasq(machine, &["--dhcp-authoritative", "--no-ping", range])
}

fn rootstock(lab: &Lab, machine: &str, words: &[&str]) -> (i32, Value) {
    let Output { status, stdout, stderr } =
        lab.run(machine, env!("CARGO_BIN_EXE_rootstock"), &[words, &["--json"]].concat());
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    let read = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}{err}"));
    (status.code().unwrap(), read)
}

fn step<'a>(walked: &'a Value, topic: &str) -> &'a Value {
    let steps = walked["steps"].as_array().unwrap();
    steps.iter().find(|step| step["topic"] == topic).unwrap_or_else(|| panic!("no {topic}: {walked:#}"))
}

fn says(finding: &Value, verdict: &str, words: &str) {
    let text = finding.to_string();
    assert!(finding["verdict"] == verdict && text.contains(words), "not {verdict} `{words}`: {finding:#}");
}

#[test]
fn a_probe_walks_the_whole_way_beside_the_sites_dhcp_server() {
    let (mut lab, mut served) = lab();
    lab.plug("site", "eth0", "lan", &["10.77.0.2/24"]);
    let _site = dnsmasq(&lab, "site");
    // No HTTPS is served here: the runner's step must fail, everything before it must not.
    let words = ["netboot", "probe", "--mac", "02:00:00:00:07:07", "--model", "iMac14,2"];
    let (code, walked) = rootstock(&lab, "mac", &words);
    assert_eq!((code, &walked["stopped_at"]), (1, &"HTTPS".into()), "{walked:#}");
    says(step(&walked, "Mac"), "ok", "27-inch, Late 2013");
    says(step(&walked, "DISCOVER"), "ok", "10.77.0.2 offers an address");
    says(step(&walked, "LIST"), "ok", "10.77.0.1 offers 1 sets; a Mac takes Rootstock");
    says(step(&walked, "SELECT"), "ok", "rootstock.nbi/i386/booter from 10.77.0.1");
    says(step(&walked, "TFTP"), "ok", "an EFI program of 64 bits");
    says(step(&walked, "kernel"), "ok", "a Linux kernel");
    says(step(&walked, "initramfs"), "ok", "zstd");
    let mut stages = Vec::new();
    while stages.iter().filter(|stage| **stage == Stage::Http).count() < 3 {
        stages.push(served.event().stage);
    }
    assert!(stages.contains(&Stage::Select) && stages.contains(&Stage::Tftp), "{stages:?}");
}

#[test]
fn a_probe_from_the_appliance_itself_finds_its_own_server() {
    let (lab, _served) = lab();
    let (_, walked) = rootstock(&lab, "server", &["netboot", "probe", "--wait", "1"]);
    says(step(&walked, "DISCOVER"), "warning", "no DHCP server offers an address");
    says(step(&walked, "LIST"), "ok", "10.77.0.1 offers");
    says(step(&walked, "initramfs"), "ok", "zstd");
}

#[test]
fn a_probe_stops_at_list_where_nobody_answers() {
    let mut lab = Lab::new();
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let (code, walked) = rootstock(&lab, "mac", &["netboot", "probe", "--wait", "1"]);
    assert_eq!((code, &walked["stopped_at"]), (1, &"LIST".into()), "{walked:#}");
    says(step(&walked, "LIST"), "fails", "no server answers");
}

#[test]
fn a_probe_stops_at_tftp_where_that_is_not_served_and_at_http_where_boot_files_are_missing() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |settings| settings.ports.tftp = 6969);
    let probe = ["netboot", "probe", "--wait", "1", "--server", "10.77.0.1"];
    let (code, walked) = rootstock(&lab, "mac", &probe);
    assert_eq!((code, &walked["stopped_at"]), (1, &"TFTP".into()), "{walked:#}");
    says(step(&walked, "TFTP"), "fails", "nothing listens for TFTP at 10.77.0.1:69");
    drop(served);
    let _served = serve(&lab, "server", |_| {});
    let (_, walked) = rootstock(&lab, "mac", &probe);
    says(step(&walked, "TFTP"), "warning", "no EFI program");
    says(step(&walked, "HTTP"), "fails", "has no vmlinuz");
}

#[test]
fn a_probe_walks_through_a_set_of_apples_to_its_root_image() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |settings| {
        fs::remove_dir_all(settings.boot.join("rootstock.nbi")).unwrap();
        plain("Sierra", "<integer>7</integer>").write(&settings.boot.join("Sierra.nbi"));
    });
    let probe = ["netboot", "probe", "--wait", "1", "--server", "10.77.0.1", "--model", "iMac14,2"];
    let (code, walked) = rootstock(&lab, "mac", &probe);
    assert_eq!((code, &walked["stopped_at"]), (0, &Value::Null), "{walked:#}");
    says(step(&walked, "SELECT"), "ok", "Sierra.nbi/i386/booter");
    says(step(&walked, "kernelcache"), "ok", "Sierra.nbi/i386/x86_64/kernelcache");
    says(step(&walked, "root image"), "ok", "Sierra.nbi/NetInstall.dmg");
    fs::remove_file(served.folder.path().join("boot/Sierra.nbi/i386/x86_64/kernelcache")).unwrap();
    let (code, walked) = rootstock(&lab, "mac", &probe);
    assert_eq!((code, &walked["stopped_at"]), (1, &"kernelcache".into()), "{walked:#}");
}

#[test]
fn a_probe_says_that_a_model_cannot_start_what_it_is_given() {
    let (lab, _served) = lab();
    let probe =
        |model: &str| rootstock(&lab, "mac", &["netboot", "probe", "--wait", "1", "--model", model]).1;
    says(step(&probe("MacBookPro15,1"), "Mac"), "warning", "T2 chip");
    // The only booter here is for 64 bits: a Mac with 32-bit firmware is not offered it.
    says(step(&probe("MacBook2,1"), "LIST"), "fails", "no server answers");
}
