//! Entries of sequences copied, cut, pasted and moved. Names and properties stay as they are (task-sequences section 1).
//!
//! Every function changes a sequence or says why not, and leaves it as it was then. Must not know: what is wrong with what comes
//! of it ([`super::check`]), where sequences are kept.

use std::fmt;
use std::str::FromStr;

use super::model::{Group, Node, Section, Sequence};
use super::tree::Place;

/// Groups in groups that a place may lead through.
const DEEPEST: usize = 64;

/// Where an entry stands, or would: through groups to a list, and its number there, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Number of a group in its list, and which of its parts is entered; outermost first.
    way: Vec<(usize, Section)>,
    /// Number in the last list.
    index: usize,
}

/// Where something is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Behind everything.
    End,
    /// Before this entry.
    Before(String),
    /// After this entry.
    After(String),
    /// At the end of a part of this group.
    Into(String, Section),
}

/// Which way an entry walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the beginning.
    Up,
    /// Towards the end.
    Down,
}

/// Why a sequence is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotEdit {
    /// No entry stands there, none has this name.
    #[error(
        "`{sequence}` has no entry `{which}`: write a path as the list of its entries shows it, or a name"
    )]
    Absent {
        /// Which sequence.
        sequence: String,
        /// As it was written.
        which: String,
    },
    /// Several entries have this name.
    #[error("`{sequence}` has {} entries called `{which}`, at {}: write a path", places.len(), places.join(", "))]
    Several {
        /// Which sequence.
        sequence: String,
        /// The name.
        which: String,
        /// Where.
        places: Vec<String>,
    },
    /// A step holds nothing.
    #[error("`{which}` is a step: only a group holds entries")]
    NoGroup {
        /// As it was written.
        which: String,
    },
    /// It would lie in itself.
    #[error("`{name}` cannot be put into itself")]
    IntoItself {
        /// The group.
        name: String,
    },
    /// There is nothing beyond.
    #[error("`{name}` is the {} entry already", if *.direction == Direction::Up { "first" } else { "last" })]
    NoFurther {
        /// The entry.
        name: String,
        /// Which way.
        direction: Direction,
    },
    /// Too many groups in groups.
    #[error("groups lie in each other {DEEPEST} deep at most")]
    TooDeep,
}

impl Spot {
    /// The place as it is shown.
    pub fn place(&self) -> Place {
        let mut indices = self.way.iter().map(|(index, _)| *index).chain([self.index]);
        let first = Place::root(indices.next().unwrap_or(0));
        self.way.iter().zip(indices).fold(first, |place, ((_, section), index)| place.inside(*section, index))
    }

    fn is_inside(&self, group: &Spot) -> bool {
        let depth = group.way.len();
        self.way.len() > depth && self.way[..depth] == group.way && self.way[depth].0 == group.index
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().fmt(f)
    }
}

/// A text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path is written like steps[2] or steps[3].group[0].catch[1]")]
pub struct NoPlace;

impl FromStr for Spot {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Spot, NoPlace> {
        let mut way = Vec::new();
        let mut parts = text.trim().split('.').map(|part| {
            let (key, rest) = part.split_once('[').ok_or(NoPlace)?;
            let digits = rest.strip_suffix(']').filter(|digits| !digits.is_empty()).ok_or(NoPlace)?;
            match digits.bytes().all(|digit| digit.is_ascii_digit()) {
                true => Ok((key, digits.parse::<usize>().map_err(|_| NoPlace)?)),
                false => Err(NoPlace),
            }
        });
        let (key, mut index) = parts.next().ok_or(NoPlace)??;
        if key != "steps" {
            return Err(NoPlace);
        }
        for part in parts {
            let (key, next) = part?;
            let section = Section::ALL.into_iter().find(|section| section.key() == key).ok_or(NoPlace)?;
            way.push((index, section));
            index = next;
            if way.len() > DEEPEST {
                return Err(NoPlace);
            }
        }
        Ok(Spot { way, index })
    }
}

impl Group {
    fn part(&mut self, section: Section) -> &mut Vec<Node> {
        match section {
            Section::Steps => &mut self.steps,
            Section::Catch => &mut self.catch,
            Section::Finally => &mut self.finally,
        }
    }
}

impl Sequence {
    /// The entry that is meant: by its path, else by its name when one alone has it.
    ///
    /// # Errors
    /// See [`CannotEdit`].
    pub fn find(&self, which: &str) -> Result<Spot, CannotEdit> {
        let absent = || CannotEdit::Absent { sequence: self.name.clone(), which: which.to_owned() };
        if let Ok(spot) = which.parse::<Spot>() {
            return self.entry(&spot).map(|_| spot).ok_or_else(absent);
        }
        let named = self.nodes().into_iter().filter(|visited| visited.node.name() == which.trim());
        let places: Vec<String> = named.map(|visited| visited.place.to_string()).collect();
        match places.as_slice() {
            [] => Err(absent()),
            [one] => one.parse().map_err(|_| absent()),
            _ => Err(CannotEdit::Several { sequence: self.name.clone(), which: which.to_owned(), places }),
        }
    }

    /// The entry at a spot.
    pub fn entry(&self, spot: &Spot) -> Option<&Node> {
        self.list(&spot.way)?.get(spot.index)
    }

    fn list(&self, way: &[(usize, Section)]) -> Option<&[Node]> {
        way.iter().try_fold(self.steps.as_slice(), |list, (index, section)| match list.get(*index)? {
            Node::Group(group) => Some(group.section(*section)),
            Node::Step(_) => None,
        })
    }

    fn list_mut(&mut self, way: &[(usize, Section)]) -> Option<&mut Vec<Node>> {
        way.iter().try_fold(&mut self.steps, |list, (index, section)| match list.get_mut(*index)? {
            Node::Group(group) => Some(group.part(*section)),
            Node::Step(_) => None,
        })
    }

    /// The entry at a spot, to be changed.
    pub fn entry_mut(&mut self, spot: &Spot) -> Option<&mut Node> {
        self.list_mut(&spot.way)?.get_mut(spot.index)
    }

    /// Cuts an entry out, a group with everything in it.
    ///
    /// # Errors
    /// See [`CannotEdit`].
    pub fn cut(&mut self, which: &str) -> Result<Node, CannotEdit> {
        let spot = self.find(which)?;
        self.take(&spot)
    }

    fn take(&mut self, spot: &Spot) -> Result<Node, CannotEdit> {
        let absent = CannotEdit::Absent { sequence: self.name.clone(), which: spot.to_string() };
        match self.list_mut(&spot.way) {
            Some(list) if spot.index < list.len() => Ok(list.remove(spot.index)),
            _ => Err(absent),
        }
    }

    /// Pastes an entry. Where it stands now.
    ///
    /// # Errors
    /// See [`CannotEdit`].
    pub fn paste(&mut self, node: Node, put: &Put) -> Result<Spot, CannotEdit> {
        let spot = self.spot(put)?;
        self.insert(node, spot)
    }

    fn spot(&self, put: &Put) -> Result<Spot, CannotEdit> {
        Ok(match put {
            Put::End => Spot { way: Vec::new(), index: self.steps.len() },
            Put::Before(which) => self.find(which)?,
            Put::After(which) => {
                let before = self.find(which)?;
                Spot { index: before.index + 1, ..before }
            }
            Put::Into(which, section) => {
                let Spot { mut way, index } = self.find(which)?;
                way.push((index, *section));
                let list = self.list(&way).ok_or_else(|| CannotEdit::NoGroup { which: which.clone() })?;
                let index = list.len();
                Spot { way, index }
            }
        })
    }

    fn insert(&mut self, node: Node, spot: Spot) -> Result<Spot, CannotEdit> {
        let absent = CannotEdit::Absent { sequence: self.name.clone(), which: spot.to_string() };
        if spot.way.len() + depth(&node) > DEEPEST {
            return Err(CannotEdit::TooDeep);
        }
        match self.list_mut(&spot.way) {
            Some(list) if spot.index <= list.len() => {
                list.insert(spot.index, node);
                Ok(spot)
            }
            _ => Err(absent),
        }
    }

    /// Moves an entry within the sequence. Where it stands now.
    ///
    /// # Errors
    /// See [`CannotEdit`].
    pub fn relocate(&mut self, which: &str, put: &Put) -> Result<Spot, CannotEdit> {
        let from = self.find(which)?;
        let to = self.spot(put)?;
        if to.is_inside(&from) {
            let name = self.entry(&from).map(|node| node.name().to_owned()).unwrap_or_default();
            return Err(CannotEdit::IntoItself { name });
        }
        self.carry(&from, to)
    }

    /// Lets an entry walk by one place, into a group that it meets and out of the one that it is in; through the parts of a group
    /// that hold something, in their order. Where it stands now.
    ///
    /// # Errors
    /// See [`CannotEdit`].
    pub fn shift(&mut self, which: &str, direction: Direction) -> Result<Spot, CannotEdit> {
        let from = self.find(which)?;
        let to = match direction {
            Direction::Up => self.above(&from),
            Direction::Down => self.below(&from),
        };
        let name = || self.entry(&from).map(|node| node.name().to_owned()).unwrap_or_default();
        let to = to.ok_or_else(|| CannotEdit::NoFurther { name: name(), direction })?;
        self.carry(&from, to)
    }

    /// `to` counts with the entry still where it is.
    fn carry(&mut self, from: &Spot, to: Spot) -> Result<Spot, CannotEdit> {
        let whole = self.clone();
        let node = self.take(from)?;
        let done = self.insert(node, without(from, to));
        if done.is_err() {
            *self = whole;
        }
        done
    }

    fn above(&self, from: &Spot) -> Option<Spot> {
        let Spot { way, index } = from;
        if let Some(before) = index.checked_sub(1) {
            let Some(Node::Group(group)) = self.list(way)?.get(before) else {
                return Some(Spot { way: way.clone(), index: before });
            };
            let holds = |section: &&Section| !group.section(**section).is_empty();
            let section = Section::ALL.iter().rfind(holds).copied().unwrap_or(Section::Steps);
            return Some(inside(way, before, section, group.section(section).len()));
        }
        let ((group, section), outer) = way.split_last()?;
        let earlier = Section::ALL.into_iter().filter(|one| one < section);
        for section in earlier.rev() {
            let list = self.list(&[outer, &[(*group, section)]].concat())?;
            // The steps of a group are always there; its other parts are where they hold something.
            if section == Section::Steps || !list.is_empty() {
                return Some(inside(outer, *group, section, list.len()));
            }
        }
        Some(Spot { way: outer.to_vec(), index: *group })
    }

    fn below(&self, from: &Spot) -> Option<Spot> {
        let Spot { way, index } = from;
        let list = self.list(way)?;
        match list.get(index + 1) {
            Some(Node::Group(_)) => return Some(inside(way, index + 1, Section::Steps, 0)),
            Some(Node::Step(_)) => return Some(Spot { way: way.clone(), index: index + 2 }),
            None => {}
        }
        let ((group, section), outer) = way.split_last()?;
        for section in Section::ALL.into_iter().filter(|one| one > section) {
            if !self.list(&[outer, &[(*group, section)]].concat())?.is_empty() {
                return Some(inside(outer, *group, section, 0));
            }
        }
        Some(Spot { way: outer.to_vec(), index: group + 1 })
    }
}

fn inside(way: &[(usize, Section)], group: usize, section: Section, index: usize) -> Spot {
    let way = way.iter().copied().chain([(group, section)]).collect();
    Spot { way, index }
}

/// The same spot once the entry at `gone` is taken out.
fn without(gone: &Spot, mut spot: Spot) -> Spot {
    let depth = gone.way.len();
    if spot.way.get(..depth) != Some(gone.way.as_slice()) {
        return spot;
    }
    let index = match spot.way.get_mut(depth) {
        Some((index, _)) => index,
        None => &mut spot.index,
    };
    if *index > gone.index {
        *index -= 1;
    }
    spot
}

fn depth(node: &Node) -> usize {
    let Node::Group(group) = node else { return 0 };
    let nodes = Section::ALL.into_iter().flat_map(|section| group.section(section));
    1 + nodes.map(depth).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(steps: &str) -> Sequence {
        Sequence::from_yaml(&format!("name: S\nsteps:\n{steps}")).unwrap()
    }

    fn example() -> Sequence {
        sequence(
            "  - {name: a, restart: }\n  - name: G\n    if: {all: [{variable: Room, equals: lab}]}\n    group: [{name: b, restart: }, {name: c, timeout: 5min, execute_script: {script: '#!/bin/sh'}}]\n    catch: [{name: d, restart: }]\n  - {name: e, restart: }\n",
        )
    }

    /// Every entry in order, with how deep it lies.
    fn shape(sequence: &Sequence) -> String {
        let entry = |visited: &super::super::tree::Visited<'_>| {
            let place = visited.place.to_string();
            let part = if place.contains("catch") { "!" } else { "" };
            format!("{}{part}{}", ".".repeat(place.matches('.').count()), visited.node.name())
        };
        sequence.nodes().iter().map(entry).collect::<Vec<_>>().join(" ")
    }

    fn walk(which: &str, direction: Direction) -> Vec<String> {
        let mut sequence = example();
        let mut shapes = vec![shape(&sequence)];
        while sequence.shift(which, direction).is_ok() {
            shapes.push(shape(&sequence));
        }
        shapes
    }

    #[test]
    fn section_1_moving_up_or_down_walks_in_and_out_of_groups() {
        let down = [
            "a G .b .c .!d e",
            "G .a .b .c .!d e",
            "G .b .a .c .!d e",
            "G .b .c .a .!d e",
            "G .b .c .!a .!d e",
            "G .b .c .!d .!a e",
            "G .b .c .!d a e",
            "G .b .c .!d e a",
        ];
        assert_eq!(walk("a", Direction::Down), down);
        let up = [
            "a G .b .c .!d e",
            "a G .b .c .!d .!e",
            "a G .b .c .!e .!d",
            "a G .b .c .e .!d",
            "a G .b .e .c .!d",
            "a G .e .b .c .!d",
            "a e G .b .c .!d",
            "e a G .b .c .!d",
        ];
        assert_eq!(walk("e", Direction::Up), up);
        let mut sequence = example();
        assert_eq!(sequence.shift("G", Direction::Up).unwrap().to_string(), "steps[0]");
        assert_eq!(shape(&sequence), "G .b .c .!d a e");
        let error = sequence.shift("G", Direction::Up).unwrap_err().to_string();
        assert_eq!(error, "`G` is the first entry already");
    }

    #[test]
    fn section_1_copy_cut_and_paste_keep_names_and_properties_as_they_are() {
        let (source, mut other) =
            (example(), sequence("  - {name: x, restart: }\n  - {name: G, group: [{name: y, restart: }]}\n"));
        let copied = source.entry(&source.find("G").unwrap()).unwrap().clone();
        let at = other.paste(copied.clone(), &Put::Before("x".into())).unwrap();
        assert_eq!(at.to_string(), "steps[0]");
        assert_eq!(other.entry(&at), Some(&copied), "the group whole, with its condition");
        let step = source.entry(&source.find("steps[1].group[1]").unwrap()).unwrap().clone();
        let at = other.paste(step.clone(), &Put::Into("steps[2]".into(), Section::Finally)).unwrap();
        assert_eq!(at.to_string(), "steps[2].finally[0]");
        assert_eq!(other.entry(&at), Some(&step));
        let mut cut = example();
        assert_eq!(cut.cut("c").unwrap(), step);
        assert_eq!(shape(&cut), "a G .b .!d e");
        let end = cut.paste(step, &Put::After("steps[1].catch[0]".into())).unwrap();
        assert_eq!(
            (end.to_string().as_str(), shape(&cut).as_str()),
            ("steps[1].catch[1]", "a G .b .!d .!c e")
        );
    }

    #[test]
    fn section_1_an_entry_is_moved_anywhere_but_into_itself() {
        let mut sequence = example();
        assert_eq!(
            sequence.relocate("a", &Put::Into("G".into(), Section::Steps)).unwrap().to_string(),
            "steps[0].group[2]"
        );
        assert_eq!(shape(&sequence), "G .b .c .a .!d e");
        assert_eq!(
            sequence.relocate("e", &Put::Before("b".into())).unwrap().to_string(),
            "steps[0].group[0]"
        );
        assert_eq!(sequence.relocate("b", &Put::End).unwrap().to_string(), "steps[1]");
        let before = sequence.clone();
        for put in [Put::Into("G".into(), Section::Catch), Put::Before("c".into())] {
            let error = sequence.relocate("G", &put).unwrap_err();
            assert_eq!(error, CannotEdit::IntoItself { name: "G".into() });
        }
        assert_eq!(sequence, before);
    }

    #[test]
    fn what_is_not_there_or_stands_twice_is_named() {
        let mut sequence = sequence(
            "  - {name: a, restart: }\n  - {name: a, restart: }\n  - {name: G, group: [{restart: }]}\n",
        );
        let error = |which: &str| example().find(which).unwrap_err().to_string();
        assert!(
            error("steps[9]").contains("no entry `steps[9]`")
                && error("steps[0].group[0]").contains("no entry")
        );
        let twice = sequence.cut("a").unwrap_err().to_string();
        assert!(twice.contains("2 entries called `a`, at steps[0], steps[1]"), "{twice}");
        let no_group =
            sequence.paste(example().steps[0].clone(), &Put::Into("steps[0]".into(), Section::Steps));
        assert_eq!(no_group, Err(CannotEdit::NoGroup { which: "steps[0]".into() }));
        for text in [
            "",
            "steps",
            "steps[]",
            "steps[-1]",
            "steps[1].nothing[0]",
            "group[0]",
            "steps[99999999999999999999]",
            "steps[0]x",
        ] {
            assert!(text.parse::<Spot>().is_err(), "{text}");
        }
    }

    proptest! {
        /// What walks one way and back is where it was; what is moved loses nothing.
        #[test]
        fn a_walk_there_and_back_leaves_the_sequence_as_it_was(steps in prop::collection::vec(0usize..6, 1..40)) {
            let mut sequence = sequence(
                "  - {name: a, restart: }\n  - {name: G, group: [{name: b, restart: }, {name: H, group: [{name: c, restart: }]}], finally: [{name: f, restart: }, {name: g, restart: }]}\n  - {name: e, restart: }\n",
            );
            let names = |sequence: &Sequence| {
                let mut names: Vec<String> = sequence.nodes().iter().map(|one| one.node.name().to_owned()).collect();
                names.sort();
                names
            };
            let all = names(&sequence);
            for step in steps {
                let which = ["a", "b", "c", "e", "H", "G"][step];
                let before = sequence.clone();
                let Ok(down) = sequence.shift(which, Direction::Down) else { continue };
                prop_assert_eq!(names(&sequence), all.clone());
                prop_assert_eq!(down.to_string().parse::<Spot>().unwrap(), down.clone());
                let mut back = sequence.clone();
                // Behind it a part that it left empty is no more.
                let emptied = before.nodes().len() == back.nodes().len()
                    && before.find(which).unwrap().way.last().is_some_and(|(_, section)| *section != Section::Steps);
                back.shift(which, Direction::Up).unwrap();
                if !emptied {
                    prop_assert_eq!(back, before);
                }
            }
        }
    }
}
