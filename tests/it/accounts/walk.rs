//! The audit log, route by route of the OpenAPI document: every request that changes something leaves a line that says who asked
//! for what. A route that is new has to be walked here, or to say why it is not.

use std::collections::BTreeSet;

use rootstock::api::admin::{self, AuditEntry, Device, Job, Run};
use rootstock::api::runner::{
    AskNext, BootMethod, DestinationDisk, DestinationPartition, Done, Failure, Next, Purpose, ReportEvent,
    Welcome,
};
use rootstock::api::wizard::{PageName, ScreenReport, ScreenTaken};
use rootstock::server::http::access::{self, TABLE};
use rootstock::value::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PASSWORD, add_user, as_user, rootstock, sign_in};
use crate::api::appliance::{Appliance, Mac, Work, numbered_image};
use crate::api::binding;
use crate::nbi_set::plain;
use crate::upload::{Answer, TUS, ask, begin, send};

/// Requests that may change something and are told by nothing of their own, with the reason.
const UNTOLD: [(&str, &str, &str); 9] = [
    ("POST", "/api/v1/collections/preview", "only looks"),
    ("POST", "/api/v1/sequence-checks", "only looks"),
    ("POST", "/api/v1/captures/{capture}/frames", "a piece of a capture, whose beginning and end are told"),
    ("POST", "/api/v1/captures/{capture}/lacking", "only looks"),
    ("OPTIONS", "/api/v1/uploads", "only looks"),
    ("HEAD", "/api/v1/uploads/{upload}", "only looks"),
    (
        "PATCH",
        "/api/v1/uploads/{upload}",
        "a piece of an upload, whose beginning is told; what comes of it is a version, which is told",
    ),
    ("POST", "/api/v1/uploads/{upload}", "the same by another method"),
    ("POST", "/api/v1/setup", "nobody is known before; told as the account that it makes"),
];

/// Requests that need another program at the other end, with the test that makes them.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    ("PUT", "/api/v1/ldap/password", "tests/it/accounts/ldap.rs"),
    ("POST", "/api/v1/ldap/test", "tests/it/accounts/ldap.rs"),
    ("DELETE", "/api/v1/leases/{address}", "tests/netns/dhcp_states.rs"),
    ("DELETE", "/api/v1/transfers/{transfer}", "tests/netns/tftp.rs"),
];

/// What the document says may change something: whatever does not only read, and readings that the log is told of.
fn changing() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(rootstock::server::http::admin::document()).unwrap();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let line = TABLE.iter().find(|line| line.method == method && line.path == path);
            if method != "GET" || line.is_some_and(|line| line.action.is_some()) {
                found.insert((method, path.clone()));
            }
        }
    }
    found
}

/// A walk through the routes of one appliance.
struct Walk<'a> {
    appliance: &'a Appliance,
    walked: BTreeSet<(String, String)>,
}

impl Walk<'_> {
    fn after(&self, number: i64) -> Vec<AuditEntry> {
        let mut log: Vec<AuditEntry> = self.appliance.admin().get("/api/v1/audit?limit=200").unwrap();
        log.retain(|entry| entry.number > number);
        log
    }

    /// Does something that asks this route, and looks for the line of it.
    fn step<T>(&mut self, method: &str, path: &str, act: impl FnOnce() -> T) -> T {
        let line = TABLE.iter().find(|line| line.method == method && line.path == path);
        let line = line.unwrap_or_else(|| panic!("{method} {path} is no route"));
        // Nobody is signed in yet where somebody signs in.
        let action =
            line.action.unwrap_or(if access::area(path) == "session" { "session.begin" } else { "-" });
        let last = self.after(0).first().map_or(0, |entry| entry.number);
        let done = act();
        let told = self.after(last);
        let found = told.iter().find(|entry| entry.action == action);
        let found = found.unwrap_or_else(|| panic!("{method} {path}: no line of {action}: {told:#?}"));
        assert!(!found.who.is_empty() && found.who != "the appliance", "{method} {path}: {found:?}");
        assert!(!found.object.is_empty(), "{method} {path}: {found:?}");
        self.walked.insert((method.to_owned(), path.to_owned()));
        done
    }

    /// Asks this route on the socket: `given` stand for the parts in braces.
    fn ask(&mut self, method: &str, path: &str, given: &[&str], body: &Value) -> Value {
        let mut given = given.iter();
        let parts: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { given.next().copied().unwrap() } else { part })
            .collect();
        let data = self.appliance.data.clone();
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let answer: Answer = self.step(method, path, || {
            let headers = [("content-type", "application/json")];
            let answer = ask(&data, method, &parts.join("/"), &headers, sent.as_bytes());
            assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
            answer
        });
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    fn ended(&self, job: &Value) {
        let job: Job = serde_json::from_value(job.clone()).unwrap();
        self.appliance.ended(job);
    }
}

/// A run of these lines of YAML on the Mac.
fn started<'a>(appliance: &'a Appliance, mac: &Mac, name: &str, rest: &str) -> Work<'a> {
    appliance.apply(&format!("name: {name}\n{rest}"));
    let body = admin::CreateDeployment::new(name, "All Macs", Purpose::Available);
    let made: admin::Deployment = appliance.admin().post("/api/v1/deployments", &body).unwrap();
    Work { appliance, ticket: mac.try_start(appliance, made.id).unwrap() }
}

const SCRIPT: &str = "steps: [{execute_script: {script: '#!/bin/sh'}}]\n";

#[test]
fn part_7_every_route_that_changes_something_leaves_a_line_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    binding::write_set(&data.join("boot/rootstock.nbi"));
    let appliance = Appliance::start(&data);
    let mut walk = Walk { appliance: &appliance, walked: BTreeSet::new() };
    images(&mut walk, &folder);
    uploads_and_captures(&mut walk, &folder);
    macs(&mut walk);
    sequences(&mut walk);
    runs(&mut walk, &folder);
    people(&mut walk);
    let mut left = changing();
    for (method, path) in &walk.walked {
        assert!(
            left.remove(&(method.clone(), path.clone())),
            "{method} {path} is no route that changes something"
        );
    }
    for (method, path, why) in UNTOLD.iter().chain(&ELSEWHERE) {
        assert!(
            left.remove(&((*method).to_owned(), (*path).to_owned())),
            "{method} {path} ({why}) is walked, or gone"
        );
    }
    assert!(left.is_empty(), "walk these, or say why they are not told: {left:?}");
}

fn images(walk: &mut Walk<'_>, folder: &tempfile::TempDir) {
    for number in [1, 2, 3] {
        let path = numbered_image(folder, number);
        let job = walk.ask("POST", "/api/v1/images", &[], &json!({"name": "lab", "path": path}));
        walk.ended(&job);
    }
    walk.ask("POST", "/api/v1/images/{name}/promote", &["lab"], &json!({"version": 1, "ring": "production"}));
    walk.ask("POST", "/api/v1/images/{name}/promote", &["lab"], &json!({"version": 2, "ring": "production"}));
    walk.ask("POST", "/api/v1/images/{name}/rollback", &["lab"], &json!({"ring": "production"}));
    let keep = json!({"retention": {"keep_versions": 9}});
    walk.ask("PUT", "/api/v1/images/{name}/retention", &["lab"], &keep);
    let job = walk.ask("POST", "/api/v1/images/{name}/verify", &["lab"], &json!({}));
    walk.ended(&job);
    let note = json!({"note": "seen"});
    walk.ask("PUT", "/api/v1/images/{name}/versions/{version}/note", &["lab", "3"], &note);
    let admin = walk.appliance.admin();
    walk.step("GET", "/api/v1/images/{name}/versions/{version}/export", || {
        admin.download("/api/v1/images/lab/versions/1/export?format=raw", 64 << 20).unwrap()
    });
    walk.ask("DELETE", "/api/v1/images/{name}/versions/{version}", &["lab", "2"], &Value::Null);
    let job = walk.ask("POST", "/api/v1/library/check", &[], &json!({}));
    walk.ended(&job);
    walk.ask("DELETE", "/api/v1/jobs/{job}", &[&job["id"].to_string()], &Value::Null);
    let job = walk.ask("POST", "/api/v1/library/collect", &[], &Value::Null);
    walk.ended(&job);
    walk.ask("POST", "/api/v1/library/retention", &[], &json!({}));
    let keys = walk.ask("POST", "/api/v1/keys/rotate", &[], &Value::Null);
    let old = keys.as_array().unwrap().iter().find(|key| key["signs"] == false).unwrap()["key"].clone();
    let job = walk.ask("POST", "/api/v1/keys/{key}/retire", &[old.as_str().unwrap()], &Value::Null);
    walk.ended(&job);
    walk.step("GET", "/api/v1/problem-report", || {
        admin.download("/api/v1/problem-report", 64 << 20).unwrap()
    });
}

fn uploads_and_captures(walk: &mut Walk<'_>, folder: &tempfile::TempDir) {
    let data = walk.appliance.data.clone();
    let set = folder.path().join("Sierra.nbi");
    plain("Sierra", "<integer>7</integer>").write(&set);
    let rootstock = |words: &[&str]| {
        let socket = data.join("rootstock.sock");
        let (code, said) =
            rootstock(folder.path(), &[&["--socket", socket.to_str().unwrap()], words].concat());
        assert_eq!(code, 0, "{said}");
    };
    walk.step("POST", "/api/v1/nbi", || rootstock(&["nbi", "import", set.to_str().unwrap()]));
    let given = ["Sierra.nbi"];
    walk.ask("PUT", "/api/v1/nbi/{folder}/overrides", &given, &json!({"enabled": false}));
    walk.ask("DELETE", "/api/v1/nbi/{folder}", &given, &Value::Null);

    let bytes = std::fs::read(numbered_image(folder, 9)).unwrap();
    let path = walk.step("POST", "/api/v1/uploads", || begin(&data, 3, &[("name", "bad")]));
    assert_eq!(send(&data, &path, 0, b"abc").status, 204);
    crate::upload::ended(&walk.appliance.admin(), &path);
    walk.ask("POST", "/api/v1/uploads/{upload}/import", &[path.rsplit('/').next().unwrap()], &json!({}));
    let path = begin(&data, bytes.len(), &[("name", "sent")]);
    walk.step("DELETE", "/api/v1/uploads/{upload}", || {
        assert_eq!(ask(&data, "DELETE", &path, &[TUS], b"").status, 204);
    });
    let wanted = json!({"name": "taken", "source": "test", "size": 1, "used": 1, "resume": "x"});
    let capture = walk.ask("POST", "/api/v1/captures", &[], &wanted);
    walk.ask("DELETE", "/api/v1/captures/{capture}", &[&capture["id"].to_string()], &Value::Null);
    let disk = numbered_image(folder, 8);
    let words = ["image", "capture", "--name", "taken", "--from", disk.to_str().unwrap()];
    walk.step("POST", "/api/v1/captures/{capture}/finish", || rootstock(&words));
}

fn macs(walk: &mut Walk<'_>) {
    let appliance = walk.appliance;
    let mac = Mac::boot(appliance, "C02WALK00001");
    let device = mac.welcome.device.to_string();
    let about = json!({"serial": "C02WALK00002", "about": {"hostname": "lab-2"}});
    let added = walk.ask("POST", "/api/v1/devices", &[], &about);
    walk.ask("PATCH", "/api/v1/devices/{device}", &[&device], &json!({"note": "seen"}));
    walk.step("GET", "/api/v1/devices/export", || appliance.admin().text("/api/v1/devices/export").unwrap());
    let list = appliance.admin().text("/api/v1/devices/export").unwrap().replace("lab-2", "lab-3");
    let data = appliance.data.clone();
    walk.step("POST", "/api/v1/devices/import", || {
        let answer =
            ask(&data, "POST", "/api/v1/devices/import", &[("content-type", "text/csv")], list.as_bytes());
        assert!(answer.status == 200 && answer.body.contains("\"changed\":1"), "{answer:?}");
    });
    let added: Device = serde_json::from_value(added).unwrap();
    walk.ask("DELETE", "/api/v1/devices/{device}", &[&added.summary.id.to_string()], &Value::Null);
    // Two Macs of one serial number, twice.
    for (serial, path, body) in [
        ("C02WALK00003", "/api/v1/devices/{device}/distinct", "other"),
        ("C02WALK00004", "/api/v1/devices/{device}/merge", "other"),
    ] {
        let twins = [1, 2].map(|uuid| {
            let mut hello = Mac::words(serial);
            hello.device.uuid = Some(Uuid::from_u128(uuid));
            let welcome: Welcome = appliance.network(None).post("/runner/v1/hello", &hello).unwrap();
            welcome.device
        });
        walk.ask("POST", path, &[&twins[1].to_string()], &json!({ body: twins[0] }));
    }
    let text = json!({"text": "Lunch"});
    walk.ask("POST", "/api/v1/devices/{device}/messages", &[&device], &text);
    show(appliance, &mac, PageName::Countdown);
    walk.ask("POST", "/api/v1/devices/{device}/hold", &[&device], &Value::Null);
    show(appliance, &mac, PageName::Choose);
    walk.ask("POST", "/api/v1/devices/{device}/restart", &[&device], &Value::Null);
    show(appliance, &mac, PageName::Choose);
    walk.ask("POST", "/api/v1/devices/{device}/shutdown", &[&device], &Value::Null);
    let secret = json!({"value": "x", "secret": true});
    for (owner, given) in [("devices/{device}", device.as_str()), ("collections/{collection}", "All%20Macs")]
    {
        let path = format!("/api/v1/{owner}/variables/{{name}}");
        walk.ask("PUT", &path, &[given, "Key"], &secret);
        walk.ask("DELETE", &path, &[given, "Key"], &Value::Null);
    }
    walk.ask("POST", "/api/v1/collections", &[], &json!({"name": "Lab", "rule": "tag = lab"}));
    walk.ask("PATCH", "/api/v1/collections/{collection}", &["Lab"], &json!({"description": "d"}));
    walk.ask("DELETE", "/api/v1/collections/{collection}", &["Lab"], &Value::Null);
    binding::ask(binding::dhcp_port(&appliance.admin()), 7, "iMac14,2", binding::SELECT);
    walk.ask("DELETE", "/api/v1/bindings/{mac}", &["02:00:00:00:00:07"], &Value::Null);
}

/// The wizard of the Mac shows a page.
fn show(appliance: &Appliance, mac: &Mac, page: PageName) {
    let report = ScreenReport { page, title: "t".into(), text: Vec::new(), run: None, keyboard: None };
    let session = appliance.network(Some(&mac.welcome.session));
    let _: ScreenTaken = session.post("/runner/v1/screen", &report).unwrap();
}

fn sequences(walk: &mut Walk<'_>) {
    walk.ask("POST", "/api/v1/sequences", &[], &json!({"yaml": format!("name: One\n{SCRIPT}")}));
    walk.ask("POST", "/api/v1/sequences/{name}/copy", &["One"], &json!({"to": "Two"}));
    let copied = json!({"edit": {"copy": {"entry": "steps[0]"}}});
    walk.ask("POST", "/api/v1/sequences/{name}/entries", &["Two"], &copied);
    walk.ask("DELETE", "/api/v1/sequences/{name}", &["Two"], &Value::Null);
    let wanted = json!({"sequence": "One", "collection": "All Macs", "purpose": "available"});
    let made = walk.ask("POST", "/api/v1/deployments", &[], &wanted);
    let id = made["id"].to_string();
    walk.ask("PATCH", "/api/v1/deployments/{deployment}", &[&id], &json!({"terms": {"paused": true}}));
    walk.ask("DELETE", "/api/v1/deployments/{deployment}", &[&id], &Value::Null);
    let share = json!({"share": "//127.0.0.1/nothing", "account": "a", "password": "planted"});
    walk.ask("POST", "/api/v1/shares/verify", &[], &share);
}

fn runs(walk: &mut Walk<'_>, folder: &tempfile::TempDir) {
    let appliance = walk.appliance;
    let mac = Mac::boot(appliance, "C02WALK00009");
    let device = mac.welcome.device.to_string();
    let done = |work: &Work<'_>| {
        let number = work.act().number;
        work.done(number, Done { exit_code: Some(0), ..Done::default() });
    };
    let asking = "prompts: [{variable: Room}]\nsteps:\n  - {execute_script: {script: \"#!/bin/sh\\necho $Room\\n\"}}\n  - wait_for_technician: {message: m}\n";
    let work = started(appliance, &mac, "Asking", asking);
    let id = work.ticket.run.to_string();
    let _ = work.try_next().unwrap();
    walk.ask("POST", "/api/v1/runs/{run}/answers", &[&id], &json!({"values": {"Room": "b12"}}));
    done(&work);
    let _ = work.try_next().unwrap();
    walk.ask("POST", "/api/v1/runs/{run}/confirm", &[&id], &Value::Null);
    let _ = work.try_next().unwrap();
    walk.ask("GET", "/api/v1/runs/{run}/report", &[&id], &Value::Null);

    let work = started(appliance, &mac, "Breaking", SCRIPT);
    let id = work.ticket.run.to_string();
    let failure =
        Failure { cause: "c".into(), evidence: String::new(), next_step: String::new(), exit_code: None };
    work.try_report(work.act().number, ReportEvent::Failed(failure)).unwrap();
    let _ = work.try_next().unwrap();
    walk.ask("POST", "/api/v1/runs/{run}/resume", &[&id], &Value::Null);
    walk.ask("POST", "/api/v1/runs/{run}/cancel", &[&id], &Value::Null);
    show(appliance, &mac, PageName::Choose);
    let again = walk.ask("POST", "/api/v1/runs/{run}/retry", &[&id], &Value::Null);
    cancel(appliance, &again);
    show(appliance, &mac, PageName::Choose);
    let list: Vec<admin::Deployment> = appliance.admin().get("/api/v1/deployments").unwrap();
    let deployment = list.iter().find(|one| one.sequence == "Breaking").unwrap().id;
    let body = json!({ "deployment": deployment });
    let afar = walk.ask("POST", "/api/v1/devices/{device}/start", &[&device], &body);
    cancel(appliance, &afar);

    let mac = Mac::boot(appliance, "C02WALK00009");
    let later = "steps:\n  - {execute_script: {script: '#!/bin/sh'}}\n  - set_hostname: {name: x}\n";
    let work = started(appliance, &mac, "Later", later);
    done(&work);
    work.done(work.act().number, Done::default());
    let id = work.ticket.run.to_string();
    walk.ask("POST", "/api/v1/runs/{run}/close", &[&id], &json!({"done": true}));

    let mac = Mac::boot(appliance, "C02WALK00009");
    appliance.import("where", &numbered_image(folder, 4));
    let work = started(appliance, &mac, "Nowhere", "steps: [{apply_image: {image: where}}]\n");
    let partition = DestinationPartition { number: 2, size: 1 << 30, ..DestinationPartition::default() };
    let disk = DestinationDisk {
        number: Some(0),
        size: 2 << 30,
        partitions: vec![partition],
        ..DestinationDisk::default()
    };
    let next = AskNext { boot: BootMethod::Netboot, disks: vec![disk] };
    let id = work.ticket.run.to_string();
    let _: Next = work.client().post(&format!("/runner/v1/runs/{id}/next"), &next).unwrap();
    let chosen = json!({"step": 1, "disk": 0, "partition": 2});
    let run = walk.ask("POST", "/api/v1/runs/{run}/destination", &[&id], &chosen);
    cancel(appliance, &run);
}

fn cancel(appliance: &Appliance, run: &Value) {
    let path = format!("/api/v1/runs/{}/cancel", run["id"]);
    let _: Run = appliance.admin().post(&path, &json!({})).unwrap();
}

fn people(walk: &mut Walk<'_>) {
    let appliance = walk.appliance;
    let new = json!({"name": "olga", "role": "owner", "password": PASSWORD});
    walk.ask("POST", "/api/v1/users", &[], &new);
    add_user(appliance, "ana", Role::Auditor);
    walk.ask("PATCH", "/api/v1/users/{user}", &["ana"], &json!({"role": "technician"}));
    walk.ask("PUT", "/api/v1/users/{user}/password", &["ana"], &json!({"new": PASSWORD}));
    walk.step("POST", "/api/v1/session", || sign_in(appliance, "ana", PASSWORD).unwrap());
    walk.ask("DELETE", "/api/v1/users/{user}/sessions", &["ana"], &Value::Null);
    let ana = as_user(appliance, "ana");
    walk.step("DELETE", "/api/v1/session", || ana.delete("/api/v1/session").unwrap());
    let ana = as_user(appliance, "ana");
    let own = json!({"old": PASSWORD, "new": "battery staple"});
    walk.step("PUT", "/api/v1/session/password", || {
        ana.put::<_, ()>("/api/v1/session/password", &own).unwrap()
    });
    let made = walk.ask("POST", "/api/v1/tokens", &[], &json!({"name": "ci", "user": "ana"}));
    walk.ask("DELETE", "/api/v1/tokens/{token}", &[&made["id"].to_string()], &Value::Null);
    walk.ask("DELETE", "/api/v1/users/{user}", &["ana"], &Value::Null);
    walk.step("GET", "/api/v1/audit/export", || appliance.admin().text("/api/v1/audit/export").unwrap());
}
