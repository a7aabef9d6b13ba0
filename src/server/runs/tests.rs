//! Requests that are given up in the middle: what they wrote counts, and nobody sees what was before it.

use std::task::Poll;

use super::*;
use crate::api::runner::{BootMethod, DeviceFacts};
use crate::db::{Greeted, Hello, NewRun, Newcomers, Started};
use crate::sequence::model::Sequence;
use crate::sequence::run::event::Start;
use crate::sequence::variable::Facts;
use crate::value::Digest;

/// Runs over a database of their own, one of them started.
async fn started(folder: &std::path::Path) -> (Runs, i64) {
    let db = Db::open(&folder.join("db")).await.unwrap();
    let secrets = Arc::new(SecretKey::open(&folder.join("secrets.key")).unwrap());
    let runs =
        Runs::new(db.clone(), Timeline::new().0, secrets, Notifier::new(Default::default(), String::new()));
    let facts = DeviceFacts {
        serial: Some("C02A".parse().unwrap()),
        uuid: None,
        model: None,
        manufacturer: None,
        macs: Vec::new(),
        memory: 0,
        cpu: None,
        firmware: None,
        disks: Vec::new(),
        inventory: Default::default(),
    };
    let hello = Hello {
        facts,
        boot: BootMethod::Netboot,
        receipt_key: "first".into(),
        boot_id: "start 1".into(),
        token: Digest::of(b"session"),
        expires_ms: i64::MAX,
        address: None,
    };
    let many = Newcomers { a_minute: 1000, unknown: 1000 };
    let Greeted::Device(known) = db.hello(&hello, many, 1).await.unwrap() else { panic!() };
    let sequence = "name: x\nsteps: [{execute_script: {script: '#!/bin/sh'}}]\n";
    let start = Start {
        sequence: Sequence::from_yaml(sequence).unwrap(),
        facts: Facts::default(),
        collection: Default::default(),
        device: Default::default(),
        images: Vec::new(),
        others: Default::default(),
        by: None,
        unattended: false,
    };
    let (_, first) = Run::start(start, now_ms()).unwrap();
    let new = NewRun {
        device: known.device,
        deployment: 1,
        sequence: "x".into(),
        revision: 1,
        images: Vec::new(),
        token: Digest::of(b"run"),
        receipt_key: "first".into(),
        steps: 1,
        event: runs.body(&first).unwrap(),
        started_ms: now_ms(),
    };
    let Started::Created(run) = db.create_run(&new).await.unwrap() else { panic!() };
    (runs, run)
}

async fn outcome(runs: &Runs, run: i64) -> Option<crate::sequence::run::Outcome> {
    runs.watch(run, 0, Duration::ZERO, |run, _| run.outcome()).await.unwrap()
}

#[tokio::test]
async fn section_8_what_a_report_wrote_counts_also_when_its_runner_was_cut_off_before_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, run) = started(folder.path()).await;
    let Next::Act(assignment) = runs.next(run).await.unwrap() else { panic!() };
    let done = Done { exit_code: Some(0), ..Done::default() };
    let report = || Report { number: assignment.number, event: ReportEvent::Done(Box::new(done.clone())) };
    // The connection breaks while the database writes: the server gives the request up where it waits.
    let held = runs.open(run).await.unwrap();
    let mut cut_off = Box::pin(runs.report(run, report()));
    while !held.lost.load(Ordering::Acquire) {
        let polled = std::future::poll_fn(|context| Poll::Ready(cut_off.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        tokio::task::yield_now().await;
    }
    drop(cut_off);
    assert_eq!(outcome(&runs, run).await, Some(crate::sequence::run::Outcome::Succeeded));
    assert!(matches!(runs.next(run).await.unwrap(), Next::Finished { .. }));
    // Said once more, as a runner does that heard nothing.
    assert!(runs.report(run, report()).await.unwrap());
}
