//! A rule of a collection, and the inventory that a Mac gives of itself: text up to the first NUL, JSON behind it.

use rootstock::api::inventory::subject;
use rootstock::api::runner::DeviceFacts;
use rootstock::sequence::target::rule::{LONGEST, Rule};

pub fn check(input: &[u8]) {
    let cut = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (text, json) = (&input[..cut], input.get(cut + 1..).unwrap_or_default());
    let text = String::from_utf8_lossy(text);
    let rule = match Rule::read(&text) {
        Ok(rule) => {
            assert_eq!(rule.text(), text);
            rule
        }
        Err(bad) => {
            assert!(!bad.findings.is_empty());
            for finding in &bad.findings {
                assert!(finding.at <= text.chars().count().min(LONGEST), "a place behind the end");
                super::assert_fit_for_a_log(&finding.message);
            }
            assert!(!bad.to_string().is_empty());
            Rule::read("serial exists or not memory < 1 GiB").expect("a rule")
        }
    };
    let Ok(facts) = serde_json::from_slice::<DeviceFacts>(json) else { return };
    let written = serde_json::to_vec(&facts).expect("facts are written");
    let read: DeviceFacts = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(read, facts, "read back as written");
    let mac = subject(&facts);
    let negation = Rule::read(&format!("not ({text}\n)"));
    let holds = rule.holds(&mac);
    if let (Ok(negation), true) = (negation, rule.text() == text) {
        assert_ne!(negation.holds(&mac), holds, "a rule and its opposite");
    }
}
