//! What a run asks the person in front of the Mac: values of variables, or to do something and say so. Pure.
//!
//! Whether an answer is right is the appliance's to say; here only what can be told without it: something is missing.
//!
//! Must not know: how the pages are drawn, how answers travel.

use std::time::Duration;

use super::event::{Key, Say};
use crate::api::runner::{AskedKind, AskedVariable, RunQuestion};
use crate::value::Secret;

/// Characters of the longest answer that is typed.
const LONGEST: usize = 1000;
/// How long the appliance has to take an answer before it can be sent again.
pub(super) const SENDING: Duration = Duration::from_secs(10);

/// The page that asks for values.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Which sequence asks.
    pub sequence: String,
    /// What is asked, with what was typed.
    pub fields: Vec<Answer>,
    /// Which one is marked.
    pub marked: usize,
    /// What is wrong with the answers.
    pub wrong: Option<String>,
    /// When they were sent.
    pub sent: Option<Duration>,
    /// Since when it is asked.
    pub since: Duration,
    /// The appliance does not answer.
    pub trouble: Option<String>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What is asked.
    pub asked: AskedVariable,
    /// What is typed or chosen.
    pub text: Secret,
}

/// What a key means beyond the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing.
    Stay,
    /// The person wants to get away from here.
    Leave,
    /// This is to be said.
    Say(Say),
}

impl Answer {
    fn new(asked: AskedVariable) -> Answer {
        let text = match asked.choices.first() {
            // Something is chosen from the beginning, unless nothing may be.
            Some(first) if asked.default.is_empty() && asked.required => first.clone(),
            _ => asked.default.clone(),
        };
        Answer { asked, text: Secret::new(text) }
    }

    /// What people are shown in the place of the variable's name.
    pub fn label(&self) -> &str {
        if self.asked.label.is_empty() { &self.asked.name } else { &self.asked.label }
    }

    /// Whether one of several is chosen.
    pub fn is_choice(&self) -> bool {
        matches!(self.asked.kind, AskedKind::Choice | AskedKind::YesNo) && !self.asked.choices.is_empty()
    }

    fn set(&mut self, text: String) {
        self.text = Secret::new(text);
    }

    /// The next or last choice; one that is optional may be none too.
    fn turn(&mut self, forward: bool) {
        let mut all: Vec<&str> = self.asked.choices.iter().map(String::as_str).collect();
        if !self.asked.required {
            all.insert(0, "");
        }
        let at = all.iter().position(|choice| *choice == self.text.expose());
        let next = match (at, forward) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % all.len(),
            (Some(at), false) => at.checked_sub(1).unwrap_or(all.len() - 1),
        };
        self.set(all[next].to_owned());
    }

    /// The next choice that begins with this letter.
    fn jump(&mut self, letter: char) {
        let choices = &self.asked.choices;
        let at = choices.iter().position(|choice| choice == self.text.expose()).map_or(0, |at| at + 1);
        let begins = |choice: &&String| {
            choice.chars().next().is_some_and(|first| first.to_lowercase().eq(letter.to_lowercase()))
        };
        let found = choices.iter().cycle().skip(at).take(choices.len()).find(begins);
        if let Some(found) = found.cloned() {
            self.set(found);
        }
    }

    fn typed(&mut self, letter: char) {
        let mut text = self.text.expose().to_owned();
        if !letter.is_control() && text.chars().count() < LONGEST {
            text.push(letter);
            self.set(text);
        }
    }

    fn erase(&mut self) {
        let mut text = self.text.expose().to_owned();
        text.pop();
        self.set(text);
    }
}

impl Prompt {
    /// The page for a question.
    pub fn new(sequence: String, question: RunQuestion, now: Duration) -> Prompt {
        Prompt {
            sequence,
            fields: question.variables.into_iter().map(Answer::new).collect(),
            marked: 0,
            wrong: None,
            sent: None,
            since: now,
            trouble: None,
        }
    }

    /// It is asked again: what was typed stays; what somebody else has answered meanwhile goes.
    pub fn refresh(&mut self, question: RunQuestion, now: Duration) {
        self.trouble = None;
        let marked = self.fields.get(self.marked).map(|field| field.asked.name.clone());
        let names =
            |fields: &[Answer]| fields.iter().map(|field| field.asked.name.clone()).collect::<Vec<String>>();
        let before = names(&self.fields);
        let mut old = std::mem::take(&mut self.fields);
        for asked in question.variables {
            match old.iter().position(|field| field.asked == asked) {
                Some(at) => self.fields.push(old.swap_remove(at)),
                None => self.fields.push(Answer::new(asked)),
            }
        }
        let after = names(&self.fields);
        self.marked = after.iter().position(|name| Some(name) == marked.as_ref()).unwrap_or(0);
        if before != after {
            (self.sent, self.wrong) = (None, None);
        } else if self.sent.is_some_and(|sent| now.saturating_sub(sent) >= SENDING) {
            self.sent = None;
        }
    }

    /// The appliance says why the answers are none.
    pub fn not_taken(&mut self, why: String) {
        self.sent = None;
        // It begins with the variable's name.
        let named = |field: &Answer| {
            why.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(&field.asked.name))
        };
        if let Some(at) = self.fields.iter().position(named) {
            self.marked = at;
            let rest = why.split_once(": ").map_or(why.as_str(), |(_, rest)| rest);
            self.wrong = Some(format!("{}: {rest}", self.fields[at].label()));
        } else {
            self.wrong = Some(why);
        }
    }

    /// A key.
    pub fn pressed(&mut self, key: Key, now: Duration) -> Reply {
        if key == Key::Escape {
            return Reply::Leave;
        }
        let last = self.fields.len().saturating_sub(1);
        let Some(field) = self.fields.get_mut(self.marked).filter(|_| self.sent.is_none()) else {
            return Reply::Stay;
        };
        match key {
            Key::Up | Key::BackTab => self.marked = self.marked.saturating_sub(1),
            Key::Down | Key::Tab => self.marked = (self.marked + 1).min(last),
            Key::Home => self.marked = 0,
            Key::End => self.marked = last,
            Key::Enter if self.marked < last => self.marked += 1,
            Key::Enter => return self.send(now),
            Key::Left | Key::Right if field.is_choice() => field.turn(key == Key::Right),
            Key::Char(' ') if field.is_choice() => field.turn(true),
            Key::Char(letter) if field.is_choice() => field.jump(letter),
            Key::Char(letter) => field.typed(letter),
            Key::Backspace if field.is_choice() && !field.asked.required => field.set(String::new()),
            Key::Backspace if !field.is_choice() => field.erase(),
            _ => {}
        }
        Reply::Stay
    }

    fn send(&mut self, now: Duration) -> Reply {
        let missing = |field: &Answer| field.asked.required && field.text.expose().is_empty();
        if let Some(at) = self.fields.iter().position(missing) {
            self.marked = at;
            self.wrong = Some(format!("{}: a value is needed", self.fields[at].label()));
            return Reply::Stay;
        }
        (self.sent, self.wrong) = (Some(now), None);
        let answers = self.fields.iter().map(|field| (field.asked.name.clone(), field.text.clone()));
        Reply::Say(Say::Answers(answers.collect()))
    }
}

/// The page of a step that waits for a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Which sequence waits.
    pub sequence: String,
    /// What the person shall do.
    pub message: String,
    /// What stands on the button.
    pub button: String,
    /// Since when it waits.
    pub since: Duration,
    /// When the person said that it is done.
    pub sent: Option<Duration>,
    /// Why the appliance did not take that.
    pub wrong: Option<String>,
    /// The appliance does not answer.
    pub trouble: Option<String>,
}

impl Wait {
    /// The page for a question without variables.
    pub fn new(sequence: String, question: RunQuestion, now: Duration) -> Wait {
        Wait {
            sequence,
            message: question.message.unwrap_or_default(),
            button: question.button.unwrap_or_else(|| "Continue".to_owned()),
            since: now,
            sent: None,
            wrong: None,
            trouble: None,
        }
    }

    /// It still waits.
    pub fn refresh(&mut self, now: Duration) {
        self.trouble = None;
        if self.sent.is_some_and(|sent| now.saturating_sub(sent) >= SENDING) {
            self.sent = None;
        }
    }

    /// The person says that it is done. False when they said so just now.
    pub fn confirm(&mut self, now: Duration) -> bool {
        if self.sent.is_some() {
            return false;
        }
        (self.sent, self.wrong) = (Some(now), None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> AskedVariable {
        AskedVariable { name: name.into(), ..AskedVariable::default() }
    }

    fn choice(name: &str, choices: &[&str], required: bool) -> AskedVariable {
        let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
        AskedVariable { kind: AskedKind::Choice, choices, required, ..text(name) }
    }

    fn asked(variables: Vec<AskedVariable>) -> RunQuestion {
        RunQuestion { variables, ..RunQuestion::default() }
    }

    fn page(variables: Vec<AskedVariable>) -> Prompt {
        Prompt::new("S".into(), asked(variables), Duration::ZERO)
    }

    fn type_in(page: &mut Prompt, text: &str) {
        text.chars().for_each(|letter| drop(page.pressed(Key::Char(letter), Duration::ZERO)));
    }

    fn said(page: &mut Prompt) -> Vec<(String, String)> {
        match page.pressed(Key::Enter, Duration::ZERO) {
            Reply::Say(Say::Answers(all)) => {
                all.into_iter().map(|(name, text)| (name, text.expose().to_owned())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn section_7_answers_go_field_by_field_and_are_sent_behind_the_last() {
        let name = AskedVariable { default: "LAB-".into(), ..text("Name") };
        let mut page = page(vec![name, choice("Room", &["Lab", "Office", "Lobby"], true)]);
        type_in(&mut page, "7ö");
        page.pressed(Key::Backspace, Duration::ZERO);
        assert_eq!(page.pressed(Key::Enter, Duration::ZERO), Reply::Stay);
        type_in(&mut page, "l");
        assert_eq!(
            said(&mut page),
            [("Name".to_owned(), "LAB-7".to_owned()), ("Room".to_owned(), "Lobby".to_owned())]
        );
        // Sent once; Escape still leads away.
        assert_eq!(page.pressed(Key::Enter, Duration::ZERO), Reply::Stay);
        assert_eq!(page.pressed(Key::Escape, Duration::ZERO), Reply::Leave);
    }

    #[test]
    fn a_value_that_is_needed_and_missing_is_not_sent() {
        let mut page = page(vec![AskedVariable { required: true, label: "Its name".into(), ..text("Name") }]);
        assert_eq!(page.pressed(Key::Enter, Duration::ZERO), Reply::Stay);
        assert_eq!(page.wrong.as_deref(), Some("Its name: a value is needed"));
        type_in(&mut page, "x");
        assert_eq!(said(&mut page).len(), 1);
    }

    #[test]
    fn what_the_appliance_does_not_take_marks_the_field_and_can_be_sent_again() {
        let mut page = page(vec![text("Name"), text("Room")]);
        page.marked = 1;
        said(&mut page);
        page.not_taken("name: it does not look right".into());
        assert_eq!((page.marked, page.wrong.as_deref()), (0, Some("Name: it does not look right")));
        page.marked = 1;
        assert_eq!(said(&mut page).len(), 2);
    }

    #[test]
    fn what_somebody_else_answered_goes_and_what_was_typed_stays() {
        let mut page = page(vec![text("Name"), text("Room")]);
        page.pressed(Key::Down, Duration::ZERO);
        type_in(&mut page, "12");
        page.refresh(asked(vec![text("Name"), text("Room")]), Duration::from_secs(3));
        assert_eq!((page.marked, page.fields[1].text.expose()), (1, "12"));
        page.refresh(asked(vec![text("Room")]), Duration::from_secs(6));
        assert_eq!((page.marked, page.fields.len(), page.fields[0].text.expose()), (0, 1, "12"));
    }

    #[test]
    fn choices_turn_both_ways_and_an_optional_one_may_be_none() {
        let mut page = page(vec![choice("A", &["x", "y"], false)]);
        let mut seen = Vec::new();
        for key in [Key::Right, Key::Right, Key::Right, Key::Left] {
            page.pressed(key, Duration::ZERO);
            seen.push(page.fields[0].text.expose().to_owned());
        }
        assert_eq!(seen, ["x", "y", "", "y"]);
    }

    #[test]
    fn who_said_that_it_is_done_need_not_say_it_twice() {
        let question = RunQuestion {
            message: Some("Put the Mac on its shelf".into()),
            button: Some("Done".into()),
            ..RunQuestion::default()
        };
        let mut page = Wait::new("S".into(), question, Duration::ZERO);
        assert!(page.confirm(Duration::ZERO) && !page.confirm(Duration::from_secs(1)));
        page.refresh(SENDING);
        assert!(page.confirm(SENDING), "the answer got lost");
    }
}
