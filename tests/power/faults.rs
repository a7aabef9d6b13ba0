//! Faults at every step of a run: the runner is killed, the appliance is killed, the network goes, the Mac's power goes, the
//! appliance's power goes. The run ends as if nothing had happened, or stops where a person must decide (task-sequences
//! section 8).
//!
//! | variable | |
//! |---|---|
//! | `ROOTSTOCK_FAULTS` | how many faults, at steps that the seed chooses, in one run; `all`: each kind at each step, each in a run of its own |
//! | `ROOTSTOCK_FAULT_KINDS`, `ROOTSTOCK_FAULT_STEPS` | of all, only these: `runner,appliance,network,mac,power`; `3-7,29` |
//! | `ROOTSTOCK_CUT_SECONDS` | how long the network is gone |
//! | `ROOTSTOCK_FAULT_SEED` | where the dice begin; else anywhere, and it is printed |

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::syncfs;
use rootstock::api::admin::{Run, RunEvent, StepState};
use rootstock::client::{Client, ClientError, Patience};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::appliance::Appliance;
use crate::disk::{self, Disk};
use crate::mac::{Cable, Mac, Wire};
use crate::mounts::{Mounted, ext4, private};
use crate::random::Random;
use crate::setting;
use crate::thirty::{self, DISK, DOOMED, Left, STEPS, Words};

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The runner is killed, and the boot environment starts it again.
    Runner,
    /// The appliance is killed, and started again.
    Appliance,
    /// The network is gone for a while.
    Network,
    /// The Mac is switched off, and starts anew.
    Mac,
    /// The appliance's power goes: what its disk had not flushed may be lost.
    Power,
}

const KINDS: [(&str, Kind); 5] = [
    ("runner", Kind::Runner),
    ("appliance", Kind::Appliance),
    ("network", Kind::Network),
    ("mac", Kind::Mac),
    ("power", Kind::Power),
];

/// A fault at a step, from 1.
#[derive(Clone, Copy, Debug)]
struct Fault {
    kind: Kind,
    step: usize,
}

/// Where the appliance keeps its data: in a folder, or on a disk whose power can go.
enum Place {
    Folder(TempDir),
    Disk { mounted: Option<Mounted>, disk: Option<Disk>, content: Vec<u8> },
}

impl Place {
    fn disk() -> Place {
        private();
        let content = ext4(96 << 20);
        let disk = Disk::new(content.clone());
        Place::Disk { mounted: Some(Mounted::image(&disk.path())), disk: Some(disk), content }
    }

    fn data(&self) -> PathBuf {
        match self {
            Place::Folder(folder) => folder.path().join("data"),
            Place::Disk { mounted, .. } => mounted.as_ref().unwrap().path().join("data"),
        }
    }

    /// The power goes at this moment. What the disk is made of afterwards is a new one.
    fn cut(&mut self, position: usize, random: &mut Random) {
        let Place::Disk { mounted, disk, content } = self else { panic!("this place has no power") };
        let events = disk.as_ref().unwrap().events();
        *content = disk::cut(std::mem::take(content), &events, position, random);
        drop(mounted.take());
        drop(disk.take());
        let fresh = Disk::new(content.clone());
        *mounted = Some(Mounted::image(&fresh.path()));
        *disk = Some(fresh);
    }

    fn position(&self) -> usize {
        match self {
            Place::Disk { disk: Some(disk), .. } => disk.position(),
            _ => 0,
        }
    }
}

/// Everything that is there.
struct Scene {
    appliance: Option<Appliance>,
    place: Place,
    mac: Mac,
    cable: Cable,
    words: Words,
    deliveries: Arc<Mutex<Vec<String>>>,
    ca: PathBuf,
    folder: TempDir,
    doomed: bool,
}

/// Takes webhooks. Each delivery's number.
fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let deliveries = seen.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut delivery) = (0, String::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "x-rootstock-delivery" => delivery = value.trim().to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            deliveries.lock().unwrap().push(delivery);
            // Long enough to be hit while it is on its way; who was killed does not hear it.
            thread::sleep(Duration::from_millis(150));
            drop(write!(stream, "HTTP/1.1 204 Fine\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
    (url, seen)
}

fn port_of(appliance: &Appliance) -> u16 {
    let status = appliance.json(&["status"]);
    let listeners = status["listeners"].as_array().unwrap();
    let https = listeners.iter().find(|listener| listener["service"] == "https").unwrap();
    https["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

impl Scene {
    fn new(place: Place, doomed: bool) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let data = place.data();
        let appliance = Appliance::start(&data);
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("lab.img"), thirty::image()).unwrap();
        appliance.must(&["image", "import", &at("lab.img"), "--name", "lab"]);
        let files = data.join("files/labs");
        fs::create_dir_all(&files).unwrap();
        for (name, content) in thirty::files() {
            fs::write(files.join(name), content).unwrap();
        }
        // Whoever puts files there is told by the kernel that they are there; a power cut takes none of them.
        syncfs(File::open(&files).unwrap()).unwrap();
        let words = Words::new(&folder.path().join("words"));
        let (url, deliveries) = receiver();
        let mut mac = Mac::with_disk(DISK);
        for sequence in thirty::sequences(&words, &mac.boot_id(), &url, doomed) {
            fs::write(at("sequence.yaml"), sequence).unwrap();
            appliance.must(&["sequence", "apply", &at("sequence.yaml")]);
        }
        appliance.must(&["deploy", "Thirty", "--to", "Unknown Macs", "--purpose", "required"]);
        let ca = folder.path().join("ca.pem");
        fs::copy(data.join("keys/ca.pem"), &ca).unwrap();
        let cable = Cable::to(port_of(&appliance));
        mac.start_runner(cable.port, &ca);
        Scene { appliance: Some(appliance), place, mac, cable, words, deliveries, ca, folder, doomed }
    }

    fn appliance(&self) -> &Appliance {
        self.appliance.as_ref().unwrap()
    }

    fn client(&self) -> Client {
        Client::unix(self.place.data().join("rootstock.sock")).with_patience(Patience::NONE)
    }

    /// The run as soon as it is another than at `change`.
    fn look(&self, change: u64) -> Option<Run> {
        match self.client().get(&format!("/api/v1/runs/1?after={change}&wait=1")) {
            Ok(run) => Some(run),
            Err(ClientError::Refused { status: 404, .. }) => {
                thread::sleep(Duration::from_millis(20));
                None
            }
            Err(error) => panic!("the run cannot be seen: {error}"),
        }
    }

    fn say(&self, what: &str, body: &Value) -> Result<Run, ClientError> {
        self.client().post(&format!("/api/v1/runs/1/{what}"), body)
    }

    fn start_appliance(&mut self) {
        let appliance = Appliance::start(&self.place.data());
        self.cable.retarget(port_of(&appliance));
        self.appliance = Some(appliance);
    }

    fn start_runner(&mut self) {
        self.mac.start_runner(self.cable.port, &self.ca);
    }

    fn inject(&mut self, kind: Kind, random: &mut Random) {
        match kind {
            Kind::Runner => {
                self.mac.kill_runner();
                self.start_runner();
            }
            Kind::Mac => {
                self.mac.power_off();
                self.mac.switch_on();
                self.start_runner();
            }
            Kind::Appliance => {
                drop(self.appliance.take());
                self.start_appliance();
            }
            Kind::Power => {
                // Whatever it has acknowledged was flushed before.
                drop(self.appliance.take());
                let position = self.place.position();
                self.place.cut(position, random);
                self.start_appliance();
            }
            Kind::Network => {
                self.cable.set(*random.pick(&[Wire::Silent, Wire::Silent, Wire::Refusing]));
                thread::sleep(Duration::from_secs(setting("ROOTSTOCK_CUT_SECONDS", 1)));
                self.cable.set(Wire::Whole);
            }
        }
    }

    /// Follows the run to its end, as a technician and an admin would, and breaks what is to be broken. How many faults hit their
    /// step at work.
    #[expect(clippy::disallowed_methods, reason = "a test that waits gives up at some time")]
    fn conduct(&mut self, faults: &[Fault], random: &mut Random) -> (Run, usize) {
        let patience = Duration::from_secs(180 + 3 * setting("ROOTSTOCK_CUT_SECONDS", 1));
        let (mut change, mut waiting, mut hits) = (0, faults.iter(), 0);
        let mut next = waiting.next();
        let mut deadline = Instant::now() + patience;
        loop {
            assert!(Instant::now() < deadline, "the run does not go on");
            // It was told to restart the Mac.
            if !self.mac.runs() {
                self.mac.switch_on();
                self.start_runner();
            }
            let Some(run) = self.look(change) else { continue };
            change = run.change;
            if let Some(fault) = next.filter(|fault| reached(&run, fault.step)) {
                let most = if thirty::QUICK.contains(&fault.step) { 1 } else { 250 };
                thread::sleep(Duration::from_millis(random.below(most)));
                let at = self.look(0).map_or(StepState::Unknown, |run| run.step_list[fault.step - 1].state);
                hits += usize::from(at == StepState::Running);
                println!("{:?} at step {}: {at:?}", fault.kind, fault.step);
                self.inject(fault.kind, random);
                (next, change, deadline) = (waiting.next(), 0, Instant::now() + patience);
                continue;
            }
            let told = match (&run.question, &run.failure) {
                (Some(question), _) if question.message.is_some() => self.say("confirm", &json!({})),
                (Some(_), _) => self.say("answers", &json!({"values": {"Owner": "ana", "Final": "x"}})),
                // A person decides that the script may run again.
                (None, Some(failure))
                    if run.can_resume && failure.cause.contains("was started anew while the script") =>
                {
                    println!("resumed: {}", failure.cause);
                    self.say("resume", &json!({}))
                }
                _ if run.summary.outcome.is_some() => return (run, hits),
                _ => continue,
            };
            match told {
                // Refused: somebody was quicker, or the run went on meanwhile.
                Ok(_) | Err(ClientError::Refused { .. }) => {}
                Err(error) => panic!("the run does not hear: {error}"),
            }
        }
    }

    fn events(&self) -> Vec<RunEvent> {
        let mut all: Vec<RunEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.number);
            let more: Vec<RunEvent> =
                self.client().get(&format!("/api/v1/runs/1/events?after={after}")).unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// A whole run with these faults, and the judgement of it. How many hit their step at work.
    fn play(mut self, faults: &[Fault], random: &mut Random) -> usize {
        println!("{faults:?}{}", if self.doomed { ", doomed" } else { "" });
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (run, hits) = self.conduct(faults, random);
            let events = self.events();
            let deliveries = self.deliveries.lock().unwrap().clone();
            let disk = self.mac.disk();
            let left = Left {
                run: &run,
                events: &events,
                words: &self.words,
                disk: &disk,
                deliveries: &deliveries,
                doomed: self.doomed,
            };
            thirty::judge(&left, self.appliance());
            hits
        }));
        played.unwrap_or_else(|panic| {
            println!("{}", self.mac.said());
            if let Some(appliance) = &self.appliance {
                let events: Vec<_> = self.events().into_iter().filter(|event| event.kind != "log").collect();
                let line = |event: &RunEvent| {
                    format!("{} {} {:?}: {}", event.number, event.kind, event.step, event.detail)
                };
                println!(
                    "{}\n{}",
                    events.iter().map(line).collect::<Vec<_>>().join("\n"),
                    appliance.last_words()
                );
            }
            println!("{faults:?} in {}", self.folder.path().display());
            std::panic::resume_unwind(panic)
        })
    }
}

fn reached(run: &Run, step: usize) -> bool {
    run.step_list.get(step - 1).is_some_and(|seen| seen.state != StepState::Pending)
}

/// What the environment says; none where that is nothing.
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// `3-7,29`
fn steps_asked() -> Vec<usize> {
    let text = asked("ROOTSTOCK_FAULT_STEPS").unwrap_or_else(|| format!("1-{STEPS}"));
    let numbers = text.split(',').flat_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        from.parse::<usize>().unwrap()..=to.parse().unwrap()
    });
    numbers.collect()
}

fn kinds_asked() -> Vec<Kind> {
    let text = asked("ROOTSTOCK_FAULT_KINDS").unwrap_or_else(|| "runner,appliance,network,mac,power".into());
    let kind = |word: &str| {
        KINDS.iter().find(|(name, _)| *name == word).unwrap_or_else(|| panic!("no kind {word}")).1
    };
    text.split(',').map(kind).collect()
}

fn scene(faults: &[Fault], doomed: bool) -> Scene {
    let power = faults.iter().any(|fault| fault.kind == Kind::Power);
    let place = if power { Place::disk() } else { Place::Folder(tempfile::tempdir().unwrap()) };
    Scene::new(place, doomed)
}

#[test]
fn section_8_whatever_breaks_at_any_step_a_run_ends_as_if_nothing_had_happened_or_where_a_person_decides() {
    let seed =
        asked("ROOTSTOCK_FAULT_SEED").map_or(u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("seed {seed}");
    let mut random = Random(seed);
    let count = asked("ROOTSTOCK_FAULTS").unwrap_or_else(|| "5".to_owned());
    if count == "all" {
        return all(&mut random);
    }
    let count = count.parse::<usize>().unwrap().clamp(1, STEPS);
    let mut steps: Vec<usize> = (1..=STEPS).collect();
    while steps.len() > count {
        steps.remove(random.below(steps.len() as u64) as usize);
    }
    // The step that is going to fail is among them.
    let doomed = random.below(2) == 0;
    if doomed {
        steps.retain(|step| *step < DOOMED);
        steps.truncate(count - 1);
        steps.push(DOOMED);
    }
    let cheap = [Kind::Runner, Kind::Appliance, Kind::Network];
    let faults: Vec<Fault> =
        steps.into_iter().map(|step| Fault { kind: *random.pick(&cheap), step }).collect();
    scene(&faults, doomed).play(&faults, &mut random);
}

/// Each kind at each step, each in a run of its own; and at the end of a run that fails. All are played, whatever one comes to.
fn all(random: &mut Random) {
    let (mut count, mut hits, mut bad) = (0, 0, Vec::new());
    for kind in kinds_asked() {
        for step in steps_asked() {
            for doomed in [false, true] {
                if doomed && !(DOOMED - 1..=DOOMED).contains(&step) {
                    continue;
                }
                let (fault, own) = (Fault { kind, step }, Random(random.next()));
                // On a thread of its own: a disk whose power goes is mounted for that thread.
                let played = thread::spawn(move || scene(&[fault], doomed).play(&[fault], &mut own.clone()));
                count += 1;
                match played.join() {
                    Ok(hit) => hits += hit,
                    Err(_) => bad.push((fault, doomed)),
                }
            }
        }
    }
    println!("{count} runs, {hits} faults hit their step at work, bad: {bad:?}");
    assert!(bad.is_empty(), "{bad:?}");
}
