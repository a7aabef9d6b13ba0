//! What a person is asked: values of empty variables that steps use, and whether the run may go on.
//!
//! Empty variables are asked for before the first step that can destroy anything, all that are used from there on as far as
//! can be told; one that becomes empty later is asked for when it is reached (task-sequences section 3). A condition uses what it
//! compares, unless it says itself what is when that is empty. One that nothing uses is not asked for; neither is one that nothing
//! defines: that is an error of the sequence. Where nobody can be asked (a Required run on a live macOS) the run fails instead.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::course::Pending;
use super::event::{Event, Failure, Start};
use super::{Decision, OutOfOrder, Run, State};
use crate::sequence::condition::If;
use crate::sequence::model::{Kind, Section};
use crate::sequence::name::VariableName;
use crate::sequence::program::{Body, Item};
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

fn destroys(kind: &Kind) -> bool {
    matches!(kind, Kind::FormatDisk(_) | Kind::ApplyImage(_))
}

/// Adds the empty variables that a condition cannot be decided without.
fn needed(
    condition: &If,
    empty: &[(VariableName, bool)],
    set: &BTreeSet<VariableName>,
    wanted: &mut BTreeSet<(VariableName, bool)>,
) {
    let needs = condition.needs();
    let used = empty.iter().filter(|(name, _)| needs.contains(&name) && !set.contains(name));
    wanted.extend(used.cloned());
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
        let mut wanted = BTreeSet::new();
        if destroys(&self.step(step).kind) {
            self.used_ahead(step, true, &empty, &mut wanted);
        } else {
            wanted.extend(empty.iter().filter(|(name, _)| uses::reads(&self.step(step).kind, name)).cloned());
        }
        self.values(wanted)
    }

    /// What must be asked before the condition of an entry can be decided. Where something is destroyed further on, everything
    /// that is used until the end is asked for with it.
    fn values_for_condition(&self, item: &Item, condition: &If) -> Option<Question> {
        let empty = self.empty_variables();
        let mut wanted = BTreeSet::new();
        needed(condition, &empty, &BTreeSet::new(), &mut wanted);
        if wanted.is_empty() {
            return None;
        }
        let from = item.steps_before;
        let mut ahead = from..self.steps.len();
        if ahead.any(|step| !self.program.step_item(step).left_out && destroys(&self.step(step).kind)) {
            self.used_ahead(from, false, &empty, &mut wanted);
        }
        self.values(wanted)
    }

    /// What must be asked before the entry that the run is at begins. `decided`: its condition held.
    pub(super) fn question_at(&self, item: &Item, decided: bool) -> Option<Question> {
        let condition = item.condition.as_ref().filter(|_| !decided);
        condition.and_then(|condition| self.values_for_condition(item, condition)).or_else(|| {
            match item.body {
                Body::Step(step, _) => self.question_before(step),
                Body::Group(..) => None,
            }
        })
    }

    /// Asks, or fails where nobody can be asked.
    pub(super) fn ask(&self, question: Question) -> Decision {
        match &question {
            Question::Values(names) if self.unattended => {
                let variables = names.iter().map(|(name, _)| name.clone()).collect();
                Decision::Record(Event::CannotAsk { variables })
            }
            _ => Decision::Ask(question),
        }
    }

    /// What is asked before anything else of an entry is looked at: for its condition; where nobody can be asked, before the first
    /// step for whatever a later one would ask.
    pub(super) fn ask_before_deciding(&self, item: &Item, decided: bool) -> Option<Decision> {
        let began = || self.steps.iter().any(|record| record.started_ms.is_some());
        let question = if self.unattended && !began() {
            let (empty, mut wanted) = (self.empty_variables(), BTreeSet::new());
            self.used_ahead(0, false, &empty, &mut wanted);
            self.values(wanted)
        } else {
            let condition = item.condition.as_ref().filter(|_| !decided);
            condition.and_then(|condition| self.values_for_condition(item, condition))
        };
        question.map(|question| self.ask(question))
    }

    /// In the order of the prompts; the others behind them by name.
    fn values(&self, wanted: BTreeSet<(VariableName, bool)>) -> Option<Question> {
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

    /// Adds what this step and those after it use, conditions included, unless a step between sets it, or what is known now leaves
    /// the step out. `decided`: it is known already that the first of them is done.
    fn used_ahead(
        &self,
        from: usize,
        decided: bool,
        empty: &[(VariableName, bool)],
        wanted: &mut BTreeSet<(VariableName, bool)>,
    ) {
        let mut set: BTreeSet<VariableName> = BTreeSet::new();
        for step in from..self.steps.len() {
            let is_done = decided && step == from;
            if !is_done && !self.is_on_the_way(step, empty, &set, wanted) {
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

    /// Whether a step is likely to be done, see [`Run::is_likely`]; adds what the conditions of the groups around it, outermost
    /// first, and its own need, up to the first that does not hold.
    fn is_on_the_way(
        &self,
        step: usize,
        empty: &[(VariableName, bool)],
        set: &BTreeSet<VariableName>,
        wanted: &mut BTreeSet<(VariableName, bool)>,
    ) -> bool {
        let inner = self.program.step_item(step);
        let way: Vec<&Item> = std::iter::successors(Some(inner), |item| self.around(item)).collect();
        way.iter().rev().all(|item| {
            if item.left_out || self.is_caught(item) {
                return false;
            }
            item.condition.as_ref().is_none_or(|condition| {
                needed(condition, empty, set, wanted);
                condition.verdict(&self.variables).holds
            })
        })
    }

    fn around(&self, item: &Item) -> Option<&Item> {
        item.parent.map(|parent| self.program.item(parent))
    }

    /// Whether it is in the *catch* of a group.
    fn is_caught(&self, item: &Item) -> bool {
        let caught = item.parent.map_or(&[][..], |parent| self.program.children(parent, Section::Catch));
        caught.iter().any(|inner| std::ptr::eq(self.program.item(*inner), item))
    }

    /// Whether a step is done when nothing fails and the values of variables are what they are now.
    pub(super) fn is_likely(&self, step: usize) -> bool {
        let mut way = std::iter::successors(Some(self.program.step_item(step)), |item| self.around(item));
        way.all(|item| {
            let holds =
                || item.condition.as_ref().is_none_or(|condition| condition.verdict(&self.variables).holds);
            !item.left_out && !self.is_caught(item) && holds()
        })
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
        let (State::Ready { decided, .. }, Some(item)) = (&self.state, self.at()) else {
            return Err(OutOfOrder::DoesNotFollow { event: "answered", step: self.step_number() });
        };
        let asked = match self.question_at(item, *decided) {
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

    /// Nobody can be asked for what is needed: a failure before the entry that the run is at.
    pub(super) fn nobody_to_ask(self, variables: &[VariableName], at_ms: i64) -> Run {
        let names: Vec<String> = variables.iter().map(|name| format!("%{name}%")).collect();
        let names = names.join(", ");
        let failure = Failure {
            cause: format!("{names} has no value, and nobody can be asked: the run started by itself on a live macOS"),
            evidence: format!("found before {}; nothing of it was done", self.where_it_is()),
            next_step: "give the Mac or its collection a value: rootstock variable set NAME VALUE --device SERIAL; or start the run \
                        for somebody who can answer"
                .to_owned(),
            exit_code: None,
        };
        let (message, before) = (failure.cause.clone(), self.variables.last.clone());
        let pending = Pending { message, failure, at: self.frames.clone(), stops: None, before };
        self.fail(Arc::new(pending), at_ms)
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
