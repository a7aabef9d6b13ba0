//! What an action's result means: a runner's word that it is done is believed only with what proves it.

use super::Run;
use super::act::{Act, Applied, Assignment, Formatted, Target};
use super::event::{ActionResult, Failure};
use crate::sequence::capture::saved_as;
use crate::sequence::model::Kind;
use crate::sequence::variable::Value;

impl Run {
    /// Takes in the result of the action at work.
    pub(super) fn done(
        self,
        index: usize,
        assignment: &Assignment,
        result: &ActionResult,
        at_ms: i64,
    ) -> Run {
        if let Err(failure) = judge(&assignment.act, result) {
            return self.failed_or_retried(index, &failure, at_ms);
        }
        let mut run = self;
        match &assignment.act {
            Act::FormatDisk { disk, .. } => run.formatted(index, *disk, &result.nodes),
            Act::ApplyImage { manifest, image, source_partition, target, .. } => {
                run.applied(target);
                run.images_applied.retain(|one| one.target != *target);
                run.images_applied.push(Applied {
                    manifest: *manifest,
                    image: image.clone(),
                    source_partition: *source_partition,
                    target: target.clone(),
                });
            }
            Act::CaptureImage { .. } | Act::CaptureToShare { .. } => {
                run.variables.source_disk = result.nodes.first().cloned();
            }
            _ => {}
        }
        run.restarted = assignment.act == Act::Restart;
        run.steps[index].exit_code = result.exit_code;
        run.steps[index].why.clone_from(&result.warning);
        run.ended_well(index, result.exit_code.unwrap_or(0), at_ms)
    }

    /// Partitions are there for images, their nodes for texts.
    fn formatted(&mut self, index: usize, disk: u32, nodes: &[String]) {
        // What lay there is gone.
        let of_disk = |node: &str| self.formatted.iter().any(|made| made.disk == disk && made.node == node);
        let gone = |target: &Target| match target {
            Target::Node(node) => of_disk(node),
            target => target.numbers().is_some_and(|(other, _)| other == disk),
        };
        let kept: Vec<Applied> =
            self.images_applied.iter().filter(|one| !gone(&one.target)).cloned().collect();
        self.images_applied = kept;
        self.formatted.retain(|partition| partition.disk != disk);
        let made = (2..).zip(nodes);
        self.formatted.extend(made.map(|(partition, node)| Formatted {
            disk,
            partition,
            node: node.clone(),
            used: false,
        }));
        let Kind::FormatDisk(format) = &self.step(index).kind else { return };
        let named = format.partitions.iter().zip(nodes);
        let named: Vec<_> =
            named.filter_map(|(partition, node)| Some((partition.variable.clone()?, node))).collect();
        named.into_iter().for_each(|(name, node)| self.variables.set(name, Value::plain(node.as_str())));
    }

    /// The partition has its image: it is not the next formatted one any more.
    fn applied(&mut self, target: &Target) {
        let applied = |partition: &&mut Formatted| match target {
            Target::Node(node) => partition.node == *node,
            target => target.numbers() == Some((partition.disk, partition.partition)),
        };
        self.formatted.iter_mut().filter(applied).for_each(|partition| partition.used = true);
    }
}

/// Whether the result is what the action had to bring.
fn judge(act: &Act, result: &ActionResult) -> Result<(), Failure> {
    let failure = |cause: String, evidence: String, next_step: &str| {
        Err(Failure { cause, evidence, next_step: next_step.to_owned(), exit_code: result.exit_code })
    };
    let update =
        "boot the Mac with the boot files of this appliance's version, then start the sequence again";
    match act {
        Act::FormatDisk { disk, partitions } if result.nodes.len() != partitions.len() => failure(
            format!("the runner did not name every partition that it made on disk {disk}"),
            format!("{} partitions asked for, {} named", partitions.len(), result.nodes.len()),
            update,
        ),
        Act::ApplyImage { manifest, image, .. } if result.receipt != Some(*manifest) => failure(
            format!("there is no valid receipt that {image} was read back and verified"),
            match result.receipt {
                Some(other) => format!("manifest {manifest} was to be applied, the receipt names {other}"),
                None => "the runner reported success without a receipt that its key signed".to_owned(),
            },
            update,
        ),
        Act::CaptureImage { image, .. } if result.captured.is_none() => failure(
            format!("the library has no version of {image} that this capture made"),
            "the runner reported success, and the appliance has finished no capture of it".to_owned(),
            update,
        ),
        Act::CaptureToShare { image, share, .. } if result.saved != Some(saved_as(image, share)) => failure(
            format!("the runner did not say that {image} is on the share and was read back"),
            match &result.saved {
                Some(other) => format!("{} was to be written, {other} was", saved_as(image, share)),
                None => format!("{} was to be written", saved_as(image, share)),
            },
            update,
        ),
        Act::VerifyImage(applied)
            if !applied.iter().map(|one| one.manifest).eq(result.verified.iter().copied()) =>
        {
            failure(
                "the runner did not say that everything was read back".to_owned(),
                format!("{} images to verify, {} named", applied.len(), result.verified.len()),
                update,
            )
        }
        Act::ExecuteScript { success_codes, .. } => match result.exit_code {
            Some(code) if success_codes.contains(&code) => Ok(()),
            Some(code) => failure(
                format!("the script ended with exit code {code}"),
                format!("success is {success_codes:?}"),
                "read the script's output in the run's log; add the code to success_codes if it is no error",
            ),
            None => failure("the runner did not say how the script ended".to_owned(), String::new(), update),
        },
        _ => Ok(()),
    }
}
