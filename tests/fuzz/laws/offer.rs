//! The one decision of ports 67 and 4011: whatever a client says, an answer obeys BSDP, PXE and the client's limits,
//! hands out no address, goes to one host, and is the same when the same is asked again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use rootstock::netboot::bsdp::{self, Binding, BindingTable, Change, ImageId, Write};
use rootstock::netboot::dhcp::{Destination, FileName, HEADER, MessageType, Packet, code};
use rootstock::netboot::nbi::BootSet;
use rootstock::netboot::offer::{Answer, Deployed, Door, Exchange, Policy, Site, Then, answer};
use rootstock::netboot::pxe::Loaders;
use rootstock::value::MacAddr;

use super::assert_fit_for_a_log;
use super::input::Input;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 8);
/// Options that only who hands out addresses may send (RFC 2132): mask, router, names, domain, lease times.
const LEASE: [u8; 8] = [1, 3, 6, 12, 15, 51, 58, 59];

/// Few sets that differ in everything that counts, then as many as a LIST has never room for.
static SETS: LazyLock<Vec<BootSet>> = LazyLock::new(|| {
    let mut sets = vec![
        set("a.nbi", "Größe", 1, 1, "BootFileOnly", ""),
        set("b.nbi", "b", 2, 0x1002, "BootFileOnly", "<key>IsDefault</key><true/>"),
        set("c.nbi", "c", 3, 3, "BootFileOnly", ""),
        set("d.nbi", "d", 1, 4, "BootFileOnly", &systems("Enabled", "iMac14,2")),
        set(
            "e.nbi",
            "e",
            1,
            5,
            "HTTP",
            &format!("<key>RootPath</key><string>{}.dmg</string>", "r".repeat(190)),
        ),
        set("f.nbi", "f", 1, 6, "BootFileOnly", "<key>LoadBalanceServer</key><string>10.0.1.9</string>"),
        set("g.nbi", "g", 1, 7, "BootFileOnly", "<key>IsEnabled</key><false/>"),
    ];
    sets.extend((100..400).map(|index| {
        set(&format!("{index}.nbi"), &format!("NetInstall {index}"), 1, index, "BootFileOnly", "")
    }));
    sets
});

fn systems(rule: &str, model: &str) -> String {
    format!("<key>{rule}SystemIdentifiers</key><array><string>{model}</string></array>")
}

fn set(folder: &str, name: &str, kind: u8, index: u16, transport: &str, more: &str) -> BootSet {
    let plist = format!(
        "<plist version=\"1.0\"><dict><key>Name</key><string>{name}</string><key>Index</key><integer>{index}</integer>
         <key>Kind</key><integer>{kind}</integer><key>IsInstall</key><true/><key>BootFile</key><string>booter</string>
         <key>Type</key><string>{transport}</string>
         <key>Architectures</key><array><string>i386</string><string>arm</string></array>{more}</dict></plist>"
    );
    BootSet::read(folder, plist.as_bytes()).expect("a set of the law's own")
}

static LOADERS: LazyLock<Loaders> = LazyLock::new(|| {
    let file = |name: &str| FileName::try_from(name.to_owned()).ok();
    Loaders {
        bios: file("ipxe/undionly.kpxe"),
        ia32: None,
        x64: file("ipxe/snponly.efi"),
        arm64: file(&"a".repeat(127)),
    }
});

pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (flags, choices) = (input.byte(), input.byte());
    let shown = usize::from(choices & 7) + if flags & 1 != 0 { 300 } else { 0 };
    let (bindings, policy) = (bindings(input.word() as u8), policy(choices >> 3));
    let site = Site {
        server: if flags & 2 != 0 && flags & 4 != 0 { Ipv4Addr::UNSPECIFIED } else { SERVER },
        own: &[SERVER, OTHER],
        host_name: "rootstock",
        http_port: if flags & 8 != 0 { 8080 } else { 80 },
        sets: &SETS[..shown],
        loaders: &LOADERS,
        bindings: &bindings,
        policy: &policy,
        deployed: match choices >> 6 {
            0 => Deployed::Nothing(Then::Ignore),
            1 => Deployed::Nothing(Then::Boot),
            _ => Deployed::Something,
        },
    };
    let door = if flags & 16 != 0 { Door::Proxy } else { Door::Dhcp };
    // A datagram comes from somewhere: never from a group.
    let from = Some(input.address()).filter(|ip| !ip.is_multicast() && !ip.is_broadcast());
    let from = SocketAddrV4::new(from.unwrap_or(Ipv4Addr::new(10, 0, 1, 93)), input.word());
    let datagram = datagram(flags, &mut input);
    let Ok(packet) = Packet::parse(&datagram) else { return };
    let told = answer(&packet, door, from, &site);
    let again = answer(&packet, door, from, &site);
    match (told, again) {
        (Ok(told), Ok(again)) => {
            assert_eq!(
                (&told.bytes, told.to, told.also),
                (&again.bytes, again.to, again.also),
                "asked again"
            );
            obeys(&told, &packet, from, &site);
        }
        (Err(silence), Err(again)) => {
            assert_eq!(silence, again, "asked again");
            assert!(
                !matches!(silence.change.as_deref(), Some(Change::Bind { .. })),
                "bound without an answer"
            );
            assert_fit_for_a_log(&silence.reason.to_string());
        }
        _ => panic!("answered once, and once not"),
    }
}

/// What the Macs of the corpus took before.
fn bindings(which: u8) -> BindingTable {
    let mut table = BindingTable::default();
    for (bit, (model, image)) in
        [("iMac14,2", 0x8100_0001), ("iMac14,2", 0x8100_0005), ("", 0x8100_0001), ("x", 9)]
            .into_iter()
            .enumerate()
    {
        if which >> bit & 1 == 1 {
            table.apply(Write::Put(Binding {
                mac: MacAddr::new([0x80, 0xe6, 0x50, 0x09, 0xed, 0xa2]),
                system: model.to_owned(),
                arch: "i386".to_owned(),
                image: ImageId::from(image),
                address: Ipv4Addr::new(10, 0, 1, 93),
                name: "NetBoot001".to_owned(),
                bound_ms: 0,
                seen_ms: 0,
            }));
        }
    }
    table
}

fn policy(bits: u8) -> Policy {
    Policy { answer_discover: bits & 1 == 0, also_options_66_67: bits & 2 != 0, ..Policy::default() }
}

/// A request whose header is the input's but for what says that it is one.
fn datagram(flags: u8, input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..34].copy_from_slice(&input.array::<34>());
    if flags & 32 == 0 {
        bytes[..3].copy_from_slice(&[1, 1, 6]);
    }
    if flags & 64 != 0 {
        let sname = input.counted();
        bytes[44..44 + sname.len().min(64)].copy_from_slice(&sname[..sname.len().min(64)]);
    }
    if flags & 128 != 0 {
        let file = input.counted();
        bytes[108..108 + file.len().min(128)].copy_from_slice(&file[..file.len().min(128)]);
    }
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    bytes.extend_from_slice(input.0);
    bytes
}

fn obeys(told: &Answer, packet: &Packet<'_>, from: SocketAddrV4, site: &Site<'_>) {
    assert_fit_for_a_log(&told.detail);
    let bytes = &told.bytes;
    let reply = Packet::parse(bytes).expect("an answer is a packet");
    assert!(!reply.is_request && packet.is_request, "one server answers another");
    assert_eq!((reply.xid, reply.htype, reply.hlen), (packet.xid, packet.htype, packet.hlen));
    assert_eq!((reply.chaddr, reply.giaddr), (packet.chaddr, packet.giaddr));
    assert_eq!(reply.flags & 0x7fff, packet.flags & 0x7fff);
    assert_eq!((bytes[3], &bytes[8..10]), (0, &[0, 0][..]), "hops, secs");
    assert_eq!(bytes[16..20], [0; 4], "yiaddr: no address is handed out");
    assert!(LEASE.iter().all(|code| reply.option(*code).is_none()), "options of a lease");
    assert!((bytes[107], bytes[235]) == (0, 0), "sname and file end in NUL");
    assert!(bytes.len() >= 300, "shorter than a BOOTP packet");
    assert!(reply.address(code::SERVER_ID).is_some_and(|id| site.own.contains(&id)));
    assert!(reply.instances(code::SERVER_ID).count() == 1 && reply.instances(53).count() == 1);
    goes_to_who_asked(told, packet, from);
    match (told.exchange, reply.option(code::CLASS_ID).as_deref()) {
        (Exchange::List, _) => list_rules(told, packet, &reply, site),
        (Exchange::Select, _) => select_rules(told, packet, &reply, site),
        (Exchange::Discover, Some(b"AAPLBSDPC")) => offer_rules(told, packet, &reply, site),
        (Exchange::Discover | Exchange::Pxe, _) => pxe_rules(told, packet, &reply),
    }
}

/// One host, and nobody who did not ask: relay, the client's address, or the wire that it came by.
fn goes_to_who_asked(told: &Answer, packet: &Packet<'_>, from: SocketAddrV4) {
    for to in [Some(told.to), told.also].into_iter().flatten() {
        let Destination::Unicast(to) = to else { continue };
        let ip = *to.ip();
        assert!(!ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(), "sent to {to}");
        assert!(to.port() != 0);
        let asked = [packet.giaddr, packet.ciaddr, *from.ip()];
        assert!(asked.contains(&ip) || packet.client_address() == Some(ip), "sent to {to}, who did not ask");
    }
    if let (Destination::Unicast(to), Some(Destination::Unicast(also))) = (told.to, told.also) {
        assert_eq!((also.ip(), also.port()), (to.ip(), from.port()));
    }
}

/// Largest payload: what the client allows (BSDP option 12, DHCP option 57) or may be expected to take.
fn allowed(packet: &Packet<'_>, bsdp_size: Option<u16>) -> usize {
    let size = bsdp_size.or(packet.number(code::MAX_MESSAGE_SIZE)).unwrap_or(0);
    usize::from(size.clamp(548, 8192)) - 28
}

/// The set of this id, which this Mac may have.
fn offered<'s>(site: &Site<'s>, request: &bsdp::Request, id: ImageId) -> &'s BootSet {
    let may = |set: &&BootSet| set.id == id && set.allows(&request.arch, &request.system, request.mac);
    site.sets.iter().find(may).expect("what is offered is there and allowed")
}

/// The options within one option 43.
type Options<'r> = Vec<(u8, &'r [u8])>;

/// What all ACKs have in common; gives the request and the options 43.
fn acknowledged<'r>(
    told: &Answer,
    packet: &Packet<'_>,
    reply: &Packet<'r>,
) -> (bsdp::Request, Vec<Options<'r>>) {
    let request = bsdp::Request::read(packet).expect("an answered request can be read");
    assert_eq!(reply.option(code::CLASS_ID).as_deref(), Some(&b"AAPLBSDPC"[..]));
    assert_eq!(reply.message_type(), Some(MessageType::Ack));
    let Destination::Unicast(to) = told.to else { panic!("an INFORM is answered by unicast") };
    assert_eq!(to.port(), request.reply_port.unwrap_or(68));
    let bodies: Vec<_> = reply.instances(code::VENDOR).map(tlv).collect();
    assert!(!bodies.is_empty(), "an answer has an option 43");
    (request, bodies)
}

fn list_rules(told: &Answer, packet: &Packet<'_>, reply: &Packet<'_>, site: &Site<'_>) {
    let (request, bodies) = acknowledged(told, packet, reply);
    let find = |id: ImageId| offered(site, &request, id);
    assert!(told.bytes.len() <= allowed(packet, request.max_size), "{} bytes", told.bytes.len());
    let first = &bodies[0];
    assert!(first.starts_with(&[(1, &[1])]) && first[1].0 == 4 && first[2].0 == 7);
    let default = id(first[2].1);
    assert!(find(default).passes(&request.filter));
    if let Some((_, bound)) = first.iter().find(|(code, _)| *code == 8) {
        let binding = site.bindings.of(request.mac, &request.system).expect("marked, so bound");
        assert_eq!((binding.image, first[3].0), (id(bound), 8));
        assert!(find(binding.image).passes(&request.filter));
    }
    let lists = bodies.iter().flatten().filter(|(code, _)| *code == 9);
    let listed = entries(&lists.flat_map(|(_, value)| value.iter().copied()).collect::<Vec<u8>>());
    assert_eq!(!listed.is_empty(), request.understands_lists);
    for (at, (id, name)) in listed.iter().enumerate() {
        assert!(find(*id).passes(&request.filter) && find(*id).name == *name);
        assert!(at > 0 || *id == default, "the default comes first");
        assert!(!listed[..at].iter().any(|(own, _)| own == id), "listed twice");
    }
    assert!(reply.file.is_empty() && told.started.is_none() && told.change.is_none());
}

fn select_rules(told: &Answer, packet: &Packet<'_>, reply: &Packet<'_>, site: &Site<'_>) {
    let (request, bodies) = acknowledged(told, packet, reply);
    assert!(told.bytes.len() <= allowed(packet, request.max_size).max(548), "{} bytes", told.bytes.len());
    assert_eq!(reply.address(code::SERVER_ID), request.server, "the server that was chosen answers");
    let Some(started) = told.started else {
        assert_eq!(bodies, [vec![(1, &[3][..])]], "FAILED");
        return assert!(reply.file.is_empty() && reply.siaddr.is_unspecified() && told.change.is_none());
    };
    assert!(bodies[0].starts_with(&[(1, &[2]), (8, &started.to_bytes())]));
    assert!(request.selected.is_none_or(|wanted| wanted == started));
    starts(reply, offered(site, &request, started), &request, request.server);
    let Some(change @ Change::Bind { mac, system, image, .. }) = &told.change else {
        panic!("not remembered")
    };
    assert_eq!((mac, system, *image), (&request.mac, &request.system, started));
    let mut table = site.bindings.clone();
    let write = table.plan(change, 1_000_000).expect("a choice after a quarter of an hour is news");
    table.apply(write);
    assert_eq!(table.plan(change, 1_000_000), None, "the same choice again is none");
    assert_eq!(table.of(*mac, system).map(|binding| binding.image), Some(started));
}

/// The OFFER to a bound Mac: an ACK of its choice without BSDP message type, and still no address.
fn offer_rules(told: &Answer, packet: &Packet<'_>, reply: &Packet<'_>, site: &Site<'_>) {
    let request = bsdp::Request::read(packet).expect("an answered request can be read");
    assert!(site.policy.answer_discover, "the policy says no");
    assert_eq!(reply.message_type(), Some(MessageType::Offer));
    assert_eq!((packet.message_type(), reply.ciaddr), (Some(MessageType::Discover), Ipv4Addr::UNSPECIFIED));
    let binding = site.bindings.of(request.mac, &request.system).expect("offered, so bound");
    let set = offered(site, &request, binding.image);
    assert!(set.passes(&request.filter));
    let bodies: Vec<_> = reply.instances(code::VENDOR).map(tlv).collect();
    assert!(bodies.len() == 1 && bodies[0].starts_with(&[(8, &binding.image.to_bytes())]));
    assert_eq!(told.started, Some(binding.image));
    starts(reply, set, &request, Some(SERVER));
}

/// Everything that starts a set.
fn starts(reply: &Packet<'_>, set: &BootSet, request: &bsdp::Request, server: Option<Ipv4Addr>) {
    let file = set.boot_file(&request.arch, &request.system).expect("a boot file").as_str();
    assert_eq!(reply.file, file.as_bytes());
    assert_eq!(Some(reply.siaddr), set.load_balance.or(server));
    assert!(reply.option(code::ROOT_PATH).is_none_or(|root| root.len() <= 255));
}

fn pxe_rules(told: &Answer, packet: &Packet<'_>, reply: &Packet<'_>) {
    let class = packet.option(code::CLASS_ID).expect("a boot client has a class");
    let ours = reply.option(code::CLASS_ID).expect("and so has the answer");
    assert!(matches!(&*ours, b"PXEClient" | b"HTTPClient") && class.starts_with(&ours));
    let kind = if told.exchange == Exchange::Pxe { MessageType::Ack } else { MessageType::Offer };
    assert_eq!(reply.message_type(), Some(kind));
    assert_eq!(reply.siaddr, SERVER);
    if *ours == *b"HTTPClient" {
        let url = reply.option(code::BOOT_FILE).expect("HTTP boot needs its URL");
        assert!(url.starts_with(b"http://10.0.1.7"));
    }
    // What a relay added goes back to it whole, and is the relay's to fit.
    let relay = reply.instances(code::RELAY_AGENT).map(|value| value.len() + 2).sum::<usize>();
    assert!(told.bytes.len() - relay <= allowed(packet, None).max(548), "{} bytes", told.bytes.len());
    assert!(relay == 0 || reply.option(code::RELAY_AGENT) == packet.option(code::RELAY_AGENT));
    assert!(told.started.is_none() && told.change.is_none());
}

fn id(bytes: &[u8]) -> ImageId {
    ImageId::from(u32::from_be_bytes(bytes.try_into().expect("an image id has four bytes")))
}

/// A body of option 43 as Apple's parser reads it: TLV to the last byte, without pad and End.
pub fn tlv(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut options = Vec::new();
    while let [code, length, rest @ ..] = body {
        assert!(!matches!(code, 0 | 255), "no padding inside option 43");
        let (value, rest) =
            rest.split_at_checked(usize::from(*length)).expect("an option inside its option 43");
        options.push((*code, value));
        body = rest;
    }
    assert!(body.is_empty(), "an option without length");
    options
}

/// The entries of all options 9 joined. macOS throws away a list with one malformed entry.
pub fn entries(mut list: &[u8]) -> Vec<(ImageId, String)> {
    let mut entries = Vec::new();
    while let [a, b, c, d, length, rest @ ..] = list {
        let (name, rest) = rest.split_at_checked(usize::from(*length)).expect("an entry inside its list");
        let name = String::from_utf8(name.to_vec()).expect("a name in UTF-8");
        entries.push((id(&[*a, *b, *c, *d]), name));
        list = rest;
    }
    assert!(list.is_empty(), "half an entry");
    entries
}
