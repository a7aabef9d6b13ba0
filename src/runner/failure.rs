//! Errors as the appliance and the technician get them: cause, what was seen, what to do next.
//!
//! Must not know: where failures go.

use std::error::Error as StdError;
use std::io;

use super::format::{PlanError, TableError, VolumeError};
use super::place::PlaceError;
use super::script::{Ended, ScriptError};
use crate::api::runner::Failure;
use crate::client::ClientError;

/// A failure without an exit code.
pub fn failure(
    cause: impl Into<String>,
    evidence: impl Into<String>,
    next_step: impl Into<String>,
) -> Failure {
    Failure { cause: cause.into(), evidence: evidence.into(), next_step: next_step.into(), exit_code: None }
}

/// An error and what it comes from, one sentence.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What a refused or impossible request means for the technician.
pub fn of_client(doing: &str, error: &ClientError) -> Failure {
    let next = match error {
        ClientError::Refused { problem, .. } if !problem.next_step.is_empty() => problem.next_step.clone(),
        ClientError::Refused { status: 401 | 403, .. } => {
            "Try again: this Mac introduces itself anew then.".to_owned()
        }
        ClientError::Refused { .. } => "Look into the appliance's log, then try again.".to_owned(),
        ClientError::Unreachable { remedy, .. } | ClientError::Untrusted { remedy, .. } => sentence(remedy),
        ClientError::Unreadable { .. } => {
            "Build the boot files again with the version that the appliance runs.".to_owned()
        }
        ClientError::BadAddress { .. } | ClientError::BadProxy { .. } => {
            "Press N and correct it on the network page.".to_owned()
        }
        ClientError::BadAuthority(_) => "Build the boot files again: `rootstock media boot`.".to_owned(),
    };
    failure(doing, error.to_string(), next)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// A plan that does not fit.
pub fn of_plan(disk: &str, error: &PlanError) -> Failure {
    let next = match error {
        PlanError::TooSmall { .. } => "Use a larger disk, or smaller partitions in the step.",
        PlanError::Tiny { .. } => "Give the partition more room in the step.",
        PlanError::NoPartitions | PlanError::TooMany(_) | PlanError::Percent { .. } => {
            "Correct the step in the task sequence."
        }
    };
    failure(format!("{disk} cannot be partitioned as asked; nothing was written"), error.to_string(), next)
}

/// A partition table that could not be written.
pub fn of_table(disk: &str, error: &TableError) -> Failure {
    let next = "Try again; if it stays, replace the disk.";
    failure(format!("the partition table of {disk} could not be written"), chain(error), next)
}

/// A file system that could not be made.
pub fn of_volume(name: &str, error: &VolumeError) -> Failure {
    let next = match error {
        VolumeError::NotStarted { .. } => "Build the boot files again: this program belongs to them.",
        VolumeError::Maker { .. } | VolumeError::Disk { .. } | VolumeError::Hfs { .. } => {
            "Try again; if it stays, replace the disk."
        }
    };
    failure(format!("the file system of partition `{name}` could not be made"), chain(error), next)
}

/// A disk or partition that is not there.
pub fn of_place(error: &PlaceError) -> Failure {
    let next = match error {
        PlaceError::NoDisk { .. } | PlaceError::NoPartition { .. } => {
            "Correct disk and partition in the step, or connect the disk."
        }
        PlaceError::Foreign(_) => "Name a partition that this run has formatted.",
        PlaceError::Open { .. } => "Check the disk; restart this Mac if something else uses it.",
    };
    failure("the disk or partition cannot be used", chain(error), next)
}

/// A disk that cannot be opened for writing.
pub fn of_open(disk: &str, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::ResourceBusy => "Something on this Mac uses the disk: restart it and try again.",
        _ => "Check the disk's cable and power; replace it if it stays.",
    };
    failure(format!("{disk} cannot be opened for writing"), error.to_string(), next)
}

/// A script that did not run.
pub fn of_script(error: &ScriptError) -> Failure {
    let next = match error {
        ScriptError::NoShebang => "Begin the script with a line such as `#!/bin/sh`.",
        ScriptError::Interpreter { .. } => {
            "Use an interpreter that the boot environment has (`/bin/sh`), or run the script on macOS."
        }
        ScriptError::File { .. } | ScriptError::Wait(_) => "Restart this Mac and try again.",
    };
    failure("the script could not be run", chain(error), next)
}

/// A script that ran and did not end well.
pub fn of_ended(ended: Ended, success_codes: &[i32], limit: Option<u32>) -> Failure {
    let log = "Read the script's output in the log of the run.";
    match ended {
        Ended::Exit(code) => Failure {
            exit_code: Some(code),
            ..failure(
                format!("the script ended with exit code {code}"),
                format!("success is {}", list(success_codes)),
                log,
            )
        },
        Ended::Signal(number) => failure("the script was killed", format!("signal {number}"), log),
        Ended::TimedOut => failure(
            "the script did not end in time and was ended",
            format!("the limit is {} seconds", limit.unwrap_or_default()),
            "Raise the step's limit, or find what the script waits for.",
        ),
        Ended::Stopped => {
            failure("the script was ended because the run was cancelled", "", "Start a new run.")
        }
    }
}

fn list(codes: &[i32]) -> String {
    codes.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_an_error_is_one_sentence() {
        let error = TableError::Disk { doing: "flushing", source: io::Error::other("no medium") };
        assert_eq!(chain(&error), "flushing failed: no medium");
    }

    #[test]
    fn a_failed_script_carries_its_exit_code_and_what_would_be_good() {
        let failure = of_ended(Ended::Exit(3), &[0, 17], None);
        assert_eq!(failure.exit_code, Some(3));
        assert_eq!(failure.evidence, "success is 0, 17");
        assert_eq!(of_ended(Ended::TimedOut, &[0], Some(60)).evidence, "the limit is 60 seconds");
    }

    #[test]
    fn what_the_appliance_says_to_do_is_what_is_shown() {
        let problem = crate::api::runner::Problem { error: "no".into(), next_step: "Ask Bob.".into() };
        let error = ClientError::Refused { request: "POST /".into(), status: 409, problem };
        assert_eq!(of_client("starting the run failed", &error).next_step, "Ask Bob.");
    }
}
