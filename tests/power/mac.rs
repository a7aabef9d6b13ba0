//! A Mac with one disk in a file, its runner, and the cable between it and the appliance.
//!
//! Owns: the made folder of kernel files, the runner's process, a relay whose cable can be pulled. Must not know: what is run,
//! when something breaks.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Serial number of the Mac.
pub const SERIAL: &str = "C02FAULTS001";

/// A Mac: what its kernel shows, and one disk.
pub struct Mac {
    root: TempDir,
    runner: Option<Child>,
    starts: u32,
}

impl Mac {
    /// One that was just switched on, with an empty disk.
    pub fn with_disk(size: u64) -> Mac {
        let mac = Mac { root: tempfile::tempdir().unwrap(), runner: None, starts: 0 };
        mac.put("sys/class/dmi/id/product_serial", &format!("{SERIAL}\n"));
        mac.put("sys/class/dmi/id/product_name", "MacBookPro11,1\n");
        mac.put("sys/block/sda/size", &(size / 512).to_string());
        mac.put("sys/block/sda/device/model", "APPLE SSD\n");
        mac.put("sys/block/sda/device/serial", "S1\n");
        mac.put("dev/sda", "");
        File::options().write(true).open(mac.disk()).unwrap().set_len(size).unwrap();
        mac.switch_on();
        mac
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The kernel starts: from now on it is another start of this Mac. What the runner kept lay in memory.
    pub fn switch_on(&self) {
        if let Err(error) = fs::remove_dir_all(self.root.path().join("state")) {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        let fresh = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        self.put("proc/sys/kernel/random/boot_id", &fresh);
    }

    /// The file that names this start of its kernel.
    pub fn boot_id(&self) -> PathBuf {
        self.root.path().join("proc/sys/kernel/random/boot_id")
    }

    /// Its disk.
    pub fn disk(&self) -> PathBuf {
        self.root.path().join("dev/sda")
    }

    /// Starts the runner, as the boot environment does.
    pub fn start_runner(&mut self, port: u16, ca: &Path) {
        self.starts += 1;
        let said = File::create(self.root.path().join(format!("said-{}", self.starts))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rootstock-runner"))
            .args(["--server", &format!("https://127.0.0.1:{port}"), "--keep-running", "--unattended"])
            .args([Path::new("--ca"), ca])
            .args([Path::new("--sysfs"), self.root.path()])
            .args([Path::new("--state"), &self.root.path().join("state")])
            .stdin(Stdio::null())
            .stdout(said)
            .spawn();
        self.runner = Some(child.unwrap());
    }

    /// Whether a runner is at work.
    pub fn runs(&mut self) -> bool {
        self.runner.as_mut().is_some_and(|runner| runner.try_wait().unwrap().is_none())
    }

    /// Ends the runner by SIGKILL.
    pub fn kill_runner(&mut self) {
        if let Some(mut runner) = self.runner.take() {
            drop(runner.kill());
            drop(runner.wait());
        }
    }

    /// Its power goes: nothing of it is at work any more, the script of its runner neither.
    pub fn power_off(&mut self) {
        self.kill_runner();
        let root = self.root.path().as_os_str().as_bytes();
        let is_ours = |process: &Pid| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.windows(root.len()).any(|window| window == root)
        };
        loop {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
            let left: Vec<Pid> = all.filter(is_ours).collect();
            if left.is_empty() {
                return;
            }
            // It may have ended in between.
            for process in left {
                let _ = kill(process, Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What all its runners said.
    pub fn said(&self) -> String {
        let text =
            |start| fs::read_to_string(self.root.path().join(format!("said-{start}"))).unwrap_or_default();
        (1..=self.starts).map(|start| format!("runner {start}:\n{}", text(start))).collect()
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        self.kill_runner();
    }
}

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Bytes go through.
    Whole,
    /// Nothing goes through, and nobody is told: a cable that was pulled somewhere.
    Silent,
    /// Every connection ends, and new ones too: a switch that restarts.
    Refusing,
}

struct State {
    wire: Wire,
    /// Port of the appliance.
    target: u16,
    open: Vec<TcpStream>,
}

/// The cable.
#[derive(Clone)]
pub struct Cable {
    state: Arc<(Mutex<State>, Condvar)>,
    /// Where the Mac finds the appliance.
    pub port: u16,
}

impl Cable {
    /// To the port `target` of this machine.
    pub fn to(target: u16) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { wire: Wire::Whole, target, open: Vec::new() };
        let cable = Cable { state: Arc::new((Mutex::new(state), Condvar::new())), port };
        let own = cable.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let cable = own.clone();
                thread::spawn(move || cable.carry(&stream));
            }
        });
        cable
    }

    /// The appliance has another port now.
    pub fn retarget(&self, target: u16) {
        self.state.0.lock().unwrap().target = target;
    }

    /// Pulls the cable, or plugs it in.
    pub fn set(&self, wire: Wire) {
        let mut state = self.state.0.lock().unwrap();
        state.wire = wire;
        if wire == Wire::Refusing {
            for stream in state.open.drain(..) {
                // It may have ended by itself.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        self.state.1.notify_all();
    }

    /// Waits until bytes go through; false when connections are refused.
    fn passes(&self) -> bool {
        let state = self.state.0.lock().unwrap();
        let state = self.state.1.wait_while(state, |state| state.wire == Wire::Silent).unwrap();
        state.wire == Wire::Whole
    }

    fn carry(&self, near: &TcpStream) {
        let target = self.state.0.lock().unwrap().target;
        let far = self.passes().then(|| TcpStream::connect(("127.0.0.1", target)));
        let Some(Ok(far)) = far else {
            drop(near.shutdown(Shutdown::Both));
            return;
        };
        {
            let mut state = self.state.0.lock().unwrap();
            state.open.retain(|stream| stream.peer_addr().is_ok());
            state.open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        }
        let (back, to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let own = self.clone();
        thread::spawn(move || own.pump(back, to));
        self.pump(near.try_clone().unwrap(), far);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 32 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !self.passes() || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // What ended on one side ends on the other, when it hears of it.
        self.passes();
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }
}
