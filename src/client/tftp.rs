//! Fetches a file by TFTP, as a Mac's firmware does: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440.
//!
//! Owns: the socket, the blocks in order, repeated requests and acknowledgements. Must not know: who asks, and why.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// Tries of one packet before the server counts as silent.
const TRIES: u32 = 4;
/// Wait for an answer before the last packet is repeated.
const RETRY: Duration = Duration::from_millis(700);
/// Larger than any block that fits into a UDP datagram.
const LONGEST: usize = 65_536;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Path on the server.
    pub file: &'a str,
    /// Bytes of a block; Apple's firmware asks for 1408 to 1468.
    pub block_size: u16,
    /// Blocks before an acknowledgement.
    pub window: u16,
    /// Bytes after which the transfer is ended: the head of a large file is enough to see that it comes.
    pub most: usize,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes, at most as many as wished.
    pub bytes: Vec<u8>,
    /// Whether this is all of it.
    pub whole: bool,
    /// Size of the file as the server told it.
    pub size: Option<u64>,
    /// Bytes of a block, as agreed.
    pub block_size: u16,
    /// Blocks before an acknowledgement, as agreed.
    pub window: u16,
    /// Packets that had to be repeated.
    pub repeated: u32,
    /// From the request to the last block.
    pub took: Duration,
    /// Where the blocks came from.
    pub from: SocketAddrV4,
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// Nobody answers the request.
    #[error("{server} does not answer a TFTP request for {file}")]
    Silent {
        /// Who was asked.
        server: SocketAddrV4,
        /// What for.
        file: String,
    },
    /// The machine has nothing on that port.
    #[error("nothing listens for TFTP at {0}")]
    Closed(SocketAddrV4),
    /// The blocks stopped coming.
    #[error("{file} broke off after {arrived} bytes: {server} fell silent")]
    BrokeOff {
        /// Who was asked.
        server: SocketAddrV4,
        /// What for.
        file: String,
        /// What had come.
        arrived: usize,
    },
    /// The server said no.
    #[error("{server} refuses {file}: {message} (TFTP error {code})")]
    Refused {
        /// Who.
        server: SocketAddrV4,
        /// What.
        file: String,
        /// RFC 1350 error code.
        code: u16,
        /// In its words.
        message: String,
    },
    /// The path cannot stand in a request.
    #[error("`{0}` cannot be asked for by TFTP: too long, or it has a NUL in it")]
    BadPath(String),
    /// The system.
    #[error("the TFTP request to {server} cannot be made")]
    Socket {
        /// Who was to be asked.
        server: SocketAddrV4,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
enum FromServer<'a> {
    Data(u16, &'a [u8]),
    Options(Vec<(String, String)>),
    Error(u16, String),
}

/// Fetches a file from `server`. Blocks.
///
/// # Errors
/// See [`TftpError`].
pub fn fetch(server: SocketAddrV4, wish: Wish<'_>) -> Result<Fetched, TftpError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            // Without a peer, ip(7) keeps "nothing listens there" (ICMP) from a socket unless it asks for it.
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
            socket.set_read_timeout(Some(RETRY))?;
            Ok(socket)
        })
        .map_err(|source| TftpError::Socket { server, source })?;
    let asked = now();
    let mut transfer = Transfer::begin(server, wish, socket)?;
    while !transfer.is_over() {
        transfer.step()?;
    }
    Ok(Fetched { took: asked.elapsed(), ..transfer.fetched })
}

struct Transfer<'a> {
    wish: Wish<'a>,
    server: SocketAddrV4,
    socket: UdpSocket,
    /// The server's transfer id: its port for this transfer (RFC 1350 section 4).
    peer: Option<SocketAddrV4>,
    /// Last block that came in order; its low 16 bits are on the wire.
    block: u64,
    since_ack: u16,
    /// What is sent again when nothing comes.
    last_sent: Vec<u8>,
    tries: u32,
    buffer: Vec<u8>,
    fetched: Fetched,
}

impl<'a> Transfer<'a> {
    fn begin(server: SocketAddrV4, wish: Wish<'a>, socket: UdpSocket) -> Result<Transfer<'a>, TftpError> {
        if wish.file.len() > 400 || wish.file.contains('\0') {
            return Err(TftpError::BadPath(wish.file.chars().take(80).collect()));
        }
        let transfer = Transfer {
            last_sent: request(&wish),
            wish,
            server,
            socket,
            peer: None,
            block: 0,
            since_ack: 0,
            tries: 1,
            buffer: vec![0; LONGEST],
            // Without an answer about options RFC 1350 holds: 512 bytes, one by one.
            fetched: Fetched {
                bytes: Vec::new(),
                whole: false,
                size: None,
                block_size: 512,
                window: 1,
                repeated: 0,
                took: Duration::ZERO,
                from: server,
            },
        };
        transfer.send(&transfer.last_sent)?;
        Ok(transfer)
    }

    fn is_over(&self) -> bool {
        self.fetched.whole || (self.block > 0 && self.fetched.bytes.len() >= self.wish.most)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), TftpError> {
        let to = self.peer.unwrap_or(self.server);
        match self.socket.send_to(bytes, to) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(TftpError::Closed(to)),
            Err(source) => Err(TftpError::Socket { server: self.server, source }),
        }
    }

    fn step(&mut self) -> Result<(), TftpError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = self.socket.recv_from(&mut buffer);
        let done = match got {
            Ok((length, SocketAddr::V4(from))) => self.take(&buffer[..length], from),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => self.repeat(),
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::ConnectionRefused => Err(TftpError::Closed(self.peer.unwrap_or(self.server))),
                _ => Err(TftpError::Socket { server: self.server, source: error }),
            },
        };
        self.buffer = buffer;
        done
    }

    fn repeat(&mut self) -> Result<(), TftpError> {
        let (server, file) = (self.server, self.wish.file.to_owned());
        if self.tries >= TRIES {
            let arrived = self.fetched.bytes.len();
            return Err(match self.peer {
                None => TftpError::Silent { server, file },
                Some(_) => TftpError::BrokeOff { server, file, arrived },
            });
        }
        self.tries += 1;
        self.fetched.repeated += 1;
        self.since_ack = 0;
        self.send(&self.last_sent)
    }

    fn take(&mut self, bytes: &[u8], from: SocketAddrV4) -> Result<(), TftpError> {
        // A multihomed server may answer from another address: a firmware would drop that, so do we.
        if from.ip() != self.server.ip() || self.peer.is_some_and(|peer| peer != from) {
            return Ok(());
        }
        let Some(packet) = FromServer::read(bytes) else { return Ok(()) };
        let is_first = self.peer.is_none();
        self.peer = Some(from);
        self.fetched.from = from;
        match packet {
            FromServer::Error(code, message) => {
                let file = self.wish.file.to_owned();
                Err(TftpError::Refused { server: self.server, file, code, message })
            }
            FromServer::Options(options) if self.block == 0 => {
                if is_first {
                    self.agree(&options);
                }
                self.acknowledge()
            }
            FromServer::Options(_) => Ok(()),
            FromServer::Data(block, body) => self.data(block, body),
        }
    }

    fn agree(&mut self, options: &[(String, String)]) {
        for (name, value) in options {
            let Ok(number) = value.parse::<u64>() else { continue };
            let within = |most: u16| u16::try_from(number).ok().filter(|n| *n > 0 && *n <= most);
            match name.as_str() {
                "blksize" => self.fetched.block_size = within(self.wish.block_size).unwrap_or(512),
                "windowsize" => self.fetched.window = within(self.wish.window).unwrap_or(1),
                "tsize" => self.fetched.size = Some(number),
                _ => {}
            }
        }
    }

    fn data(&mut self, block: u16, body: &[u8]) -> Result<(), TftpError> {
        let expected = self.block + 1;
        if block != expected as u16 || body.len() > self.fetched.block_size.into() {
            // A block twice, or one that overtook a lost one: RFC 7440 section 4, say once what is missing.
            return Ok(());
        }
        self.block = expected;
        self.tries = 1;
        self.since_ack += 1;
        let room = self.wish.most.saturating_sub(self.fetched.bytes.len());
        self.fetched.bytes.extend_from_slice(&body[..body.len().min(room)]);
        self.fetched.whole = body.len() < self.fetched.block_size.into() && body.len() <= room;
        if self.fetched.whole || self.since_ack >= self.fetched.window {
            return self.acknowledge();
        }
        if self.is_over() {
            // Enough was seen: the server need not go on.
            return self.send(b"\0\x05\0\0enough\0");
        }
        self.last_sent = acknowledgement(self.block);
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), TftpError> {
        self.since_ack = 0;
        if self.is_over() && !self.fetched.whole {
            return self.send(b"\0\x05\0\0enough\0");
        }
        self.last_sent = acknowledgement(self.block);
        self.send(&self.last_sent)
    }
}

fn acknowledgement(block: u64) -> Vec<u8> {
    let [high, low] = (block as u16).to_be_bytes();
    vec![0, 4, high, low]
}

fn request(wish: &Wish<'_>) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    let mut word = |text: &dyn fmt::Display| {
        bytes.extend(text.to_string().bytes());
        bytes.push(0);
    };
    word(&wish.file);
    word(&"octet");
    word(&"tsize");
    word(&0);
    word(&"blksize");
    word(&wish.block_size);
    if wish.window > 1 {
        word(&"windowsize");
        word(&wish.window);
    }
    bytes
}

impl FromServer<'_> {
    fn read(bytes: &[u8]) -> Option<FromServer<'_>> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        match head {
            [0, 3] => {
                let (block, body) = rest.split_first_chunk::<2>()?;
                Some(FromServer::Data(u16::from_be_bytes(*block), body))
            }
            [0, 5] => {
                let (code, text) = rest.split_first_chunk::<2>()?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text).escape_debug().take(200).collect();
                Some(FromServer::Error(u16::from_be_bytes(*code), text))
            }
            [0, 6] => {
                let words: Vec<_> =
                    rest.split(|byte| *byte == 0).take(17).map(String::from_utf8_lossy).collect();
                let pairs = words.chunks_exact(2).map(|pair| (pair[0].to_lowercase(), pair[1].to_string()));
                Some(FromServer::Options(pairs.collect()))
            }
            _ => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge measures by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish<'_> = Wish { file: "a/booter", block_size: 1428, window: 1, most: 1 << 20 };

    fn v4(socket: &UdpSocket) -> SocketAddrV4 {
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { unreachable!() };
        address
    }

    /// A server that runs `script` once on the request, from a port of its own as RFC 1350 wants.
    fn served(
        wish: Wish<'_>,
        script: impl FnOnce(&UdpSocket, SocketAddr, &[u8]) + Send,
    ) -> Result<Fetched, TftpError> {
        let door = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let server = v4(&door);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut buffer = [0; 600];
                let (length, from) = door.recv_from(&mut buffer).unwrap();
                script(&own, from, &buffer[..length]);
            });
            fetch(server, wish)
        })
    }

    fn heard(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 600];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn a_file_is_put_together_from_its_blocks_with_the_options_that_were_agreed() {
        let got = served(WISH, |socket, to, request| {
            assert_eq!(request, b"\0\x01a/booter\0octet\0tsize\x000\0blksize\x001428\0");
            socket.send_to(b"\0\x06tsize\x001010\0BLKSIZE\x001000\0", to).unwrap();
            assert_eq!(heard(socket), [0, 4, 0, 0]);
            socket.send_to(&[&[0, 3, 0, 1][..], &[7; 1000]].concat(), to).unwrap();
            // The last block twice: the second one changes nothing.
            for _ in 0..2 {
                socket.send_to(&[&[0, 3, 0, 1][..], &[7; 1000]].concat(), to).unwrap();
            }
            assert_eq!(heard(socket), [0, 4, 0, 1]);
            socket.send_to(&[&[0, 3, 0, 2][..], &[8; 10]].concat(), to).unwrap();
            assert_eq!(heard(socket), [0, 4, 0, 2]);
        })
        .unwrap();
        assert!(got.whole && got.bytes.len() == 1010 && got.bytes[999..1001] == [7, 8]);
        assert_eq!((got.size, got.block_size, got.window), (Some(1010), 1000, 1));
    }

    #[test]
    fn a_server_without_options_sends_512_bytes_a_block_and_an_empty_last_one() {
        let got = served(WISH, |socket, to, _| {
            socket.send_to(&[&[0, 3, 0, 1][..], &[7; 512]].concat(), to).unwrap();
            assert_eq!(heard(socket), [0, 4, 0, 1]);
            socket.send_to(&[0, 3, 0, 2], to).unwrap();
            assert_eq!(heard(socket), [0, 4, 0, 2]);
        })
        .unwrap();
        assert!(got.whole && got.bytes == [7; 512] && got.size.is_none());
    }

    #[test]
    fn a_lost_block_is_asked_for_again() {
        let got = served(WISH, |socket, to, _| {
            socket.send_to(&[&[0, 3, 0, 1][..], &[7; 512]].concat(), to).unwrap();
            assert_eq!(heard(socket), [0, 4, 0, 1]);
            assert_eq!(heard(socket), [0, 4, 0, 1], "repeated when nothing came");
            socket.send_to(&[0, 3, 0, 2, 9], to).unwrap();
            heard(socket);
        })
        .unwrap();
        assert_eq!((got.bytes.len(), got.repeated), (513, 1));
    }

    #[test]
    fn the_head_of_a_large_file_is_enough_and_the_server_is_told() {
        let got = served(Wish { most: 700, ..WISH }, |socket, to, _| {
            socket.send_to(&[&[0, 3, 0, 1][..], &[7; 512]].concat(), to).unwrap();
            heard(socket);
            socket.send_to(&[&[0, 3, 0, 2][..], &[7; 512]].concat(), to).unwrap();
            assert_eq!(heard(socket)[..2], [0, 5]);
        })
        .unwrap();
        assert_eq!((got.bytes.len(), got.whole), (700, false));
    }

    #[test]
    fn a_refusal_has_the_servers_words_and_silence_the_servers_address() {
        let refused = served(WISH, |socket, to, _| {
            socket.send_to(b"\0\x05\0\x01a/booter is not here\x1b\0", to).unwrap();
        });
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("a/booter is not here\\u{1b} (TFTP error 1)"), "{told}");
        let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = v4(&mute);
        assert!(matches!(fetch(silent, WISH), Err(TftpError::Silent { .. })));
        drop(mute);
        assert!(matches!(fetch(silent, WISH), Err(TftpError::Closed(_))));
    }

    #[test]
    fn answers_of_others_and_garbage_are_passed_over() {
        let got = served(WISH, |socket, to, _| {
            let other = UdpSocket::bind("127.0.0.2:0").unwrap();
            other.send_to(b"\0\x05\0\0no\0", to).unwrap();
            for garbage in [&b""[..], b"\0", b"\0\x09xx", b"\0\x03\0"] {
                socket.send_to(garbage, to).unwrap();
            }
            socket.send_to(&[0, 3, 0, 1, 5], to).unwrap();
        })
        .unwrap();
        assert_eq!(got.bytes, [5]);
    }

    #[test]
    fn a_path_that_cannot_stand_in_a_request_is_refused() {
        let long = "x".repeat(401);
        for file in ["a\0b", &long] {
            let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
            assert!(matches!(fetch(server, Wish { file, ..WISH }), Err(TftpError::BadPath(_))));
        }
    }
}
