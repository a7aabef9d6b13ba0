//! Following what takes time: a run of a Mac, a job of the appliance. Survives a restart of the appliance.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use serde::de::DeserializeOwned;

use super::connection::Appliance;
use super::output::{say, say_json};
use super::progress::Meter;
use super::run::print;
use crate::api::admin::{Job, JobKind, JobState, Run, RunSummary};
use crate::api::runner::Outcome;

/// Seconds that the appliance may hold a question back while nothing changes.
const WAIT: u32 = 15;

/// Between two questions that the appliance cannot hold back, or does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for a thing each time it has changed.
struct Follow<'a> {
    appliance: &'a Appliance,
    path: String,
    change: Option<u64>,
    lost: bool,
}

impl<'a> Follow<'a> {
    fn new(appliance: &'a Appliance, path: String) -> Follow<'a> {
        Follow { appliance, path, change: None, lost: false }
    }

    /// The thing after its next change, or as it still is. An appliance that answered once and does not now is waited for.
    fn next<T: DeserializeOwned>(&mut self, change: impl Fn(&T) -> u64, meter: &Meter) -> anyhow::Result<T> {
        loop {
            let path = match self.change {
                Some(after) => format!("{}?after={after}&wait={WAIT}", self.path),
                None => self.path.clone(),
            };
            match self.appliance.client.get::<T>(&path) {
                Ok(thing) => {
                    if std::mem::take(&mut self.lost) {
                        meter.note("the appliance answers again");
                    }
                    self.change = Some(change(&thing));
                    return Ok(thing);
                }
                Err(error) if error.may_pass() && self.change.is_some() => {
                    if !std::mem::replace(&mut self.lost, true) {
                        meter.note(&format!("{error}; waiting for it"));
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Follows a run to its end.
pub fn run(run: Option<i64>, wait: bool, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut meter = Meter::new(appliance.json);
    let id = match run {
        Some(id) => id,
        None => active(wait, appliance, &mut meter)?,
    };
    let mut follow = Follow::new(appliance, format!("/api/v1/runs/{id}"));
    loop {
        let run: Run = follow.next(|run: &Run| run.change, &meter)?;
        if appliance.json {
            say(serde_json::to_string(&run)?)?;
        }
        let summary = &run.summary;
        let Some(outcome) = summary.outcome else {
            meter.show(&at(&run), run.progress.as_ref());
            continue;
        };
        meter.clear();
        if !appliance.json {
            print(&run)?;
        }
        return Ok(if outcome == Outcome::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
}

/// `run 7 on C02…: step 2 of 3, Apply Image`
fn at(run: &Run) -> String {
    let summary = &run.summary;
    let name = run.at.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
    let asks = match &run.question {
        Some(question) if question.message.is_some() => ", WAITS for a person: rootstock run show",
        Some(_) => ", ASKS for values: rootstock run show",
        None => "",
    };
    format!(
        "run {} on {}: step {} of {}{name}{asks}",
        summary.id, summary.device_name, summary.step, summary.steps
    )
}

/// The newest run that has not ended.
fn active(wait: bool, appliance: &Appliance, meter: &mut Meter) -> anyhow::Result<i64> {
    loop {
        let runs: Vec<RunSummary> = appliance.client.get("/api/v1/runs?limit=100")?;
        if let Some(run) = runs.iter().find(|run| run.outcome.is_none()) {
            return Ok(run.id);
        }
        if !wait {
            bail!("no Mac is being worked on: name a run (rootstock run list), or wait for one with --wait");
        }
        meter.show("waiting for a Mac to start a run", None);
        thread::sleep(PAUSE);
    }
}

/// Follows a job to its end, and says how it ended.
pub fn job(job: Job, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    follow_job(job, appliance, true)
}

/// Follows a job to its end; what it did well is said by the caller.
pub fn job_quietly(job: Job, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    follow_job(job, appliance, false)
}

fn follow_job(job: Job, appliance: &Appliance, tell: bool) -> anyhow::Result<ExitCode> {
    let mut meter = Meter::new(appliance.json);
    let mut follow = Follow::new(appliance, format!("/api/v1/jobs/{}", job.id));
    follow.change = Some(job.change);
    let mut now = job;
    while !now.state.has_ended() {
        meter.show(&format!("{}: {}", doing(now.kind), now.subject), now.progress.as_ref());
        now = match follow.next(|job: &Job| job.change, &meter) {
            Ok(job) => job,
            Err(error) => {
                meter.clear();
                return Err(error
                    .context(format!("following job {}; nothing half-done stays in the library", now.id)));
            }
        };
    }
    meter.clear();
    if appliance.json && tell {
        say_json(&now)?;
    }
    match &now.state {
        JobState::Done { message, .. } => {
            if !appliance.json && tell {
                say(message)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        JobState::Failed { error, next_step } if next_step.is_empty() => bail!("{error}"),
        JobState::Failed { error, next_step } => bail!("{error}; {next_step}"),
        _ => bail!("job {} was cancelled; nothing of it is in the library", now.id),
    }
}

fn doing(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Import => "importing",
        JobKind::Verify => "verifying",
        JobKind::Collect => "collecting",
        JobKind::Check => "checking",
        JobKind::Sign => "signing",
        JobKind::Unknown => "working",
    }
}
