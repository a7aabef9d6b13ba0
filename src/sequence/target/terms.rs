//! The terms of a deployment, and whether it holds for a Mac now: offered at all, and does it start by itself. Every no has its
//! reason, and where time will turn it into a yes, the time.
//!
//! | term | means |
//! |---|---|
//! | purpose | Required starts by itself after a countdown; Available is chosen by a person |
//! | from, expires | local times of the zone; before and after them nothing begins |
//! | window | times of the week at which a run may begin |
//! | paused | nothing begins |
//! | rerun | when a Required one starts by itself on a Mac on which it has run before |
//! | independent | a person may also choose a Required one that does not start by itself |
//!
//! Runs that have begun go on whatever the terms say. Must not know: collections, clocks.

use serde::{Deserialize, Serialize};

use super::schedule::{LocalTime, Window, Zone};

/// When a Required deployment starts by itself on a Mac on which it has run before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rerun {
    /// Never: once is enough, however it ended.
    Never,
    /// Until it has ended well.
    #[default]
    IfFailed,
    /// When the sequence has a newer revision than the one that ran last, or would apply another version of an image.
    IfChanged,
    /// At every start of the Mac.
    Always,
}

/// What an administrator laid down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether it starts by itself.
    pub required: bool,
    /// Not before.
    pub from: Option<LocalTime>,
    /// Not from this time on.
    pub expires: Option<LocalTime>,
    /// Zone of both and of the window.
    pub zone: Zone,
    /// Only at these times.
    pub window: Option<Window>,
    /// Not now.
    pub paused: bool,
    /// When again.
    pub rerun: Rerun,
    /// Whether a person may choose a Required one that does not start by itself.
    pub independent: bool,
}

/// What happened with this deployment on this Mac before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Whether a run of it began.
    pub ran: bool,
    /// Whether one ended well.
    pub succeeded: bool,
    /// Revision of the last run.
    pub revision: u32,
}

/// Whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Starts by itself.
    Starts,
    /// Can be chosen; why it does not start by itself, if it is Required.
    CanBeChosen(Option<Reason>),
    /// Neither.
    No(Reason),
}

/// Why it does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Somebody paused it.
    #[error("it is paused")]
    Paused,
    /// Its time has not come.
    #[error("it is available from {local} ({zone})")]
    NotYet {
        /// On the wall.
        local: String,
        /// Where.
        zone: String,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// Its time is over.
    #[error("it expired at {local} ({zone})")]
    Expired {
        /// On the wall.
        local: String,
        /// Where.
        zone: String,
    },
    /// The window is closed.
    #[error("its imaging window ({window}, {zone}) is closed{}", .opens.as_ref().map(|(local, _)| format!(" until {local}")).unwrap_or_default())]
    OutsideWindow {
        /// The window.
        window: String,
        /// Where.
        zone: String,
        /// When it opens: on the wall, and in milliseconds since 1970 UTC.
        opens: Option<(String, i64)>,
    },
    /// It has run, and its terms say that once is enough.
    #[error("it has run on this Mac, and never starts by itself again (rerun: never)")]
    HasRun,
    /// It ended well.
    #[error("it ended well on this Mac before (rerun: if-failed)")]
    Succeeded,
    /// Nothing is new.
    #[error("revision {revision} has run on this Mac, and nothing of it is newer (rerun: if-changed)")]
    Unchanged {
        /// Of the last run.
        revision: u32,
    },
    /// Nobody can be sure which Mac it is.
    #[error(
        "another Mac has the same {shared}; until an administrator says which is which, nothing starts by itself on it"
    )]
    Conflict {
        /// `serial number` or `UUID`.
        shared: &'static str,
    },
}

impl Reason {
    /// Short name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Paused => "paused",
            Reason::NotYet { .. } => "not-yet",
            Reason::Expired { .. } => "expired",
            Reason::OutsideWindow { .. } => "outside-window",
            Reason::HasRun => "has-run",
            Reason::Succeeded => "succeeded",
            Reason::Unchanged { .. } => "unchanged",
            Reason::Conflict { .. } => "identity-conflict",
        }
    }

    /// When time alone changes that, milliseconds since 1970 UTC.
    pub fn until_ms(&self) -> Option<i64> {
        match self {
            Reason::NotYet { at_ms, .. } => Some(*at_ms),
            Reason::OutsideWindow { opens, .. } => opens.as_ref().map(|(_, at_ms)| *at_ms),
            _ => None,
        }
    }
}

impl Terms {
    /// Of a purpose, nothing else laid down.
    pub fn of(required: bool) -> Terms {
        Terms {
            required,
            from: None,
            expires: None,
            zone: Zone::utc(),
            window: None,
            paused: false,
            rerun: if required { Rerun::IfFailed } else { Rerun::Always },
            independent: true,
        }
    }

    /// Why nothing begins now on any Mac; none: it may.
    pub fn closed(&self, now_ms: i64) -> Option<Reason> {
        let zone = || self.zone.to_string();
        if self.paused {
            return Some(Reason::Paused);
        }
        if let Some(from) = self.from {
            let at_ms = from.in_zone(&self.zone);
            if now_ms < at_ms {
                return Some(Reason::NotYet { local: from.to_string(), zone: zone(), at_ms });
            }
        }
        if let Some(expires) = self.expires.filter(|expires| now_ms >= expires.in_zone(&self.zone)) {
            return Some(Reason::Expired { local: expires.to_string(), zone: zone() });
        }
        let window = self.window.as_ref().filter(|window| !window.is_open(now_ms, &self.zone))?;
        // One that opens after the end never does.
        let end = self.expires.map_or(i64::MAX, |expires| expires.in_zone(&self.zone));
        let opens = window.opens(now_ms, &self.zone).filter(|at| *at < end);
        let opens = opens.map(|at| (LocalTime::at(at, &self.zone).to_string(), at));
        Some(Reason::OutsideWindow { window: window.to_string(), zone: zone(), opens })
    }

    /// Whether it holds for a Mac with this past. `revision` is the sequence's newest; `conflict`: what another Mac shares
    /// with this one that it must not.
    pub fn standing(
        &self,
        past: &Past,
        revision: u32,
        conflict: Option<&'static str>,
        now_ms: i64,
    ) -> Standing {
        if let Some(reason) = self.closed(now_ms) {
            return Standing::No(reason);
        }
        if !self.required {
            return Standing::CanBeChosen(None);
        }
        let done = match self.rerun {
            Rerun::Never if past.ran => Some(Reason::HasRun),
            Rerun::IfFailed if past.succeeded => Some(Reason::Succeeded),
            Rerun::IfChanged if past.ran && past.revision >= revision => {
                Some(Reason::Unchanged { revision: past.revision })
            }
            _ => None,
        };
        match (done, conflict) {
            (None, None) => Standing::Starts,
            (Some(reason), _) if self.independent => Standing::CanBeChosen(Some(reason)),
            (Some(reason), _) => Standing::No(reason),
            // A person stands before it and sees which Mac it is.
            (None, Some(shared)) => Standing::CanBeChosen(Some(Reason::Conflict { shared })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAN: Past = Past { ran: true, succeeded: false, revision: 3 };
    const WELL: Past = Past { succeeded: true, ..RAN };
    const NEW: Past = Past { ran: false, succeeded: false, revision: 0 };

    fn standing(change: impl FnOnce(&mut Terms), past: Past, revision: u32) -> Standing {
        let mut terms = Terms::of(true);
        change(&mut terms);
        terms.standing(&past, revision, None, 0)
    }

    #[test]
    fn section_6_rerun_says_when_a_required_deployment_starts_by_itself_again() {
        use Rerun::{Always, IfChanged, IfFailed, Never};
        for (rerun, past, revision, starts) in [
            (Never, NEW, 3, true),
            (Never, RAN, 4, false),
            (IfFailed, NEW, 3, true),
            (IfFailed, RAN, 3, true),
            (IfFailed, WELL, 9, false),
            (IfChanged, NEW, 3, true),
            (IfChanged, RAN, 3, false),
            (IfChanged, WELL, 3, false),
            (IfChanged, WELL, 4, true),
            (Always, WELL, 3, true),
        ] {
            let found = standing(|terms| terms.rerun = rerun, past, revision);
            assert_eq!(found == Standing::Starts, starts, "{rerun:?} {past:?} {found:?}");
        }
    }

    #[test]
    fn section_6_what_does_not_start_by_itself_may_be_chosen_only_where_it_is_independent() {
        assert_eq!(standing(|_| {}, WELL, 3), Standing::CanBeChosen(Some(Reason::Succeeded)));
        assert_eq!(standing(|terms| terms.independent = false, WELL, 3), Standing::No(Reason::Succeeded));
        let available = Terms::of(false);
        assert_eq!(available.standing(&WELL, 3, Some("UUID"), 0), Standing::CanBeChosen(None));
        assert!(matches!(
            Terms::of(true).standing(&NEW, 3, Some("serial number"), 0),
            Standing::CanBeChosen(Some(Reason::Conflict { .. }))
        ));
    }

    #[test]
    fn section_6_pause_times_and_window_close_a_deployment_for_everybody_and_say_until_when() {
        let hour = 3_600_000;
        let mut terms = Terms::of(false);
        terms.zone = "Europe/Berlin".parse().unwrap();
        terms.from = Some("1970-01-05 08:00".parse().unwrap());
        terms.expires = Some("1970-01-06 08:00".parse().unwrap());
        terms.window = Some("daily 20:00-06:00".parse().unwrap());
        let code =
            |terms: &Terms, at_ms| terms.closed(at_ms).map(|reason| (reason.code(), reason.until_ms()));
        let monday = 4 * 24 * hour;
        assert_eq!(code(&terms, monday), Some(("not-yet", Some(monday + 7 * hour))));
        assert_eq!(code(&terms, monday + 7 * hour), Some(("outside-window", Some(monday + 19 * hour))));
        assert_eq!(code(&terms, monday + 19 * hour), None);
        assert_eq!(
            code(&terms, monday + 30 * hour),
            Some(("outside-window", None)),
            "it expires before the window opens"
        );
        assert_eq!(code(&terms, monday + 31 * hour), Some(("expired", None)));
        terms.paused = true;
        assert_eq!(code(&terms, monday + 19 * hour), Some(("paused", None)));
        let text =
            Reason::OutsideWindow { window: "w".into(), zone: "z".into(), opens: Some(("t".into(), 1)) }
                .to_string();
        assert_eq!(text, "its imaging window (w, z) is closed until t");
    }
}
