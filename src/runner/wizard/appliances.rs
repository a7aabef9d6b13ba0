//! The list of appliances that were found, and a line for the address of one that was not. Pure.
//!
//! Must not know: how they were found, how the page is drawn.

use super::event::{Key, Order};
use crate::client::{Found, Verdict, appliance_address};
use crate::runner::network::Place;

/// Longest address that is typed.
const LONGEST: usize = 100;

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appliances {
    /// What was found, what can be used first.
    pub found: Vec<Found>,
    /// Which line is marked; the one behind the last is for an address.
    pub marked: usize,
    /// What is typed there, while somebody types.
    pub typed: Option<String>,
    /// Why the last choice is none.
    pub error: Option<String>,
}

impl Appliances {
    /// New finds; the mark stays on the appliance where it was.
    pub fn refresh(&mut self, found: Vec<Found>) {
        let marked = self.found.get(self.marked).map(|old| old.address.clone());
        self.marked = match marked {
            Some(address) => found.iter().position(|new| new.address == address).unwrap_or(0),
            // On the line for an address; at first, on what was found.
            None if self.typed.is_some() || self.marked > 0 => found.len(),
            None => 0,
        };
        self.found = found;
    }

    /// A key; an order, when an appliance was chosen. `proxy` stays what it is.
    pub fn pressed(&mut self, key: Key, proxy: Option<&str>) -> Option<Order> {
        let chosen =
            |server: String| Order::Moved(Place { server: Some(server), proxy: proxy.map(str::to_owned) });
        if let Some(typed) = &mut self.typed {
            match key {
                Key::Char(letter) if typed.chars().count() < LONGEST => typed.push(letter),
                Key::Backspace => drop(typed.pop()),
                Key::Escape => (self.typed, self.error) = (None, None),
                Key::Enter => match appliance_address(typed) {
                    Ok(server) => return Some(chosen(server)),
                    Err(error) => self.error = Some(error.to_string()),
                },
                _ => {}
            }
            return None;
        }
        match key {
            Key::Up => self.marked = self.marked.saturating_sub(1),
            Key::Down => self.marked = (self.marked + 1).min(self.found.len()),
            Key::Enter => match self.found.get(self.marked) {
                None => (self.typed, self.error) = (Some(String::new()), None),
                Some(found) if found.verdict == Verdict::Trusted => {
                    return Some(chosen(found.address.clone()));
                }
                Some(found) => self.error = Some(format!("{}: {}.", found.name, verdict(found.verdict))),
            },
            _ => {}
        }
        None
    }
}

/// Why an appliance can or cannot be used.
pub fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Trusted => "can be used".into(),
        Verdict::OtherAuthority => {
            "not trusted by this boot medium, which was made for an appliance with another CA".into()
        }
        Verdict::OtherProtocol(version) => {
            format!("of another version (protocol {version}); make the boot medium again with its version")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u8, verdict: Verdict) -> Found {
        Found { name: format!("Lab {number}"), address: format!("https://10.0.0.{number}"), verdict }
    }

    #[test]
    fn a_trusted_appliance_is_taken_and_another_one_is_not() {
        let mut page = Appliances::default();
        page.refresh(vec![found(1, Verdict::Trusted), found(2, Verdict::OtherAuthority)]);
        let place = Place { server: Some("https://10.0.0.1".into()), proxy: Some("http://p:1".into()) };
        assert_eq!(page.pressed(Key::Enter, Some("http://p:1")), Some(Order::Moved(place)));
        page.pressed(Key::Down, None);
        assert_eq!(page.pressed(Key::Enter, None), None);
        assert!(page.error.unwrap().contains("Lab 2: not trusted"));
    }

    #[test]
    fn an_address_is_typed_on_the_last_line_and_a_wrong_one_is_refused_with_the_reason() {
        let mut page = Appliances::default();
        page.refresh(vec![found(1, Verdict::Trusted)]);
        for key in [Key::Down, Key::Down, Key::Enter] {
            page.pressed(key, None);
        }
        "http://x".chars().for_each(|letter| drop(page.pressed(Key::Char(letter), None)));
        assert_eq!(page.pressed(Key::Enter, None), None);
        assert!(page.error.as_ref().unwrap().contains("`http://x`"));
        (0..8).for_each(|_| drop(page.pressed(Key::Backspace, None)));
        "10.0.0.7".chars().for_each(|letter| drop(page.pressed(Key::Char(letter), None)));
        let place = Place { server: Some("https://10.0.0.7".into()), proxy: None };
        assert_eq!(page.pressed(Key::Enter, None), Some(Order::Moved(place)));
        page.pressed(Key::Escape, None);
        assert_eq!(page.typed, None);
    }

    #[test]
    fn the_mark_stays_on_its_appliance() {
        let mut page = Appliances::default();
        page.refresh(vec![found(5, Verdict::Trusted), found(7, Verdict::Trusted)]);
        page.pressed(Key::Down, None);
        page.refresh(vec![
            found(3, Verdict::Trusted),
            found(5, Verdict::Trusted),
            found(7, Verdict::Trusted),
        ]);
        assert_eq!(page.marked, 2);
        page.refresh(vec![found(3, Verdict::Trusted)]);
        assert_eq!(page.marked, 0);
    }
}
