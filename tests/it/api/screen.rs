//! The remote twin of the wizard, without a wizard: what is taken in, what is refused.

use rootstock::api::admin::{RunAnswers, RunEvent};
use rootstock::api::runner::{Next, Purpose, ReportEvent};
use rootstock::api::wizard::*;
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, refused};

fn report(page: PageName) -> ScreenReport {
    ScreenReport {
        page,
        title: "t".into(),
        text: vec!["line".into()],
        run: None,
        keyboard: Some("de".into()),
    }
}

#[test]
fn section_7_a_run_is_started_from_afar_only_where_the_wizard_waits_for_one() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    let (admin, start) = (appliance.admin(), StartOnDevice { deployment: 1 });
    let begin = || admin.post::<_, serde_json::Value>("/api/v1/devices/1/start", &start);
    assert_eq!(refused(begin()).0, 404);
    let mut mac = Mac::boot(&appliance, "C02SPINE0001");
    let session = appliance.network(Some(&mac.welcome.session));
    let (status, problem) = refused(begin());
    assert_eq!(status, 409, "{problem:?}");
    assert!(problem.error.contains("not at its wizard"), "{problem:?}");
    let tell = |page| session.post::<_, ScreenTaken>("/runner/v1/screen", &report(page)).unwrap();
    tell(PageName::Running);
    assert!(refused(begin()).1.error.contains("is at work"));
    tell(PageName::Choose);
    let run: rootstock::api::admin::Run = admin.post("/api/v1/devices/1/start", &start).unwrap();
    let ask = AskNews { after: 0, message: 0, wait: 15 };
    let news: News = session.post("/runner/v1/news", &ask).unwrap();
    assert_eq!(news.orders, [RemoteOrder::Look]);
    mac.again(&appliance);
    assert_eq!(mac.welcome.run.as_ref().map(|ticket| ticket.run), Some(run.summary.id));
    assert_eq!(mac.welcome.keyboard.as_deref(), Some("de"), "the layout outlives a restart of the Mac");
    assert_eq!(refused(begin()).0, 409, "it has a run");
    let down = admin.post::<_, serde_json::Value>("/api/v1/devices/1/shutdown", &serde_json::json!({}));
    assert!(refused(down).1.error.contains("at run 1"));
}

#[test]
fn section_7_a_countdown_is_stopped_from_afar_only_where_one_runs() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let session = appliance.network(Some(&mac.welcome.session));
    let hold = || appliance.admin().post::<_, Screen>("/api/v1/devices/1/hold", &serde_json::json!({}));
    assert!(refused(hold()).1.error.contains("not at its wizard"));
    let tell = |page| session.post::<_, ScreenTaken>("/runner/v1/screen", &report(page)).unwrap();
    tell(PageName::Choose);
    let (status, problem) = refused(hold());
    assert!(
        status == 409 && problem.error.contains("does not count down: it waits for a choice"),
        "{problem:?}"
    );
    tell(PageName::Countdown);
    assert_eq!(hold().unwrap().page, PageName::Countdown);
    let news: News = session.post("/runner/v1/news", &AskNews { after: 0, message: 0, wait: 15 }).unwrap();
    assert_eq!(news.orders, [RemoteOrder::Hold]);
}

#[test]
fn section_7_a_message_is_told_once_and_acknowledged_by_its_own_mac_only() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (mac, other) = (Mac::boot(&appliance, "C02SPINE0001"), Mac::boot(&appliance, "C02SPINE0002"));
    let session = |mac: &Mac| appliance.network(Some(&mac.welcome.session));
    let asked = session(&mac);
    let waits = std::thread::spawn(move || {
        asked.post::<_, News>("/runner/v1/news", &AskNews { after: 0, message: 0, wait: 15 }).unwrap()
    });
    let send = |text: &str| {
        let body = SendMessage { text: text.into() };
        appliance.admin().post::<_, TechnicianMessage>("/api/v1/devices/1/messages", &body)
    };
    assert_eq!(refused(send("  ")).0, 422);
    assert_eq!(refused(send(&"x".repeat(2001))).0, 422);
    let sent = send("Hello\u{1b}[31m there").unwrap();
    assert_eq!(sent.text, "Hello[31m there");
    assert_eq!(waits.join().unwrap().messages, std::slice::from_ref(&sent));
    let read = format!("/runner/v1/messages/{}", sent.id);
    assert_eq!(refused(session(&other).post::<_, TechnicianMessage>(&read, &Acknowledge {})).0, 404);
    let read: TechnicianMessage = session(&mac).post(&read, &Acknowledge {}).unwrap();
    assert!(read.acknowledged_ms.is_some());
    let later: News =
        session(&mac).post("/runner/v1/news", &AskNews { after: 0, message: 0, wait: 0 }).unwrap();
    assert!(later.messages.is_empty());
    let long = ScreenReport { text: vec![String::new(); 61], ..report(PageName::Choose) };
    assert_eq!(refused(session(&mac).post::<_, ScreenTaken>("/runner/v1/screen", &long)).0, 400);
}

const ASKS: &str = "\
name: Ask
prompts: [{variable: Room, type: choice, choices: [Lab, Office]}]
steps:
  - execute_script: {script: \"#!/bin/sh\\necho $Room\\n\"}
";

#[test]
fn section_3_an_answer_that_is_none_is_refused_with_the_reason_and_the_log_is_live() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(ASKS);
    appliance.deploy("Ask", Purpose::Required);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let Next::Wait { question: Some(question), .. } = work.try_next().unwrap() else { panic!() };
    assert_eq!(question.variables[0].choices, ["Lab", "Office"]);
    let answer = |value: &str| {
        let values = [("Room".to_owned(), value.to_owned())].into();
        work.client().post::<_, Said>("/runner/v1/runs/1/answers", &RunAnswers { values })
    };
    let (status, problem) = refused(answer("Attic"));
    assert_eq!((status, problem.error.as_str()), (422, "Room: it is one of Lab, Office"));
    answer("Lab").unwrap();
    assert_eq!(refused(answer("Office")).0, 409, "the first answer wins");
    let number = work.act().number;
    let events = |path: &str| appliance.admin().get::<Vec<RunEvent>>(path).unwrap();
    let last = events("/api/v1/runs/1/events").last().unwrap().number;
    let (client, path) = (appliance.admin(), format!("/api/v1/runs/1/events?after={last}&wait=15"));
    let waits = std::thread::spawn(move || client.get::<Vec<RunEvent>>(&path).unwrap());
    work.try_report(number, ReportEvent::Log { first: None, lines: vec!["Lab".into()] }).unwrap();
    let seen = waits.join().unwrap();
    assert_eq!((seen[0].kind.as_str(), seen[0].detail.as_str()), ("log", "Lab"));
}
