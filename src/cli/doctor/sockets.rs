//! Whether we have the ports that we need, and who else has them.

use super::Ward;
use crate::cli::finding::Finding;
use crate::host::{Holders, Processes, Transport};

/// The daemon's process name.
const DAEMON: &str = "rootstockd";

/// One finding for each port.
pub fn check(ward: &Ward, processes: &Processes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in ward.listeners() {
        let transport = match listener.service.as_str() {
            "dhcp" | "proxy-dhcp" | "tftp" => Transport::Udp,
            "http" | "https" => Transport::Tcp,
            _ => continue,
        };
        let Some(port) = ward.port(&listener.service) else { continue };
        let holders = processes.holders(transport, port);
        findings.push(judge(&listener.service, transport, port, &holders, ward.status.is_some()));
    }
    findings
}

fn judge(service: &str, transport: Transport, port: u16, holders: &Holders, runs: bool) -> Finding {
    let topic = format!("port {port}");
    let name = transport.name();
    let (ours, others): (Vec<_>, Vec<_>) = holders.known.iter().cloned().partition(|one| one.name == DAEMON);
    let ours = ours.first();
    let others = Holders { known: others, hidden: holders.hidden };
    let who = others.to_string();
    let remedy = format!("stop the other program, or give {service} another port in [ports]");
    match (ours, others.is_empty(), runs) {
        (Some(ours), true, _) => Finding::ok(&topic, format!("{name}, {service}: {ours}")),
        (Some(_), false, _) => Finding::warning(
            &topic,
            format!(
                "{name}, {service}: {who} listens beside rootstockd; what is sent to this machine alone reaches only one of them"
            ),
            remedy,
        ),
        (None, true, true) => Finding::fails(
            &topic,
            format!("{name}, {service}: nobody listens"),
            "restart rootstockd and read its log",
        ),
        (None, true, false) => Finding::ok(&topic, format!("{name}, {service}: free")),
        (None, false, _) => Finding::fails(&topic, format!("{name}, {service}: {who} has it"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;
    use crate::host::Holder;

    #[test]
    fn a_port_is_judged_by_who_has_it() {
        let holder = |name: &str| Holder { name: name.to_owned(), pid: 7 };
        let (ours, theirs) = (holder(DAEMON), holder("dnsmasq"));
        for (known, hidden, runs, verdict, words) in [
            (vec![&ours], 0, true, Verdict::Ok, "rootstockd (process 7)"),
            (vec![], 0, false, Verdict::Ok, "free"),
            (vec![], 0, true, Verdict::Fails, "nobody listens"),
            (vec![&theirs], 0, false, Verdict::Fails, "dnsmasq (process 7) has it"),
            (vec![&theirs, &ours], 0, true, Verdict::Warning, "dnsmasq (process 7) listens beside"),
            (vec![], 1, true, Verdict::Fails, "only root can see"),
        ] {
            let holders = Holders { known: known.into_iter().cloned().collect(), hidden };
            let found = judge("dhcp", Transport::Udp, 67, &holders, runs);
            assert!(found.verdict == verdict && found.text.contains(words), "{found:?}");
            assert_eq!(found.remedy.is_empty(), verdict == Verdict::Ok);
        }
    }
}
