//! Runs at work: the pure engine of `sequence::run` between the database and those who ask.
//!
//! Every event is recorded before it takes effect: decide, commit, then change what is held in memory. So a daemon that
//! dies at any point comes back with the run where its runner last heard it to be. One lock a run; runs do not wait for
//! each other. Must not know: HTTP, tokens' spelling, how an action is done.

pub mod claim;
mod error;
mod heard;
mod people;
mod places;
mod record;
mod tell;

pub use error::RunError;
pub use places::{Places, Wanted};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::claim::{Claim, Claimant, Heard, Holder};
use super::clock::now_ms;
use super::notify::Notifier;
use super::receipt;
use super::secrets::SecretKey;
use super::timeline::Timeline;
use super::wire;
use crate::api::runner::{BootMethod, Done, Next, Progress, Report, ReportEvent, RunQuestion};
use crate::db::{Db, EventBody, Logged};
use crate::sequence::name::VariableName;
use crate::sequence::run::act::Act;
use crate::sequence::run::event::Event;
use crate::sequence::run::{Decision, Run};
use crate::value::MacAddr;

/// Runs that are held in memory at most, as long as enough of them have ended.
const MOST_HELD: usize = 256;
/// Events that the engine may record by itself before it has an answer: more than any sequence has steps.
const MOST_DECISIONS: usize = 100_000;
/// Rows that the log of one run may have.
const MOST_ROWS: i64 = 20_000;
/// Bytes that the log of one run may have.
const MOST_LOG: u64 = 64 << 20;
/// Events of the engine that are recorded in one transaction at most.
const MOST_TOGETHER: usize = 1_000;
/// How often a run is read anew for one who asks.
const MOST_READ: usize = 3;
/// Seconds after which a Mac whose run waits for a person asks again.
const ASK_AGAIN: u32 = 3;
/// What a recorded event is sealed for.
const CONTEXT: &str = "event";

/// All runs. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    db: Db,
    timeline: Timeline,
    secrets: Arc<SecretKey>,
    notifier: Arc<Notifier>,
    /// Notifications on their way.
    telling: TaskTracker,
    stopping: CancellationToken,
    heard: Heard,
    held: Arc<StdMutex<HashMap<i64, Arc<Held>>>>,
    /// Progress that is not in the database yet, with the number of the last row when it was told.
    unsaved: Arc<StdMutex<HashMap<i64, (i64, Progress)>>>,
}

/// One run in memory: a mirror of its rows.
pub struct Held {
    id: i64,
    device: i64,
    /// Address that its Mac booted with.
    mac: Option<MacAddr>,
    machine: Arc<Mutex<Machine>>,
    places: StdMutex<Places>,
    seen: watch::Sender<Seen>,
    /// Set while rows are written, and for good when they went on without us: the machine is stale.
    lost: AtomicBool,
    /// Held while rows are written.
    writing: Arc<Mutex<()>>,
}

struct Machine {
    run: Run,
    /// Number of the last row.
    last: i64,
    receipt_key: String,
    logged: Logged,
    /// Number of the notification that is on its way.
    telling: u32,
}

/// What watchers wait for.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Grows with everything that happens.
    pub change: u64,
    /// Progress of the action at work.
    pub progress: Option<Progress>,
    /// Whether nothing more will happen.
    pub ended: bool,
    /// When something was recorded last: since then it asks what it asks.
    pub since_ms: i64,
}

impl Runs {
    /// No run is read before it is asked for.
    pub fn new(db: Db, timeline: Timeline, secrets: Arc<SecretKey>, notifier: Notifier) -> Runs {
        let (telling, stopping) = (TaskTracker::new(), CancellationToken::new());
        let (notifier, heard) = (Arc::new(notifier), Heard::new(now_ms()));
        let (held, unsaved) = (Arc::default(), Arc::default());
        Runs { db, timeline, secrets, notifier, telling, stopping, heard, held, unsaved }
    }

    /// The run, read from its rows when it is not held yet.
    pub async fn open(&self, id: i64) -> Result<Arc<Held>, RunError> {
        if let Some(held) = self.lock().get(&id) {
            return Ok(held.clone());
        }
        let row = self.db.run(id).await?.ok_or(RunError::Absent(id))?;
        let (events, last) = self.db.state_events(id).await?;
        if events.is_empty() && self.db.forgotten(id).await?.is_some() {
            return Err(RunError::Forgotten(id));
        }
        let mut recorded = Vec::with_capacity(events.len());
        for event in &events {
            let EventBody::State(body) = &event.body else { continue };
            recorded.push(self.opened(id, event.number, body)?);
        }
        let mac = match recorded.first().map(|first| &first.event) {
            Some(Event::Started(start)) => start.facts.mac,
            _ => None,
        };
        let since_ms = recorded.last().map_or(0, |last| last.at_ms);
        let run = Run::replay(recorded).map_err(|source| RunError::Damaged { run: id, source })?;
        let ended = run.outcome().is_some();
        let seen = Seen { change: change_of(last), progress: row.progress, ended, since_ms };
        let machine = Machine { run, last, receipt_key: row.receipt_key, logged: row.logged, telling: 0 };
        let fresh = Arc::new(Held {
            id,
            device: row.summary.device,
            mac,
            machine: Arc::new(Mutex::new(machine)),
            places: StdMutex::default(),
            seen: watch::Sender::new(seen),
            lost: AtomicBool::new(false),
            writing: Arc::default(),
        });
        let mut held = self.lock();
        if held.len() >= MOST_HELD {
            // Not one that somebody is about to move.
            held.retain(|_, held| !held.seen.borrow().ended || Arc::strong_count(held) > 1);
        }
        Ok(held.entry(id).or_insert(fresh).clone())
    }

    /// The run, alone. One whose rows were written by a request that nobody waited for to the end is read anew.
    async fn enter(&self, id: i64) -> Result<(Arc<Held>, OwnedMutexGuard<Machine>), RunError> {
        for _ in 0..MOST_READ {
            let held = self.open(id).await?;
            let machine = held.machine.clone().lock_owned().await;
            if !held.lost.load(Ordering::Acquire) {
                return Ok((held, machine));
            }
            drop(held.writing.lock().await);
            self.let_go(&held);
        }
        Err(RunError::Moved(id))
    }

    /// The next one who asks for this run reads it anew.
    fn let_go(&self, held: &Arc<Held>) {
        let mut all = self.lock();
        if all.get(&held.id).is_some_and(|known| Arc::ptr_eq(known, held)) {
            all.remove(&held.id);
        }
        drop(all);
        // Who watches it looks again.
        held.seen.send_modify(|seen| seen.ended = true);
    }

    /// Values of the run's secret variables: to be looked for, never to be shown.
    pub async fn secrets(&self, id: i64) -> Result<Vec<String>, RunError> {
        self.watch(id, 0, Duration::ZERO, |run, _| {
            let all = run.variables().all();
            all.into_values().filter(|value| value.secret).map(|value| value.text).collect()
        })
        .await
    }

    /// Removes the details of runs that ended before a moment. How many.
    pub async fn forget(&self, before_ms: i64) -> Result<u32, RunError> {
        let mut count = 0;
        loop {
            let old = self.db.old_runs(before_ms, 100).await?;
            if old.is_empty() {
                return Ok(count);
            }
            for run in old {
                self.db.forget_run(run, now_ms()).await?;
                self.lock().remove(&run);
                count += 1;
            }
        }
    }

    /// What the runner does now.
    pub async fn next(&self, id: i64) -> Result<Next, RunError> {
        let (held, mut machine) = self.enter(id).await?;
        self.heard.note(&machine.receipt_key, None, now_ms());
        for _ in 0..MOST_DECISIONS {
            match machine.run.next(now_ms()) {
                Decision::Record(event) => self.decide(&held, &mut machine, event).await?,
                Decision::Act(assignment) if matches!(assignment.act, Act::Notify(_)) => {
                    self.tell(&held, &mut machine, &assignment);
                    let why = format!("`{}` is on its way", assignment.name);
                    return Ok(Next::Wait { seconds: 1, why, question: None });
                }
                Decision::Act(assignment) => return Ok(wire::act(&assignment)),
                Decision::Wait { seconds, why } => return Ok(Next::Wait { seconds, why, question: None }),
                Decision::Ask(question) => {
                    let since_ms = held.seen.borrow().since_ms;
                    return Ok(wire::waits(ASK_AGAIN, question, &machine.run, since_ms));
                }
                Decision::Finished { outcome, message } => {
                    return Ok(wire::finished(&machine.run, outcome, &message));
                }
            }
        }
        Err(RunError::Endless(id))
    }

    /// Takes a report in. True when the runner shall stop what it does and ask again.
    pub async fn report(&self, id: i64, report: Report) -> Result<bool, RunError> {
        let (held, mut machine) = self.enter(id).await?;
        self.heard.note(&machine.receipt_key, None, now_ms());
        let number = report.number;
        let ends = matches!(report.event, ReportEvent::Done(_) | ReportEvent::Failed(_));
        match report.event {
            ReportEvent::Progress(progress) => self.progress(&held, &mut machine, number, progress).await?,
            ReportEvent::Log { first, lines } => {
                self.log(&held, &mut machine, (number, first), lines).await?;
            }
            ReportEvent::Done(done) => self.done(&held, &mut machine, number, *done).await?,
            ReportEvent::Variables { values } => {
                let named = |(name, text): (String, String)| Some((name.parse::<VariableName>().ok()?, text));
                let values = machine.run.values_of_script(values.into_iter().filter_map(named).collect());
                self.record(&held, &mut machine, Event::ValuesSet { number, values }, None).await?;
            }
            ReportEvent::Failed(failure) => {
                let failure = wire::failure_in(wire::masked(&machine.run, failure));
                let event = Event::Failed { number, failure };
                self.record(&held, &mut machine, event, None).await?;
            }
            ReportEvent::Unknown => {
                tracing::debug!(run = id, "run {id}: a report of a kind that this version does not know");
            }
        }
        // A run that was stopped works at its *finally* parts: what was at work before must end.
        let at_work = machine.run.assignment().is_some_and(|assignment| assignment.number == number);
        Ok(machine.run.outcome().is_some() || !ends && !at_work)
    }

    /// Who was heard last.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Whether a runner may have a run that goes on.
    ///
    /// # Errors
    /// [`RunError::Taken`] when another one is at work.
    pub async fn may_have(&self, id: i64, claimant: Claimant<'_>) -> Result<(), RunError> {
        let (held, machine) = self.enter(id).await?;
        self.claim(&held, &machine, claimant).await.map(drop)
    }

    async fn claim(&self, held: &Held, machine: &Machine, claimant: Claimant<'_>) -> Result<Claim, RunError> {
        let boot_id = self.db.boot_id(held.device, &machine.receipt_key).await?;
        let leaves = machine.run.outcome().is_some() || machine.run.starts_anew();
        let holder = Holder { receipt_key: &machine.receipt_key, boot_id: &boot_id, leaves };
        match self.heard.claim(claimant, holder, now_ms()) {
            Claim::Taken { by, silent_ms } => Err(RunError::Taken { run: held.id, by, silent_ms }),
            claim => Ok(claim),
        }
    }

    /// The Mac of this run said hello. A runner that was started anew has another receipt key and remembers nothing; the same
    /// one only lost its token.
    ///
    /// # Errors
    /// [`RunError::Taken`] when another one is at work.
    pub async fn reconnect(&self, id: i64, boot: BootMethod, claimant: Claimant<'_>) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        let Claim::Anew { same_start } = self.claim(&held, &machine, claimant).await? else { return Ok(()) };
        let event = Event::Reconnected { boot: wire::boot_method(boot), same_start };
        self.record(&held, &mut machine, event, None).await?;
        machine.receipt_key = claimant.receipt_key.to_owned();
        self.heard.note(claimant.receipt_key, None, now_ms());
        Ok(())
    }

    /// What action `number` copies, when it is a Copy Files and at work.
    pub async fn copied(&self, id: i64, number: u32) -> Result<Option<String>, RunError> {
        let (_, machine) = self.enter(id).await?;
        let assignment = machine.run.assignment().filter(|assignment| assignment.number == number);
        Ok(assignment.and_then(|assignment| match &assignment.act {
            Act::CopyFiles { from, .. } => Some(from.clone()),
            _ => None,
        }))
    }

    /// Image and note, when action `number` is a capture and at work.
    pub async fn capture(&self, id: i64, number: u32) -> Result<Option<(String, String)>, RunError> {
        let (_, machine) = self.enter(id).await?;
        let assignment = machine.run.assignment().filter(|assignment| assignment.number == number);
        Ok(assignment.and_then(|assignment| match &assignment.act {
            Act::CaptureImage { image, note, .. } => Some((image.clone(), note.clone())),
            _ => None,
        }))
    }

    /// Ends runs whose time is over, and does what the appliance itself has to do in runs that no Mac asks about; called by a
    /// clock.
    pub async fn expire(&self) -> Result<(), RunError> {
        for id in self.db.active_runs().await? {
            let (held, mut machine) = self.enter(id).await?;
            let now = now_ms();
            if machine.run.deadline_ms().is_some_and(|deadline| now >= deadline)
                && let Decision::Record(event) = machine.run.next(now)
            {
                self.record(&held, &mut machine, event, None).await?;
            }
            self.drive(&held, &mut machine).await?;
        }
        Ok(())
    }

    /// What the run asks a person now, as it is shown.
    pub async fn asks(&self, id: i64) -> Result<Option<RunQuestion>, RunError> {
        self.watch(id, 0, Duration::ZERO, |run, seen| {
            run.question(now_ms()).map(|question| wire::question(question, run, seen.since_ms))
        })
        .await
    }

    /// Reads a run with its live progress, as soon as its change number is greater than `after` or it has ended, else after
    /// `wait`.
    pub async fn watch<T>(
        &self,
        id: i64,
        after: u64,
        wait: Duration,
        read: impl FnOnce(&Run, &Seen) -> T,
    ) -> Result<T, RunError> {
        let held = self.open(id).await?;
        let mut changes = held.seen.subscribe();
        let _ = tokio::time::timeout(wait, changes.wait_for(|seen| seen.change > after || seen.ended)).await;
        let (held, machine) = self.enter(id).await?;
        let seen = held.seen.borrow().clone();
        Ok(read(&machine.run, &seen))
    }

    /// Waits until something with a greater number than `after` is recorded, the run has ended, or the time is over.
    pub async fn recorded(&self, id: i64, after: i64, wait: Duration) -> Result<(), RunError> {
        let next = change_of(after.saturating_add(1)).saturating_sub(1);
        self.watch(id, next, wait, |_, _| ()).await
    }

    async fn done(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        number: u32,
        mut done: Done,
    ) -> Result<(), RunError> {
        let signed = done.receipt.take();
        let checked =
            signed.as_ref().map(|signed| receipt::check(signed, &machine.receipt_key, held.id, number));
        if let Some(Err(error)) = &checked {
            tracing::warn!(run = held.id, %error, "run {}: the receipt of action {number} is not believed: {error}", held.id);
        }
        let manifest = checked.and_then(Result::ok).map(|receipt| receipt.manifest);
        // What a capture made is what the library says, not what the runner says.
        let captured = self.db.run_capture(held.id, number).await?.and_then(|capture| capture.made);
        let captured = captured.map(|made| format!("{} {}", made.image, made.version));
        let event = Event::Done { number, result: wire::result(done, manifest, captured) };
        let receipt =
            signed.filter(|_| manifest.is_some()).map(|signed| (number, signed, machine.receipt_key.clone()));
        self.record(held, machine, event, receipt).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Change numbers go on after a restart: the row number above, progress between two rows below.
fn change_of(last: i64) -> u64 {
    u64::try_from(last).unwrap_or(0) << 20
}

#[cfg(test)]
mod tests;
