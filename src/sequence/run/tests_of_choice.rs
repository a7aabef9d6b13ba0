//! Where an image goes when its sequence does not say (task-sequences sections 2 and 7).

use super::act::{Act, Target};
use super::event::{ActionResult, PinnedImage};
use super::*;
use crate::sequence::model::Sequence;
use crate::sequence::variable::{Facts, Value};
use crate::value::Digest;

fn start(yaml: &str, variables: &[(&str, &str)]) -> (Run, Recorded) {
    let pinned = PinnedImage {
        name: "lab".into(),
        asked: None,
        ring: None,
        version: 3,
        manifest: Digest::of(b"lab 3"),
    };
    let value = |(name, text): &(&str, &str)| (name.parse().unwrap(), Value::plain(*text));
    let start = Start {
        sequence: Sequence::from_yaml(yaml).unwrap(),
        facts: Facts::default(),
        collection: Default::default(),
        device: variables.iter().map(value).collect(),
        images: vec![pinned],
        others: Default::default(),
        by: None,
        unattended: false,
    };
    Run::start(start, 0).unwrap()
}

/// Records what the engine wants recorded until it wants something else.
fn settle(mut run: Run, record: &mut Vec<Recorded>) -> (Run, Decision) {
    loop {
        match run.next(0) {
            Decision::Record(event) => run = say(run, record, event),
            decision => return (run, decision),
        }
    }
}

fn say(run: Run, record: &mut Vec<Recorded>, event: Event) -> Run {
    let run = run.apply(&event, 0).unwrap();
    record.push(Recorded { at_ms: 0, event });
    run
}

fn chosen(partition: u32) -> Chosen {
    let described = format!("partition {partition}");
    Chosen { disk: 1, partition, serial: "S1".into(), size: 7, described }
}

fn choose(step: u32, partition: u32) -> Event {
    Event::DestinationChosen { step, by: "ana".into(), chosen: chosen(partition) }
}

fn asked_for(decision: &Decision) -> u32 {
    match decision {
        Decision::Ask(Question::Destination { step, .. }) => *step,
        other => panic!("no destination is asked for: {other:?}"),
    }
}

fn target(decision: Decision) -> (u32, Target) {
    match decision {
        Decision::Act(assignment) => match assignment.act {
            Act::ApplyImage { target, .. } => (assignment.number, target),
            other => panic!("{other:?}"),
        },
        other => panic!("no action: {other:?}"),
    }
}

const ONE: &str = "name: x\nsteps:\n  - {name: Apply, apply_image: {image: lab}}\n  - verify_image:\n";

#[test]
fn section_2_a_sequence_without_destination_asks_the_technician_and_the_first_answer_wins() {
    let (run, first) = start(ONE, &[]);
    let mut record = vec![first];
    let (run, decision) = settle(run, &mut record);
    assert_eq!(asked_for(&decision), 1);
    let Decision::Ask(question) = &decision else { panic!() };
    assert!(question.line().contains("lab 3"), "{}", question.line());
    assert_eq!(run.clone().apply(&choose(2, 2), 0), Err(OutOfOrder::NoDestinationAsked(2)));
    let run = say(run, &mut record, choose(1, 2));
    assert_eq!(run.clone().apply(&choose(1, 3), 0), Err(OutOfOrder::NoDestinationAsked(1)));
    let (run, decision) = settle(run, &mut record);
    assert_eq!(target(decision), (1, Target::Chosen(chosen(2))));
    assert_eq!(Run::replay(record.clone()).unwrap(), run, "the record is the run");
    let row = serde_json::to_string(&record[1]).unwrap();
    assert_eq!(serde_json::from_str::<Recorded>(&row).unwrap(), record[1], "{row}");
    assert_eq!(record[1].event.line(), "ana chose partition 2");
    // What comes back to the volume comes back to that one.
    let receipt = Some(Digest::of(b"lab 3"));
    let done = Event::Done { number: 1, result: ActionResult { receipt, ..ActionResult::default() } };
    let (_, decision) = settle(say(run, &mut record, done), &mut record);
    let Decision::Act(assignment) = decision else { panic!("{decision:?}") };
    let Act::VerifyImage(applied) = assignment.act else { panic!() };
    assert_eq!(applied[0].target, Target::Chosen(chosen(2)));
}

#[test]
fn section_7_values_are_asked_before_the_destination_and_both_before_anything_is_destroyed() {
    let yaml = "name: x\nsteps:\n  - {name: one, apply_image: {image: lab}}\n  - {name: never, if: {all: [{variable: Room, equals: nowhere}]}, apply_image: {image: lab}}\n  - {name: two, apply_image: {image: lab}}\n  - wait_for_technician: {message: 'to %Room%'}\n";
    let (run, first) = start(yaml, &[("Room", "")]);
    let mut record = vec![first];
    let (run, decision) = settle(run, &mut record);
    assert!(matches!(decision, Decision::Ask(Question::Values(_))), "{decision:?}");
    let values = vec![("Room".parse().unwrap(), Value::plain("lab"))];
    let run = say(run, &mut record, Event::Answered { by: "ana".into(), values });
    let (run, decision) = settle(run, &mut record);
    assert_eq!(asked_for(&decision), 1);
    let (run, decision) = settle(say(run, &mut record, choose(1, 2)), &mut record);
    assert_eq!(asked_for(&decision), 3, "the second image, before the first is written");
    let (_, decision) = settle(say(run, &mut record, choose(3, 4)), &mut record);
    assert_eq!(target(decision).1, Target::Chosen(chosen(2)));
}

#[test]
fn section_2_where_the_sequence_formats_nobody_is_asked_unless_the_format_step_is_left_out() {
    let yaml = "name: x\nsteps:\n  - {if: {all: [{variable: Wipe, equals: 'yes'}]}, format_disk: {partitions: [{name: HD, format: raw, size: 100%}]}}\n  - {name: Apply, apply_image: {image: lab}}\n";
    let (run, first) = start(yaml, &[("Wipe", "yes")]);
    let (run, decision) = settle(run, &mut vec![first]);
    let Decision::Act(format) = decision else { panic!("{decision:?}") };
    assert!(matches!(format.act, Act::FormatDisk { .. }));
    let nodes = vec!["/dev/sda2".to_owned()];
    let done = Event::Done { number: 1, result: ActionResult { nodes, ..ActionResult::default() } };
    let (_, decision) = settle(run.apply(&done, 0).unwrap(), &mut Vec::new());
    assert_eq!(target(decision).1, Target::Node("/dev/sda2".into()));
    let (run, first) = start(yaml, &[("Wipe", "no")]);
    assert_eq!(asked_for(&settle(run, &mut vec![first]).1), 2);
}

#[test]
fn section_4_a_resumed_step_asks_again_where_its_image_goes_a_retried_one_does_not() {
    let yaml = "name: x\nsteps:\n  - {name: Apply, retry: {count: 1}, apply_image: {image: lab}}\n";
    let (run, first) = start(yaml, &[]);
    let mut record = vec![first];
    let (run, _) = settle(run, &mut record);
    let (mut run, decision) = settle(say(run, &mut record, choose(1, 2)), &mut record);
    assert_eq!(target(decision).0, 1);
    for number in [1, 2] {
        let failure = Failure {
            cause: "it broke".into(),
            evidence: String::new(),
            next_step: String::new(),
            exit_code: None,
        };
        run = settle(say(run, &mut record, Event::Failed { number, failure }), &mut record).0;
    }
    assert_eq!((run.outcome(), run.failed_at()), (Some(Outcome::Failed), Some(0)));
    let (run, decision) = settle(say(run, &mut record, Event::Resumed { by: "ana".into() }), &mut record);
    assert_eq!(asked_for(&decision), 1);
    let (_, decision) = settle(say(run, &mut record, choose(1, 5)), &mut record);
    assert_eq!(target(decision), (3, Target::Chosen(chosen(5))));
}
