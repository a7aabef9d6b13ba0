//! Sequences with groups, conditions, questions and secrets on a real server, and what survives its restart.

use std::fs;
use std::path::Path;

use rootstock::api::admin::{self, StepState, Variable, VariableValue};
use rootstock::api::runner::*;
use rootstock::client::Client;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, json, refused};

fn set(client: &Client, owner: &str, name: &str, value: &str, secret: bool) -> Variable {
    let body = VariableValue { value: value.into(), secret };
    client.put(&format!("/api/v1/{owner}/variables/{name}"), &body).unwrap()
}

fn failed(code: i32) -> ReportEvent {
    ReportEvent::Failed(Failure {
        cause: "it broke".into(),
        evidence: String::new(),
        next_step: String::new(),
        exit_code: Some(code),
    })
}

fn exit(code: i32) -> Done {
    Done { exit_code: Some(code), ..Done::default() }
}

fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn section_3_variables_of_device_and_collection_reach_the_run_and_secrets_are_nowhere_in_plain() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    Mac::boot(&appliance, "C02SPINE0001");
    let admin = appliance.admin();
    set(&admin, "collections/Unknown%20Macs", "Room", "collection", false);
    set(&admin, "collections/all%20macs", "Floor", "3", false);
    set(&admin, "devices/1", "ROOM", "device", false);
    let key = set(&admin, "devices/1", "Key", "hunter2-of-device", true);
    assert_eq!((key.value, key.secret, key.empty), (None, true, false));
    assert_eq!(
        refused(admin.put::<_, Variable>(
            "/api/v1/devices/1/variables/Model",
            &VariableValue { value: "x".into(), secret: false }
        ))
        .0,
        422
    );
    let saved = "name: Secretive
steps:
  - set_variables: [{name: Own, value: hunter2-of-sequence, secret: true}] # a comment
  - execute_script: {script: '#!/bin/sh'}
";
    appliance.apply(saved);
    assert!(appliance.apply(saved).unchanged, "the same file again is the same revision");
    appliance.deploy("Secretive", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let number = work.act().number;
    let Action::ExecuteScript { environment, secrets, .. } = work.act().action else { panic!() };
    for (name, value) in
        [("ROOM", "device"), ("Floor", "3"), ("Key", "hunter2-of-device"), ("Own", "hunter2-of-sequence")]
    {
        assert!(environment.contains(&(name.into(), value.into())), "{name}: {environment:?}");
    }
    assert_eq!(secrets.len(), 2);
    let values = vec![
        ("key".into(), "hunter2-of-script".into()),
        ("Desk".into(), "7".into()),
        ("Model".into(), "x".into()),
    ];
    work.try_report(number, ReportEvent::Variables { values }).unwrap();
    for path in [
        "/api/v1/devices/1/variables",
        "/api/v1/sequences/Secretive",
        "/api/v1/runs/1",
        "/api/v1/runs/1/events",
    ] {
        let text = json(&admin, path).to_string();
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
    let shown = json(&admin, "/api/v1/sequences/Secretive").to_string();
    assert!(shown.contains("sealed.v1.") && shown.contains("# a comment"), "{shown}");
    let (ticket, id) = (work.ticket.clone(), work.ticket.run);
    appliance.stop();
    assert!(!holds(&data, "hunter2"), "a secret lies in the data folder in plain");
    let appliance = Appliance::start(&data);
    let work = Work { appliance: &appliance, ticket };
    work.done(number, exit(0));
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Succeeded, .. }));
    let lines = json(&appliance.admin(), &format!("/api/v1/runs/{id}/events")).to_string();
    assert!(
        lines.contains("Desk=7") && lines.contains("key=••••••••") && !lines.contains("Model=x"),
        "{lines}"
    );
    appliance.admin().delete("/api/v1/devices/1/variables/room").unwrap();
    assert_eq!(json(&appliance.admin(), "/api/v1/devices/1/variables").as_array().unwrap().len(), 1);
}

const BRANCHES: &str = "name: Branches
steps:
  - {name: never, if: {all: [{variable: Model, like: 'MacBook*'}]}, restart: }
  - name: G
    if: {all: [{variable: Model, like: 'iMac*'}]}
    group:
      - {name: a, execute_script: {script: '#!/bin/sh'}}
      - {name: b, execute_script: {script: '#!/bin/sh'}}
    finally:
      - {name: c, execute_script: {script: '#!/bin/sh'}}
  - {name: Call, run_sequence: {sequence: Inner}}
";

#[test]
fn section_4_conditions_groups_nested_sequences_and_resuming_work_over_the_wire_and_across_a_restart() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    let admin = appliance.admin();
    let text = admin::SequenceText { yaml: BRANCHES.into() };
    let (status, problem) = refused(admin.post::<_, admin::SavedSequence>("/api/v1/sequences", &text));
    assert!(status == 422 && problem.error.contains("unknown-sequence"), "{problem:?}");
    appliance.apply("name: Inner\nsteps: [{name: inner, execute_script: {script: '#!/bin/sh'}}]\n");
    appliance.apply(BRANCHES);
    assert_eq!(refused(admin.remove::<serde_json::Value>("/api/v1/sequences/Inner")).0, 409);
    appliance.deploy("Branches", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    assert_eq!(work.ticket.steps, 5);
    let act = |work: &Work<'_>| {
        let assignment = work.act();
        (assignment.name, assignment.number)
    };
    assert_eq!(act(&work), ("a".to_owned(), 1));
    work.done(1, exit(0));
    work.act();
    work.try_report(2, failed(4)).unwrap();
    assert_eq!(act(&work), ("c".to_owned(), 3), "finally");
    work.done(3, exit(0));
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Failed, .. }));
    let run = appliance.run(1);
    assert!(run.can_resume);
    assert_eq!(
        (run.step_list[0].state, run.step_list[2].groups.clone()),
        (StepState::Skipped, vec!["G".to_owned()])
    );
    assert!(run.step_list[0].why.as_ref().unwrap().contains("is not like `MacBook*`"), "{run:?}");
    let ticket = work.ticket.clone();
    appliance.stop();

    let appliance = Appliance::start(&data);
    let admin = appliance.admin();
    let run: admin::Run = admin.post("/api/v1/runs/1/resume", &serde_json::json!({})).unwrap();
    assert_eq!((run.summary.outcome, run.summary.step), (None, 3));
    assert_eq!(refused(admin.post::<_, admin::Run>("/api/v1/runs/1/resume", &serde_json::json!({}))).0, 409);
    let work = Work { appliance: &appliance, ticket };
    for name in ["b", "c", "inner"] {
        let (at, number) = act(&work);
        assert_eq!(at, name);
        work.done(number, exit(0));
    }
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Succeeded, .. }));
    let log = json(&admin, "/api/v1/runs/1/events").to_string();
    for part in ["group-entered", "resumed from the failed step by ", "left out: Model is"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn section_3_a_run_asks_for_empty_variables_and_waits_for_a_person_and_the_first_answer_wins() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    set(&admin, "collections/All%20Macs", "Room", "", false);
    set(&admin, "collections/All%20Macs", "Pin", "", true);
    appliance.apply("name: Asking\nsteps:\n  - set_variables: [{name: Host, value: '%Room%-%Pin%'}]\n  - {name: W, wait_for_technician: {message: 'Plug %Model% in'}}\n  - execute_script: {script: '#!/bin/sh'}\n");
    appliance.deploy("Asking", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let Next::Wait { why, .. } = work.try_next().unwrap() else { panic!() };
    assert_eq!(why, "waits for values of Pin, Room");
    let asked = appliance.run(1).question.unwrap().variables;
    assert_eq!(
        asked.iter().map(|one| (one.name.as_str(), one.secret)).collect::<Vec<_>>(),
        [("Pin", true), ("Room", false)]
    );
    let answer = |values: &[(&str, &str)]| {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        admin.post::<_, admin::Run>("/api/v1/runs/1/answers", &admin::RunAnswers { values })
    };
    assert_eq!(refused(answer(&[("Host", "x")])).0, 409);
    answer(&[("room", "b12"), ("Pin", "hunter2")]).unwrap();
    assert_eq!(refused(answer(&[("Room", "b13")])).0, 409);
    let Next::Wait { why, .. } = work.try_next().unwrap() else { panic!() };
    assert_eq!(why, "Plug iMac14,2 in [Continue]");
    assert_eq!(appliance.run(1).question.unwrap().message.as_deref(), Some("Plug iMac14,2 in"));
    let confirm = || admin.post::<_, admin::Run>("/api/v1/runs/1/confirm", &serde_json::json!({}));
    confirm().unwrap();
    assert_eq!(refused(confirm()).0, 409);
    let Action::ExecuteScript { environment, secrets, .. } = work.act().action else { panic!() };
    assert!(environment.contains(&("Host".into(), "b12-hunter2".into())), "{environment:?}");
    assert_eq!(secrets.len(), 2, "what is made of a secret is one");
    let log = json(&admin, "/api/v1/runs/1/events").to_string();
    assert!(!log.contains("hunter2") && log.contains("Pin=••••••••"), "{log}");
}

#[test]
fn section_1_entries_are_copied_and_moved_between_saved_sequences_and_what_comes_of_it_is_checked() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    appliance.apply("name: A\nsteps:\n  - name: G\n    description: why\n    group:\n      - set_variables: [{name: Key, value: hunter2, secret: true}]\n      - {name: use, timeout: 5min, execute_script: {script: '#!/bin/sh'}}\n  - {name: last, restart: }\n");
    appliance.apply("name: B\nsteps:\n  - {name: first, restart: }\n");
    let edit = |name: &str, revision: Option<u32>, edit: serde_json::Value| {
        let body = serde_json::json!({ "revision": revision, "edit": edit });
        admin.post::<_, admin::EditedSequence>(&format!("/api/v1/sequences/{name}/entries"), &body)
    };
    let text =
        |name: &str| json(&admin, &format!("/api/v1/sequences/{name}"))["yaml"].as_str().unwrap().to_owned();
    let copy = serde_json::json!({"copy": {"entry": "G", "from": "A", "to": {"before": "first"}}});
    let done = edit("B", Some(1), copy.clone()).unwrap();
    assert_eq!((done.saved.revision, done.entry.as_deref()), (2, Some("steps[0]")));
    let copied = text("B");
    for part in ["description: why", "timeout: 5", "name: Key"] {
        assert!(copied.contains(part), "{part}: {copied}");
    }
    assert!(!copied.contains("hunter2"), "a secret stays sealed");
    assert_eq!(refused(edit("B", Some(1), copy)).0, 409, "there is a newer revision");
    let moved = serde_json::json!({"move": {"entry": "use", "from": "A", "to": {"finally": "G"}}});
    let done = edit("B", None, moved).unwrap();
    assert_eq!((done.saved.revision, done.entry.as_deref()), (3, Some("steps[0].finally[0]")));
    assert_eq!(done.other.map(|other| (other.name, other.revision)), Some(("A".to_owned(), 2)));
    assert!(!text("A").contains("use"));
    let down = edit("A", None, serde_json::json!({"up": {"entry": "last"}})).unwrap();
    assert_eq!(down.entry.as_deref(), Some("steps[0].group[1]"));
    // Both or none: a sequence that is left without steps is not saved, and the other is as it was.
    let all = serde_json::json!({"move": {"entry": "steps[0]", "from": "A"}});
    let (status, problem) = refused(edit("B", None, all));
    assert!(status == 422 && problem.error.contains("`A` was not saved"), "{problem:?}");
    let newest = |name: &str| json(&admin, &format!("/api/v1/sequences/{name}"))["revision"].as_u64();
    assert_eq!((newest("A"), newest("B")), (Some(3), Some(3)));
    let wrong = |asked| refused(edit("B", None, asked));
    assert_eq!(wrong(serde_json::json!({"remove": {"entry": "nobody"}})).0, 404);
    let (status, problem) = wrong(serde_json::json!({"profile": {"profile": "hello"}}));
    assert!(status == 422 && problem.error.contains("neither"), "{problem:?}");
}
