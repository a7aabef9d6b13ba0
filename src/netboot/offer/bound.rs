//! Macs that took an image: the rules of sections 4, 7 and 8, and what each packet leaves behind.

use super::tests::{IMAC, LIST, MAC, SERVER, ask, ask_of, bound, pxe, reason, selection, set};
use super::*;
use crate::netboot::bsdp::{ImageId, Write};
use crate::netboot::fixture;
use crate::netboot::nbi::RootPath;

const SYSTEM: &str = "iMac14,2";
const IMAGE: u32 = 0x8100_0001;

fn sets() -> [BootSet; 2] {
    [set("rootstock.nbi", "Rootstock", 1, 1, ""), set("b.nbi", "B", 1, 2, "<key>IsDefault</key><true/>")]
}

fn mac() -> MacAddr {
    MAC.parse().unwrap()
}

/// A DISCOVER as firmware sends it: no address, a version in option 43.
fn discover(class: &[u8], vendor: &[u8]) -> Vec<u8> {
    fixture::packet([0; 4], &[(53, vec![1]), (60, class.to_vec()), (43, vendor.to_vec())])
}

const VERSION: &[u8] = &[2, 2, 1, 1];

fn table(image: u32) -> BindingTable {
    let mut table = BindingTable::default();
    table.apply(Write::Put(bound(mac(), SYSTEM, image)));
    table
}

fn ask_bound(bytes: &[u8], sets: &[BootSet], image: u32) -> Result<Answer, Unanswered> {
    ask_of(bytes, Door::Dhcp, "10.0.1.93:68", sets, &table(image), &Policy::default())
}

#[test]
fn section_8_a_bound_mac_is_offered_its_image_without_an_address_and_without_a_message_type() {
    let told = ask_bound(&discover(IMAC, VERSION), &sets(), IMAGE).unwrap();
    assert_eq!((told.to, told.exchange), (Destination::Broadcast, Exchange::Discover));
    assert_eq!(told.bytes[12..20], [0; 8], "ciaddr, yiaddr");
    let reply = Packet::parse(&told.bytes).unwrap();
    assert_eq!((reply.siaddr, reply.sname), (SERVER, &b"10.0.1.7"[..]));
    assert_eq!(reply.file, b"rootstock.nbi/i386/booter");
    let options = b"\x35\x01\x02\x36\x04\x0a\x00\x01\x07\x3c\x09AAPLBSDPC\x2b\x16\x08\x04\x81\0\0\x01\x82\x0eNetBoot-09eda2\xff";
    assert_eq!(told.bytes[240..][..options.len()], options[..]);
    assert_eq!(told.bytes.len(), 300);
}

#[test]
fn section_4_an_offer_says_what_the_selection_said_but_type_and_message_type() {
    let mut sets = sets();
    sets[0].root = Some(RootPath::Ours("x.nbi/x.dmg".into()));
    let select = ask(&selection(SERVER, IMAGE), &sets).unwrap().bytes;
    let offer = ask_bound(&discover(IMAC, VERSION), &sets, IMAGE).unwrap().bytes;
    let options = |bytes: &[u8]| {
        let packet = Packet::parse(bytes).unwrap();
        [54, 60, 17, 43].map(|code| packet.option(code).unwrap().into_owned())
    };
    let mut selected = options(&select);
    selected[3].drain(..3);
    assert_eq!(options(&offer), selected);
    assert_eq!(offer[20..24], select[20..24]);
    assert_eq!(offer[44..236], select[44..236], "sname and file");
}

#[test]
fn section_8_a_relayed_offer_goes_back_through_the_relay_with_what_it_added() {
    let mut options = vec![(53, vec![1]), (60, IMAC.to_vec()), (43, VERSION.to_vec())];
    options.push((82, vec![1, 2, 9, 9]));
    let mut bytes = fixture::packet([0; 4], &options);
    bytes[24..28].copy_from_slice(&[10, 9, 9, 1]);
    let told = ask_bound(&bytes, &sets(), IMAGE).unwrap();
    assert_eq!(told.to, Destination::Unicast("10.9.9.1:67".parse().unwrap()));
    assert_eq!((told.bytes[10], &told.bytes[24..28]), (0x80, &[10, 9, 9, 1][..]));
    assert_eq!(Packet::parse(&told.bytes).unwrap().option(82).unwrap().as_ref(), [1, 2, 9, 9]);
}

#[test]
fn section_8_nothing_is_offered_before_the_list_to_who_is_not_bound_or_whose_set_is_not_for_it() {
    let request = discover(IMAC, VERSION);
    assert_eq!(reason(ask(&request, &sets())), Silence::NotBound);
    let stale = Silence::Stale(ImageId::from(IMAGE));
    let mine = |more: &str| [set("rootstock.nbi", "Rootstock", 1, 1, more)];
    for sets in [
        mine("<key>IsEnabled</key><false/>"),
        mine("<key>EnabledSystemIdentifiers</key><array><string>iMac14,1</string></array>"),
        mine("<key>DisabledSystemIdentifiers</key><array><string>iMac14,2</string></array>"),
        mine("<key>DisabledMACAddresses</key><array><string>80:E6:50:9:ED:A2</string></array>"),
        mine("<key>EnabledMACAddresses</key><array><string>80e65009eda3</string></array>"),
        mine("<key>FilterOnly</key><true/>"),
    ] {
        assert_eq!(reason(ask_bound(&request, &sets, IMAGE)), stale, "{sets:?}");
    }
    assert_eq!(reason(ask_bound(&request, &sets()[1..], IMAGE)), stale, "the set is gone");
    let wrong_kind = discover(IMAC, &[VERSION, &[11, 2, 0x83, 0]].concat());
    assert_eq!(reason(ask_bound(&wrong_kind, &sets(), IMAGE)), stale);
    let right_kind = discover(IMAC, &[VERSION, &[11, 2, 0x81, 0]].concat());
    assert!(ask_bound(&right_kind, &sets(), IMAGE).is_ok());
    let other_half = ask_bound(&request, &sets(), 0x0100_0001);
    assert_eq!(reason(other_half), Silence::Stale(ImageId::from(0x0100_0001)), "ids are compared whole");
}

#[test]
fn section_8_the_site_can_make_every_mac_ask_for_the_list() {
    let policy = Policy { answer_discover: false, ..Policy::default() };
    let ask = |bytes: &[u8]| ask_of(bytes, Door::Dhcp, "10.0.1.93:68", &sets(), &table(IMAGE), &policy);
    assert_eq!(reason(ask(&discover(IMAC, VERSION))), Silence::DiscoverNotAnswered(ImageId::from(IMAGE)));
    let list = ask(&fixture::request(8, IMAC, &[LIST])).unwrap();
    assert!(list.detail.contains("bound to Rootstock"), "{}", list.detail);
}

#[test]
fn section_6_the_list_marks_what_a_mac_is_bound_to_only_while_it_may_have_it() {
    let vendor = |sets: &[BootSet], image| {
        let told = ask_bound(&fixture::request(8, IMAC, &[LIST]), sets, image).unwrap();
        Packet::parse(&told.bytes).unwrap().option(43).unwrap().into_owned()
    };
    // 1 message type, 4 priority (one Mac is remembered), 7 default, 8 selected, 9 list.
    let want = [1, 1, 1, 4, 2, 0x7f, 0xff, 7, 4, 0x81, 0, 0, 2, 8, 4, 0x81, 0, 0, 1, 9, 20];
    assert_eq!(vendor(&sets(), IMAGE)[..want.len()], want);
    assert_eq!(vendor(&sets()[1..], IMAGE)[13], 9, "it is gone");
    assert_eq!(vendor(&sets(), 0x0100_0001)[13], 9);
}

#[test]
fn another_model_on_the_same_dongle_is_not_bound_by_it() {
    let other = discover(b"AAPLBSDPC/i386/MacBook10,1", VERSION);
    assert_eq!(reason(ask_bound(&other, &sets(), IMAGE)), Silence::NotBound);
    let list = fixture::request(8, b"AAPLBSDPC/i386/MacBook10,1", &[LIST]);
    assert!(!ask_bound(&list, &sets(), IMAGE).unwrap().detail.contains("bound"));
}

#[test]
fn section_7_a_selection_is_remembered_with_all_that_identifies_it_and_a_failed_one_is_not() {
    let told = ask(&selection(SERVER, IMAGE), &sets()).unwrap();
    let want = Change::Bind {
        mac: mac(),
        system: SYSTEM.into(),
        arch: "i386".into(),
        image: ImageId::from(IMAGE),
        address: Ipv4Addr::new(10, 0, 1, 93),
        name: "NetBoot-09eda2".into(),
    };
    assert_eq!(told.change, Some(want));
    assert_eq!(ask(&selection(SERVER, 0), &sets()).unwrap().change, None);
    assert_eq!(ask(&fixture::request(8, IMAC, &[LIST]), &sets()).unwrap().change, None);
}

#[test]
fn section_7_a_selection_of_another_server_is_the_end_of_the_binding_here() {
    let forget = Change::Forget { mac: mac(), system: SYSTEM.into() };
    let elsewhere = ask_bound(&selection(Ipv4Addr::new(10, 0, 1, 8), IMAGE), &sets(), IMAGE).unwrap_err();
    assert_eq!(elsewhere.change.as_deref(), Some(&forget));
    let zeros = ask_bound(&selection(Ipv4Addr::UNSPECIFIED, 0), &sets(), IMAGE).unwrap_err();
    assert_eq!(zeros.change, None, "zeros name no server that it could have gone to");
    let mut for_other = selection(SERVER, IMAGE);
    for_other[44..49].copy_from_slice(b"other");
    assert_eq!(ask_bound(&for_other, &sets(), IMAGE).unwrap_err().change, None);
}

#[test]
fn a_request_tells_the_address_of_a_mac_whoever_it_asks_and_is_left_to_the_dhcp_server() {
    let request = |class: &[u8], vendor: &[u8]| {
        let options = [(53, vec![3]), (50, vec![10, 0, 1, 44]), (60, class.to_vec()), (43, vendor.to_vec())];
        let told = ask_bound(&fixture::packet([0; 4], &options), &sets(), IMAGE).unwrap_err();
        (told.change.map(|change| *change), told.reason)
    };
    let seen = |system: Option<&str>| {
        let address = Some(Ipv4Addr::new(10, 0, 1, 44));
        Some(Change::Seen { mac: mac(), system: system.map(str::to_owned), address })
    };
    assert_eq!(request(IMAC, VERSION), (seen(Some(SYSTEM)), Silence::AddressMatter("REQUEST")));
    assert_eq!(request(b"MSFT 5.0", VERSION), (seen(None), Silence::NotABootClient));
    let ipxe = ask(&pxe(3, b"PXEClient:Arch:00007", 7, &[(50, vec![10, 0, 1, 44])]), &sets()).unwrap_err();
    assert_eq!(ipxe.change.as_deref(), seen(None).as_ref());
}

#[test]
fn retransmissions_are_answered_byte_for_byte_the_same_before_and_after_the_choice_is_remembered() {
    let sets = sets();
    let first = ask(&selection(SERVER, IMAGE), &sets).unwrap().bytes;
    assert_eq!(ask_bound(&selection(SERVER, IMAGE), &sets, IMAGE).unwrap().bytes, first);
    for request in [discover(IMAC, VERSION), fixture::request(8, IMAC, &[LIST])] {
        let once = ask_bound(&request, &sets, IMAGE).unwrap().bytes;
        assert_eq!(ask_bound(&request, &sets, IMAGE).unwrap().bytes, once);
    }
}

#[test]
fn options_66_and_67_follow_the_others_where_the_site_wants_them() {
    let policy = Policy { also_options_66_67: true, ..Policy::default() };
    for request in [selection(SERVER, IMAGE), discover(IMAC, VERSION)] {
        let plain = ask_bound(&request, &sets(), IMAGE).unwrap().bytes;
        let told =
            ask_of(&request, Door::Dhcp, "10.0.1.93:68", &sets(), &table(IMAGE), &policy).unwrap().bytes;
        let end = 240 + plain[240..].iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(told[..end], plain[..end]);
        assert_eq!(told[end..], *b"\x42\x0810.0.1.7\x43\x19rootstock.nbi/i386/booter\xff");
    }
    let list = fixture::request(8, IMAC, &[LIST]);
    let told = ask_of(&list, Door::Dhcp, "10.0.1.93:68", &sets(), &table(IMAGE), &policy).unwrap();
    assert!(Packet::parse(&told.bytes).unwrap().option(67).is_none());
}

#[test]
fn section_14_a_shadow_is_told_to_sets_that_mount_something_and_to_no_booter() {
    let shadow = bsdp::Shadow { mount: "nfs:10.0.1.5:/s".into(), file: "{name}/Shadow".into() };
    let policy = Policy { shadow: Some(shadow), ..Policy::default() };
    let mut sets = sets();
    sets[1].root = Some(RootPath::Elsewhere("nfs:10.0.1.5:/nb:x.dmg".into()));
    let vendor = |image| {
        let request = selection(SERVER, image);
        let told = ask_of(&request, Door::Dhcp, "10.0.1.93:68", &sets, &table(image), &policy).unwrap();
        Packet::parse(&told.bytes).unwrap().option(43).unwrap().into_owned()
    };
    assert!(vendor(0x8100_0002).ends_with(b"\x80\x0fnfs:10.0.1.5:/s\x81\x15NetBoot-09eda2/Shadow"));
    assert!(vendor(IMAGE).ends_with(b"NetBoot-09eda2"));
}
