//! DHCP packets: read within their bounds whatever they claim, and replies that are read back as they were meant.

use std::net::Ipv4Addr;

use rootstock::netboot::dhcp::{Destination, FileName, HEADER, MessageType, Packet, Reply, code};

use super::assert_fit_for_a_log;

pub fn check(bytes: &[u8]) {
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(reason) => return assert_fit_for_a_log(&reason.to_string()),
    };
    let instances = instances(&packet);
    reads_stay_inside(bytes, &packet, &instances);
    reply_is_read_back(&packet, instances);
}

/// Every instance of every option, by code.
fn instances<'a>(packet: &Packet<'a>) -> Vec<Vec<&'a [u8]>> {
    (0..=255).map(|code| packet.instances(code).collect()).collect()
}

fn reads_stay_inside(bytes: &[u8], packet: &Packet<'_>, instances: &[Vec<&[u8]>]) {
    let options: usize = instances.iter().flatten().map(|value| value.len() + 2).sum();
    assert!(options <= bytes.len() - HEADER + 64 + 128, "more options than bytes");
    assert!(packet.sname.len() <= 64 && !packet.sname.contains(&0), "sname ends at its NUL");
    assert!(packet.file.len() <= 128 && !packet.file.contains(&0), "file ends at its NUL");
    assert!(packet.hlen <= 16);
    if let Some(mac) = packet.mac() {
        assert_eq!((packet.htype, packet.hlen, &packet.chaddr[..6]), (1, 6, &mac.as_bytes()[..]));
    }
    if let Some(address) = packet.client_address() {
        assert!(!address.is_unspecified() && !address.is_broadcast() && !address.is_multicast());
    }
    for (code, values) in (0..=255).zip(instances).filter(|(_, values)| !values.is_empty()) {
        assert_eq!(packet.option(code).as_deref(), Some(&values.concat()[..]), "option {code}");
    }
    if let Destination::Unicast(to) = Destination::for_discovery(packet) {
        assert!(
            !to.ip().is_broadcast() && !to.ip().is_multicast(),
            "one request, a whole network is answered"
        );
        assert!(matches!(to.port(), 67 | 68));
    }
}

/// A reply with every option of the request comes out as one packet that says the same.
fn reply_is_read_back(packet: &Packet<'_>, mut options: Vec<Vec<&[u8]>>) {
    let server = Ipv4Addr::new(10, 0, 0, 1);
    // What a reply writes itself, or what is no option.
    for code in [code::PAD, code::END, code::OVERLOAD, code::MESSAGE_TYPE, code::SERVER_ID] {
        options[usize::from(code)].clear();
    }
    let mut reply = Reply::to(packet, MessageType::Ack, server).ciaddr(packet.ciaddr).next_server(server);
    let file = String::from_utf8_lossy(packet.file).into_owned();
    let file = FileName::try_from(file).ok();
    if let Some(file) = &file {
        reply = reply.file(file);
    }
    for (code, values) in (0..=255).zip(&options) {
        reply = values.iter().fold(reply, |reply, value| reply.option(code, *value));
    }
    let bytes = reply.encode();
    assert_eq!(bytes.len(), (HEADER + reply.options_length() + 1).max(300));
    let back = Packet::parse(&bytes).expect("a reply is a packet");
    assert!(!back.is_request);
    assert_eq!((back.xid, back.flags, back.giaddr), (packet.xid, packet.flags, packet.giaddr));
    assert_eq!((back.htype, back.hlen, back.chaddr), (packet.htype, packet.hlen, packet.chaddr));
    assert_eq!((back.ciaddr, back.siaddr, back.sname), (packet.ciaddr, server, &b"10.0.0.1"[..]));
    assert_eq!(bytes[16..20], [0; 4], "yiaddr");
    assert_eq!(back.file, file.as_ref().map_or(&b""[..], |file| file.as_str().as_bytes()));
    assert_eq!(back.address(code::SERVER_ID), Some(server));
    assert_eq!(back.message_type(), Some(MessageType::Ack));
    let mut written = instances(&back);
    for code in [code::MESSAGE_TYPE, code::SERVER_ID] {
        assert_eq!(std::mem::take(&mut written[usize::from(code)]).len(), 1);
    }
    assert_eq!(written, options);
}
