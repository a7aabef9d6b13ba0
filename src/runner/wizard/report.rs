//! The screen as the appliance is told it: which page, what it is about, its text. Pure.
//!
//! Must not know: how it travels.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::overlay::Over;
use super::state::{Page, State};
use super::view::view;
use crate::api::wizard::{LONGEST_LINE, PageName, ScreenReport};
use crate::value::Secret;

/// The screen that is told: what any console shows at least.
const SIZE: (u16, u16) = (80, 25);
/// What stands for a hidden text: not even its length is told.
const HIDDEN: &str = "********";

/// Which page is shown, for lists.
fn page_name(state: &State) -> PageName {
    match &state.page {
        Page::Connecting { .. } => PageName::Connecting,
        Page::Appliances(_) => PageName::Appliances,
        Page::LogIn(_) => PageName::LogIn,
        Page::Choose { .. } => PageName::Choose,
        Page::Confirm { starts_at: Some(_), .. } => PageName::Countdown,
        Page::Confirm { .. } => PageName::Confirm,
        Page::Prompt(_) => PageName::Prompt,
        Page::Destination(_) => PageName::Destination,
        Page::Wait(_) => PageName::Wait,
        Page::Running(_) => PageName::Running,
        Page::Result(_) => PageName::Ended,
        Page::Problem(_) => PageName::Problem,
        Page::GoingDown(_) => PageName::GoingDown,
    }
}

/// What the page is about; while that stays, somebody has been standing in front of the same page.
fn title(state: &State) -> String {
    let text = match &state.page {
        Page::Connecting { what, .. } => what.clone(),
        Page::Appliances(_) => "Choose an appliance".to_owned(),
        Page::LogIn(_) => "Log in".to_owned(),
        Page::Choose { offers, .. } if offers.is_empty() => "Nothing to run here".to_owned(),
        Page::Choose { .. } => "Choose a task sequence".to_owned(),
        Page::Confirm { offer, .. } => offer.sequence.clone(),
        Page::Prompt(page) => {
            let names: Vec<&str> = page.fields.iter().map(|field| field.asked.name.as_str()).collect();
            names.join(", ")
        }
        Page::Destination(page) => format!("Select a destination for {}", page.asked.image),
        Page::Wait(page) => page.message.lines().next().unwrap_or_default().to_owned(),
        Page::Running(running) if running.step == 0 => running.sequence.clone(),
        Page::Running(running) => {
            format!("step {} of {}: {}", running.step, running.steps, running.name)
        }
        Page::Result(end) => end.message.clone(),
        Page::Problem(failure) => failure.cause.clone(),
        Page::GoingDown(_) => "Going down".to_owned(),
    };
    let over = match (&state.over, state.messages.is_empty()) {
        (_, false) => " (a message lies over it)",
        (Some(Over::Network(_)), _) => " (the network page lies over it)",
        (Some(Over::Log { .. }), _) => " (the log lies over it)",
        (Some(_), _) => " (another page lies over it)",
        (None, true) => "",
    };
    cut(&format!("{text}{over}"))
}

/// What tells one page from another: while it stays, the appliance need not be told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageKey(PageName, String, Option<i64>, Option<String>);

/// See [`PageKey`].
pub fn page_key(state: &State) -> PageKey {
    PageKey(page_name(state), title(state), state.run, state.keyboards.current.clone())
}

/// The screen as it is told.
pub fn report(state: &State) -> ScreenReport {
    let hidden = without_secrets(state);
    let text = drawn(&hidden, SIZE).map(|buffer| rows(&buffer)).unwrap_or_default();
    ScreenReport {
        page: page_name(state),
        title: title(state),
        text: text.iter().map(|line| cut(line)).collect(),
        run: state.run,
        keyboard: state.keyboards.current.clone(),
    }
}

/// Draws a state on a screen of this size that nobody sees. None: it cannot be drawn.
pub fn drawn(state: &State, (width, height): (u16, u16)) -> Option<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).ok()?;
    terminal.draw(|frame| view(state, frame)).ok()?;
    Some(terminal.backend().buffer().clone())
}

/// Rows of a screen as text, without blanks at their ends.
pub fn rows(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let row = |row: u16| {
        let line: String = (0..area.width).map(|column| buffer[(column, row)].symbol()).collect();
        line.trim_end().to_owned()
    };
    (0..area.height).map(row).collect()
}

fn without_secrets(state: &State) -> State {
    let mut state = state.clone();
    if let Page::Prompt(page) = &mut state.page {
        let secret = page.fields.iter_mut().filter(|field| field.asked.secret);
        for field in secret.filter(|field| !field.text.expose().is_empty()) {
            field.text = Secret::new(HIDDEN);
        }
    }
    if let Page::LogIn(page) = &mut state.page
        && !page.password.expose().is_empty()
    {
        page.password = Secret::new(HIDDEN);
    }
    state
}

/// A line as long as may be.
fn cut(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(LONGEST_LINE / 4).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ask::Prompt;
    use super::*;
    use crate::api::runner::{AskedVariable, RunQuestion};
    use std::time::Duration;

    #[test]
    fn section_7_the_remote_twin_sees_the_page_and_nothing_that_is_hidden() {
        let asked = || AskedVariable { required: true, ..AskedVariable::default() };
        let secret = AskedVariable { name: "Password".into(), secret: true, ..asked() };
        let open = AskedVariable { name: "Room".into(), default: "Lab".into(), ..asked() };
        let question = RunQuestion { variables: vec![open, secret], ..RunQuestion::default() };
        let mut page = Prompt::new("Lab Mac".into(), question, Duration::ZERO);
        page.fields[1].text = Secret::new("hunter2");
        let state = State { page: Page::Prompt(page), run: Some(7), ..State::new(Some("https://a"), false) };
        let report = report(&state);
        assert_eq!(
            (report.page, report.run, report.title.as_str()),
            (PageName::Prompt, Some(7), "Room, Password")
        );
        let text = report.text.join("\n");
        assert!(text.contains("Room: Lab_") && text.contains("Password: ********\n"), "{text}");
        assert!(report.text.len() <= crate::api::wizard::MOST_LINES);
    }
}
