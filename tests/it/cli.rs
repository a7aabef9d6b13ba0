//! The command line as a process: exit codes, what is printed where, with and without an appliance.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use assert_cmd::Command;
use rootstock::api::admin::{
    Finding, Job, JobKind, JobState, Run, RunStep, RunSummary, SavedSequence, StepState,
};
use rootstock::api::runner::{Failure, Outcome, Progress};
use serde::Serialize;
use tempfile::TempDir;

fn rootstock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    command.env_remove("ROOTSTOCK_SOCKET");
    command
}

/// What a finished command left: exit code, standard output, standard error.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An appliance that gives canned answers, one a connection, and remembers request lines and bodies.
struct Appliance {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

/// No answer: the connection is closed.
const SILENCE: (u16, String) = (0, String::new());

fn answer(status: u16, body: &impl Serialize) -> (u16, String) {
    (status, serde_json::to_string(body).unwrap())
}

impl Appliance {
    fn answering(answers: Vec<(u16, String)>) -> Appliance {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        thread::spawn(move || {
            for (status, body) in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut sent = vec![0; length];
                reader.read_exact(&mut sent).unwrap();
                let request = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
                seen.lock()
                    .unwrap()
                    .push(format!("{request} {}", String::from_utf8(sent).unwrap()).trim_end().to_owned());
                if status != 0 {
                    let head = format!(
                        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes());
                }
            }
        });
        Appliance { folder, asked }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.folder.path().join("sock");
        outcome(rootstock().env("ROOTSTOCK_SOCKET", socket).args(arguments))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn run_at(step: u32, outcome: Option<Outcome>, change: u64) -> Run {
    let failed = outcome == Some(Outcome::Failed);
    Run {
        summary: RunSummary {
            id: 7,
            sequence: "Lab Mac".into(),
            revision: 2,
            device: 1,
            device_name: "C02FEAS00001".into(),
            outcome,
            step,
            steps: 3,
            started_ms: 0,
            ended_ms: outcome.map(|_| 61_000),
        },
        change,
        failed_step: None,
        progress: Some(Progress {
            phase: "writing".into(),
            done: 50,
            total: 100,
            network_rate: 98_000_000,
            disk_rate: 310_000_000,
            seconds_left: Some(40),
            ..Progress::default()
        }),
        at: Some("Write the image".into()),
        step_list: vec![RunStep {
            name: "Erase".into(),
            state: StepState::Succeeded,
            started_ms: Some(0),
            ended_ms: Some(2000),
            place: "steps[0]".into(),
            groups: vec![],
            why: None,
            exit_code: None,
            tries: 1,
            kind: "Format and Partition Disk".into(),
        }],
        message: outcome.map(|_| "how it went".into()),
        failure: failed.then(|| Failure {
            cause: "the disk is too small".into(),
            evidence: "8 GB, needs 20 GB".into(),
            next_step: "use a larger disk".into(),
            exit_code: None,
        }),
        question: None,
        waits: None,
        can_resume: failed,
        images: vec!["lab-mac 3".into()],
        receipts: vec![],
    }
}

#[test]
fn check_prints_every_finding_with_its_place_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    fs::write(
        &path,
        "name: x\nsteps:\n  - execute_script: {script: echo}\n  - apply_image: {image: '%No%', destination: {variable: HD}}\n",
    )
    .unwrap();
    let (code, _, errors) = outcome(rootstock().args(["sequence", "check"]).arg(&path));
    assert_eq!(code, 1);
    for part in [
        "steps[0]",
        "[script-without-shebang]",
        "steps[1]",
        "[unknown-variable]",
        "[undefined-destination]",
        "3 findings",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    let (code, json, _) = outcome(rootstock().args(["sequence", "check", "--json"]).arg(&path));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json[0]["findings"][0]["code"]), (1, &"script-without-shebang".into()));
}

#[test]
fn plan_simulate_diff_and_schema_need_no_appliance_when_everything_is_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let yaml = "name: x\nsteps:\n  - format_disk: {partitions: [{name: 'HD %Room%', format: apfs, size: 100%}]}\n  - {name: Try, retry: {count: 1}, execute_script: {script: '#!/bin/sh'}}\n  - {name: Laptop, if: {all: [{variable: Model, like: 'MacBook*'}]}, restart: }\n";
    let (file, facts) =
        (write("x.yaml", yaml), write("mac.json", r#"{"model": "iMac14,2", "disk0_size": 500000000000}"#));
    let vars = write("vars.yaml", "Room: ''\n");
    let call = |words: &[&str]| outcome(rootstock().args(["sequence"]).args(words));
    let (code, out, errors) = call(&["plan", &file, "--facts", &facts, "--vars", &vars]);
    assert_eq!(code, 0, "{out}{errors}");
    for part in [
        "partition: HD %Room%,",
        "skip",
        "is not like `MacBook*`",
        "asks for Room, before step 1",
        "erases on disk 0",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = call(&["plan", &file, "--facts", &facts, "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &plan["findings"][0]["code"]), (2, &"unknown-variable".into()), "{out}");

    let common = ["simulate", &file, "--facts", &facts, "--vars", &vars];
    let simulate = |more: &[&str]| call(&[&common[..], more].concat());
    let (code, out, _) = simulate(&["--answer", "Room=12", "--reboot-at", "1", "--server-restart-at", "Try"]);
    assert_eq!(code, 0, "{out}");
    for part in ["Room=12", "reconnected", "is the same", "succeeded: 2 of 3 steps done"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = simulate(&["--answer", "Room=12", "--fail", "Try=exit 3"]);
    assert!(code == 1 && out.matches("exit code 3").count() >= 2 && out.contains("failed: step 2"), "{out}");
    let (code, out, _) = simulate(&[]);
    assert!(code == 1 && out.contains("waits for values of Room"), "{out}");
    assert_eq!(simulate(&["--reboot-at", "Nowhere"]).0, 1);

    let other = write("y.yaml", &yaml.replace("count: 1", "count: 2"));
    let (code, out, _) = call(&["diff", &file, &other]);
    assert_eq!((code, out.trim()), (1, "~ steps[1] `Try`: retry.count `1` → `2`"));
    assert_eq!(call(&["diff", &file, &file]).0, 0);
    let schema: serde_json::Value = serde_json::from_str(&call(&["schema"]).1).unwrap();
    assert_eq!(schema["title"], "Rootstock task sequence");
}

#[test]
fn check_needs_no_appliance_and_names_line_and_column_of_what_it_cannot_read() {
    let good = "name: x\nsteps:\n  - restart:\n";
    let (code, out, _) = outcome(rootstock().args(["sequence", "check", "-"]).write_stdin(good));
    assert_eq!((code, out.trim()), (0, "-: nothing is wrong"));
    let bad = good.replace("restart", "restrat");
    let (code, _, errors) = outcome(rootstock().args(["sequence", "check", "-"]).write_stdin(bad));
    assert!(code == 1 && errors.contains("line 3, column 5: `restrat`"), "{errors}");
    let (code, _, errors) = outcome(rootstock().args(["sequence", "check", "/nowhere.yaml"]));
    assert!(code == 1 && errors.starts_with("error: /nowhere.yaml"), "{errors}");
}

#[test]
fn a_command_line_that_makes_no_sense_exits_with_2() {
    for arguments in [
        &["deploy", "x"][..],
        &["run", "show", "x"],
        &["image", "delete", "@1"],
        &["client", "show", "zz"],
        &["nonsense"],
    ] {
        assert_eq!(outcome(rootstock().args(arguments)).0, 2, "{arguments:?}");
    }
}

#[test]
fn an_appliance_that_is_not_there_is_named_with_what_to_do() {
    let (code, _, errors) = outcome(rootstock().args(["--socket", "/nowhere/sock", "run", "list"]));
    assert_eq!(code, 1);
    assert!(
        errors.starts_with("error: /nowhere/sock did not answer") && errors.contains("start rootstockd"),
        "{errors}"
    );
}

#[test]
fn a_sequence_with_findings_is_not_sent_to_be_saved() {
    let finding =
        Finding { code: "unknown-image".into(), path: "steps[0]".into(), message: "no image `lab`".into() };
    let appliance = Appliance::answering(vec![answer(200, &[finding])]);
    let file = appliance.file("s.yaml", "name: x\nsteps: [{restart: }]\n");
    let (code, _, errors) = appliance.run(&["sequence", "apply", file.to_str().unwrap()]);
    assert!(code == 1 && errors.contains("steps[0]: no image `lab` [unknown-image]"), "{errors}");
    assert_eq!(appliance.asked().len(), 1);
}

#[test]
fn a_sequence_that_checks_is_saved_and_its_revision_told() {
    let saved = SavedSequence { name: "x".into(), revision: 4, unchanged: false };
    let appliance = Appliance::answering(vec![answer(200, &[(); 0]), answer(200, &saved)]);
    let file = appliance.file("s.yaml", "name: x\nsteps: [{restart: }]\n");
    let (code, out, _) = appliance.run(&["sequence", "apply", file.to_str().unwrap()]);
    assert_eq!((code, out.trim()), (0, "x is saved as revision 4"));
    assert!(
        appliance.asked()[1].starts_with("POST /api/v1/sequences {\"yaml\":\"name: x"),
        "{:?}",
        appliance.asked()
    );
}

#[test]
fn a_refusal_of_the_appliance_is_printed_with_its_next_step() {
    let problem = serde_json::json!({ "error": "no sequence `Lab`", "next_step": "rootstock sequence list" });
    let appliance = Appliance::answering(vec![answer(404, &problem)]);
    let (code, _, errors) = appliance.run(&["deploy", "Lab", "--to", "All Macs", "--purpose", "required"]);
    assert!(code == 1 && errors.contains("no sequence `Lab`; rootstock sequence list"), "{errors}");
    assert_eq!(
        appliance.asked(),
        [r#"POST /api/v1/deployments {"sequence":"Lab","collection":"All Macs","purpose":"required"}"#]
    );
}

#[test]
fn watching_shows_how_far_the_run_is_and_exits_0_when_it_succeeded() {
    let answers =
        vec![answer(200, &run_at(2, None, 5)), answer(200, &run_at(3, Some(Outcome::Succeeded), 9))];
    let appliance = Appliance::answering(answers);
    let (code, out, progress) = appliance.run(&["run", "watch", "7"]);
    assert_eq!(code, 0, "{progress}");
    let want = "run 7 on C02FEAS00001: step 2 of 3, Write the image · writing · 50 % · 98.0 MB/s network · 310.0 MB/s disk · 40 s left";
    assert_eq!(progress.trim(), want);
    assert!(out.contains("succeeded: how it went"), "{out}");
    assert_eq!(appliance.asked(), ["GET /api/v1/runs/7", "GET /api/v1/runs/7?after=5&wait=15"]);
}

#[test]
fn watching_exits_1_when_the_run_failed_or_was_cancelled() {
    for outcome in [Outcome::Failed, Outcome::Cancelled] {
        let appliance = Appliance::answering(vec![answer(200, &run_at(1, Some(outcome), 2))]);
        let (code, out, _) = appliance.run(&["run", "watch", "7"]);
        assert_eq!(code, 1);
        assert_eq!(out.contains("next step use a larger disk"), outcome == Outcome::Failed, "{out}");
    }
}

#[test]
fn watching_waits_for_an_appliance_that_is_restarted() {
    let answers = vec![
        answer(200, &run_at(1, None, 5)),
        SILENCE,
        SILENCE,
        SILENCE,
        answer(200, &run_at(3, Some(Outcome::Succeeded), 9)),
    ];
    let appliance = Appliance::answering(answers);
    let (code, _, notes) = appliance.run(&["run", "watch", "7"]);
    assert_eq!(code, 0);
    assert!(notes.contains("waiting for it") && notes.contains("answers again"), "{notes}");
}

#[test]
fn watching_without_a_number_takes_the_newest_run_that_goes_on() {
    let (mut ended, mut goes_on) = (run_at(3, Some(Outcome::Failed), 1).summary, run_at(1, None, 1).summary);
    (ended.id, goes_on.id) = (9, 8);
    let answers = vec![answer(200, &[ended, goes_on]), answer(200, &run_at(3, Some(Outcome::Succeeded), 9))];
    let appliance = Appliance::answering(answers);
    let (code, out, _) = appliance.run(&["run", "watch", "--json"]);
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((code, &last["outcome"]), (0, &"succeeded".into()));
    assert_eq!(appliance.asked()[1], "GET /api/v1/runs/8");
    let idle = Appliance::answering(vec![answer(200, &[(); 0])]);
    let (code, _, errors) = idle.run(&["run", "watch"]);
    assert!(code == 1 && errors.contains("--wait"), "{errors}");
}

fn job(state: JobState, change: u64) -> Job {
    Job {
        id: 3,
        kind: JobKind::Import,
        subject: "lab from lab.dmg".into(),
        change,
        state,
        progress: None,
        started_ms: 0,
        ended_ms: None,
    }
}

#[test]
fn an_import_is_followed_to_its_end() {
    let done = JobState::Done { message: "lab@1 is in the library".into(), version: Some(1) };
    let appliance =
        Appliance::answering(vec![answer(202, &job(JobState::Queued, 1)), answer(200, &job(done, 4))]);
    let file = appliance.file("lab.dmg", "x");
    let (code, out, _) = appliance.run(&["image", "import", file.to_str().unwrap(), "--name", "lab"]);
    assert_eq!((code, out.trim()), (0, "lab@1 is in the library"));
    let path = serde_json::to_string(file.canonicalize().unwrap().to_str().unwrap()).unwrap();
    let asked = [
        format!(r#"POST /api/v1/images {{"name":"lab","path":{path}}}"#),
        "GET /api/v1/jobs/3?after=1&wait=15".into(),
    ];
    assert_eq!(appliance.asked(), asked);
}

#[test]
fn an_import_that_failed_says_why_and_exits_1() {
    let failed =
        JobState::Failed { error: "lab.dmg ends at offset 512".into(), next_step: "copy it again".into() };
    let appliance = Appliance::answering(vec![answer(202, &job(failed, 1))]);
    let file = appliance.file("lab.dmg", "x");
    let (code, out, errors) = appliance.run(&["image", "import", file.to_str().unwrap(), "--name", "lab"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.ends_with("error: lab.dmg ends at offset 512; copy it again\n"), "{errors}");
    let (code, _, errors) = appliance.run(&["image", "import", "/nowhere.dmg", "--name", "lab"]);
    assert!(code == 1 && errors.contains("opening /nowhere.dmg"), "{errors}");
}

#[test]
fn names_with_spaces_and_slashes_stay_one_part_of_the_address() {
    let appliance = Appliance::answering(vec![
        (204, String::new()),
        (204, String::new()),
        answer(
            200,
            &serde_json::json!({"store": null, "manifest_key": "", "chunks": 0, "bytes": 0, "reclaimable": 2048}),
        ),
    ]);
    assert_eq!(appliance.run(&["sequence", "delete", "Lab/Mac 1"]).0, 0);
    let (code, out, _) = appliance.run(&["image", "delete", "lab mac@3"]);
    assert_eq!(
        (code, out.trim()),
        (0, "lab mac@3 is deleted; rootstock image collect gives 2.0 KiB back to the disk")
    );
    let asked = [
        "DELETE /api/v1/sequences/Lab%2FMac%201",
        "DELETE /api/v1/images/lab%20mac/versions/3",
        "GET /api/v1/library",
    ];
    assert_eq!(appliance.asked(), asked);
}
