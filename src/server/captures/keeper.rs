//! Who keeps the chunks of one capture: a thread with an import of the store.
//!
//! Owns: when what was taken in becomes durable, when a silent sender is given up. Must not know: rows, other captures.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::capture::Taken;
use crate::image::chunk::Packed;
use crate::image::ingest::Keeper as _;
use crate::image::manifest::Manifest;
use crate::server::clock::now_ms;
use crate::server::library::{ImportError, Imported, Library};
use crate::store::{Import, StoreError};
use crate::value::Digest;

/// Bytes of frames after which a pack is closed: what a reset of the appliance loses at most. Packs stay large enough to be few.
const SETTLE: u64 = 32 << 20;
/// Orders that wait.
const WAITING: usize = 64;
/// A sender that is silent for so long is given up: what it sent is made durable, and may be collected from then on.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// Why a capture does not go on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Its keeper has ended: the next request gets another one.
    #[error("the capture was given up just now")]
    Ended,
    /// It cannot take more at this moment.
    #[error("the disk of the library is slower than what is sent")]
    Busy,
    /// Something else has its turn.
    #[error("{0}")]
    NotNow(&'static str),
    /// The disk was full, and what was sent went away again. It begins anew when somebody begins it.
    #[error("the capture was given up when the disk of the library was full")]
    GivenUp,
    /// Too many at the same time.
    #[error("{0} captures are under way already")]
    TooMany(usize),
    /// Garbage is collected; a disk is full …
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No room, or the image is none.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl CaptureError {
    /// Whether the disk has no room for it.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            CaptureError::GivenUp
                | CaptureError::Store(StoreError::Full { .. })
                | CaptureError::Import(
                    ImportError::Room { .. } | ImportError::Store(StoreError::Full { .. })
                )
        )
    }
}

/// A capture with its keeper.
pub struct Held {
    orders: Mutex<Option<SyncSender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    heard_ms: AtomicI64,
    added: AtomicU64,
    given_up: AtomicBool,
}

/// A capture that became a manifest, or the number of chunks that are lacking.
pub type Finished = Result<Imported, u64>;

enum Order {
    Ask(Vec<Digest>, oneshot::Sender<Vec<bool>>),
    Keep(Vec<Packed>, oneshot::Sender<Result<Taken, CaptureError>>),
    Finish(Box<Manifest>, oneshot::Sender<Result<Finished, CaptureError>>),
}

/// Starts the keeper of capture `id`.
///
/// # Errors
/// When the store takes no import now.
pub(super) fn start(id: i64, library: Arc<Library>) -> Result<Arc<Held>, CaptureError> {
    let (give, orders) = sync_channel(WAITING);
    let held = Arc::new(Held {
        orders: Mutex::new(Some(give)),
        thread: Mutex::default(),
        heard_ms: AtomicI64::new(now_ms()),
        added: AtomicU64::new(0),
        given_up: AtomicBool::new(false),
    });
    let (told, begun) = std::sync::mpsc::channel();
    let kept = held.clone();
    let thread = std::thread::Builder::new().name(format!("capture {id}")).spawn(move || {
        match library.store().import() {
            Ok(import) => {
                let _ = told.send(Ok(()));
                if let Err(error) = tend(&library, import, &kept, &orders) {
                    tracing::warn!(
                        capture = id,
                        "capture {id}: what was sent last is lost, or is garbage: {error}"
                    );
                }
            }
            Err(error) => drop(told.send(Err(error))),
        }
        kept.close();
    });
    let thread = thread.map_err(|source| StoreError::Io {
        what: "starting a thread beside",
        path: "/proc/self/task".into(),
        source,
    })?;
    begun.recv().map_err(|_| CaptureError::Ended)??;
    *held.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(held)
}

/// Follows orders until there will be none, the import is finished, or it cannot go on.
fn tend(
    library: &Library,
    import: Import<'_>,
    held: &Held,
    orders: &Receiver<Order>,
) -> Result<(), StoreError> {
    let mut unsettled = 0;
    loop {
        match orders.recv_timeout(SILENCE) {
            // The import answers, so that what it says to be here is not collected.
            Ok(Order::Ask(chunks, answer)) => {
                let lacking = chunks.iter().map(|chunk| !import.holds(chunk)).collect();
                // Somebody who does not wait any more asks again.
                let _ = answer.send(lacking);
            }
            Ok(Order::Keep(frames, answer)) => match keep(library, &import, held, &frames, &mut unsettled) {
                Ok(taken) => drop(answer.send(Ok(taken))),
                Err(error) => return give_up(import, held, error, answer),
            },
            Ok(Order::Finish(manifest, answer)) => {
                match import.settle().map(|()| library.lacking(&manifest)) {
                    Ok(0) => {
                        let added = held.added.load(Ordering::Relaxed);
                        let made = library.finish_capture(import, *manifest, added);
                        // Before the answer: who asks once more then gets another keeper.
                        held.close();
                        let _ = answer.send(made.map(Ok).map_err(CaptureError::from));
                        return Ok(());
                    }
                    Ok(lacking) => {
                        unsettled = 0;
                        let _ = answer.send(Ok(Err(lacking)));
                    }
                    Err(error) => return give_up(import, held, error.into(), answer),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let silent = now_ms() - held.heard_ms.load(Ordering::Relaxed);
                if silent >= SILENCE.as_millis() as i64 {
                    return import.settle();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return import.settle(),
        }
    }
}

/// Ends a capture that cannot go on, and then tells why. Where the disk is full, what it sent goes away; else what is in closed
/// packs stays for the next try.
fn give_up<T>(
    import: Import<'_>,
    held: &Held,
    error: CaptureError,
    answer: oneshot::Sender<Result<T, CaptureError>>,
) -> Result<(), StoreError> {
    let mut left = Ok(());
    if error.is_full() {
        // Before anything goes: no request that is under way gets another keeper, which would hold it.
        held.given_up.store(true, Ordering::Release);
        left = import.abandon();
    } else {
        drop(import);
    }
    // Before the answer: who asks once more then gets another keeper.
    held.close();
    let _ = answer.send(Err(error));
    left
}

fn keep(
    library: &Library,
    import: &Import<'_>,
    held: &Held,
    frames: &[Packed],
    unsettled: &mut u64,
) -> Result<Taken, CaptureError> {
    let mut taken = Taken::default();
    for packed in frames {
        let new = packed.chunks.iter().filter(|chunk| !import.holds(chunk)).count();
        if new == 0 {
            continue;
        }
        library.room(packed.frame.len() as u64)?;
        import.keep(packed)?;
        taken.chunks += new as u64;
        taken.bytes += packed.frame.len() as u64;
    }
    held.added.fetch_add(taken.bytes, Ordering::Relaxed);
    *unsettled += taken.bytes;
    if *unsettled >= SETTLE {
        import.settle()?;
        *unsettled = 0;
    }
    Ok(taken)
}

impl Held {
    /// Whether its keeper takes orders.
    pub fn is_alive(&self) -> bool {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether it was ended because the disk was full.
    pub fn was_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Its sender was heard.
    pub fn hear(&self, now_ms: i64) {
        self.heard_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Which of these chunks are lacking; the others stay as long as the capture is held.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub async fn lacking(&self, chunks: Vec<Digest>) -> Result<Vec<bool>, CaptureError> {
        let (tell, answer) = oneshot::channel();
        self.order(Order::Ask(chunks, tell))?;
        answer.await.map_err(|_| CaptureError::Ended)
    }

    /// Takes frames in; their chunks were compared with their names.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub async fn keep(&self, frames: Vec<Packed>) -> Result<Taken, CaptureError> {
        let (tell, answer) = oneshot::channel();
        self.order(Order::Keep(frames, tell))?;
        answer.await.map_err(|_| CaptureError::Ended)?
    }

    /// Makes everything durable and, when nothing is lacking, the manifest.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub async fn finish(&self, manifest: Manifest) -> Result<Finished, CaptureError> {
        let (tell, answer) = oneshot::channel();
        self.order(Order::Finish(Box::new(manifest), tell))?;
        answer.await.map_err(|_| CaptureError::Ended)?
    }

    fn order(&self, order: Order) -> Result<(), CaptureError> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        match orders.as_ref().ok_or(CaptureError::Ended)?.try_send(order) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(CaptureError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(CaptureError::Ended),
        }
    }

    /// Takes no more orders.
    fn close(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends the keeper and waits for it: what it took in is durable then.
    pub fn end(&self) {
        self.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the keeper of a capture panicked");
        }
    }
}
