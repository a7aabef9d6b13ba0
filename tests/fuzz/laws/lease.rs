//! A DHCP server's leases, whatever its clients say in whatever order: no address is two clients', nothing is given that the
//! plan does not have, what was acknowledged survives a restart, and nobody is flooded.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rootstock::netboot::dhcp::{Destination, MessageType, Packet, Request, code};
use rootstock::netboot::lease::{
    Book, Ground, Identity, Lease, Plan, Reservation, State, Step, Subnet, Told, Who,
};
use rootstock::value::MacAddr;

use super::assert_fit_for_a_log;
use super::input::Input;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const LEASE_SECS: u32 = 3600;

/// Six addresses for anyone, one for the first Mac.
fn plan() -> Plan {
    let subnet = Subnet {
        interface: Some("eth0".into()),
        network: "10.0.0.0/28".parse().expect("a network"),
        pools: vec!["10.0.0.2-10.0.0.7".parse().expect("a pool")],
        reservations: vec![Reservation { who: Who::Mac(mac(0)), address: RESERVED }],
        routers: vec![SERVER],
        dns: vec![SERVER],
        ntp: vec![SERVER],
        domain: Some("lab.test".into()),
        lease_secs: LEASE_SECS,
    };
    Plan::new(vec![subnet]).expect("a plan of the law's own")
}

fn mac(client: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, client])
}

/// The book, and what a bystander knows: who was acknowledged which address until when.
struct Lab {
    book: Book,
    /// What is on disk, by address.
    disk: BTreeMap<Ipv4Addr, Lease>,
    holders: BTreeMap<Ipv4Addr, (Client, i64)>,
    now_ms: i64,
    probes: bool,
}

/// Eight Macs, each with its firmware's identifier and its system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client(u8);

impl Client {
    fn mac(self) -> MacAddr {
        mac(self.0 & 7)
    }

    fn says(self, kind: MessageType) -> Request {
        let request = Request::new(kind, self.mac(), self.0.into());
        if self.0 & 8 == 0 { request } else { request.option(code::CLIENT_ID, [255, 1, self.0]) }
    }
}

pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let probes = input.byte() & 1 == 0;
    let book = Book::new(plan(), Vec::new());
    let mut lab = Lab { book, disk: BTreeMap::new(), holders: BTreeMap::new(), now_ms: 1 << 40, probes };
    while !input.is_empty() {
        lab.event(&mut input);
        assert!(lab.book.len() <= 7, "more leases than addresses");
    }
}

impl Lab {
    fn event(&mut self, input: &mut Input<'_>) {
        let (kind, who, at) = (input.byte(), input.byte(), input.byte());
        let client = Client(who & 15);
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::from(at & 31));
        let server = if who & 0x80 == 0 { SERVER } else { Ipv4Addr::new(10, 0, 0, 8) };
        let request = match kind % 12 {
            0 => return self.now_ms += i64::from(who) * i64::from(at) * 500,
            1 => client.says(MessageType::Discover),
            2 => client.says(MessageType::Discover).option(code::REQUESTED_ADDRESS, address.octets()),
            3 | 4 => client
                .says(MessageType::Request)
                .option(code::SERVER_ID, server.octets())
                .option(code::REQUESTED_ADDRESS, address.octets()),
            5 => client.says(MessageType::Request).option(code::REQUESTED_ADDRESS, address.octets()),
            6 => client.says(MessageType::Request).ciaddr(address),
            7 => client.says(MessageType::Decline).option(code::REQUESTED_ADDRESS, address.octets()),
            8 => client.says(MessageType::Release).ciaddr(address),
            9 => {
                // Whatever an INFORM, or anything else, may say.
                let kind = MessageType::from(who >> 4);
                let request = client.says(kind).ciaddr(input.address()).giaddr(input.address());
                let option = input.byte();
                match option {
                    code::PAD | code::END | code::OVERLOAD => request,
                    option => request.option(option, input.counted()),
                }
            }
            10 => return self.restart(),
            _ => {
                if let Some(lease) = self.book.release(address, self.now_ms) {
                    self.keep(lease);
                }
                return;
            }
        };
        self.ask(client, &request.encode(), input);
    }

    fn ask(&mut self, client: Client, bytes: &[u8], input: &mut Input<'_>) {
        let packet = Packet::parse(bytes).expect("a request of the law's own");
        // Each probe sets one address aside or frees it: there are not many.
        for _ in 0..9 {
            let ground = Ground {
                server: SERVER,
                own: &[SERVER],
                interface: "eth0",
                probes: self.probes,
                boot: None,
                now_ms: self.now_ms,
            };
            match self.book.receive(&packet, Identity::default(), &ground) {
                Err(silence) => return assert_fit_for_a_log(&silence.to_string()),
                Ok(Step::Tell(told)) => return self.told(client, &packet, told),
                Ok(Step::Probe { address, .. }) => {
                    self.is_in_plan(client, address);
                    let holder = (input.byte() & 3 == 1).then_some(MacAddr::new([6; 6]));
                    if let Some(lease) = self.book.probed(address, holder, self.now_ms) {
                        self.keep(lease);
                    }
                }
            }
        }
        panic!("it probes for ever");
    }

    fn told(&mut self, client: Client, packet: &Packet<'_>, told: Told) {
        assert_fit_for_a_log(&told.detail);
        assert_eq!(told.mac, client.mac());
        let kept = told.keep.clone();
        if let Some(lease) = told.keep {
            self.keep(lease);
        }
        let Some(answer) = told.answer else { return };
        let reply = Packet::parse(&answer.bytes).expect("an answer is a packet");
        assert!(!reply.is_request && answer.bytes.len() >= 300);
        assert_eq!((reply.xid, reply.chaddr, reply.giaddr), (packet.xid, packet.chaddr, packet.giaddr));
        if let Destination::Unicast(to) = answer.to {
            let ip = *to.ip();
            assert!(!ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(), "sent to {to}");
        }
        let given = Ipv4Addr::from([16, 17, 18, 19].map(|at| answer.bytes[at]));
        let secs = reply
            .option(code::LEASE_TIME)
            .map(|value| u32::from_be_bytes((*value).try_into().expect("four bytes")));
        match reply.message_type() {
            Some(MessageType::Offer | MessageType::Ack) if !given.is_unspecified() => {
                self.is_in_plan(client, given);
                self.is_nobody_elses(client, given);
                let secs = secs.expect("an address is given for a time");
                assert!((60..=LEASE_SECS).contains(&secs), "{secs} s");
                if reply.message_type() == Some(MessageType::Ack) {
                    let until_ms = self.now_ms + i64::from(secs) * 1000;
                    let kept = kept.expect("acknowledged, so kept");
                    assert_eq!((kept.address, kept.mac, kept.state), (given, client.mac(), State::Bound));
                    assert_eq!(kept.until_ms, until_ms);
                    self.holders.insert(given, (client, until_ms));
                }
            }
            Some(MessageType::Ack | MessageType::Nak) => {
                assert!(given.is_unspecified() && secs.is_none() && kept.is_none())
            }
            other => panic!("a server says {other:?}"),
        }
    }

    /// On disk before the answer; what is given back or set aside is nobody's.
    fn keep(&mut self, lease: Lease) {
        assert_ne!(lease.state, State::Offered, "an offer is no lease");
        if lease.state != State::Bound {
            self.holders.remove(&lease.address);
        }
        self.disk.insert(lease.address, lease);
    }

    fn is_in_plan(&self, client: Client, address: Ipv4Addr) {
        let [a, b, c, last] = address.octets();
        let is_reserved = address == RESERVED && client.mac() == mac(0);
        assert!([a, b, c] == [10, 0, 0] && (2..=7).contains(&last) || is_reserved, "{address} to {client:?}");
    }

    fn is_nobody_elses(&self, client: Client, address: Ipv4Addr) {
        if let Some((holder, until_ms)) = self.holders.get(&address) {
            // A reservation is the Mac's, under both of its identifiers.
            let is_own = *holder == client || address == RESERVED && holder.mac() == client.mac();
            assert!(
                is_own || *until_ms <= self.now_ms,
                "{address} is {holder:?}'s and is given to {client:?}"
            );
        }
    }

    /// Power cut: what was acknowledged is known again, and still nobody else's.
    fn restart(&mut self) {
        self.book = Book::new(plan(), self.disk.values().cloned().collect());
        for (address, (_, until_ms)) in &self.holders {
            let is_held =
                self.book.leases().any(|lease| lease.address == *address && lease.is_held(self.now_ms));
            assert!(is_held || *until_ms <= self.now_ms, "{address} was forgotten");
        }
    }
}
