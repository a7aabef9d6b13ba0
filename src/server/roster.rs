//! Lists of Macs as CSV (RFC 4180): what administrators keep in a spreadsheet, in and out without loss.
//!
//! | column | means |
//! |---|---|
//! | `serial`, `uuid` | which Mac; one of them is needed |
//! | `hostname`, `note`, `owner`, `known` | what is said of it; an empty cell leaves it as it is, `-` takes it away |
//! | `tags` | all its tags, `;` between them; empty: as they are; `-`: none |
//! | `collections` | collections into which it is put, `;` between them |
//! | `var:NAME`, `secret:NAME` | a variable; empty: as it is; `-`: taken away. Secrets are read, never written |
//! | `info:…` | written for people, not read: model, memory, last seen |
//!
//! A cell that a spreadsheet would take for a formula (it begins with `= + - @`, a tab or a line end) is written with a `'` before
//! it, and one that begins with `'` and such a sign with another; reading takes one away. Must not know: SQL, HTTP.

use std::collections::BTreeSet;

use csv::{ReaderBuilder, StringRecord, WriterBuilder};

use super::secrets::SecretKey;
use super::variables;
use crate::api::admin::{EditDevice, RosterFault};
use crate::api::runner::DeviceFacts;
use crate::db::{RosterLine, RosterRow};
use crate::sequence::name::VariableName;
use crate::sequence::template::LONGEST;
use crate::value::ByteSize;

/// Most lines of a list.
const MOST_LINES: usize = 200_000;
/// Most columns.
const MOST_COLUMNS: usize = 300;
/// Most faults that are told.
const MOST_FAULTS: usize = 100;
/// What takes a value away.
const NOTHING: &str = "-";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Serial,
    Uuid,
    Hostname,
    Note,
    Owner,
    Known,
    Tags,
    Collections,
    Variable(VariableName, bool),
    Info,
}

impl Column {
    fn named(head: &str) -> Result<Column, String> {
        let head = head.trim();
        let lower = head.to_ascii_lowercase();
        Ok(match lower.as_str() {
            "serial" => Column::Serial,
            "uuid" => Column::Uuid,
            "hostname" => Column::Hostname,
            "note" => Column::Note,
            "owner" => Column::Owner,
            "known" => Column::Known,
            "tags" => Column::Tags,
            "collections" => Column::Collections,
            _ if lower.starts_with("info:") => Column::Info,
            _ => {
                let (secret, name) = match (head.get(..4), head.get(..7)) {
                    (Some(prefix), _) if prefix.eq_ignore_ascii_case("var:") => (false, &head[4..]),
                    (_, Some(prefix)) if prefix.eq_ignore_ascii_case("secret:") => (true, &head[7..]),
                    _ => {
                        let known = "serial, uuid, hostname, note, owner, known, tags, collections, var:NAME, secret:NAME, info:…";
                        return Err(format!("`{}` is no column: {known}", shortened(head)));
                    }
                };
                let name: VariableName = name.parse().map_err(|error| format!("{error}"))?;
                if name.is_read_only() {
                    return Err(format!("{name} is a fact of the Mac and cannot be set"));
                }
                Column::Variable(name, secret)
            }
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Reads a list. `key` seals its secrets.
///
/// # Errors
/// Everything that is wrong with it, by line; at most a hundred things.
pub fn read(bytes: &[u8], key: &SecretKey) -> Result<Vec<RosterLine>, Vec<RosterFault>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Spreadsheets of countries with a decimal comma write semicolons.
    let separator = if head.contains(&b';') && !head.contains(&b',') { b';' } else { b',' };
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(bytes);
    let mut records = reader.records();
    let columns = match records.next() {
        Some(Ok(head)) => columns(&head)?,
        Some(Err(error)) => return Err(vec![unreadable(&error)]),
        None => return Err(vec![fault(1, "", "the file is empty: its first line names the columns")]),
    };
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    let mut counter = Lines { bytes, at: 0, line: 1 };
    for record in records {
        match record {
            Err(error) => {
                let place = error.position().map_or(0, |place| counter.line_at(place.byte()));
                faults.push(RosterFault { line: place, ..unreadable(&error) });
                break;
            }
            Ok(record) if record.iter().all(|cell| cell.trim().is_empty()) => {}
            Ok(record) => match line(counter.line_of(&record), &record, &columns, key) {
                Ok(line) => lines.push(line),
                Err(found) => faults.extend(found),
            },
        }
        if lines.len() > MOST_LINES {
            faults.push(fault(0, "", &format!("the list has more than {MOST_LINES} lines: split it")));
        }
        if faults.len() >= MOST_FAULTS || lines.len() > MOST_LINES {
            break;
        }
    }
    faults.truncate(MOST_FAULTS);
    if faults.is_empty() { Ok(lines) } else { Err(faults) }
}

fn fault(line: u64, column: &str, message: &str) -> RosterFault {
    RosterFault { line, column: column.to_owned(), message: message.to_owned() }
}

fn unreadable(error: &csv::Error) -> RosterFault {
    let line = error.position().map_or(0, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "this line is no UTF-8 text: save the list as UTF-8".to_owned(),
        _ => format!("this line is no CSV: {error}"),
    };
    fault(line, "", &message)
}

fn columns(head: &StringRecord) -> Result<Vec<(String, Column)>, Vec<RosterFault>> {
    let (mut columns, mut faults) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    if head.len() > MOST_COLUMNS {
        return Err(vec![fault(1, "", &format!("the list has more than {MOST_COLUMNS} columns"))]);
    }
    for name in head {
        match Column::named(&plain(name)) {
            Ok(column) => {
                let same = match &column {
                    Column::Variable(name, _) => name.as_str().to_ascii_lowercase(),
                    other => format!("{other:?} "),
                };
                if column != Column::Info && !names.insert(same) {
                    faults.push(fault(1, &shortened(name), "the column stands there twice"));
                }
                columns.push((shortened(name), column));
            }
            Err(why) => faults.push(fault(1, &shortened(name), &why)),
        }
    }
    if !columns.iter().any(|(_, column)| matches!(column, Column::Serial | Column::Uuid)) && faults.is_empty()
    {
        faults.push(fault(1, "", "the list needs a column `serial` or `uuid`: which Mac is meant"));
    }
    if faults.is_empty() { Ok(columns) } else { Err(faults) }
}

/// Counts lines of a list. The reader's own count lags behind where lines end with CR LF: it takes the LF for the beginning of
/// the next record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    fn line_of(&mut self, record: &StringRecord) -> u64 {
        record.position().map_or(0, |place| self.line_at(place.byte()))
    }

    fn line_at(&mut self, byte: u64) -> u64 {
        let mut to = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.at, self.bytes.len());
        to += self.bytes[to..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line += self.bytes[self.at..to].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = to;
        self.line
    }
}

fn line(
    place: u64,
    record: &StringRecord,
    columns: &[(String, Column)],
    key: &SecretKey,
) -> Result<RosterLine, Vec<RosterFault>> {
    let mut faults = Vec::new();
    let mut line = RosterLine { line: place, ..RosterLine::default() };
    if record.len() > columns.len() {
        faults.push(fault(
            place,
            "",
            &format!("the line has {} cells, the head has {}", record.len(), columns.len()),
        ));
    }
    for ((name, column), cell) in columns.iter().zip(record) {
        if let Err(message) = take(&mut line, column, cell, key) {
            faults.push(fault(place, name, &message));
        }
    }
    if line.serial.is_none() && line.uuid.is_none() && faults.is_empty() {
        faults.push(fault(place, "", "neither serial number nor UUID: which Mac is meant"));
    }
    if faults.is_empty() { Ok(line) } else { Err(faults) }
}

fn take(line: &mut RosterLine, column: &Column, cell: &str, key: &SecretKey) -> Result<(), String> {
    if cell.is_empty() {
        return Ok(());
    }
    let away = cell == NOTHING;
    let text = || if away { String::new() } else { plain(cell) };
    let list = || -> Vec<String> {
        let text = text();
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let about: &mut EditDevice = &mut line.about;
    match column {
        Column::Info => {}
        Column::Serial => {
            line.serial = Some(text().parse().map_err(|error| format!("{error}"))?);
        }
        Column::Uuid => {
            let uuid = text();
            let uuid = uuid.trim().parse().map_err(|_| format!("`{}` is no UUID", shortened(&uuid)))?;
            line.uuid = Some(uuid);
        }
        Column::Hostname => about.hostname = Some(text().trim().to_owned()),
        Column::Note => about.note = Some(text()),
        Column::Owner => about.owner = Some(text().trim().to_lowercase()),
        Column::Known => {
            about.known = Some(match text().trim().to_lowercase().as_str() {
                "yes" | "true" | "1" => true,
                "no" | "false" | "0" => false,
                other => return Err(format!("`{}` is not yes or no", shortened(other))),
            });
        }
        Column::Tags => {
            about.tag = list();
            line.all_tags = true;
        }
        Column::Collections => line.collections = list(),
        Column::Variable(name, _) if away => line.unset.push(name.as_str().to_owned()),
        Column::Variable(name, secret) => {
            let value = text();
            if value.len() > LONGEST {
                return Err(format!("the value has {} bytes: at most {LONGEST}", value.len()));
            }
            line.set.push(variables::row(key, name.clone(), value, *secret));
        }
    }
    Ok(())
}

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A cell that no spreadsheet takes for a formula.
fn guarded(text: &str) -> String {
    let bare = text.trim_start_matches('\'');
    // `＝` and its kin count with some programs, too.
    let dangerous = bare.starts_with(FORMULA) || bare.starts_with(['＝', '＋', '－', '＠', '\n']);
    if dangerous { format!("'{text}") } else { text.to_owned() }
}

/// The text of a cell, as it was before it was guarded.
fn plain(cell: &str) -> String {
    let inner = cell.strip_prefix('\'').filter(|inner| guarded(inner) == cell);
    inner.unwrap_or(cell).to_owned()
}

/// The head of the list of all Macs, which has these variables.
pub fn head(variables: &[String]) -> Vec<u8> {
    let mut cells: Vec<String> =
        ["serial", "uuid", "hostname", "known", "owner", "note", "tags", "collections"]
            .map(str::to_owned)
            .to_vec();
    cells.extend(variables.iter().map(|name| format!("var:{name}")));
    cells.extend(["info:model", "info:memory", "info:disks", "info:last seen"].map(str::to_owned));
    record(&cells)
}

/// One Mac of that list. A value that the list cannot hold is left out: an empty variable, one that is secret.
pub fn written(row: &RosterRow, variables: &[String], stamp: impl Fn(i64) -> String) -> Vec<u8> {
    let mut cells: Vec<String> = vec![
        row.serial.clone().unwrap_or_default(),
        row.uuid.clone().unwrap_or_default(),
        row.hostname.clone(),
        if row.known { "yes" } else { "no" }.to_owned(),
        row.owner.clone(),
        row.note.clone(),
        row.tags.join(";"),
        row.collections.join(";"),
    ];
    cells.extend(variables.iter().map(|name| {
        let own = row.variables.iter().find(|variable| variable.name.eq_ignore_ascii_case(name));
        own.and_then(|variable| variable.value.clone()).unwrap_or_default()
    }));
    let facts: Option<DeviceFacts> = serde_json::from_str(&row.facts).ok();
    let facts = facts.as_ref();
    let disks = facts.map(|facts| {
        facts
            .disks
            .iter()
            .filter(|disk| !disk.external)
            .map(|disk| ByteSize(disk.size).to_string())
            .collect::<Vec<_>>()
    });
    cells.push(facts.and_then(|facts| facts.model.as_ref()).map(ToString::to_string).unwrap_or_default());
    cells.push(
        facts
            .filter(|facts| facts.memory > 0)
            .map(|facts| ByteSize(facts.memory).to_string())
            .unwrap_or_default(),
    );
    cells.push(disks.unwrap_or_default().join("; "));
    cells.push(if row.seen_ms == 0 { String::new() } else { stamp(row.seen_ms) });
    record(&cells)
}

fn record(cells: &[String]) -> Vec<u8> {
    // RFC 4180: lines end with CR LF.
    let mut writer = WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let written = writer.write_record(cells.iter().map(|cell| guarded(cell)));
    written.ok().and_then(|()| writer.into_inner().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SecretKey {
        let folder = tempfile::tempdir().unwrap();
        SecretKey::open(&folder.path().join("secrets.key")).unwrap()
    }

    fn faults(text: &str) -> Vec<(u64, String, String)> {
        let found = read(text.as_bytes(), &key()).unwrap_err();
        found.into_iter().map(|fault| (fault.line, fault.column, fault.message)).collect()
    }

    #[test]
    fn section_6_a_list_is_read_with_serials_names_tags_and_variables() {
        let text = "\u{feff}Serial,hostname,tags,var:Room,secret:Key,known,info:model\r\n\
                    C02FEAS00001,lab-1,lab;b12,\"12, west\",hunter2,yes,iMac\r\n\
                    \r\n\
                    C02FEAS00002,-,-,-,,no,\r\n";
        let lines = read(text.as_bytes(), &key()).unwrap();
        let [one, two] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((one.line, one.serial.as_ref().unwrap().as_str()), (2, "C02FEAS00001"));
        assert_eq!(
            (one.about.hostname.as_deref(), one.about.tag.len(), one.about.known),
            (Some("lab-1"), 2, Some(true))
        );
        let values: Vec<_> = one.set.iter().map(|row| (row.name.as_str(), row.secret)).collect();
        assert_eq!(values, [("Room", false), ("Key", true)]);
        assert_eq!(one.set[0].value, "12, west");
        assert!(!one.set[1].value.contains("hunter2"), "sealed");
        assert_eq!(
            (two.line, two.about.hostname.as_deref(), two.all_tags, two.about.tag.len()),
            (4, Some(""), true, 0)
        );
        assert_eq!((two.unset.as_slice(), two.set.len()), (&["Room".to_owned()][..], 0));
        let german = read(b"serial;hostname\nC02FEAS00001;lab-1\n", &key()).unwrap();
        assert_eq!(german[0].about.hostname.as_deref(), Some("lab-1"));
    }

    #[test]
    fn section_6_every_wrong_line_is_told_with_its_number_and_column() {
        let found = faults("serial,uuid,known\nC02A,nonsense,yes\n,,no\nC02B,,maybe\nC02C,,yes,more\n");
        let places: Vec<_> = found.iter().map(|(line, column, _)| (*line, column.as_str())).collect();
        assert_eq!(places, [(2, "uuid"), (3, ""), (4, "known"), (5, "")], "{found:?}");
        assert!(faults("")[0].2.contains("empty"));
        assert!(faults("hostname\nx\n")[0].2.contains("`serial` or `uuid`"));
        assert!(faults("serial,colour\n")[0].2.contains("no column"));
        assert!(faults("serial,var:9\n")[0].2.contains("variable name"));
        assert!(faults("serial,var:Model\n")[0].2.contains("fact of the Mac"));
        assert!(faults("serial,var:A,secret:a\n")[0].2.contains("twice"));
        let latin = read(b"serial,note\nC02A,M\xfcnchen\n", &key()).unwrap_err();
        assert!(latin[0].line == 2 && latin[0].message.contains("UTF-8"), "{latin:?}");
    }

    #[test]
    fn section_6_no_cell_that_is_written_is_a_formula() {
        let row = RosterRow {
            serial: Some("C02A".into()),
            hostname: "=HYPERLINK(\"http://x\")".into(),
            note: "@SUM(1)\nline two, with \"marks\"".into(),
            facts: String::new(),
            ..RosterRow::default()
        };
        let text = String::from_utf8([head(&[]), written(&row, &[], |_| String::new())].concat()).unwrap();
        assert!(
            text.contains("\"'=HYPERLINK(\"\"http://x\"\")\"") && text.contains("\"'@SUM(1)\nline"),
            "{text}"
        );
        assert!(text.starts_with("serial,uuid,hostname,") && text.ends_with("\r\n"), "{text}");
        let lines = read(text.as_bytes(), &key()).unwrap();
        assert_eq!(lines[0].about.hostname.as_deref(), Some(row.hostname.as_str()));
        assert_eq!(lines[0].about.note.as_deref(), Some(row.note.as_str()));
    }

    proptest! {
        #[test]
        fn whatever_a_value_is_it_comes_back_and_begins_no_formula(value in "['=+@\t\r\n;,\"a-]{1,8}") {
            let row = RosterRow { serial: Some("C02A".into()), note: value.clone(), ..RosterRow::default() };
            let text = [head(&[]), written(&row, &[], |_| String::new())].concat();
            let mut reader = csv::Reader::from_reader(text.as_slice());
            let cell = reader.records().next().unwrap().unwrap()[5].to_owned();
            prop_assert!(!cell.starts_with(FORMULA), "{cell:?}");
            let lines = read(&text, &key()).unwrap();
            prop_assert_eq!(lines[0].about.note.as_deref(), Some(value.as_str()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[b"serial,note,tags\n".as_slice(), &bytes].concat(), &key());
        }
    }
}
