//! One TFTP transfer at work: its file, its socket, and the state machine that says what to send.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::SockRef;

use super::Context;
use super::transfers::{Stop, Ticket};
use crate::netboot::tftp::{
    BadPath, BootPath, End, ErrorCode, FromClient, Limits, Mode, ReadRequest, Step, Transfer, data_head,
    error, largest_block, netascii,
};

/// Bytes read ahead for a transfer whose blocks go one by one.
const AHEAD: usize = 16 * 1024;
/// Longest file that is sent as netascii: it is converted in memory.
const LONGEST_TEXT: u64 = 256 * 1024;

/// How a transfer went, for log and timeline.
pub(super) struct Outcome {
    /// The client has what it asked for.
    pub good: bool,
    /// One line.
    pub detail: String,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Part of a flood, or of an ordinary search: not worth a line each time.
    pub quiet: bool,
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
    #[error("{path}: the client, or a firewall before it, closed its port after {arrived} bytes")]
    Gone { path: BootPath, arrived: u64 },
    #[error("{path}: stopped after {arrived} bytes: {why}")]
    Stopped { path: String, arrived: u64, why: Stop },
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

    /// What ends a transfer although nothing went wrong, in words.
    fn is_ordinary(&self, request: &ReadRequest, arrived: u64) -> Option<String> {
        match self {
            // A client that only asked for the size ends the transfer with an ERROR. It got what it wanted.
            Failure::Ended { path, end: End::Client { .. } } if arrived == 0 && request.wants_size => {
                Some(format!("{path}: asked for the size"))
            }
            Failure::NotFound { path } if path.is_automatic_script() => {
                Some(format!("{path}: iPXE looks for a script of this name; there is none, which is normal"))
            }
            _ => None,
        }
    }
}

/// Buffers that the transfers of a thread use in turn.
#[derive(Default)]
pub(super) struct Scratch {
    window: Vec<u8>,
    heads: Vec<[u8; 4]>,
}

/// A transfer with its socket.
pub(super) struct Drive {
    pub ticket: Arc<Ticket>,
    /// Connected, non-blocking: packets of others never reach it, and a client that closed its port is noticed at once.
    pub socket: UdpSocket,
    open: Option<Open>,
    /// Blocks, from and up to, that wait for room in the socket's buffer.
    pending: Option<(u64, u64)>,
    watches_room: bool,
    /// Whether the system cuts what it is given into datagrams (UDP_SEGMENT), until it has refused to.
    offloads: bool,
    outcome: Option<Outcome>,
}

/// What there is once the file is open.
struct Open {
    path: BootPath,
    blocks: Blocks,
    transfer: Transfer,
}

/// What became of blocks given to the system.
enum Sent {
    Whole,
    /// The system cannot cut them, for example because one exceeds the MTU.
    NotCut,
    NoRoom,
}

impl Drive {
    pub(super) fn new(ticket: Arc<Ticket>, socket: UdpSocket) -> Drive {
        Drive {
            ticket,
            socket,
            open: None,
            pending: None,
            watches_room: false,
            offloads: true,
            outcome: None,
        }
    }

    /// Opens the file and sends what comes first. Like all that follows, says whether the transfer has ended.
    pub(super) fn begin(&mut self, context: &Context, scratch: &mut Scratch, now: Instant) -> bool {
        let (settings, clients, address) = (&context.settings, &context.clients, *self.ticket.from.ip());
        // The neighbour table is read for a rule that may need it; else when the client has answered, for a flood never does.
        let mac = match settings.tftp_caps.is_empty() {
            true => clients.mac_learnt(address),
            false => clients.mac_of(address),
        };
        self.ticket.is_of(mac);
        let model = mac.and_then(|mac| clients.model_of(mac));
        let block_size = largest_block(settings.tftp.block_size, &settings.tftp_caps, mac, model.as_ref());
        let limits = Limits { block_size, ..settings.tftp };
        match open(&self.ticket.request, context) {
            Ok((path, blocks, size)) => {
                let (transfer, first) = Transfer::begin(&self.ticket.request, size, &limits, now);
                self.ticket.has_begun(&transfer);
                self.open = Some(Open { path, blocks, transfer });
                self.perform(first, scratch)
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// The socket has a packet, or an error.
    pub(super) fn on_packet(&mut self, context: &Context, scratch: &mut Scratch, now: Instant) -> bool {
        let Some(open) = &mut self.open else { return true };
        let mut buffer = [0; 600];
        let packet = match self.socket.recv(&mut buffer) {
            Ok(length) => FromClient::read(&buffer[..length]),
            Err(error) => return self.not_received(error),
        };
        if self.ticket.was_heard(now) && self.ticket.mac.get().is_none() {
            self.ticket.is_of(context.clients.mac_of(*self.ticket.from.ip()));
        }
        // Garbage is passed over.
        let Ok(packet) = packet else { return false };
        let step = open.transfer.on_packet(packet, now);
        self.perform(step, scratch)
    }

    /// Whether there is something to do before the next packet.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.ticket.stopped().is_some()
            || self.open.as_ref().is_none_or(|open| now >= open.transfer.deadline())
    }

    /// The deadline has come, or the transfer was stopped.
    pub(super) fn on_time(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        let Some(open) = &mut self.open else { return true };
        if let Some(why) = self.ticket.stopped() {
            let (path, arrived) = (open.path.to_string(), open.transfer.arrived());
            return self.fail(Failure::Stopped { path, arrived, why });
        }
        let step = open.transfer.on_time(now);
        self.perform(step, scratch)
    }

    /// The socket has room for more.
    pub(super) fn on_room(&mut self, scratch: &mut Scratch) -> bool {
        match self.pending.take() {
            Some((next, end)) => self.send(next, end, scratch),
            None => false,
        }
    }

    /// Whether to wait for room from now on; none when that did not change.
    pub(super) fn wants_changed(&mut self) -> Option<bool> {
        let wants = self.pending.is_some();
        let changed = std::mem::replace(&mut self.watches_room, wants) != wants;
        changed.then_some(wants)
    }

    /// How it went, once it has ended.
    pub(super) fn outcome(self) -> (Arc<Ticket>, Outcome) {
        let cut = || Outcome { good: false, detail: "was cut off".to_owned(), bytes: 0, quiet: true };
        let outcome = self.outcome.unwrap_or_else(cut);
        (self.ticket, outcome)
    }

    fn perform(&mut self, step: Step, scratch: &mut Scratch) -> bool {
        let Some(open) = &self.open else { return true };
        // Before anything is sent: who has the next block can be seen to have acknowledged the last.
        self.ticket.is_at(&open.transfer);
        match step {
            Step::SendOptions => {
                let sent = self.socket.send(open.transfer.options());
                !matches!(self.sent(sent), Some(Sent::Whole | Sent::NoRoom))
            }
            Step::Send { first, count } => self.send(first, first + u64::from(count), scratch),
            Step::Wait => false,
            Step::End(End::Complete) => self.succeed(open.summary()),
            Step::End(end @ End::Unconfirmed { .. }) => self.succeed(format!("{}; {end}", open.summary())),
            Step::End(end) => {
                let path = open.path.clone();
                self.fail(Failure::Ended { path, end })
            }
        }
    }

    fn not_received(&mut self, error: io::Error) -> bool {
        let Some(open) = &self.open else { return true };
        let path = open.path.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => false,
            io::ErrorKind::ConnectionRefused => self.gone(),
            _ => self.fail(Failure::Socket { path, what: "its answers cannot be received", source: error }),
        }
    }

    /// The client closed its port. One that has all blocks may do so before its last ACK arrives.
    fn gone(&mut self) -> bool {
        let Some(open) = &self.open else { return true };
        let (path, arrived) = (open.path.clone(), open.transfer.arrived());
        if open.transfer.has_sent_all() {
            let end = End::Unconfirmed { blocks: open.transfer.blocks() };
            return self.succeed(format!("{}; {end}", open.summary()));
        }
        self.fail(Failure::Gone { path, arrived })
    }

    fn succeed(&mut self, detail: String) -> bool {
        let bytes = self.open.as_ref().map_or(0, |open| open.transfer.arrived());
        self.outcome = Some(Outcome { good: true, detail, bytes, quiet: false });
        true
    }

    fn fail(&mut self, failure: Failure) -> bool {
        if let Some(code) = failure.code() {
            // A lost refusal makes the client wait and ask again; nothing more can be done.
            let _ = self.socket.send(&error(code, &failure));
        }
        let bytes = self.open.as_ref().map_or(0, |open| open.transfer.arrived());
        let ordinary = failure.is_ordinary(&self.ticket.request, bytes);
        let quiet = matches!(failure, Failure::Stopped { arrived: 0, why: Stop::Displaced, .. });
        let (good, detail) = ordinary.map_or_else(|| (false, failure.to_string()), |words| (true, words));
        self.outcome = Some(Outcome { good, detail, bytes, quiet });
        true
    }

    /// Sends blocks from `next` up to `end`, in as few system calls as the system allows.
    fn send(&mut self, mut next: u64, end: u64, scratch: &mut Scratch) -> bool {
        self.pending = None;
        while next < end {
            let most = if self.offloads { self.most_at_once() } else { 1 };
            let batch = most.min(end - next);
            match self.send_batch(next, batch, scratch) {
                Some(Sent::Whole) => next += batch,
                Some(Sent::NotCut) => self.offloads = false,
                Some(Sent::NoRoom) => {
                    self.pending = Some((next, end));
                    return false;
                }
                None => return true,
            }
        }
        false
    }

    /// Blocks that go into one system call: one IP packet's worth before it is cut, at most 64 pieces (udp(7)).
    fn most_at_once(&self) -> u64 {
        const LARGEST: u64 = 65_507;
        let block_size = self.open.as_ref().map_or(u16::MAX, |open| open.transfer.block_size());
        (LARGEST / (u64::from(block_size) + 4)).clamp(1, 64)
    }

    /// Sends blocks at once; none when that ended the transfer.
    fn send_batch(&mut self, first: u64, count: u64, scratch: &mut Scratch) -> Option<Sent> {
        let Open { path, blocks, transfer } = self.open.as_mut()?;
        let (offset, _) = transfer.extent(first);
        let (last, rest) = transfer.extent(first + count - 1);
        let length = usize::try_from(last - offset).unwrap_or(usize::MAX).saturating_add(rest.into());
        let left = transfer.size().saturating_sub(offset);
        let bytes = match blocks.get(offset, length, left, &mut scratch.window) {
            Ok(bytes) => bytes,
            Err(source) => {
                let path = path.clone();
                self.fail(Failure::Read { path, source });
                return None;
            }
        };
        // The wire carries the low 16 bits: block 65536 is 0.
        let head = |block: u64| data_head(block as u16);
        if count == 1 {
            let head = head(first);
            let sent = SockRef::from(&self.socket).send_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]);
            return self.sent(sent);
        }
        let block_size = transfer.block_size();
        scratch.heads.clear();
        scratch.heads.extend((first..first + count).map(head));
        // An empty last block has a head and nothing else.
        let bodies = bytes.chunks(block_size.into()).chain(std::iter::once(&[][..]));
        let slices: Vec<IoSlice<'_>> = scratch
            .heads
            .iter()
            .zip(bodies)
            .flat_map(|(head, body)| [IoSlice::new(head), IoSlice::new(body)])
            .collect();
        let piece = block_size + 4;
        let cut = [ControlMessage::UdpGsoSegments(&piece)];
        match sendmsg::<()>(self.socket.as_raw_fd(), &slices, &cut, MsgFlags::empty(), None) {
            Err(nix::Error::EINVAL | nix::Error::EIO | nix::Error::EMSGSIZE | nix::Error::EOPNOTSUPP) => {
                Some(Sent::NotCut)
            }
            sent => self.sent(sent.map_err(io::Error::from)),
        }
    }

    /// A packet that the system could not take is a lost packet, or waits for room; none when the transfer has ended.
    fn sent(&mut self, sent: io::Result<usize>) -> Option<Sent> {
        match sent.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ENOBUFS | libc::EINTR), _)) => return Some(Sent::Whole),
            Err((Some(libc::EAGAIN), _)) => return Some(Sent::NoRoom),
            Err((Some(libc::ECONNREFUSED), _)) => self.gone(),
            Err((_, source)) => {
                let path = self.open.as_ref()?.path.clone();
                self.fail(Failure::Socket { path, what: "a block cannot be sent", source })
            }
        };
        None
    }
}

impl Open {
    fn summary(&self) -> String {
        let (block, window, resent) =
            (self.transfer.block_size(), self.transfer.window(), self.transfer.resent());
        let again = if resent > 0 { format!(", {resent} sent again") } else { String::new() };
        format!("{}: {} bytes in blocks of {block}, window {window}{again}", self.path, self.transfer.size())
    }
}

fn open(request: &ReadRequest, context: &Context) -> Result<(BootPath, Blocks, u64), Failure> {
    let path = BootPath::parse(&request.file)?;
    let (file, metadata) = match context.folder.open(&path) {
        Ok(opened) => opened,
        Err(source) => {
            return Err(match source.raw_os_error() {
                Some(libc::EACCES | libc::EXDEV | libc::ELOOP) => Failure::Forbidden { path, source },
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
    /// Gives `length` bytes from `offset`. Short reads take some of what follows with them, long ones use `window`.
    fn get<'a>(
        &'a mut self,
        offset: u64,
        length: usize,
        left: u64,
        window: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if let Some(from) = from.filter(|from| from + length <= self.held.len()) {
            return Ok(&self.held[from..from + length]);
        }
        let file = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
        if length >= AHEAD {
            window.resize(window.len().max(length), 0);
            file.read_exact_at(&mut window[..length], offset)?;
            return Ok(&window[..length]);
        }
        let wanted = usize::try_from(left).unwrap_or(AHEAD).min(AHEAD).max(length);
        self.held.resize(wanted, 0);
        file.read_exact_at(&mut self.held, offset)?;
        self.start = offset;
        Ok(&self.held[..length])
    }
}
