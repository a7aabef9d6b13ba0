//! The page that selects a destination, as lines.
//!
//! Must not know: the terminal, what keys do.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::destination::Destination;
use super::spoken;
use super::state::State;
use super::view::{BOLD, REVERSE};
use crate::api::runner::DestinationDisk;
use crate::value::ByteSize;

/// Columns of what lies on a partition; what is longer is cut.
const CONTENTS: usize = 40;

/// The page.
pub(super) fn destination<'a>(state: &State, page: &'a Destination) -> Vec<Line<'a>> {
    if page.confirming { confirm(page) } else { select(state, page).0 }
}

/// Lines to leave out at the top so that the marked partition is on screen.
pub(super) fn scroll(state: &State, page: &Destination, height: u16) -> u16 {
    if page.confirming {
        return 0;
    }
    let (_, marked) = select(state, page);
    // Its own line, and those above that say what it is about, as far as they fit.
    u16::try_from((marked + 2).saturating_sub(usize::from(height))).unwrap_or(u16::MAX)
}

/// The list, and the number of the line that is marked.
fn select<'a>(state: &State, page: &'a Destination) -> (Vec<Line<'a>>, usize) {
    let sequence = if page.sequence.is_empty() { "The run" } else { &page.sequence };
    let needs = match page.asked.needs {
        0 => String::new(),
        needs => format!(", which needs {}", ByteSize(needs)),
    };
    let waited = spoken(state.now.saturating_sub(page.since));
    let mut lines = vec![
        Line::styled("Select a destination", BOLD),
        format!("{sequence} puts {} on a partition of this Mac{needs}.", page.asked.image).into(),
        Line::styled("What lies there is ERASED. There is no way back after it is confirmed.", BOLD),
        format!("Asked for {waited}. Here or at the appliance; the first answer counts.").into(),
    ];
    match (&page.wrong, &page.trouble) {
        (_, Some(trouble)) => lines.push(Line::styled(format!("WAITING: {trouble}"), BOLD)),
        (Some(wrong), None) => lines.push(Line::styled(format!("NOT TAKEN  {wrong}"), BOLD)),
        (None, None) => lines.push(Line::default()),
    }
    let mut at = 0;
    if page.asked.disks.is_empty() {
        lines.push("The disks of this Mac are being looked at.".into());
    }
    for disk in &page.asked.disks {
        lines.push(Line::styled(head(disk), BOLD));
        if !disk.why_not.is_empty() {
            lines.push(format!("     - {}", disk.why_not).into());
        }
        for partition in &disk.partitions {
            let is_marked =
                page.marked.is_some() && page.marked == disk.number.map(|disk| (disk, partition.number));
            let (mark, style) = if is_marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
            if is_marked {
                at = lines.len();
            }
            let contents: String = partition.contents.chars().take(CONTENTS).collect();
            let size = ByteSize(partition.size).to_string();
            let text = format!(" {:>2}  {contents:<CONTENTS$} {size:>10} ", partition.number);
            lines.push(Line::from(vec![mark.into(), Span::styled(text, style)]));
            if !partition.why_not.is_empty() {
                lines.push(format!("       - {}", partition.why_not).into());
            }
        }
    }
    if page.marked.is_none() && !page.asked.disks.is_empty() {
        lines.push(Line::default());
        lines.push(Line::styled(
            "Nothing here can take the image. Connect another disk, or stop the run with Esc.",
            BOLD,
        ));
    }
    (lines, at)
}

fn head(disk: &DestinationDisk) -> String {
    let number = disk.number.map_or("Disk not used".to_owned(), |number| format!("Disk {number}"));
    let place = if disk.external { "external" } else { "internal" };
    let serial = match disk.serial.as_str() {
        "" => String::new(),
        serial => format!(", serial number {serial}"),
    };
    format!("{number}: {}, {}, {place}{serial}", disk.model, ByteSize(disk.size))
}

fn confirm(page: &Destination) -> Vec<Line<'_>> {
    let mut lines = vec![Line::styled(format!("Put {} there?", page.asked.image), BOLD), Line::default()];
    if let Some((disk, partition)) = page.selected() {
        let number = disk.number.unwrap_or_default();
        lines.extend([
            Line::styled(format!("Partition {} of disk {number} is ERASED.", partition.number), BOLD),
            "This is lost:".into(),
            format!("   {}, {}", partition.contents, ByteSize(partition.size)).into(),
            Line::default(),
            head(disk).into(),
            disk.node.as_str().into(),
        ]);
    }
    lines.push(Line::default());
    lines.push(match (&page.trouble, page.sent) {
        (Some(trouble), _) => Line::styled(format!("WAITING: {trouble}"), BOLD),
        (None, Some(_)) => Line::styled("Said. The run goes on as soon as the appliance has heard it.", BOLD),
        (None, None) => Line::styled("Press Y to write there. There is no way back after that.", BOLD),
    });
    lines
}
