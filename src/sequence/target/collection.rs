//! Collections: rules, direct members, collections in collections; to which of them one Mac belongs.
//!
//! A Mac belongs to a collection when it is a direct member, or the rule holds for it, or it belongs to a collection that this one
//! includes; and does not belong to one that this one excludes. Collections are put in order once, so that one Mac is judged in
//! one pass: a change of one Mac costs as many rules as there are, whatever the number of Macs.
//! Must not know: where members are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::fact::Subject;
use super::rule::Rule;

/// The name of the collection that every Mac belongs to.
pub const ALL_MACS: &str = "All Macs";
/// The name of the collection that never has members and applies to every Mac that is not known.
pub const UNKNOWN_MACS: &str = "Unknown Macs";

/// A collection that an administrator made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its rule; none: direct members and other collections only.
    pub rule: Option<Rule>,
    /// Collections whose Macs belong to it, too.
    pub includes: Vec<i64>,
    /// Collections whose Macs never do.
    pub excludes: Vec<i64>,
}

/// Collections that stand in each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("collections stand in each other in a circle: {}", .0.join(" → "))]
pub struct Circle(pub Vec<String>);

/// Why a Mac belongs to a collection, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was put there.
    Direct,
    /// The rule holds for it.
    Rule,
    /// It belongs to this collection, which is included.
    Included(i64),
    /// It belongs to this collection, which is excluded.
    Excluded(i64),
    /// Nothing speaks for it.
    Nothing,
}

impl Why {
    /// Whether it belongs there.
    pub fn is_member(&self) -> bool {
        matches!(self, Why::Direct | Why::Rule | Why::Included(_))
    }
}

/// All collections, in an order in which those that others need come first.
#[derive(Clone, Debug, Default)]
pub struct Collections {
    ordered: Vec<Definition>,
    places: HashMap<i64, usize>,
}

impl Collections {
    /// Puts definitions in order. Numbers of collections that are not there count for nothing.
    ///
    /// # Errors
    /// When one stands in itself, directly or through others.
    pub fn new(definitions: Vec<Definition>) -> Result<Collections, Circle> {
        let mut waiting: BTreeMap<i64, Definition> =
            definitions.into_iter().map(|one| (one.id, one)).collect();
        let mut ordered = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let needs = |one: &Definition| {
                one.includes.iter().chain(&one.excludes).any(|id| waiting.contains_key(id))
            };
            let ready: Vec<i64> = waiting.values().filter(|one| !needs(one)).map(|one| one.id).collect();
            if ready.is_empty() {
                return Err(circle(&waiting));
            }
            ordered.extend(ready.iter().filter_map(|id| waiting.remove(id)));
        }
        let places = ordered.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
        Ok(Collections { ordered, places })
    }

    /// A collection by its number.
    pub fn get(&self, id: i64) -> Option<&Definition> {
        self.places.get(&id).and_then(|place| self.ordered.get(*place))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ordered.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty()
    }

    /// Collections to which a Mac belongs. Of those for which `stale` is false, what `current` says is believed.
    pub fn of(
        &self,
        mac: &Subject,
        direct: &BTreeSet<i64>,
        current: &BTreeSet<i64>,
        stale: impl Fn(i64) -> bool,
    ) -> BTreeSet<i64> {
        let mut members = BTreeSet::new();
        for one in &self.ordered {
            let belongs = match stale(one.id) {
                true => why(one, mac, direct, &members).is_member(),
                false => current.contains(&one.id),
            };
            if belongs {
                members.insert(one.id);
            }
        }
        members
    }

    /// Why a Mac belongs to each collection, or does not, in their order.
    pub fn explained(&self, mac: &Subject, direct: &BTreeSet<i64>) -> Vec<(&Definition, Why)> {
        let mut members = BTreeSet::new();
        let mut explained = Vec::with_capacity(self.ordered.len());
        for one in &self.ordered {
            let why = why(one, mac, direct, &members);
            if why.is_member() {
                members.insert(one.id);
            }
            explained.push((one, why));
        }
        explained
    }

    /// These collections and those that need them, directly or through others.
    pub fn with_dependents(&self, changed: &BTreeSet<i64>) -> BTreeSet<i64> {
        let mut all = changed.clone();
        for one in &self.ordered {
            if one.includes.iter().chain(&one.excludes).any(|id| all.contains(id)) {
                all.insert(one.id);
            }
        }
        all
    }
}

fn why(one: &Definition, mac: &Subject, direct: &BTreeSet<i64>, members: &BTreeSet<i64>) -> Why {
    if let Some(other) = one.excludes.iter().find(|id| members.contains(id)) {
        return Why::Excluded(*other);
    }
    if direct.contains(&one.id) {
        return Why::Direct;
    }
    if one.rule.as_ref().is_some_and(|rule| rule.holds(mac)) {
        return Why::Rule;
    }
    match one.includes.iter().find(|id| members.contains(id)) {
        Some(other) => Why::Included(*other),
        None => Why::Nothing,
    }
}

/// The names of a circle among collections that all wait for each other.
fn circle(waiting: &BTreeMap<i64, Definition>) -> Circle {
    let mut path: Vec<i64> = Vec::new();
    let mut at = waiting.keys().next().copied();
    while let Some(id) = at {
        if let Some(first) = path.iter().position(|seen| *seen == id) {
            path.drain(..first);
            path.push(id);
            break;
        }
        path.push(id);
        at = waiting.get(&id).and_then(|one| {
            one.includes.iter().chain(&one.excludes).find(|other| waiting.contains_key(other)).copied()
        });
    }
    let name = |id: &i64| waiting.get(id).map(|one| one.name.clone());
    Circle(path.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fact::Fact;
    use super::*;

    fn collection(id: i64, rule: &str, includes: &[i64], excludes: &[i64]) -> Definition {
        Definition {
            id,
            name: format!("c{id}"),
            rule: (!rule.is_empty()).then(|| Rule::read(rule).unwrap()),
            includes: includes.to_vec(),
            excludes: excludes.to_vec(),
        }
    }

    fn mac(model: &str) -> Subject {
        let mut mac = Subject::default();
        mac.text(Fact::Model, model);
        mac
    }

    #[test]
    fn section_6_direct_members_rules_and_other_collections_make_members_and_exclusion_wins() {
        let all = Collections::new(vec![
            collection(3, "", &[1, 2], &[4]),
            collection(1, "model like 'iMac*'", &[], &[]),
            collection(2, "", &[], &[]),
            collection(4, "model = 'iMac1,1'", &[], &[]),
        ])
        .unwrap();
        let of = |model: &str, direct: &[i64]| -> Vec<i64> {
            all.of(&mac(model), &direct.iter().copied().collect(), &BTreeSet::new(), |_| true)
                .into_iter()
                .collect()
        };
        assert_eq!(of("iMac14,2", &[]), [1, 3]);
        assert_eq!(of("Macmini6,1", &[2]), [2, 3]);
        assert_eq!(of("Macmini6,1", &[]), [] as [i64; 0]);
        assert_eq!(of("iMac1,1", &[3]), [1, 4], "excluded, though a direct member");
        let direct = BTreeSet::from([3]);
        let explained = all.explained(&mac("iMac1,1"), &direct);
        let why = |id: i64| explained.iter().find(|(one, _)| one.id == id).unwrap().1.clone();
        assert_eq!([why(1), why(2), why(3)], [Why::Rule, Why::Nothing, Why::Excluded(4)]);
        assert_eq!(all.with_dependents(&BTreeSet::from([1])), BTreeSet::from([1, 3]));
    }

    #[test]
    fn section_6_only_stale_collections_are_judged_anew() {
        let all = Collections::new(vec![
            collection(1, "model = a", &[], &[]),
            collection(2, "model = b", &[1], &[]),
        ])
        .unwrap();
        let current = BTreeSet::from([1]);
        let of = |stale: i64| all.of(&mac("z"), &BTreeSet::new(), &current, |id| id == stale);
        assert_eq!(of(2), BTreeSet::from([1, 2]));
        assert_eq!(of(1), BTreeSet::new());
    }

    #[test]
    fn section_6_a_circle_is_refused_with_its_names() {
        let error = Collections::new(vec![
            collection(1, "", &[2], &[]),
            collection(2, "", &[], &[3]),
            collection(3, "", &[2], &[]),
            collection(4, "", &[9], &[]),
        ])
        .unwrap_err();
        assert_eq!(error, Circle(vec!["c2".into(), "c3".into(), "c2".into()]));
    }
}
