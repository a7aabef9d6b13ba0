//! One run of a sequence: events in, the next action out. The appliance holds it; runner and agent only do.
//!
//! A run is its recorded events, replayed ([`Run::replay`]). [`Run::next`] decides; what it decides to
//! [record](Decision::Record) is applied like what comes from outside. Time comes in as milliseconds.
//!
//! * [`event`]: what is recorded
//! * [`act`], `fill`: a step with everything filled in; [`images_wanted`]: images that must be there before
//! * this file: the machine; `course`: its way through groups and failures; `question`, `choice`: what a person is asked
//! * `ending`: cancelled, out of time, closed: what is still done then
//! * `step`: how one step begins and ends; `verdict`: whether a result is believed; `view`: what others may know of a run
//!
//! ```text
//!          Started                Assigned                  Done, or Failed with continue on error:
//! (none) ──────────▶ Ready(entry) ─────────▶ Acting(number) ──────────▶ Ready(next entry) ─▶ Ended(succeeded)
//!                    │  ▲  │ VariablesSet, Skipped, ▲   │  │  ▲
//!                    │  │  │ GroupEntered,      └retry─┘  └──┘ Reconnected: the same action again
//!                    │  └──┘ GroupSkipped, Answered               (a script fails, a restart is done where the Mac was started anew)
//!                    │  Waiting ─▶ Waiting(step) ─ Confirmed ─▶ Ready(next entry)
//!                    └─ Refused, Failed, WaitedTooLong ─▶ Ready(catch or finally of a group around), else Ended(failed)
//! any but Ended ── Cancelled ─▶ Ready(finally of a group around), then Ended(cancelled); ── RanOutOfTime ─▶ the same, then
//! Ended(failed) ── Resumed ─▶ Ready(the failed step)
//! Ready ── HandedToMacos ─▶ Handed(step): restart, then wait ── Reconnected from macOS ─▶ Ready(the same), ── Closed ─▶ Ended
//! ```

pub mod act;
mod choice;
mod course;
mod ending;
mod error;
pub mod event;
mod fill;
mod images;
mod question;
mod step;
mod verdict;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Kind, Step};
use super::name::VariableName;
use super::program::{Body, CannotNest, Item, Program};
use super::variable::Variables;
use act::{Applied, Assignment, CannotBegin, Formatted, values_of};
use course::{Frame, Pending};
use event::{Event, Failure, Recorded, Start};

pub(in crate::sequence) use choice::says_no_destination;

pub use choice::Chosen;
pub use error::{BadRecord, OutOfOrder};
pub use images::{WantedImage, images_wanted};
pub use question::Question;

/// Variables that a run may hold: scripts set as many as they like.
const MOST_VARIABLES: usize = 4096;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step ended well, was left out, or failed and was passed over by *continue on error*.
    Succeeded,
    /// A step failed and nothing caught it, or the time was over.
    Failed,
    /// A person stopped it.
    Cancelled,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Not reached.
    Pending,
    /// At work.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed.
    Failed,
    /// Left out.
    Skipped,
}

/// What is known of one step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// How it stands.
    pub state: StepState,
    /// When it began, first try.
    pub started_ms: Option<i64>,
    /// When it ended, last try.
    pub ended_ms: Option<i64>,
    /// Tries so far.
    pub tries: u32,
    /// Why the last try failed.
    pub failure: Option<Failure>,
    /// Why it was left out, when it was; when it ended well, what it warns of.
    pub why: Option<String>,
    /// Exit code of the last try, when a script ended.
    pub exit_code: Option<i32>,
}

/// What the appliance does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Record this, apply it, and ask again.
    Record(Event),
    /// Hand this out; the same until it is reported on.
    Act(Box<Assignment>),
    /// A person must say something before the run goes on.
    Ask(Question),
    /// Nothing to do yet.
    Wait {
        /// Seconds until the next question, at least 1.
        seconds: u32,
        /// Shown to the technician.
        why: String,
    },
    /// The run has ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// One line for the technician.
        message: String,
    },
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    start: Arc<Start>,
    program: Arc<Program>,
    started_ms: i64,
    /// When its time began to count: at its start, or when it was resumed.
    counted_from_ms: i64,
    ended_ms: Option<i64>,
    variables: Variables,
    /// Empty variables that a person left empty.
    answered: BTreeSet<VariableName>,
    /// Partitions that a person chose, by the number of the step from 0.
    chosen: BTreeMap<usize, Chosen>,
    formatted: Vec<Formatted>,
    images_applied: Vec<Applied>,
    /// Nobody can be asked: it started by itself on a live macOS, and no person has resumed it.
    unattended: bool,
    /// The last action was a restart: the next step of macOS needs none of its own.
    restarted: bool,
    /// Until when a run that was stopped may work at its *finally* parts.
    stopped_until_ms: Option<i64>,
    steps: Vec<StepRecord>,
    /// Number of the action that was handed out last; 0 before the first.
    last_number: u32,
    /// The groups that it is in, the sequence itself first; empty after the end.
    frames: Vec<Frame>,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// The entry has not begun, or waits for its next try. `decided`: its condition held.
    Ready { not_before_ms: Option<i64>, decided: bool },
    /// The step's action was handed out and not reported on.
    Acting { step: usize, assignment: Box<Assignment> },
    /// A person must confirm.
    Waiting { step: usize, since_ms: i64 },
    /// The step is macOS's; `restart` is at work before the wait for its agent.
    Handed { step: usize, restart: Option<Box<Assignment>> },
    /// Nothing more happens, unless it is resumed.
    Ended { outcome: Outcome, message: String, failed: Option<Arc<Pending>> },
}

/// Seconds after which a Mac that waits for another start of itself asks again.
const ASK_AGAIN: u32 = 30;

const READY: State = State::Ready { not_before_ms: None, decided: false };

impl Run {
    /// A run that begins now, and its first event to record.
    ///
    /// # Errors
    /// When the sequence cannot be put together with those that it runs.
    pub fn start(start: Start, at_ms: i64) -> Result<(Run, Recorded), CannotNest> {
        let event = Event::Started(Box::new(start.clone()));
        Ok((Run::begin(start, at_ms)?, Recorded { at_ms, event }))
    }

    /// The run that these events are the record of.
    ///
    /// # Errors
    /// Which event does not follow from those before it.
    pub fn replay(events: impl IntoIterator<Item = Recorded>) -> Result<Run, BadRecord> {
        let mut events = events.into_iter();
        let mut run = match events.next() {
            Some(Recorded { at_ms, event: Event::Started(start) }) => Run::begin(*start, at_ms)?,
            Some(other) => return Err(BadRecord::NotStarted(other.event.kind())),
            None => return Err(BadRecord::NotStarted("nothing")),
        };
        for (number, Recorded { at_ms, event }) in (2..).zip(events) {
            run = run.apply(&event, at_ms).map_err(|source| BadRecord::OutOfOrder { number, source })?;
        }
        Ok(run)
    }

    fn begin(start: Start, at_ms: i64) -> Result<Run, CannotNest> {
        let program = Program::of(&start.sequence, &start.others)?;
        let record = |step| {
            let left_out = program.step_item(step).left_out;
            StepRecord {
                state: if left_out { StepState::Skipped } else { StepState::Pending },
                started_ms: None,
                ended_ms: None,
                tries: 0,
                failure: None,
                why: left_out.then(|| "disabled".to_owned()),
                exit_code: None,
            }
        };
        let run = Run {
            variables: Variables {
                facts: start.facts.clone(),
                source_disk: None,
                last: None,
                collection: question::with_prompts(&start),
                device: start.device.clone(),
                sequence: Default::default(),
            },
            steps: (0..program.len()).map(record).collect(),
            program: Arc::new(program),
            unattended: start.unattended,
            start: Arc::new(start),
            started_ms: at_ms,
            counted_from_ms: at_ms,
            ended_ms: None,
            answered: BTreeSet::new(),
            chosen: BTreeMap::new(),
            formatted: Vec::new(),
            images_applied: Vec::new(),
            restarted: false,
            stopped_until_ms: None,
            last_number: 0,
            frames: vec![Frame::of(0)],
            state: READY,
        };
        Ok(run.settle(at_ms))
    }

    /// What to do now. Asking changes nothing; the same question has the same answer until an event was applied or a
    /// time has come.
    pub fn next(&self, now_ms: i64) -> Decision {
        let over = self.deadline_ms().is_some_and(|deadline| now_ms >= deadline);
        match &self.state {
            State::Ended { outcome, message, .. } => {
                Decision::Finished { outcome: *outcome, message: message.clone() }
            }
            _ if over => Decision::Record(Event::RanOutOfTime),
            State::Ready { not_before_ms: Some(then), .. } if now_ms < *then => {
                let left = then.saturating_sub(now_ms).saturating_add(999) / 1000;
                let why = format!("{} is tried again", self.where_it_is());
                Decision::Wait { seconds: u32::try_from(left).unwrap_or(u32::MAX), why }
            }
            State::Ready { decided, .. } => match self.at() {
                Some(item) => self.begin_entry(item, *decided),
                None => Decision::Record(Event::Unknown),
            },
            State::Acting { assignment, .. }
                if self.is_on_macos() && assignment.act.needs_boot_environment() =>
            {
                self.wait_for_boot_environment()
            }
            State::Acting { assignment, .. } => Decision::Act(assignment.clone()),
            State::Waiting { step, since_ms } => self.keep_waiting(*step, *since_ms, now_ms),
            State::Handed { restart: Some(restart), .. } => Decision::Act(restart.clone()),
            State::Handed { .. } => {
                let why = format!("waits for the Mac's agent on macOS, which does {}", self.where_it_is());
                Decision::Wait { seconds: ASK_AGAIN, why }
            }
        }
    }

    /// The engine's own event at the beginning of a step or group, or what must be asked before.
    fn begin_entry(&self, item: &Item, decided: bool) -> Decision {
        if let Some(decision) = self.ask_before_deciding(item, decided) {
            return decision;
        }
        let condition = item.condition.as_ref().filter(|_| !decided);
        let verdict = condition.map(|condition| condition.verdict(&self.variables));
        let why = verdict.as_ref().map(ToString::to_string).unwrap_or_default();
        let left_out = verdict.is_some_and(|verdict| !verdict.holds);
        Decision::Record(match &item.body {
            Body::Group(number, _) if left_out => Event::GroupSkipped { group: *number as u32, why },
            Body::Group(number, _) => Event::GroupEntered { group: *number as u32, why },
            Body::Step(step, _) if left_out => Event::Skipped { step: *step as u32 + 1, why },
            Body::Step(step, _) => match self.question_before(*step) {
                Some(question) => return self.ask(question),
                None if self.is_elsewhere(*step) => return self.wait_for_boot_environment(),
                None => self.begin_step(*step),
            },
        })
    }

    fn begin_step(&self, index: usize) -> Event {
        let (step, place) = (self.step(index), index as u32 + 1);
        let refused =
            |error: CannotBegin| Event::Refused { step: place, failure: error.failure(place, &step.name) };
        if step.kind.needs_macos() && !self.is_on_macos() {
            // What cannot be filled in is told before the Mac leaves the boot environment.
            let filled = self.filling(index).act(&step.kind);
            return filled.map_or_else(refused, |_| self.hand_to_macos(place));
        }
        let event = match &step.kind {
            kind if kind.needs_boot_environment() && self.is_on_macos() => {
                Err(CannotBegin::OnLiveMacos(kind.title()))
            }
            Kind::SetVariables(set) => {
                values_of(set, &self.variables).map(|values| Event::VariablesSet { step: place, values })
            }
            Kind::WaitForTechnician(wait) => {
                self.filling(index).text("the message", &wait.message).map(|_| Event::Waiting { step: place })
            }
            kind => self
                .filling(index)
                .act(kind)
                .map(|_| Event::Assigned { step: place, number: self.last_number.saturating_add(1) }),
        };
        event.unwrap_or_else(refused)
    }

    /// The run after `event`. A report that was taken in before changes nothing, see [`Run::is_repeated`].
    ///
    /// # Errors
    /// When the event does not follow from where the run is.
    pub fn apply(self, event: &Event, at_ms: i64) -> Result<Run, OutOfOrder> {
        if self.is_repeated(event) {
            return Ok(self);
        }
        match (&self.state, event) {
            (_, Event::Resumed { .. }) => return self.resumed(at_ms),
            (State::Ended { message, .. }, _) => return Err(OutOfOrder::Ended { message: message.clone() }),
            _ => {}
        }
        let at = self.step_at();
        let mut run = self;
        match (run.state.clone(), event) {
            (State::Ready { .. }, Event::VariablesSet { step, values }) if is_at(at, *step) => {
                let index = run.began(at, at_ms);
                values.iter().for_each(|(name, value)| run.variables.set(name.clone(), value.clone()));
                Ok(run.ended_well(index, 0, at_ms))
            }
            (State::Ready { .. }, Event::Assigned { step, number })
                if is_at(at, *step) && *number == run.last_number.saturating_add(1) =>
            {
                run.assign(at, *number, at_ms)
            }
            (State::Ready { .. }, Event::Refused { step, failure }) if is_at(at, *step) => {
                let index = run.began(at, at_ms);
                Ok(run.failed(index, failure, at_ms))
            }
            (State::Ready { .. }, Event::Skipped { step, why }) if is_at(at, *step) => {
                Ok(run.skip_entry(why, at_ms))
            }
            (State::Ready { .. }, Event::GroupEntered { group, .. }) if run.is_at_group(*group) => {
                Ok(run.enter(at_ms))
            }
            (State::Ready { .. }, Event::GroupSkipped { group, why }) if run.is_at_group(*group) => {
                Ok(run.skip_entry(why, at_ms))
            }
            (State::Ready { .. }, Event::Answered { values, .. }) => run.answer(values),
            (State::Ready { .. }, Event::CannotAsk { variables }) if run.unattended => {
                Ok(run.nobody_to_ask(variables, at_ms))
            }
            (State::Ready { .. }, Event::DestinationChosen { step, chosen, .. }) => run.choose(*step, chosen),
            (State::Ready { .. }, Event::Waiting { step }) if is_at(at, *step) => {
                let step = run.began(at, at_ms);
                run.state = State::Waiting { step, since_ms: at_ms };
                Ok(run)
            }
            (State::Waiting { step, .. }, Event::Confirmed { step: place, .. })
                if is_at(Some(step), *place) =>
            {
                Ok(run.ended_well(step, 0, at_ms))
            }
            (State::Waiting { step, .. }, Event::WaitedTooLong { step: place })
                if is_at(Some(step), *place) =>
            {
                let failure = run.waited_too_long(step);
                Ok(run.failed_or_retried(step, &failure, at_ms))
            }
            (State::Acting { assignment, .. }, Event::ValuesSet { number, values })
                if *number == assignment.number =>
            {
                values.iter().for_each(|(name, value)| run.variables.set(name.clone(), value.clone()));
                match run.variables.sequence.len() > MOST_VARIABLES {
                    true => Err(OutOfOrder::TooManyVariables),
                    false => Ok(run),
                }
            }
            (State::Ready { .. }, Event::HandedToMacos { step, number }) if is_at(at, *step) => {
                run.handed_to_macos(at, *number)
            }
            (State::Handed { step, restart: Some(restart) }, Event::Done { number, .. })
                if *number == restart.number =>
            {
                run.state = State::Handed { step, restart: None };
                Ok(run)
            }
            (State::Handed { restart: Some(restart), .. }, Event::Failed { number, failure })
                if *number == restart.number =>
            {
                let index = run.began(at, at_ms);
                Ok(run.failed(index, failure, at_ms))
            }
            (State::Handed { .. }, Event::Closed { by, done }) => Ok(run.closed(by, *done, at_ms)),
            (State::Acting { step, assignment }, Event::Done { number, result })
                if *number == assignment.number =>
            {
                Ok(run.done(step, &assignment, result, at_ms))
            }
            (State::Acting { step, assignment }, Event::Failed { number, failure })
                if *number == assignment.number =>
            {
                Ok(run.failed_or_retried(step, failure, at_ms))
            }
            (
                _,
                Event::Done { number, .. } | Event::Failed { number, .. } | Event::ValuesSet { number, .. },
            ) => Err(OutOfOrder::NotAssigned { number: *number, last: run.last_number }),
            (_, Event::Reconnected { boot, same_start }) => {
                run.variables.facts.boot = *boot;
                Ok(run.reconnected(*same_start, at_ms))
            }
            (_, Event::Cancelled { by }) => Ok(run.cancelled(by, at_ms)),
            (_, Event::RanOutOfTime) => Ok(run.ran_out_of_time(at_ms)),
            (_, Event::Unknown) => Err(OutOfOrder::Unknown),
            (_, event) => Err(OutOfOrder::DoesNotFollow { event: event.kind(), step: run.step_number() }),
        }
    }

    /// Whether `event` is a report on an action that was reported on before, or of a run that has ended: harmless,
    /// changes nothing, need not be recorded.
    pub fn is_repeated(&self, event: &Event) -> bool {
        match event {
            Event::Done { number, .. } | Event::Failed { number, .. } | Event::ValuesSet { number, .. } => {
                match &self.state {
                    State::Acting { assignment, .. } | State::Handed { restart: Some(assignment), .. } => {
                        *number != 0 && *number < assignment.number
                    }
                    _ => (1..=self.last_number).contains(number),
                }
            }
            Event::Reconnected { .. } => self.outcome().is_some(),
            _ => false,
        }
    }

    fn step(&self, index: usize) -> &Step {
        self.program.step(index)
    }

    fn where_it_is(&self) -> String {
        match (self.step_at(), self.at()) {
            (Some(index), _) => {
                format!("step {} of {} (`{}`)", index + 1, self.steps.len(), self.step(index).name)
            }
            (None, Some(item)) => format!("the group `{}`", item.name),
            (None, None) => "its end".to_owned(),
        }
    }
}

fn is_at(at: Option<usize>, place: u32) -> bool {
    at.is_some_and(|step| step as u32 + 1 == place)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_choice;
#[cfg(test)]
mod tests_of_ends;
#[cfg(test)]
mod tests_of_groups;
#[cfg(test)]
mod tests_of_questions;
