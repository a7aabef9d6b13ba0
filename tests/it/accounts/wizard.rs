//! Section 7: the technician logs in at the Mac, then chooses.

use rootstock::api::admin::{AuditEntry, ChangeUser, RunEvent, User};
use rootstock::api::runner::{Done, Failure, Next, Purpose, ReportEvent};
use rootstock::api::sign_in::SignOut;
use rootstock::api::wizard::{Descent, GoesDown, Said, Say, SayAnswers};
use rootstock::value::{Role, Secret};

use super::{PASSWORD, add_user};
use crate::api::appliance::{Appliance, Mac, Work, refused};

const RESTART: &str = "name: Restart\nsteps: [{restart: }]\n";

/// An appliance with something to choose.
fn appliance(folder: &tempfile::TempDir, settings: &str) -> Appliance {
    let appliance = Appliance::start_with(folder.path(), settings);
    appliance.apply(RESTART);
    appliance.deploy("Restart", Purpose::Available);
    appliance
}

#[test]
fn section_7_what_is_chosen_needs_a_technician_who_logged_in_at_this_mac() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = appliance(&folder, "");
    add_user(&appliance, "ana", Role::Technician);
    let mut mac = Mac::boot(&appliance, "C02A");
    assert!(mac.welcome.offers.is_empty(), "nothing is told before the log in");
    assert_eq!(mac.welcome.sign_in.as_ref().unwrap().domains, ["local"]);
    let (status, problem) = refused(mac.try_start(&appliance, 1));
    assert_eq!((status, problem.next_step.as_str()), (403, "log in, then start it"));
    let signed_in = mac.sign_in(&appliance, "Ana", PASSWORD).unwrap();
    assert_eq!(
        (signed_in.name.as_str(), signed_in.role, signed_in.offers.len()),
        ("ana", Role::Technician, 1)
    );
    let other = Mac::boot(&appliance, "C02B");
    let (status, problem) = refused(other.try_start_as(&appliance, 1, Some(signed_in.pass.clone())));
    assert_eq!(status, 403, "the pass of one Mac is none at another: {problem:?}");
    // The network failed for a moment, and the runner says hello again.
    mac.again(&appliance);
    let run = mac.try_start_as(&appliance, 1, Some(signed_in.pass)).unwrap().run;
    let events: Vec<RunEvent> = appliance.admin().get(&format!("/api/v1/runs/{run}/events")).unwrap();
    assert!(events[0].detail.ends_with("started by ana"), "{events:?}");
}

#[test]
fn section_7_a_required_deployment_goes_by_itself_and_a_setting_makes_logging_in_needless() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = appliance(&folder, "[runner]\nsign-in = 'never'\n");
    add_user(&appliance, "ana", Role::Technician);
    let mac = Mac::boot(&appliance, "C02A");
    assert!(mac.welcome.sign_in.is_none());
    mac.start(&appliance);
    appliance.stop();
    let appliance = Appliance::start(folder.path());
    appliance.deploy("Restart", Purpose::Required);
    let mac = Mac::boot(&appliance, "C02B");
    assert!(mac.welcome.sign_in.is_some());
    assert_eq!(mac.welcome.offers.len(), 1);
    mac.start(&appliance);
}

#[test]
fn section_7_who_may_start_no_runs_is_told_so_and_a_wrong_password_is_no_lost_session() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = appliance(&folder, "");
    add_user(&appliance, "ana", Role::Technician);
    add_user(&appliance, "otto", Role::Auditor);
    let mac = Mac::boot(&appliance, "C02A");
    let (status, problem) = refused(mac.sign_in(&appliance, "otto", PASSWORD));
    assert_eq!((status, problem.error.as_str()), (403, "otto is an auditor and may start no runs"));
    let (status, problem) = refused(mac.sign_in(&appliance, "nobody", PASSWORD));
    assert_eq!((status, problem.error.as_str()), (403, "the name or the password is wrong"));
    for _ in 0..6 {
        assert_eq!(refused(mac.sign_in(&appliance, "ana", "wrong horse")).0, 403);
    }
    let (status, problem) = refused(mac.sign_in(&appliance, "ana", PASSWORD));
    assert!(status == 429 && problem.error.contains("with this name"), "{problem:?}");
}

#[test]
fn section_7_a_technician_who_left_or_whose_account_was_locked_starts_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = appliance(&folder, "");
    add_user(&appliance, "ana", Role::Technician);
    let mac = Mac::boot(&appliance, "C02A");
    let left = mac.sign_in(&appliance, "ana", PASSWORD).unwrap().pass;
    let session = appliance.network(Some(&mac.welcome.session));
    let () = session.post("/runner/v1/sign-out", &SignOut { pass: left.clone() }).unwrap();
    let told: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?action=technician.sign-out").unwrap();
    assert!(told.len() == 1 && told[0].who == "ana" && told[0].object.starts_with("device "), "{told:?}");
    assert_eq!(refused(mac.try_start_as(&appliance, 1, Some(left))).0, 403);
    let pass = mac.sign_in(&appliance, "ana", PASSWORD).unwrap().pass;
    let change = ChangeUser { disabled: Some(true), ..ChangeUser::default() };
    let user: User = appliance.admin().patch("/api/v1/users/ana", &change).unwrap();
    assert!(user.disabled);
    let (status, problem) = refused(mac.try_start_as(&appliance, 1, Some(pass)));
    assert!(status == 403 && problem.error.contains("expired"), "{problem:?}");
}

#[test]
fn section_7_what_is_said_to_a_run_at_the_mac_is_recorded_in_the_name_of_who_logged_in_there() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start_with(folder.path(), "");
    appliance.apply(
        "name: Ask\nprompts: [{variable: Room}]\nsteps:\n  - execute_script: {script: \"#!/bin/sh\\necho $Room\\n\"}\n  - wait_for_technician: {message: Go on}\n  - {name: Last, execute_script: {script: '#!/bin/sh'}}\n",
    );
    appliance.deploy("Ask", Purpose::Available);
    add_user(&appliance, "ana", Role::Technician);
    let mac = Mac::boot(&appliance, "C02A");
    let pass = mac.sign_in(&appliance, "ana", PASSWORD).unwrap().pass;
    let ticket = mac.try_start_as(&appliance, 1, Some(pass.clone())).unwrap();
    let work = Work { appliance: &appliance, ticket };
    let say = |what: &str, pass: Option<Secret>| {
        work.try_next().unwrap();
        let _: Said = work.client().post(&format!("/runner/v1/runs/1/{what}"), &Say { pass }).unwrap();
    };
    work.try_next().unwrap();
    let values = [("Room".to_owned(), "hunter2".to_owned())].into();
    let answers = SayAnswers { values, pass: Some(pass.clone()) };
    let _: Said = work.client().post("/runner/v1/runs/1/answers", &answers).unwrap();
    let number = work.act().number;
    work.done(number, Done { exit_code: Some(0), ..Done::default() });
    say("confirm", Some(pass.clone()));
    let failure = Failure {
        cause: "it broke".into(),
        evidence: String::new(),
        next_step: String::new(),
        exit_code: Some(3),
    };
    work.try_report(work.act().number, ReportEvent::Failed(failure)).unwrap();
    let Next::Finished { failed_step: Some(step), .. } = work.try_next().unwrap() else { panic!() };
    assert_eq!((step.named().as_str(), step.place.as_str()), ("step 3 of 3: Last", "steps[2]"));
    assert_eq!(appliance.run(1).failed_step, Some(*step));
    say("resume", Some(pass.clone()));
    // A pass of nobody is no reason not to stop a run: it is nobody's name.
    say("cancel", Some(Secret::new("made up")));
    let events: Vec<RunEvent> = appliance.admin().get("/api/v1/runs/1/events").unwrap();
    let detail = |kind: &str| events.iter().find(|event| event.kind == kind).unwrap().detail.clone();
    assert_eq!(detail("answered"), "ana answered Room=hunter2");
    assert_eq!(detail("confirmed"), "confirmed by ana");
    assert_eq!(detail("resumed"), "resumed from the failed step by ana");
    assert_eq!(detail("cancelled"), "cancelled by the technician at the Mac");
    let audit: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?object=run+1").unwrap();
    let of_mac: Vec<_> = audit.iter().rev().filter(|entry| entry.how == "mac").collect();
    let said: Vec<_> = of_mac.iter().map(|entry| (entry.action.as_str(), entry.who.as_str())).collect();
    let at_the_mac = "the technician at the Mac";
    let wanted = [
        ("run.start", "ana"),
        ("run.answer", "ana"),
        ("run.confirm", "ana"),
        ("run.resume", "ana"),
        ("run.cancel", at_the_mac),
    ];
    assert_eq!(said, wanted);
    assert!(!serde_json::to_string(&audit).unwrap().contains("hunter2"), "values are not told");
}

#[test]
fn section_8_who_restarts_a_mac_by_a_key_of_its_wizard_is_told_to_the_audit_log_with_the_run_that_was_shown()
{
    let folder = tempfile::tempdir().unwrap();
    let appliance = appliance(&folder, "");
    add_user(&appliance, "ana", Role::Technician);
    let mac = Mac::boot(&appliance, "C02A");
    let pass = mac.sign_in(&appliance, "ana", PASSWORD).unwrap().pass;
    let run = mac.try_start_as(&appliance, 1, Some(pass.clone())).unwrap().run;
    let session = appliance.network(Some(&mac.welcome.session));
    let goes = |how, run, pass: Option<&Secret>| {
        let body = GoesDown { how, run, pass: pass.cloned() };
        session.post::<_, Said>("/runner/v1/down", &body)
    };
    goes(Descent::Restart, Some(run), Some(&pass)).unwrap();
    goes(Descent::Restart, Some(run), Some(&pass)).unwrap();
    // Nobody is logged in, and the run is none of this Mac.
    goes(Descent::ShutDown, Some(run + 1), None).unwrap();
    assert_eq!(refused(goes(Descent::Unknown, None, None)).0, 400);
    let audit: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?object=device+1").unwrap();
    let said = audit.iter().rev().filter(|entry| entry.how == "mac" && entry.action.starts_with("device."));
    let said: Vec<_> = said
        .map(|entry| (entry.action.as_str(), entry.who.as_str(), entry.after.clone().unwrap_or_default()))
        .collect();
    let wanted = [
        ("device.restart", "ana", serde_json::json!({ "mac": "C02A", "run": run })),
        ("device.shutdown", "the technician at the Mac", serde_json::json!({ "mac": "C02A", "run": null })),
    ];
    assert_eq!(said, wanted);
}
