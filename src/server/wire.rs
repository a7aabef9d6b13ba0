//! Between the words of the run engine and those of the protocol: one function a type, nothing decided.

use crate::api::admin;
use crate::api::runner::{
    Action, Assignment, BootMethod, ChosenPartition, Destination, DeviceFacts, Done, Failure, Next, Outcome,
    PartitionRequest, PartitionSize, VerifyRequest,
};
use crate::sequence::check::Finding;
use crate::sequence::name::VariableName;
use crate::sequence::prompt::PromptKind;
use crate::sequence::quantity;
use crate::sequence::run;
use crate::sequence::run::act::{Act, Applied, NewPartition, Target};
use crate::sequence::run::event::{ActionResult, Failure as RunFailure};
use crate::sequence::variable::{self, Facts};
use crate::value::Digest;

pub fn facts(facts: &DeviceFacts, boot: BootMethod) -> Facts {
    Facts {
        serial: facts.serial.clone(),
        model: facts.model.clone(),
        uuid: facts.uuid,
        mac: facts.macs.first().copied(),
        memory: facts.memory,
        disk0_size: facts.disks.iter().find(|disk| disk.number == Some(0)).map(|disk| disk.size),
        boot: boot_method(boot),
    }
}

pub fn boot_method(boot: BootMethod) -> variable::BootMethod {
    match boot {
        BootMethod::Netboot => variable::BootMethod::Netboot,
        BootMethod::Usb => variable::BootMethod::Usb,
        BootMethod::Macos => variable::BootMethod::Macos,
        BootMethod::Unknown => variable::BootMethod::Unknown,
    }
}

pub fn outcome(outcome: run::Outcome) -> Outcome {
    match outcome {
        run::Outcome::Succeeded => Outcome::Succeeded,
        run::Outcome::Failed => Outcome::Failed,
        run::Outcome::Cancelled => Outcome::Cancelled,
    }
}

pub fn step_state(state: run::StepState) -> admin::StepState {
    match state {
        run::StepState::Pending => admin::StepState::Pending,
        run::StepState::Running => admin::StepState::Running,
        run::StepState::Succeeded => admin::StepState::Succeeded,
        run::StepState::Failed => admin::StepState::Failed,
        run::StepState::Skipped => admin::StepState::Skipped,
    }
}

/// What a run asks, as people are shown it.
pub fn question(question: run::Question, run: &run::Run, since_ms: i64) -> admin::RunQuestion {
    match question {
        run::Question::Values(names) => admin::RunQuestion {
            variables: names.into_iter().map(|(name, secret)| asked(name, secret, run)).collect(),
            since_ms,
            ..admin::RunQuestion::default()
        },
        run::Question::Destination { step, name, image, .. } => admin::RunQuestion {
            destination: Some(admin::AskedDestination {
                step,
                name,
                image,
                ..admin::AskedDestination::default()
            }),
            since_ms,
            ..admin::RunQuestion::default()
        },
        run::Question::Confirm { message, button, .. } => admin::RunQuestion {
            message: Some(run.masked(&message)),
            button: Some(button),
            since_ms,
            ..admin::RunQuestion::default()
        },
    }
}

fn asked(name: VariableName, secret: bool, run: &run::Run) -> admin::AskedVariable {
    let Some((prompt, default)) = run.prompt(&name) else {
        return admin::AskedVariable { name: name.into(), secret, ..admin::AskedVariable::default() };
    };
    admin::AskedVariable {
        name: name.into(),
        secret,
        label: prompt.label.clone(),
        help: prompt.help.clone(),
        kind: match prompt.kind {
            PromptKind::Text => admin::AskedKind::Text,
            PromptKind::Choice => admin::AskedKind::Choice,
            PromptKind::YesNo => admin::AskedKind::YesNo,
        },
        choices: prompt.choices(),
        default,
        required: !prompt.optional,
    }
}

/// A person must say something; the Mac asks again after `seconds`.
pub fn waits(seconds: u32, asked: run::Question, run: &run::Run, since_ms: i64) -> Next {
    let why = run.masked(&asked.line());
    Next::Wait { seconds, why, question: Some(Box::new(question(asked, run, since_ms))) }
}

/// The run has ended.
pub fn finished(run: &run::Run, ended: run::Outcome, message: &str) -> Next {
    Next::Finished {
        outcome: outcome(ended),
        message: run.masked(message),
        failure: run.failure().map(|failure| Box::new(masked(run, failure_out(failure)))),
        can_resume: run.can_resume(),
        failed_step: failed_step(run).map(Box::new),
    }
}

/// The step that a run failed at.
pub fn failed_step(run: &run::Run) -> Option<admin::FailedStep> {
    let index = run.failed_at()?;
    let program = run.program();
    Some(admin::FailedStep {
        step: u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1),
        steps: u32::try_from(program.len()).unwrap_or(u32::MAX),
        name: program.step(index).name.clone(),
        place: program.step_item(index).place.as_ref().map(ToString::to_string).unwrap_or_default(),
        groups: program.groups_around(index).into_iter().map(str::to_owned).collect(),
    })
}

pub fn finding(finding: &Finding) -> admin::Finding {
    admin::Finding {
        code: finding.code.to_string(),
        path: finding.path.clone(),
        message: finding.message.clone(),
    }
}

pub fn failure_out(failure: &RunFailure) -> Failure {
    Failure {
        cause: failure.cause.clone(),
        evidence: failure.evidence.clone(),
        next_step: failure.next_step.clone(),
        exit_code: failure.exit_code,
    }
}

/// A failure as people are shown it.
pub fn masked(run: &run::Run, failure: Failure) -> Failure {
    Failure {
        cause: run.masked(&failure.cause),
        evidence: run.masked(&failure.evidence),
        next_step: run.masked(&failure.next_step),
        ..failure
    }
}

pub fn failure_in(failure: Failure) -> RunFailure {
    RunFailure {
        cause: failure.cause,
        evidence: failure.evidence,
        next_step: failure.next_step,
        exit_code: failure.exit_code,
    }
}

/// `receipt` is the manifest of a receipt whose signature was checked, `captured` what the library recorded.
pub fn result(done: Done, receipt: Option<Digest>, captured: Option<String>) -> ActionResult {
    let Done { exit_code, nodes, verified, saved, warning, receipt: _ } = done;
    ActionResult { exit_code, nodes, receipt, captured, saved, verified, warning }
}

pub fn act(assignment: &run::act::Assignment) -> Next {
    Next::Act(Box::new(Assignment {
        number: assignment.number,
        step: assignment.step,
        steps: assignment.steps,
        name: assignment.name.clone(),
        timeout: assignment.timeout,
        action: action(&assignment.act),
    }))
}

fn action(act: &Act) -> Action {
    match act.clone() {
        Act::FormatDisk { disk, partitions } => {
            Action::FormatDisk { disk, partitions: partitions.into_iter().map(partition).collect() }
        }
        Act::ApplyImage { manifest, image, source_partition, target, free } => {
            let chosen = match &target {
                Target::Chosen(chosen) => {
                    Some(ChosenPartition { serial: chosen.serial.clone(), size: chosen.size })
                }
                _ => None,
            };
            let destination = destination(target);
            Action::ApplyImage { manifest, image, source_partition, destination, chosen, free }
        }
        Act::CaptureImage { image, note, source } => Action::CaptureImage { image, note, source },
        Act::CaptureToShare { image, source, share } => Action::CaptureToShare { image, source, share },
        Act::ExecuteScript { script, environment, success_codes, secrets, secret_names } => {
            Action::ExecuteScript { script, environment, success_codes, secrets, secret_names }
        }
        Act::Restart => Action::Restart,
        Act::VerifyImage(applied) => {
            Action::VerifyImage { images: applied.into_iter().map(verify_request).collect() }
        }
        Act::CopyFiles { from, to, target } => {
            Action::CopyFiles { from, to, destination: destination(target) }
        }
        Act::SetStartupDisk { target, required } => {
            Action::SetStartupDisk { destination: destination(target), required }
        }
        Act::OnMacos(act) => Action::OnMacos { act: *act },
        // The appliance's own; a runner that is given it says that it cannot.
        Act::Notify(_) => Action::Unknown,
    }
}

fn verify_request(applied: Applied) -> VerifyRequest {
    let Applied { manifest, image, source_partition, target } = applied;
    VerifyRequest { manifest, image, source_partition, destination: destination(target) }
}

fn partition(partition: NewPartition) -> PartitionRequest {
    PartitionRequest {
        name: partition.name,
        format: partition.format,
        size: match partition.size {
            // The engine refuses more than 100.
            quantity::PartitionSize::Percent(percent) => {
                PartitionSize::Percent(u8::try_from(percent).unwrap_or(100))
            }
            quantity::PartitionSize::Bytes(bytes) => PartitionSize::Bytes(bytes),
        },
    }
}

fn destination(target: Target) -> Destination {
    match target {
        Target::Node(node) => Destination::Node(node),
        Target::Partition { disk, partition } => Destination::Partition { disk, partition },
        Target::Chosen(chosen) => Destination::Partition { disk: chosen.disk, partition: chosen.partition },
    }
}
