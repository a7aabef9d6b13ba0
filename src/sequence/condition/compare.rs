//! How two values of variables compare (task-sequences section 4): numbers as numbers when both sides are numbers, versions
//! (10.15.7) as versions, else as text without regard to case. Exact: no floating point.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const LARGEST_PATTERN: usize = 1 << 20;

/// The text is no regular expression, or one that is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no regular expression: {why}")]
pub struct BadPattern {
    pattern: String,
    why: String,
}

/// The order of two values.
pub fn order(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim(), other.trim());
    if let (Some(one), Some(other)) = (Number::parse(one), Number::parse(other)) {
        return one.order(&other);
    }
    if let (Some(one), Some(other)) = (version(one), version(other)) {
        return order_of_versions(&one, &other);
    }
    one.to_lowercase().cmp(&other.to_lowercase())
}

/// Whether `text` is like `pattern`: `*` stands for any text, `?` for one character; without regard to case.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let (mut at, mut place) = (0, 0);
    // Where the last `*` stands, and up to where it reaches: one step back is enough, so no text takes long.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(place) {
            Some('*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(c) if *c == '?' || *c == text[at] => {
                at += 1;
                place += 1;
            }
            _ => match star {
                Some((behind, reached)) => {
                    star = Some((behind, reached + 1));
                    (place, at) = (behind + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[place..].iter().all(|c| *c == '*')
}

/// A regular expression without regard to case. It takes time that grows with the text only.
///
/// # Errors
/// When the text is none.
pub fn pattern(text: &str) -> Result<Regex, BadPattern> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(LARGEST_PATTERN).build().map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        BadPattern { pattern: text.chars().take(80).collect(), why }
    })
}

/// A decimal number, taken apart: no leading or trailing zeros.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Option<Number<'a>> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Number { negative: negative && !zero, whole, fraction })
    }

    fn order(&self, other: &Number<'_>) -> Ordering {
        let size = || {
            let whole = order_of_digits(self.whole, other.whole);
            // Without trailing zeros, the longer of two equal beginnings is the greater fraction.
            whole.then_with(|| self.fraction.cmp(other.fraction))
        };
        match (self.negative, other.negative) {
            (false, false) => size(),
            (true, true) => size().reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// Numbers with points between them, without leading zeros; zeros at the end count for nothing.
fn version(text: &str) -> Option<Vec<&str>> {
    let part = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    if !parts.iter().all(part) {
        return None;
    }
    let mut parts: Vec<&str> = parts.into_iter().map(|part| part.trim_start_matches('0')).collect();
    while parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    Some(parts)
}

fn order_of_versions(one: &[&str], other: &[&str]) -> Ordering {
    let parts = one.iter().zip(other).map(|(one, other)| order_of_digits(one, other));
    parts.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&other.len()))
}

/// Digits without leading zeros: the longer is the greater.
fn order_of_digits(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn section_4_numbers_versions_and_texts_each_have_their_own_order() {
        use Ordering::{Equal, Greater, Less};
        for (one, other, want) in [
            ("9", "10", Less),
            ("010", "10", Equal),
            ("1.50", "1.5", Equal),
            ("-2", "1", Less),
            ("-2", "-3", Greater),
            ("-0", "0", Equal),
            ("10.10", "10.9", Less),
            ("10.10.0", "10.9", Greater),
            ("10.15.7", "10.15", Greater),
            ("11", "10.15.7", Greater),
            ("10.15.0", "10.15", Equal),
            ("99999999999999999999999999999", "1", Greater),
            ("b", "A", Greater),
            ("ABC", "abc", Equal),
            ("10a", "9a", Less),
            ("1.", "1", Greater),
            ("", "0", Less),
        ] {
            assert_eq!(order(one, other), want, "{one} and {other}");
        }
    }

    #[test]
    fn section_4_wildcards_stand_for_any_text_and_for_one_character() {
        for (text, pattern, like) in [
            ("iMac14,2", "imac*", true),
            ("", "*", true),
            ("", "?", false),
            ("abcabd", "*abd", true),
            ("aab", "a*b", true),
            ("ÄB", "ä?", true),
            ("abc", "a*d", false),
            ("abc", "abc**", true),
        ] {
            assert_eq!(is_like(text, pattern), like, "{text} like {pattern}");
        }
        assert!(!is_like(&"a".repeat(20_000), &format!("{}b", "*a".repeat(50))), "no text takes long");
    }

    #[test]
    fn an_expression_that_is_none_or_too_large_is_refused_with_its_text() {
        assert!(pattern("(").unwrap_err().to_string().starts_with("`(` is no regular expression"));
        assert!(pattern("(x{1000}){1000}").is_err());
    }

    proptest! {
        #[test]
        fn section_4_the_order_of_numbers_is_that_of_numbers(one in -10_000_i64..10_000, other in -10_000_i64..10_000) {
            prop_assert_eq!(order(&one.to_string(), &other.to_string()), one.cmp(&other));
            let tenth = |n: i64| format!("{}{}.{}", if n < 0 { "-" } else { "" }, n.abs() / 10, n.abs() % 10);
            prop_assert_eq!(order(&tenth(one), &tenth(other)), one.cmp(&other));
        }

        #[test]
        fn the_order_of_any_two_texts_is_the_reverse_of_that_of_the_other_two(one in "[-+0-9.aB]{0,6}", other in "[-+0-9.aB]{0,6}") {
            prop_assert_eq!(order(&one, &other), order(&other, &one).reverse());
            prop_assert!(is_like(&one, "*") && is_like(&one, &one));
        }
    }
}
