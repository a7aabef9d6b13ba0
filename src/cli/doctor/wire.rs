//! Other servers on the network: asked for as a client asks, named by their address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Ward;
use crate::cli::finding::{Finding, chain};
use crate::cli::interfaces::Interface;
use crate::client::dhcp::{AskError, Heard, Ports, ask};
use crate::netboot::bsdp::told::{Told, ask_list};
use crate::netboot::dhcp::{MessageType, Request};

/// What was heard on one interface.
#[derive(Debug, Default, PartialEq, Eq)]
struct Neighbours {
    /// DHCP servers that would lease an address, and which.
    leasing: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// BSDP servers and their images.
    booting: BTreeMap<Ipv4Addr, Vec<String>>,
}

/// Asks on every interface that has a link and an address, all at once.
pub fn check(ward: &Ward) -> Vec<Finding> {
    let asked: Vec<&Interface> = ward
        .interfaces
        .iter()
        .filter(|one| {
            !one.is_loop && one.is_up && one.has_carrier && one.mac.is_some() && !one.addresses.is_empty()
        })
        .filter(|one| ward.only.as_ref().is_none_or(|only| *only == one.name))
        .collect();
    if asked.is_empty() {
        return vec![Finding::warning(
            "network",
            "other servers were not looked for: no Ethernet interface has link and address",
            "",
        )];
    }
    let heard: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = asked.iter().map(|one| scope.spawn(|| listen(one, ward))).collect();
        asking
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let own: Vec<Ipv4Addr> = ward.addresses().chain(ward.address()).collect();
    let mut findings = Vec::new();
    for (one, heard) in asked.iter().zip(heard) {
        match heard {
            Ok(neighbours) => findings.extend(judge(&one.name, &neighbours, &own)),
            Err(error) => findings.push(Finding::warning(
                "network",
                format!("other servers on {} were not looked for: {}", one.name, chain(&error)),
                "run it as root",
            )),
        }
    }
    findings
}

fn listen(one: &Interface, ward: &Ward) -> Result<Neighbours, AskError> {
    let (Some(mac), Some(address)) = (one.mac, one.addresses.first()) else {
        return Ok(Neighbours::default());
    };
    let xid = u32::from_be_bytes([0x52, mac.as_bytes()[4], mac.as_bytes()[5], 0])
        ^ std::process::id().rotate_left(8);
    let discover = Request::new(MessageType::Discover, mac, xid).broadcast().wants(&[1, 3, 6, 15, 51, 54]);
    let list = Request::new(MessageType::Inform, mac, xid + 1)
        .ciaddr(*address)
        .wants(&[60, 43])
        .class("AAPLBSDPC/i386/Macmini7,1")
        .vendor(&ask_list(None));
    let offers = ask(&one.name, &discover, Ports::BROADCAST, ward.wait)?;
    let lists = ask(&one.name, &list, Ports::BROADCAST, ward.wait)?;
    Ok(read(&offers, &lists))
}

fn read(offers: &[Heard], lists: &[Heard]) -> Neighbours {
    let mut found = Neighbours::default();
    for heard in offers {
        if let Ok(packet) = heard.packet()
            && packet.message_type() == Some(MessageType::Offer)
            && !packet.yiaddr.is_unspecified()
        {
            found.leasing.insert(heard.server(), packet.yiaddr);
        }
    }
    for heard in lists {
        if let Some(told) = heard.packet().ok().and_then(|packet| Told::read(&packet)) {
            let names = told.images.into_iter().map(|(_, name)| name).take(5).collect();
            found.booting.insert(heard.server(), names);
        }
    }
    found
}

fn judge(interface: &str, found: &Neighbours, own: &[Ipv4Addr]) -> Vec<Finding> {
    let facts: Vec<String> =
        found.leasing.iter().map(|(server, address)| format!("{server} offers {address}")).collect();
    let servers: Vec<String> = found.leasing.keys().map(Ipv4Addr::to_string).collect();
    let dhcp = match servers.as_slice() {
        [] => Finding::warning(
            "DHCP",
            format!("nobody leases addresses on {interface}: Macs there do not get as far as this appliance"),
            "switch on the site's DHCP server, or Rootstock's own ([dhcp] in the settings). A server may know this machine's \
             hardware address and be silent only to it",
        ),
        [one] if found.leasing.keys().all(|server| own.contains(server)) => {
            Finding::ok("DHCP", format!("this appliance ({one}) leases addresses on {interface}"))
        }
        [one] => Finding::ok("DHCP", format!("{one} leases addresses on {interface}")),
        several => Finding::warning(
            "DHCP",
            format!("several DHCP servers lease addresses on {interface}: {}", several.join(", ")),
            "right only if they are set up together; else switch off all but one",
        )
        .with(facts),
    };
    let mut findings = vec![dhcp];
    let others: Vec<_> = found.booting.iter().filter(|(server, _)| !own.contains(server)).collect();
    for (server, names) in &others {
        findings.push(Finding::warning(
            "BSDP",
            format!("{server} is another NetBoot server on {interface}: it offers {}", names.join(", ")),
            "with N held a Mac takes the server with the highest priority; switch off the other one's default image, or choose with \
             the Option key",
        ));
    }
    if others.is_empty() {
        findings.push(Finding::ok("BSDP", format!("no other NetBoot server on {interface}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const THIRD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn told(leasing: &[Ipv4Addr], booting: &[Ipv4Addr]) -> Vec<(Verdict, String)> {
        let found = Neighbours {
            leasing: leasing.iter().map(|server| (*server, Ipv4Addr::new(10, 0, 0, 99))).collect(),
            booting: booting.iter().map(|server| (*server, vec!["NetInstall".to_owned()])).collect(),
        };
        judge("eth0", &found, &[OWN]).into_iter().map(|one| (one.verdict, one.text)).collect()
    }

    #[test]
    fn one_dhcp_server_is_right_none_and_several_are_not() {
        assert_eq!(told(&[], &[])[0].0, Verdict::Warning);
        assert_eq!(told(&[OTHER], &[])[0], (Verdict::Ok, "10.0.0.2 leases addresses on eth0".to_owned()));
        assert!(told(&[OWN], &[])[0].1.starts_with("this appliance"));
        let (verdict, text) = &told(&[OTHER, THIRD], &[])[0];
        assert!(*verdict == Verdict::Warning && text.contains("10.0.0.2, 10.0.0.3"), "{text}");
    }

    #[test]
    fn another_netboot_server_is_named_with_what_it_offers_and_our_own_is_none() {
        assert_eq!(told(&[OTHER], &[OWN])[1].0, Verdict::Ok);
        let (verdict, text) = &told(&[OTHER], &[OWN, THIRD])[1];
        assert!(
            *verdict == Verdict::Warning && text.contains("10.0.0.3") && text.contains("NetInstall"),
            "{text}"
        );
    }
}
