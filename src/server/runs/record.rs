//! Events on their way to the disk and back: decided, committed, and only then in force.
//!
//! An event is JSON; a long one is packed (`zstd.v1.` and base64 of a zstd frame), one that holds a secret is sealed. The first event
//! of a run holds its whole sequence with all scripts, so packing is most of what makes a run small. Must not know: who said what,
//! how an event is judged.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{CONTEXT, Held, MOST_TOGETHER, Machine, RunError, Runs, change_of};
use crate::api::runner::SignedReceipt;
use crate::db::{Append, Appended, DbError, Ended, EventBody, Logged, StepRow, acting, who_acts};
use crate::sequence::model::Step;
use crate::sequence::run::event::{Event, Recorded};
use crate::sequence::run::{Decision, Outcome, Run, StepRecord};
use crate::server::clock::now_ms;
use crate::server::secrets::is_sealed;
use crate::server::wire;
use crate::value::{decode_base64, encode_base64};

/// How every packed text begins.
const PACKED: &str = "zstd.v1.";
/// Bytes from which on a text is packed.
const LONG: usize = 1024;
/// Bytes that an unpacked event may have: more than the longest sequence.
const MOST: usize = 64 << 20;

impl Runs {
    /// A recorded event, opened where it is sealed, unpacked where it is packed.
    pub fn opened(&self, run: i64, number: i64, body: &str) -> Result<Recorded, RunError> {
        let sealed = |source| RunError::Sealed { run, number, source };
        let opened =
            is_sealed(body).then(|| self.secrets.unseal(CONTEXT, body)).transpose().map_err(sealed)?;
        let body = opened.as_deref().unwrap_or(body);
        let text = unpacked(body).ok_or(RunError::Packed { run, number })?;
        serde_json::from_str(&text).map_err(|source| RunError::Unreadable { run, number, source })
    }

    /// An event as it is recorded: one that holds a secret is sealed.
    pub fn body(&self, recorded: &Recorded) -> Result<String, serde_json::Error> {
        let body = packed(serde_json::to_string(recorded)?);
        Ok(if recorded.event.has_secrets() { self.secrets.seal(CONTEXT, &body) } else { body })
    }

    /// Writes progress that was told since it was called last, of all runs in one transaction; called by a clock. What is lost when the
    /// daemon dies is told again within half a second.
    pub async fn save_progress(&self) -> Result<(), DbError> {
        let unsaved = std::mem::take(&mut *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner));
        let unsaved: Vec<_> =
            unsaved.into_iter().map(|(run, (last, progress))| (run, last, progress)).collect();
        if unsaved.is_empty() { Ok(()) } else { self.db.save_progress(&unsaved).await }
    }

    /// Records what the engine decided, and everything that it decides after it by itself, in one transaction.
    pub(super) async fn decide(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        first: Event,
    ) -> Result<(), RunError> {
        let now = now_ms();
        let mut after = machine.run.clone().apply(&first, now)?;
        let mut events = vec![first];
        while events.len() < MOST_TOGETHER
            && let Decision::Record(event) = after.next(now)
        {
            after = after.apply(&event, now)?;
            events.push(event);
        }
        self.commit(held, machine, events, after, None, now).await
    }

    /// Applies an event, commits it, and only then lets it take effect.
    pub(super) async fn record(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        event: Event,
        receipt: Option<(u32, SignedReceipt, String)>,
    ) -> Result<(), RunError> {
        if machine.run.is_repeated(&event) {
            return Ok(());
        }
        let now = now_ms();
        let after = machine.run.clone().apply(&event, now)?;
        self.commit(held, machine, vec![event], after, receipt, now).await
    }

    /// Commits events that lead to `after`, and only then lets them take effect.
    async fn commit(
        &self,
        held: &Arc<Held>,
        machine: &mut Machine,
        events: Vec<Event>,
        after: Run,
        receipt: Option<(u32, SignedReceipt, String)>,
        now: i64,
    ) -> Result<(), RunError> {
        let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
        let kinds = kinds.join(", ");
        // A runner that was started anew counts its lines from the start.
        let anew = events.iter().any(|event| matches!(event, Event::Reconnected { .. }));
        let logged = anew.then_some(Logged { action: 0, next: 0, ..machine.logged });
        let ended = after.outcome().map(|outcome| Ended {
            outcome: wire::outcome(outcome),
            message: after.masked(after.message().unwrap_or_default()),
        });
        let reopens = events.iter().any(|event| matches!(event, Event::Resumed { .. }));
        let (run, number) = (held.id, machine.last + 1);
        let body = |event| self.body(&Recorded { at_ms: now, event }).map(EventBody::State);
        let bodies = events.into_iter().map(body).collect::<Result<Vec<_>, _>>();
        let bodies = bodies.map_err(|source| RunError::Unreadable { run, number, source })?;
        let last = machine.last + bodies.len() as i64;
        let append = Append {
            events: bodies,
            first: machine.last + 1,
            step: after.step_number(),
            progress: None,
            ended,
            logged,
            receipt,
            reopens,
            steps: if after.outcome().is_some() { step_rows(&after) } else { Vec::new() },
        };
        self.append(held, append).await?;
        machine.last = last;
        machine.run = after;
        machine.logged = logged.unwrap_or(machine.logged);
        held.seen.send_modify(|seen| {
            seen.change = change_of(machine.last).max(seen.change + 1);
            seen.progress = None;
            seen.ended = machine.run.outcome().is_some();
            seen.since_ms = now;
        });
        let step = machine.run.step_number();
        tracing::info!(run = held.id, device = held.device, step, "run {}: {kinds}, at step {step}", held.id);
        self.note_end(held, &machine.run);
        Ok(())
    }

    fn note_end(&self, held: &Held, run: &Run) {
        let (Some(outcome), Some(message)) = (run.outcome(), run.message()) else { return };
        let word = match outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "was cancelled",
        };
        let message = run.masked(message);
        let line = format!("run {} of {} {word}: {message}", held.id, run.sequence().name);
        tracing::info!(run = held.id, "{line}");
        self.timeline.runner(held.mac.as_ref(), outcome == Outcome::Succeeded, line);
    }

    pub(super) async fn append(&self, held: &Arc<Held>, append: Append) -> Result<(), RunError> {
        // The rows are written to the end also when this is given up here, because a client went away. Then it stays lost, as where
        // it is not known what became of them.
        let was_lost = held.lost.swap(true, Ordering::AcqRel);
        let appended = if was_lost { Appended::Moved } else { self.write(held, append).await? };
        if appended == Appended::Moved {
            self.let_go(held);
            return Err(RunError::Moved(held.id));
        }
        held.lost.store(false, Ordering::Release);
        match appended {
            Appended::Busy(other) => Err(RunError::Busy { run: held.id, other }),
            Appended::Recorded | Appended::Moved => Ok(()),
        }
    }

    /// Writes rows. Nobody reads the run anew before it is known what became of them.
    async fn write(&self, held: &Arc<Held>, append: Append) -> Result<Appended, DbError> {
        let (db, id, writing) = (self.db.clone(), held.id, held.writing.clone().lock_owned().await);
        let work = async move {
            let appended = db.append(id, append, now_ms()).await;
            drop(writing);
            appended
        };
        let work = match who_acts() {
            Some(who) => tokio::spawn(acting(who, work)),
            None => tokio::spawn(work),
        };
        // It ends before only when the process does.
        work.await.unwrap_or(Ok(Appended::Moved))
    }
}

/// The steps of a run as they are kept for comparing.
fn step_rows(run: &Run) -> Vec<StepRow> {
    let row = |(step, record): (&Step, &StepRecord)| StepRow {
        name: step.name.clone(),
        kind: step.kind.title().to_owned(),
        state: wire::step_state(record.state),
        started_ms: record.started_ms,
        ended_ms: record.ended_ms,
        tries: record.tries,
        exit_code: record.exit_code,
    };
    run.steps().map(row).collect()
}

/// A long text, packed where that makes it shorter.
fn packed(text: String) -> String {
    if text.len() < LONG {
        return text;
    }
    match zstd::bulk::compress(text.as_bytes(), 3) {
        Ok(frame) if frame.len() < text.len() / 2 => format!("{PACKED}{}", encode_base64(&frame)),
        _ => text,
    }
}

/// The text behind a packed one; any other as it is. None: it is damaged.
fn unpacked(text: &str) -> Option<Cow<'_, str>> {
    let Some(packed) = text.strip_prefix(PACKED) else { return Some(Cow::Borrowed(text)) };
    let frame = decode_base64(packed)?;
    // What it claims to become is bounded before anything is allocated for it.
    let size = zstd::zstd_safe::get_frame_content_size(&frame).ok()??;
    let size = usize::try_from(size).ok().filter(|size| *size <= MOST)?;
    String::from_utf8(zstd::bulk::decompress(&frame, size).ok()?).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_packed_and_come_back_and_damaged_ones_do_not() {
        let script = "#!/bin/sh\nfor file in /Volumes/*; do echo \"$file: ä\"; done\n".repeat(300);
        let short = packed(script.clone());
        assert!(short.starts_with(PACKED) && short.len() < script.len() / 10, "{}", short.len());
        assert_eq!(unpacked(&short).as_deref(), Some(script.as_str()));
        for text in ["{}".to_owned(), "x".repeat(LONG - 1)] {
            assert_eq!(packed(text.clone()), text);
            assert_eq!(unpacked(&text).as_deref(), Some(text.as_str()));
        }
        for damaged in [&short[..short.len() - 8], "zstd.v1.", "zstd.v1.AAAA", "zstd.v1.!"] {
            assert_eq!(unpacked(damaged), None, "{damaged}");
        }
    }
}
