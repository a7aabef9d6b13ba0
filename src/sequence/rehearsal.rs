//! A run without a Mac, by the same machine that the appliance runs: [`rehearse`] works through it with the outcomes that are
//! asked for, [`plan`] takes everything for well done and says what each step would do, ask, erase and move.
//!
//! Times are guesses ([`seconds_for`]); the clock of a rehearsal begins at 0. Must not know: where sequences, Macs and
//! images come from.

mod finding;
mod plan;

use super::capture::saved_as;
use super::name::VariableName;
use super::program::CannotNest;
use super::run::act::{Act, Assignment, MacosAct};
use super::run::event::{ActionResult, Event, Failure, Recorded, Start};
use super::run::{Chosen, Decision, OutOfOrder, Outcome, Question, Run};
use super::variable::{BootMethod, Value};

pub use finding::{PlanCode, PlanFinding, Severity};
pub use plan::{Input, KnownImage, Plan, PlannedStep, plan};

/// Events of the longest rehearsal.
const MOST_EVENTS: usize = 200_000;

/// Which step is meant: its number from 1, or its name whatever its case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which(String);

impl Which {
    /// From what a person wrote.
    pub fn new(text: &str) -> Which {
        Which(text.trim().to_owned())
    }

    fn is(&self, step: u32, name: &str) -> bool {
        self.0.parse() == Ok(step) || self.0.to_lowercase() == name.to_lowercase()
    }
}

/// What happens in a rehearsal that does not go well by itself.
#[derive(Clone, Debug, Default)]
pub struct Mishaps {
    /// Steps that fail whenever they are tried, with their exit codes.
    pub failures: Vec<(Which, Option<i32>)>,
    /// Steps in whose action the Mac is started anew, once.
    pub reboots: Vec<Which>,
    /// Steps at which the appliance is started anew: the run is read from its record again, and must be the same.
    pub server_restarts: Vec<Which>,
    /// What a person answers.
    pub answers: Vec<(VariableName, String)>,
    /// Where images go that a person is asked for, in the order of asking: disk and partition.
    pub destinations: Vec<(u32, u32)>,
    /// Questions without an answer are answered with [`stand_in`], which is good wherever a name must be, and waits are confirmed.
    pub answer_anything: bool,
}

/// What stands for a value that nobody has given.
const STAND_IN: (&str, &str) = ("QxZ1.", ".1ZxQ");

/// What stands for the value of a variable that is asked for: a name of an image, a part of a path.
fn stand_in(name: &VariableName) -> String {
    match name.as_str().len() {
        // With more around it, it would be too long for a name.
        51.. => name.as_str().to_owned(),
        _ => format!("{}{name}{}", STAND_IN.0, STAND_IN.1),
    }
}

/// A text in which it is shown as fields write it, `%Name%`.
fn as_in_fields(text: &str) -> String {
    text.replace(STAND_IN.0, "%").replace(STAND_IN.1, "%")
}

/// What a person is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The value of a variable.
    Value(VariableName),
    /// The partition for the image of this step, from 1.
    Destination(u32),
}

/// A rehearsed run.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// How it stands at its end.
    pub run: Run,
    /// Everything that would have been recorded.
    pub record: Vec<Recorded>,
    /// What was asked, with the step that it was asked before, from 1.
    pub asked: Vec<(u32, Asked)>,
    /// What nobody answered: the run waits for it.
    pub waits_for: Option<Question>,
    /// What was handed out, in order.
    pub acts: Vec<Assignment>,
    /// How often the appliance was started anew.
    pub server_restarts: u32,
}

/// A rehearsal is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRehearse {
    /// Sequences do not go together.
    #[error(transparent)]
    CannotNest(#[from] CannotNest),
    /// A mishap is meant for a step that is not there.
    #[error("there is no step `{0}`: name one of the sequence, or its number")]
    NoSuchStep(String),
    /// The machine does not take what it asked for.
    #[error("the run does not go on: {0}")]
    OutOfOrder(#[from] OutOfOrder),
    /// The run that was read from its record is another.
    #[error("the run that was read from its record at step {0} is not the one that was written")]
    Unlike(u32),
    /// No end.
    #[error("the run did not end within {MOST_EVENTS} events")]
    Endless,
}

/// Guessed seconds of an action that moves so many bytes: a network of 1 Gbit/s, then reading back; what people have waited
/// for a Mac to start.
pub fn seconds_for(act: &Act, bytes: u64) -> u64 {
    match act {
        Act::FormatDisk { .. } => 15,
        Act::ApplyImage { .. } => 5 + bytes / 100_000_000 + bytes / 400_000_000,
        // How much is in use on the disk is not known here.
        Act::CaptureImage { .. } | Act::CaptureToShare { .. } => 600,
        Act::ExecuteScript { .. } => 10,
        Act::Restart => 90,
        Act::VerifyImage(applied) => 5 + bytes / 400_000_000 * u64::from(!applied.is_empty()),
        Act::CopyFiles { .. } => 30,
        Act::SetStartupDisk { .. } | Act::Notify(_) => 2,
        Act::OnMacos(act) => match **act {
            MacosAct::Install { .. } => 120,
            MacosAct::Enroll { .. } => 60,
            _ => 10,
        },
    }
}

/// Works through a run. `watch` sees each event before it takes effect; `bytes` tells how much an action moves.
///
/// # Errors
/// See [`CannotRehearse`].
pub fn rehearse(
    start: Start,
    mishaps: &Mishaps,
    mut watch: impl FnMut(&Run, &Event),
    bytes: impl Fn(&Act) -> u64,
) -> Result<Rehearsed, CannotRehearse> {
    let (mut run, first) = Run::start(start, 0)?;
    let steps: Vec<(u32, String)> = (1..).zip(run.steps().map(|(step, _)| step.name.clone())).collect();
    let meant = mishaps.failures.iter().map(|(which, _)| which);
    for which in meant.chain(&mishaps.reboots).chain(&mishaps.server_restarts) {
        if !steps.iter().any(|(step, name)| which.is(*step, name)) {
            return Err(CannotRehearse::NoSuchStep(which.0.clone()));
        }
    }
    let mut stage = Stage {
        mishaps,
        record: vec![first],
        asked: Vec::new(),
        waits_for: None,
        acts: Vec::new(),
        server_restarted: 0,
        reboots: mishaps.reboots.clone(),
        server_restarts: mishaps.server_restarts.clone(),
        destinations: mishaps.destinations.clone(),
        now_ms: 0,
    };
    while let Some(event) = stage.happens(&run, &bytes)? {
        if stage.record.len() >= MOST_EVENTS {
            return Err(CannotRehearse::Endless);
        }
        watch(&run, &event);
        run = run.apply(&event, stage.now_ms)?;
        stage.record.push(Recorded { at_ms: stage.now_ms, event });
    }
    let Stage { record, asked, waits_for, acts, server_restarted, .. } = stage;
    Ok(Rehearsed { run, record, asked, waits_for, acts, server_restarts: server_restarted })
}

struct Stage<'a> {
    mishaps: &'a Mishaps,
    record: Vec<Recorded>,
    asked: Vec<(u32, Asked)>,
    waits_for: Option<Question>,
    acts: Vec<Assignment>,
    server_restarted: u32,
    reboots: Vec<Which>,
    server_restarts: Vec<Which>,
    destinations: Vec<(u32, u32)>,
    now_ms: i64,
}

impl Stage<'_> {
    fn happens(&mut self, run: &Run, bytes: &impl Fn(&Act) -> u64) -> Result<Option<Event>, CannotRehearse> {
        loop {
            match run.next(self.now_ms) {
                Decision::Record(event) => return Ok(Some(self.or_refused(run, event))),
                // Whoever it is that the run waits for comes.
                Decision::Wait { .. } if run.waits_for_macos() => {
                    self.now_ms += 90_000;
                    return Ok(Some(Event::Reconnected { boot: BootMethod::Macos, same_start: false }));
                }
                Decision::Wait { .. } if run.waits_for_boot_environment() => {
                    self.now_ms += 90_000;
                    return Ok(Some(Event::Reconnected { boot: BootMethod::Netboot, same_start: false }));
                }
                Decision::Wait { seconds, .. } => self.now_ms += i64::from(seconds) * 1000,
                Decision::Finished { .. } => return Ok(None),
                Decision::Ask(question) => return Ok(self.answer(run, question)),
                Decision::Act(assignment) => {
                    self.restart_server(run, &assignment)?;
                    return Ok(Some(self.outcome(run, *assignment, bytes)));
                }
            }
        }
    }

    fn answer(&mut self, run: &Run, question: Question) -> Option<Event> {
        self.now_ms += 1000;
        let by = "a technician".to_owned();
        match &question {
            Question::Values(names) => {
                let step = run.step_number();
                let mut values = Vec::new();
                for (name, secret) in names {
                    let known = self.mishaps.answers.iter().find(|(one, _)| one == name);
                    let text = known.map(|(_, text)| text.clone());
                    let text = text.or_else(|| self.mishaps.answer_anything.then(|| stand_in(name)));
                    self.asked.push((step, Asked::Value(name.clone())));
                    if let Some(text) = text {
                        values.push((name.clone(), Value { text, secret: *secret }));
                    }
                }
                if values.len() == names.len() {
                    return Some(Event::Answered { by, values });
                }
            }
            Question::Destination { step, .. } => {
                self.asked.push((run.step_number(), Asked::Destination(*step)));
                let named = (!self.destinations.is_empty()).then(|| self.destinations.remove(0));
                // Nothing is known of the Mac's partitions here; number 2 is the first behind the EFI System Partition.
                if let Some((disk, partition)) =
                    named.or_else(|| self.mishaps.answer_anything.then_some((0, 2)))
                {
                    let described = match named {
                        Some(_) => format!("partition {partition} of disk {disk}"),
                        None => "the partition that the technician selects".to_owned(),
                    };
                    let chosen = Chosen { disk, partition, serial: String::new(), size: 0, described };
                    return Some(Event::DestinationChosen { step: *step, by, chosen });
                }
            }
            Question::Confirm { step, .. } => return Some(Event::Confirmed { step: *step, by }),
        }
        self.waits_for = Some(question);
        None
    }

    fn restart_server(&mut self, run: &Run, assignment: &Assignment) -> Result<(), CannotRehearse> {
        let here = |which: &Which| which.is(assignment.step, &assignment.name);
        let Some(place) = self.server_restarts.iter().position(here) else { return Ok(()) };
        self.server_restarts.remove(place);
        let unlike = CannotRehearse::Unlike(assignment.step);
        let rows: Result<Vec<String>, _> = self.record.iter().map(serde_json::to_string).collect();
        let rows = rows.map_err(|_| unlike.clone())?;
        let record: Result<Vec<Recorded>, _> = rows.iter().map(|row| serde_json::from_str(row)).collect();
        match Run::replay(record.map_err(|_| unlike.clone())?) {
            Ok(again) if again == *run => {
                self.server_restarted += 1;
                Ok(())
            }
            _ => Err(unlike),
        }
    }

    fn outcome(&mut self, run: &Run, assignment: Assignment, bytes: &impl Fn(&Act) -> u64) -> Event {
        let (number, step, name) = (assignment.number, assignment.step, assignment.name.clone());
        let seconds = seconds_for(&assignment.act, bytes(&assignment.act));
        let again = self.acts.last().is_some_and(|last| last.number == number);
        if !again {
            self.acts.push(assignment.clone());
        }
        if let Some(place) = self.reboots.iter().position(|which| which.is(step, &name)) {
            self.reboots.remove(place);
            self.now_ms += 90_000;
            let boot = if run.is_on_macos() { BootMethod::Macos } else { BootMethod::Netboot };
            return Event::Reconnected { boot, same_start: false };
        }
        self.now_ms += i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000) * 1000;
        let failing = self.mishaps.failures.iter().find(|(which, _)| which.is(step, &name));
        if let (Some((_, Some(code))), Act::ExecuteScript { .. }) = (failing, &assignment.act) {
            // Whether that is a failure, the step's success codes say.
            return Event::Done {
                number,
                result: ActionResult { exit_code: Some(*code), ..ActionResult::default() },
            };
        }
        match failing {
            Some((_, exit_code)) => Event::Failed { number, failure: told_to_fail(&name, *exit_code) },
            None => Event::Done { number, result: well_done(&assignment.act) },
        }
    }

    /// Steps that the appliance does itself fail, too, when they are told to.
    fn or_refused(&self, run: &Run, event: Event) -> Event {
        let (Event::VariablesSet { step, .. } | Event::Waiting { step }) = &event else { return event };
        let name = &run.program().step(*step as usize - 1).name;
        match self.mishaps.failures.iter().find(|(which, _)| which.is(*step, name)) {
            Some((_, exit_code)) => Event::Refused { step: *step, failure: told_to_fail(name, *exit_code) },
            None => event,
        }
    }
}

fn told_to_fail(name: &str, exit_code: Option<i32>) -> Failure {
    let what = exit_code.map_or("failed".to_owned(), |code| format!("ended with exit code {code}"));
    Failure {
        cause: format!("`{name}` {what}"),
        evidence: "as the rehearsal was told".to_owned(),
        next_step: String::new(),
        exit_code,
    }
}

fn well_done(act: &Act) -> ActionResult {
    match act {
        Act::FormatDisk { disk, partitions } => {
            let nodes = (2..).take(partitions.len()).map(|partition| format!("/dev/disk{disk}s{partition}"));
            ActionResult { nodes: nodes.collect(), ..ActionResult::default() }
        }
        Act::ApplyImage { manifest, .. } => {
            ActionResult { receipt: Some(*manifest), ..ActionResult::default() }
        }
        Act::ExecuteScript { success_codes, .. } => {
            ActionResult { exit_code: success_codes.first().copied(), ..ActionResult::default() }
        }
        Act::CaptureImage { image, .. } => {
            ActionResult { captured: Some(format!("{image} 1")), ..ActionResult::default() }
        }
        Act::CaptureToShare { image, share, .. } => {
            ActionResult { saved: Some(saved_as(image, share)), ..ActionResult::default() }
        }
        Act::VerifyImage(applied) => ActionResult {
            verified: applied.iter().map(|one| one.manifest).collect(),
            ..ActionResult::default()
        },
        Act::Restart
        | Act::CopyFiles { .. }
        | Act::SetStartupDisk { .. }
        | Act::Notify(_)
        | Act::OnMacos(_) => ActionResult::default(),
    }
}

impl Rehearsed {
    /// How it ended; none: it waits for an answer.
    pub fn outcome(&self) -> Option<Outcome> {
        self.run.outcome()
    }

    /// The record as people read it: when, about what, what.
    pub fn lines(&self) -> Vec<(i64, Option<String>, &'static str, String)> {
        let line = |recorded: &Recorded| {
            let mut subject = self.run.subject(&recorded.event).map(str::to_owned);
            if let Event::Done { number, .. } | Event::Failed { number, .. } = &recorded.event {
                subject = self.acts.iter().find(|act| act.number == *number).map(|act| act.name.clone());
            }
            (recorded.at_ms, subject, recorded.event.kind(), self.run.masked(&recorded.event.line()))
        };
        self.record.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests;
