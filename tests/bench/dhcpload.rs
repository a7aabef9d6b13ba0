//! Asks a server as many Macs at once: `dhcpload SERVER --clients N --seconds S [--rate R]`.
//!
//! Every request is an INFORM\[LIST\] as Intel firmware sends it (bsdp.md section 1), of another Mac each time: address,
//! MAC and transaction go through a pool of 60,000 in 10.93.0.0/16, so that a server that limits each source serves all.
//! An answer counts when it is the ACK\[LIST\] to that transaction. Without `--rate` each of N clients asks again as soon
//! as it has its answer; with it, R requests a second are sent in all, by the clock, and at most N wait at once. Prints
//! one line of JSON.
//!
//! Answers go to each client's address: the machine needs `ip route add local 10.93.0.0/16 dev lo`.
//!
//! Owns: what a Mac asks, and how long it waits. Must not know: which server it measures.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use rootstock::netboot::dhcp::{MessageType, Packet, code};

/// Macs in all; the first two hundred addresses stay free.
const POOL: u32 = 60_000;
const FIRST: u32 = u32::from_be_bytes([10, 93, 1, 0]);
/// Without an answer for so long a request is lost, as every client of the field would see it: they wait 2 s and more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before it counts, so that caches and threads are warm.
const WARM_UP: Duration = Duration::from_millis(300);

struct Plan {
    server: Ipv4Addr,
    clients: usize,
    time: Duration,
    rate: Option<f64>,
}

/// One client's request on the wire: the transaction is its place in the table and the turn.
#[derive(Clone, Copy)]
struct Asked {
    turn: u32,
    at: Instant,
}

struct Load {
    socket: UdpSocket,
    server: SockaddrIn,
    places: Vec<Option<Asked>>,
    turn: u32,
    latencies: Vec<Duration>,
    counts_from: Instant,
    lost: u64,
    wrong: u64,
}

/// Places are the low bits of a transaction.
const PLACES: u32 = 1 << 12;

impl Load {
    fn new(plan: &Plan, counts_from: Instant) -> anyhow::Result<Load> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).context("binding port 68")?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20)?;
        socket.set_nonblocking(true)?;
        Ok(Load {
            socket,
            server: SockaddrIn::from(SocketAddrV4::new(plan.server, 67)),
            places: vec![None; plan.clients],
            turn: 0,
            latencies: Vec::new(),
            counts_from,
            lost: 0,
            wrong: 0,
        })
    }

    fn ask(&mut self, place: usize, now: Instant) -> anyhow::Result<()> {
        self.turn = self.turn.wrapping_add(1) & (u32::MAX / PLACES);
        let number = self.turn % POOL;
        let source = Ipv4Addr::from(FIRST + number);
        let bytes = request(self.turn * PLACES + u32::try_from(place)?, source, number);
        let from = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&from)];
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &control,
            MsgFlags::empty(),
            Some(&self.server),
        );
        match sent {
            // A full queue: lost as on any wire, and noticed as such.
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::ENOBUFS) => {}
            Err(error) => bail!("sending from {source}: {error}"),
        }
        self.places[place] = Some(Asked { turn: self.turn, at: now });
        Ok(())
    }

    /// The place that an answer was for.
    fn hear(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        let Some(xid) = list_answer(bytes) else {
            self.wrong += 1;
            return None;
        };
        let place = usize::try_from(xid % PLACES).ok()?;
        let asked = self.places.get(place).copied().flatten()?;
        if asked.turn != xid / PLACES {
            return None;
        }
        self.places[place] = None;
        if asked.at >= self.counts_from {
            self.latencies.push(now - asked.at);
        }
        Some(place)
    }

    fn forget_the_lost(&mut self, now: Instant) {
        for place in &mut self.places {
            if let Some(asked) = place.filter(|asked| now - asked.at > PATIENCE) {
                self.lost += u64::from(asked.at >= self.counts_from);
                *place = None;
            }
        }
    }
}

/// An INFORM\[LIST\] of Intel firmware.
fn request(xid: u32, address: Ipv4Addr, number: u32) -> [u8; 300] {
    let mut bytes = [0; 300];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[12..16].copy_from_slice(&address.octets());
    bytes[28..30].copy_from_slice(&[0x02, 0x93]);
    bytes[30..34].copy_from_slice(&number.to_be_bytes());
    bytes[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let class = b"AAPLBSDPC/i386/iMac14,2";
    let head = [53, 1, 8, 55, 5, 1, 3, 67, 43, 60, 57, 2, 0x05, 0xdc, 60, class.len() as u8];
    let options = [&head[..], class, &[43, 7, 1, 1, 1, 2, 2, 1, 1, 255]].concat();
    bytes[240..240 + options.len()].copy_from_slice(&options);
    bytes
}

/// The transaction of an ACK\[LIST\] that a Mac would believe.
fn list_answer(bytes: &[u8]) -> Option<u32> {
    let packet = Packet::parse(bytes).ok()?;
    let is_list = packet.instances(code::VENDOR).next()?.starts_with(&[1, 1, 1]);
    let is_bsdp = packet.option(code::CLASS_ID).as_deref() == Some(b"AAPLBSDPC");
    let is_ack = packet.message_type() == Some(MessageType::Ack);
    (!packet.is_request && is_ack && is_list && is_bsdp).then_some(packet.xid)
}

#[expect(clippy::disallowed_methods, reason = "a program that measures time")]
fn now() -> Instant {
    Instant::now()
}

fn measure(plan: &Plan) -> anyhow::Result<String> {
    let begin = now();
    let (counts_from, end) = (begin + WARM_UP, begin + WARM_UP + plan.time);
    let mut load = Load::new(plan, counts_from)?;
    let mut buffer = [0; 9000];
    let mut free: Vec<usize> = (0..plan.clients).collect();
    let (mut due, mut swept, mut late) = (begin, begin, 0_u64);
    loop {
        let time = now();
        if time >= end {
            break;
        }
        if time - swept > PATIENCE / 4 {
            load.forget_the_lost(time);
            free = (0..plan.clients).filter(|place| load.places[*place].is_none()).collect();
            swept = time;
        }
        match plan.rate {
            None => {
                while let Some(place) = free.pop() {
                    load.ask(place, now())?;
                }
            }
            Some(rate) => {
                while due <= time {
                    match free.pop() {
                        Some(place) => load.ask(place, now())?,
                        None => late += u64::from(due >= counts_from),
                    }
                    due += Duration::from_secs_f64(1.0 / rate);
                }
            }
        }
        let patience = match plan.rate {
            None => Duration::from_millis(50),
            Some(_) => due.saturating_duration_since(now()).min(Duration::from_millis(50)),
        };
        wait(&load.socket, patience)?;
        loop {
            match load.socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(from))) if from.ip() == &plan.server => {
                    free.extend(load.hear(&buffer[..length], now()));
                }
                Ok(_) => load.wrong += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("receiving"),
            }
            // A fast server must not keep the clock from being looked at.
            if plan.rate.is_some() && due <= now() || free.len() >= 64 {
                break;
            }
        }
    }
    Ok(report(plan, load, late))
}

/// Waits for an answer, shorter than the clock's next request.
fn wait(socket: &UdpSocket, patience: Duration) -> anyhow::Result<()> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // Milliseconds, rounded down: the last one is waited for awake, or a request would come late.
    let milliseconds = u16::try_from(patience.as_millis()).unwrap_or(50);
    match poll(&mut ready, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error).context("waiting"),
    }
}

fn report(plan: &Plan, load: Load, late: u64) -> String {
    let mut latencies = load.latencies;
    latencies.sort_unstable();
    let at = |part: f64| {
        let place = (latencies.len() as f64 * part) as usize;
        latencies.get(place.min(latencies.len().saturating_sub(1))).map_or(0, Duration::as_micros)
    };
    format!(
        "{{\"clients\": {}, \"answers\": {}, \"per_second\": {:.1}, \"p50_us\": {}, \"p99_us\": {}, \"max_us\": {}, \
         \"lost\": {}, \"late\": {late}, \"wrong\": {}}}",
        plan.clients,
        latencies.len(),
        latencies.len() as f64 / plan.time.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        load.lost,
        load.wrong
    )
}

fn plan() -> anyhow::Result<Plan> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("dhcpload SERVER --clients N --seconds S [--rate R]")?;
    let mut plan = Plan { server: server.parse()?, clients: 1, time: Duration::from_secs(2), rate: None };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} lacks its value"))?;
        match name.as_str() {
            "--clients" => plan.clients = value.parse()?,
            "--seconds" => plan.time = Duration::try_from_secs_f64(value.parse()?)?,
            "--rate" => plan.rate = Some(value.parse()?).filter(|rate| *rate > 0.0),
            _ => bail!("there is no option {name}"),
        }
    }
    if !(1..=PLACES as usize).contains(&plan.clients) {
        bail!("--clients is 1 to {PLACES}");
    }
    Ok(plan)
}

fn main() -> ExitCode {
    match plan().and_then(|plan| measure(&plan)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
