//! The worked examples that are shipped, read and checked as an admin would.

use std::fs;
use std::path::{Path, PathBuf};

use rootstock::sequence::check::{Surroundings, check};
use rootstock::sequence::model::Sequence;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/sequences");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    assert!(paths.len() >= 2);
    paths
}

fn example(name: &str) -> Sequence {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/sequences").join(name);
    Sequence::from_yaml(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_worked_example_reads_checks_and_survives_writing() {
    for path in examples() {
        let sequence = Sequence::from_yaml(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(check(&sequence, &Surroundings::default()), [], "{}", path.display());
        let written = sequence.to_yaml().unwrap();
        assert_eq!(Sequence::from_yaml(&written).unwrap(), sequence, "{written}");
    }
}

#[test]
fn the_examples_are_of_both_kinds_and_say_what_they_erase() {
    let (lab, inventory) = (example("lab-mac.yaml"), example("inventory.yaml"));
    assert!(lab.deploys_an_os() && !inventory.deploys_an_os());
    assert_eq!((lab.erases(), inventory.erases()), (vec![0], vec![]));
}
