//! The network page's settings, really made: static address, VLAN, DHCP in a machine of the lab, by the runner's own code with the
//! busybox that the boot environment has. And the runner that finds its appliance, or goes through a proxy.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rootstock::client::appliance_time;
use rootstock::runner::network::{
    Addressing, Kept, Network, NetworkNews, NetworkOrder, Place, Seen, System, Wire, fixed,
};
use rootstock::runner::wizard::Told;

use crate::dnssd::{appliance, ca, until};
use crate::lab::Lab;

/// A machine of the lab as the boot environment leaves it: `/run`, `/sys` and `resolv.conf` of its own.
struct Machine<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

impl Machine<'_> {
    fn new<'a>(lab: &'a Lab, folder: &Path) -> Machine<'a> {
        fs::create_dir_all(folder.join("run")).unwrap();
        fs::write(folder.join("resolv.conf"), "").unwrap();
        let address = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/boot/address")).unwrap();
        let up = "#!/bin/sh\necho \"$1\" >>/run/asked-again\n".to_owned();
        for (name, text) in [("address", address), ("wired-up", up)] {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Machine { lab, folder: folder.to_owned() }
    }

    fn inside<T: Send>(&self, work: impl FnOnce(System) -> T + Send) -> T {
        let folder = &self.folder;
        self.lab.inside("mac", move || {
            // The thread's own mounts: nothing of them is seen outside, and they end with it.
            let none: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::MS_NOSUID, none).unwrap();
            let lay =
                |from: &Path, over: &str| mount(Some(from), over, none, MsFlags::MS_BIND, none).unwrap();
            lay(&folder.join("run"), "/run");
            lay(Path::new("/dev/null"), "/dev/kmsg");
            work(System {
                address_script: folder.join("address"),
                up_script: folder.join("wired-up"),
                resolver: folder.join("resolv.conf"),
                ..System::of_boot_environment()
            })
        })
    }

    /// What the page is told when it orders this; and what it sees then.
    fn apply(&self, wire: Wire) -> (NetworkNews, Seen) {
        self.inside(|system| {
            let network = Network { system, state: "/run/rootstock".into(), owned: true };
            let (orders, taken) = mpsc::channel();
            let (told, news) = mpsc::channel();
            orders.send(NetworkOrder::Apply { wire, place: Place::default() }).unwrap();
            drop(orders);
            network.serve(&taken, &told);
            let mut news: Vec<NetworkNews> = news
                .try_iter()
                .map(|told| match told {
                    Told::Network(news) => news,
                    other => panic!("{other:?}"),
                })
                .collect();
            let Some(NetworkNews::Seen(seen)) = news.pop() else { panic!("{news:?}") };
            (news.pop().unwrap(), seen)
        })
    }

    /// As [`Machine::apply`], and it comes into force; the words.
    fn applied(&self, wire: Wire) -> (String, Seen) {
        match self.apply(wire) {
            (NetworkNews::Applied { text, .. }, seen) => (text, seen),
            (other, _) => panic!("{other:?}"),
        }
    }
}

impl Drop for Machine<'_> {
    /// DHCP clients go on asking in the background: they must not outlive the test.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.folder.join("run")).into_iter().flatten().flatten() {
            let pid = fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse().ok());
            if entry.file_name().to_string_lossy().starts_with("udhcpc-")
                && let Some(pid) = pid
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn wire(vlan: Option<u16>, addressing: Addressing) -> Wire {
    Wire { interface: "eth0".into(), vlan, addressing }
}

fn addresses(seen: &Seen, name: &str) -> Vec<(Ipv4Addr, u8)> {
    seen.interfaces.iter().filter(|one| one.name == name).flat_map(|one| one.addresses.clone()).collect()
}

#[test]
fn a_static_address_reaches_an_appliance_and_a_vlan_does_where_the_kernel_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    let _appliance = appliance(&lab, "server", folder.path(), "[announce]\ndns-sd = false\n");
    let ca = ca(folder.path(), "server");
    let mac = Machine::new(&lab, &folder.path().join("mac"));
    // TLS with the appliance's authority.
    let answers = |at: &'static str| {
        mac.inside(|_| until("an answer", || appliance_time(at, &ca, Duration::from_secs(5)).ok()));
    };

    let untagged = wire(None, fixed("10.77.0.9/24", "10.77.0.1", "10.77.0.1 9.9.9.9").unwrap());
    let (text, seen) = mac.applied(untagged.clone());
    assert_eq!(text, "eth0 has 10.77.0.9/24.");
    assert_eq!(seen.interfaces[0].router, Some(Ipv4Addr::new(10, 77, 0, 1)));
    assert_eq!(seen.dns, [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(9, 9, 9, 9)]);
    answers("https://10.77.0.1");
    // Once more the same: nothing is in its own way.
    assert_eq!(mac.applied(untagged.clone()).0, "eth0 has 10.77.0.9/24.");
    let kept = || Kept::wire(&folder.path().join("mac/run/rootstock"));
    assert_eq!(kept(), Some(untagged.clone()));

    let tagged = wire(Some(5), fixed("10.5.0.9/24", "10.5.0.1", "").unwrap());
    if !vlan(&lab, "server", 5, "10.5.0.1/24") {
        // A kernel without 802.1Q: that is said, and nothing has changed.
        let (NetworkNews::Failed(text), seen) = mac.apply(tagged) else { panic!("there are no VLANs here") };
        assert!(text.starts_with("`ip link add link eth0 name vlan5 type vlan id 5` failed"), "{text}");
        assert!(text.ends_with("nothing was changed"), "{text}");
        assert_eq!((addresses(&seen, "eth0").len(), kept()), (1, Some(untagged)));
        assert!(!folder.path().join("mac/run/wired-vlan5").exists());
        return;
    }
    let (text, seen) = mac.applied(tagged.clone());
    assert_eq!(text, "vlan5 has 10.5.0.9/24.");
    let vlan5 = seen.interfaces.iter().find(|one| one.name == "vlan5").unwrap();
    assert_eq!((vlan5.below.as_deref(), vlan5.router), (Some("eth0"), Some(Ipv4Addr::new(10, 5, 0, 1))));
    answers("https://10.5.0.1");
    assert_eq!(mac.applied(tagged).0, "vlan5 has 10.5.0.9/24.");
    // The adapter itself went back to the boot environment's DHCP.
    assert_eq!(fs::read_to_string(folder.path().join("mac/run/asked-again")).unwrap(), "eth0\n");
    let (_, seen) = mac.applied(untagged);
    assert!(seen.interfaces.iter().all(|one| one.name != "vlan5"), "{seen:?}");
    answers("https://10.77.0.1");
}

/// Gives a machine an address in a VLAN; false where the kernel has none.
fn vlan(lab: &Lab, machine: &str, id: u16, address: &str) -> bool {
    let (name, id) = (format!("vlan{id}"), id.to_string());
    let made = ["link", "add", "link", "eth0", "name", &name, "type", "vlan", "id", &id];
    let made = lab.run(machine, "ip", &made);
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(said.contains("Unknown device type"), "{said}");
        return false;
    }
    lab.must(machine, "ip", &["link", "set", &name, "up"]);
    lab.give(machine, &name, address);
    true
}

#[test]
fn an_address_in_use_a_silent_router_and_a_missing_cable_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("mac", "eth0", "lan", &[]);
    lab.plug("other", "eth0", "lan", &["10.77.0.66/24"]);
    let mac = Machine::new(&lab, &folder.path().join("mac"));
    let (text, _) = mac.applied(wire(None, fixed("10.77.0.9/24", "", "").unwrap()));
    assert_eq!(text, "eth0 has 10.77.0.9/24.");

    let other = lab.must("other", "cat", &["/sys/class/net/eth0/address"]);
    for (vlan, address) in [(None, "10.77.0.66/24"), (None, "10.77.0.66/16")] {
        let (news, seen) = mac.apply(wire(vlan, fixed(address, "", "").unwrap()));
        let NetworkNews::Failed(text) = news else { panic!("{news:?}") };
        assert!(text.contains("10.77.0.66 is in use already, by "), "{text}");
        assert!(text.contains(other.trim()) && text.ends_with("nothing was changed"), "{text}");
        assert_eq!(addresses(&seen, "eth0"), [(Ipv4Addr::new(10, 77, 0, 9), 24)]);
    }

    let (text, seen) = mac.applied(wire(None, fixed("10.77.0.10/24", "10.77.0.200", "").unwrap()));
    assert!(text.contains("router 10.77.0.200 does not answer"), "{text}");
    assert_eq!(addresses(&seen, "eth0"), [(Ipv4Addr::new(10, 77, 0, 10), 24)]);

    // The Mac's plug is the first of the lab.
    lab.must("switch", "ip", &["link", "set", "port1", "down"]);
    let (news, _) = mac.apply(wire(Some(7), fixed("10.7.0.9/24", "", "").unwrap()));
    let NetworkNews::Failed(text) = news else { panic!("{news:?}") };
    assert!(text.starts_with("eth0 has no link") && text.ends_with("nothing was changed"), "{text}");
}

#[test]
fn dhcp_gives_an_address_and_its_client_ends_when_a_static_one_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("site", "eth0", "lan", &["10.9.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &[]);
    // Between namespaces UDP checksums are left to a network card that is not there; udhcpc checks them.
    lab.must("site", "ethtool", &["-K", "eth0", "tx", "off"]);
    let mac = Machine::new(&lab, &folder.path().join("mac"));
    let (text, _) = mac.applied(wire(None, Addressing::Dhcp));
    assert!(text.contains("no DHCP server answered on eth0, it goes on asking"), "{text}");
    let client = |name: &str| {
        let pid = fs::read_to_string(folder.path().join(format!("mac/run/udhcpc-{name}.pid"))).ok()?;
        fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))
            .ok()
            .filter(|line| line.contains("udhcpc"))
    };
    until("the client that goes on asking", || client("eth0"));

    let range = "--dhcp-range=10.9.0.50,10.9.0.90,1h";
    let _site = lab.dnsmasq("site", &["--interface=eth0", range, "--dhcp-option=6,10.9.0.1"]);
    // The server may be slower than the client's ten seconds on a busy machine: then the client that stays gets it.
    mac.applied(wire(None, Addressing::Dhcp));
    let seen = mac.inside(|system| {
        until("a lease", || Some(system.seen()).filter(|seen| !addresses(seen, "eth0").is_empty()))
    });
    let [(address, 24)] = addresses(&seen, "eth0")[..] else { panic!("{seen:?}") };
    assert_eq!(address.octets()[..3], [10, 9, 0]);
    let resolved =
        || fs::read_to_string(folder.path().join("mac/resolv.conf")).ok().filter(|text| !text.is_empty());
    assert_eq!(until("DNS servers of the lease", resolved), "nameserver 10.9.0.1\n");
    let routes = mac.inside(|_| std::process::Command::new("ip").args(["route"]).output().unwrap().stdout);
    let routes = String::from_utf8(routes).unwrap();
    assert!(routes.contains("default via 10.9.0.1 dev eth0 metric 50"), "{routes}");

    let (text, _) = mac.applied(wire(None, fixed("10.77.0.9/24", "", "").unwrap()));
    assert_eq!(text, "eth0 has 10.77.0.9/24.");
    assert_eq!(client("eth0"), None);
}

fn runner(lab: &Lab, folder: &Path, ca: &Path, lines: usize, until: &str) -> Vec<String> {
    let (state, root) = (folder.join("state"), folder.join("root"));
    fs::create_dir_all(root.join("sys/class/net/eth0/device")).unwrap();
    fs::write(root.join("sys/class/net/eth0/type"), "1\n").unwrap();
    fs::write(root.join("sys/class/net/eth0/address"), "02:00:00:00:00:09\n").unwrap();
    let arguments = [
        "120",
        // `timeout` that is killed takes its child along.
        "setpriv",
        "--pdeathsig",
        "KILL",
        env!("CARGO_BIN_EXE_rootstock-runner"),
        "--ca",
        ca.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
        "--sysfs",
        root.to_str().unwrap(),
        "--console",
        "none",
        "--keep-running",
    ];
    let (_runner, said) = lab.listen("mac", "timeout", &arguments);
    let mut seen = Vec::new();
    for line in said.take(lines) {
        let line = line.unwrap();
        let last = line.contains(until);
        seen.push(line);
        if last {
            return seen;
        }
    }
    panic!("no line with `{until}` in {seen:#?}");
}

#[test]
fn a_runner_that_nobody_told_finds_its_appliance_beside_a_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    for (machine, address) in
        [("server", "10.77.0.1/24"), ("stranger", "10.77.0.2/24"), ("mac", "10.77.0.9/24")]
    {
        lab.plug(machine, "eth0", "lan", &[address]);
    }
    let _server = appliance(&lab, "server", folder.path(), "");
    let _stranger = appliance(&lab, "stranger", folder.path(), "");
    ca(folder.path(), "server");
    let pem = folder.path().join("server/keys/ca.pem");
    let lines = runner(&lab, folder.path(), &pem, 60, "appliance Lab offers");
    assert!(lines.iter().any(|line| line.contains("at https://10.77.0.1")), "{lines:#?}");
}

#[test]
fn a_runner_goes_through_the_proxy_that_was_set_before_it_was_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "inner", &["10.78.0.1/24"]);
    lab.plug("proxy", "eth0", "inner", &["10.78.0.2/24"]);
    lab.plug("proxy", "eth1", "outer", &["10.77.0.2/24"]);
    lab.plug("mac", "eth0", "outer", &["10.77.0.9/24"]);
    let _server = appliance(&lab, "server", folder.path(), "");
    ca(folder.path(), "server");
    let conf = folder.path().join("tinyproxy.conf");
    fs::write(
        &conf,
        "Port 3128\nListen 10.77.0.2\nTimeout 60\nMaxClients 10\nAllow 10.77.0.0/24\nConnectPort 443\n",
    )
    .unwrap();
    let _proxy = lab.start("proxy", "tinyproxy", &["-d", "-c", conf.to_str().unwrap()]);
    let place =
        Place { server: Some("https://10.78.0.1".into()), proxy: Some("http://10.77.0.2:3128".into()) };
    Kept::keep_place(&folder.path().join("state"), &place).unwrap();
    let pem = folder.path().join("server/keys/ca.pem");
    runner(&lab, folder.path(), &pem, 60, "appliance Lab offers");
}
