//! What Macs chose, over kill -9, through the API and the command line.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use rootstock::api::admin::{Binding, Status};
use rootstock::client::{Client, Patience};
use rootstock::netboot::dhcp::Packet;
use tempfile::{TempDir, tempdir};

use super::appliance::Appliance;
use super::daemon::Daemon;

const NBI: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key>
    <integer>1</integer><key>Kind</key><integer>1</integer><key>IsInstall</key><true/>
    <key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>
    <key>Architectures</key><array><string>i386</string></array></dict></plist>";
const LOCAL: [u8; 4] = [127, 0, 0, 1];

/// A data folder with one boot set.
pub fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    write_set(&folder.path().join("data/boot/rootstock.nbi"));
    folder
}

pub fn write_set(set: &Path) {
    fs::create_dir_all(set.join("i386")).unwrap();
    fs::write(set.join("NBImageInfo.plist"), NBI).unwrap();
    fs::write(set.join("i386/booter"), "booter").unwrap();
}

/// An INFORM of a Mac with this last byte in its address.
pub fn send(port: u16, mac: u8, system: &str, vendor: &[u8]) -> UdpSocket {
    let class = format!("AAPLBSDPC/i386/{system}");
    let mut bytes = vec![0; 240];
    bytes[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, mac]);
    bytes[12..16].copy_from_slice(&LOCAL);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    for (code, value) in [(53, &[8][..]), (60, class.as_bytes()), (43, vendor)] {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    }
    bytes.push(255);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(&bytes, ("127.0.0.1", port)).unwrap();
    socket
}

/// The option 43 of the answer.
pub fn ask(port: u16, mac: u8, system: &str, vendor: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let length = send(port, mac, system, vendor).recv(&mut buffer).unwrap();
    Packet::parse(&buffer[..length]).unwrap().option(43).unwrap().into_owned()
}

pub const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];
pub const SELECT: &[u8] = &[1, 1, 2, 2, 2, 1, 1, 3, 4, 127, 0, 0, 1, 8, 4, 0x81, 0, 0, 1];
/// BSDP option 8 with the set's id.
const MARKED: &[u8] = &[8, 4, 0x81, 0, 0, 1];

fn is_marked(list: &[u8]) -> bool {
    list[13..].starts_with(MARKED)
}

pub fn dhcp_port(client: &Client) -> u16 {
    let status: Status = client.get("/api/v1/status").unwrap();
    let dhcp = status.listeners.iter().find(|listener| listener.service == "dhcp").unwrap();
    dhcp.address.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_choice_that_was_confirmed_outlives_a_kill() {
    let folder = folder();
    let client = Client::unix(folder.path().join("data/rootstock.sock")).with_patience(Patience::NONE);
    for round in 0..3 {
        let daemon = Daemon::start(&folder);
        let port = dhcp_port(&client);
        for before in 0..round {
            let list = ask(port, before, "iMac14,2", LIST);
            assert!(is_marked(&list), "Mac {before} was told yes before kill {round}: {list:?}");
        }
        let list = ask(port, round, "iMac14,2", LIST);
        assert!(!is_marked(&list));
        assert_eq!(list[3..7], [4, 2, 0x7f + u8::from(round == 0), 0u8.wrapping_sub(round)], "priority");
        assert_eq!(ask(port, round, "iMac14,2", SELECT)[..9], [1, 1, 2, 8, 4, 0x81, 0, 0, 1]);
        drop(daemon);
    }
}

#[test]
fn what_macs_chose_is_shown_and_forgotten_by_model_or_by_address() {
    let folder = folder();
    let appliance = Appliance::start(&folder.path().join("data"));
    let port = dhcp_port(&appliance.admin());
    let rootstock = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        let socket = appliance.data.join("rootstock.sock");
        let done = command.arg("--socket").arg(socket).args(words).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    assert!(rootstock(&["client", "bindings"]).1.contains("no Mac has taken a boot image"));
    for system in ["iMac14,2", "MacBook10,1", "MacBook9,1"] {
        ask(port, 7, system, SELECT);
    }
    let (code, table) = rootstock(&["client", "bindings"]);
    assert_eq!(code, 0, "{table}");
    for part in ["02:00:00:00:00:07  MacBook10,1  0x81000001", "127.0.0.1", "NetBoot-000007"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let all: Vec<Binding> = serde_json::from_str(&rootstock(&["client", "bindings", "--json"]).1).unwrap();
    assert_eq!(all.len(), 3);
    let forget = ["client", "forget", "2:0:0:0:0:7"];
    let (code, said) = rootstock(&[&forget[..], &["--system", "MacBook10,1"]].concat());
    assert!(code == 0 && said.contains("(MacBook10,1) is no longer bound to 0x81000001"), "{said}");
    assert!(!is_marked(&ask(port, 7, "MacBook10,1", LIST)), "in force at once");
    assert!(is_marked(&ask(port, 7, "iMac14,2", LIST)), "the other Mac on the dongle is left alone");
    let (code, said) = rootstock(&[&forget[..], &["--json"]].concat());
    let gone: Vec<Binding> = serde_json::from_str(&said).unwrap();
    assert_eq!((code, gone.len()), (0, 2));
    let (code, said) = rootstock(&forget);
    assert!(code == 1 && said.contains("error: ") && said.contains("has taken no boot image"), "{said}");
    assert!(!is_marked(&ask(port, 7, "iMac14,2", LIST)));
}

#[test]
fn a_choice_repeated_and_a_choice_elsewhere_are_taken_as_such() {
    let folder = folder();
    let appliance = Appliance::start(&folder.path().join("data"));
    let port = dhcp_port(&appliance.admin());
    let first = ask(port, 1, "iMac14,2", SELECT);
    assert_eq!(ask(port, 1, "iMac14,2", SELECT), first);
    let bindings = || appliance.admin().get::<Vec<Binding>>("/api/v1/bindings").unwrap();
    let bound_ms = bindings()[0].bound_ms;
    ask(port, 1, "iMac14,2", SELECT);
    assert_eq!(bindings()[0].bound_ms, bound_ms, "a retransmission is no new choice");
    // To another server, and seen by all: no answer comes.
    send(port, 1, "iMac14,2", &[&SELECT[..9], &[127, 0, 0, 99], &SELECT[13..]].concat());
    // The other Mac's choice goes through the same queue to the disk: when it is confirmed, this one is forgotten.
    ask(port, 2, "iMac14,2", SELECT);
    assert_eq!(bindings().iter().map(|binding| binding.mac.as_bytes()[5]).collect::<Vec<_>>(), [2]);
    assert!(!is_marked(&ask(port, 1, "iMac14,2", LIST)));
}
