//! Captures: disks that somebody sends chunk by chunk, until they are an image.
//!
//! Owns: which captures are held, how long, how much at the same time; the walk from the last chunk to a version row.
//! `keeper` holds one of them. Must not know: HTTP, who may send.
//!
//! A row of the database makes a capture findable; what makes it held is its keeper: a thread with an import of the store, so
//! that no chunk that its sender was told to be here is collected. After a restart of the appliance, or a long silence, the
//! next request gets a new keeper. Nothing but chunks is lost by that: the sender asks for all of them before the end.

mod keeper;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use super::app::App;
use super::clock::now_ms;
use super::http::error::Refusal;
use super::images;
use super::library::Library;
use crate::api::capture::{BadFrames, Capture, Finish, Made, Taken, decode_frames};
use crate::db::{DbError, NewCapture};
use crate::image::chunk::{BadFrame, Frame, Opener, Packed};
use crate::image::manifest::Manifest;
use crate::value::{ByteSize, Digest};

use keeper::Held;
pub use keeper::{CaptureError, Finished};

/// Captures that are held at the same time.
const MOST_HELD: usize = 32;
/// Bodies with frames that are looked at at the same time: the bound on memory.
const MOST_BODIES: usize = 8;
/// A capture that was not heard of for so long is forgotten.
const EXPIRE_MS: i64 = 24 * 3600 * 1000;
/// How long a sender waits for its turn to finish before it is told to ask again: shorter than its own patience.
pub const TURN: Duration = Duration::from_secs(60);
/// How old the time in the row may be.
const HEARD_MS: i64 = 60_000;
/// How much smaller than the bytes in use what is kept of a macOS volume is at least expected to be.
const EXPECTED_RATIO: u64 = 2;

/// All captures that are held.
pub struct Captures {
    library: Arc<Library>,
    held: Arc<Mutex<HashMap<i64, Arc<Held>>>>,
    bodies: Semaphore,
    finishing: AsyncMutex<()>,
}

/// Why frames are not taken in; none of them was.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// No list of frames.
    #[error(transparent)]
    List(#[from] BadFrames),
    /// A frame holds something else than it says.
    #[error("frame {number} of the body does not hold the chunks that it names")]
    Frame {
        /// Which, from 0.
        number: usize,
        /// Why.
        #[source]
        source: BadFrame,
    },
    /// A frame holds more or less than it says.
    #[error("frame {0} of the body does not hold the bytes that it claims")]
    Length(usize),
}

impl Captures {
    /// None is held yet.
    pub fn new(library: Arc<Library>) -> Captures {
        Captures {
            library,
            held: Arc::default(),
            bodies: Semaphore::new(MOST_BODIES),
            finishing: AsyncMutex::default(),
        }
    }

    /// A place for a body with frames.
    pub async fn body(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.bodies.acquire().await.map_err(|error| Refusal::fault(&error))
    }

    /// The keeper of a capture that begins or goes on.
    async fn begin(&self, id: i64) -> Result<Arc<Held>, CaptureError> {
        {
            let mut all = self.lock();
            if all.get(&id).is_some_and(|held| held.was_given_up()) {
                all.remove(&id);
            }
        }
        self.hold(id).await
    }

    /// The keeper of a capture, made when it has none.
    async fn hold(&self, id: i64) -> Result<Arc<Held>, CaptureError> {
        match self.lock().get(&id) {
            Some(held) if held.was_given_up() => return Err(CaptureError::GivenUp),
            Some(held) if held.is_alive() => return Ok(held.clone()),
            _ => {}
        }
        let (library, all) = (self.library.clone(), self.held.clone());
        spawn_blocking(move || {
            // Under the lock, so that a capture never has two; opening an import does not wait for anything.
            let mut held = all.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = held.get(&id).filter(|held| held.is_alive()) {
                return Ok(held.clone());
            }
            held.retain(|_, held| held.is_alive() || held.was_given_up());
            if held.values().filter(|held| held.is_alive()).count() >= MOST_HELD {
                return Err(CaptureError::TooMany(MOST_HELD));
            }
            let fresh = keeper::start(id, library)?;
            held.insert(id, fresh.clone());
            Ok(fresh)
        })
        .await
        .unwrap_or(Err(CaptureError::Ended))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Arc<Held>>> {
        // Every change is one insertion or removal.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all keepers: what they took in is durable then.
    pub async fn close(&self) {
        let all: Vec<Arc<Held>> = self.lock().drain().map(|(_, held)| held).collect();
        let ended = spawn_blocking(move || all.iter().for_each(|held| held.end()));
        if let Err(error) = ended.await {
            tracing::error!("captures were not ended in order: {error}");
        }
    }
}

/// Begins a capture, or finds the one that goes on. Whether there is room for it is asked here and at every frame.
pub async fn open(app: &App, new: NewCapture) -> Result<Capture, Refusal> {
    let known = app.db.image(&new.image).await?.is_some();
    app.captures.library.room(0)?;
    // Of an image that has versions most may be here already; of another one about half its bytes will be kept.
    if !known {
        app.captures.library.room(new.used / EXPECTED_RATIO)?;
    }
    let capture = app.db.open_capture(&new, now_ms()).await?;
    if capture.made.is_none() {
        app.captures.begin(capture.id).await?.hear(now_ms());
    }
    tracing::info!(
        capture = capture.id,
        "capture {} of {} ({} in use) from {}, by {}",
        capture.id,
        capture.image,
        ByteSize(capture.used),
        capture.source,
        capture.by
    );
    Ok(capture)
}

/// Which of these chunks the library lacks.
pub async fn lacking(app: &App, capture: &Capture, chunks: Vec<Digest>) -> Result<Vec<bool>, Refusal> {
    let held = app.captures.hold(capture.id).await?;
    heard(app, capture, &held).await?;
    Ok(held.lacking(chunks).await?)
}

/// Takes frames in. Each chunk is compared with its name before any is kept.
pub async fn take(app: &App, capture: &Capture, body: bytes::Bytes) -> Result<Taken, Refusal> {
    let opened = spawn_blocking(move || open_frames(&body)).await.map_err(|error| Refusal::fault(&error))?;
    let frames = opened.map_err(|error| {
        let text = super::http::error::chain(&error);
        Refusal::wrong(
            text,
            "nothing of it was kept; send it again, and check the sender's memory if it stays",
        )
    })?;
    let held = app.captures.hold(capture.id).await?;
    heard(app, capture, &held).await?;
    Ok(held.keep(frames).await?)
}

fn open_frames(body: &[u8]) -> Result<Vec<Packed>, BadBody> {
    let frames = decode_frames(body)?;
    let mut opener = Opener::default();
    for (number, packed) in frames.iter().enumerate() {
        let bad = |source| BadBody::Frame { number, source };
        let mut contents = opener.open(Frame(&packed.frame)).map_err(bad)?;
        let whole = contents.run(0, &packed.chunks).map_err(bad)?;
        if whole.bytes().len() != packed.raw as usize {
            return Err(BadBody::Length(number));
        }
    }
    Ok(frames)
}

/// Makes the image, once, however often it is asked for.
pub async fn finish(app: &App, id: i64, manifest: Manifest) -> Result<Finish, Refusal> {
    let turn = tokio::time::timeout(TURN, app.captures.finishing.lock()).await;
    let turn = turn.map_err(|_| CaptureError::NotNow("another capture is being finished"))?;
    let capture = app.db.capture(id).await?.ok_or_else(|| absent(id))?;
    if let Some(made) = capture.made {
        return Ok(Finish::Made(made));
    }
    let held = app.captures.hold(id).await?;
    heard(app, &capture, &held).await?;
    let published = images::publish_capture(app, &capture, held.finish(manifest)).await?;
    let (added, version, manifest) = match published {
        Ok(published) => published,
        Err(chunks) => return Ok(Finish::Lacking { chunks }),
    };
    let made = Made { image: capture.image, version, manifest, added };
    app.db.finish_capture(id, &made, now_ms()).await?;
    app.captures.lock().remove(&id);
    drop(turn);
    tracing::info!(capture = id, "capture {id} is {} {version}, {} added", made.image, ByteSize(added));
    Ok(Finish::Made(made))
}

/// Forgets a capture that is not finished; its chunks are collected with the next garbage.
pub async fn abandon(app: &App, id: i64) -> Result<(), Refusal> {
    let held = app.captures.lock().remove(&id);
    if let Some(held) = held {
        spawn_blocking(move || held.end()).await.map_err(|error| Refusal::fault(&error))?;
    }
    match app.db.forget_capture(id).await? {
        true => Ok(()),
        false => Err(absent(id)),
    }
}

/// Forgets what was not heard of for long; called by a clock.
pub async fn expire(app: &App) -> Result<(), DbError> {
    for id in app.db.expire_captures(now_ms() - EXPIRE_MS).await? {
        tracing::info!(capture = id, "capture {id} is forgotten: its sender was not heard for a day");
        app.captures.lock().remove(&id);
    }
    Ok(())
}

/// There is no such capture, or not any more.
pub fn absent(id: i64) -> Refusal {
    Refusal::absent(
        format!("there is no capture {id}; one whose sender is silent for a day is forgotten"),
        "run the capture again: what the library has of it is not sent again",
    )
}

async fn heard(app: &App, capture: &Capture, held: &Held) -> Result<(), Refusal> {
    let now = now_ms();
    held.hear(now);
    if now - capture.heard_ms >= HEARD_MS {
        app.db.hear_capture(capture.id, now).await?;
    }
    Ok(())
}
