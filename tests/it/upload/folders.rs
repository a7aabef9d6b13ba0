//! Folders of the appliance's own disk: over the network only those that the settings open.

use rootstock::api::admin::{FolderListing, ImportImage, Job, JobState};
use rootstock::value::Secret;
use tempfile::tempdir;

use crate::api::appliance::{Appliance, image_file, refused};

#[test]
fn over_the_network_only_open_folders_are_listed_and_imported_from_and_the_socket_may_name_any() {
    let folder = tempdir().unwrap();
    let (open, data) = (folder.path().join("open"), folder.path().join("data"));
    std::fs::create_dir(&open).unwrap();
    let outside = image_file(&folder, 1 << 20);
    std::fs::copy(&outside, open.join("lab.img")).unwrap();
    std::fs::write(open.join("text.txt"), "no image").unwrap();
    std::os::unix::fs::symlink(&outside, open.join("link.img")).unwrap();
    let settings = format!("import-folders = [{:?}]\n", open.display().to_string());
    let appliance = Appliance::start_library(&data, &settings);
    let token = Secret::new(std::fs::read_to_string(data.join("keys/admin.token")).unwrap().trim());
    let network = appliance.network(Some(&token));
    let order = |path: &std::path::Path| ImportImage {
        name: "lab".into(),
        path: path.display().to_string(),
        ..Default::default()
    };
    for path in [&outside, &open.join("link.img"), &open.join("../lab.img")] {
        let (status, problem) = refused(network.post::<_, Job>("/api/v1/images", &order(path)));
        assert!(status == 403 && problem.next_step.contains("library.import-folders"), "{problem:?}");
    }
    let job = appliance.ended(network.post("/api/v1/images", &order(&open.join("lab.img"))).unwrap());
    assert!(matches!(job.state, JobState::Done { .. }), "{job:?}");
    let job = appliance.ended(appliance.admin().post("/api/v1/images", &order(&outside)).unwrap());
    assert!(matches!(job.state, JobState::Done { version: Some(2), .. }), "{job:?}");

    let roots: FolderListing = network.get("/api/v1/library/folder").unwrap();
    assert_eq!(roots.entries[0].path, open.display().to_string());
    let listing: FolderListing =
        network.get(&format!("/api/v1/library/folder?path={}", open.display())).unwrap();
    let seen: Vec<_> = listing.entries.iter().map(|entry| (entry.size, entry.format.as_deref())).collect();
    assert_eq!(seen, [(2 << 20, Some("raw")), (8, None)], "{listing:?}");
    assert!(listing.entries[1].problem.is_some());
    let (status, _) = refused(network.get::<FolderListing>("/api/v1/library/folder?path=/etc"));
    assert_eq!(status, 403);
}
