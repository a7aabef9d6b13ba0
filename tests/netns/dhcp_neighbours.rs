//! PXE beside others: a DHCP server on the same machine, another PXE server on the same wire, machines that are none of
//! our business, offers that come later.

use std::net::Ipv4Addr;
use std::time::Duration;

use rootstock::api::timeline::Stage;
use rootstock::client::dhcp::{Heard, Ports, ask};
use rootstock::netboot::dhcp::{MessageType, Request, code};
use rootstock::netboot::pxe::{Policy, Serve};
use rootstock::value::MacAddr;

use crate::lab::{Lab, Running};
use crate::served::serve;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const MAC: MacAddr = MacAddr::new([0x0a, 0x1b, 0x2c, 0, 0, 1]);
const VM: MacAddr = MacAddr::new([0x52, 0x54, 0, 0, 0, 2]);

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    lab
}

fn dnsmasq(lab: &Lab, machine: &str, more: &[&str]) -> Running {
    lab.dnsmasq(machine, &[&["--no-ping"], more].concat())
}

fn pxe(mac: MacAddr, words: &[u16]) -> Request {
    Request::new(MessageType::Discover, mac, 0x0770_0000)
        .broadcast()
        .class("PXEClient:Arch:00007:UNDI:003000")
        .architectures(words)
        .uuid([7; 16])
        .wants(&[1, 3, 43, 54, 60, 66, 67, 97])
}

/// Asks until somebody answers: servers may still be starting. Then everything that came with the first answer.
fn offers(lab: &Lab, request: &Request) -> Vec<Heard> {
    lab.inside("mac", || {
        let asked = || ask("eth0", request, Ports::BROADCAST, Duration::from_millis(1500)).unwrap();
        (0..12).map(|_| asked()).find(|heard| !heard.is_empty()).expect("nobody answered")
    })
}

fn is_pxe(heard: &Heard) -> bool {
    heard.packet().unwrap().option(code::CLASS_ID).is_some_and(|class| class.starts_with(b"PXEClient"))
}

/// Who made a PXE offer.
fn pxe_servers(heard: &[Heard]) -> Vec<Ipv4Addr> {
    let mut servers: Vec<_> = heard.iter().filter(|heard| is_pxe(heard)).map(Heard::server).collect();
    servers.sort();
    servers.dedup();
    servers
}

#[test]
fn a_dhcp_server_on_the_same_machine_gives_the_address_and_we_the_loader() {
    let lab = lab();
    let _served = serve(&lab, "server", |_| {});
    let _dnsmasq = dnsmasq(
        &lab,
        "server",
        // Without it dnsmasq wants the port for itself alone.
        &[
            "--bind-interfaces",
            "--interface=eth0",
            "--dhcp-authoritative",
            "--dhcp-range=10.77.0.100,10.77.0.150,1h",
        ],
    );
    // Ours is there from the start: asked until the other's is, too.
    let request = pxe(MAC, &[7]);
    let both = (0..12).map(|_| offers(&lab, &request)).find(|heard| heard.len() >= 2);
    let heard = both.expect("never two offers");
    let address = heard.iter().find(|heard| !heard.packet().unwrap().yiaddr.is_unspecified()).unwrap();
    assert!(!is_pxe(address));
    assert_eq!(pxe_servers(&heard), [OURS]);
}

#[test]
fn another_pxe_server_keeps_its_virtual_machines_and_we_get_the_macs() {
    let mut lab = lab();
    lab.plug("other", "eth0", "lan", &["10.77.0.2/24"]);
    let mut served = serve(&lab, "server", |settings| {
        settings.pxe = Policy { serve: Serve::All, ignored: vec!["52:54:00".parse().unwrap()] };
    });
    let _dnsmasq = dnsmasq(
        &lab,
        "other",
        &["--dhcp-authoritative", "--dhcp-range=10.77.0.100,10.77.0.150,1h", "--dhcp-boot=vm.efi,,10.77.0.2"],
    );
    let vm = offers(&lab, &pxe(VM, &[7]));
    assert!(vm.iter().all(|heard| heard.server() == OTHER), "{vm:?}");
    // dnsmasq names it in option 67 where that is asked for.
    assert_eq!(vm[0].packet().unwrap().option(code::BOOT_FILE).unwrap().as_ref(), b"vm.efi\0");
    let mac = offers(&lab, &pxe(MAC, &[7]));
    assert!(pxe_servers(&mac).contains(&OURS), "{mac:?}");
    let event = served.event();
    assert!(!event.answered && event.mac == VM && event.detail.contains("pxe.ignore-macs"), "{event:?}");
}

#[test]
fn an_offer_can_be_held_back_behind_those_of_other_servers() {
    let lab = lab();
    let _served = serve(&lab, "server", |settings| settings.offer_delay = Duration::from_millis(700));
    let heard = offers(&lab, &pxe(MAC, &[7]));
    let ours = heard.iter().find(|heard| is_pxe(heard)).unwrap();
    assert!(ours.after >= Duration::from_millis(700), "after {:?}", ours.after);
}

#[test]
fn with_pxe_for_nobody_or_for_known_machines_a_mac_that_holds_n_is_answered_all_the_same() {
    for serve_whom in [Serve::None, Serve::Known] {
        let lab = lab();
        let mut served = serve(&lab, "server", |settings| settings.pxe.serve = serve_whom);
        lab.give("mac", "eth0", "10.77.0.9/24");
        lab.inside("mac", || {
            let heard = ask("eth0", &pxe(VM, &[7]), Ports::BROADCAST, Duration::from_millis(700)).unwrap();
            assert!(heard.is_empty(), "{heard:?}");
        });
        let event = served.event();
        assert_eq!((event.mac, event.stage, event.answered), (VM, Stage::Discover, false));
        assert!(event.detail.contains("pxe.serve"), "{event:?}");
        let list = Request::new(MessageType::Inform, MAC, 0x0770_0001)
            .ciaddr(Ipv4Addr::new(10, 77, 0, 9))
            .class("AAPLBSDPC/i386/iMac14,2")
            .vendor(&[1, 1, 1, 2, 2, 1, 1]);
        assert_eq!(offers(&lab, &list)[0].server(), OURS);
    }
}

#[test]
fn each_architecture_is_told_its_loader_and_ipxe_the_script() {
    let lab = lab();
    let _served = serve(&lab, "server", |_| {});
    for words in [&[7][..], &[9], &[6, 7], &[39, 9]] {
        let heard = offers(&lab, &pxe(MAC, words));
        assert_eq!(pxe_servers(&heard), [OURS], "{words:?}");
    }
    let http = |word: u16| {
        let class = format!("HTTPClient:Arch:{word:05}:UNDI:003000");
        Request::new(MessageType::Discover, MAC, 3).broadcast().class(&class).architectures(&[word])
    };
    let heard = offers(&lab, &http(16));
    assert_eq!(
        heard[0].packet().unwrap().option(67).unwrap().as_ref(),
        b"http://10.77.0.1/boot/ipxe/snponly.efi"
    );
    for user in [&b"iPXE"[..], b"\x04iPXE"] {
        let heard = offers(&lab, &pxe(MAC, &[7]).option(code::USER_CLASS, user));
        let packet = heard[0].packet().unwrap();
        assert!(packet.file.starts_with(b"http://10.77.0.1/boot/ipxe?mac="), "{user:?}: {:?}", packet.file);
    }
    lab.inside("mac", || {
        for request in [pxe(MAC, &[11]), http(15), http(19)] {
            let heard = ask("eth0", &request, Ports::BROADCAST, Duration::from_millis(300)).unwrap();
            assert!(heard.is_empty(), "no loader of that architecture is in the folder: {heard:?}");
        }
    });
}
