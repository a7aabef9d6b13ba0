//! Packet filters that keep Macs out: nftables, iptables, and the programs that write their rules.
//!
//! What is read is the whole rule set as text; what follows is a hint, for rules can do more than is understood here. So this
//! warns and never fails.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::Ward;
use crate::cli::finding::Finding;

/// Longest rule set that is looked at.
const LONGEST: usize = 4 << 20;

/// What a rule set does with packets that come in.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Chains that drop what no rule accepts.
    drops: Vec<String>,
    /// Ports that some rule accepts, by transport; ranges are kept as such.
    accepts: Vec<(&'static str, u16, u16)>,
}

/// Looks at every packet filter of this machine.
pub fn check(ward: &Ward) -> Vec<Finding> {
    let mut wanted: BTreeSet<(&'static str, u16)> = BTreeSet::new();
    for (service, transport) in
        [("dhcp", "udp"), ("proxy-dhcp", "udp"), ("tftp", "udp"), ("http", "tcp"), ("https", "tcp")]
    {
        wanted.extend(ward.port(service).map(|port| (transport, port)));
    }
    let mut findings: Vec<Finding> = managed(&wanted).into_iter().collect();
    let nft = output("nft", &["list", "ruleset"]).map(|text| ("nftables", read_nft(&text)));
    // With nftables underneath, iptables-save shows the same rules in the older spelling, where they were written so.
    let iptables = output("iptables-save", &[]).map(|text| ("iptables", read_iptables(&text)));
    let seen: Vec<_> = [nft, iptables].into_iter().flatten().collect();
    let (count, names): (usize, Vec<&str>) = (seen.len(), seen.iter().map(|(name, _)| *name).collect());
    for (name, rules) in &seen {
        findings.extend(judge(name, rules, &wanted));
    }
    if findings.is_empty() {
        findings.push(match count {
            0 => Finding::ok(
                "firewall",
                "no packet filter can be seen (neither nft nor iptables-save runs here)",
            ),
            _ => Finding::ok("firewall", format!("{}: nothing in the way is seen", names.join(" and "))),
        });
    }
    findings
}

/// ufw and firewalld say themselves whether they are at work.
fn managed(wanted: &BTreeSet<(&'static str, u16)>) -> Option<Finding> {
    let open = |separator: &str, prefix: &str| {
        let ports = wanted.iter().map(|(transport, port)| format!("{prefix}{port}/{transport}"));
        ports.collect::<Vec<_>>().join(separator)
    };
    if output("ufw", &["status"]).is_some_and(|text| text.contains("Status: active")) {
        let remedy = format!("if Macs are not heard: ufw allow {}", open("; ufw allow ", ""));
        return Some(Finding::warning("firewall", "ufw is active", remedy));
    }
    if output("firewall-cmd", &["--state"]).is_some_and(|text| text.trim() == "running") {
        let remedy = format!(
            "if Macs are not heard: firewall-cmd --permanent {} && firewall-cmd --reload",
            open(" ", "--add-port=")
        );
        return Some(Finding::warning("firewall", "firewalld is active", remedy));
    }
    None
}

/// What a program prints; none when it is absent or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout[..done.stdout.len().min(LONGEST)]).into_owned();
    done.status.success().then_some(text)
}

fn judge(name: &str, rules: &Rules, wanted: &BTreeSet<(&'static str, u16)>) -> Option<Finding> {
    if rules.drops.is_empty() {
        return None;
    }
    let is_open = |(transport, port): &&(&str, u16)| {
        rules.accepts.iter().any(|(own, first, last)| own == transport && (*first..=*last).contains(port))
    };
    let closed: Vec<String> = wanted
        .iter()
        .filter(|one| !is_open(one))
        .map(|(transport, port)| format!("{} {port}", transport.to_uppercase()))
        .collect();
    (!closed.is_empty()).then(|| {
        Finding::warning(
            "firewall",
            format!(
                "{name}: {} drops what no rule accepts, and none that is understood here accepts {}",
                rules.drops.join(" and "),
                closed.join(", ")
            ),
            "accept these ports from the Macs' network",
        )
    })
}

/// Reads `nft list ruleset`.
fn read_nft(text: &str) -> Rules {
    let mut rules = Rules::default();
    let (mut table, mut chain, mut comes_in) = (String::new(), String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches('{').trim().to_owned();
        } else if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches('{').trim().to_owned();
            comes_in = false;
        } else if line.starts_with("type filter hook input") {
            comes_in = true;
            if line.contains("policy drop") {
                rules.drops.push(format!("{table} {chain}"));
            }
        } else if comes_in
            && (matches!(line, "drop" | "reject") || line.starts_with("reject with") || is_final(line))
        {
            rules.drops.push(format!("{table} {chain}"));
        } else if line.ends_with("accept") {
            rules.accepts.extend(nft_ports(line));
        }
    }
    rules.drops.dedup();
    rules
}

/// `counter packets 0 bytes 0 drop`: a last rule with a counter.
fn is_final(line: &str) -> bool {
    let verdict = line.rsplit(' ').next();
    line.starts_with("counter packets")
        && line.split(' ').count() == 6
        && matches!(verdict, Some("drop" | "reject"))
}

/// Ports of a rule with `udp dport 67 … accept`, `tcp dport { 80, 443 } accept`, `meta l4proto { tcp, udp } th dport 69`.
fn nft_ports(line: &str) -> Vec<(&'static str, u16, u16)> {
    let Some((before, after)) = line.split_once("dport ") else { return Vec::new() };
    let set = match after.strip_prefix('{') {
        Some(rest) => rest.split('}').next().unwrap_or_default(),
        None => after.split(' ').next().unwrap_or_default(),
    };
    let transports = ["udp", "tcp"].into_iter().filter(|name| before.contains(name));
    transports.flat_map(|transport| ranges(set, transport, '-')).collect()
}

/// Reads `iptables-save`.
fn read_iptables(text: &str) -> Rules {
    let mut rules = Rules::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with(":INPUT DROP")
            || matches!(line, "-A INPUT -j DROP")
            || line.starts_with("-A INPUT -j REJECT")
        {
            rules.drops.push("INPUT".to_owned());
        } else if line.ends_with("-j ACCEPT") {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let value = |name: &str| {
                let at = words.iter().position(|word| *word == name)?;
                words.get(at + 1).copied()
            };
            let transport = match value("-p") {
                Some("udp") => "udp",
                Some("tcp") => "tcp",
                _ => continue,
            };
            if let Some(ports) = value("--dport").or_else(|| value("--dports")) {
                rules.accepts.extend(ranges(ports, transport, ':'));
            }
        }
    }
    rules.drops.dedup();
    rules
}

/// `67,69`, `67-69`, `67:69`, and the names that nft prints for our ports unless it is told not to.
fn ranges(text: &str, transport: &'static str, dash: char) -> Vec<(&'static str, u16, u16)> {
    let number = |text: &str| match text.trim() {
        "bootps" => Some(67),
        "tftp" => Some(69),
        "http" => Some(80),
        "https" => Some(443),
        digits => digits.parse().ok(),
    };
    let one = |text: &str| match text.split_once(dash) {
        Some((first, last)) => Some((transport, number(first)?, number(last)?)),
        None => number(text).map(|port| (transport, port, port)),
    };
    text.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [(&str, u16); 5] = [("tcp", 80), ("tcp", 443), ("udp", 67), ("udp", 69), ("udp", 4011)];

    fn closed(rules: &Rules) -> Option<String> {
        judge("nftables", rules, &WANTED.into()).map(|finding| finding.text)
    }

    #[test]
    fn a_dropping_input_chain_of_nftables_is_named_with_the_ports_that_it_closes() {
        let text = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\
                    \t\tct state established,related accept\n\t\tudp dport { bootps, 69 } accept\n\t\ttcp dport 443 accept\n\t}\n\
                    \tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        let text = closed(&read_nft(text)).unwrap();
        assert!(text.contains("inet filter input") && text.contains("accepts TCP 80, UDP 4011"), "{text}");
    }

    #[test]
    fn ranges_and_both_transports_open_and_an_accepting_chain_closes_nothing() {
        let open = "table ip f {\nchain in {\ntype filter hook input priority 0; policy accept;\n\
                    meta l4proto { tcp, udp } th dport 60-500 accept\nudp dport 4011 counter packets 1 bytes 2 accept\n\
                    counter packets 3 bytes 180 drop\n}\n}";
        let rules = read_nft(open);
        assert_eq!((rules.drops.len(), closed(&rules)), (1, None));
        let harmless = "table ip f {\nchain in {\ntype filter hook input priority 0; policy accept;\nip saddr 10.9.9.9 drop\n}\n}";
        assert_eq!(read_nft(harmless), Rules::default());
        assert_eq!(read_nft(""), Rules::default());
    }

    #[test]
    fn iptables_policy_and_last_rules_are_understood() {
        let text = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n\
                    -A INPUT -p udp -m multiport --dports 67:69,4011 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
        let text = closed(&read_iptables(text)).unwrap();
        assert!(text.ends_with("accepts TCP 443"), "{text}");
        let rejecting = ":INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n";
        assert!(closed(&read_iptables(rejecting)).is_some());
        assert_eq!(closed(&read_iptables(":INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.9/32 -j DROP\n")), None);
    }
}
