//! The worked examples that are shipped, read and checked as an admin would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rootstock::sequence::check::{Surroundings, check};
use rootstock::sequence::model::Sequence;
use rootstock::sequence::program::Program;
use rootstock::sequence::rehearsal::{Input, Mishaps, Rehearsed, Which, plan, rehearse};
use rootstock::sequence::run::event::{PinnedImage, Start};
use rootstock::sequence::run::{Outcome, images_wanted};
use rootstock::sequence::variable::Facts;
use rootstock::value::Digest;

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
fn section_1_every_worked_example_reads_checks_and_survives_writing() {
    for path in examples() {
        let sequence = Sequence::from_yaml(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(check(&sequence, &Surroundings::default()), [], "{}", path.display());
        let written = sequence.to_yaml().unwrap();
        assert_eq!(Sequence::from_yaml(&written).unwrap(), sequence, "{written}");
    }
}

/// Another program's validator judges: what we read, our schema admits, and what we refuse to read, it does not.
#[test]
fn section_1_the_published_schema_admits_every_example_and_no_misspelt_one() {
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
        "name: x\nsteps: [{copy_files: {to: /}}]\n",
        "name: x\nsteps: [{set_hostname: {nmae: a}}]\n",
        "name: x\nsteps: [{install_package: {package: a, program: b, after: sleep}}]\n",
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
fn section_1_the_examples_are_of_both_kinds_and_say_what_they_erase() {
    let (lab, inventory) = (example("lab-mac.yaml"), example("inventory.yaml"));
    assert!(lab.deploys_an_os() && !inventory.deploys_an_os());
    assert_eq!((lab.erases(), inventory.erases()), (vec![0], vec![]));
}

/// The three sequences that README explains: checked, planned and worked through, each with what can go wrong in it.
#[test]
fn the_three_worked_sequences_are_checked_planned_and_worked_through() {
    let facts = |model: &str| Facts {
        serial: Some("C02FEAS00001".parse().unwrap()),
        model: Some(model.parse().unwrap()),
        memory: 8 << 30,
        disk0_size: Some(500_000_000_000),
        ..Facts::default()
    };
    let names = |rehearsed: &Rehearsed| rehearsed.acts.iter().map(|act| act.name.clone()).collect::<Vec<_>>();
    let rehearsed = |file: &str, model: &str, mishaps: Mishaps| {
        let sequence = example(file);
        let program = Program::of(&sequence, &Default::default()).unwrap();
        let scope = BTreeMap::new();
        let wanted = images_wanted(&program, &facts(model), &scope, &scope).unwrap();
        let images = wanted.into_iter().map(|image| PinnedImage {
            manifest: Digest::of(image.name.as_bytes()),
            name: image.name,
            asked: image.pick.version(),
            ring: image.pick.ring(),
            version: 1,
        });
        let start = Start {
            sequence,
            facts: facts(model),
            collection: scope.clone(),
            device: scope.clone(),
            images: images.collect(),
            others: Default::default(),
            by: None,
            unattended: false,
        };
        rehearse(start, &Mishaps { answer_anything: true, ..mishaps }, |_, _| {}, |_| 0).unwrap()
    };
    for (file, asks, erases) in [
        ("school-lab.yaml", &["Room", "HookKey"][..], &[0][..]),
        ("two-systems.yaml", &["Owner"], &[0]),
        ("repair-shop.yaml", &["Ticket"], &[1]),
    ] {
        let sequence = example(file);
        assert_eq!(check(&sequence, &Surroundings::default()), [], "{file}");
        let plan = plan(&sequence, &Input { facts: facts("iMac14,2"), ..Input::default() }).unwrap();
        assert_eq!(plan.findings, [], "{file}");
        let asked: Vec<&str> = plan.asks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!((asked.as_slice(), plan.erases.as_slice()), (asks, erases), "{file}");
        let done = rehearsed(file, "iMac14,2", Mishaps::default());
        assert_eq!(done.outcome(), Some(Outcome::Succeeded), "{file}: {:?}", done.run.message());
    }
    let failing = |step: &str| Mishaps { failures: vec![(Which::new(step), Some(1))], ..Mishaps::default() };
    let school = rehearsed("school-lab.yaml", "iMac14,2", failing("Read it back"));
    assert_eq!(school.outcome(), Some(Outcome::Failed));
    assert_eq!(names(&school).last().unwrap(), "Tell the caretaker", "its finally");
    let lessons = rehearsed("school-lab.yaml", "iMac14,2", failing("Lessons"));
    assert_eq!(lessons.outcome(), Some(Outcome::Succeeded));
    assert_eq!(names(&lessons).last().unwrap(), "Name of the Mac", "on macOS");
    let laptop = rehearsed("two-systems.yaml", "MacBookPro11,1", Mishaps::default());
    assert!(
        names(&laptop).contains(&"For laptops".to_owned())
            && !names(&laptop).contains(&"For desktops".to_owned())
    );
    let reboot = Mishaps { reboots: vec![Which::new("For desktops")], ..Mishaps::default() };
    assert_eq!(rehearsed("two-systems.yaml", "iMac14,2", reboot).outcome(), Some(Outcome::Succeeded));
    let repair = rehearsed("repair-shop.yaml", "iMac14,2", failing("Write a clean system"));
    assert_eq!(repair.outcome(), Some(Outcome::Succeeded), "the catch mends it: {:?}", repair.run.message());
    let lost = rehearsed(
        "repair-shop.yaml",
        "iMac14,2",
        Mishaps {
            failures: vec![
                (Which::new("Keep what the customer brought"), None),
                (Which::new("Without the capture nothing goes on"), Some(1)),
            ],
            ..Mishaps::default()
        },
    );
    assert_eq!(lost.outcome(), Some(Outcome::Failed));
    assert_eq!(names(&lost).last().unwrap(), "Tell the desk");
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
