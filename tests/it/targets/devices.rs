//! Identity, inventory, search, conflicts.

use rootstock::api::admin::{Device, DeviceConflict, EditDevice, MergeDevice};
use rootstock::api::runner::*;
use tempfile::tempdir;

use super::*;
use crate::api::appliance::{Work, refused};

#[test]
fn section_6_thirty_macs_on_one_dongle_are_thirty_macs_with_their_own_runs() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let dongle = address(9);
    let all: Vec<Welcome> = (1..=30_u128)
        .map(|n| {
            greet(
                &appliance,
                &hello(&format!("C02DONGLE{n:03}"), n, |hello| hello.device.macs = vec![dongle]),
            )
        })
        .collect();
    let mut devices: Vec<i64> = all.iter().map(|welcome| welcome.device).collect();
    devices.dedup();
    assert_eq!(devices.len(), 30);
    let client: admin::Client = appliance.admin().get(&format!("/api/v1/clients/{dongle}")).unwrap();
    assert_eq!(client.devices.len(), 30, "a hint that says: any of these");
    for (index, welcome) in all.iter().enumerate() {
        let n = index as u128 + 1;
        let again = greet(
            &appliance,
            &hello(&format!("C02DONGLE{n:03}"), n, |hello| hello.device.macs = vec![dongle]),
        );
        assert_eq!(again.device, welcome.device);
    }
    let conflicts: Vec<DeviceConflict> = appliance.admin().get("/api/v1/devices/conflicts").unwrap();
    assert!(conflicts.is_empty());
}

#[test]
fn section_6_macs_without_serial_and_uuid_on_one_dongle_are_told_apart_by_their_disks() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let nameless = |disk: &str| {
        let mut hello = hello("X", 0, |_| {});
        hello.device.serial = None;
        hello.device.disks[0].serial = disk.to_owned();
        hello
    };
    let first = greet(&appliance, &nameless("S1")).device;
    assert_ne!(greet(&appliance, &nameless("S2")).device, first);
    assert_eq!(greet(&appliance, &nameless("S1")).device, first);
}

#[test]
fn section_6_a_new_logic_board_is_a_named_conflict_until_the_two_are_merged() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    sequence(&appliance, "Wipe");
    appliance.deploy("Wipe", Purpose::Required);
    let old = boot(&appliance, "C02BOARD0001", 1);
    assert_eq!(offered(&old), [("Wipe".into(), Purpose::Required)]);
    let ticket: RunTicket = appliance
        .network(Some(&old.session))
        .post("/runner/v1/runs", &StartRun { deployment: old.offers[0].deployment, pass: None, seen: None })
        .unwrap();
    let work = Work { appliance: &appliance, ticket };
    work.formatted();
    let edit =
        EditDevice { hostname: Some("lab-1".into()), tag: vec!["lab".into()], ..EditDevice::default() };
    let _: Device = admin.patch(&format!("/api/v1/devices/{}", old.device), &edit).unwrap();

    let new = boot(&appliance, "C02BOARD0001", 2);
    assert_ne!(new.device, old.device);
    assert_eq!(
        offered(&new),
        [("Wipe".into(), Purpose::Available)],
        "nothing starts by itself on a Mac in doubt"
    );
    let shown = device(&admin, new.device);
    let [conflict] = shown.conflicts.as_slice() else { panic!("{shown:?}") };
    assert_eq!(
        (conflict.device, conflict.other, conflict.value.as_str()),
        (new.device, old.device, "C02BOARD0001")
    );

    let (code, out, _) = rootstock(&appliance, &["device", "conflicts"]);
    assert!(code == 0 && out.contains("serial number") && out.contains("C02BOARD0001"), "{out}");
    let (code, _, error) = rootstock(&appliance, &["device", "show", "C02BOARD0001"]);
    assert!(code == 1 && error.contains("several Macs are called C02BOARD0001"), "{error}");
    let (code, out, error) = rootstock(
        &appliance,
        &["device", "merge", &format!("#{}", new.device), "--into", &format!("#{}", old.device)],
    );
    assert_eq!(code, 0, "{out}{error}");

    let merged = device(&admin, old.device);
    assert_eq!((merged.uuid, merged.summary.hostname.as_str()), (Some(Uuid::from_u128(2)), "lab-1"));
    assert_eq!((merged.runs.len(), merged.summary.tags.as_slice()), (1, &["lab".to_owned()][..]));
    assert!(merged.conflicts.is_empty());
    assert!(
        merged.changes.iter().any(|change| change.what.iter().any(|line| line.starts_with("UUID: "))),
        "{merged:?}"
    );
    assert_eq!(boot(&appliance, "C02BOARD0001", 2).device, old.device);
    assert_eq!(refused(admin.get::<Device>(&format!("/api/v1/devices/{}", new.device))).0, 404);
}

#[test]
fn section_6_two_macs_with_one_serial_number_stay_two_once_somebody_has_said_so() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    sequence(&appliance, "Wipe");
    appliance.deploy("Wipe", Purpose::Required);
    let one = boot(&appliance, "C02TWIN00001", 1);
    let other = boot(&appliance, "C02TWIN00001", 2);
    let path = format!("/api/v1/devices/{}/distinct", one.device);
    let _: Device = admin.post(&path, &MergeDevice { other: other.device }).unwrap();
    assert!(device(&admin, other.device).conflicts.is_empty());
    for (uuid, device) in [(1, one.device), (2, other.device)] {
        let again = boot(&appliance, "C02TWIN00001", uuid);
        assert_eq!((again.device, offered(&again)), (device, vec![("Wipe".into(), Purpose::Required)]));
    }
    assert_eq!(refused(admin.post::<_, Device>(&path, &MergeDevice { other: 99 })).0, 404);
}

#[test]
fn section_6_the_inventory_is_kept_shown_searched_and_its_changes_are_told() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let parts = |memory: u64, charge: u32| {
        hello("C02PARTS0001", 5, |hello| {
            hello.device.memory = memory;
            hello.device.cpu = Some("Intel(R) Core(TM) i5-4258U CPU @ 2.40GHz".into());
            hello.device.firmware = Some("433.140.2.0.0".into());
            hello.device.disks[0].health = Some(DiskHealth {
                verdict: HealthVerdict::Worn,
                why: vec!["7 sectors were replaced".into()],
                ..Default::default()
            });
            hello.device.disks[0].serial = "S1K5NYAF".into();
            hello.device.inventory = Inventory {
                board: Some("Mac-189A3D4F975D5FFC".into()),
                cores: Some(2),
                threads: Some(4),
                battery: Some(BatteryFacts {
                    cycles: Some(801),
                    design: Some(6330),
                    full: Some(4000),
                    charge: Some(charge),
                    ..Default::default()
                }),
                nics: vec![NicFacts {
                    name: "eth0".into(),
                    mac: address(1),
                    driver: Some("tg3".into()),
                    bus: None,
                    speed: Some(1000),
                    link: true,
                    wifi: false,
                    addresses: vec!["10.1.2.3".parse().unwrap()],
                }],
                ..Default::default()
            };
        })
    };
    let id = greet(&appliance, &parts(4 << 30, 50)).device;
    boot(&appliance, "C02OTHER0001", 6);
    for words in
        ["parts0001", "s1k5nyaf", "189a3d4f", "tg3", "10.1.2.3", "i5-4258u&known=false", "C02PARTS 433.140"]
    {
        assert_eq!(listed(&admin, &format!("search={}", words.replace(' ', "%20"))), [id], "{words}");
    }
    assert!(listed(&admin, "search=%25").is_empty(), "a sign of the database finds nothing");
    let (code, out, _) = rootstock(&appliance, &["device", "show", "c02parts0001"]);
    for part in [
        "2 cores, 4 threads",
        "worn, 7 sectors were replaced",
        "holds 63 % of its first capacity, 801 cycles",
        "1000 Mbit/s",
    ] {
        assert!(code == 0 && out.contains(part), "{part}: {out}");
    }
    greet(&appliance, &parts(4 << 30, 80));
    assert!(device(&admin, id).changes.is_empty(), "a battery that is charged is no other battery");
    greet(&appliance, &parts(8 << 30, 80));
    let changes = device(&admin, id).changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].what, ["memory: 4.0 GiB → 8.0 GiB"]);
    let (_, out, _) = rootstock(
        &appliance,
        &["device", "list", "--where", "memory >= 8 GiB and disk.health = worn and battery"],
    );
    assert!(out.contains("C02PARTS0001") && !out.contains("C02OTHER0001"), "{out}");
}

#[test]
fn section_6_tags_name_note_and_owner_are_kept_and_what_cannot_be_is_refused() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let id = boot(&appliance, "C02ABOUT0001", 1).device;
    let (code, out, error) = rootstock(
        &appliance,
        &[
            "device",
            "edit",
            "C02ABOUT0001",
            "--hostname",
            "lab-7",
            "--tag",
            "Lab",
            "--tag",
            "b12",
            "--owner",
            "shared",
            "--known",
            "yes",
        ],
    );
    assert_eq!(code, 0, "{out}{error}");
    let shown = device(&admin, id);
    assert_eq!(
        (shown.summary.tags.clone(), shown.owner.as_str(), shown.summary.known),
        (vec!["b12".into(), "Lab".into()], "shared", true)
    );
    assert_eq!(listed(&admin, "tag=LAB"), [id]);
    assert_eq!(listed(&admin, "name=LAB-7"), [id]);
    let (code, ..) = rootstock(&appliance, &["device", "edit", "lab-7", "--untag", "LAB"]);
    assert_eq!((code, device(&admin, id).summary.tags), (0, vec!["b12".to_owned()]));
    for (edit, says) in [
        (EditDevice { tag: vec!["a b".into()], ..Default::default() }, "no tag"),
        (EditDevice { owner: Some("me".into()), ..Default::default() }, "no owner"),
        (EditDevice { hostname: Some("a/b".into()), ..Default::default() }, "no name of a computer"),
        (EditDevice { note: Some("x".repeat(5000)), ..Default::default() }, "a note"),
    ] {
        let (status, problem) = refused(admin.patch::<_, Device>(&format!("/api/v1/devices/{id}"), &edit));
        assert!(status == 422 && problem.error.contains(says), "{problem:?}");
    }
    assert_eq!(rootstock(&appliance, &["device", "delete", "lab-7"]).0, 0);
    assert!(listed(&admin, "").is_empty());
}

#[test]
fn a_list_is_read_page_by_page_without_loss_or_repetition() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    for n in 1..=7_u128 {
        boot(&appliance, &format!("C02PAGE{n}"), n);
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page: Vec<DeviceSummary> = admin.get(&format!("/api/v1/devices?limit=3{after}")).unwrap();
        let Some(last) = page.last() else { break };
        after = format!("&after={}-{}", last.seen_ms, last.id);
        all.extend(page.into_iter().map(|device| device.id));
    }
    let mut sorted = all.clone();
    sorted.sort_by(|one, other| other.cmp(one));
    assert_eq!(all.len(), 7);
    assert_eq!(all, sorted, "last seen first");
    assert_eq!(refused(admin.get::<Vec<DeviceSummary>>("/api/v1/devices?after=x")).0, 400);
}
