//! What lies over the pages, as lines, with the keys that mean something there.
//!
//! Must not know: the terminal, what keys do.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::form_view;
use super::overlay::Over;
use super::state::{Page, State};
use super::view::{BOLD, REVERSE};
use crate::api::wizard::TechnicianMessage;
use crate::runner::keyboard;

/// Every key that means something everywhere.
const KEYS: [(&str, &str); 12] = [
    ("F1 or Ctrl-A", "this page"),
    ("F2 or Ctrl-L", "the log: everything that was said here, to scroll"),
    ("F3, N or Ctrl-N", "the network page: addresses, VLAN, proxy, the appliance's address"),
    ("F4 or Ctrl-K", "the keyboard layout"),
    ("F5 or Ctrl-T", "a shell, where one is allowed"),
    ("Esc or Ctrl-B", "back; during a run, the question whether to stop it"),
    ("Up, Down, Tab", "marks another line"),
    ("Left, Right", "turns a choice"),
    ("Enter", "does what is marked"),
    ("Y", "starts a sequence on the page that says what is erased"),
    ("A", "asks the appliance again"),
    ("R, S", "restarts, shuts this Mac down, where nothing is at work"),
];

/// The lines that lie over the page, and their keys; none where nothing does.
pub(super) fn over(state: &State, area: Rect) -> Option<(Vec<Line<'_>>, &'static str)> {
    if let Some(message) = state.messages.front() {
        return Some((of_message(message, state.messages.len()), "Enter I have read it"));
    }
    Some(match state.over.as_ref()? {
        Over::Network(page) => (
            form_view::network(page, &state.page, area.width),
            "Up/Down line   Left/Right choose   Enter apply   Esc back",
        ),
        Over::Log { back } => (log(state, *back, area), "Up/Down, Page Up/Down, Home/End scroll   Esc back"),
        Over::Keyboard { marked, typed } => {
            (layouts(state, *marked, typed), "Up/Down mark   Enter use it   letters try it   Esc back")
        }
        Over::Help => (help(), "Esc back"),
        Over::Stop => (stop(state), "Y stop the run   Esc let it go on"),
        Over::Note { title, text } => {
            (vec![Line::styled(title.as_str(), BOLD), Line::default(), text.as_str().into()], "Esc back")
        }
    })
}

fn of_message(message: &TechnicianMessage, count: usize) -> Vec<Line<'_>> {
    let more = match count {
        0 | 1 => String::new(),
        count => format!(" ({} more)", count - 1),
    };
    let mut lines = vec![Line::styled(format!("MESSAGE from {}{more}", message.by), BOLD), Line::default()];
    lines.extend(message.text.lines().map(|line| Line::from(format!("  {line}"))));
    lines.extend([
        Line::default(),
        "What goes on below goes on. Enter tells the sender that it was read.".into(),
    ]);
    lines
}

fn log(state: &State, back: usize, area: Rect) -> Vec<Line<'_>> {
    let rows = usize::from(area.height).saturating_sub(2).max(1);
    let end = state.journal.len().saturating_sub(back);
    let first = end.saturating_sub(rows);
    let head = match state.journal.len() {
        0 => "Log: nothing was said yet".to_owned(),
        all => format!("Log: lines {} to {end} of {all}", first + 1),
    };
    let mut lines = vec![Line::styled(head, BOLD), Line::default()];
    let width = usize::from(area.width);
    // One row a line: a long one is cut.
    let shown = |line: &String| Line::from(line.chars().take(width).collect::<String>());
    lines.extend(state.journal.iter().skip(first).take(end - first).map(shown));
    lines
}

fn layouts<'a>(state: &State, marked: usize, typed: &'a str) -> Vec<Line<'a>> {
    let mut lines = vec![Line::styled("Keyboard layout", BOLD), Line::default()];
    if state.keyboards.layouts.is_empty() {
        lines.push("This boot environment has no keyboard layouts: US English is in force.".into());
        lines.push("Build the boot files again with this version: rootstock media boot.".into());
        return lines;
    }
    for (number, layout) in state.keyboards.layouts.iter().enumerate() {
        let (mark, style) = if number == marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
        let current = state.keyboards.current.as_deref().unwrap_or("us") == layout;
        let now = if current { "  in force" } else { "" };
        let name = keyboard::name(layout).to_owned();
        lines.push(Line::from(vec![mark.into(), Span::styled(format!(" {name} "), style), now.into()]));
    }
    lines.extend([
        Line::default(),
        Line::from(vec!["Try it here: ".into(), Span::styled(format!("{typed}_"), BOLD)]),
        Line::default(),
        "Letters stand where a Mac's keyboard has them; both Option keys reach the third letter of a key."
            .into(),
        "The choice holds for this Mac until another is made, also after a restart.".into(),
    ]);
    lines
}

fn help() -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", BOLD), Line::default()];
    lines.extend(KEYS.iter().map(|(key, what)| Line::from(format!("  {key:<17}{what}"))));
    lines.extend([
        Line::default(),
        "Function keys need no Fn key here. Keyboards with a Touch Bar have none: use Ctrl with the letter."
            .into(),
    ]);
    lines
}

fn stop(state: &State) -> Vec<Line<'_>> {
    let untouched = match &state.page {
        Page::Running(running) => running.step == 0,
        Page::Prompt(_) | Page::Destination(_) | Page::Wait(_) => false,
        _ => true,
    };
    let text = match untouched {
        true => "Nothing was done to this Mac by it yet.",
        false => {
            "What was done to the disk stays: a disk whose image is not whole does not start. The run cannot go on afterwards, \
             the sequence can be started anew."
        }
    };
    vec![Line::styled("Stop the run?", BOLD), Line::default(), text.into()]
}
