//! The way of a run through the tree: into groups, past what is left out, and where a failure leads.
//!
//! A failure that is not passed over ends the part of the group that it happened in. From its steps it leads to the group's
//! *catch*, whose good end mends it; then, mended or not, to its *finally*; and, not mended, out of the group: passed over
//! by the group's *continue on error*, or a failure of what is around it. A failure in a *finally* does not hide one
//! before it.

use std::sync::Arc;

use super::event::Failure;
use super::{Outcome, READY, Run, StepState};
use crate::sequence::model::Section;
use crate::sequence::program::{Body, Item};
use crate::sequence::variable::LastAction;

/// Why a step that was not reached is left out.
pub(super) const NOT_REACHED: &str = "a failure before it ended this part of the group";
/// Why the steps of a *catch* are left out.
const NOTHING_TO_CATCH: &str = "nothing failed";

/// A group that the run is in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    group: usize,
    section: Section,
    index: usize,
    /// The failure that is on its way out of the group, once its *finally* has ended.
    pending: Option<Arc<Pending>>,
}

impl Frame {
    pub fn of(group: usize) -> Frame {
        Frame { group, section: Section::Steps, index: 0, pending: None }
    }
}

/// A failure that was not passed over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    /// One line that names the step.
    pub message: String,
    pub failure: Failure,
    /// Where the run was.
    pub at: Vec<Frame>,
    /// What ended before the step that failed began: whoever resumes that step finds it so again.
    pub before: Option<LastAction>,
    /// Set when the run was stopped: nothing mends that, and this is how it ends.
    pub stops: Option<Outcome>,
}

impl Run {
    /// The entry that is at work or begins next.
    pub(super) fn at(&self) -> Option<&Item> {
        self.number_at().map(|item| self.program.item(item))
    }

    fn number_at(&self) -> Option<usize> {
        let frame = self.frames.last()?;
        self.program.children(frame.group, frame.section).get(frame.index).copied()
    }

    /// The step that is at work or begins next, by its number from 0; none before a group.
    pub(super) fn step_at(&self) -> Option<usize> {
        match self.at()?.body {
            Body::Step(step, _) => Some(step),
            Body::Group(..) => None,
        }
    }

    /// The step that a way through the groups leads to.
    pub(super) fn step_of(&self, frames: &[Frame]) -> Option<usize> {
        let frame = frames.last()?;
        let item = self.program.children(frame.group, frame.section).get(frame.index)?;
        match self.program.item(*item).body {
            Body::Step(step, _) => Some(step),
            Body::Group(..) => None,
        }
    }

    /// The step at work, or the next one there is, by its number from 0.
    pub(super) fn step_ahead(&self) -> Option<usize> {
        Some(self.at()?.steps_before).filter(|step| *step < self.steps.len())
    }

    pub(super) fn is_at_group(&self, group: u32) -> bool {
        self.at().is_some_and(|item| matches!(item.body, Body::Group(number, _) if number as u32 == group))
    }

    /// Into the group that the run is at.
    pub(super) fn enter(mut self, at_ms: i64) -> Run {
        let Some(item) = self.number_at() else { return self };
        self.frames.push(Frame::of(item));
        self.settle(at_ms)
    }

    /// Past the entry that the run is at.
    pub(super) fn skip_entry(mut self, why: &str, at_ms: i64) -> Run {
        if let Some(item) = self.number_at() {
            self.leave_out(item, why);
        }
        self.go_on(at_ms)
    }

    /// To the entry after this one.
    pub(super) fn go_on(mut self, at_ms: i64) -> Run {
        self.step_over();
        self.settle(at_ms)
    }

    fn step_over(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.index += 1;
        }
    }

    fn leave_out(&mut self, item: usize, why: &str) {
        for step in self.program.steps_of(item) {
            let record = &mut self.steps[step];
            if record.state == StepState::Pending {
                (record.state, record.why) = (StepState::Skipped, Some(why.to_owned()));
            }
        }
    }

    fn leave_out_section(&mut self, group: usize, section: Section, from: usize, why: &str) {
        let program = self.program.clone();
        program.children(group, section).iter().skip(from).for_each(|item| self.leave_out(*item, why));
    }

    /// Past everything that is disabled and out of every part that has ended, to an entry or the end of the run.
    pub(super) fn settle(mut self, at_ms: i64) -> Run {
        loop {
            let Some(frame) = self.frames.last() else { return self };
            let (group, section) = (frame.group, frame.section);
            match self.at() {
                Some(item) if item.left_out => {
                    self.step_over();
                    continue;
                }
                Some(_) => {
                    self.state = READY;
                    return self;
                }
                None => {}
            }
            if section == Section::Steps {
                self.leave_out_section(group, Section::Catch, 0, NOTHING_TO_CATCH);
            }
            let Some(frame) = self.frames.last_mut() else { return self };
            let pending = match section {
                Section::Finally => frame.pending.take(),
                // The end of a *catch* mends the failure.
                Section::Steps | Section::Catch => {
                    (frame.section, frame.index, frame.pending) = (Section::Finally, 0, None);
                    continue;
                }
            };
            self.frames.pop();
            if let Some(pending) = pending {
                return self.fail_group(group, pending, at_ms);
            }
            if self.frames.is_empty() {
                let message = self.summary();
                return self.end(Outcome::Succeeded, message, None, at_ms);
            }
            self.step_over();
        }
    }

    /// Where a failure in the part of the group that the run is in leads.
    pub(super) fn fail(mut self, pending: Arc<Pending>, at_ms: i64) -> Run {
        let Some(frame) = self.frames.last() else { return self };
        let (group, section, after) = (frame.group, frame.section, frame.index + 1);
        let catches = pending.stops.is_none() && !self.program.children(group, Section::Catch).is_empty();
        if group != 0 {
            self.leave_out_section(group, section, after, NOT_REACHED);
        }
        if section == Section::Steps && !catches || section == Section::Catch {
            self.leave_out_section(group, Section::Catch, 0, NOT_REACHED);
        }
        let Some(frame) = self.frames.last_mut() else { return self };
        frame.index = 0;
        match section {
            Section::Steps if catches => (frame.section, frame.pending) = (Section::Catch, Some(pending)),
            Section::Steps | Section::Catch => {
                (frame.section, frame.pending) = (Section::Finally, Some(pending));
            }
            Section::Finally => {
                let before = frame.pending.take().filter(|_| pending.stops.is_none());
                let first = before.unwrap_or(pending);
                self.frames.pop();
                return self.fail_group(group, first, at_ms);
            }
        }
        self.settle(at_ms)
    }

    /// A group, already left, has failed.
    fn fail_group(mut self, group: usize, pending: Arc<Pending>, at_ms: i64) -> Run {
        if self.frames.is_empty() {
            let (message, outcome) = (pending.message.clone(), pending.stops.unwrap_or(Outcome::Failed));
            return self.end(outcome, message, Some(pending), at_ms);
        }
        if self.program.item(group).continue_on_error && pending.stops.is_none() {
            self.step_over();
            return self.settle(at_ms);
        }
        self.fail(pending, at_ms)
    }

    /// The stop that is on its way out of the groups that the run is in.
    pub(super) fn stopping(&self) -> Option<Arc<Pending>> {
        let mut pending = self.frames.iter().filter_map(|frame| frame.pending.clone());
        pending.find(|pending| pending.stops.is_some())
    }

    pub(super) fn summary(&self) -> String {
        let of = |state| self.steps.iter().enumerate().filter(move |(_, record)| record.state == state);
        let failed: Vec<_> =
            of(StepState::Failed).map(|(step, _)| format!("`{}`", self.step(step).name)).collect();
        let done = format!("{} of {} steps done", of(StepState::Succeeded).count(), self.steps.len());
        if failed.is_empty() {
            done
        } else {
            format!("{done}; failed and passed over: {}", failed.join(", "))
        }
    }
}
