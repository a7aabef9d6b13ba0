//! Who has a port: `/proc/net` for the sockets, `/proc/PID/fd` for their owners (proc(5)).
//!
//! An account sees the open files of its own programs; root sees those of all. What is not seen is told as that.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;

/// TCP_LISTEN in `/proc/net/tcp` (include/net/tcp_states.h).
const LISTENING: &str = "0A";

/// UDP or TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    /// As people write it.
    pub fn name(self) -> &'static str {
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

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Its name, without what a terminal would act on.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Who has a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Those that this account may see, each once, in order.
    pub known: Vec<Holder>,
    /// Sockets whose owners it may not see.
    pub hidden: usize,
}

impl Holders {
    /// Those of a port, now.
    pub fn of(transport: Transport, port: u16) -> Holders {
        Processes::running().holders(transport, port)
    }

    /// Nobody has it.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.hidden == 0
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("another program (`ss -lunpt`, as root, names it)");
        }
        let hidden = (self.hidden > 0).then(|| "a program that only root can see (`ss -lunpt`)".to_owned());
        let all: Vec<String> = self.known.iter().map(Holder::to_string).chain(hidden).collect();
        f.write_str(&all.join(" and "))
    }
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
            // A program chooses its name, any bytes but 0.
            let Ok(name) = fs::read(entry.path().join("comm")) else { continue };
            let name = String::from_utf8_lossy(&name).trim().replace(char::is_control, "?");
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

    /// Who has this port now, at any address of this machine.
    pub fn holders(&self, transport: Transport, port: u16) -> Holders {
        let tables = transport.tables();
        self.owners(tables.iter().flat_map(|table| sockets_at(table, transport, port)))
    }

    fn owners(&self, sockets: impl Iterator<Item = u64>) -> Holders {
        let mut holders = Holders::default();
        for socket in sockets {
            match self.by_socket.get(&socket) {
                Some(known) => holders.known.extend_from_slice(known),
                None => holders.hidden += 1,
            }
        }
        holders.known.sort();
        holders.known.dedup();
        holders
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn holders_are_told_each_once_and_those_that_cannot_be_seen_too() {
        let dnsmasq = Holder { name: "dnsmasq".to_owned(), pid: 123 };
        let processes = Processes {
            by_socket: HashMap::from([(1, vec![dnsmasq.clone()]), (2, vec![dnsmasq])]),
            ..Processes::default()
        };
        let told = |sockets: &[u64]| processes.owners(sockets.iter().copied()).to_string();
        assert_eq!(told(&[1, 2]), "dnsmasq (process 123)");
        assert_eq!(told(&[1, 9]), "dnsmasq (process 123) and a program that only root can see (`ss -lunpt`)");
        assert_eq!(told(&[]), "another program (`ss -lunpt`, as root, names it)");
    }

    #[test]
    fn this_process_is_seen_with_its_sockets() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("[::1]:0").unwrap();
        for (transport, port) in [
            (Transport::Udp, udp.local_addr().unwrap().port()),
            (Transport::Tcp, tcp.local_addr().unwrap().port()),
        ] {
            let holders = Holders::of(transport, port);
            assert!(holders.known.iter().any(|holder| holder.pid == std::process::id()), "{holders:?}");
        }
    }
}
