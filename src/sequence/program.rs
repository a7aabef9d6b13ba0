//! A sequence with the sequences that it runs put in their places: one tree whose steps and groups are numbered.
//!
//! What a run goes by. A Run Sequence step is a group here. Must not know: where sequences are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::If;
use super::model::{Kind, Node, Section, Sequence, Step};
use super::name::VariableName;
use super::tree::Place;

/// Sequences by name that steps may run.
pub type Others = BTreeMap<String, Sequence>;

/// Steps of the largest program. A sequence of a few lines could stand for more than any memory holds.
pub const MOST_STEPS: usize = 10_000;
/// Groups of the largest program.
const MOST_GROUPS: usize = 10_000;
/// How deep sequences run each other.
const DEEPEST: usize = 16;

/// The tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    items: Vec<Item>,
    steps: Vec<usize>,
    groups: Vec<usize>,
    /// Variables that prompts define, those of sequences that it runs included.
    prompted: BTreeSet<VariableName>,
}

/// One entry. Number 0 is the sequence itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Where it stands.
    pub place: Option<Place>,
    /// Its name.
    pub name: String,
    /// What must hold for it to be done.
    pub condition: Option<If>,
    /// A failure of it is passed over.
    pub continue_on_error: bool,
    /// It, or what it is in, is disabled.
    pub left_out: bool,
    /// The group that it is in; none for the sequence itself.
    pub parent: Option<usize>,
    /// Steps before it.
    pub steps_before: usize,
    /// What it is.
    pub body: Body,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most entries are steps")]
pub enum Body {
    /// A step with its number from 0.
    Step(usize, Step),
    /// A group with its number from 0, 0 being the sequence itself.
    Group(usize, [Vec<usize>; 3]),
}

/// A sequence cannot be put together with those that it runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotNest {
    /// There is none of this name.
    #[error("{place} runs the sequence `{name}`, which does not exist")]
    Absent {
        /// The step.
        place: Place,
        /// Which.
        name: String,
    },
    /// It starts nowhere.
    #[error("{place} runs the sequence `{name}`, which is disabled")]
    Disabled {
        /// The step.
        place: Place,
        /// Which.
        name: String,
    },
    /// It would run itself.
    #[error("{place} closes a circle: {}", chain.join(" → "))]
    Circle {
        /// The step.
        place: Place,
        /// From the first sequence to itself.
        chain: Vec<String>,
    },
    /// More than anybody needs.
    #[error(
        "{place}: sequences run each other {DEEPEST} deep at most, with {MOST_STEPS} steps and as many groups in all"
    )]
    TooMuch {
        /// The step.
        place: Place,
    },
}

impl CannotNest {
    /// The step that it is about.
    pub fn place(&self) -> &Place {
        match self {
            CannotNest::Absent { place, .. }
            | CannotNest::Disabled { place, .. }
            | CannotNest::Circle { place, .. }
            | CannotNest::TooMuch { place } => place,
        }
    }
}

impl Program {
    /// The program of `sequence`; steps that run another find it among `others`.
    ///
    /// # Errors
    /// See [`CannotNest`]. Steps that are left out ask for nothing.
    pub fn of(sequence: &Sequence, others: &Others) -> Result<Program, CannotNest> {
        let root = Item {
            place: None,
            name: sequence.name.clone(),
            condition: None,
            continue_on_error: false,
            left_out: false,
            parent: None,
            steps_before: 0,
            body: Body::Group(0, Default::default()),
        };
        let prompted = sequence.prompts.iter().map(|prompt| prompt.variable.clone()).collect();
        let program = Program { items: vec![root], steps: Vec::new(), groups: vec![0], prompted };
        let mut building = Building { program, others, chain: vec![sequence.name.as_str()] };
        let children = building.list(&sequence.steps, Place::root, 0, false)?;
        building.program.items[0].body = Body::Group(0, [children, Vec::new(), Vec::new()]);
        Ok(building.program)
    }

    /// Variables that prompts define, empty, where nothing else does.
    pub fn prompted(&self) -> impl Iterator<Item = &VariableName> {
        self.prompted.iter()
    }

    /// How many steps it has, those that are left out included.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// One entry.
    pub fn item(&self, item: usize) -> &Item {
        &self.items[item]
    }

    /// Entries in a part of a group, in order.
    pub fn children(&self, group: usize, section: Section) -> &[usize] {
        match &self.items[group].body {
            Body::Group(_, sections) => &sections[section as usize],
            Body::Step(..) => &[],
        }
    }

    /// The entry of a step by its number from 0.
    pub fn step_item(&self, step: usize) -> &Item {
        &self.items[self.steps[step]]
    }

    /// A step by its number from 0.
    pub fn step(&self, step: usize) -> &Step {
        match &self.step_item(step).body {
            Body::Step(_, step) => step,
            Body::Group(..) => unreachable!("`steps` names steps only"),
        }
    }

    /// The entry of a group by its number from 0.
    pub fn group_item(&self, group: usize) -> Option<&Item> {
        self.groups.get(group).map(|item| &self.items[*item])
    }

    /// Numbers of the steps in an entry: its own, or those of everything in the group.
    pub fn steps_of(&self, item: usize) -> std::ops::Range<usize> {
        let first = self.items[item].steps_before;
        match &self.items[item].body {
            Body::Step(index, _) => *index..index + 1,
            Body::Group(..) => {
                let after = self.items[item + 1..].iter().find(|other| !self.is_inside(other, item));
                first..after.map_or(self.steps.len(), |after| after.steps_before)
            }
        }
    }

    fn is_inside(&self, item: &Item, group: usize) -> bool {
        let mut parent = item.parent;
        while let Some(above) = parent {
            if above == group {
                return true;
            }
            parent = if above < group { None } else { self.items[above].parent };
        }
        false
    }

    /// Names of the groups around a step, outermost first, without the sequence itself.
    pub fn groups_around(&self, step: usize) -> Vec<&str> {
        let mut names = Vec::new();
        let mut parent = self.step_item(step).parent;
        while let Some(group) = parent.filter(|group| *group != 0) {
            names.push(self.items[group].name.as_str());
            parent = self.items[group].parent;
        }
        names.reverse();
        names
    }

    /// Steps that no run leaves out from the start.
    pub fn enabled(&self) -> impl Iterator<Item = &Step> {
        (0..self.len()).filter(|step| !self.step_item(*step).left_out).map(|step| self.step(step))
    }

    /// Whether it brings an operating system to a Mac, whichever sequence does.
    pub fn deploys_an_os(&self) -> bool {
        (0..self.len()).any(|step| self.step(step).kind.is_of_os_deployment())
    }

    /// The first step for which it never starts on a live macOS (task-sequences section 1): it brings an operating system, or
    /// needs the boot environment.
    pub fn bound_to_boot_environment(&self) -> Option<&Step> {
        let bound = |step: &&Step| step.kind.is_of_os_deployment() || step.kind.needs_boot_environment();
        (0..self.len()).map(|step| self.step(step)).find(bound)
    }

    /// Whether a person may be asked where an image goes: a step puts one somewhere that no format step before it makes for certain.
    pub fn asks_destination(&self) -> bool {
        let mut made = false;
        for step in (0..self.len()).filter(|step| !self.step_item(*step).left_out) {
            let certain = || {
                let mut item = Some(self.step_item(step));
                while let Some(here) = item {
                    if here.condition.is_some() {
                        return false;
                    }
                    item = here.parent.map(|parent| self.item(parent));
                }
                true
            };
            made |= matches!(self.step(step).kind, Kind::FormatDisk(_)) && certain();
            if !made && super::run::says_no_destination(&self.step(step).kind) {
                return true;
            }
        }
        false
    }

    /// Numbers of the disks on which something is lost, whichever sequence does it.
    pub fn erases(&self) -> Vec<u32> {
        super::tree::erased_by(self.enabled().map(|step| &step.kind))
    }
}

struct Building<'a> {
    program: Program,
    others: &'a Others,
    /// Names of the sequences that are being put in, outermost first.
    chain: Vec<&'a str>,
}

impl<'a> Building<'a> {
    fn list(
        &mut self,
        nodes: &'a [Node],
        place: impl Fn(usize) -> Place,
        parent: usize,
        left_out: bool,
    ) -> Result<Vec<usize>, CannotNest> {
        let entries = nodes.iter().enumerate();
        entries.map(|(index, node)| self.node(node, place(index), parent, left_out)).collect()
    }

    fn node(
        &mut self,
        node: &'a Node,
        place: Place,
        parent: usize,
        left_out: bool,
    ) -> Result<usize, CannotNest> {
        let left_out = left_out || node.disabled();
        let (continue_on_error, condition) = match node {
            Node::Step(step) => (step.continue_on_error, step.condition.clone()),
            Node::Group(group) => (group.continue_on_error, group.condition.clone()),
        };
        if self.program.steps.len() >= MOST_STEPS || self.program.groups.len() >= MOST_GROUPS {
            return Err(CannotNest::TooMuch { place });
        }
        let number = self.program.items.len();
        let is_group = match node {
            Node::Group(_) => true,
            Node::Step(step) => matches!(step.kind, Kind::RunSequence(_)) && !left_out,
        };
        let body = match node {
            Node::Step(step) if !is_group => {
                self.program.steps.push(number);
                Body::Step(self.program.steps.len() - 1, step.clone())
            }
            _ => {
                self.program.groups.push(number);
                Body::Group(self.program.groups.len() - 1, Default::default())
            }
        };
        let steps_before = self.program.steps.len() - usize::from(!is_group);
        let name = node.name().to_owned();
        let item = Item {
            place: Some(place.clone()),
            name,
            condition,
            continue_on_error,
            left_out,
            parent: Some(parent),
            steps_before,
            body,
        };
        self.program.items.push(item);
        let sections = match node {
            Node::Group(group) => {
                let mut sections: [Vec<usize>; 3] = Default::default();
                for section in Section::ALL {
                    let inside = |index| place.inside(section, index);
                    sections[section as usize] =
                        self.list(group.section(section), inside, number, left_out)?;
                }
                sections
            }
            Node::Step(Step { kind: Kind::RunSequence(run), .. }) if is_group => {
                [self.other(&run.sequence, &place, number)?, Vec::new(), Vec::new()]
            }
            Node::Step(_) => return Ok(number),
        };
        if let Body::Group(_, of_item) = &mut self.program.items[number].body {
            *of_item = sections;
        }
        Ok(number)
    }

    fn other(&mut self, name: &str, place: &Place, parent: usize) -> Result<Vec<usize>, CannotNest> {
        if let Some(first) = self.chain.iter().position(|above| *above == name) {
            let chain = self.chain[first..].iter().copied().chain([name]).map(str::to_owned).collect();
            return Err(CannotNest::Circle { place: place.clone(), chain });
        }
        let named = || (place.clone(), name.to_owned());
        let Some((name, other)) = self.others.get_key_value(name) else {
            let (place, name) = named();
            return Err(CannotNest::Absent { place, name });
        };
        if other.disabled {
            let (place, name) = named();
            return Err(CannotNest::Disabled { place, name });
        }
        if self.chain.len() >= DEEPEST {
            return Err(CannotNest::TooMuch { place: place.clone() });
        }
        self.program.prompted.extend(other.prompts.iter().map(|prompt| prompt.variable.clone()));
        self.chain.push(name);
        let children = self.list(&other.steps, |index| place.nested(index), parent, false);
        self.chain.pop();
        children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(yaml: &str) -> Sequence {
        Sequence::from_yaml(yaml).unwrap()
    }

    fn others(texts: &[&str]) -> Others {
        texts.iter().map(|text| sequence(text)).map(|other| (other.name.clone(), other)).collect()
    }

    fn names(program: &Program) -> Vec<String> {
        (0..program.len()).map(|step| program.step(step).name.clone()).collect()
    }

    #[test]
    fn section_2_a_sequence_that_another_runs_stands_in_its_place_with_its_places_and_groups() {
        let inner = "name: Inner\nsteps:\n  - {name: b, restart: }\n  - {name: G, group: [{name: c, restart: }], finally: [{name: d, restart: }]}\n";
        let outer = "name: Outer\nsteps:\n  - {name: a, restart: }\n  - {name: Call, run_sequence: {sequence: Inner}}\n  - {name: e, restart: }\n";
        let program = Program::of(&sequence(outer), &others(&[inner])).unwrap();
        assert_eq!(names(&program), ["a", "b", "c", "d", "e"]);
        assert_eq!(program.groups_around(3), ["Call", "G"]);
        let place = program.step_item(3).place.clone().unwrap();
        assert_eq!(place.to_string(), "steps[1].run_sequence.steps[1].finally[0]");
        let call = program.children(0, Section::Steps)[1];
        assert_eq!(program.steps_of(call), 1..4);
        assert_eq!(program.steps_of(0), 0..5);
        assert_eq!(program.group_item(2).unwrap().name, "G");
    }

    #[test]
    fn section_2_circles_absent_and_disabled_sequences_are_refused_with_the_step() {
        let call =
            |name: &str, to: &str| format!("name: {name}\nsteps: [{{run_sequence: {{sequence: {to}}}}}]\n");
        let error =
            |texts: &[&str]| Program::of(&sequence(&call("A", "B")), &others(texts)).unwrap_err().to_string();
        let circle = error(&[&call("B", "C"), &call("C", "B")]);
        assert!(
            circle.contains("B → C → B") && circle.starts_with("steps[0].run_sequence.steps[0]"),
            "{circle}"
        );
        assert!(error(&[&call("B", "A")]).contains("A → B → A"));
        assert!(error(&[]).contains("`B`, which does not exist"));
        assert!(error(&["name: B\ndisabled: true\nsteps: []\n"]).contains("disabled"));
        let left_out = "name: A\nsteps: [{disabled: true, run_sequence: {sequence: Nobody}}]\n";
        assert_eq!(Program::of(&sequence(left_out), &Others::new()).unwrap().len(), 1);
    }

    #[test]
    fn a_few_lines_that_stand_for_more_steps_than_memory_holds_are_refused() {
        let ten =
            |to: &str| (0..10).map(|_| format!("  - run_sequence: {{sequence: {to}}}\n")).collect::<String>();
        let texts: Vec<String> = (0..12)
            .map(|level| match level {
                0 => "name: L0\nsteps: [{restart: }, {restart: }]\n".to_owned(),
                _ => format!("name: L{level}\nsteps:\n{}", ten(&format!("L{}", level - 1))),
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let error = Program::of(&sequence(&format!("name: A\nsteps:\n{}", ten("L11"))), &others(&texts));
        assert!(matches!(error, Err(CannotNest::TooMuch { .. })), "{error:?}");
    }
}
