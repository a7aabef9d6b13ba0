//! The rules of BSDP and of ordinary network boot one by one, each test named with the section of the specification
//! that the project follows: 2 what is BSDP, 3 options, 4 header, 5 destination, 6 LIST, 7 SELECT, 18 PXE and HTTP.

use super::tests::{IMAC, LIST, PXE, SERVER, ask, ask_at, pxe, reason, selection, set};
use proptest::prelude::*;

use super::*;
use crate::netboot::bsdp::NotBsdp;
use crate::netboot::fixture;

fn sets() -> [BootSet; 1] {
    [set("rootstock.nbi", "Rootstock", 1, 1, "")]
}

/// A LIST with these options 43.
fn list(bodies: &[&[u8]]) -> Vec<u8> {
    fixture::request(8, IMAC, bodies)
}

fn to(address: &str) -> Destination {
    Destination::Unicast(address.parse().unwrap())
}

#[test]
fn section_2_options_go_on_in_file_and_then_in_sname_and_those_name_no_server() {
    let mut bytes = fixture::packet([10, 0, 1, 93], &[(53, vec![8]), (52, vec![3])]);
    let class = [&[60, 23][..], IMAC, &[255]].concat();
    bytes[108..][..class.len()].copy_from_slice(&class);
    let vendor = [&[43, 7][..], LIST, &[255]].concat();
    bytes[44..][..vendor.len()].copy_from_slice(&vendor);
    assert_eq!(ask(&bytes, &sets()).unwrap().exchange, Exchange::List);
}

#[test]
fn section_2_a_server_style_class_matches_no_image_and_an_empty_model_only_open_ones() {
    let silent = ask(&fixture::request(8, b"AAPLBSDPC", &[LIST]), &sets());
    assert!(matches!(reason(silent), Silence::NothingToOffer { .. }));
    let no_model = fixture::request(8, b"AAPLBSDPC/i386/", &[LIST]);
    assert!(ask(&no_model, &sets()).is_ok());
    let for_one = "<key>EnabledSystemIdentifiers</key><array><string>iMac14,2</string></array>";
    assert!(ask(&no_model, &[set("a.nbi", "a", 1, 1, for_one)]).is_err());
    assert!(ask(&list(&[LIST]), &[set("a.nbi", "a", 1, 1, for_one)]).is_ok());
}

#[test]
fn section_2_one_bad_vendor_option_among_several_spoils_the_packet() {
    let wrong = reason(ask(&list(&[LIST, &[12, 2, 0x20]]), &sets()));
    assert_eq!(wrong, Silence::Bsdp(NotBsdp::Truncated { code: 12, claimed: 2, left: 1 }));
    assert!(ask(&list(&[&LIST[..3], &LIST[3..], &[12, 2, 0x20, 0]]), &sets()).is_ok());
}

#[test]
fn section_2_pad_and_end_bytes_in_a_vendor_option_are_tolerated() {
    assert!(ask(&list(&[&[0, 1, 1, 1, 0, 0, 2, 2, 1, 1, 255, 9, 200]]), &sets()).is_ok());
}

#[test]
fn section_2_versions_1_1_and_1_0_and_0_are_known_and_no_other() {
    for version in [0x0101_u16, 0x0100, 0x0000] {
        let [high, low] = version.to_be_bytes();
        assert!(ask(&list(&[&[1, 1, 1, 2, 2, high, low]]), &sets()).is_ok(), "{version:#06x}");
    }
    for version in [0x0001_u16, 0x0102, 0x0200, 0xffff] {
        let [high, low] = version.to_be_bytes();
        let wrong = reason(ask(&list(&[&[1, 1, 1, 2, 2, high, low]]), &sets()));
        assert_eq!(wrong, Silence::Bsdp(NotBsdp::Version(version)));
    }
    assert_eq!(reason(ask(&list(&[&[1, 1, 1]]), &sets())), Silence::Bsdp(NotBsdp::NoVersion));
}

#[test]
fn section_2_only_ethernet_with_six_bytes_is_answered() {
    for (at, value) in [(1, 6), (1, 0), (2, 7), (2, 0), (2, 16)] {
        let mut bytes = list(&[LIST]);
        bytes[at] = value;
        let (htype, hlen) = (bytes[1], bytes[2]);
        assert_eq!(reason(ask(&bytes, &sets())), Silence::Bsdp(NotBsdp::Hardware { htype, hlen }));
    }
}

#[test]
fn section_2_an_inform_without_a_known_message_type_is_dropped() {
    assert_eq!(reason(ask(&list(&[&[2, 2, 1, 1]]), &sets())), Silence::NoBsdpType);
    for kind in [0, 3, 4, 255] {
        let wrong = reason(ask(&list(&[&[1, 1, kind, 2, 2, 1, 1]]), &sets()));
        assert_eq!(wrong, Silence::Bsdp(NotBsdp::Kind(kind)));
    }
}

#[test]
fn section_2_a_reply_port_from_1024_on_or_0_is_dropped() {
    for port in [0_u16, 1024, 4096, u16::MAX] {
        let [high, low] = port.to_be_bytes();
        let wrong = reason(ask(&list(&[LIST, &[5, 2, high, low]]), &sets()));
        assert_eq!(wrong, Silence::Bsdp(NotBsdp::ReplyPort(port)));
    }
}

#[test]
fn section_2_a_client_without_ciaddr_is_found_by_option_50_and_then_by_its_packet_unless_relayed() {
    let options = |more: &[(u8, Vec<u8>)]| {
        let head = [(53, vec![8]), (60, IMAC.to_vec()), (43, LIST.to_vec())];
        fixture::packet([0; 4], &[&head[..], more].concat())
    };
    let told = ask_at(&options(&[(50, vec![10, 0, 1, 44])]), Door::Dhcp, "0.0.0.0:68", &sets(), 0).unwrap();
    assert_eq!(told.to, to("10.0.1.44:68"));
    let mut relayed = options(&[]);
    relayed[24..28].copy_from_slice(&[10, 9, 9, 1]);
    assert_eq!(reason(ask_at(&relayed, Door::Dhcp, "10.9.9.1:67", &sets(), 0)), Silence::NoAddress);
}

#[test]
fn section_3_a_filter_of_several_words_shows_what_equals_any_and_an_empty_one_is_none() {
    let sets = [set("a.nbi", "a", 1, 1, ""), set("b.nbi", "b", 2, 2, ""), set("c.nbi", "c", 3, 3, "")];
    let told = ask(&list(&[LIST, &[11, 4, 0x82, 0, 0x83, 0]]), &sets).unwrap();
    assert!(told.detail.contains("2 offered, default b"), "{}", told.detail);
    let told = ask(&list(&[LIST, &[11, 2, 0x82, 0, 11, 2, 0x81, 0]]), &sets).unwrap();
    assert!(told.detail.contains("2 offered, default a"), "{}", told.detail);
    let told = ask(&list(&[LIST, &[11, 0]]), &sets).unwrap();
    assert!(told.detail.contains("2 offered, default a"), "{}", told.detail);
    let none = ask(&list(&[LIST, &[11, 2, 0x01, 0]]), &sets);
    assert!(matches!(reason(none), Silence::NothingToOffer { .. }), "attributes are compared whole");
}

#[test]
fn section_4_header_fields_are_copied_or_cleared_as_apples_server_does() {
    let select = selection(SERVER, 0x8100_0001);
    let failed = selection(SERVER, 0);
    for (request, siaddr) in [(list(&[LIST]), [0; 4]), (select, SERVER.octets()), (failed, [0; 4])] {
        let mut request = request;
        request[3] = 4;
        request[8..12].copy_from_slice(&[0, 7, 0x80, 0]);
        request[24..28].copy_from_slice(&[10, 9, 9, 1]);
        request[34..44].fill(0xee);
        let told = ask(&request, &sets()).unwrap();
        assert_eq!(told.bytes[..4], [2, 1, 6, 0], "op, htype, hlen, hops");
        assert_eq!(told.bytes[4..8], request[4..8], "xid");
        assert_eq!(told.bytes[8..12], [0, 0, 0x80, 0], "secs, flags");
        assert_eq!(told.bytes[12..20], [10, 0, 1, 93, 0, 0, 0, 0], "ciaddr, yiaddr");
        assert_eq!(told.bytes[20..24], siaddr, "siaddr");
        assert_eq!(told.bytes[24..44], request[24..44], "giaddr, chaddr");
        assert_eq!(told.bytes[44..236].iter().all(|byte| *byte == 0), siaddr == [0; 4], "sname, file");
        assert!(told.bytes.len() >= 300);
        let reply = Packet::parse(&told.bytes).unwrap();
        assert_eq!(reply.option(60).unwrap().as_ref(), b"AAPLBSDPC");
        assert_eq!(told.bytes[240..249], [53, 1, 5, 54, 4, 10, 0, 1, 7]);
        for lease in [1, 3, 6, 51, 58, 59, 66, 67, 82] {
            assert!(reply.option(lease).is_none(), "option {lease}");
        }
    }
}

#[test]
fn section_4_another_tftp_server_is_named_in_siaddr_and_sname_stays_empty() {
    let elsewhere = "<key>LoadBalanceServer</key><string>10.0.1.8</string>";
    let told = ask(&selection(SERVER, 0x8100_0001), &[set("a.nbi", "a", 1, 1, elsewhere)]).unwrap();
    let reply = Packet::parse(&told.bytes).unwrap();
    assert_eq!((reply.siaddr, reply.sname), (Ipv4Addr::new(10, 0, 1, 8), &b""[..]));
    assert_eq!((reply.file, reply.address(54)), (&b"a.nbi/i386/booter"[..], Some(SERVER)));
}

#[test]
fn section_5_an_inform_is_answered_to_its_client_whatever_relay_and_flags_say() {
    let mut bytes = list(&[LIST, &[5, 2, 3, 0x0f]]);
    bytes[10] = 0x80;
    bytes[24..28].copy_from_slice(&[10, 9, 9, 1]);
    let told = ask_at(&bytes, Door::Dhcp, "10.9.9.1:67", &sets(), 0).unwrap();
    assert_eq!((told.to, told.also), (to("10.0.1.93:783"), None));
}

#[test]
fn section_5_a_server_without_address_says_nothing_and_why() {
    let site = Site {
        server: Ipv4Addr::UNSPECIFIED,
        own: &[],
        host_name: "rootstock",
        http_port: 80,
        sets: &sets(),
        loaders: &Loaders::default(),
        bindings: &BindingTable::default(),
        policy: &Policy::default(),
    };
    for bytes in [list(&[LIST]), selection(Ipv4Addr::UNSPECIFIED, 0), pxe(1, PXE, 7, &[])] {
        let told =
            answer(&Packet::parse(&bytes).unwrap(), Door::Dhcp, "10.0.1.93:68".parse().unwrap(), &site);
        assert_eq!(reason(told), Silence::NoOwnAddress);
    }
}

#[test]
fn section_6_the_default_is_a_default_for_everyone_then_one_for_some_then_the_first_folder() {
    let default = "<key>IsDefault</key><true/>";
    let mine =
        format!("{default}<key>EnabledSystemIdentifiers</key><array><string>iMac14,2</string></array>");
    let plain = [set("a.nbi", "a", 1, 4, ""), set("b.nbi", "b", 1, 3, "")];
    let some = [plain[0].clone(), plain[1].clone(), set("c.nbi", "c", 1, 2, &mine)];
    let all = [&some[..], &[set("d.nbi", "d", 1, 1, default)]].concat();
    for (sets, order) in [(&plain[..], "ab"), (&some, "cab"), (&all, "dcab")] {
        let told = ask(&list(&[LIST]), sets).unwrap();
        let first = sets.iter().find(|set| order.starts_with(&set.name)).unwrap();
        let vendor = Packet::parse(&told.bytes).unwrap().option(43).unwrap().into_owned();
        assert_eq!(vendor[9..13], first.id.to_bytes(), "option 7 for {order}");
        let listed: Vec<_> = vendor[15..].chunks(6).map(|entry| entry[5]).collect();
        assert_eq!(String::from_utf8(listed).unwrap(), order);
    }
}

#[test]
fn section_6_priority_falls_with_each_remembered_client_and_ends_at_0() {
    for (remembered, priority) in [(0, [0x80, 0]), (2, [0x7f, 0xfe]), (32_768, [0, 0]), (70_000, [0, 0])] {
        let told = ask_at(&list(&[LIST]), Door::Dhcp, "10.0.1.93:68", &sets(), remembered).unwrap();
        let vendor = Packet::parse(&told.bytes).unwrap().option(43).unwrap().into_owned();
        assert_eq!(vendor[3..7], [4, 2, priority[0], priority[1]]);
    }
}

#[test]
fn section_6_the_packet_is_as_long_as_options_12_and_57_allow() {
    let sets: Vec<_> =
        (1..400).map(|i| set("a.nbi", &format!("NetInstall number {i:03}"), 1, i, "")).collect();
    let long = |bsdp: Option<&[u8]>, dhcp: Option<u16>| {
        let body = [LIST, bsdp.unwrap_or_default()].concat();
        let mut options = vec![(53, vec![8]), (60, IMAC.to_vec())];
        options.extend(dhcp.map(|size| (57, size.to_be_bytes().to_vec())));
        options.push((43, body));
        ask(&fixture::packet([10, 0, 1, 93], &options), &sets).unwrap().bytes.len()
    };
    // An entry takes 26 bytes: a full packet is at most that far, and one option head, from its limit.
    let fills = |length: usize, payload: usize| length <= payload && length > payload - 31;
    assert!(fills(long(None, None), 520));
    assert!(fills(long(None, Some(300)), 520), "smaller ones are not believed");
    assert!(fills(long(None, Some(1500)), 1472));
    assert!(fills(long(Some(&[12, 2, 0x20, 0]), Some(1500)), 8164), "BSDP's own option is the stronger");
    assert!(fills(long(Some(&[12, 2, 0xff, 0xff]), None), 8164), "capped");
    assert!(fills(long(Some(&[12, 2, 0, 9]), Some(1500)), 520));
    assert!(fills(long(Some(&[12, 1, 9]), Some(1500)), 1472), "one of another length is none");
}

#[test]
fn section_6_models_and_addresses_are_let_in_or_kept_out_in_any_spelling() {
    let list_of = |key: &str, value: &str| {
        let more = format!("<key>{key}</key><array><string>x</string><string>{value}</string></array>");
        let more = if key.contains("MAC") { more.replace("<string>x</string>", "") } else { more };
        ask(&list(&[LIST]), &[set("a.nbi", "a", 1, 1, &more)]).is_ok()
    };
    for (value, is_it) in [("iMac14,2", true), ("iMac14,1", false), ("imac14,2", false), ("iMac14,22", false)]
    {
        assert_eq!(list_of("EnabledSystemIdentifiers", value), is_it, "{value}");
        assert_eq!(list_of("DisabledSystemIdentifiers", value), !is_it, "{value}");
    }
    for (value, is_it) in [
        ("80:e6:50:09:ed:a2", true),
        ("80:E6:50:9:ED:A2", true),
        ("80-e6-50-09-ed-a2", true),
        ("80e65009eda2", true),
        ("80:e6:50:90:ed:a2", false),
    ] {
        assert_eq!(list_of("EnabledMACAddresses", value), is_it, "{value}");
        assert_eq!(list_of("DisabledMACAddresses", value), !is_it, "{value}");
    }
}

proptest! {
    #[test]
    fn section_6_no_list_is_longer_than_its_client_takes_and_every_entry_in_it_is_whole(
        names in prop::collection::vec("[a-zA-Zäß0-9 ]{1,120}", 1..80),
        bsdp_size in prop::option::of(any::<u16>()),
        dhcp_size in prop::option::of(any::<u16>()),
    ) {
        let plain = set("a.nbi", "a", 1, 1, "");
        let sets: Vec<BootSet> = (1u32..)
            .zip(&names)
            .map(|(id, name)| BootSet { id: ImageId::from(id), name: name.clone(), ..plain.clone() })
            .collect();
        let size = bsdp_size.map(|size| [&[12, 2][..], &size.to_be_bytes()].concat()).unwrap_or_default();
        let mut options = vec![(53, vec![8]), (60, IMAC.to_vec()), (43, [LIST, &size].concat())];
        options.extend(dhcp_size.map(|size| (57, size.to_be_bytes().to_vec())));
        let told = ask(&fixture::packet([10, 0, 1, 93], &options), &sets).unwrap();
        let most = usize::from(bsdp_size.or(dhcp_size).unwrap_or(548).clamp(548, 8192)) - 28;
        prop_assert!(told.bytes.len() <= most.max(300), "{} of {most}", told.bytes.len());
        // Options 9 of all options 43 are one list.
        let reply = Packet::parse(&told.bytes).unwrap();
        let mut entries = Vec::new();
        for mut body in reply.instances(43) {
            while let [code, length, rest @ ..] = body {
                let (value, rest) = rest.split_at(usize::from(*length));
                let mut list = if *code == 9 { value } else { &[] };
                while let [a, b, c, d, length, more @ ..] = list {
                    let (name, more) = more.split_at(usize::from(*length));
                    entries.push((u32::from_be_bytes([*a, *b, *c, *d]), name.to_vec()));
                    list = more;
                }
                prop_assert!(list.is_empty());
                body = rest;
            }
        }
        let want = sets.iter().map(|set| (u32::from_be_bytes(set.id.to_bytes()), set.name.clone().into_bytes()));
        prop_assert!(!entries.is_empty());
        prop_assert_eq!(&entries, &want.take(entries.len()).collect::<Vec<_>>());
        prop_assert_eq!(told.detail.contains("left out"), entries.len() < sets.len());
    }
}

#[test]
fn section_7_a_selection_without_image_is_the_default_of_an_unfiltered_list() {
    let hidden = "<key>FilterOnly</key><true/><key>IsDefault</key><true/>";
    let sets = [set("a.nbi", "a", 1, 1, hidden), set("b.nbi", "b", 1, 2, "")];
    let no_image = [&[1, 1, 2, 2, 2, 1, 1, 3, 4][..], &SERVER.octets()].concat();
    let told = ask(&list(&[&no_image]), &sets).unwrap();
    assert_eq!(told.started, Some(sets[1].id));
    let failed = ask(&list(&[&no_image]), &sets[..1]).unwrap();
    assert_eq!((failed.started, &failed.bytes[260..266]), (None, &[43, 3, 1, 1, 3, 255][..]));
}

#[test]
fn section_7_an_image_that_only_filters_show_can_be_selected() {
    let sets = [set("d.nbi", "d", 3, 4, "")];
    assert_eq!(ask(&selection(SERVER, 0x8300_0004), &sets).unwrap().started, Some(sets[0].id));
}

#[test]
fn section_7_what_this_client_may_not_have_is_failed() {
    let other = "<key>EnabledSystemIdentifiers</key><array><string>iMac14,1</string></array>";
    let sets = [set("a.nbi", "a", 1, 1, other), set("b.nbi", "b", 1, 2, "<key>IsEnabled</key><false/>")];
    for image in [0x8100_0001, 0x8100_0002, 0x8100_0003, 0] {
        let told = ask(&selection(SERVER, image), &sets).unwrap();
        assert_eq!((told.started, &told.bytes[260..266]), (None, &[43, 3, 1, 1, 3, 255][..]), "{image:#x}");
    }
}

#[test]
fn section_7_a_selection_of_zeros_is_not_for_us() {
    let zeros = reason(ask(&selection(Ipv4Addr::UNSPECIFIED, 0), &sets()));
    assert_eq!(zeros, Silence::AnotherServer("0.0.0.0".into()));
}

#[test]
fn section_18_a_proxy_offer_is_broadcast_to_a_client_without_address() {
    let told = ask(&pxe(1, PXE, 9, &[]), &[]).unwrap();
    assert_eq!((told.to, told.bytes[10] & 0x80), (Destination::Broadcast, 0x80));
    let reply = Packet::parse(&told.bytes).unwrap();
    assert_eq!((reply.address(54), reply.siaddr), (Some(SERVER), SERVER));
}

#[test]
fn section_18_the_proxy_port_answers_to_the_senders_port_and_knows_no_bsdp() {
    let told = ask_at(&pxe(3, PXE, 7, &[]), Door::Proxy, "10.0.1.93:1234", &[], 0).unwrap();
    assert_eq!(told.to, to("10.0.1.93:1234"));
    let bsdp = ask_at(&list(&[LIST]), Door::Proxy, "10.0.1.93:68", &sets(), 0);
    assert_eq!(reason(bsdp), Silence::NotABootClient);
}

#[test]
fn section_18_http_boot_of_an_architecture_without_loader_is_left_alone() {
    for arch in [15, 19, 18] {
        let silent = ask(&pxe(1, b"HTTPClient:Arch:00015:UNDI:003000", arch, &[]), &[]);
        assert!(matches!(reason(silent), Silence::NoLoader(_)), "{arch}");
    }
    assert!(ask(&pxe(1, b"HTTPClient:Arch:00017:UNDI:003000", 17, &[]), &[]).is_ok());
    assert!(matches!(reason(ask(&pxe(3, b"HTTPClient", 16, &[]), &[])), Silence::AddressMatter(_)));
}
