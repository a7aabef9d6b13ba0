//! A bad wire in user space: passes TFTP datagrams between clients and a server, and loses, doubles and reorders some of
//! them, the same ones for the same seed. (Kernels without netem cannot do it.)

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::Lab;

/// Chances of a datagram, in percent.
#[derive(Clone, Copy)]
pub struct Wire {
    pub lost: u64,
    pub doubled: u64,
    /// Held back until the next one of the same direction has passed, or for a moment.
    pub late: u64,
}

/// What the wire did.
#[derive(Default)]
pub struct Counts {
    pub passed: AtomicU64,
    pub lost: AtomicU64,
    pub doubled: AtomicU64,
    pub late: AtomicU64,
}

/// A relay at work; ends when dropped.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub counts: Arc<Counts>,
}

/// How long a datagram is late when no other follows.
const LATE: Duration = Duration::from_millis(4);

impl Relay {
    /// Stands at `at`:69 in `machine`, and passes everything on to `server`:69. One client at a time.
    pub fn start(lab: &Lab, machine: &str, at: Ipv4Addr, server: Ipv4Addr, wire: Wire, seed: u64) -> Relay {
        let (door, counts, stop) = lab.inside(machine, || {
            let door = UdpSocket::bind((at, 69)).unwrap();
            door.set_read_timeout(Some(LATE)).unwrap();
            (door, Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)))
        });
        let (counted, stopped, space) = (counts.clone(), stop.clone(), lab.space(machine));
        let thread = std::thread::spawn(move || {
            crate::lab::enter(&space);
            let mut sessions: HashMap<SocketAddr, JoinHandle<()>> = HashMap::new();
            let mut dice = Dice(seed);
            let mut buffer = [0; 2000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, client)) = door.recv_from(&mut buffer) else { continue };
                let request = buffer[..length].to_vec();
                // A request that comes again belongs to the session that is there.
                let session = Session::new(at, client, server, request, wire, dice.next(), counted.clone());
                if sessions.get(&client).is_none_or(JoinHandle::is_finished) {
                    let stopped = stopped.clone();
                    sessions.insert(client, std::thread::spawn(move || session.run(&stopped)));
                }
            }
            sessions.into_values().for_each(|session| session.join().unwrap());
        });
        Relay { stop, thread: Some(thread), counts }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// One client's datagrams, both ways.
struct Session {
    /// Faces the client, as the server's transfer port would.
    near: UdpSocket,
    /// Faces the server, as the client's port would.
    far: UdpSocket,
    client: SocketAddr,
    door: SocketAddr,
    request: Vec<u8>,
    wire: Wire,
    dice: Dice,
    counts: Arc<Counts>,
}

impl Session {
    fn new(
        at: Ipv4Addr,
        client: SocketAddr,
        server: Ipv4Addr,
        request: Vec<u8>,
        wire: Wire,
        seed: u64,
        counts: Arc<Counts>,
    ) -> Session {
        let socket = || {
            let socket = UdpSocket::bind((at, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let door = SocketAddr::from((server, 69));
        Session { near: socket(), far: socket(), client, door, request, wire, dice: Dice(seed), counts }
    }

    fn run(mut self, stopped: &AtomicBool) {
        use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        for (number, socket) in [&self.near, &self.far].into_iter().enumerate() {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64)).unwrap();
        }
        let mut transfer: Option<SocketAddr> = None;
        let mut held: [Option<Vec<u8>>; 2] = [None, None];
        let request = self.request.clone();
        self.pass(&mut held[0], &request, true, Some(self.door));
        let (mut buffer, mut events, mut quiet) = (vec![0; 70_000], [EpollEvent::empty(); 2], 0);
        // Longer than any client of the tests is silent; the request itself may have been lost.
        while quiet < 3000 && !stopped.load(Ordering::Relaxed) {
            let count = epoll.wait(&mut events, EpollTimeout::from(LATE.as_millis() as u16)).unwrap_or(0);
            quiet = if count == 0 { quiet + 1 } else { 0 };
            if count == 0 {
                // Nothing follows what is late: it arrives now. A lost request is repeated here, where clients wait for
                // five seconds and more before they do.
                self.release(&mut held[0], transfer.or(Some(self.door)), true);
                self.release(&mut held[1], Some(self.client), false);
                if transfer.is_none() && quiet % 50 == 0 {
                    self.far.send_to(&request, self.door).unwrap();
                }
                continue;
            }
            while let Ok(length) = self.near.recv(&mut buffer) {
                let packet = buffer[..length].to_vec();
                self.pass(&mut held[0], &packet, true, transfer);
            }
            while let Ok((length, from)) = self.far.recv_from(&mut buffer) {
                transfer = Some(from);
                let packet = buffer[..length].to_vec();
                self.pass(&mut held[1], &packet, false, Some(self.client));
            }
        }
    }

    /// Passes a datagram on as the dice fall.
    fn pass(&mut self, held: &mut Option<Vec<u8>>, packet: &[u8], to_server: bool, to: Option<SocketAddr>) {
        let chance = self.dice.next() % 100;
        let Wire { lost, doubled, late } = self.wire;
        self.counts.passed.fetch_add(1, Ordering::Relaxed);
        if chance < lost {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        } else if chance < lost + late && held.is_none() {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
            *held = Some(packet.to_vec());
            return;
        } else {
            self.send(packet, to, to_server);
            if chance >= 100 - doubled {
                self.counts.doubled.fetch_add(1, Ordering::Relaxed);
                self.send(packet, to, to_server);
            }
        }
        self.release(held, to, to_server);
    }

    fn release(&self, held: &mut Option<Vec<u8>>, to: Option<SocketAddr>, to_server: bool) {
        if let Some(packet) = held.take() {
            self.send(&packet, to, to_server);
        }
    }

    fn send(&self, packet: &[u8], to: Option<SocketAddr>, to_server: bool) {
        let Some(to) = to else { return };
        // A port that was closed meanwhile: on a wire, nobody would notice.
        let _ = if to_server { self.far.send_to(packet, to) } else { self.near.send_to(packet, to) };
    }
}

/// xorshift64*: the same falls for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}
