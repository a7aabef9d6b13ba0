//! What differs between two sequences, as people think of it: steps that came, went, moved, and properties that changed.
//!
//! Entries are the same when name, type and the groups around them are. Values of secrets are not told, only that they
//! differ. Must not know: where the two come from, how differences are shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::model::{Kind, Node, Section, Sequence};
use super::tree::Place;
use super::variable::MASK;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub what: What,
    /// Where the entry stands: in the second sequence, or in the first when it went; empty for the sequence itself.
    pub place: String,
    /// Name of the entry.
    pub name: String,
    /// Which property, `apply_image.image`; empty when it is about the entry as a whole.
    pub property: String,
    /// What stood there; none when there was nothing.
    pub before: Option<String>,
    /// What stands there now.
    pub after: Option<String>,
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// It stands elsewhere.
    Moved,
    /// A property of it is another.
    Changed,
}

/// An entry without those in it.
struct Entry {
    place: String,
    name: String,
    properties: BTreeMap<String, String>,
}

/// How an entry is known: the groups around it, its name, its type, and the how-many-eth of those it is.
type Key = (Vec<String>, String, &'static str, usize);

/// Everything that differs, in the order of the second sequence; what went comes last.
pub fn difference(before: &Sequence, after: &Sequence) -> Vec<Change> {
    let mut changes = Vec::new();
    properties(&mut changes, "", &after.name, &head(before), &head(after));
    let (old, new) = (entries(before), entries(after));
    let old_by_key: BTreeMap<&Key, &Entry> = old.iter().map(|(key, entry)| (key, entry)).collect();
    let new_keys: BTreeSet<&Key> = new.iter().map(|(key, _)| key).collect();
    let mut gone: Vec<&(Key, Entry)> = old.iter().filter(|(key, _)| !new_keys.contains(key)).collect();
    let stayed = in_order(&old, &new);
    for (key, entry) in &new {
        let change = |what, before: Option<String>| Change {
            what,
            place: entry.place.clone(),
            name: entry.name.clone(),
            property: String::new(),
            before,
            after: Some(entry.place.clone()),
        };
        if let Some(known) = old_by_key.get(key) {
            if !stayed.contains(key) {
                changes.push(change(What::Moved, Some(known.place.clone())));
            }
            properties(&mut changes, &entry.place, &entry.name, &known.properties, &entry.properties);
            continue;
        }
        // The same entry in another group has moved.
        let same = |(other, known): &&(Key, Entry)| {
            other.2 == key.2 && known.name == entry.name && known.properties == entry.properties
        };
        match gone.iter().position(same) {
            Some(index) => changes.push(change(What::Moved, Some(gone.remove(index).1.place.clone()))),
            None => changes.push(change(What::Added, None)),
        }
    }
    changes.extend(gone.into_iter().map(|(_, entry)| Change {
        what: What::Removed,
        place: entry.place.clone(),
        name: entry.name.clone(),
        property: String::new(),
        before: Some(entry.place.clone()),
        after: None,
    }));
    changes
}

fn properties(
    changes: &mut Vec<Change>,
    place: &str,
    name: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            let shown = |value: Option<&String>| value.map(|value| without_digest(value).to_owned());
            changes.push(Change {
                what: What::Changed,
                place: place.to_owned(),
                name: name.to_owned(),
                property: key.clone(),
                before: shown(old),
                after: shown(new),
            });
        }
    }
}

/// Properties of the sequence itself.
fn head(sequence: &Sequence) -> BTreeMap<String, String> {
    let bare = Sequence { steps: Vec::new(), ..sequence.clone() };
    let mut all = flat(&serde_json::to_value(&bare).unwrap_or_default());
    all.retain(|key, _| !key.starts_with("steps"));
    all
}

fn entries(sequence: &Sequence) -> Vec<(Key, Entry)> {
    let mut all = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, node) in sequence.steps.iter().enumerate() {
        entry(node, Place::root(index), &[], &mut seen, &mut all);
    }
    all
}

fn entry(
    node: &Node,
    place: Place,
    around: &[String],
    seen: &mut BTreeMap<(Vec<String>, String, &'static str), usize>,
    all: &mut Vec<(Key, Entry)>,
) {
    let kind = match node {
        Node::Step(step) => step.kind.title(),
        Node::Group(_) => "Group",
    };
    let key = (around.to_vec(), node.name().to_owned(), kind);
    let count = seen.entry(key.clone()).or_default();
    let key = (key.0, key.1, key.2, *count);
    *count += 1;
    let name = node.name().to_owned();
    all.push((key, Entry { place: place.to_string(), name, properties: of_node(node) }));
    let Node::Group(group) = node else { return };
    for section in Section::ALL {
        let inside: Vec<String> =
            around.iter().cloned().chain([format!("{}.{}", group.name, section.key())]).collect();
        for (index, inner) in group.section(section).iter().enumerate() {
            entry(inner, place.inside(section, index), &inside, seen, all);
        }
    }
}

fn of_node(node: &Node) -> BTreeMap<String, String> {
    let mut bare = node.clone();
    match &mut bare {
        Node::Group(group) => {
            for list in [&mut group.steps, &mut group.catch, &mut group.finally] {
                list.clear();
            }
        }
        Node::Step(step) => {
            if let Kind::SetVariables(set) = &mut step.kind {
                for one in set.iter_mut().filter(|one| one.secret) {
                    // So that another value is another text, and neither is told.
                    let digest = crate::value::Digest::of(one.value.as_str().as_bytes()).to_string();
                    one.value = format!("{MASK} {digest}").parse().unwrap_or_else(|_| one.value.clone());
                }
            }
        }
    }
    let mut all = flat(&serde_json::to_value(&bare).unwrap_or_default());
    all.retain(|key, _| key != "name");
    all
}

fn without_digest(value: &str) -> &str {
    if value.starts_with(MASK) { MASK } else { value }
}

/// Every leaf of a value by its path.
fn flat(value: &Json) -> BTreeMap<String, String> {
    fn walk(value: &Json, path: String, all: &mut BTreeMap<String, String>) {
        match value {
            Json::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(inner, path, all);
                }
            }
            Json::Array(list) => {
                for (index, inner) in list.iter().enumerate() {
                    walk(inner, format!("{path}[{index}]"), all);
                }
            }
            Json::String(text) => {
                all.insert(path, text.clone());
            }
            other => {
                all.insert(path, other.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(value, String::new(), &mut all);
    all
}

/// Keys of both that stand in the same order: as many as can be; the others have moved.
fn in_order<'a>(old: &'a [(Key, Entry)], new: &'a [(Key, Entry)]) -> BTreeSet<&'a Key> {
    let places: BTreeMap<&Key, usize> =
        old.iter().enumerate().map(|(place, (key, _))| (key, place)).collect();
    let common: Vec<(&Key, usize)> =
        new.iter().filter_map(|(key, _)| Some((key, *places.get(key)?))).collect();
    // Longest increasing run of places, by patience: `piles` holds the last of the best run of each length.
    let mut piles: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(common.len());
    for (index, (_, place)) in common.iter().enumerate() {
        let pile = piles.partition_point(|last| common[*last].1 < *place);
        before.push(pile.checked_sub(1).map(|pile| piles[pile]));
        match piles.get_mut(pile) {
            Some(last) => *last = index,
            None => piles.push(index),
        }
    }
    let mut stayed = BTreeSet::new();
    let mut at = piles.last().copied();
    while let Some(index) = at {
        stayed.insert(common[index].0);
        at = before[index];
    }
    stayed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(before: &str, after: &str) -> Vec<String> {
        let read = |steps: &str| Sequence::from_yaml(&format!("name: x\nsteps:\n{steps}")).unwrap();
        let line = |change: Change| {
            let (before, after) = (change.before.unwrap_or_default(), change.after.unwrap_or_default());
            format!("{:?} {} {} {before} → {after}", change.what, change.name, change.property)
        };
        difference(&read(before), &read(after)).into_iter().map(line).collect()
    }

    const STEPS: &str = "  - {name: a, restart: }\n  - {name: b, timeout: 1 s, execute_script: {script: x}}\n  - {name: G, group: [{name: c, restart: }]}\n";

    #[test]
    fn the_same_sequence_written_in_another_way_does_not_differ() {
        let other = STEPS.replace("{name: a, restart: }", "{disabled: false, restart: {}, name: a}");
        assert!(changes(STEPS, &other).is_empty());
    }

    #[test]
    fn what_came_went_moved_and_changed_is_told_once_each() {
        let after = "  - {name: G, group: []}\n  - {name: b, timeout: 2 s, execute_script: {script: x}}\n  - {name: c, restart: }\n  - {name: new, restart: }\n";
        assert_eq!(
            changes(STEPS, after),
            [
                "Moved G  steps[2] → steps[0]",
                "Changed b timeout 1 s → 2 s",
                "Moved c  steps[2].group[0] → steps[2]",
                "Added new   → steps[3]",
                "Removed a  steps[0] → ",
            ]
        );
    }

    #[test]
    fn that_a_secret_is_another_is_told_and_neither_value() {
        let step =
            |value: &str| format!("  - set_variables: [{{name: Key, value: {value}, secret: true}}]\n");
        let told = changes(&step("hunter2"), &step("hunter3"));
        assert_eq!(told, ["Changed Set Variables set_variables[0].value •••••••• → ••••••••"]);
        assert!(changes(&step("hunter2"), &step("hunter2")).is_empty());
    }
}
