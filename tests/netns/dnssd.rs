//! The appliance announces itself: seen by a client of another project and by the runner's own, beside Avahi, until it stops.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rootstock::client::{Discovery, Found, Verdict, fingerprints};

use crate::lab::{Lab, Running};

const TYPE: &str = "_rootstock._tcp.local.";
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/dnssd.py");

/// `rootstockd` as it is, in a machine of the lab; `folder/NAME/keys/ca.pem` is its authority.
pub fn appliance(lab: &Lab, machine: &str, folder: &Path, more: &str) -> Running {
    let data = folder.join(machine);
    let config = folder.join(format!("{machine}.toml"));
    fs::write(&config, format!("name = 'Lab'\n[library]\nkeep-free = '0'\nworkers = 1\n{more}")).unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()];
    lab.start(machine, env!("CARGO_BIN_EXE_rootstockd"), &arguments)
}

/// Waits until something is so; tests have no time of their own, a minute is more than any of this takes.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} did not happen");
}

pub fn ca(folder: &Path, machine: &str) -> Vec<u8> {
    let path: PathBuf = folder.join(machine).join("keys/ca.pem");
    until("the appliance's authority", || fs::read(&path).ok().filter(|pem| !pem.is_empty()))
}

fn found(lab: &Lab, machine: &str, ca: &[u8], count: usize) -> Vec<Found> {
    lab.inside(machine, || {
        let mut discovery = Discovery::start(ca).unwrap();
        until("finding the appliance", || Some(discovery.found()).filter(|found| found.len() >= count))
    })
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn an_appliance_is_announced_beside_avahi_to_a_foreign_client_until_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("server", "eth1", "other", &["10.78.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.9/24"]);
    lab.plug("guest", "eth0", "other", &["10.78.0.9/24"]);
    let conf = folder.path().join("avahi.conf");
    fs::write(&conf, "[server]\nhost-name=avahi-here\nuse-ipv6=no\nenable-dbus=no\n").unwrap();
    let avahi = ["--no-drop-root", "--no-chroot", "--no-rlimits", "-f", conf.to_str().unwrap()];
    let _avahi = lab.start("server", "avahi-daemon", &avahi);

    let rootstockd = appliance(&lab, "server", folder.path(), "");
    let (_browser, mut lines) = lab.listen("mac", "timeout", &["60", PYTHON, SCRIPT, TYPE, "10.77.0.9", "2"]);
    let seen = json(&lines.next().expect("the foreign client sees the appliance").unwrap());
    let ca = ca(folder.path(), "server");
    let fingerprint = &fingerprints(&ca).unwrap()[0];
    assert_eq!(seen["name"], format!("Lab [{}].{TYPE}", &fingerprint[..8]));
    assert_eq!(seen["port"], 443);
    assert_eq!(seen["addresses"], serde_json::json!(["10.77.0.1"]));
    assert_eq!(seen["txt"]["ca"], **fingerprint);
    assert_eq!(seen["txt"]["protocol"], "1");
    assert_eq!(seen["txt"]["name"], "Lab");

    // On every interface the address of that interface.
    let (_other, mut elsewhere) =
        lab.listen("guest", "timeout", &["60", PYTHON, SCRIPT, TYPE, "10.78.0.9", "1"]);
    assert_eq!(json(&elsewhere.next().unwrap().unwrap())["addresses"], serde_json::json!(["10.78.0.1"]));

    // A resolver that knows nothing of multicast DNS asks from a port of its own and is answered there (RFC 6762 section 6.7).
    let answer = lab.inside("mac", || legacy(b"\x0a_rootstock\x04_tcp\x05local\0\0\x0c\0\x01"));
    assert!(answer.windows(4).any(|bytes| bytes == b"Lab "), "{answer:?}");
    // Avahi is there too, and still answers for its own names.
    let answer = lab.inside("mac", || legacy(b"\x0aavahi-here\x05local\0\0\x01\0\x01"));
    assert!(answer.ends_with(&[10, 77, 0, 1]), "{answer:?}");

    rootstockd.terminate();
    let gone = json(&lines.next().expect("a goodbye").unwrap());
    assert_eq!((&gone["state"], &gone["name"]), (&"Removed".into(), &seen["name"]));
}

/// Asks from an ordinary port; the answer.
fn legacy(question: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::new(10, 77, 0, 9), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
    query.extend(question);
    let mut buffer = [0; 4096];
    for _ in 0..6 {
        socket.send_to(&query, (Ipv4Addr::new(224, 0, 0, 251), 5353)).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if buffer[..2] == [0x12, 0x34] && u16::from_be_bytes([buffer[6], buffer[7]]) > 0 {
                assert_eq!(from.ip(), Ipv4Addr::new(10, 77, 0, 1));
                return buffer[..length].to_vec();
            }
        }
    }
    panic!("no answer by unicast");
}

#[test]
fn appliances_of_one_name_are_told_apart_by_trust_copies_get_another_name_and_a_new_address_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    for (machine, address) in
        [("one", "10.77.0.1/24"), ("two", "10.77.0.2/24"), ("copy", "10.77.0.3/24"), ("mac", "10.77.0.9/24")]
    {
        lab.plug(machine, "eth0", "lan", &[address]);
    }
    // At the same moment, with the same name.
    let _one = appliance(&lab, "one", folder.path(), "");
    let two = appliance(&lab, "two", folder.path(), "[ports]\nhttps = 8443\n");
    let ours = ca(folder.path(), "one");
    let at = |address: &str, verdict| Found { name: "Lab".into(), address: address.into(), verdict };
    assert_eq!(
        found(&lab, "mac", &ours, 2),
        [at("https://10.77.0.1", Verdict::Trusted), at("https://10.77.0.2:8443", Verdict::OtherAuthority)]
    );
    two.terminate();

    // Keys that were copied: the same name to the last letter, so the second one takes another (RFC 6762 section 9).
    fs::create_dir_all(folder.path().join("copy/keys")).unwrap();
    for name in ["ca.key", "ca.pem"] {
        fs::copy(folder.path().join("one/keys").join(name), folder.path().join("copy/keys").join(name))
            .unwrap();
    }
    let copy = appliance(&lab, "copy", folder.path(), "[ports]\nhttps = 8443\n");
    let (_browser, lines) = lab.listen("mac", "timeout", &["60", PYTHON, SCRIPT, TYPE, "10.77.0.9", "9"]);
    let mut names: Vec<String> = lines
        .map(|line| json(&line.unwrap()))
        .filter(|line| line["state"] == "Added")
        .map(|line| line["name"].as_str().unwrap().to_owned())
        .take(2)
        .collect();
    names.sort();
    let name = format!("Lab [{}]", &fingerprints(&ours).unwrap()[0][..8]);
    assert_eq!(names, [format!("{name} (2).{TYPE}"), format!("{name}.{TYPE}")]);
    copy.terminate();

    lab.must("one", "ip", &["addr", "del", "10.77.0.1/24", "dev", "eth0"]);
    lab.give("one", "eth0", "10.77.0.77/24");
    lab.inside("mac", || {
        until("the new address", || {
            let mut discovery = Discovery::start(&ours).unwrap();
            thread::sleep(Duration::from_secs(1));
            discovery.found().into_iter().find(|found| found.address == "https://10.77.0.77")
        })
    });
}

#[test]
fn an_appliance_that_shall_not_announce_itself_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("quiet", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("loud", "eth0", "lan", &["10.77.0.2/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.9/24"]);
    let _quiet = appliance(&lab, "quiet", folder.path(), "[announce]\ndns-sd = false\n");
    let quiet = ca(folder.path(), "quiet");
    let _loud = appliance(&lab, "loud", folder.path(), "");
    // The one that speaks proves that there was time to speak.
    let found = found(&lab, "mac", &quiet, 1);
    assert_eq!(found.iter().map(|found| found.verdict).collect::<Vec<_>>(), [Verdict::OtherAuthority]);
}
