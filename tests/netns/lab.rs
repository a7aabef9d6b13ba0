//! Machines and wires of one test: network namespaces joined by bridges, gone when the test ends. Needs root.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// One test's network.
pub struct Lab {
    prefix: String,
    spaces: Vec<String>,
    plugs: u32,
}

static LABS: AtomicU32 = AtomicU32::new(0);

fn ip(arguments: &str) {
    let done =
        Command::new("ip").args(arguments.split(' ')).output().expect("the netns tier needs `ip` (iproute2)");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Lab {
    /// A switch without machines.
    pub fn new() -> Lab {
        assert!(nix::unistd::geteuid().is_root(), "the netns tier needs root: run `./dev test netns`");
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let mut lab =
            Lab { prefix: format!("rs{}-{number}", std::process::id()), spaces: Vec::new(), plugs: 0 };
        lab.machine("switch");
        lab
    }

    /// The namespace of a machine.
    pub fn space(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn machine(&mut self, machine: &str) {
        let space = self.space(machine);
        ip(&format!("netns add {space}"));
        self.spaces.push(space.clone());
        ip(&format!("-n {space} link set lo up"));
    }

    /// Plugs `interface` of `machine` into `wire`; both are made when new.
    pub fn plug(&mut self, machine: &str, interface: &str, wire: &str, addresses: &[&str]) {
        let (switch, space) = (self.space("switch"), self.space(machine));
        if !self.spaces.contains(&space) {
            self.machine(machine);
        }
        let is_new = Command::new("ip").args(["-n", &switch, "link", "show", wire]).output().unwrap();
        if !is_new.status.success() {
            ip(&format!("-n {switch} link add {wire} type bridge"));
            ip(&format!("-n {switch} link set {wire} up"));
        }
        self.plugs += 1;
        let port = format!("port{}", self.plugs);
        ip(&format!("-n {switch} link add {port} type veth peer name {interface} netns {space}"));
        ip(&format!("-n {switch} link set {port} master {wire} up"));
        ip(&format!("-n {space} link set {interface} up"));
        for address in addresses {
            self.give(machine, interface, address);
        }
    }

    /// Gives an address to an interface.
    pub fn give(&self, machine: &str, interface: &str, address: &str) {
        ip(&format!("-n {} addr add {address} dev {interface}", self.space(machine)));
    }

    /// Runs `work` on a thread inside a machine.
    pub fn inside<T: Send>(&self, machine: &str, work: impl FnOnce() -> T + Send) -> T {
        let space = self.space(machine);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&space);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn command(&self, machine: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(machine), program]).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a program inside a machine to its end.
    pub fn run(&self, machine: &str, program: &str, arguments: &[&str]) -> Output {
        let here = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        assert!(here.status.success(), "the netns tier needs `{program}`, which is not installed");
        self.command(machine, program, arguments).output().unwrap()
    }

    /// As [`Lab::run`], and the program must succeed.
    pub fn must(&self, machine: &str, program: &str, arguments: &[&str]) -> String {
        let done = self.run(machine, program, arguments);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{program} {}: {out}{err}", arguments.join(" "));
        out.into_owned()
    }

    /// Starts a program inside a machine; it is killed when the value is dropped.
    pub fn start(&self, machine: &str, program: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(machine, program, arguments);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Starts dnsmasq, which reads and leaves no file.
    pub fn dnsmasq(&self, machine: &str, more: &[&str]) -> Running {
        let always = [
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--leasefile-ro",
            "--pid-file=",
            "--log-facility=/dev/null",
        ];
        self.start(machine, "dnsmasq", &[&always, more].concat())
    }

    /// As [`Lab::start`], with what it prints.
    pub fn listen(
        &self,
        machine: &str,
        program: &str,
        arguments: &[&str],
    ) -> (Running, Lines<BufReader<ChildStdout>>) {
        let mut command = self.command(machine, program, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Running(child), lines)
    }
}

/// Moves this thread into a namespace.
pub fn enter(space: &str) {
    let file = File::open(format!("/run/netns/{space}")).unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
}

impl Drop for Lab {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}

/// A program in the background.
pub struct Running(Child);

impl Running {
    /// Its process; `ip netns exec` becomes the program that it starts.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) {
        nix::sys::signal::kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
