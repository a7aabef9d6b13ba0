//! What the appliance itself does in a run: Notify steps, and the steps of a stopped run that no Mac asks about.
//!
//! A notification is an action like others: recorded as handed out, delivered, then recorded as done or failed. When the
//! appliance dies in between it is delivered again, with the same delivery number.

use std::sync::Arc;

use super::{Held, Machine, RunError, Runs};
use crate::api::runner::Failure;
use crate::sequence::model::Kind;
use crate::sequence::run::Decision;
use crate::sequence::run::act::{Act, Assignment, Message};
use crate::sequence::run::event::Event;
use crate::sequence::variable::Facts;
use crate::server::clock::now_ms;
use crate::server::http::error::chain;
use crate::server::notify::{Note, NotifyError};
use crate::server::wire;

/// Events that are recorded without a Mac at once.
const MOST_ALONE: usize = 10_000;

impl Runs {
    /// Waits for notifications that are on their way; they end in bounded time.
    pub async fn close(&self) {
        self.stopping.cancel();
        self.telling.close();
        self.telling.wait().await;
    }

    /// Goes on with what needs no Mac: in a run that was stopped, and where a notification waits. Stops before anything that a
    /// Mac does, for what is handed out is at work from then on.
    pub(super) async fn drive(&self, held: &Arc<Held>, machine: &mut Machine) -> Result<(), RunError> {
        for _ in 0..MOST_ALONE {
            let stopping = machine.run.is_stopping();
            match machine.run.next(now_ms()) {
                Decision::Act(assignment) if matches!(assignment.act, Act::Notify(_)) => {
                    self.tell(held, machine, &assignment);
                    return Ok(());
                }
                Decision::Record(event) if stopping && is_own(machine, &event) => {
                    self.record(held, machine, event, None).await?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends a notification on its way, once.
    pub(super) fn tell(&self, held: &Arc<Held>, machine: &mut Machine, assignment: &Assignment) {
        let Act::Notify(message) = &assignment.act else { return };
        if machine.telling == assignment.number || self.stopping.is_cancelled() {
            return;
        }
        machine.telling = assignment.number;
        let Facts { serial, model, .. } = &machine.run.variables().facts;
        let note = Note {
            version: 1,
            event: "notify",
            appliance: self.notifier.appliance().to_owned(),
            run: held.id,
            sequence: machine.run.sequence().name.clone(),
            step: assignment.name.clone(),
            serial: serial.as_ref().map(ToString::to_string).unwrap_or_default(),
            model: model.as_ref().map(ToString::to_string).unwrap_or_default(),
            message: machine.run.masked(&message.text),
            at_ms: now_ms(),
        };
        let message = Message {
            text: note.message.clone(),
            subject: machine.run.masked(&message.subject),
            ..(**message).clone()
        };
        let (runs, held, number) = (self.clone(), held.clone(), assignment.number);
        self.telling.spawn(async move { runs.told(&held, number, &message, note).await });
    }

    async fn told(&self, held: &Arc<Held>, number: u32, message: &Message, note: Note) {
        let delivery = format!("{}-{number}", held.id);
        let delivered =
            self.stopping.run_until_cancelled(self.notifier.deliver(message, note, &delivery)).await;
        let recorded = async {
            let (held, mut machine) = self.enter(held.id).await?;
            machine.telling = 0;
            let event = match delivered {
                // It is delivered again after the next start.
                None | Some(Err(NotifyError::Stopped)) => return Ok(()),
                Some(Ok(())) => Event::Done { number, result: Default::default() },
                // What the other end said may hold what it was told, and an address may hold a secret.
                Some(Err(error)) => {
                    let failure = wire::masked(&machine.run, failure(&error));
                    Event::Failed { number, failure: wire::failure_in(failure) }
                }
            };
            self.record(&held, &mut machine, event, None).await?;
            self.drive(&held, &mut machine).await
        };
        if let Err(error) = recorded.await {
            tracing::error!(
                run = held.id,
                "run {}: the end of a notification was not recorded, or the run does not go on: {}",
                held.id,
                chain(&error)
            );
        }
    }
}

/// Whether the engine's event leads to nothing that a Mac does.
fn is_own(machine: &Machine, event: &Event) -> bool {
    match event {
        Event::Assigned { step, .. } => {
            let step = (*step as usize).checked_sub(1).filter(|step| *step < machine.run.program().len());
            step.is_some_and(|step| matches!(machine.run.program().step(step).kind, Kind::Notify(_)))
        }
        _ => true,
    }
}

fn failure(error: &NotifyError) -> Failure {
    Failure {
        cause: "nobody was told".to_owned(),
        evidence: chain(error),
        next_step: error.next_step().to_owned(),
        exit_code: None,
    }
}
