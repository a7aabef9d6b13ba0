//! The real daemon and the real command line, on a data folder of the caller's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// Ports that the kernel chooses; nothing is announced to the network of this machine.
const SETTINGS: &str = "[network]\naddress = '127.0.0.1'\ninterfaces = ['lo']\n[ports]\nhttp = 0\nhttps = 0\ndhcp = 0\nproxy-dhcp = 0\n\
    tftp = 0\n[library]\nkeep-free = '0'\nworkers = 2\n[announce]\ndns-sd = false\n";

/// `rootstockd`; killed, never asked to end.
pub struct Appliance {
    process: Child,
    data: PathBuf,
    /// Lines of its log.
    said: Arc<Mutex<Vec<String>>>,
    _settings: TempDir,
}

impl Appliance {
    /// Starts on the folder `data` and waits until it answers.
    pub fn start(data: &Path) -> Appliance {
        Appliance::start_with(data, "")
    }

    /// As [`Appliance::start`], with more settings.
    pub fn start_with(data: &Path, more: &str) -> Appliance {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("rootstock.toml");
        fs::write(&settings, format!("{SETTINGS}{more}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstockd"));
        command
            .arg("--config")
            .arg(&settings)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (mut said, mut ready) = (Vec::new(), false);
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            ready = line.contains("is ready");
            said.push(line);
            if ready {
                break;
            }
        }
        if !ready {
            drop(process.kill());
            drop(process.wait());
            panic!("rootstockd does not start:\n{}", said.join("\n"));
        }
        let said = Arc::new(Mutex::new(said));
        let heard = said.clone();
        std::thread::spawn(move || lines.for_each(|line| heard.lock().unwrap().push(line)));
        Appliance { process, data: data.to_owned(), said, _settings: folder }
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        *self = Appliance::start(&self.data.clone());
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let said = self.said.lock().unwrap();
        said[said.len().saturating_sub(60)..].join("\n")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A command of `rootstock` that talks to it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
        command.arg("--socket").arg(self.data.join("rootstock.sock")).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed. What it printed.
    pub fn must(&self, words: &[&str]) -> String {
        let done = self.run(words);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        if !done.status.success() {
            let said = self.said.lock().unwrap();
            let last = said[said.len().saturating_sub(20)..].join("\n");
            panic!("rootstock {}: {out}{err}rootstockd said last:\n{last}", words.join(" "));
        }
        out.into_owned()
    }

    /// As [`Appliance::must`], as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.must(&words)).unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Calls of the kernel by which a process has written so far; none when it is gone.
pub fn writes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscw: "))?.parse().ok()
}

/// Bytes that a process has read so far; none when it is gone.
pub fn bytes_read(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}
