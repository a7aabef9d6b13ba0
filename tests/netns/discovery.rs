//! DHCP, BSDP and proxyDHCP on a wire with the site's DHCP server, and on wires without one.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rootstock::api::timeline::Stage;
use rootstock::netboot::dhcp::{MessageType, Packet};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Lab, Running};
use crate::served::{Served, booter, serve};

const IMAC: &[u8] = b"AAPLBSDPC/i386/iMac14,2";
const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];
const PXE: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";

/// A client's DHCP socket: port 68 of eth0, with or without an address.
pub fn client(port: u16) -> std::net::UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind_device(Some(b"eth0")).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.into()
}

pub fn packet(mac: u8, ciaddr: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..8].copy_from_slice(&[1, 1, 6, 0, 9, 8, 7, mac]);
    bytes[12..16].copy_from_slice(&ciaddr);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    for (code, value) in options {
        bytes.extend([*code, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

/// Sends to `to` and waits for the reply that `wanted` describes; others belong to other servers.
pub fn exchange(
    socket: &std::net::UdpSocket,
    to: (Ipv4Addr, u16),
    bytes: &[u8],
    wanted: impl Fn(&Packet<'_>, SocketAddr) -> bool,
) -> (Vec<u8>, SocketAddr) {
    socket.send_to(bytes, to).unwrap();
    let mut buffer = vec![0; 9000];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("no answer came");
        let packet = Packet::parse(&buffer[..length]).unwrap();
        if !packet.is_request && wanted(&packet, from) {
            return (buffer[..length].to_vec(), from);
        }
    }
}

fn lab() -> (Lab, Served) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    let served = serve(&lab, "server", |_| {});
    (lab, served)
}

pub fn site_dhcp(lab: &mut Lab) -> Running {
    lab.plug("site", "eth0", "lan", &["10.77.0.2/24"]);
    lab.dnsmasq("site", &["--dhcp-authoritative", "--dhcp-range=10.77.0.100,10.77.0.150,1h"])
}

/// Asks for an address with busybox's client; gives the address and the server that leased it.
fn lease(lab: &Lab, served: &Served, class: &str, tries: &str) -> Option<(String, String)> {
    let (script, out) = (served.output("bound.sh"), served.output("lease"));
    let text =
        format!("#!/bin/sh\n[ \"$1\" = bound ] && echo \"$ip $serverid\" > {}\nexit 0\n", out.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let arguments =
        ["udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", tries, "-T", "1", "-V", class, "-s", script];
    let done = lab.run("mac", "busybox", &arguments);
    if !done.status.success() {
        return None;
    }
    let text = fs::read_to_string(out).unwrap();
    let (ip, server) = text.trim().split_once(' ').unwrap();
    Some((ip.to_owned(), server.to_owned()))
}

#[test]
fn a_mac_gets_its_address_from_the_site_and_its_booter_from_us() {
    let (mut lab, mut served) = lab();
    let _site = site_dhcp(&mut lab);
    let class = std::str::from_utf8(IMAC).unwrap();
    let (address, leased_by) =
        lease(&lab, &served, class, "20").expect("the site's DHCP server gave no address");
    assert_eq!(leased_by, "10.77.0.2", "the site's server leases, never ours");
    lab.give("mac", "eth0", &format!("{address}/24"));
    let address: Ipv4Addr = address.parse().unwrap();

    let all = (Ipv4Addr::BROADCAST, 67);
    let (file, server) = lab.inside("mac", || {
        let socket = client(68);
        let is_ours =
            |packet: &Packet<'_>, _| packet.option(60).is_some_and(|class| class.as_ref() == b"AAPLBSDPC");
        let ask = packet(1, address.octets(), &[(53, &[8]), (60, IMAC), (43, LIST)]);
        let (list, from) = exchange(&socket, all, &ask, is_ours);
        assert_eq!(from, "10.77.0.1:67".parse().unwrap());
        let list = Packet::parse(&list).unwrap();
        let server = list.option(54).unwrap().into_owned();
        let body = [&[1, 1, 2, 2, 2, 1, 1, 8, 4, 0x81, 0, 0, 1, 3, 4][..], &server].concat();
        let ask = packet(1, address.octets(), &[(53, &[8]), (60, IMAC), (43, &body)]);
        let (select, _) = exchange(&socket, all, &ask, is_ours);
        let select = Packet::parse(&select).unwrap();
        (String::from_utf8(select.file.to_vec()).unwrap(), select.siaddr)
    });
    assert_eq!(server, Ipv4Addr::new(10, 77, 0, 1));
    let out = served.output("booter");
    lab.must("mac", "curl", &["-sS", "-o", out.to_str().unwrap(), &format!("tftp://{server}/{file}")]);
    assert!(fs::read(&out).unwrap() == booter());

    let mut stages: Vec<Stage> = Vec::new();
    while stages.last() != Some(&Stage::Tftp) {
        stages.push(served.event().stage);
    }
    stages.dedup();
    assert_eq!(stages, [Stage::Discover, Stage::List, Stage::Select, Stage::Tftp]);
}

#[test]
fn on_a_wire_without_dhcp_server_nobody_gets_an_address_from_us() {
    let (lab, mut served) = lab();
    for class in ["AAPLBSDPC/i386/iMac14,2", "PXEClient:Arch:00007:UNDI:003000", "udhcp"] {
        assert_eq!(lease(&lab, &served, class, "2"), None, "{class}");
    }
    assert_eq!(served.event().stage, Stage::Discover, "our server was there and heard");
}

#[test]
fn uefi_pxe_is_offered_by_broadcast_and_told_on_port_4011() {
    let (lab, mut served) = lab();
    let options: &[(u8, &[u8])] = &[(60, PXE), (93, &[0, 7]), (97, &[0; 17])];
    let with = |kind: &'static [u8]| [&[(53u8, kind)], options].concat();
    lab.inside("mac", || {
        // Without an address, as firmware is: the offer can only come by broadcast.
        let socket = client(68);
        let ask = packet(2, [0; 4], &with(&[1]));
        let (offer, from) = exchange(&socket, (Ipv4Addr::BROADCAST, 67), &ask, |_, _| true);
        assert_eq!(from, "10.77.0.1:67".parse().unwrap());
        let offer = Packet::parse(&offer).unwrap();
        assert_eq!((offer.message_type(), offer.file), (Some(MessageType::Offer), &b""[..]));
    });
    lab.give("mac", "eth0", "10.77.0.60/24");
    lab.inside("mac", || {
        let socket = client(4011);
        let ask = packet(2, [10, 77, 0, 60], &with(&[3]));
        let (ack, from) = exchange(&socket, (Ipv4Addr::new(10, 77, 0, 1), 4011), &ask, |_, _| true);
        assert_eq!(from, "10.77.0.1:4011".parse().unwrap());
        assert_eq!(Packet::parse(&ack).unwrap().file, b"ipxe/snponly.efi");
    });
    assert_eq!((served.event().stage, served.event().stage), (Stage::Discover, Stage::Pxe));
}

#[test]
fn ipxe_and_uefi_http_boot_are_offered_urls() {
    let (lab, _served) = lab();
    let http: &[u8] = b"HTTPClient:Arch:00016:UNDI:003000";
    lab.inside("mac", || {
        let socket = client(68);
        let all = (Ipv4Addr::BROADCAST, 67);
        let ask = packet(3, [0; 4], &[(53, &[1]), (60, PXE), (93, &[0, 7]), (77, b"iPXE")]);
        let (offer, _) = exchange(&socket, all, &ask, |_, _| true);
        let url = b"http://10.77.0.1/boot/ipxe?mac=02:00:00:00:00:03";
        assert_eq!(Packet::parse(&offer).unwrap().file, url);
        let ask = packet(3, [0; 4], &[(53, &[1]), (60, http), (93, &[0, 16])]);
        let (offer, _) = exchange(&socket, all, &ask, |_, _| true);
        let url = b"http://10.77.0.1/boot/ipxe/snponly.efi";
        assert_eq!(Packet::parse(&offer).unwrap().option(67).unwrap().as_ref(), url);
    });
}

#[test]
fn on_two_wires_each_client_is_told_the_address_of_its_own() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "left", &["10.77.0.1/24"]);
    lab.plug("server", "eth1", "right", &["10.78.0.1/24"]);
    lab.plug("one", "eth0", "left", &["10.77.0.50/24"]);
    lab.plug("two", "eth0", "right", &["10.78.0.50/24"]);
    let _served = serve(&lab, "server", |_| {});
    for (machine, net) in [("one", 77), ("two", 78)] {
        lab.inside(machine, || {
            let socket = client(68);
            let ask = packet(4, [10, net, 0, 50], &[(53, &[8]), (60, IMAC), (43, LIST)]);
            let (list, from) = exchange(&socket, (Ipv4Addr::BROADCAST, 67), &ask, |_, _| true);
            let own = Ipv4Addr::new(10, net, 0, 1);
            assert_eq!(from, SocketAddr::from((own, 67)));
            assert_eq!(Packet::parse(&list).unwrap().address(54), Some(own));
            // The broadcast offer leaves by the wire that the question came by.
            let ask = packet(4, [0; 4], &[(53, &[1]), (60, PXE), (93, &[0, 7])]);
            let (_, from) = exchange(&socket, (Ipv4Addr::BROADCAST, 67), &ask, |_, _| true);
            assert_eq!(from, SocketAddr::from((own, 67)));
        });
    }
}

#[test]
fn an_interface_that_is_not_served_hears_nothing() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "left", &["10.77.0.1/24"]);
    lab.plug("server", "eth1", "right", &["10.78.0.1/24"]);
    lab.plug("one", "eth0", "left", &["10.77.0.50/24"]);
    lab.plug("two", "eth0", "right", &["10.78.0.50/24"]);
    let mut served = serve(&lab, "server", |settings| settings.interfaces = vec!["eth1".into()]);
    let ask = |net| packet(net, [10, net, 0, 50], &[(53, &[8]), (60, IMAC), (43, LIST)]);
    let all = (Ipv4Addr::BROADCAST, 67);
    lab.inside("one", || client(68).send_to(&ask(77), all).unwrap());
    lab.inside("two", || exchange(&client(68), all, &ask(78), |_, _| true));
    assert_eq!(served.event().mac.as_bytes()[5], 78, "the other one's question was not even told");
}

#[test]
fn a_relay_of_another_project_carries_question_and_answer() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "core", &["10.77.0.1/24"]);
    lab.plug("router", "eth0", "core", &["10.77.0.3/24"]);
    lab.plug("router", "eth1", "edge", &["10.79.0.3/24"]);
    lab.plug("mac", "eth0", "edge", &[]);
    lab.must("server", "ip", &["route", "add", "10.79.0.0/24", "via", "10.77.0.3"]);
    let served = serve(&lab, "server", |_| {});
    let _relay = lab.start(
        "router",
        "dnsmasq",
        &[
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--pid-file=",
            "--log-facility=/dev/null",
            "--dhcp-relay=10.79.0.3,10.77.0.1",
        ],
    );
    lab.inside("mac", || {
        let socket = client(68);
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let ask = packet(5, [0; 4], &[(53, &[1]), (60, PXE), (93, &[0, 7])]);
        let mut buffer = [0; 2000];
        // The relay needs a moment to start; a client asks again.
        let answered = (0..100).find_map(|_| {
            socket.send_to(&ask, (Ipv4Addr::BROADCAST, 67)).unwrap();
            socket.recv_from(&mut buffer).ok()
        });
        let (length, _) = answered.expect("no offer came through the relay");
        let offer = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!(offer.address(54), Some(Ipv4Addr::new(10, 77, 0, 1)));
        assert_eq!(offer.giaddr, Ipv4Addr::new(10, 79, 0, 3));
    });
    drop(served);
}
