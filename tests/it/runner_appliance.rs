//! A small appliance for the runner's tests: TLS, the runner protocol, one image in memory, and knobs for what goes wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rootstock::api::runner::*;
use rootstock::image::chunk::{CHUNK, Packer, Slot, Verified};
use rootstock::image::manifest::{Location, Locations, Manifest, Region, Run, Sha256, Signer, VolumeFacts};
use rootstock::image::partition::Scheme;
use rootstock::value::{Digest, Secret};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const MIB: u64 = 1 << 20;
/// Bytes before the first chunk in the second pack.
const MOVED: usize = 4096;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An image: its bytes, and what the appliance keeps of it.
pub struct Image {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub signed: Vec<u8>,
    pub locations: Vec<u8>,
    pub pack: Vec<u8>,
    pub pack_name: Digest,
    /// Locations and name of the pack after a collection: the same chunks behind [`MOVED`] more bytes.
    pub moved: (Vec<u8>, Digest),
    pub key: String,
}

impl Image {
    /// A bare volume of data, zeros and free space, 1 MiB a letter of `cells` (d, z, f).
    pub fn new(cells: &str) -> Image {
        let mut packer = Packer::new().unwrap();
        let (mut bytes, mut pack, mut frames, mut slots) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut runs: Vec<Run> = Vec::new();
        let mut noise = 1_u64;
        for cell in cells.chars() {
            match cell {
                'd' => {
                    let data: Vec<u8> = std::iter::repeat_with(|| {
                        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (noise >> 56) as u8
                    })
                    .take(1 << 20)
                    .collect();
                    bytes.extend_from_slice(&data);
                    for chunk in data.chunks(CHUNK as usize) {
                        let chunk = Verified::seal(chunk);
                        match runs.last_mut() {
                            Some(Run::Data(digests)) => digests.push(chunk.digest()),
                            _ => runs.push(Run::Data(vec![chunk.digest()])),
                        }
                        let Some(packed) = packer.add(&chunk).unwrap() else { continue };
                        let (offset, length) = (pack.len() as u64, packed.frame.len() as u32);
                        let number = frames.len() as u32;
                        frames.push(Location { pack: 0, offset, length, raw: packed.raw });
                        slots.extend(
                            (0..).zip(&packed.chunks).filter_map(|(chunk, _)| Slot::new(number, chunk)),
                        );
                        pack.extend_from_slice(&packed.frame);
                    }
                }
                'z' => {
                    bytes.extend_from_slice(&[0; 1 << 20]);
                    match runs.last_mut() {
                        Some(Run::Zero(count)) => *count += MIB / CHUNK,
                        _ => runs.push(Run::Zero(MIB / CHUNK)),
                    }
                }
                other => panic!("{other}"),
            }
        }
        let volume = VolumeFacts {
            kind: "hfs+".into(),
            label: "Lab".into(),
            size: bytes.len() as u64,
            used: None,
            block_size: 4096,
        };
        let size = bytes.len() as u64;
        let region = Region { start: 0, size, partition: None, volume: Some(volume), runs };
        let manifest = Manifest::new(Sha256([0; 32]), Scheme::None, vec![region]).unwrap();
        let pack_name = Digest::of(&pack);
        let behind = frames.iter().map(|frame| Location { offset: frame.offset + MOVED as u64, ..*frame });
        let second = Digest::of(b"the second pack");
        let moved = (Locations::new(vec![second], behind.collect(), slots.clone()).unwrap().encode(), second);
        let locations = Locations::new(vec![pack_name], frames, slots).unwrap().encode();
        let document =
            ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let signer = Signer::from_pkcs8(document.as_ref()).unwrap();
        let signed = signer.sign(&manifest);
        Image {
            bytes,
            digest: signed.digest(),
            signed: signed.as_bytes().to_vec(),
            locations,
            pack,
            pack_name,
            moved,
            key: signer.key().to_string(),
        }
    }
}

/// What happens to pack requests, by their number from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A byte of the answer is wrong.
    Flip,
    /// The appliance dies in the middle of the answer.
    Die,
    /// Garbage was collected: the chunks lie in another pack from now on.
    Move,
}

/// What the appliance remembers and does.
#[derive(Default)]
pub struct State {
    pub hellos: Vec<Hello>,
    pub reports: Vec<Report>,
    pub purpose: Option<Purpose>,
    pub actions: Vec<Action>,
    /// How many of the actions were reported as ended.
    pub ended: usize,
    pub failed: Option<Failure>,
    pub started: bool,
    pub faults: HashMap<usize, Fault>,
    pub pack_requests: usize,
    pub pack_bytes: u64,
    /// Whether the chunks lie in the second pack.
    pub moved: bool,
    streams: Vec<TcpStream>,
    down: bool,
}

pub struct Appliance {
    pub address: SocketAddr,
    pub ca: PathBuf,
    _folder: tempfile::TempDir,
    tls: Arc<ServerConfig>,
    image: Arc<Image>,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Appliance {
    pub fn start(image: Image, actions: impl FnOnce(&Image) -> Vec<Action>) -> Appliance {
        Appliance::with_certificate(image, actions, |_| {})
    }

    /// `change` may spoil the server's certificate.
    pub fn with_certificate(
        image: Image,
        actions: impl FnOnce(&Image) -> Vec<Action>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Appliance {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        change(&mut server);
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = server.signed_by(&key, &issuer).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let state = State { actions: actions(&image), purpose: Some(Purpose::Required), ..State::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let appliance = Appliance {
            address: listener.local_addr().unwrap(),
            ca,
            _folder: folder,
            tls: Arc::new(tls),
            image: Arc::new(image),
            shared: Arc::new((Mutex::new(state), Condvar::new())),
        };
        appliance.serve(listener);
        appliance
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
        changed
    }

    /// The appliance is started again at the same address.
    pub fn up(&self) {
        self.change(|state| state.down = false);
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        let (tls, image, shared) = (self.tls.clone(), self.image.clone(), self.shared.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                {
                    let mut state = shared.0.lock().unwrap();
                    if state.down {
                        return; // drops the listener: the port is closed
                    }
                    state.streams.push(stream.try_clone().unwrap());
                }
                let (tls, image, shared) = (tls.clone(), image.clone(), shared.clone());
                thread::spawn(move || {
                    let connection = ServerConnection::new(tls).unwrap();
                    let stream = BufReader::new(StreamOwned::new(connection, stream));
                    Session { stream, image, shared }.run();
                });
            }
        });
    }
}

fn die(address: SocketAddr, shared: &(Mutex<State>, Condvar)) {
    let mut state = shared.0.lock().unwrap();
    state.down = true;
    for stream in state.streams.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    drop(state);
    shared.1.notify_all();
    let _ = TcpStream::connect(address); // wakes the listener, which goes
}

struct Session {
    stream: BufReader<StreamOwned<ServerConnection, TcpStream>>,
    image: Arc<Image>,
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Session {
    fn run(mut self) {
        while let Some(request) = self.request() {
            if self.answer(&request).is_none() {
                return;
            }
        }
    }

    fn request(&mut self) -> Option<Request> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Request { method, path, headers, body })
    }

    fn send(&mut self, status: &str, extra: &str, body: &[u8]) -> Option<()> {
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: Thu, 29 Feb 2024 23:59:59 GMT\r\nContent-Length: {}\r\n{extra}\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .and_then(|()| stream.flush())
            .ok()
    }

    fn json(&mut self, body: &impl serde::Serialize) -> Option<()> {
        self.send("200 OK", "Content-Type: application/json\r\n", &serde_json::to_vec(body).unwrap())
    }

    fn answer(&mut self, request: &Request) -> Option<()> {
        let image = self.image.clone();
        let bearer = request.headers.get("authorization").map(String::as_str);
        let wanted = match request.path.as_str() {
            "/runner/v1/hello" => None,
            "/runner/v1/runs" => Some("Bearer session"),
            path if path.starts_with("/runner/v1/") => Some("Bearer run"),
            _ => None,
        };
        if bearer != wanted {
            return self.send("401 Unauthorized", "", br#"{"error":"unknown token"}"#);
        }
        let moved = self.change(|state| state.moved);
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/runner/v1/hello") => self.hello(&serde_json::from_slice(&request.body).unwrap()),
            ("POST", "/runner/v1/runs") => {
                self.change(|state| state.started = true);
                self.json(&ticket())
            }
            ("POST", "/runner/v1/runs/7/next") => self.next(),
            ("POST", "/runner/v1/runs/7/report") => {
                self.report(serde_json::from_slice(&request.body).unwrap())
            }
            ("GET", path) if path == format!("/runner/v1/manifests/{}", image.digest) => {
                self.send("200 OK", "", &image.signed)
            }
            ("GET", path) if path == format!("/runner/v1/manifests/{}/locations", image.digest) => {
                self.send("200 OK", "", if moved { &image.moved.0 } else { &image.locations })
            }
            ("GET", path) if !moved && path == format!("/runner/v1/packs/{}", image.pack_name) => {
                self.pack(&request.headers["range"], 0)
            }
            ("GET", path) if moved && path == format!("/runner/v1/packs/{}", image.moved.1) => {
                self.pack(&request.headers["range"], MOVED)
            }
            ("HEAD", _) => self.send("404 Not Found", "", b""),
            _ => self.send("404 Not Found", "", br#"{"error":"no such thing"}"#),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
        changed
    }

    fn hello(&mut self, hello: &Hello) -> Option<()> {
        let welcome = self.change(|state| {
            state.hellos.push(hello.clone());
            let offer = state.purpose.map(|purpose| Offer {
                deployment: 3,
                sequence: "Lab Mac".into(),
                description: String::new(),
                purpose,
                countdown: 1,
                erases: vec![0],
                revision: 1,
                asks_destination: false,
                category: String::new(),
                download_size: None,
            });
            Welcome {
                device: 1,
                session: Secret::new("session"),
                appliance: "Lab".into(),
                now_ms: 0,
                manifest_keys: vec![],
                offers: offer.into_iter().collect(),
                why_empty: None,
                run: (state.started && state.ended < state.actions.len()).then(ticket),
                sign_in: None,
                keyboard: None,
            }
        });
        let keys = vec![self.image.key.clone()];
        self.json(&Welcome { manifest_keys: keys, ..welcome })
    }

    fn next(&mut self) -> Option<()> {
        let next = self.change(|state| match (state.failed.clone(), state.actions.get(state.ended)) {
            (Some(failure), _) => Next::Finished {
                outcome: Outcome::Failed,
                message: failure.cause,
                failure: None,
                can_resume: false,
                failed_step: None,
            },
            (None, None) => Next::Finished {
                outcome: Outcome::Succeeded,
                message: "all done".into(),
                failure: None,
                can_resume: false,
                failed_step: None,
            },
            (None, Some(action)) => Next::Act(Box::new(Assignment {
                number: state.ended as u32 + 1,
                step: state.ended as u32 + 1,
                steps: state.actions.len() as u32,
                name: format!("Step {}", state.ended + 1),
                timeout: None,
                action: action.clone(),
            })),
        });
        self.json(&next)
    }

    fn report(&mut self, report: Report) -> Option<()> {
        self.change(|state| {
            match &report.event {
                ReportEvent::Done(_) if report.number as usize == state.ended + 1 => state.ended += 1,
                ReportEvent::Failed(failure) => state.failed = Some(failure.clone()),
                _ => {}
            }
            state.reports.push(report);
        });
        self.json(&Accepted { stop: false })
    }

    /// Part of a pack whose chunks begin `before` bytes later than those of the first.
    fn pack(&mut self, range: &str, before: usize) -> Option<()> {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let fault = self.change(|state| {
            state.pack_requests += 1;
            state.pack_bytes += (last - first + 1) as u64;
            state.faults.remove(&state.pack_requests)
        });
        let mut bytes = self.image.pack[first - before..=last - before].to_vec();
        let extra = format!("Content-Range: bytes {first}-{last}/{}\r\n", self.image.pack.len());
        match fault {
            None => self.send("206 Partial Content", &extra, &bytes),
            Some(Fault::Flip) => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                self.send("206 Partial Content", &extra, &bytes)
            }
            Some(Fault::Move) => {
                self.change(|state| state.moved = true);
                self.send("404 Not Found", "", br#"{"error":"this pack is gone"}"#)
            }
            Some(Fault::Die) => {
                let head =
                    format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n{extra}\r\n", bytes.len());
                let address = self.stream.get_ref().sock.local_addr().unwrap();
                let stream = self.stream.get_mut();
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&bytes[..bytes.len() / 2]));
                let _ = stream.flush();
                die(address, &self.shared);
                None
            }
        }
    }
}

fn ticket() -> RunTicket {
    RunTicket { run: 7, token: Secret::new("run"), sequence: "Lab Mac".into(), steps: 3 }
}
