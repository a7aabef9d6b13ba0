//! What a person is asked: values of empty variables that steps use, and whether the run may go on.
//!
//! Empty variables are asked for before the first step that can destroy anything, all that are used from there on as far as
//! can be told; one that becomes empty later is asked for when it is reached (task-sequences section 3). One that nothing
//! uses is not asked for; neither is one that nothing defines: that is an error of the sequence.

use std::collections::BTreeSet;

use super::event::{Event, Failure, Start};
use super::{Decision, OutOfOrder, Run};
use crate::sequence::model::{Kind, Section};
use crate::sequence::name::VariableName;
use crate::sequence::program::Body;
use crate::sequence::prompt::Prompt;
use crate::sequence::uses;
use crate::sequence::variable::{Scope, Value};
use crate::value::Digest;

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Values of these variables; `true`: what is typed is not shown.
    Values(Vec<(VariableName, bool)>),
    /// Where an image goes.
    Destination {
        /// The step that puts it there, from 1.
        step: u32,
        /// Its name.
        name: String,
        /// The image with its version; empty when it cannot be named yet.
        image: String,
        /// Its manifest.
        manifest: Option<Digest>,
        /// Which partition of it; none: its main volume.
        source_partition: Option<u32>,
    },
    /// Whether the run may go on.
    Confirm {
        /// The step that waits, from 1.
        step: u32,
        /// What the person shall do.
        message: String,
        /// What stands on the button.
        button: String,
    },
}

impl Question {
    /// One line for those who wait.
    pub fn line(&self) -> String {
        match self {
            Question::Values(names) => {
                let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
                format!("waits for values of {}", names.join(", "))
            }
            Question::Destination { name, image, .. } => {
                format!("waits for the partition that receives {image} (`{name}`)")
            }
            Question::Confirm { message, button, .. } => format!("{message} [{button}]"),
        }
    }
}

/// A prompt defines its variable, empty, where nothing else does.
pub(super) fn with_prompts(start: &Start) -> Scope {
    let mut scope = start.collection.clone();
    for prompt in prompts(start) {
        if !start.device.contains_key(&prompt.variable) {
            let value = Value { text: String::new(), secret: prompt.secret };
            scope.entry(prompt.variable.clone()).or_insert(value);
        }
    }
    scope
}

/// The prompts of the sequence, then those of the sequences that it runs.
fn prompts(start: &Start) -> impl Iterator<Item = &Prompt> {
    start.sequence.prompts.iter().chain(start.others.values().flat_map(|other| &other.prompts))
}

impl Run {
    /// What must be asked before this step begins.
    pub(super) fn question_before(&self, step: usize) -> Option<Question> {
        self.values_before(step).or_else(|| self.destination_before(step))
    }

    fn values_before(&self, step: usize) -> Option<Question> {
        let empty = self.empty_variables();
        if empty.is_empty() {
            return None;
        }
        let destroys = matches!(self.step(step).kind, Kind::FormatDisk(_) | Kind::ApplyImage(_));
        let mut wanted = BTreeSet::new();
        if destroys {
            self.used_ahead(step, &empty, &mut wanted);
        } else {
            wanted.extend(empty.iter().filter(|(name, _)| uses::reads(&self.step(step).kind, name)).cloned());
        }
        let place = |name: &VariableName| {
            prompts(&self.start).position(|prompt| prompt.variable == *name).unwrap_or(usize::MAX)
        };
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|(name, _)| place(name));
        (!wanted.is_empty()).then_some(Question::Values(wanted))
    }

    /// Variables whose value in force is an empty text that nobody chose.
    fn empty_variables(&self) -> Vec<(VariableName, bool)> {
        let scopes = [&self.variables.collection, &self.variables.device, &self.variables.sequence];
        if scopes.iter().all(|scope| scope.values().all(|value| !value.text.is_empty())) {
            return Vec::new();
        }
        let all = self.variables.all().into_iter();
        all.filter(|(name, value)| {
            value.text.is_empty() && !name.is_read_only() && !self.answered.contains(name)
        })
        .map(|(name, value)| (name, value.secret))
        .collect()
    }

    /// Adds what this step and those after it use, unless a step between sets it, or what is known now leaves the step out.
    fn used_ahead(
        &self,
        from: usize,
        empty: &[(VariableName, bool)],
        wanted: &mut BTreeSet<(VariableName, bool)>,
    ) {
        let mut set: BTreeSet<VariableName> = BTreeSet::new();
        for step in from..self.steps.len() {
            if step != from && !self.is_likely(step) {
                continue;
            }
            let kind = &self.step(step).kind;
            for (name, secret) in empty {
                if !set.contains(name) && uses::reads(kind, name) {
                    wanted.insert((name.clone(), *secret));
                }
            }
            set.extend(uses::sets(kind));
        }
    }

    pub(super) fn is_likely(&self, step: usize) -> bool {
        let mut item = self.program.step_item(step);
        loop {
            let holds =
                item.condition.as_ref().is_none_or(|condition| condition.verdict(&self.variables).holds);
            if item.left_out || !holds {
                return false;
            }
            let Some(parent) = item.parent else { return true };
            let caught = self.program.children(parent, Section::Catch).iter();
            if caught.map(|inner| self.program.item(*inner)).any(|inner| std::ptr::eq(inner, item)) {
                return false;
            }
            item = self.program.item(parent);
        }
    }

    /// How a person is asked for a variable, and what is proposed; none where the sequence does not say.
    pub fn prompt(&self, name: &VariableName) -> Option<(&Prompt, String)> {
        let prompt = prompts(&self.start).find(|prompt| prompt.variable == *name)?;
        let default = prompt.default.as_ref().map(|default| self.variables.expand(default));
        let shown = |value: Value| if value.secret { String::new() } else { value.text };
        Some((prompt, default.and_then(Result::ok).map(shown).unwrap_or_default()))
    }

    /// The first of these that is no answer, and why. Asked before they are recorded.
    pub fn refused_answer(&self, values: &[(VariableName, Value)]) -> Option<(VariableName, String)> {
        values.iter().find_map(|(name, value)| {
            let (prompt, _) = self.prompt(name)?;
            prompt.refuses(&value.text).map(|why| (name.clone(), why))
        })
    }

    /// Answers as they are recorded: a variable that was defined as a secret has a secret value.
    pub fn secret_where_asked(
        &self,
        mut values: Vec<(VariableName, Value)>,
        now_ms: i64,
    ) -> Vec<(VariableName, Value)> {
        if let Decision::Ask(Question::Values(asked)) = self.next(now_ms) {
            for (name, value) in &mut values {
                value.secret |= asked.iter().any(|(one, secret)| one == name && *secret);
            }
        }
        values
    }

    /// Takes in what a person answered. The first answer wins: one that comes after it is refused.
    pub(super) fn answer(mut self, values: &[(VariableName, Value)]) -> Result<Run, OutOfOrder> {
        let step = match self.at().map(|item| &item.body) {
            Some(Body::Step(step, _)) => *step,
            _ => return Err(OutOfOrder::DoesNotFollow { event: "answered", step: self.step_number() }),
        };
        let asked = match self.question_before(step) {
            Some(Question::Values(asked)) => asked,
            _ => Vec::new(),
        };
        for (name, value) in values {
            let Some((_, secret)) = asked.iter().find(|(one, _)| one == name) else {
                return Err(OutOfOrder::NotAsked(name.clone()));
            };
            let value = Value { secret: value.secret || *secret, ..value.clone() };
            self.answered.insert(name.clone());
            self.variables.set(name.clone(), value);
        }
        Ok(self)
    }

    /// What a step that waits for a person does now.
    pub(super) fn keep_waiting(&self, step: usize, since_ms: i64, now_ms: i64) -> Decision {
        let place = step as u32 + 1;
        let limit = self.step(step).timeout.map(|timeout| timeout.milliseconds());
        if limit.is_some_and(|limit| now_ms >= since_ms.saturating_add(limit)) {
            return Decision::Record(Event::WaitedTooLong { step: place });
        }
        let Kind::WaitForTechnician(wait) = &self.step(step).kind else {
            return Decision::Record(Event::WaitedTooLong { step: place });
        };
        // It could be filled in when the step began.
        let message = self.filling(step).text("the message", &wait.message).unwrap_or_default();
        Decision::Ask(Question::Confirm { step: place, message, button: wait.button.clone() })
    }

    pub(super) fn waited_too_long(&self, step: usize) -> Failure {
        let limit = self.step(step).timeout.map(|timeout| timeout.to_string()).unwrap_or_default();
        Failure {
            cause: format!("nobody confirmed `{}`", self.step(step).name),
            evidence: format!("the step's time limit of {limit} is over"),
            next_step: "resume the run when somebody is there".to_owned(),
            exit_code: None,
        }
    }
}
