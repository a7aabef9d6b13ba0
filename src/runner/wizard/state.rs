//! The wizard's pages and how it moves between them. Pure: told the time and what happened.
//!
//! Must not know: how pages are drawn, who works.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::appliances::Appliances;
use super::ask::{Prompt, Wait};
use super::destination::Destination;
use super::end::End;
use super::event::{Down, Event, Key, Order, Say};
use super::log_in::LogIn;
use super::news;
use super::overlay::{self, Over};
use crate::api::runner::{DeviceFacts, DiskFacts, Failure, Offer, Progress, SeenOffer};
use crate::api::sign_in::SignInAsked;
use crate::api::wizard::TechnicianMessage;
use crate::runner::keyboard::Keyboards;
use crate::runner::network::{Place, Wire};
use crate::value::{Right, Role};

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
    /// Sequences that ran here since the program began: whether one runs again is decided by a person, not by a countdown.
    pub ran: BTreeSet<String>,
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
    /// Whether there is a shell for whoever stands here.
    pub shell: Shell,
    /// What the log in page asks for, where a technician has to log in.
    pub log_in: Option<SignInAsked>,
    /// Who is logged in.
    pub technician: Option<Technician>,
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

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Technician {
    /// Name of the account.
    pub name: String,
    /// What it may do.
    pub role: Role,
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
    /// Who is there?
    LogIn(LogIn),
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
    /// A partition is asked for that an image goes to.
    Destination(Destination),
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
            ran: BTreeSet::new(),
            retry: None,
            run: None,
            over: None,
            messages: VecDeque::new(),
            message_since: Duration::ZERO,
            keyboards: Keyboards::default(),
            shell: Shell::Shut("This boot environment has no SSH keys.".to_owned()),
            log_in: None,
            technician: None,
            place: Place::default(),
            wire: None,
        }
    }

    /// The disks that an offer erases.
    pub fn erased(&self, offer: &Offer) -> Vec<&DiskFacts> {
        let disks = self.machine.iter().flat_map(|machine| &machine.disks);
        disks.filter(|disk| disk.number.is_some_and(|number| offer.erases.contains(&number))).collect()
    }

    /// Whether whoever stands here may have a shell: who may come by SSH, and who administers the appliance.
    pub fn shell(&self) -> Shell {
        match &self.technician {
            Some(technician) if technician.role.may(Right::Change) => Shell::Open,
            _ => self.shell.clone(),
        }
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
    let (deployment, seen) = (offer.deployment, offer.seen());
    start(state, deployment, seen)
}

fn start(state: &mut State, deployment: i64, seen: SeenOffer) -> Option<Order> {
    state.page = Page::Connecting { what: "Starting the run".into(), since: state.now, error: None };
    Some(Order::Start(deployment, seen))
}

/// Asks the appliance again.
pub(super) fn again(state: &mut State) -> Option<Order> {
    state.page = Page::Connecting { what: "Asking the appliance".into(), since: state.now, error: None };
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
    if let Page::Destination(page) = &mut state.page {
        return match page.pressed(key, now) {
            super::ask::Reply::Stay => None,
            super::ask::Reply::Leave => overlay::stop(state),
            super::ask::Reply::Say(say) => Some(Order::Say(say)),
        };
    }
    if let Page::LogIn(page) = &mut state.page {
        return page.pressed(key, now).map(Order::LogIn);
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
            Key::Char('o') if state.technician.is_some() => return Some(Order::LogOut),
            _ => {}
        },
        Page::Confirm { offer, offers, starts_at } => match (key, starts_at.is_some()) {
            // Any key stops a countdown, and only that: nobody erases a disk by trying to stop it.
            (_, true) => {
                state.cancelled.push(Cancelled(offer.deployment));
                let list = back_to_list(offer, std::mem::take(offers));
                state.page = list;
                ask_who(state, None);
            }
            (Key::Char('y'), false) => {
                let (deployment, seen) = (offer.deployment, offer.seen());
                return start(state, deployment, seen);
            }
            (Key::Escape, false) => {
                let list = back_to_list(offer, std::mem::take(offers));
                state.page = list;
                ask_who(state, None);
            }
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
        | Page::Destination(_)
        | Page::LogIn(_)
        | Page::Problem(_) => {}
    }
    None
}

/// Where nothing is at work, the machine may go down by a key.
fn going_down(state: &State, key: Key) -> Option<Down> {
    let idle = matches!(
        &state.page,
        Page::Connecting { .. }
            | Page::Appliances(_)
            | Page::Choose { .. }
            | Page::Problem(_)
            | Page::Result(_)
    );
    match key {
        Key::Char('r') if idle => Some(Down::Restart),
        Key::Char('s') if idle => Some(Down::ShutDown),
        _ => None,
    }
}

/// The log in page, where somebody has to log in and nobody has. True when it is shown now.
pub(super) fn ask_who(state: &mut State, why: Option<String>) -> bool {
    let Some(asked) = state.log_in.as_ref().filter(|_| state.technician.is_none()) else { return false };
    match &mut state.page {
        Page::LogIn(page) if why.is_none() => page.refresh(asked),
        page => *page = Page::LogIn(LogIn::new(asked, why)),
    }
    true
}

/// The list with the mark where it was.
fn back_to_list(offer: &Offer, offers: Vec<Offer>) -> Page {
    let marked = offers.iter().position(|other| other.deployment == offer.deployment).unwrap_or(0);
    Page::Choose { offers, marked, why_empty: None }
}

#[cfg(test)]
mod tests {
    use super::super::event::Told;
    use super::super::news::LOG;
    use super::*;
    use crate::api::runner::{
        AskedDestination, AskedVariable, ChooseDestination, DestinationDisk, DestinationPartition, Outcome,
        Purpose, RunQuestion,
    };
    use crate::api::wizard::RemoteOrder;
    use crate::runner::network::{NetworkNews, NetworkOrder};
    use crate::value::Secret;

    fn offer(deployment: i64, purpose: Purpose) -> Offer {
        Offer {
            deployment,
            sequence: format!("Lab Mac {deployment}"),
            description: "macOS 10.15 with the lab's applications".into(),
            purpose,
            countdown: 30,
            erases: vec![0],
            revision: 1,
            asks_destination: false,
            category: String::new(),
            download_size: None,
        }
    }

    fn starts(deployment: i64) -> Order {
        Order::Start(deployment, offer(deployment, Purpose::Available).seen())
    }

    fn offers(list: Vec<Offer>) -> Event {
        Event::Told(Told::Offers { appliance: "Lab".into(), offers: list, why_empty: None, log_in: None })
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
        assert_eq!(walk(events).1, [starts(2)]);
    }

    #[test]
    fn a_required_run_starts_by_itself_when_its_countdown_ends() {
        let (_, orders) = walk(vec![seconds(5), offers(vec![offer(7, Required)]), seconds(34)]);
        assert_eq!(orders, []);
        let (state, orders) =
            walk(vec![seconds(5), offers(vec![offer(7, Required)]), seconds(35), seconds(36)]);
        assert_eq!(orders, [starts(7)]);
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
        assert_eq!(walk(events).1.last(), Some(&starts(7)));
    }

    #[test]
    fn the_network_page_lies_over_the_page_that_goes_on_below() {
        let wait = |error: &str| {
            Event::Told(Told::Waiting { what: "the network".into(), error: Some(error.to_owned()) })
        };
        let events = vec![wait("a"), Event::Key(Key::Char('n')), Event::Key(Key::Char('r')), wait("b")];
        let (state, orders) = walk(events.clone());
        assert!(state.network_page().is_some());
        assert_eq!(orders, [Order::Network(NetworkOrder::Look)]);
        let (state, _) = update(state, Event::Key(Key::Escape));
        assert!(state.network_page().is_none());
        assert!(matches!(&state.page, Page::Connecting { error: Some(error), .. } if error == "b"));
    }

    #[test]
    fn where_a_disk_is_about_to_be_erased_there_is_no_network_page() {
        let events =
            vec![offers(vec![offer(1, Available)]), Event::Key(Key::Enter), Event::Key(Key::Char('n'))];
        let (state, orders) = walk(events);
        assert!(state.network_page().is_none() && orders.is_empty());
        // While a run goes well there is none either; while it waits there is.
        let run = vec![
            Event::Told(Told::Started { run: 1, sequence: "S".into(), steps: 2 }),
            Event::Key(Key::Char('n')),
        ];
        assert!(walk(run.clone()).0.network_page().is_none());
        let wait = Event::Told(Told::Waiting { what: "w".into(), error: None });
        let waiting = vec![run[0].clone(), wait, Event::Key(Key::Char('n'))];
        assert!(walk(waiting).0.network_page().is_some());
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
        assert_eq!(order, Some(starts(7)));
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
            Event::Told(Told::Started { run: 1, sequence: "S".into(), steps: 2 }),
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
        assert_eq!(walk(vec![trouble(), Event::Key(Key::Char('r'))]).1, [Order::Down(Down::Restart)]);
        assert_eq!(walk(vec![trouble(), Event::Key(Key::Char('x'))]).1, []);
    }

    fn asked_for() -> Event {
        let log_in = Some(SignInAsked { domains: vec!["local".into()] });
        Event::Told(Told::Offers { appliance: "Lab".into(), offers: Vec::new(), why_empty: None, log_in })
    }

    fn all_offers(log_in: bool) -> Event {
        let log_in = log_in.then(SignInAsked::default);
        let offers = vec![offer(1, Available)];
        Event::Told(Told::Offers { appliance: "Lab".into(), offers, why_empty: None, log_in })
    }

    fn in_as(role: Role) -> Event {
        Event::Told(Told::LoggedIn { name: "ana".into(), role })
    }

    #[test]
    fn section_7_where_somebody_has_to_log_in_the_list_comes_after_that() {
        let (state, _) = walk(vec![asked_for()]);
        assert!(matches!(state.page, Page::LogIn(_)));
        let mut events = vec![asked_for()];
        events.extend("ana\thunter2\n".chars().map(|letter| {
            Event::Key(match letter {
                '\t' => Key::Tab,
                '\n' => Key::Enter,
                letter => Key::Char(letter),
            })
        }));
        let (_, orders) = walk(events.clone());
        assert!(matches!(&orders[..], [Order::LogIn(typed)] if typed.name == "ana"));
        events.extend([in_as(Role::Technician), all_offers(true)]);
        let (state, _) = walk(events.clone());
        assert!(matches!(state.page, Page::Choose { .. }));
        events.push(Event::Key(Key::Char('o')));
        assert_eq!(walk(events.clone()).1.last(), Some(&Order::LogOut));
        events.push(Event::Told(Told::LoggedOut { why: None }));
        assert!(matches!(walk(events).0.page, Page::LogIn(_)));
    }

    #[test]
    fn section_7_a_shell_is_for_ssh_keys_and_for_those_who_administer_the_appliance() {
        let shell = |role| walk(vec![asked_for(), in_as(role)]).0.shell();
        assert!(matches!(shell(Role::Technician), Shell::Shut(_)));
        assert_eq!(shell(Role::Administrator), Shell::Open);
    }

    #[test]
    fn a_required_run_counts_down_without_anybody_and_who_stops_it_has_to_say_who_they_are() {
        let required = |seconds| {
            let log_in = Some(SignInAsked::default());
            let offers = vec![offer(7, Required)];
            let told = Told::Offers { appliance: "Lab".into(), offers, why_empty: None, log_in };
            vec![Event::Told(told), Event::Tick(Duration::from_secs(seconds))]
        };
        assert_eq!(walk(required(31)).1, [starts(7)]);
        let mut events = required(5);
        events.push(Event::Key(Key::Char('x')));
        assert!(matches!(walk(events).0.page, Page::LogIn(_)));
    }

    fn question(names: &[&str]) -> Event {
        let asked = |name: &&str| AskedVariable { name: (*name).to_owned(), ..AskedVariable::default() };
        let variables = names.iter().map(asked).collect();
        Event::Told(Told::Asked(RunQuestion { variables, ..RunQuestion::default() }))
    }

    #[test]
    fn section_3_what_is_typed_stays_while_the_appliance_is_gone_and_goes_on_when_it_was_answered() {
        let wait = |error: Option<&str>| {
            let error = error.map(str::to_owned);
            Event::Told(Told::Waiting { what: "Asking".into(), error })
        };
        let mut events = vec![
            Event::Told(Told::Started { run: 1, sequence: "S".into(), steps: 2 }),
            question(&["Room"]),
            Event::Key(Key::Char('7')),
            wait(Some("refused")),
        ];
        let (state, _) = walk(events.clone());
        assert!(matches!(&state.page, Page::Prompt(page) if page.trouble.is_some()));
        events.extend([question(&["Room"]), Event::Key(Key::Enter)]);
        let (state, orders) = walk(events.clone());
        assert!(matches!(&state.page, Page::Prompt(page) if page.trouble.is_none()));
        let answers = vec![("Room".to_owned(), Secret::new("7"))];
        assert_eq!(orders, [Order::Say(Say::Answers(answers))]);
        events.push(Event::Told(Told::Step { step: 1, steps: 2, name: "Format".into() }));
        let (state, _) = walk(events);
        assert!(
            matches!(&state.page, Page::Running(running) if running.sequence == "S" && running.step == 1)
        );
    }

    #[test]
    fn section_7_from_afar_a_mac_is_told_to_look_and_is_not_shut_down_in_the_middle_of_a_run() {
        let remote = |order| Event::Told(Told::Remote(order));
        assert_eq!(walk(vec![remote(RemoteOrder::Look)]).1, [Order::Look]);
        assert_eq!(walk(vec![remote(RemoteOrder::ShutDown)]).1, [Order::Down(Down::ShutDown)]);
        let run = Event::Told(Told::Started { run: 1, sequence: "S".into(), steps: 2 });
        assert!(walk(vec![run, remote(RemoteOrder::Restart)]).1.is_empty());
    }

    #[test]
    fn section_7_a_failed_run_is_retried_through_the_page_that_says_what_is_erased() {
        let ended = ended(Outcome::Failed);
        let events = vec![
            Event::Told(Told::Started { run: 1, sequence: "Lab Mac 1".into(), steps: 2 }),
            ended,
            Event::Key(Key::Char('2')),
            offers(vec![offer(7, Required), offer(1, Available)]),
        ];
        let (state, orders) = walk(events);
        assert_eq!(orders, [Order::Again]);
        assert!(matches!(&state.page, Page::Confirm { offer, starts_at: None, .. } if offer.deployment == 1));
    }

    fn ended(outcome: Outcome) -> Event {
        let (message, can_resume) = ("m".into(), outcome == Outcome::Failed);
        Event::Told(Told::Ended { outcome, message, failure: None, can_resume, failed_step: None })
    }

    #[test]
    fn section_7_a_required_run_that_ended_here_starts_again_by_a_persons_decision_only() {
        for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::Succeeded] {
            let mut events = vec![
                Event::Told(Told::Started { run: 1, sequence: "Lab Mac 7".into(), steps: 2 }),
                ended(outcome),
                // Back to the list.
                Event::Key(Key::Escape),
                offers(vec![offer(7, Required)]),
                seconds(1000),
            ];
            let (state, orders) = walk(events.clone());
            assert!(matches!(state.page, Page::Choose { .. }), "{outcome:?}: {:?}", state.page);
            assert_eq!(orders, [Order::Again], "{outcome:?}");
            // Another one is still due, and a person may start this one.
            events.extend([Event::Key(Key::Enter), Event::Key(Key::Char('y'))]);
            assert_eq!(walk(events.clone()).1.last(), Some(&starts(7)), "{outcome:?}");
            events.truncate(3);
            events.extend([offers(vec![offer(7, Required), offer(8, Required)]), seconds(1000)]);
            assert_eq!(walk(events).1.last(), Some(&starts(8)), "{outcome:?}");
        }
    }

    #[test]
    fn section_7_a_run_that_asks_where_its_image_goes_shows_the_page_and_goes_on_behind_it() {
        let partition = |number, why_not: &str| DestinationPartition {
            number,
            why_not: why_not.into(),
            ..DestinationPartition::default()
        };
        let disk = DestinationDisk {
            number: Some(0),
            partitions: vec![partition(1, "firmware"), partition(2, "")],
            ..DestinationDisk::default()
        };
        let asked = AskedDestination { step: 2, disks: vec![disk], ..AskedDestination::default() };
        let question = || {
            Event::Told(Told::Asked(RunQuestion {
                destination: Some(asked.clone()),
                ..RunQuestion::default()
            }))
        };
        let wait = Told::Waiting { what: "Asking".into(), error: Some("refused".into()) };
        let mut events = vec![
            Event::Told(Told::Started { run: 1, sequence: "S".into(), steps: 2 }),
            question(),
            Event::Key(Key::Enter),
            Event::Told(wait),
            question(),
            Event::Key(Key::Char('y')),
        ];
        let (state, orders) = walk(events.clone());
        assert!(
            matches!(&state.page, Page::Destination(page) if page.sequence == "S" && page.sent.is_some())
        );
        let said = ChooseDestination { step: 2, disk: 0, partition: 2 };
        assert_eq!(orders, [Order::Say(Say::Destination(said))]);
        events.push(Event::Told(Told::NotTaken("it is too small".into())));
        assert!(matches!(walk(events.clone()).0.page, Page::Destination(page) if page.wrong.is_some()));
        events.push(Event::Told(Told::Step { step: 2, steps: 2, name: "Apply".into() }));
        assert!(matches!(walk(events).0.page, Page::Running(running) if running.sequence == "S"));
    }

    #[test]
    fn the_log_is_bounded() {
        let lines = (0..1000).map(|n| n.to_string()).collect();
        let (state, _) = walk(vec![Event::Told(Told::Lines(lines))]);
        assert_eq!((state.log.len(), state.log.back().map(String::as_str)), (LOG, Some("999")));
    }
}
