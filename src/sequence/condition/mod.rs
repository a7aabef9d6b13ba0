//! Conditions of steps and groups (task-sequences section 4): what they are, whether they hold, and which values decided.
//!
//! The root is an If (*all*, *any* or *none*); its clauses are tests of variables or nested Ifs, to any depth.
//! How they stand in a file: `file`. How two values compare: [`compare`].

pub mod compare;
mod file;

use std::cmp::Ordering;
use std::fmt;

use super::name::VariableName;
use super::template::Template;
use super::variable::Variables;

/// Clauses and how many of them must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct If {
    /// How many.
    pub quantity: Quantity,
    /// In order.
    pub clauses: Vec<Clause>,
}

/// How many clauses must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Every one; also when there is none.
    All,
    /// At least one.
    Any,
    /// Not one.
    None,
}

/// One clause of an [`If`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// A nested If.
    If(If),
    /// A test of one variable.
    Test(Test),
}

/// A test of one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Which.
    pub variable: VariableName,
    /// How.
    pub operator: Operator,
    /// Against what; empty for the two that ask for existence. May use variables.
    pub value: Template,
}

/// How a variable is tested. A variable that nothing defines counts as an empty text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// Something defines it, even as an empty text; a fact of the Mac exists when the Mac gives it.
    Exists,
    /// Not so.
    NotExists,
    /// The same number, version or text.
    Equals,
    /// Not so.
    NotEquals,
    /// Greater.
    Greater,
    /// Greater or the same.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or the same.
    LessOrEqual,
    /// `*` stands for any text, `?` for one character; without regard to case.
    Like,
    /// Not so.
    NotLike,
    /// A regular expression finds something; without regard to case, unless the expression says `(?-i)`.
    Matches,
}

impl Operator {
    /// Every operator but [`Operator::NotExists`], which is written `exists: false`, with its key in a file.
    pub const KEYS: [(&'static str, Operator); 10] = [
        ("exists", Operator::Exists),
        ("equals", Operator::Equals),
        ("not_equals", Operator::NotEquals),
        ("greater", Operator::Greater),
        ("greater_or_equal", Operator::GreaterOrEqual),
        ("less", Operator::Less),
        ("less_or_equal", Operator::LessOrEqual),
        ("like", Operator::Like),
        ("not_like", Operator::NotLike),
        ("matches", Operator::Matches),
    ];

    /// Words for "is so" and "is not so".
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Operator::Exists => ("exists", "does not exist"),
            Operator::NotExists => ("does not exist", "exists"),
            Operator::Equals => ("equals", "does not equal"),
            Operator::NotEquals => ("does not equal", "equals"),
            Operator::Greater => ("is greater than", "is not greater than"),
            Operator::GreaterOrEqual => ("is at least", "is less than"),
            Operator::Less => ("is less than", "is not less than"),
            Operator::LessOrEqual => ("is at most", "is greater than"),
            Operator::Like => ("is like", "is not like"),
            Operator::NotLike => ("is not like", "is like"),
            Operator::Matches => ("matches", "does not match"),
        }
    }
}

/// Whether a condition holds, and what decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it does.
    pub holds: bool,
    /// The tests that decided, with the values that they saw; secrets are masked.
    pub because: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.because.join(", "))
    }
}

/// Characters of a value that are shown.
const SHOWN: usize = 80;

impl If {
    /// Whether it holds for these values.
    pub fn verdict(&self, variables: &Variables) -> Verdict {
        let mut because = Vec::new();
        for clause in &self.clauses {
            let one = match clause {
                Clause::If(nested) => nested.verdict(variables),
                Clause::Test(test) => test.verdict(variables),
            };
            // The first clause that decides is the whole reason.
            match (self.quantity, one.holds) {
                (Quantity::All, false) => return Verdict { holds: false, ..one },
                (Quantity::Any, true) => return Verdict { holds: true, ..one },
                (Quantity::None, true) => return Verdict { holds: false, ..one },
                _ => because.extend(one.because),
            }
        }
        Verdict { holds: self.quantity != Quantity::Any, because }
    }

    /// Every test in it, in order.
    pub fn tests(&self) -> Vec<&Test> {
        let mut tests = Vec::new();
        for clause in &self.clauses {
            match clause {
                Clause::If(nested) => tests.extend(nested.tests()),
                Clause::Test(test) => tests.push(test),
            }
        }
        tests
    }

    /// Variables that it cannot be decided without: it compares them, and nothing in it says what is when they are empty.
    pub fn needs(&self) -> Vec<&VariableName> {
        let tests = self.tests();
        let minds_emptiness = |test: &&&Test| {
            matches!(test.operator, Operator::Exists | Operator::NotExists) || test.value.as_str().is_empty()
        };
        let minded: Vec<&VariableName> =
            tests.iter().filter(minds_emptiness).map(|test| &test.variable).collect();
        let read = tests.iter().flat_map(|test| test.reads());
        read.filter(|name| !minded.contains(name)).collect()
    }

    /// Whether it or an If inside it has no clause.
    pub fn is_hollow(&self) -> bool {
        let hollow = |clause: &Clause| matches!(clause, Clause::If(nested) if nested.is_hollow());
        self.clauses.is_empty() || self.clauses.iter().any(hollow)
    }
}

impl Test {
    /// Variables that it reads.
    pub fn reads(&self) -> impl Iterator<Item = &VariableName> {
        std::iter::once(&self.variable).chain(self.value.variables())
    }

    fn verdict(&self, variables: &Variables) -> Verdict {
        let found = variables.get(&self.variable);
        let exists =
            found.as_ref().is_some_and(|value| !self.variable.is_read_only() || !value.text.is_empty());
        let value = found.unwrap_or_default();
        let expected = match variables.expand(&self.value) {
            Ok(expected) => expected,
            Err(error) => {
                let because = vec![format!("{} cannot be compared: {error}", self.variable)];
                return Verdict { holds: false, because };
            }
        };
        let order = || compare::order(&value.text, &expected.text);
        let holds = match self.operator {
            Operator::Exists => exists,
            Operator::NotExists => !exists,
            Operator::Equals => order() == Ordering::Equal,
            Operator::NotEquals => order() != Ordering::Equal,
            Operator::Greater => order() == Ordering::Greater,
            Operator::GreaterOrEqual => order() != Ordering::Less,
            Operator::Less => order() == Ordering::Less,
            Operator::LessOrEqual => order() != Ordering::Greater,
            Operator::Like => compare::is_like(&value.text, &expected.text),
            Operator::NotLike => !compare::is_like(&value.text, &expected.text),
            Operator::Matches => match compare::pattern(&expected.text) {
                Ok(pattern) => pattern.is_match(&value.text),
                Err(error) => {
                    return Verdict { holds: false, because: vec![format!("{}: {error}", self.variable)] };
                }
            },
        };
        let (so, not_so) = self.operator.words();
        let words = if holds { so } else { not_so };
        let because = match self.operator {
            Operator::Exists | Operator::NotExists => format!("{} {words}", self.variable),
            _ => format!(
                "{} is `{}`, {words} `{}`",
                self.variable,
                short(value.shown()),
                short(expected.shown())
            ),
        };
        Verdict { holds, because: vec![because] }
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::variable::{Facts, Value};

    fn variables() -> Variables {
        let mut variables = Variables {
            facts: Facts { model: Some("iMac14,2".parse().unwrap()), memory: 16 << 30, ..Facts::default() },
            ..Variables::default()
        };
        for (name, text) in [("Room", "B12"), ("Empty", ""), ("System", "10.15.7"), ("Rooms", "b12")] {
            variables.set(name.parse().unwrap(), Value::plain(text));
        }
        variables.set("Key".parse().unwrap(), Value { text: "hunter2".into(), secret: true });
        variables
    }

    fn verdict(yaml: &str) -> Verdict {
        let condition: If = serde_saphyr::from_str(yaml).expect(yaml);
        condition.verdict(&variables())
    }

    fn test(test: &str) -> bool {
        verdict(&format!("all: [{{variable: {test}}}]")).holds
    }

    #[test]
    fn section_4_every_operator_is_true_and_false_where_it_should() {
        for (yes, no) in [
            ("Room, exists: true", "Nobody, exists: true"),
            ("Empty, exists: true", "SerialNumber, exists: true"),
            ("Nobody, exists: false", "Room, exists: false"),
            ("Room, equals: b12", "Room, equals: b13"),
            ("Room, not_equals: b13", "Room, not_equals: B12"),
            ("Nobody, equals: ''", "Nobody, equals: x"),
            ("MemoryGB, greater: 8", "MemoryGB, greater: 16"),
            ("MemoryGB, greater_or_equal: 16", "MemoryGB, greater_or_equal: 16.5"),
            ("MemoryGB, less: 100", "MemoryGB, less: 2"),
            ("MemoryGB, less_or_equal: 16.0", "MemoryGB, less_or_equal: 9"),
            ("System, greater: 10.9", "System, less: 10.9"),
            ("System, equals: 10.15.7.0", "System, equals: 10.15"),
            ("Model, like: 'imac*'", "Model, like: imac"),
            ("Model, like: 'iMac14,?'", "Model, like: 'iMac1?'"),
            ("Model, not_like: 'MacBook*'", "Model, not_like: '*,2'"),
            ("Model, matches: '^imac1[0-9],'", "Model, matches: '^Mac'"),
            ("Room, equals: '%rooms%'", "Room, equals: '%%rooms%%'"),
        ] {
            assert!(test(yes), "{yes}");
            assert!(!test(no), "{no}");
        }
    }

    #[test]
    fn section_4_all_any_and_none_nest() {
        let (yes, no) = ("{variable: Room, exists: true}", "{variable: Nobody, exists: true}");
        for (condition, holds) in [
            (format!("all: [{yes}, {yes}]"), true),
            (format!("all: [{yes}, {no}]"), false),
            (format!("any: [{no}, {yes}]"), true),
            (format!("any: [{no}, {no}]"), false),
            (format!("none: [{no}, {no}]"), true),
            (format!("none: [{no}, {yes}]"), false),
            (format!("all: [{{any: [{no}, {{none: [{no}]}}]}}, {yes}]"), true),
            ("all: []".to_owned(), true),
            ("any: []".to_owned(), false),
            ("none: []".to_owned(), true),
        ] {
            assert_eq!(verdict(&condition).holds, holds, "{condition}");
        }
    }

    #[test]
    fn section_4_the_values_that_decided_are_told_without_secrets() {
        let all = verdict("all: [{variable: Room, exists: true}, {variable: Model, like: 'MacBook*'}]");
        assert_eq!(all.to_string(), "Model is `iMac14,2`, is not like `MacBook*`");
        let any = verdict("any: [{variable: MemoryGB, less: 8}, {variable: Nobody, exists: true}]");
        assert_eq!(any.to_string(), "MemoryGB is `16`, is not less than `8`, Nobody does not exist");
        let secret = verdict("all: [{variable: Key, equals: 'x%Key%'}]").to_string();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn section_4_a_pattern_that_is_none_and_a_name_that_nothing_defines_make_the_test_false_with_that_reason()
    {
        let bad = verdict("all: [{variable: Room, matches: '('}]");
        assert!(!bad.holds && bad.to_string().contains("no regular expression"), "{bad}");
        let unknown = verdict("any: [{variable: Room, not_equals: '%Nobody%'}]");
        assert!(!unknown.holds && unknown.to_string().contains("%Nobody%"), "{unknown}");
    }
}
