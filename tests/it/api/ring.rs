//! Versions through the API: rings, their history, what keeps a version from being deleted, which ones go by themselves.

use rootstock::api::admin::{self, ImageEventKind, ImageRings, JobState, RetentionPlan};
use rootstock::api::runner::Purpose;
use rootstock::client::ClientError;
use rootstock::value::{Ring, Rings};
use tempfile::{TempDir, tempdir};

use super::appliance::{Appliance, Mac, Work, json, numbered_image, refused};

fn with_versions(folder: &TempDir, settings: &str, count: u8) -> Appliance {
    let appliance = Appliance::start_with(&folder.path().join("data"), settings);
    for number in 1..=count {
        let job = appliance.import("lab", &numbered_image(folder, number));
        assert!(matches!(job.state, JobState::Done { version: Some(_), .. }), "{job:?}");
    }
    appliance
}

fn promote(
    appliance: &Appliance,
    version: Option<u32>,
    ring: Option<Ring>,
) -> Result<ImageRings, ClientError> {
    appliance.admin().post("/api/v1/images/lab/promote", &admin::PromoteImage { version, ring })
}

fn rollback(appliance: &Appliance, ring: Ring) -> Result<ImageRings, ClientError> {
    appliance.admin().post("/api/v1/images/lab/rollback", &admin::RollBackImage { ring })
}

fn versions(appliance: &Appliance) -> Vec<u32> {
    let image: admin::Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    image.versions.iter().map(|version| version.version).collect()
}

#[test]
fn a_version_goes_through_the_rings_and_back_and_every_move_is_told() {
    let folder = tempdir().unwrap();
    let appliance = with_versions(&folder, "", 2);
    let rings = |draft, test, production| Rings { draft, test, production };
    assert_eq!(promote(&appliance, Some(1), None).unwrap().rings, rings(Some(2), Some(1), None));
    assert_eq!(promote(&appliance, Some(1), None).unwrap().rings, rings(Some(2), Some(1), Some(1)));
    let now = promote(&appliance, Some(2), Some(Ring::Production)).unwrap();
    assert_eq!(now.rings, rings(Some(2), Some(1), Some(2)));
    assert_eq!(refused(promote(&appliance, Some(2), None)).0, 409, "it is in the last ring");
    let again = promote(&appliance, Some(2), Some(Ring::Production)).unwrap();
    assert_eq!(again.history.len(), now.history.len(), "it is there already");
    let back = rollback(&appliance, Ring::Production).unwrap();
    assert_eq!(back.rings, rings(Some(2), Some(1), Some(1)));
    assert_eq!(refused(rollback(&appliance, Ring::Production)).0, 409);
    let kinds: Vec<_> =
        back.history.iter().rev().map(|event| (event.kind, event.ring, event.from, event.to)).collect();
    use ImageEventKind::{Added, Promoted, RolledBack};
    assert_eq!(
        kinds,
        [
            (Added, Some(Ring::Draft), None, Some(1)),
            (Added, Some(Ring::Draft), Some(1), Some(2)),
            (Promoted, Some(Ring::Test), None, Some(1)),
            (Promoted, Some(Ring::Production), None, Some(1)),
            (Promoted, Some(Ring::Production), Some(1), Some(2)),
            (RolledBack, Some(Ring::Production), Some(2), Some(1)),
        ]
    );
    assert!(back.history[0].by.ends_with(" on the appliance"), "{:?}", back.history[0]);
    let list = json(&appliance.admin(), "/api/v1/images");
    assert_eq!(list[0]["rings"], serde_json::json!({"draft": 2, "test": 1, "production": 1}));
    assert_eq!(refused(promote(&appliance, Some(9), None)).0, 404);
    let nobody = appliance
        .admin()
        .post::<_, ImageRings>("/api/v1/images/no/rollback", &admin::RollBackImage { ring: Ring::Test });
    assert_eq!(refused(nobody).0, 404);
}

/// The image that a new run is pinned to.
fn pinned(appliance: &Appliance, serial: &'static str, deployment: i64) -> Vec<String> {
    let mac = Mac::boot(appliance, serial);
    let work = Work { appliance, ticket: mac.try_start(appliance, deployment).unwrap() };
    let run: admin::Run =
        appliance.admin().post(&format!("/api/v1/runs/{}/cancel", work.ticket.run), &()).unwrap();
    run.images
}

fn sequence(appliance: &Appliance, name: &str, which: &str) -> i64 {
    appliance.apply(&format!(
        "name: {name}\nsteps:\n  - format_disk: {{partitions: [{{name: HD, format: apfs, size: 100%}}]}}\n  \
         - apply_image: {{image: lab{which}}}\n"
    ));
    appliance.deploy(name, Purpose::Available).id
}

#[test]
fn a_run_takes_what_the_step_names_and_without_a_name_production_or_the_newest() {
    let folder = tempdir().unwrap();
    let appliance = with_versions(&folder, "", 3);
    let usual = sequence(&appliance, "usual", "");
    assert_eq!(pinned(&appliance, "C02SPINE0001", usual), ["lab 3"], "production points nowhere");
    promote(&appliance, Some(1), Some(Ring::Production)).unwrap();
    promote(&appliance, Some(2), Some(Ring::Test)).unwrap();
    let test = sequence(&appliance, "test", ", ring: test");
    let draft = sequence(&appliance, "draft", ", ring: draft");
    let two = sequence(&appliance, "two", ", version: 2");
    for (deployment, want) in [(usual, "lab 1"), (test, "lab 2"), (draft, "lab 3"), (two, "lab 2")] {
        assert_eq!(pinned(&appliance, "C02SPINE0001", deployment), [want]);
    }
    let text =
        "name: x\nsteps:\n  - apply_image: {image: lab, ring: test, destination: {disk: 0, partition: 2}}\n";
    let body = admin::SequenceText { yaml: text.replace("lab", "other") };
    appliance.import("other", &numbered_image(&folder, 9));
    let found: Vec<admin::Finding> = appliance.admin().post("/api/v1/sequence-checks", &body).unwrap();
    assert!(found.len() == 1 && found[0].message.contains("promote other --to test"), "{found:?}");
}

#[test]
fn a_version_that_a_ring_or_a_deployed_sequence_needs_is_not_deleted_and_draft_moves_on() {
    let folder = tempdir().unwrap();
    let appliance = with_versions(&folder, "", 4);
    promote(&appliance, Some(1), Some(Ring::Production)).unwrap();
    let two = sequence(&appliance, "two", ", version: 2");
    let delete = |version: u32| appliance.admin().delete(&format!("/api/v1/images/lab/versions/{version}"));
    let in_use = |version: u32, by: &str| {
        let (status, problem) = refused(delete(version));
        assert!(status == 409 && problem.error.contains(by), "{problem:?}");
    };
    in_use(1, "ring production");
    in_use(2, &format!("sequence two, deployment {two} to Unknown Macs"));
    let shown = json(&appliance.admin(), "/api/v1/images/lab");
    assert_eq!(shown["versions"][3]["used_by"], serde_json::json!(["ring production"]));
    delete(4).unwrap();
    delete(3).unwrap();
    let rings: ImageRings = appliance.admin().get("/api/v1/images/lab/rings").unwrap();
    assert_eq!(rings.rings, Rings { draft: Some(2), test: None, production: Some(1) });
    let told: Vec<_> = rings.history[..2].iter().map(|event| (event.kind, event.from, event.to)).collect();
    use ImageEventKind::{Deleted, MovedOn};
    assert_eq!(told, [(MovedOn, Some(3), Some(2)), (Deleted, Some(3), None)]);
    appliance.admin().delete(&format!("/api/v1/deployments/{two}")).unwrap();
    delete(2).unwrap();
    assert_eq!(versions(&appliance), [1]);
}

#[test]
fn old_versions_go_after_an_import_as_the_image_says_and_a_dry_run_only_tells() {
    let folder = tempdir().unwrap();
    let appliance = with_versions(&folder, "", 4);
    promote(&appliance, Some(1), Some(Ring::Production)).unwrap();
    let rules = admin::Retention { keep_versions: Some(2), keep_days: None };
    let plan: RetentionPlan = appliance
        .admin()
        .put("/api/v1/images/lab/retention", &admin::SetRetention { retention: Some(rules) })
        .unwrap();
    let going: Vec<u32> = plan.versions.iter().filter(|line| line.delete).map(|line| line.version).collect();
    assert_eq!((going, plan.own, versions(&appliance).len()), (vec![2], true, 4), "nothing has gone yet");
    let dry = admin::ApplyRetention { image: None, dry_run: true };
    let plans: Vec<RetentionPlan> = appliance.admin().post("/api/v1/library/retention", &dry).unwrap();
    assert_eq!((plans, versions(&appliance).len()), (vec![plan], 4));
    appliance.import("lab", &numbered_image(&folder, 5));
    assert_eq!(versions(&appliance), [5, 4, 1], "the newest two, and production");
    let rings: ImageRings = appliance.admin().get("/api/v1/images/lab/rings").unwrap();
    let deleted: Vec<_> =
        rings.history.iter().filter(|event| event.kind == ImageEventKind::Deleted).collect();
    assert!(
        deleted.len() == 2 && deleted.iter().all(|event| event.by == "the retention policy"),
        "{deleted:?}"
    );
}

#[test]
fn a_note_is_changed_and_nothing_else_of_the_version() {
    let folder = tempdir().unwrap();
    let appliance = with_versions(&folder, "", 1);
    let before: admin::Image = appliance.admin().get("/api/v1/images/lab").unwrap();
    let path = "/api/v1/images/lab/versions/1/note";
    let note = |text: &str| admin::NoteImage { note: text.into() };
    let after: admin::Image = appliance.admin().put(path, &note(" Office 16.2\nfor rooms 1 and 2 ")).unwrap();
    assert_eq!(after.versions[0].note, "Office 16.2\nfor rooms 1 and 2");
    let mut same = serde_json::to_value(&after.versions[0]).unwrap();
    same["note"] = "".into();
    assert_eq!(same, serde_json::to_value(&before.versions[0]).unwrap());
    for (path, text, status) in [
        (path, "x".repeat(2001), 422),
        (path, "a\u{1b}[2J".to_owned(), 422),
        ("/api/v1/images/lab/versions/2/note", "x".to_owned(), 404),
    ] {
        assert_eq!(refused(appliance.admin().put::<_, admin::Image>(path, &note(&text))).0, status);
    }
}
