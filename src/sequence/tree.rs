//! The entries of a sequence with their places, and what can be told from them: which images it needs, what it erases.
//!
//! Must not know: what is wrong with them.

use std::collections::BTreeSet;
use std::fmt;

use super::model::{ApplyImage, Destination, Kind, Node, Section, Sequence, Step};
use crate::value::Pick;

/// Place of an entry in its sequence, from 0 as in the file: `steps[2]`, `steps[3].catch[0]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(String);

impl Place {
    /// The place of an entry of the sequence itself.
    pub fn root(index: usize) -> Place {
        Place(format!("steps[{index}]"))
    }

    /// The place of an entry in a part of the group that stands here.
    pub fn inside(&self, section: Section, index: usize) -> Place {
        Place(format!("{}.{}[{index}]", self.0, section.key()))
    }

    /// The place of an entry of the sequence that the step here runs.
    pub fn nested(&self, index: usize) -> Place {
        Place(format!("{}.run_sequence.steps[{index}]", self.0))
    }

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of the tree, met on the way through it.
#[derive(Clone, Debug)]
pub struct Visited<'a> {
    /// Where it stands.
    pub place: Place,
    /// The entry.
    pub node: &'a Node,
    /// It, or a group around it, is disabled.
    pub left_out: bool,
}

impl Sequence {
    /// Every entry, a group before what is in it.
    pub fn nodes(&self) -> Vec<Visited<'_>> {
        fn visit<'a>(node: &'a Node, place: Place, left_out: bool, all: &mut Vec<Visited<'a>>) {
            let left_out = left_out || node.disabled();
            all.push(Visited { place: place.clone(), node, left_out });
            let Node::Group(group) = node else { return };
            for section in Section::ALL {
                for (index, inner) in group.section(section).iter().enumerate() {
                    visit(inner, place.inside(section, index), left_out, all);
                }
            }
        }
        let mut all = Vec::new();
        for (index, node) in self.steps.iter().enumerate() {
            visit(node, Place::root(index), false, &mut all);
        }
        all
    }

    /// Every step in order, with its place.
    pub fn walk(&self) -> impl Iterator<Item = (Place, &Step)> {
        self.steps_where(|_| true)
    }

    /// Every step that no run leaves out from the start.
    pub fn enabled(&self) -> impl Iterator<Item = (Place, &Step)> {
        self.steps_where(|visited| !visited.left_out)
    }

    fn steps_where(&self, wanted: fn(&Visited<'_>) -> bool) -> impl Iterator<Item = (Place, &Step)> {
        self.nodes().into_iter().filter(move |visited| wanted(visited)).filter_map(|visited| {
            match visited.node {
                Node::Step(step) => Some((visited.place, step)),
                Node::Group(_) => None,
            }
        })
    }

    /// Whether it brings an operating system to a Mac or takes one from it (task-sequences section 1): such a sequence
    /// never starts on a live macOS. Found by looking at the steps, those that are disabled included; not into sequences
    /// that it runs.
    pub fn deploys_an_os(&self) -> bool {
        self.walk().any(|(_, step)| step.kind.is_of_os_deployment())
    }

    /// Names of the sequences that its steps run, with the steps' places; those of disabled steps, too.
    pub fn nested(&self) -> impl Iterator<Item = (Place, &str)> {
        self.walk().filter_map(|(place, step)| match &step.kind {
            Kind::RunSequence(run) => Some((place, run.sequence.as_str())),
            _ => None,
        })
    }

    /// Which versions of the image `name` its steps ask for. A step whose image depends on the Mac counts where it may be
    /// that image.
    pub fn picks(&self, name: &str) -> impl Iterator<Item = Pick> {
        self.enabled().filter_map(move |(_, step)| match &step.kind {
            Kind::ApplyImage(apply) if apply.image.may_be(name) => Some(apply.pick),
            Kind::VerifyImage(verify) if verify.image.as_ref().is_some_and(|image| image.may_be(name)) => {
                Some(verify.pick)
            }
            _ => None,
        })
    }

    /// Numbers of the disks on which something is lost, for the page that asks for confirmation; not those of sequences
    /// that it runs.
    pub fn erases(&self) -> Vec<u32> {
        erased_by(self.enabled().map(|(_, step)| &step.kind))
    }
}

/// Numbers of the disks on which these steps lose something.
pub fn erased_by<'a>(kinds: impl Iterator<Item = &'a Kind>) -> Vec<u32> {
    let disks: BTreeSet<u32> = kinds
        .filter_map(|kind| match kind {
            Kind::FormatDisk(format) => Some(format.disk),
            Kind::ApplyImage(ApplyImage { destination: Destination::Partition { disk, .. }, .. }) => {
                Some(*disk)
            }
            _ => None,
        })
        .collect();
    disks.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of each type.
    const STEPS: [&str; 18] = [
        "format_disk: {partitions: []}",
        "apply_image: {image: a}",
        "capture_image: {image: a}",
        "enroll: {server: s}",
        "set_variables: []",
        "execute_script: {script: ''}",
        "restart:",
        "wait_for_technician: {message: m}",
        "run_sequence: {sequence: s}",
        "verify_image:",
        "copy_files: {from: a}",
        "set_startup_disk:",
        "notify: {message: m}",
        "join_domain:",
        "set_hostname:",
        "install_package: {package: a, program: x}",
        "install_application: {package: a, program: x, detect: {bundle: b}}",
        "apply_profile: {profile: p}",
    ];

    #[test]
    fn section_1_four_step_types_make_an_os_deployment_wherever_they_stand_and_no_other_does() {
        let mut types = BTreeSet::new();
        for (number, step) in STEPS.iter().enumerate() {
            types.insert(step.split(':').next().unwrap());
            for place in [
                format!("  - {step}\n"),
                format!("  - {{name: G, group: [{{{step} }}]}}\n"),
                format!("  - {{name: G, group: [], catch: [{{disabled: true, {step} }}]}}\n"),
            ] {
                let sequence = Sequence::from_yaml(&format!("name: x\nsteps:\n{place}")).expect(&place);
                assert_eq!(sequence.deploys_an_os(), number < 4, "{place}");
                let others = std::collections::BTreeMap::from([(
                    "s".to_owned(),
                    Sequence::from_yaml("name: s\nsteps: [{restart: }]\n").unwrap(),
                )]);
                let program = crate::sequence::program::Program::of(&sequence, &others).unwrap();
                assert_eq!(program.deploys_an_os(), number < 4, "{place}");
            }
        }
        assert_eq!(types, crate::sequence::yaml::TYPES.into_iter().collect());
    }
}
