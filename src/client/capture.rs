//! A library on the appliance, for a capture: questions, frames in the background, the end.
//!
//! Owns: waiting out an appliance that is not there, as long as it takes; how many frames wait and are under way.
//! Must not know: what is captured, which chunks are sent.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::frames::{OUTAGE, Watch};
use super::{Client, ClientError, Patience};
use crate::api::capture::{Finish, Made, Taken, decode_bits, encode_digests, encode_frames, sent_length};
use crate::image::capture::Library;
use crate::image::chunk::Packed;
use crate::image::manifest::Manifest;
use crate::value::Digest;

/// Bytes of frames in one request: the appliance takes a body of up to 1 MiB in whole, so its refusal is always read.
const BATCH: usize = 960 << 10;
/// Bytes of frames that wait to be sent: some seconds of a slow network.
const WAITING: usize = 8 << 20;
/// Requests with frames under way at the same time.
const SENDERS: usize = 3;
/// Longest answer to a question: a bit for each chunk.
const LONGEST_BITS: u64 = 4096;

/// The appliance does not take the capture.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It refused, or is not trusted.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Somebody asked to stop.
    #[error("stopped while the appliance did not answer")]
    Stopped,
}

/// [`Library`] of a capture on the appliance.
pub struct HttpLibrary<'w> {
    client: Client,
    /// The capture's own path.
    base: String,
    watch: &'w Watch,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Packed>,
    bytes: usize,
    under_way: usize,
    failed: Option<SendError>,
    /// Nothing more is sent: it failed, or the capture has ended.
    closed: bool,
}

impl<'w> HttpLibrary<'w> {
    /// Lets `work` capture into the capture at `base`, with threads that send. `client` bears its token.
    pub fn with<T>(
        client: &Client,
        base: String,
        watch: &'w Watch,
        work: impl FnOnce(&HttpLibrary<'w>) -> T,
    ) -> T {
        let library = HttpLibrary {
            client: client.with_patience(Patience::NONE),
            base,
            watch,
            queue: Mutex::default(),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| library.send_on());
            }
            let end = Closing(&library);
            let result = work(&library);
            drop(end);
            result
        })
    }

    /// Whether the appliance is there, and the wish to stop.
    pub fn watch(&self) -> &'w Watch {
        self.watch
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change leaves the queue whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'q>(&self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits until the queue is closed.
    fn send_on(&self) {
        loop {
            let batch = {
                let mut queue = self.lock();
                while queue.frames.is_empty() && !queue.closed {
                    queue = self.wait(queue);
                }
                let mut batch: Vec<Packed> = Vec::new();
                let mut length = 0;
                while let Some(next) = queue.frames.front().map(sent_length)
                    && !queue.closed
                    && (batch.is_empty() || length + next <= BATCH)
                {
                    length += next;
                    batch.extend(queue.frames.pop_front());
                }
                if batch.is_empty() {
                    return;
                }
                queue.bytes -= length;
                queue.under_way += 1;
                batch
            };
            self.changed.notify_all();
            let sent = self.persist(|| {
                let bytes = self.client.post_bytes(&self.path("frames"), &encode_frames(&batch), 1 << 16)?;
                self.client.read_json::<Taken>(&self.path("frames"), &bytes)
            });
            let mut queue = self.lock();
            queue.under_way -= 1;
            if let Err(error) = sent {
                queue.failed.get_or_insert(error);
                queue.closed = true;
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn path(&self, verb: &str) -> String {
        format!("{}/{verb}", self.base)
    }

    /// Asks until there is an answer.
    fn persist<T>(&self, mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, SendError> {
        let mut attempt = 0;
        loop {
            match ask() {
                Ok(answer) => {
                    self.watch.over();
                    return Ok(answer);
                }
                Err(error) if !error.may_pass() => return Err(error.into()),
                Err(error) => {
                    attempt += 1;
                    tracing::debug!(%error, "waiting for the appliance");
                    if !self.watch.pause(error.to_string(), OUTAGE.pause(attempt)) {
                        return Err(SendError::Stopped);
                    }
                }
            }
        }
    }
}

impl Queue {
    /// The reason of the end is told once.
    fn check(&mut self) -> Result<(), SendError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.closed => Err(SendError::Stopped),
            None => Ok(()),
        }
    }
}

/// Ends the senders, whatever ended the work.
struct Closing<'a, 'w>(&'a HttpLibrary<'w>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Library for HttpLibrary<'_> {
    type Error = SendError;
    type Made = Made;

    fn lacking(&self, chunks: &[Digest]) -> Result<Vec<bool>, SendError> {
        let (path, body) = (self.path("lacking"), encode_digests(chunks));
        self.persist(|| {
            let bits = self.client.post_bytes(&path, &body, LONGEST_BITS)?;
            decode_bits(&bits, chunks.len())
                .ok_or_else(|| self.client.unreadable_answer(&path, "it has fewer bits than were asked for"))
        })
    }

    fn send(&self, packed: Packed) -> Result<bool, SendError> {
        let mut queue = self.lock();
        let mut waited = false;
        while queue.bytes >= WAITING && !queue.closed {
            waited = true;
            queue = self.wait(queue);
        }
        queue.check()?;
        queue.bytes += sent_length(&packed);
        queue.frames.push_back(packed);
        drop(queue);
        self.changed.notify_all();
        Ok(waited)
    }

    fn flush(&self) -> Result<(), SendError> {
        let mut queue = self.lock();
        while (queue.under_way > 0 || !queue.frames.is_empty()) && !queue.closed {
            queue = self.wait(queue);
        }
        queue.check()
    }

    fn finish(&self, manifest: &Manifest) -> Result<Option<Made>, SendError> {
        let (path, body) = (self.path("finish"), manifest.encode());
        let answer = self.persist(|| {
            let bytes = self.client.post_bytes(&path, &body, 1 << 16)?;
            self.client.read_json::<Finish>(&path, &bytes)
        })?;
        Ok(match answer {
            Finish::Made(made) => Some(made),
            Finish::Lacking { .. } => None,
        })
    }
}
