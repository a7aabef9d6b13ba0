//! The laws of leases: the client states of RFC 2131, and that no address is ever two clients'.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::netboot::dhcp::{Destination, FileName, MessageType, Packet, Request, code};
use crate::value::MacAddr;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const LEASE: u32 = 3600;

fn subnet(pool: &str) -> Subnet {
    Subnet {
        interface: Some("eth0".into()),
        network: "10.0.0.0/24".parse().unwrap(),
        pools: vec![pool.parse().unwrap()],
        reservations: Vec::new(),
        routers: vec![SERVER],
        dns: vec![SERVER],
        ntp: vec![SERVER],
        domain: Some("lab.test".into()),
        lease_secs: LEASE,
    }
}

fn book(pool: &str) -> Book {
    Book::new(Plan::new(vec![subnet(pool)]).unwrap(), Vec::new())
}

fn mac(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 0, 0, 0, high, low])
}

fn ground(now_ms: i64) -> Ground<'static> {
    Ground { server: SERVER, own: &[SERVER], interface: "eth0", probes: false, boot: None, now_ms }
}

fn ask(book: &mut Book, request: &Request, now_ms: i64) -> Result<Told, Silence> {
    tell(book, request, &ground(now_ms), Identity::default())
}

fn tell(book: &mut Book, request: &Request, at: &Ground<'_>, who: Identity<'_>) -> Result<Told, Silence> {
    let bytes = request.encode();
    match book.receive(&Packet::parse(&bytes).unwrap(), who, at)? {
        Step::Tell(told) => Ok(told),
        Step::Probe { address, .. } => panic!("nothing is probed here: {address}"),
    }
}

fn discover(client: u16) -> Request {
    Request::new(MessageType::Discover, mac(client), u32::from(client))
}

fn selecting(client: u16, server: Ipv4Addr, address: Ipv4Addr) -> Request {
    Request::new(MessageType::Request, mac(client), 1)
        .option(code::SERVER_ID, server.octets())
        .option(code::REQUESTED_ADDRESS, address.octets())
}

fn rebooting(client: u16, address: Ipv4Addr) -> Request {
    Request::new(MessageType::Request, mac(client), 1).option(code::REQUESTED_ADDRESS, address.octets())
}

fn renewing(client: u16, address: Ipv4Addr) -> Request {
    Request::new(MessageType::Request, mac(client), 1).ciaddr(address)
}

/// Message type and yiaddr of the answer.
fn words(told: &Told) -> (MessageType, Ipv4Addr) {
    let packet = Packet::parse(&told.answer.as_ref().unwrap().bytes).unwrap();
    (packet.message_type().unwrap(), packet.yiaddr)
}

/// DISCOVER and REQUEST; the address.
fn bind(book: &mut Book, client: u16, now_ms: i64) -> Ipv4Addr {
    let (kind, address) = words(&ask(book, &discover(client), now_ms).unwrap());
    assert_eq!(kind, MessageType::Offer);
    let told = ask(book, &selecting(client, SERVER, address), now_ms).unwrap();
    assert_eq!(words(&told), (MessageType::Ack, address));
    assert_eq!(told.keep.unwrap().until_ms, now_ms + i64::from(LEASE) * 1000);
    address
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

#[test]
fn a_client_is_offered_and_given_the_same_address_each_time() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let address = bind(&mut book, 7, 0);
    assert_eq!(words(&ask(&mut book, &discover(7), 5).unwrap()), (MessageType::Offer, address));
    let expired = i64::from(LEASE) * 1000 + 1;
    assert_eq!(bind(&mut book, 7, expired), address, "also after its lease ended");
    let mut fresh = self::book("10.0.0.100-10.0.0.199");
    assert_eq!(bind(&mut fresh, 7, 0), address, "also when all leases were lost");
}

#[test]
fn an_ack_holds_what_the_subnet_says_and_the_lease_times() {
    let mut book = book("10.0.0.100-10.0.0.100");
    let told = ask(&mut book, &discover(7).wants(&[1, 3, 6, 15, 28, 42]), 0).unwrap();
    let bytes = told.answer.unwrap().bytes;
    let packet = Packet::parse(&bytes).unwrap();
    let option = |code| packet.option(code).unwrap().into_owned();
    assert_eq!((option(1), option(28)), (vec![255, 255, 255, 0], vec![10, 0, 0, 255]));
    assert_eq!((option(3), option(6), option(42)), (vec![10, 0, 0, 1], vec![10, 0, 0, 1], vec![10, 0, 0, 1]));
    assert_eq!((option(15), packet.address(54)), (b"lab.test".to_vec(), Some(SERVER)));
    let time = |code| u32::from_be_bytes(option(code).try_into().unwrap());
    assert_eq!((time(51), time(58), time(59)), (3600, 1800, 3150));
    assert!(bytes.len() >= 300);
    let told = ask(&mut book, &discover(7).wants(&[1]), 0).unwrap();
    let bytes = told.answer.unwrap().bytes;
    let packet = Packet::parse(&bytes).unwrap();
    assert!(packet.option(15).is_none() && packet.option(42).is_none() && packet.option(3).is_some());
}

#[test]
fn a_shorter_lease_is_given_when_asked_for_and_never_a_longer_one() {
    let mut book = book("10.0.0.100-10.0.0.100");
    for (wish, given) in [(120_u32, 120), (1, 60), (u32::MAX, LEASE)] {
        let told = ask(&mut book, &discover(7).option(51, wish.to_be_bytes()), 0).unwrap();
        let bytes = told.answer.unwrap().bytes;
        let time = Packet::parse(&bytes).unwrap().option(51).unwrap().into_owned();
        assert_eq!(time, given.to_be_bytes(), "{wish}");
    }
}

#[test]
fn a_wish_is_granted_when_it_is_free_and_in_a_pool() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let wish = |client, address: Ipv4Addr| discover(client).option(50, address.octets());
    assert_eq!(words(&ask(&mut book, &wish(1, ip(150)), 0).unwrap()).1, ip(150));
    let other = words(&ask(&mut book, &wish(2, ip(150)), 0).unwrap()).1;
    assert!(other != ip(150) && other.octets()[3] >= 100, "offered to another: {other}");
    assert_ne!(words(&ask(&mut book, &wish(3, ip(5)), 0).unwrap()).1, ip(5), "in no pool");
    assert_ne!(
        words(&ask(&mut book, &wish(4, [9, 9, 9, 9].into()), 0).unwrap()).1,
        Ipv4Addr::new(9, 9, 9, 9)
    );
}

#[test]
fn an_offer_is_free_again_when_another_server_is_chosen_or_nothing_follows() {
    let mut book = book("10.0.0.100-10.0.0.100");
    ask(&mut book, &discover(1), 0).unwrap();
    let full = ask(&mut book, &discover(2), 1).unwrap_err();
    assert!(matches!(full, Silence::Full { size: 1, .. }) && full.to_string().contains("10.0.0.0/24"));
    let silent = ask(&mut book, &selecting(1, OTHER, ip(50)), 2).unwrap_err();
    assert_eq!(silent, Silence::AnotherServer(OTHER));
    assert_eq!(bind(&mut book, 2, 3), ip(100));
    let mut book = self::book("10.0.0.100-10.0.0.100");
    ask(&mut book, &discover(1), 0).unwrap();
    assert!(ask(&mut book, &discover(2), 39_999).is_err());
    assert_eq!(bind(&mut book, 2, 40_000), ip(100));
}

#[test]
fn selecting_what_is_not_free_is_refused_by_broadcast() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let address = bind(&mut book, 1, 0);
    for wrong in [address, ip(5), [10, 0, 9, 9].into(), SERVER] {
        let told = ask(&mut book, &selecting(2, SERVER, wrong), 0).unwrap();
        assert_eq!(words(&told), (MessageType::Nak, Ipv4Addr::UNSPECIFIED), "{wrong}");
        let answer = told.answer.unwrap();
        assert_eq!(answer.to, Destination::Broadcast);
        let packet = Packet::parse(&answer.bytes).unwrap();
        assert!(
            [1, 3, 6, 51].iter().all(|code| packet.option(*code).is_none()) && packet.option(56).is_some()
        );
    }
    let nameless = Request::new(MessageType::Request, mac(2), 1).option(54, SERVER.octets());
    assert_eq!(ask(&mut book, &nameless, 0).unwrap_err(), Silence::NoAddress("REQUEST"));
}

#[test]
fn after_a_restart_the_own_address_is_confirmed_a_wrong_one_refused_and_strangers_hear_nothing() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let address = bind(&mut book, 1, 0);
    assert_eq!(words(&ask(&mut book, &rebooting(1, address), 9).unwrap()), (MessageType::Ack, address));
    let told = ask(&mut book, &rebooting(1, ip(199)), 9).unwrap();
    assert_eq!(words(&told).0, MessageType::Nak, "another address than its own");
    let told = ask(&mut book, &rebooting(1, [192, 168, 1, 5].into()), 9).unwrap();
    assert_eq!(words(&told).0, MessageType::Nak, "another network");
    let told = ask(&mut book, &rebooting(8, [192, 168, 1, 5].into()), 9).unwrap();
    assert_eq!(words(&told).0, MessageType::Nak, "another network, also for strangers");
    assert_eq!(ask(&mut book, &rebooting(8, address), 9).unwrap_err(), Silence::Unknown(address));
}

#[test]
fn renewing_prolongs_and_answers_the_client_where_it_is() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let address = bind(&mut book, 1, 0);
    let told = ask(&mut book, &renewing(1, address), 5000).unwrap();
    let lease = told.keep.clone().unwrap();
    assert_eq!((lease.since_ms, lease.until_ms), (0, 5000 + i64::from(LEASE) * 1000));
    assert_eq!(words(&told), (MessageType::Ack, address));
    let answer = told.answer.unwrap();
    assert_eq!(answer.to.to_string(), format!("{address}:68"));
    assert_eq!(Packet::parse(&answer.bytes).unwrap().ciaddr, address);
    assert_eq!(words(&ask(&mut book, &renewing(2, address), 5000).unwrap()).0, MessageType::Nak);
    assert_eq!(words(&ask(&mut book, &renewing(2, ip(5)), 5000).unwrap()).0, MessageType::Nak);
    let free = ip(if address == ip(180) { 181 } else { 180 });
    let kept = ask(&mut book, &renewing(3, free), 5000).unwrap();
    assert_eq!(words(&kept).0, MessageType::Ack, "a lease that was lost is taken up again where it is free");
}

#[test]
fn a_declined_address_is_set_aside_for_a_time_and_a_released_one_is_free_at_once() {
    let mut book = book("10.0.0.100-10.0.0.101");
    let address = bind(&mut book, 1, 0);
    let decline = |client| {
        Request::new(MessageType::Decline, mac(client), 1)
            .option(50, address.octets())
            .option(54, [10, 0, 0, 1])
    };
    assert_eq!(ask(&mut book, &decline(2), 0).unwrap_err(), Silence::NotTheirs(address));
    let told = ask(&mut book, &decline(1), 0).unwrap();
    assert!(told.answer.is_none() && told.keep.unwrap().state == State::Declined);
    let other = bind(&mut book, 1, 1);
    assert_ne!(other, address);
    assert!(matches!(ask(&mut book, &discover(2), 1), Err(Silence::Full { .. })));
    let release = |client| Request::new(MessageType::Release, mac(client), 1).ciaddr(other);
    assert_eq!(ask(&mut book, &release(2), 2).unwrap_err(), Silence::NotTheirs(other));
    assert_eq!(ask(&mut book, &release(1), 2).unwrap().keep.unwrap().state, State::Released);
    assert_eq!(bind(&mut book, 2, 3), other);
    assert_eq!(bind(&mut book, 1, 600_001), address, "the time is over");
}

#[test]
fn inform_is_told_options_and_no_address_and_boot_informs_are_not_ours() {
    let mut book = book("10.0.0.100-10.0.0.101");
    let inform = Request::new(MessageType::Inform, mac(1), 1).ciaddr(ip(9));
    let told = ask(&mut book, &inform, 0).unwrap();
    assert_eq!((words(&told), told.keep), ((MessageType::Ack, Ipv4Addr::UNSPECIFIED), None));
    let answer = told.answer.unwrap();
    let packet = Packet::parse(&answer.bytes).unwrap();
    assert!(packet.option(51).is_none() && packet.option(3).is_some());
    assert_eq!(answer.to.to_string(), "10.0.0.9:68");
    let group = inform.clone().ciaddr(Ipv4Addr::new(224, 0, 0, 1));
    assert_eq!(
        ask(&mut book, &group, 0).unwrap_err(),
        Silence::NoAddress("INFORM"),
        "many would be answered"
    );
    for class in ["AAPLBSDPC/i386/iMac14,2", "PXEClient:Arch:00007"] {
        assert_eq!(ask(&mut book, &inform.clone().class(class), 0).unwrap_err(), Silence::BootMatter);
    }
}

#[test]
fn firmware_and_system_with_different_ids_are_two_clients_and_share_a_reservation() {
    let mut plan = subnet("10.0.0.100-10.0.0.199");
    plan.reservations.push(Reservation { who: Who::Mac(mac(1)), address: ip(20) });
    let serial: crate::value::Serial = "C02FEAS00001".parse().unwrap();
    plan.reservations.push(Reservation { who: Who::Serial(serial.clone()), address: ip(150) });
    let mut book = Book::new(Plan::new(vec![plan]).unwrap(), Vec::new());
    assert_eq!(bind(&mut book, 1, 0), ip(20));
    let system = |client| discover(client).option(61, [255, 1, 2, 3]);
    assert_eq!(words(&ask(&mut book, &system(1), 1).unwrap()).1, ip(20), "the same Mac");
    assert_ne!(words(&ask(&mut book, &system(2), 1).unwrap()).1, ip(20));
    let named = |book: &mut Book, client| {
        let told = tell(book, &discover(client), &ground(2), Identity { serial: Some(&serial) }).unwrap();
        words(&told).1
    };
    assert_eq!(named(&mut book, 3), ip(150));
    assert_ne!(named(&mut book, 4), ip(150), "the Mac's second interface, while the first has it");
    for client in 10..60 {
        let address = bind(&mut book, client, 2);
        assert!(address != ip(150) && address != ip(20), "reserved: {address}");
    }
    let told = tell(&mut book, &rebooting(11, ip(150)), &ground(2), Identity { serial: None }).unwrap();
    assert_eq!(words(&told).0, MessageType::Nak);
}

#[test]
fn a_relay_picks_the_subnet_and_gets_its_option_back() {
    let far = Subnet {
        interface: None,
        network: "10.9.0.0/24".parse().unwrap(),
        pools: vec!["10.9.0.100-10.9.0.110".parse().unwrap()],
        routers: vec![[10, 9, 0, 1].into()],
        ..subnet("10.0.0.100-10.0.0.199")
    };
    let mut book = Book::new(Plan::new(vec![subnet("10.0.0.100-10.0.0.199"), far]).unwrap(), Vec::new());
    let relay = Ipv4Addr::new(10, 9, 0, 1);
    let told = ask(&mut book, &discover(1).giaddr(relay).option(82, [1, 2, 3, 4]), 0).unwrap();
    let (_, address) = words(&told);
    assert_eq!(address.octets()[..3], [10, 9, 0]);
    let answer = told.answer.unwrap();
    assert_eq!(answer.to.to_string(), "10.9.0.1:67");
    let packet = Packet::parse(&answer.bytes).unwrap();
    assert_eq!((packet.giaddr, packet.option(82).unwrap().as_ref()), (relay, &[1, 2, 3, 4][..]));
    assert_eq!(packet.address(3), Some(relay));
    ask(&mut book, &selecting(1, SERVER, address).giaddr(relay), 0).unwrap();
    let renewed = ask(&mut book, &renewing(1, address), 9).unwrap();
    assert_eq!(words(&renewed), (MessageType::Ack, address), "it renews past its relay");
    let moved = ask(&mut book, &rebooting(1, ip(120)).giaddr(relay), 9).unwrap();
    assert_eq!(words(&moved).0, MessageType::Nak);
    let answer = moved.answer.unwrap();
    assert_eq!((answer.to.to_string().as_str(), answer.bytes[10] & 0x80), ("10.9.0.1:67", 0x80));
    let stranger = ask(&mut book, &discover(2).giaddr([172, 16, 0, 1].into()), 0).unwrap_err();
    assert!(stranger.to_string().contains("the relay 172.16.0.1"), "{stranger}");
    let elsewhere = Ground { interface: "eth9", ..ground(0) };
    let silent = tell(&mut book, &discover(3), &elsewhere, Identity::default()).unwrap_err();
    assert!(silent.to_string().contains("the interface eth9"), "{silent}");
}

#[test]
fn a_new_address_is_probed_once_and_one_that_is_taken_is_set_aside() {
    let mut book = book("10.0.0.100-10.0.0.101");
    let at = |now_ms| Ground { probes: true, ..ground(now_ms) };
    let bytes = discover(1).encode();
    let packet = Packet::parse(&bytes).unwrap();
    let step = |book: &mut Book, now_ms| book.receive(&packet, Identity::default(), &at(now_ms)).unwrap();
    let Step::Probe { address, interface } = step(&mut book, 0) else { panic!("not probed") };
    assert_eq!(interface.as_deref(), Some("eth0"));
    assert!(matches!(step(&mut book, 1), Step::Probe { address: again, .. } if again == address));
    assert_eq!(book.probed(address, Some(mac(99)), 2).unwrap().state, State::Declined);
    let Step::Probe { address: second, .. } = step(&mut book, 3) else { panic!("not probed") };
    assert_ne!(second, address);
    assert_eq!(book.probed(second, None, 4), None);
    let Step::Tell(told) = step(&mut book, 5) else { panic!("probed twice") };
    assert_eq!(words(&told), (MessageType::Offer, second));
    ask(&mut book, &selecting(1, SERVER, second), 6).unwrap();
    assert!(matches!(step(&mut book, 90_000), Step::Tell(_)), "its own lease is not probed");
}

#[test]
fn old_macs_are_told_their_image_with_their_address() {
    let boot = Boot {
        next_server: SERVER,
        file: FileName::try_from("a.nbi/i386/booter".to_owned()).unwrap(),
        options: vec![(60, b"AAPLBSDPC".to_vec()), (43, vec![8, 4, 0x81, 0, 0, 1])],
    };
    let mut book = book("10.0.0.100-10.0.0.101");
    let at = Ground { boot: Some(&boot), ..ground(0) };
    let request = discover(1).class("AAPLBSDPC/i386/MacBook5,1");
    let told = tell(&mut book, &request, &at, Identity::default()).unwrap();
    assert!(told.detail.contains("a.nbi/i386/booter"), "{}", told.detail);
    let bytes = told.answer.unwrap().bytes;
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.siaddr, packet.file), (SERVER, &b"a.nbi/i386/booter"[..]));
    assert_eq!(packet.option(43).unwrap().as_ref(), [8, 4, 0x81, 0, 0, 1]);
    assert!(!packet.yiaddr.is_unspecified());
}

#[test]
fn leases_are_taken_up_again_and_those_outside_the_plan_are_not() {
    let mut first = book("10.0.0.100-10.0.0.199");
    let address = bind(&mut first, 1, 0);
    let kept: Vec<Lease> = first.leases().cloned().collect();
    let plan = |pool| Plan::new(vec![subnet(pool)]).unwrap();
    let mut second = Book::new(plan("10.0.0.100-10.0.0.199"), kept.clone());
    assert_eq!(words(&ask(&mut second, &rebooting(1, address), 1).unwrap()).1, address);
    assert_eq!(words(&ask(&mut second, &selecting(2, SERVER, address), 1).unwrap()).0, MessageType::Nak);
    assert!(Book::new(plan("10.0.0.2-10.0.0.3"), kept).is_empty());
    assert!(first.release(address, 5).is_some() && first.release(address, 6).is_none());
    let told = ask(&mut first, &selecting(2, SERVER, address), 7).unwrap();
    assert_eq!(words(&told).0, MessageType::Ack);
}

#[test]
fn twenty_thousand_askers_leave_a_table_as_large_as_the_pool() {
    let mut book = book("10.0.0.100-10.0.0.199");
    let answered = (0..20_000).filter(|client| ask(&mut book, &discover(*client), 0).is_ok()).count();
    assert_eq!((answered, book.len()), (100, 100));
}

/// What a simulated client does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    Discover,
    Select,
    SelectOther,
    Renew,
    Reboot(u8),
    Release,
    Decline,
    Forget,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Discover),
        6 => Just(Act::Select),
        1 => Just(Act::SelectOther),
        3 => Just(Act::Renew),
        1 => (90u8..215).prop_map(Act::Reboot),
        1 => Just(Act::Release),
        1 => Just(Act::Decline),
        1 => Just(Act::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two hundred clients, a hundred addresses, any order of events, restarts of the server between them: who believes
    /// to have a lease believes it alone.
    #[test]
    fn no_address_is_ever_two_clients(
        acts in prop::collection::vec((0u16..200, act(), 0i64..300_000, 0u8..100), 1..1500),
    ) {
        let mut book = book("10.0.0.100-10.0.0.199");
        let mut offered: HashMap<u16, Ipv4Addr> = HashMap::new();
        // What each client believes: its address, and until when.
        let mut believed: BTreeMap<u16, (Ipv4Addr, i64)> = BTreeMap::new();
        let mut disk: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
        let mut now_ms = 0;
        for (client, act, pause, crash) in acts {
            now_ms += pause;
            believed.retain(|_, (_, until)| now_ms < *until);
            let own = believed.get(&client).map(|(address, _)| *address);
            let request = match (act, own) {
                (Act::Discover, _) => discover(client),
                (Act::Select, _) => match offered.get(&client) {
                    Some(address) => selecting(client, SERVER, *address),
                    None => continue,
                },
                (Act::SelectOther, _) => selecting(client, OTHER, ip(9)),
                (Act::Renew, Some(address)) => renewing(client, address),
                (Act::Reboot(last), own) => rebooting(client, own.unwrap_or(ip(last))),
                (Act::Release, Some(address)) => Request::new(MessageType::Release, mac(client), 1).ciaddr(address),
                (Act::Decline, Some(address)) => {
                    Request::new(MessageType::Decline, mac(client), 1).option(50, address.octets())
                }
                (Act::Forget, _) => { believed.remove(&client); continue }
                _ => continue,
            };
            if matches!(act, Act::Release | Act::Decline) {
                believed.remove(&client);
            }
            if let Ok(told) = ask(&mut book, &request, now_ms) {
                if let Some(lease) = told.keep.clone() {
                    disk.insert(lease.address, lease);
                }
                if told.answer.is_some() {
                    match words(&told) {
                        (MessageType::Offer, address) => { offered.insert(client, address); }
                        (MessageType::Ack, address) => {
                            let until = now_ms + i64::from(LEASE) * 1000;
                            believed.insert(client, (address, until));
                        }
                        _ => { believed.remove(&client); }
                    }
                }
            }
            if crash == 0 {
                let plan = book.plan().clone();
                book = Book::new(plan, disk.values().cloned().collect());
            }
            let mut holders: Vec<_> = believed.values().map(|(address, _)| *address).collect();
            let all = holders.len();
            holders.sort();
            holders.dedup();
            prop_assert_eq!(holders.len(), all, "an address with two holders");
            prop_assert!(book.len() <= 100);
        }
    }

    /// Any options in any message type: an answer or a reason, and what is given lies in the pool.
    #[test]
    fn any_packet_is_decided(
        kind in 0u8..12,
        ciaddr in any::<u32>(),
        giaddr in prop_oneof![Just(0u32), any::<u32>(), Just(u32::from(SERVER))],
        options in prop::collection::vec(
            (prop::sample::select(vec![12u8, 50, 51, 54, 55, 57, 60, 61, 82]), prop::collection::vec(any::<u8>(), 0..300)),
            0..6,
        ),
    ) {
        let mut book = book("10.0.0.100-10.0.0.199");
        let request = options.into_iter().fold(
            Request::new(MessageType::from(kind), mac(1), 1).ciaddr(ciaddr.into()).giaddr(giaddr.into()),
            |request, (code, value)| request.option(code, value),
        );
        if let Ok(told) = ask(&mut book, &request, 0) && let Some(answer) = told.answer {
            let reply = Packet::parse(&answer.bytes).unwrap();
            prop_assert!(reply.yiaddr.is_unspecified() || (ip(100)..=ip(199)).contains(&reply.yiaddr));
        }
    }
}
