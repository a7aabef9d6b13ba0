//! The wizard of the real runner on a terminal, and its remote twin: the real appliance.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use gptman::{GPT, GPTPartitionEntry};
use rootstock::api::admin::Run;
use rootstock::api::runner::{Outcome, Purpose};
use rootstock::api::wizard::{PageName, Screen, SendMessage, StartOnDevice, TechnicianMessage};
use rootstock::client::Client;

use crate::api::appliance::{Appliance, image_file};
use crate::runner::Mac;

const MIB: u64 = 1 << 20;

const ASKS: &str = "\
name: Ask
prompts:
  - {variable: Room, label: Room of this Mac, pattern: '[A-Z][0-9]+', help: a letter and a number}
steps:
  - execute_script: {script: \"#!/bin/sh\\necho \\\"room $Room\\\"\\n\"}
  - wait_for_technician: {message: Close the lid, button: Closed}
  - execute_script: {script: \"#!/bin/sh\\nexit 3\\n\"}
";

/// The screen of the only Mac, as soon as it shows this page with this in its text.
fn shows(admin: &Client, page: PageName, text: &str) -> Screen {
    let mut after = 0;
    loop {
        let path = format!("/api/v1/devices/1/screen?after={after}&wait=5");
        let Ok(screen) = admin.get::<Screen>(&path) else { continue };
        if screen.page == page && screen.text.iter().any(|line| line.contains(text)) {
            return screen;
        }
        after = screen.change;
    }
}

fn say(admin: &Client, path: &str) -> Run {
    admin.post(path, &serde_json::json!({})).unwrap()
}

#[test]
fn section_7_what_is_asked_on_the_mac_is_answered_there_or_from_afar_and_either_moves_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(ASKS);
    let deployment = appliance.deploy("Ask", Purpose::Available).id;
    let mac = Mac::with_disk(20 * MIB);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let (mut runner, mut keys) = mac.on_terminal(&url, &appliance.data.join("keys/ca.pem"));
    let admin = appliance.admin();
    let seen = shows(&admin, PageName::Choose, "Choose a task sequence");
    assert_eq!((seen.here, seen.offers.len()), (true, 1));

    // Started from afar, asked on the Mac, and there refused and answered.
    let run: Run = admin.post("/api/v1/devices/1/start", &StartOnDevice { deployment }).unwrap();
    assert_eq!(run.summary.id, 1);
    runner.says("Room of this Mac: _");
    let seen = shows(&admin, PageName::Prompt, "Room of this Mac");
    assert_eq!((seen.title.as_str(), seen.run), ("Room", Some(1)));
    let question = appliance.run(1).question.unwrap();
    assert!(question.variables[0].required && question.since_ms > 0);
    keys.write_all(b"x\r").unwrap();
    runner.says("NOT TAKEN  Room of this Mac: it does not look right: a letter and a number");
    keys.write_all(b"\x7fB7\r").unwrap();

    // A step waits: confirmed from afar. The next one fails, which the Mac says with cause and choices.
    runner.says("Close the lid");
    shows(&admin, PageName::Wait, "Closed");
    say(&admin, "/api/v1/runs/1/confirm");
    runner.says("FAILED: Ask");
    runner.says("the script ended with exit code 3");
    shows(&admin, PageName::Ended, "Resume with the step that failed");

    // A message is read, and the sender knows.
    let text = "Do not touch it".to_owned();
    let sent: TechnicianMessage = admin.post("/api/v1/devices/1/messages", &SendMessage { text }).unwrap();
    runner.says("Do not touch it");
    // It has to be on screen for a moment before a key counts.
    let _: Screen = admin.get(&format!("/api/v1/devices/1/screen?after={}&wait=2", u64::MAX)).unwrap();
    keys.write_all(b"\r").unwrap();
    let messages = || admin.get::<Vec<TechnicianMessage>>("/api/v1/devices/1/messages").unwrap();
    while messages()[0].acknowledged_ms.is_none() {
        std::thread::yield_now();
    }
    assert_eq!(sent.id, 1);

    // Resumed on the Mac, failed again; anew from afar, and stopped on the Mac.
    let before = appliance.run(1).change;
    keys.write_all(b"1").unwrap();
    let mut run = appliance.run(1);
    while run.change == before || run.summary.outcome.is_none() {
        run = admin.get(&format!("/api/v1/runs/1?after={}&wait=5", run.change)).unwrap();
    }
    assert_eq!(run.summary.outcome, Some(Outcome::Failed));
    shows(&admin, PageName::Ended, "FAILED");
    let again = say(&admin, "/api/v1/runs/1/retry");
    assert_eq!(again.summary.id, 2);
    shows(&admin, PageName::Prompt, "Room of this Mac");
    keys.write_all(b"\x02").unwrap();
    runner.says("Stop the run?");
    keys.write_all(b"y").unwrap();
    runner.says("CANCELLED: Ask");
    assert_eq!(appliance.run(2).summary.outcome, Some(Outcome::Cancelled));
    shows(&admin, PageName::Ended, "CANCELLED");
    let _: Screen = admin.post("/api/v1/devices/1/shutdown", &serde_json::json!({})).unwrap();
    assert!(runner.ends().success());
}

/// A disk with an EFI System Partition, a partition of a MiB and one of 20.
fn with_partitions(mac: &Mac) -> u64 {
    let efi = uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    let hfs = uuid::uuid!("48465300-0000-11aa-aa11-00306543ecac");
    let mut disk = OpenOptions::new().read(true).write(true).open(mac.disk()).unwrap();
    let mut table = GPT::new_from(&mut disk, 512, [7; 16]).unwrap();
    let mut first = 2048;
    for (number, kind, mib) in [(1, efi, 4), (2, hfs, 1), (3, hfs, 20)] {
        table[number] = GPTPartitionEntry {
            partition_type_guid: kind.to_bytes_le(),
            unique_partition_guid: [number as u8; 16],
            starting_lba: first,
            ending_lba: first + mib * 2048 - 1,
            attribute_bits: 0,
            partition_name: "Old".into(),
        };
        first += mib * 2048;
    }
    table.write_into(&mut disk).unwrap();
    table[3].starting_lba * 512
}

#[test]
fn section_7_a_destination_is_selected_on_the_mac_and_the_image_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let image = image_file(&folder, 3 << 20);
    appliance.import("lab", &image);
    appliance.apply("name: Nowhere\nsteps:\n  - {name: Apply, apply_image: {image: lab}}\n");
    let deployment = appliance.deploy("Nowhere", Purpose::Available).id;
    let mac = Mac::with_disk(40 * MIB);
    let place = with_partitions(&mac);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let (mut runner, mut keys) = mac.on_terminal(&url, &appliance.data.join("keys/ca.pem"));
    let admin = appliance.admin();
    shows(&admin, PageName::Choose, "Choose a task sequence");
    let _: Run = admin.post("/api/v1/devices/1/start", &StartOnDevice { deployment }).unwrap();
    runner.says("Select a destination");
    let seen = shows(&admin, PageName::Destination, "too small: it has 1.0 MiB, the image needs 3.0 MiB");
    assert!(seen.text.iter().any(|line| line.contains("There is no way back")), "{:?}", seen.text);
    keys.write_all(b"\r").unwrap();
    runner.says("Partition 3 of disk 0 is ERASED.");
    keys.write_all(b"y").unwrap();
    shows(&admin, PageName::Ended, "DONE: Nowhere");
    let run = appliance.run(1);
    assert_eq!((run.summary.outcome, run.receipts.len()), (Some(Outcome::Succeeded), 1));
    let want = fs::read(image).unwrap().split_off(1 << 20);
    let mut have = vec![0; want.len()];
    fs::File::open(mac.disk()).unwrap().read_exact_at(&mut have, place).unwrap();
    assert!(have == want, "the image lies where it was put");
    let _: Screen = admin.post("/api/v1/devices/1/shutdown", &serde_json::json!({})).unwrap();
    assert!(runner.ends().success());
}
