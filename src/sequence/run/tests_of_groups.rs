//! Groups, conditions, failures, questions, resuming: the machine from outside.

use proptest::prelude::*;

use super::event::ActionResult;
use super::*;
use crate::sequence::model::Sequence;
use crate::sequence::variable::{BootMethod, Facts, Scope, Value};

/// A script step of this name.
pub(super) fn script(name: &str) -> String {
    format!("{{name: {name}, execute_script: {{script: '#!/bin/sh'}}}}")
}

pub(super) fn begin_with(yaml: &str, device: &[(&str, &str)], others: &[&str]) -> Run {
    let facts = Facts { model: Some("iMac14,2".parse().unwrap()), memory: 8 << 30, ..Facts::default() };
    let device: Scope =
        device.iter().map(|(name, text)| (name.parse().unwrap(), Value::plain(*text))).collect();
    let others = others.iter().map(|text| Sequence::from_yaml(text).unwrap());
    let others = others.map(|other| (other.name.clone(), other)).collect();
    let sequence = Sequence::from_yaml(yaml).expect(yaml);
    let start = Start {
        sequence,
        facts,
        collection: Scope::new(),
        device,
        images: Vec::new(),
        others,
        by: None,
        unattended: false,
    };
    Run::start(start, 0).unwrap().0
}

pub(super) fn begin(steps: &str) -> Run {
    begin_with(&format!("name: x\nsteps: [{steps}]\n"), &[], &[])
}

/// Works through a run: steps whose name begins with `!` fail with exit code 3. Gives the names of the actions in order.
pub(super) fn work(mut run: Run) -> (Run, Vec<String>) {
    let mut acted = Vec::new();
    for at in 1..10_000 {
        let event = match run.next(at * 1000) {
            Decision::Record(event) => event,
            Decision::Act(assignment) => {
                acted.push(assignment.name.clone());
                ended(&assignment)
            }
            Decision::Wait { .. } => continue,
            Decision::Ask(_) | Decision::Finished { .. } => return (run, acted),
        };
        run = run.apply(&event, at * 1000).unwrap();
    }
    panic!("no end: {:?}", run.state);
}

pub(super) fn ended(assignment: &Assignment) -> Event {
    let number = assignment.number;
    if assignment.name.starts_with('!') {
        let failure = Failure {
            cause: format!("{} broke", assignment.name),
            evidence: String::new(),
            next_step: String::new(),
            exit_code: Some(3),
        };
        return Event::Failed { number, failure };
    }
    Event::Done { number, result: ActionResult { exit_code: Some(0), ..ActionResult::default() } }
}

pub(super) fn names(acted: &[String]) -> String {
    acted.join(" ")
}

pub(super) fn states(run: &Run) -> Vec<(String, StepState)> {
    run.steps().map(|(step, record)| (step.name.clone(), record.state)).collect()
}

#[test]
fn section_1_groups_are_worked_through_in_order() {
    let (a, b, c, d) = (script("a"), script("b"), script("c"), script("d"));
    let steps =
        format!("{a}, {{name: G, group: [{b}, {{name: H, group: [{c}]}}]}}, {{name: E, group: []}}, {d}");
    let (run, acted) = work(begin(&steps));
    assert_eq!(names(&acted), "a b c d");
    assert_eq!(run.outcome(), Some(Outcome::Succeeded));
    assert_eq!(run.message(), Some("4 of 4 steps done"));
}

#[test]
fn section_4_a_condition_leaves_a_step_or_group_out_with_the_values_that_decided() {
    let when = |like: &str| format!("if: {{all: [{{variable: Model, like: '{like}'}}]}}");
    let (b, c) = (script("b"), script("c"));
    let steps = format!(
        "{{name: a, {}, execute_script: {{script: '#!/bin/sh'}}}}, {{name: G, {}, group: [{b}]}}, {{name: H, {}, group: [{c}]}}",
        when("MacBook*"),
        when("MacPro*"),
        when("iMac*")
    );
    let mut run = begin(&steps);
    let mut lines = Vec::new();
    while let Decision::Record(event) = run.next(0) {
        lines.push(format!("{} {}", run.subject(&event).unwrap_or_default(), event.line()));
        run = run.apply(&event, 0).unwrap();
    }
    assert_eq!(
        lines,
        [
            "a left out: Model is `iMac14,2`, is not like `MacBook*`",
            "G left out: Model is `iMac14,2`, is not like `MacPro*`",
            "H begins: Model is `iMac14,2`, is like `iMac*`",
            "c handed out as action 1",
        ]
    );
    let (run, _) = work(run);
    let why: Vec<_> = run.steps().map(|(_, record)| record.why.is_some()).collect();
    assert_eq!(why, [true, true, false]);
    assert_eq!(run.outcome(), Some(Outcome::Succeeded));
}

#[test]
fn section_3_a_skipped_step_changes_none_of_the_last_variables() {
    let steps = format!(
        "{}, {{name: never, if: {{any: []}}, execute_script: {{script: '#!/bin/sh'}}}}, {{name: last, if: {{all: [{{variable: LastActionName, equals: a}}]}}, execute_script: {{script: '#!/bin/sh'}}}}",
        script("a")
    );
    assert_eq!(names(&work(begin(&steps)).1), "a last");
}

#[test]
fn section_4_a_failed_step_fails_its_group_and_the_run_goes_on_after_a_group_that_may_fail() {
    let (bad, b, c) = (script("'!bad'"), script("b"), script("c"));
    let steps =
        format!("{{name: G, continue_on_error: true, group: [{{name: H, group: [{bad}, {b}]}}, {b}]}}, {c}");
    let (run, acted) = work(begin(&steps));
    assert_eq!(names(&acted), "!bad c");
    assert_eq!(run.outcome(), Some(Outcome::Succeeded));
    assert_eq!(run.message(), Some("1 of 4 steps done; failed and passed over: `!bad`"));
    let (run, acted) = work(begin(&steps.replace("continue_on_error: true, ", "")));
    assert_eq!(names(&acted), "!bad");
    assert_eq!(run.message(), Some("step 1 of 4 (`!bad`): !bad broke"));
    assert_eq!(run.failure().unwrap().exit_code, Some(3));
}

#[test]
fn section_4_a_step_that_may_fail_goes_on_in_its_group() {
    let steps = format!(
        "{{name: G, group: [{{name: '!bad', continue_on_error: true, execute_script: {{script: '#!/bin/sh'}}}}, {}]}}",
        script("b")
    );
    assert_eq!(names(&work(begin(&steps)).1), "!bad b");
}

#[test]
fn section_4_beyond_the_guide_catch_mends_a_failure_and_finally_is_done_either_way() {
    let (a, bad, b, c, d) = (script("a"), script("'!bad'"), script("b"), script("c"), script("d"));
    let group = |inner: &str, catch: &str| {
        format!("{{name: T, group: [{inner}], catch: [{catch}], finally: [{d}]}}, {}", script("after"))
    };
    for (steps, acted, outcome) in [
        (group(&a, &c), "a d after", Outcome::Succeeded),
        (group(&format!("{bad}, {b}"), &c), "!bad c d after", Outcome::Succeeded),
        (group(&bad, &script("'!worse'")), "!bad !worse d", Outcome::Failed),
        (group(&bad, ""), "!bad d", Outcome::Failed),
        (group(&a, &c).replace(&d, &script("'!last'")), "a !last", Outcome::Failed),
    ] {
        let (run, did) = work(begin(&steps));
        assert_eq!((names(&did).as_str(), run.outcome()), (acted, Some(outcome)), "{steps}");
    }
    let (run, _) = work(begin(&group(&bad, &script("'!worse'"))));
    assert!(run.message().unwrap().contains("!worse"), "what kept the failure from being mended");
    let both = group(&bad, "").replace(&d, &script("'!last'"));
    assert!(
        work(begin(&both)).0.message().unwrap().contains("!bad"),
        "a finally does not hide what was before it"
    );
    let (run, _) = work(begin(&group(&format!("{bad}, {b}"), &c)));
    assert_eq!(states(&run)[1], ("b".to_owned(), StepState::Skipped));
}

#[test]
fn section_4_beyond_the_guide_a_catch_knows_what_failed() {
    let steps = format!(
        "{{name: T, group: [{}], catch: [{{name: mend, if: {{all: [{{variable: LastActionName, equals: '!bad'}}, {{variable: LastActionExitCode, equals: 3}}]}}, execute_script: {{script: '#!/bin/sh'}}}}]}}",
        script("'!bad'")
    );
    assert_eq!(names(&work(begin(&steps)).1), "!bad mend");
}

#[test]
fn section_4_beyond_the_guide_a_failed_run_is_resumed_from_the_step_that_failed() {
    let (a, bad, b, c) = (script("a"), script("'!bad'"), script("b"), script("c"));
    let (run, acted) = work(begin(&format!("{a}, {{name: G, group: [{bad}, {b}], finally: [{c}]}}")));
    assert_eq!((names(&acted).as_str(), run.can_resume()), ("a !bad c", true));
    let run = run.apply(&Event::Resumed { by: "admin".into() }, 99_000).unwrap();
    assert_eq!((run.outcome(), run.step_number(), run.ended_ms()), (None, 2, None));
    assert_eq!(states(&run)[2].1, StepState::Pending, "not reached is not left out any more");
    let Decision::Record(event) = run.next(99_000) else { panic!() };
    let run = run.apply(&event, 99_000).unwrap();
    let number = run.assignment().unwrap().number;
    assert_eq!(number, 4, "a new action");
    let done = Event::Done { number, result: ActionResult { exit_code: Some(0), ..ActionResult::default() } };
    let (run, acted) = work(run.apply(&done, 99_001).unwrap());
    assert_eq!((names(&acted).as_str(), run.outcome()), ("b c", Some(Outcome::Succeeded)));
    let again = run.apply(&Event::Resumed { by: "admin".into() }, 1);
    assert!(matches!(again, Err(OutOfOrder::CannotResume { .. })), "{again:?}");
}

#[test]
fn section_4_a_cancelled_run_is_not_resumed_and_one_that_ran_out_of_time_gets_its_time_anew() {
    let run = begin(&script("a")).apply(&Event::Cancelled { by: "b".into() }, 1).unwrap();
    assert!(!run.can_resume() && run.apply(&Event::Resumed { by: "c".into() }, 2).is_err());
    let run = begin_with(&format!("name: x\nmaximum_run_time: 1 min\nsteps: [{}]\n", script("a")), &[], &[]);
    let Decision::Record(event) = run.next(60_000) else { panic!() };
    let run = run.apply(&event, 60_000).unwrap();
    let run = run.apply(&Event::Resumed { by: "c".into() }, 500_000).unwrap();
    assert_eq!(run.deadline_ms(), Some(560_000));
    assert_eq!(work(run.clone()).1, ["a"]);
}

#[test]
fn section_4_a_condition_is_decided_once_a_retry_does_not_ask_it_again() {
    let steps = "{name: '!bad', retry: {count: 2}, if: {all: [{variable: Go, exists: false}]}, execute_script: {script: '#!/bin/sh'}}";
    let mut run = begin(steps);
    let Decision::Record(event) = run.next(0) else { panic!() };
    run = run.apply(&event, 0).unwrap();
    let values = vec![("Go".parse().unwrap(), Value::plain("1"))];
    run = run.apply(&Event::ValuesSet { number: 1, values }, 0).unwrap();
    let (run, acted) = work(run);
    assert_eq!(acted.len(), 3);
    assert_eq!(run.outcome(), Some(Outcome::Failed));
}

#[test]
fn section_2_a_sequence_that_another_runs_is_one_with_it() {
    let inner = "name: Inner\nsteps: [{set_variables: [{name: A, value: '1'}]}, {name: in, execute_script: {script: '#!/bin/sh'}}]\n";
    let outer = "name: x\nsteps: [{name: Call, continue_on_error: true, run_sequence: {sequence: Inner}}, {name: out, if: {all: [{variable: A, equals: 1}]}, execute_script: {script: '#!/bin/sh'}}]\n";
    let (run, acted) = work(begin_with(outer, &[], &[inner]));
    assert_eq!((names(&acted).as_str(), run.steps().count()), ("in out", 3));
    let (run, acted) = work(begin_with(outer, &[], &[&inner.replace("name: in", "name: '!in'")]));
    assert_eq!((names(&acted).as_str(), run.outcome()), ("!in out", Some(Outcome::Succeeded)));
}

#[test]
fn section_3_what_a_script_sets_is_there_for_the_next_step_and_a_secret_stays_one() {
    let steps = format!(
        "{{set_variables: [{{name: Key, value: x, secret: true}}]}}, {}, {}",
        script("a"),
        script("b")
    );
    let mut run = begin(&steps);
    for _ in 0..2 {
        let Decision::Record(event) = run.next(0) else { panic!() };
        run = run.apply(&event, 0).unwrap();
    }
    let set = [("Room", "12"), ("KEY", "hunter2"), ("serialnumber", "x")];
    let set = set.map(|(name, text)| (name.parse().unwrap(), text.to_owned())).to_vec();
    let event = Event::ValuesSet { number: 1, values: run.values_of_script(set) };
    assert_eq!(event.line(), "the script set Room=12, KEY=••••••••");
    assert!(event.has_secrets());
    let run = run.apply(&event, 0).unwrap();
    let (run, _) = work(run);
    let value = |name: &str| run.variables().get(&name.parse().unwrap()).unwrap().into_owned();
    assert_eq!(
        (value("room").text, value("Key").text, value("SerialNumber").text),
        ("12".into(), "hunter2".into(), String::new())
    );
    let late = Event::ValuesSet { number: 1, values: Vec::new() };
    assert!(run.is_repeated(&late));
}

fn asked(run: &Run) -> Vec<String> {
    match run.question(0) {
        Some(Question::Values(names)) => names.into_iter().map(|(name, _)| name.into()).collect(),
        _ => Vec::new(),
    }
}

fn answer(run: Run, name: &str, text: &str) -> Result<Run, OutOfOrder> {
    run.apply(
        &Event::Answered { by: "t".into(), values: vec![(name.parse().unwrap(), Value::plain(text))] },
        0,
    )
}

#[test]
fn section_3_empty_variables_that_are_used_are_asked_for_before_anything_is_destroyed() {
    let yaml = "
name: x
steps:
  - set_variables: [{name: Later, value: ''}, {name: Set, value: ''}]
  - format_disk: {partitions: [{name: 'HD', format: apfs, size: 100%}]}
  - set_variables: [{name: Set, value: 'x'}]
  - set_variables: [{name: A, value: '%Room% %Set%'}]
  - {if: {all: [{variable: Model, like: 'Mac*'}]}, set_variables: [{name: B, value: '%Desk%'}]}
  - {name: s, execute_script: {script: \"#!/bin/sh\\necho $Later\"}}
";
    let device = [("Room", ""), ("Desk", ""), ("Unused", ""), ("Full", "x")];
    let (run, acted) = work(begin_with(yaml, &device, &[]));
    assert_eq!((acted.len(), asked(&run)), (0, vec!["Later".to_owned(), "Room".to_owned()]));
    assert!(matches!(answer(run.clone(), "Desk", "1"), Err(OutOfOrder::NotAsked(_))));
    let run = answer(answer(run, "ROOM", "12").unwrap(), "later", "").unwrap();
    assert!(
        matches!(answer(run.clone(), "Room", "13"), Err(OutOfOrder::NotAsked(_))),
        "the first answer wins"
    );
    let Decision::Record(event) = run.next(0) else { panic!() };
    assert_eq!(event.kind(), "assigned");
}

#[test]
fn section_3_without_anything_to_destroy_a_variable_is_asked_for_when_it_is_reached() {
    let yaml =
        format!("name: x\nsteps: [{}, {{set_variables: [{{name: A, value: '%Room%'}}]}}]\n", script("a"));
    let (run, acted) = work(begin_with(&yaml, &[("Room", "")], &[]));
    assert_eq!((names(&acted).as_str(), asked(&run)), ("a", vec!["Room".to_owned()]));
    let (run, _) = work(answer(run, "Room", "12").unwrap());
    assert_eq!(run.outcome(), Some(Outcome::Succeeded));
}

#[test]
fn section_2_beyond_the_guide_a_run_waits_for_a_technician_and_no_longer_than_the_step_may() {
    let steps = format!(
        "{{name: W, timeout: 1 min, wait_for_technician: {{message: 'Plug %Model% in', button: Done}}}}, {}",
        script("a")
    );
    let (run, _) = work(begin(&steps));
    let want = Question::Confirm { step: 1, message: "Plug iMac14,2 in".into(), button: "Done".into() };
    assert_eq!(run.question(2000), Some(want));
    let again =
        run.clone().apply(&Event::Reconnected { boot: BootMethod::Usb, same_start: false }, 3000).unwrap();
    let confirmed = again.apply(&Event::Confirmed { step: 1, by: "t".into() }, 4000).unwrap();
    assert_eq!(work(confirmed.clone()).1, ["a"]);
    assert!(confirmed.apply(&Event::Confirmed { step: 1, by: "t".into() }, 4000).is_err());
    let Decision::Record(event) = run.next(62_000) else { panic!("{:?}", run.next(62_000)) };
    let run = run.apply(&event, 62_000).unwrap();
    assert!(run.message().unwrap().contains("nobody confirmed `W`"), "{:?}", run.message());
    assert!(run.can_resume());
}

#[test]
fn images_behind_conditions_are_wanted_only_where_they_can_be_needed() {
    let yaml = "
name: x
steps:
  - {if: {all: [{variable: Model, like: 'MacBook*'}]}, apply_image: {image: laptop}}
  - {if: {all: [{variable: Model, like: 'iMac*'}]}, set_variables: [{name: Kind, value: desk}]}
  - apply_image: {image: 'lab-%Kind%'}
  - {name: s, execute_script: {script: \"#!/bin/sh\\n$U --set Extra=1\"}}
  - {if: {all: [{variable: Extra, equals: 1}]}, apply_image: {image: extra}}
  - group: [{apply_image: {image: main}}]
    catch: [{apply_image: {image: rescue}}]
";
    let facts = Facts { model: Some("iMac14,2".parse().unwrap()), ..Facts::default() };
    let wanted = |yaml: &str, device: &[&str]| {
        let program = Program::of(&Sequence::from_yaml(yaml).unwrap(), &Default::default()).unwrap();
        let device = device.iter().map(|name| (name.parse().unwrap(), Value::default())).collect();
        images_wanted(&program, &facts, &Scope::new(), &device)
    };
    let names: Vec<_> =
        wanted(yaml, &[]).unwrap().into_iter().map(|image| (image.name, image.certain)).collect();
    let want = [("lab-desk", true), ("extra", false), ("main", true), ("rescue", false)];
    assert_eq!(names, want.map(|(name, certain)| (name.to_owned(), certain)));
    let (step, error) =
        wanted("name: x\nsteps: [{apply_image: {image: '%Which%'}}]\n", &["Which"]).unwrap_err();
    assert!(step == "Apply Image" && error.to_string().contains("%Which%"), "{error}");
}

/// Any tree of scripts, some of which fail, with every kind of group.
pub(super) fn tree() -> impl Strategy<Value = String> {
    let leaf = (0..4_u8, any::<bool>(), 0..2_u8).prop_map(|(bad, tolerant, retry)| {
        let name = if bad == 0 { "'!s'" } else { "s" };
        let tolerant = if tolerant { ", continue_on_error: true" } else { "" };
        let retry = if retry == 1 { ", retry: {count: 1, delay: 1 s}" } else { "" };
        format!("{{name: {name}{tolerant}{retry}, execute_script: {{script: '#!/bin/sh'}}}}")
    });
    leaf.prop_recursive(4, 30, 4, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..4).prop_map(|list| list.join(", "));
        (list(), list(), list(), any::<(bool, bool)>()).prop_map(|(steps, catch, finally, (tolerant, never))| {
            let condition = if never { ", if: {any: []}" } else { "" };
            format!("{{continue_on_error: {tolerant}{condition}, group: [{steps}], catch: [{catch}], finally: [{finally}]}}")
        })
    })
}

/// What happens beside the work: nothing, the server starts anew, the Mac starts anew, a report comes twice.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Nothing,
    ServerRestart,
    Reconnect,
    Repeat,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Restart steps stand in for what a new start of the Mac does not harm; scripts are met between actions only.
    #[test]
    fn section_8_any_order_of_restarts_and_repeats_ends_in_the_same_outcome(
        trees in prop::collection::vec(tree(), 1..4),
        mishaps in prop::collection::vec(prop_oneof![Just(Mishap::Nothing), Just(Mishap::ServerRestart), Just(Mishap::Reconnect), Just(Mishap::Repeat)], 200),
    ) {
        let (plain, acted) = work(begin(&trees.join(", ")));
        let mut run = begin(&trees.join(", "));
        let first = Recorded { at_ms: 0, event: Event::Started(Box::new(run.start.as_ref().clone())) };
        let (mut record, mut did, mut last) = (vec![first], Vec::new(), None);
        let mut mishaps = mishaps.into_iter().cycle();
        for at in 1..10_000 {
            let at_ms = at * 1000;
            let event = match run.next(at_ms) {
                Decision::Record(event) => event,
                Decision::Act(assignment) => {
                    did.push(assignment.name.clone());
                    let event = ended(&assignment);
                    last = Some(event.clone());
                    event
                }
                Decision::Wait { .. } => continue,
                _ => break,
            };
            run = run.apply(&event, at_ms).unwrap();
            record.push(Recorded { at_ms, event });
            match mishaps.next().unwrap() {
                Mishap::Nothing => {}
                Mishap::ServerRestart => {
                    let rows = serde_json::to_string(&record).unwrap();
                    let again = Run::replay(serde_json::from_str::<Vec<Recorded>>(&rows).unwrap()).unwrap();
                    prop_assert_eq!(&again, &run);
                }
                Mishap::Reconnect if run.assignment().is_none() => {
                    let event = Event::Reconnected { boot: BootMethod::Unknown, same_start: false };
                    run = run.apply(&event, at_ms).unwrap();
                    record.push(Recorded { at_ms, event });
                }
                Mishap::Repeat => {
                    if let Some(event) = last.as_ref().filter(|_| run.assignment().is_none()) {
                        run = run.apply(event, at_ms).unwrap();
                    }
                }
                Mishap::Reconnect => {}
            }
        }
        prop_assert_eq!(did, acted);
        prop_assert_eq!(run.outcome(), plain.outcome());
        prop_assert_eq!(states(&run), states(&plain));
    }

    #[test]
    fn section_4_a_run_fails_exactly_when_a_failure_was_neither_mended_nor_passed_over(trees in prop::collection::vec(tree(), 1..4)) {
        let steps = trees.join(", ");
        let (run, _) = work(begin(&steps));
        let sequence = Sequence::from_yaml(&format!("name: x\nsteps: [{steps}]\n")).unwrap();
        prop_assert_eq!(run.outcome() == Some(Outcome::Succeeded), list_succeeds(&sequence.steps));
        let running = run.steps().any(|(_, record)| record.state == StepState::Running);
        prop_assert!(!running, "a step is left at work");
    }
}

/// The same by recursion.
fn list_succeeds(nodes: &[crate::sequence::model::Node]) -> bool {
    nodes.iter().all(|node| match node {
        crate::sequence::model::Node::Step(step) => step.continue_on_error || !step.name.starts_with('!'),
        crate::sequence::model::Node::Group(group) => {
            let mended =
                list_succeeds(&group.steps) || !group.catch.is_empty() && list_succeeds(&group.catch);
            let well = list_succeeds(&group.finally) && mended;
            group.continue_on_error || group.condition.is_some() || well
        }
    })
}

#[test]
fn section_3_a_prompt_defines_its_variable_and_says_what_is_an_answer() {
    let yaml = format!(
        "name: x\nprompts:\n  - {{variable: Zone, default: '%Model%'}}\n  - {{variable: Room, type: choice, choices: [Lab]}}\n  \
         - {{variable: Given}}\n  - {{variable: Unused}}\nsteps: [{}, {{set_variables: [{{name: A, value: '%Room% %Zone% %Given%'}}]}}]\n",
        script("a")
    );
    let (run, acted) = work(begin_with(&yaml, &[("Given", "x")], &[]));
    // In the order of the prompts; not what the Mac gives a value, nor what nothing uses.
    assert_eq!((names(&acted).as_str(), asked(&run)), ("a", vec!["Zone".to_owned(), "Room".to_owned()]));
    let (_, default) = run.prompt(&"zone".parse().unwrap()).unwrap();
    assert_eq!(default, "iMac14,2");
    let refused = |text: &str| run.refused_answer(&[("Room".parse().unwrap(), Value::plain(text))]);
    assert_eq!(refused("Lab"), None);
    assert_eq!(refused("Attic").unwrap().1, "it is one of Lab");
    let run = answer(answer(run.clone(), "Room", "Lab").unwrap(), "Zone", "1").unwrap();
    assert_eq!(work(run).0.outcome(), Some(Outcome::Succeeded));
}
