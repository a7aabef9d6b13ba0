//! The DHCP server of an isolated lab: the real daemon in a namespace, asked by busybox, by two hundred scripted clients,
//! beside dnsmasq, and after kill -9.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use rootstock::netboot::dhcp::{MessageType, Packet, Request, code};

use crate::dhcp_site::{SERVER, client, exchange, has_address, lab, settings, site, udhcpc, wire};

#[test]
fn busybox_gets_an_address_and_keeps_it_through_kill_9() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let daemon = site.start();
    let first = udhcpc(&lab, "mac", &site, &["-x", "hostname:imac-1"]).expect("no address");
    assert_eq!(first[1..], ["10.77.0.1", "3600", "10.77.0.1", "lab.test"]);
    daemon.kill();
    let _daemon = site.start();
    let leased = site.leased();
    assert_eq!(leased.keys().collect::<Vec<_>>(), [&first[0]]);
    assert_eq!(site.rootstock(&["lease", "list"])[0]["host_name"], "imac-1");
    assert_eq!(udhcpc(&lab, "mac", &site, &[]).unwrap()[0], first[0]);
    // Another one is never given the same.
    lab.inside("mac", || {
        let wish: Ipv4Addr = first[0].parse().unwrap();
        let ask = client(MessageType::Discover, 1).option(code::REQUESTED_ADDRESS, wish.octets());
        let offers = exchange(&wire(), &BTreeMap::from([(1, ask)]), has_address);
        assert_ne!(offers[&1].yiaddr, wish);
    });
    let freed = site.rootstock(&["lease", "release", &first[0]]);
    assert_eq!((&freed["state"], site.leased().len()), (&"free".into(), 0));
}

#[test]
fn two_hundred_clients_at_once_go_through_all_states_and_never_share_an_address() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let daemon = site.start();
    let all = |make: &dyn Fn(u16) -> Request| (0..200).map(|n| (n, make(n))).collect::<BTreeMap<u16, _>>();
    let addresses: BTreeMap<u16, Ipv4Addr> = lab.inside("mac", || {
        let socket = wire();
        let offers = exchange(&socket, &all(&|n| client(MessageType::Discover, n)), has_address);
        let select = |n: u16| {
            client(MessageType::Request, n)
                .option(code::SERVER_ID, SERVER.octets())
                .option(code::REQUESTED_ADDRESS, offers[&n].yiaddr.octets())
        };
        let acks = exchange(&socket, &all(&select), |packet| packet.message_type() == Some(MessageType::Ack));
        acks.iter().map(|(n, ack)| (*n, ack.yiaddr)).collect()
    });
    assert_eq!(addresses.values().collect::<BTreeSet<_>>().len(), 200, "each has its own");
    assert_eq!(site.leased().len(), 200);
    daemon.kill();
    let _daemon = site.start();
    assert_eq!(site.leased().len(), 200, "every ACK was on the disk");
    lab.inside("mac", || {
        let socket = wire();
        // INIT-REBOOT: each asks for its neighbour's address first, and is refused.
        let wrong = |n: u16| {
            let neighbours = addresses[&((n + 1) % 200)];
            client(MessageType::Request, n).option(code::REQUESTED_ADDRESS, neighbours.octets())
        };
        let naks = exchange(&socket, &all(&wrong), has_address);
        assert!(naks.values().all(|reply| reply.kind == MessageType::Nak));
        let right =
            |n: u16| client(MessageType::Request, n).option(code::REQUESTED_ADDRESS, addresses[&n].octets());
        let acks = exchange(&socket, &all(&right), |packet| packet.message_type() == Some(MessageType::Ack));
        assert!(acks.iter().all(|(n, ack)| ack.yiaddr == addresses[n]));
        // Half give theirs back, the others' are not touched.
        for n in 0..100 {
            let release = client(MessageType::Release, n).ciaddr(addresses[&n]);
            socket.send_to(&release.encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
        }
        // Decided in order: who is answered now was decided after all releases.
        let last = BTreeMap::from([(150, right(150))]);
        exchange(&socket, &last, |packet| packet.message_type() == Some(MessageType::Ack));
    });
    assert_eq!(site.leased().len(), 100);
}

#[test]
fn an_address_that_someone_uses_without_a_lease_is_found_and_set_aside() {
    let mut lab = lab();
    lab.plug("squatter", "eth0", "lan", &["10.77.0.20/24"]);
    let site = site(&lab, "server", &settings("").replace("10.77.0.20-10.77.0.249", "10.77.0.20-10.77.0.21"));
    let daemon = site.start();
    let addresses: BTreeSet<_> = lab.inside("mac", || {
        let socket = wire();
        (0..6u16)
            .map(|n| {
                let offers =
                    exchange(&socket, &BTreeMap::from([(n, client(MessageType::Discover, n))]), has_address);
                let other = Ipv4Addr::new(10, 77, 0, 9);
                let gone = client(MessageType::Request, n).option(code::SERVER_ID, other.octets());
                socket.send_to(&gone.encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
                offers[&n].yiaddr.to_string()
            })
            .collect()
    });
    assert_eq!(addresses, BTreeSet::from(["10.77.0.21".to_owned()]));
    assert!(daemon.says("10.77.0.20 is used by").contains("set aside"));
    let list = site.rootstock(&["lease", "list"]);
    let aside = list.as_array().unwrap().iter().find(|lease| lease["address"] == "10.77.0.20").unwrap();
    assert_eq!(aside["state"], "set-aside");
    daemon.says("another DHCP server, 10.77.0.9");
}

#[test]
fn beside_another_dhcp_server_it_refuses_to_start_and_names_it_unless_forced() {
    let mut lab = lab();
    lab.plug("other", "eth0", "lan", &["10.77.0.2/24"]);
    let range = "--dhcp-range=10.77.0.100,10.77.0.150,1h";
    let _dnsmasq = lab.dnsmasq("other", &["--dhcp-authoritative", "--no-ping", range]);
    let site = site(&lab, "server", &settings("").replace("force = true\n", ""));
    // dnsmasq is there once it answers.
    udhcpc(&lab, "mac", &site, &[]).expect("dnsmasq gave no address");
    let said = site.refusal(&[]);
    assert!(said.contains("another DHCP server answers on `eth0`: 10.77.0.2"), "{said}");
    assert!(said.contains("dhcp.force = true"), "{said}");
    site.write(&settings(""));
    drop(site.start());
    site.write("");
    let daemon = site.start();
    assert_eq!(udhcpc(&lab, "mac", &site, &[]).unwrap()[1], "10.77.0.2", "off: the site's server leases");
    drop(daemon);
}

#[test]
fn on_a_wire_of_its_own_it_starts_after_asking_and_a_full_pool_is_named() {
    let lab = lab();
    let site = site(
        &lab,
        "server",
        &settings("").replace("force = true\n", "").replace("10.77.0.20-10.77.0.249", "10.77.0.20"),
    );
    let daemon = site.start();
    let first = udhcpc(&lab, "mac", &site, &[]).expect("no address");
    assert_eq!(first[0], "10.77.0.20");
    lab.inside("mac", || {
        let socket = wire();
        socket.send_to(&client(MessageType::Discover, 1).encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
    });
    let said = daemon.says("no address of 10.77.0.0/24 is free");
    assert!(said.contains("enlarge `pools`"), "{said}");
}

#[test]
fn wrong_settings_are_refused_by_name_before_anything_is_served() {
    let lab = lab();
    for (from, to, want) in [
        ("interface = 'eth0'", "interface = 'eth7'", "there is no network interface `eth7`"),
        ("pools = ['10.77.0.20-", "pools = ['10.77.0.200-10.77.0.210', '10.77.0.20-", "overlap"),
        ("10.77.0.20-", "10.77.0.1-", "lies in the pool"),
        ("10.77.0.0/24", "10.77.0.0/28", "reaches outside its subnet 10.77.0.0/28"),
        ("10.77.", "10.78.", "`eth0` has no address in the subnet 10.78.0.0/24"),
        ("routers = ['10.77.0.1']\ndns = ['10.77.0.1']", "dns = []", ""),
    ] {
        let mut text = settings("").replace(from, to);
        let mut want = want;
        if want.is_empty() {
            text = text.replace("10.77.0.20-", "10.77.0.1-");
            want = "10.77.0.1, which is this machine's own on `eth0`, would be handed out";
        }
        let site = site(&lab, "server", &text);
        for more in [&["--check"][..], &[]] {
            let said = site.refusal(more);
            assert!(said.contains(want), "{to} {more:?}: {said}");
        }
        assert!(!site.folder.path().join("socket").exists());
    }
}

#[test]
fn a_relay_two_networks_away_gets_addresses_of_its_network_and_its_option_back() {
    let mut lab = lab();
    let far = "[[dhcp.subnet]]\nnetwork = '10.88.0.0/24'\npools = ['10.88.0.100-10.88.0.110']\nrouters = ['10.88.0.1']\n";
    let site = site(&lab, "server", &format!("{}{far}", settings("")));
    // The router between both networks; its side of the far one is only an address here.
    lab.plug("relay", "eth0", "lan", &["10.77.0.3/24"]);
    lab.give("relay", "lo", "10.88.0.1/32");
    lab.must("server", "ip", &["route", "add", "10.88.0.0/24", "via", "10.77.0.3"]);
    let _daemon = site.start();
    lab.inside("relay", || {
        let relay = UdpSocket::bind("0.0.0.0:67").unwrap();
        relay.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let giaddr = Ipv4Addr::new(10, 88, 0, 1);
        let circuit = [1, 4, b'p', b'o', b'r', b't'];
        let ask = client(MessageType::Discover, 5).giaddr(giaddr).option(code::RELAY_AGENT, circuit);
        let mut buffer = [0; 2000];
        let length = (0..10)
            .find_map(|_| {
                relay.send_to(&ask.encode(), (SERVER, 67)).unwrap();
                relay.recv_from(&mut buffer).ok()
            })
            .expect("no offer came")
            .0;
        let packet = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!(packet.yiaddr.octets()[..3], [10, 88, 0]);
        assert_eq!((packet.giaddr, packet.address(3)), (giaddr, Some(giaddr)));
        assert_eq!(packet.option(code::RELAY_AGENT).unwrap().as_ref(), circuit);
    });
}

#[test]
fn boot_clients_are_told_address_and_loader_an_old_mac_in_one_packet() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let _daemon = site.start();
    lab.inside("mac", || {
        let socket = wire();
        let mac = client(MessageType::Discover, 1)
            .class("AAPLBSDPC/i386/MacBook5,1")
            .vendor(&[2, 2, 1, 1])
            .wants(&[60, 43, 17, 1, 3]);
        let offer = exchange(&socket, &BTreeMap::from([(1, mac.clone())]), has_address).remove(&1).unwrap();
        let packet = Packet::parse(&offer.bytes).unwrap();
        assert_eq!((packet.file, packet.siaddr), (&b"rootstock.nbi/i386/booter"[..], SERVER));
        assert_eq!(packet.option(60).unwrap().as_ref(), b"AAPLBSDPC");
        assert_eq!(packet.option(43).unwrap().as_ref(), [8, 4, 0x81, 0, 0, 1]);
        let request = client(MessageType::Request, 1)
            .class("AAPLBSDPC/i386/MacBook5,1")
            .vendor(&[2, 2, 1, 1])
            .option(code::SERVER_ID, SERVER.octets())
            .option(code::REQUESTED_ADDRESS, offer.yiaddr.octets());
        let ack = exchange(&socket, &BTreeMap::from([(1, request)]), has_address).remove(&1).unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.server), (MessageType::Ack, offer.yiaddr, Some(SERVER)));
        assert_eq!(Packet::parse(&ack.bytes).unwrap().file, b"rootstock.nbi/i386/booter");

        // UEFI PXE: an address without a class, and beside it the proxy offer; UEFI HTTP: the URL in the same way.
        for (number, class, word) in
            [(2, "PXEClient:Arch:00007:UNDI:003000", 7), (3, "HTTPClient:Arch:00016:UNDI:003000", 16)]
        {
            let ask = client(MessageType::Discover, number).class(class).architectures(&[word]).uuid([7; 16]);
            let ask = BTreeMap::from([(number, ask)]);
            let address = exchange(&socket, &ask, has_address).remove(&number).unwrap();
            assert!(Packet::parse(&address.bytes).unwrap().option(60).is_none());
            let boot = exchange(&socket, &ask, |packet| packet.option(60).is_some()).remove(&number).unwrap();
            let packet = Packet::parse(&boot.bytes).unwrap();
            assert!(packet.yiaddr.is_unspecified(), "two packets, each with its own matter");
            if word == 16 {
                assert_eq!(packet.option(67).unwrap().as_ref(), b"http://10.77.0.1/boot/ipxe/snponly.efi");
            }
        }
    });
}
