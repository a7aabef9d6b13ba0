//! A wire that is flooded: what a real Mac still gets, how long it takes, and what the server keeps of the flood.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rootstock::netboot::bsdp::MOST_BINDINGS;
use rootstock::netboot::dhcp::Packet;

use crate::discovery::{client, packet};
use crate::lab::Lab;
use crate::served::serve;

const IMAC: &[u8] = b"AAPLBSDPC/i386/iMac14,2";
const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];
const SELECT: &[u8] = &[1, 1, 2, 2, 2, 1, 1, 3, 4, 10, 77, 0, 1, 8, 4, 0x81, 0, 0, 1];
const ALL: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);

/// Distinct hardware addresses of the flood.
const MACS: u32 = 20_000;
/// Packets of one flood at most, however slow the machine is on which it is tested.
const MOST_SENT: usize = 1_000_000;
/// At most 10,000 packets a second of each of the two floods: a server that was built without optimization and shares two
/// processors with the floods loses none of them in the system's queue.
const BURST: u32 = 250;
const PAUSE: Duration = Duration::from_millis(25);
/// After so many the Macs of the test begin, and not before the second number they end.
const MILESTONES: [u64; 2] = [10_000, 2 * MACS as u64];
/// A Mac waits two seconds for its first answer, four for its second (BSDPClient); then it gives up on a SELECT.
const WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];

/// What the floods of one test share.
struct Floods {
    sent: AtomicU64,
    milestone: mpsc::Sender<()>,
}

impl Floods {
    /// Sends what `bytes` makes of a number, in bursts, until the other end of `pace` is dropped; every packet comes
    /// from another hardware address.
    fn pour(&self, socket: &UdpSocket, pace: &mpsc::Receiver<()>, bytes: impl Fn(u32) -> Vec<u8>) {
        for n in (0..MACS).cycle().take(MOST_SENT) {
            if n % BURST == 0 && pace.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Disconnected) {
                break;
            }
            let mut packet = bytes(n);
            if packet.len() > 34 {
                packet[29..33].copy_from_slice(&n.to_be_bytes());
            }
            // A full queue of the interface is no end of the flood.
            let sent =
                self.sent.fetch_add(socket.send_to(&packet, ALL).is_ok().into(), Ordering::Relaxed) + 1;
            if MILESTONES.contains(&sent) {
                let _ = self.milestone.send(());
            }
        }
    }
}

/// As a Mac does it: asks, waits, asks once more. How long it took, in all.
fn as_a_mac(socket: &UdpSocket, bytes: &[u8]) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "the time that a person waits is what is measured")]
    let start = Instant::now();
    let mut buffer = [0; 2000];
    for wait in WAITS {
        socket.send_to(bytes, ALL).unwrap();
        socket.set_read_timeout(Some(wait)).unwrap();
        while let Ok((length, _)) = socket.recv_from(&mut buffer)
            && start.elapsed() < WAITS.iter().sum::<Duration>()
        {
            if Packet::parse(&buffer[..length]).is_ok_and(|reply| reply.xid.to_be_bytes() == bytes[4..8]) {
                return Some(start.elapsed());
            }
        }
    }
    None
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn twenty_thousand_strangers_and_broken_packets_neither_starve_a_mac_nor_fill_the_tables() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    lab.plug("flood", "eth0", "lan", &["10.77.0.66/24"]);
    lab.plug("nobody", "eth0", "lan", &[]);
    let served = serve(&lab, "server", |_| {});
    let (milestone, milestones) = mpsc::channel();
    let floods = Floods { sent: AtomicU64::new(0), milestone };
    let before = resident_kib();
    let floods = &floods;
    let (first, paced_first) = mpsc::channel();
    let (second, paced_second) = mpsc::channel();
    let waited: Vec<(&str, Option<Duration>)> = std::thread::scope(|scope| {
        // Lists, selections and garbage under one address; DISCOVER under none.
        let lab = &lab;
        scope.spawn(move || {
            lab.inside("flood", move || {
                let socket = client(999);
                let address = [10, 77, 0, 66];
                floods.pour(&socket, &paced_first, |n| match n % 3 {
                    0 => packet(0, address, &[(53, &[8]), (60, IMAC), (43, LIST)]),
                    1 => packet(0, address, &[(53, &[8]), (60, IMAC), (43, SELECT)]),
                    _ => packet(0, address, &[(53, &[8]), (60, IMAC), (43, &[1, 200, 1])])
                        [..(n % 250) as usize]
                        .to_vec(),
                });
            });
        });
        scope.spawn(move || {
            lab.inside("nobody", move || {
                // Of another model: what the other flood selects is not bound for them.
                let class: &[u8] = b"AAPLBSDPC/i386/Macmini7,1";
                let options: &[(u8, &[u8])] = &[(53, &[1]), (60, class), (43, &[2, 2, 1, 1])];
                floods.pour(&client(68), &paced_second, |_| packet(0, [0; 4], options));
            });
        });
        // However the test ends, the floods end with these.
        let _paces: [mpsc::Sender<()>; 2] = [first, second];
        lab.inside("mac", move || {
            let socket = client(68);
            milestones.recv_timeout(Duration::from_secs(60)).unwrap();
            let mut waited = Vec::new();
            for mac in 1..=10 {
                for (name, vendor) in [("LIST", LIST), ("SELECT", SELECT)] {
                    let mut ask = packet(mac, [10, 77, 0, 50], &[(53, &[8]), (60, IMAC), (43, vendor)]);
                    ask[4] = vendor[2];
                    waited.push((name, as_a_mac(&socket, &ask)));
                }
            }
            milestones.recv_timeout(Duration::from_secs(60)).unwrap();
            waited
        })
    });
    let (after, sent) = (resident_kib(), floods.sent.load(Ordering::Relaxed));
    let counters = &served.counters;
    let [answered, surplus, crowded_out, malformed] =
        [&counters.answered, &counters.surplus, &counters.crowded_out, &counters.malformed]
            .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{sent} packets of a flood: {answered} answered, {surplus} surplus, {crowded_out} crowded out, {malformed} \
         malformed; {before} to {after} KiB; a Mac waited {waited:?}"
    );
    assert!(waited.iter().all(|(_, waited)| waited.is_some()), "a Mac gave up: {waited:?}");
    assert!(surplus > 1000 && malformed > 1000, "{surplus} {malformed}");
    let bound = served.bindings.read().len();
    assert!((10..=MOST_BINDINGS).contains(&bound), "{bound}");
    assert!(after.saturating_sub(before) < 64 * 1024, "{before} to {after} KiB");
}
