//! A real server in this process on free ports, and a runner that has no disks: everything over HTTPS and the socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rootstock::api::admin::{self, Job, JobState};
use rootstock::api::runner::*;
use rootstock::api::sign_in::{SignIn, SignedIn};
use rootstock::client::{Client, ClientError, Patience};
use rootstock::image::chunk::Frame;
use rootstock::image::manifest::{Locations, Manifest, SignedManifest};
use rootstock::server::Server;
use rootstock::server::config::Fragment;
use rootstock::value::{Digest, MacAddr, Secret};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Settings that take no fixed port.
pub const FREE_PORTS: &str = "[ports]\nhttp = 0\nhttps = 0\ndhcp = 0\nproxy-dhcp = 0\ntftp = 0\n[nbi]\nsettle = 0\n[library]\nkeep-free = '0'\nworkers = 2\n[announce]\ndns-sd = false\n";

/// A running appliance; stopped when dropped.
pub struct Appliance {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    pub data: PathBuf,
    pub https: u16,
}

impl Appliance {
    /// Starts on a data folder that may hold what an earlier one left.
    pub fn start(data: &Path) -> Appliance {
        Appliance::start_with(data, "")
    }

    /// With further settings.
    pub fn start_with(data: &Path, settings: &str) -> Appliance {
        Appliance::start_settings(data, &format!("{FREE_PORTS}{settings}"))
    }

    /// With these settings and no others.
    pub fn start_settings(data: &Path, settings: &str) -> Appliance {
        let settings = settings.to_owned();
        let stop = CancellationToken::new();
        let (stopped, folder) = (stop.clone(), data.to_owned());
        let (told, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let config = toml::from_str::<Fragment>(&settings).unwrap().validate().unwrap();
                let server = Server::open(config, &folder).await.unwrap();
                let https =
                    server.app().listeners.iter().find(|listener| listener.service == "https").unwrap();
                told.send(https.address.rsplit(':').next().unwrap().parse().unwrap()).unwrap();
                server.run(stopped).await.unwrap();
            });
        });
        let https = ready.recv().expect("the server starts");
        Appliance { stop, thread: Some(thread), data: data.to_owned(), https }
    }

    /// With further settings of `[library]`.
    pub fn start_library(data: &Path, settings: &str) -> Appliance {
        Appliance::start_settings(data, &FREE_PORTS.replace("[library]\n", &format!("[library]\n{settings}")))
    }

    /// The admin's command line sees this.
    pub fn admin(&self) -> Client {
        Client::unix(self.data.join("rootstock.sock")).with_patience(Patience::NONE)
    }

    /// HTTPS with a token, or none.
    pub fn network(&self, token: Option<&Secret>) -> Client {
        let ca = fs::read(self.data.join("keys/ca.pem")).unwrap();
        Client::https(&format!("https://127.0.0.1:{}", self.https), &ca, token.cloned())
            .unwrap()
            .with_patience(Patience::NONE)
    }

    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server stops in order");
        }
    }

    /// Imports a small image and waits for it.
    pub fn import(&self, name: &str, file: &Path) -> Job {
        let body =
            admin::ImportImage { name: name.into(), path: file.display().to_string(), ..Default::default() };
        let job: Job = self.admin().post("/api/v1/images", &body).unwrap();
        self.ended(job)
    }

    pub fn ended(&self, mut job: Job) -> Job {
        while !job.state.has_ended() {
            job = self.admin().get(&format!("/api/v1/jobs/{}?after={}&wait=5", job.id, job.change)).unwrap();
        }
        job
    }

    pub fn apply(&self, yaml: &str) -> admin::SavedSequence {
        self.admin().post("/api/v1/sequences", &admin::SequenceText { yaml: yaml.into() }).unwrap()
    }

    pub fn deploy(&self, sequence: &str, purpose: Purpose) -> admin::Deployment {
        let body = admin::CreateDeployment::new(sequence, "unknown macs", purpose);
        self.admin().post("/api/v1/deployments", &body).unwrap()
    }

    pub fn run(&self, run: i64) -> admin::Run {
        self.admin().get(&format!("/api/v1/runs/{run}")).unwrap()
    }

    /// Image, sequence and Required deployment, as Spine has them.
    pub fn with_sequence(&self, folder: &TempDir) {
        let file = image_file(folder, 3 << 20);
        let job = self.import("lab", &file);
        assert!(matches!(job.state, JobState::Done { version: Some(1), .. }), "{job:?}");
        self.apply(SEQUENCE);
        self.deploy("Lab Mac", Purpose::Required);
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.join();
        }
    }
}

pub const SEQUENCE: &str = "\
name: Lab Mac
steps:
  - format_disk: {partitions: [{name: Macintosh HD, format: hfs+ journaled, size: 100%}]}
  - apply_image: {image: lab}
  - restart:
";

/// A disk image with an MBR and one HFS partition of bytes that do not compress.
pub fn image_file(folder: &TempDir, bytes: usize) -> PathBuf {
    let mut disk = vec![0_u8; (1 << 20) + bytes];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for word in disk[1 << 20..].chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    mbr(&mut disk, bytes);
    let path = folder.path().join("lab.img");
    fs::write(&path, disk).unwrap();
    path
}

/// A disk image with an MBR and one HFS partition of a MiB that differs from number to number.
pub fn numbered_image(folder: &TempDir, number: u8) -> PathBuf {
    let mut disk = vec![number; 2 << 20];
    disk[..1 << 20].fill(0);
    mbr(&mut disk, 1 << 20);
    let path = folder.path().join(format!("{number}.img"));
    fs::write(&path, disk).unwrap();
    path
}

/// Names one HFS partition of `bytes` at 1 MiB.
pub fn mbr(disk: &mut [u8], bytes: usize) {
    disk[450] = 0xaf;
    disk[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    disk[458..462].copy_from_slice(&u32::try_from(bytes / 512).unwrap().to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

fn key_pair() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

/// A Mac that says hello.
#[derive(Debug)]
pub struct Mac {
    pub serial: &'static str,
    pair: Ed25519KeyPair,
    pub welcome: Welcome,
}

impl Mac {
    /// A runner that was just started: it has a new receipt key.
    pub fn boot(appliance: &Appliance, serial: &'static str) -> Mac {
        Mac::try_boot(appliance, serial).unwrap()
    }

    pub fn try_boot(appliance: &Appliance, serial: &'static str) -> Result<Mac, ClientError> {
        let pair = key_pair();
        let welcome = appliance.network(None).post("/runner/v1/hello", &hello(serial, &pair))?;
        Ok(Mac { serial, pair, welcome })
    }

    /// What a runner that was just started says.
    pub fn words(serial: &str) -> Hello {
        hello(serial, &key_pair())
    }

    /// The same runner says hello once more.
    pub fn again(&mut self, appliance: &Appliance) {
        self.welcome =
            appliance.network(None).post("/runner/v1/hello", &hello(self.serial, &self.pair)).unwrap();
    }

    pub fn try_start(&self, appliance: &Appliance, deployment: i64) -> Result<RunTicket, ClientError> {
        self.try_start_as(appliance, deployment, None)
    }

    /// With the pass of a technician who signed in at this Mac.
    pub fn try_start_as(
        &self,
        appliance: &Appliance,
        deployment: i64,
        pass: Option<Secret>,
    ) -> Result<RunTicket, ClientError> {
        let start = StartRun { deployment, pass, seen: None };
        appliance.network(Some(&self.welcome.session)).post("/runner/v1/runs", &start)
    }

    /// A technician signs in at this Mac.
    pub fn sign_in(
        &self,
        appliance: &Appliance,
        name: &str,
        password: &str,
    ) -> Result<SignedIn, ClientError> {
        let typed = SignIn { domain: None, name: name.into(), password: Secret::new(password) };
        appliance.network(Some(&self.welcome.session)).post("/runner/v1/sign-in", &typed)
    }

    pub fn start(&self, appliance: &Appliance) -> RunTicket {
        self.try_start(appliance, self.welcome.offers[0].deployment).unwrap()
    }

    /// A receipt that this runner signed.
    pub fn receipt(&self, run: i64, number: u32, manifest: Digest) -> SignedReceipt {
        let receipt = Receipt {
            run,
            number,
            manifest,
            serial: Some(self.serial.parse().unwrap()),
            node: "/dev/vda2".into(),
            disk: "QEMU".into(),
            bytes: 3 << 20,
            fetched: 3 << 20,
            delta: Default::default(),
            equal: false,
            left: 0,
            chunks_read_back: 3,
            rewritten: 0,
            at_ms: 0,
        };
        let receipt = serde_json::to_string(&receipt).unwrap();
        SignedReceipt { signature: hex(self.pair.sign(receipt.as_bytes()).as_ref()), receipt }
    }
}

fn hello(serial: &str, pair: &Ed25519KeyPair) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: "test".into(),
        boot: BootMethod::Netboot,
        device: DeviceFacts {
            serial: Some(serial.parse().unwrap()),
            model: Some("iMac14,2".parse().unwrap()),
            manufacturer: Some("Apple Inc.".into()),
            macs: vec![MAC],
            memory: 8 << 30,
            disks: vec![DiskFacts {
                number: Some(0),
                node: "/dev/vda".into(),
                model: "QEMU".into(),
                serial: "1".into(),
                size: 8 << 30,
                block_size: 512,
                external: false,
                contents: vec!["empty".into()],
                health: None,
            }],
            ..DeviceFacts::default()
        },
        receipt_key: hex(pair.public_key().as_ref()),
        // A runner that was started anew on the same start of its Mac, unless a test says otherwise.
        boot_id: "one start".into(),
    }
}

pub const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 1, 2, 3]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A runner at work.
pub struct Work<'a> {
    pub appliance: &'a Appliance,
    pub ticket: RunTicket,
}

impl Work<'_> {
    pub fn client(&self) -> Client {
        self.appliance.network(Some(&self.ticket.token))
    }

    pub fn try_next(&self) -> Result<Next, ClientError> {
        let path = format!("/runner/v1/runs/{}/next", self.ticket.run);
        self.client().post(&path, &AskNext { boot: BootMethod::Netboot, disks: Vec::new() })
    }

    pub fn act(&self) -> Assignment {
        match self.try_next().unwrap() {
            Next::Act(assignment) => *assignment,
            other => panic!("an action was expected: {other:?}"),
        }
    }

    pub fn try_report(&self, number: u32, event: ReportEvent) -> Result<Accepted, ClientError> {
        self.client().post(&format!("/runner/v1/runs/{}/report", self.ticket.run), &Report { number, event })
    }

    pub fn done(&self, number: u32, done: Done) -> Accepted {
        self.try_report(number, ReportEvent::Done(Box::new(done))).unwrap()
    }

    /// Answers the format step.
    pub fn formatted(&self) {
        let assignment = self.act();
        assert!(matches!(assignment.action, Action::FormatDisk { disk: 0, .. }), "{assignment:?}");
        self.done(assignment.number, Done { nodes: vec!["/dev/vda2".into()], ..Done::default() });
    }

    /// The manifest, its signature checked, and where its chunks lie now.
    pub fn locations(&self, mac: &Mac, manifest: Digest) -> (Manifest, Locations) {
        let client = self.client();
        let signed = client.download(&format!("/runner/v1/manifests/{manifest}"), 1 << 20).unwrap();
        let keys = [mac.welcome.manifest_keys[0].parse().unwrap()];
        let image = SignedManifest::from_bytes(signed).unwrap().verify(manifest, &keys).unwrap();
        let table = client.download(&format!("/runner/v1/manifests/{manifest}/locations"), 1 << 20).unwrap();
        let locations = Locations::decode(&table, image.digests().count() as u64).unwrap();
        (image, locations)
    }

    /// Fetches every chunk by range: they are what the manifest names.
    pub fn check_chunks(&self, image: &Manifest, locations: &Locations) {
        for (digest, slot) in image.digests().zip(locations.cells()) {
            let place = locations.frames()[slot.frame() as usize];
            let pack = locations.packs()[place.pack as usize];
            let range = place.offset..place.offset + u64::from(place.length);
            let frame = self.client().bytes(&format!("/runner/v1/packs/{pack}"), range).unwrap();
            Frame(&frame).open(slot.chunk(), *digest).unwrap();
        }
    }

    /// The assignment of the apply step: its number and manifest.
    pub fn apply(&self) -> (u32, Digest) {
        let assignment = self.act();
        match assignment.action {
            Action::ApplyImage { manifest, destination, .. } => {
                assert_eq!(destination, Destination::Node("/dev/vda2".into()));
                (assignment.number, manifest)
            }
            other => panic!("Apply Image was expected: {other:?}"),
        }
    }
}

/// Status and problem of a refusal.
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, Problem) {
    match result {
        Err(ClientError::Refused { status, problem, .. }) => (status, problem),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

/// The body of any answer as JSON.
pub fn json(client: &Client, path: &str) -> Value {
    client.get(path).unwrap()
}
