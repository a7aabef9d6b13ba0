//! A daemon that hands out addresses in a namespace, and clients that are scripted: for all tests of the DHCP server.

use std::collections::BTreeMap;
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

/// The daemon's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The lab's only subnet: 230 addresses for anyone.
pub const SUBNET: &str = "[[dhcp.subnet]]\ninterface = 'eth0'\nnetwork = '10.77.0.0/24'\n\
    pools = ['10.77.0.20-10.77.0.249']\nrouters = ['10.77.0.1']\ndns = ['10.77.0.1']\ndomain = 'lab.test'\n";

/// Folder, settings and log of a daemon; it can be started again.
pub struct Site {
    space: String,
    pub folder: tempfile::TempDir,
}

/// A running daemon; ended when dropped.
pub struct Daemon {
    child: Child,
    /// Its log, line by line, until it ends.
    log: Receiver<String>,
}

/// Settings and boot files of a daemon in `machine`; `dhcp` is added to the settings.
pub fn site(lab: &Lab, machine: &str, dhcp: &str) -> Site {
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
    /// Replaces the settings.
    pub fn write(&self, dhcp: &str) {
        // The boot set was copied just now, and is offered all the same.
        let text = format!("name = 'Lab'\n{dhcp}\n[nbi]\nsettle = 0\n");
        fs::write(self.folder.path().join("rootstock.toml"), text).unwrap();
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
    pub fn start(&self) -> Daemon {
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
    pub fn refusal(&self, more: &[&str]) -> String {
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
    pub fn rootstock(&self, arguments: &[&str]) -> Value {
        let socket = self.folder.path().join("socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        let done = command.arg("--socket").arg(socket).args(arguments).arg("--json").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Address → MAC of what is leased now.
    pub fn leased(&self) -> BTreeMap<String, String> {
        let list = self.rootstock(&["lease", "list"]);
        let text = |lease: &Value, key: &str| lease[key].as_str().unwrap().to_owned();
        let bound = list.as_array().unwrap().iter().filter(|lease| lease["state"] == "bound");
        bound.map(|lease| (text(lease, "address"), text(lease, "mac"))).collect()
    }
}

impl Daemon {
    /// Waits for a line of the log.
    pub fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("never said `{text}`:\n{}", before.join("\n")),
            }
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
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

/// A server, and a machine without an address on the same wire.
pub fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    lab
}

/// Leases in the lab's subnet.
pub fn settings(more: &str) -> String {
    format!("[dhcp]\nenabled = true\nforce = true\nprobe-ms = 200\n{more}{SUBNET}")
}

/// Asks for an address with busybox's client: address, server, lease, router, domain.
pub fn udhcpc(lab: &Lab, machine: &str, site: &Site, more: &[&str]) -> Option<Vec<String>> {
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
pub fn wire() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind_device(Some(b"eth0")).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_recv_buffer_size(4 << 20).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.into()
}

/// The hardware address of a scripted client.
pub fn mac(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 0x77, 0, 0, high, low])
}

/// A request of a scripted client; its answer is told by its number.
pub fn client(kind: MessageType, number: u16) -> Request {
    Request::new(kind, mac(number), 0x7700_0000 | u32::from(number)).broadcast()
}

/// An answer as far as clients look at it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub kind: MessageType,
    pub yiaddr: Ipv4Addr,
    pub server: Option<Ipv4Addr>,
    pub bytes: Vec<u8>,
}

/// Every client sends its request and repeats it, as clients do, until it got an answer that `wanted` takes.
pub fn exchange(
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

/// OFFER or ACK with an address, or NAK.
pub fn has_address(packet: &Packet<'_>) -> bool {
    !packet.yiaddr.is_unspecified() || packet.message_type() == Some(MessageType::Nak)
}
