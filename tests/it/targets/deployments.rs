//! Deployments: terms, offers with their reasons, runs that must not begin.

use rootstock::api::admin::{
    CreateDeployment, Deployment, DeploymentTerms, EditDeployment, EditDevice, ExplainedOffer,
};
use rootstock::api::runner::*;
use tempfile::tempdir;

use super::*;
use crate::api::appliance::{Work, image_file, refused};

fn deploy(admin: &Client, sequence: &str, purpose: Purpose, terms: DeploymentTerms) -> Deployment {
    let body = CreateDeployment { terms, ..CreateDeployment::new(sequence, "All Macs", purpose) };
    admin.post("/api/v1/deployments", &body).unwrap()
}

fn edit(admin: &Client, deployment: i64, terms: DeploymentTerms) -> Deployment {
    admin.patch(&format!("/api/v1/deployments/{deployment}"), &EditDeployment { terms }).unwrap()
}

fn explained(admin: &Client, device: i64) -> Vec<(String, String)> {
    let lines: Vec<ExplainedOffer> = admin.get(&format!("/api/v1/devices/{device}/offers")).unwrap();
    lines.into_iter().map(|line| (line.sequence, line.code)).collect()
}

fn start(appliance: &Appliance, welcome: &Welcome) -> RunTicket {
    let start = StartRun { deployment: welcome.offers[0].deployment, pass: None, seen: None };
    appliance.network(Some(&welcome.session)).post("/runner/v1/runs", &start).unwrap()
}

#[test]
fn section_6_a_mac_is_offered_what_holds_for_it_in_a_fixed_order_and_every_no_has_its_reason() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    for name in ["A", "B", "C", "D", "E"] {
        sequence(&appliance, name);
    }
    let id = boot(&appliance, "C02OFFER0001", 1).device;
    collection(&admin, "Lab", "serial = C02OFFER0001 and known");
    deploy(&admin, "A", Purpose::Available, DeploymentTerms::default());
    deploy(&admin, "B", Purpose::Required, DeploymentTerms { countdown: Some(5), ..Default::default() });
    let from = Some("2999-01-01".to_owned());
    deploy(&admin, "C", Purpose::Required, DeploymentTerms { from: from.clone(), ..Default::default() });
    deploy(
        &admin,
        "D",
        Purpose::Available,
        DeploymentTerms { expires: Some("2000-01-01".into()), ..Default::default() },
    );
    let _: Deployment =
        admin.post("/api/v1/deployments", &CreateDeployment::new("E", "Lab", Purpose::Available)).unwrap();
    let welcome = boot(&appliance, "C02OFFER0001", 1);
    assert_eq!(offered(&welcome), [("B".into(), Purpose::Required), ("A".into(), Purpose::Available)]);
    assert_eq!(welcome.offers[0].countdown, 5);
    let reasons = ["B ", "A ", "C not-yet", "D expired", "E not-a-member"].map(|line| {
        let (sequence, code) = line.split_once(' ').unwrap();
        (sequence.to_owned(), code.to_owned())
    });
    assert_eq!(explained(&admin, id), reasons);
    let (code, out, _) = rootstock(&appliance, &["device", "offers", "C02OFFER0001"]);
    assert!(
        code == 0
            && out.contains("starts by itself")
            && out.contains("it is available from 2999-01-01 00:00 (UTC)"),
        "{out}"
    );
    assert!(out.contains("this Mac does not belong to Lab"), "{out}");
    let known = EditDevice { known: Some(true), ..Default::default() };
    let _: Device = admin.patch(&format!("/api/v1/devices/{id}"), &known).unwrap();
    assert!(offered(&boot(&appliance, "C02OFFER0001", 1)).contains(&("E".into(), Purpose::Available)));
}

#[test]
fn section_6_a_deployment_is_paused_edited_and_resumed_and_a_start_that_comes_too_late_says_why() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    sequence(&appliance, "A");
    let made = deploy(&admin, "A", Purpose::Required, DeploymentTerms::default());
    let welcome = boot(&appliance, "C02PAUSE0001", 1);
    let (code, out, _) = rootstock(&appliance, &["deployment", "pause", &made.id.to_string()]);
    assert!(code == 0 && out.contains("not now: it is paused"), "{out}");
    let start = StartRun { deployment: made.id, pass: None, seen: None };
    let session = appliance.network(Some(&welcome.session));
    let (status, problem) = refused(session.post::<_, RunTicket>("/runner/v1/runs", &start));
    assert!(status == 409 && problem.error.contains("it is paused"), "{problem:?}");
    let waiting = boot(&appliance, "C02PAUSE0001", 1);
    assert!(waiting.offers.is_empty() && waiting.why_empty.unwrap().contains("A: it is paused"));
    let resumed = edit(&admin, made.id, DeploymentTerms { paused: Some(false), ..Default::default() });
    assert_eq!(resumed.closed, None);
    let (code, out, error) = rootstock(
        &appliance,
        &[
            "deployment",
            "edit",
            &made.id.to_string(),
            "--zone",
            "Europe/Berlin",
            "--expires",
            "2999-06-01 08:00",
            "--rerun",
            "if-changed",
        ],
    );
    assert!(
        code == 0 && out.contains("until 2999-06-01 08:00, Europe/Berlin, rerun if-changed"),
        "{out}{error}"
    );
    let (code, out, _) =
        rootstock(&appliance, &["deployment", "edit", &made.id.to_string(), "--expires", ""]);
    assert!(code == 0 && !out.contains("until"), "{out}");
    for terms in [
        DeploymentTerms { zone: Some("Mars/Olympus".into()), ..Default::default() },
        DeploymentTerms { window: Some("at night".into()), ..Default::default() },
        DeploymentTerms { rerun: Some("often".into()), ..Default::default() },
    ] {
        let path = format!("/api/v1/deployments/{}", made.id);
        assert_eq!(refused(admin.patch::<_, Deployment>(&path, &EditDeployment { terms })).0, 422);
    }
    assert_eq!(offered(&boot(&appliance, "C02PAUSE0001", 1)), [("A".into(), Purpose::Required)]);
}

#[test]
fn section_6_rerun_goes_by_the_revision_and_the_outcome_of_the_runs_before() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    sequence(&appliance, "A");
    let terms = |rerun: &str, independent| DeploymentTerms {
        rerun: Some(rerun.into()),
        independent: Some(independent),
        ..Default::default()
    };
    let made = deploy(&admin, "A", Purpose::Required, terms("if-failed", false));
    let welcome = boot(&appliance, "C02RERUN0001", 1);
    let run = Work { appliance: &appliance, ticket: start(&appliance, &welcome) };
    let assignment = run.act();
    let failure =
        Failure { cause: "no".into(), evidence: String::new(), next_step: String::new(), exit_code: None };
    run.try_report(assignment.number, ReportEvent::Failed(failure)).unwrap();
    let _ = run.try_next();
    let again = boot(&appliance, "C02RERUN0001", 1);
    assert_eq!(offered(&again), [("A".into(), Purpose::Required)], "it failed");
    let run = Work { appliance: &appliance, ticket: start(&appliance, &again) };
    run.formatted();
    let _ = run.try_next();
    let done = boot(&appliance, "C02RERUN0001", 1);
    assert!(done.offers.is_empty() && done.why_empty.unwrap().contains("it ended well on this Mac before"));
    edit(&admin, made.id, terms("if-failed", true));
    assert_eq!(offered(&boot(&appliance, "C02RERUN0001", 1)), [("A".into(), Purpose::Available)]);
    edit(&admin, made.id, terms("always", false));
    assert_eq!(offered(&boot(&appliance, "C02RERUN0001", 1)), [("A".into(), Purpose::Required)]);
    edit(&admin, made.id, terms("if-changed", false));
    assert_eq!(explained(&admin, done.device), [("A".into(), "unchanged".into())]);
    appliance.apply(&format!("name: A\ndescription: newer\n{PLAIN}"));
    assert_eq!(offered(&boot(&appliance, "C02RERUN0001", 1)), [("A".into(), Purpose::Required)]);
}

#[test]
fn section_6_another_version_of_an_image_is_a_change_too() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    appliance.with_sequence(&folder);
    let list: Vec<Deployment> = admin.get("/api/v1/deployments").unwrap();
    edit(&admin, list[0].id, DeploymentTerms { rerun: Some("if-changed".into()), ..Default::default() });
    let welcome = boot(&appliance, "C02IMAGE0001", 1);
    let ticket = start(&appliance, &welcome);
    let _: admin::Run = admin.post(&format!("/api/v1/runs/{}/cancel", ticket.run), &()).unwrap();
    assert_eq!(explained(&admin, welcome.device), [("Lab Mac".into(), "unchanged".into())]);
    appliance.import("lab", &image_file(&folder, 4 << 20));
    assert_eq!(explained(&admin, welcome.device), [("Lab Mac".into(), String::new())]);
}

#[test]
fn section_6_a_sequence_that_does_not_check_cannot_be_deployed() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let file = image_file(&folder, 3 << 20);
    appliance.import("lab", &file);
    appliance.apply("name: A\nsteps:\n  - format_disk: {partitions: [{name: HD, format: hfs+, size: 100%}]}\n  - apply_image: {image: lab}\n");
    admin.remove::<admin::Deleted>("/api/v1/images/lab/versions/1").unwrap();
    let body = CreateDeployment::new("A", "All Macs", Purpose::Required);
    let (status, problem) = refused(admin.post::<_, Deployment>("/api/v1/deployments", &body));
    assert!(
        status == 422 && problem.error.contains("does not check") && problem.error.contains("lab"),
        "{problem:?}"
    );
    let body = CreateDeployment::new("Nothing", "All Macs", Purpose::Required);
    assert_eq!(refused(admin.post::<_, Deployment>("/api/v1/deployments", &body)).0, 404);
    let body = CreateDeployment::new("A", "Mars", Purpose::Required);
    assert_eq!(refused(admin.post::<_, Deployment>("/api/v1/deployments", &body)).0, 404);
}

#[test]
fn section_6_a_run_whose_image_was_deleted_cannot_start_and_says_so_before_anything_is_erased() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    appliance.with_sequence(&folder);
    let welcome = boot(&appliance, "C02GONE00001", 1);
    assert_eq!(explained(&admin, welcome.device), [("Lab Mac".into(), String::new())]);
    // What is deployed holds its images; one goes all the same where a database is put back from a copy.
    let program = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=10)\ndb.execute('DELETE FROM image_version')\ndb.commit()";
    let file = appliance.data.join("db.sqlite3");
    let done = std::process::Command::new("python3").args(["-c", program]).arg(file).status().unwrap();
    assert!(done.success());
    let start = StartRun { deployment: welcome.offers[0].deployment, pass: None, seen: None };
    let session = appliance.network(Some(&welcome.session));
    let (status, problem) = refused(session.post::<_, RunTicket>("/runner/v1/runs", &start));
    assert!(
        status == 422 && problem.error.contains("applies the image lab, which is not in the library"),
        "{problem:?}"
    );
    assert!(device(&admin, welcome.device).runs.is_empty(), "no run, so nothing to erase");
    let (_, out, _) = rootstock(&appliance, &["device", "offers", "C02GONE00001"]);
    assert!(out.contains("a run would be refused before anything is erased"), "{out}");
}
