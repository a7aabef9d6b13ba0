//! The page of a run at work, as widgets.
//!
//! Must not know: the terminal, what keys do.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::state::{Running, State};
use super::view::BOLD;
use super::{rate, spoken};
use crate::api::runner::Progress;
use crate::value::ByteSize;

/// Draws it.
pub(super) fn run_page(state: &State, running: &Running, area: Rect, frame: &mut Frame<'_>) {
    let [title, bar, numbers, news, log] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(if has_news(running) { 6 } else { 0 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    let step = match running.step {
        0 => format!("{} steps", running.steps),
        step => format!("Step {step} of {}: {}", running.steps, running.name),
    };
    let spent = spoken(state.now.saturating_sub(running.began));
    let phase = running.progress.as_ref().map_or("working", |progress| progress.phase.as_str());
    let lines = vec![
        Line::styled(running.sequence.as_str(), BOLD),
        Line::default(),
        step.into(),
        format!("{phase}, for {spent}").into(),
    ];
    frame.render_widget(Paragraph::new(lines), title);
    if let Some(progress) = &running.progress {
        frame.render_widget(Paragraph::new(bar_of(progress.done, progress.total, bar.width)), bar);
        frame.render_widget(Paragraph::new(figures(progress, running.limit.as_deref())), numbers);
    }
    frame.render_widget(Paragraph::new(bad_news(running)).wrap(Wrap { trim: false }), news);
    let skip = state.log.len().saturating_sub(usize::from(log.height));
    let tail: Vec<Line<'_>> = state.log.iter().skip(skip).map(|line| line.as_str().into()).collect();
    frame.render_widget(Paragraph::new(tail), log);
}

fn has_news(running: &Running) -> bool {
    running.waiting.is_some() || running.failed.is_some() || running.stopping
}

/// A bar of `width` columns with the percentage behind it, drawn with characters: a console without colours shows
/// ratatui's own gauge the wrong way round.
fn bar_of(done: u64, total: u64, width: u16) -> String {
    let room = u64::from(width.saturating_sub(6));
    let part = |of: u64| {
        if total == 0 { 0 } else { (u128::from(done.min(total)) * u128::from(of) / u128::from(total)) as u64 }
    };
    let full = part(room);
    let bar: String = (0..room).map(|column| if column < full { '█' } else { '░' }).collect();
    format!("{bar} {:>3} %", part(100))
}

fn figures(progress: &Progress, limit: Option<&str>) -> Vec<Line<'static>> {
    let left = progress.seconds_left.map_or("not known yet".to_owned(), |seconds| {
        format!("about {}", spoken(Duration::from_secs(seconds.into())))
    });
    vec![
        format!("{} of {}", ByteSize(progress.done), ByteSize(progress.total)).into(),
        rates(progress, limit).into(),
        format!("Time left: {left}").into(),
    ]
}

/// Both rates and what limits them, one line (task-sequences section 7).
pub(super) fn rates(progress: &Progress, limit: Option<&str>) -> String {
    // The engine's own word for the phase in which the disk is read.
    let way = if progress.phase.starts_with("reading") { "from" } else { "to" };
    let (network, disk) = (rate(progress.network_rate), rate(progress.disk_rate));
    let limit = limit.map(|limit| format!(" · {limit}")).unwrap_or_default();
    format!("{network} from the network · {disk} {way} the disk{limit}")
}

fn bad_news(running: &Running) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    if running.stopping {
        lines.push(Line::styled("The run is being stopped; what was done to the disk stays.", BOLD));
    }
    if let Some(waiting) = &running.waiting {
        lines.push(Line::styled("WAITING", BOLD));
        lines.push(waiting.as_str().into());
    }
    if let Some(failure) = &running.failed {
        lines.push(Line::styled(format!("A step failed: {}", failure.cause), BOLD));
        lines.push(failure.evidence.as_str().into());
        lines.push(failure.next_step.as_str().into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_7_both_rates_and_what_limits_stand_on_one_line_that_fits() {
        let progress = |phase: &str| Progress {
            phase: phase.into(),
            network_rate: 1_112_400_000,
            disk_rate: 1_231_900_000,
            ..Progress::default()
        };
        let line = rates(&progress("writing"), Some("decoding limits"));
        assert_eq!(line, "1112 MB/s from the network · 1232 MB/s to the disk · decoding limits");
        assert!(line.chars().count() <= 76);
        assert!(rates(&progress("reading back"), None).ends_with("MB/s from the disk"));
    }
}
