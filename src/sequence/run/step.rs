//! How one step begins and ends: tries, what the next ones know of it, what a new start of the Mac means for it.

use std::sync::Arc;

use super::act::{Act, Assignment};
use super::course::{self, Pending};
use super::event::Failure;
use super::{OutOfOrder, Outcome, Run, State, StepState};
use crate::sequence::variable::LastAction;

impl Run {
    pub(super) fn assign(mut self, at: Option<usize>, number: u32, at_ms: i64) -> Result<Run, OutOfOrder> {
        let does_not_follow = OutOfOrder::DoesNotFollow { event: "assigned", step: self.step_number() };
        let Some(index) = at else { return Err(does_not_follow) };
        let Some(act) = self.filling(index).act(&self.step(index).kind)? else { return Err(does_not_follow) };
        let step = self.step(index);
        let assignment = Assignment {
            number,
            step: index as u32 + 1,
            steps: self.steps.len() as u32,
            name: step.name.clone(),
            timeout: step.timeout.map(|timeout| timeout.seconds()),
            act,
        };
        self.began(at, at_ms);
        self.last_number = number;
        self.state = State::Acting { step: index, assignment: Box::new(assignment) };
        Ok(self)
    }

    pub(super) fn began(&mut self, at: Option<usize>, at_ms: i64) -> usize {
        let index = at.unwrap_or_default();
        if let Some(record) = self.steps.get_mut(index) {
            record.state = StepState::Running;
            record.started_ms.get_or_insert(at_ms);
            record.tries += 1;
        }
        index
    }

    pub(super) fn ended_well(mut self, index: usize, exit_code: i32, at_ms: i64) -> Run {
        let record = &mut self.steps[index];
        (record.state, record.ended_ms, record.failure) = (StepState::Succeeded, Some(at_ms), None);
        let name = self.step(index).name.clone();
        self.variables.last = Some(LastAction { name, succeeded: true, exit_code });
        self.go_on(at_ms)
    }

    pub(super) fn failed_or_retried(mut self, index: usize, failure: &Failure, at_ms: i64) -> Run {
        match self.step(index).retry {
            Some(retry) if self.steps[index].tries <= retry.count => {
                self.steps[index].failure = Some(failure.clone());
                let delay = retry.delay.map_or(0, |delay| delay.milliseconds());
                let not_before_ms = Some(at_ms.saturating_add(delay));
                self.state = State::Ready { not_before_ms, decided: true };
                self
            }
            _ => self.failed(index, failure, at_ms),
        }
    }

    pub(super) fn failed(mut self, index: usize, failure: &Failure, at_ms: i64) -> Run {
        let record = &mut self.steps[index];
        (record.state, record.ended_ms) = (StepState::Failed, Some(at_ms));
        record.failure = Some(failure.clone());
        let (name, pass_over) = (self.step(index).name.clone(), self.step(index).continue_on_error);
        let message = format!("step {} of {} (`{name}`): {}", index + 1, self.steps.len(), failure.cause);
        let exit_code = failure.exit_code.unwrap_or(1);
        self.steps[index].exit_code = failure.exit_code;
        let before = self.variables.last.replace(LastAction { name, succeeded: false, exit_code });
        if pass_over {
            return self.go_on(at_ms);
        }
        let (failure, at) = (failure.clone(), self.frames.clone());
        let pending = Pending { message, failure, at, before, stops: None };
        self.fail(Arc::new(pending), at_ms)
    }

    /// The runner remembers nothing. What can be repeated is handed out again; a script is not, nobody knows how far
    /// it came; a restart has happened, for here the Mac is, unless its kernel is the one from before.
    pub(super) fn reconnected(mut self, same_start: bool, at_ms: i64) -> Run {
        let (step, assignment) = match self.state.clone() {
            State::Acting { step, assignment } => (step, assignment),
            State::Handed { step, .. } => {
                self.state = match self.is_on_macos() {
                    false if same_start => return self,
                    true => State::Ready { not_before_ms: None, decided: true },
                    // It is not there yet; one more restart would start the same thing again.
                    false => State::Handed { step, restart: None },
                };
                return self;
            }
            _ => return self,
        };
        match assignment.act {
            Act::FormatDisk { .. }
            | Act::ApplyImage { .. }
            | Act::CaptureImage { .. }
            | Act::CaptureToShare { .. }
            | Act::VerifyImage(_)
            | Act::CopyFiles { .. }
            | Act::SetStartupDisk { .. }
            | Act::Notify(_)
            | Act::OnMacos(_) => self,
            Act::Restart if same_start => self,
            Act::Restart => {
                self.restarted = true;
                self.ended_well(step, 0, at_ms)
            }
            Act::ExecuteScript { .. } => {
                let failure = Failure {
                    cause: format!("the Mac was started anew while the script of `{}` ran", assignment.name),
                    evidence: "how far the script came is not known, so it is not run again by itself".to_owned(),
                    next_step: "look at what the script changes, then resume the run or start the sequence again; give the step a retry if it can be run twice".to_owned(),
                    exit_code: None,
                };
                self.failed_or_retried(step, &failure, at_ms)
            }
        }
    }

    /// Goes on with the step that failed, as if it had not begun; what came before it stays as it is. What a *finally* did after it
    /// is not what ended last for it.
    pub(super) fn resumed(mut self, at_ms: i64) -> Result<Run, OutOfOrder> {
        let failed = match &self.state {
            State::Ended { outcome: Outcome::Failed, failed: Some(failed), .. } => failed.clone(),
            State::Ended { message, .. } => {
                return Err(OutOfOrder::CannotResume { message: message.clone() });
            }
            _ => {
                return Err(OutOfOrder::CannotResume { message: format!("it is at {}", self.where_it_is()) });
            }
        };
        self.frames = failed.at.clone();
        self.unattended = false;
        self.variables.last.clone_from(&failed.before);
        if let Some(step) = self.step_at() {
            self.chosen.remove(&step);
        }
        (self.ended_ms, self.counted_from_ms, self.stopped_until_ms) = (None, at_ms, None);
        self.state = State::Ready { not_before_ms: None, decided: self.step_at().is_some() };
        let (at, ahead) = (self.step_at(), self.step_ahead().unwrap_or(0));
        for (index, record) in self.steps.iter_mut().enumerate() {
            // What a failure before left out, and a *catch* went on from, lies behind.
            let left_out = record.why.as_deref() == Some(course::NOT_REACHED) && index >= ahead;
            let again = Some(index) == at || left_out;
            if again {
                (record.state, record.ended_ms, record.why) = (StepState::Pending, None, None);
                (record.tries, record.failure, record.exit_code) = (0, None, None);
            }
        }
        Ok(self)
    }
}
