//! The worked examples that are shipped, read and checked as an admin would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rootstock::sequence::check::{Surroundings, check};
use rootstock::sequence::model::Sequence;
use rootstock::sequence::rehearsal::{Input, plan};
use rootstock::sequence::variable::Facts;

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

/// Another program's validator judges: what we read, our schema admits, and what we refuse to read, it does not.
#[test]
fn the_published_schema_admits_every_example_and_no_misspelt_one() {
    let schema = serde_json::to_string(&rootstock::sequence::schema::schema()).unwrap();
    let program = "import json, sys, yaml, jsonschema
schema = json.loads(sys.argv[1])
jsonschema.Draft202012Validator.check_schema(schema)
for text in sys.argv[2:]:
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text)))
    print('wrong' if errors else 'right', *[error.message[:200] for error in errors[:1]])";
    let mut texts: Vec<String> = examples().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let right = texts.len();
    for wrong in [
        "name: x\nsteps: [{restrat: }]\n",
        "name: x\nsteps: [{restart: , timeout: 90}]\n",
        "name: x\nsteps: [{group: [], restart: }]\n",
        "name: x\nsteps: [{if: {variable: A, equals: b}, restart: }]\n",
        "name: x\nsteps: [{if: {all: [{variable: A, equals: b, like: c}]}, restart: }]\n",
    ] {
        assert!(Sequence::from_yaml(wrong).is_err(), "{wrong}");
        texts.push(wrong.to_owned());
    }
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", program, &schema]).args(&texts).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let want: Vec<&str> = (0..texts.len()).map(|at| if at < right { "right" } else { "wrong" }).collect();
    assert_eq!(words, want, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_examples_are_of_both_kinds_and_say_what_they_erase() {
    let (lab, inventory) = (example("lab-mac.yaml"), example("inventory.yaml"));
    assert!(lab.deploys_an_os() && !inventory.deploys_an_os());
    assert_eq!((lab.erases(), inventory.erases()), (vec![0], vec![]));
}

/// Prints its time: `cargo test --release --test it a_plan_of_a_thousand -- --nocapture`.
#[test]
fn a_plan_of_a_thousand_nested_steps_is_made_whole() {
    let inner: String = (0..100)
        .map(|n| format!("  - {{name: s{n}, if: {{all: [{{variable: Model, like: 'iMac*'}}]}}, execute_script: {{script: '#!/bin/sh'}}}}\n"))
        .collect();
    let outer: String = (0..10)
        .map(|n| format!("  - {{name: g{n}, group: [{{run_sequence: {{sequence: Inner}}}}]}}\n"))
        .collect();
    let inner = Sequence::from_yaml(&format!("name: Inner\nsteps:\n{inner}")).unwrap();
    let outer = Sequence::from_yaml(&format!("name: Outer\nsteps:\n{outer}")).unwrap();
    let facts = Facts { model: Some("iMac14,2".parse().unwrap()), ..Facts::default() };
    let input = Input { others: BTreeMap::from([("Inner".to_owned(), inner)]), facts, ..Input::default() };
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let now = std::time::Instant::now;
    let began = now();
    let plan = plan(&outer, &input).unwrap();
    println!("a plan of {} steps took {:?}", plan.steps.len(), now() - began);
    assert_eq!((plan.steps.len(), plan.findings.len()), (1000, 0));
    assert!(plan.steps.iter().all(|step| step.does == "run" && step.groups.len() == 2));
}
