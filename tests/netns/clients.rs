//! File transfers by the clients that people have.

use std::fs;

use rootstock::api::timeline::Stage;

use crate::lab::Lab;
use crate::served::{Served, booter, serve};

const BOOTER: &str = "rootstock.nbi/i386/booter";

fn lab() -> (Lab, Served) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24", "10.77.0.9/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |_| {});
    (lab, served)
}

/// Runs a client that writes `out`, and compares what it wrote with the booter.
fn fetches(program: &str, arguments: impl Fn(&str) -> Vec<String>) -> (Lab, Served) {
    let (lab, mut served) = lab();
    let out = served.output("out");
    let arguments = arguments(out.to_str().unwrap());
    lab.must("mac", program, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fs::read(&out).unwrap() == booter(), "{program} wrote something else");
    // Nothing was learnt from DHCP here: the MAC is the neighbour table's.
    let event = served.event();
    assert!(event.answered && event.stage == Stage::Tftp, "{event:?}");
    (lab, served)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn curl_fetches_the_booter_by_tftp() {
    fetches("curl", |out| words(&format!("-sS --tftp-blksize 1468 -o {out} tftp://10.77.0.1/{BOOTER}")));
}

#[test]
fn curl_without_options_fetches_the_booter_by_tftp() {
    fetches("curl", |out| words(&format!("-sS --tftp-no-options -o {out} tftp://10.77.0.1/{BOOTER}")));
}

#[test]
fn tftp_hpa_fetches_the_booter() {
    fetches("tftp", |out| words(&format!("-m binary 10.77.0.1 -c get /private/tftpboot/{BOOTER} {out}")));
}

#[test]
fn atftp_fetches_the_booter() {
    fetches("atftp", |out| words(&format!("--get --remote-file {BOOTER} --local-file {out} 10.77.0.1")));
}

#[test]
fn atftp_fetches_the_booter_in_windows() {
    let (_lab, _served) = fetches("atftp", |out| {
        let mut arguments = vec!["--option".to_owned(), "windowsize 16".to_owned()];
        arguments.extend(["--option".to_owned(), "blksize 1428".to_owned()]);
        arguments.extend(words(&format!("--get --remote-file {BOOTER} --local-file {out} 10.77.0.1")));
        arguments
    });
}

#[test]
fn busybox_fetches_the_booter() {
    fetches("busybox", |out| words(&format!("tftp -g -b 1428 -r {BOOTER} -l {out} 10.77.0.1")));
}

#[test]
fn the_second_address_of_an_interface_answers_as_itself() {
    // curl and tftp-hpa drop blocks that come from another address than the one that they asked.
    fetches("tftp", |out| words(&format!("-m binary 10.77.0.9 -c get {BOOTER} {out}")));
}

#[test]
fn a_refusal_reaches_the_person_in_front_of_the_client() {
    let (lab, served) = lab();
    let out = served.output("out");
    let arguments = words(&format!("-m binary 10.77.0.1 -c get nothing.nbi/booter {}", out.display()));
    let done = lab.run("mac", "tftp", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.contains("nothing.nbi/booter is not in the boot folder"), "{said}");
}

#[test]
fn curl_fetches_ranges_and_resumes_over_http() {
    let (lab, mut served) = lab();
    let out = served.output("out");
    let path = out.to_str().unwrap();
    let url = format!("http://10.77.0.1/boot/{BOOTER}");
    lab.must("mac", "curl", &["-sSf", "-r", "0-999999", "-o", path, &url]);
    assert!(fs::read(&out).unwrap() == booter()[..1_000_000]);
    lab.must("mac", "curl", &["-sSf", "-C", "-", "-o", path, &url]);
    assert!(fs::read(&out).unwrap() == booter());
    let head = lab.must("mac", "curl", &["-sSfI", &url]).to_lowercase();
    assert!(head.contains("content-length: 3000000") && head.contains("accept-ranges: bytes"), "{head}");
    let event = served.event();
    assert!(event.stage == Stage::Http && event.detail.contains("booter"), "{event:?}");
}

#[test]
fn eight_clients_at_once_are_served_whole() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    for mac in 0..8 {
        lab.plug(&format!("mac{mac}"), "eth0", "lan", &[&format!("10.77.0.{}/24", 50 + mac)]);
    }
    let served = serve(&lab, "server", |_| {});
    std::thread::scope(|scope| {
        for mac in 0..8 {
            let (lab, served) = (&lab, &served);
            scope.spawn(move || {
                let out = served.output(&format!("out{mac}"));
                let url = format!("tftp://10.77.0.1/{BOOTER}");
                lab.must(&format!("mac{mac}"), "curl", &["-sS", "-o", out.to_str().unwrap(), &url]);
                assert!(fs::read(&out).unwrap() == booter());
            });
        }
    });
}
