//! Verify Image, Copy Files and Set Startup Disk by the real appliance and the runner's program, on a disk in a file; other
//! programs judge what lies on it. Task sequences, section 2.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rootstock::api::admin::{CreateDeployment, Deployment, JobState, StepState};
use rootstock::api::runner::{Outcome, Purpose};

use crate::api::appliance::{Appliance, numbered_image};
use crate::runner::Mac;

const MIB: u64 = 1 << 20;

fn deploy(appliance: &Appliance, name: &str, steps: &str) {
    appliance.apply(&format!("name: {name}\nsteps:\n{steps}"));
    let body = CreateDeployment::new(name, "all macs", Purpose::Required);
    let _made: Deployment = appliance.admin().post("/api/v1/deployments", &body).unwrap();
}

fn boot(appliance: &Appliance, mac: &Mac, word: &str) {
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    runner.says(word);
}

/// A partition of the disk as a file of its own; its start and length from sfdisk.
fn partition(disk: &Path, number: usize, to: &Path) {
    let output = Command::new("sfdisk").args(["--json"]).arg(disk).output().unwrap();
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &table["partitiontable"]["partitions"][number - 1];
    let (start, size) = (found["start"].as_u64().unwrap() * 512, found["size"].as_u64().unwrap() * 512);
    let mut bytes = vec![0; size as usize];
    File::open(disk).unwrap().read_exact_at(&mut bytes, start).unwrap();
    fs::write(to, bytes).unwrap();
}

fn says(program: &str, words: &[&str]) -> (bool, Vec<u8>) {
    let output =
        Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    (output.status.success(), output.stdout)
}

#[test]
fn section_2_files_of_the_appliance_lie_on_three_kinds_of_volumes_as_other_programs_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let files = appliance.data.join("files/labs");
    fs::create_dir_all(files.join("sub")).unwrap();
    let large: Vec<u8> =
        (0..3 * MIB as u32 + 7).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(files.join("large.bin"), &large).unwrap();
    fs::write(files.join("sub/Read me.txt"), "hello\n").unwrap();
    fs::write(files.join("empty"), "").unwrap();
    File::create(appliance.data.join("files/half.bin")).unwrap().set_len(20 * MIB).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", files.join("link")).unwrap();
    let steps = "
  - format_disk:
      partitions:
        - {name: HFS, format: hfs+ journaled, size: 64 MiB, variable: Hfs}
        - {name: FAT, format: fat32, size: 48 MiB, variable: Fat}
        - {name: EX, format: exfat, size: 48 MiB, variable: Ex}
        - {name: S, format: hfs+, size: 32 MiB, variable: Small}
        - {name: A, format: raw, size: 100%, variable: Raw}
  - {name: hfs, copy_files: {from: labs, to: /Users/Shared, volume: {variable: Hfs}}}
  - {name: hfs again, copy_files: {from: labs, to: /Users/Shared, volume: {variable: Hfs}}}
  - {name: fat, copy_files: {from: labs/sub, volume: {variable: Fat}}}
  - {name: exfat, copy_files: {from: labs/large.bin, to: /Deep/er, volume: {variable: Ex}}}
  - {name: half, copy_files: {from: half.bin, volume: {variable: Small}}}
  - {name: half again, copy_files: {from: half.bin, volume: {variable: Small}}}
  - {name: nowhere, continue_on_error: true, copy_files: {from: labs, volume: {variable: Raw}}}
  - {name: nothing, continue_on_error: true, copy_files: {from: labs/gone, volume: {variable: Hfs}}}
";
    deploy(&appliance, "Copies", steps);
    let mac = Mac::with_disk(800 * MIB);
    boot(&appliance, &mac, "SUCCEEDED");
    let run = appliance.run(1);
    let states: Vec<_> = run.step_list.iter().map(|step| (step.name.as_str(), step.state)).collect();
    // What takes more than half of the room is replaced, too: a step is repeated when its report got lost.
    assert!(states[..7].iter().all(|(_, state)| *state == StepState::Succeeded), "{run:?}");
    assert!(states[7..].iter().all(|(_, state)| *state == StepState::Failed), "{states:?}");
    assert!(run.step_list[1].why.as_ref().unwrap().contains("1 links and special files"), "{run:?}");
    assert!(run.step_list[7].why.as_ref().unwrap().contains("nothing was written"), "{run:?}");

    let part = folder.path().join("part");
    let part_text = part.to_str().unwrap();
    partition(&mac.disk(), 2, &part);
    let (good, bytes) = says("7z", &["e", "-so", "-thfs", part_text, "HFS/Users/Shared/labs/large.bin"]);
    assert!(good && bytes == large, "7z reads another file from HFS+");
    assert_eq!(
        says("7z", &["e", "-so", "-thfs", part_text, "HFS/Users/Shared/labs/sub/Read me.txt"]).1,
        b"hello\n"
    );
    partition(&mac.disk(), 3, &part);
    assert_eq!(says("mtype", &["-i", part_text, "::/sub/Read me.txt"]), (true, b"hello\n".to_vec()));
    assert!(says("fsck.fat", &["-n", part_text]).0, "fsck.fat");
    partition(&mac.disk(), 4, &part);
    assert!(says("fsck.exfat", &["-n", part_text]).0, "fsck.exfat");
}

#[test]
fn section_2_an_applied_image_is_verified_until_a_byte_of_it_changes_and_the_firmware_is_told_as_far_as_it_can()
 {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let job = appliance.import("lab", &numbered_image(&folder, 7));
    assert!(matches!(job.state, JobState::Done { version: Some(1), .. }), "{job:?}");
    let steps = "
  - format_disk: {partitions: [{name: Mac, format: raw, size: 100%}]}
  - apply_image: {image: lab}
  - {name: verify, verify_image: }
  - {name: startup, set_startup_disk: }
";
    deploy(&appliance, "Whole", steps);
    let mac = Mac::with_disk(300 * MIB);
    boot(&appliance, &mac, "SUCCEEDED");
    let run = appliance.run(1);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    let warning = run.step_list[3].why.clone().unwrap();
    assert!(
        warning.contains("the firmware was not told") && warning.contains("no EFI variables"),
        "{warning}"
    );

    // With variables, they are written.
    let variables = mac.root().join("sys/firmware/efi/efivars");
    fs::create_dir_all(&variables).unwrap();
    fs::write(variables.join("BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [7, 0, 0, 0]).unwrap();
    let disk = File::options().write(true).open(mac.disk()).unwrap();
    deploy(
        &appliance,
        "Startup",
        "  - set_startup_disk: {volume: {disk: 0, partition: 2}, required: true}\n",
    );
    boot(&appliance, &mac, "SUCCEEDED");
    let path = fs::read(variables.join("efi-boot-device-data-7c436110-ab2a-4bbb-a880-fe41995c9f82")).unwrap();
    assert_eq!((path.len(), &path[4..8], path[8]), (4 + 46, &[4, 1, 42, 0][..], 2));

    disk.write_all_at(b"x", 201 * MIB + 70_000).unwrap();
    let audit =
        "  - {name: audit, verify_image: {image: lab, version: 1, volume: {disk: 0, partition: 2}}}\n";
    deploy(&appliance, "Audit", audit);
    boot(&appliance, &mac, "FAILED");
    let failure = appliance.run(3).failure.unwrap();
    assert!(
        failure.cause.contains("is not as it was written") && failure.evidence.contains("65536"),
        "{failure:?}"
    );
}
