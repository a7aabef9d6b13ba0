//! Reads one file by TFTP as many clients at once: `tftpload SERVER:PORT FILE --clients N [--blksize B] [--window W]`.
//!
//! One thread and one epoll for all clients, so that the load weighs little beside the server that is measured. Every
//! block is compared with the file on disk. Prints one line of JSON. Owns: what a client of RFC 1350, 2348 and 7440
//! sends when. Must not know: which server it measures.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

/// A client asks, or acknowledges, again after this much silence.
const RETRY: Duration = Duration::from_millis(1000);
/// And gives up after this many times.
const TRIES: u32 = 20;

struct Plan {
    server: SocketAddrV4,
    path: String,
    expected: Vec<u8>,
    clients: usize,
    block_size: usize,
    window: u64,
    /// Clients have addresses of 127.0.1.0/24 in turn, else the system's choice.
    spread: bool,
}

/// The program's arguments: two words, and options with a value each.
fn plan() -> Result<Plan, String> {
    let mut words = Vec::new();
    let mut options = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.strip_prefix("--") {
            Some(name) => {
                options.insert(name.to_owned(), arguments.next().ok_or("an option lacks its value")?)
            }
            None => {
                words.push(word);
                None
            }
        };
    }
    let mut number = |name: &str, default: usize| match options.remove(name) {
        Some(text) => text.parse().map_err(|_| format!("--{name} {text} is no number")),
        None => Ok(default),
    };
    let (clients, block_size, window) =
        (number("clients", 1)?, number("blksize", 512)?, number("window", 0)?);
    let spread = number("spread", 0)? != 0;
    let compare = options.remove("compare").ok_or("--compare FILE names what is served")?;
    let [server, path] = words.try_into().map_err(|_| "SERVER:PORT and FILE are wanted")?;
    Ok(Plan {
        server: server.parse().map_err(|_| format!("{server} is no ADDRESS:PORT"))?,
        path,
        expected: std::fs::read(&compare).map_err(|error| format!("{compare}: {error}"))?,
        clients,
        block_size,
        window: window as u64,
        spread,
    })
}

/// What a packet did.
#[derive(PartialEq, Eq)]
enum Now {
    Reads,
    Done,
}

struct Client {
    socket: UdpSocket,
    transfer: Option<SocketAddr>,
    request: Vec<u8>,
    block_size: usize,
    window: u64,
    /// Blocks that are here.
    got: u64,
    unacknowledged: u64,
    /// A block out of turn came and was answered.
    gap: bool,
    heard: Instant,
    silences: u32,
    resent: u64,
    took: Option<Duration>,
}

impl Client {
    fn ask(plan: &Plan, number: usize) -> io::Result<Client> {
        let host = 1 + u8::try_from(number % 250).unwrap_or(0);
        let own = if plan.spread { Ipv4Addr::new(127, 0, 1, host) } else { Ipv4Addr::UNSPECIFIED };
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_nonblocking(true)?;
        // A window of every client must fit, or the measure would be of losses.
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).map_err(io::Error::from)?;
        let mut request = format!("\0\u{1}{}\0octet\0", plan.path);
        if plan.block_size != 512 {
            request.push_str(&format!("blksize\0{}\0", plan.block_size));
        }
        if plan.window > 0 {
            request.push_str(&format!("windowsize\0{}\0", plan.window));
        }
        let request = request.into_bytes();
        socket.send_to(&request, plan.server)?;
        Ok(Client {
            socket,
            transfer: None,
            request,
            block_size: 512,
            window: 1,
            got: 0,
            unacknowledged: 0,
            gap: false,
            heard: now(),
            silences: 0,
            resent: 0,
            took: None,
        })
    }

    /// Reads what is there, at most a window.
    fn receive(&mut self, plan: &Plan, buffer: &mut [u8]) -> Result<Now, String> {
        for _ in 0..self.window.max(1) {
            let got = match self.transfer {
                Some(_) => self.socket.recv(buffer),
                None => self.socket.recv_from(buffer).and_then(|(length, from)| {
                    self.transfer = Some(from);
                    self.socket.connect(from).map(|()| length)
                }),
            };
            let length = match got {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            };
            let before = self.got;
            if self.take(plan, &buffer[..length])? == Now::Done {
                return Ok(Now::Done);
            }
            if self.got > before && self.unacknowledged == 0 {
                break;
            }
        }
        Ok(Now::Reads)
    }

    fn take(&mut self, plan: &Plan, packet: &[u8]) -> Result<Now, String> {
        (self.heard, self.silences) = (now(), 0);
        match packet {
            [0, 3, high, low, bytes @ ..] => {
                if u16::from_be_bytes([*high, *low]) != (self.got + 1) as u16 {
                    // A gap, or a block that came twice: one answer until the next block in turn.
                    if !std::mem::replace(&mut self.gap, true) {
                        self.acknowledge()?;
                    }
                    return Ok(Now::Reads);
                }
                let start = self.got as usize * self.block_size;
                if plan.expected.get(start..start + bytes.len()) != Some(bytes) {
                    return Err(format!("block {} has other bytes than the file", self.got + 1));
                }
                self.gap = false;
                self.got += 1;
                self.unacknowledged += 1;
                let is_last = bytes.len() < self.block_size;
                if is_last && start + bytes.len() != plan.expected.len() {
                    return Err(format!("the file ended after {} bytes", start + bytes.len()));
                }
                if is_last || self.unacknowledged >= self.window {
                    self.acknowledge()?;
                }
                Ok(if is_last { Now::Done } else { Now::Reads })
            }
            [0, 6, options @ ..] => {
                let words: Vec<_> = options.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                for pair in words.chunks_exact(2) {
                    let number = pair[1].parse().map_err(|_| format!("OACK: {pair:?}"))?;
                    match pair[0].to_ascii_lowercase().as_str() {
                        "blksize" => self.block_size = number,
                        "windowsize" => self.window = number as u64,
                        _ => {}
                    }
                }
                self.acknowledge()?;
                Ok(Now::Reads)
            }
            [0, 5, _, code, text @ ..] => {
                Err(format!("ERROR {code}: {}", String::from_utf8_lossy(text).trim_end_matches('\0')))
            }
            other => Err(format!("{} bytes that are no answer", other.len())),
        }
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        self.unacknowledged = 0;
        let [high, low] = (self.got as u16).to_be_bytes();
        self.socket.send(&[0, 4, high, low]).map(drop).map_err(|error| error.to_string())
    }

    /// After a silence, says the last thing again.
    fn remind(&mut self, plan: &Plan) -> Result<(), String> {
        if self.heard.elapsed() < RETRY {
            return Ok(());
        }
        self.silences += 1;
        if self.silences > TRIES {
            return Err(format!("silence after {} blocks", self.got));
        }
        (self.heard, self.gap) = (now(), false);
        self.resent += 1;
        match self.transfer {
            Some(_) => self.acknowledge(),
            None => {
                self.socket.send_to(&self.request, plan.server).map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn run(plan: &Plan) -> Result<String, String> {
    let failed = |error: io::Error| error.to_string();
    let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(io::Error::from).map_err(failed)?;
    let began = now();
    let mut clients = Vec::with_capacity(plan.clients);
    for number in 0..plan.clients {
        let client = Client::ask(plan, number).map_err(failed)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        epoll.add(&client.socket, event).map_err(io::Error::from).map_err(failed)?;
        clients.push(client);
    }
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; 70_000];
    let (mut reading, mut looked) = (clients.len(), began);
    while reading > 0 {
        let count =
            epoll.wait(&mut events, EpollTimeout::from(100u16)).map_err(io::Error::from).map_err(failed)?;
        for event in &events[..count] {
            let number = event.data() as usize;
            let client = &mut clients[number];
            let told =
                client.receive(plan, &mut buffer).map_err(|error| format!("client {number}: {error}"))?;
            if told == Now::Done {
                client.took = Some(began.elapsed());
                reading -= 1;
                epoll.delete(&client.socket).map_err(io::Error::from).map_err(failed)?;
            }
        }
        if looked.elapsed() > Duration::from_millis(100) {
            looked = now();
            for (number, client) in clients.iter_mut().enumerate().filter(|(_, client)| client.took.is_none())
            {
                client.remind(plan).map_err(|error| format!("client {number}: {error}"))?;
            }
        }
    }
    let mut took: Vec<f64> =
        clients.iter().filter_map(|client| client.took).map(|took| took.as_secs_f64()).collect();
    took.sort_by(f64::total_cmp);
    let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    let bytes = plan.expected.len() * clients.len();
    let resent: u64 = clients.iter().map(|client| client.resent).sum();
    Ok(format!(
        "{{\"clients\": {}, \"bytes\": {bytes}, \"seconds\": {slowest:.4}, \"median_seconds\": {median:.4}, \
         \"mb_per_s\": {:.2}, \"resent\": {resent}, \"window\": {}, \"block_size\": {}}}",
        clients.len(),
        bytes as f64 / 1e6 / slowest,
        clients[0].window,
        clients[0].block_size,
    ))
}

fn main() -> std::process::ExitCode {
    match plan().and_then(|plan| run(&plan)) {
        Ok(line) => {
            println!("{line}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
