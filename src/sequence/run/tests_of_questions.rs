//! What a person is asked because a condition compares it, and what happens where nobody can be asked (task-sequences
//! sections 3 and 4).

use super::event::ActionResult;
use super::tests_of_groups::{begin_with, names, script, work};
use super::*;
use crate::sequence::model::Sequence;
use crate::sequence::variable::{BootMethod, Facts, Scope, Value};

fn asked(run: &Run) -> Vec<String> {
    match run.question(0) {
        Some(Question::Values(names)) => names.into_iter().map(|(name, _)| name.into()).collect(),
        _ => Vec::new(),
    }
}

fn answer(run: Run, values: &[(&str, &str)]) -> Run {
    let value = |(name, text): &(&str, &str)| (name.parse().unwrap(), Value::plain(*text));
    run.apply(&Event::Answered { by: "t".into(), values: values.iter().map(value).collect() }, 0).unwrap()
}

#[test]
fn section_3_what_a_condition_compares_is_used_and_asked_for_before_it_is_decided() {
    let yaml = format!(
        "name: x\nprompts: [{{variable: Lab, type: yes-no}}]\nsteps: [{}, {{name: G, if: {{all: [{{variable: Lab, equals: 'yes'}}]}}, group: [{}]}}, {}]\n",
        script("a"),
        script("b"),
        script("c")
    );
    let (run, acted) = work(begin_with(&yaml, &[], &[]));
    assert_eq!((names(&acted).as_str(), asked(&run), run.step_number()), ("a", vec!["Lab".to_owned()], 2));
    let late = Event::Answered { by: "t".into(), values: vec![("Room".parse().unwrap(), Value::plain("x"))] };
    assert!(matches!(run.clone().apply(&late, 0), Err(OutOfOrder::NotAsked(_))));
    for (text, does) in [("yes", "b c"), ("no", "c")] {
        let (run, acted) = work(answer(run.clone(), &[("lab", text)]));
        assert_eq!((names(&acted).as_str(), run.outcome()), (does, Some(Outcome::Succeeded)), "{text}");
    }
    let step = "name: x\nsteps: [{name: s, if: {any: [{variable: Model, like: 'Mac*'}, {variable: Model, equals: '%Which%'}]}, execute_script: {script: '#!/bin/sh'}}]\n";
    assert_eq!(
        asked(&work(begin_with(step, &[("Which", "")], &[])).0),
        ["Which"],
        "also what is compared with"
    );
}

#[test]
fn section_3_before_something_is_destroyed_conditions_ask_with_everything_else() {
    let yaml = "
name: x
prompts: [{variable: Lab, type: yes-no}]
steps:
  - {name: G, if: {all: [{variable: Lab, equals: 'yes'}]}, group: [{set_variables: [{name: A, value: '%Desk%'}]}]}
  - {name: H, if: {none: [{variable: Model, like: 'iMac*'}]}, group: [{if: {all: [{variable: Never, equals: x}]}, restart: }]}
  - format_disk: {partitions: [{name: HD, format: apfs, size: 100%}]}
  - {if: {all: [{variable: Late, equals: x}]}, set_variables: [{name: B, value: '%Room%'}]}
  - {if: {all: [{variable: Late, not_equals: x}]}, set_variables: [{name: B, value: '%Floor%'}]}
";
    let device = ["Desk", "Never", "Late", "Room", "Floor"].map(|name| (name, ""));
    let run = begin_with(yaml, &device, &[]);
    // Never stands behind a condition that does not hold; Desk and Room behind ones that do not as things are.
    assert_eq!(asked(&run), ["Lab", "Floor", "Late"]);
    let run = answer(run, &[("Lab", "yes"), ("Late", "x"), ("Floor", "")]);
    let (run, acted) = work(run);
    assert_eq!(
        (acted.len(), asked(&run)),
        (0, vec!["Desk".to_owned()]),
        "what an answer makes needed is asked, too"
    );
    let (run, acted) = work(answer(run, &[("Desk", "7")]));
    assert_eq!((acted.len(), asked(&run)), (0, vec!["Room".to_owned()]));
    let Decision::Record(event) = answer(run, &[("Room", "1")]).next(0) else { panic!() };
    assert_eq!(event.kind(), "assigned");
}

#[test]
fn section_3_a_condition_that_says_what_is_when_its_variable_is_empty_asks_nobody() {
    for condition in [
        "{all: [{variable: Room, exists: true}]}",
        "{any: [{variable: Room, equals: ''}, {variable: Room, equals: lab}]}",
        "{none: [{variable: Room, exists: false}, {variable: Room, equals: lab}]}",
    ] {
        let yaml = format!(
            "name: x\nsteps: [{{name: s, if: {condition}, execute_script: {{script: '#!/bin/sh'}}}}]\n"
        );
        let (run, acted) = work(begin_with(&yaml, &[("Room", "")], &[]));
        assert_eq!((names(&acted).as_str(), run.outcome()), ("s", Some(Outcome::Succeeded)), "{condition}");
    }
}

/// A run that a Required deployment starts by itself on a live macOS.
fn unattended(steps: &str, device: &[(&str, &str)]) -> Run {
    let value = |(name, text): &(&str, &str)| (name.parse().unwrap(), Value::plain(*text));
    let start = Start {
        sequence: Sequence::from_yaml(&format!("name: x\nsteps: [{steps}]\n")).unwrap(),
        facts: Facts { boot: BootMethod::Macos, ..Facts::default() },
        collection: Scope::new(),
        device: device.iter().map(value).collect(),
        images: Vec::new(),
        others: Default::default(),
        by: None,
        unattended: true,
    };
    let start: Start = serde_json::from_str(&serde_json::to_string(&start).unwrap()).unwrap();
    Run::start(start, 0).unwrap().0
}

#[test]
fn section_3_a_required_run_on_a_live_macos_fails_before_its_first_step_and_says_which_variable() {
    let steps = format!(
        "{}, {{name: G, continue_on_error: true, group: [{{set_variables: [{{name: A, value: '%Room% %Desk%'}}]}}]}}, {}",
        script("a"),
        script("'!b'")
    );
    let run = unattended(&steps, &[("Room", ""), ("Desk", ""), ("Unused", "")]);
    let Decision::Record(event) = run.next(0) else { panic!("{:?}", run.next(0)) };
    assert_eq!((event.kind(), event.line().as_str()), ("cannot-ask", "nobody can be asked for Desk, Room"));
    let failed = run.apply(&event, 1).unwrap();
    assert_eq!(failed.outcome(), Some(Outcome::Failed));
    assert!(failed.message().unwrap().starts_with("%Desk%, %Room% has no value"), "{:?}", failed.message());
    assert!(failed.steps().all(|(_, record)| record.started_ms.is_none()), "nothing was begun");
    let resumed = failed.apply(&Event::Resumed { by: "ana".into() }, 2).unwrap();
    let (resumed, acted) = work(resumed);
    assert_eq!((names(&acted).as_str(), asked(&resumed).len()), ("a", 2), "who resumes it can be asked");

    let (run, acted) =
        work(unattended(&steps.replace('!', ""), &[("Room", "1"), ("Desk", "2"), ("Unused", "")]));
    assert_eq!((names(&acted).as_str(), run.outcome()), ("a b", Some(Outcome::Succeeded)));
    let empty_later = format!(
        "{}, {{set_variables: [{{name: Later, value: ''}}]}}, {{if: {{all: [{{variable: Later, equals: x}}]}}, restart: }}",
        script("a")
    );
    let (run, acted) = work(unattended(&empty_later, &[]));
    assert_eq!((names(&acted).as_str(), run.outcome()), ("a", Some(Outcome::Failed)));
    assert!(run.message().unwrap().contains("%Later%"), "{:?}", run.message());
    let attended = begin_with(&format!("name: x\nsteps: [{steps}]\n"), &[("Room", "")], &[]);
    let event = Event::CannotAsk { variables: vec!["Room".parse().unwrap()] };
    assert!(attended.apply(&event, 0).is_err(), "somebody can be asked");
}

#[test]
fn section_3_an_image_that_an_answer_decides_on_is_there_before_anything_is_erased() {
    let yaml = "
name: x
prompts: [{variable: Role, type: choice, choices: [pupil, teacher]}]
steps:
  - {if: {all: [{variable: Role, equals: teacher}]}, apply_image: {image: teachers}}
  - {if: {all: [{variable: Role, equals: pupil}]}, run_sequence: {sequence: Inner}}
";
    let inner = "name: Inner\nprompts: [{variable: Room}]\nsteps: [{if: {all: [{variable: Room, equals: lab}]}, apply_image: {image: lab}}]\n";
    let inner = Sequence::from_yaml(inner).unwrap();
    let others = std::collections::BTreeMap::from([("Inner".to_owned(), inner)]);
    let program = Program::of(&Sequence::from_yaml(yaml).unwrap(), &others).unwrap();
    let wanted = |device: &[(&str, &str)]| {
        let device = device.iter().map(|(name, text)| (name.parse().unwrap(), Value::plain(*text))).collect();
        let wanted = images_wanted(&program, &Facts::default(), &Scope::new(), &device).unwrap();
        wanted.into_iter().map(|image| (image.name, image.certain)).collect::<Vec<_>>()
    };
    assert_eq!(wanted(&[]), [("teachers".to_owned(), false), ("lab".to_owned(), false)]);
    assert_eq!(wanted(&[("Role", "pupil"), ("Room", "lab")]), [("lab".to_owned(), true)]);
}

#[test]
fn section_2_an_exit_code_of_the_list_is_success_and_every_other_is_a_failure() {
    for (codes, code, succeeds) in [
        ("", 0, true),
        ("", 1, false),
        ("success_codes: [3, 10], ", 3, true),
        ("success_codes: [3, 10], ", 0, false),
    ] {
        let yaml = format!("name: x\nsteps: [{{name: s, execute_script: {{{codes}script: '#!/bin/sh'}}}}]\n");
        let run = begin_with(&yaml, &[], &[]);
        let Decision::Record(event) = run.next(0) else { panic!() };
        let run = run.apply(&event, 0).unwrap();
        let result = ActionResult { exit_code: Some(code), ..ActionResult::default() };
        let run = run.apply(&Event::Done { number: 1, result }, 0).unwrap();
        let want = if succeeds { Outcome::Succeeded } else { Outcome::Failed };
        assert_eq!(run.outcome(), Some(want), "{codes}{code}");
        let last = |name: &str| run.variables().get(&name.parse().unwrap()).unwrap().into_owned().text;
        assert_eq!(last("LastActionExitCode"), code.to_string());
        assert_eq!(
            (last("LastActionSucceeded"), last("LastActionName")),
            (succeeds.to_string(), "s".to_owned())
        );
    }
}

#[test]
fn section_3_steps_that_are_left_out_change_none_of_the_last_variables_however_they_are_left_out() {
    let never = "if: {any: [{variable: Model, like: 'Mac*'}]}";
    let yaml = format!(
        "name: x\nsteps: [{}, {{name: off, disabled: true, restart: }}, {{name: no, {never}, set_variables: [{{name: A, value: x}}]}}, \
         {{name: G, {never}, group: [{}]}}, {{name: H, group: [{}], catch: [{}]}}]\n",
        script("a"),
        script("b"),
        "{name: off, disabled: true, restart: }",
        script("c")
    );
    let (run, acted) = work(begin_with(&yaml, &[], &[]));
    assert_eq!((names(&acted).as_str(), run.outcome()), ("a", Some(Outcome::Succeeded)));
    let last = |name: &str| run.variables().get(&name.parse().unwrap()).unwrap().into_owned().text;
    assert_eq!(
        [last("LastActionName"), last("LastActionSucceeded"), last("LastActionExitCode")],
        ["a", "true", "0"]
    );
}

#[test]
fn section_1_a_step_that_is_tried_again_waits_its_delay_and_no_longer_than_its_count() {
    let yaml = "name: x\nsteps: [{name: '!s', timeout: 5 min, retry: {count: 2, delay: 30 s}, execute_script: {script: '#!/bin/sh'}}]\n";
    let mut run = begin_with(yaml, &[], &[]);
    let (mut now, mut began) = (0, Vec::new());
    while run.outcome().is_none() {
        let event = match run.next(now) {
            Decision::Record(event) => event,
            Decision::Act(assignment) => {
                assert_eq!(assignment.timeout, Some(300));
                began.push(now);
                super::tests_of_groups::ended(&assignment)
            }
            Decision::Wait { seconds, .. } => {
                now += i64::from(seconds) * 1000;
                continue;
            }
            other => panic!("{other:?}"),
        };
        run = run.apply(&event, now).unwrap();
    }
    assert_eq!((began, run.outcome()), (vec![0, 30_000, 60_000], Some(Outcome::Failed)));
}
