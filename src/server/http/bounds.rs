//! What the types of the runner protocol do not bound: lengths and counts of what a runner says. `hello` needs no sign-in,
//! so anybody on the network can send it.

use axum::http::StatusCode;

use super::error::Refusal;
use crate::api::runner::{
    DestinationDisk, DestinationPartition, DeviceFacts, DiskFacts, Hello, Inventory, MemoryModule, NicFacts,
    PROTOCOL, Progress, Report, ReportEvent,
};
use crate::server::receipt;

/// Longest `hello`: it is kept for every device.
pub const LONGEST_HELLO: usize = 128 << 10;
/// Longest text that hardware says of itself, in bytes. SMBIOS and disks say far less than that.
const LONGEST_TEXT: usize = 256;
/// Longest line about a partition: a GPT name and a volume label with it.
const LONGEST_LINE: usize = 1024;
/// Most addresses, disks, partitions of a disk.
const MOST: (usize, usize, usize) = (64, 256, 256);
/// Most memory modules, interfaces, addresses of an interface.
const MOST_PARTS: usize = 64;
/// Most reasons why a disk is not well.
const MOST_REASONS: usize = 16;
/// Longest line of a script's output.
const LONGEST_LOG_LINE: usize = 256 << 10;

/// Looks at a greeting before anything is kept of it.
pub fn check_hello(hello: &Hello) -> Result<(), Refusal> {
    if hello.protocol != PROTOCOL {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            format!(
                "this runner (version {}) speaks protocol {}, the appliance speaks {PROTOCOL}",
                short(&hello.version),
                hello.protocol
            ),
            "build the boot files anew with this appliance's version: rootstock media boot",
        ));
    }
    if !receipt::is_key(&hello.receipt_key) {
        return Err(Refusal::unreadable("`receipt_key` is no Ed25519 public key in hexadecimal"));
    }
    let DeviceFacts { macs, disks, manufacturer, cpu, firmware, .. } = &hello.device;
    let (most_macs, most_disks, most_parts) = MOST;
    most("device.macs", macs.len(), most_macs)?;
    most("device.disks", disks.len(), most_disks)?;
    longest("version", &hello.version, LONGEST_TEXT)?;
    longest("boot_id", &hello.boot_id, LONGEST_TEXT)?;
    for (name, text) in [("manufacturer", manufacturer), ("cpu", cpu), ("firmware", firmware)] {
        longest(name, text.as_deref().unwrap_or_default(), LONGEST_TEXT)?;
    }
    check_inventory(&hello.device.inventory)?;
    for DiskFacts { node, model, serial, contents, health, .. } in disks {
        for (name, text) in [("node", node), ("model", model), ("serial", serial)] {
            longest(name, text, LONGEST_TEXT)?;
        }
        most("contents", contents.len(), most_parts)?;
        contents.iter().try_for_each(|line| longest("contents", line, LONGEST_LINE))?;
        let why = health.as_ref().map_or(&[][..], |health| health.why.as_slice());
        most("health.why", why.len(), MOST_REASONS)?;
        why.iter().try_for_each(|line| longest("health.why", line, LONGEST_TEXT))?;
    }
    Ok(())
}

fn check_inventory(inventory: &Inventory) -> Result<(), Refusal> {
    let Inventory { board, firmware_date, memory_modules, nics, battery, .. } = inventory;
    most("memory_modules", memory_modules.len(), MOST_PARTS)?;
    most("nics", nics.len(), MOST_PARTS)?;
    for (name, text) in [("board", board), ("firmware_date", firmware_date)] {
        longest(name, text.as_deref().unwrap_or_default(), LONGEST_TEXT)?;
    }
    for MemoryModule { slot, kind, part, .. } in memory_modules {
        [slot, kind, part].into_iter().try_for_each(|text| longest("memory_modules", text, LONGEST_TEXT))?;
    }
    for NicFacts { name, driver, bus, addresses, .. } in nics {
        most("nics.addresses", addresses.len(), MOST_PARTS)?;
        let texts = [Some(name), driver.as_ref(), bus.as_ref()].into_iter().flatten();
        texts.into_iter().try_for_each(|text| longest("nics", text, LONGEST_TEXT))?;
    }
    let texts = battery.iter().flat_map(|battery| [&battery.state, &battery.model]).flatten();
    texts.into_iter().try_for_each(|text| longest("battery", text, LONGEST_TEXT))
}

/// Looks at what a Mac says of its disks before it is kept.
pub fn check_disks(disks: &[DestinationDisk]) -> Result<(), Refusal> {
    let (_, most_disks, most_parts) = MOST;
    most("disks", disks.len(), most_disks)?;
    for DestinationDisk { node, model, serial, why_not, partitions, .. } in disks {
        for (name, text) in [("node", node), ("model", model), ("serial", serial), ("why_not", why_not)] {
            longest(name, text, LONGEST_TEXT)?;
        }
        most("partitions", partitions.len(), most_parts)?;
        for DestinationPartition { contents, why_not, .. } in partitions {
            longest("contents", contents, LONGEST_LINE)?;
            longest("why_not", why_not, LONGEST_TEXT)?;
        }
    }
    Ok(())
}

/// Looks at a report before it is taken in.
pub fn check_report(report: &Report) -> Result<(), Refusal> {
    match &report.event {
        ReportEvent::Log { lines, .. } => {
            most("lines", lines.len(), 2000)?;
            lines.iter().try_for_each(|line| longest("lines", line, LONGEST_LOG_LINE))
        }
        ReportEvent::Done(done) => {
            most("nodes", done.nodes.len(), 128)?;
            done.nodes.iter().try_for_each(|node| longest("nodes", node, LONGEST_TEXT))?;
            let Some(receipt) = &done.receipt else { return Ok(()) };
            longest("receipt", &receipt.receipt, 16 << 10)?;
            longest("signature", &receipt.signature, LONGEST_TEXT)
        }
        ReportEvent::Failed(failure) => {
            let texts = [
                ("cause", &failure.cause),
                ("evidence", &failure.evidence),
                ("next_step", &failure.next_step),
            ];
            texts.into_iter().try_for_each(|(name, text)| longest(name, text, 64 << 10))
        }
        ReportEvent::Variables { values } => {
            most("values", values.len(), 256)?;
            values.iter().try_for_each(|(name, value)| {
                longest("values", name, LONGEST_TEXT)?;
                longest("values", value, 64 << 10)
            })
        }
        ReportEvent::Progress(Progress { phase, delta, limit, .. }) => {
            longest("phase", phase, LONGEST_TEXT)?;
            longest("limit", limit.as_deref().unwrap_or_default(), LONGEST_TEXT)?;
            let decision = delta.as_ref().map_or("", |delta| &delta.decision);
            longest("decision", decision, LONGEST_TEXT)
        }
        ReportEvent::Unknown => Ok(()),
    }
}

/// A text as it may stand in one line of the log.
pub fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn most(name: &str, count: usize, most: usize) -> Result<(), Refusal> {
    match count > most {
        true => {
            Err(Refusal::unreadable(format!("`{name}` has {count} entries; at most {most} are taken in")))
        }
        false => Ok(()),
    }
}

/// Refuses a text that is longer than anybody needs.
pub fn longest(name: &str, text: &str, most: usize) -> Result<(), Refusal> {
    match text.len() > most {
        true => Err(Refusal::unreadable(format!(
            "`{name}` is {} bytes long; at most {most} are taken in",
            text.len()
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runner::{BatteryFacts, BootMethod, DiskHealth};
    use crate::value::MacAddr;

    fn hello() -> Hello {
        let disk = DiskFacts {
            number: Some(0),
            node: "/dev/sda".into(),
            model: String::new(),
            serial: String::new(),
            size: 1,
            block_size: 512,
            external: false,
            contents: vec!["1 EFI System".into()],
            health: None,
        };
        Hello {
            protocol: PROTOCOL,
            version: "1".into(),
            boot: BootMethod::Netboot,
            device: DeviceFacts { disks: vec![disk], ..DeviceFacts::default() },
            receipt_key: "00".repeat(32),
            boot_id: String::new(),
        }
    }

    #[test]
    fn every_list_and_every_text_of_a_hello_is_bounded_and_the_refusal_names_it() {
        assert!(check_hello(&hello()).is_ok());
        let long = || "x".repeat(LONGEST_LINE + 1);
        type Change = fn(&mut Hello, String);
        let changes: [(&str, Change); 17] = [
            ("`version`", |hello, text| hello.version = text),
            ("`manufacturer`", |hello, text| hello.device.manufacturer = Some(text)),
            ("`cpu`", |hello, text| hello.device.cpu = Some(text)),
            ("`firmware`", |hello, text| hello.device.firmware = Some(text)),
            ("`node`", |hello, text| hello.device.disks[0].node = text),
            ("`model`", |hello, text| hello.device.disks[0].model = text),
            ("`serial`", |hello, text| hello.device.disks[0].serial = text),
            ("`contents` is", |hello, text| hello.device.disks[0].contents[0] = text),
            ("`contents` has", |hello, _| hello.device.disks[0].contents = vec![String::new(); 257]),
            ("`health.why` is", |hello, text| {
                hello.device.disks[0].health = Some(DiskHealth { why: vec![text], ..Default::default() });
            }),
            ("`health.why` has", |hello, _| {
                let why = vec![String::new(); 17];
                hello.device.disks[0].health = Some(DiskHealth { why, ..Default::default() });
            }),
            ("`board`", |hello, text| hello.device.inventory.board = Some(text)),
            ("`memory_modules` has", |hello, _| {
                hello.device.inventory.memory_modules = vec![MemoryModule::default(); 65];
            }),
            ("`memory_modules` is", |hello, text| {
                hello.device.inventory.memory_modules =
                    vec![MemoryModule { part: text, ..Default::default() }];
            }),
            ("`battery`", |hello, text| {
                hello.device.inventory.battery =
                    Some(BatteryFacts { model: Some(text), ..Default::default() });
            }),
            ("`device.macs`", |hello, _| hello.device.macs = vec![MacAddr::new([2; 6]); 65]),
            ("`device.disks`", |hello, _| hello.device.disks = vec![hello.device.disks[0].clone(); 257]),
        ];
        for (name, change) in changes {
            let mut hello = hello();
            change(&mut hello, long());
            let refusal = check_hello(&hello).unwrap_err();
            assert!(refusal.problem().error.contains(name), "{name}: {:?}", refusal.problem());
        }
    }

    #[test]
    fn what_is_kept_of_a_report_is_bounded() {
        let refused = |event| check_report(&Report { number: 1, event }).is_err();
        assert!(refused(ReportEvent::Log { first: None, lines: vec![String::new(); 2001] }));
        assert!(refused(ReportEvent::Log { first: None, lines: vec!["x".repeat(LONGEST_LOG_LINE + 1)] }));
        assert!(refused(ReportEvent::Progress(Progress { phase: "x".repeat(300), ..Progress::default() })));
        assert!(!refused(ReportEvent::Log { first: None, lines: vec!["x".repeat(LONGEST_LOG_LINE)] }));
    }
}
