//! The audit log: every change and every run start, with who, what, before and after, in a chain.

use rootstock::api::admin::{AuditEntry, AuditVerdict, PromoteImage};
use rootstock::api::runner::Purpose;
use rootstock::value::Role;
use serde_json::{Value, json};

use super::{PASSWORD, add_user, as_user, rootstock};
use crate::api::appliance::{Appliance, Mac, SEQUENCE, numbered_image};

fn log(appliance: &Appliance) -> Vec<AuditEntry> {
    let mut log: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?limit=1000").unwrap();
    log.reverse();
    log
}

/// The newest entry of an action.
fn entry(appliance: &Appliance, action: &str) -> AuditEntry {
    log(appliance).into_iter().rfind(|entry| entry.action == action).unwrap_or_else(|| panic!("no {action}"))
}

#[test]
fn part_7_changes_and_run_starts_stand_in_it_with_who_what_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    for number in [1, 2] {
        appliance.import("lab", &numbered_image(&folder, number));
    }
    let imported = entry(&appliance, "image.added");
    assert!(imported.who.ends_with("on the appliance") && imported.how == "socket", "{imported:?}");
    assert_eq!((imported.object.as_str(), &imported.after.unwrap()["version"]), ("image lab", &json!(2)));
    add_user(&appliance, "ana", Role::Administrator);
    let ana = as_user(&appliance, "ana");
    let promote = |version| {
        let body = PromoteImage { version: Some(version), ring: Some("production".parse().unwrap()) };
        ana.post::<_, Value>("/api/v1/images/lab/promote", &body).unwrap()
    };
    promote(1);
    let rings = promote(2);
    assert_eq!(rings["history"][0]["by"], "ana", "{rings}");
    let moved = entry(&appliance, "image.promoted");
    assert_eq!((moved.who.as_str(), moved.how.as_str()), ("ana", "session"));
    assert_eq!(moved.from.as_deref(), Some("127.0.0.1"));
    let version = |value: &Option<Value>| value.as_ref().map(|value| value["version"].clone());
    assert_eq!((version(&moved.before), version(&moved.after)), (Some(json!(1)), Some(json!(2))));
    let _: Value = ana.post("/api/v1/sequences", &json!({ "yaml": SEQUENCE })).unwrap();
    assert_eq!(entry(&appliance, "sequence.save").after.unwrap()["revision"], 1);
    let deployment = appliance.deploy("Lab Mac", Purpose::Available).id;
    let mac = Mac::boot(&appliance, "C02A");
    let pass = mac.sign_in(&appliance, "ana", PASSWORD).unwrap().pass;
    let run = mac.try_start_as(&appliance, deployment, Some(pass)).unwrap().run;
    let started = entry(&appliance, "run.start");
    assert_eq!((started.who.as_str(), started.how.as_str()), ("ana", "mac"));
    assert_eq!(started.object, format!("run {run}"));
    assert_eq!(started.after.unwrap()["images"], json!(["lab 2"]));
    let _: Value = ana.post(&format!("/api/v1/runs/{run}/cancel"), &Value::Null).unwrap();
    assert_eq!(entry(&appliance, "run.cancel").who, "ana");
    ana.delete(&format!("/api/v1/deployments/{deployment}")).unwrap();
    assert_eq!(entry(&appliance, "deployment.delete").before.unwrap()["sequence"], "Lab Mac");
    // What is no row of the database is told from the request.
    let _: Value = appliance.admin().post("/api/v1/keys/rotate", &Value::Null).unwrap();
    assert_eq!(entry(&appliance, "key.rotate").how, "socket");
    appliance.deploy("Lab Mac", Purpose::Required);
    let other = Mac::boot(&appliance, "C02B");
    other.start(&appliance);
    assert_eq!(entry(&appliance, "run.start").who, "the Mac C02B", "a Required run has no technician");
}

#[test]
fn part_7_no_secret_stands_in_it_and_what_was_refused_does_not_either() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    add_user(&appliance, "ana", Role::Owner);
    let admin = appliance.admin();
    let secret = json!({ "value": "hunter2hunter2", "secret": true });
    let _: Value = admin.put("/api/v1/collections/All%20Macs/variables/Key", &secret).unwrap();
    let () = admin.put("/api/v1/users/ana/password", &json!({ "new": "hunter2hunter2" })).unwrap();
    let token = admin.post::<_, Value>("/api/v1/tokens", &json!({ "name": "ci", "user": "ana" })).unwrap();
    let before = log(&appliance).len();
    assert!(
        admin
            .post::<_, Value>("/api/v1/users", &json!({ "name": "A B", "role": "owner", "password": "x" }))
            .is_err()
    );
    assert!(admin.delete("/api/v1/users/ana").is_err());
    let log = log(&appliance);
    assert_eq!(log.len(), before, "{log:?}");
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(token["token"].as_str().unwrap()), "{text}");
    assert!(text.contains(r#"{"secret":true}"#) && text.contains("set anew"), "{text}");
}

#[test]
fn part_7_a_line_that_is_removed_behind_the_appliances_back_is_found_here_and_in_the_export() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    for name in ["ana", "bo", "cy"] {
        add_user(&appliance, name, Role::Auditor);
    }
    let socket = data.join("rootstock.sock");
    let ask =
        |words: &[&str]| rootstock(folder.path(), &[&["--socket", socket.to_str().unwrap()], words].concat());
    let (code, said) = ask(&["audit", "verify"]);
    assert!(code == 0 && said.contains("3 entries, every one as it was written"), "{said}");
    let known = said.split("the last is ").nth(1).unwrap().trim().to_owned();
    let export = folder.path().join("audit.jsonl");
    let file = export.to_str().unwrap();
    assert_eq!(ask(&["audit", "export", "--to", file]).0, 0);
    let (code, said) = ask(&["audit", "verify", "--file", file, "--known", &known]);
    assert!(code == 0, "{said}");
    let whole = std::fs::read_to_string(&export).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    std::fs::write(&export, [lines[0], lines[2]].join("\n")).unwrap();
    let (code, said) = ask(&["audit", "verify", "--file", file]);
    assert!(code == 1 && said.contains("entry 2 is missing"), "{said}");
    std::fs::write(&export, whole.replace("auditor", "owner")).unwrap();
    let (code, said) = ask(&["audit", "verify", "--file", file]);
    assert!(code == 1 && said.contains("entry 1 was changed"), "{said}");
    let (code, said) = ask(&["audit", "list", "--action", "user.", "--limit", "2"]);
    assert!(code == 0 && said.contains("user cy") && !said.contains("user ana"), "{said}");
    let noted = known.split_once(':').unwrap().1;
    let verdict: AuditVerdict =
        appliance.admin().get(&format!("/api/v1/audit/verify?number=9&hash={noted}")).unwrap();
    assert!(verdict.broken.unwrap().contains("its end was cut off"));
}
