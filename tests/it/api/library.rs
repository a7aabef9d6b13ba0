//! Images through the API: import, list, verify, delete, what a kill in the middle leaves.

use rootstock::api::admin::{self, JobState};
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, image_file, json, refused};

#[test]
fn an_image_is_imported_once_shown_verified_and_its_second_version_adds_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = image_file(&folder, 5 << 20);
    let first = appliance.import("lab", &file);
    assert!(matches!(first.state, JobState::Done { version: Some(1), .. }), "{first:?}");
    let second = appliance.import("lab", &file);
    assert!(matches!(second.state, JobState::Done { version: Some(2), .. }), "{second:?}");
    let image: admin::Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let [newest, oldest] = image.versions.as_slice() else { panic!("{image:?}") };
    assert_eq!((newest.version, newest.added, oldest.version), (2, 0, 1));
    assert_eq!((newest.size, newest.chunks, newest.partition_scheme.as_str()), (6 << 20, 81, "mbr"));
    assert!(newest.partitions[0].main && newest.partitions[0].size == 5 << 20, "{newest:?}");
    let job = appliance.admin().post("/api/v1/images/lab/verify", &admin::VerifyImage { version: Some(1) });
    let verified = appliance.ended(job.unwrap());
    assert!(matches!(verified.state, JobState::Done { version: Some(1), .. }), "{verified:?}");
}

#[test]
fn a_damaged_pack_is_found_by_verify_with_what_to_do() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &image_file(&folder, 2 << 20));
    let packs = appliance.data.join("store/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let job = appliance.admin().post("/api/v1/images/lab/verify", &admin::VerifyImage::default()).unwrap();
    match appliance.ended(job).state {
        JobState::Failed { error, next_step } => {
            assert!(
                error.contains("lab 1 is damaged: 1 of") && next_step.contains("import lab again"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_no_image_adds_nothing_and_says_why() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = folder.path().join("text.dmg");
    std::fs::write(&file, "no image\n".repeat(1000)).unwrap();
    let job = appliance.import("text", &file);
    assert!(matches!(job.state, JobState::Failed { .. }), "{job:?}");
    assert_eq!(json(&appliance.admin(), "/api/v1/images"), serde_json::json!([]));
    let import = |name: &str, path: &str| {
        let body = admin::ImportImage { name: name.into(), path: path.into(), ..Default::default() };
        refused(appliance.admin().post::<_, admin::Job>("/api/v1/images", &body)).0
    };
    assert_eq!(import("text", folder.path().join("absent.dmg").to_str().unwrap()), 404);
    assert_eq!(import("text", "relative.dmg"), 422);
    for name in ["", "a/b", " a", "-a", &"x".repeat(65)] {
        assert_eq!(import(name, "/a.dmg"), 422, "{name:?}");
    }
}

#[test]
fn a_version_that_a_run_needs_is_not_deleted_and_a_deleted_one_gives_its_room_back() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let admin = appliance.admin();
    let (status, problem) = refused(admin.delete("/api/v1/images/lab/versions/1"));
    assert!(status == 409 && problem.error.contains("run 1 of sequence Lab Mac"), "{problem:?}");
    let used = &json(&admin, "/api/v1/images/lab")["versions"][0]["used_by"];
    assert_eq!(used[0], "run 1 of sequence Lab Mac");
    let _: admin::Run = admin.post(&format!("/api/v1/runs/{}/cancel", work.ticket.run), &()).unwrap();
    let (status, problem) = refused(admin.delete("/api/v1/images/lab/versions/1"));
    let last = "sequence Lab Mac, deployment 1 to Unknown Macs";
    assert!(status == 409 && problem.error.contains(last), "it would be left without any: {problem:?}");
    admin.delete("/api/v1/deployments/1").unwrap();
    admin.delete("/api/v1/images/lab/versions/1").unwrap();
    assert_eq!(refused(admin.delete("/api/v1/images/lab/versions/1")).0, 404);
    let library: admin::Library = admin.get("/api/v1/library").unwrap();
    assert!(library.reclaimable > 3 << 20 && library.reclaimable == library.bytes, "{library:?}");
    let job = appliance.ended(admin.post("/api/v1/library/collect", &()).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    let library: admin::Library = admin.get("/api/v1/library").unwrap();
    assert_eq!((library.bytes, library.chunks), (0, 0));
    // The number of a deleted version is not given again.
    let job = appliance.import("lab", &folder.path().join("lab.img"));
    assert!(matches!(job.state, JobState::Done { version: Some(2), .. }), "{job:?}");
}

#[test]
fn a_collection_in_the_middle_of_a_run_moves_its_chunks_and_the_run_finds_them_again() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    // The larger image begins with the chunks of the smaller one, so both live in its pack.
    let large = appliance.import("large", &image_file(&folder, 12 << 20));
    assert!(matches!(large.state, JobState::Done { .. }), "{large:?}");
    appliance.with_sequence(&folder);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    work.formatted();
    let (_, manifest) = work.apply();
    let (image, before) = work.locations(&mac, manifest);
    appliance.admin().delete("/api/v1/images/large/versions/1").unwrap();

    let job = appliance.ended(appliance.admin().post("/api/v1/library/collect", &()).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    // The other pack is what the smaller image brought: all of it lives, and it stays.
    let frames_in = |pack: usize| before.frames().iter().filter(|frame| frame.pack as usize == pack).count();
    let gone = before.packs()[(0..before.packs().len()).max_by_key(|pack| frames_in(*pack)).unwrap()];
    let (status, problem) = refused(work.client().download(&format!("/runner/v1/packs/{gone}"), 32 << 20));
    assert!(status == 404 && problem.next_step.contains("locations again"), "{status} {problem:?}");
    let (_, after) = work.locations(&mac, manifest);
    assert!(!after.packs().contains(&gone));
    work.check_chunks(&image, &after);
}

#[test]
fn a_version_that_another_process_reads_is_not_deleted_and_a_collection_does_not_wait_for_it() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &image_file(&folder, 2 << 20));
    let image: admin::Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let manifest = image.versions[0].manifest;
    let store = rootstock::store::Store::open_to_read(&appliance.data.join("store")).unwrap();
    let hold = store.hold(manifest).unwrap();
    let (status, problem) = refused(appliance.admin().delete("/api/v1/images/lab/versions/1"));
    assert!(status == 409 && problem.error.contains("a restore or an export on this machine"), "{problem:?}");
    let job = appliance.ended(appliance.admin().post("/api/v1/library/collect", &()).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    drop(hold);
    appliance.admin().delete("/api/v1/images/lab/versions/1").unwrap();
    let job = appliance.ended(appliance.admin().post("/api/v1/library/collect", &()).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    assert!(store.hold(manifest).is_err());
}
