//! What each kind of client is told, from the same bytes to the same bytes.

use proptest::prelude::*;

use super::*;
use crate::netboot::bsdp::{Binding, Write};
use crate::netboot::fixture;
use crate::netboot::nbi::RootPath;
use crate::netboot::pxe::Architecture;

pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
pub(super) const MAC: &str = "80:e6:50:09:ed:a2";
pub(super) const IMAC: &[u8] = b"AAPLBSDPC/i386/iMac14,2";
pub(super) const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];

pub(super) fn set(folder: &str, name: &str, kind: u8, index: u16, more: &str) -> BootSet {
    let plist = format!(
        "<plist version=\"1.0\"><dict><key>Name</key><string>{name}</string><key>Index</key><integer>{index}</integer>
         <key>Kind</key><integer>{kind}</integer><key>IsInstall</key><true/><key>BootFile</key><string>booter</string>
         <key>Type</key><string>BootFileOnly</string>
         <key>Architectures</key><array><string>i386</string></array>{more}</dict></plist>"
    );
    BootSet::read(folder, plist.as_bytes()).unwrap()
}

fn loaders() -> Loaders {
    let file = |name: &str| Some(FileName::try_from(name.to_owned()).unwrap());
    Loaders { bios: file("ipxe/undionly.kpxe"), x64: file("ipxe/snponly.efi"), ..Loaders::default() }
}

pub(super) fn ask_at(
    bytes: &[u8],
    door: Door,
    from: &str,
    sets: &[BootSet],
    remembered: usize,
) -> Result<Answer, Unanswered> {
    let mut bindings = BindingTable::default();
    for n in 0..remembered {
        let other = MacAddr::new([2, 0, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        bindings.apply(Write::Put(bound(other, "other", 1)));
    }
    ask_of(bytes, door, from, sets, &bindings, &Policy::default())
}

/// A Mac that took an image.
pub(super) fn bound(mac: MacAddr, system: &str, image: u32) -> Binding {
    Binding {
        mac,
        system: system.into(),
        arch: "i386".into(),
        image: ImageId::from(image),
        address: Ipv4Addr::new(10, 0, 1, 93),
        name: "NetBoot-09eda2".into(),
        bound_ms: 0,
        seen_ms: 0,
    }
}

pub(super) fn ask_of(
    bytes: &[u8],
    door: Door,
    from: &str,
    sets: &[BootSet],
    bindings: &BindingTable,
    policy: &Policy,
) -> Result<Answer, Unanswered> {
    let site = Site {
        server: SERVER,
        own: &[SERVER, Ipv4Addr::LOCALHOST],
        host_name: "rootstock",
        http_port: 80,
        sets,
        loaders: &loaders(),
        bindings,
        policy,
    };
    answer(&Packet::parse(bytes).unwrap(), door, from.parse().unwrap(), &site)
}

pub(super) fn ask(bytes: &[u8], sets: &[BootSet]) -> Result<Answer, Unanswered> {
    ask_at(bytes, Door::Dhcp, "10.0.1.93:68", sets, 0)
}

pub(super) fn reason(result: Result<Answer, Unanswered>) -> Silence {
    result.unwrap_err().reason
}

pub(super) fn selection(server: Ipv4Addr, image: u32) -> Vec<u8> {
    let body = [&[1, 1, 2, 2, 2, 1, 1, 3, 4][..], &server.octets(), &[8, 4], &image.to_be_bytes()].concat();
    fixture::request(8, IMAC, &[&body])
}

#[test]
fn a_list_is_byte_for_byte_what_a_real_server_sent_from_the_same_facts() {
    let want = fixture::hex(include_str!("../../../tests/fixtures/bsdp/full-ack-list-osx1011-server.hex"));
    let sets = [
        set("a.nbi", "NetInstall of Install OS X El Capitan 10.11.3 - 15D21", 1, 864, ""),
        set("b.nbi", "DSR-1095", 2, 1095, "<key>IsDefault</key><true/>"),
    ];
    // The capture's ids: the default 0x82000447 is a server install image, the other 0x81000360.
    let told = ask_at(&fixture::request(8, IMAC, &[LIST]), Door::Dhcp, "10.0.1.93:68", &sets, 2).unwrap();
    assert_eq!(told.bytes, want);
    assert_eq!(told.to, Destination::Unicast("10.0.1.93:68".parse().unwrap()));
    assert_eq!(told.also, None);
}

#[test]
fn a_selection_is_told_server_boot_file_and_image() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let told = ask(&selection(SERVER, 0x8100_0001), &sets).unwrap();
    let reply = Packet::parse(&told.bytes).unwrap();
    assert_eq!((reply.siaddr, reply.sname), (SERVER, &b"10.0.1.7"[..]));
    assert_eq!(reply.file, b"rootstock.nbi/i386/booter");
    assert_eq!(told.bytes[16..20], [0; 4], "no address is given");
    let options = b"\x35\x01\x05\x36\x04\x0a\x00\x01\x07\x3c\x09AAPLBSDPC\x2b\x19\x01\x01\x02\x08\x04\x81\0\0\x01\x82\x0eNetBoot-09eda2\xff";
    assert_eq!(told.bytes[240..][..options.len()], options[..]);
    assert_eq!(told.bytes.len(), 300);
    assert_eq!(told.started, Some(ImageId::from(0x8100_0001)));
}

#[test]
fn the_root_path_stands_before_the_vendor_option() {
    let http = "<key>RootPath</key><string>Net Install.dmg</string>";
    let mut sets = [set("El Cap.nbi", "El Cap", 1, 1, http)];
    sets[0].root = Some(RootPath::Ours("El%20Cap.nbi/Net%20Install.dmg".into()));
    let told = ask(&selection(SERVER, 0x8100_0001), &sets).unwrap();
    let root = b"http://10.0.1.7/boot/El%20Cap.nbi/Net%20Install.dmg";
    assert_eq!(told.bytes[260], code::ROOT_PATH);
    assert_eq!(told.bytes[262..][..root.len()], root[..]);
    assert_eq!(told.bytes[262 + root.len()], code::VENDOR);
}

#[test]
fn a_selection_repeated_is_answered_the_same() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let bytes = selection(SERVER, 0x8100_0001);
    assert_eq!(ask(&bytes, &sets).unwrap().bytes, ask(&bytes, &sets).unwrap().bytes);
}

#[test]
fn an_image_that_is_not_offered_is_failed_and_a_missing_one_is_the_default() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    // Same index, other attributes: ids are compared whole.
    let told = ask(&selection(SERVER, 0x0100_0001), &sets).unwrap();
    assert_eq!(told.bytes[260..266], [43, 3, 1, 1, 3, 255]);
    assert_eq!((told.started, Packet::parse(&told.bytes).unwrap().file), (None, &b""[..]));
    let no_image = [&[1, 1, 2, 2, 2, 1, 1, 3, 4][..], &SERVER.octets()].concat();
    let told = ask(&fixture::request(8, IMAC, &[&no_image]), &sets).unwrap();
    assert_eq!(told.started, Some(ImageId::from(0x8100_0001)));
}

#[test]
fn a_selection_for_another_server_or_for_none_is_left_to_it() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let other = ask(&selection(Ipv4Addr::new(10, 0, 1, 8), 0x8100_0001), &sets);
    assert_eq!(reason(other), Silence::AnotherServer("10.0.1.8".into()));
    let zero = ask(&selection(Ipv4Addr::UNSPECIFIED, 0x8100_0001), &sets);
    assert_eq!(reason(zero), Silence::AnotherServer("0.0.0.0".into()));
    let none = fixture::request(8, IMAC, &[&[1, 1, 2, 2, 2, 1, 1, 8, 4, 0x81, 0, 0, 1]]);
    assert_eq!(reason(ask(&none, &sets)), Silence::NoServer);
}

#[test]
fn a_second_address_of_ours_answers_as_the_address_that_was_chosen() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let told = ask(&selection(Ipv4Addr::LOCALHOST, 0x8100_0001), &sets).unwrap();
    let reply = Packet::parse(&told.bytes).unwrap();
    assert_eq!(reply.address(code::SERVER_ID), Some(Ipv4Addr::LOCALHOST));
    assert_eq!(reply.siaddr, Ipv4Addr::LOCALHOST);
}

#[test]
fn the_reply_goes_to_the_reply_port_of_startup_disk() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let body = [LIST, &[5, 2, 3, 0x0a]].concat();
    let told = ask_at(&fixture::request(8, IMAC, &[&body]), Door::Dhcp, "10.0.1.93:778", &sets, 0).unwrap();
    assert_eq!((told.to, told.also), (Destination::Unicast("10.0.1.93:778".parse().unwrap()), None));
    let told = ask_at(&fixture::request(8, IMAC, &[LIST]), Door::Dhcp, "10.0.1.93:999", &sets, 0).unwrap();
    assert_eq!(told.to, Destination::Unicast("10.0.1.93:68".parse().unwrap()));
    assert_eq!(told.also, Some(Destination::Unicast("10.0.1.93:999".parse().unwrap())));
}

#[test]
fn a_client_without_ciaddr_is_answered_where_it_came_from() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let options = [(53, vec![8]), (60, IMAC.to_vec()), (43, LIST.to_vec())];
    let bytes = fixture::packet([0; 4], &options);
    let told = ask_at(&bytes, Door::Dhcp, "10.0.1.50:68", &sets, 0).unwrap();
    assert_eq!(told.to, Destination::Unicast("10.0.1.50:68".parse().unwrap()));
    assert_eq!(reason(ask_at(&bytes, Door::Dhcp, "0.0.0.0:68", &sets, 0)), Silence::NoAddress);
}

#[test]
fn restricted_filtered_and_disabled_sets_are_not_listed() {
    let other_model = "<key>EnabledSystemIdentifiers</key><array><string>iMac14,1</string></array>";
    let other_mac = "<key>EnabledMACAddresses</key><array><string>0:1:2:3:4:5</string></array>";
    let sets = [
        set("a.nbi", "a", 1, 1, other_model),
        set("b.nbi", "b", 1, 2, other_mac),
        set("c.nbi", "c", 1, 3, "<key>IsEnabled</key><false/>"),
        set("d.nbi", "d", 3, 4, ""),
    ];
    let request = fixture::request(8, IMAC, &[LIST]);
    let silent = ask(&request, &sets).unwrap_err();
    assert_eq!(silent.client, Some((MAC.parse().unwrap(), Exchange::List)));
    assert!(silent.reason.to_string().contains("no boot set for i386/iMac14,2"), "{}", silent.reason);
    let diagnostics = [LIST, &[11, 2, 0x83, 0]].concat();
    let told = ask(&fixture::request(8, IMAC, &[&diagnostics]), &sets).unwrap();
    assert!(told.detail.contains("1 offered, default d"), "{}", told.detail);
}

#[test]
fn a_long_list_is_cut_to_the_packet_and_says_so() {
    let sets: Vec<_> = (1..60).map(|i| set("a.nbi", &format!("NetInstall number {i}"), 1, i, "")).collect();
    let told = ask(&fixture::request(8, IMAC, &[LIST]), &sets).unwrap();
    assert!(told.bytes.len() <= 520, "{}", told.bytes.len());
    assert!(told.detail.contains("left out"), "{}", told.detail);
    let big = [LIST, &[12, 2, 0x20, 0]].concat();
    let told = ask(&fixture::request(8, IMAC, &[&big]), &sets).unwrap();
    assert!(told.bytes.len() > 1500 && told.bytes.len() <= 8164);
}

#[test]
fn bsdp_1_0_clients_are_told_the_default_without_a_list() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let told = ask(&fixture::request(8, IMAC, &[&[1, 1, 1, 2, 2, 1, 0]]), &sets).unwrap();
    assert_eq!(told.bytes[260..275], [43, 13, 1, 1, 1, 4, 2, 0x80, 0, 7, 4, 0x81, 0, 0, 1]);
}

#[test]
fn packets_for_another_server_or_of_no_boot_client_are_left_alone() {
    let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
    let request = fixture::request(8, IMAC, &[LIST]);
    let mut named = request.clone();
    named[44..49].copy_from_slice(b"other");
    assert_eq!(reason(ask(&named, &sets)), Silence::AnotherServer("other".into()));
    named[44..53].copy_from_slice(b"rootstock");
    assert!(ask(&named, &sets).is_ok());
    let mut addressed = request.clone();
    addressed[20..24].copy_from_slice(&[10, 0, 1, 9]);
    assert_eq!(reason(ask(&addressed, &sets)), Silence::AnotherServer("10.0.1.9".into()));
    let mut reply = request;
    reply[0] = 2;
    assert_eq!(reason(ask(&reply, &sets)), Silence::NotARequest);
    let ordinary = ask(&fixture::request(1, b"MSFT 5.0", &[]), &sets).unwrap_err();
    assert_eq!(ordinary, Unanswered { client: None, reason: Silence::NotABootClient, change: None });
}

pub(super) fn pxe(kind: u8, class: &[u8], arch: u8, more: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut options = vec![(53, vec![kind]), (60, class.to_vec()), (93, vec![0, arch]), (97, vec![7; 17])];
    options.extend(more.iter().cloned());
    fixture::packet([0; 4], &options)
}

pub(super) const PXE: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";

#[test]
fn uefi_pxe_is_invited_to_port_4011_and_told_its_loader_there() {
    let told = ask(&pxe(1, PXE, 7, &[]), &[]).unwrap();
    let offer = Packet::parse(&told.bytes).unwrap();
    assert_eq!(offer.message_type(), Some(MessageType::Offer));
    assert_eq!((offer.file, offer.siaddr), (&b""[..], SERVER));
    assert_eq!(offer.option(60).unwrap().as_ref(), b"PXEClient");
    assert_eq!(offer.option(97).unwrap().len(), 17);
    assert_eq!((told.to, told.bytes[16..20].to_vec()), (Destination::Broadcast, vec![0; 4]));

    let told = ask_at(&pxe(3, PXE, 7, &[]), Door::Proxy, "10.0.1.93:4011", &[], 0).unwrap();
    let ack = Packet::parse(&told.bytes).unwrap();
    assert_eq!(ack.message_type(), Some(MessageType::Ack));
    assert_eq!(ack.file, b"ipxe/snponly.efi");
    assert_eq!(told.to, Destination::Unicast("10.0.1.93:4011".parse().unwrap()));
    assert_eq!(told.exchange, Exchange::Pxe);
    let nowhere = ask_at(&pxe(3, PXE, 7, &[]), Door::Proxy, "0.0.0.0:4011", &[], 0);
    assert_eq!(reason(nowhere), Silence::NoAddress);
}

#[test]
fn bios_pxe_is_told_its_loader_at_once_and_to_ask_no_further() {
    let told = ask(&pxe(1, b"PXEClient:Arch:00000:UNDI:002001", 0, &[]), &[]).unwrap();
    let offer = Packet::parse(&told.bytes).unwrap();
    assert_eq!(offer.file, b"ipxe/undionly.kpxe");
    assert_eq!(offer.option(43).unwrap().as_ref(), [6, 1, 8, 255]);
}

#[test]
fn ipxe_is_told_the_script_and_never_ipxe_again() {
    let user = [(77, b"iPXE".to_vec())];
    let url = b"http://10.0.1.7/boot/ipxe?mac=80:e6:50:09:ed:a2";
    let told = ask(&pxe(1, PXE, 7, &user), &[]).unwrap();
    assert_eq!(Packet::parse(&told.bytes).unwrap().file, url);
    let told = ask_at(&pxe(3, PXE, 7, &user), Door::Proxy, "10.0.1.93:68", &[], 0).unwrap();
    assert_eq!(Packet::parse(&told.bytes).unwrap().file, url);
}

#[test]
fn uefi_http_boot_is_told_a_url() {
    let told = ask(&pxe(1, b"HTTPClient:Arch:00016:UNDI:003000", 16, &[]), &[]).unwrap();
    let offer = Packet::parse(&told.bytes).unwrap();
    assert_eq!(offer.option(60).unwrap().as_ref(), b"HTTPClient");
    assert_eq!(offer.option(67).unwrap().as_ref(), b"http://10.0.1.7/boot/ipxe/snponly.efi");
}

#[test]
fn a_relay_gets_its_information_back() {
    let mut bytes = pxe(1, PXE, 7, &[(82, vec![1, 2, 3, 4])]);
    bytes[24..28].copy_from_slice(&[10, 9, 9, 1]);
    let told = ask(&bytes, &[]).unwrap();
    assert_eq!(told.to, Destination::Unicast("10.9.9.1:67".parse().unwrap()));
    assert_eq!(Packet::parse(&told.bytes).unwrap().option(82).unwrap().as_ref(), [1, 2, 3, 4]);
}

#[test]
fn an_architecture_without_loader_is_named() {
    let silent = ask(&pxe(1, PXE, 11, &[]), &[]).unwrap_err();
    assert_eq!(silent.reason, Silence::NoLoader(Architecture::Arm64.to_string()));
    assert!(silent.client.is_some());
}

#[test]
fn requests_for_addresses_are_never_answered() {
    for (kind, class) in [(3, PXE), (4, PXE), (7, PXE), (1, IMAC), (3, IMAC), (7, IMAC)] {
        let bytes = fixture::request(kind, class, &[&[2, 2, 1, 1]]);
        let silence = reason(ask(&bytes, &[]));
        let expected = matches!(silence, Silence::AddressMatter(_) | Silence::Pxe(_) | Silence::NotBound);
        assert!(expected, "{kind}: {silence}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_without_an_address_or_not_at_all(
        kind in 0u8..10,
        class in prop::sample::select(vec![IMAC, PXE, b"HTTPClient", b"AAPLBSDPC", b"other"]),
        body in prop::collection::vec(any::<u8>(), 0..60),
        arch in any::<u8>(),
        header in prop::collection::vec(any::<u8>(), 28),
        proxy in any::<bool>(),
    ) {
        let sets = [set("rootstock.nbi", "Rootstock", 1, 1, "")];
        let options = [(53, vec![kind]), (60, class.to_vec()), (43, [LIST, &body].concat()), (93, vec![0, arch])];
        let mut bytes = fixture::packet([0; 4], &options);
        bytes[8..28].copy_from_slice(&header[8..]);
        bytes[20..24].fill(0);
        let door = if proxy { Door::Proxy } else { Door::Dhcp };
        let mut bindings = BindingTable::default();
        bindings.apply(Write::Put(bound(MAC.parse().unwrap(), "iMac14,2", 0x8100_0001)));
        if let Ok(told) = ask_of(&bytes, door, "10.0.1.93:68", &sets, &bindings, &Policy::default()) {
            let reply = Packet::parse(&told.bytes).unwrap();
            prop_assert!(!reply.is_request);
            prop_assert_eq!(&told.bytes[16..20], &[0; 4]);
            for lease_option in [1, 3, 6, 51, 58, 59] {
                prop_assert!(reply.option(lease_option).is_none());
            }
        }
    }
}
