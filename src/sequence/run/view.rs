//! What others may know of a run: pages, lists, the protocol.

use super::act::Assignment;
use super::event::{Failure, PinnedImage};
use super::{Outcome, Run, State, StepRecord};
use crate::sequence::model::{Sequence, Step};
use crate::sequence::variable::MASK;

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
        self.start.sequence.walk().map(|(_, step)| step).zip(&self.steps)
    }

    /// Place of the step at work or to begin, from 1; after the end, of the step that was reached last.
    pub fn step_number(&self) -> u32 {
        let reached = || self.steps.iter().rposition(|record| record.started_ms.is_some());
        self.current().or_else(reached).map_or(0, |index| index as u32 + 1)
    }

    /// The action that was handed out and not reported on.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.state {
            State::Acting { assignment, .. } => Some(assignment),
            _ => None,
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
        let failed = self.outcome() == Some(Outcome::Failed);
        self.steps.iter().rev().find_map(|record| record.failure.as_ref()).filter(|_| failed)
    }

    /// A text without the values of secret variables: the runner masks what it reports, and an expanded text in an error is
    /// nobody's intention.
    pub fn masked(&self, text: &str) -> String {
        let all = self.variables.all();
        let secrets = all.values().filter(|value| value.secret);
        let lines = secrets.flat_map(|value| std::iter::once(value.text.as_str()).chain(value.text.lines()));
        let mut parts: Vec<&str> = lines.map(str::trim_end).filter(|part| !part.is_empty()).collect();
        // Longest first, so that one inside another leaves nothing over.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts.iter().fold(text.to_owned(), |text, part| text.replace(part, MASK))
    }

    /// When it was started.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// When it ended.
    pub fn ended_ms(&self) -> Option<i64> {
        self.ended_ms
    }

    /// When its maximum run time is over: a clock that passes it asks [`Run::next`].
    pub fn deadline_ms(&self) -> Option<i64> {
        let limit = self.sequence().maximum_run_time?;
        Some(self.started_ms.saturating_add(limit.milliseconds()))
    }
}
