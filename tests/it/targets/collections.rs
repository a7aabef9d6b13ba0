//! Collections: rules, direct members, each in each other, their variables.

use rootstock::api::admin::{
    Collection, CollectionDetails, CreateCollection, DeviceScope, EditCollection, EditDevice, RulePreview,
    RuleText, Variable, VariableValue,
};
use rootstock::api::runner::*;
use tempfile::tempdir;

use super::*;
use crate::api::appliance::{Work, refused};

fn of_model(serial: &str, uuid: u128, model: &str) -> Hello {
    hello(serial, uuid, |hello| hello.device.model = Some(model.parse().unwrap()))
}

fn members(admin: &Client, name: &str) -> (u32, Vec<i64>) {
    let details: CollectionDetails = admin.get(&format!("/api/v1/collections/{name}")).unwrap();
    let mut members = listed(admin, &format!("collection={name}"));
    members.sort_unstable();
    assert!(!details.summary.stale);
    (details.summary.members, members)
}

#[test]
fn section_6_members_follow_every_change_of_a_mac_and_of_a_collection() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let imac = greet(&appliance, &of_model("C02A", 1, "iMac14,2")).device;
    let mini = greet(&appliance, &of_model("C02B", 2, "Macmini6,1")).device;
    let made = collection(&admin, "iMacs", "model like 'iMac*'");
    assert_eq!((made.summary.members, members(&admin, "imacs")), (1, (1, vec![imac])));

    let lab = CreateCollection {
        name: "Lab".into(),
        includes: vec!["iMacs".into()],
        excludes: Vec::new(),
        direct: vec![mini],
        ..Default::default()
    };
    let _: CollectionDetails = admin.post("/api/v1/collections", &lab).unwrap();
    assert_eq!(members(&admin, "Lab"), (2, vec![imac, mini]));
    collection(&admin, "Retired", "tag = retired");
    let edit = EditCollection { excludes: Some(vec!["Retired".into()]), ..Default::default() };
    let _: CollectionDetails = admin.patch("/api/v1/collections/Lab", &edit).unwrap();
    let tag = |tag: &[&str], untag: &[&str]| {
        let list = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        let edit = EditDevice { tag: list(tag), untag: list(untag), ..Default::default() };
        let _: Device = admin.patch(&format!("/api/v1/devices/{mini}"), &edit).unwrap();
    };
    tag(&["retired"], &[]);
    assert_eq!(members(&admin, "Lab"), (1, vec![imac]), "excluded, though put into it by hand");
    tag(&[], &["retired"]);
    assert_eq!(members(&admin, "Lab"), (2, vec![imac, mini]));

    greet(&appliance, &of_model("C02A", 1, "Macmini7,1"));
    assert_eq!(members(&admin, "iMacs"), (0, vec![]), "another inventory");
    let edit =
        EditCollection { rule: Some("model like 'Macmini*'".into()), confirm: Some(2), ..Default::default() };
    let _: CollectionDetails = admin.patch("/api/v1/collections/iMacs", &edit).unwrap();
    assert_eq!((members(&admin, "iMacs").0, members(&admin, "Lab").0), (2, 2), "another rule, in both");
    let value = VariableValue { value: "B12".into(), secret: false };
    collection(&admin, "B12", "variable.Room = B12");
    let _: Variable = admin.put(&format!("/api/v1/devices/{mini}/variables/Room"), &value).unwrap();
    assert_eq!(members(&admin, "B12"), (1, vec![mini]), "a variable of the Mac");
    admin.delete(&format!("/api/v1/devices/{mini}/variables/Room")).unwrap();
    assert_eq!(members(&admin, "B12"), (0, vec![]));

    let (status, problem) = refused(admin.delete("/api/v1/collections/iMacs").map(|()| 0));
    assert!(status == 409 && problem.error.contains("the collection Lab"), "{problem:?}");
    let edit = EditCollection { includes: Some(vec!["Lab".into()]), ..Default::default() };
    let (status, problem) = refused(admin.patch::<_, CollectionDetails>("/api/v1/collections/iMacs", &edit));
    assert!(status == 422 && problem.error.contains("in a circle: iMacs → Lab → iMacs"), "{problem:?}");
    admin.delete(&format!("/api/v1/devices/{mini}")).unwrap();
    assert_eq!(members(&admin, "Lab").0, 1, "a Mac that is forgotten is a member no more");
}

#[test]
fn section_6_unknown_macs_never_has_members_and_applies_to_every_mac_that_is_not_known() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let stranger = boot(&appliance, "C02UNKNOWN01", 1).device;
    let counts = || {
        let all: Vec<Collection> = admin.get("/api/v1/collections").unwrap();
        all.into_iter().map(|one| (one.name, one.members, one.applies_to)).collect::<Vec<_>>()
    };
    assert_eq!(counts(), [("All Macs".into(), 1, 1), ("Unknown Macs".into(), 0, 1)]);
    for name in ["Unknown%20Macs", "all%20macs"] {
        let put = EditCollection { add: vec![stranger], ..Default::default() };
        let path = format!("/api/v1/collections/{name}");
        let (status, problem) = refused(admin.patch::<_, CollectionDetails>(&path, &put));
        assert!(status == 409 && problem.error.contains("made by the appliance"), "{problem:?}");
        assert_eq!(refused(admin.delete(&path).map(|()| 0)).0, 409);
    }
    let named = || vec!["unknown macs".to_owned()];
    for (includes, excludes) in [(named(), Vec::new()), (Vec::new(), named())] {
        let body = CreateCollection { name: "Lab".into(), includes, excludes, ..Default::default() };
        assert_eq!(refused(admin.post::<_, CollectionDetails>("/api/v1/collections", &body)).0, 422);
    }
    sequence(&appliance, "First");
    appliance.deploy("First", Purpose::Available);
    let offers = || offered(&boot(&appliance, "C02UNKNOWN01", 1)).len();
    assert_eq!(offers(), 1);
    let known = EditDevice { known: Some(true), ..Default::default() };
    let _: Device = admin.patch(&format!("/api/v1/devices/{stranger}"), &known).unwrap();
    assert_eq!((offers(), &counts()[1]), (0, &("Unknown Macs".into(), 0, 0)));
    let other = boot(&appliance, "C02UNKNOWN02", 2);
    assert_eq!(offered(&other).len(), 1, "one that was never seen before");
}

#[test]
fn section_6_members_are_judged_after_a_stop_that_came_before_them() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    greet(&appliance, &of_model("C02A", 1, "iMac14,2"));
    greet(&appliance, &of_model("C02B", 2, "Macmini6,1"));
    collection(&appliance.admin(), "iMacs", "model like 'iMac*'");
    appliance.stop();
    // As if the machine had lost its power between the rule and its members.
    let program = "import sqlite3, sys\n\
db = sqlite3.connect(sys.argv[1])\n\
db.execute('DELETE FROM collection_member')\n\
db.execute('UPDATE collection SET stale = 1, members = 0')\n\
db.commit()";
    let file = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "sqlite3"))
        .expect("a database");
    let done = std::process::Command::new("python3").args(["-c", program]).arg(file).status().unwrap();
    assert!(done.success());
    let appliance = Appliance::start(&data);
    let admin = appliance.admin();
    let stale = || {
        let all: Vec<Collection> = admin.get("/api/v1/collections").unwrap();
        all.iter().any(|collection| collection.stale)
    };
    while stale() {
        std::thread::yield_now();
    }
    assert_eq!(members(&admin, "iMacs").0, 1);
}

#[test]
fn section_6_a_rule_is_previewed_and_one_that_holds_for_every_mac_is_confirmed_with_their_number() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    for n in 1..=3_u128 {
        boot(&appliance, &format!("C02RULE{n}"), n);
    }
    let preview = |rule: &str| -> RulePreview {
        admin.post("/api/v1/collections/preview", &RuleText { rule: rule.into() }).unwrap()
    };
    let found = preview("serial between C02RULE2 and C02RULE9");
    assert_eq!((found.matches, found.total, found.members.len()), (2, 3, 2));
    let wrong = preview("modle = x");
    assert_eq!((wrong.findings[0].at, wrong.findings[0].length), (0, 5));
    let (code, out, _) = rootstock(&appliance, &["collection", "preview", "model = x and modle = y"]);
    assert!(
        code == 1 && out.contains("line 1, column 15") && out.contains("\n                ^^^^^"),
        "{out}"
    );

    let accident = |confirm: Option<u32>| {
        let body = CreateCollection {
            name: "Lab".into(),
            rule: "model != Macmini1,1".into(),
            confirm,
            ..Default::default()
        };
        admin.post::<_, CollectionDetails>("/api/v1/collections", &body)
    };
    for confirm in [None, Some(2)] {
        let (status, problem) = refused(accident(confirm));
        assert!(status == 409 && problem.error.contains("all 3"), "{problem:?}");
        assert!(problem.next_step.contains("--confirm 3"), "{problem:?}");
    }
    assert_eq!(accident(Some(3)).unwrap().summary.members, 3);
    sequence(&appliance, "Wipe");
    let mut body = admin::CreateDeployment::new("Wipe", "Lab", Purpose::Required);
    let (status, problem) = refused(admin.post::<_, admin::Deployment>("/api/v1/deployments", &body));
    assert!(status == 409 && problem.next_step.contains("--confirm 3"), "{problem:?}");
    body.confirm = Some(3);
    let _: admin::Deployment = admin.post("/api/v1/deployments", &body).unwrap();

    let (status, problem) = refused(admin.post::<_, CollectionDetails>(
        "/api/v1/collections",
        &CreateCollection { name: "X".into(), rule: "memory > lots".into(), ..Default::default() },
    ));
    assert!(status == 422 && problem.error.contains("line 1, column 10"), "{problem:?}");
    for name in ["", "all macs", "a;b"] {
        let body = CreateCollection { name: name.into(), ..Default::default() };
        assert!(
            matches!(refused(admin.post::<_, CollectionDetails>("/api/v1/collections", &body)).0, 409 | 422),
            "{name}"
        );
    }
}

#[test]
fn section_3_a_device_has_the_variables_of_the_collection_with_the_higher_priority_and_a_run_uses_them() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let id = boot(&appliance, "C02VARS00001", 1).device;
    let put = |path: &str, name: &str, value: &str| {
        let value = VariableValue { value: value.into(), secret: false };
        let _: Variable = admin.put(&format!("{path}/variables/{name}"), &value).unwrap();
    };
    for (name, priority) in [("High", 20), ("Low", 10), ("Also High", 20)] {
        let body = CreateCollection { name: name.into(), priority, direct: vec![id], ..Default::default() };
        let _: CollectionDetails = admin.post("/api/v1/collections", &body).unwrap();
    }
    put("/api/v1/collections/Low", "Room", "low");
    put("/api/v1/collections/High", "Room", "high");
    put("/api/v1/collections/All%20Macs", "Room", "all");
    put("/api/v1/collections/All%20Macs", "Floor", "all");
    put("/api/v1/collections/Unknown%20Macs", "Floor", "unknown");
    put("/api/v1/collections/High", "Door", "high");
    put("/api/v1/collections/Also%20High", "Door", "also");
    let edit = EditDevice { hostname: Some("lab-7".into()), ..Default::default() };
    let _: Device = admin.patch(&format!("/api/v1/devices/{id}"), &edit).unwrap();
    let scope: DeviceScope = admin.get(&format!("/api/v1/devices/{id}/scope")).unwrap();
    let found: Vec<_> = scope
        .collection_variables
        .iter()
        .map(|one| (one.variable.name.as_str(), one.variable.value.as_deref().unwrap(), one.tied_with.len()))
        .collect();
    assert_eq!(found, [("Door", "also", 1), ("Floor", "unknown", 0), ("Room", "high", 0)]);
    assert_eq!(scope.device_variables[0].value.as_deref(), Some("lab-7"), "its name is the computer's name");

    appliance.apply(
        "name: Vars\nsteps:\n  - execute_script: {script: \"#!/bin/sh\\necho %Room% %Floor% %OSDComputerName%\\n\"}\n",
    );
    appliance.deploy("Vars", Purpose::Available);
    let (code, out, error) = rootstock(&appliance, &["sequence", "plan", "Vars", "--device", "C02VARS00001"]);
    assert!(
        code == 0 && out.contains("yellow: Door has different values in Also High and High"),
        "{out}{error}"
    );
    let welcome = boot(&appliance, "C02VARS00001", 1);
    let start = StartRun { deployment: welcome.offers[0].deployment, pass: None, seen: None };
    let ticket: RunTicket =
        appliance.network(Some(&welcome.session)).post("/runner/v1/runs", &start).unwrap();
    let work = Work { appliance: &appliance, ticket };
    let Action::ExecuteScript { environment, .. } = work.act().action else { panic!("a script") };
    let value =
        |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(
        [value("Room"), value("Floor"), value("OSDComputerName")],
        [Some("high"), Some("unknown"), Some("lab-7")]
    );
}

#[test]
fn section_6_a_subnet_rule_goes_by_where_the_mac_speaks_from() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    let id = boot(&appliance, "C02NET000001", 1).device;
    boot(&appliance, "C02NET000002", 2);
    collection(&admin, "Here", "ip in 127.0.0.0/8 and serial = C02NET000001");
    assert_eq!(members(&admin, "Here"), (1, vec![id]));
    assert_eq!(device(&admin, id).address, "127.0.0.1");
}
