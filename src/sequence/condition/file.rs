//! Conditions in a file: `all: [{variable: Model, like: iMac*}, {any: […]}]`.
//!
//! A clause is a mapping: one of `all`, `any`, `none` with a list of clauses, or `variable` and one operator.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Clause, If, Operator, Quantity, Test};
use crate::sequence::name::VariableName;
use crate::sequence::template::Template;

const QUANTITIES: [(&str, Quantity); 3] =
    [("all", Quantity::All), ("any", Quantity::Any), ("none", Quantity::None)];

impl Serialize for If {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = QUANTITIES.iter().find(|(_, quantity)| *quantity == self.quantity);
        let (key, _) = known.ok_or_else(|| S::Error::custom("a quantity without a word"))?;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &self.clauses)?;
        map.end()
    }
}

impl Serialize for Clause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let test = match self {
            Clause::If(nested) => return nested.serialize(serializer),
            Clause::Test(test) => test,
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("variable", &test.variable)?;
        match test.operator {
            Operator::Exists => map.serialize_entry("exists", &true)?,
            Operator::NotExists => map.serialize_entry("exists", &false)?,
            operator => {
                let known = Operator::KEYS.iter().find(|(_, one)| *one == operator);
                let (key, _) = known.ok_or_else(|| S::Error::custom("an operator without a word"))?;
                map.serialize_entry(key, &test.value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for If {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<If, D::Error> {
        match Clause::deserialize(deserializer)? {
            Clause::If(nested) => Ok(nested),
            Clause::Test(_) => {
                Err(D::Error::custom("a condition begins with `all`, `any` or `none`: put the test into one"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Clause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Clause, D::Error> {
        deserializer.deserialize_map(ClauseVisitor)
    }
}

struct ClauseVisitor;

/// A key of a clause; refused while the reader still stands on it, so that the error has its place.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let key = String::deserialize(deserializer)?;
        let known = key == "variable"
            || QUANTITIES.iter().any(|(word, _)| *word == key)
            || Operator::KEYS.iter().any(|(word, _)| *word == key);
        if known {
            return Ok(Key(key));
        }
        let operators: Vec<&str> = Operator::KEYS.iter().map(|(word, _)| *word).collect();
        Err(D::Error::custom(format!(
            "`{}` is no part of a condition: a clause is all, any or none with a list, or `variable` with one of {}",
            key.chars().take(40).collect::<String>(),
            operators.join(", ")
        )))
    }
}

impl<'de> Visitor<'de> for ClauseVisitor {
    type Value = Clause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a clause of a condition: all, any or none with a list, or a variable with an operator")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Clause, A::Error> {
        let mut nested: Option<If> = None;
        let mut variable: Option<VariableName> = None;
        let mut test: Option<(String, Operator, Template)> = None;
        while let Some(Key(key)) = map.next_key()? {
            if let Some((_, quantity)) = QUANTITIES.iter().find(|(word, _)| *word == key) {
                if nested.is_some() {
                    return Err(A::Error::custom("a clause has one of all, any and none: nest them"));
                }
                nested = Some(If { quantity: *quantity, clauses: map.next_value()? });
            } else if key == "variable" {
                if variable.is_some() {
                    return Err(A::Error::custom("`variable` stands twice in one test"));
                }
                variable = Some(map.next_value()?);
            } else {
                if let Some((first, ..)) = &test {
                    return Err(A::Error::custom(format!(
                        "a test has one operator: this one has `{first}` and `{key}`"
                    )));
                }
                test = Some(operator(key, &mut map)?);
            }
        }
        match (nested, variable, test) {
            (Some(nested), None, None) => Ok(Clause::If(nested)),
            (None, Some(variable), Some((_, operator, value))) => {
                Ok(Clause::Test(Test { variable, operator, value }))
            }
            (None, Some(variable), None) => Err(A::Error::custom(format!(
                "the test of {variable} has no operator: add one, like `exists: true`"
            ))),
            (None, None, Some((key, ..))) => {
                Err(A::Error::custom(format!("`{key}` without `variable`: name the variable that is tested")))
            }
            (None, None, None) => Err(A::Error::custom("an empty clause: write all, any, none, or a test")),
            (Some(_), ..) => Err(A::Error::custom("a clause is a list of clauses or a test, not both")),
        }
    }
}

fn operator<'de, A: MapAccess<'de>>(
    key: String,
    map: &mut A,
) -> Result<(String, Operator, Template), A::Error> {
    let empty = || "".parse::<Template>().map_err(A::Error::custom);
    if key == "exists" {
        let operator = if map.next_value()? { Operator::Exists } else { Operator::NotExists };
        return Ok((key, operator, empty()?));
    }
    let known = Operator::KEYS.iter().find(|(word, _)| *word == key);
    let (_, operator) = *known.ok_or_else(|| A::Error::custom(format!("`{key}` is no operator")))?;
    Ok((key, operator, map.next_value()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_4_a_condition_is_written_and_read_back_as_the_same() {
        let text =
            "any: [{variable: A, exists: false}, {all: [{variable: B, greater_or_equal: 8}, {none: []}]}]";
        let condition: If = serde_saphyr::from_str(text).unwrap();
        let written = serde_saphyr::to_string(&condition).unwrap();
        assert_eq!(serde_saphyr::from_str::<If>(&written).unwrap(), condition, "{written}");
        let json = serde_json::to_string(&condition).unwrap();
        assert_eq!(serde_json::from_str::<If>(&json).unwrap(), condition, "{json}");
    }

    #[test]
    fn section_4_a_condition_that_means_nothing_is_refused_with_what_is_missing() {
        for (text, what) in [
            ("{variable: A, equals: b}", "begins with `all`"),
            ("all: [{variable: A}]", "no operator"),
            ("all: [{equals: b}]", "without `variable`"),
            ("all: [{variable: A, equals: b, like: c}]", "`equals` and `like`"),
            ("all: [{variable: A, is: b}]", "`is` is no part"),
            ("all: [{}]", "empty clause"),
            ("{all: [], any: []}", "nest them"),
            ("all: [{variable: 1a, exists: true}]", "no variable name"),
            ("all: [{variable: A, exists: maybe}]", ""),
        ] {
            let error = serde_saphyr::from_str::<If>(text).expect_err(text).to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
