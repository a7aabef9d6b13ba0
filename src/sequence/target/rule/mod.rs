//! The language in which a collection says who belongs to it: `model like "iMac*" and memory >= 8 GiB`.
//!
//! | written | holds |
//! |---|---|
//! | `FACT = VALUE`, `!=`, `<`, `<=`, `>`, `>=` | numbers as numbers, versions (10.15.7) as versions, else texts without regard to case |
//! | `FACT like "iMac*"` | `*` any text, `?` one character |
//! | `FACT matches "^C02"` | a regular expression, without regard to case |
//! | `FACT in (A, B, C)`; `ip in 10.1.0.0/16` | one of them; in the network |
//! | `FACT between A and B` | from A to B, both included |
//! | `FACT exists` | the Mac gives it |
//! | `known`, `battery`, `wifi` | the yes-or-no facts, alone |
//! | `not X`, `X and Y`, `X or Y`, `(X)` | `not` binds closest, then `and`, then `or` |
//! | `#` | a comment up to the end of the line |
//!
//! `not like`, `not matches`, `not in`, `not between` stand for `not (…)`. A fact with several values (addresses, disks, tags)
//! holds when one of them does; `!=` and `not …` hold when none does, so also when the Mac gives none.
//!
//! Owns: what a rule means. How it is read: [`parse`]; from which words: `lex`. Must not know: where Macs are kept.

mod lex;
mod parse;

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use regex::Regex;

use super::fact::{Fact, Subject, Value};
use crate::sequence::condition::compare::{is_like, order};
use crate::sequence::name::VariableName;

/// Longest rule in characters.
pub const LONGEST: usize = 4096;
/// Most comparisons in a rule.
const MOST_TESTS: usize = 500;
/// Most regular expressions in a rule: each may take a megabyte.
const MOST_PATTERNS: usize = 16;
/// How deep parentheses and `not` may stand in each other.
const DEEPEST: usize = 50;

/// Something that is wrong with a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFinding {
    /// The first character that is wrong, counted from 0.
    pub at: usize,
    /// How many are.
    pub length: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadRule {
    /// The text.
    pub text: String,
    /// Everything that is wrong with it; at least one thing.
    pub findings: Vec<RuleFinding>,
}

impl fmt::Display for BadRule {
    /// Each finding with the line that it stands in and a mark under it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let before: String = self.text.chars().take(finding.at).collect();
            let (row, column) =
                (before.matches('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count());
            let line = self.text.split('\n').nth(row).unwrap_or_default();
            let room = line.chars().count().saturating_sub(column).max(1);
            writeln!(f, "line {}, column {}: {}", row + 1, column + 1, finding.message)?;
            let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(f, "  {shown}")?;
            write!(f, "  {}{}", " ".repeat(column), "^".repeat(finding.length.clamp(1, room)))?;
        }
        Ok(())
    }
}

/// A rule that was read and checked.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    root: Expr,
}

#[derive(Clone, Debug)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Test(Asked, Comparison),
}

/// What is asked of the Mac.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Fact(Fact),
    Variable(VariableName),
}

#[derive(Clone, Debug)]
enum Comparison {
    Exists,
    Order(Sign, Operand),
    Between(Operand, Operand),
    OneOf(Vec<Operand>),
    Like(String),
    Matches(Box<Regex>),
    Within(IpAddr, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug)]
enum Operand {
    Text(String),
    Number(u64),
    Flag(bool),
    Ip(IpAddr),
}

impl Rule {
    /// Reads and checks a rule.
    ///
    /// # Errors
    /// Everything that is wrong with the text, with its place; of its form, the first thing only.
    pub fn read(text: &str) -> Result<Rule, BadRule> {
        let bad = |findings| BadRule { text: text.chars().take(LONGEST).collect(), findings };
        let words = lex::words(text).map_err(|finding| bad(vec![finding]))?;
        let root = parse::parse(&words).map_err(bad)?;
        Ok(Rule { text: text.to_owned(), root })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for this Mac.
    pub fn holds(&self, mac: &Subject) -> bool {
        self.root.holds(mac)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.text == other.text
    }
}

impl Expr {
    fn holds(&self, mac: &Subject) -> bool {
        match self {
            Expr::All(all) => all.iter().all(|one| one.holds(mac)),
            Expr::Any(any) => any.iter().any(|one| one.holds(mac)),
            Expr::Not(inner) => !inner.holds(mac),
            Expr::Test(Asked::Fact(fact), test) => {
                let values = mac.values(*fact);
                match test {
                    Comparison::Exists => !values.is_empty(),
                    test => values.iter().any(|value| test.holds(value)),
                }
            }
            Expr::Test(Asked::Variable(name), test) => match (mac.variable_text(name), test) {
                (found, Comparison::Exists) => found.is_some(),
                (Some(text), test) => test.holds_text(text),
                (None, _) => false,
            },
        }
    }
}

impl Comparison {
    fn holds(&self, value: &Value) -> bool {
        match value {
            Value::Text(text) => self.holds_text(text),
            Value::Number(number) => self.holds_by(|operand| match operand {
                Operand::Number(other) => Some(number.cmp(other)),
                _ => None,
            }),
            Value::Flag(flag) => self.holds_by(|operand| match operand {
                Operand::Flag(other) => Some(flag.cmp(other)),
                _ => None,
            }),
            Value::Ip(address) => match self {
                Comparison::Within(network, prefix) => is_within(*address, *network, *prefix),
                _ => self.holds_by(|operand| match operand {
                    Operand::Ip(other) => Some(address.cmp(other)),
                    _ => None,
                }),
            },
        }
    }

    fn holds_text(&self, text: &str) -> bool {
        match self {
            Comparison::Like(pattern) => is_like(text, pattern),
            Comparison::Matches(pattern) => pattern.is_match(text),
            _ => self.holds_by(|operand| match operand {
                Operand::Text(other) => Some(order(text, other)),
                _ => None,
            }),
        }
    }

    /// `order` is none where the two cannot be compared.
    fn holds_by(&self, order: impl Fn(&Operand) -> Option<Ordering>) -> bool {
        match self {
            Comparison::Exists => true,
            Comparison::Order(sign, operand) => order(operand).is_some_and(|found| match sign {
                Sign::Equal => found.is_eq(),
                Sign::Less => found.is_lt(),
                Sign::LessOrEqual => found.is_le(),
                Sign::Greater => found.is_gt(),
                Sign::GreaterOrEqual => found.is_ge(),
            }),
            Comparison::Between(from, to) => {
                order(from).is_some_and(Ordering::is_ge) && order(to).is_some_and(Ordering::is_le)
            }
            Comparison::OneOf(operands) => operands.iter().any(|one| order(one).is_some_and(Ordering::is_eq)),
            Comparison::Like(_) | Comparison::Matches(_) | Comparison::Within(..) => false,
        }
    }
}

/// Whether an address lies in a network. One of the other family does not.
fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let same_head = |one: u128, other: u128, bits: u32| {
        let beyond = bits.saturating_sub(u32::from(prefix));
        beyond >= u128::BITS || one >> beyond == other >> beyond
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same_head(u128::from(u32::from(one)), u128::from(u32::from(other)), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same_head(u128::from(one), u128::from(other), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mac() -> Subject {
        let mut mac = Subject::default();
        mac.text(Fact::Model, "iMac14,2")
            .text(Fact::Serial, "C02FEAS00001")
            .text(Fact::Mac, "ac:87:a3:00:00:01")
            .text(Fact::Mac, "00:e0:4c:68:00:01")
            .text(Fact::Tag, "lab-3")
            .text(Fact::Tag, "room:B12")
            .text(Fact::Firmware, "433.140.2.0.0")
            .text(Fact::DiskHealth, "good")
            .number(Fact::Memory, 8_u64 << 30)
            .number(Fact::DiskSize, 500_107_862_016_u64)
            .number(Fact::DiskSize, 1_000_204_886_016_u64)
            .number(Fact::Disks, 2_u64)
            .flag(Fact::Known, true)
            .ip(Fact::Ip, "10.1.200.7".parse().unwrap())
            .variable("Room".parse().unwrap(), "B12".into());
        mac
    }

    fn holds(rule: &str) -> bool {
        Rule::read(rule).unwrap_or_else(|error| panic!("{error}")).holds(&mac())
    }

    #[test]
    fn section_6_model_serial_range_mac_subnet_tag_and_any_fact_can_be_asked() {
        for rule in [
            "model = imac14,2",
            "model like \"iMac1?,*\"",
            "model in (\"iMac13,1\", 'iMac14,2')",
            "serial between C02FEAS00000 and C02FEAS00009",
            "serial matches \"^c02\"",
            "mac = 00-E0-4C-68-00-01",
            "mac like 'ac:87:a3:*'",
            "ip in 10.1.0.0/16",
            "ip in (10.1.200.6, 10.1.200.7)",
            "ip between 10.1.200.0 and 10.1.200.99",
            "tag = LAB-3 and tag = room:B12",
            "memory >= 8 GiB and memory<=8GiB",
            "disk.size > 1 TB or disk.size < 1MB",
            "firmware >= 433.2",
            "disks = 2",
            "disk.health = good",
            "known and not battery exists",
            "known = yes and known != no",
            "variable.room = b12",
            "tag exists # a comment\n and\n variable.Room exists",
            "NOT (model = x OR memory < 4 GiB)",
        ] {
            assert!(holds(rule), "{rule}");
        }
        for rule in [
            "model = iMac14,1",
            "serial between C02FEAS00002 and C02FEAS00009",
            "mac = 00:e0:4c:68:00:02",
            "ip in 10.2.0.0/16",
            "ip in fd00::/8",
            "tag = lab",
            "memory > 8 GiB",
            "disk.health in (worn, failing)",
            "battery",
            "not known",
            "note exists",
            "variable.Floor = 1",
        ] {
            assert!(!holds(rule), "{rule}");
        }
    }

    #[test]
    fn section_6_a_negation_holds_when_no_value_does_so_also_when_there_is_none() {
        assert!(holds("tag != lab-9") && !holds("tag != lab-3"), "one of the tags is lab-3");
        assert!(holds("note != x") && holds("note not like '*'") && !holds("note = ''"));
        assert!(!holds("mac not in (00:e0:4c:68:00:01)") && holds("memory not between 1 GB and 2 GB"));
        assert!(holds("not memory < 1 GB") && holds("variable.Nothing != 1"));
    }

    #[test]
    fn section_6_not_binds_closest_then_and_then_or() {
        assert!(holds("known or battery and battery"), "and first");
        assert!(!holds("(known or battery) and battery"));
        assert!(holds("not battery and known") && !holds("not (battery or known)"));
    }

    fn wrong(rule: &str) -> Vec<(usize, usize, String)> {
        let findings = Rule::read(rule).unwrap_err().findings;
        findings.into_iter().map(|finding| (finding.at, finding.length, finding.message)).collect()
    }

    #[test]
    fn section_6_what_is_wrong_is_told_with_its_place_and_all_at_once() {
        let found = wrong("modle = x and memory > lots or known like 'y*'");
        let places: Vec<_> = found.iter().map(|(at, length, _)| (*at, *length)).collect();
        assert_eq!(places, [(0, 5), (23, 4), (37, 4)], "{found:?}");
        assert!(found[0].2.contains("`model`"), "{found:?}");
        assert!(found[1].2.contains("8 GiB"), "{found:?}");
        for (rule, at, says) in [
            ("", 0, "a rule asks something"),
            ("model", 5, "`=`"),
            ("model = ", 8, "a value"),
            ("model = a b", 10, "`and`"),
            ("(model = a", 10, "`)`"),
            ("model = 'a", 8, "not closed"),
            ("model = a)", 9, "`)`"),
            ("ip in 10.0.0.0/33", 6, "network"),
            ("ip = 10.0.0", 5, "IP address"),
            ("mac = 00:11", 6, "hardware address"),
            ("serial matches '('", 15, "regular expression"),
            ("known = maybe", 8, "yes or no"),
            ("boot = floppy", 7, "netboot"),
            ("model § x", 6, "§"),
            ("model in (a, b", 14, "`)`"),
            ("memory between 1 GB", 19, "`and`"),
            ("variable.9x = 1", 0, "variable name"),
            ("cores = 4 GB", 8, "whole number"),
            ("known < yes", 6, "`=`"),
            ("mac > 00:11:22:33:44:55", 4, "`=`"),
        ] {
            let found = wrong(rule);
            assert_eq!(found[0].0, at, "{rule}: {found:?}");
            assert!(found[0].2.contains(says), "{rule}: {found:?}");
        }
        let text = Rule::read("known and\n  modle = 'x'").unwrap_err().to_string();
        assert!(
            text.starts_with("line 2, column 3: ") && text.ends_with("\n    modle = 'x'\n    ^^^^^"),
            "{text}"
        );
    }

    #[test]
    fn a_rule_is_bounded_in_length_depth_and_tests() {
        assert!(Rule::read(&"x".repeat(LONGEST + 1)).is_err());
        assert!(Rule::read(&format!("{}known{}", "(".repeat(60), ")".repeat(60))).is_err());
        assert!(Rule::read(&format!("{}known", "not ".repeat(60))).is_err());
        assert!(Rule::read(&vec!["known"; MOST_TESTS + 1].join(" or ")).is_err());
        assert!(Rule::read(&vec!["wifi"; MOST_TESTS - 1].join(" or ")).is_ok());
        assert!(Rule::read(&vec!["note matches x"; MOST_PATTERNS + 1].join(" or ")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_every_place_lies_in_the_text(
            text in r#"(model|memory|ip|known|variable\.A|=|!=|<=|like|in|not|and|or|between|\(|\)|,|'|"|8|GiB|10\.0\.0\.0/8|#|é|\n| ){0,24}"#,
        ) {
            if let Err(error) = Rule::read(&text) {
                prop_assert!(!error.findings.is_empty());
                for finding in &error.findings {
                    prop_assert!(finding.at + finding.length <= text.chars().count() + 1, "{error}");
                }
                let _ = error.to_string();
            }
        }
    }
}
