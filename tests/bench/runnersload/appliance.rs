//! A `rootstockd` of its own on loopback: started, filled with a sequence and an image, killed, looked at from outside.
//!
//! Must not know: what runners do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rootstock::api::admin::{CreateDeployment, Deployment, ImportImage, Job, SavedSequence, SequenceText};
use rootstock::api::runner::Purpose;
use rootstock::client::{Client, Patience};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Twelve steps of the kinds that a lab uses; scripts as long as scripts are.
const SEQUENCE: &str = include_str!("lab.yaml");

pub struct Appliance {
    program: PathBuf,
    folder: PathBuf,
    pub server: SocketAddrV4,
    pub roots: Arc<RootCertStore>,
    child: Option<Child>,
}

impl Appliance {
    /// Starts on an empty folder and deploys the sequence to all Macs.
    pub fn new(folder: PathBuf, program: PathBuf) -> Appliance {
        fs::create_dir_all(&folder).unwrap();
        // A port that is free now; it stays the same when the daemon is started again.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[ports]\nhttps = {port}\n[network]\nboot-services = false\n[announce]\ndns-sd = false\n[library]\nkeep-free = '0'\n\
             [runner]\nnew-macs-a-minute = 100000\nunknown-macs = 100000\n"
        );
        fs::write(folder.join("load.toml"), settings).unwrap();
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut appliance =
            Appliance { program, folder, server, roots: Arc::new(RootCertStore::empty()), child: None };
        appliance.start();
        let pem = fs::read(appliance.folder.join("data/keys/ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        appliance.roots = Arc::new(roots);
        appliance.fill();
        appliance
    }

    /// Starts, and comes back when it serves.
    pub fn start(&mut self) {
        let mut log = fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(self.folder.join("load.toml"))
            .arg("--data")
            .arg(self.folder.join("data"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It logs there; its last words are what a person needs when it does not start.
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("is ready") {
            eprint!("{}", if line.contains("ERROR") || line.starts_with("error") { &line } else { "" });
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "rootstockd does not start");
        }
        thread::spawn(move || std::io::copy(&mut lines, &mut log));
        self.child = Some(child);
    }

    fn fill(&self) {
        let admin = Client::unix(self.folder.join("data/rootstock.sock")).with_patience(Patience::NONE);
        let image = self.folder.join("lab.img");
        fs::write(&image, disk()).unwrap();
        let import =
            ImportImage { name: "lab".into(), path: image.display().to_string(), ..Default::default() };
        let mut job: Job = admin.post("/api/v1/images", &import).unwrap();
        while !job.state.has_ended() {
            job = admin.get(&format!("/api/v1/jobs/{}?after={}&wait=5", job.id, job.change)).unwrap();
        }
        let sequence = SequenceText { yaml: SEQUENCE.into() };
        let _: SavedSequence = admin.post("/api/v1/sequences", &sequence).unwrap();
        let deployment = CreateDeployment::new("School lab", "All Macs", Purpose::Required);
        let _: Deployment = admin.post("/api/v1/deployments", &deployment).unwrap();
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Seconds of processor time so far.
    pub fn cpu(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // After the name, which ends with the last bracket: fields from the third on.
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 on every Linux.
        ticks as f64 / 100.0
    }

    /// Most memory that it had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Bytes of the database with its write-ahead log.
    pub fn database(&self) -> u64 {
        let files = fs::read_dir(self.folder.join("data")).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_name().to_string_lossy().contains(".sqlite3"));
        files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
    }

    /// Dies on the spot.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends in order.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        for _ in 0..600 {
            if child.try_wait().unwrap().is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("rootstockd does not stop");
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A small disk with an MBR and one HFS partition: runs need an image, the load does not read it.
fn disk() -> Vec<u8> {
    let mut disk = vec![7_u8; 2 << 20];
    disk[..1 << 20].fill(0);
    disk[450] = 0xaf;
    disk[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    disk[458..462].copy_from_slice(&2048_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}
