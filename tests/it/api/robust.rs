//! Runs that more than one claims, and words that come too late or twice (task-sequences section 8).

use rootstock::api::admin::{self, CreateDeployment, Deployment};
use rootstock::api::runner::*;
use rootstock::client::ClientError;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, refused};

const SERIAL: &str = "C02SPINE0001";

/// A Mac that says the same of itself, at another start of its kernel.
fn other_start(appliance: &Appliance, change: impl FnOnce(&mut Hello)) -> Result<Welcome, ClientError> {
    let mut hello = Hello { boot_id: "another start".into(), ..Mac::words(SERIAL) };
    change(&mut hello);
    appliance.network(None).post("/runner/v1/hello", &hello)
}

fn script(name: &str, more: &str) -> String {
    format!("{{name: {name}, {more} execute_script: {{script: '#!/bin/sh'}}}}")
}

/// A run of these steps, at its first one.
fn at_work<'a>(appliance: &'a Appliance, name: &str, head: &str, steps: &[String]) -> Work<'a> {
    let saved = appliance.apply(&format!("name: {name}\n{head}steps: [{}]\n", steps.join(", ")));
    let body = CreateDeployment::new(saved.name, "all macs", Purpose::Available);
    let deployment: Deployment = appliance.admin().post("/api/v1/deployments", &body).unwrap();
    let mac = Mac::boot(appliance, SERIAL);
    Work { appliance, ticket: mac.try_start(appliance, deployment.id).unwrap() }
}

fn exit(code: i32) -> Done {
    Done { exit_code: Some(code), ..Done::default() }
}

fn failed(code: i32) -> ReportEvent {
    ReportEvent::Failed(Failure {
        cause: "it broke".into(),
        evidence: String::new(),
        next_step: String::new(),
        exit_code: Some(code),
    })
}

#[test]
fn section_8_a_second_runner_of_a_mac_at_work_is_told_so_and_changes_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let work = at_work(&appliance, "One", "", &[script("a", "")]);
    let number = work.act().number;
    for _ in 0..3 {
        let second = other_start(&appliance, |hello| hello.device.disks.clear());
        let (status, problem) = refused(second);
        assert_eq!(status, 503, "the runner asks again: {problem:?}");
        assert!(
            problem.error.contains("run 1, and another runner is at work at it from 127.0.0.1"),
            "{problem:?}"
        );
        assert!(
            problem.next_step.contains("silent for 20 s") && problem.next_step.contains("two Macs"),
            "{problem:?}"
        );
    }
    // Neither what is known of the Mac nor the ticket of the first has changed.
    let device: admin::Device = appliance.admin().get("/api/v1/devices/1").unwrap();
    assert_eq!(device.disks.len(), 1);
    assert_eq!(work.act().number, number);
    work.done(number, exit(0));
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Succeeded, .. }));
    // The run is over: who it is now is who says so.
    assert!(other_start(&appliance, |_| ()).unwrap().run.is_none());
}

#[test]
fn section_8_of_runners_that_say_the_same_serial_number_at_the_same_moment_one_gets_the_run() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(&format!("name: One\nsteps: [{}]\n", script("a", "")));
    let deployment = appliance.deploy("One", Purpose::Required).id;
    let claim = |number: usize| {
        let hello = Hello { boot_id: format!("start {number}"), ..Mac::words(SERIAL) };
        let welcome: Welcome = appliance.network(None).post("/runner/v1/hello", &hello)?;
        let start = StartRun { deployment, pass: None, seen: None };
        let ticket: RunTicket = appliance.network(Some(&welcome.session)).post("/runner/v1/runs", &start)?;
        Ok::<_, ClientError>(ticket)
    };
    let tickets: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|number| scope.spawn(move || claim(number))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = tickets.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "{won:?}");
    for refusal in lost {
        let (status, problem) = refused(refusal);
        assert!(
            matches!(status, 409 | 503) && problem.error.contains("this Mac has run 1"),
            "{status} {problem:?}"
        );
    }
    let work = Work { appliance: &appliance, ticket: won.into_iter().next().unwrap().unwrap() };
    work.done(work.act().number, exit(0));
    let runs: Vec<admin::RunSummary> = appliance.admin().get("/api/v1/runs").unwrap();
    assert_eq!(runs.len(), 1, "{runs:?}");
}

#[test]
fn section_8_a_mac_that_was_told_to_restart_goes_on_at_once_at_another_start() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let steps = ["{name: r, restart: }".to_owned(), script("after", "")];
    let work = at_work(&appliance, "Restarts", "", &steps);
    let restart = work.act();
    work.done(restart.number, Done::default());
    let welcome = other_start(&appliance, |_| ()).unwrap();
    let again = Work { appliance: &appliance, ticket: welcome.run.expect("the run goes on") };
    assert_eq!(refused(work.try_next()).0, 401, "the ticket from before the restart");
    assert_eq!(again.act().name, "after");
}

#[test]
fn section_8_a_restart_is_not_done_while_the_mac_is_at_the_same_start_of_its_kernel() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let steps = ["{name: r, restart: }".to_owned(), script("after", "")];
    let work = at_work(&appliance, "Restarts", "", &steps);
    let restart = work.act();
    // The runner was killed before it restarted the Mac, and is started again by the boot environment.
    let anew = Mac::boot(&appliance, SERIAL);
    let again = Work { appliance: &appliance, ticket: anew.welcome.run.clone().unwrap() };
    assert_eq!((again.act().name.as_str(), again.act().number), ("r", restart.number));
    let events: Vec<admin::RunEvent> = appliance.admin().get("/api/v1/runs/1/events").unwrap();
    let detail = &events.iter().find(|event| event.kind == "reconnected").unwrap().detail;
    assert!(detail.contains("the Mac was not"), "{detail}");
    // The Mac itself: here it is, so it was restarted.
    let welcome = other_start(&appliance, |_| ()).unwrap();
    let after = Work { appliance: &appliance, ticket: welcome.run.expect("the run goes on") };
    assert_eq!(after.act().name, "after");
}

#[test]
fn section_8_a_ticket_or_a_result_that_is_replayed_changes_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let steps = [script("a", "retry: {count: 1},"), script("b", "")];
    let first = at_work(&appliance, "Twice", "", &steps);
    let number = first.act().number;
    // The runner was started anew on the same Mac: a script that was at work failed, and its retry is what comes next.
    let anew = Mac::boot(&appliance, SERIAL);
    let work = Work { appliance: &appliance, ticket: anew.welcome.run.clone().unwrap() };
    for _ in 0..2 {
        assert_eq!(refused(first.try_next()).0, 401);
        assert_eq!(refused(first.try_report(number, ReportEvent::Done(Box::new(exit(0))))).0, 401);
    }
    let retry = work.act();
    assert_eq!((retry.name.as_str(), retry.number), ("a", number + 1));
    // A result of the action that was superseded, by a runner that has the ticket.
    work.done(number, exit(0));
    work.try_report(number, failed(9)).unwrap();
    assert_eq!(work.act().number, retry.number, "it does not count for the one at work");
    work.done(retry.number, exit(0));
    // The same result again, and another one for the same action.
    work.done(retry.number, exit(0));
    work.try_report(retry.number, failed(9)).unwrap();
    let last = work.act();
    assert_eq!(last.name, "b");
    work.try_report(last.number, failed(3)).unwrap();
    // No word makes a success of it afterwards.
    work.done(last.number, exit(0));
    let Next::Finished { outcome, .. } = work.try_next().unwrap() else { panic!("it has ended") };
    assert_eq!(outcome, Outcome::Failed);
    let run = appliance.run(1);
    assert_eq!((run.summary.outcome, run.failure.unwrap().exit_code), (Some(Outcome::Failed), Some(3)));
    let events: Vec<admin::RunEvent> = appliance.admin().get("/api/v1/runs/1/events").unwrap();
    let ends = events.iter().filter(|event| matches!(event.kind.as_str(), "done" | "failed"));
    assert_eq!(ends.map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["done", "failed"]);
}

#[test]
fn section_8_nobody_starts_a_revision_that_they_were_not_shown() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(&format!("name: Changes\nsteps: [{}]\n", script("a", "")));
    let deployment = appliance.deploy("Changes", Purpose::Available).id;
    let mac = Mac::boot(&appliance, SERIAL);
    let start = |seen: SeenOffer| {
        let start = StartRun { deployment, pass: None, seen: Some(seen) };
        appliance.network(Some(&mac.welcome.session)).post::<_, RunTicket>("/runner/v1/runs", &start)
    };
    let shown = mac.welcome.offers[0].seen();
    assert_eq!((shown.revision, shown.erases.len()), (1, 0));
    let erases =
        "name: Changes\nsteps: [{format_disk: {partitions: [{name: A, format: raw, size: 100%}]}}]\n";
    appliance.apply(erases);
    let (status, problem) = refused(start(shown.clone()));
    assert_eq!(status, 409);
    assert!(
        problem.error.contains("revision 1 was shown, now it is revision 2; nothing was started"),
        "{problem:?}"
    );
    let forged = SeenOffer { revision: 2, ..shown };
    assert!(refused(start(forged)).1.error.contains("it erased the disks []"), "what it erases counts, too");
    let fresh = Mac::boot(&appliance, SERIAL).welcome.offers[0].seen();
    assert_eq!((fresh.revision, fresh.erases.as_slice()), (2, &[0][..]));
    let ticket = start(fresh).unwrap();
    // From its start on, a run has the revision that it started with.
    appliance.apply("name: Changes\nsteps: [{restart: }]\n");
    let work = Work { appliance: &appliance, ticket };
    assert!(matches!(work.act().action, Action::FormatDisk { .. }));
    assert_eq!(appliance.run(1).summary.revision, 2);
}

#[test]
fn section_8_a_deployment_that_was_taken_back_between_offer_and_start_starts_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(&format!("name: Gone\nsteps: [{}]\n", script("a", "")));
    let deployment = appliance.deploy("Gone", Purpose::Available).id;
    let mac = Mac::boot(&appliance, SERIAL);
    appliance.admin().delete(&format!("/api/v1/deployments/{deployment}")).unwrap();
    let (status, problem) = refused(mac.try_start(&appliance, deployment));
    assert!(status == 409 && problem.error.contains("no longer, offered to this Mac"), "{problem:?}");
    let runs: Vec<admin::RunSummary> = appliance.admin().get("/api/v1/runs").unwrap();
    assert!(runs.is_empty());
}

#[test]
fn section_8_the_maximum_run_time_counts_through_restarts_of_the_runner_and_of_the_appliance() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let steps = [script("a", "retry: {count: 9},"), script("b", "")];
    let work = at_work(&appliance, "Slow", "maximum_run_time: 2 s\n", &steps);
    let started = appliance.run(1).summary.started_ms;
    work.act();
    let ticket = Mac::boot(&appliance, SERIAL).welcome.run.unwrap();
    let data = appliance.data.clone();
    appliance.stop();
    let appliance = Appliance::start(&data);
    let work = Work { appliance: &appliance, ticket };
    let message = loop {
        match work.try_next().unwrap() {
            Next::Finished { outcome, message, .. } => {
                assert_eq!(outcome, Outcome::Failed);
                break message;
            }
            // The answer to every question is the time, in the end.
            _ => std::thread::yield_now(),
        }
    };
    assert!(message.contains("maximum run time of 2 s is over"), "{message}");
    let run = appliance.run(1);
    let took = run.summary.ended_ms.unwrap() - started;
    assert!((2000..10_000).contains(&took), "neither restart began it anew: {took} ms");
    assert!(work.try_report(1, ReportEvent::Progress(Progress::default())).unwrap().stop);
    work.done(1, exit(0));
    assert_eq!(appliance.run(1).summary.outcome, Some(Outcome::Failed), "late is not done");
}
