//! The run machine from outside: events in, decisions out.

use proptest::prelude::*;

use super::act::{Act, Target};
use super::event::{ActionResult, PinnedImage};
use super::*;
use crate::sequence::model::Sequence;
use crate::sequence::name::VariableName;
use crate::sequence::quantity::PartitionSize;
use crate::sequence::variable::{BootMethod, Facts};
use crate::value::{Digest, FreeSpace};

const SPINE: &str = "
name: Spine
steps:
  - format_disk: {partitions: [{name: 'HD %SerialNumber%', format: apfs, size: 100%, variable: HD}]}
  - {name: Apply, apply_image: {image: lab}}
  - restart:
";

fn manifest() -> Digest {
    Digest::of(b"lab 3")
}

/// The run as it begins, and its first event.
fn started(yaml: &str) -> (Run, Recorded) {
    let facts = Facts { serial: Some("C02".parse().unwrap()), ..Facts::default() };
    let pinned =
        PinnedImage { name: "lab".into(), asked: None, ring: None, version: 3, manifest: manifest() };
    let sequence = Sequence::from_yaml(yaml).unwrap();
    let (collection, device, others) = Default::default();
    let images = vec![pinned];
    let start = Start { sequence, facts, collection, device, images, others, by: None, unattended: false };
    Run::start(start, 0).unwrap()
}

fn start(yaml: &str) -> Run {
    started(yaml).0
}

fn one(step: &str) -> Run {
    start(&format!(
        "name: x\nsteps:\n  - {step}\n  - {{name: after, execute_script: {{script: '#!/bin/sh'}}}}\n"
    ))
}

/// Records what the engine wants recorded until it wants something else.
fn settle(mut run: Run, now: i64) -> (Run, Decision) {
    loop {
        match run.next(now) {
            Decision::Record(event) => run = run.apply(&event, now).unwrap(),
            decision => return (run, decision),
        }
    }
}

fn acts(run: Run) -> (Run, Assignment) {
    match settle(run, 0) {
        (run, Decision::Act(assignment)) => (run, *assignment),
        (_, other) => panic!("not an action: {other:?}"),
    }
}

fn finishes(run: Run) -> (Outcome, String) {
    match settle(run, 0).1 {
        Decision::Finished { outcome, message } => (outcome, message),
        other => panic!("not finished: {other:?}"),
    }
}

fn done(number: u32, nodes: &[&str], exit_code: Option<i32>, receipt: Option<Digest>) -> Event {
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    Event::Done { number, result: ActionResult { exit_code, nodes, receipt, ..ActionResult::default() } }
}

fn failed(number: u32, exit_code: Option<i32>) -> Event {
    let failure = Failure {
        cause: "it broke".into(),
        evidence: "smoke".into(),
        next_step: "mend it".into(),
        exit_code,
    };
    Event::Failed { number, failure }
}

fn text(run: &Run, name: &str) -> String {
    run.variables.get(&name.parse::<VariableName>().unwrap()).unwrap().text.clone()
}

#[test]
fn a_mac_is_formatted_imaged_and_restarted_and_the_run_has_succeeded() {
    let (run, format) = acts(start(SPINE));
    let Act::FormatDisk { disk: 0, partitions } = &format.act else { panic!("{format:?}") };
    assert_eq!((partitions[0].name.as_str(), partitions[0].size), ("HD C02", PartitionSize::Percent(100)));
    assert_eq!((format.number, format.step, format.steps), (1, 1, 3));

    let (run, apply) = acts(run.apply(&done(1, &["/dev/sda2"], None, None), 5).unwrap());
    let target = Target::Node("/dev/sda2".into());
    let want = Act::ApplyImage {
        manifest: manifest(),
        image: "lab 3".into(),
        source_partition: None,
        target,
        free: FreeSpace::Discard,
    };
    assert_eq!((apply.number, apply.act), (2, want));

    let (run, restart) = acts(run.apply(&done(2, &[], None, Some(manifest())), 9).unwrap());
    assert_eq!(restart.act, Act::Restart);
    let run = run.apply(&done(3, &[], None, None), 10).unwrap();
    assert_eq!(run.ended_ms(), Some(10));
    assert_eq!(finishes(run), (Outcome::Succeeded, "3 of 3 steps done".into()));
}

#[test]
fn section_8_the_same_question_has_the_same_answer_until_it_is_reported_on() {
    let (run, first) = acts(start(SPINE));
    assert_eq!(run.next(1), Decision::Act(Box::new(first)));
}

#[test]
fn section_8_a_report_that_comes_twice_changes_nothing() {
    let (run, _) = acts(start(SPINE));
    let event = done(1, &["/dev/sda2"], None, None);
    let run = run.apply(&event, 1).unwrap();
    for again in [&event, &failed(1, None)] {
        assert!(run.is_repeated(again));
        assert_eq!(run.clone().apply(again, 2).unwrap(), run);
    }
}

#[test]
fn section_8_a_report_on_an_action_that_was_never_handed_out_is_refused() {
    let run = start(SPINE);
    for number in [0, 1] {
        let error = run.clone().apply(&done(number, &[], None, None), 1).unwrap_err();
        assert_eq!(error, OutOfOrder::NotAssigned { number, last: 0 });
    }
    let (run, _) = acts(run);
    for number in [0, 2, u32::MAX] {
        let error = run.clone().apply(&failed(number, None), 1).unwrap_err();
        assert_eq!(error, OutOfOrder::NotAssigned { number, last: 1 });
    }
}

#[test]
fn an_applied_image_without_the_receipt_of_its_manifest_has_failed() {
    for receipt in [None, Some(Digest::of(b"another"))] {
        let (run, _) = acts(start(SPINE));
        let (run, _) = acts(run.apply(&done(1, &["/dev/sda2"], None, None), 1).unwrap());
        let run = run.apply(&done(2, &[], None, receipt), 2).unwrap();
        assert_eq!(run.outcome(), Some(Outcome::Failed));
        assert!(run.failure().unwrap().cause.contains("receipt"), "{:?}", run.failure());
    }
}

#[test]
fn a_format_that_does_not_name_its_partitions_has_failed() {
    let (run, _) = acts(start(SPINE));
    let run = run.apply(&done(1, &[], None, None), 1).unwrap();
    assert_eq!(run.outcome(), Some(Outcome::Failed));
    assert_eq!(run.failure().unwrap().evidence, "1 partitions asked for, 0 named");
}

#[test]
fn section_2_images_go_to_the_formatted_partitions_in_order_unless_a_variable_or_number_says_where() {
    let yaml = "
name: x
steps:
  - format_disk:
      partitions:
        - {name: a, format: apfs, size: 20 GB}
        - {name: b, format: apfs, size: 20 GB, variable: B}
        - {name: c, format: apfs, size: 20 GB}
        - {name: d, format: apfs, size: 20 GB}
  - apply_image: {image: lab, destination: {variable: b}}
  - apply_image: {image: lab, destination: {disk: 0, partition: 4}}
  - apply_image: {image: lab}
  - apply_image: {image: lab}
";
    let (mut run, _) = acts(start(yaml));
    run = run.apply(&done(1, &["/dev/a", "/dev/b", "/dev/c", "/dev/d"], None, None), 1).unwrap();
    assert_eq!(text(&run, "B"), "/dev/b");
    let mut targets = Vec::new();
    for number in 2..6 {
        let (at, assignment) = acts(run);
        let Act::ApplyImage { target, .. } = assignment.act else { panic!("{assignment:?}") };
        targets.push(target);
        run = at.apply(&done(number, &[], None, Some(manifest())), 2).unwrap();
    }
    let node = |name: &str| Target::Node(name.to_owned());
    assert_eq!(
        targets,
        [node("/dev/b"), Target::Partition { disk: 0, partition: 4 }, node("/dev/a"), node("/dev/d")]
    );
    assert_eq!(finishes(run).0, Outcome::Succeeded);
}

#[test]
fn section_3_set_variables_takes_effect_without_an_action_and_scripts_see_it() {
    let yaml = "
name: x
steps:
  - set_variables: [{name: Room, value: '12'}, {name: Host, value: 'mac-%room%'}, {name: Key, value: k, secret: true}, {name: Url, value: 'h/%Key%'}]
  - execute_script: {script: '#!/bin/sh', success_codes: [0, 3]}
";
    let (run, assignment) = acts(start(yaml));
    let Act::ExecuteScript { environment, secrets, .. } = assignment.act else { panic!() };
    for (name, value) in [("Host", "mac-12"), ("SerialNumber", "C02"), ("LastActionName", "Set Variables")] {
        assert!(environment.contains(&(name.into(), value.into())), "{environment:?}");
    }
    let exposed: Vec<_> = secrets.iter().map(|secret| secret.expose()).collect();
    assert_eq!(exposed, ["k", "h/k"], "a value made of a secret is one");
    let run = run.apply(&done(1, &[], Some(3), None), 1).unwrap();
    assert_eq!(text(&run, "LastActionExitCode"), "3");
    assert_eq!(finishes(run).0, Outcome::Succeeded);
}

#[test]
fn a_failed_step_ends_the_run_and_says_which_and_why() {
    let (run, _) = acts(one("{name: Wipe, format_disk: {partitions: [{name: a, format: apfs, size: 1%}]}}"));
    let run = run.apply(&failed(1, None), 7).unwrap();
    assert_eq!(run.failure().unwrap().next_step, "mend it");
    assert_eq!(finishes(run), (Outcome::Failed, "step 1 of 2 (`Wipe`): it broke".into()));
}

#[test]
fn section_4_a_failed_step_with_continue_on_error_is_passed_over_and_remembered() {
    let (run, _) = acts(one("{name: Try, continue_on_error: true, execute_script: {script: '#!/bin/sh'}}"));
    let (run, after) = acts(run.apply(&failed(1, Some(4)), 1).unwrap());
    assert_eq!((after.step, after.number), (2, 2));
    let last = ["LastActionSucceeded", "LastActionName", "LastActionExitCode"].map(|name| text(&run, name));
    assert_eq!(last, ["false", "Try", "4"]);
    let run = run.apply(&done(2, &[], Some(0), None), 2).unwrap();
    assert_eq!(
        finishes(run),
        (Outcome::Succeeded, "1 of 2 steps done; failed and passed over: `Try`".into())
    );
}

#[test]
fn section_1_a_step_with_retry_is_tried_again_after_its_delay_as_a_new_action() {
    let (run, _) = acts(one("{retry: {count: 1, delay: 30 s}, execute_script: {script: '#!/bin/sh'}}"));
    let run = run.apply(&failed(1, None), 1_000).unwrap();
    for (now, left) in [(1_000, 30), (30_999, 1)] {
        let Decision::Wait { seconds, .. } = run.next(now) else { panic!("{:?}", run.next(now)) };
        assert_eq!(seconds, left);
    }
    let (run, again) = settle(run, 31_000);
    let Decision::Act(again) = again else { panic!("{again:?}") };
    assert_eq!((again.number, again.step), (2, 1));
    assert_eq!(
        run.apply(&failed(2, None), 40_000).unwrap().outcome(),
        Some(Outcome::Failed),
        "tried often enough"
    );
}

#[test]
fn section_2_an_exit_code_that_is_no_success_fails_the_step() {
    let (run, _) = acts(one("execute_script: {script: '#!/bin/sh'}"));
    for (code, outcome) in [(Some(1), Some(Outcome::Failed)), (None, Some(Outcome::Failed)), (Some(0), None)]
    {
        assert_eq!(run.clone().apply(&done(1, &[], code, None), 1).unwrap().outcome(), outcome, "{code:?}");
    }
}

#[test]
fn section_8_after_a_power_cut_what_can_be_repeated_is_handed_out_again() {
    let (run, format) = acts(start(SPINE));
    let (run, again) =
        acts(run.apply(&Event::Reconnected { boot: BootMethod::Usb, same_start: false }, 1).unwrap());
    assert_eq!(again, format);
    assert_eq!(text(&run, "BootMethod"), "usb");
    assert!(run.apply(&done(1, &["/dev/sda2"], None, None), 2).is_ok());
}

#[test]
fn section_8_a_script_that_was_running_when_the_mac_was_started_anew_has_failed_with_that_reason() {
    let (run, _) = acts(one("{name: Wash, execute_script: {script: '#!/bin/sh'}}"));
    let run = run.apply(&Event::Reconnected { boot: BootMethod::Netboot, same_start: false }, 1).unwrap();
    assert!(run.failure().unwrap().cause.contains("started anew while the script of `Wash` ran"));
    assert_eq!(run.outcome(), Some(Outcome::Failed));
}

#[test]
fn section_8_a_restart_is_done_when_the_mac_is_back_and_not_asked_for_twice() {
    let hello = Event::Reconnected { boot: BootMethod::Netboot, same_start: false };
    let (run, restart) = acts(one("restart:"));
    assert_eq!(restart.act, Act::Restart);
    let (run, after) = acts(run.apply(&hello, 1).unwrap());
    assert_eq!(after.step, 2);
    assert!(run.is_repeated(&done(1, &[], None, None)), "the report that came late");

    let (run, _) = acts(one("restart:"));
    let reported = run.apply(&done(1, &[], None, None), 1).unwrap();
    assert_eq!(acts(reported.apply(&hello, 2).unwrap()).1.step, 2, "reported before it went down");
}

#[test]
fn section_8_a_restart_is_asked_for_again_when_only_the_runner_was_started_anew() {
    let hello = Event::Reconnected { boot: BootMethod::Netboot, same_start: true };
    let (run, restart) = acts(one("restart:"));
    let (run, again) = acts(run.apply(&hello, 1).unwrap());
    assert_eq!(again, restart, "the Mac is up since before the step");
    assert_eq!(acts(run.apply(&done(1, &[], None, None), 2).unwrap()).1.step, 2);
    // What an older version recorded is read as what it meant then.
    let old: Event = serde_json::from_str(r#"{"event": "reconnected", "boot": "netboot"}"#).unwrap();
    assert_eq!(old, Event::Reconnected { boot: BootMethod::Netboot, same_start: false });
}

#[test]
fn section_1_disabled_steps_are_left_out_and_an_empty_rest_is_success() {
    let run = start(
        "name: x\nsteps:\n  - {disabled: true, restart: }\n  - set_variables: [{name: A, value: b}]\n  - {disabled: true, restart: }\n",
    );
    let (run, _) = settle(run, 0);
    let states: Vec<_> = run.steps().map(|(_, record)| record.state).collect();
    assert_eq!(states, [StepState::Skipped, StepState::Succeeded, StepState::Skipped]);
    assert_eq!(run.outcome(), Some(Outcome::Succeeded));
    assert_eq!(start("name: x\nsteps: []").outcome(), Some(Outcome::Succeeded));
}

#[test]
fn a_cancelled_run_takes_late_reports_and_nothing_else() {
    let (run, _) = acts(start(SPINE));
    let run = run.apply(&Event::Cancelled { by: "admin".into() }, 3).unwrap();
    assert_eq!(
        run.apply(&done(1, &["/dev/sda2"], None, None), 4).as_ref().map(Run::outcome),
        Ok(Some(Outcome::Cancelled))
    );
    let (run, _) = acts(start(SPINE));
    let run = run.apply(&Event::Cancelled { by: "admin".into() }, 3).unwrap();
    let again = run.clone().apply(&Event::Cancelled { by: "admin".into() }, 4);
    assert!(matches!(again, Err(OutOfOrder::Ended { .. })), "{again:?}");
    assert_eq!(
        finishes(run),
        (Outcome::Cancelled, "cancelled by admin at step 1 of 3 (`Format and Partition Disk`)".into())
    );
}

#[test]
fn a_step_that_cannot_begin_fails_before_it_changes_anything() {
    for (step, cause) in [
        ("apply_image: {image: gone, destination: {disk: 0, partition: 2}}", "`gone` was not in the library"),
        ("apply_image: {image: lab, version: 9, destination: {disk: 0, partition: 2}}", "`lab 9`"),
        ("apply_image: {image: lab, destination: {variable: Nobody}}", "Nobody, which is empty"),
        (
            "set_variables: [{name: A, value: '%Nobody%'}]",
            "the value of A: nothing defines the variable %Nobody%",
        ),
        ("format_disk: {partitions: [{name: a, format: raw, size: 0%}]}", "0%"),
    ] {
        let (outcome, message) = finishes(one(step));
        assert!(outcome == Outcome::Failed && message.contains(cause), "{step}: {message}");
    }
}

#[test]
fn section_8_a_run_is_what_its_record_says_after_every_event() {
    let yaml = SPINE.replace("  - restart:", "  - set_variables: [{name: A, value: '%HD%'}]\n  - {retry: {count: 1}, continue_on_error: true, execute_script: {script: '#!/bin/sh'}}\n  - restart:");
    let (mut run, first) = started(&yaml);
    let mut record = vec![first];
    let mut outside = vec![
        done(5, &[], None, None),
        failed(4, Some(1)),
        failed(3, Some(1)),
        done(2, &[], None, Some(manifest())),
        done(1, &["/dev/sda2"], None, None),
    ];
    for at_ms in 1.. {
        let event = match run.next(at_ms) {
            Decision::Record(event) => event,
            Decision::Act(_) => outside.pop().unwrap(),
            Decision::Finished { outcome, .. } => {
                assert_eq!(outcome, Outcome::Succeeded);
                break;
            }
            Decision::Wait { .. } => continue,
            Decision::Ask(question) => panic!("{question:?}"),
        };
        run = run.apply(&event, at_ms).unwrap();
        let row = serde_json::to_string(&Recorded { at_ms, event }).unwrap();
        record.push(serde_json::from_str(&row).unwrap());
        assert_eq!(Run::replay(record.clone()).as_ref(), Ok(&run), "{row}");
    }
    assert_eq!(text(&run, "A"), "/dev/sda2");
}

#[test]
fn a_record_that_makes_no_run_is_refused_with_the_event() {
    assert_eq!(Run::replay([]).unwrap_err(), BadRecord::NotStarted("nothing"));
    let (_, first) = Run::start(start(SPINE).start.as_ref().clone(), 0).unwrap();
    let newer: Recorded = serde_json::from_str(r#"{"at_ms":1,"event":"dreamed","of":"sheep"}"#).unwrap();
    let error = Run::replay([first.clone(), newer]).unwrap_err();
    assert_eq!(error, BadRecord::OutOfOrder { number: 2, source: OutOfOrder::Unknown });
    let wrong = Recorded { at_ms: 1, event: Event::Assigned { step: 2, number: 1 } };
    assert!(matches!(Run::replay([first, wrong]), Err(BadRecord::OutOfOrder { number: 2, .. })));
}

#[test]
fn lines_for_people_hold_no_secret() {
    let run = start("name: x\nsteps:\n  - set_variables: [{name: Key, value: hunter2, secret: true}]");
    let Decision::Record(event) = run.next(0) else { panic!() };
    assert_eq!(event.line(), "set Key=••••••••");
    assert!(!format!("{event:?} {run:?}").contains("hunter2"));
}

#[test]
fn the_images_of_a_run_are_known_before_it_starts() {
    let yaml = "
name: x
steps:
  - set_variables: [{name: Kind, value: 'lab-%SerialNumber%'}]
  - apply_image: {image: '%Kind%', version: 2}
  - {disabled: true, apply_image: {image: never}}
  - apply_image: {image: tools}
";
    let facts = Facts { serial: Some("C02".parse().unwrap()), ..Facts::default() };
    let wanted = |yaml: &str| {
        let program = Program::of(&Sequence::from_yaml(yaml).unwrap(), &Default::default()).unwrap();
        images_wanted(&program, &facts, &Default::default(), &Default::default())
    };
    let names: Vec<_> =
        wanted(yaml).unwrap().into_iter().map(|image| (image.name, image.pick.version())).collect();
    assert_eq!(names, [("lab-C02".to_owned(), Some(2)), ("tools".to_owned(), None)]);
    assert_eq!(wanted(&yaml.replace("%Kind%", "%Nobody%")).unwrap_err().0, "Apply Image");
}

/// What may arrive in any order: reports, true and false, of any number, reboots, a person, an old clock.
fn anything() -> impl Strategy<Value = Event> {
    let number = 0..6_u32;
    prop_oneof![
        3 => number.clone().prop_map(|number| done(number, &["/dev/sda2"], Some(0), Some(manifest()))),
        1 => number.clone().prop_map(|number| done(number, &[], None, None)),
        1 => number.prop_map(|number| failed(number, Some(1))),
        1 => Just(Event::Reconnected { boot: BootMethod::Netboot, same_start: false }),
        1 => (0..4_u32, 0..6_u32).prop_map(|(step, number)| Event::Assigned { step, number }),
        1 => (0..4_u32).prop_map(|step| Event::VariablesSet { step, values: Vec::new() }),
        1 => Just(Event::Unknown),
    ]
}

proptest! {
    #[test]
    fn whatever_arrives_a_run_succeeds_only_when_each_of_its_steps_did(
        events in prop::collection::vec(anything(), 0..40),
        retry in 0..2_u32,
    ) {
        let mut run = start(&SPINE.replace("{name: Apply,", &format!("{{name: Apply, retry: {{count: {retry}}},")));
        let mut acted = std::collections::BTreeSet::new();
        for (at, event) in (1..).zip(events) {
            run = settle(run, at).0;
            acted.extend(run.assignment().map(|assignment| (assignment.number, assignment.step)));
            let ended = run.outcome();
            let before = run.clone();
            match run.apply(&event, at) {
                Ok(after) => {
                    prop_assert!(!before.is_repeated(&event) || after == before);
                    prop_assert!(ended.is_none() || after.outcome() == ended, "an ended run came back to life");
                    run = after;
                }
                Err(_) => run = before,
            }
        }
        let succeeded = run.steps().filter(|(_, record)| record.state == StepState::Succeeded).count();
        prop_assert_eq!(run.outcome() == Some(Outcome::Succeeded), succeeded == 3);
        let steps: std::collections::BTreeSet<u32> = acted.iter().map(|(_, step)| *step).collect();
        prop_assert!(succeeded <= steps.len(), "a step succeeded that was never handed out");
        let numbers: Vec<u32> = acted.iter().map(|(number, _)| *number).collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "one number, two actions");
    }
}
