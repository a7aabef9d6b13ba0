//! Where an image goes when the sequence does not say: a person chooses a partition of the Mac (task-sequences section 2).
//!
//! Asked like empty variables, after them: before the first step that can destroy anything, for every image that goes nowhere as
//! far as can be told. A step that is resumed after it failed is asked for again: perhaps it was the partition.
//!
//! Must not know: which partitions there are.

use serde::{Deserialize, Serialize};

use super::act::Filling;
use super::{OutOfOrder, Question, Run, StepState};
use crate::sequence::model::{ApplyImage, Destination, Kind};

/// A partition that a person chose. It is taken only while it is what they saw: numbers of disks move when one comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Disk number.
    pub disk: u32,
    /// Partition number in the GPT.
    pub partition: u32,
    /// Serial number of the disk; may be empty.
    pub serial: String,
    /// Bytes of the partition.
    pub size: u64,
    /// What people are shown: `partition 2 (Macintosh HD, 465.1 GiB) of disk 0 (APPLE SSD SM0512F)`.
    pub described: String,
}

/// An Apply Image step whose sequence says nothing of where to.
pub(in crate::sequence) fn says_no_destination(kind: &Kind) -> bool {
    matches!(kind, Kind::ApplyImage(ApplyImage { destination: Destination::NextFormatted, .. }))
}

impl Run {
    /// What must be asked before this step begins: the first image from here on that goes nowhere.
    pub(super) fn destination_before(&self, step: usize) -> Option<Question> {
        let destroys = matches!(self.step(step).kind, Kind::FormatDisk(_) | Kind::ApplyImage(_));
        if !destroys || self.formats_ahead_of(step) {
            return None;
        }
        let mut formats = false;
        for index in step..self.steps.len() {
            let kind = &self.step(index).kind;
            if !says_no_destination(kind) && !matches!(kind, Kind::FormatDisk(_)) {
                continue;
            }
            if index != step && !self.is_likely(index) {
                continue;
            }
            formats |= matches!(kind, Kind::FormatDisk(_));
            if says_no_destination(kind) && !formats && !self.chosen.contains_key(&index) {
                return Some(self.where_to(index));
            }
        }
        None
    }

    /// Whether a step before this one formatted something, or should have.
    fn formats_ahead_of(&self, step: usize) -> bool {
        (0..step).any(|index| {
            matches!(self.step(index).kind, Kind::FormatDisk(_))
                && self.steps[index].state != StepState::Skipped
        })
    }

    fn where_to(&self, index: usize) -> Question {
        let Kind::ApplyImage(apply) = &self.step(index).kind else {
            unreachable!("asked of steps that apply an image only")
        };
        // An image that cannot be named is told when the step begins.
        let filling = self.filling(index);
        let pinned = filling.pinned(&apply.image, apply.pick).ok();
        Question::Destination {
            step: index as u32 + 1,
            name: self.step(index).name.clone(),
            image: pinned.map(|pinned| format!("{} {}", pinned.name, pinned.version)).unwrap_or_default(),
            manifest: pinned.map(|pinned| pinned.manifest),
            source_partition: apply.source_partition,
        }
    }

    /// Takes in what a person chose. The first answer wins: one that comes after it is refused.
    pub(super) fn choose(mut self, step: u32, chosen: &Chosen) -> Result<Run, OutOfOrder> {
        let asked = self.step_at().and_then(|at| self.question_before(at));
        match asked {
            Some(Question::Destination { step: asked, .. }) if asked == step => {
                self.chosen.insert(step as usize - 1, chosen.clone());
                Ok(self)
            }
            _ => Err(OutOfOrder::NoDestinationAsked(step)),
        }
    }

    pub(super) fn filling(&self, step: usize) -> Filling<'_> {
        Filling {
            variables: &self.variables,
            images: &self.start.images,
            formatted: &self.formatted,
            applied: &self.images_applied,
            chosen: self.chosen.get(&step),
        }
    }
}
