//! Texts of a sequence that may use variables: `%Name%` is replaced by the value, `%%` is a percent sign.
//!
//! Parsed once: a text that exists is well formed. What a name means is [`super::variable`]'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::VariableName;

/// Bytes of the longest value and of the longest expanded text.
pub const LONGEST: usize = 65_536;

/// A text with variables in it. Kept as typed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Stands for itself.
    Text(String),
    /// Stands for the variable's value.
    Variable(VariableName),
}

/// The text is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A percent sign that opens nothing.
    #[error("a single `%` in `{0}`: a variable is written %Name%, a percent sign %%")]
    LonePercent(String),
    /// Longer than a value may be.
    #[error("a text of {0} bytes: at most {LONGEST}")]
    TooLong(usize),
}

/// A text cannot be expanded now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// Nothing defines this name.
    #[error("nothing defines the variable %{0}%")]
    Unknown(VariableName),
    /// Longer than a value may be.
    #[error("the text with its variables filled in would be longer than {LONGEST} bytes")]
    TooLong,
}

impl Template {
    /// The text as it was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Names that it uses, in order, repeated as often as they occur.
    pub fn variables(&self) -> impl Iterator<Item = &VariableName> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name),
            Piece::Text(_) => None,
        })
    }

    /// Whether some values of its variables make it this text.
    pub fn may_be(&self, text: &str) -> bool {
        fn rest(pieces: &[Piece], text: &str) -> bool {
            match pieces {
                [] => text.is_empty(),
                [Piece::Variable(_)] => true,
                [Piece::Text(plain), after @ ..] => {
                    text.strip_prefix(plain.as_str()).is_some_and(|left| rest(after, left))
                }
                // The first place where the next plain text stands is as good as any later one, unless it is the last piece.
                [Piece::Variable(_), Piece::Text(plain)] => text.ends_with(plain.as_str()),
                [Piece::Variable(_), Piece::Text(plain), after @ ..] => {
                    text.find(plain.as_str()).is_some_and(|at| rest(after, &text[at + plain.len()..]))
                }
                [Piece::Variable(_), after @ ..] => rest(after, text),
            }
        }
        rest(&self.pieces, text)
    }

    /// The text that it stands for, when it uses no variable.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Template, BadTemplate> {
        if text.len() > LONGEST {
            return Err(BadTemplate::TooLong(text.len()));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(next) = after.strip_prefix('%') {
                plain.push('%');
                rest = next;
                continue;
            }
            let lone = || BadTemplate::LonePercent(text.chars().take(80).collect());
            let end = after.find('%').ok_or_else(lone)?;
            let name = after[..end].parse().map_err(|_| lone())?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(name));
            rest = &after[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { text: text.to_owned(), pieces })
    }
}

impl TryFrom<String> for Template {
    type Error = BadTemplate;

    fn try_from(text: String) -> Result<Template, BadTemplate> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn section_3_names_are_found_in_order_and_doubled_percent_signs_are_text() {
        let template: Template = "%A%-100%%-%b%%c%".parse().unwrap();
        let names: Vec<_> = template.variables().map(VariableName::as_str).collect();
        assert_eq!(names, ["A", "b", "c"]);
        assert_eq!("100%% sure".parse::<Template>().unwrap().literal(), Some("100% sure"));
    }

    #[test]
    fn a_text_is_possible_when_some_values_make_it() {
        let may = |template: &str, text: &str| template.parse::<Template>().unwrap().may_be(text);
        for (template, text) in [
            ("lab", "lab"),
            ("%A%", "lab"),
            ("lab-%A%", "lab-"),
            ("%A%b%B%b", "abab"),
            ("%A%%B%x", "x"),
            ("a%A%a", "aa"),
        ] {
            assert!(may(template, text), "{template} {text}");
        }
        for (template, text) in [
            ("lab", "lab2"),
            ("lab-%A%", "lab"),
            ("%A%x", "xy"),
            ("a%A%a", "a"),
            ("%A%b%B%b", "ab"),
            ("", "a"),
        ] {
            assert!(!may(template, text), "{template} {text}");
        }
    }

    #[test]
    fn section_3_a_percent_sign_that_opens_nothing_is_refused_with_the_text() {
        for text in ["100 % sure", "%", "%Name", "%not a name%", "%%%"] {
            assert_eq!(text.parse::<Template>(), Err(BadTemplate::LonePercent(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn section_3_doubling_percent_signs_makes_any_text_stand_for_itself(text in "[%a-z ü]{0,40}") {
            let template: Template = text.replace('%', "%%").parse().unwrap();
            prop_assert_eq!(template.literal(), Some(text.as_str()));
        }

        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in "[%A_z1 é]{0,20}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.as_str(), text);
            }
        }
    }
}
