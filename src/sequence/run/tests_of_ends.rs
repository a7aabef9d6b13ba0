//! Ends that no step brings, steps of macOS, steps that come back to a volume: the machine from outside.

use proptest::prelude::*;

use super::act::{Act, MacosAct};
use super::event::{ActionResult, PinnedImage};
use super::tests_of_groups::{begin, begin_with, ended, names, script, states, tree, work};
use super::*;
use crate::sequence::variable::BootMethod;
use crate::value::Digest;

/// Applies what the engine records by itself.
fn settled(mut run: Run, now_ms: i64) -> Run {
    while let Decision::Record(event) = run.next(now_ms) {
        run = run.apply(&event, now_ms).unwrap();
    }
    run
}

fn act(run: &Run) -> Act {
    match run.next(0) {
        Decision::Act(assignment) => assignment.act,
        other => panic!("not an action: {other:?}"),
    }
}

fn name(run: &Run) -> String {
    run.assignment().map(|assignment| assignment.name.clone()).unwrap_or_default()
}

fn done(run: Run) -> Run {
    let event = ended(run.assignment().expect("at work"));
    settled(run.apply(&event, 0).unwrap(), 0)
}

fn cancel(run: Run) -> Run {
    settled(run.apply(&Event::Cancelled { by: "admin".into() }, 1000).unwrap(), 1000)
}

fn from_macos(run: Run) -> Run {
    settled(run.apply(&Event::Reconnected { boot: BootMethod::Macos, same_start: false }, 0).unwrap(), 0)
}

#[test]
fn section_4_a_cancelled_run_does_its_finally_parts_innermost_first_and_no_catch() {
    let (a, b, c, d, e) = (script("a"), script("b"), script("c"), script("d"), script("e"));
    let steps = format!(
        "{{name: O, group: [{{name: G, continue_on_error: true, group: [{a}, {b}], catch: [{c}], finally: [{d}]}}, {b}], finally: [{e}]}}, {b}"
    );
    let run = cancel(settled(begin(&steps), 0));
    assert_eq!((name(&run).as_str(), run.outcome(), run.is_stopping()), ("d", None, true));
    let late = Event::Done { number: 1, result: ActionResult::default() };
    assert!(run.is_repeated(&late), "what was at work before reports late");
    let run = done(run);
    assert_eq!(name(&run), "e");
    let run = done(run);
    assert_eq!((run.outcome(), run.can_resume()), (Some(Outcome::Cancelled), false));
    assert!(run.message().unwrap().starts_with("cancelled by admin at step 1 of"), "{:?}", run.message());
    assert_eq!(states(&run)[0], ("a".to_owned(), StepState::Failed));
}

#[test]
fn section_4_a_finally_knows_that_the_run_was_stopped() {
    let look = "{name: look, if: {all: [{variable: LastActionSucceeded, equals: 'false'}, {variable: LastActionName, equals: a}]}, execute_script: {script: '#!/bin/sh'}}";
    let run = cancel(settled(begin(&format!("{{name: G, group: [{}], finally: [{look}]}}", script("a"))), 0));
    assert_eq!(name(&run), "look");
}

#[test]
fn section_4_a_failure_in_the_finally_of_a_stopped_run_changes_nothing_and_its_own_catch_works() {
    let (a, bad, mend) = (script("a"), script("'!bad'"), script("mend"));
    let steps =
        format!("{{name: G, group: [{a}], finally: [{{name: I, group: [{bad}], catch: [{mend}]}}, {bad}]}}");
    let (run, acted) = work(cancel(settled(begin(&steps), 0)));
    assert_eq!((names(&acted).as_str(), run.outcome()), ("!bad mend !bad", Some(Outcome::Cancelled)));
}

#[test]
fn section_4_a_second_cancel_and_the_time_for_finally_end_a_stopped_run_at_once() {
    let steps = format!("{{name: G, group: [{}], finally: [{}]}}", script("a"), script("z"));
    let run = cancel(settled(begin(&steps), 0));
    assert_eq!(run.outcome(), None);
    let twice = run.clone().apply(&Event::Cancelled { by: "again".into() }, 2000).unwrap();
    assert_eq!(twice.outcome(), Some(Outcome::Cancelled));
    assert!(twice.message().unwrap().contains("cancelled by admin"), "the first one counts");
    let limit = run.deadline_ms().unwrap();
    assert_eq!(limit, 1000 + ending::FINALLY_TIME_MS);
    assert_eq!(settled(run, limit).outcome(), Some(Outcome::Cancelled));
}

#[test]
fn section_4_a_run_out_of_time_does_its_finally_parts_too_and_has_failed() {
    let yaml = format!(
        "name: x\nmaximum_run_time: 1 min\nsteps: [{{name: G, group: [{}], finally: [{}]}}]\n",
        script("a"),
        script("z")
    );
    let run = settled(settled(begin_with(&yaml, &[], &[]), 0), 60_000);
    assert_eq!((name(&run).as_str(), run.outcome()), ("z", None));
    let event = ended(run.assignment().unwrap());
    let run = settled(run.apply(&event, 61_000).unwrap(), 61_000);
    assert_eq!((run.outcome(), run.can_resume()), (Some(Outcome::Failed), true));
    assert!(run.message().unwrap().contains("maximum run time of 1 min"), "{:?}", run.message());
    let run = settled(run.apply(&Event::Resumed { by: "a".into() }, 500_000).unwrap(), 500_000);
    assert_eq!((name(&run).as_str(), run.deadline_ms()), ("a", Some(560_000)));
}

const LAB: &str = "{name: Wipe, format_disk: {partitions: [{name: HD, format: raw, size: 100%, variable: HD}]}}, {name: Apply, apply_image: {image: lab, destination: {variable: HD}}}";

fn lab(rest: &str) -> Run {
    let manifest = Digest::of(b"lab");
    let pinned = PinnedImage { name: "lab".into(), asked: None, ring: None, version: 3, manifest };
    let start = begin_with(&format!("name: x\nsteps: [{LAB}, {rest}]\n"), &[("Host", "mac-1")], &[]).start;
    let start = Start { images: vec![pinned], ..start.as_ref().clone() };
    let run = settled(Run::start(start, 0).unwrap().0, 0);
    let result = ActionResult { nodes: vec!["/dev/sda2".into()], ..ActionResult::default() };
    let run = settled(run.apply(&Event::Done { number: 1, result }, 0).unwrap(), 0);
    let result = ActionResult { receipt: Some(manifest), ..ActionResult::default() };
    settled(run.apply(&Event::Done { number: 2, result }, 0).unwrap(), 0)
}

#[test]
fn section_2_verify_image_names_what_this_run_applied_and_is_not_believed_without_it() {
    let run = lab("{name: V, verify_image: {volume: {disk: 0, partition: 2}}}");
    let Act::VerifyImage(applied) = act(&run) else { panic!() };
    assert_eq!((applied.len(), applied[0].image.as_str()), (1, "lab 3"));
    let right = ActionResult { verified: vec![Digest::of(b"lab")], ..ActionResult::default() };
    for (result, outcome) in [
        (right, Outcome::Succeeded),
        (ActionResult::default(), Outcome::Failed),
        (ActionResult { verified: vec![Digest::of(b"x")], ..ActionResult::default() }, Outcome::Failed),
    ] {
        let after = run.clone().apply(&Event::Done { number: 3, result }, 0).unwrap();
        assert_eq!(after.outcome(), Some(outcome));
    }
    let run = settled(begin("{name: V, verify_image: }"), 0);
    assert!(run.message().unwrap().contains("applied no image"), "{:?}", run.message());
}

#[test]
fn section_2_copy_files_and_set_startup_disk_go_to_the_volume_applied_last_and_a_warning_is_kept() {
    let run = lab(
        "{name: C, copy_files: {from: 'labs/%Model%', to: /Users/Shared}}, {name: S, set_startup_disk: }",
    );
    let Act::CopyFiles { from, to, target } = act(&run) else { panic!() };
    assert_eq!((from.as_str(), to.as_str()), ("labs/iMac14,2", "/Users/Shared"));
    assert_eq!(target, act::Target::Node("/dev/sda2".into()));
    let run = done(run);
    assert!(matches!(act(&run), Act::SetStartupDisk { required: false, .. }));
    let result = ActionResult { warning: Some("no NVRAM".into()), ..ActionResult::default() };
    let run = run.apply(&Event::Done { number: 4, result }, 0).unwrap();
    assert_eq!(run.outcome(), Some(Outcome::Succeeded), "a warning fails nothing");
    let last = run.steps().last().unwrap().1;
    assert_eq!((last.state, last.why.as_deref()), (StepState::Succeeded, Some("no NVRAM")));
}

/// What an action comes to when the Mac is started anew while it is at work. A new kind of action has to be entered.
#[test]
fn section_8_every_action_is_repeated_safely_or_says_why_not() {
    let kind = |act: &Act| match act {
        Act::FormatDisk { .. } => 0,
        Act::ApplyImage { .. } => 1,
        Act::CaptureImage { .. } => 2,
        Act::CaptureToShare { .. } => 3,
        Act::VerifyImage(_) => 4,
        Act::CopyFiles { .. } => 5,
        Act::SetStartupDisk { .. } => 6,
        Act::Notify(_) => 7,
        Act::OnMacos(_) => 8,
        Act::Restart => 9,
        Act::ExecuteScript { .. } => 10,
    };
    let share = "{share: '//nas/images', account: lab, password: '%Host%'}";
    let later = |boot| {
        move |run: Run| settled(run.apply(&Event::Reconnected { boot, same_start: false }, 0).unwrap(), 0)
    };
    let again = later(BootMethod::Netboot);
    let mut seen = BTreeSet::new();
    for (at, run) in [
        settled(begin(LAB), 0),
        lab("{apply_image: {image: lab, destination: {variable: HD}}}"),
        lab("{capture_image: {image: a, source: {disk: 0}}}"),
        lab(&format!("{{capture_image: {{image: a, source: {{disk: 0}}, destination: {share}}}}}")),
        lab("{verify_image: {volume: {disk: 0, partition: 2}}}"),
        lab("{copy_files: {from: a, to: /b}}"),
        lab("{set_startup_disk: }"),
        lab("{notify: {mail: [a@example.com], message: m}}"),
        from_macos(lab("{set_hostname: {name: x}}")),
    ]
    .into_iter()
    .enumerate()
    {
        let before = run.assignment().cloned().unwrap_or_else(|| panic!("{at}: {:?}", run.state));
        let after = if at == 8 { from_macos(run) } else { again(run) };
        assert_eq!(after.assignment(), Some(&before), "the same action under the same number");
        seen.insert(kind(&before.act));
    }
    let restart = lab("{restart: }, {name: after, copy_files: {from: a, to: /b}}");
    seen.insert(kind(&act(&restart)));
    assert_eq!(name(&again(restart)), "after", "the new start is the proof");
    let script = lab("{name: Wash, execute_script: {script: '#!/bin/sh'}}");
    seen.insert(kind(&act(&script)));
    let failure = again(script).failure().cloned().unwrap();
    assert!(failure.evidence.contains("how far the script came is not known"), "{failure:?}");
    assert_eq!(seen.len(), 11, "{seen:?}");
}

#[test]
fn section_2_a_path_that_a_variable_leads_out_is_refused_before_anything_is_copied() {
    let run = lab("{set_variables: [{name: P, value: '../../etc'}]}, {name: C, copy_files: {from: 'a/%P%'}}");
    assert!(run.message().unwrap().contains("must not lead out"), "{:?}", run.message());
}

#[test]
fn section_2_a_step_of_macos_restarts_the_mac_waits_for_its_agent_and_goes_on_there() {
    let run = lab(
        "{name: Host, set_hostname: {name: '%Host%'}}, {name: End, set_variables: [{name: A, value: b}]}",
    );
    let restart = run.assignment().unwrap().clone();
    assert_eq!((restart.number, &restart.act, restart.step), (3, &Act::Restart, 3));
    assert!(run.waits_for_macos());
    let runner_alone = Event::Reconnected { boot: BootMethod::Netboot, same_start: true };
    assert_eq!(
        run.clone().apply(&runner_alone, 0).unwrap().assignment(),
        Some(&restart),
        "not restarted yet"
    );
    let run = run.apply(&Event::Done { number: 3, result: ActionResult::default() }, 0).unwrap();
    let Decision::Wait { why, .. } = run.next(0) else { panic!("{:?}", run.next(0)) };
    assert!(why.contains("waits for the Mac's agent on macOS") && why.contains("`Host`"), "{why}");
    let again =
        run.clone().apply(&Event::Reconnected { boot: BootMethod::Netboot, same_start: false }, 0).unwrap();
    assert!(matches!(again.next(0), Decision::Wait { .. }), "no second restart");
    let run = from_macos(again);
    let Act::OnMacos(what) = act(&run) else { panic!() };
    assert_eq!(*what, MacosAct::SetHostname { name: "mac-1".into() });
    assert_eq!(done(run).outcome(), Some(Outcome::Succeeded));
}

#[test]
fn section_2_after_a_restart_of_the_sequence_s_own_no_second_one_is_asked_for() {
    let run = lab("{restart: }, {name: Host, set_hostname: {name: a}}");
    let run = settled(run.apply(&Event::Done { number: 3, result: ActionResult::default() }, 0).unwrap(), 0);
    assert!(run.waits_for_macos() && run.assignment().is_none());
}

#[test]
fn section_1_work_of_the_boot_environment_waits_for_it_when_the_mac_was_started_into_macos() {
    let run = lab("{name: S, set_startup_disk: }");
    let away = from_macos(run);
    let Decision::Wait { why, .. } = away.next(0) else { panic!() };
    assert!(why.contains("hold N"), "{why}");
    let back = away.apply(&Event::Reconnected { boot: BootMethod::Netboot, same_start: false }, 0).unwrap();
    assert!(matches!(act(&back), Act::SetStartupDisk { .. }));
    let start = begin("{name: V, verify_image: }").start;
    let mut start = start.as_ref().clone();
    start.facts.boot = BootMethod::Macos;
    let run = settled(Run::start(start, 0).unwrap().0, 0);
    assert!(run.message().unwrap().contains("started on a live macOS"), "{:?}", run.message());
}

#[test]
fn section_2_a_run_that_waits_for_macos_is_closed_as_done_or_as_failed_and_then_resumed() {
    let run = lab("{name: Host, set_hostname: {name: a}}, {name: More, set_hostname: {name: b}}");
    let close = |done| run.clone().apply(&Event::Closed { by: "admin".into(), done }, 5).unwrap();
    let well = close(true);
    assert_eq!(well.outcome(), Some(Outcome::Succeeded));
    assert!(
        well.message().unwrap().contains("2 of 4 steps done")
            && well.message().unwrap().contains("closed by admin")
    );
    assert_eq!(
        states(&well)[2..],
        [("Host".to_owned(), StepState::Skipped), ("More".to_owned(), StepState::Skipped)]
    );
    let bad = close(false);
    assert_eq!((bad.outcome(), bad.can_resume()), (Some(Outcome::Failed), true));
    let again = settled(bad.apply(&Event::Resumed { by: "admin".into() }, 6).unwrap(), 6);
    assert!(again.waits_for_macos() && again.step_number() == 3);
    let early = begin(&script("a")).apply(&Event::Closed { by: "a".into(), done: true }, 0);
    assert!(matches!(early, Err(OutOfOrder::DoesNotFollow { .. })), "{early:?}");
}

#[test]
fn section_2_a_notification_is_filled_in_and_one_without_a_receiver_is_refused() {
    let run = settled(
        begin("{name: N, notify: {webhook: 'https://h/x', mail: ['lab@%Model%'], message: 'done %Model%'}}"),
        0,
    );
    assert!(run.message().unwrap().contains("neither the address"), "{:?}", run.message());
    let run = settled(
        begin("{name: N, notify: {webhook: 'https://h/x', mail: [a@b], message: 'done %Model%'}}"),
        0,
    );
    let Act::Notify(message) = act(&run) else { panic!() };
    assert_eq!((message.text.as_str(), message.mail.len()), ("done iMac14,2", 1));
}

/// What happens to a run from outside at any moment.
#[derive(Clone, Copy, Debug)]
enum Outside {
    Nothing,
    Cancel,
    Time,
    Macos,
    Netboot,
    Close(bool),
    Resume,
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        12 => Just(Outside::Nothing),
        1 => Just(Outside::Cancel),
        1 => Just(Outside::Time),
        2 => Just(Outside::Macos),
        2 => Just(Outside::Netboot),
        1 => any::<bool>().prop_map(Outside::Close),
        1 => Just(Outside::Resume),
    ]
}

/// A tree with steps of macOS in it.
fn tree_with_macos() -> impl Strategy<Value = String> {
    (tree(), any::<bool>()).prop_map(|(tree, host)| match host {
        true => format!("{tree}, {{name: h, set_hostname: {{name: a}}}}"),
        false => tree,
    })
}

fn cases() -> u32 {
    std::env::var("ROOTSTOCK_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Whatever happens, in whatever order: the record is the run, a run never ends as succeeded when a step that mattered
    /// failed, no step is left at work, and what was stopped ends.
    #[test]
    fn section_4_and_8_whatever_happens_a_run_never_ends_well_wrongly_and_its_record_is_the_run(
        trees in prop::collection::vec(tree_with_macos(), 1..3),
        happens in prop::collection::vec(outside(), 40),
    ) {
        let mut run = begin(&trees.join(", "));
        let first = Recorded { at_ms: 0, event: Event::Started(Box::new(run.start.as_ref().clone())) };
        let (mut record, mut happens) = (vec![first], happens.into_iter());
        let (mut stopped, mut closed) = (false, false);
        for at in 1..4_000_i64 {
            let at_ms = at * 1000;
            let outside = match happens.next().unwrap_or(Outside::Nothing) {
                Outside::Nothing => None,
                Outside::Cancel => Some(Event::Cancelled { by: "a".into() }),
                Outside::Time => Some(Event::RanOutOfTime),
                Outside::Macos => Some(Event::Reconnected { boot: BootMethod::Macos, same_start: false }),
                Outside::Netboot => Some(Event::Reconnected { boot: BootMethod::Netboot, same_start: false }),
                Outside::Close(done) => Some(Event::Closed { by: "a".into(), done }),
                Outside::Resume => Some(Event::Resumed { by: "a".into() }),
            };
            let event = match (outside, run.next(at_ms)) {
                (Some(event), _) => event,
                (None, Decision::Record(event)) => event,
                (None, Decision::Act(assignment)) => ended(&assignment),
                // Whoever is waited for comes.
                (None, Decision::Wait { .. }) if run.waits_for_macos() => Event::Reconnected { boot: BootMethod::Macos, same_start: false },
                (None, Decision::Wait { why, .. }) if why.contains("boot environment") => Event::Reconnected { boot: BootMethod::Netboot, same_start: false },
                (None, Decision::Wait { .. }) => continue,
                (None, _) if run.outcome().is_some() && happens.len() == 0 => break,
                (None, _) => continue,
            };
            let (before, was) = (run.clone(), run.outcome());
            match run.apply(&event, at_ms) {
                Ok(after) => {
                    run = after;
                    stopped |= matches!(event, Event::Cancelled { .. } | Event::RanOutOfTime) && was.is_none();
                    closed |= matches!(event, Event::Closed { .. });
                    if matches!(event, Event::Resumed { .. }) {
                        stopped = false;
                    }
                    record.push(Recorded { at_ms, event });
                }
                Err(_) => run = before,
            }
        }
        let rows = serde_json::to_string(&record).unwrap();
        let again = Run::replay(serde_json::from_str::<Vec<Recorded>>(&rows).unwrap()).unwrap();
        prop_assert_eq!(&again, &run);
        let Some(outcome) = run.outcome() else {
            return Err(TestCaseError::fail(format!("no end: {:?}", run.next(4_000_000))));
        };
        prop_assert!(!(stopped && outcome == Outcome::Succeeded), "a stopped run ended well");
        if outcome == Outcome::Succeeded && !closed {
            let left = run.steps().any(|(_, record)| record.state == StepState::Pending);
            prop_assert!(!left, "a step was never reached and nobody said why");
        }
        let at_work = run.steps().any(|(_, record)| record.state == StepState::Running);
        prop_assert!(!at_work, "a step is left at work");
    }

    /// A required step that fails and that nothing mends or passes over is the end of the run, whatever its retries.
    #[test]
    fn section_4_a_required_step_that_failed_is_never_success(before in prop::collection::vec(tree(), 0..2), count in 0..3_u32, after in tree()) {
        let bad = format!("{{name: '!required', retry: {{count: {count}}}, execute_script: {{script: '#!/bin/sh'}}}}");
        let steps: Vec<String> = before.into_iter().chain([bad, after]).collect();
        let (run, acted) = work(begin(&steps.join(", ")));
        prop_assert_eq!(run.outcome(), Some(Outcome::Failed));
        let reached = run.steps().any(|(step, record)| step.name == "!required" && record.state == StepState::Failed);
        let tries = acted.iter().filter(|name| *name == "!required").count() as u32;
        prop_assert_eq!(tries, if reached { count + 1 } else { 0 });
    }
}

#[test]
fn section_6_a_run_that_takes_longer_than_it_may_fails_wherever_it_is() {
    let yaml = format!("name: x\nmaximum_run_time: 1 h\nsteps: [{}]\n", script("a"));
    let run = settled(begin_with(&yaml, &[], &[]), 0);
    assert!(matches!(run.next(3_599_999), Decision::Act(_)));
    let run = settled(run, 3_600_000);
    assert_eq!(run.outcome(), Some(Outcome::Failed));
    assert!(run.failure().unwrap().cause.contains("1 h"));
}

#[test]
fn section_8_a_step_of_a_catch_that_is_resumed_knows_what_it_catches_as_it_did_before() {
    let (a, b, c) = (script("'!a'"), script("'!b'"), script("c"));
    let run = begin(&format!("{{name: G, group: [{a}], catch: [{b}], finally: [{c}]}}"));
    let last = |run: &Run| run.variables().get(&"LastActionName".parse().unwrap()).unwrap().text.clone();
    let (mut run, acted) = work(run);
    assert_eq!((names(&acted).as_str(), last(&run).as_str()), ("!a !b c", "c"));
    run = run.apply(&Event::Resumed { by: "ana".into() }, 0).unwrap();
    while let Decision::Record(event) = run.next(0) {
        run = run.apply(&event, 0).unwrap();
    }
    assert_eq!(run.assignment().unwrap().name, "!b");
    assert_eq!(last(&run), "!a");
}
