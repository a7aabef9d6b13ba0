//! Plans and rehearsals from outside.

use std::collections::BTreeMap;

use super::*;
use crate::sequence::model::Sequence;
use crate::sequence::run::StepState;
use crate::sequence::run::event::PinnedImage;
use crate::sequence::variable::{Facts, Scope};

const YAML: &str = "
name: Lab
steps:
  - {name: Wipe, format_disk: {partitions: [{name: 'HD %SerialNumber%', format: apfs, size: 100%, variable: HD}]}}
  - {name: Apply, apply_image: {image: lab, destination: {variable: HD}}}
  - name: Laptop
    if: {all: [{variable: Model, like: 'MacBook*'}]}
    group: [{name: Battery, execute_script: {script: '#!/bin/sh'}}]
  - {name: Name, set_variables: [{name: Host, value: 'mac-%Room%'}, {name: Key, value: hunter2, secret: true}]}
  - {name: Restart, restart: }
";

fn input() -> Input {
    let facts = Facts {
        serial: Some("C02".parse().unwrap()),
        model: Some("iMac14,2".parse().unwrap()),
        disk0_size: Some(500_000_000_000),
        ..Facts::default()
    };
    let lab =
        KnownImage { versions: BTreeMap::from([(1, 10), (3, 20_000_000_000)]), ..KnownImage::default() };
    let device = Scope::from([("Room".parse().unwrap(), Value::default())]);
    let library = Some(BTreeMap::from([("lab".to_owned(), lab)]));
    Input { facts, device, library, ..Input::default() }
}

fn planned(yaml: &str, input: &Input) -> Plan {
    plan(&Sequence::from_yaml(yaml).unwrap(), input).unwrap()
}

#[test]
fn part_4_a_plan_says_what_each_step_does_asks_erases_and_moves() {
    let plan = planned(YAML, &input());
    assert_eq!(plan.findings, []);
    let does: Vec<_> = plan.steps.iter().map(|step| (step.name.as_str(), step.does)).collect();
    assert_eq!(
        does,
        [("Wipe", "run"), ("Apply", "run"), ("Battery", "skip"), ("Name", "run"), ("Restart", "run")]
    );
    assert_eq!(plan.steps[2].why, "Model is `iMac14,2`, is not like `MacBook*`");
    assert_eq!(plan.steps[2].groups, ["Laptop"]);
    let text = |step: usize| format!("{:?}", plan.steps[step].properties);
    assert!(text(0).contains("HD C02, apfs, 100%"), "{}", text(0));
    assert!(text(1).contains("lab 3") && text(1).contains("/dev/disk0s2"), "{}", text(1));
    assert!(text(3).contains("mac-%Room%") && !text(3).contains("hunter2"), "{}", text(3));
    assert_eq!((plan.asks, plan.erases), (vec![(1, "Room".to_owned())], vec![0]));
    assert_eq!((plan.bytes, plan.kind), (20_000_000_000, "os-deployment"));
    assert!((250..400).contains(&plan.seconds), "{}", plan.seconds);
}

#[test]
fn part_4_what_the_run_could_not_do_is_a_red_finding() {
    let codes = |yaml: &str, input: &Input| -> Vec<String> {
        let plan = planned(yaml, input);
        assert_eq!(plan.is_red(), !plan.findings.is_empty());
        plan.findings.into_iter().map(|finding| finding.code).collect()
    };
    let empty = Input { library: Some(BTreeMap::new()), ..input() };
    assert_eq!(codes(YAML, &empty), ["unknown-image", "cannot-run"]);
    let live = Input { facts: Facts { boot: BootMethod::Macos, ..input().facts }, ..input() };
    assert_eq!(codes(YAML, &live), ["os-deployment-on-live-macos"; 2]);
    let small = YAML.replace("100%", "600 GB");
    assert_eq!(codes(&small, &input()), ["disk-too-small"]);
    assert_eq!(codes(&format!("disabled: true{YAML}"), &input()), ["disabled"]);
    let nested = "name: x\nsteps: [{run_sequence: {sequence: Gone}}]\n";
    assert_eq!(codes(nested, &input()), ["unknown-sequence"]);
    assert_eq!(codes(YAML, &Input { library: None, ..input() }), [""; 0], "not known here");
}

/// A rule that no plan here breaks fails the test.
#[test]
fn part_4_every_code_of_a_plan_has_a_plan_that_gets_it() {
    let with = |change: fn(&mut Input)| {
        let mut input = input();
        change(&mut input);
        input
    };
    let live: fn(&mut Input) = |input| input.facts.boot = BootMethod::Macos;
    let tie: fn(&mut Input) =
        |input| input.ties.push(("Door".parse().unwrap(), "A".into(), vec!["B".into()]));
    let empty: fn(&mut Input) = |input| input.library = Some(BTreeMap::new());
    let nothing: fn(&mut Input) = |_| {};
    let small = YAML.replace("100%", "600 GB");
    let asks = "name: x\nsteps: [{set_variables: [{name: A, value: '%Room%'}]}]\n";
    let verify = "name: x\nsteps: [{verify_image: {image: '%Model%', volume: {disk: 0, partition: 2}}}]\n";
    // The step can be reached only after another that fails: what the check cannot know.
    let cannot = "name: x\nsteps: [{copy_files: {from: '%Up%', volume: {disk: 0, partition: 2}}}]\n";
    let up: fn(&mut Input) = |input| {
        input.device.insert("Up".parse().unwrap(), Value::plain("../keys"));
    };
    let mut provoked = Vec::new();
    for (yaml, change, code, severity) in [
        (format!("disabled: true{YAML}").as_str(), nothing, PlanCode::Disabled, Severity::Red),
        (YAML, tie, PlanCode::VariableTie, Severity::Yellow),
        (YAML, live, PlanCode::OnLiveMacos, Severity::Red),
        (&small, nothing, PlanCode::DiskTooSmall, Severity::Red),
        (verify, empty, PlanCode::UnknownImage, Severity::Red),
        (asks, live, PlanCode::CannotAsk, Severity::Yellow),
        (cannot, up, PlanCode::CannotRun, Severity::Red),
    ] {
        let plan = planned(yaml, &with(change));
        let found: Vec<_> =
            plan.findings.iter().map(|finding| (finding.code.as_str(), finding.severity)).collect();
        assert!(found.contains(&(code.as_str(), severity)), "{code:?}: {found:?}");
        assert_eq!(plan.is_red(), found.iter().any(|(_, severity)| *severity == Severity::Red));
        provoked.push(code);
    }
    let never: Vec<PlanCode> = PlanCode::ALL.into_iter().filter(|code| !provoked.contains(code)).collect();
    assert_eq!(never, [], "codes without an example here");
}

#[test]
fn part_4_a_script_that_is_told_its_exit_code_fails_by_its_own_success_codes() {
    let yaml = "name: x\nsteps: [{name: Try, execute_script: {success_codes: [0, 3], script: '#!/bin/sh'}}, {name: Set, set_variables: [{name: A, value: x}]}, {name: Wait, wait_for_technician: {message: m}}]\n";
    let failing = |step: &str, code| {
        let mishaps = Mishaps { failures: vec![(Which::new(step), code)], ..Mishaps::default() };
        let done = rehearsed(yaml, &mishaps);
        (done.outcome(), done.run.message().unwrap_or_default().to_owned())
    };
    assert_eq!(failing("Try", Some(3)).0, Some(Outcome::Succeeded));
    let (outcome, message) = failing("Try", Some(4));
    assert_eq!(
        (outcome, message.as_str()),
        (Some(Outcome::Failed), "step 1 of 3 (`Try`): the script ended with exit code 4")
    );
    for step in ["Set", "3"] {
        assert_eq!(
            failing(step, None).0,
            Some(Outcome::Failed),
            "what the appliance does itself, too: {step}"
        );
    }
}

fn start(yaml: &str) -> Start {
    let input = Input { library: None, ..input() };
    let pinned = crate::sequence::run::event::PinnedImage {
        name: "lab".into(),
        asked: None,
        ring: None,
        version: 3,
        manifest: crate::value::Digest::of(b"lab"),
    };
    Start {
        sequence: Sequence::from_yaml(yaml).unwrap(),
        facts: input.facts,
        collection: Scope::new(),
        device: input.device,
        images: vec![pinned],
        others: Default::default(),
        by: None,
        unattended: false,
    }
}

fn rehearsed(yaml: &str, mishaps: &Mishaps) -> Rehearsed {
    rehearse(start(yaml), mishaps, |_, _| {}, |_| 0).unwrap()
}

#[test]
fn part_4_a_rehearsal_fails_reboots_and_answers_as_it_is_told() {
    let answers = vec![("room".parse().unwrap(), "12".to_owned())];
    let well = Mishaps { answers: answers.clone(), ..Mishaps::default() };
    let done = rehearsed(YAML, &well);
    assert_eq!(done.outcome(), Some(Outcome::Succeeded));
    let lines: Vec<String> =
        done.lines().into_iter().map(|(_, _, kind, line)| format!("{kind}: {line}")).collect();
    assert!(lines.contains(&"answered: a technician answered Room=12".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("Key=••••••••")), "{lines:?}");

    let reboot = Mishaps {
        reboots: vec![Which::new("2")],
        server_restarts: vec![Which::new("apply")],
        ..well.clone()
    };
    let again = rehearsed(YAML, &reboot);
    assert_eq!((again.outcome(), again.server_restarts), (Some(Outcome::Succeeded), 1));
    assert!(again.record.iter().any(|one| one.event.kind() == "reconnected"));

    let failing = Mishaps { failures: vec![(Which::new("Apply"), Some(3))], ..well };
    let failed = rehearsed(YAML, &failing);
    assert_eq!(failed.run.message(), Some("step 2 of 5 (`Apply`): `Apply` ended with exit code 3"));
    let unanswered = rehearsed(YAML, &Mishaps::default());
    assert!(unanswered.waits_for.is_some() && unanswered.outcome().is_none());
    let nowhere = Mishaps { reboots: vec![Which::new("Nowhere")], ..Mishaps::default() };
    let error = rehearse(start(YAML), &nowhere, |_, _| {}, |_| 0).unwrap_err();
    assert_eq!(error, CannotRehearse::NoSuchStep("Nowhere".into()));
}

/// Wherever the appliance or the Mac is started anew in a sequence of thirty steps, the end is the same.
#[test]
fn section_8_restarts_at_every_step_change_nothing() {
    let mut steps = String::new();
    for index in 1..30 {
        steps += &match index % 4 {
            0 => format!(
                "  - {{name: s{index}, retry: {{count: 1}}, execute_script: {{script: '#!/bin/sh'}}}}\n"
            ),
            1 => "  - restart:\n".to_owned(),
            2 => format!(
                "  - {{name: G, group: [{{name: s{index}, retry: {{count: 1}}, execute_script: {{script: '#!/bin/sh'}}}}], finally: []}}\n"
            ),
            _ => format!("  - set_variables: [{{name: V{index}, value: '%HD%'}}]\n"),
        };
    }
    let format = "  - format_disk: {partitions: [{name: HD, format: apfs, size: 100%, variable: HD}]}\n";
    let yaml = format!("name: x\nsteps:\n{format}{steps}");
    let states =
        |done: &Rehearsed| -> Vec<StepState> { done.run.steps().map(|(_, record)| record.state).collect() };
    let plain = rehearsed(&yaml, &Mishaps::default());
    assert_eq!(states(&plain), vec![StepState::Succeeded; 30]);
    for step in 1..=30 {
        let which = Which::new(&step.to_string());
        let mishaps =
            Mishaps { reboots: vec![which.clone()], server_restarts: vec![which], ..Mishaps::default() };
        let done = rehearsed(&yaml, &mishaps);
        assert_eq!((states(&done), done.outcome()), (states(&plain), plain.outcome()), "at step {step}");
    }
}

#[test]
fn section_2_a_plan_says_where_a_capture_goes_and_never_with_which_password() {
    let yaml = r"
name: Capture
steps:
  - capture_image: {image: lab}
  - set_variables: [{name: Key, value: hunter2, secret: true}]
  - name: Share
    capture_image:
      image: 'lab-%SerialNumber%'
      source: {disk: 0}
      destination: {share: '\\files\images', folder: '%Model%', account: 'DOM\ana', password: '%Key%'}
";
    let plan = planned(yaml, &input());
    assert_eq!(plan.findings, []);
    let text = |step: usize| format!("{:?}", plan.steps[step].properties);
    assert!(text(0).contains("the library of this appliance"), "{}", text(0));
    for part in [r"files\\images\\iMac14,2\\lab-C02.dmg", r"DOM\\ana", "disk 0", "twice what is in use"] {
        assert!(text(2).contains(part), "{part}: {}", text(2));
    }
    assert!(!format!("{plan:?}").contains("hunter2"));
}

#[test]
fn section_2_a_plan_says_that_a_destination_is_asked_for_and_a_simulation_takes_one() {
    let yaml = "name: x\nsteps:\n  - {name: Apply, apply_image: {image: lab}}\n";
    let plan = planned(yaml, &input());
    assert_eq!(plan.findings, []);
    assert_eq!((plan.asks_destination.as_slice(), plan.erases.as_slice()), (&[1][..], &[][..]));
    let text = format!("{:?}", plan.steps[0].properties);
    assert!(text.contains("the partition that the technician selects"), "{text}");
    let sequence = Sequence::from_yaml(yaml).unwrap();
    let image = PinnedImage {
        name: "lab".into(),
        asked: None,
        ring: None,
        version: 1,
        manifest: crate::value::Digest::of(b"lab"),
    };
    let (facts, collection, device, others) = Default::default();
    let start = Start {
        sequence,
        facts,
        collection,
        device,
        images: vec![image],
        others,
        by: None,
        unattended: false,
    };
    let waits = rehearse(start.clone(), &Mishaps::default(), |_, _| {}, |_| 0).unwrap();
    assert!(matches!(waits.waits_for, Some(Question::Destination { step: 1, .. })));
    let mishaps = Mishaps { destinations: vec![(1, 3)], ..Mishaps::default() };
    let done = rehearse(start, &mishaps, |_, _| {}, |_| 0).unwrap();
    assert_eq!(done.outcome(), Some(Outcome::Succeeded));
    assert!(done.lines().iter().any(|(_, _, kind, line)| *kind == "destination-chosen" && line.contains("partition 3 of disk 1")));
}
