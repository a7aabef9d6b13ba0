//! The DHCP server of an isolated lab: the real daemon in a namespace, asked by busybox, by two hundred scripted clients,
//! beside dnsmasq, and after kill -9.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rootstock::netboot::dhcp::{MessageType, Packet, Request, code};
use rootstock::value::MacAddr;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Lab;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SUBNET: &str = "[[dhcp.subnet]]\ninterface = 'eth0'\nnetwork = '10.77.0.0/24'\n\
    pools = ['10.77.0.20-10.77.0.249']\nrouters = ['10.77.0.1']\ndns = ['10.77.0.1']\ndomain = 'lab.test'\n";

/// Folder, settings and log of a daemon; it can be started again.
struct Site {
    space: String,
    folder: tempfile::TempDir,
}

/// A running daemon; ended when dropped.
struct Daemon {
    child: Child,
    /// Its log, line by line, until it ends.
    log: Receiver<String>,
}

fn site(lab: &Lab, machine: &str, dhcp: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let site = Site { space: lab.space(machine), folder };
    site.write(dhcp);
    let boot = site.folder.path().join("data/boot");
    fs::create_dir_all(boot.join("rootstock.nbi/i386")).unwrap();
    fs::create_dir_all(boot.join("ipxe")).unwrap();
    let nbi = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key><integer>1</integer><key>Kind</key><integer>1</integer>\
        <key>IsInstall</key><true/><key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>\
        <key>Architectures</key><array><string>i386</string></array></dict></plist>";
    fs::write(boot.join("rootstock.nbi/NBImageInfo.plist"), nbi).unwrap();
    fs::write(boot.join("rootstock.nbi/i386/booter"), b"booter").unwrap();
    fs::write(boot.join("ipxe/snponly.efi"), b"loader").unwrap();
    site
}

impl Site {
    fn write(&self, dhcp: &str) {
        fs::write(self.folder.path().join("rootstock.toml"), format!("name = 'Lab'\n{dhcp}")).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space, env!("CARGO_BIN_EXE_rootstockd")]);
        command.args([
            "--config",
            &path("rootstock.toml"),
            "--data",
            &path("data"),
            "--socket",
            &path("socket"),
        ]);
        command.args(more).stdin(Stdio::null());
        command
    }

    /// Starts the daemon, and waits until it serves.
    fn start(&self) -> Daemon {
        let mut child = self
            .command(&[])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`ip` and rootstockd");
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let daemon = Daemon { child, log };
        daemon.says("is ready");
        daemon
    }

    /// Runs the daemon where it must refuse; what it says.
    fn refusal(&self, more: &[&str]) -> String {
        let mut child = self
            .command(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`ip` and rootstockd");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success(), "it started: {said}");
        said
    }

    /// The admin's command line, as JSON.
    fn rootstock(&self, arguments: &[&str]) -> Value {
        let socket = self.folder.path().join("socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        let done = command.arg("--socket").arg(socket).args(arguments).arg("--json").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Address → MAC of what is leased now.
    fn leased(&self) -> BTreeMap<String, String> {
        let list = self.rootstock(&["lease", "list"]);
        let text = |lease: &Value, key: &str| lease[key].as_str().unwrap().to_owned();
        let bound = list.as_array().unwrap().iter().filter(|lease| lease["state"] == "bound");
        bound.map(|lease| (text(lease, "address"), text(lease, "mac"))).collect()
    }
}

impl Daemon {
    /// Waits for a line of the log.
    fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("never said `{text}`:\n{}", before.join("\n")),
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    lab
}

fn settings(more: &str) -> String {
    format!("[nbi]\nsettle = 0\n[dhcp]\nenabled = true\nforce = true\nprobe-ms = 200\n{more}{SUBNET}")
}

/// Asks for an address with busybox's client: address, server, lease, router, domain.
fn udhcpc(lab: &Lab, machine: &str, site: &Site, more: &[&str]) -> Option<Vec<String>> {
    let (script, out) =
        (site.folder.path().join("bound.sh"), site.folder.path().join(format!("{machine}.lease")));
    let echo = "echo $ip $serverid $lease $router $domain";
    fs::write(&script, format!("#!/bin/sh\n[ \"$1\" = bound ] && {echo} > {}\nexit 0\n", out.display()))
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let arguments =
        ["udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "6", "-T", "2", "-s", script.to_str().unwrap()];
    let done = lab.run(machine, "busybox", &[&arguments[..], more].concat());
    let text = fs::read_to_string(out).ok().filter(|_| done.status.success())?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// A socket of scripted clients on port 68 of eth0.
fn wire() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind_device(Some(b"eth0")).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_recv_buffer_size(4 << 20).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.into()
}

fn mac(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 0x77, 0, 0, high, low])
}

fn client(kind: MessageType, number: u16) -> Request {
    Request::new(kind, mac(number), 0x7700_0000 | u32::from(number)).broadcast()
}

/// An answer as far as clients look at it.
#[derive(Clone, Debug)]
struct Reply {
    kind: MessageType,
    yiaddr: Ipv4Addr,
    server: Option<Ipv4Addr>,
    bytes: Vec<u8>,
}

/// Every client sends its request and repeats it, as clients do, until it got an answer that `wanted` takes.
fn exchange(
    socket: &UdpSocket,
    requests: &BTreeMap<u16, Request>,
    wanted: impl Fn(&Packet<'_>) -> bool,
) -> BTreeMap<u16, Reply> {
    let mut replies = BTreeMap::new();
    let mut buffer = vec![0; 4096];
    for _ in 0..12 {
        let waiting: Vec<_> = requests.iter().filter(|(number, _)| !replies.contains_key(*number)).collect();
        if waiting.is_empty() {
            return replies;
        }
        for (_, request) in waiting {
            socket.send_to(&request.encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
        }
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let packet = Packet::parse(&buffer[..length]).unwrap();
            let number = (packet.xid & 0xffff) as u16;
            if packet.is_request || !requests.contains_key(&number) || !wanted(&packet) {
                continue;
            }
            replies.entry(number).or_insert_with(|| Reply {
                kind: packet.message_type().unwrap(),
                yiaddr: packet.yiaddr,
                server: packet.address(code::SERVER_ID),
                bytes: buffer[..length].to_vec(),
            });
            if replies.len() == requests.len() {
                return replies;
            }
        }
    }
    panic!("{} of {} clients were never answered", requests.len() - replies.len(), requests.len());
}

fn has_address(packet: &Packet<'_>) -> bool {
    !packet.yiaddr.is_unspecified() || packet.message_type() == Some(MessageType::Nak)
}

#[test]
fn busybox_gets_an_address_and_keeps_it_through_kill_9() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let daemon = site.start();
    let first = udhcpc(&lab, "mac", &site, &["-x", "hostname:imac-1"]).expect("no address");
    assert_eq!(first[1..], ["10.77.0.1", "3600", "10.77.0.1", "lab.test"]);
    daemon.kill();
    let _daemon = site.start();
    let leased = site.leased();
    assert_eq!(leased.keys().collect::<Vec<_>>(), [&first[0]]);
    assert_eq!(site.rootstock(&["lease", "list"])[0]["host_name"], "imac-1");
    assert_eq!(udhcpc(&lab, "mac", &site, &[]).unwrap()[0], first[0]);
    // Another one is never given the same.
    lab.inside("mac", || {
        let wish: Ipv4Addr = first[0].parse().unwrap();
        let ask = client(MessageType::Discover, 1).option(code::REQUESTED_ADDRESS, wish.octets());
        let offers = exchange(&wire(), &BTreeMap::from([(1, ask)]), has_address);
        assert_ne!(offers[&1].yiaddr, wish);
    });
    let freed = site.rootstock(&["lease", "release", &first[0]]);
    assert_eq!((&freed["state"], site.leased().len()), (&"free".into(), 0));
}

#[test]
fn two_hundred_clients_at_once_go_through_all_states_and_never_share_an_address() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let daemon = site.start();
    let all = |make: &dyn Fn(u16) -> Request| (0..200).map(|n| (n, make(n))).collect::<BTreeMap<u16, _>>();
    let addresses: BTreeMap<u16, Ipv4Addr> = lab.inside("mac", || {
        let socket = wire();
        let offers = exchange(&socket, &all(&|n| client(MessageType::Discover, n)), has_address);
        let select = |n: u16| {
            client(MessageType::Request, n)
                .option(code::SERVER_ID, SERVER.octets())
                .option(code::REQUESTED_ADDRESS, offers[&n].yiaddr.octets())
        };
        let acks = exchange(&socket, &all(&select), |packet| packet.message_type() == Some(MessageType::Ack));
        acks.iter().map(|(n, ack)| (*n, ack.yiaddr)).collect()
    });
    assert_eq!(addresses.values().collect::<BTreeSet<_>>().len(), 200, "each has its own");
    assert_eq!(site.leased().len(), 200);
    daemon.kill();
    let _daemon = site.start();
    assert_eq!(site.leased().len(), 200, "every ACK was on the disk");
    lab.inside("mac", || {
        let socket = wire();
        // INIT-REBOOT: each asks for its neighbour's address first, and is refused.
        let wrong = |n: u16| {
            let neighbours = addresses[&((n + 1) % 200)];
            client(MessageType::Request, n).option(code::REQUESTED_ADDRESS, neighbours.octets())
        };
        let naks = exchange(&socket, &all(&wrong), has_address);
        assert!(naks.values().all(|reply| reply.kind == MessageType::Nak));
        let right =
            |n: u16| client(MessageType::Request, n).option(code::REQUESTED_ADDRESS, addresses[&n].octets());
        let acks = exchange(&socket, &all(&right), |packet| packet.message_type() == Some(MessageType::Ack));
        assert!(acks.iter().all(|(n, ack)| ack.yiaddr == addresses[n]));
        // Half give theirs back, the others' are not touched.
        for n in 0..100 {
            let release = client(MessageType::Release, n).ciaddr(addresses[&n]);
            socket.send_to(&release.encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
        }
        // Decided in order: who is answered now was decided after all releases.
        let last = BTreeMap::from([(150, right(150))]);
        exchange(&socket, &last, |packet| packet.message_type() == Some(MessageType::Ack));
    });
    assert_eq!(site.leased().len(), 100);
}

#[test]
fn an_address_that_someone_uses_without_a_lease_is_found_and_set_aside() {
    let mut lab = lab();
    lab.plug("squatter", "eth0", "lan", &["10.77.0.20/24"]);
    let site = site(&lab, "server", &settings("").replace("10.77.0.20-10.77.0.249", "10.77.0.20-10.77.0.21"));
    let daemon = site.start();
    let addresses: BTreeSet<_> = lab.inside("mac", || {
        let socket = wire();
        (0..6u16)
            .map(|n| {
                let offers =
                    exchange(&socket, &BTreeMap::from([(n, client(MessageType::Discover, n))]), has_address);
                let other = Ipv4Addr::new(10, 77, 0, 9);
                let gone = client(MessageType::Request, n).option(code::SERVER_ID, other.octets());
                socket.send_to(&gone.encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
                offers[&n].yiaddr.to_string()
            })
            .collect()
    });
    assert_eq!(addresses, BTreeSet::from(["10.77.0.21".to_owned()]));
    assert!(daemon.says("10.77.0.20 is used by").contains("set aside"));
    let list = site.rootstock(&["lease", "list"]);
    let aside = list.as_array().unwrap().iter().find(|lease| lease["address"] == "10.77.0.20").unwrap();
    assert_eq!(aside["state"], "set-aside");
    daemon.says("another DHCP server, 10.77.0.9");
}

#[test]
fn beside_another_dhcp_server_it_refuses_to_start_and_names_it_unless_forced() {
    let mut lab = lab();
    lab.plug("other", "eth0", "lan", &["10.77.0.2/24"]);
    let _dnsmasq = lab.start(
        "other",
        "dnsmasq",
        &[
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--leasefile-ro",
            "--pid-file=",
            "--log-facility=/dev/null",
            "--dhcp-authoritative",
            "--no-ping",
            "--dhcp-range=10.77.0.100,10.77.0.150,1h",
        ],
    );
    let site = site(&lab, "server", &settings("").replace("force = true\n", ""));
    // dnsmasq is there once it answers.
    udhcpc(&lab, "mac", &site, &[]).expect("dnsmasq gave no address");
    let said = site.refusal(&[]);
    assert!(said.contains("another DHCP server answers on `eth0`: 10.77.0.2"), "{said}");
    assert!(said.contains("dhcp.force = true"), "{said}");
    site.write(&settings(""));
    drop(site.start());
    site.write("");
    let daemon = site.start();
    assert_eq!(udhcpc(&lab, "mac", &site, &[]).unwrap()[1], "10.77.0.2", "off: the site's server leases");
    drop(daemon);
}

#[test]
fn on_a_wire_of_its_own_it_starts_after_asking_and_a_full_pool_is_named() {
    let lab = lab();
    let site = site(
        &lab,
        "server",
        &settings("").replace("force = true\n", "").replace("10.77.0.20-10.77.0.249", "10.77.0.20"),
    );
    let daemon = site.start();
    let first = udhcpc(&lab, "mac", &site, &[]).expect("no address");
    assert_eq!(first[0], "10.77.0.20");
    lab.inside("mac", || {
        let socket = wire();
        socket.send_to(&client(MessageType::Discover, 1).encode(), (Ipv4Addr::BROADCAST, 67)).unwrap();
    });
    let said = daemon.says("no address of 10.77.0.0/24 is free");
    assert!(said.contains("enlarge `pools`"), "{said}");
}

#[test]
fn wrong_settings_are_refused_by_name_before_anything_is_served() {
    let lab = lab();
    for (from, to, want) in [
        ("interface = 'eth0'", "interface = 'eth7'", "there is no network interface `eth7`"),
        ("pools = ['10.77.0.20-", "pools = ['10.77.0.200-10.77.0.210', '10.77.0.20-", "overlap"),
        ("10.77.0.20-", "10.77.0.1-", "lies in the pool"),
        ("10.77.0.0/24", "10.77.0.0/28", "reaches outside its subnet 10.77.0.0/28"),
        ("10.77.", "10.78.", "`eth0` has no address in the subnet 10.78.0.0/24"),
        ("routers = ['10.77.0.1']\ndns = ['10.77.0.1']", "dns = []", ""),
    ] {
        let mut text = settings("").replace(from, to);
        let mut want = want;
        if want.is_empty() {
            text = text.replace("10.77.0.20-", "10.77.0.1-");
            want = "10.77.0.1, which is this machine's own on `eth0`, would be handed out";
        }
        let site = site(&lab, "server", &text);
        for more in [&["--check"][..], &[]] {
            let said = site.refusal(more);
            assert!(said.contains(want), "{to} {more:?}: {said}");
        }
        assert!(!site.folder.path().join("socket").exists());
    }
}

#[test]
fn a_relay_two_networks_away_gets_addresses_of_its_network_and_its_option_back() {
    let mut lab = lab();
    let far = "[[dhcp.subnet]]\nnetwork = '10.88.0.0/24'\npools = ['10.88.0.100-10.88.0.110']\nrouters = ['10.88.0.1']\n";
    let site = site(&lab, "server", &format!("{}{far}", settings("")));
    // The router between both networks; its side of the far one is only an address here.
    lab.plug("relay", "eth0", "lan", &["10.77.0.3/24"]);
    lab.give("relay", "lo", "10.88.0.1/32");
    lab.must("server", "ip", &["route", "add", "10.88.0.0/24", "via", "10.77.0.3"]);
    let _daemon = site.start();
    lab.inside("relay", || {
        let relay = UdpSocket::bind("0.0.0.0:67").unwrap();
        relay.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let giaddr = Ipv4Addr::new(10, 88, 0, 1);
        let circuit = [1, 4, b'p', b'o', b'r', b't'];
        let ask = client(MessageType::Discover, 5).giaddr(giaddr).option(code::RELAY_AGENT, circuit);
        let mut buffer = [0; 2000];
        let length = (0..10)
            .find_map(|_| {
                relay.send_to(&ask.encode(), (SERVER, 67)).unwrap();
                relay.recv_from(&mut buffer).ok()
            })
            .expect("no offer came")
            .0;
        let packet = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!(packet.yiaddr.octets()[..3], [10, 88, 0]);
        assert_eq!((packet.giaddr, packet.address(3)), (giaddr, Some(giaddr)));
        assert_eq!(packet.option(code::RELAY_AGENT).unwrap().as_ref(), circuit);
    });
}

#[test]
fn boot_clients_are_told_address_and_loader_an_old_mac_in_one_packet() {
    let lab = lab();
    let site = site(&lab, "server", &settings(""));
    let _daemon = site.start();
    lab.inside("mac", || {
        let socket = wire();
        let mac = client(MessageType::Discover, 1)
            .class("AAPLBSDPC/i386/MacBook5,1")
            .vendor(&[2, 2, 1, 1])
            .wants(&[60, 43, 17, 1, 3]);
        let offer = exchange(&socket, &BTreeMap::from([(1, mac.clone())]), has_address).remove(&1).unwrap();
        let packet = Packet::parse(&offer.bytes).unwrap();
        assert_eq!((packet.file, packet.siaddr), (&b"rootstock.nbi/i386/booter"[..], SERVER));
        assert_eq!(packet.option(60).unwrap().as_ref(), b"AAPLBSDPC");
        assert_eq!(packet.option(43).unwrap().as_ref(), [8, 4, 0x81, 0, 0, 1]);
        let request = Request::new(MessageType::Request, self::mac(1), 0x7700_0001)
            .broadcast()
            .class("AAPLBSDPC/i386/MacBook5,1")
            .vendor(&[2, 2, 1, 1])
            .option(code::SERVER_ID, SERVER.octets())
            .option(code::REQUESTED_ADDRESS, offer.yiaddr.octets());
        let ack = exchange(&socket, &BTreeMap::from([(1, request)]), has_address).remove(&1).unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.server), (MessageType::Ack, offer.yiaddr, Some(SERVER)));
        assert_eq!(Packet::parse(&ack.bytes).unwrap().file, b"rootstock.nbi/i386/booter");

        // UEFI PXE: an address without a class, and beside it the proxy offer; UEFI HTTP: the URL in the same way.
        for (number, class, word) in
            [(2, "PXEClient:Arch:00007:UNDI:003000", 7), (3, "HTTPClient:Arch:00016:UNDI:003000", 16)]
        {
            let ask = client(MessageType::Discover, number).class(class).architectures(&[word]).uuid([7; 16]);
            let ask = BTreeMap::from([(number, ask)]);
            let address = exchange(&socket, &ask, has_address).remove(&number).unwrap();
            assert!(Packet::parse(&address.bytes).unwrap().option(60).is_none());
            let boot = exchange(&socket, &ask, |packet| packet.option(60).is_some()).remove(&number).unwrap();
            let packet = Packet::parse(&boot.bytes).unwrap();
            assert!(packet.yiaddr.is_unspecified(), "two packets, each with its own matter");
            if word == 16 {
                assert_eq!(packet.option(67).unwrap().as_ref(), b"http://10.77.0.1/boot/ipxe/snponly.efi");
            }
        }
    });
}
