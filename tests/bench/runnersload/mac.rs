//! One simulated Mac: says what `rootstock-runner` says, when it says it, and does nothing of what it is told to do.
//!
//! Three threads as in the runner (`runner::work`, `runner::desk`): the worker; what the screen shows, every five seconds while a run
//! is at work; what people say from afar, asked for ten seconds at a time. Pauses after a lost connection are the runner's.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rootstock::api::runner::*;
use rootstock::api::wizard::{AskNews, News, PageName, ScreenReport, ScreenTaken};
use rootstock::value::MacAddr;
use uuid::Uuid;

use crate::STACK;
use crate::appliance::Appliance;
use crate::wire::{Trouble, Wire};

/// Progress twice a second.
const TICK: Duration = Duration::from_millis(500);
/// A screen whose text moves.
const SCREEN: Duration = Duration::from_secs(5);
/// `runner::link` and `runner::desk`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const DESK_PAUSE: Duration = Duration::from_secs(5);
const WAIT: u32 = 10;

/// What happens to all Macs.
#[derive(Default)]
pub struct Weather {
    /// The daemon was killed: whatever is at work ends now, so that every Mac wants to report and to be told what comes next.
    pub storm: AtomicBool,
    /// Nothing more is measured.
    pub over: AtomicBool,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello,
    Start,
    Next,
    Progress,
    Log,
    Done,
}

/// What one Mac saw.
#[derive(Default)]
pub struct Seen {
    pub times: Vec<(Kind, Duration)>,
    /// Reports of progress that nobody took.
    pub lost: u32,
    /// When it was told what comes next, for the first time after the daemon was killed.
    pub went_on: Option<Instant>,
    /// Actions that it was given again although their end had been acknowledged.
    pub forgotten: u32,
    pub succeeded: bool,
    pub wrong: Option<String>,
}

pub struct Mac {
    number: u32,
    seconds: u32,
    wire: Wire,
    weather: Arc<Weather>,
    key: Ed25519KeyPair,
    shown: Arc<Mutex<Option<(String, ScreenReport)>>>,
    seen: Seen,
}

/// Why a Mac gives up; the load is wrong, or the appliance.
type Wrong = String;

impl Mac {
    pub fn new(number: u32, appliance: &Appliance, weather: Arc<Weather>, seconds: u32) -> Mac {
        let source = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250) as u8 + 1);
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Mac {
            number,
            seconds,
            wire: Wire::new(&appliance.roots, appliance.server, source),
            weather,
            key: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(),
            shown: Arc::default(),
            seen: Seen::default(),
        }
    }

    /// From hello to the end of the run.
    pub fn live(mut self) -> Seen {
        if let Err(wrong) = self.run() {
            self.seen.wrong = Some(format!("Mac {}: {wrong}", self.number));
        }
        self.shown.lock().unwrap().take();
        self.seen
    }

    fn run(&mut self) -> Result<(), Wrong> {
        let welcome: Welcome = self.must(Kind::Hello, "/runner/v1/hello", "", &self.hello())?;
        let session = welcome.session.expose().to_owned();
        self.show(&session, PageName::Countdown, "School lab");
        self.desk(&session);
        let offer = welcome.offers.first().ok_or(format!("no offer: {:?}", welcome.why_empty))?;
        let start = StartRun { deployment: offer.deployment, pass: None, seen: Some(offer.seen()) };
        let ticket: RunTicket = self.must(Kind::Start, "/runner/v1/runs", &session, &start)?;
        let token = ticket.token.expose().to_owned();
        let (path, ask) = (
            format!("/runner/v1/runs/{}/next", ticket.run),
            AskNext { boot: BootMethod::Netboot, disks: Vec::new() },
        );
        let mut acknowledged = 0;
        loop {
            let stormy = self.weather.storm.load(Ordering::Relaxed);
            let next: Next = self.must(Kind::Next, &path, &token, &ask)?;
            if stormy && !matches!(next, Next::Wait { .. }) {
                self.seen.went_on.get_or_insert_with(Instant::now);
            }
            match next {
                Next::Act(assignment) => {
                    self.seen.forgotten += u32::from(assignment.number <= acknowledged);
                    self.show(&session, PageName::Running, &assignment.name);
                    self.perform(ticket.run, &token, &assignment)?;
                    acknowledged = assignment.number;
                }
                Next::Wait { seconds, .. } => thread::sleep(Duration::from_secs(seconds.into())),
                Next::Finished { outcome, message, .. } => {
                    self.seen.succeeded = outcome == Outcome::Succeeded;
                    return if self.seen.succeeded { Ok(()) } else { Err(message) };
                }
            }
        }
    }

    /// Takes as long as the action would, and reports.
    fn perform(&mut self, run: i64, token: &str, assignment: &Assignment) -> Result<(), Wrong> {
        let path = format!("/runner/v1/runs/{run}/report");
        let (number, mut said) = (assignment.number, 0_u64);
        let share = match assignment.action {
            Action::ApplyImage { .. } => 0.55,
            Action::VerifyImage { .. } => 0.15,
            Action::Restart => 0.0,
            _ => 0.03,
        };
        let began = Instant::now();
        let length = Duration::from_secs_f64(f64::from(self.seconds) * share);
        let mut tick = 0;
        while began.elapsed() < length && !self.weather.storm.load(Ordering::Relaxed) {
            tick += 1;
            thread::sleep((TICK * tick).min(length).saturating_sub(began.elapsed()));
            let progress = self.progress(began.elapsed(), length);
            let report = Report { number, event: ReportEvent::Progress(progress) };
            self.try_to(Kind::Progress, &path, token, &report)?;
            let lines = self.lines(&assignment.action, tick);
            if !lines.is_empty() {
                let count = lines.len() as u64;
                let report = Report { number, event: ReportEvent::Log { first: Some(said), lines } };
                said += count;
                self.try_to(Kind::Log, &path, token, &report)?;
            }
        }
        let done = self.done(run, number, &assignment.action);
        let report = Report { number, event: ReportEvent::Done(Box::new(done)) };
        let _: Accepted = self.must(Kind::Done, &path, token, &report)?;
        Ok(())
    }

    fn progress(&self, at: Duration, length: Duration) -> Progress {
        let total = 24_576_u64 << 20;
        let done = (total as f64 * (at.as_secs_f64() / length.as_secs_f64()).min(1.0)) as u64;
        Progress {
            phase: "writing".into(),
            done,
            total,
            network: done / 2,
            network_rate: 61_203_456 + u64::from(self.number),
            disk_rate: 122_406_912,
            seconds_left: Some(length.saturating_sub(at).as_secs() as u32),
            delta: Some(Delta {
                decision: "the disk is read first".into(),
                present: done / 3,
                ..Delta::default()
            }),
            limit: Some("the network".into()),
        }
    }

    /// What a script prints, and what applying an image says now and then.
    fn lines(&self, action: &Action, tick: u32) -> Vec<String> {
        let count = match action {
            Action::ExecuteScript { .. } => 8,
            _ if tick.is_multiple_of(20) => 1,
            _ => 0,
        };
        let line = |n| {
            format!(
                "{tick:>4} {n} /Volumes/Macintosh HD/Library/Preferences/com.example.setting-{}.plist: written",
                self.number
            )
        };
        (0..count).map(line).collect()
    }

    fn done(&self, run: i64, number: u32, action: &Action) -> Done {
        let mut done = Done::default();
        match action {
            Action::FormatDisk { partitions, .. } => {
                done.nodes = (0..partitions.len()).map(|n| format!("/dev/nvme0n1p{}", n + 2)).collect();
            }
            Action::ApplyImage { manifest, .. } => {
                let receipt = Receipt {
                    run,
                    number,
                    manifest: *manifest,
                    serial: Some(self.serial().parse().unwrap()),
                    node: "/dev/nvme0n1p2".into(),
                    disk: "APPLE SSD SM0512F S1K5NYAF123456".into(),
                    bytes: 1 << 20,
                    fetched: 1 << 20,
                    delta: Delta::default(),
                    equal: false,
                    left: 0,
                    chunks_read_back: 16,
                    rewritten: 0,
                    at_ms: 0,
                };
                let receipt = serde_json::to_string(&receipt).unwrap();
                let signature = hex(self.key.sign(receipt.as_bytes()).as_ref());
                done.receipt = Some(SignedReceipt { receipt, signature });
            }
            Action::VerifyImage { images } => {
                done.verified = images.iter().map(|image| image.manifest).collect();
            }
            Action::ExecuteScript { .. } => done.exit_code = Some(0),
            _ => {}
        }
        done
    }

    /// Asks until an answer comes, with the runner's pauses.
    fn must<T: serde::de::DeserializeOwned>(
        &mut self,
        kind: Kind,
        path: &str,
        token: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Wrong> {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            match self.wire.post(path, token, body) {
                Ok(answer) => {
                    self.seen.times.push((kind, began.elapsed()));
                    return Ok(answer);
                }
                Err(Trouble::Refused(status, why)) if status < 500 => {
                    return Err(format!("{path}: {status} {why}"));
                }
                Err(_) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Says it once; the next report makes up for a lost one.
    fn try_to(
        &mut self,
        kind: Kind,
        path: &str,
        token: &str,
        body: &impl serde::Serialize,
    ) -> Result<(), Wrong> {
        let began = Instant::now();
        match self.wire.post::<Accepted>(path, token, body) {
            Ok(_) => self.seen.times.push((kind, began.elapsed())),
            Err(Trouble::Refused(status, why)) => return Err(format!("{path}: {status} {why}")),
            Err(Trouble::Gone) => self.seen.lost += 1,
        }
        Ok(())
    }

    fn show(&self, session: &str, page: PageName, title: &str) {
        // 25 lines of 80 letters, as the smallest console shows.
        let text = (0..25).map(|n| format!("{title:<60} {n:>19}")).collect();
        let report = ScreenReport { page, title: title.to_owned(), text, run: None, keyboard: None };
        *self.shown.lock().unwrap() = Some((session.to_owned(), report));
    }

    /// The two threads beside the worker; they end when the worker has nothing to show any more.
    fn desk(&self, session: &str) {
        let (mut wire, shown, weather) = (self.wire.another(), self.shown.clone(), self.weather.clone());
        let tell = move || {
            loop {
                let Some((session, report)) = shown.lock().unwrap().clone() else { return };
                let told = wire.post::<ScreenTaken>("/runner/v1/screen", &session, &report).is_ok();
                thread::sleep(if told { SCREEN } else { DESK_PAUSE });
            }
        };
        thread::Builder::new().stack_size(STACK).spawn(tell).unwrap();
        let (mut wire, shown, session) = (self.wire.another(), self.shown.clone(), session.to_owned());
        let listen = move || {
            let mut after = 0;
            while !weather.over.load(Ordering::Relaxed) && shown.lock().unwrap().is_some() {
                let asked = AskNews { after, message: 0, wait: WAIT };
                match wire.post::<News>("/runner/v1/news", &session, &asked) {
                    Ok(news) => after = news.last.max(after),
                    Err(_) => thread::sleep(DESK_PAUSE),
                }
            }
        };
        thread::Builder::new().stack_size(STACK).spawn(listen).unwrap();
    }

    fn serial(&self) -> String {
        format!("C02L{:07}", self.number)
    }

    /// An inventory as a Mac has one.
    fn hello(&self) -> Hello {
        let [a, b, c, d] = self.number.to_be_bytes();
        let address = MacAddr::new([0x3c, 0x07, a, b, c, d]);
        let disk = DiskFacts {
            number: Some(0),
            node: "/dev/nvme0n1".into(),
            model: "APPLE SSD SM0512F".into(),
            serial: format!("S1K5NYAF{:06}", self.number),
            size: 500_107_862_016,
            block_size: 512,
            external: false,
            contents: vec!["1 EFI System Partition 200.0 MiB".into(), "2 Macintosh HD 465.1 GiB".into()],
            health: Some(DiskHealth {
                verdict: HealthVerdict::Good,
                hours: Some(9000),
                wear: Some(12),
                ..DiskHealth::default()
            }),
        };
        let nic = NicFacts {
            name: "eth0".into(),
            mac: address,
            driver: Some("tg3".into()),
            bus: Some("pci".into()),
            speed: Some(1000),
            link: true,
            wifi: false,
            addresses: vec![[10, b, c, d].into()],
        };
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            boot: BootMethod::Netboot,
            boot_id: Uuid::from_u128(u128::from(self.number) << 64).to_string(),
            device: DeviceFacts {
                serial: Some(self.serial().parse().unwrap()),
                uuid: Some(Uuid::from_u128(u128::from(self.number) + 1)),
                model: Some("MacBookPro11,1".parse().unwrap()),
                manufacturer: Some("Apple Inc.".into()),
                macs: vec![address],
                memory: 8 << 30,
                cpu: Some("Intel(R) Core(TM) i5-4258U CPU @ 2.40GHz".into()),
                firmware: Some("431.140.6.0.0".into()),
                disks: vec![disk],
                inventory: Inventory {
                    board: Some("Mac-189A3D4F975D5FFC".into()),
                    cores: Some(2),
                    threads: Some(4),
                    nics: vec![nic],
                    battery: Some(BatteryFacts {
                        cycles: Some(300),
                        design: Some(6330),
                        full: Some(5900),
                        ..BatteryFacts::default()
                    }),
                    ..Inventory::default()
                },
            },
            receipt_key: hex(self.key.public_key().as_ref()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
