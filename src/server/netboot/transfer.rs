//! One TFTP transfer on a thread: a blocking socket needs two system calls per block, receive and send, where a
//! reactor needs four; without a window that is the whole speed of TFTP.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::clients::now;
use super::socket::Arrived;
use crate::netboot::tftp::{
    BadPath, BootPath, End, ErrorCode, FromClient, Mode, ReadRequest, Step, Transfer, data_head, error,
    netascii,
};

/// How long a receive blocks: the coarsest that deadlines and stopping may be.
const TICK: Duration = Duration::from_millis(100);
/// Bytes read from a file at once.
const READ: usize = 64 * 1024;
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
pub(super) fn run(
    request: &ReadRequest,
    arrived: &Arrived,
    context: &Context,
    begun: &AtomicBool,
    stop: &CancellationToken,
) -> Outcome {
    let socket = match open_socket(arrived) {
        Ok(socket) => socket,
        Err(error) => {
            let detail = format!("no socket towards {}: {error}", arrived.from);
            return Outcome { good: false, detail, bytes: 0 };
        }
    };
    let mut bytes = 0;
    let result = open(request, context).and_then(|(path, blocks, size)| {
        let (transfer, step) = Transfer::begin(request, size, &context.settings.tftp, now());
        let mut drive = Drive { path, blocks, transfer, socket: &socket, begun, stop };
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

/// A socket whose port is this transfer's id (RFC 1350 section 4). Connected: packets of others never reach it, and
/// a client that closed its port is noticed at once.
fn open_socket(arrived: &Arrived) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((arrived.local, 0))?;
    socket.connect(arrived.from)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
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
    socket: &'a UdpSocket,
    begun: &'a AtomicBool,
    stop: &'a CancellationToken,
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
            step = match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    self.begun.store(true, Ordering::Relaxed);
                    // Garbage is passed over, and must not keep the deadline from coming.
                    match FromClient::read(&buffer[..length])
                        .map(|packet| self.transfer.on_packet(packet, now()))
                    {
                        Ok(Step::Wait) | Err(_) => self.transfer.on_time(now()),
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
            _ if self.stop.is_cancelled() => Err(Failure::Stopped { path, arrived }),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                Ok(self.transfer.on_time(now()))
            }
            io::ErrorKind::ConnectionRefused => Err(Failure::Gone { path, arrived }),
            _ => Err(Failure::Socket { path, what: "its answers cannot be received", source: error }),
        }
    }

    fn send(&mut self, first: u64, count: u16) -> Result<(), Failure> {
        for block in first..first + u64::from(count) {
            let (offset, length) = self.transfer.extent(block);
            let left = self.transfer.size().saturating_sub(offset);
            let bytes = match self.blocks.get(offset, length.into(), left) {
                Ok(bytes) => bytes,
                Err(source) => return Err(Failure::Read { path: self.path.clone(), source }),
            };
            // The wire carries the low 16 bits: block 65536 is 0.
            let head = data_head(block as u16);
            let sent = SockRef::from(self.socket).send_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]);
            self.sent(sent)?;
        }
        Ok(())
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
