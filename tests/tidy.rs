//! The house rules that a compiler does not check: layers, file lengths, headers.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, lowest first. A room uses lower floors and itself.
const FLOORS: [&[&str]; 6] = [
    &["value"],
    &["netboot", "image", "sequence"],
    &["api"],
    &["store", "db", "client", "device", "host", "input"],
    &["media"],
    &["server", "runner", "cli"],
];

/// Longest file before its tests. More means that it owns a second thing.
const MOST_LINES: usize = 500;

/// Sections of the specification of task sequences that tests carry in their names. Section 5 is done on macOS.
const SECTIONS: [u32; 7] = [1, 2, 3, 4, 6, 7, 8];

/// Tests that carry a section, at least.
const FEWEST_OF_A_SECTION: usize = 10;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    sources_below("src")
}

fn sources_below(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 5, "no sources under {}", root.display());
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text)
        })
        .collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Text before the test module, without comment lines.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or("")
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn every_room_uses_lower_floors_and_itself() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let Some(room) = path.split(['/', '.']).next().filter(|_| path.contains('/')) else { continue };
        let Some(own) = floor(room) else { continue };
        for line in code(&text) {
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if used != room && floor(&used).is_some_and(|other| other >= own) {
                    wrong.push(format!("src/{path}: `{room}` must not use `{used}`: {}", line.trim()));
                }
            }
            assert!(
                !line.contains("use crate::{"),
                "src/{path}: one `use crate::room` a line, so that this test can read it"
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn floors_one_to_three_read_no_clock_open_no_file_draw_no_random_number() {
    let banned = [
        "std::fs",
        "File::open",
        "SystemTime::now",
        "Instant::now",
        "SystemRandom",
        "getrandom",
        "new_v4",
        "std::net::Tcp",
        "std::net::Udp",
        "tokio::",
    ];
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let room = path.split('/').next().unwrap_or_default();
        if floor(room).is_some_and(|own| own < 3) {
            for line in code(&text) {
                wrong.extend(
                    banned
                        .iter()
                        .filter(|word| line.contains(**word))
                        .map(|word| format!("src/{path}: {word}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns_and_stays_short() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests/fuzz/laws"] {
        for (path, text) in sources_below(folder) {
            if !text.starts_with("//!") {
                wrong.push(format!("{folder}/{path} has no header"));
            }
            let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("").lines().count();
            if lines > MOST_LINES {
                wrong.push(format!("{folder}/{path}: {lines} lines before its tests"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// ARCHITECTURE.md, invariant 6.
#[test]
fn only_the_answers_of_leases_write_an_address() {
    let mut writers: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| code(text).any(|line| line.contains(".yiaddr(") && !line.contains(".yiaddr()")))
        .map(|(path, _)| path)
        .collect();
    writers.dedup();
    assert_eq!(writers, ["netboot/lease/answer.rs"]);
}

/// The sections that a test carries: 6 in `section_6_a_mac_is_known`, 2 and 7 in `section_2_and_7_nobody_is_asked`.
fn sections_carried(test: &str) -> Vec<u32> {
    let mut carried = Vec::new();
    let mut rest = test.strip_prefix("section_");
    while let Some((number, after)) = rest.and_then(|rest| rest.split_once('_')) {
        let Ok(section) = number.parse() else { break };
        carried.push(section);
        rest = after.strip_prefix("and_");
    }
    carried
}

/// Names of the tests of a file, also of those that a macro makes (`proptest!`).
fn tests_of(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if !line.starts_with("//") {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            found.extend(name.filter(|_| is_test).and_then(|rest| rest.split('(').next()));
            is_test = false;
        }
    }
    found
}

/// The netboot wing and its namespaces are left out: their sections are those of other documents.
#[test]
fn every_section_of_the_specification_is_carried_by_tests() {
    let files: Vec<(String, String)> = ["src", "tests/it", "tests/power"]
        .into_iter()
        .flat_map(sources_below)
        .filter(|(path, _)| !path.starts_with("netboot"))
        .collect();
    let carried: Vec<u32> =
        files.iter().flat_map(|(_, text)| tests_of(text)).flat_map(sections_carried).collect();
    for section in SECTIONS {
        let tests = carried.iter().filter(|other| **other == section).count();
        assert!(
            tests >= FEWEST_OF_A_SECTION,
            "section {section} of the specification of task sequences is carried by {tests} tests, which are too few: a \
             test carries it when its name begins with `section_{section}_`"
        );
    }
}

#[test]
fn a_test_carries_the_sections_that_its_name_begins_with_and_nothing_else_does() {
    let text = "
        /// section_1_of_a_comment
        fn section_2_of_a_function() {}
        #[test]
        fn section_3_and_4_and_6_of_one() {
        #[tokio::test(flavor = \"multi_thread\")]
        // Why it takes threads.
        async fn section_8_of_two() {
        #[test]
        #[cfg(unix)]
        fn three_of_section_7_and_1() {
    ";
    let found: Vec<Vec<u32>> = tests_of(text).into_iter().map(sections_carried).collect();
    assert_eq!(found, [vec![3, 4, 6], vec![8], vec![]]);
}
