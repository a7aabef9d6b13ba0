//! The wizard's pages and how it moves between them. Pure: told the time and what happened.
//!
//! Must not know: how pages are drawn, who works.

use std::collections::VecDeque;
use std::time::Duration;

use super::appliances::Appliances;
use super::ask::{Prompt, Wait};
use super::end::End;
use super::event::{Down, Event, Key, Order, Say, Told};
use super::news;
use super::overlay::{self, Over};
use crate::api::runner::{DeviceFacts, DiskFacts, Failure, Offer, Progress};
use crate::api::wizard::TechnicianMessage;
use crate::runner::keyboard::Keyboards;
use crate::runner::network::{Place, Wire};

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct State {
    /// Time since the program began.
    pub now: Duration,
    /// The appliance: its address, later its name.
    pub appliance: String,
    /// This Mac, once it is known.
    pub machine: Option<DeviceFacts>,
    /// Nobody is there: nothing is asked, Required starts at once.
    pub unattended: bool,
    /// There is a screen and a keyboard: messages can be read and acknowledged.
    pub attended: bool,
    /// The page.
    pub page: Page,
    /// The last lines of scripts and steps.
    pub log: VecDeque<String>,
    /// Everything that was said since the program began, as far as it is kept.
    pub journal: VecDeque<String>,
    /// Required deployments whose countdown a person cancelled: they do not start by themselves again.
    pub cancelled: Vec<Cancelled>,
    /// The sequence that a person wants to start anew.
    pub retry: Option<String>,
    /// The run at work, or that ended last.
    pub run: Option<i64>,
    /// What lies over the page, when something does.
    pub over: Option<Over>,
    /// Messages that were not acknowledged, oldest first; the first lies over everything.
    pub messages: VecDeque<TechnicianMessage>,
    /// Since when the first of them is shown.
    pub message_since: Duration,
    /// Keyboard layouts.
    pub keyboards: Keyboards,
    /// Whether there is a shell.
    pub shell: Shell,
    /// Appliance and proxy that a person named.
    pub place: Place,
    /// The interface's settings that the network page made.
    pub wire: Option<Wire>,
}

/// Whether a person may have a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shell {
    /// They may.
    Open,
    /// They may not: why.
    Shut(String),
}

/// A deployment whose countdown was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled(pub i64);

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// Nothing to choose yet: what is waited for, since when, what was seen last.
    Connecting {
        /// What is being done.
        what: String,
        /// Since when.
        since: Duration,
        /// Last error.
        error: Option<String>,
    },
    /// Which appliance? Several were found, or none that can be used.
    Appliances(Appliances),
    /// What may run here.
    Choose {
        /// The offers.
        offers: Vec<Offer>,
        /// Which one is marked.
        marked: usize,
        /// Why there is none, and what to do.
        why_empty: Option<String>,
    },
    /// What will happen, before it happens.
    Confirm {
        /// What was chosen.
        offer: Offer,
        /// The offers to go back to.
        offers: Vec<Offer>,
        /// When it starts by itself.
        starts_at: Option<Duration>,
    },
    /// Values of variables are asked for.
    Prompt(Prompt),
    /// A person has to do something.
    Wait(Wait),
    /// A run.
    Running(Running),
    /// A run has ended.
    Result(End),
    /// The runner cannot go on by itself.
    Problem(Failure),
    /// The machine goes down.
    GoingDown(Down),
}

/// A run, as far as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// Which sequence.
    pub sequence: String,
    /// The step's place, from 1.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// Name of the step.
    pub name: String,
    /// When the step began.
    pub began: Duration,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What limits the speed, when it is known.
    pub limit: Option<String>,
    /// What is waited for (a network that is gone).
    pub waiting: Option<String>,
    /// The last step that failed.
    pub failed: Option<Failure>,
    /// A person wants it to stop: the appliance was told.
    pub stopping: bool,
}

impl State {
    /// The first page. Where nobody named the appliance, there is no address.
    pub fn new(address: Option<&str>, unattended: bool) -> State {
        let what = match address {
            Some(address) => format!("Looking for the appliance at {address}"),
            None => "Looking for an appliance on all networks".to_owned(),
        };
        State {
            now: Duration::ZERO,
            appliance: address.unwrap_or_default().to_owned(),
            machine: None,
            unattended,
            attended: !unattended,
            page: Page::Connecting { what, since: Duration::ZERO, error: None },
            log: VecDeque::new(),
            journal: VecDeque::new(),
            cancelled: Vec::new(),
            retry: None,
            run: None,
            over: None,
            messages: VecDeque::new(),
            message_since: Duration::ZERO,
            keyboards: Keyboards::default(),
            shell: Shell::Shut("This boot environment has no SSH keys.".to_owned()),
            place: Place::default(),
            wire: None,
        }
    }

    /// The disks that an offer erases.
    pub fn erased(&self, offer: &Offer) -> Vec<&DiskFacts> {
        let disks = self.machine.iter().flat_map(|machine| &machine.disks);
        disks.filter(|disk| disk.number.is_some_and(|number| offer.erases.contains(&number))).collect()
    }

    /// Something lies over the page, so that nobody sees it.
    pub fn is_covered(&self) -> bool {
        self.over.is_some() || !self.messages.is_empty()
    }
}

/// Moves the state by one event; an order, if the event means one.
pub fn update(mut state: State, event: Event) -> (State, Option<Order>) {
    let order = match event {
        Event::Tick(now) => {
            state.now = now;
            overlay::tick(&mut state).or_else(|| countdown(&mut state))
        }
        Event::Key(key) if state.is_covered() => overlay::pressed(&mut state, key),
        Event::Key(Key::Function(number)) if !state.counts_down() => overlay::function(&mut state, number),
        Event::Key(key) => pressed(&mut state, key),
        Event::Logged(lines) => {
            news::keep(&mut state.journal, lines, news::JOURNAL);
            None
        }
        Event::Told(told) => news::heard(&mut state, told).or_else(|| countdown(&mut state)),
    };
    if let Some(Order::Moved(place)) = &order {
        state.place.clone_from(place);
    }
    (state, order)
}

impl State {
    fn counts_down(&self) -> bool {
        matches!(self.page, Page::Confirm { starts_at: Some(_), .. })
    }
}

/// Starts what is due.
fn countdown(state: &mut State) -> Option<Order> {
    let Page::Confirm { offer, starts_at: Some(at), .. } = &state.page else { return None };
    if state.now < *at || state.is_covered() {
        return None;
    }
    let deployment = offer.deployment;
    start(state, deployment)
}

fn start(state: &mut State, deployment: i64) -> Option<Order> {
    state.page = Page::Connecting { what: "Starting the run".into(), since: state.now, error: None };
    Some(Order::Start(deployment))
}

/// Asks the appliance again.
pub(super) fn again(state: &mut State) -> Option<Order> {
    state.page =
        Page::Connecting { what: "Asking the appliance".into(), since: state.now, error: None };
    Some(Order::Again)
}

fn pressed(state: &mut State, key: Key) -> Option<Order> {
    let now = state.now;
    if let Page::Prompt(page) = &mut state.page {
        return match page.pressed(key, now) {
            super::ask::Reply::Stay => None,
            super::ask::Reply::Leave => overlay::stop(state),
            super::ask::Reply::Say(say) => Some(Order::Say(say)),
        };
    }
    if let Page::Appliances(page) = &mut state.page
        && page.typed.is_some()
    {
        return page.pressed(key, state.place.proxy.as_deref());
    }
    let key = key.folded();
    if key == Key::Char('n') && state.offers_network() {
        return Some(overlay::network(state));
    }
    if let Some(down) = going_down(state, key) {
        return Some(Order::Down(down));
    }
    match &mut state.page {
        Page::Appliances(page) => return page.pressed(key, state.place.proxy.as_deref()),
        Page::Choose { offers, marked, .. } => match key {
            Key::Up => *marked = marked.saturating_sub(1),
            Key::Down => *marked = (*marked + 1).min(offers.len().saturating_sub(1)),
            Key::Home => *marked = 0,
            Key::End => *marked = offers.len().saturating_sub(1),
            Key::Enter => {
                if let Some(offer) = offers.get(*marked).cloned() {
                    state.page = Page::Confirm { offer, offers: offers.clone(), starts_at: None };
                }
            }
            Key::Char('a') => return Some(Order::Again),
            _ => {}
        },
        Page::Confirm { offer, offers, starts_at } => match (key, starts_at.is_some()) {
            // Any key stops a countdown, and only that: nobody erases a disk by trying to stop it.
            (_, true) => {
                state.cancelled.push(Cancelled(offer.deployment));
                state.page = back_to_list(offer, std::mem::take(offers));
            }
            (Key::Char('y'), false) => {
                let deployment = offer.deployment;
                return start(state, deployment);
            }
            (Key::Escape, false) => state.page = back_to_list(offer, std::mem::take(offers)),
            _ => {}
        },
        Page::Wait(page) => match key {
            Key::Enter => return page.confirm(now).then_some(Order::Say(Say::Confirm)),
            Key::Escape => return overlay::stop(state),
            _ => {}
        },
        Page::Running(running) if key == Key::Escape && !running.stopping => return overlay::stop(state),
        Page::Result(end) => {
            let choice = end.pressed(key)?;
            return super::end::choose(state, choice);
        }
        Page::Problem(_) if key == Key::Enter => return again(state),
        Page::Connecting { .. }
        | Page::Running(_)
        | Page::GoingDown(_)
        | Page::Prompt(_)
        | Page::Problem(_) => {}
    }
    None
}

/// Where nothing is at work, the machine may go down by a key.
fn going_down(state: &State, key: Key) -> Option<Down> {
    let idle = match &state.page {
        Page::Connecting { .. } | Page::Appliances(_) | Page::Choose { .. } | Page::Problem(_) => true,
        Page::Result(_) => true,
        _ => false,
    };
    match key {
        Key::Char('r') if idle => Some(Down::Restart),
        Key::Char('s') if idle => Some(Down::ShutDown),
        _ => None,
    }
}

/// The list with the mark where it was.
fn back_to_list(offer: &Offer, offers: Vec<Offer>) -> Page {
    let marked = offers.iter().position(|other| other.deployment == offer.deployment).unwrap_or(0);
    Page::Choose { offers, marked, why_empty: None }
}
