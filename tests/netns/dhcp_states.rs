//! The states of a client after it has its address (RFC 2131 sections 4.3 and 4.4), each on the wire as a real client sends
//! it: renewing by unicast, rebinding by broadcast, declining, giving back, asking for options alone; and a relay's network.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use rootstock::netboot::dhcp::{MessageType, Packet, Request, code};
use serde_json::Value;

use crate::dhcp_site::{SERVER, Site, client, exchange, has_address, lab, mac, settings, site, wire};
use crate::lab::Lab;

const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;

/// INIT to BOUND.
fn bind(lab: &Lab, number: u16) -> Ipv4Addr {
    lab.inside("mac", || {
        let socket = wire();
        let one = |request: Request| {
            exchange(&socket, &BTreeMap::from([(number, request)]), has_address).remove(&number).unwrap()
        };
        let offered = one(client(MessageType::Discover, number)).yiaddr;
        let ack = one(client(MessageType::Request, number)
            .option(code::SERVER_ID, SERVER.octets())
            .option(code::REQUESTED_ADDRESS, offered.octets()));
        assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, offered));
        offered
    })
}

/// What a client is offered; none when nobody answers it.
fn offered(lab: &Lab, number: u16, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let mut request = client(MessageType::Discover, number);
    if let Some(wish) = wish {
        request = request.option(code::REQUESTED_ADDRESS, wish.octets());
    }
    lab.inside("mac", || {
        let socket = wire();
        (0..3).find_map(|_| {
            socket.send_to(&request.encode(), (ALL, 67)).unwrap();
            heard(&socket, number).map(|bytes| Packet::parse(&bytes).unwrap().yiaddr)
        })
    })
}

/// The next answer to a client.
fn heard(socket: &UdpSocket, number: u16) -> Option<Vec<u8>> {
    let mut buffer = [0; 2000];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        let packet = Packet::parse(&buffer[..length]).unwrap();
        if !packet.is_request && packet.xid & 0xffff == u32::from(number) {
            return Some(buffer[..length].to_vec());
        }
    }
    None
}

/// Sends from the client's own address, through a socket that hears no broadcasts; the answer.
fn from_its_address(
    lab: &Lab,
    own: Ipv4Addr,
    to: Ipv4Addr,
    number: u16,
    request: &Request,
) -> Option<Vec<u8>> {
    lab.inside("mac", || {
        let socket = UdpSocket::bind((own, 68)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        (0..5).find_map(|_| {
            socket.send_to(&request.encode(), SocketAddrV4::new(to, 67)).unwrap();
            heard(&socket, number)
        })
    })
}

/// As a client that keeps its address asks: no option 50, no option 54, no broadcast flag.
fn keeping(number: u16, address: Ipv4Addr) -> Request {
    Request::new(MessageType::Request, mac(number), 0x7700_0000 | u32::from(number)).ciaddr(address)
}

fn lease(site: &Site, address: Ipv4Addr) -> Value {
    let list = site.rootstock(&["lease", "list"]);
    let found = list.as_array().unwrap().iter().find(|lease| lease["address"] == address.to_string());
    found.unwrap_or_else(|| panic!("no lease of {address}: {list}")).clone()
}

/// A server whose pool has the addresses from .20 to `last`.
fn small(lab: &Lab, last: u8) -> Site {
    let pool = format!("10.77.0.20-10.77.0.{last}");
    site(lab, "server", &settings("").replace("10.77.0.20-10.77.0.249", &pool))
}

#[test]
fn renewing_by_unicast_and_rebinding_by_broadcast_prolong_the_lease_and_answer_the_client_alone() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let daemon = site.start();
    let address = bind(&lab, 1);
    lab.give("mac", "eth0", &format!("{address}/24"));
    let mut before = lease(&site, address);
    let mut asks = |to: Ipv4Addr| {
        let ack = from_its_address(&lab, address, to, 1, &keeping(1, address)).expect("no answer");
        let ack = Packet::parse(&ack).unwrap();
        assert_eq!((ack.message_type(), ack.yiaddr, ack.ciaddr), (Some(MessageType::Ack), address, address));
        assert_eq!(ack.address(code::SERVER_ID), Some(SERVER));
        for (code, seconds) in
            [(code::LEASE_TIME, 3600_u32), (code::RENEWAL_TIME, 1800), (code::REBINDING_TIME, 3150)]
        {
            assert_eq!(ack.option(code).unwrap().as_ref(), seconds.to_be_bytes());
        }
        let after = lease(&site, address);
        assert!(
            after["until_ms"].as_i64() > before["until_ms"].as_i64(),
            "{after} is no longer than {before}"
        );
        assert_eq!((&after["state"], &after["since_ms"]), (&"bound".into(), &before["since_ms"]));
        before = after;
    };
    asks(SERVER);
    asks(ALL);
    // Rebinding is also how a client comes back to a server that was away.
    daemon.kill();
    let _daemon = site.start();
    asks(ALL);
    // Another one, with the same address set by hand, is told that it is wrong: by broadcast, for it must let go of it.
    let nak = lab.inside("mac", || {
        let socket = wire();
        (0..5).find_map(|_| {
            socket.send_to(&keeping(2, address).encode(), (SERVER, 67)).unwrap();
            heard(&socket, 2)
        })
    });
    assert_eq!(Packet::parse(&nak.expect("no answer")).unwrap().message_type(), Some(MessageType::Nak));
    assert_eq!(lease(&site, address)["mac"], mac(1).to_string());
}

#[test]
fn a_declined_address_is_set_aside_for_everyone_until_an_admin_frees_it() {
    let lab = lab();
    let site = small(&lab, 21);
    let daemon = site.start();
    let address = bind(&lab, 1);
    let decline = |number: u16, server: Ipv4Addr| {
        let socket = wire();
        let decline = client(MessageType::Decline, number)
            .option(code::SERVER_ID, server.octets())
            .option(code::REQUESTED_ADDRESS, address.octets());
        socket.send_to(&decline.encode(), (ALL, 67)).unwrap();
    };
    // Whom it does not belong to cannot take it out of use.
    lab.inside("mac", || decline(2, SERVER));
    daemon.says(&format!("it gives up {address}, which it does not hold"));
    assert_eq!(lease(&site, address)["state"], "bound");
    lab.inside("mac", || decline(1, SERVER));
    daemon.says(&format!("DECLINE: another machine uses {address}"));
    assert_eq!(lease(&site, address)["state"], "set-aside");
    // The one that is left goes to whoever asks; then there is none, also for who wishes for the declined one.
    let other = bind(&lab, 1);
    assert_ne!(other, address);
    assert_eq!(offered(&lab, 3, Some(address)), None);
    daemon.says("no address of 10.77.0.0/24 is free");
    // Set aside it stays, for a restart does not mend the other machine.
    daemon.kill();
    let _daemon = site.start();
    assert_eq!(offered(&lab, 3, None), None);
    site.rootstock(&["lease", "release", &address.to_string()]);
    let told = site.rootstock(&["audit", "list", "--action", "lease.release"]);
    assert!(told[0]["object"].as_str().unwrap().contains(&address.to_string()), "{told}");
    assert_eq!(offered(&lab, 3, None), Some(address));
}

#[test]
fn an_address_that_was_given_back_goes_to_the_next_one_who_asks() {
    let lab = lab();
    let site = small(&lab, 20);
    let daemon = site.start();
    let address = bind(&lab, 1);
    assert_eq!(offered(&lab, 2, None), None, "it is held");
    let release = |number: u16| {
        let release = client(MessageType::Release, number).ciaddr(address);
        lab.give("mac", "eth0", &format!("{address}/24"));
        let release = release.option(code::SERVER_ID, SERVER.octets());
        lab.inside("mac", || {
            UdpSocket::bind((address, 68)).unwrap().send_to(&release.encode(), (SERVER, 67)).unwrap()
        });
        // A client that gave it back does not have it any more: nobody answers the probe.
        lab.must("mac", "ip", &["address", "flush", "dev", "eth0"]);
    };
    release(2);
    daemon.says(&format!("it gives up {address}, which it does not hold"));
    assert_eq!(lease(&site, address)["state"], "bound", "only its holder gives it back");
    release(1);
    daemon.says(&format!("RELEASE: gave back {address}"));
    assert_eq!(lease(&site, address)["state"], "free");
    assert_eq!(bind(&lab, 2), address);
    assert_eq!(lease(&site, address)["mac"], mac(2).to_string());
    assert_eq!(offered(&lab, 1, None), None, "it is the other's now");
}

#[test]
fn a_machine_with_an_address_of_its_own_is_told_options_and_holds_no_lease() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let _daemon = site.start();
    let own = Ipv4Addr::new(10, 77, 0, 9);
    lab.give("mac", "eth0", "10.77.0.9/24");
    let ask = Request::new(MessageType::Inform, mac(1), 0x7700_0001).ciaddr(own).wants(&[1, 3, 6, 15]);
    for to in [ALL, SERVER] {
        let ack = from_its_address(&lab, own, to, 1, &ask).expect("no answer");
        let ack = Packet::parse(&ack).unwrap();
        assert_eq!((ack.message_type(), ack.ciaddr), (Some(MessageType::Ack), own));
        assert!(ack.yiaddr.is_unspecified());
        assert_eq!((ack.address(code::ROUTER), ack.address(code::DNS_SERVER)), (Some(SERVER), Some(SERVER)));
        assert_eq!(ack.option(code::DOMAIN_NAME).unwrap().as_ref(), b"lab.test");
        for times in [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME] {
            assert!(ack.option(times).is_none(), "RFC 2131 section 4.3.5: no lease time");
        }
    }
    assert_eq!(site.rootstock(&["lease", "list"]), Value::Array(Vec::new()));
}

#[test]
fn behind_a_relay_an_address_that_answers_an_echo_is_set_aside_and_another_offered() {
    let mut lab = lab();
    let far = "[[dhcp.subnet]]\nnetwork = '10.88.0.0/24'\npools = ['10.88.0.100-10.88.0.103']\n";
    let site = site(&lab, "server", &format!("{}{far}", settings("")));
    // The router between both networks; the machine that uses an address without a lease is only an address of it.
    lab.plug("relay", "eth0", "lan", &["10.77.0.3/24"]);
    lab.give("relay", "lo", "10.88.0.1/32");
    lab.give("relay", "lo", "10.88.0.100/32");
    lab.must("server", "ip", &["route", "add", "10.88.0.0/24", "via", "10.77.0.3"]);
    let daemon = site.start();
    let taken = Ipv4Addr::new(10, 88, 0, 100);
    let offers: Vec<Ipv4Addr> = lab.inside("relay", || {
        let relay = UdpSocket::bind("0.0.0.0:67").unwrap();
        relay.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let ask = |number: u16| {
            let giaddr = Ipv4Addr::new(10, 88, 0, 1);
            let ask = client(MessageType::Discover, number).giaddr(giaddr);
            let ask = ask.option(code::REQUESTED_ADDRESS, taken.octets());
            let offer = (0..5).find_map(|_| {
                relay.send_to(&ask.encode(), (SERVER, 67)).unwrap();
                heard(&relay, number)
            });
            Packet::parse(&offer.expect("no offer came")).unwrap().yiaddr
        };
        [5, 6].map(ask).into()
    });
    assert!(offers[0] != offers[1] && !offers.contains(&taken), "{offers:?}");
    assert!(offers.iter().all(|address| address.octets()[..3] == [10, 88, 0]), "{offers:?}");
    assert!(daemon.says("10.88.0.100 is used by").contains("set aside"));
    assert_eq!(lease(&site, taken)["state"], "set-aside");
}
