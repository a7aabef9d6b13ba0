//! Section 7: the page that selects a destination, without a wizard: what is asked, what is refused, what moves the run on.

use rootstock::api::admin::{ChooseDestination, Run, RunEvent};
use rootstock::api::runner::*;
use rootstock::api::wizard::{Said, SayDestination};
use rootstock::client::ClientError;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, image_file, json, refused};

const NOWHERE: &str = "name: Nowhere\nsteps:\n  - {name: Apply, apply_image: {image: lab}}\n";

fn disks() -> Vec<DestinationDisk> {
    let partition = |number, contents: &str, mib: u64, why_not: &str| DestinationPartition {
        number,
        contents: contents.into(),
        size: mib << 20,
        why_not: why_not.into(),
    };
    vec![
        DestinationDisk {
            number: Some(0),
            node: "/dev/sda".into(),
            model: "APPLE SSD".into(),
            serial: "S1".into(),
            size: 100 << 20,
            partitions: vec![
                partition(1, "EFI (fat32)", 8, "the firmware's own"),
                partition(2, "Old (hfs+)", 40, ""),
                partition(3, "Tiny (empty)", 1, ""),
            ],
            ..DestinationDisk::default()
        },
        DestinationDisk { why_not: "its medium".into(), ..DestinationDisk::default() },
    ]
}

fn ask(work: &Work<'_>, disks: Vec<DestinationDisk>) -> Next {
    let path = format!("/runner/v1/runs/{}/next", work.ticket.run);
    work.client().post(&path, &AskNext { boot: BootMethod::Netboot, disks }).unwrap()
}

fn question(next: Next) -> AskedDestination {
    match next {
        Next::Wait { question: Some(question), .. } => question.destination.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn section_7_an_image_without_destination_goes_where_somebody_says_and_the_first_answer_wins() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &image_file(&folder, 3 << 20));
    appliance.apply(NOWHERE);
    appliance.deploy("Nowhere", Purpose::Required);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    assert!(mac.welcome.offers[0].asks_destination && mac.welcome.offers[0].erases.is_empty());
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let asked = question(ask(&work, Vec::new()));
    assert_eq!((asked.step, asked.image.as_str(), asked.needs), (1, "lab 1", 3 << 20));
    let choose = |step, disk, partition| {
        let body = ChooseDestination { step, disk, partition };
        appliance.admin().post::<_, Run>("/api/v1/runs/1/destination", &body)
    };
    let (status, problem) = refused(choose(1, 0, 2));
    assert_eq!(status, 409, "the Mac has not said what it has: {problem:?}");
    let asked = question(ask(&work, disks()));
    assert_eq!(asked.disks[0].partitions[2].why_not, "too small: it has 1.0 MiB, the image needs 3.0 MiB");
    let shown = appliance.run(1).question.unwrap().destination.unwrap();
    assert_eq!(shown, asked, "both ends see the same");
    for (step, disk, partition, status, part) in [
        (2, 0, 2, 409, "does not ask where step 2"),
        (1, 0, 9, 422, "no partition 9 of disk 0"),
        (1, 7, 2, 422, "no partition 2 of disk 7"),
        (1, 0, 1, 422, "the firmware's own"),
        (1, 0, 3, 422, "it has 1.0 MiB, the image needs 3.0 MiB"),
    ] {
        let (code, problem) = refused(choose(step, disk, partition));
        assert!(code == status && problem.error.contains(part), "{part}: {code} {problem:?}");
    }
    let run = choose(1, 0, 2).unwrap();
    assert!(run.question.is_none());
    let said = SayDestination { step: 1, disk: 0, partition: 2, pass: None };
    let late: Result<Said, ClientError> = work.client().post("/runner/v1/runs/1/destination", &said);
    assert_eq!(refused(late).0, 409, "the first answer wins");
    match work.act().action {
        Action::ApplyImage { destination, chosen, .. } => {
            assert_eq!(destination, Destination::Partition { disk: 0, partition: 2 });
            assert_eq!(chosen, Some(ChosenPartition { serial: "S1".into(), size: 40 << 20 }));
        }
        other => panic!("{other:?}"),
    }
    let events: Vec<RunEvent> = appliance.admin().get("/api/v1/runs/1/events").unwrap();
    let chose = events.iter().find(|event| event.kind == "destination-chosen").unwrap();
    assert!(
        chose.detail.ends_with("chose partition 2 of disk 0 (Old (hfs+), 40.0 MiB) on APPLE SSD"),
        "{chose:?}"
    );
    let audit = json(&appliance.admin(), "/api/v1/audit?action=run.destination").to_string();
    assert!(audit.contains("run.destination"), "{audit}");
}

#[test]
fn what_a_mac_says_of_its_disks_is_bounded() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.import("lab", &image_file(&folder, 1 << 20));
    appliance.apply(NOWHERE);
    appliance.deploy("Nowhere", Purpose::Required);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let long = |disk: DestinationDisk, count: usize| {
        let disks = vec![disk; count];
        let ask = AskNext { boot: BootMethod::Netboot, disks };
        refused(work.client().post::<_, Next>("/runner/v1/runs/1/next", &ask)).0
    };
    assert_eq!(long(DestinationDisk::default(), 257), 400);
    assert_eq!(long(DestinationDisk { model: "x".repeat(300), ..DestinationDisk::default() }, 1), 400);
    let partitions = vec![DestinationPartition::default(); 257];
    assert_eq!(long(DestinationDisk { partitions, ..DestinationDisk::default() }, 1), 400);
}
