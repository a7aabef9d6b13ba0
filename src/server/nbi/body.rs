//! A request's body, read by a thread that may block on the disk while the network goes on filling a small queue.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;

/// Pieces in the queue; each has what one read of the connection gave, some 10 to 100 KiB.
const AHEAD: usize = 16;
/// How long a client may send nothing.
const STALLED: Duration = Duration::from_secs(60);

/// The reading end, for a thread.
pub struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    left: u64,
}

/// The writing end, for a task.
pub struct BodyPump {
    queue: mpsc::Sender<io::Result<Bytes>>,
    body: Body,
}

/// Takes a body of `length` bytes apart into its two ends.
pub fn split(body: Body, length: u64) -> (BodyPump, BodyReader) {
    let (queue, pieces) = mpsc::channel(AHEAD);
    (BodyPump { queue, body }, BodyReader { pieces, piece: Bytes::new(), left: length })
}

impl BodyPump {
    /// Moves the body until its end, or until nobody reads it any more: then the rest is taken in and dropped for a
    /// while, so that a client that is still sending sees the refusal instead of a broken connection.
    pub async fn run(self) {
        const MOST_DROPPED: usize = 1 << 20;
        let BodyPump { queue, body } = self;
        let mut stream = body.into_data_stream();
        let mut dropped = 0;
        loop {
            let piece = match tokio::time::timeout(STALLED, stream.next()).await {
                Ok(Some(piece)) => piece.map_err(io::Error::other),
                Ok(None) => return,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute")),
            };
            let is_over = piece.is_err();
            let length = piece.as_ref().map_or(0, Bytes::len);
            if queue.send(piece).await.is_err() {
                dropped += length;
            }
            if is_over || dropped > MOST_DROPPED {
                return;
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.left > 0 {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the request broke off")),
            }
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = buffer.len().min(self.piece.len()).min(most);
        buffer[..count].copy_from_slice(&self.piece[..count]);
        self.piece.advance(count);
        self.left -= count as u64;
        Ok(count)
    }
}
