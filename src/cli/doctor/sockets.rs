//! Who has the ports that we need: `/proc/net` for the sockets, `/proc/PID/fd` for their owners.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use super::Ward;
use crate::cli::finding::Finding;

/// The daemon's process name.
const DAEMON: &str = "rootstockd";
/// TCP_LISTEN in `/proc/net/tcp` (include/net/tcp_states.h).
const LISTENING: &str = "0A";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    name: String,
    pid: u32,
}

/// The processes that this account may see.
#[derive(Debug, Default)]
pub struct Processes {
    /// Names of all processes.
    pub names: BTreeSet<String>,
    by_socket: HashMap<u64, Vec<Holder>>,
}

impl Processes {
    /// Those that run now.
    pub fn running() -> Processes {
        let mut found = Processes::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
            let name = name.trim().to_owned();
            for file in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                let link = fs::read_link(file.path()).unwrap_or_default();
                let socket = link
                    .to_str()
                    .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
                if let Some(socket) = socket {
                    let holders: &mut Vec<Holder> = found.by_socket.entry(socket).or_default();
                    holders.push(Holder { name: name.clone(), pid });
                }
            }
            found.names.insert(name);
        }
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    fn tables(self) -> [String; 2] {
        match self {
            Transport::Udp => ["udp", "udp6"],
            Transport::Tcp => ["tcp", "tcp6"],
        }
        .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default())
    }
}

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
        let sockets = transport
            .tables()
            .iter()
            .flat_map(|table| sockets_at(table, transport, port))
            .collect::<Vec<_>>();
        let mut holders: Vec<Option<&Holder>> = Vec::new();
        for socket in &sockets {
            match processes.by_socket.get(socket) {
                Some(known) => holders.extend(known.iter().map(Some)),
                None => holders.push(None),
            }
        }
        findings.push(judge(&listener.service, transport, port, &holders, ward.status.is_some()));
    }
    findings
}

/// Inodes of the sockets at a port, from a table of `/proc/net`.
fn sockets_at(table: &str, transport: Transport, port: u16) -> Vec<u64> {
    let read = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let (local, _, state) = (columns.nth(1)?, columns.next()?, columns.next()?);
        let own = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let inode = columns.nth(5)?.parse().ok()?;
        (own == port && (transport == Transport::Udp || state == LISTENING)).then_some(inode)
    };
    table.lines().filter_map(read).collect()
}

fn judge(service: &str, transport: Transport, port: u16, holders: &[Option<&Holder>], runs: bool) -> Finding {
    let topic = format!("port {port}");
    let name = transport.name();
    let mut others: Vec<String> = Vec::new();
    let mut ours = None;
    for holder in holders {
        match holder {
            Some(holder) if holder.name == DAEMON => ours = Some(holder.pid),
            Some(holder) => others.push(format!("{} (process {})", holder.name, holder.pid)),
            None => others.push("a program that only root can see".to_owned()),
        }
    }
    others.sort();
    others.dedup();
    let who = others.join(" and ");
    let remedy = format!("stop the other program, or give {service} another port in [ports]");
    match (ours, others.is_empty(), runs) {
        (Some(pid), true, _) => Finding::ok(&topic, format!("{name}, {service}: rootstockd (process {pid})")),
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

    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  127: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22001 2 0 0
  129: 0100007F:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22002 2 0 0
";
    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33001 1 0 100 0 0 10 0
   1: 0100007F:0050 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 33002 1 0 20 4 30 10 -1
";

    #[test]
    fn sockets_are_found_by_port_and_only_listening_ones_of_tcp() {
        assert_eq!(sockets_at(UDP, Transport::Udp, 67), [22001]);
        assert_eq!(sockets_at(UDP, Transport::Udp, 4011), [0; 0]);
        assert_eq!(sockets_at(TCP, Transport::Tcp, 80), [33001]);
        assert_eq!(sockets_at("garbage\n1: x:y\n", Transport::Udp, 67), [0; 0]);
    }

    #[test]
    fn a_port_is_judged_by_who_has_it() {
        let holder = |name: &str| Holder { name: name.to_owned(), pid: 7 };
        let (ours, theirs) = (holder(DAEMON), holder("dnsmasq"));
        for (holders, runs, verdict, words) in [
            (vec![Some(&ours)], true, Verdict::Ok, "rootstockd (process 7)"),
            (vec![], false, Verdict::Ok, "free"),
            (vec![], true, Verdict::Fails, "nobody listens"),
            (vec![Some(&theirs)], false, Verdict::Fails, "dnsmasq (process 7) has it"),
            (vec![Some(&theirs), Some(&ours)], true, Verdict::Warning, "dnsmasq (process 7) listens beside"),
            (vec![None], true, Verdict::Fails, "only root can see"),
        ] {
            let found = judge("dhcp", Transport::Udp, 67, &holders, runs);
            assert!(found.verdict == verdict && found.text.contains(words), "{found:?}");
            assert_eq!(found.remedy.is_empty(), verdict == Verdict::Ok);
        }
    }

    #[test]
    fn this_process_is_seen_with_its_socket() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = Transport::Udp
            .tables()
            .iter()
            .flat_map(|t| sockets_at(t, Transport::Udp, port))
            .collect::<Vec<_>>();
        let holders = &Processes::running().by_socket[&found[0]];
        assert!(holders.iter().any(|holder| holder.pid == std::process::id()));
    }
}
