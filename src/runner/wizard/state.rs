//! The wizard's pages and how it moves between them. Pure: told the time and what happened.
//!
//! Must not know: how pages are drawn, who works.

use std::collections::VecDeque;
use std::time::Duration;

use super::appliances::Appliances;
use super::network::NetworkPage;
use super::overlay;
use crate::api::runner::{DeviceFacts, DiskFacts, Failure, Offer, Outcome, Progress, Purpose};
use crate::client::Found;
use crate::runner::network::{NetworkNews, NetworkOrder, Place, Wire};

/// Lines of the run's log that are shown.
const LOG: usize = 200;

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
    /// The page.
    pub page: Page,
    /// The last lines of scripts and steps.
    pub log: VecDeque<String>,
    /// Required deployments whose countdown a person cancelled: they do not start by themselves again.
    pub cancelled: Vec<Cancelled>,
    /// The network page, when it is open over the page.
    pub network: Option<NetworkPage>,
    /// Appliance and proxy that a person named.
    pub place: Place,
    /// The interface's settings that the network page made.
    pub wire: Option<Wire>,
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
    /// A run.
    Running(Running),
    /// A run has ended.
    Result {
        /// Which sequence.
        sequence: String,
        /// How.
        outcome: Outcome,
        /// What the appliance said.
        message: String,
    },
    /// The runner cannot go on by itself.
    Problem(Failure),
    /// The machine goes down.
    Restarting,
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
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time went on; this is it.
    Tick(Duration),
    /// A key.
    Key(Key),
    /// The worker told something.
    Told(Told),
}

/// Keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Return.
    Enter,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Tabulator.
    Tab,
    /// Tabulator with shift.
    BackTab,
    /// Deletes the last letter.
    Backspace,
    /// Escape.
    Escape,
    /// A letter, lower case.
    Char(char),
}

/// News from the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Who this Mac is.
    Machine(Box<DeviceFacts>),
    /// Something is waited for.
    Waiting {
        /// What.
        what: String,
        /// What was seen last.
        error: Option<String>,
    },
    /// What was waited for came.
    GoesOn,
    /// Appliances on the networks, and nothing says which to take.
    Appliances(Vec<Found>),
    /// For the network page.
    Network(NetworkNews),
    /// The appliance said what may run here.
    Offers {
        /// Its name.
        appliance: String,
        /// What may run.
        offers: Vec<Offer>,
        /// Why nothing may.
        why_empty: Option<String>,
    },
    /// A run began or goes on.
    Started {
        /// Which sequence.
        sequence: String,
        /// Number of steps.
        steps: u32,
    },
    /// A step began.
    Step {
        /// Its place, from 1.
        step: u32,
        /// Number of steps.
        steps: u32,
        /// Its name.
        name: String,
    },
    /// How far the step is.
    Progress {
        /// Numbers.
        progress: Progress,
        /// What limits the speed, when it is known.
        limit: Option<String>,
    },
    /// Lines for the log.
    Lines(Vec<String>),
    /// A step failed; the appliance decides what that means.
    StepFailed(Failure),
    /// The run ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// What the appliance said.
        message: String,
    },
    /// The worker cannot go on; it waits for an order.
    Trouble(Failure),
    /// The machine goes down.
    Restarting,
}

/// What a person, or a countdown, wants of the worker, or of the network thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start this deployment.
    Start(i64),
    /// Ask the appliance again.
    Again,
    /// Restart the machine.
    Restart,
    /// The appliance is there, and this is the way.
    Moved(Place),
    /// For the network thread.
    Network(NetworkOrder),
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
            page: Page::Connecting { what, since: Duration::ZERO, error: None },
            log: VecDeque::new(),
            cancelled: Vec::new(),
            network: None,
            place: Place::default(),
            wire: None,
        }
    }

    /// The disks that an offer erases.
    pub fn erased(&self, offer: &Offer) -> Vec<&DiskFacts> {
        let disks = self.machine.iter().flat_map(|machine| &machine.disks);
        disks.filter(|disk| disk.number.is_some_and(|number| offer.erases.contains(&number))).collect()
    }
}

/// Moves the state by one event; an order, if the event means one.
pub fn update(mut state: State, event: Event) -> (State, Option<Order>) {
    let order = match event {
        Event::Tick(now) => {
            state.now = now;
            state.network.as_mut().and_then(|page| page.tick(now)).or_else(|| countdown(&mut state))
        }
        Event::Key(key) if state.network.is_some() => overlay::pressed(&mut state, key),
        Event::Key(Key::Char('n')) if state.offers_network() => Some(overlay::open(&mut state)),
        Event::Key(key) => pressed(&mut state, key),
        Event::Told(Told::Network(news)) => overlay::heard(&mut state, news),
        Event::Told(told) => {
            heard(&mut state, told);
            countdown(&mut state)
        }
    };
    if let Some(Order::Moved(place)) = &order {
        state.place.clone_from(place);
    }
    (state, order)
}

/// Starts what is due.
fn countdown(state: &mut State) -> Option<Order> {
    let Page::Confirm { offer, starts_at: Some(at), .. } = &state.page else { return None };
    if state.now < *at || state.network.is_some() {
        return None;
    }
    let deployment = offer.deployment;
    start(state, deployment)
}

fn start(state: &mut State, deployment: i64) -> Option<Order> {
    state.page = Page::Connecting { what: "Starting the run".into(), since: state.now, error: None };
    Some(Order::Start(deployment))
}

fn pressed(state: &mut State, key: Key) -> Option<Order> {
    let now = state.now;
    if let Page::Appliances(page) = &mut state.page
        && (page.typed.is_some() || key != Key::Char('r'))
    {
        return page.pressed(key, state.place.proxy.as_deref());
    }
    match &mut state.page {
        Page::Choose { offers, marked, .. } => match key {
            Key::Up => *marked = marked.saturating_sub(1),
            Key::Down => *marked = (*marked + 1).min(offers.len().saturating_sub(1)),
            Key::Enter => {
                if let Some(offer) = offers.get(*marked).cloned() {
                    state.page = Page::Confirm { offer, offers: offers.clone(), starts_at: None };
                }
            }
            Key::Char('r') => return Some(Order::Restart),
            Key::Char('a') => return Some(Order::Again),
            _ => {}
        },
        Page::Confirm { offer, offers, starts_at } => match (key, starts_at.is_some()) {
            // Any key stops a countdown, and only that: nobody erases a disk by trying to stop it.
            (_, true) => {
                state.cancelled.push(Cancelled(offer.deployment));
                let marked = offers.iter().position(|other| other.deployment == offer.deployment);
                let (offers, marked) = (std::mem::take(offers), marked.unwrap_or(0));
                state.page = Page::Choose { offers, marked, why_empty: None };
            }
            (Key::Char('y'), false) => {
                let deployment = offer.deployment;
                return start(state, deployment);
            }
            (Key::Escape, false) => {
                let marked = offers.iter().position(|other| other.deployment == offer.deployment);
                let (offers, marked) = (std::mem::take(offers), marked.unwrap_or(0));
                state.page = Page::Choose { offers, marked, why_empty: None };
            }
            _ => {}
        },
        Page::Result { .. } | Page::Problem(_) => match key {
            Key::Char('r') => return Some(Order::Restart),
            Key::Enter => {
                state.page =
                    Page::Connecting { what: "Asking the appliance".into(), since: now, error: None };
                return Some(Order::Again);
            }
            _ => {}
        },
        Page::Connecting { .. } | Page::Appliances(_) if key == Key::Char('r') => {
            return Some(Order::Restart);
        }
        Page::Connecting { .. } | Page::Appliances(_) | Page::Running(_) | Page::Restarting => {}
    }
    None
}

fn heard(state: &mut State, told: Told) {
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
        // The page's own business, see `update`.
        Told::Network(_) => {}
        Told::GoesOn => {
            if let Page::Running(running) = &mut state.page {
                running.waiting = None;
            }
        }
        Told::Offers { appliance, offers, why_empty } => {
            state.appliance = appliance;
            offer(state, offers, why_empty);
        }
        Told::Started { sequence, steps } => {
            state.log.clear();
            state.page = Page::Running(Running { sequence, steps, began: now, ..Running::default() });
        }
        Told::Step { step, steps, name } => {
            let (sequence, failed) = match &mut state.page {
                Page::Running(running) => (std::mem::take(&mut running.sequence), running.failed.take()),
                _ => (String::new(), None),
            };
            state.page = Page::Running(Running {
                sequence,
                step,
                steps,
                name,
                began: now,
                failed,
                ..Running::default()
            });
        }
        Told::Progress { progress, limit } => {
            if let Page::Running(running) = &mut state.page {
                running.progress = Some(progress);
                running.limit = limit;
            }
        }
        Told::Lines(lines) => {
            state.log.extend(lines);
            let surplus = state.log.len().saturating_sub(LOG);
            state.log.drain(..surplus);
        }
        Told::StepFailed(failure) => {
            if let Page::Running(running) = &mut state.page {
                running.failed = Some(failure);
            }
        }
        Told::Ended { outcome, message } => {
            let sequence = match &mut state.page {
                Page::Running(running) => std::mem::take(&mut running.sequence),
                _ => String::new(),
            };
            state.page = Page::Result { sequence, outcome, message };
        }
        Told::Trouble(failure) => state.page = Page::Problem(failure),
        Told::Restarting => state.page = Page::Restarting,
    }
}

/// Waiting is a page of its own only while nothing runs: a run keeps its progress on screen.
fn wait(state: &mut State, what: String, error: Option<String>) {
    match &mut state.page {
        Page::Running(running) => {
            running.waiting = Some(match error {
                Some(error) => format!("{what}: {error}"),
                None => what,
            });
        }
        Page::Connecting { what: old, error: last, .. } if *old == what => *last = error,
        page => *page = Page::Connecting { what, since: state.now, error },
    }
}

/// New offers: a Required one counts down, unless somebody cancelled it; a person who is choosing keeps the mark.
fn offer(state: &mut State, offers: Vec<Offer>, why_empty: Option<String>) {
    let due = |offer: &&Offer| {
        offer.purpose == Purpose::Required && !state.cancelled.contains(&Cancelled(offer.deployment))
    };
    let required = offers.iter().find(due).cloned();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(deployment: i64, purpose: Purpose) -> Offer {
        Offer {
            deployment,
            sequence: format!("Lab Mac {deployment}"),
            description: "macOS 10.15 with the lab's applications".into(),
            purpose,
            countdown: 30,
            erases: vec![0],
        }
    }

    fn offers(list: Vec<Offer>) -> Event {
        Event::Told(Told::Offers { appliance: "Lab".into(), offers: list, why_empty: None })
    }

    fn walk(events: Vec<Event>) -> (State, Vec<Order>) {
        let mut orders = Vec::new();
        let state = events.into_iter().fold(State::new(Some("https://a"), false), |state, event| {
            let (state, order) = update(state, event);
            orders.extend(order);
            state
        });
        (state, orders)
    }

    fn seconds(seconds: u64) -> Event {
        Event::Tick(Duration::from_secs(seconds))
    }

    use Purpose::{Available, Required};

    #[test]
    fn choosing_takes_a_look_at_what_is_lost_and_a_key_of_its_own() {
        let list = vec![offer(1, Available), offer(2, Available)];
        let keys = [Key::Down, Key::Down, Key::Enter, Key::Enter, Key::Char('y')];
        let mut events = vec![offers(list)];
        events.extend(keys[..4].iter().map(|key| Event::Key(*key)));
        let (state, orders) = walk(events.clone());
        assert!(matches!(&state.page, Page::Confirm { offer, starts_at: None, .. } if offer.deployment == 2));
        assert_eq!(orders, []);
        events.push(Event::Key(keys[4]));
        assert_eq!(walk(events).1, [Order::Start(2)]);
    }

    #[test]
    fn a_required_run_starts_by_itself_when_its_countdown_ends() {
        let (_, orders) = walk(vec![seconds(5), offers(vec![offer(7, Required)]), seconds(34)]);
        assert_eq!(orders, []);
        let (state, orders) =
            walk(vec![seconds(5), offers(vec![offer(7, Required)]), seconds(35), seconds(36)]);
        assert_eq!(orders, [Order::Start(7)]);
        assert!(matches!(state.page, Page::Connecting { .. }));
    }

    #[test]
    fn any_key_cancels_a_countdown_for_good_even_the_one_that_confirms() {
        let events = vec![
            offers(vec![offer(7, Required)]),
            Event::Key(Key::Char('y')),
            offers(vec![offer(7, Required)]),
            seconds(100),
        ];
        let (state, orders) = walk(events);
        assert_eq!(orders, []);
        assert!(matches!(state.page, Page::Choose { .. }));
    }

    #[test]
    fn a_countdown_does_not_run_out_behind_the_network_page() {
        let mut events = vec![
            offers(vec![offer(1, Available)]),
            Event::Key(Key::Char('n')),
            offers(vec![offer(7, Required)]),
            seconds(100),
        ];
        let order = Order::Network(NetworkOrder::Look);
        // The page looks at its interfaces, and that is all.
        assert!(walk(events.clone()).1.iter().all(|given| *given == order));
        events.extend([Event::Key(Key::Escape), seconds(129)]);
        assert!(walk(events.clone()).1.iter().all(|given| *given == order));
        events.push(seconds(130));
        assert_eq!(walk(events).1.last(), Some(&Order::Start(7)));
    }

    #[test]
    fn the_network_page_lies_over_the_page_that_goes_on_below() {
        let wait = |error: &str| {
            Event::Told(Told::Waiting { what: "the network".into(), error: Some(error.to_owned()) })
        };
        let events = vec![wait("a"), Event::Key(Key::Char('n')), Event::Key(Key::Char('r')), wait("b")];
        let (state, orders) = walk(events.clone());
        assert!(state.network.is_some());
        assert_eq!(orders, [Order::Network(NetworkOrder::Look)]);
        let (state, _) = update(state, Event::Key(Key::Escape));
        assert!(state.network.is_none());
        assert!(matches!(&state.page, Page::Connecting { error: Some(error), .. } if error == "b"));
    }

    #[test]
    fn where_a_disk_is_about_to_be_erased_there_is_no_network_page() {
        let events =
            vec![offers(vec![offer(1, Available)]), Event::Key(Key::Enter), Event::Key(Key::Char('n'))];
        let (state, orders) = walk(events);
        assert!(state.network.is_none() && orders.is_empty());
        // While a run goes well there is none either; while it waits there is.
        let run =
            vec![Event::Told(Told::Started { sequence: "S".into(), steps: 2 }), Event::Key(Key::Char('n'))];
        assert!(walk(run.clone()).0.network.is_none());
        let wait = Event::Told(Told::Waiting { what: "w".into(), error: None });
        let waiting = vec![run[0].clone(), wait, Event::Key(Key::Char('n'))];
        assert!(walk(waiting).0.network.is_some());
    }

    #[test]
    fn settings_that_came_into_force_are_told_to_the_worker_even_when_the_page_was_closed() {
        let wire = Wire {
            interface: "eth0".into(),
            vlan: None,
            addressing: crate::runner::network::Addressing::Dhcp,
        };
        let place = Place { server: None, proxy: Some("http://p:1".into()) };
        let done =
            NetworkNews::Applied { wire: wire.clone(), place: place.clone(), text: "eth0 has it.".into() };
        let (state, orders) = walk(vec![Event::Told(Told::Network(done))]);
        assert_eq!(orders, [Order::Moved(place.clone())]);
        assert_eq!((state.wire, state.place), (Some(wire), place));
    }

    #[test]
    fn unattended_starts_at_once() {
        let state = State::new(Some("https://a"), true);
        let (_, order) = update(state, offers(vec![offer(7, Required)]));
        assert_eq!(order, Some(Order::Start(7)));
    }

    #[test]
    fn new_offers_do_not_move_the_mark_nor_the_page_that_is_being_read() {
        let list = || vec![offer(1, Available), offer(2, Available)];
        let (state, _) = walk(vec![
            offers(list()),
            Event::Key(Key::Down),
            offers(vec![offer(9, Available), offer(1, Available), offer(2, Available)]),
        ]);
        assert!(matches!(state.page, Page::Choose { marked: 2, .. }));
        let (state, _) = walk(vec![offers(list()), Event::Key(Key::Enter), offers(vec![offer(9, Required)])]);
        assert!(matches!(&state.page, Page::Confirm { offer, .. } if offer.deployment == 1));
    }

    #[test]
    fn a_network_that_is_gone_does_not_take_the_progress_off_the_screen() {
        let (state, _) = walk(vec![
            Event::Told(Told::Started { sequence: "S".into(), steps: 2 }),
            Event::Told(Told::Step { step: 1, steps: 2, name: "Apply".into() }),
            Event::Told(Told::Waiting {
                what: "waiting for the appliance".into(),
                error: Some("refused".into()),
            }),
        ]);
        let Page::Running(running) = &state.page else { panic!("{:?}", state.page) };
        assert_eq!(running.waiting.as_deref(), Some("waiting for the appliance: refused"));
        assert_eq!((running.sequence.as_str(), running.name.as_str()), ("S", "Apply"));
        let (state, _) = update(state, Event::Told(Told::GoesOn));
        assert!(matches!(&state.page, Page::Running(running) if running.waiting.is_none()));
    }

    #[test]
    fn waiting_for_the_same_thing_keeps_the_time_since_when() {
        let wait = |error: &str| {
            Event::Told(Told::Waiting { what: "the network".into(), error: Some(error.to_owned()) })
        };
        let (state, _) = walk(vec![seconds(3), wait("a"), seconds(60), wait("b")]);
        let Page::Connecting { since, error, .. } = state.page else { panic!() };
        assert_eq!((since.as_secs(), error.as_deref()), (3, Some("b")));
    }

    #[test]
    fn after_trouble_a_person_tries_again_or_restarts() {
        let failure =
            Failure { cause: "c".into(), evidence: "e".into(), next_step: "n".into(), exit_code: None };
        let trouble = || Event::Told(Told::Trouble(failure.clone()));
        assert_eq!(walk(vec![trouble(), Event::Key(Key::Enter)]).1, [Order::Again]);
        assert_eq!(walk(vec![trouble(), Event::Key(Key::Char('r'))]).1, [Order::Restart]);
        assert_eq!(walk(vec![trouble(), Event::Key(Key::Char('x'))]).1, []);
    }

    #[test]
    fn the_log_is_bounded() {
        let lines = (0..1000).map(|n| n.to_string()).collect();
        let (state, _) = walk(vec![Event::Told(Told::Lines(lines))]);
        assert_eq!((state.log.len(), state.log.back().map(String::as_str)), (LOG, Some("999")));
    }
}
