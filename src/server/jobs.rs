//! Work that takes longer than a request: one job at a time, watched by number, stopped by a flag.
//!
//! Kept in memory: a job that the daemon did not finish left nothing behind, so there is nothing to remember.
//! Must not know: what a job does.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::TaskTracker;

use super::clock::now_ms;
use crate::api::admin::{Job, JobKind, JobState};
use crate::api::runner::{Problem, Progress};
use crate::db;

/// Jobs that may wait or be at work.
const MOST_OPEN: usize = 64;
/// Jobs that are kept after their end.
const MOST_ENDED: usize = 200;
/// How often a job's counters become its progress.
const TICK: Duration = Duration::from_millis(500);

/// All jobs of the daemon. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    list: Mutex<List>,
    turn: Semaphore,
    tasks: TaskTracker,
}

#[derive(Default)]
struct List {
    last: i64,
    closed: bool,
    jobs: VecDeque<Arc<Entry>>,
}

struct Entry {
    job: watch::Sender<Job>,
    work: Work,
}

/// What a job sees of itself: counters to fill, and whether to stop. Cheap to clone.
#[derive(Clone, Default)]
pub struct Work(Arc<Counters>);

#[derive(Default)]
struct Counters {
    stop: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    phase: Mutex<String>,
}

/// What a job made.
#[derive(Clone, Debug)]
pub struct Made {
    /// One line for people.
    pub message: String,
    /// Number of the image version concerned.
    pub version: Option<u32>,
}

/// No job was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many wait already.
    #[error("{MOST_OPEN} jobs wait already")]
    TooMany,
    /// The daemon is about to stop.
    #[error("the appliance is shutting down")]
    Closed,
}

impl Work {
    /// Whether a person stopped the job, or the daemon stops.
    pub fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    /// Begins a phase of `total` bytes; 0 when that is not known.
    pub fn phase(&self, name: &str, total: u64) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = name.to_owned();
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Bytes done in this phase.
    pub fn set_done(&self, bytes: u64) {
        self.0.done.store(bytes, Ordering::Relaxed);
    }

    /// Bytes to do in this phase, once that is known.
    pub fn set_total(&self, bytes: u64) {
        self.0.total.store(bytes, Ordering::Relaxed);
    }

    /// Waits for blocking work, copies its count of bytes here meanwhile, and passes the wish to stop on.
    pub async fn follow<T>(
        &self,
        mut task: JoinHandle<T>,
        done: impl Fn() -> u64,
        stop: impl Fn(),
    ) -> Result<T, JoinError> {
        loop {
            tokio::select! {
                ended = &mut task => {
                    self.set_done(done());
                    return ended;
                }
                () = tokio::time::sleep(TICK / 2) => {
                    self.set_done(done());
                    if self.is_stopped() {
                        stop();
                    }
                }
            }
        }
    }

    fn progress(&self, before: Option<&Progress>) -> Option<Progress> {
        let phase = self.0.phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if phase.is_empty() {
            return None;
        }
        let (done, total) = (self.0.done.load(Ordering::Relaxed), self.0.total.load(Ordering::Relaxed));
        // Smoothed over about two seconds: four ticks.
        let rate = match before.filter(|before| before.phase == phase) {
            Some(before) => {
                let now = done.saturating_sub(before.done) * 1000 / TICK.as_millis() as u64;
                if before.disk_rate == 0 { now } else { (3 * before.disk_rate + now) / 4 }
            }
            None => 0,
        };
        let left = total.saturating_sub(done);
        let seconds_left = (rate > 0 && total > 0).then(|| u32::try_from(left / rate).unwrap_or(u32::MAX));
        Some(Progress { phase, done, total, disk_rate: rate, seconds_left, ..Progress::default() })
    }
}

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs(Arc::new(Inner {
            list: Mutex::new(List::default()),
            turn: Semaphore::new(1),
            tasks: TaskTracker::new(),
        }))
    }
}

impl Jobs {
    /// Takes a job in and starts it when its turn comes.
    pub fn start<F, R>(&self, kind: JobKind, subject: String, task: F) -> Result<Job, Full>
    where
        F: FnOnce(Work) -> R + Send + 'static,
        R: Future<Output = Result<Made, Problem>> + Send,
    {
        self.take(kind, subject, true, |work, _| task(work))
    }

    /// Takes a job in and starts it now, beside the one whose turn it is: for what takes long and disturbs nobody. The task is
    /// told its number.
    pub fn start_beside<F, R>(&self, kind: JobKind, subject: String, task: F) -> Result<Job, Full>
    where
        F: FnOnce(Work, i64) -> R + Send + 'static,
        R: Future<Output = Result<Made, Problem>> + Send,
    {
        self.take(kind, subject, false, task)
    }

    fn take<F, R>(&self, kind: JobKind, subject: String, in_turn: bool, task: F) -> Result<Job, Full>
    where
        F: FnOnce(Work, i64) -> R + Send + 'static,
        R: Future<Output = Result<Made, Problem>> + Send,
    {
        let mut list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.closed {
            return Err(Full::Closed);
        }
        if list.jobs.iter().filter(|entry| !entry.job.borrow().state.has_ended()).count() >= MOST_OPEN {
            return Err(Full::TooMany);
        }
        list.last += 1;
        let job = Job {
            id: list.last,
            kind,
            subject,
            change: 1,
            state: JobState::Queued,
            progress: None,
            started_ms: now_ms(),
            ended_ms: None,
        };
        let entry = Arc::new(Entry { job: watch::Sender::new(job.clone()), work: Work::default() });
        list.jobs.push_front(entry.clone());
        let ended = |entry: &Arc<Entry>| entry.job.borrow().state.has_ended();
        if list.jobs.iter().filter(|entry| ended(entry)).count() > MOST_ENDED
            && let Some(oldest) = list.jobs.iter().rposition(ended)
        {
            list.jobs.remove(oldest);
        }
        let inner = self.0.clone();
        let id = job.id;
        let at_work = async move { run(&inner, &entry, in_turn, |work| task(work, id)).await };
        // What the job changes is changed by whoever asked for it.
        match db::who_acts() {
            Some(who) => self.0.tasks.spawn(db::acting(who.later(), at_work)),
            None => self.0.tasks.spawn(at_work),
        };
        Ok(job)
    }

    /// Newest first.
    pub fn list(&self) -> Vec<Job> {
        let list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.jobs.iter().map(|entry| entry.job.borrow().clone()).collect()
    }

    /// One job.
    pub fn get(&self, id: i64) -> Option<Job> {
        Some(self.entry(id)?.job.borrow().clone())
    }

    /// One job, as soon as its `change` is greater than `after`, else after `wait`.
    pub async fn watch(&self, id: i64, after: u64, wait: Duration) -> Option<Job> {
        let entry = self.entry(id)?;
        let mut changes = entry.job.subscribe();
        let _ =
            tokio::time::timeout(wait, changes.wait_for(|job| job.change > after || job.state.has_ended()))
                .await;
        Some(entry.job.borrow().clone())
    }

    /// Asks a job to stop.
    pub fn cancel(&self, id: i64) -> Option<Job> {
        let entry = self.entry(id)?;
        entry.work.0.stop.store(true, Ordering::Relaxed);
        Some(entry.job.borrow().clone())
    }

    /// Takes no more jobs, asks all to stop, and waits for them.
    pub async fn close(&self) {
        {
            let mut list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.closed = true;
            list.jobs.iter().for_each(|entry| entry.work.0.stop.store(true, Ordering::Relaxed));
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn entry(&self, id: i64) -> Option<Arc<Entry>> {
        let list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.jobs.iter().find(|entry| entry.job.borrow().id == id).cloned()
    }
}

async fn run<F, R>(inner: &Inner, entry: &Entry, in_turn: bool, task: F)
where
    F: FnOnce(Work) -> R,
    R: Future<Output = Result<Made, Problem>>,
{
    let _turn = if in_turn { inner.turn.acquire().await.ok() } else { None };
    let work = &entry.work;
    let end = if work.is_stopped() {
        JobState::Cancelled
    } else {
        change(entry, |job| job.state = JobState::Running);
        let mut task = std::pin::pin!(task(work.clone()));
        let result = loop {
            tokio::select! {
                result = &mut task => break result,
                () = tokio::time::sleep(TICK) => change(entry, |job| job.progress = work.progress(job.progress.as_ref())),
            }
        };
        match result {
            Ok(Made { message, version }) => JobState::Done { message, version },
            Err(_) if work.is_stopped() => JobState::Cancelled,
            Err(Problem { error, next_step }) => JobState::Failed { error, next_step },
        }
    };
    let job = entry.job.borrow().clone();
    tracing::info!(job = job.id, "job {} ({}) ended: {end:?}", job.id, job.subject);
    change(entry, |job| {
        job.progress = work.progress(job.progress.as_ref());
        job.state = end;
        job.ended_ms = Some(now_ms());
    });
}

fn change(entry: &Entry, with: impl FnOnce(&mut Job)) {
    entry.job.send_modify(|job| {
        with(job);
        job.change += 1;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn made() -> Result<Made, Problem> {
        Ok(Made { message: "made".into(), version: Some(3) })
    }

    async fn ended(jobs: &Jobs, id: i64) -> Job {
        let mut job = jobs.get(id).unwrap();
        while !job.state.has_ended() {
            job = jobs.watch(id, job.change, Duration::from_secs(10)).await.unwrap();
        }
        job
    }

    #[tokio::test]
    async fn the_second_job_waits_for_the_first_and_a_watcher_sees_the_end_of_both() {
        let jobs = Jobs::default();
        let (release, gate) = oneshot::channel::<()>();
        let first = jobs
            .start(JobKind::Import, "a".into(), |work| async move {
                work.phase("reading", 10);
                work.set_done(10);
                gate.await.unwrap();
                made()
            })
            .unwrap();
        let second = jobs.start(JobKind::Verify, "b".into(), |_| async { made() }).unwrap();
        let running = jobs.watch(first.id, first.change, Duration::from_secs(10)).await.unwrap();
        assert_eq!(running.state, JobState::Running);
        assert_eq!(jobs.get(second.id).unwrap().state, JobState::Queued);
        release.send(()).unwrap();
        let first = ended(&jobs, first.id).await;
        assert_eq!(first.state, JobState::Done { message: "made".into(), version: Some(3) });
        assert_eq!(first.progress.unwrap().done, 10);
        assert!(ended(&jobs, second.id).await.ended_ms.is_some());
    }

    #[tokio::test]
    async fn a_waiting_job_that_is_stopped_never_begins_and_a_closed_list_takes_none() {
        let jobs = Jobs::default();
        let (release, gate) = oneshot::channel::<()>();
        let first = jobs
            .start(JobKind::Import, "a".into(), |_| async move {
                gate.await.unwrap();
                made()
            })
            .unwrap();
        let second = jobs.start(JobKind::Import, "b".into(), |_| async { unreachable!() }).unwrap();
        jobs.cancel(second.id).unwrap();
        release.send(()).unwrap();
        assert_eq!(ended(&jobs, second.id).await.state, JobState::Cancelled);
        assert!(ended(&jobs, first.id).await.state.has_ended());
        jobs.close().await;
        assert_eq!(jobs.start(JobKind::Import, "c".into(), |_| async { made() }).unwrap_err(), Full::Closed);
    }
}
