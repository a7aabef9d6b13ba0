//! How a person is asked for a variable: what stands beside the field, what may be answered.
//!
//! A prompt defines its variable, empty, where neither the Mac nor a collection gives it a value. Whether it is asked for is
//! decided like that of every empty variable (task-sequences section 3).

use serde::{Deserialize, Serialize};

use super::condition::compare;
use super::name::VariableName;
use super::template::Template;

/// Answers of [`PromptKind::YesNo`].
pub const YES_NO: [&str; 2] = ["yes", "no"];

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The variable that the answer goes to.
    pub variable: VariableName,
    /// What people are shown in the place of its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// A line that helps to answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// How it is answered.
    #[serde(default, rename = "type", skip_serializing_if = "PromptKind::is_text")]
    pub kind: PromptKind,
    /// What is typed is not shown, and kept as a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// What may be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Template>,
    /// A regular expression that the whole answer has to match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// An empty answer is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// A text is typed.
    #[default]
    Text,
    /// One of several is chosen.
    Choice,
    /// `yes` or `no`.
    YesNo,
}

impl PromptKind {
    fn is_text(&self) -> bool {
        *self == PromptKind::Text
    }
}

impl Prompt {
    /// What may be chosen; empty where a text is typed.
    pub fn choices(&self) -> Vec<String> {
        match self.kind {
            PromptKind::Text => Vec::new(),
            PromptKind::Choice => self.choices.clone(),
            PromptKind::YesNo => YES_NO.map(str::to_owned).to_vec(),
        }
    }

    /// Why this is no answer, for whoever typed it; none when it is one.
    pub fn refuses(&self, answer: &str) -> Option<String> {
        if answer.is_empty() {
            return (!self.optional).then(|| "a value is needed".to_owned());
        }
        let choices = self.choices();
        if !choices.is_empty() && !choices.iter().any(|choice| choice == answer) {
            return Some(format!("it is one of {}", choices.join(", ")));
        }
        if self.pattern.is_empty() {
            return None;
        }
        match compare::pattern(&format!("^(?-i:{})$", self.pattern)) {
            Ok(pattern) if pattern.is_match(answer) => None,
            Ok(_) if self.help.is_empty() => Some(format!("it has to look like {}", self.pattern)),
            Ok(_) => Some(format!("it does not look right: {}", self.help)),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What is wrong with the prompt itself.
    pub fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        if self.variable.is_read_only() {
            flaws.push(format!("{} is a fact of the Mac and cannot be asked for", self.variable));
        }
        let many = |choices: &[String]| choices.iter().collect::<std::collections::BTreeSet<_>>().len();
        match self.kind {
            PromptKind::Choice if self.choices.is_empty() => {
                flaws.push(format!("{} is a choice without `choices`", self.variable));
            }
            PromptKind::Choice if many(&self.choices) < self.choices.len() => {
                flaws.push(format!("two choices of {} are the same", self.variable));
            }
            PromptKind::Text | PromptKind::YesNo if !self.choices.is_empty() => {
                flaws.push(format!("`choices` of {} need `type: choice`", self.variable));
            }
            _ => {}
        }
        if let Err(error) = compare::pattern(&self.pattern) {
            flaws.push(format!("the pattern of {}: {error}", self.variable));
        }
        let literal = self.default.as_ref().and_then(Template::literal);
        if let Some(why) = literal.filter(|text| !text.is_empty()).and_then(|text| self.refuses(text)) {
            flaws.push(format!("the default of {} would not be taken: {why}", self.variable));
        }
        if self.secret && self.kind != PromptKind::Text {
            flaws.push(format!("{} is secret and would be chosen in the open", self.variable));
        }
        if self.secret && literal_is_there(self.default.as_ref()) {
            flaws.push(format!(
                "the default of {} is a secret that whoever reads the sequence can read",
                self.variable
            ));
        }
        flaws
    }
}

fn literal_is_there(default: Option<&Template>) -> bool {
    default.and_then(Template::literal).is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(yaml: &str) -> Prompt {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn section_3_an_answer_is_refused_with_the_reason() {
        let name = prompt("{variable: Name, help: two letters and a number, pattern: '[A-Z]{2}-[0-9]+'}");
        assert_eq!(name.refuses("AB-12"), None);
        assert!(name.refuses("ab-12").is_some());
        assert_eq!(name.refuses("").as_deref(), Some("a value is needed"));
        assert_eq!(
            name.refuses("xAB-12x").as_deref(),
            Some("it does not look right: two letters and a number")
        );
        let room = prompt("{variable: Room, type: choice, choices: [Lab, Office], optional: true}");
        assert_eq!((room.refuses("Lab"), room.refuses("")), (None, None));
        assert_eq!(room.refuses("lab").as_deref(), Some("it is one of Lab, Office"));
        let join = prompt("{variable: Join, type: yes-no}");
        assert_eq!((join.refuses("yes"), join.refuses("perhaps").is_some()), (None, true));
    }

    #[test]
    fn what_is_wrong_with_a_prompt_is_found_before_anybody_is_asked() {
        for (yaml, part) in [
            ("{variable: Model}", "is a fact of the Mac"),
            ("{variable: A, type: choice}", "without `choices`"),
            ("{variable: A, type: choice, choices: [x, x]}", "are the same"),
            ("{variable: A, choices: [x]}", "need `type: choice`"),
            ("{variable: A, pattern: '('}", "the pattern of A"),
            ("{variable: A, type: yes-no, default: maybe}", "would not be taken"),
            ("{variable: A, secret: true, default: hunter2}", "whoever reads"),
        ] {
            let flaws = prompt(yaml).flaws();
            assert!(flaws.iter().any(|flaw| flaw.contains(part)), "{yaml}: {flaws:?}");
        }
        assert!(prompt("{variable: A, default: 'LAB-%SerialNumber%', pattern: '[A-Z]+'}").flaws().is_empty());
    }
}
