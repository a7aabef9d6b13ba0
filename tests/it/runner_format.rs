//! What Format and Partition Disk makes, judged by the tools of others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rootstock::api::runner::{PartitionRequest, PartitionSize, VolumeFormat};
use rootstock::runner::format::{Kind, Plan, Slot, erase_and_write, make_volume, plan};
use rootstock::runner::place::Place;

const MIB: u64 = 1 << 20;

/// Runs a tool that may be missing on somebody's workstation but not where the project is tested.
fn judge(program: &str, arguments: &[&str], file: &Path) -> Option<String> {
    match Command::new(program).args(arguments).arg(file).env("LC_ALL", "C").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
            Some(text)
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing: {error}");
            println!("skipped: {program} is missing");
            None
        }
    }
}

fn disk_with(formats: &[VolumeFormat], block_size: u32, folder: &Path) -> (std::path::PathBuf, Plan) {
    let path = folder.join("disk");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(4096 * MIB).unwrap();
    let requests: Vec<_> = formats
        .iter()
        .map(|format| PartitionRequest {
            name: "Macintosh HD".into(),
            format: *format,
            size: PartitionSize::Bytes(320 * MIB),
        })
        .collect();
    let plan = plan(4096 * MIB, block_size, &requests).unwrap();
    erase_and_write(&mut file, &plan, uuid::Uuid::new_v4).unwrap();
    for slot in &plan.slots {
        let place = Place { path: path.clone(), offset: slot.start, size: slot.size };
        make_volume(&place, slot.kind, &slot.name, 1_700_000_000).unwrap();
    }
    (path, plan)
}

/// The partition as a file of its own, holes kept.
fn extract(disk: &Path, slot: &Slot, to: &Path) {
    let (from, out) = (File::open(disk).unwrap(), File::create(to).unwrap());
    out.set_len(slot.size).unwrap();
    let mut buffer = vec![0; MIB as usize];
    for at in (0..slot.size).step_by(MIB as usize) {
        from.read_exact_at(&mut buffer, slot.start + at).unwrap();
        if buffer.iter().any(|byte| *byte != 0) {
            out.write_all_at(&buffer, at).unwrap();
        }
    }
}

#[test]
fn section_2_the_table_and_every_file_system_stand_up_to_their_own_checkers() {
    let folder = tempfile::tempdir().unwrap();
    let formats = [
        VolumeFormat::HfsJournaled,
        VolumeFormat::Hfs,
        VolumeFormat::HfsCaseSensitive,
        VolumeFormat::Apfs,
        VolumeFormat::ExFat,
        VolumeFormat::Fat32,
        VolumeFormat::Raw,
    ];
    let (disk, plan) = disk_with(&formats, 512, folder.path());
    if let Some(said) = judge("sgdisk", &["-v"], &disk) {
        assert!(said.contains("No problems found"), "{said}");
    }
    if let Some(said) = judge("sgdisk", &["-p"], &disk) {
        assert!(said.contains("EF00") && said.contains("AF00") && said.contains("AF0A"), "{said}");
    }
    for slot in &plan.slots {
        let volume = folder.path().join(format!("volume-{}", slot.number));
        extract(&disk, slot, &volume);
        match slot.kind {
            Kind::Efi | Kind::Volume(VolumeFormat::Fat32) => drop(judge("fsck.vfat", &["-n"], &volume)),
            Kind::Volume(VolumeFormat::ExFat) => drop(judge("fsck.exfat", &["-n"], &volume)),
            Kind::Volume(VolumeFormat::Apfs) => drop(judge("apfsck", &["-cuw"], &volume)),
            Kind::Volume(VolumeFormat::Raw) => {}
            Kind::Volume(_) => {
                if let Some(said) = judge("7z", &["l", "-thfs"], &volume) {
                    assert!(said.contains("Type = HFS"), "{said}");
                }
            }
        }
    }
}

#[test]
fn a_disk_with_large_blocks_gets_a_table_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, plan) = disk_with(&[VolumeFormat::HfsJournaled, VolumeFormat::Apfs], 4096, folder.path());
    let mut head = [0; 8];
    File::open(&disk).unwrap().read_exact_at(&mut head, 4096).unwrap();
    assert_eq!(&head, b"EFI PART");
    let volume = folder.path().join("efi");
    extract(&disk, &plan.slots[0], &volume);
    judge("fsck.vfat", &["-n"], &volume);
}
