//! What a runner says while it works: progress, which may be lost, and lines of its log, each taken in once.
//!
//! Must not know: what an action came to.

use std::sync::{Arc, PoisonError};

use super::{Held, MOST_LOG, MOST_ROWS, Machine, RunError, Runs, change_of};
use crate::api::runner::Progress;
use crate::db::{Append, EventBody, Logged};
use crate::sequence::run::OutOfOrder;
use crate::sequence::run::event::Event;

impl Runs {
    pub(super) async fn progress(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        number: u32,
        progress: Progress,
    ) -> Result<(), RunError> {
        match machine.run.assignment() {
            Some(assignment) if assignment.number == number => {}
            // Late, after the report that ended the action.
            _ if machine.run.is_repeated(&Event::Done { number, result: Default::default() }) => {
                return Ok(());
            }
            _ if machine.run.outcome().is_some() => return Ok(()),
            other => {
                let last = other.map_or(0, |assignment| assignment.number);
                return Err(OutOfOrder::NotAssigned { number, last }.into());
            }
        }
        let unsaved = (machine.last, progress.clone());
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner).insert(held.id, unsaved);
        held.seen.send_modify(|seen| {
            seen.change += 1;
            seen.progress = Some(progress);
        });
        Ok(())
    }

    pub(super) async fn log(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        (action, first): (u32, Option<u64>),
        mut lines: Vec<String>,
    ) -> Result<(), RunError> {
        let mut logged = unheard(machine.logged, action, first, &mut lines);
        let full = machine.last >= MOST_ROWS || logged.bytes >= MOST_LOG;
        if lines.is_empty() || machine.run.outcome().is_some() || full {
            return Ok(());
        }
        logged.bytes += lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
        if logged.bytes >= MOST_LOG || machine.last + 1 >= MOST_ROWS {
            logged.bytes = MOST_LOG;
            lines = vec!["(the log of this run is full; later lines are not kept)".to_owned()];
        }
        let progress = held.seen.borrow().progress.clone();
        let append = Append {
            // The runner has masked what it knew.
            events: vec![EventBody::Log(machine.run.masked(&lines.join("\n")))],
            first: machine.last + 1,
            step: machine.run.step_number(),
            progress,
            logged: Some(logged),
            ..Append::default()
        };
        self.append(held, append).await?;
        machine.last += 1;
        machine.logged = logged;
        held.seen.send_modify(|seen| seen.change = change_of(machine.last).max(seen.change + 1));
        Ok(())
    }
}

/// Takes away the lines that came before: their answer got lost. A runner of an older version does not number them.
fn unheard(logged: Logged, action: u32, first: Option<u64>, lines: &mut Vec<String>) -> Logged {
    let Some(first) = first else { return logged };
    let next = match action.cmp(&logged.action) {
        std::cmp::Ordering::Less => u64::MAX,
        std::cmp::Ordering::Equal => logged.next,
        std::cmp::Ordering::Greater => 0,
    };
    let known = next.saturating_sub(first).min(lines.len() as u64);
    lines.drain(..known as usize);
    let end = first.saturating_add(known).saturating_add(lines.len() as u64);
    match lines.is_empty() {
        true => logged,
        false => Logged { action, next: end.min(i64::MAX as u64), ..logged },
    }
}
