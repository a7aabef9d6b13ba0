//! What is known of a Mac before it boots: its model, what is deployed to it, and what its timeline concludes.

use std::time::{Duration, Instant};

use assert_cmd::Command;
use rootstock::api::admin::{Client, ClientSummary};
use rootstock::api::conclusion::ClientState;
use rootstock::api::runner::Purpose;

use super::appliance::Appliance;
use super::binding::{LIST, SELECT, ask, dhcp_port, folder, send};

const RESTART: &str = "name: Restart\nsteps:\n  - restart:\n";

#[expect(clippy::disallowed_methods, reason = "a test that waits gives up at some time")]
fn now() -> Instant {
    Instant::now()
}

/// The timeline of a Mac, as soon as it has this many events: they are written behind the answers.
fn timeline(appliance: &Appliance, mac: u8, events: usize) -> Client {
    let limit = now() + Duration::from_secs(30);
    loop {
        let got: Result<Client, _> =
            appliance.admin().get(&format!("/api/v1/clients/02:00:00:00:00:{mac:02x}"));
        if let Ok(client) = got.as_ref().map(Client::clone).map_err(ToString::to_string)
            && client.events.len() >= events
        {
            return client;
        }
        assert!(now() < limit, "{events} events of Mac {mac} did not come: {got:?}");
    }
}

#[test]
fn a_mac_that_cannot_run_the_boot_environment_is_left_unanswered_with_the_reason() {
    let folder = folder();
    let appliance = Appliance::start(&folder.path().join("data"));
    let port = dhcp_port(&appliance.admin());
    let _silent = send(port, 1, "iMac4,1", LIST);
    let client = timeline(&appliance, 1, 1);
    assert!(
        !client.events[0].answered && client.events[0].detail.contains("its processor has 32 bits"),
        "{client:?}"
    );
    let conclusion = client.conclusion.unwrap();
    assert_eq!(conclusion.state, ClientState::Refused);
    assert!(conclusion.text.contains("rootstock model iMac4,1"), "{conclusion:?}");
}

#[test]
fn a_mac_without_deployment_boots_with_a_remark_and_one_with_a_deployment_without() {
    let folder = folder();
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    ask(dhcp_port(&appliance.admin()), 1, "iMac14,2", LIST);
    let client = timeline(&appliance, 1, 1);
    assert!(client.events[0].detail.contains("nothing is deployed to it"), "{client:?}");
    appliance.apply(RESTART);
    appliance.deploy("Restart", Purpose::Available);
    appliance.stop();
    // A fresh look at the database, without waiting for the last one to grow old.
    let appliance = Appliance::start(&data);
    ask(dhcp_port(&appliance.admin()), 2, "iMac14,2", LIST);
    let client = timeline(&appliance, 2, 1);
    assert!(!client.events[0].detail.contains("nothing is deployed"), "{client:?}");
}

#[test]
fn where_the_site_wants_it_a_mac_without_deployment_is_not_offered_our_set() {
    let folder = folder();
    let settings = "[boot]\nwithout-deployment = 'ignore'\n";
    let appliance = Appliance::start_with(&folder.path().join("data"), settings);
    let port = dhcp_port(&appliance.admin());
    let _silent = send(port, 1, "iMac14,2", LIST);
    let client = timeline(&appliance, 1, 1);
    assert!(
        !client.events[0].answered && client.events[0].detail.contains("`without-deployment`"),
        "{client:?}"
    );
}

#[test]
fn people_and_programs_are_told_how_a_start_stands() {
    let folder = folder();
    let appliance = Appliance::start(&folder.path().join("data"));
    let port = dhcp_port(&appliance.admin());
    ask(port, 1, "iMac14,2", LIST);
    ask(port, 1, "iMac14,2", SELECT);
    let conclusion = timeline(&appliance, 1, 2).conclusion.unwrap();
    assert_eq!(conclusion.state, ClientState::Underway);
    let all: Vec<ClientSummary> = appliance.admin().get("/api/v1/clients").unwrap();
    assert_eq!(all[0].conclusion.as_ref(), Some(&conclusion));
    let rootstock = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        let done =
            command.arg("--socket").arg(appliance.data.join("rootstock.sock")).args(words).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let shown = rootstock(&["client", "show", "02:00:00:00:00:01"]);
    assert!(shown.contains("on its way: it was told its boot set"), "{shown}");
    let listed = rootstock(&["client", "list"]);
    assert!(listed.contains("STATE") && listed.contains("on its way"), "{listed}");
}
