//! Variables of the collections that a Mac belongs to, as one scope: of two collections the one with the higher priority wins
//! (task-sequences section 3); of equal ones the one whose name comes first, and the tie is told.

use std::collections::BTreeMap;

use super::super::name::VariableName;
use super::super::variable::{Scope, Value};

/// Priority of *All Macs*: below every other.
pub const LOWEST: i64 = -2;
/// Priority of *Unknown Macs*: above *All Macs*, below those that an administrator made.
pub const LOW: i64 = -1;

/// One collection's variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// Name of the collection.
    pub collection: String,
    /// The higher wins.
    pub priority: i64,
    /// Its variables.
    pub scope: Scope,
}

/// Where a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The collection whose value is in force.
    pub collection: String,
    /// Collections of the same priority that give it another value.
    pub tied_with: Vec<String>,
}

/// One scope of all layers, and where each variable comes from.
pub fn merged(mut layers: Vec<Layer>) -> (Scope, BTreeMap<VariableName, Origin>) {
    layers.sort_by(|one, other| {
        let names = || one.collection.to_lowercase().cmp(&other.collection.to_lowercase());
        other.priority.cmp(&one.priority).then_with(names)
    });
    let mut scope = Scope::new();
    let mut origins: BTreeMap<VariableName, (i64, Origin)> = BTreeMap::new();
    for layer in layers {
        for (name, value) in layer.scope {
            match origins.get_mut(&name) {
                None => {
                    let origin = Origin { collection: layer.collection.clone(), tied_with: Vec::new() };
                    origins.insert(name.clone(), (layer.priority, origin));
                    scope.insert(name, value);
                }
                Some((priority, origin)) if *priority == layer.priority => {
                    if scope.get(&name).is_none_or(|winner: &Value| *winner != value) {
                        origin.tied_with.push(layer.collection.clone());
                    }
                }
                Some(_) => {}
            }
        }
    }
    (scope, origins.into_iter().map(|(name, (_, origin))| (name, origin)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(collection: &str, priority: i64, variables: &[(&str, &str)]) -> Layer {
        let one = |(name, text): &(&str, &str)| (name.parse().unwrap(), Value::plain(*text));
        Layer { collection: collection.into(), priority, scope: variables.iter().map(one).collect() }
    }

    #[test]
    fn section_3_the_collection_with_the_higher_priority_wins_and_a_tie_is_told() {
        let (scope, origins) = merged(vec![
            layer("All Macs", LOWEST, &[("Room", "none"), ("Ntp", "a")]),
            layer("b", 5, &[("room", "B"), ("Door", "x"), ("Floor", "1")]),
            layer("A", 5, &[("ROOM", "A"), ("Door", "x")]),
            layer("c", 4, &[("Floor", "2"), ("Room", "C")]),
        ]);
        let text = |name: &str| scope[&name.parse::<VariableName>().unwrap()].text.clone();
        assert_eq!([text("Room"), text("Ntp"), text("Floor"), text("Door")], ["A", "a", "1", "x"]);
        let ties: Vec<_> = origins.iter().filter(|(_, origin)| !origin.tied_with.is_empty()).collect();
        let [(name, origin)] = ties.as_slice() else { panic!("{ties:?}") };
        assert_eq!((name.as_str(), origin.collection.as_str()), ("ROOM", "A"));
        assert_eq!(origin.tied_with, ["b"], "c is no tie, its priority is lower; Door is the same in both");
    }
}
