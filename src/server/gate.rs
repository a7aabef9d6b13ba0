//! The door of the HTTPS port: how many connections are open, of all and of one peer, and when an idle one is let go.
//!
//! Nobody has signed in here, so everything is bounded before a byte of TLS is read. Must not know: HTTP, certificates.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready as pending};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A connection on which no byte moves, in either direction, is closed after once to twice this time. Longer than a watching
/// request waits, longer than a handler works.
const STALL: Duration = Duration::from_secs(90);

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of all peers.
    pub all: usize,
    /// Of one address. A lab behind one router has one address.
    pub peer: usize,
}

impl Default for Bounds {
    /// A runner has three, and up to eight more while it fetches an image: room for 700 Macs that fetch at the same time, 90 of them
    /// behind one router.
    fn default() -> Bounds {
        Bounds { all: 8192, peer: 1024 }
    }
}

/// Lets connections in while there is room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    open: Mutex<Open>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    peers: HashMap<IpAddr, usize>,
}

impl Gate {
    /// A gate that nobody has passed.
    pub fn new(bounds: Bounds) -> Gate {
        Gate(Arc::new(Shared { bounds, open: Mutex::default(), refused: AtomicU64::new(0) }))
    }

    /// A place, given back when it is dropped. None when there is no room.
    pub fn enter(&self, peer: IpAddr) -> Option<Place> {
        // One machine is one peer, whichever way it came.
        let peer = peer.to_canonical();
        let bounds = self.0.bounds;
        let mut open = self.0.open();
        let of_peer = open.peers.get(&peer).copied().unwrap_or(0);
        if open.all >= bounds.all || of_peer >= bounds.peer {
            drop(open);
            self.note(peer, of_peer >= bounds.peer);
            return None;
        }
        open.all += 1;
        open.peers.insert(peer, of_peer + 1);
        Some(Place { shared: self.0.clone(), peer })
    }

    /// Said at the first refusal and each time their number has doubled: a flood does not flood the log too.
    fn note(&self, peer: IpAddr, of_peer: bool) {
        let refused = self.0.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            let Bounds { all, peer: most } = self.0.bounds;
            let why = if of_peer { format!("{most} from that address") } else { format!("{all} in all") };
            tracing::warn!(%peer, refused, "an HTTPS connection of {peer} was refused: {why} are open ({refused} refused so far)");
        }
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one connection.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.all -= 1;
        if let Some(count) = open.peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.peers.remove(&self.peer);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Guarded<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Guarded<TcpStream>, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().map(|peer| self.enter(peer.ip()));
        ready(match place {
            Ok(Some(place)) => {
                // A failure costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                Ok((Guarded::new(stream, Some(place)), service))
            }
            Ok(None) => Err(io::ErrorKind::ConnectionRefused.into()),
            Err(error) => Err(error),
        })
    }
}

/// A stream that fails when nothing moves on it any more.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    stalled: Pin<Box<Sleep>>,
    moved: bool,
    _place: Option<Place>,
}

impl<S> Guarded<S> {
    fn new(stream: S, place: Option<Place>) -> Guarded<S> {
        Guarded { stream, stalled: Box::pin(tokio::time::sleep(STALL)), moved: false, _place: place }
    }

    /// Called when the stream has nothing to do: an error when that has been so all the time.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        loop {
            pending!(self.stalled.as_mut().poll(context));
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let next = self.stalled.deadline() + STALL;
            self.stalled.as_mut().reset(next);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.wait(context),
            done => {
                this.moved = true;
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Pending => this.wait(context),
            done => {
                this.moved = true;
                done
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(context, slices) {
            Poll::Pending => this.wait(context),
            done => {
                this.moved = true;
                done
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::duplex;

    #[test]
    fn one_peer_cannot_take_all_places_and_gives_back_what_it_took() {
        let gate = Gate::new(Bounds { all: 3, peer: 2 });
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = gate.enter(one).unwrap();
        let _second = gate.enter(one).unwrap();
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert!(gate.enter(one).is_none() && gate.enter(mapped).is_none(), "the peer's share is used up");
        let _third = gate.enter(other).unwrap();
        assert!(gate.enter(other).is_none(), "all are used up");
        drop(first);
        drop(gate.enter(other).unwrap());
        assert_eq!(gate.0.open().peers.len(), 2);
    }

    /// Polls once for a byte: `None` while there is nothing to tell.
    fn read(stream: &mut Guarded<tokio::io::DuplexStream>) -> Option<io::Result<usize>> {
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => None,
            Poll::Ready(done) => Some(done.map(|()| buffer.filled().len())),
        }
    }

    fn write(stream: &mut Guarded<tokio::io::DuplexStream>) -> Option<io::Result<usize>> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(stream).poll_write(&mut context, &[7; 8]) {
            Poll::Pending => None,
            Poll::Ready(done) => Some(done),
        }
    }

    fn timed_out(outcome: Option<io::Result<usize>>) -> bool {
        matches!(outcome, Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// The time is over now.
    async fn fire(stream: &mut Guarded<tokio::io::DuplexStream>) {
        stream.stalled.as_mut().reset(tokio::time::Instant::now());
        stream.stalled.as_mut().await;
    }

    #[tokio::test]
    async fn a_peer_that_neither_sends_nor_takes_a_byte_is_let_go_and_a_slow_one_is_not() {
        let (near, mut far) = duplex(8);
        let mut stream = Guarded::new(near, None);
        for _ in 0..5 {
            tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await.unwrap();
            assert_eq!(read(&mut stream).unwrap().unwrap(), 1);
            fire(&mut stream).await;
            assert!(read(&mut stream).is_none(), "a byte came since the last look");
        }
        assert_eq!(write(&mut stream).unwrap().unwrap(), 8);
        fire(&mut stream).await;
        assert!(write(&mut stream).is_none(), "the peer takes nothing, but it did before");
        fire(&mut stream).await;
        assert!(timed_out(write(&mut stream)));
        fire(&mut stream).await;
        assert!(timed_out(read(&mut stream)));
    }
}
