//! BSDP on real wires: bound Macs beside the site's DHCP server, reply ports, several identities, relays.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rootstock::api::timeline::Stage;
use rootstock::netboot::dhcp::{MessageType, Packet};

use crate::discovery::{client, exchange, packet, site_dhcp};
use crate::lab::{Lab, enter};
use crate::served::{Served, serve};

const IMAC: &[u8] = b"AAPLBSDPC/i386/iMac14,2";
const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];
const VERSION: &[u8] = &[2, 2, 1, 1];
const ALL: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);

fn lab() -> (Lab, Served) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |_| {});
    (lab, served)
}

fn selection(server: [u8; 4]) -> Vec<u8> {
    [&[1, 1, 2, 2, 2, 1, 1, 3, 4][..], &server, &[8, 4, 0x81, 0, 0, 1]].concat()
}

fn inform(mac: u8, address: [u8; 4], vendor: &[u8]) -> Vec<u8> {
    packet(mac, address, &[(53, &[8]), (60, IMAC), (43, vendor)])
}

/// By broadcast, as the Mac of a test has another hardware address than its interface.
fn discover(mac: u8) -> Vec<u8> {
    let mut bytes = packet(mac, [0; 4], &[(53, &[1]), (60, IMAC), (43, VERSION)]);
    bytes[10] = 0x80;
    bytes
}

fn is_bsdp(packet: &Packet<'_>, _: SocketAddr) -> bool {
    packet.option(60).is_some_and(|class| class.as_ref() == b"AAPLBSDPC")
}

/// The image in option 8 of a reply.
fn marked(reply: &[u8]) -> Option<[u8; 4]> {
    let mut body = Packet::parse(reply).unwrap().option(43)?.into_owned();
    while let [code, length, ..] = body[..] {
        let value: Vec<u8> = body.drain(..2 + usize::from(length)).skip(2).collect();
        if code == 8 {
            return value.try_into().ok();
        }
    }
    None
}

#[test]
fn a_mac_that_took_an_image_is_offered_it_at_its_next_discover_beside_the_sites_dhcp_server() {
    let (mut lab, mut served) = lab();
    let _site = site_dhcp(&mut lab);
    lab.inside("mac", || {
        let socket = client(68);
        let ask = inform(1, [10, 77, 0, 50], &selection([10, 77, 0, 1]));
        let (ack, _) = exchange(&socket, ALL, &ask, is_bsdp);
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut address, mut image) = (None, None);
        let mut buffer = [0; 2000];
        // The site's server checks an address by ping before it offers it; a Mac asks again and gathers.
        for _ in 0..20 {
            socket.send_to(&discover(1), ALL).unwrap();
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let reply = Packet::parse(&buffer[..length]).unwrap();
                assert_eq!(reply.message_type(), Some(MessageType::Offer));
                let yiaddr = &buffer[16..20];
                if is_bsdp(&reply, from) {
                    assert_eq!((from, yiaddr), ("10.77.0.1:67".parse().unwrap(), &[0; 4][..]));
                    assert_eq!(reply.file, Packet::parse(&ack).unwrap().file);
                    image = marked(&buffer[..length]);
                } else {
                    assert_eq!((from, &yiaddr[..3]), ("10.77.0.2:67".parse().unwrap(), &[10, 77, 0][..]));
                    address = Some(yiaddr.to_vec());
                }
            }
            if address.is_some() && image.is_some() {
                break;
            }
        }
        assert_eq!((image, address.is_some()), (Some([0x81, 0, 0, 1]), true));
        // Who took none is left to the site's server.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (reply, from) = exchange(&socket, ALL, &discover(2), |reply, _| reply.xid & 0xff == 2);
        assert_eq!(from, "10.77.0.2:67".parse().unwrap(), "{reply:?}");
    });
    let select = served.event();
    assert!(select.answered && select.stage == Stage::Select, "{select:?}");
    let discover = served.event();
    assert!(discover.answered && discover.detail.contains("bound to Rootstock"), "{discover:?}");
}

#[test]
fn what_a_mac_asks_its_dhcp_server_for_is_remembered_and_its_choice_elsewhere_ends_the_binding() {
    let (lab, mut served) = lab();
    lab.inside("mac", || {
        let socket = client(68);
        let ours = selection([10, 77, 0, 1]);
        exchange(&socket, ALL, &inform(1, [10, 77, 0, 50], &ours), is_bsdp);
        let request = packet(1, [0; 4], &[(53, &[3]), (50, &[10, 77, 0, 91]), (60, b"MSFT 5.0")]);
        socket.send_to(&request, ALL).unwrap();
        exchange(&socket, ALL, &inform(2, [10, 77, 0, 50], &ours), is_bsdp);
    });
    let address = |mac: u8| {
        let table = served.bindings.read();
        table.iter().find(|one| one.mac.as_bytes()[5] == mac).map(|one| one.address)
    };
    assert_eq!(address(1), Some(Ipv4Addr::new(10, 77, 0, 91)));
    lab.inside("mac", || {
        let socket = client(68);
        socket.send_to(&inform(1, [10, 77, 0, 50], &selection([10, 77, 0, 99])), ALL).unwrap();
        exchange(&socket, ALL, &inform(3, [10, 77, 0, 50], &selection([10, 77, 0, 1])), is_bsdp);
    });
    assert_eq!((address(1), address(3)), (None, Some(Ipv4Addr::new(10, 77, 0, 50))));
    let told = std::iter::repeat_with(|| served.event()).find(|event| !event.answered).unwrap();
    assert_eq!(told.detail, "unanswered: it is meant for the server 10.77.0.99");
}

#[test]
fn startup_disk_is_answered_on_every_port_that_it_names() {
    let (lab, _served) = lab();
    lab.inside("mac", || {
        for port in (0x300..=0x30f).chain([600, 1023]) {
            let socket = client(port);
            let vendor = [LIST, &[5, 2], &port.to_be_bytes(), &[12, 2, 0x20, 0]].concat();
            let ask = packet(
                port as u8,
                [10, 77, 0, 50],
                &[(53, &[8]), (57, &[5, 0xdc]), (60, IMAC), (43, &vendor)],
            );
            let (list, from) = exchange(&socket, ALL, &ask, is_bsdp);
            assert_eq!(from, "10.77.0.1:67".parse().unwrap());
            assert_eq!(list[4..8], ask[4..8], "port {port:#x}");
        }
    });
}

#[test]
fn on_two_wires_each_mac_selects_by_the_address_of_its_own_and_may_name_the_other() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "left", &["10.77.0.1/24"]);
    lab.plug("server", "eth1", "right", &["10.78.0.1/24", "10.78.0.9/24"]);
    lab.plug("one", "eth0", "left", &["10.77.0.50/24"]);
    lab.plug("two", "eth0", "right", &["10.78.0.50/24"]);
    let served = serve(&lab, "server", |_| {});
    for (machine, net) in [("one", 77), ("two", 78)] {
        lab.inside(machine, || {
            let socket = client(68);
            let (list, from) = exchange(&socket, ALL, &inform(net, [10, net, 0, 50], LIST), is_bsdp);
            let own = Ipv4Addr::new(10, net, 0, 1);
            assert_eq!(
                (from, Packet::parse(&list).unwrap().address(54)),
                (SocketAddr::from((own, 67)), Some(own))
            );
            let ask = inform(net, [10, net, 0, 50], &selection(own.octets()));
            let (ack, from) = exchange(&socket, ALL, &ask, is_bsdp);
            let ack = Packet::parse(&ack).unwrap();
            assert_eq!((from, ack.siaddr), (SocketAddr::from((own, 67)), own));
            // The second address of its wire, asked directly, and the address of the other wire: both are us.
            for named in [[10, 78, 0, 9], [10, 155 - net, 0, 1]] {
                let ask = inform(net, [10, net, 0, 50], &selection(named));
                let (ack, _) = exchange(&socket, ALL, &ask, is_bsdp);
                let ack = Packet::parse(&ack).unwrap();
                assert_eq!((ack.siaddr, ack.address(54)), (named.into(), Some(named.into())));
            }
            // A bound Mac's offer leaves by its own wire only, under the address of that wire.
            let (offer, from) = exchange(&socket, ALL, &discover(net), is_bsdp);
            assert_eq!((from, Packet::parse(&offer).unwrap().siaddr), (SocketAddr::from((own, 67)), own));
        });
    }
    assert_eq!(served.bindings.read().len(), 2);
}

#[test]
fn behind_nat_macs_are_told_the_configured_address_and_select_by_it() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let public = Ipv4Addr::new(192, 0, 2, 7);
    let _served = serve(&lab, "server", |settings| settings.advertise = Some(public));
    lab.inside("mac", || {
        let socket = client(68);
        let (list, _) = exchange(&socket, ALL, &inform(1, [10, 77, 0, 50], LIST), is_bsdp);
        assert_eq!(Packet::parse(&list).unwrap().address(54), Some(public));
        let ask = inform(1, [10, 77, 0, 50], &selection(public.octets()));
        let (ack, from) = exchange(&socket, ALL, &ask, is_bsdp);
        assert_eq!(
            from,
            "10.77.0.1:67".parse().unwrap(),
            "what the translator turns into the public address"
        );
        let ack = Packet::parse(&ack).unwrap();
        assert_eq!((ack.siaddr, ack.sname, ack.address(54)), (public, &b"192.0.2.7"[..], Some(public)));
        let (offer, _) = exchange(&socket, ALL, &discover(1), is_bsdp);
        assert_eq!(Packet::parse(&offer).unwrap().siaddr, public);
        // The address of the interface itself means us as well.
        let ask = inform(1, [10, 77, 0, 50], &selection([10, 77, 0, 1]));
        let (ack, _) = exchange(&socket, ALL, &ask, is_bsdp);
        assert_eq!(marked(&ack), Some([0x81, 0, 0, 1]));
    });
}

/// A relay as routers have it (RFC 1542 section 4): requests go on with giaddr, replies to giaddr are broadcast.
fn relay(space: &str, own: Ipv4Addr, server: Ipv4Addr, stop: &AtomicBool) {
    enter(space);
    let edge = {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 67)).into()).unwrap();
        UdpSocket::from(socket)
    };
    edge.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2000];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, _)) = edge.recv_from(&mut buffer) else { continue };
        if buffer[0] == 1 {
            buffer[3] += 1;
            buffer[24..28].copy_from_slice(&own.octets());
            edge.send_to(&buffer[..length], (server, 67)).unwrap();
        } else {
            assert_eq!(buffer[10] & 0x80, 0x80, "it would be sent to yiaddr, which is 0");
            let out = UdpSocket::from(socket2::SockRef::from(&edge).try_clone().unwrap());
            socket2::SockRef::from(&out).bind_device(Some(b"eth1")).unwrap();
            out.send_to(&buffer[..length], (Ipv4Addr::BROADCAST, 68)).unwrap();
            socket2::SockRef::from(&out).bind_device(None).unwrap();
        }
    }
}

#[test]
fn in_another_subnet_a_mac_lists_selects_and_is_bound_through_a_relay() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "core", &["10.77.0.1/24"]);
    lab.plug("router", "eth0", "core", &["10.77.0.3/24"]);
    lab.plug("router", "eth1", "edge", &["10.79.0.3/24"]);
    lab.plug("mac", "eth0", "edge", &["10.79.0.50/24"]);
    lab.must("server", "ip", &["route", "add", "10.79.0.0/24", "via", "10.77.0.3"]);
    lab.must("mac", "ip", &["route", "add", "default", "via", "10.79.0.3"]);
    lab.must("router", "sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    let mut served = serve(&lab, "server", |_| {});
    let (stop, space) = (AtomicBool::new(false), lab.space("router"));
    std::thread::scope(|scope| {
        scope.spawn(|| relay(&space, Ipv4Addr::new(10, 79, 0, 3), Ipv4Addr::new(10, 77, 0, 1), &stop));
        lab.inside("mac", || {
            let again = |socket: &UdpSocket, bytes: &[u8]| {
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                let mut buffer = [0; 2000];
                // The relay needs a moment to start; a Mac asks again.
                let got = (0..60).find_map(|_| {
                    socket.send_to(bytes, ALL).unwrap();
                    socket.recv_from(&mut buffer).ok()
                });
                let (length, from) = got.expect("no answer came through the relay");
                (buffer[..length].to_vec(), from)
            };
            let own = SocketAddr::from(([10, 77, 0, 1], 67));
            // The reply port survives: INFORM is answered to the client, not to the relay.
            let vendor = [LIST, &[5, 2, 3, 0x0a]].concat();
            let (list, from) = again(&client(0x30a), &inform(1, [10, 79, 0, 50], &vendor));
            assert_eq!((from, &list[24..28]), (own, &[10, 79, 0, 3][..]));
            let socket = client(68);
            let (ack, from) = again(&socket, &inform(1, [10, 79, 0, 50], &selection([10, 77, 0, 1])));
            assert_eq!((from, marked(&ack)), (own, Some([0x81, 0, 0, 1])));
            let (offer, from) = again(&socket, &discover(1));
            assert_eq!(from, SocketAddr::from(([10, 79, 0, 3], 67)), "by broadcast of the relay");
            assert_eq!(marked(&offer), Some([0x81, 0, 0, 1]));
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(served.event().stage, Stage::List);
}

#[test]
fn netboot_1_0_and_other_strangers_are_left_alone_and_the_reason_is_told_where_it_is_a_mac() {
    let (lab, mut served) = lab();
    lab.inside("mac", || {
        let socket = client(68);
        // Apple's BOOTP options 220 and 221 of the original iMac; BSDP option 10; a reply port that is not privileged.
        let bootp = packet(1, [0; 4], &[(220, &[0, 0, 0, 0]), (221, b"Apple MacNC")]);
        let old = inform(2, [10, 77, 0, 50], &[LIST, &[10, 0]].concat());
        let port = inform(3, [10, 77, 0, 50], &[LIST, &[5, 2, 4, 0]].concat());
        for bytes in [bootp, old, port, inform(4, [10, 77, 0, 50], VERSION)] {
            socket.send_to(&bytes, ALL).unwrap();
        }
        let (list, _) = exchange(&socket, ALL, &inform(5, [10, 77, 0, 50], LIST), |_, _| true);
        assert_eq!(list[7], 5, "the first answer is for the first that may have one");
    });
    let told: Vec<_> = (0..4).map(|_| served.event()).collect();
    assert_eq!(told.iter().map(|event| event.mac.as_bytes()[5]).collect::<Vec<_>>(), [2, 3, 4, 5]);
    for (event, reason) in
        told.iter().zip(["NetBoot 1.0 firmware", "reply port 1024", "without a BSDP message"])
    {
        assert!(!event.answered && event.detail.contains(reason), "{event:?}");
    }
}
