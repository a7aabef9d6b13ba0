//! Keys that follow each other, and receipts that prove what was put on a Mac.

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use rootstock::api::admin::{Image, Job, JobState, SigningKey};
use rootstock::api::runner::{Done, ManifestKeys};
use rootstock::api::trust::KeptReceipt;
use rootstock::image::manifest::{ManifestKey, SignedManifest, Untrusted};
use tempfile::tempdir;

use crate::api::appliance::{Appliance, Mac, Work, image_file, refused};

fn keys(appliance: &Appliance) -> Vec<SigningKey> {
    appliance.admin().get("/api/v1/keys").unwrap()
}

fn rotate(appliance: &Appliance) -> ManifestKey {
    let keys: Vec<SigningKey> = appliance.admin().post("/api/v1/keys/rotate", &()).unwrap();
    assert!(keys[0].signs && keys.iter().filter(|key| key.signs).count() == 1, "{keys:?}");
    keys[0].key.parse().unwrap()
}

fn believed(told: &[String]) -> Vec<ManifestKey> {
    told.iter().map(|key| key.parse().unwrap()).collect()
}

/// Applies the image by the protocol up to the manifest.
fn manifest(work: &Work<'_>) -> (u32, SignedManifest) {
    work.formatted();
    let (number, digest) = work.apply();
    let bytes = work.client().download(&format!("/runner/v1/manifests/{digest}"), 1 << 20).unwrap();
    (number, SignedManifest::from_bytes(bytes).unwrap())
}

#[test]
fn what_an_old_key_signed_is_believed_until_that_key_is_retired_and_names_stay() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let old: ManifestKey = keys(&appliance)[0].key.parse().unwrap();
    let mac = Mac::boot(&appliance, "C02TRUST0001");
    assert_eq!(believed(&mac.welcome.manifest_keys), [old]);
    let new = rotate(&appliance);
    let data = appliance.data.clone();
    appliance.stop();
    let appliance = Appliance::start(&data);
    // A Mac that starts now is told both; one that said hello before asks again.
    let late = Mac::boot(&appliance, "C02TRUST0002");
    assert_eq!(believed(&late.welcome.manifest_keys), [new, old]);
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let (_, signed) = manifest(&work);
    assert_eq!(signed.signed_by(), old);
    assert!(signed.verify(signed.digest(), &believed(&late.welcome.manifest_keys)).is_ok());
    let now: ManifestKeys = work.client().get("/runner/v1/keys").unwrap();
    assert_eq!(believed(&now.manifest_keys), [new, old]);

    let retire = |key: &str| appliance.admin().post::<_, Job>(&format!("/api/v1/keys/{key}/retire"), &());
    assert_eq!(refused(retire(&new.to_string())).0, 409);
    assert_eq!(refused(retire(&"0".repeat(64))).0, 404);
    let job = appliance.ended(retire(&old.to_string()).unwrap());
    let JobState::Done { message, .. } = &job.state else { panic!("{job:?}") };
    assert!(message.contains("1 manifests were signed again"), "{message}");
    let again =
        work.client().download(&format!("/runner/v1/manifests/{}", signed.digest()), 1 << 20).unwrap();
    let again = SignedManifest::from_bytes(again).unwrap();
    assert_eq!((again.digest(), again.signed_by()), (signed.digest(), new));
    let told = Mac::boot(&appliance, "C02TRUST0003").welcome.manifest_keys;
    assert_eq!(believed(&told), [new]);
    assert!(again.verify(again.digest(), &believed(&told)).is_ok());
    let refused = signed.verify(signed.digest(), &believed(&told)).unwrap_err();
    assert!(matches!(refused, Untrusted::Stranger { .. }), "{refused}");
}

#[test]
fn a_download_in_ranges_never_mixes_a_manifest_with_the_same_one_signed_again() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let job = appliance.import("lab", &image_file(&folder, 1 << 20));
    assert!(job.state.has_ended());
    let image: Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let path = format!("/api/v1/library/manifests/{}", image.versions[0].manifest);
    let ask = |headers: &[(&str, &str)]| ask_bytes(&appliance.data, &path, headers);
    let (status, tag, first) = ask(&[("Range", "bytes=0-99")]);
    assert_eq!((status, first.len()), (206, 100));
    let (status, same, rest) = ask(&[("Range", "bytes=100-"), ("If-Range", &tag)]);
    assert_eq!((status, &same), (206, &tag));
    let whole = [first, rest].concat();
    assert!(SignedManifest::from_bytes(whole.clone()).unwrap().digest() == image.versions[0].manifest);
    let old: ManifestKey = keys(&appliance)[0].key.parse().unwrap();
    rotate(&appliance);
    appliance.ended(appliance.admin().post(&format!("/api/v1/keys/{old}/retire"), &()).unwrap());
    // Who goes on now is given all of the new one.
    let (status, other, all) = ask(&[("Range", "bytes=100-"), ("If-Range", &tag)]);
    assert!(status == 200 && other != tag && all.len() == whole.len() && all != whole);
    assert_ne!(SignedManifest::from_bytes(all).unwrap().signed_by(), old);
}

/// Status, tag and body of a question on the admin's socket.
fn ask_bytes(data: &Path, path: &str, headers: &[(&str, &str)]) -> (u16, String, Vec<u8>) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--include", "--unix-socket"]).arg(data.join("rootstock.sock"));
    for (name, value) in headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    let output = command.arg(format!("http://x{path}")).output().unwrap();
    let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), tag, output.stdout[end + 4..].to_vec())
}

fn rootstock(data: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::cargo_bin("rootstock").unwrap();
    let output =
        command.env("ROOTSTOCK_SOCKET", data.join("rootstock.sock")).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn receipts_are_countersigned_exported_and_checked_without_the_appliance() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let first: ManifestKey = keys(&appliance)[0].key.parse().unwrap();
    // Countersigned with a later key, checked with the first.
    let second = rotate(&appliance);
    let mac = Mac::boot(&appliance, "C02TRUST0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let (number, signed) = manifest(&work);
    let receipt = mac.receipt(work.ticket.run, number, signed.digest());
    work.done(number, Done { receipt: Some(receipt.clone()), ..Done::default() });

    let (good, list) = rootstock(&appliance.data, &["receipt", "list"]);
    assert!(good && list.contains("C02TRUST0001"), "{list}");
    let (good, shown) = rootstock(&appliance.data, &["receipt", "show", &work.ticket.run.to_string()]);
    assert!(good && shown.contains(&second.to_string()) && shown.contains("QEMU"), "{shown}");
    let file = folder.path().join("receipts.jsonl");
    let path = file.to_str().unwrap();
    let (good, text) = rootstock(&appliance.data, &["receipt", "export", "--to", path]);
    assert!(good && text.contains("1 receipts"), "{text}");
    appliance.stop();

    let line = std::fs::read_to_string(&file).unwrap();
    let kept: KeptReceipt = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (kept.receipt.as_str(), kept.countersigned_by.as_str()),
        (receipt.receipt.as_str(), second.to_string().as_str())
    );
    let verify = |key: &str| rootstock(folder.path(), &["receipt", "verify", path, "--key", key]);
    let (good, text) = verify(&first.to_string());
    assert!(good && text.contains("1 receipts: signed by their runners"), "{text}");
    let (good, text) = rootstock(folder.path(), &["receipt", "verify", path]);
    assert!(good && text.contains(&format!("countersigned with {second}")), "{text}");
    let (good, text) = verify(&"0".repeat(64));
    assert!(!good && text.contains("another appliance's"), "{text}");
    std::fs::write(&file, line.replace("C02TRUST0001", "C02TRUST0009")).unwrap();
    let (good, text) = verify(&first.to_string());
    assert!(!good && text.contains(":1: the runner's signature does not fit"), "{text}");
}
