//! TFTP by other projects' clients over a bad wire, at block numbers above 65535, and with 256 clients at once.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rootstock::api::admin::Transfer;
use rootstock::api::timeline::Stage;
use rootstock::client::{Client, Patience};

use crate::lab::{Lab, Running};
use crate::relay::{Relay, Wire};
use crate::served::{Served, booter, serve};

const BOOTER: &str = "rootstock.nbi/i386/booter";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 7);
const BAD: Wire = Wire { lost: 5, doubled: 3, late: 3 };

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The server, a Mac, and between them a machine that relays badly.
fn bad_wire(seed: u64) -> (Lab, Served, Relay) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("relay", "eth0", "lan", &["10.77.0.7/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |settings| settings.tftp.least = Duration::from_millis(20));
    let relay = Relay::start(&lab, "relay", RELAY, SERVER, BAD, seed);
    (lab, served, relay)
}

/// Fetches the booter (3 MB) through the bad wire.
fn survives(seed: u64, program: &str, arguments: impl Fn(&str) -> Vec<String>) {
    let (lab, served, relay) = bad_wire(seed);
    let out = served.output("out");
    let arguments = [vec!["120".to_owned(), program.to_owned()], arguments(out.to_str().unwrap())].concat();
    lab.must("mac", "timeout", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fs::read(&out).unwrap() == booter(), "{program} wrote something else");
    let counts = &relay.counts;
    let [lost, doubled, late] =
        [&counts.lost, &counts.doubled, &counts.late].map(|count| count.load(Ordering::Relaxed));
    assert!(
        lost > 20 && doubled > 5 && late > 5,
        "the wire was good: {lost} lost, {doubled} doubled, {late} late"
    );
}

#[test]
fn tftp_hpa_survives_a_bad_wire() {
    survives(1, "tftp", |out| words(&format!("-m binary 10.77.0.7 -c get {BOOTER} {out}")));
}

#[test]
fn curl_survives_a_bad_wire() {
    // With options it asks for a timeout of six seconds (RFC 2349), which is kept to: minutes at this loss.
    survives(2, "curl", |out| words(&format!("-sS --tftp-no-options -o {out} tftp://10.77.0.7/{BOOTER}")));
}

#[test]
fn busybox_survives_a_bad_wire() {
    survives(3, "busybox", |out| words(&format!("tftp -g -b 1428 -r {BOOTER} -l {out} 10.77.0.7")));
}

#[test]
fn atftp_survives_a_bad_wire() {
    survives(4, "atftp", |out| {
        let mut arguments = vec!["--option".to_owned(), "blksize 1428".to_owned()];
        arguments.extend(words(&format!("--get --remote-file {BOOTER} --local-file {out} 10.77.0.7")));
        arguments
    });
}

#[test]
fn atftp_survives_a_bad_wire_in_windows() {
    survives(5, "atftp", |out| {
        let mut arguments = vec!["--option".to_owned(), "windowsize 8".to_owned()];
        arguments.extend(["--option".to_owned(), "blksize 1428".to_owned()]);
        arguments.extend(words(&format!("--get --remote-file {BOOTER} --local-file {out} 10.77.0.7")));
        arguments
    });
}

/// 65535 is followed by 0: a file of more than 65535 blocks of 512 bytes.
fn wraps(program: &str, arguments: impl Fn(&str) -> Vec<String>) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |_| {});
    let big: Vec<u8> = (0..512 * 65_800 + 77usize).map(|at| (at / 512 * 31 + at) as u8).collect();
    fs::write(served.output("boot/big"), &big).unwrap();
    let out = served.output("out");
    let arguments = [vec!["120".to_owned(), program.to_owned()], arguments(out.to_str().unwrap())].concat();
    lab.must("mac", "timeout", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fs::read(&out).unwrap() == big, "{program} wrote something else");
}

#[test]
fn tftp_hpa_reads_beyond_block_65535() {
    wraps("tftp", |out| words(&format!("-m binary 10.77.0.1 -c get big {out}")));
}

#[test]
fn curl_reads_beyond_block_65535() {
    wraps("curl", |out| words(&format!("-sS --tftp-no-options -o {out} tftp://10.77.0.1/big")));
}

#[test]
fn a_doubled_acknowledgement_is_not_answered_by_a_second_copy() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    // Nothing is sent again by the clock within this test.
    let _served = serve(&lab, "server", |settings| {
        settings.tftp.retry = Duration::from_secs(20);
        settings.tftp.least = Duration::from_secs(20);
    });
    let packets = lab.inside("mac", || {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(format!("\0\u{1}{BOOTER}\0octet\0").as_bytes(), (SERVER, 69)).unwrap();
        let (mut buffer, mut packets) = ([0; 600], 0);
        loop {
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            packets += 1;
            let block = [buffer[2], buffer[3]];
            // Every ACK goes out three times.
            for _ in 0..3 {
                client.send_to(&[0, 4, block[0], block[1]], from).unwrap();
            }
            if length < 516 {
                return packets;
            }
        }
    });
    assert_eq!(packets, 3_000_000 / 512 + 1, "the Sorcerer's Apprentice is at work");
}

#[test]
fn a_request_to_everybody_is_ignored() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let _served = serve(&lab, "server", |_| {});
    lab.inside("mac", || {
        let client = UdpSocket::bind("10.77.0.50:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ask = |file: &str, to: Ipv4Addr| {
            client.send_to(format!("\0\u{1}{file}\0octet\0").as_bytes(), (to, 69)).unwrap();
        };
        ask("ipxe/snponly.efi", Ipv4Addr::BROADCAST);
        ask("ipxe/snponly.efi", Ipv4Addr::new(10, 77, 0, 255));
        // Both would be refused in these words, were they answered in turn.
        ask("nothing", SERVER);
        let mut buffer = [0; 600];
        let (length, _) = client.recv_from(&mut buffer).unwrap();
        let told = String::from_utf8_lossy(&buffer[4..length]);
        assert!(buffer[1] == 5 && told.contains("nothing is not in the boot folder"), "{told}");
    });
}

#[test]
fn a_script_that_ipxe_looks_for_and_does_not_find_is_no_fault() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let mut served = serve(&lab, "server", |_| {});
    lab.run("mac", "curl", &["-sS", "tftp://10.77.0.1/ipxe/autoexec.ipxe"]);
    let event = served.event();
    assert!(event.answered && event.stage == Stage::Tftp && event.detail.contains("is normal"), "{event:?}");
}

#[test]
fn a_transfer_that_is_stopped_ends_for_its_client_and_in_its_timeline() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let mut served = serve(&lab, "server", |settings| settings.tftp.retry = Duration::from_secs(20));
    let transfers = served.transfers.clone();
    lab.inside("mac", || {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(format!("\0\u{1}{BOOTER}\0octet\0").as_bytes(), (SERVER, 69)).unwrap();
        let mut buffer = [0; 600];
        let (_, transfer) = client.recv_from(&mut buffer).unwrap();
        client.send_to(&[0, 4, 0, 1], transfer).unwrap();
        client.recv_from(&mut buffer).unwrap();
        let listed = transfers.list();
        let [running] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((running.file.as_str(), running.block_size, running.window), (BOOTER, 512, 1));
        assert_eq!((running.acknowledged, running.size), (512, Some(3_000_000)));
        assert!(running.mac.is_some() && running.client.starts_with("10.77.0.50:"), "{running:?}");
        assert!(transfers.stop(running.id).is_some());
        let (length, _) = client.recv_from(&mut buffer).unwrap();
        let told = String::from_utf8_lossy(&buffer[4..length]);
        assert!(buffer[1] == 5 && told.contains("an administrator stopped it"), "{told}");
    });
    let event = served.event();
    assert!(!event.answered && event.detail.contains("an administrator stopped it"), "{event:?}");
    assert!(transfers.list().is_empty());
}

#[test]
fn a_mac_with_a_cap_gets_blocks_of_its_size_and_others_what_they_ask_for() {
    use rootstock::netboot::tftp::Cap;
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    lab.plug("other", "eth0", "lan", &["10.77.0.51/24"]);
    lab.must("mac", "ip", &["link", "set", "eth0", "address", "02:00:00:00:00:50"]);
    let mut served = serve(&lab, "server", |settings| {
        let macs = vec!["02:00:00:00:00:50".parse().unwrap()];
        settings.tftp_caps = vec![Cap { models: vec![], macs, max_block_size: 1024 }];
    });
    for (machine, want) in [("mac", "in blocks of 1024,"), ("other", "in blocks of 1400,")] {
        let out = served.output(machine);
        let url = format!("tftp://10.77.0.1/{BOOTER}");
        lab.must(machine, "curl", &["-sS", "--tftp-blksize", "1400", "-o", out.to_str().unwrap(), &url]);
        assert!(fs::read(&out).unwrap() == booter());
        let event = served.event();
        assert!(event.detail.contains(want), "{event:?}");
    }
}

/// rootstockd itself in a machine of the lab, so that its memory can be looked at.
struct Daemon {
    program: Running,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Of its `file`.
    const SIZE: usize = 200_000;

    fn start(lab: &Lab, machine: &str) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("data"), folder.path().join("rootstockd.toml"));
        fs::create_dir_all(data.join("boot")).unwrap();
        fs::write(data.join("boot/file"), &booter()[..Self::SIZE]).unwrap();
        fs::write(&config, "[library]\nkeep-free = '0'\n").unwrap();
        let program = lab.start(
            machine,
            env!("CARGO_BIN_EXE_rootstockd"),
            &["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()],
        );
        Daemon { program, folder }
    }

    fn admin(&self) -> Client {
        Client::unix(self.folder.path().join("data/rootstock.sock")).with_patience(Patience::NONE)
    }

    /// The command line, beside the daemon.
    fn cli(&self, lab: &Lab, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("data/rootstock.sock");
        let arguments = [&["--socket", socket.to_str().unwrap()], arguments].concat();
        lab.must("server", env!("CARGO_BIN_EXE_rootstock"), &arguments)
    }

    /// Asks until the daemon is there.
    fn wait(&self, lab: &Lab) {
        let script = "for i in $(seq 300); do curl -sf --max-time 2 -o /dev/null tftp://10.77.0.1/file && exit 0; sleep 0.1; done; exit 1";
        lab.must("mac", "sh", &["-c", script]);
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A client that has its first block, and then waits. It asks for a timeout (RFC 2349) that outlasts the others' beginning.
struct Waiting {
    socket: UdpSocket,
    transfer: SocketAddr,
    received: Vec<u8>,
}

impl Waiting {
    const BLOCK: usize = 1428;

    fn open(host: u8) -> Waiting {
        let socket = UdpSocket::bind((Ipv4Addr::new(10, 77, 1, host), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut buffer = [0; 2000];
        // As firmware does: asks again when no answer comes.
        for _ in 0..100 {
            socket.send_to(b"\0\x01file\0octet\0blksize\x001428\0timeout\x0020\0", (SERVER, 69)).unwrap();
            match socket.recv_from(&mut buffer) {
                Ok((length, transfer)) => {
                    assert_eq!(buffer[1], 6, "{}", String::from_utf8_lossy(&buffer[..length]));
                    let mut client = Waiting { socket, transfer, received: Vec::new() };
                    assert!(client.step());
                    return client;
                }
                Err(_) => continue,
            }
        }
        panic!("no transfer for 10.77.1.{host}");
    }

    /// Says what it has, and takes the next block. False when that was the last.
    fn step(&mut self) -> bool {
        let mut buffer = [0; 2000];
        let got = (self.received.len() / Self::BLOCK) as u16;
        for _ in 0..100 {
            let [high, low] = got.to_be_bytes();
            self.socket.send_to(&[0, 4, high, low], self.transfer).unwrap();
            let Ok(mut length) = self.socket.recv(&mut buffer) else { continue };
            // Copies of the block before, sent while this machine was busy.
            while buffer[1] != 3 || buffer[2..4] != (got + 1).to_be_bytes() {
                match self.socket.recv(&mut buffer) {
                    Ok(next) => length = next,
                    Err(_) => break,
                }
            }
            if buffer[1] == 3 && buffer[2..4] == (got + 1).to_be_bytes() {
                self.received.extend_from_slice(&buffer[4..length]);
                return length == Self::BLOCK + 4;
            }
        }
        panic!("silence after {got} blocks");
    }

    fn finish(mut self) -> Vec<u8> {
        while self.step() {}
        let [high, low] = ((self.received.len() / Self::BLOCK + 1) as u16).to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], self.transfer).unwrap();
        self.received
    }
}

#[test]
fn two_hundred_and_fifty_six_clients_are_served_whole_in_bounded_memory_beside_a_rude_one() {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/16"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/16"]);
    lab.plug("rude", "eth0", "lan", &["10.77.0.66/16"]);
    // The 256 are addresses of one machine.
    lab.must("mac", "sh", &["-c", "for i in $(seq 0 255); do ip addr add 10.77.1.$i/16 dev eth0; done"]);
    let daemon = Daemon::start(&lab, "server");
    daemon.wait(&lab);
    let before = daemon.memory();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (lab, daemon, stop) = (&lab, &daemon, &stop);
        let _ends = Ends(stop);
        // Floods requests from a port of their own each, and never acknowledges anything.
        let rude = scope.spawn(move || {
            lab.inside("rude", || {
                let mut sent = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    let sockets: Vec<_> = (0..50).map(|_| UdpSocket::bind("10.77.0.66:0").unwrap()).collect();
                    for socket in &sockets {
                        sent += u32::from(socket.send_to(b"\0\x01file\0octet\0", (SERVER, 69)).is_ok());
                    }
                    // Some thousand a second; more would be a measure of this machine's kernel.
                    sockets[0].set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                    let _ = sockets[0].recv(&mut [0; 600]);
                }
                sent
            })
        });
        let mut clients = lab.inside("mac", || (0..=255).map(Waiting::open).collect::<Vec<_>>());
        let listed: Vec<Transfer> = daemon.admin().get("/api/v1/transfers").unwrap();
        let ours = listed.iter().filter(|transfer| transfer.client.starts_with("10.77.1.")).count();
        assert_eq!(ours, 256, "{} in all", listed.len());
        assert!(listed.len() <= 384, "{}", listed.len());
        let each = daemon.memory().saturating_sub(before) / listed.len() as u64;
        println!("{} transfers: {each} KiB each above {before} KiB", listed.len());
        assert!(each <= 64, "{each} KiB a transfer");
        // One is stopped by the administrator, the others are read to their end.
        let first = listed.iter().find(|transfer| transfer.client.starts_with("10.77.1.0:")).unwrap();
        let table = daemon.cli(lab, &["transfer", "list"]);
        assert!(
            table.lines().next().unwrap().contains("SENT AGAIN") && table.contains(&first.client),
            "{table}"
        );
        let stopped = daemon.cli(lab, &["transfer", "stop", &first.id.to_string(), "--json"]);
        let stopped: Transfer = serde_json::from_str(&stopped).unwrap();
        assert_eq!((stopped.acknowledged, stopped.size), (0, Some(Daemon::SIZE as u64)));
        let audit = daemon.cli(lab, &["audit", "list", "--action", "transfer.stop", "--json"]);
        assert!(audit.contains(&format!("transfer {}", first.id)), "{audit}");
        let told = refused(&clients.remove(0));
        assert!(told.contains("an administrator stopped it"), "{told}");
        let gone = daemon.admin().remove::<Transfer>("/api/v1/transfers/1").unwrap_err().to_string();
        assert!(gone.contains("no transfer 1 runs"), "{gone}");
        let want = &booter()[..Daemon::SIZE];
        let readers: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || client.finish())).collect();
        for reader in readers {
            assert!(reader.join().unwrap() == *want, "a client has something else");
        }
        stop.store(true, Ordering::Relaxed);
        let sent = rude.join().unwrap();
        assert!(sent > 1000, "the rude one only sent {sent} requests");
    });
    let after = daemon.memory();
    assert!(after < before + 32 * 1024, "{before} KiB became {after} KiB");
}

/// Ends the rude client also where an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The ERROR that ends a transfer, in words.
fn refused(client: &Waiting) -> String {
    let mut buffer = [0; 2000];
    loop {
        let length = client.socket.recv(&mut buffer).expect("no ERROR came");
        if buffer[1] == 5 {
            return String::from_utf8_lossy(&buffer[4..length]).into_owned();
        }
    }
}
