//! What others may know of a run: pages, lists, the protocol.

use super::act::{Act, Assignment};
use super::event::{Event, Failure, PinnedImage};
use super::{Decision, Outcome, Question, Run, State, StepRecord};
use crate::sequence::model::{Sequence, Step};
use crate::sequence::name::VariableName;
use crate::sequence::program::Program;
use crate::sequence::variable::{Value, Variables};
use crate::value::Mask;

impl Run {
    /// The sequence that it is pinned to.
    pub fn sequence(&self) -> &Sequence {
        &self.start.sequence
    }

    /// The images that it is pinned to.
    pub fn images(&self) -> &[PinnedImage] {
        &self.start.images
    }

    /// Every step in order.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &StepRecord)> {
        self.steps.iter().enumerate().map(|(index, record)| (self.program.step(index), record))
    }

    /// The tree that it works through.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its variables as they are now.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// What a person must say before it goes on.
    pub fn question(&self, now_ms: i64) -> Option<Question> {
        match self.next(now_ms) {
            Decision::Ask(question) => Some(question),
            _ => None,
        }
    }

    /// What a script set, as it is recorded: a secret stays one, whoever sets it; what nothing can set is left away.
    pub fn values_of_script(&self, values: Vec<(VariableName, String)>) -> Vec<(VariableName, Value)> {
        let settable = values.into_iter().filter(|(name, _)| !name.is_read_only());
        let value = |name: &VariableName, text| {
            let secret = self.variables.get(name).is_some_and(|value| value.secret);
            Value { text, secret }
        };
        settable.map(|(name, text)| (name.clone(), value(&name, text))).collect()
    }

    /// The name of the step or group that an event is about.
    pub fn subject(&self, event: &Event) -> Option<&str> {
        let step = event.step().and_then(|step| (step as usize).checked_sub(1));
        let step = step.filter(|step| *step < self.steps.len()).map(|step| self.step(step).name.as_str());
        step.or_else(|| self.program.group_item(event.group()? as usize).map(|group| group.name.as_str()))
    }

    /// Place of the step at work or to begin, from 1; after the end, of the step that was reached last.
    pub fn step_number(&self) -> u32 {
        let reached = || self.steps.iter().rposition(|record| record.started_ms.is_some());
        self.step_ahead().or_else(reached).map_or(0, |index| index as u32 + 1)
    }

    /// The action that was handed out and not reported on.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.state {
            State::Acting { assignment, .. } | State::Handed { restart: Some(assignment), .. } => {
                Some(assignment)
            }
            _ => None,
        }
    }

    /// Whether the Mac was told to start anew, or will be at once: another start of it is what comes next.
    pub fn starts_anew(&self) -> bool {
        match &self.state {
            State::Acting { assignment, .. } => assignment.act == Act::Restart,
            State::Handed { .. } => true,
            _ => self.restarted,
        }
    }

    /// How it ended; none while it goes on.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Ended { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// One line when it has ended.
    pub fn message(&self) -> Option<&str> {
        match &self.state {
            State::Ended { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Why it failed, when it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Ended { failed: Some(failed), .. } => Some(&failed.failure),
            _ => None,
        }
    }

    /// The step that it failed at, from 0; none where it did not, or was between steps.
    pub fn failed_at(&self) -> Option<usize> {
        match &self.state {
            State::Ended { failed: Some(failed), .. } => self.step_of(&failed.at),
            _ => None,
        }
    }

    /// Whether it failed at a step and can go on with that step.
    pub fn can_resume(&self) -> bool {
        matches!(&self.state, State::Ended { outcome: Outcome::Failed, failed: Some(_), .. })
    }

    /// A text without the values of secret variables: the runner masks what it reports, and an expanded text in an error is
    /// nobody's intention.
    pub fn masked(&self, text: &str) -> String {
        let all = self.variables.all();
        Mask::of_bytes(all.values().filter(|value| value.secret).map(|value| &value.text)).apply(text)
    }

    /// When it was started.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// When it ended.
    pub fn ended_ms(&self) -> Option<i64> {
        self.ended_ms
    }

    /// Whether it waits for the Mac's agent on macOS.
    pub fn waits_for_macos(&self) -> bool {
        matches!(self.state, State::Handed { .. })
    }

    /// Whether it was cancelled, or ran out of time, and works at its *finally* parts.
    pub fn is_stopping(&self) -> bool {
        self.stopped_until_ms.is_some() && self.outcome().is_none()
    }

    /// When its time is over: a clock that passes it asks [`Run::next`].
    pub fn deadline_ms(&self) -> Option<i64> {
        if self.stopped_until_ms.is_some() {
            return self.stopped_until_ms;
        }
        let limit = self.sequence().maximum_run_time?;
        Some(self.counted_from_ms.saturating_add(limit.milliseconds()))
    }
}
