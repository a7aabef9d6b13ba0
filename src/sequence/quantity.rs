//! Durations and partition sizes as people write them in a sequence: `90 min`, `40 %`, `200 MiB`.
//!
//! Owns: their spelling, in and out without loss. A bare number is refused: nobody remembers which unit it means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::ByteSize;

/// A length of time of one second to 365 days, in whole seconds. Printed in the largest unit that is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u32);

/// The text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: a whole number with s, min, h or d, from 1 s to 365 d")]
pub struct BadDuration(String);

/// Unit, other spellings, seconds.
const TIMES: [(&str, &[&str], u32); 4] = [
    ("d", &["day", "days"], 86_400),
    ("h", &["hour", "hours"], 3600),
    ("min", &["m", "minute", "minutes"], 60),
    ("s", &["sec", "second", "seconds"], 1),
];

impl Duration {
    /// Longest duration: a year. More is a typing error.
    const LONGEST: u32 = 365 * 86_400;

    /// Seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// Milliseconds, the unit of the clock.
    pub const fn milliseconds(self) -> i64 {
        self.0 as i64 * 1000
    }
}

impl FromStr for Duration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Duration, BadDuration> {
        let bad = || BadDuration(text.chars().take(40).collect());
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let (_, _, scale) = TIMES
            .iter()
            .find(|(name, others, _)| *name == unit || others.contains(&unit.as_str()))
            .ok_or_else(bad)?;
        let seconds = number.checked_mul(u64::from(*scale)).ok_or_else(bad)?;
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=Duration::LONGEST) => Ok(Duration(seconds)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, _, scale) =
            TIMES.iter().find(|(_, _, scale)| self.0.is_multiple_of(*scale)).unwrap_or(&TIMES[3]);
        write!(f, "{} {unit}", self.0 / scale)
    }
}

/// Room for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionSize {
    /// Percent of the free space that is left after the partitions before it; the check wants 1 to 100.
    Percent(u32),
    /// Bytes.
    Bytes(u64),
}

/// The text is no partition size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no partition size: a percentage of the remaining free space (`40%`), or a number with KB, MB, GB, TB, KiB, MiB, GiB or TiB"
)]
pub struct BadPartitionSize(String);

impl FromStr for PartitionSize {
    type Err = BadPartitionSize;

    fn from_str(text: &str) -> Result<PartitionSize, BadPartitionSize> {
        let bad = || BadPartitionSize(text.chars().take(40).collect());
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        match unit.as_str() {
            "" => Err(bad()),
            "%" => u32::try_from(number).map(PartitionSize::Percent).map_err(|_| bad()),
            _ => text.parse().map(|ByteSize(bytes)| PartitionSize::Bytes(bytes)).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for PartitionSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 9] = [
            ("TiB", 1 << 40),
            ("TB", 1_000_000_000_000),
            ("GiB", 1 << 30),
            ("GB", 1_000_000_000),
            ("MiB", 1 << 20),
            ("MB", 1_000_000),
            ("KiB", 1 << 10),
            ("KB", 1000),
            ("B", 1),
        ];
        match *self {
            PartitionSize::Percent(percent) => write!(f, "{percent}%"),
            PartitionSize::Bytes(bytes) => {
                let (unit, scale) =
                    UNITS.iter().find(|(_, scale)| bytes.is_multiple_of(*scale)).unwrap_or(&UNITS[8]);
                write!(f, "{} {unit}", bytes / scale)
            }
        }
    }
}

/// `90 min` → (90, `min`); the unit in lower case, without the space.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    Some((digits.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Duration, PartitionSize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_usual_spelling() {
        for (text, seconds) in [("90 s", 90), ("90min", 5400), ("2 hours", 7200), ("1 d", 86_400)] {
            assert_eq!(text.parse::<Duration>().unwrap().seconds(), seconds, "{text}");
        }
    }

    #[test]
    fn durations_without_unit_of_nothing_and_beyond_a_year_are_refused() {
        for text in ["", "90", "0 s", "366 d", "-1 s", "1.5 h", "99999999999999999999 s", "1 week"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_partition_size_needs_a_unit_or_a_percent_sign() {
        assert_eq!("40 %".parse(), Ok(PartitionSize::Percent(40)));
        assert_eq!("20 GB".parse(), Ok(PartitionSize::Bytes(20_000_000_000)));
        for text in ["40", "", "%", "20 XB", "1.5 GB"] {
            assert!(text.parse::<PartitionSize>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_as_the_same(seconds in 1..=Duration::LONGEST, bytes: u64, percent: u32) {
            prop_assert_eq!(Duration(seconds).to_string().parse(), Ok(Duration(seconds)));
            for size in [PartitionSize::Bytes(bytes), PartitionSize::Bytes(bytes >> 20 << 20), PartitionSize::Percent(percent)] {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
