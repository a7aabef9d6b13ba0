//! The drop folder: what is copied or moved into it becomes an image; what cannot is put aside with the reason.

use std::fs;
use std::path::Path;

use rootstock::api::admin::{Image, ImageSummary, Job};
use tempfile::tempdir;

use crate::api::appliance::{Appliance, image_file};
use crate::image_source_build::{fixture, fixture_digest, sha256};
use crate::image_source_bundle::bundle;
use crate::image_source_split::split;

fn watched(data: &Path, folder: &Path, more: &str) -> Appliance {
    let settings = format!("drop-folder = {:?}\ndrop-settle = 0\n{more}", folder.display().to_string());
    Appliance::start_library(data, &settings)
}

/// Waits until so many jobs ended: the watcher has no other voice.
fn jobs(appliance: &Appliance, count: usize) {
    loop {
        let jobs: Vec<Job> = appliance.admin().get("/api/v1/jobs").unwrap();
        if jobs.len() >= count && jobs.iter().all(|job| job.state.has_ended()) {
            return;
        }
        let newest = jobs.first().map_or(0, |job| job.id);
        let _ = appliance.admin().get::<Job>(&format!("/api/v1/jobs/{newest}?after=999999&wait=1"));
    }
}

#[test]
fn a_file_that_is_moved_in_becomes_a_version_and_lies_in_done() {
    let (folder, drop) = (tempdir().unwrap(), tempdir().unwrap());
    let appliance = watched(&folder.path().join("data"), drop.path(), "drop-name = '{series}'\n");
    let file = image_file(&folder, 1 << 20);
    for name in ["lab-2026-05-01.img", "lab-2026-06-01.img"] {
        // As a download ends: the partial name is not taken.
        let part = drop.path().join(format!("{name}.part"));
        fs::copy(&file, &part).unwrap();
        fs::rename(&part, drop.path().join(name)).unwrap();
    }
    jobs(&appliance, 2);
    let image: Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    assert_eq!(image.versions.len(), 2);
    assert_eq!(image.versions[0].uploader, "the drop folder");
    let done = drop.path().join("done");
    assert!(done.join("lab-2026-05-01.img").exists() && done.join("lab-2026-06-01.img").exists());
    assert_eq!(fs::read_dir(drop.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn what_is_no_image_goes_to_failed_with_a_text_and_links_and_partial_files_stay() {
    let (folder, drop) = (tempdir().unwrap(), tempdir().unwrap());
    let appliance = watched(&folder.path().join("data"), drop.path(), "");
    std::os::unix::fs::symlink("/etc/passwd", drop.path().join("link.img")).unwrap();
    fs::write(drop.path().join("big.dmg.crdownload"), "half").unwrap();
    fs::write(drop.path().join("notes.img"), "no image").unwrap();
    jobs(&appliance, 1);
    let text = fs::read_to_string(drop.path().join("failed/notes.img.txt")).unwrap();
    assert!(text.contains("To try again") && text.lines().count() == 3, "{text}");
    assert!(drop.path().join("failed/notes.img").exists());
    assert!(drop.path().join("link.img").symlink_metadata().is_ok());
    assert!(drop.path().join("big.dmg.crdownload").exists());
    let images: Vec<ImageSummary> = appliance.admin().get("/api/v1/images").unwrap();
    assert!(images.is_empty(), "{images:?}");
}

#[test]
fn what_lay_there_before_the_start_is_taken_too_and_removed_where_the_settings_say_so() {
    let (folder, drop) = (tempdir().unwrap(), tempdir().unwrap());
    fs::copy(image_file(&folder, 1 << 20), drop.path().join("Lab Mac.img")).unwrap();
    let appliance = watched(&folder.path().join("data"), drop.path(), "drop-after = 'remove'\n");
    jobs(&appliance, 1);
    let image: Image = appliance.admin().get("/api/v1/images/Lab%20Mac").unwrap();
    assert_eq!(image.versions[0].source, "Lab Mac.img");
    assert_eq!(fs::read_dir(drop.path()).unwrap().count(), 0);
}

#[test]
fn the_folder_of_a_sparse_bundle_and_all_parts_of_a_split_file_are_one_image_each() {
    let (folder, drop) = (tempdir().unwrap(), tempdir().unwrap());
    let disk = fs::read(image_file(&folder, 1 << 20)).unwrap();
    bundle(drop.path(), &disk, b"");
    let bytes = fixture("disk.raw.gz");
    let parts = split(drop.path(), &bytes, bytes.len() / 3 + 1, &[], "mac.img.gz.");
    // Disks of their own that only look like parts.
    for name in ["pair.001", "pair.002"] {
        fs::copy(folder.path().join("lab.img"), drop.path().join(name)).unwrap();
    }
    let appliance = watched(&folder.path().join("data"), drop.path(), "");
    jobs(&appliance, 4);
    let version = |name: &str| {
        let image: Image = appliance.admin().get(&format!("/api/v1/images/{name}")).unwrap();
        let newest = &image.versions[0];
        (image.versions.len(), newest.source.clone(), newest.sha256.clone())
    };
    assert_eq!(version("lab"), (1, "lab.sparsebundle".to_owned(), sha256(&disk)));
    assert_eq!(version("mac"), (1, "mac.img.gz".to_owned(), fixture_digest()));
    assert_eq!((version("pair.001").0, version("pair.002").0), (1, 1));
    let done = drop.path().join("done");
    assert!(done.join("lab.sparsebundle/bands/0").exists());
    assert!(parts.iter().all(|part| done.join(part.file_name().unwrap()).exists()));
    assert_eq!(fs::read_dir(drop.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_split_file_of_which_a_part_is_missing_is_put_aside_as_a_whole() {
    let (folder, drop) = (tempdir().unwrap(), tempdir().unwrap());
    let bytes = fixture("disk.raw.gz");
    let parts = split(drop.path(), &bytes, bytes.len() / 4 + 1, &[], "mac.img.gz.");
    fs::remove_file(&parts[2]).unwrap();
    let appliance = watched(&folder.path().join("data"), drop.path(), "");
    jobs(&appliance, 1);
    let failed = drop.path().join("failed");
    let text = fs::read_to_string(failed.join("mac.img.gz.aa.txt")).unwrap();
    assert!(text.contains("mac.img.gz.ac is missing") && text.contains("move all parts back"), "{text}");
    for name in ["mac.img.gz.aa", "mac.img.gz.ab", "mac.img.gz.ad"] {
        assert!(failed.join(name).exists(), "{name}");
    }
}
