//! The pages that ask a person something, and the last page of a run, as lines.
//!
//! Must not know: the terminal, what keys do.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::ask::{Answer, Prompt, Wait};
use super::end::End;
use super::log_in::{Field, LogIn};
use super::spoken;
use super::state::State;
use super::view::{BOLD, REVERSE, problem};
use crate::api::runner::Outcome;

/// What stands for a letter that is not shown.
const DOT: &str = "*";
/// Lines before the first field.
const HEAD: usize = 4;

/// Values of variables.
pub(super) fn prompt<'a>(state: &State, page: &'a Prompt) -> Vec<Line<'a>> {
    let waited = spoken(state.now.saturating_sub(page.since));
    let mut lines = vec![
        Line::styled(format!("{} needs values", name(&page.sequence)), BOLD),
        format!("Asked for {waited}. Answer here or at the appliance; the first answer counts.").into(),
        Line::default(),
    ];
    match (&page.wrong, &page.trouble, page.sent) {
        (_, Some(trouble), _) => lines.push(Line::styled(format!("WAITING: {trouble}"), BOLD)),
        (Some(wrong), None, _) => lines.push(Line::styled(format!("NOT TAKEN  {wrong}"), BOLD)),
        (None, None, Some(_)) => {
            lines.push(Line::styled("Sent. The run goes on as soon as the appliance has them.", BOLD))
        }
        (None, None, None) => lines.push(Line::default()),
    }
    for (number, field) in page.fields.iter().enumerate() {
        lines.extend(field_lines(field, number == page.marked));
    }
    lines
}

/// Lines to leave out at the top so that the marked field is on screen.
pub(super) fn scroll(page: &Prompt, height: u16) -> u16 {
    let lines = |field: &Answer| if field.asked.help.is_empty() { 2 } else { 3 };
    let end = HEAD + page.fields.iter().take(page.marked + 1).map(lines).sum::<usize>();
    u16::try_from(end.saturating_sub(usize::from(height))).unwrap_or(u16::MAX)
}

fn field_lines(field: &Answer, marked: bool) -> Vec<Line<'_>> {
    let (mark, style) = if marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
    let needed = if field.asked.required { "" } else { " (may stay empty)" };
    let label = Span::styled(format!("{}{needed}", field.label()), style);
    let typed = field.text.expose();
    let text = match (field.asked.secret, field.is_choice()) {
        (true, _) => DOT.repeat(typed.chars().count()),
        (false, true) if typed.is_empty() => "none".to_owned(),
        (false, _) => typed.to_owned(),
    };
    let value = match (marked, field.is_choice()) {
        (true, true) => format!("< {text} >"),
        (true, false) => format!("{text}_"),
        (false, _) => text,
    };
    let style = if marked { BOLD } else { Style::new() };
    let mut lines = vec![Line::from(vec![mark.into(), label, ": ".into(), Span::styled(value, style)])];
    if field.is_choice() && marked {
        lines.push(format!("    {}", field.asked.choices.join("  ")).into());
    }
    if !field.asked.help.is_empty() {
        lines.push(format!("    {}", field.asked.help).into());
    }
    lines.push(Line::default());
    lines
}

/// Who is there?
pub(super) fn log_in(page: &LogIn) -> Vec<Line<'_>> {
    let mut lines = vec![
        Line::styled("Log in", BOLD),
        "What is started here is started in your name.".into(),
        Line::default(),
    ];
    match (&page.wrong, page.sent) {
        (Some(wrong), _) => lines.push(Line::styled(format!("NOT TAKEN  {wrong}"), BOLD)),
        (None, Some(_)) => lines.push(Line::styled("The appliance is asked.", BOLD)),
        (None, None) => lines.push(Line::default()),
    }
    lines.push(Line::default());
    for field in page.fields() {
        let marked = page.field == *field;
        let (mark, style) = if marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
        let domain = || page.domains.get(page.domain).map_or("", String::as_str);
        let (label, value) = match field {
            Field::Domain if marked => ("Domain", format!("< {} >", domain())),
            Field::Domain => ("Domain", domain().to_owned()),
            Field::Name => ("Name", page.name.clone()),
            Field::Password => ("Password", DOT.repeat(page.password.expose().chars().count())),
        };
        let cursor = if marked && *field != Field::Domain { "_" } else { "" };
        let style_of_value = if marked { BOLD } else { Style::new() };
        lines.push(Line::from(vec![
            mark.into(),
            Span::styled(format!("{label:<10}"), style),
            " ".into(),
            Span::styled(format!("{value}{cursor}"), style_of_value),
        ]));
        lines.push(Line::default());
    }
    lines
}

/// A step that waits for a person.
pub(super) fn wait<'a>(state: &State, page: &'a Wait) -> Vec<Line<'a>> {
    let waited = spoken(state.now.saturating_sub(page.since));
    let mut lines = vec![
        Line::styled(format!("{} waits for you", name(&page.sequence)), BOLD),
        format!("For {waited}. It can be confirmed here or at the appliance.").into(),
        Line::default(),
    ];
    lines.extend(page.message.lines().map(|line| Line::from(format!("  {line}"))));
    lines.extend([
        Line::default(),
        Line::from(vec!["> ".into(), Span::styled(format!(" {} ", page.button), REVERSE)]),
    ]);
    lines.push(Line::default());
    if let Some(trouble) = &page.trouble {
        lines.push(Line::styled(format!("WAITING: {trouble}"), BOLD));
    } else if let Some(wrong) = &page.wrong {
        lines.push(Line::styled(format!("NOT TAKEN  {wrong}"), BOLD));
    } else if page.sent.is_some() {
        lines.push(Line::styled("Said. The run goes on as soon as the appliance has heard it.", BOLD));
    }
    lines
}

/// How a run ended.
pub(super) fn end<'a>(state: &'a State, end: &'a End) -> Vec<Line<'a>> {
    let word = match end.outcome {
        Outcome::Succeeded => "DONE",
        Outcome::Failed => "FAILED",
        Outcome::Cancelled => "CANCELLED",
    };
    let mut lines = vec![Line::styled(format!("{word}: {}", end.sequence), BOLD), Line::default()];
    if let Some(step) = &end.failed_step {
        lines.push(Line::styled(format!("Failed at {}", step.named()), BOLD));
        let code = end.failure.as_ref().and_then(|failure| failure.exit_code);
        let code = code.map(|code| format!("   exit code {code}")).unwrap_or_default();
        lines.push(format!("  {}{code}", step.place).into());
        lines.push(Line::default());
    }
    match &end.failure {
        Some(failure) => lines.extend(problem(failure)),
        None => lines.extend([end.message.as_str().into(), Line::default()]),
    }
    for (number, choice) in end.choices().into_iter().enumerate() {
        let (mark, style) = if number == end.marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
        let text = format!(" {} {} ", number + 1, choice.text());
        lines.push(Line::from(vec![mark.into(), Span::styled(text, style)]));
    }
    lines.push(Line::default());
    if let Some(wrong) = &end.wrong {
        lines.push(Line::styled(format!("NOT TAKEN  {wrong}"), BOLD));
    } else if end.resuming {
        lines.push(Line::styled("The appliance is asked to let the run go on.", BOLD));
    }
    if end.outcome != Outcome::Succeeded && !state.log.is_empty() {
        lines.push("The last lines of its log (F2 shows all):".into());
        let skip = state.log.len().saturating_sub(6);
        lines.extend(state.log.iter().skip(skip).map(|line| format!("  {line}").into()));
    }
    lines
}

fn name(sequence: &str) -> &str {
    if sequence.is_empty() { "The run" } else { sequence }
}
