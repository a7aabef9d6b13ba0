//! `rootstock image inspect` and `rootstock image decode`, as a person or a script runs them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};

use crate::image_source::mkvolume;
use crate::image_source_build::*;

fn rootstock(arguments: &[&str]) -> Output {
    Command::new(cargo_bin!("rootstock")).arg("image").args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(text.starts_with("error: "), "{text}");
    text
}

#[test]
fn inspect_prints_the_whole_object_and_nothing_else() {
    let output = rootstock(&["inspect", text(&fixture_path("disk-ulfo.dmg")), "--json"]);
    assert!(output.status.success() && output.stderr.is_empty());
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    let want = json!({
        "format": "udif",
        "parts": [],
        "codecs": ["lzfse"],
        "encrypted": false,
        "virtual_size": 1_900_544,
        "partition_scheme": "mbr",
        "partitions": [
            { "number": 1, "type": "Apple_HFS", "name": "", "start": 4096, "size": 1_896_448, "volume": null }
        ],
        "checksums": { "present": true, "ok": true },
        "minimum_target_size": 1_900_544,
        "system": null,
        "findings": [{
            "code": "no-mac-volume",
            "severity": "error",
            "message": "there is no volume of a Mac in it (Apple_HFS, nothing known in it)",
            "next_step": "take an image of the volume or of the whole disk with macOS; data can be restored all the same",
        }],
        "warnings": [],
    });
    assert_eq!(got, want);
}

#[test]
fn inspect_of_a_made_volume_tells_people_and_scripts_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.img");
    mkvolume::write(&raw, 8 << 20, 3).unwrap();
    let packed = folder.path().join("disk.img.zst");
    fs::write(&packed, zstd::encode_all(&fs::read(&raw).unwrap()[..], 1).unwrap()).unwrap();
    let [plain, spooled] = [&raw, &packed].map(|path| {
        let output = rootstock(&["inspect", text(path), "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    assert_eq!(plain["partitions"], spooled["partitions"]);
    assert_eq!((&plain["format"], &spooled["format"]), (&json!("raw"), &json!("raw.zst")));
    let volume = &plain["partitions"][1]["volume"];
    assert_eq!((&volume["kind"], &volume["label"]), (&json!("hfs+"), &json!("Macintosh HD")));
    assert_eq!(volume["block_size"], 4096);
    let table = String::from_utf8(rootstock(&["inspect", text(&raw)]).stdout).unwrap();
    assert!(
        table.contains("Apple_HFS") && table.contains("Macintosh HD") && table.contains("8388608 bytes"),
        "{table}"
    );
}

#[test]
fn inspect_reports_a_wrong_checksum_beside_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.dmg");
    let mut udif = honest();
    udif.master_crc = Some(1);
    fs::write(&path, udif.bytes()).unwrap();
    let output = rootstock(&["inspect", text(&path), "--json"]);
    assert!(error(&output).contains("master checksum"));
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(got["checksums"], json!({ "present": true, "ok": false }));
}

#[test]
fn decode_writes_a_sparse_file_with_the_right_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.img");
    for name in
        ["disk-udzo.dmg", "disk-udbz.dmg", "disk-ulfo.dmg", "disk-ulmo.dmg", "disk.raw.gz", "disk.raw.xz"]
    {
        let output = rootstock(&["decode", text(&fixture_path(name)), text(&out)]);
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{name}: {output:?}"
        );
        assert_eq!(sha256(&fs::read(&out).unwrap()), fixture_digest(), "{name}");
        let on_disk = fs::metadata(&out).unwrap().blocks() * 512;
        assert!(on_disk < 1_000_000, "{name} takes {on_disk} bytes");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn decode_to_something_that_is_no_file_writes_every_byte() {
    let output = Command::new("sh")
        .args(["-c", "\"$0\" image decode \"$1\" /dev/stdout | cat"])
        .arg(cargo_bin!("rootstock"))
        .arg(fixture_path("disk-udzo.dmg"))
        .output()
        .unwrap();
    assert_eq!(sha256(&output.stdout), fixture_digest());
}

#[test]
fn a_decode_that_fails_leaves_what_was_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, out) = (folder.path().join("bad.dmg"), folder.path().join("out.img"));
    let mut bytes = fixture("disk-udzo.dmg");
    bytes[9000] ^= 1;
    fs::write(&bad, &bytes).unwrap();
    for before in [false, true] {
        if before {
            fs::write(&out, "precious").unwrap();
        }
        let message = error(&rootstock(&["decode", text(&bad), text(&out)]));
        assert!(message.contains("bad.dmg: the image is damaged: the zlib run of"), "{message}");
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1 + usize::from(before));
    }
    assert_eq!(fs::read(&out).unwrap(), b"precious");
}

#[test]
fn decode_onto_the_image_itself_or_into_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.dmg");
    fs::write(&image, fixture("disk-udzo.dmg")).unwrap();
    assert!(error(&rootstock(&["decode", text(&image), text(&image)])).contains("the image itself"));
    assert!(error(&rootstock(&["decode", text(&image), text(folder.path())])).contains("folder"));
    assert!(fs::read(&image).unwrap() == fixture("disk-udzo.dmg"));
}

#[test]
fn what_is_no_image_is_refused_with_its_name_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let bundle = folder.path().join("x.sparsebundle");
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("Info.plist"), "<plist/>").unwrap();
    for (path, name, advice) in [
        (put("a.dmg", b"encrcdsa\0\0\0\x02"), "encrypted", "--password-file"),
        (put("a.sparseimage", b"sprs\0\0\0\x03"), "sparse image", "download it again"),
        (put("a.qcow2", b"QFI\xfb\0\0\0\x03"), "qcow2", "qemu-img convert"),
        (put("a.pkg", b"xar!\0\x1c"), "xar", "installed"),
        (bundle, "sparse bundle", "image file"),
        (put("a.asif", b"shdw\0\0\0\x01"), "Apple sparse image", "hdiutil convert"),
        (put("a.wim", b"MSWIM\0\0\0\xd0"), "Windows image", "file-based"),
        (put("a.aar", b"AA01\x1c\0"), "Apple Archive", "aa extract"),
        (put("a.aea", b"AEA1\x01\0"), "Apple Encrypted Archive", "aea decrypt"),
        (put("a.zip", b"PK\x03\x04\x14\0"), "zip archive", "packed in it"),
        (
            put("a.ipsw", b"PK\x03\x04\x14\0 .. BuildManifest.plist .. Restore.plist .."),
            "Apple firmware",
            "DFU",
        ),
        (put("a.iso", &[&[0; 32769][..], b"CD001", &[0; 4096]].concat()), "ISO 9660", "installed disk"),
        (put("a.7z", b"7z\xbc\xaf\x27\x1c"), "7-Zip", "packed in it"),
        (put("a.lz4", b"\x04\x22\x4d\x18"), "lz4", "lz4 -d"),
        (put("a.vmdk", b"KDMV\x01\0\0\0"), "VMware", "qemu-img convert"),
        (put("a.vhdx", b"vhdxfile"), "Hyper-V", "qemu-img convert"),
        (put("a.txt", b"hello\x01"), "`68 65 6c 6c 6f 01` (`hello.`)", "6 bytes"),
        (put("empty", b""), "no disk image", "download it again"),
        (folder.path().join("absent"), "absent", "No such file"),
        (folder.path().to_owned(), "folder", "image file"),
    ] {
        let message = error(&rootstock(&["inspect", text(&path)]));
        assert!(message.contains(name) && message.contains(advice), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn lying_images_are_refused_within_half_a_gigabyte_of_address_space() {
    let folder = tempfile::tempdir().unwrap();
    let most_runs = vec![(ZLIB, 0, 1 << 17, 0, 100); 100_000];
    let spread = (0..20_000).map(|k| (ZLIB, k << 17, 1 << 17, 0, 60)).collect();
    let table = |runs: Vec<Run>| vec![Table::new(0, 1 << 40, runs)];
    let mut counting = honest();
    counting.tables[0].count = Some(u32::MAX);
    for (name, udif) in [
        ("count", counting),
        ("sectors", Udif { sectors: Some(u64::MAX / 512), ..honest() }),
        ("xml", Udif { xml_length: Some(1 << 62), ..honest() }),
        ("same place", Udif { tables: table(most_runs), ..honest() }),
        ("64 MiB each", Udif { tables: table(spread), ..honest() }),
    ] {
        let path = folder.path().join("lie.dmg");
        fs::write(&path, udif.bytes()).unwrap();
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 500000; exec \"$0\" image inspect \"$1\""])
            .arg(cargo_bin!("rootstock"))
            .arg(&path)
            .output()
            .unwrap();
        let succeeded = output.status.success();
        assert!(succeeded && name == "sectors" || !error(&output).is_empty(), "{name}: {output:?}");
    }
}

#[test]
fn help_says_what_a_newcomer_needs() {
    let help = String::from_utf8(rootstock(&["inspect", "--help"]).stdout).unwrap();
    assert!(help.contains("sizes and starts are in bytes") && help.contains("Exit code 1"), "{help}");
    let help = String::from_utf8(rootstock(&["decode", "--help"]).stdout).unwrap();
    assert!(help.contains("block device") && help.contains("sparse"), "{help}");
}
