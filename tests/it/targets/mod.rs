//! Devices, collections and deployments from outside (task-sequences section 6): the API, the command line, Macs that say hello.

mod collections;
mod deployments;
mod devices;
mod roster;

use assert_cmd::Command;
use rootstock::api::admin::{self, Device, DeviceSummary};
use rootstock::api::runner::{Hello, Offer, Purpose, Welcome};
use rootstock::client::Client;
use rootstock::value::MacAddr;
use uuid::Uuid;

use crate::api::appliance::{Appliance, Mac};

/// Sequences without an image: nothing has to be imported.
const PLAIN: &str = "steps:\n  - format_disk: {partitions: [{name: HD, format: hfs+, size: 100%}]}\n";

fn hello(serial: &str, uuid: u128, change: impl FnOnce(&mut Hello)) -> Hello {
    let mut hello = Mac::words(serial);
    hello.device.uuid = (uuid != 0).then(|| Uuid::from_u128(uuid));
    change(&mut hello);
    hello
}

fn greet(appliance: &Appliance, hello: &Hello) -> Welcome {
    appliance.network(None).post("/runner/v1/hello", hello).unwrap()
}

fn boot(appliance: &Appliance, serial: &str, uuid: u128) -> Welcome {
    greet(appliance, &hello(serial, uuid, |_| {}))
}

fn device(admin: &Client, id: i64) -> Device {
    admin.get(&format!("/api/v1/devices/{id}")).unwrap()
}

fn listed(admin: &Client, query: &str) -> Vec<i64> {
    let devices: Vec<DeviceSummary> = admin.get(&format!("/api/v1/devices?{query}")).unwrap();
    devices.into_iter().map(|device| device.id).collect()
}

fn offered(welcome: &Welcome) -> Vec<(String, Purpose)> {
    welcome.offers.iter().map(|Offer { sequence, purpose, .. }| (sequence.clone(), *purpose)).collect()
}

fn sequence(appliance: &Appliance, name: &str) {
    appliance.apply(&format!("name: {name}\n{PLAIN}"));
}

fn collection(admin: &Client, name: &str, rule: &str) -> admin::CollectionDetails {
    let body = admin::CreateCollection { name: name.into(), rule: rule.into(), ..Default::default() };
    admin.post("/api/v1/collections", &body).unwrap()
}

fn address(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

/// The command line against this appliance: exit code, standard output, standard error.
fn rootstock(appliance: &Appliance, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .args(["--socket", appliance.data.join("rootstock.sock").to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
