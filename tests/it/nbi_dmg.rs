//! NetBoot sets from disk images as Macs make them, packed and partitioned; and from afar, over HTTPS with the token.

use std::fs;
use std::io::Read;
use std::path::Path;

use assert_cmd::Command;
use rootstock::api::admin::Nbi;

use crate::image_source_build::{END, STORED, Table, Udif, ZERO, ZLIB, corpus};
use crate::nbi::{imported, is_refused, sets, start, volume_of};
use crate::nbi_set::plain;

const SECTOR: usize = 512;
/// Bytes of one packed run, as `hdiutil` makes them.
const RUN: usize = 1 << 20;
/// Apple_HFS and Apple_APFS as partition types of GPT.
const HFS: [u8; 16] = *b"\0SFH\0\0\xaa\x11\xaa\x11\0\x30\x65\x43\xec\xac";
const APFS: [u8; 16] = *b"\xef\x57\x34\x7c\0\0\xaa\x11\xaa\x11\0\x30\x65\x43\xec\xac";

/// The volume as the first partition of a disk with GPT.
fn on_a_disk(volume: &[u8], kind: [u8; 16]) -> Vec<u8> {
    let first = 40;
    let sectors = (volume.len() / SECTOR) as u64;
    let mut disk = vec![0; volume.len() + (first as usize + 40) * SECTOR];
    disk[first as usize * SECTOR..][..volume.len()].copy_from_slice(volume);
    let mut cursor = std::io::Cursor::new(&mut disk[..]);
    let mut gpt = gptman::GPT::new_from(&mut cursor, SECTOR as u64, [7; 16]).unwrap();
    gpt[1] = gptman::GPTPartitionEntry {
        partition_type_guid: kind,
        unique_partition_guid: [9; 16],
        starting_lba: first,
        ending_lba: first + sectors - 1,
        attribute_bits: 0,
        partition_name: "disk image".into(),
    };
    gpt.write_into(&mut cursor).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut cursor, SECTOR as u64).unwrap();
    disk
}

/// A disk as UDZO: runs of 1 MiB, each packed by zlib, stored where that is no shorter, or left out where it is zero.
fn packed(disk: &[u8]) -> Vec<u8> {
    let (mut data, mut runs, mut sector) = (Vec::new(), Vec::new(), 0);
    for raw in disk.chunks(RUN) {
        let mut out = Vec::new();
        flate2::read::ZlibEncoder::new(raw, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        let (kind, bytes) = match raw.iter().all(|byte| *byte == 0) {
            true => (ZERO, &[][..]),
            false if out.len() < raw.len() => (ZLIB, &out[..]),
            false => (STORED, raw),
        };
        let sectors = (raw.len() / SECTOR) as u64;
        runs.push((kind, sector, sectors, data.len() as u64, bytes.len() as u64));
        data.extend_from_slice(bytes);
        sector += sectors;
    }
    runs.push((END, sector, 0, data.len() as u64, 0));
    let crc = crc32fast::hash(disk);
    Udif {
        data_crc: Some(crc32fast::hash(&data)),
        master_crc: Some(crc32fast::hash(&crc.to_be_bytes())),
        tables: vec![Table { crc: Some(crc), ..Table::new(0, sector, runs) }],
        data,
        ..Udif::default()
    }
    .bytes()
}

fn is_there(data: &Path, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        assert!(fs::read(data.join("boot/Sierra.nbi").join(path)).unwrap() == *bytes, "{path}");
    }
}

#[test]
fn a_set_comes_unchanged_from_a_packed_disk_image_with_and_without_a_partition_table() {
    let (folder, appliance) = start();
    let files = plain("Install Sierra", "<integer>7</integer>").files();
    let volume = volume_of(&files, "Sierra.nbi");
    for (name, disk) in [("volume.dmg", volume.clone()), ("disk.dmg", on_a_disk(&volume, HFS))] {
        let image = packed(&disk);
        assert!(image.len() < disk.len() / 2 && image[image.len() - 512..].starts_with(b"koly"));
        let path = folder.path().join(name);
        fs::write(&path, image).unwrap();
        let nbi = imported(&appliance, &path, &[]);
        assert_eq!(nbi.summary.folder, "Sierra.nbi", "{name}");
        is_there(&appliance.data, &files);
        appliance.admin().delete("/api/v1/nbi/Sierra.nbi").unwrap();
    }
    // A byte that was lost on the way to us is no set with other bytes.
    let mut image = packed(&volume);
    let middle = image.len() / 3;
    image[middle] ^= 0x10;
    fs::write(folder.path().join("damaged.dmg"), image).unwrap();
    is_refused(&appliance, &folder.path().join("damaged.dmg"), &[], "damaged.dmg");
    assert!(sets(&appliance).is_empty());
}

#[test]
fn a_disk_image_with_apfs_is_refused_by_its_name_with_what_to_do() {
    let (folder, appliance) = start();
    // The head of a container is what it is known by.
    let mut container = vec![0; 4 << 20];
    container[32..36].copy_from_slice(b"NXSB");
    container[36..40].copy_from_slice(&4096_u32.to_le_bytes());
    container[40..48].copy_from_slice(&1024_u64.to_le_bytes());
    let made = folder.path().join("apfs.dmg");
    fs::write(&made, packed(&on_a_disk(&container, APFS))).unwrap();
    let ours = corpus().map(|corpus| corpus.join("go-apfs-v2-basic.dmg")).filter(|path| path.is_file());
    for image in [Some(made), ours].iter().flatten() {
        is_refused(&appliance, image, &[], "its volume is APFS, which is not read here: mount it on a Mac");
    }
    assert!(sets(&appliance).is_empty());
}

#[test]
fn a_set_is_sent_to_another_appliance_over_https_with_its_token_and_never_without() {
    let (folder, appliance) = start();
    let files = plain("Install Sierra", "<integer>7</integer>").files();
    let image = folder.path().join("sierra.dmg");
    fs::write(&image, packed(&on_a_disk(&volume_of(&files, "Sierra.nbi"), HFS))).unwrap();
    let wrong = folder.path().join("wrong.token");
    fs::write(&wrong, "0".repeat(64)).unwrap();
    let send = |token: &Path, ca: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        command.arg("--server").arg(format!("https://127.0.0.1:{}", appliance.https));
        command.arg("--token-file").arg(token).arg("--ca").arg(ca);
        command.args(["nbi", "import", "--json"]).arg(&image).output().unwrap()
    };
    let keys = appliance.data.join("keys");
    let foreign = crate::nbi::start();
    for (token, ca, words) in [
        (&wrong, &keys.join("ca.pem"), "token"),
        (&keys.join("admin.token"), &foreign.1.data.join("keys/ca.pem"), "certificate"),
    ] {
        let output = send(token, ca);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(words), "{error}");
        assert!(sets(&appliance).is_empty());
    }
    let output = send(&keys.join("admin.token"), &keys.join("ca.pem"));
    assert!(output.status.success(), "{output:?}");
    let nbi: Nbi = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((nbi.summary.folder.as_str(), sets(&appliance).len()), ("Sierra.nbi", 1));
    is_there(&appliance.data, &files);
}
