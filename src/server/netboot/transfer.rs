//! One TFTP transfer on a thread: a blocking socket needs two system calls per block, receive and send, where a
//! reactor needs four; without a window that is the whole speed of TFTP.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::SockRef;

use super::clients::now;
use super::{Context, tftp};
use crate::netboot::tftp::{
    BadPath, BootPath, End, ErrorCode, FromClient, Mode, ReadRequest, Step, Transfer, data_head, error,
    netascii,
};

/// How long a receive blocks: the coarsest that deadlines and stopping may be.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Bytes read from a file at once.
const READ: usize = 128 * 1024;
/// Longest file that is sent as netascii: it is converted in memory.
const LONGEST_TEXT: u64 = 4 << 20;

/// How a transfer went, for log and timeline.
pub(super) struct Outcome {
    /// The client has what it asked for.
    pub good: bool,
    /// One line.
    pub detail: String,
    /// Bytes that arrived.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Path(#[from] BadPath),
    #[error("{path} is not in the boot folder; `rootstock media boot` makes the boot files")]
    NotFound { path: BootPath },
    #[error("{path} may not be read: {source}")]
    Forbidden { path: BootPath, source: io::Error },
    #[error("{path} cannot be read: {source}")]
    Read { path: BootPath, source: io::Error },
    #[error("{path} has {size} bytes, netascii is offered up to {LONGEST_TEXT}; ask for octet (binary) mode")]
    LongText { path: BootPath, size: u64 },
    #[error("{path}: {end}")]
    Ended { path: BootPath, end: End },
    #[error("{path}: the client closed its port after {arrived} bytes")]
    Gone { path: BootPath, arrived: u64 },
    #[error("{path}: stopped after {arrived} bytes, by a new request of the client or the end of the server")]
    Stopped { path: BootPath, arrived: u64 },
    #[error("{path}: {what}: {source}")]
    Socket { path: BootPath, what: &'static str, source: io::Error },
}

impl Failure {
    /// What the client is told; none when it cannot or need not hear it.
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Failure::Path(_) | Failure::Forbidden { .. } => Some(ErrorCode::Access),
            Failure::NotFound { .. } => Some(ErrorCode::NotFound),
            Failure::Read { .. } | Failure::LongText { .. } | Failure::Stopped { .. } => {
                Some(ErrorCode::Undefined)
            }
            Failure::Ended { .. } | Failure::Gone { .. } | Failure::Socket { .. } => None,
        }
    }
}

/// Runs a transfer to its end. Blocks the thread.
pub(super) fn run(own: &tftp::Transfer, context: &Context) -> Outcome {
    let (request, socket) = (&own.request, &own.socket);
    let mut bytes = 0;
    let result = open(request, context).and_then(|(path, blocks, size)| {
        let (transfer, step) = Transfer::begin(request, size, &context.settings.tftp, now());
        let mut drive = Drive { path, blocks, transfer, own, socket, offloads: true };
        let end = drive.finish(step);
        bytes = drive.transfer.arrived();
        end.map(|()| drive.summary(size))
    });
    match result {
        Ok(detail) => Outcome { good: true, detail, bytes },
        // A client that only asked for the size ends the transfer with an ERROR. It got what it wanted.
        Err(Failure::Ended { path, end: End::Client { .. } }) if bytes == 0 && request.wants_size => {
            Outcome { good: true, detail: format!("{path}: asked for the size"), bytes }
        }
        Err(failure) => {
            if let Some(code) = failure.code() {
                // A lost refusal makes the client wait and ask again; nothing more can be done.
                let _ = socket.send(&error(code, &failure));
            }
            Outcome { good: false, detail: failure.to_string(), bytes }
        }
    }
}

fn open(request: &ReadRequest, context: &Context) -> Result<(BootPath, Blocks, u64), Failure> {
    let path = BootPath::parse(&request.file)?;
    let (file, metadata) = match context.folder.open(&path) {
        Ok(opened) => opened,
        Err(source) => {
            return Err(match source.raw_os_error() {
                Some(nix::libc::EACCES | nix::libc::EXDEV | nix::libc::ELOOP) => {
                    Failure::Forbidden { path, source }
                }
                _ if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    Failure::NotFound { path }
                }
                _ => Failure::Read { path, source },
            });
        }
    };
    let size = metadata.len();
    match request.mode {
        Mode::Octet => Ok((path, Blocks { file: Some(file), held: Vec::new(), start: 0 }, size)),
        Mode::Netascii if size > LONGEST_TEXT => Err(Failure::LongText { path, size }),
        Mode::Netascii => {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            file.read_exact_at(&mut bytes, 0)
                .map_err(|source| Failure::Read { path: path.clone(), source })?;
            let text = netascii(&bytes);
            let size = text.len() as u64;
            Ok((path, Blocks { file: None, held: text, start: 0 }, size))
        }
    }
}

/// The bytes of a file around the blocks in flight.
struct Blocks {
    /// None when everything is held.
    file: Option<File>,
    held: Vec<u8>,
    start: u64,
}

impl Blocks {
    /// Makes `length` bytes from `offset` available, and reads some more of what follows.
    fn get(&mut self, offset: u64, length: usize, ahead: u64) -> io::Result<&[u8]> {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if let Some(from) = from.filter(|from| from + length <= self.held.len()) {
            return Ok(&self.held[from..from + length]);
        }
        let file = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
        let wanted = usize::try_from(ahead).unwrap_or(READ).min(READ).max(length);
        self.held.resize(wanted, 0);
        file.read_exact_at(&mut self.held, offset)?;
        self.start = offset;
        Ok(&self.held[..length])
    }
}

struct Drive<'a> {
    path: BootPath,
    blocks: Blocks,
    transfer: Transfer,
    own: &'a tftp::Transfer,
    socket: &'a UdpSocket,
    /// Whether the system cuts what it is given into datagrams (UDP_SEGMENT), until it has refused to.
    offloads: bool,
}

impl Drive<'_> {
    fn finish(&mut self, mut step: Step) -> Result<(), Failure> {
        let mut buffer = [0; 600];
        loop {
            match step {
                Step::SendOptions => self.sent(self.socket.send(self.transfer.options()))?,
                Step::Send { first, count } => self.send(first, count)?,
                Step::Wait => {}
                Step::End(End::Complete) => return Ok(()),
                Step::End(end) => return Err(Failure::Ended { path: self.path.clone(), end }),
            }
            let received = self.socket.recv(&mut buffer);
            if self.own.is_stopped() {
                let (path, arrived) = (self.path.clone(), self.transfer.arrived());
                return Err(Failure::Stopped { path, arrived });
            }
            step = match received {
                Ok(length) => {
                    let now = now();
                    self.own.was_heard(now);
                    // Garbage is passed over, and must not keep the deadline from coming.
                    match FromClient::read(&buffer[..length])
                        .map(|packet| self.transfer.on_packet(packet, now))
                    {
                        Ok(Step::Wait) | Err(_) => self.transfer.on_time(now),
                        Ok(step) => step,
                    }
                }
                Err(error) => self.nothing_received(error)?,
            };
        }
    }

    fn nothing_received(&mut self, error: io::Error) -> Result<Step, Failure> {
        let (path, arrived) = (self.path.clone(), self.transfer.arrived());
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                Ok(self.transfer.on_time(now()))
            }
            io::ErrorKind::ConnectionRefused => Err(Failure::Gone { path, arrived }),
            _ => Err(Failure::Socket { path, what: "its answers cannot be received", source: error }),
        }
    }

    /// Sends a window, in as few system calls as the system allows.
    fn send(&mut self, first: u64, count: u16) -> Result<(), Failure> {
        let end = first + u64::from(count);
        let mut next = first;
        while next < end {
            let most = if self.offloads { self.most_at_once() } else { 1 };
            let batch = most.min(end - next);
            if !self.send_batch(next, batch)? {
                self.offloads = false;
                continue;
            }
            next += batch;
        }
        Ok(())
    }

    /// Blocks that go into one system call: one IP packet's worth before it is cut, at most 64 pieces (udp(7)).
    fn most_at_once(&self) -> u64 {
        const LARGEST: u64 = 65_507;
        (LARGEST / (u64::from(self.transfer.block_size()) + 4)).clamp(1, 64)
    }

    /// Sends blocks at once; false when the system cannot cut them, for example because one exceeds the MTU.
    fn send_batch(&mut self, first: u64, count: u64) -> Result<bool, Failure> {
        let (offset, _) = self.transfer.extent(first);
        let (last, rest) = self.transfer.extent(first + count - 1);
        let length = usize::try_from(last - offset).unwrap_or(usize::MAX).saturating_add(rest.into());
        let left = self.transfer.size().saturating_sub(offset);
        let bytes = match self.blocks.get(offset, length, left) {
            Ok(bytes) => bytes,
            Err(source) => return Err(Failure::Read { path: self.path.clone(), source }),
        };
        // The wire carries the low 16 bits: block 65536 is 0.
        let head = |block: u64| data_head(block as u16);
        if count == 1 {
            let head = head(first);
            let sent = SockRef::from(self.socket).send_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]);
            return self.sent(sent).map(|()| true);
        }
        let block_size = self.transfer.block_size();
        let heads: Vec<[u8; 4]> = (first..first + count).map(head).collect();
        // An empty last block has a head and nothing else.
        let bodies = bytes.chunks(block_size.into()).chain(std::iter::once(&[][..]));
        let slices: Vec<IoSlice<'_>> = heads
            .iter()
            .zip(bodies)
            .flat_map(|(head, body)| [IoSlice::new(head), IoSlice::new(body)])
            .collect();
        let piece = block_size + 4;
        let cut = [ControlMessage::UdpGsoSegments(&piece)];
        match sendmsg::<()>(self.socket.as_raw_fd(), &slices, &cut, MsgFlags::empty(), None) {
            Err(nix::Error::EINVAL | nix::Error::EIO | nix::Error::EMSGSIZE | nix::Error::EOPNOTSUPP) => {
                Ok(false)
            }
            sent => self.sent(sent.map_err(io::Error::from)).map(|()| true),
        }
    }

    /// A packet that the system could not take is a lost packet; the transfer sends it again.
    fn sent(&self, sent: io::Result<usize>) -> Result<(), Failure> {
        let path = || self.path.clone();
        match sent.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(nix::libc::ENOBUFS | nix::libc::EAGAIN | nix::libc::EINTR), _)) => Ok(()),
            Err((Some(nix::libc::ECONNREFUSED), _)) => {
                Err(Failure::Gone { path: path(), arrived: self.transfer.arrived() })
            }
            Err((_, source)) => Err(Failure::Socket { path: path(), what: "a block cannot be sent", source }),
        }
    }

    fn summary(&self, size: u64) -> String {
        let (block, window) = (self.transfer.block_size(), self.transfer.window());
        format!("{}: {size} bytes in blocks of {block}, window {window}", self.path)
    }
}
