//! How far something is, shown while it lasts: a bar on a terminal, else a line now and then.
//!
//! Progress goes to standard error, so that standard output stays for results.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{printable, rate, span};
use crate::api::runner::Progress;

/// Hundredths from one line to the next when there is no terminal.
const LINE_EVERY: u64 = 10;

/// How often a bar shows that the program is alive.
const TICK: Duration = Duration::from_millis(200);

const SPINNER: &str = "{spinner} {msg}";
const BAR: &str = "{msg}\n[{bar:40}] {percent:>3} %";

/// A meter that is told how things stand.
pub enum Meter {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere; with label, phase and tenth of the line that was printed last.
    Lines(Option<(String, String, u64)>),
    /// Shows nothing.
    Quiet,
}

impl Meter {
    /// A bar on a terminal, else lines; nothing when `quiet`.
    pub fn new(quiet: bool) -> Meter {
        if quiet {
            return Meter::Quiet;
        }
        if !stderr().is_terminal() {
            return Meter::Lines(None);
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        style(&bar, SPINNER);
        Meter::Bar(bar)
    }

    /// Shows that `label` is at work, and how far.
    pub fn show(&mut self, label: &str, progress: Option<&Progress>) {
        let label = printable(label);
        match self {
            Meter::Bar(bar) => draw(bar, &label, progress),
            Meter::Lines(last) => {
                let part = progress.map_or(0, |progress| hundredths(progress) / LINE_EVERY);
                let now = (label, progress.map(|progress| progress.phase.clone()).unwrap_or_default(), part);
                if last.as_ref() != Some(&now) {
                    eprintln!("{}", line(&now.0, progress));
                    *last = Some(now);
                }
            }
            Meter::Quiet => {}
        }
    }

    /// Writes a line that stays.
    pub fn note(&self, line: &str) {
        match self {
            Meter::Bar(bar) => bar.suspend(|| eprintln!("{}", printable(line))),
            Meter::Lines(_) => eprintln!("{}", printable(line)),
            Meter::Quiet => {}
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Meter::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(label: &str, progress: Option<&Progress>) -> String {
    match progress {
        Some(progress) => {
            format!(
                "{label} · {} · {} %{}",
                printable(&progress.phase),
                hundredths(progress),
                details(progress)
            )
        }
        None => label.to_owned(),
    }
}

/// Numbers and texts first, the style that shows them last: a bar draws itself at every call.
fn draw(bar: &ProgressBar, label: &str, progress: Option<&Progress>) {
    let mut template = SPINNER;
    if let Some(progress) = progress.filter(|progress| progress.total > 0) {
        bar.set_length(progress.total);
        bar.set_position(progress.done.min(progress.total));
        template = BAR;
    }
    let what = progress.map(|progress| format!(" · {}{}", printable(&progress.phase), details(progress)));
    bar.set_message(format!("{label}{}", what.unwrap_or_default()));
    style(bar, template);
    bar.enable_steady_tick(TICK);
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
}

/// Hundredths done, 0 to 100.
fn hundredths(progress: &Progress) -> u64 {
    match progress.total {
        0 => 0,
        total => (u128::from(progress.done.min(total)) * 100 / u128::from(total)) as u64,
    }
}

/// ` · 98.0 MB/s network · 310.2 MB/s disk · 40 s left`: only what is known.
fn details(progress: &Progress) -> String {
    let mut text = String::new();
    for (bytes, what) in [(progress.network_rate, "network"), (progress.disk_rate, "disk")] {
        if bytes > 0 {
            text += &format!(" · {} {what}", rate(bytes));
        }
    }
    if let Some(left) = progress.seconds_left {
        text += &format!(" · {} left", span(left.into()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_shown() {
        let mut progress = Progress { phase: "writing".into(), done: 50, total: 200, ..Progress::default() };
        assert_eq!((hundredths(&progress), details(&progress).as_str()), (25, ""));
        progress.network_rate = 98_000_000;
        progress.disk_rate = 310_200_000;
        progress.seconds_left = Some(40);
        assert_eq!(details(&progress), " · 98.0 MB/s network · 310.2 MB/s disk · 40 s left");
    }

    #[test]
    fn a_lying_counter_does_not_pass_a_hundred() {
        for (done, total, want) in [(9, 0, 0), (u64::MAX, 1, 100), (u64::MAX, u64::MAX, 100)] {
            assert_eq!(hundredths(&Progress { done, total, ..Progress::default() }), want);
        }
    }
}
