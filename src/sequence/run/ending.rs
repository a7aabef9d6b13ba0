//! Ends that no step brings: a person cancels, the time is over, a person closes a run that waits for macOS.
//!
//! A run that is stopped leaves what it does, and works at the *finally* parts of the groups that it is in, innermost first, no
//! longer than [`FINALLY_TIME_MS`]; then it ends. Stopped once more, it ends at once.

use std::sync::Arc;

use super::act::{Act, Assignment};
use super::course::Pending;
use super::event::{Event, Failure};
use super::{ASK_AGAIN, Decision, OutOfOrder, Outcome, Run, State, StepState};
use crate::sequence::model::Phase;
use crate::sequence::variable::{BootMethod, LastAction};

/// Milliseconds that a stopped run has for its *finally* parts.
pub(super) const FINALLY_TIME_MS: i64 = 10 * 60 * 1000;

impl Run {
    pub(super) fn cancelled(self, by: &str, at_ms: i64) -> Run {
        let message = format!("cancelled by {by} at {}", self.where_it_is());
        let failure = Failure {
            cause: format!("the run was cancelled by {by}"),
            evidence: format!("it was at {}", self.where_it_is()),
            next_step: "start the sequence again".to_owned(),
            exit_code: None,
        };
        self.stop(Outcome::Cancelled, message, failure, at_ms)
    }

    pub(super) fn ran_out_of_time(self, at_ms: i64) -> Run {
        let limit = self.sequence().maximum_run_time.map(|limit| limit.to_string()).unwrap_or_default();
        let failure = Failure {
            cause: format!("the sequence's maximum run time of {limit} is over"),
            evidence: format!("the run was at {}", self.where_it_is()),
            next_step: "see what took long, or raise maximum_run_time, then start the sequence again"
                .to_owned(),
            exit_code: None,
        };
        let message = format!("{}; {}", failure.cause, failure.evidence);
        self.stop(Outcome::Failed, message, failure, at_ms)
    }

    fn stop(mut self, outcome: Outcome, message: String, failure: Failure, at_ms: i64) -> Run {
        if self.stopped_until_ms.is_some() {
            // The second time: what the *finally* parts still do is left.
            return match self.stopping() {
                Some(first) => {
                    let (message, outcome) = (first.message.clone(), first.stops.unwrap_or(outcome));
                    self.end(outcome, message, Some(first), at_ms)
                }
                None => self.end(outcome, message, None, at_ms),
            };
        }
        let (at, before) = (self.frames.clone(), self.variables.last.clone());
        if let Some(index) = self.step_at().filter(|index| self.steps[*index].state == StepState::Running) {
            let name = self.step(index).name.clone();
            let record = &mut self.steps[index];
            (record.state, record.ended_ms) = (StepState::Failed, Some(at_ms));
            record.failure = Some(failure.clone());
            self.variables.last = Some(LastAction { name, succeeded: false, exit_code: 1 });
        }
        self.stopped_until_ms = Some(at_ms.saturating_add(FINALLY_TIME_MS));
        let pending = Pending { message, failure, at, before, stops: Some(outcome) };
        self.fail(Arc::new(pending), at_ms)
    }

    /// A person ends the wait for macOS.
    pub(super) fn closed(mut self, by: &str, done: bool, at_ms: i64) -> Run {
        let why = format!("closed by {by} before macOS reported");
        if done {
            for record in self.steps.iter_mut().filter(|record| record.state == StepState::Pending) {
                (record.state, record.why) = (StepState::Skipped, Some(why.clone()));
            }
            let message = format!("{}; {why}: what was left was done, or is not needed", self.summary());
            return self.end(Outcome::Succeeded, message, None, at_ms);
        }
        let failure = Failure {
            cause: format!("the run was closed by {by} while it waited for macOS"),
            evidence: format!("it was at {}", self.where_it_is()),
            next_step: "do by hand what is left, or resume the run when the Mac's agent can be heard"
                .to_owned(),
            exit_code: None,
        };
        let message = format!("{why}, at {}", self.where_it_is());
        let (at, before) = (self.frames.clone(), self.variables.last.clone());
        let pending = Pending { message: message.clone(), failure, at, before, stops: None };
        self.end(Outcome::Failed, message, Some(Arc::new(pending)), at_ms)
    }

    pub(super) fn end(
        mut self,
        outcome: Outcome,
        message: String,
        failed: Option<Arc<Pending>>,
        at_ms: i64,
    ) -> Run {
        if let Some(record) = self.step_at().and_then(|index| self.steps.get_mut(index))
            && record.state == StepState::Running
        {
            (record.state, record.ended_ms) = (StepState::Failed, Some(at_ms));
        }
        self.ended_ms = Some(at_ms);
        self.frames.clear();
        let failed = failed.filter(|_| outcome == Outcome::Failed);
        self.state = State::Ended { outcome, message, failed };
        self
    }

    /// Whether the Mac runs its installed macOS.
    pub fn is_on_macos(&self) -> bool {
        self.variables.facts.boot == BootMethod::Macos
    }

    /// Whether the step needs the boot environment, and the Mac left it for a moment: it is waited for there. A run that was
    /// started on macOS was never there.
    pub(super) fn is_elsewhere(&self, step: usize) -> bool {
        let kind = &self.step(step).kind;
        let runner = match kind {
            crate::sequence::model::Kind::ExecuteScript(script) => script.phase == Phase::Runner,
            kind => kind.needs_boot_environment(),
        };
        runner && self.is_on_macos() && self.start.facts.boot != BootMethod::Macos
    }

    /// Whether the Mac runs macOS, and the step at work or ahead needs the boot environment.
    pub fn waits_for_boot_environment(&self) -> bool {
        self.is_on_macos()
            && match &self.state {
                State::Acting { assignment, .. } => assignment.act.needs_boot_environment(),
                State::Ready { .. } => self.step_at().is_some_and(|step| self.is_elsewhere(step)),
                _ => false,
            }
    }

    pub(super) fn wait_for_boot_environment(&self) -> Decision {
        let why = format!(
            "{} needs the boot environment: start the Mac from the network (hold N) or from the stick",
            self.where_it_is()
        );
        Decision::Wait { seconds: ASK_AGAIN, why }
    }

    /// The engine's own event before a step of macOS, while the Mac is not there.
    pub(super) fn hand_to_macos(&self, step: u32) -> Event {
        if self.stopped_until_ms.is_some() {
            return Event::Skipped {
                step,
                why: "the run was stopped, and the Mac is not on macOS".to_owned(),
            };
        }
        let number = (!self.restarted).then(|| self.last_number.saturating_add(1));
        Event::HandedToMacos { step, number }
    }

    pub(super) fn handed_to_macos(
        mut self,
        at: Option<usize>,
        number: Option<u32>,
    ) -> Result<Run, OutOfOrder> {
        let does_not_follow =
            OutOfOrder::DoesNotFollow { event: "handed-to-macos", step: self.step_number() };
        let Some(step) = at.filter(|step| self.step(*step).kind.needs_macos()) else {
            return Err(does_not_follow);
        };
        if number.is_some_and(|number| number != self.last_number.saturating_add(1)) {
            return Err(does_not_follow);
        }
        let restart = number.map(|number| {
            self.last_number = number;
            Box::new(Assignment {
                number,
                step: step as u32 + 1,
                steps: self.steps.len() as u32,
                name: "Restart into macOS".to_owned(),
                timeout: None,
                act: Act::Restart,
            })
        });
        self.state = State::Handed { step, restart };
        Ok(self)
    }
}
