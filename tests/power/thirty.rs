//! A sequence of thirty steps, of every kind that the boot environment does, and what must be true when it has ended,
//! whatever broke on the way (task-sequences section 8).
//!
//! Owns: the sequence, its scripts that count themselves, the judgement of a run by its disk, its events, its variables and what
//! others saw. Must not know: what broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::api::admin::{Run, RunEvent, StepState};
use rootstock::api::runner::Outcome;
use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::random::Random;

const MIB: usize = 1 << 20;
/// Bytes of the Mac's disk.
pub const DISK: u64 = 704 * MIB as u64;
/// Steps.
pub const STEPS: usize = 30;
/// The step that fails where it shall.
pub const DOOMED: usize = 29;
/// Steps that are over at once: who wants to hit them must not wait.
pub const QUICK: [usize; 3] = [22, 25, 26];
/// Scripts, and how often each runs when nothing breaks. Steps are named by their place.
const SCRIPTS: [(usize, usize); 14] = [
    (3, 1),
    (6, 1),
    (7, 1),
    (9, 0),
    (11, 1),
    (12, 0),
    (13, 1),
    (15, 1),
    (16, 1),
    (17, 2),
    (19, 1),
    (20, 0),
    (27, 1),
    (DOOMED, 1),
];
/// Bytes of the image's partition.
const VOLUME: usize = 6 * MIB;

/// Where scripts leave word, outside the Mac's disk.
pub struct Words(PathBuf);

impl Words {
    /// In this folder.
    pub fn new(folder: &Path) -> Words {
        fs::create_dir_all(folder).unwrap();
        Words(folder.to_owned())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// A script that says when it begins and ends, and whether another one is at work.
    fn script(&self, step: usize, rest: &str) -> Value {
        let at = self.0.display();
        let text = format!(
            "#!/bin/sh\nexec 9>>'{at}/lock'\nflock -n 9 || echo {step} >>'{at}/beside'\necho 'begin {step}' >>'{at}/ran'\n\
             cd '{at}'\nsay() {{ echo \"end {step}\" >>'{at}/ran'; exit \"$1\"; }}\n{rest}\nsay 0\n"
        );
        json!({ "script": text })
    }

    /// How often a script was begun, and how often it came to its end.
    fn executions(&self, step: usize) -> (usize, usize) {
        let ran = self.read("ran");
        let count = |word: &str| ran.lines().filter(|line| *line == format!("{word} {step}")).count();
        (count("begin"), count("end"))
    }
}

fn named(step: usize, mut what: Value) -> Value {
    what["name"] = format!("step {step}").into();
    what
}

fn run(words: &Words, step: usize, rest: &str) -> Value {
    named(step, json!({ "execute_script": words.script(step, rest) }))
}

fn set(step: usize, pairs: &[(&str, &str)]) -> Value {
    let pairs: Vec<Value> =
        pairs.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    named(step, json!({ "set_variables": pairs }))
}

fn with(mut what: Value, key: &str, value: Value) -> Value {
    what[key] = value;
    what
}

fn equals(name: &str, value: &str) -> Value {
    json!({ "all": [{ "variable": name, "equals": value }] })
}

/// The sequence and the one that it runs, as files: JSON is YAML. `doomed`: step 29 fails, and nothing catches that.
pub fn sequences(words: &Words, boot_id: &Path, webhook: &str, doomed: bool) -> [String; 2] {
    // Which start of its kernel the Mac is at, before the restart of step 26 and after.
    let start = |step: usize| format!("cat '{}' >start-{step} || say 7", boot_id.display());
    let tool = "\"$PMM_TS_VARIABLE_UTIL\"";
    let retry = || json!({ "count": 2 });
    let partitions = json!([
        { "name": "System", "format": "raw", "size": "16 MiB", "variable": "SystemDisk" },
        { "name": "Data", "format": "hfs+", "size": "32 MiB", "variable": "DataDisk" },
    ]);
    let nested = json!({ "name": "Nested", "steps": [
        set(18, &[("Inner", "inside"), ("Depth", "1")]),
        run(words, 19, &format!("[ \"$({tool} --get Inner)\" = inside ] || say 9\n{tool} --set Depth=2 || say 8\n{}", start(19))),
        { "name": "deeper", "if": equals("Depth", "3"), "group": [run(words, 20, "")] },
    ] });
    let all = "Owner Room Mended Inner Depth Late Counted LastActionName";
    let steps = json!([
        named(1, json!({ "format_disk": { "partitions": partitions } })),
        named(2, json!({ "set_variables": [
            { "name": "Room", "value": "nowhere" },
            { "name": "Mended", "value": "no" },
            { "name": "Doom", "value": if doomed { "yes" } else { "no" } },
            { "name": "Depth", "value": "1" },
            { "name": "HookKey", "value": "k-of-hook", "secret": true },
        ] })),
        with(run(words, 3, "sleep 0.4"), "retry", retry()),
        named(4, json!({ "apply_image": { "image": "lab", "destination": { "variable": "SystemDisk" } } })),
        named(5, json!({ "verify_image": null })),
        run(words, 6, &format!("[ \"$Owner\" = ana ] || say 9\n{tool} --set Room=Lab Counted=\"$Owner's\"\nsleep 0.2")),
        { "name": "taken", "if": equals("Room", "Lab"), "group": [
            with(run(words, 7, "[ \"$Room\" = Lab ] || say 9\nsleep 1"), "retry", retry()),
            set(8, &[("Late", "%Room% of %Owner%")]),
        ] },
        { "name": "not taken", "if": equals("Room", "Attic"), "group": [run(words, 9, ""), set(10, &[("Late", "wrong")])] },
        { "name": "mended", "group": [run(words, 11, "sleep 0.1; say 3"), run(words, 12, "")],
          "catch": [run(words, 13, "[ \"$LastActionName\" = 'step 11' ] || say 9\nsleep 0.2"), set(14, &[("Mended", "yes")])],
          "finally": [run(words, 15, "sleep 0.1")] },
        with(run(words, 16, "sleep 0.2; say 5"), "continue_on_error", true.into()),
        with(run(words, 17, "[ -e tried ] || { touch tried; say 4; }\nsleep 0.1"), "retry", retry()),
        { "name": "run Nested", "run_sequence": { "sequence": "Nested" } },
        named(21, json!({ "copy_files": { "from": "labs", "to": "/Users/Shared", "volume": { "variable": "DataDisk" } } })),
        named(22, json!({ "notify": { "webhook": webhook, "secret": "%HookKey%", "message": "%Owner% in %Room%" } })),
        named(23, json!({ "wait_for_technician": { "message": "Look at %SerialNumber%." } })),
        named(24, json!({ "capture_image": { "image": "captured", "source": { "disk": 0, "partition": 3 } } })),
        named(25, json!({ "set_startup_disk": null })),
        named(26, json!({ "restart": null })),
        run(words, 27, &format!("{tool} --get {all} >variables\n{}\nsleep 0.1", start(27))),
        set(28, &[("Final", "%Late%, %Final%")]),
        run(words, DOOMED, "sleep 0.2\n[ \"$Doom\" = no ] || say 6"),
        set(30, &[("Over", "yes")]),
    ]);
    let sequence = json!({
        "name": "Thirty",
        "maximum_run_time": "2 h",
        "prompts": [{ "variable": "Owner", "label": "Whose Mac" }, { "variable": "Final", "default": "x", "optional": true }],
        "steps": steps,
    });
    [nested.to_string(), sequence.to_string()]
}

/// The image that step 4 applies: an MBR and one HFS partition of bytes that do not compress.
pub fn image() -> Vec<u8> {
    let mut head = vec![0; MIB];
    head[450] = 0xaf;
    head[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    head[458..462].copy_from_slice(&((VOLUME / 512) as u32).to_le_bytes());
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    [head, volume()].concat()
}

fn volume() -> Vec<u8> {
    Random(30).bytes(VOLUME)
}

/// What step 21 copies: names and contents.
pub fn files() -> BTreeMap<&'static str, Vec<u8>> {
    [
        ("large.bin", Random(21).bytes(3 * MIB + 7)),
        ("Read me.txt", b"hello\n".to_vec()),
        ("empty", Vec::new()),
    ]
    .into()
}

/// Everything that a run has left behind.
pub struct Left<'a> {
    pub run: &'a Run,
    pub events: &'a [RunEvent],
    pub words: &'a Words,
    pub disk: &'a Path,
    /// Deliveries that the webhook's receiver took.
    pub deliveries: &'a [String],
    pub doomed: bool,
}

/// How often a new start of the Mac broke the action of a step.
fn interrupted(events: &[RunEvent], step: usize) -> usize {
    let name = format!("step {step}");
    let (mut at_work, mut broken) = (false, 0);
    for event in events {
        match event.kind.as_str() {
            "assigned" => at_work = event.step.as_ref() == Some(&name),
            "done" | "failed" => at_work = false,
            "reconnected" if at_work => broken += 1,
            _ => {}
        }
    }
    broken
}

/// Judges a run that has ended.
pub fn judge(left: &Left<'_>, appliance: &Appliance) {
    let run = left.run;
    if left.doomed {
        assert_eq!(run.summary.outcome, Some(Outcome::Failed), "a wrong success: {:?}", run.message);
        let failure = run.failure.as_ref().unwrap();
        assert_eq!(failure.exit_code, Some(6), "{failure:?}");
        assert_eq!(run.step_list[DOOMED - 1].state, StepState::Failed);
        assert_eq!(run.step_list[STEPS - 1].state, StepState::Pending);
    } else {
        assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{:?} {:?}", run.message, run.failure);
        let want = |step: usize| match step {
            9 | 10 | 12 | 20 => StepState::Skipped,
            11 | 16 => StepState::Failed,
            _ => StepState::Succeeded,
        };
        for (step, seen) in (1..).zip(&run.step_list) {
            assert_eq!(seen.state, want(step), "step {step}: {seen:?}");
        }
    }
    assert_eq!(run.step_list.len(), STEPS);
    judge_scripts(left);
    judge_events(left);
    judge_others(left, appliance);
    judge_disk(left.disk);
}

/// A script ran as often as it had to; once more only where a new start of the Mac broke it, and that stands in the record.
fn judge_scripts(left: &Left<'_>) {
    let resumed = left.events.iter().filter(|event| event.kind == "resumed").count();
    for (step, normal) in SCRIPTS {
        let (begun, ended) = left.words.executions(step);
        // The finally after a catch that was broken has been done; resumed, the catch leads to it once more.
        let broken = interrupted(left.events, step)
            + if step == 15 { interrupted(left.events, 13).min(resumed) } else { 0 };
        let record = || {
            format!(
                "step {step}: begun {begun}, ended {ended}, normally {normal}, broken {broken}; {}",
                left.words.read("ran")
            )
        };
        assert!(begun <= normal + broken && ended <= normal + broken, "{}", record());
        assert!(ended + broken >= normal && begun >= ended, "{}", record());
    }
    assert_eq!(left.words.read("beside"), "", "a script ran beside another one");
    if left.words.executions(27).1 > 0 {
        let (before, after) = (left.words.read("start-19"), left.words.read("start-27"));
        assert!(
            !before.is_empty() && !after.is_empty() && before != after,
            "step 26 succeeded, and the Mac is at the same start: {before:?} {after:?}"
        );
        let variables = left.words.read("variables");
        let want = ["Owner='ana'", "Room='Lab'", "Mended='yes'", "Depth='2'", "Counted=", "LastActionName="];
        assert!(want.iter().all(|text| variables.contains(text)), "{variables}");
        assert!(variables.contains("Late=") && variables.contains("Inner="), "{variables}");
    }
}

/// No step was reported done twice, no action reported on twice.
fn judge_events(left: &Left<'_>) {
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for event in left.events {
        let what = match event.kind.as_str() {
            // `action 3 done, …`: an action has a number, whatever step it belongs to.
            "done" => event.detail.split_once(" done").map_or(event.detail.as_str(), |(action, _)| action),
            "variables-set" | "confirmed" | "answered" => event.step.as_deref().unwrap_or_default(),
            _ => continue,
        };
        *done.entry(what).or_default() += 1;
    }
    for (step, count) in done {
        let again = step == "step 15" && interrupted(left.events, 13) > 0;
        // The answers to the first question stand at the step that asked.
        let asked = step.is_empty() || step == "step 1" || step == "step 28";
        assert!(
            count == 1 || asked && count <= 2 || again && count <= 2,
            "{step} was done {count} times: {:#?}",
            left.events
        );
    }
    let numbers: Vec<u64> = left.events.iter().map(|event| event.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

/// What others saw: one notification, however often it was delivered; one version of the captured image.
fn judge_others(left: &Left<'_>, appliance: &Appliance) {
    let deliveries: BTreeSet<&String> = left.deliveries.iter().collect();
    assert_eq!(deliveries.len(), 1, "one notification has one number: {:?}", left.deliveries);
    let images = appliance.json(&["image", "list"]);
    let captured = images.as_array().unwrap().iter().find(|image| image["name"] == "captured");
    assert_eq!(captured.map(|image| &image["versions"]), Some(&json!(1)), "{images}");
    let back = tempfile::tempdir().unwrap();
    let file = back.path().join("restored");
    appliance.must(&["image", "restore", "captured", "--to", file.to_str().unwrap()]);
    judge_files(&file);
    appliance.must(&["store", "check"]);
}

/// The disk, as other programs read it.
fn judge_disk(disk: &Path) {
    let table = Command::new("sfdisk").arg("--json").arg(disk).output().unwrap();
    let table: Value = serde_json::from_slice(&table.stdout).expect("sfdisk reads the table");
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let named: Vec<_> = partitions.iter().map(|one| one["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(named[1..], ["System", "Data"], "{table}");
    let file = File::open(disk).unwrap();
    let part = |number: usize| {
        let number = |key: &str| partitions[number][key].as_u64().unwrap() as usize * 512;
        let mut bytes = vec![0; number("size")];
        file.read_exact_at(&mut bytes, number("start") as u64).unwrap();
        bytes
    };
    let system = part(1);
    assert!(system[..VOLUME] == volume(), "the volume differs from the image");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::write(&data, part(2)).unwrap();
    judge_files(&data);
}

fn judge_files(volume: &Path) {
    let volume = volume.to_str().unwrap();
    let tested = Command::new("7z").args(["t", "-thfs", volume]).output().unwrap();
    assert!(tested.status.success(), "7z: {}", String::from_utf8_lossy(&tested.stdout));
    for (name, content) in files() {
        let path = format!("Data/Users/Shared/labs/{name}");
        let read = Command::new("7z").args(["e", "-so", "-thfs", volume, &path]).output().unwrap();
        assert!(read.status.success() && read.stdout == content, "7z reads another {name}");
    }
    let listed = Command::new("7z").args(["l", "-slt", "-thfs", volume]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.matches("large.bin").count(), 1, "{listed}");
}
