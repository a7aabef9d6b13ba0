//! The loop between the worker and people: news in, pages and lines out, keys in, orders out.
//!
//! Must not know: what is worked on.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::log::Console;
use super::network::NetworkOrder;
use super::wizard::{Event, Lines, Order, State, Terminal, Told, update};

/// How often keys and news are looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// How often the page is drawn when nothing happens: it shows times.
const REDRAW: Duration = Duration::from_millis(500);

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
}

impl Takers {
    /// Hands an order over. Who has ended needs no orders.
    fn give(&self, order: Order) {
        match order {
            Order::Network(order) => drop(self.network.send(order)),
            order => drop(self.worker.send(order)),
        }
    }
}

/// Shows news until the worker has ended. `network`: news of the network thread, which does not end by itself.
pub fn show(
    mut state: State,
    mut faces: Faces,
    news: &Receiver<Told>,
    network: &Receiver<Told>,
    orders: &Takers,
) {
    let began = now();
    let mut lines = Lines::default();
    let mut drawn: Option<Instant> = None;
    loop {
        let mut events = vec![Event::Tick(now().duration_since(began))];
        let ended =
            take_news(news, if faces.terminal.is_some() { Duration::ZERO } else { GLANCE }, &mut events);
        events.extend(network.try_iter().map(Event::Told));
        // A terminal that is gone (its serial adapter was pulled out) ends the wizard, not the run.
        match faces.terminal.as_mut().map(|terminal| terminal.key(GLANCE)) {
            Some(Ok(key)) => events.extend(key.map(Event::Key)),
            Some(Err(error)) => {
                tracing::warn!(%error, "the wizard's terminal is gone");
                faces.terminal = None;
            }
            None => {}
        }
        let quiet = events.len() == 1;
        for event in events {
            if let Event::Told(told) = &event {
                for line in lines.of(now().duration_since(began), told) {
                    tracing::info!("{line}");
                    faces.consoles.iter().for_each(|console| console.line(&line));
                }
            }
            let (next, order) = update(state, event);
            state = next;
            if let Some(order) = order {
                orders.give(order);
            }
        }
        if !quiet || drawn.is_none_or(|at| now().duration_since(at) >= REDRAW) {
            drawn = Some(now());
            if let Some(Err(error)) = faces.terminal.as_mut().map(|terminal| terminal.draw(&state)) {
                tracing::warn!(%error, "the wizard's terminal is gone");
                faces.terminal = None;
            }
        }
        if ended {
            return;
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
