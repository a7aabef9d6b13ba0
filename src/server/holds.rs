//! What the appliance itself works with at the moment: a version that is held is not deleted, one that is being deleted is
//! not taken up.
//!
//! Kept in memory: after a restart nothing is at work. Must not know: what the work is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::admin::Image;

/// All holds. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Holds(Arc<Mutex<HashMap<(String, u32), State>>>);

#[derive(Debug)]
enum State {
    /// One line for each that works with it.
    Held(Vec<String>),
    Going,
}

/// Somebody works with a version, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    holds: Holds,
    key: (String, u32),
    by: String,
}

/// A version is being deleted, until this is dropped.
#[derive(Debug)]
pub struct Going {
    holds: Holds,
    key: (String, u32),
}

impl Holds {
    /// Holds a version; `by` is one line for people. None when it is being deleted.
    pub fn hold(&self, image: &str, version: u32, by: &str) -> Option<Hold> {
        let key = (image.to_owned(), version);
        match self.lock().entry(key.clone()).or_insert_with(|| State::Held(Vec::new())) {
            State::Held(users) => users.push(by.to_owned()),
            State::Going => return None,
        }
        Some(Hold { holds: self.clone(), key, by: by.to_owned() })
    }

    /// Begins to delete a version.
    ///
    /// # Errors
    /// One line for each that works with it.
    pub fn go(&self, image: &str, version: u32) -> Result<Going, Vec<String>> {
        let key = (image.to_owned(), version);
        let mut all = self.lock();
        match all.get(&key) {
            Some(State::Held(users)) => return Err(users.clone()),
            Some(State::Going) => return Err(vec!["another request that deletes it".to_owned()]),
            None => all.insert(key.clone(), State::Going),
        };
        Ok(Going { holds: self.clone(), key })
    }

    /// Adds who works with the versions of an image to what needs them.
    pub fn add_users(&self, image: &mut Image) {
        let all = self.lock();
        for version in &mut image.versions {
            if let Some(State::Held(users)) = all.get(&(image.name.clone(), version.version)) {
                version.used_by.extend(users.iter().cloned());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u32), State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.holds.lock();
        if let Some(State::Held(users)) = all.get_mut(&self.key) {
            if let Some(place) = users.iter().position(|user| *user == self.by) {
                users.swap_remove(place);
            }
            if users.is_empty() {
                all.remove(&self.key);
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.holds.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_version_does_not_go_and_a_going_one_is_not_taken_up() {
        let holds = Holds::default();
        let (first, second) = (holds.hold("lab", 1, "a"), holds.hold("lab", 1, "b"));
        assert_eq!(holds.go("lab", 1).unwrap_err(), ["a", "b"]);
        assert!(holds.go("lab", 2).is_ok());
        drop(first);
        assert_eq!(holds.go("lab", 1).unwrap_err(), ["b"]);
        drop(second);
        let going = holds.go("lab", 1).unwrap();
        assert!(holds.hold("lab", 1, "a").is_none() && holds.go("lab", 1).is_err());
        drop(going);
        assert!(holds.hold("lab", 1, "a").is_some());
    }
}
