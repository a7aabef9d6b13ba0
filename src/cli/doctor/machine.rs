//! The machine itself: interfaces and addresses, the clock, room on the disk.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;

use super::Ward;
use crate::cli::finding::{Finding, chain};
use crate::cli::interfaces::Interface;
use crate::host::Processes;
use crate::value::ByteSize;

/// Names of time services, as `/proc/PID/comm` cuts them.
const TIME_SERVICES: [&str; 6] = ["chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn", "ntp-daemon"];
/// 2026-01-01: an earlier clock is of a machine whose battery is empty.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);
/// Room that an import of one disk image takes.
const IMAGE: u64 = 20 << 30;
/// Less than this, and the database cannot be written safely.
const LEAST: u64 = 1 << 30;

/// Interfaces and their addresses; the address that Macs are told.
pub fn interfaces(ward: &Ward) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        ward.interfaces.iter().filter(|one| !one.is_loop).filter_map(interface).collect();
    if ward.addresses().next().is_none() {
        findings.push(Finding::fails(
            "address",
            "this machine has no IPv4 address: no Mac can be served",
            "give an interface in the Macs' network a fixed address",
        ));
    }
    let told = ward.status.as_ref().and_then(|status| status.address.as_deref()?.parse::<Ipv4Addr>().ok());
    if let Some(told) = told.filter(|told| !ward.addresses().any(|own| own == *told)) {
        findings.push(Finding::warning(
            "address",
            format!("Macs are told {told}, which is no address of this machine"),
            "right only behind NAT or in a container; else correct `address` in [network]",
        ));
    }
    findings
}

fn interface(one: &Interface) -> Option<Finding> {
    let list: Vec<String> = one.addresses.iter().map(Ipv4Addr::to_string).collect();
    let list = list.join(", ");
    Some(match (one.addresses.is_empty(), one.is_up, one.has_carrier) {
        (true, false, _) => return None,
        (true, true, _) => Finding::ok("interface", format!("{}: no IPv4 address, so not served", one.name)),
        (false, false, _) => Finding::warning(
            "interface",
            format!("{} has {list} but is switched off", one.name),
            format!("ip link set {} up", one.name),
        ),
        (false, true, false) => Finding::warning(
            "interface",
            format!("{} has {list} but no link", one.name),
            "plug in its cable, or check the switch",
        ),
        (false, true, true) => Finding::ok("interface", format!("{}: {list}", one.name)),
    })
}

/// The clock, and who keeps it.
pub fn clock(ward: &Ward, processes: &Processes) -> Vec<Finding> {
    let boot = fs::metadata(ward.data.join("boot/contents.json")).and_then(|file| file.modified()).ok();
    let made = boot.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let kept = fs::exists("/run/systemd/timesync/synchronized").unwrap_or(false)
        || TIME_SERVICES.iter().any(|service| processes.names.contains(*service));
    vec![judge_clock(ward.now, made, kept)]
}

fn judge_clock(now: Duration, made: Option<Duration>, kept: bool) -> Finding {
    const TOPIC: &str = "clock";
    let remedy = "set it and keep it: apt install chrony";
    if now < EARLIEST {
        return Finding::fails(TOPIC, "this machine's clock stands before 2026", remedy);
    }
    if made.is_some_and(|made| made > now + Duration::from_secs(3600)) {
        return Finding::fails(
            TOPIC,
            "this machine's clock stands before the time at which its boot files were made",
            remedy,
        );
    }
    match kept {
        true => Finding::ok(TOPIC, "a time service keeps it"),
        // A container's clock is its host's.
        false => Finding::warning(
            TOPIC,
            "no time service is seen to keep it (chrony, ntpd, systemd-timesyncd)",
            remedy,
        ),
    }
}

/// Room for images and the database.
pub fn disk(ward: &Ward) -> Vec<Finding> {
    let folder = ward.data.ancestors().find(|path| path.exists()).unwrap_or(&ward.data);
    vec![match statvfs(folder) {
        // Field types differ between C libraries.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        Ok(system) => {
            let block = u64::from(system.fragment_size());
            judge_disk(
                &folder.display().to_string(),
                u64::from(system.blocks_available()).saturating_mul(block),
                u64::from(system.files_available()),
                u64::from(system.files()),
            )
        }
        Err(error) => Finding::warning(
            "disk",
            format!("{} cannot be looked at: {}", folder.display(), chain(&error)),
            "",
        ),
    }]
}

fn judge_disk(folder: &str, free: u64, inodes_free: u64, inodes: u64) -> Finding {
    let remedy = "remove versions that nobody needs (rootstock image delete, rootstock image collect), or enlarge the disk";
    let text = format!("{} free at {folder}", ByteSize(free));
    if free < LEAST || (inodes > 0 && inodes_free < 1000) {
        return Finding::fails("disk", text, remedy);
    }
    match free < IMAGE {
        true => Finding::warning("disk", format!("{text}: less than one disk image takes"), remedy),
        false => Finding::ok("disk", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    #[test]
    fn a_clock_of_the_past_and_one_that_nobody_keeps_are_told() {
        let now = EARLIEST + Duration::from_secs(1_000_000);
        assert_eq!(judge_clock(now, Some(now), true).verdict, Verdict::Ok);
        assert_eq!(judge_clock(now, None, false).verdict, Verdict::Warning);
        assert_eq!(judge_clock(now, Some(now + Duration::from_secs(7200)), true).verdict, Verdict::Fails);
        assert_eq!(judge_clock(Duration::from_secs(1_000_000_000), None, true).verdict, Verdict::Fails);
    }

    #[test]
    fn a_disk_without_room_for_an_image_warns_and_a_full_one_fails() {
        for (free, verdict) in
            [(IMAGE, Verdict::Ok), (IMAGE - 1, Verdict::Warning), (LEAST - 1, Verdict::Fails)]
        {
            assert_eq!(judge_disk("/x", free, 1 << 20, 1 << 20).verdict, verdict);
        }
        assert_eq!(judge_disk("/x", IMAGE, 10, 1 << 20).verdict, Verdict::Fails, "no inodes");
        assert_eq!(judge_disk("/x", IMAGE, 0, 0).verdict, Verdict::Ok, "a file system without inodes");
    }

    #[test]
    fn an_interface_is_told_with_what_it_lacks() {
        let whole = Interface {
            name: "eth0".into(),
            mac: None,
            addresses: vec![Ipv4Addr::new(10, 0, 0, 1)],
            is_up: true,
            has_carrier: true,
            is_loop: false,
        };
        assert_eq!(interface(&whole).unwrap().verdict, Verdict::Ok);
        let unplugged = Interface { has_carrier: false, ..whole.clone() };
        assert!(interface(&unplugged).unwrap().text.contains("no link"));
        let off = Interface { is_up: false, ..whole.clone() };
        assert!(interface(&off).unwrap().remedy.contains("ip link set eth0 up"));
        assert_eq!(interface(&Interface { addresses: vec![], is_up: false, ..whole }), None);
    }
}
