//! Runs over the runner protocol, seen by the admin.

use rootstock::api::admin::{self, StepState};
use rootstock::api::runner::*;
use rootstock::value::Secret;
use tempfile::tempdir;

use super::appliance::{Appliance, MAC, Mac, Work, json, refused};

#[test]
fn a_mac_says_hello_runs_the_sequence_and_is_known_afterwards() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let [offer] = mac.welcome.offers.as_slice() else { panic!("{:?}", mac.welcome) };
    assert_eq!((offer.purpose, offer.erases.as_slice()), (Purpose::Required, &[0][..]));
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let run = work.ticket.run;

    let format = work.act();
    assert_eq!((format.number, format.step, format.steps), (1, 1, 3));
    let progress = Progress { phase: "formatting".into(), done: 5, total: 10, ..Progress::default() };
    work.try_report(1, ReportEvent::Progress(progress.clone())).unwrap();
    work.try_report(1, ReportEvent::Log { first: None, lines: vec!["one".into(), "two".into()] }).unwrap();
    let seen = appliance.run(run);
    assert_eq!((seen.progress, seen.at.as_deref()), (Some(progress), Some("Format and Partition Disk")));
    work.formatted();

    let (number, manifest) = work.apply();
    let (image, locations) = work.locations(&mac, manifest);
    work.check_chunks(&image, &locations);
    let receipt = mac.receipt(run, number, manifest);
    work.done(number, Done { receipt: Some(receipt.clone()), ..Done::default() });
    let restart = work.act();
    assert!(matches!(restart.action, Action::Restart));
    assert!(work.done(restart.number, Done::default()).stop);
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Succeeded, .. }));

    let seen = appliance.run(run);
    assert_eq!(seen.summary.outcome, Some(Outcome::Succeeded));
    assert_eq!((seen.receipts, seen.images), (vec![receipt], vec!["lab 1".to_owned()]));
    assert!(seen.step_list.iter().all(|step| step.state == StepState::Succeeded), "{:?}", seen.step_list);
    let again = Mac::boot(&appliance, "C02SPINE0001");
    assert_eq!(again.welcome.device, mac.welcome.device);
    assert!(again.welcome.why_empty.unwrap().contains("known to the appliance"));
    let client: admin::Client = appliance.admin().get(&format!("/api/v1/clients/{MAC}")).unwrap();
    assert_eq!(client.devices, [mac.welcome.device]);
}

#[test]
fn the_timeline_of_a_client_holds_what_its_runner_did() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    mac.start(&appliance);
    let data = appliance.data.clone();
    // Events are written behind the requests; a stop writes what is left.
    appliance.stop();
    let appliance = Appliance::start(&data);
    let client: admin::Client = appliance.admin().get(&format!("/api/v1/clients/{MAC}")).unwrap();
    let details: Vec<_> = client.events.iter().map(|event| event.detail.as_str()).collect();
    assert_eq!(
        details,
        ["runner test on iMac14,2 C02SPINE0001: offered 1 sequence", "run 1 of Lab Mac started"]
    );
}

#[test]
fn a_restart_of_the_server_loses_nothing_and_the_runner_goes_on_with_its_token() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let ticket = mac.start(&appliance);
    let work = Work { appliance: &appliance, ticket: ticket.clone() };
    work.formatted();
    let (number, manifest) = work.apply();
    let data = appliance.data.clone();
    appliance.stop();

    let appliance = Appliance::start(&data);
    let work = Work { appliance: &appliance, ticket };
    assert_eq!(work.apply(), (number, manifest), "the same assignment until it is reported on");
    let receipt = mac.receipt(work.ticket.run, number, manifest);
    work.done(number, Done { receipt: Some(receipt), ..Done::default() });
    assert!(matches!(work.act().action, Action::Restart));
}

#[test]
fn how_far_an_action_is_outlives_a_restart_of_the_server() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let (run, number) = (work.ticket.run, work.act().number);
    let progress = Progress { phase: "formatting".into(), done: 5, total: 10, ..Progress::default() };
    work.try_report(number, ReportEvent::Progress(progress.clone())).unwrap();
    let data = appliance.data.clone();
    appliance.stop();
    let appliance = Appliance::start(&data);
    assert_eq!(appliance.run(run).progress, Some(progress));
}

#[test]
fn a_runner_that_was_started_anew_gets_its_run_back_and_the_old_token_ends() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let first = Mac::boot(&appliance, "C02SPINE0001");
    let old = Work { appliance: &appliance, ticket: first.start(&appliance) };
    old.formatted();
    let (number, manifest) = old.apply();

    let mut second = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: second.welcome.run.clone().expect("the run goes on") };
    assert_eq!(work.ticket.run, old.ticket.run);
    assert_eq!(refused(old.try_next()).0, 401);
    assert_eq!(work.apply(), (number, manifest), "applying may be repeated");
    // A hello that is repeated by the same runner is no new start.
    second.again(&appliance);
    let work = Work { appliance: &appliance, ticket: second.welcome.run.clone().unwrap() };
    let stale = first.receipt(work.ticket.run, number, manifest);
    work.done(number, Done { receipt: Some(stale), ..Done::default() });
    let Next::Finished { outcome: Outcome::Failed, message, .. } = work.try_next().unwrap() else {
        panic!("a receipt of the runner before is no proof");
    };
    assert!(message.contains("no valid receipt"), "{message}");
    let events: Vec<admin::RunEvent> =
        appliance.admin().get(&format!("/api/v1/runs/{}/events", work.ticket.run)).unwrap();
    assert_eq!(events.iter().filter(|event| event.kind == "reconnected").count(), 1);
}

#[test]
fn reports_out_of_order_are_refused_and_repeated_ones_are_harmless() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let (status, problem) = refused(work.try_report(1, ReportEvent::Done(Box::default())));
    assert_eq!(status, 409, "{problem:?}");
    work.formatted();
    work.done(1, Done { nodes: vec!["/dev/other".into()], ..Done::default() });
    assert_eq!(work.apply().0, 2, "the first report counts");
    assert_eq!(refused(work.try_report(7, ReportEvent::Progress(Progress::default()))).0, 409);
    work.try_report(1, ReportEvent::Progress(Progress::default())).unwrap();
    work.try_report(2, ReportEvent::Unknown).unwrap();
}

#[test]
fn starting_is_repeatable_for_the_same_runner_and_refused_for_another_deployment() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    appliance.apply("name: Other\nsteps: [{restart: }]");
    let other = appliance.deploy("Other", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let (first, second) = (mac.start(&appliance), mac.start(&appliance));
    assert_eq!(first.run, second.run);
    let work = Work { appliance: &appliance, ticket: first };
    assert_eq!(refused(work.try_next()).0, 401, "the answer that got lost does not count");
    let (status, problem) = refused(mac.try_start(&appliance, other.id));
    assert_eq!(status, 409);
    assert!(problem.error.contains("has not ended"), "{problem:?}");
    assert_eq!(refused(mac.try_start(&appliance, 99)).0, 409);
}

#[test]
fn a_cancelled_run_stops_its_runner_and_is_told_in_the_list() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let number = work.act().number;
    let cancel = format!("/api/v1/runs/{}/cancel", work.ticket.run);
    let run: admin::Run = appliance.admin().post(&cancel, &()).unwrap();
    assert_eq!(run.summary.outcome, Some(Outcome::Cancelled));
    assert!(work.try_report(number, ReportEvent::Progress(Progress::default())).unwrap().stop);
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Cancelled, .. }));
    assert_eq!(refused(appliance.admin().post::<_, admin::Run>(&cancel, &())).0, 409);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    assert_eq!(mac.welcome.offers[0].purpose, Purpose::Required, "it may be started again");
}

#[test]
fn tokens_open_what_they_are_for_and_nothing_else() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let (one, two) = (Mac::boot(&appliance, "C02SPINE0001"), Mac::boot(&appliance, "C02SPINE0002"));
    let first = Work { appliance: &appliance, ticket: one.start(&appliance) };
    let second = Work { appliance: &appliance, ticket: two.start(&appliance) };
    let crossed =
        Work { appliance: &appliance, ticket: RunTicket { run: second.ticket.run, ..first.ticket.clone() } };
    assert_eq!(refused(crossed.try_next()).0, 403);
    let invented = Secret::new("0".repeat(64));
    for token in [None, Some(&invented), Some(&one.welcome.session), Some(&first.ticket.token)] {
        let client = appliance.network(token);
        assert_eq!(refused(client.get::<admin::Status>("/api/v1/status")).0, 401);
    }
    let (number, manifest) = {
        first.formatted();
        first.apply()
    };
    assert_eq!(number, 2);
    let path = format!("/runner/v1/manifests/{manifest}");
    for token in [None, Some(&invented), Some(&one.welcome.session)] {
        assert_eq!(refused(appliance.network(token).download(&path, 1 << 20)).0, 401);
    }
    let other = format!("/runner/v1/manifests/{}", rootstock::value::Digest::of(b"other"));
    assert_eq!(refused(first.client().download(&other, 1 << 20)).0, 403);
    let token = std::fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap();
    let admin = appliance.network(Some(&Secret::new(token.trim())));
    assert_eq!(json(&admin, "/api/v1/status")["active_runs"], 2);
    assert_eq!(json(&admin, "/api/v1/library")["store"], serde_json::Value::Null);
}

#[test]
fn what_cannot_be_read_is_answered_with_a_problem() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let post = |path: &str, body: &serde_json::Value| refused(admin.post::<_, serde_json::Value>(path, body));
    let (status, problem) = post("/api/v1/sequences", &serde_json::json!({"yml": "x"}));
    assert!(status == 400 && problem.error.contains("unknown field `yml`"), "{status} {problem:?}");
    let (status, problem) =
        post("/api/v1/sequences", &serde_json::json!({"yaml": "name: x\nsteps: [{fly: }]"}));
    assert!(status == 422 && problem.error.contains("line 2"), "{status} {problem:?}");
    let (status, problem) = post("/api/v1/nothing", &serde_json::json!({}));
    assert!(status == 404 && problem.error.contains("/api/v1/nothing"), "{status} {problem:?}");
    assert_eq!(post("/api/v1/status", &serde_json::json!({})).0, 405);
    for path in
        ["/api/v1/runs/7", "/api/v1/images/none", "/api/v1/jobs/1", "/api/v1/clients/02:00:00:00:00:01"]
    {
        assert_eq!(refused(admin.get::<serde_json::Value>(path)).0, 404, "{path}");
    }
    assert_eq!(refused(admin.get::<serde_json::Value>("/api/v1/clients/nonsense")).0, 400);
    let (status, problem) =
        refused(appliance.network(None).post::<_, Welcome>("/runner/v1/hello", &serde_json::json!({})));
    assert!(status == 400 && problem.error.contains("missing field"), "{status} {problem:?}");
}

#[test]
fn a_refusal_that_needs_no_body_is_read_by_a_client_that_still_sends_one() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let body = "x".repeat(900_000);
    for client in [appliance.admin(), appliance.network(None)] {
        for _ in 0..20 {
            assert_eq!(refused(client.post::<_, serde_json::Value>("/nothing/here", &body)).0, 404);
        }
    }
    // Longer bodies are not sent before the appliance wants them.
    let stranger = appliance.network(Some(&Secret::new("0".repeat(64))));
    let long = "x".repeat(3 << 20);
    for _ in 0..20 {
        assert_eq!(refused(stranger.post::<_, serde_json::Value>("/api/v1/sequences", &long)).0, 401);
    }
    let comment = format!("# {}\n{}", "x".repeat(2 << 20), super::appliance::SEQUENCE);
    let token = std::fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap();
    for client in [appliance.admin(), appliance.network(Some(&Secret::new(token.trim())))] {
        let body = admin::SequenceText { yaml: comment.clone() };
        // Taken in whole: the image that it applies is what is missing.
        match client.post::<_, admin::SavedSequence>("/api/v1/sequences", &body) {
            Ok(saved) => assert_eq!(saved.name, "Lab Mac"),
            Err(error) => assert_eq!(refused::<admin::SavedSequence>(Err(error)).0, 422),
        }
    }
}

/// Lines of the log as the admin sees them.
fn log(appliance: &Appliance, run: i64) -> Vec<String> {
    let path = format!("/api/v1/runs/{run}/events");
    let events: Vec<admin::RunEvent> = appliance.admin().get(&path).unwrap();
    let lines = events.into_iter().filter(|event| event.kind == "log");
    lines.flat_map(|event| event.detail.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn log_lines_that_are_sent_again_are_kept_once_and_those_of_a_new_runner_count_anew() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let mut work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let number = work.act().number;
    let say = |work: &Work<'_>, number, first, lines: &[&str]| {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        work.try_report(number, ReportEvent::Log { first: Some(first), lines }).unwrap();
    };
    say(&work, number, 0, &["one", "two"]);
    say(&work, number, 0, &["one", "two"]);
    say(&work, number, 1, &["two", "three"]);
    let (ticket, run) = (work.ticket.clone(), work.ticket.run);
    appliance.stop();
    let appliance = Appliance::start(&data);
    work = Work { appliance: &appliance, ticket };
    say(&work, number, 2, &["three", "four"]);
    work.formatted();
    let second = work.act().number;
    say(&work, second, 0, &["five"]);
    say(&work, number, 0, &["one", "two"]);
    assert_eq!(log(&appliance, run), ["one", "two", "three", "four", "five"]);
    let again = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: again.welcome.run.unwrap() };
    say(&work, second, 0, &["anew"]);
    assert_eq!(log(&appliance, run).last().unwrap(), "anew");
}

#[test]
fn section_3_the_value_of_a_secret_variable_is_in_no_answer_to_people() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(
        "name: Secretive
steps:
  - set_variables: [{name: Key, value: hunter2, secret: true}]
  - execute_script: {script: '#!/bin/sh'}
",
    );
    appliance.deploy("Secretive", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let assignment = work.act();
    let Action::ExecuteScript { environment, secrets, .. } = &assignment.action else { panic!() };
    assert!(environment.iter().any(|(_, value)| value == "hunter2"), "the runner must have it");
    assert_eq!(secrets[0].expose(), "hunter2");
    // A runner that forgets to mask.
    let careless = |text: &str| format!("the key is hunter2 {text}");
    work.try_report(1, ReportEvent::Log { first: None, lines: vec![careless("in the log")] }).unwrap();
    let progress = Progress { phase: careless("at work"), ..Progress::default() };
    work.try_report(1, ReportEvent::Progress(progress)).unwrap();
    let path = format!("/api/v1/runs/{}", work.ticket.run);
    let running = json(&appliance.admin(), &path).to_string();
    assert!(running.contains("at work") && !running.contains("hunter2"), "{running}");
    let failure = Failure {
        cause: careless("cause"),
        evidence: careless("evidence"),
        next_step: careless("next"),
        exit_code: Some(1),
    };
    work.try_report(1, ReportEvent::Failed(failure)).unwrap();
    let Next::Finished { message, .. } = work.try_next().unwrap() else { panic!() };
    assert!(!message.contains("hunter2"), "{message}");
    for path in [path.clone(), format!("{path}/events"), "/api/v1/runs".into(), "/api/v1/devices/1".into()] {
        let text = json(&appliance.admin(), &path).to_string();
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
    let shown = json(&appliance.admin(), &path);
    assert!(shown["failure"]["evidence"].as_str().unwrap().ends_with("evidence"), "{shown}");
    let data = appliance.data.clone();
    appliance.stop();
    let appliance = Appliance::start(&data);
    let client = json(&appliance.admin(), &format!("/api/v1/clients/{MAC}")).to_string();
    assert!(client.contains("Secretive failed") && !client.contains("hunter2"), "{client}");
}
