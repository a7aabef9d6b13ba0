//! What the worker, the desk and the network thread tell: how it changes the page. Pure.
//!
//! Must not know: keys, how pages are drawn.

use std::collections::VecDeque;
use std::time::Duration;

use super::appliances::Appliances;
use super::ask::{Prompt, Wait};
use super::destination::Destination;
use super::end::End;
use super::event::{Down, Order, Told};
use super::overlay;
use super::state::{Cancelled, Page, Running, State, Technician, ask_who};
use crate::api::runner::{Offer, Purpose, RunQuestion};
use crate::api::wizard::RemoteOrder;

/// Lines of the run's log that are shown with it.
pub(super) const LOG: usize = 200;
/// Lines that the log page goes back.
pub(super) const JOURNAL: usize = 2000;
/// Messages that wait to be read.
const MOST_MESSAGES: usize = 20;

/// Keeps lines, the newest.
pub(super) fn keep(kept: &mut VecDeque<String>, lines: Vec<String>, most: usize) {
    kept.extend(lines);
    let surplus = kept.len().saturating_sub(most);
    kept.drain(..surplus);
}

/// Takes news in.
pub(super) fn heard(state: &mut State, told: Told) -> Option<Order> {
    let now = state.now;
    match told {
        Told::Machine(facts) => state.machine = Some(*facts),
        Told::Waiting { what, error } => wait(state, what, error),
        Told::Appliances(found) => match &mut state.page {
            Page::Appliances(page) => page.refresh(found),
            page => {
                let mut list = Appliances::default();
                list.refresh(found);
                *page = Page::Appliances(list);
            }
        },
        Told::Network(news) => return overlay::network_news(state, news),
        Told::GoesOn => match &mut state.page {
            Page::Running(running) => running.waiting = None,
            Page::Prompt(page) => page.trouble = None,
            Page::Destination(page) => page.trouble = None,
            Page::Wait(page) => page.trouble = None,
            _ => {}
        },
        Told::Offers { appliance, offers, why_empty, log_in } => {
            (state.appliance, state.log_in) = (appliance, log_in);
            offer(state, offers, why_empty);
        }
        Told::LoggedIn { name, role } => state.technician = Some(Technician { name, role }),
        Told::LoggedOut { why } => {
            state.technician = None;
            ask_who(state, why);
        }
        Told::Started { run, sequence, steps } => {
            if state.run != Some(run) {
                state.log.clear();
            }
            (state.run, state.retry) = (Some(run), None);
            let running = Running { sequence, steps, began: now, ..Running::default() };
            go_to(state, Page::Running(running));
        }
        Told::Step { step, steps, name } => {
            let (sequence, failed) = run_of(&mut state.page);
            let running = Running { sequence, step, steps, name, began: now, failed, ..Running::default() };
            go_to(state, Page::Running(running));
        }
        Told::Progress { progress, limit } => {
            if let Page::Running(running) = &mut state.page {
                running.progress = Some(progress);
                running.limit = limit;
            }
        }
        Told::Lines(lines) => keep(&mut state.log, lines, LOG),
        Told::Asked(question) => asked(state, question),
        Told::NotTaken(why) => match &mut state.page {
            Page::LogIn(page) => page.not_taken(why),
            Page::Prompt(page) => page.not_taken(why),
            Page::Destination(page) => page.not_taken(why),
            Page::Wait(page) => (page.sent, page.wrong) = (None, Some(why)),
            Page::Result(end) => (end.resuming, end.wrong) = (false, Some(why)),
            Page::Running(running) => {
                (running.stopping, running.waiting) = (false, Some(format!("It was not stopped: {why}")));
            }
            _ => {}
        },
        Told::StepFailed(failure) => {
            if let Page::Running(running) = &mut state.page {
                running.failed = Some(failure);
            }
        }
        Told::Ended { outcome, message, failure, can_resume, failed_step } => {
            let (sequence, _) = run_of(&mut state.page);
            state.ran.insert(sequence.clone());
            let failure = failure.map(|failure| *failure);
            let end = End {
                sequence,
                outcome,
                message,
                failure,
                can_resume,
                failed_step: failed_step.map(|step| *step),
                marked: 0,
                resuming: false,
                wrong: None,
            };
            go_to(state, Page::Result(end));
        }
        Told::Trouble(failure) => state.page = Page::Problem(failure),
        Told::GoingDown(down) => {
            state.over = None;
            state.messages.clear();
            state.page = Page::GoingDown(down);
        }
        Told::Remote(order) => return remote(state, order),
        Told::Message(message) => {
            let known = state.messages.iter().any(|known| known.id == message.id);
            if state.attended && !known && state.messages.len() < MOST_MESSAGES {
                if state.messages.is_empty() {
                    state.message_since = now;
                }
                state.messages.push_back(message);
            }
        }
        Told::Keyboard(layout) => {
            let other = state.keyboards.current.is_none() && state.keyboards.has(&layout);
            return other.then(|| {
                state.keyboards.current = Some(layout.clone());
                Order::Keyboard(layout)
            });
        }
    }
    None
}

/// A question whether to stop the run is about the page below it.
fn go_to(state: &mut State, page: Page) {
    if matches!(state.over, Some(overlay::Over::Stop)) && !matches!(page, Page::Running(_)) {
        state.over = None;
    }
    state.page = page;
}

/// The sequence that the page is about, and the step that failed last.
fn run_of(page: &mut Page) -> (String, Option<crate::api::runner::Failure>) {
    match page {
        Page::Running(running) => (std::mem::take(&mut running.sequence), running.failed.take()),
        Page::Prompt(page) => (std::mem::take(&mut page.sequence), None),
        Page::Destination(page) => (std::mem::take(&mut page.sequence), None),
        Page::Wait(page) => (std::mem::take(&mut page.sequence), None),
        Page::Result(end) => (std::mem::take(&mut end.sequence), None),
        _ => (String::new(), None),
    }
}

fn asked(state: &mut State, question: RunQuestion) {
    let now = state.now;
    match &mut state.page {
        Page::Prompt(page) if !question.variables.is_empty() => page.refresh(question, now),
        Page::Destination(page) if question.destination.is_some() => page.refresh(question, now),
        Page::Wait(page) if question.message.as_deref() == Some(page.message.as_str()) => page.refresh(now),
        page => {
            let (sequence, _) = run_of(page);
            let page = match (question.destination.clone(), question.variables.is_empty()) {
                (Some(asked), _) => Page::Destination(Destination::new(sequence, asked, now)),
                (None, true) => Page::Wait(Wait::new(sequence, question, now)),
                (None, false) => Page::Prompt(Prompt::new(sequence, question, now)),
            };
            go_to(state, page);
        }
    }
}

/// The appliance lets nobody shut down a Mac that is at a run; neither do we.
fn remote(state: &mut State, order: RemoteOrder) -> Option<Order> {
    let at_work =
        matches!(state.page, Page::Running(_) | Page::Prompt(_) | Page::Destination(_) | Page::Wait(_));
    match order {
        RemoteOrder::Look => Some(Order::Look),
        RemoteOrder::Restart if !at_work => Some(Order::Down(Down::Restart)),
        RemoteOrder::ShutDown if !at_work => Some(Order::Down(Down::ShutDown)),
        RemoteOrder::Hold => {
            super::state::hold(state);
            None
        }
        RemoteOrder::Restart | RemoteOrder::ShutDown | RemoteOrder::Unknown => None,
    }
}

/// Waiting is a page of its own only while nothing runs: a run keeps its progress on screen, a question what was typed.
fn wait(state: &mut State, what: String, error: Option<String>) {
    let text = |error: &Option<String>| match error {
        Some(error) => format!("{what}: {error}"),
        None => what.clone(),
    };
    match &mut state.page {
        Page::Running(running) => running.waiting = Some(text(&error)),
        Page::Prompt(page) if error.is_some() => page.trouble = Some(text(&error)),
        Page::Destination(page) if error.is_some() => page.trouble = Some(text(&error)),
        Page::Wait(page) if error.is_some() => page.trouble = Some(text(&error)),
        page @ (Page::Prompt(_) | Page::Destination(_) | Page::Wait(_)) => {
            let waiting = Some(text(&error));
            let (sequence, _) = run_of(page);
            let began = state.now;
            *page = Page::Running(Running { sequence, waiting, began, ..Running::default() });
        }
        Page::Connecting { what: old, error: last, .. } if *old == what => *last = error,
        page => *page = Page::Connecting { what, since: state.now, error },
    }
}

/// New offers: a Required one counts down, unless somebody cancelled it; a person who is choosing keeps the mark.
fn offer(state: &mut State, offers: Vec<Offer>, why_empty: Option<String>) {
    let wanted = state.retry.take_if(|wanted| {
        state.log_in.is_none()
            || state.technician.is_some()
            || offers.iter().any(|offer| offer.sequence == *wanted)
    });
    if let Some(offer) = wanted.and_then(|wanted| offers.iter().find(|offer| offer.sequence == wanted)) {
        state.page = Page::Confirm { offer: offer.clone(), offers, starts_at: None };
        return;
    }
    let due = |offer: &&Offer| {
        offer.purpose == Purpose::Required
            && !state.cancelled.contains(&Cancelled(offer.deployment))
            && !state.ran.contains(&offer.sequence)
    };
    let required = offers.iter().find(due).cloned();
    let reads = matches!(state.page, Page::Confirm { .. });
    if required.is_none() && !reads && ask_who(state, None) {
        return;
    }
    match (&mut state.page, required) {
        // A person reads: what they read does not change under their eyes.
        (Page::Confirm { .. }, _) => {}
        (_, Some(offer)) => {
            let seconds = if state.unattended { 0 } else { offer.countdown };
            let starts_at = Some(state.now + Duration::from_secs(seconds.into()));
            state.page = Page::Confirm { offer, offers, starts_at };
        }
        (Page::Choose { offers: old, marked, .. }, None) => {
            let chosen = old.get(*marked).map(|offer| offer.deployment);
            let marked = offers.iter().position(|offer| Some(offer.deployment) == chosen).unwrap_or(0);
            state.page = Page::Choose { offers, marked, why_empty };
        }
        (_, None) => state.page = Page::Choose { offers, marked: 0, why_empty },
    }
}
