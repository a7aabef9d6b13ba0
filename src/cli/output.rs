//! Words out: tables, JSON, times and rates for people.

use std::io::{self, Write};

use serde::Serialize;

pub use crate::api::moment::{duration, span, stamp, took};

/// Standard output takes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output")]
pub struct Unread(#[source] io::Error);

/// Writes a text and a line end to standard output.
///
/// # Errors
/// When nobody reads it any more.
pub fn say(text: impl AsRef<str>) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{}", text.as_ref().trim_end_matches('\n')).map_err(Unread)?)
}

/// Writes a value as JSON.
///
/// # Errors
/// As [`say`].
pub fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(value)?)
}

/// Columns of text, as wide as their widest entry.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [impl Into<String>; N]) -> Table {
        Table { rows: vec![headings.map(|heading| printable(&heading.into())).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }

    /// Writes it, or `when_empty` if it has no rows.
    ///
    /// # Errors
    /// As [`say`].
    pub fn print(&self, when_empty: &str) -> anyhow::Result<()> {
        say(if self.rows.len() > 1 { self.text() } else { when_empty.to_owned() })
    }

    fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Text from elsewhere without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `104.9 MB/s`: powers of ten, as networks and disks are sold.
pub fn rate(bytes_a_second: u64) -> String {
    format!("{:.1} MB/s", bytes_a_second as f64 / 1e6)
}

/// A name as one part of a path in an address (RFC 3986 section 2).
pub fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    name.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_in_utc() {
        for (ms, want) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_795_248_600_000, "2026-11-21 08:10:00Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(stamp(ms), want);
        }
        assert!(!stamp(i64::MAX).is_empty() && !stamp(i64::MIN).is_empty());
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!([span(0), span(61), span(3_900)], ["0 s", "1 min 01 s", "1 h 05 min"]);
        assert_eq!(took(5_000, Some(1_000)), "0 s", "a clock that was set back");
    }

    #[test]
    fn names_stay_one_part_of_an_address() {
        assert_eq!(segment("Lab Macs/1 ü%?"), "Lab%20Macs%2F1%20%C3%BC%25%3F");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_entry_and_obey_nothing() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["a long name".into(), "1".into()]);
        table.row(["\u{1b}[2J".into(), "22".into()]);
        assert_eq!(table.text(), "NAME         N\na long name  1\n [2J         22");
    }
}
