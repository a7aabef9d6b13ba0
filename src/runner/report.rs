//! What the runner says about one assignment: progress that may be lost, log lines in order, and an end that must arrive.
//!
//! Must not know: what the assignment does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::link::{Interrupted, Link};
use super::wizard::Told;
use crate::api::runner::{Accepted, Progress, Report, ReportEvent, RunTicket};
use crate::client::{Client, Patience};

/// Bytes of log lines in one report: the appliance takes requests of up to 1 MiB.
const BATCH_BYTES: usize = 256 << 10;
/// Lines in one report: the appliance takes 2000.
const BATCH_LINES: usize = 1000;
/// Lines that wait for a network that is gone; older ones are dropped then, and that is said.
const MOST_WAITING: usize = 10_000;
/// Whoever says so much that half of that waits, is held up so long for each handful of lines.
const FLOOD_PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether lines wait.
const PULSE: Duration = Duration::from_millis(100);
/// The same, after a report that did not arrive.
const PAUSE: Duration = Duration::from_secs(1);
/// After so long a silence the appliance is asked whether the action is to stop.
const SILENCE: Duration = Duration::from_secs(3);

/// The lines of the last assignment. One that is handed out again to the same runner, because its ticket was replaced or another
/// address of the appliance was named, goes on where they were: those that wait still wait, and none has the number of another.
#[derive(Default)]
pub struct Lines(RefCell<Option<Of>>);

/// Run, number of the assignment, its lines.
type Of = (i64, u32, Arc<Mutex<Waiting>>);

impl Lines {
    fn of(&self, run: i64, number: u32) -> Arc<Mutex<Waiting>> {
        let mut last = self.0.borrow_mut();
        match &*last {
            Some((of, known, lines)) if (*of, *known) == (run, number) => lines.clone(),
            _ => last.insert((run, number, Arc::default())).2.clone(),
        }
    }
}

/// Reports on one assignment. Shared by the threads of an action.
pub struct Reporter {
    client: Client,
    path: String,
    number: u32,
    news: Sender<Told>,
    lines: Arc<Mutex<Waiting>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Waiting {
    /// Number of the oldest line: the appliance takes in each number once.
    first: u64,
    lines: VecDeque<String>,
    dropped: usize,
}

impl Reporter {
    /// For assignment `number` of `run`; `client` bears the run's token.
    pub fn new(client: &Client, run: &RunTicket, number: u32, lines: &Lines, news: Sender<Told>) -> Reporter {
        Reporter {
            client: client.with_patience(Patience::NONE),
            path: format!("/runner/v1/runs/{}/report", run.run),
            number,
            news,
            lines: lines.of(run.run, number),
            stop: Arc::default(),
        }
    }

    /// Whether the appliance said that the run was cancelled.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Shows progress and sends it once: the next one makes up for a lost one.
    pub fn progress(&self, progress: Progress, limit: Option<String>) {
        self.tell(Told::Progress { progress: progress.clone(), limit: limit.clone() });
        self.try_send(ReportEvent::Progress(Progress { limit, ..progress }));
        self.send_lines();
    }

    /// Shows log lines and sends them, now or as soon as the appliance answers again.
    pub fn log(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.keep(lines);
            self.send_lines();
        }
    }

    /// Shows log lines; [`Reporter::beside`] sends them. Does not wait for an appliance that does not answer.
    pub fn keep(&self, lines: Vec<String>) {
        self.tell(Told::Lines(lines.clone()));
        let many = {
            let mut waiting = self.waiting();
            waiting.lines.extend(lines);
            let surplus = waiting.lines.len().saturating_sub(MOST_WAITING);
            waiting.lines.drain(..surplus);
            waiting.first += surplus as u64;
            waiting.dropped += surplus;
            waiting.lines.len() > MOST_WAITING / 2
        };
        if many {
            thread::sleep(FLOOD_PAUSE);
        }
    }

    /// Does `work`, and sends beside it what it [`keep`](Reporter::keep)s. While it says nothing, the appliance is asked whether it
    /// is to stop.
    pub fn beside<T>(&self, work: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let (over, end) = channel::<()>();
            scope.spawn(move || self.send_until(&end));
            let result = work();
            drop(over);
            result
        })
    }

    fn send_until(&self, end: &Receiver<()>) {
        let (mut silent, mut pause) = (Duration::ZERO, PULSE);
        while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            silent += pause;
            let waits = !self.waiting().lines.is_empty();
            let arrived = match waits {
                true => self.send_lines(),
                false if silent >= SILENCE => {
                    let first = Some(self.waiting().first);
                    self.try_send(ReportEvent::Log { first, lines: Vec::new() })
                }
                false => continue,
            };
            (silent, pause) = (Duration::ZERO, if arrived { PULSE } else { PAUSE });
        }
    }

    /// Reports the end, and the lines that still wait, until the appliance has taken them.
    ///
    /// # Errors
    /// See [`Interrupted`].
    pub fn finish(&self, link: &Link, end: ReportEvent) -> Result<(), Interrupted> {
        let what = "Reporting to the appliance";
        while let Some((first, lines)) = self.next_batch() {
            let end = first + lines.len() as u64;
            let event = ReportEvent::Log { first: Some(first), lines };
            match link.persist(what, || self.send(event.clone())) {
                Ok(_) => {}
                // The end of the action must not wait for ever behind lines that are never taken.
                Err(Interrupted::Refused(error)) if is_of_lines(error.status()) => {
                    tracing::warn!(%error, "lines of the log were refused, and are dropped");
                }
                Err(interrupted) => return Err(interrupted),
            }
            self.taken(end);
        }
        link.persist(what, || self.send(end.clone())).map(drop)
    }

    /// Reports something that must arrive, until the appliance has taken it.
    ///
    /// # Errors
    /// See [`Interrupted`].
    pub fn must_send(&self, link: &Link, event: ReportEvent) -> Result<(), Interrupted> {
        link.persist("Reporting to the appliance", || self.send(event.clone())).map(drop)
    }

    fn tell(&self, told: Told) {
        // The screen may be gone; the run goes on.
        let _ = self.news.send(told);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: ReportEvent) -> Result<Accepted, crate::client::ClientError> {
        self.client.post(&self.path, &Report { number: self.number, event })
    }

    fn try_send(&self, event: ReportEvent) -> bool {
        match self.send(event) {
            Ok(accepted) => {
                if accepted.stop {
                    self.stop.store(true, Ordering::Relaxed);
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a report did not arrive");
                false
            }
        }
    }

    /// Whether all arrived.
    fn send_lines(&self) -> bool {
        while let Some((first, lines)) = self.next_batch() {
            let end = first + lines.len() as u64;
            if !self.try_send(ReportEvent::Log { first: Some(first), lines }) {
                return false;
            }
            self.taken(end);
        }
        true
    }

    /// The oldest lines that go into one report, and the number of the first; they stay until they are taken.
    fn next_batch(&self) -> Option<(u64, Vec<String>)> {
        let mut waiting = self.waiting();
        if waiting.dropped > 0 {
            let note = format!(
                "({} older lines were dropped while the appliance was not reachable)",
                waiting.dropped
            );
            // It stands for those lines and has the number of the last of them.
            waiting.lines.push_front(note);
            waiting.first = waiting.first.saturating_sub(1);
            waiting.dropped = 0;
        }
        let mut bytes = 0;
        let fits = |line: &&String| {
            bytes += line.len() + 8;
            bytes <= BATCH_BYTES
        };
        let batch: Vec<String> = waiting.lines.iter().take(BATCH_LINES).take_while(fits).cloned().collect();
        match (batch.is_empty(), waiting.lines.front()) {
            (false, _) => Some((waiting.first, batch)),
            (true, Some(long)) => Some((waiting.first, vec![long.clone()])),
            (true, None) => None,
        }
    }

    /// Lines before number `end` arrived; another thread may have said so already.
    fn taken(&self, end: u64) {
        let mut waiting = self.waiting();
        let count = end.saturating_sub(waiting.first).min(waiting.lines.len() as u64);
        waiting.lines.drain(..count as usize);
        waiting.first += count;
    }
}

/// Whether a refusal is of what was said, not of who said it or when.
fn is_of_lines(status: Option<u16>) -> bool {
    matches!(status, Some(400 | 413 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Secret;

    #[test]
    fn lines_keep_their_number_until_they_are_taken_and_are_taken_once() {
        let ticket = RunTicket { run: 1, token: Secret::new("t"), sequence: "Lab Mac".into(), steps: 1 };
        let folder = tempfile::tempdir().unwrap();
        let (news, _shown) = channel();
        // Nobody answers, so all lines wait.
        let client = Client::unix(folder.path().join("absent"));
        let known = Lines::default();
        let reporter = Reporter::new(&client, &ticket, 1, &known, news.clone());
        let lines = |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>();
        reporter.log(lines(0, 3));
        assert_eq!(reporter.next_batch(), Some((0, lines(0, 3))));
        reporter.log(lines(3, 5));
        assert_eq!(reporter.next_batch(), Some((0, lines(0, 5))));
        // Two threads sent overlapping batches, and both were told that they arrived.
        reporter.taken(3);
        reporter.taken(5);
        reporter.taken(3);
        assert_eq!(reporter.next_batch(), None);
        reporter.log(lines(5, 5 + MOST_WAITING + 7));
        let (first, batch) = reporter.next_batch().unwrap();
        assert_eq!(batch.len(), BATCH_LINES, "the appliance refuses more than 2000 lines");
        assert!(batch[0].contains("7 older lines were dropped"), "{}", batch[0]);
        assert_eq!((first, batch[1].as_str()), (11, "12"), "the line after the note has its own number");
        // The assignment is handed out again, to the same runner: what waits still waits.
        drop(reporter);
        let again = Reporter::new(&client, &ticket, 1, &known, news.clone());
        assert_eq!(again.next_batch(), Some((first, batch)));
        again.taken(u64::MAX);
        again.log(lines(0, 1));
        let number = 5 + (MOST_WAITING + 7) as u64;
        assert_eq!(
            again.next_batch(),
            Some((number, lines(0, 1))),
            "no line has the number of an earlier one"
        );
        let next = Reporter::new(&client, &ticket, 2, &known, news);
        assert_eq!(next.next_batch(), None, "another assignment has lines of its own");
    }
}
