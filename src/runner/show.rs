//! The loop between the worker and people: news in, pages and lines out, keys in, orders out; and what needs the terminal itself:
//! keyboard layouts, a shell.
//!
//! Must not know: what is worked on.

use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::desk::Errand;
use super::failure::chain;
use super::keyboard;
use super::log::Console;
use super::network::NetworkOrder;
use super::settings::Settings;
use super::wizard::{Event, Lines, Order, Over, PageKey, State, Terminal, Told, page_key, report, update};

/// How often keys and news are looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// How often the page is drawn when nothing happens: it shows times.
const REDRAW: Duration = Duration::from_millis(500);
/// How often the appliance is told a page whose text moves.
const TELL: Duration = Duration::from_secs(5);
/// The shell.
const SHELL: &str = "/bin/sh";

/// Where people look.
pub struct Faces {
    /// The wizard's terminal.
    pub terminal: Option<Terminal>,
    /// Consoles with plain lines.
    pub consoles: Vec<Console>,
}

#[expect(clippy::disallowed_methods, reason = "the edge: pages show times and count down")]
fn now() -> Instant {
    Instant::now()
}

/// Who takes orders.
pub struct Takers {
    /// The worker.
    pub worker: Sender<Order>,
    /// The network thread.
    pub network: Sender<NetworkOrder>,
    /// The desk.
    pub desk: Sender<Errand>,
}

/// News, by where they come from.
pub struct Sources<'a> {
    /// The worker; when it ends, the show does.
    pub worker: &'a Receiver<Told>,
    /// The network thread and the desk, which do not end by themselves.
    pub others: &'a Receiver<Told>,
}

/// Shows news until the worker has ended.
pub fn show(state: State, faces: Faces, sources: &Sources<'_>, takers: &Takers, settings: &Settings) {
    let mut show =
        Show { faces, takers, settings, began: now(), lines: Lines::default(), shell: None, told: None };
    if let Some(layout) = state.keyboards.current.clone() {
        show.load_keyboard(&layout);
    }
    show.until_the_worker_ends(state, sources);
}

struct Show<'a> {
    faces: Faces,
    takers: &'a Takers,
    settings: &'a Settings,
    began: Instant,
    lines: Lines,
    /// A person is at work in it; the page waits.
    shell: Option<Child>,
    /// What the appliance was told last, and when.
    told: Option<(PageKey, Duration)>,
}

impl Show<'_> {
    fn until_the_worker_ends(&mut self, mut state: State, sources: &Sources<'_>) {
        let mut drawn: Option<Instant> = None;
        loop {
            let mut events = vec![Event::Tick(self.age())];
            let glance = if self.faces.terminal.is_some() { Duration::ZERO } else { GLANCE };
            let ended = take_news(sources.worker, glance, &mut events);
            events.extend(sources.others.try_iter().map(Event::Told));
            events.extend(self.key().map(Event::Key));
            let quiet = events.len() == 1;
            for event in events {
                state = self.take(state, event);
            }
            self.tell_desk(&state);
            let due = !quiet || drawn.is_none_or(|at| now().duration_since(at) >= REDRAW);
            if due && self.shell.is_none() {
                drawn = Some(now());
                if let Some(Err(error)) = self.faces.terminal.as_mut().map(|terminal| terminal.draw(&state)) {
                    self.lose_terminal(&error);
                }
            }
            state.attended = self.faces.terminal.is_some();
            if !state.attended {
                // What nobody sees must not be in the way of a countdown.
                state.messages.clear();
                state.over = None;
            }
            if ended {
                return;
            }
        }
    }

    fn age(&self) -> Duration {
        now().duration_since(self.began)
    }

    /// Takes one event in, and does or hands over what it means.
    fn take(&mut self, state: State, event: Event) -> State {
        let mut state = state;
        if let Event::Told(told) = &event {
            let lines = self.lines.of(self.age(), told);
            for line in &lines {
                tracing::info!("{line}");
                self.faces.consoles.iter().for_each(|console| console.line(line));
            }
            state = update(state, Event::Logged(lines)).0;
        }
        let by_key = matches!(event, Event::Key(_));
        let (mut state, order) = update(state, event);
        match order {
            None => {}
            Some(Order::Down(down)) if by_key => drop(self.takers.worker.send(Order::DownByKey(down))),
            // Who has ended needs no orders.
            Some(Order::Network(order)) => drop(self.takers.network.send(order)),
            Some(Order::Say(say)) => drop(self.takers.desk.send(Errand::Say(say))),
            Some(Order::Keyboard(layout)) => self.load_keyboard(&layout),
            Some(Order::Shell) => {
                if let Err(error) = self.open_shell() {
                    let (title, text) =
                        ("No shell".to_owned(), format!("{SHELL} cannot be started: {error}"));
                    state.over = Some(Over::Note { title, text });
                }
            }
            Some(order) => drop(self.takers.worker.send(order)),
        }
        state
    }

    /// A terminal that is gone (its serial adapter was pulled out) ends the wizard, not the run.
    fn key(&mut self) -> Option<super::wizard::Key> {
        if self.shell.is_some() {
            thread::sleep(GLANCE);
            self.look_at_shell();
            return None;
        }
        match self.faces.terminal.as_mut()?.key(GLANCE) {
            Ok(key) => key,
            Err(error) => {
                self.lose_terminal(&error);
                None
            }
        }
    }

    fn lose_terminal(&mut self, error: &std::io::Error) {
        tracing::warn!(%error, "the wizard's terminal is gone");
        self.faces.terminal = None;
    }

    fn load_keyboard(&self, layout: &str) {
        // Only the machine's own console has a layout; on another terminal it is somebody else's.
        if !super::restart::owns_the_machine() {
            return;
        }
        if let Err(error) = keyboard::load(&self.settings.root, &self.settings.state, layout) {
            tracing::warn!("{}", chain(&error));
        }
    }

    /// The wizard steps back; what it works on goes on.
    fn open_shell(&mut self) -> std::io::Result<()> {
        let Some(terminal) = &mut self.faces.terminal else { return Ok(()) };
        terminal.leave()?;
        let words = "echo 'A shell on this Mac. What the wizard works on goes on; exit leads back to it.'; exec sh -i 2>&1";
        let child = Command::new(SHELL).args(["-c", words]).env("TERM", "linux").env("HOME", "/root").spawn();
        match child {
            Ok(child) => self.shell = Some(child),
            Err(error) => {
                terminal.come_back()?;
                return Err(error);
            }
        }
        tracing::info!("a shell was opened at the console");
        Ok(())
    }

    fn look_at_shell(&mut self) {
        let Some(child) = &mut self.shell else { return };
        if matches!(child.try_wait(), Ok(None)) {
            return;
        }
        self.shell = None;
        tracing::info!("the shell at the console has ended");
        let back = self.faces.terminal.as_mut().map(Terminal::come_back);
        if let Some(Err(error)) = back {
            self.lose_terminal(&error);
        }
    }

    /// At once when another page is shown, now and then when only its text moves.
    fn tell_desk(&mut self, state: &State) {
        let key = page_key(state);
        let due = match &self.told {
            Some((told, at)) => *told != key || state.now.saturating_sub(*at) >= TELL,
            None => true,
        };
        if due {
            self.told = Some((key, state.now));
            drop(self.takers.desk.send(Errand::Screen(Box::new(report(state)))));
        }
    }
}

/// Waits for news, at most this long, and takes what there is; true when the worker has ended.
fn take_news(news: &Receiver<Told>, at_most: Duration, events: &mut Vec<Event>) -> bool {
    match news.recv_timeout(at_most) {
        Ok(told) => events.push(Event::Told(told)),
        Err(RecvTimeoutError::Timeout) => return false,
        Err(RecvTimeoutError::Disconnected) => return true,
    }
    events.extend(news.try_iter().map(Event::Told));
    false
}
