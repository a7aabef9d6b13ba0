//! A state as widgets. Pure. Readable without colour: marks and words carry the meaning, bold and reverse only help.
//! Drawn with characters that the Linux console's fonts have.
//!
//! Must not know: the terminal.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Padding, Paragraph, Wrap};

use super::event::Down;
use super::state::{Page, State};
use super::{ask_view, destination_view, form_view, over_view, run_view, spoken};
use crate::api::runner::{Failure, Offer};
use crate::value::ByteSize;

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const REVERSE: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws the state.
pub fn view(state: &State, frame: &mut Frame<'_>) {
    let [head, body, foot, functions] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head_line(state, head.width)).style(REVERSE), head);
    let block = Block::new().padding(Padding::new(2, 2, 1, 0));
    let area = block.inner(body);
    let paragraph = |lines| Paragraph::new(lines).wrap(Wrap { trim: false });
    let over = over_view::over(state, area);
    let (keys, function_keys) = match &over {
        Some((_, keys)) => (*keys, String::new()),
        None => (keys(state), function_keys(state)),
    };
    frame.render_widget(Paragraph::new(format!(" {keys}")).style(REVERSE), foot);
    frame.render_widget(Paragraph::new(format!(" {function_keys}")).style(REVERSE), functions);
    match (over, &state.page) {
        (Some((lines, _)), _) => frame.render_widget(paragraph(lines), area),
        (None, Page::Running(running)) => run_view::run_page(state, running, area, frame),
        (None, page) => {
            let text = paragraph(text(state, page));
            frame.render_widget(text.scroll((scroll(state, page, area.height), 0)), area);
        }
    }
}

/// Lines to leave out at the top so that the marked offer is on screen.
fn scroll(state: &State, page: &Page, height: u16) -> u16 {
    if let Page::Destination(page) = page {
        return destination_view::scroll(state, page, height);
    }
    if let Page::Prompt(page) = page {
        return ask_view::scroll(page, height);
    }
    let Page::Choose { offers, marked, .. } = page else { return 0 };
    let lines = |offer: &Offer| if about(offer).is_empty() { 2 } else { 3 };
    let end: usize = 2 + offers.iter().take(marked + 1).map(lines).sum::<usize>();
    u16::try_from(end.saturating_sub(usize::from(height))).unwrap_or(u16::MAX)
}

fn head_line(state: &State, width: u16) -> String {
    // An appliance without a name of its own is called like the product.
    let left = match state.appliance.as_str() {
        "Rootstock" | "" => " Rootstock".to_owned(),
        name => format!(" Rootstock  {name}"),
    };
    let left = match &state.technician {
        Some(technician) => format!("{left}  {}", technician.name),
        None => left,
    };
    let machine = state.machine.as_ref().map(|machine| {
        let model = machine.model.as_ref().map_or("unknown model", |model| model.as_str());
        let serial = machine.serial.as_ref().map_or("no serial number", |serial| serial.as_str());
        format!("{model}  {serial} ")
    });
    let right = machine.unwrap_or_default();
    let room = usize::from(width).saturating_sub(left.chars().count());
    format!("{left}{right:>room$}")
}

/// What can be pressed on this page.
fn keys(state: &State) -> &'static str {
    match &state.page {
        Page::Connecting { .. } => "It goes on by itself.   N network   R restart   S shut down",
        Page::Appliances(page) if page.typed.is_some() => "Enter use this address   Esc back",
        Page::Appliances(_) => "Up/Down mark   Enter use it   N network   R restart   S shut down",
        Page::Choose { offers, .. } if offers.is_empty() => {
            "A ask again   N network   R restart   S shut down"
        }
        Page::LogIn(page) if page.sent.is_some() => "The appliance is asked.",
        Page::LogIn(_) => "Up/Down line   Left/Right choose   Enter log in   Esc clear",
        Page::Choose { .. } if state.technician.is_some() => {
            "Up/Down mark   Enter look at it   A ask again   R restart   O log out"
        }
        Page::Choose { .. } => "Up/Down mark   Enter look at it   A ask again   N network   R restart",
        Page::Confirm { starts_at: Some(_), .. } => "ANY KEY stops the countdown",
        Page::Confirm { .. } => "Y start   Esc back",
        Page::Prompt(page) if page.sent.is_some() => "The answers are on their way.   Esc stop the run",
        Page::Prompt(_) => "Up/Down line   Left/Right choose   Enter next   Esc stop the run",
        Page::Destination(page) if page.sent.is_some() => "It is on its way.",
        Page::Destination(page) if page.confirming => "Y write there   Esc back",
        Page::Destination(_) => "Up/Down mark   Enter select   Esc stop the run",
        Page::Wait(_) => "Enter done   Esc stop the run",
        Page::Running(_) if state.offers_network() => "It goes on by itself.   N network   Esc stop the run",
        Page::Running(_) => "Leave cable and power connected.   Esc stop the run",
        Page::Result(_) => "Up/Down mark   Enter do it   1-5 at once   Esc back to the list",
        Page::Problem(_) => "Enter try again   N network   R restart   S shut down",
        Page::GoingDown(_) => "",
    }
}

/// The function keys, on every page where they do something.
fn function_keys(state: &State) -> String {
    match &state.page {
        Page::Confirm { starts_at: Some(_), .. } | Page::GoingDown(_) => String::new(),
        _ => format!(
            "F1 keys   F2 log   F3 network   F4 keyboard: {}   F5 shell",
            state.keyboards.current_name()
        ),
    }
}

fn text<'a>(state: &'a State, page: &'a Page) -> Vec<Line<'a>> {
    match page {
        Page::Connecting { what, since, error } => connecting(state, what, *since, error.as_deref()),
        Page::Appliances(page) => form_view::appliances(page),
        Page::Choose { offers, marked, why_empty } => choose(offers, *marked, why_empty.as_deref()),
        Page::Confirm { offer, starts_at, .. } => confirm(state, offer, *starts_at),
        Page::LogIn(page) => ask_view::log_in(page),
        Page::Prompt(page) => ask_view::prompt(state, page),
        Page::Destination(page) => destination_view::destination(state, page),
        Page::Wait(page) => ask_view::wait(state, page),
        Page::Result(end) => ask_view::end(state, end),
        Page::Problem(failure) => {
            let mut lines = vec![Line::styled("PROBLEM", BOLD), Line::default()];
            lines.extend(problem(failure));
            lines.push("It is tried again every minute.".into());
            lines
        }
        Page::GoingDown(down) => {
            let (head, text) = match down {
                Down::Restart => ("Restarting", "This Mac starts again now."),
                Down::ShutDown => ("Shutting down", "This Mac goes off now."),
            };
            vec![Line::styled(head, BOLD), Line::default(), text.into()]
        }
        Page::Running(_) => Vec::new(),
    }
}

fn connecting<'a>(state: &State, what: &'a str, since: Duration, error: Option<&'a str>) -> Vec<Line<'a>> {
    let waited = state.now.saturating_sub(since);
    let mut lines = vec![
        Line::styled(what, BOLD),
        Line::default(),
        format!("For {} now. It is tried again and again.", spoken(waited)).into(),
    ];
    if let Some(error) = error {
        lines.extend([Line::default(), "Last error:".into(), format!("  {error}").into()]);
    }
    lines.extend([Line::default(), "This Mac:".into()]);
    match &state.machine {
        None => lines.push("  being looked at".into()),
        Some(machine) => {
            let macs: Vec<_> = machine.macs.iter().map(ToString::to_string).collect();
            let macs =
                if macs.is_empty() { "none: connect a wired adapter".to_owned() } else { macs.join("  ") };
            lines.push(format!("  Ethernet  {macs}").into());
            lines.extend(machine.disks.iter().map(|disk| {
                let number = disk.number.map_or("not used".into(), |number| format!("Disk {number}"));
                format!("  {number:<9} {}, {}", disk.model, ByteSize(disk.size)).into()
            }));
        }
    }
    lines
}

fn choose<'a>(offers: &'a [Offer], marked: usize, why_empty: Option<&'a str>) -> Vec<Line<'a>> {
    if offers.is_empty() {
        let why = why_empty
            .unwrap_or("No task sequence is deployed to this Mac. Deploy one to a collection that it is in.");
        return vec![Line::styled("Nothing to run here", BOLD), Line::default(), why.into()];
    }
    let mut lines = vec![Line::styled("Choose a task sequence", BOLD), Line::default()];
    for (number, offer) in offers.iter().enumerate() {
        let (mark, style) = if number == marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
        lines.push(Line::from(vec![mark.into(), Span::styled(format!(" {} ", offer.sequence), style)]));
        let about = about(offer);
        if !about.is_empty() {
            lines.push(format!("   {about}").into());
        }
        lines.push(Line::default());
    }
    lines
}

/// What a sequence belongs to, what it does, how much it fetches: what its author says.
fn about(offer: &Offer) -> String {
    let fetches = offer.download_size.map(|bytes| format!("fetches {}", ByteSize(bytes)));
    let parts = [offer.category.as_str(), offer.description.as_str(), fetches.as_deref().unwrap_or_default()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

fn confirm<'a>(state: &'a State, offer: &'a Offer, starts_at: Option<Duration>) -> Vec<Line<'a>> {
    let mut lines = vec![Line::styled(offer.sequence.as_str(), BOLD)];
    let about = about(offer);
    if !about.is_empty() {
        lines.push(about.into());
    }
    lines.push(Line::default());
    // Above the list of what is lost, which may be longer than the screen.
    match starts_at {
        Some(at) => {
            let left = at.saturating_sub(state.now) + Duration::from_millis(999);
            lines.push(Line::styled(format!("Starts by itself in {}.", spoken(left)), BOLD));
        }
        None if offer.asks_destination && offer.erases.is_empty() => lines.push("Press Y to start.".into()),
        None => lines.push("Press Y to start. There is no way back after that.".into()),
    }
    lines.push(Line::default());
    let disks = state.erased(offer);
    if offer.asks_destination {
        lines.push(Line::styled(
            "You are asked for a partition before anything is written. It is ERASED.",
            BOLD,
        ));
        lines.push(Line::default());
    } else if disks.is_empty() && offer.erases.is_empty() {
        lines.push("It erases no disk.".into());
    }
    for disk in &disks {
        let number = disk.number.unwrap_or_default();
        let head = format!("Disk {number} is ERASED: {}, {}", disk.model, ByteSize(disk.size));
        lines.push(Line::styled(head, BOLD));
        let serial = if disk.serial.is_empty() { "no serial number" } else { disk.serial.as_str() };
        let place = if disk.external { "external" } else { "internal" };
        lines.push(format!("{place}, serial number {serial}, {}", disk.node).into());
        lines.push("This is lost:".into());
        if disk.contents.is_empty() {
            lines.push("   no partitions were found on it".into());
        }
        lines.extend(disk.contents.iter().map(|content| format!("   {content}").into()));
        lines.push(Line::default());
    }
    for number in &offer.erases {
        if !disks.iter().any(|disk| disk.number == Some(*number)) {
            lines.push(Line::styled(
                format!("Disk {number} would be erased, and this Mac has none with that number."),
                BOLD,
            ));
        }
    }
    lines
}

/// Cause, evidence, next step.
pub(super) fn problem(failure: &Failure) -> Vec<Line<'_>> {
    let parts = [("Cause", &failure.cause), ("Seen", &failure.evidence), ("Next step", &failure.next_step)];
    let told = parts.into_iter().filter(|(_, text)| !text.is_empty());
    told.flat_map(|(head, text)| {
        let mut lines = vec![Line::styled(head, BOLD)];
        lines.extend(text.lines().map(|line| Line::from(format!("  {line}"))));
        lines.push(Line::default());
        lines
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runner::Purpose;

    #[test]
    fn section_1_category_description_and_download_size_are_shown_where_they_are_given() {
        let offer = |category: &str, description: &str, download_size| Offer {
            deployment: 1,
            sequence: "Lab Mac".into(),
            description: description.into(),
            purpose: Purpose::Available,
            countdown: 0,
            erases: vec![],
            revision: 1,
            asks_destination: false,
            category: category.into(),
            download_size,
        };
        assert_eq!(
            about(&offer("Labs", "With applications", Some(20 << 30))),
            "Labs · With applications · fetches 20.0 GiB"
        );
        assert_eq!(about(&offer("", "", Some(1 << 20))), "fetches 1.0 MiB");
        assert_eq!(about(&offer("", "", None)), "");
        let offers = [offer("Labs", "", None), offer("", "", None)];
        let lines: Vec<String> = choose(&offers, 0, None).iter().map(ToString::to_string).collect();
        assert_eq!(lines[2..5], [">  Lab Mac ", "   Labs", ""]);
    }
}
