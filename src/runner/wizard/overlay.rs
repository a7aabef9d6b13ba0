//! What lies over the pages: messages, the network page, the log, keyboard layouts, help, a question whether to stop. Where each
//! opens, what goes on below it, how it closes. Pure.
//!
//! Must not know: the network page's form, how anything is drawn.

use std::time::Duration;

use super::event::{Key, Order, Say};
use super::network::{NetworkPage, Reply};
use super::state::{Page, Shell, State};
use crate::runner::network::NetworkNews;

/// How long a message is on screen before a key acknowledges it: whoever types shall not do so by accident.
const READING: Duration = Duration::from_millis(1500);
/// Lines that a page key moves the log by.
const PAGE: usize = 15;

/// What lies over a page.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Over {
    /// The network page.
    Network(NetworkPage),
    /// The log, so many lines back from its end.
    Log {
        /// Lines from the end.
        back: usize,
    },
    /// Which keyboard layout?
    Keyboard {
        /// Which one is marked.
        marked: usize,
        /// What was typed to try it.
        typed: String,
    },
    /// All keys.
    Help,
    /// Stop the run?
    Stop,
    /// Something to be read.
    Note {
        /// What it is about.
        title: String,
        /// What it says.
        text: String,
    },
}

impl State {
    /// Whether the network page can be opened here: not where something is confirmed, nor while a run goes well.
    pub fn offers_network(&self) -> bool {
        match &self.page {
            Page::Connecting { .. } | Page::Choose { .. } | Page::Problem(_) | Page::LogIn(_) => true,
            Page::Appliances(page) => page.typed.is_none(),
            Page::Running(running) => running.waiting.is_some(),
            Page::Prompt(page) => page.trouble.is_some(),
            Page::Destination(page) => page.trouble.is_some(),
            Page::Wait(page) => page.trouble.is_some(),
            Page::Confirm { .. } | Page::Result(_) | Page::GoingDown(_) => false,
        }
    }

    /// The network page, when it is open.
    pub fn network_page(&self) -> Option<&NetworkPage> {
        match &self.over {
            Some(Over::Network(page)) => Some(page),
            _ => None,
        }
    }
}

/// A function key where nothing lies over the page.
pub(super) fn function(state: &mut State, number: u8) -> Option<Order> {
    let note = |title: &str, text: &str| Some(Over::Note { title: title.to_owned(), text: text.to_owned() });
    state.over = match number {
        1 => Some(Over::Help),
        2 => Some(Over::Log { back: 0 }),
        3 if state.offers_network() => return Some(network(state)),
        3 => note(
            "The network page is not open here",
            "A disk is about to be erased, or a run goes well: the network stays as it is until it has ended, or waits for the \
             appliance.",
        ),
        4 => {
            let marked = state.keyboards.marked();
            Some(Over::Keyboard { marked, typed: String::new() })
        }
        5 => match state.shell() {
            Shell::Open => return Some(Order::Shell),
            Shell::Shut(why) => note("No shell", &why),
        },
        _ => None,
    };
    None
}

/// Opens the network page; its first order is to look at the interfaces.
pub(super) fn network(state: &mut State) -> Order {
    let (page, order) = NetworkPage::open(state.now, &state.place, state.wire.as_ref());
    state.over = Some(Over::Network(page));
    order
}

/// Asks whether to stop the run.
pub(super) fn stop(state: &mut State) -> Option<Order> {
    state.over = Some(Over::Stop);
    None
}

/// Time went on.
pub(super) fn tick(state: &mut State) -> Option<Order> {
    match &mut state.over {
        Some(Over::Network(page)) => page.tick(state.now),
        _ => None,
    }
}

/// News of the network thread. What came into force concerns the worker too, whether the page is still open or not.
pub(super) fn network_news(state: &mut State, news: NetworkNews) -> Option<Order> {
    let moved = match &news {
        NetworkNews::Applied { wire, place, .. } => {
            state.wire = Some(wire.clone());
            Some(Order::Moved(place.clone()))
        }
        _ => None,
    };
    if let Some(Over::Network(page)) = &mut state.over {
        page.heard(news);
    }
    moved
}

/// A key, while something lies over the page.
pub(super) fn pressed(state: &mut State, key: Key) -> Option<Order> {
    if !state.messages.is_empty() {
        return read(state, key);
    }
    let most = state.journal.len();
    match state.over.as_mut()? {
        Over::Network(page) => match page.pressed(key) {
            Reply::Stay => None,
            Reply::Order(order) => Some(order),
            Reply::Close => close(state),
        },
        Over::Log { back } => {
            *back = match key {
                Key::Up => *back + 1,
                Key::Down => back.saturating_sub(1),
                Key::PageUp => *back + PAGE,
                Key::PageDown | Key::Char(' ') => back.saturating_sub(PAGE),
                Key::Home => most,
                Key::End => 0,
                Key::Escape | Key::Enter | Key::Function(2) => return close(state),
                _ => *back,
            }
            .min(most.saturating_sub(1));
            None
        }
        Over::Keyboard { marked, typed } => {
            let layouts = &state.keyboards.layouts;
            match key {
                Key::Up => *marked = marked.saturating_sub(1),
                Key::Down => *marked = (*marked + 1).min(layouts.len().saturating_sub(1)),
                Key::Enter => {
                    let layout = layouts.get(*marked)?.clone();
                    typed.clear();
                    state.keyboards.current = Some(layout.clone());
                    return Some(Order::Keyboard(layout));
                }
                Key::Escape | Key::Function(4) => return close(state),
                Key::Backspace => drop(typed.pop()),
                Key::Char(letter) if typed.chars().count() < 40 => typed.push(letter),
                _ => {}
            }
            None
        }
        Over::Stop => match key.folded() {
            Key::Char('y') => {
                if let Page::Running(running) = &mut state.page {
                    running.stopping = true;
                }
                close(state);
                Some(Order::Say(Say::Cancel))
            }
            Key::Escape | Key::Char('n') => close(state),
            _ => None,
        },
        Over::Help | Over::Note { .. } => match key {
            Key::Escape | Key::Enter | Key::Function(_) => close(state),
            _ => None,
        },
    }
}

/// A key, while a message is shown.
fn read(state: &mut State, key: Key) -> Option<Order> {
    let shown = state.now.saturating_sub(state.message_since);
    if key != Key::Enter || shown < READING {
        return None;
    }
    let message = state.messages.pop_front()?;
    state.message_since = state.now;
    uncovered(state);
    Some(Order::Say(Say::Read(message.id)))
}

fn close(state: &mut State) -> Option<Order> {
    state.over = None;
    uncovered(state);
    None
}

/// A countdown that ran behind something begins anew: nobody could see it.
fn uncovered(state: &mut State) {
    if state.is_covered() {
        return;
    }
    if let Page::Confirm { offer, starts_at: Some(at), .. } = &mut state.page {
        *at = state.now + Duration::from_secs(offer.countdown.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Told};
    use super::super::state::{Running, update};
    use super::*;
    use crate::api::wizard::TechnicianMessage;

    fn walk(state: State, events: Vec<Event>) -> (State, Vec<Order>) {
        let mut orders = Vec::new();
        let state = events.into_iter().fold(state, |state, event| {
            let (state, order) = update(state, event);
            orders.extend(order);
            state
        });
        (state, orders)
    }

    fn key(key: Key) -> Event {
        Event::Key(key)
    }

    fn running() -> State {
        let page = Page::Running(Running { sequence: "S".into(), ..Running::default() });
        State { page, ..State::new(Some("https://a"), false) }
    }

    fn message(id: i64) -> Event {
        let text = "Come to the office".into();
        Event::Told(Told::Message(TechnicianMessage {
            id,
            text,
            by: "a".into(),
            sent_ms: 0,
            acknowledged_ms: None,
        }))
    }

    #[test]
    fn section_7_a_shell_is_given_or_the_reason_is() {
        let (state, orders) = walk(running(), vec![key(Key::Function(5))]);
        assert!(orders.is_empty());
        assert!(matches!(&state.over, Some(Over::Note { text, .. }) if text.contains("SSH keys")));
        let open = State { shell: Shell::Open, ..running() };
        assert_eq!(walk(open, vec![key(Key::Function(5))]).1, [Order::Shell]);
    }

    #[test]
    fn section_7_a_run_is_stopped_by_two_keys_and_not_by_one() {
        let (state, orders) = walk(running(), vec![key(Key::Escape)]);
        assert_eq!((state.over.clone(), orders.len()), (Some(Over::Stop), 0));
        let (state, orders) = walk(state, vec![key(Key::Char('Y'))]);
        assert_eq!(orders, [Order::Say(Say::Cancel)]);
        assert!(matches!(&state.page, Page::Running(running) if running.stopping));
        // Once is enough.
        assert_eq!(walk(state, vec![key(Key::Escape)]).0.over, None);
        let (state, orders) = walk(running(), vec![key(Key::Escape), key(Key::Escape)]);
        assert_eq!((state.over, orders.len()), (None, 0));
    }

    #[test]
    fn section_7_a_message_is_acknowledged_once_somebody_had_time_to_read_it() {
        let second = |seconds| Event::Tick(Duration::from_secs(seconds));
        let (state, orders) =
            walk(running(), vec![second(5), message(3), message(4), message(3), key(Key::Enter)]);
        assert_eq!((state.messages.len(), orders.len()), (2, 0), "the second telling of a message is none");
        let (state, orders) = walk(state, vec![second(7), key(Key::Escape), key(Key::Enter)]);
        assert_eq!((state.messages.len(), orders), (1, vec![Order::Say(Say::Read(3))]));
        let (state, orders) = walk(state, vec![second(9), key(Key::Enter)]);
        assert_eq!((state.messages.len(), orders), (0, vec![Order::Say(Say::Read(4))]));
    }

    #[test]
    fn where_nobody_can_read_a_message_it_is_in_no_ones_way() {
        let blind = State { attended: false, ..running() };
        assert!(walk(blind, vec![message(3)]).0.messages.is_empty());
    }

    #[test]
    fn section_7_the_log_is_turned_back_as_far_as_it_goes() {
        let lines = (0..40).map(|number| number.to_string()).collect();
        let (state, _) = walk(running(), vec![Event::Logged(lines), key(Key::Function(2)), key(Key::PageUp)]);
        assert_eq!(state.over, Some(Over::Log { back: 15 }));
        let (state, _) = walk(state, vec![key(Key::Home), key(Key::Up)]);
        assert_eq!(state.over, Some(Over::Log { back: 39 }));
        assert_eq!(walk(state, vec![key(Key::End), key(Key::Function(2))]).0.over, None);
    }

    #[test]
    fn section_7_a_keyboard_layout_is_chosen_tried_and_kept() {
        let mut state = running();
        state.keyboards.layouts = vec!["us".into(), "de".into()];
        let (state, orders) = walk(state, vec![key(Key::Function(4)), key(Key::Down), key(Key::Enter)]);
        assert_eq!(orders, [Order::Keyboard("de".into())]);
        let (state, _) = walk(state, vec![key(Key::Char('ü'))]);
        assert!(matches!(&state.over, Some(Over::Keyboard { typed, .. }) if typed == "ü"));
        // What was chosen before the restart is no news where a person has chosen since.
        let (state, orders) = walk(state, vec![Event::Told(Told::Keyboard("us".into()))]);
        assert_eq!((state.keyboards.current.as_deref(), orders.len()), (Some("de"), 0));
    }
}
