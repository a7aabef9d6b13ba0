//! The daemon as Macs meet it: files by TFTP and HTTP, HTTPS with the appliance's own authority, days of its certificates.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Ward;
use super::files::{self, Booter};
use crate::api::admin::Status;
use crate::cli::connection::Appliance;
use crate::cli::finding::{Finding, chain};
use crate::client::certificate::{Validity, of_server, validity_in_pem};
use crate::client::tftp::{self, Wish};
use crate::client::{Client, ClientError, Patience, plain};
use crate::value::ByteSize;

/// Days before the end of a certificate at which somebody should know.
const SOON: i64 = 30;
/// Larger than any booter.
const LARGEST: usize = 64 << 20;
/// Patience for a connection to ourselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the daemon runs, and what it says about itself.
pub fn daemon(appliance: &Appliance) -> (Finding, Option<Status>) {
    let asked: Result<Status, ClientError> =
        appliance.client.with_patience(Patience::NONE).get("/api/v1/status");
    match asked {
        Ok(status) => (
            Finding::ok("rootstockd", format!("version {}, {}", status.version, status.appliance)),
            Some(status),
        ),
        Err(error) => {
            let remedy = "systemctl start rootstockd, and journalctl -u rootstockd if it does not stay; what can be seen without it \
                          is checked below";
            (Finding::fails("rootstockd", chain(&error), remedy), None)
        }
    }
}

/// Fetches as a Mac does. Without the daemon there is nothing to fetch.
pub fn check(ward: &Ward, booter: Option<&Booter>) -> Vec<Finding> {
    let Some(address) = ward.address().filter(|_| ward.status.is_some()) else { return Vec::new() };
    let mut findings = Vec::new();
    if let (Some(port), Some(booter)) = (ward.port("tftp"), booter) {
        findings.push(by_tftp(SocketAddrV4::new(address, port), booter));
    }
    findings.extend(ward.port("http").map(|port| by_http(address, port)));
    findings.extend(ward.port("https").map(|port| by_https(ward, address, port)));
    findings
}

fn by_tftp(server: SocketAddrV4, booter: &Booter) -> Finding {
    const TOPIC: &str = "TFTP";
    let wish = Wish { file: &booter.path, block_size: 1428, window: 8, most: LARGEST };
    let got = match tftp::fetch(server, wish) {
        Ok(got) => got,
        Err(error) => {
            return Finding::fails(
                TOPIC,
                chain(&error),
                "restart rootstockd and read its log; ports and firewall are told above",
            );
        }
    };
    let (here, there) = (files::sha256(&booter.file), files::hex(&Sha256::digest(&got.bytes)));
    match here {
        Ok(here) if here == there => {
            let size = ByteSize(got.bytes.len() as u64);
            Finding::ok(TOPIC, format!("{} through {server}: {size}, the same bytes", booter.path))
        }
        Ok(_) => Finding::fails(
            TOPIC,
            format!("{} comes through {server} with other bytes than it has on disk", booter.path),
            "another TFTP server may answer there",
        ),
        Err(error) => Finding::warning(
            TOPIC,
            format!("{} came through {server}, but cannot be compared: {error}", booter.path),
            "run it as root",
        ),
    }
}

fn by_http(address: Ipv4Addr, port: u16) -> Finding {
    const TOPIC: &str = "HTTP";
    let base = format!("http://{address}:{port}");
    let ask = |path: &str| plain::head(&format!("{base}/boot/{path}"), 64 << 10, PATIENCE);
    let script = match ask("ipxe") {
        Ok(got) => got,
        Err(error) => return Finding::fails(TOPIC, chain(&error), "ports and firewall are told above"),
    };
    if !script.bytes.starts_with(b"#!ipxe") {
        return Finding::fails(
            TOPIC,
            format!("{base} is not this appliance: it gives no iPXE script"),
            "another program has the port",
        );
    }
    match ask("vmlinuz") {
        Ok(got) if got.ranges => Finding::ok(TOPIC, format!("script and kernel through {base}")),
        Ok(got) => Finding::fails(
            TOPIC,
            format!("{base}/boot/vmlinuz gives status {}", got.status),
            "make the boot files: rootstock media boot",
        ),
        Err(error) => Finding::fails(TOPIC, chain(&error), "restart rootstockd and read its log"),
    }
}

fn by_https(ward: &Ward, address: Ipv4Addr, port: u16) -> Finding {
    const TOPIC: &str = "HTTPS";
    let path = ward.data.join("keys/ca.pem");
    let Ok(ca) = std::fs::read(&path) else {
        return Finding::warning(
            TOPIC,
            format!("{} cannot be read", path.display()),
            "run it as root, or name the folder with --data",
        );
    };
    let base = format!("https://{address}:{port}");
    let asked = Client::https(&base, &ca, None)
        .and_then(|client| client.with_patience(Patience::NONE).get::<serde_json::Value>("/api/v1/status"));
    match asked {
        // Without a token it must refuse; that it could say so is what is looked for.
        Ok(_) | Err(ClientError::Refused { .. }) => {
            Finding::ok(TOPIC, format!("{base} answers with a certificate of this appliance's authority"))
        }
        Err(error) => Finding::fails(
            TOPIC,
            chain(&error),
            "Macs that are booted could not report; restart rootstockd, or check who has the port",
        ),
    }
}

/// Days of the authority and of the certificate in use.
pub fn certificates(ward: &Ward) -> Vec<Finding> {
    let Ok(ca) = std::fs::read(ward.data.join("keys/ca.pem")) else { return Vec::new() };
    let mut findings = vec![match validity_in_pem(&ca) {
        Ok(validity) => judge(
            "authority",
            validity,
            ward.now,
            "a new authority needs new boot files on every Mac's way: rootstock media boot",
        ),
        Err(error) => {
            Finding::fails("authority", format!("keys/ca.pem: {error}"), "restore keys/ from a backup")
        }
    }];
    if let (Some(address), Some(port), true) = (ward.address(), ward.port("https"), ward.status.is_some())
        && let Ok(validity) = of_server(&format!("{address}:{port}"), &ca, PATIENCE)
    {
        findings.push(judge(
            "certificate",
            validity,
            ward.now,
            "it is made anew at each start: restart rootstockd",
        ));
    }
    findings
}

fn judge(topic: &str, validity: Validity, now: Duration, remedy: &str) -> Finding {
    match validity.days_left(now) {
        left if left < 0 => Finding::fails(topic, format!("ran out {} days ago", -left), remedy),
        left if left < SOON => Finding::warning(topic, format!("runs out in {left} days"), remedy),
        left => Finding::ok(topic, format!("valid for {left} more days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    #[test]
    fn a_certificate_that_runs_out_is_told_in_time() {
        const DAY: i64 = 86_400;
        let now = Duration::from_secs(1_800_000_000);
        for (days, verdict) in [
            (400, Verdict::Ok),
            (30, Verdict::Ok),
            (29, Verdict::Warning),
            (0, Verdict::Warning),
            (-1, Verdict::Fails),
        ] {
            let validity = Validity { from: 0, until: 1_800_000_000 + days * DAY };
            assert_eq!(judge("authority", validity, now, "x").verdict, verdict, "{days}");
        }
    }
}
