//! Lists of Macs as CSV. Python's csv module is the other program that reads and writes them.

use std::fs;
use std::process::Command as Program;

use rootstock::api::admin::{RosterReport, VariableValue};
use tempfile::tempdir;

use super::*;

const LIST: &str = "serial,hostname,tags,collections,var:Room,secret:Key,note\r\n\
C02LIST00001,lab-01,lab;b12,Lab,B12,hunter2,\"=1+1, \"\"quoted\"\"\"\r\n\
C02LIST00002,lab-02,,,,,\r\n";

fn import(appliance: &Appliance, text: &str, query: &str) -> RosterReport {
    let path = format!("/api/v1/devices/import{query}");
    let answer = appliance.admin().post_bytes(&path, text.as_bytes(), 1 << 20).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[test]
fn section_6_macs_are_registered_before_they_come_and_get_what_the_list_says_when_they_do() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    collection(&admin, "Lab", "");
    collection(&admin, "Room B12", "variable.Room = b12");
    sequence(&appliance, "Lab Mac");
    let body = admin::CreateDeployment::new("Lab Mac", "lab", Purpose::Required);
    let _: admin::Deployment = admin.post("/api/v1/deployments", &body).unwrap();

    let dry = import(&appliance, LIST, "?dry_run=true");
    assert_eq!((dry.lines, dry.created, dry.faults.len()), (2, 2, 0));
    assert!(listed(&admin, "").is_empty(), "a dry run changes nothing");
    let report = import(&appliance, LIST, "");
    assert_eq!((report.created, report.changed, report.unchanged), (2, 0, 0));
    let [id] = listed(&admin, "name=lab-01")[..] else { panic!("one Mac") };
    let before = device(&admin, id);
    assert_eq!((before.summary.seen_ms, before.summary.known), (0, true));
    assert_eq!(before.collections, ["Lab", "Room B12"]);
    assert_eq!(before.note, "=1+1, \"quoted\"");

    let welcome = boot(&appliance, "C02LIST00001", 7);
    assert_eq!(welcome.device, id);
    assert_eq!(offered(&welcome), [("Lab Mac".into(), Purpose::Required)]);
    assert!(boot(&appliance, "C02LIST00002", 8).offers.is_empty());
    assert!(!boot(&appliance, "C02LIST00003", 9).why_empty.unwrap().contains("Lab Mac"));
    let variables: Vec<admin::Variable> = admin.get(&format!("/api/v1/devices/{id}/variables")).unwrap();
    let shown: Vec<_> = variables.iter().map(|one| (one.name.as_str(), one.value.as_deref())).collect();
    assert_eq!(shown, [("Key", None), ("Room", Some("B12"))]);
}

#[test]
fn section_6_what_is_exported_is_imported_without_change_and_another_program_reads_it() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    collection(&admin, "Lab", "");
    import(&appliance, LIST, "");
    boot(&appliance, "C02LIST00001", 7);
    let [id] = listed(&admin, "name=lab-01")[..] else { panic!("one Mac") };
    let value = VariableValue { value: "@SUM(A1)\nsecond line".into(), secret: false };
    let _: admin::Variable = admin.put(&format!("/api/v1/devices/{id}/variables/Odd"), &value).unwrap();
    let file = folder.path().join("macs.csv");
    let (code, out, error) = rootstock(&appliance, &["device", "export", "-o", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("secret:"), "{text}");

    let program = "import csv, sys\n\
rows = list(csv.DictReader(open(sys.argv[1], newline='', encoding='utf-8')))\n\
assert not any(cell.startswith(('=', '+', '-', '@')) for row in rows for cell in row.values())\n\
print(rows[0]['serial'], rows[0]['var:Room'], repr(rows[0]['var:Odd']), repr(rows[0]['note']), len(rows))";
    let output = Program::new("python3").args(["-c", program]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said.trim_end(),
        "C02LIST00001 B12 \"'@SUM(A1)\\nsecond line\" '\\'=1+1, \"quoted\"' 2",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let again = import(&appliance, &text, "");
    assert_eq!(
        (again.unchanged, again.created, again.changed, again.faults.len()),
        (2, 0, 0, 0),
        "{again:?}"
    );
    let empty = Appliance::start(&folder.path().join("other"));
    collection(&empty.admin(), "Lab", "");
    assert_eq!(import(&empty, &text, "").created, 2);
    let (_, out, _) = rootstock(&empty, &["device", "export"]);
    let column = |text: &str, names: &[&str]| -> Vec<Vec<String>> {
        let program = "import csv, sys, io\nfor row in csv.DictReader(io.StringIO(sys.stdin.read(), newline='')):\n    print(*[repr(row[name]) for name in sys.argv[1:]])";
        let mut child = Program::new("python3")
            .args(["-c", program])
            .args(names)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        said.lines().map(|line| vec![line.to_owned()]).collect()
    };
    let names = [
        "serial",
        "uuid",
        "hostname",
        "known",
        "owner",
        "note",
        "tags",
        "collections",
        "var:Room",
        "var:Odd",
    ];
    assert_eq!(column(&out, &names), column(&text, &names));
}

#[test]
fn section_6_a_list_with_wrong_lines_changes_nothing_and_names_each_line() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = folder.path().join("list.csv");
    fs::write(&file, "serial,known,collections\nC02A,yes,\nC02B,perhaps,\nC02A,,Mars\n\"C02C,,\n").unwrap();
    let (code, out, _) = rootstock(&appliance, &["device", "import", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        out.contains("line 3, column known: `perhaps` is not yes or no")
            && out.contains("nothing was changed"),
        "{out}"
    );
    let report = import(&appliance, "serial,collections\nC02A,\nC02A,\nC02B,Mars\n", "");
    let faults: Vec<_> = report.faults.iter().map(|fault| (fault.line, fault.column.as_str())).collect();
    assert_eq!(faults, [(3, ""), (4, "collections")], "{report:?}");
    assert!(listed(&appliance.admin(), "").is_empty());
    boot(&appliance, "C02X", 1);
    boot(&appliance, "C02Y", 2);
    let uuid = Uuid::from_u128(2);
    let report = import(&appliance, &format!("serial,uuid,note\nC02X,{uuid},x\n"), "");
    assert!(report.faults[0].message.contains("belong to different Macs"), "{report:?}");
    let long = format!("serial,planet\n{}", "\n".repeat(5 << 20));
    let report = import(&appliance, &long, "");
    assert!(report.faults[0].message.contains("`planet` is no column"), "it was read: {report:?}");
}
