//! `rootstock sequence …` and `rootstock variable …` against a real appliance: every subcommand, as README writes them
//! (task-sequences sections 1 to 3).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rootstock::api::admin::{self, VariableValue};
use rootstock::api::runner::*;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::appliance::{Appliance, Mac, Work, refused};

/// An admin at a terminal, who remembers what was called.
struct Admin {
    socket: PathBuf,
    folder: PathBuf,
    called: RefCell<BTreeSet<String>>,
}

impl Admin {
    fn of(appliance: &Appliance, folder: &TempDir) -> Admin {
        let socket = appliance.data.join("rootstock.sock");
        Admin { socket, folder: folder.path().to_owned(), called: RefCell::default() }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.folder.join(name), text).unwrap();
        name.to_owned()
    }

    /// Exit code, standard output and standard error together.
    fn run(&self, words: &[&str], input: &str) -> (i32, String) {
        for length in 1..=words.len().min(3) {
            self.called.borrow_mut().insert(words[..length].join(" "));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        command.current_dir(&self.folder).arg("--socket").arg(&self.socket).args(words);
        let output = command.write_stdin(input).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    fn fails(&self, words: &[&str], code: i32, part: &str) {
        let (got, text) = self.run(words, "");
        assert!(got == code && text.contains(part), "{words:?} gave {got}, not {code} and `{part}`:\n{text}");
    }

    fn says(&self, words: &[&str], parts: &[&str]) -> String {
        let (code, text) = self.run(words, "");
        assert_eq!(code, 0, "{words:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{words:?} does not say `{part}`:\n{text}");
        }
        text
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.says(&[words, &["--json"]].concat(), &[]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// Subcommands that `--help` names and that were not called.
    fn not_called(&self, noun: &[&str]) -> Vec<String> {
        let (_, help) = self.run(&[noun, &["--help"]].concat(), "");
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let verbs = listed.take_while(|line| line.starts_with("  ")).filter_map(|line| {
            let plain = line.starts_with("  ") && !line.starts_with("   ");
            line.split_whitespace().next().filter(|_| plain)
        });
        let called = self.called.borrow();
        let verbs: Vec<&str> = verbs.filter(|verb| *verb != "help").collect();
        assert!(verbs.len() > 1, "{help}");
        let whole = verbs.iter().map(|verb| format!("{} {verb}", noun.join(" ")));
        whole.filter(|words| !called.contains(words)).collect()
    }
}

const LAB: &str = "\
name: Lab Mac
description: Names the Mac
category: Labs
download_size: 20 GB
steps:
  - {name: Look, execute_script: {script: '#!/bin/sh'}}
  - name: Finish
    group:
      - {name: Name the Mac, timeout: 2 min, set_variables: [{name: OSDComputerName, value: 'LAB-%Room%'}]}
      - {name: Key, set_variables: [{name: Key, value: hunter2, secret: true}]}
";

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.example.wifi</string><key>PayloadUUID</key><string>5F1C</string>
<key>PayloadDisplayName</key><string>Wi-Fi</string>
<key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string>
<key>Password</key><string>hunter2</string></dict></array>
</dict></plist>"#;

#[test]
fn section_1_to_3_every_command_for_sequences_and_variables_does_what_readme_says() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = Admin::of(&appliance, &folder);
    Mac::boot(&appliance, "C02SPINE0001");
    variables(&admin);
    saved_checked_and_compared(&admin);
    planned_and_simulated(&admin);
    steps(&admin);
    profiles(&admin);
    admin.says(&["sequence", "delete", "Office Mac"], &["Office Mac is deleted"]);
    admin.fails(&["sequence", "show", "Office Mac"], 1, "there is no sequence Office Mac");
    for noun in [&["sequence"][..], &["sequence", "step"], &["sequence", "profile"], &["variable"]] {
        assert_eq!(admin.not_called(noun), [""; 0], "no test calls them");
    }
}

fn variables(admin: &Admin) {
    let device = ["--device", "C02SPINE0001"];
    let of_device = |words: &[&'static str]| [&["variable"][..], words, &device].concat();
    admin.says(&of_device(&["list"]), &["no variables: rootstock variable set"]);
    admin.says(&of_device(&["set", "Room", "B12"]), &["Room is set"]);
    admin.says(&of_device(&["set", "Empty", ""]), &[]);
    let secret = of_device(&["set", "JoinPassword", "-", "--secret"]);
    assert_eq!(admin.run(&secret, "hunter2 %\n").0, 0);
    let listed = admin.says(&of_device(&["list"]), &["B12", "••••••••", "(asked during the run)"]);
    assert!(!listed.contains("hunter2"), "{listed}");
    admin.says(&of_device(&["set", "ROOM", "b13"]), &["ROOM is set"]);
    let names: Vec<Value> = admin.json(&of_device(&["list"])).as_array().unwrap().clone();
    let named = |name: &str| names.iter().filter(|one| one["name"] == name).count();
    assert_eq!((named("ROOM"), named("Room"), named("JoinPassword")), (1, 0, 1), "kept as typed last");
    admin.fails(&of_device(&["set", "Model", "x"]), 1, "fact of the Mac");
    admin.fails(&of_device(&["set", "1a", "x"]), 1, "no variable name");
    admin.says(&["variable", "set", "Floor", "3", "--collection", "All Macs"], &["Floor is set"]);
    admin.says(&["variable", "list", "--collection", "all macs"], &["Floor", "3"]);
    admin.says(&of_device(&["unset", "empty"]), &["empty is unset"]);
    admin.fails(&["variable", "list"], 2, "--device");
}

fn saved_checked_and_compared(admin: &Admin) {
    admin.says(&["sequence", "list"], &["no sequences yet"]);
    let lab = admin.file("lab.yaml", LAB);
    admin.fails(
        &["sequence", "check", &lab],
        1,
        "steps[1].group[0]: the value of OSDComputerName uses %Room%",
    );
    admin.says(&["sequence", "apply", &lab], &["Lab Mac is saved as revision 1"]);
    admin.says(&["sequence", "apply", &lab], &["Lab Mac is as it was: revision 1"]);
    let other = admin.file("other.yaml", LAB.replace("2 min", "3 min"));
    admin.says(&["sequence", "apply", &other], &["revision 2"]);
    admin.says(&["sequence", "show", "Lab Mac", "--revision", "1"], &["timeout: 2 min", "sealed.v1."]);
    let shown = admin.says(&["sequence", "show", "Lab Mac"], &["timeout: 3 min", "category: Labs"]);
    assert!(!shown.contains("hunter2"), "{shown}");
    // What is shown is the file: it comes back as the same revision.
    let again = admin.file("again.yaml", shown);
    admin.says(&["sequence", "apply", &again], &["as it was: revision 2"]);
    admin.says(&["sequence", "diff", "Lab Mac", &again], &["no difference"]);
    admin.fails(&["sequence", "diff", "Lab Mac@1", "Lab Mac@2"], 1, "timeout `2 min` → `3 min`");
    admin.says(&["sequence", "list"], &["Lab Mac", "Labs", "18.6 GiB", "Names the Mac"]);
    let without = "name: X\nsteps: [{execute_script: {script: echo}}]\n";
    let (code, text) = admin.run(&["sequence", "apply", "-"], without);
    assert!(
        code == 1 && text.contains("was not saved") && text.contains("[script-without-shebang]"),
        "{text}"
    );
    admin.says(&["sequence", "copy", "Lab Mac@1", "Office Mac"], &["Office Mac revision 1"]);
    admin.fails(&["sequence", "copy", "Lab Mac", "Office Mac"], 1, "Office Mac");
    admin.says(&["sequence", "check-all"], &["Lab Mac revision 2, not deployed: 0 findings"]);
    let schema = admin.json(&["sequence", "schema"]);
    assert_eq!(schema["title"], "Rootstock task sequence");
}

fn planned_and_simulated(admin: &Admin) {
    let plan = ["sequence", "plan", "Lab Mac", "--device", "C02SPINE0001"];
    admin.says(&plan, &["brings no operating system", "OSDComputerName: LAB-b13", "Key: ••••••••"]);
    let facts = admin.file("mac.json", r#"{"model": "iMac14,2", "serial": "C02FEAS00001"}"#);
    let vars = admin.file("vars.yaml", "Room: ''\n");
    let (code, text) = admin.run(&["sequence", "plan", "lab.yaml", "--facts", &facts], "");
    assert!(
        code == 2 && text.contains("red: steps[1].group[0]:") && text.contains("[unknown-variable]"),
        "{text}"
    );
    let simulate = ["sequence", "simulate", "lab.yaml", "--facts", &facts, "--vars", &vars];
    let with = |more: &[&str]| admin.run(&[&simulate[..], more].concat(), "");
    let (code, text) = with(&["--answer", "Room=B12", "--reboot-at", "Look"]);
    assert!(code == 1 && text.contains("the Mac was started anew while the script of `Look` ran"), "{text}");
    let (code, text) = with(&["--answer", "Room=B12", "--server-restart-at", "Look"]);
    assert!(
        code == 0 && text.contains("set OSDComputerName=LAB-B12") && text.contains("is the same"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    let (code, text) = with(&["--answer", "Room=B12", "--fail", "Look=exit 3"]);
    assert!(code == 1 && text.contains("the script ended with exit code 3"), "{text}");
    let (code, text) = with(&["--answer", "Room=B12", "--fail", "Name the Mac"]);
    assert!(
        code == 1 && text.contains("`Name the Mac` failed"),
        "what the appliance does can fail, too: {text}"
    );
    let (code, text) = with(&[]);
    assert!(
        code == 1 && text.contains("waits for values of Room: give it with --answer VAR=VALUE"),
        "{text}"
    );
}

fn steps(admin: &Admin) {
    let list =
        admin.says(&["sequence", "step", "list", "Lab Mac"], &["steps[1].group[0]", "Name the Mac", "group"]);
    assert_eq!(list.lines().count(), 5, "{list}");
    assert_eq!(admin.json(&["sequence", "step", "list", "Lab Mac@1"])[0]["type"], "Execute Script");
    let copy = ["sequence", "step", "copy", "Lab Mac@1", "steps[1]", "Office Mac", "--before", "steps[0]"];
    admin.says(&copy, &["Office Mac is saved as revision 2", "the entry stands at steps[0] of Office Mac"]);
    let walk = |words: &[&'static str]| [&["sequence", "step", "move", "Lab Mac"][..], words].concat();
    admin.says(&walk(&["Name the Mac", "--up"]), &["revision 3", "stands at steps[1] of Lab Mac"]);
    admin.says(&walk(&["Name the Mac", "--down"]), &["revision 4", "stands at steps[1].group[0]"]);
    admin.fails(&walk(&["Look", "--up"]), 1, "`Look` is the first entry already");
    admin.fails(&walk(&["Finish", "--into", "Finish"]), 1, "cannot be put into itself");
    admin.fails(&walk(&["Nobody", "--up"]), 1, "has no entry `Nobody`");
    admin.fails(&walk(&["Look", "--up", "--down"]), 2, "cannot be used with");
    let away = walk(&["steps[1].group[1]", "--to", "Office Mac", "--into-finally", "steps[0]"]);
    admin.says(
        &away,
        &["Office Mac is saved as revision 3", "Lab Mac is saved as revision 5", "steps[0].finally[0]"],
    );
    let office = admin.says(&["sequence", "show", "Office Mac"], &["timeout: 2 min", "sealed.v1."]);
    assert!(!office.contains("hunter2"), "a secret that is moved stays sealed: {office}");
    admin.says(&["sequence", "step", "remove", "Lab Mac", "Look"], &["Lab Mac is saved as revision 6"]);
    admin.fails(&["sequence", "step", "remove", "Lab Mac", "Finish"], 1, "no-steps");
}

fn profiles(admin: &Admin) {
    let wifi = admin.file("wifi.mobileconfig", WIFI);
    let preview =
        admin.says(&["sequence", "profile", "preview", &wifi], &["org.example.wifi (Wi-Fi), not signed"]);
    assert!(!preview.contains("hunter2"), "{preview}");
    let import = ["sequence", "profile", "import", "Lab Mac", &wifi];
    let with = |more: &[&'static str]| [&import[..], more].concat();
    admin.says(&with(&["--name", "Wi-Fi", "--into", "Finish"]), &["revision 7", "steps[0].group[1]"]);
    let found = admin.json(&["sequence", "profile", "preview", "Lab Mac", "Wi-Fi"]);
    assert_eq!((&found["identifier"], &found["signed"]), (&json!("org.example.wifi"), &json!(false)));
    let newer = admin.file("newer.mobileconfig", WIFI.replace("5F1C", "5F1D"));
    admin.says(&["sequence", "profile", "import", "Lab Mac", &newer, "--step", "Wi-Fi"], &["revision 8"]);
    let export = ["sequence", "profile", "export", "Lab Mac", "Wi-Fi", "-o", "out.mobileconfig"];
    admin.says(&export, &["org.example.wifi is in out.mobileconfig"]);
    let written = fs::read(admin.folder.join("out.mobileconfig")).unwrap();
    assert!(written == WIFI.replace("5F1C", "5F1D").as_bytes(), "byte by byte as it came");
    admin.fails(&export, 1, "making out.mobileconfig");
    let hello = admin.file("hello.mobileconfig", "hello");
    admin.fails(&["sequence", "profile", "import", "Lab Mac", &hello], 1, "is no configuration profile");
    admin.fails(&["sequence", "profile", "preview", "Office Mac"], 1, "no Apply Configuration Profile step");
    signed(admin);
}

/// A profile that another program signed keeps its signature: that program still finds it good.
fn signed(admin: &Admin) {
    let openssl = |words: &[&str]| {
        let output =
            std::process::Command::new("openssl").current_dir(&admin.folder).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=Signer",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
    ];
    openssl(&key);
    let sign =
        ["cms", "-sign", "-signer", "c.pem", "-inkey", "k.pem", "-nodetach", "-binary", "-outform", "DER"];
    openssl(&[&sign[..], &["-in", "wifi.mobileconfig", "-out", "signed.mobileconfig"]].concat());
    admin.says(
        &["sequence", "profile", "import", "Lab Mac", "signed.mobileconfig", "--step", "Wi-Fi"],
        &["revision 9"],
    );
    admin.says(&["sequence", "profile", "preview", "Lab Mac"], &["signed", "its signature is kept"]);
    admin.says(&["sequence", "profile", "export", "Lab Mac", "-o", "back.mobileconfig"], &[]);
    let bytes = |name: &str| fs::read(admin.folder.join(name)).unwrap();
    assert!(bytes("back.mobileconfig") == bytes("signed.mobileconfig"));
    let verify = [
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        "back.mobileconfig",
        "-CAfile",
        "c.pem",
        "-purpose",
        "any",
        "-out",
        "content",
    ];
    openssl(&verify);
    assert!(bytes("content") == WIFI.as_bytes());
}

#[test]
fn section_1_a_run_keeps_the_revision_that_it_started_with_and_revisions_do_not_change() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let text = |word: &str| {
        format!(
            "name: Kept\nsteps: [{{set_variables: [{{name: Word, value: {word}}}]}}, {{execute_script: {{script: '#!/bin/sh'}}}}]\n"
        )
    };
    appliance.apply(&text("first"));
    appliance.deploy("Kept", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    assert_eq!(appliance.apply(&text("second")).revision, 2);
    let Action::ExecuteScript { environment, .. } = work.act().action else { panic!() };
    assert!(environment.contains(&("Word".into(), "first".into())), "{environment:?}");
    let revision = |number: u32| {
        admin.get::<admin::Sequence>(&format!("/api/v1/sequences/Kept?revision={number}")).unwrap()
    };
    assert_eq!((revision(1).yaml, revision(1).newest, revision(2).yaml), (text("first"), 2, text("second")));
    assert_eq!(appliance.apply(&text("first")).revision, 3, "an old text is a new revision");
    assert_eq!(refused(admin.get::<admin::Sequence>("/api/v1/sequences/Kept?revision=9")).0, 404);
    let schema: Value = admin.get("/api/v1/schemas/sequence").unwrap();
    assert_eq!(schema["title"], "Rootstock task sequence", "the appliance publishes it");
}

#[test]
fn section_3_a_required_run_on_a_live_macos_that_would_have_to_ask_fails_and_one_that_somebody_starts_asks() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let body = VariableValue { value: String::new(), secret: false };
    let _set: admin::Variable = admin.put("/api/v1/collections/All%20Macs/variables/Room", &body).unwrap();
    appliance.apply("name: Name\nsteps: [{execute_script: {script: '#!/bin/sh'}}, {set_variables: [{name: A, value: '%Room%'}]}]\n");
    appliance.deploy("Name", Purpose::Required);
    let live = |serial: &str| -> (Welcome, RunTicket) {
        let hello = Hello { boot: BootMethod::Macos, ..Mac::words(serial) };
        let welcome: Welcome = appliance.network(None).post("/runner/v1/hello", &hello).unwrap();
        let start = StartRun { deployment: welcome.offers[0].deployment, pass: None, seen: None };
        let ticket = appliance.network(Some(&welcome.session)).post("/runner/v1/runs", &start).unwrap();
        (welcome, ticket)
    };
    let (_, ticket) = live("C02SPINE0001");
    let next = |ticket: &RunTicket| -> Next {
        let path = format!("/runner/v1/runs/{}/next", ticket.run);
        let ask = AskNext { boot: BootMethod::Macos, disks: Vec::new() };
        appliance.network(Some(&ticket.token)).post(&path, &ask).unwrap()
    };
    let Next::Finished { outcome, message, .. } = next(&ticket) else { panic!("{:?}", next(&ticket)) };
    assert_eq!(outcome, Outcome::Failed);
    assert!(message.starts_with("%Room% has no value, and nobody can be asked"), "{message}");
    assert!(appliance.run(ticket.run).step_list.iter().all(|step| step.state == admin::StepState::Pending));

    let from_the_network = Mac::boot(&appliance, "C02SPINE0002");
    let work = Work { appliance: &appliance, ticket: from_the_network.start(&appliance) };
    work.done(work.act().number, Done { exit_code: Some(0), ..Done::default() });
    assert!(matches!(work.try_next().unwrap(), Next::Wait { question: Some(_), .. }), "its wizard can ask");
}

#[test]
fn section_1_a_sequence_that_brings_an_operating_system_never_starts_on_a_live_macos_and_its_step_is_named() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply("name: Inner\nsteps: [{name: Wipe it, format_disk: {partitions: [{name: HD, format: hfs+, size: 100%}]}}]\n");
    appliance.apply("name: Outer\nsteps: [{name: Call, run_sequence: {sequence: Inner}}]\n");
    let deployment = appliance.deploy("Outer", Purpose::Available).id;
    let hello = Hello { boot: BootMethod::Macos, ..Mac::words("C02SPINE0001") };
    let welcome: Welcome = appliance.network(None).post("/runner/v1/hello", &hello).unwrap();
    assert!(welcome.offers.is_empty());
    let start = StartRun { deployment, pass: None, seen: None };
    let session = appliance.network(Some(&welcome.session));
    let (status, problem) = refused(session.post::<_, RunTicket>("/runner/v1/runs", &start));
    assert!(
        status == 409 && problem.error.contains("`Wipe it`") && problem.error.contains("live macOS"),
        "{problem:?}"
    );
    assert!(!Mac::boot(&appliance, "C02SPINE0001").welcome.offers.is_empty(), "over the network it does");
}

#[test]
fn part_1_an_image_that_only_an_answer_decides_on_and_that_is_gone_stops_a_run_before_anything_is_erased() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &super::appliance::numbered_image(&folder, 1));
    appliance.apply("name: Choice\nprompts: [{variable: Role, type: choice, choices: [pupil, teacher]}]\nsteps:\n  - format_disk: {partitions: [{name: HD, format: hfs+, size: 100%}]}\n  - {name: For teachers, if: {all: [{variable: Role, equals: teacher}]}, apply_image: {image: lab}}\n");
    appliance.deploy("Choice", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let program = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=10)\ndb.execute('DELETE FROM image_version')\ndb.commit()";
    let file = appliance.data.join("db.sqlite3");
    assert!(
        std::process::Command::new("python3").args(["-c", program]).arg(file).status().unwrap().success()
    );
    let (status, problem) = refused(mac.try_start(&appliance, mac.welcome.offers[0].deployment));
    assert!(
        status == 422 && problem.error.contains("step `For teachers` may apply the image lab"),
        "{problem:?}"
    );
}

#[test]
fn section_3_and_4_a_run_is_answered_confirmed_resumed_closed_and_cancelled_by_command_line() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = Admin::of(&appliance, &folder);
    appliance.apply("name: Ask\nprompts: [{variable: Room, type: choice, choices: [Lab, Attic], label: Which room}, {variable: Pin, secret: true}]\nsteps:\n  - name: Only in the lab\n    if: {all: [{variable: Room, equals: lab}]}\n    group:\n      - {set_variables: [{name: Host, value: '%Room%-%Pin%'}]}\n      - {wait_for_technician: {message: Plug it in}}\n  - {name: Try, execute_script: {script: '#!/bin/sh'}}\n  - {name: Host, set_hostname: {name: mac}}\n");
    appliance.deploy("Ask", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let waits = |part: &str| match work.try_next().unwrap() {
        Next::Wait { why, .. } => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    waits("waits for values of Room");
    admin.says(
        &["run", "show", "1"],
        &["asks for Room (Which room), one of Lab, Attic: rootstock run answer 1 Room=VALUE"],
    );
    admin.fails(&["run", "answer", "1", "Room=Cellar"], 1, "it is one of Lab, Attic");
    admin.fails(&["run", "answer", "1", "Pin=1"], 1, "Pin");
    admin.fails(&["run", "confirm", "1"], 1, "run 1");
    admin.says(&["run", "answer", "1", "room=Lab"], &["run 1 has its answers"]);
    waits("waits for values of Pin");
    let (code, text) = admin.run(&["run", "answer", "1", "Pin=-"], "hunter2\n");
    assert_eq!(code, 0, "{text}");
    waits("Plug it in");
    admin.says(&["run", "confirm", "1"], &["run 1"]);
    let failure = Failure {
        cause: "Lab-hunter2 broke, TGFiLWh1bnRlcjI=".into(),
        evidence: String::new(),
        next_step: String::new(),
        exit_code: Some(3),
    };
    let number = work.act().number;
    work.try_report(number, ReportEvent::Log { first: None, lines: vec!["host Lab-hunter2".into()] })
        .unwrap();
    work.try_report(number, ReportEvent::Failed(failure)).unwrap();
    let shown =
        admin.says(&["run", "show", "1"], &["failed at", "exit code 3", "rootstock run resume 1", "broke"]);
    let log = admin.says(&["run", "log", "1"], &["answered Pin=••••••••", "host ••••••••"]);
    assert!(![shown, log].concat().contains("hunter2"), "in no form");
    admin.says(&["run", "steps", "1"], &["Try", "3"]);
    admin.says(&["run", "resume", "1"], &["run 1"]);
    admin.fails(&["run", "resume", "1"], 1, "run 1");
    work.done(work.act().number, Done { exit_code: Some(0), ..Done::default() });
    assert!(matches!(work.act().action, Action::Restart), "on its way to macOS");
    admin.fails(&["run", "destination", "1", "0:2"], 1, "does not ask where an image goes");
    admin.says(&["run", "close", "1", "--done"], &["run 1"]);
    admin.fails(&["run", "cancel", "1"], 1, "run 1");
    let again = Mac::boot(&appliance, "C02SPINE0001");
    again.start(&appliance);
    admin.says(&["run", "cancel", "2"], &["run 2 is cancelled"]);
}

/// What README shows for authors is there and works: the worked sequences it names, with the words it gives.
#[test]
fn section_1_the_worked_sequences_of_readme_are_planned_and_simulated_as_it_writes() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = Admin::of(&appliance, &folder);
    let facts = admin.file("mac.json", r#"{"model": "iMac14,2", "serial": "C02FEAS00001", "memory": 8589934592, "disk0_size": 500000000000}"#);
    let sequences = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/sequences");
    let example = |name: &str| sequences.join(name).display().to_string();
    admin.says(
        &["sequence", "plan", &example("school-lab.yaml"), "--facts", &facts],
        &["erases on disk 0", "asks for Room"],
    );
    let repair = example("repair-shop.yaml");
    let simulate = ["sequence", "simulate", &repair, "--facts", &facts, "--answer", "Ticket=4711"];
    admin.says(&[&simulate[..], &["--fail", "Write a clean system=exit 1"]].concat(), &["succeeded: "]);
}
