//! One run of a sequence: events in, the next action out. The appliance holds it; runner and agent only do.
//!
//! A run is its recorded events, replayed ([`Run::replay`]). [`Run::next`] decides; what it decides to
//! [record](Decision::Record) is applied like what comes from outside. Time comes in as milliseconds.
//!
//! * [`event`]: what is recorded
//! * [`act`]: a step with everything filled in
//! * this file: the machine; `verdict`: whether a result is believed; `view`: what others may know of a run
//!
//! ```text
//!          Started                Assigned                  Done, or Failed with continue on error:
//! (none) ──────────▶ Ready(step) ──────────▶ Acting(number) ──────────▶ Ready(next step) ──▶ Ended(succeeded)
//!                    │  ▲  │ VariablesSet ▲       │  │  ▲
//!                    │  └──┘ (next step)  └retry──┘  └──┘ Reconnected: the same action again
//!                    └─ Refused ─▶ Ended(failed) ◀─ Failed          (a script fails, a restart is done)
//! any but Ended ── Cancelled ─▶ Ended(cancelled), ── RanOutOfTime ─▶ Ended(failed)
//! ```

pub mod act;
pub mod event;
mod verdict;
mod view;

use std::sync::Arc;

use super::model::{Kind, Node, Step};
use super::variable::{LastAction, Variables};
use act::{Act, Assignment, CannotBegin, Filling, Formatted, values_of};
use event::{Event, Failure, Recorded, Start};

pub use act::images_wanted;

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
}

/// What the appliance does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Record this, apply it, and ask again.
    Record(Event),
    /// Hand this out; the same until it is reported on.
    Act(Box<Assignment>),
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

/// An event that the run cannot take in as it stands. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// A report on an action that was not handed out.
    #[error("action {number} was never handed out; the last one was {last}")]
    NotAssigned {
        /// Reported.
        number: u32,
        /// Handed out last.
        last: u32,
    },
    /// The run is over.
    #[error("the run has ended: {message}")]
    Ended {
        /// How.
        message: String,
    },
    /// An event of the engine that does not follow from where the run is.
    #[error("`{event}` does not follow: the run is at step {step}")]
    DoesNotFollow {
        /// Its kind.
        event: &'static str,
        /// Where the run is.
        step: u32,
    },
    /// The step was handed out, and cannot be.
    #[error(transparent)]
    CannotBegin(#[from] CannotBegin),
    /// Recorded by a newer version.
    #[error("an event that this version does not know: update the appliance")]
    Unknown,
}

/// Recorded events that make no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The first event is not `started`.
    #[error("the record of a run begins with `started`, this one with {0}")]
    NotStarted(&'static str),
    /// An event that does not follow from those before it.
    #[error("event {number} of the record: {source}")]
    OutOfOrder {
        /// From 1.
        number: usize,
        /// Why.
        source: OutOfOrder,
    },
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    start: Arc<Start>,
    started_ms: i64,
    ended_ms: Option<i64>,
    variables: Variables,
    formatted: Vec<Formatted>,
    steps: Vec<StepRecord>,
    /// Number of the action that was handed out last; 0 before the first.
    last_number: u32,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// The step has not begun, or waits for its next try.
    Ready { step: usize, not_before_ms: Option<i64> },
    /// The step's action was handed out and not reported on.
    Acting { step: usize, assignment: Box<Assignment> },
    /// Nothing more happens.
    Ended { outcome: Outcome, message: String },
}

impl Run {
    /// A run that begins now, and its first event to record.
    pub fn start(start: Start, at_ms: i64) -> (Run, Recorded) {
        let event = Event::Started(Box::new(start.clone()));
        (Run::begin(start, at_ms), Recorded { at_ms, event })
    }

    /// The run that these events are the record of.
    ///
    /// # Errors
    /// Which event does not follow from those before it.
    pub fn replay(events: impl IntoIterator<Item = Recorded>) -> Result<Run, BadRecord> {
        let mut events = events.into_iter();
        let mut run = match events.next() {
            Some(Recorded { at_ms, event: Event::Started(start) }) => Run::begin(*start, at_ms),
            Some(other) => return Err(BadRecord::NotStarted(other.event.kind())),
            None => return Err(BadRecord::NotStarted("nothing")),
        };
        for (number, Recorded { at_ms, event }) in (2..).zip(events) {
            run = run.apply(&event, at_ms).map_err(|source| BadRecord::OutOfOrder { number, source })?;
        }
        Ok(run)
    }

    fn begin(start: Start, at_ms: i64) -> Run {
        let state = |step: &Step| if step.disabled { StepState::Skipped } else { StepState::Pending };
        let record = |step| StepRecord {
            state: state(step),
            started_ms: None,
            ended_ms: None,
            tries: 0,
            failure: None,
        };
        let run = Run {
            variables: Variables {
                facts: start.facts.clone(),
                last: None,
                collection: start.collection.clone(),
                device: start.device.clone(),
                sequence: Default::default(),
            },
            steps: start.sequence.walk().map(|(_, step)| record(step)).collect(),
            start: Arc::new(start),
            started_ms: at_ms,
            ended_ms: None,
            formatted: Vec::new(),
            last_number: 0,
            state: State::Ready { step: 0, not_before_ms: None },
        };
        run.go_to(0, at_ms)
    }

    /// What to do now. Asking changes nothing; the same question has the same answer until an event was applied or a
    /// time has come.
    pub fn next(&self, now_ms: i64) -> Decision {
        let over = self.deadline_ms().is_some_and(|deadline| now_ms >= deadline);
        match &self.state {
            State::Ended { outcome, message } => {
                Decision::Finished { outcome: *outcome, message: message.clone() }
            }
            _ if over => Decision::Record(Event::RanOutOfTime),
            State::Ready { step, not_before_ms: Some(then) } if now_ms < *then => {
                let left = then.saturating_sub(now_ms).saturating_add(999) / 1000;
                let why = format!("step {} (`{}`) is tried again", step + 1, self.step(*step).name);
                Decision::Wait { seconds: u32::try_from(left).unwrap_or(u32::MAX), why }
            }
            State::Ready { step, .. } => Decision::Record(self.begin_step(*step)),
            State::Acting { assignment, .. } => Decision::Act(assignment.clone()),
        }
    }

    /// The engine's own event at the beginning of a step.
    fn begin_step(&self, index: usize) -> Event {
        let (step, place) = (self.step(index), index as u32 + 1);
        let event = match &step.kind {
            Kind::SetVariables(set) => {
                values_of(set, &self.variables).map(|values| Event::VariablesSet { step: place, values })
            }
            kind => self
                .filling()
                .act(kind)
                .map(|_| Event::Assigned { step: place, number: self.last_number.saturating_add(1) }),
        };
        event
            .unwrap_or_else(|error| Event::Refused { step: place, failure: error.failure(place, &step.name) })
    }

    /// The run after `event`. A report that was taken in before changes nothing, see [`Run::is_repeated`].
    ///
    /// # Errors
    /// When the event does not follow from where the run is.
    pub fn apply(self, event: &Event, at_ms: i64) -> Result<Run, OutOfOrder> {
        if self.is_repeated(event) {
            return Ok(self);
        }
        if let State::Ended { message, .. } = &self.state {
            return Err(OutOfOrder::Ended { message: message.clone() });
        }
        match (self.state.clone(), event) {
            (State::Ready { step, .. }, Event::VariablesSet { step: place, values })
                if self.is_at(*place) =>
            {
                let mut run = self;
                run.began(step, at_ms);
                values.iter().for_each(|(name, value)| run.variables.set(name.clone(), value.clone()));
                Ok(run.ended_well(step, 0, at_ms))
            }
            (State::Ready { step, .. }, Event::Assigned { step: place, number })
                if self.is_at(*place) && *number == self.last_number.saturating_add(1) =>
            {
                self.assign(step, *number, at_ms)
            }
            (State::Ready { step, .. }, Event::Refused { step: place, failure }) if self.is_at(*place) => {
                let mut run = self;
                run.began(step, at_ms);
                Ok(run.failed(step, failure, at_ms))
            }
            (State::Acting { step, assignment }, Event::Done { number, result })
                if *number == assignment.number =>
            {
                Ok(self.done(step, &assignment, result, at_ms))
            }
            (State::Acting { step, assignment }, Event::Failed { number, failure })
                if *number == assignment.number =>
            {
                Ok(self.failed_or_retried(step, failure, at_ms))
            }
            (_, Event::Done { number, .. } | Event::Failed { number, .. }) => {
                Err(OutOfOrder::NotAssigned { number: *number, last: self.last_number })
            }
            (_, Event::Reconnected { boot }) => {
                let mut run = self;
                run.variables.facts.boot = *boot;
                Ok(run.reconnected(at_ms))
            }
            (_, Event::Cancelled { by }) => {
                let message = format!("cancelled by {by} at {}", self.where_it_is());
                Ok(self.end(Outcome::Cancelled, message, at_ms))
            }
            (_, Event::RanOutOfTime) => Ok(self.ran_out_of_time(at_ms)),
            (_, Event::Unknown) => Err(OutOfOrder::Unknown),
            (_, event) => Err(OutOfOrder::DoesNotFollow { event: event.kind(), step: self.step_number() }),
        }
    }

    /// Whether `event` is a report on an action that was reported on before, or of a run that has ended: harmless,
    /// changes nothing, need not be recorded.
    pub fn is_repeated(&self, event: &Event) -> bool {
        match event {
            Event::Done { number, .. } | Event::Failed { number, .. } => match &self.state {
                State::Acting { assignment, .. } => *number != 0 && *number < assignment.number,
                _ => (1..=self.last_number).contains(number),
            },
            Event::Reconnected { .. } => self.outcome().is_some(),
            _ => false,
        }
    }

    fn assign(self, index: usize, number: u32, at_ms: i64) -> Result<Run, OutOfOrder> {
        let (place, name) = (index as u32 + 1, self.step(index).name.clone());
        let Some(act) = self.filling().act(&self.step(index).kind)? else {
            return Err(OutOfOrder::DoesNotFollow { event: "assigned", step: place });
        };
        let timeout = self.step(index).timeout.map(|timeout| timeout.seconds());
        let assignment =
            Assignment { number, step: place, steps: self.steps.len() as u32, name, timeout, act };
        let mut run = self;
        run.began(index, at_ms);
        run.last_number = number;
        run.state = State::Acting { step: index, assignment: Box::new(assignment) };
        Ok(run)
    }

    fn began(&mut self, index: usize, at_ms: i64) {
        let record = &mut self.steps[index];
        record.state = StepState::Running;
        record.started_ms.get_or_insert(at_ms);
        record.tries += 1;
    }

    fn ended_well(mut self, index: usize, exit_code: i32, at_ms: i64) -> Run {
        let record = &mut self.steps[index];
        (record.state, record.ended_ms, record.failure) = (StepState::Succeeded, Some(at_ms), None);
        self.variables.last =
            Some(LastAction { name: self.step(index).name.clone(), succeeded: true, exit_code });
        self.go_to(index + 1, at_ms)
    }

    fn failed_or_retried(mut self, index: usize, failure: &Failure, at_ms: i64) -> Run {
        match self.step(index).retry {
            Some(retry) if self.steps[index].tries <= retry.count => {
                self.steps[index].failure = Some(failure.clone());
                let delay = retry.delay.map_or(0, |delay| delay.milliseconds());
                self.state = State::Ready { step: index, not_before_ms: Some(at_ms.saturating_add(delay)) };
                self
            }
            _ => self.failed(index, failure, at_ms),
        }
    }

    fn failed(mut self, index: usize, failure: &Failure, at_ms: i64) -> Run {
        let record = &mut self.steps[index];
        (record.state, record.ended_ms) = (StepState::Failed, Some(at_ms));
        record.failure = Some(failure.clone());
        let (name, pass_over) = (self.step(index).name.clone(), self.step(index).continue_on_error);
        let message = format!("step {} of {} (`{name}`): {}", index + 1, self.steps.len(), failure.cause);
        let exit_code = failure.exit_code.unwrap_or(1);
        self.variables.last = Some(LastAction { name, succeeded: false, exit_code });
        if pass_over { self.go_to(index + 1, at_ms) } else { self.end(Outcome::Failed, message, at_ms) }
    }

    /// The runner remembers nothing. What can be repeated is handed out again; a script is not, nobody knows how far
    /// it came; a restart has happened, for here the Mac is.
    fn reconnected(self, at_ms: i64) -> Run {
        let State::Acting { step, assignment } = self.state.clone() else { return self };
        match assignment.act {
            Act::FormatDisk { .. } | Act::ApplyImage { .. } | Act::CaptureImage { .. } => self,
            Act::Restart => self.ended_well(step, 0, at_ms),
            Act::ExecuteScript { .. } => {
                let failure = Failure {
                    cause: format!("the Mac was started anew while the script of `{}` ran", assignment.name),
                    evidence: "how far the script came is not known, so it is not run again by itself".to_owned(),
                    next_step: "look at what the script changes, then start the sequence again; give the step a retry if it can be run twice".to_owned(),
                    exit_code: None,
                };
                self.failed_or_retried(step, &failure, at_ms)
            }
        }
    }

    fn ran_out_of_time(self, at_ms: i64) -> Run {
        let limit = self.sequence().maximum_run_time.map(|limit| limit.to_string()).unwrap_or_default();
        let failure = Failure {
            cause: format!("the sequence's maximum run time of {limit} is over"),
            evidence: format!("the run was at {}", self.where_it_is()),
            next_step: "see what took long, or raise maximum_run_time, then start the sequence again"
                .to_owned(),
            exit_code: None,
        };
        let message = format!("{}; {}", failure.cause, failure.evidence);
        let mut run = self;
        if let Some(record) = run.current().and_then(|index| run.steps.get_mut(index)) {
            record.failure = Some(failure);
        }
        run.end(Outcome::Failed, message, at_ms)
    }

    /// Goes to the step at `index`, or the next one that is not left out, or to the end.
    fn go_to(mut self, index: usize, at_ms: i64) -> Run {
        match (index..self.steps.len()).find(|index| !self.step(*index).disabled) {
            Some(step) => {
                self.state = State::Ready { step, not_before_ms: None };
                self
            }
            None => {
                let message = self.summary();
                self.end(Outcome::Succeeded, message, at_ms)
            }
        }
    }

    fn end(mut self, outcome: Outcome, message: String, at_ms: i64) -> Run {
        if let Some(record) = self.current().and_then(|index| self.steps.get_mut(index))
            && record.state == StepState::Running
        {
            (record.state, record.ended_ms) = (StepState::Failed, Some(at_ms));
        }
        self.ended_ms = Some(at_ms);
        self.state = State::Ended { outcome, message };
        self
    }

    fn summary(&self) -> String {
        let of = |state| {
            self.steps.iter().zip(self.sequence().walk()).filter(move |(record, _)| record.state == state)
        };
        let failed: Vec<_> = of(StepState::Failed).map(|(_, (_, step))| format!("`{}`", step.name)).collect();
        let done = format!("{} of {} steps done", of(StepState::Succeeded).count(), self.steps.len());
        if failed.is_empty() {
            done
        } else {
            format!("{done}; failed and passed over: {}", failed.join(", "))
        }
    }

    fn step(&self, index: usize) -> &Step {
        let Node::Step(step) = &self.start.sequence.steps[index];
        step
    }

    fn filling(&self) -> Filling<'_> {
        Filling { variables: &self.variables, images: &self.start.images, formatted: &self.formatted }
    }

    fn current(&self) -> Option<usize> {
        match self.state {
            State::Ready { step, .. } | State::Acting { step, .. } => Some(step),
            State::Ended { .. } => None,
        }
    }

    fn is_at(&self, place: u32) -> bool {
        self.current().is_some_and(|step| step as u32 + 1 == place)
    }

    fn where_it_is(&self) -> String {
        match self.current() {
            Some(index) => {
                format!("step {} of {} (`{}`)", index + 1, self.steps.len(), self.step(index).name)
            }
            None => "its end".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
