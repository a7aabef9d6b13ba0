//! The laws over the kept corpus, as an ordinary test: what the fuzzer found once is never broken again.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod laws;

use std::fs;
use std::path::{Path, PathBuf};

use laws::LAWS;

/// Bytes of the whole corpus: it is kept in the repository.
const MOST_BYTES: u64 = 1 << 20;

fn inputs(law: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(law);
    let mut inputs: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[test]
fn every_kept_input_obeys_its_law() {
    let mut broken = Vec::new();
    for law in LAWS {
        let inputs = inputs(law.name);
        assert!(inputs.len() >= 5, "{} has no corpus", law.name);
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| (law.check)(&bytes)).is_err() {
                broken.push(format!("{}: {}", law.name, path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken, see above:\n{}", broken.join("\n"));
}

#[test]
fn the_corpus_stays_small() {
    let bytes: u64 =
        LAWS.iter().flat_map(|law| inputs(law.name)).map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes; `./dev fuzz --merge` keeps what adds coverage");
}

#[test]
fn a_law_that_is_broken_panics() {
    // The input tools of the laws themselves: what they take for well-formed, and what not.
    assert!(std::panic::catch_unwind(|| laws::tlv(&[1, 1, 1, 4, 2, 0])).is_err());
    assert!(std::panic::catch_unwind(|| laws::entries(&[0, 0, 0, 1, 3, b'a'])).is_err());
    assert_eq!(laws::tlv(&[1, 1, 1]), [(1, &[1][..])]);
}
