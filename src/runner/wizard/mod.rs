//! What the technician meets: pages as data, moved by one pure function, drawn by another.
//!
//! | file | what |
//! |---|---|
//! | `event` | what happens, and what is wanted: the words between the wizard and everybody else |
//! | `state` | pages and [`update`]: what happened in, next page and order out; told the time |
//! | `news` | what others tell |
//! | `log_in`, `ask`, `destination`, `end` | the page to log in; pages on which a run asks a person; the last page of a run |
//! | `appliances`, `network` | the pages with a form: found appliances, the network |
//! | `overlay` | what lies over the others: messages, the network page, the log, keyboard layouts, help |
//! | `view`, `run_view`, `ask_view`, `destination_view`, `form_view`, `over_view` | a page as widgets |
//! | `report` | the screen as the appliance is told it |
//! | `lines` | the same news as plain lines, for serial consoles and logs |
//! | `terminal` | the edge: a tty, its keys |
//!
//! Must not know: the appliance, disks.

mod appliances;
mod ask;
mod ask_view;
mod destination;
mod destination_view;
mod end;
mod event;
mod form_view;
mod lines;
mod log_in;
mod network;
mod news;
mod over_view;
mod overlay;
#[cfg(test)]
mod pictures;
mod report;
mod run_view;
#[cfg(test)]
mod scenes;
mod state;
mod terminal;
mod view;

pub use appliances::Appliances;
pub use ask::{Answer, Prompt, Wait};
pub use destination::Destination;
pub use end::{Choice, End};
pub use event::{Down, Event, Key, Order, Say, Told};
pub use lines::Lines;
pub use log_in::LogIn;
pub use network::NetworkPage;
pub use overlay::Over;
pub use report::{PageKey, page_key, report};
pub use state::{Cancelled, Page, Running, Shell, State, Technician, update};
pub use terminal::{Terminal, TerminalError};
pub use view::view;

use std::time::Duration;

/// A time for people: `4 min 10 s`.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// A rate as network and disk makers write it: `118 MB/s`.
fn rate(bytes: u64) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_spoken() {
        let spoken = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!([spoken(9), spoken(61), spoken(7325)], ["9 s", "1 min 01 s", "2 h 02 min"]);
        assert_eq!(rate(117_600_000), "118 MB/s");
    }
}
