//! The page on which a technician logs in. Pure.
//!
//! Must not know: how it is drawn, how accounts are checked.

use std::time::Duration;

use super::event::Key;
use crate::api::sign_in::{SignIn, SignInAsked};
use crate::value::Secret;

/// Characters of the longest name or password.
const LONGEST: usize = 256;
/// How long the appliance has to answer before somebody may try again: a directory may be slow.
const SENDING: Duration = Duration::from_secs(30);

/// The page.
#[derive(Clone, Debug, PartialEq)]
pub struct LogIn {
    /// Where accounts may be.
    pub domains: Vec<String>,
    /// Which of them is chosen.
    pub domain: usize,
    /// Name of the account.
    pub name: String,
    /// Its password.
    pub password: Secret,
    /// The marked line.
    pub field: Field,
    /// Why the last try was none.
    pub wrong: Option<String>,
    /// When it was sent.
    pub sent: Option<Duration>,
}

/// A line of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Where the account is.
    Domain,
    /// Name of the account.
    Name,
    /// Its password.
    Password,
}

impl LogIn {
    /// Nothing is typed yet.
    pub fn new(asked: &SignInAsked, wrong: Option<String>) -> LogIn {
        LogIn {
            domains: asked.domains.clone(),
            domain: 0,
            name: String::new(),
            password: Secret::new(""),
            field: Field::Name,
            wrong,
            sent: None,
        }
    }

    /// It is asked again; what was typed stays.
    pub fn refresh(&mut self, asked: &SignInAsked) {
        if self.domains != asked.domains {
            let chosen = self.domains.get(self.domain).cloned();
            self.domain =
                asked.domains.iter().position(|domain| Some(domain) == chosen.as_ref()).unwrap_or(0);
            self.domains.clone_from(&asked.domains);
        }
    }

    /// The appliance says why it is none. The password is typed anew.
    pub fn not_taken(&mut self, why: String) {
        (self.sent, self.wrong) = (None, Some(why));
        (self.password, self.field) = (Secret::new(""), Field::Password);
    }

    /// The lines that are there: with one domain there is nothing to choose.
    pub fn fields(&self) -> &'static [Field] {
        match self.domains.len() {
            0 | 1 => &[Field::Name, Field::Password],
            _ => &[Field::Domain, Field::Name, Field::Password],
        }
    }

    /// A key; what is to be sent.
    pub fn pressed(&mut self, key: Key, now: Duration) -> Option<SignIn> {
        if self.sent.is_some_and(|sent| now.saturating_sub(sent) < SENDING) {
            return None;
        }
        let fields = self.fields();
        let at = fields.iter().position(|field| *field == self.field).unwrap_or(0);
        match key {
            Key::Up | Key::BackTab => self.field = fields[at.saturating_sub(1)],
            Key::Down | Key::Tab => self.field = fields[(at + 1).min(fields.len() - 1)],
            Key::Enter if self.field != Field::Password => self.field = fields[at + 1],
            Key::Enter => return self.send(now),
            Key::Left | Key::Right | Key::Char(' ') if self.field == Field::Domain => {
                let count = self.domains.len().max(1);
                let step = if key == Key::Left { count - 1 } else { 1 };
                self.domain = (self.domain + step) % count;
            }
            Key::Escape => {
                (self.name, self.password) = (String::new(), Secret::new(""));
                (self.field, self.wrong) = (Field::Name, None);
            }
            Key::Char(letter) if !letter.is_control() => self.change(|text| {
                if text.chars().count() < LONGEST {
                    text.push(letter);
                }
            }),
            Key::Backspace => self.change(|text| {
                text.pop();
            }),
            _ => {}
        }
        None
    }

    fn change(&mut self, change: impl FnOnce(&mut String)) {
        match self.field {
            Field::Domain => {}
            Field::Name => change(&mut self.name),
            Field::Password => {
                let mut text = self.password.expose().to_owned();
                change(&mut text);
                self.password = Secret::new(text);
            }
        }
    }

    fn send(&mut self, now: Duration) -> Option<SignIn> {
        let (empty, what) = match (self.name.trim().is_empty(), self.password.expose().is_empty()) {
            (true, _) => (Field::Name, "a name is needed"),
            (false, true) => (Field::Password, "a password is needed"),
            (false, false) => {
                (self.sent, self.wrong) = (Some(now), None);
                let domain = self.domains.get(self.domain).filter(|_| self.domains.len() > 1).cloned();
                let name = self.name.trim().to_owned();
                return Some(SignIn { domain, name, password: self.password.clone() });
            }
        };
        (self.field, self.wrong) = (empty, Some(what.to_owned()));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(domains: &[&str]) -> LogIn {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        LogIn::new(&SignInAsked { domains }, None)
    }

    fn type_in(page: &mut LogIn, text: &str) -> Option<SignIn> {
        let key = |letter| if letter == '\n' { Key::Enter } else { Key::Char(letter) };
        text.chars().fold(None, |_, letter| page.pressed(key(letter), Duration::ZERO))
    }

    #[test]
    fn section_7_name_and_password_are_typed_and_sent_once() {
        let mut page = page(&["local"]);
        let sent = type_in(&mut page, "Ana\nhunter 2\n").unwrap();
        assert_eq!((sent.domain, sent.name.as_str(), sent.password.expose()), (None, "Ana", "hunter 2"));
        assert!(page.pressed(Key::Enter, Duration::from_secs(1)).is_none());
        assert!(page.pressed(Key::Enter, SENDING).is_some(), "the answer got lost");
    }

    #[test]
    fn of_several_domains_one_is_chosen() {
        let mut page = page(&["local", "EXAMPLE"]);
        page.pressed(Key::Up, Duration::ZERO);
        page.pressed(Key::Right, Duration::ZERO);
        let sent = type_in(&mut page, "\nana\nx\n").unwrap();
        assert_eq!(sent.domain.as_deref(), Some("EXAMPLE"));
    }

    #[test]
    fn a_wrong_password_is_typed_anew_and_the_name_is_not() {
        let mut page = page(&["local"]);
        type_in(&mut page, "ana\nwrong\n").unwrap();
        page.not_taken("name or password are wrong".into());
        assert_eq!((page.name.as_str(), page.password.expose(), page.field), ("ana", "", Field::Password));
        assert!(type_in(&mut page, "\n").is_none());
        assert_eq!(page.wrong.as_deref(), Some("a password is needed"));
        assert_eq!(type_in(&mut page, "right\n").unwrap().password.expose(), "right");
    }
}
