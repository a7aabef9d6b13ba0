//! What anybody on the network may do without a token: little, and a full house says so.

use rootstock::api::admin;
use rootstock::api::runner::*;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, refused};

#[test]
fn more_new_macs_than_the_appliance_takes_are_refused_and_those_that_are_known_go_on() {
    let folder = tempdir().unwrap();
    let settings = "[runner]\nnew-macs-a-minute = 2\nunknown-macs = 3\n";
    let appliance = Appliance::start_with(&folder.path().join("data"), settings);
    let mut first = Mac::boot(&appliance, "C02SPINE0001");
    Mac::boot(&appliance, "C02SPINE0002");
    let (status, problem) = refused(Mac::try_boot(&appliance, "C02SPINE0003"));
    assert_eq!(status, 503);
    assert!(problem.error.contains("2 new Macs said hello within a minute"), "{problem:?}");
    assert!(problem.next_step.contains("`runner.new-macs-a-minute`"), "{problem:?}");
    first.again(&appliance);
    let devices: Vec<admin::DeviceSummary> = appliance.admin().get("/api/v1/devices").unwrap();
    assert_eq!(devices.len(), 2, "nothing is kept of the refused one");
}

#[test]
fn a_hello_that_is_too_long_is_refused_by_its_field_and_nothing_is_kept() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let mut hello = Mac::words("C02SPINE0001");
    hello.device.disks[0].model = "x".repeat(300);
    let (status, problem) = refused(appliance.network(None).post::<_, Welcome>("/runner/v1/hello", &hello));
    assert!(status == 400 && problem.error.contains("`model` is 300 bytes"), "{status} {problem:?}");
    hello.device.disks[0].model = "x".repeat(200_000);
    let (status, _) = refused(appliance.network(None).post::<_, Welcome>("/runner/v1/hello", &hello));
    assert_eq!(status, 413);
    let devices: Vec<admin::DeviceSummary> = appliance.admin().get("/api/v1/devices").unwrap();
    assert!(devices.is_empty());
}
