//! When a dropped file is complete, decided from what was seen of its folder: pure, told the time.
//!
//! A file that was renamed into the folder is complete at once. Any other is when nobody writes to it, as far as the system
//! tells (it does not on network file systems), and it did not change for the settling time. Must not know: files, jobs.

use std::collections::BTreeMap;

/// Endings of files that a program is still writing.
const PARTIAL: [&str; 8] =
    [".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".opdownload", ".rootstock"];

/// What a file or folder looks like: it did not change as long as this stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Bytes, of all files in a folder.
    pub size: u64,
    /// When the newest of it was changed, nanoseconds since 1970 UTC.
    pub changed: i128,
    /// Files in it.
    pub files: u64,
}

impl Sign {
    /// Takes another part of the same image in.
    pub fn add(&mut self, part: Sign) {
        self.size += part.size;
        self.changed = self.changed.max(part.changed);
        self.files += part.files;
    }
}

/// What the system told of a name in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was renamed into the folder.
    MovedIn,
    /// Somebody writes to it.
    Written,
    /// Who wrote to it closed it.
    Closed,
}

impl Event {
    /// What it says of the whole image, when the name is that of a part: more parts may come.
    pub fn of_part(self) -> Event {
        match self {
            Event::MovedIn => Event::Closed,
            other => other,
        }
    }
}

/// All that was seen.
#[derive(Debug)]
pub struct Watch {
    settle_ms: i64,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    sign: Option<Sign>,
    since_ms: i64,
    is_written: bool,
    moved_in: bool,
    is_taken: bool,
}

impl Watch {
    /// `settle_ms`: how long a file must not change.
    pub fn new(settle_ms: i64) -> Watch {
        Watch { settle_ms, seen: BTreeMap::new() }
    }

    /// The system told something.
    pub fn note(&mut self, name: &str, event: Event) {
        if !is_wanted(name) {
            return;
        }
        let seen = self.seen.entry(name.to_owned()).or_default();
        match event {
            Event::MovedIn => *seen = Seen { moved_in: true, ..Seen::default() },
            Event::Written => (seen.is_written, seen.moved_in) = (true, false),
            Event::Closed => seen.is_written = false,
        }
    }

    /// What lies in the folder now. Gives the names that are complete, each once until it changes.
    pub fn look(&mut self, found: &[(String, Sign)], now_ms: i64) -> Vec<String> {
        self.seen.retain(|name, _| found.iter().any(|(found, _)| found == name));
        let mut complete = Vec::new();
        for (name, sign) in found.iter().filter(|(name, _)| is_wanted(name)) {
            let seen = self.seen.entry(name.clone()).or_default();
            if seen.sign != Some(*sign) {
                let moved_in = seen.moved_in && seen.sign.is_none();
                (seen.sign, seen.since_ms, seen.moved_in, seen.is_taken) =
                    (Some(*sign), now_ms, moved_in, false);
            }
            // A clock that was set back begins the wait anew.
            seen.since_ms = seen.since_ms.min(now_ms);
            let settled = !seen.is_written && now_ms - seen.since_ms >= self.settle_ms;
            if !seen.is_taken && (seen.moved_in || settled) {
                seen.is_taken = true;
                complete.push(name.clone());
            }
        }
        complete
    }

    /// A name that was complete is to be told again.
    pub fn again(&mut self, name: &str) {
        if let Some(seen) = self.seen.get_mut(name) {
            seen.is_taken = false;
        }
    }
}

/// Whether a name may be that of an image: not hidden, not that of a file that is still being written.
pub fn is_wanted(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.is_empty() && !name.starts_with(['.', '~']) && !PARTIAL.iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, size: u64) -> Vec<(String, Sign)> {
        vec![(name.to_owned(), Sign { size, changed: 0, files: 1 })]
    }

    const NONE: [String; 0] = [];

    #[test]
    fn a_file_that_grows_is_left_alone_until_it_did_not_change_for_a_while() {
        let mut watch = Watch::new(10);
        assert_eq!(watch.look(&found("a.dmg", 1), 0), NONE);
        assert_eq!(watch.look(&found("a.dmg", 2), 9), NONE);
        assert_eq!(watch.look(&found("a.dmg", 2), 18), NONE);
        assert_eq!(watch.look(&found("a.dmg", 2), 19), ["a.dmg"]);
        assert_eq!(watch.look(&found("a.dmg", 2), 99), NONE, "told once");
        assert_eq!(watch.look(&found("a.dmg", 3), 100), NONE);
        assert_eq!(watch.look(&found("a.dmg", 3), 110), ["a.dmg"], "another file of that name");
        watch.again("a.dmg");
        assert_eq!(watch.look(&found("a.dmg", 3), 111), ["a.dmg"]);
    }

    #[test]
    fn who_pauses_while_writing_is_waited_for_until_the_file_is_closed() {
        let mut watch = Watch::new(10);
        watch.note("a.dmg", Event::Written);
        assert_eq!(watch.look(&found("a.dmg", 1), 0), NONE);
        assert_eq!(watch.look(&found("a.dmg", 1), 1000), NONE);
        watch.note("a.dmg", Event::Closed);
        assert_eq!(watch.look(&found("a.dmg", 1), 1001), ["a.dmg"]);
    }

    #[test]
    fn a_file_that_is_renamed_in_is_complete_at_once() {
        let mut watch = Watch::new(1000);
        watch.note("a.dmg", Event::MovedIn);
        assert_eq!(watch.look(&found("a.dmg", 1), 0), ["a.dmg"]);
        // As downloads end: the partial name is not looked at.
        assert_eq!(watch.look(&found("b.dmg.part", 1), 5000), NONE);
        watch.note("b.dmg", Event::MovedIn);
        assert_eq!(watch.look(&found("b.dmg", 1), 5001), ["b.dmg"]);
        watch.note("c.dmg", Event::MovedIn);
        watch.note("c.dmg", Event::Written);
        assert_eq!(watch.look(&found("c.dmg", 1), 5002), NONE, "and then somebody writes to it");
    }

    #[test]
    fn parts_that_are_moved_in_one_after_the_other_are_waited_for_together() {
        let mut watch = Watch::new(10);
        watch.note("a.aa", Event::MovedIn.of_part());
        assert_eq!(watch.look(&found("a.aa", 1), 0), NONE, "others may come");
        watch.note("a.aa", Event::Written.of_part());
        assert_eq!(watch.look(&found("a.aa", 2), 5), NONE);
        watch.note("a.aa", Event::Closed.of_part());
        assert_eq!(watch.look(&found("a.aa", 2), 14), NONE);
        assert_eq!(watch.look(&found("a.aa", 2), 15), ["a.aa"]);
    }

    #[test]
    fn partial_and_hidden_names_are_not_wanted_and_a_clock_that_goes_back_does_not_stop_the_watch() {
        for name in ["", ".DS_Store", "._a.dmg", "a.dmg.PART", "a.crdownload", "~a", "a.tmp"] {
            assert!(!is_wanted(name), "{name}");
        }
        let mut watch = Watch::new(10);
        watch.look(&found("a", 1), 1_000_000);
        assert_eq!(watch.look(&found("a", 1), 5), NONE);
        assert_eq!(watch.look(&found("a", 1), 15), ["a"]);
    }
}
