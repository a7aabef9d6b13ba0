//! `rootstock` against a real appliance, through its socket: what people and what programs read.

use assert_cmd::Command;
use rootstock::api::admin;
use rootstock::api::runner::*;
use serde_json::Value;
use tempfile::tempdir;

use super::appliance::{Appliance, MAC, Mac, Work, numbered_image};

/// Exit code and standard output.
fn rootstock(appliance: &Appliance, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output =
        command.arg("--socket").arg(appliance.data.join("rootstock.sock")).args(words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), if text.is_empty() { said } else { text })
}

fn json(appliance: &Appliance, words: &[&str]) -> Value {
    let (code, text) = rootstock(appliance, &[words, &["--json"]].concat());
    assert_eq!(code, 0, "{words:?}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

fn says(appliance: &Appliance, words: &[&str], parts: &[&str]) {
    let (code, text) = rootstock(appliance, words);
    assert_eq!(code, 0, "{words:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{words:?} does not say `{part}`:\n{text}");
    }
}

#[test]
fn a_run_and_its_mac_are_shown_to_people_and_to_programs_while_it_goes_on_and_after_it() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    says(&appliance, &["run", "list"], &["no runs yet"]);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    work.act();
    let shown = [
        "run 1: Lab Mac revision 1 on C02SPINE0001",
        "still going",
        "images: lab 1",
        "1     Format and Partition Disk  running",
    ];
    says(&appliance, &["run", "show", "1"], &shown);
    let run = json(&appliance, &["run", "show", "1"]);
    assert_eq!((&run["at"], &run["outcome"]), (&"Format and Partition Disk".into(), &Value::Null), "{run}");

    // The watcher hangs on the socket while the run goes on.
    let (code, lines) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| rootstock(&appliance, &["run", "watch", "1", "--json"]));
        work.formatted();
        let (number, manifest) = work.apply();
        let receipt = mac.receipt(1, number, manifest);
        work.done(number, Done { receipt: Some(receipt), ..Done::default() });
        work.done(work.act().number, Done::default());
        watcher.join().unwrap()
    });
    let last: admin::Run = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((code, last.summary.outcome), (0, Some(Outcome::Succeeded)), "{lines}");
    says(&appliance, &["run", "watch", "1"], &["succeeded: ", "3     Restart"]);
    says(&appliance, &["run", "list"], &["Lab Mac r1", "C02SPINE0001", "3/3   succeeded"]);
    says(&appliance, &["run", "log", "1"], &["handed out as action 1", "made /dev/vda2"]);
    assert_eq!(json(&appliance, &["run", "show", "1"])["receipts"].as_array().unwrap().len(), 1);
    assert_eq!(rootstock(&appliance, &["run", "show", "2"]).0, 1);
    assert_eq!(json(&appliance, &["device", "list"])[0]["serial"], "C02SPINE0001");

    // Timelines are written behind the requests; a stop writes what is left.
    let data = appliance.data.clone();
    appliance.stop();
    let appliance = Appliance::start(&data);
    let words = ["client", "show", &MAC.to_string()];
    says(&appliance, &words, &["was seen with device 1", "runner    run 1 of Lab Mac started"]);
    let client = json(&appliance, &words);
    assert_eq!((&client["mac"], &client["devices"][0]), (&MAC.to_string().into(), &1.into()));
    assert_eq!(client["events"].as_array().unwrap().len(), 3, "{client}");
}

#[test]
fn room_of_a_deleted_image_is_given_back_when_asked() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &super::appliance::image_file(&folder, 3 << 20));
    says(&appliance, &["image", "delete", "lab@1"], &["lab@1 is deleted", "rootstock image collect"]);
    let job = json(&appliance, &["image", "collect"]);
    assert_eq!(job["kind"], "collect", "{job}");
    let library: admin::Library = appliance.admin().get("/api/v1/library").unwrap();
    assert_eq!(library.bytes, 0);
    says(&appliance, &["image", "collect"], &["0 packs removed"]);
}

#[test]
fn the_columns_of_status_line_up() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (code, text) = rootstock(&appliance, &["status"]);
    let values: Vec<usize> =
        ["data  ", "CA  ", "https  ", "proxy-dhcp  "].iter().map(|name| column(&text, name)).collect();
    assert!(code == 0 && values.iter().all(|at| *at == values[0]), "{values:?}\n{text}");
}

/// Where the value stands in the line that begins with `name`.
fn column(text: &str, name: &str) -> usize {
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}in:\n{text}"));
    let after = line.find("  ").unwrap();
    after + line[after..].find(|c: char| c != ' ').unwrap()
}

#[test]
fn rings_notes_and_rules_are_shown_and_changed_by_name_at_version_or_ring() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    for number in [1, 2] {
        appliance.import("lab", &numbered_image(&folder, number));
    }
    says(
        &appliance,
        &["image", "promote", "lab@1", "--to", "production"],
        &["lab: draft 2, test -, production 1"],
    );
    says(&appliance, &["image", "promote", "lab"], &["lab: draft 2, test 2, production 1"]);
    says(&appliance, &["image", "promote", "lab@test"], &["lab: draft 2, test 2, production 2"]);
    says(&appliance, &["image", "rollback", "lab"], &["production 1"]);
    says(&appliance, &["image", "rings", "lab"], &["rolled back", " on the appliance"]);
    assert_eq!(json(&appliance, &["image", "list"])[0]["rings"]["test"], 2);
    says(&appliance, &["image", "list"], &["DRAFT", "PRODUCTION"]);
    says(&appliance, &["image", "note", "lab@production", "for room 1"], &["the note of lab@1 is changed"]);
    says(
        &appliance,
        &["image", "show", "lab"],
        &["note      for room 1", "rings     draft, test", "needed by ring production"],
    );
    says(&appliance, &["image", "verify", "lab@production"], &["lab 1 is whole"]);
    says(&appliance, &["image", "verify", "lab"], &["lab 1 is whole"]);
    let target = folder.path().join("disk").display().to_string();
    says(&appliance, &["image", "restore", "lab@draft", "--to", &target], &["lab@2 to"]);
    assert_eq!(std::fs::read(&target).unwrap()[1 << 20..], vec![2; 1 << 20]);
    says(
        &appliance,
        &["image", "retention", "lab", "--keep", "1"],
        &["the newest 1 versions are kept", "needed by ring production"],
    );
    says(
        &appliance,
        &["image", "retention", "lab", "--default", "--now"],
        &["all versions are kept (by the settings)"],
    );
    let (code, text) = rootstock(&appliance, &["image", "delete", "lab@1"]);
    assert!(code == 1 && text.contains("lab 1 is in use: ring production"), "{text}");
    let (code, text) = rootstock(&appliance, &["image", "promote", "lab@1"]);
    assert!(code == 1 && text.contains("no ring comes after"), "{text}");
}
