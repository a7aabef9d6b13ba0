//! Local times, zones and weekly windows as people write them: `2026-12-01 08:00`, `Europe/Berlin`,
//! `mon-fri 18:00-06:00, sat 00:00-24:00`.
//!
//! A local time that summer time leaves out is taken as the moment after the gap, one that comes twice as the first
//! (RFC 5545 section 3.3.5). A window is judged by the clock on the wall, so it is open in both hours that come twice. Must not
//! know: what time it is.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The text names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone: UTC, Europe/Berlin, America/New_York")]
pub struct BadZone(String);

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    fn local(&self, at_ms: i64) -> DateTime {
        self.0.to_datetime(timestamp(at_ms))
    }

    fn instant(&self, local: DateTime) -> i64 {
        self.0.to_ambiguous_timestamp(local).compatible().map_or(i64::MAX, |at| at.as_millisecond())
    }

    /// Every moment at which the clock on the wall shows this: two where it is put back. One that it leaves out has none that
    /// can be relied on.
    fn instants(&self, local: DateTime) -> Vec<i64> {
        let either = self.0.to_ambiguous_timestamp(local);
        [either.earlier(), either.later()].into_iter().flatten().map(|at| at.as_millisecond()).collect()
    }

    /// When the clock on the wall is put forward or back in the days after a moment.
    fn jumps(&self, at_ms: i64, days: i64) -> Vec<i64> {
        let jumps = self.0.following(timestamp(at_ms)).map(|jump| jump.timestamp().as_millisecond());
        jumps.take_while(|at| *at < at_ms.saturating_add(days * 86_400_000)).collect()
    }
}

/// The nearest moment that can be told.
fn timestamp(at_ms: i64) -> Timestamp {
    let end = if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at_ms).unwrap_or(end)
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Zone, BadZone> {
        let bad = || BadZone(text.chars().take(60).collect());
        if text.eq_ignore_ascii_case("utc") {
            return Ok(Zone::utc());
        }
        let zone = TimeZone::get(text.trim()).map_err(|_| bad())?;
        zone.iana_name().is_some().then_some(Zone(zone)).ok_or_else(bad)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// A date and time on the wall, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime(DateTime);

/// The text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: 2026-12-01 08:00")]
pub struct BadTime(String);

impl LocalTime {
    /// When it is in this zone, milliseconds since 1970 UTC.
    pub fn in_zone(self, zone: &Zone) -> i64 {
        zone.instant(self.0)
    }

    /// What the clock on the wall shows at a moment.
    pub fn at(at_ms: i64, zone: &Zone) -> LocalTime {
        LocalTime(to_the_minute(zone.local(at_ms)))
    }
}

fn to_the_minute(at: DateTime) -> DateTime {
    at.date().at(at.hour(), at.minute(), 0, 0)
}

impl FromStr for LocalTime {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<LocalTime, BadTime> {
        let bad = || BadTime(text.chars().take(40).collect());
        let trimmed = text.trim();
        let whole = match trimmed.len() {
            10 => format!("{trimmed}T00:00"),
            _ => trimmed.replacen(' ', "T", 1),
        };
        // No offset, no zone name: those stand beside it.
        let plain = whole.bytes().all(|b| b.is_ascii_digit() || b"-T:".contains(&b)) && whole.len() <= 19;
        if !plain || whole.len() < 16 {
            return Err(bad());
        }
        whole.parse::<DateTime>().map(|at| LocalTime(to_the_minute(at))).map_err(|_| bad())
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "{:04}-{:02}-{:02} {:02}:{:02}", at.year(), at.month(), at.day(), at.hour(), at.minute())
    }
}

/// Times of the week at which something may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    spans: Vec<WeekSpan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct WeekSpan {
    /// Monday is 0.
    days: Vec<u8>,
    /// Minutes after midnight.
    from: u16,
    /// Not after `from`: on the next day.
    to: u16,
}

/// The text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no window: days and times, `mon-fri 18:00-06:00, sat,sun 00:00-24:00`, or `daily 20:00-06:00`"
)]
pub struct BadWindow(String);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
/// Days in which the next opening is looked for: a week, and the day that a clock may jump over.
const DAYS_AHEAD: i64 = 9;
/// Most parts of a window.
const MOST_SPANS: usize = 50;

impl Window {
    /// Whether it is open at a moment.
    pub fn is_open(&self, at_ms: i64, zone: &Zone) -> bool {
        let local = zone.local(at_ms);
        let minute = minutes(local.time());
        let day = day_of(local.weekday());
        self.spans.iter().any(|span| span.holds(day, minute))
    }

    /// When it opens next after a moment at which it is closed, within nine days. Where the clock on the wall jumps, it may open
    /// in the middle of its times, or a second time on the same day.
    pub fn opens(&self, at_ms: i64, zone: &Zone) -> Option<i64> {
        let today = zone.local(at_ms).date();
        let is_it = |at: &i64| *at > at_ms && self.is_open(*at, zone);
        let mut opening: Vec<i64> = zone.jumps(at_ms, DAYS_AHEAD).into_iter().filter(is_it).collect();
        for ahead in 0..DAYS_AHEAD {
            let Ok(date) = today.checked_add(Span::new().days(ahead)) else { continue };
            for span in self.spans.iter().filter(|span| span.days.contains(&day_of(date.weekday()))) {
                let (hour, minute) = ((span.from / 60) as i8, (span.from % 60) as i8);
                opening.extend(zone.instants(date.at(hour, minute, 0, 0)).into_iter().filter(is_it));
            }
            if ahead > 0 && !opening.is_empty() {
                break;
            }
        }
        opening.into_iter().min()
    }
}

fn minutes(time: Time) -> u16 {
    time.hour() as u16 * 60 + time.minute() as u16
}

fn day_of(day: Weekday) -> u8 {
    day.to_monday_zero_offset() as u8
}

impl WeekSpan {
    fn holds(&self, day: u8, minute: u16) -> bool {
        let before = (day + 6) % 7;
        if self.from < self.to {
            return self.days.contains(&day) && (self.from..self.to).contains(&minute);
        }
        self.days.contains(&day) && minute >= self.from || self.days.contains(&before) && minute < self.to
    }
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Window, BadWindow> {
        let bad = || BadWindow(text.chars().take(80).collect());
        let mut spans = Vec::new();
        let mut days: Vec<u8> = Vec::new();
        // `sat,sun 0:00-24:00`: days without a time belong to the next part.
        for part in text.split([',', ';']).map(str::trim) {
            let mut words = part.split_whitespace();
            let (first, second) = (words.next().ok_or_else(bad)?, words.next());
            if words.next().is_some() {
                return Err(bad());
            }
            days.extend(days_in(first).ok_or_else(bad)?);
            let Some(times) = second else { continue };
            let (from, to) = times.split_once('-').ok_or_else(bad)?;
            let (from, to) = (minute_in(from).ok_or_else(bad)?, minute_in(to).ok_or_else(bad)?);
            if from == DAY || from == to || spans.len() >= MOST_SPANS {
                return Err(bad());
            }
            days.sort_unstable();
            days.dedup();
            spans.push(WeekSpan { days: std::mem::take(&mut days), from, to });
        }
        if spans.is_empty() || !days.is_empty() {
            return Err(bad());
        }
        Ok(Window { spans })
    }
}

fn days_in(text: &str) -> Option<Vec<u8>> {
    let lower = text.to_ascii_lowercase();
    let day = |name: &str| DAYS.iter().position(|known| *known == name).map(|at| at as u8);
    if lower == "daily" {
        return Some((0..7).collect());
    }
    match lower.split_once('-') {
        None => Some(vec![day(&lower)?]),
        Some((from, to)) => {
            let (from, to) = (day(from)?, day(to)?);
            let count = (to + 7 - from) % 7;
            Some((0..=count).map(|ahead| (from + ahead) % 7).collect())
        }
    }
}

fn minute_in(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let whole = hour * 60 + minute;
    (minute < 60 && whole <= DAY).then_some(whole)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, span) in self.spans.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            let run = span.days.windows(2).all(|pair| pair[1] == pair[0] + 1) && span.days.len() > 2;
            let name = |day: u8| DAYS[usize::from(day) % 7];
            match (span.days.as_slice(), run) {
                (days, _) if days.len() == 7 => f.write_str("daily")?,
                ([first, .., last], true) => write!(f, "{}-{}", name(*first), name(*last))?,
                (days, _) => f.write_str(&days.iter().map(|day| name(*day)).collect::<Vec<_>>().join(","))?,
            }
            let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            write!(f, " {}-{}", time(span.from), time(span.to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn berlin() -> Zone {
        "Europe/Berlin".parse().unwrap()
    }

    #[test]
    fn section_6_local_times_are_moments_of_their_zone_also_where_summer_time_begins_and_ends() {
        let when = |text: &str| text.parse::<LocalTime>().unwrap().in_zone(&berlin());
        assert_eq!(when("2026-12-01 08:00"), at("2026-12-01T07:00:00Z"));
        assert_eq!(when("2026-07-01T08:00"), at("2026-07-01T06:00:00Z"));
        assert_eq!(when("2026-07-01"), at("2026-06-30T22:00:00Z"));
        assert_eq!(when("2026-03-29 02:30"), at("2026-03-29T01:30:00Z"), "the hour that is left out");
        assert_eq!(when("2026-10-25 02:30"), at("2026-10-25T00:30:00Z"), "the first of the two");
        assert_eq!(LocalTime::at(at("2026-12-01T07:00:30Z"), &berlin()).to_string(), "2026-12-01 08:00");
        for wrong in [
            "",
            "8:00",
            "2026-13-01 08:00",
            "2026-12-01 08:00Z",
            "2026-12-01 08:00+01:00",
            "2026-02-30",
            "tomorrow",
        ] {
            assert!(wrong.parse::<LocalTime>().is_err(), "{wrong}");
        }
        for wrong in ["", "Berlin", "Europe/Bonn", "+01:00"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
        assert_eq!(
            ("utc".parse::<Zone>().unwrap().to_string(), berlin().to_string().as_str()),
            ("UTC".into(), "Europe/Berlin")
        );
        assert_eq!("europe/berlin".parse::<Zone>().unwrap(), berlin(), "its own spelling");
    }

    #[test]
    fn section_6_a_window_is_open_by_the_clock_on_the_wall_and_over_midnight() {
        let window: Window = "mon-fri 18:00-06:00, sat,sun 00:00-24:00".parse().unwrap();
        let open = |text: &str| window.is_open(at(text), &berlin());
        // 2026-12-01 is a Tuesday; Berlin is an hour ahead.
        assert!(!open("2026-12-01T16:59:00Z") && open("2026-12-01T17:00:00Z"));
        assert!(open("2026-12-02T04:59:00Z") && !open("2026-12-02T05:00:00Z"));
        assert!(open("2026-12-05T12:00:00Z") && open("2026-12-06T22:59:00Z"));
        assert!(
            !open("2026-12-06T23:00:00Z"),
            "Monday 00:00: the window of Sunday is over, Monday's begins at 18:00"
        );
        assert_eq!(window.opens(at("2026-12-01T12:00:00Z"), &berlin()), Some(at("2026-12-01T17:00:00Z")));
        assert_eq!(window.opens(at("2026-12-06T23:30:00Z"), &berlin()), Some(at("2026-12-07T17:00:00Z")));
        let weekly: Window = "mon 9:00-10:00".parse().unwrap();
        assert_eq!(weekly.opens(at("2026-12-07T08:30:00Z"), &berlin()), Some(at("2026-12-14T08:00:00Z")));
        let night: Window = "sun 02:00-02:45".parse().unwrap();
        let open = |text: &str| night.is_open(at(text), &berlin());
        assert!(open("2026-10-25T00:15:00Z") && open("2026-10-25T01:15:00Z"), "both hours that come twice");
        assert!(!open("2026-03-29T00:30:00Z") && !open("2026-03-29T01:30:00Z"), "the hour that is left out");
    }

    #[test]
    fn section_6_when_a_window_opens_is_the_first_open_moment_also_where_the_clock_on_the_wall_jumps() {
        let quarter = 15 * 60_000;
        for (zone, jump) in [
            ("Europe/Berlin", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:00:00Z"),
            // Half an hour, and at midnight.
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
            ("America/Santiago", "2026-09-06T04:00:00Z"),
        ] {
            let zone: Zone = zone.parse().unwrap();
            for text in [
                "sun 02:30-06:00",
                "daily 02:00-02:15",
                "daily 01:30-02:30",
                "sat 23:45-00:15, sun 2:00-3:00",
            ] {
                let window: Window = text.parse().unwrap();
                let mut next: Option<i64> = None;
                // Backwards, so that the next open moment is known without looking for it again and again.
                for step in (-120..8 * 96).rev() {
                    let at_ms = at(jump) + step * quarter;
                    if window.is_open(at_ms, &zone) {
                        next = Some(at_ms);
                    } else if step < 96 {
                        assert_eq!(
                            window.opens(at_ms, &zone),
                            next,
                            "{text} in {zone} {step} quarters from {jump}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn section_6_a_window_is_printed_as_it_is_read() {
        for (written, printed) in [
            ("daily 20:00-6:00", "daily 20:00-06:00"),
            ("MON-FRI 18:00-06:00; sat,sun 0:00-24:00", "mon-fri 18:00-06:00, sat,sun 00:00-24:00"),
            ("fri-mon 01:00-02:00", "mon,fri,sat,sun 01:00-02:00"),
        ] {
            let window: Window = written.parse().unwrap();
            assert_eq!(window.to_string(), printed);
            assert_eq!(window.to_string().parse::<Window>().unwrap(), window);
        }
        for wrong in [
            "",
            "mon",
            "18:00-20:00",
            "mon 18-20",
            "mon 18:00-18:00",
            "mon 24:00-1:00",
            "mon 1:60-2:00",
            "mon 1:00-25:00",
            "day 1:00-2:00",
            "mon 1:00-2:00 x",
            "mon 1:00-2:00,",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
