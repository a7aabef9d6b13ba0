//! The worker's news as plain lines: for a serial console, a log, a machine without a screen.
//!
//! Must not know: where the lines go.

use std::time::Duration;

use super::appliances::verdict;
use super::event::{Down, Told};
use super::{rate, spoken};
use crate::api::runner::{DeviceFacts, Failure, Outcome, Progress, RunQuestion};
use crate::client::Found;
use crate::runner::identity::called;
use crate::runner::network::NetworkNews;
use crate::value::ByteSize;

/// How often progress is a line.
const EVERY: Duration = Duration::from_secs(5);

/// Turns news into lines; remembers what need not be said again.
#[derive(Debug, Default)]
pub struct Lines {
    machine: Vec<String>,
    appliances: Vec<String>,
    offers: Vec<String>,
    waiting: Option<String>,
    progress_at: Option<(String, Duration)>,
    /// The phase and the bytes that stand still, and since when; whether that was said.
    still: Option<(String, u64, Duration, bool)>,
    asked: Vec<String>,
}

impl Lines {
    /// The lines for `told` at `now`.
    pub fn of(&mut self, now: Duration, told: &Told) -> Vec<String> {
        if !matches!(told, Told::Waiting { .. } | Told::Progress { .. } | Told::Lines(_)) {
            self.waiting = None;
        }
        match told {
            Told::Machine(facts) => news(&mut self.machine, machine(facts)),
            Told::Waiting { what, error } => {
                let line = match error {
                    Some(error) => format!("waiting: {what}: {error}"),
                    None => format!("waiting: {what}"),
                };
                let new = self.waiting.as_ref() != Some(&line);
                self.waiting = Some(line.clone());
                if new { vec![line] } else { Vec::new() }
            }
            Told::Appliances(found) => news(&mut self.appliances, appliances(found)),
            Told::Network(NetworkNews::Applied { text, .. }) => vec![format!("network: {text}")],
            Told::Network(NetworkNews::Failed(text)) => vec![format!("network: {text}")],
            Told::Network(_) => Vec::new(),
            Told::GoesOn => vec!["goes on".into()],
            Told::Offers { appliance, offers, why_empty, log_in } => {
                let mut lines = vec![format!("appliance {appliance} offers {} sequences", offers.len())];
                lines.extend(offers.iter().map(|offer| format!("  {:?}: {}", offer.purpose, offer.sequence)));
                lines.extend(why_empty.clone());
                lines.extend(log_in.as_ref().map(|_| "a technician has to log in for more".to_owned()));
                news(&mut self.offers, lines)
            }
            Told::Started { run, sequence, steps } => {
                vec![format!("run {run} of `{sequence}`, {steps} steps")]
            }
            Told::Step { step, steps, name } => {
                self.progress_at = None;
                self.asked.clear();
                vec![format!("step {step} of {steps}: {name}")]
            }
            // Figures of a network that is gone say less than that it is gone.
            Told::Progress { .. } if self.waiting.is_some() => Vec::new(),
            Told::Progress { progress, limit } => {
                if let Some(lines) = self.standstill(now, progress) {
                    return lines;
                }
                let phase_is_new =
                    self.progress_at.as_ref().is_none_or(|(phase, _)| *phase != progress.phase);
                let due = self.progress_at.as_ref().is_none_or(|(_, at)| now.saturating_sub(*at) >= EVERY);
                if !phase_is_new && !due && progress.done < progress.total {
                    return Vec::new();
                }
                self.progress_at = Some((progress.phase.clone(), now));
                let left = progress
                    .seconds_left
                    .map(|seconds| format!(", {} left", spoken(Duration::from_secs(seconds.into()))));
                let limit = limit.as_ref().map(|limit| format!(", {limit}"));
                if progress.total == 0 {
                    return vec![progress.phase.clone()];
                }
                vec![format!(
                    "{}: {} of {}, {} from the network, {} disk{}{}",
                    progress.phase,
                    ByteSize(progress.done),
                    ByteSize(progress.total),
                    rate(progress.network_rate),
                    rate(progress.disk_rate),
                    left.unwrap_or_default(),
                    limit.unwrap_or_default(),
                )]
            }
            Told::Lines(lines) => lines.iter().map(|line| format!("| {line}")).collect(),
            Told::StepFailed(failure) => problem("step failed", failure),
            Told::Ended { outcome, message, failed_step, .. } => {
                let word = match outcome {
                    Outcome::Succeeded => "SUCCEEDED",
                    Outcome::Failed => "FAILED",
                    Outcome::Cancelled => "CANCELLED",
                };
                let at = failed_step
                    .iter()
                    .map(|step| format!("  failed step: {} ({})", step.named(), step.place));
                std::iter::once(format!("run {word}: {message}")).chain(at).collect()
            }
            Told::Trouble(failure) => problem("cannot go on", failure),
            Told::Asked(question) => news(&mut self.asked, asked(question)),
            Told::LoggedIn { name, role } => vec![format!("{name}, {role}, is logged in")],
            Told::LoggedOut { why: None } => vec!["nobody is logged in any more".into()],
            Told::LoggedOut { why: Some(why) } => vec![format!("nobody is logged in any more: {why}")],
            Told::NotTaken(why) => vec![format!("not taken: {why}")],
            Told::GoingDown(Down::Restart) => vec!["restarting".into()],
            Told::GoingDown(Down::ShutDown) => vec!["shutting down".into()],
            Told::Message(message) => {
                message.text.lines().map(|line| format!("message from {}: {line}", message.by)).collect()
            }
            Told::Remote(_) | Told::Keyboard(_) => Vec::new(),
        }
    }
}

impl Lines {
    /// Where nothing moves, that is the news, once; rates of nothing and a time left that grows are none.
    fn standstill(&mut self, now: Duration, progress: &Progress) -> Option<Vec<String>> {
        let moves = progress.network_rate > 0 || progress.disk_rate > 0 || progress.total == 0;
        let same = |(phase, done, ..): &&mut (String, u64, Duration, bool)| {
            !moves && *phase == progress.phase && *done == progress.done
        };
        match self.still.as_mut().filter(same) {
            Some((_, _, since, said)) if now.saturating_sub(*since) >= EVERY => {
                let line = format!(
                    "{}: {} of {}, nothing moves",
                    progress.phase,
                    ByteSize(progress.done),
                    ByteSize(progress.total)
                );
                let new = !std::mem::replace(said, true);
                Some(if new { vec![line] } else { Vec::new() })
            }
            Some(_) => None,
            None => {
                self.still = Some((progress.phase.clone(), progress.done, now, false));
                None
            }
        }
    }
}

fn appliances(found: &[Found]) -> Vec<String> {
    if found.is_empty() {
        return vec![
            "no appliance announces itself; name one with rootstock.server= on the kernel command line"
                .into(),
        ];
    }
    let line = |found: &Found| format!("  {} at {}: {}", found.name, found.address, verdict(found.verdict));
    std::iter::once("which appliance?".to_owned()).chain(found.iter().map(line)).collect()
}

/// What a run asks: on a console without keys, with the way to answer.
fn asked(question: &RunQuestion) -> Vec<String> {
    if let Some(asked) = &question.destination {
        let choose = "(here, or with rootstock run destination)";
        return vec![format!("waits for the partition that receives {} {choose}", asked.image)];
    }
    let names: Vec<&str> = question.variables.iter().map(|asked| asked.name.as_str()).collect();
    match &question.message {
        Some(message) => {
            vec![format!("waits for a person: {message} (here, or with rootstock run confirm)")]
        }
        None => {
            vec![format!("waits for values of {} (here, or with rootstock run answer)", names.join(", "))]
        }
    }
}

/// The lines, unless they are what was said the last time.
fn news(last: &mut Vec<String>, lines: Vec<String>) -> Vec<String> {
    if *last == lines {
        return Vec::new();
    }
    *last = lines.clone();
    lines
}

fn machine(facts: &DeviceFacts) -> Vec<String> {
    let text = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    let mut lines = vec![format!(
        "this Mac: model {}, serial {}, addresses {}",
        text(facts.model.as_ref().map(|model| model.as_str())),
        text(facts.serial.as_ref().map(|serial| serial.as_str())),
        facts.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    )];
    lines.extend(facts.disks.iter().map(|disk| {
        let number = disk.number.map_or("not to be touched".into(), |number| format!("disk {number}"));
        format!("  {number}: {}, {}", called(disk), ByteSize(disk.size))
    }));
    lines
}

fn problem(head: &str, failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("{head}: {}", failure.cause)];
    let rest = [("seen", &failure.evidence), ("next", &failure.next_step)];
    lines.extend(
        rest.iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("  {what}: {text}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(error: &str) -> Told {
        Told::Waiting { what: "appliance".into(), error: Some(error.into()) }
    }

    #[test]
    fn the_same_wait_is_said_once_and_again_after_it_was_over() {
        let mut lines = Lines::default();
        assert_eq!(lines.of(Duration::ZERO, &waiting("refused")), ["waiting: appliance: refused"]);
        assert!(lines.of(Duration::ZERO, &waiting("refused")).is_empty());
        assert_eq!(lines.of(Duration::ZERO, &waiting("no route")).len(), 1);
        lines.of(Duration::ZERO, &Told::GoesOn);
        assert_eq!(lines.of(Duration::ZERO, &waiting("no route")).len(), 1);
    }

    #[test]
    fn progress_is_a_line_at_each_new_phase_every_five_seconds_and_at_the_end() {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for half in 0..=24_u64 {
            let phase = if half < 12 { "writing" } else { "reading back" };
            let progress = Progress {
                phase: phase.into(),
                done: (half % 12) << 30,
                total: 11 << 30,
                network_rate: 110_000_000,
                disk_rate: 95_000_000,
                seconds_left: Some(75),
                ..Progress::default()
            };
            let told = Told::Progress { progress, limit: None };
            said.extend(lines.of(Duration::from_millis(half * 500), &told));
        }
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn an_outage_is_told_by_what_is_waited_for_and_not_by_figures_of_nothing() {
        let mut lines = Lines::default();
        let progress = || Told::Progress {
            progress: Progress { phase: "writing".into(), done: 1, total: 9, ..Progress::default() },
            limit: None,
        };
        assert_eq!(lines.of(Duration::ZERO, &progress()).len(), 1);
        assert_eq!(lines.of(Duration::from_secs(1), &waiting("refused")), ["waiting: appliance: refused"]);
        for second in 2..60 {
            let at = Duration::from_secs(second);
            assert!(lines.of(at, &progress()).is_empty() && lines.of(at, &waiting("refused")).is_empty());
        }
        assert_eq!(lines.of(Duration::from_secs(60), &Told::GoesOn), ["goes on"]);
        assert_eq!(lines.of(Duration::from_secs(61), &progress()).len(), 1);
    }

    #[test]
    fn section_8_a_standstill_is_said_once_and_not_as_rates_of_nothing() {
        let mut lines = Lines::default();
        let told = |done, rate| Told::Progress {
            progress: Progress {
                phase: "writing".into(),
                done,
                total: 1000,
                network_rate: rate,
                disk_rate: rate,
                seconds_left: Some(done as u32),
                ..Progress::default()
            },
            limit: None,
        };
        let mut said = Vec::new();
        (0..10)
            .for_each(|second| said.extend(lines.of(Duration::from_secs(second), &told(second, 1_000_000))));
        (10..300).for_each(|second| said.extend(lines.of(Duration::from_secs(second), &told(10, 0))));
        let after = said.iter().position(|line| line.contains("nothing moves")).unwrap();
        assert_eq!(said.iter().filter(|line| line.contains("nothing moves")).count(), 1, "{said:#?}");
        assert!(said.len() <= after + 1, "{said:#?}");
        assert_eq!(lines.of(Duration::from_secs(301), &told(20, 1_000_000)).len(), 1, "it moves again");
    }

    #[test]
    fn a_list_that_was_asked_again_and_is_the_same_is_not_said_again() {
        let mut lines = Lines::default();
        let offers = |why: &str| Told::Offers {
            appliance: "Lab".into(),
            offers: Vec::new(),
            why_empty: Some(why.into()),
            log_in: None,
        };
        assert_eq!(lines.of(Duration::ZERO, &offers("nothing")).len(), 2);
        assert!(lines.of(Duration::ZERO, &offers("nothing")).is_empty());
        assert_eq!(lines.of(Duration::ZERO, &offers("paused")).len(), 2);
    }

    #[test]
    fn a_failure_is_three_lines_and_nothing_for_what_is_not_known() {
        let failure = Failure {
            cause: "no disk".into(),
            evidence: String::new(),
            next_step: "add one".into(),
            exit_code: None,
        };
        let said = Lines::default().of(Duration::ZERO, &Told::StepFailed(failure));
        assert_eq!(said, ["step failed: no disk", "  next: add one"]);
    }
}
