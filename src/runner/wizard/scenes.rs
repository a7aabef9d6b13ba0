//! Every page of the wizard as it comes to be: what happened before it. For tests and for the pictures in the documents.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::event::{Event, Key, Told};
use super::state::{Shell, State, update};
use crate::api::runner::{
    AskedDestination, AskedKind, AskedVariable, DestinationDisk, DestinationPartition, DeviceFacts,
    DiskFacts, FailedStep, Failure, Offer, Outcome, Progress, Purpose, RunQuestion,
};
use crate::api::sign_in::SignInAsked;
use crate::api::wizard::TechnicianMessage;
use crate::client::{Found, Verdict};
use crate::runner::keyboard::Keyboards;
use crate::runner::network::{Interface, NetworkNews, Seen};
use crate::value::Role;

fn machine() -> DeviceFacts {
    let disk = |number, node: &str, model: &str, contents: &[&str]| DiskFacts {
        number,
        node: node.into(),
        model: model.into(),
        serial: "S1".into(),
        size: 500_107_862_016,
        block_size: 512,
        external: number.is_none(),
        contents: contents.iter().map(|text| (*text).to_owned()).collect(),
        health: None,
    };
    DeviceFacts {
        serial: Some("C02FEAS00001".parse().unwrap()),
        model: Some("MacBookPro11,1".parse().unwrap()),
        macs: vec!["0a:1b:2c:3d:4e:5f".parse().unwrap()],
        memory: 8 << 30,
        disks: vec![
            disk(
                Some(0),
                "/dev/sda",
                "APPLE SSD SM0512F",
                &["1 EFI System Partition 200.0 MiB", "2 Macintosh HD 465.1 GiB"],
            ),
            disk(None, "/dev/sdb", "USB Flash Disk", &[]),
        ],
        ..DeviceFacts::default()
    }
}

fn told(told: Told) -> Event {
    Event::Told(told)
}

fn seconds(seconds: u64) -> Event {
    Event::Tick(Duration::from_secs(seconds))
}

fn failure() -> Failure {
    Failure {
        cause: "the EFI System Partition of disk 0 could not be made".into(),
        evidence: "mkfs.fat ended with exit status: 1: unable to open /dev/sda1: No such file or directory"
            .into(),
        next_step: "Try again; if it stays, replace the disk.".into(),
        exit_code: None,
    }
}

fn offer(deployment: i64, purpose: Purpose) -> Offer {
    Offer {
        deployment,
        sequence: format!("Lab Mac {deployment}"),
        description: "macOS 10.15 with the lab's applications".into(),
        purpose,
        countdown: 30,
        erases: vec![0],
        revision: 1,
        asks_destination: false,
        category: String::new(),
        download_size: None,
    }
}

fn offers(purpose: Purpose) -> Event {
    told(Told::Offers {
        appliance: "Lab".into(),
        offers: vec![offer(1, purpose), offer(2, Purpose::Available)],
        why_empty: None,
        log_in: None,
    })
}

fn progress(phase: &str) -> Event {
    told(Told::Progress {
        progress: Progress {
            phase: phase.into(),
            done: 7 << 30,
            total: 20 << 30,
            network: 4 << 30,
            network_rate: 112_400_000,
            disk_rate: 231_900_000,
            seconds_left: Some(130),
            delta: None,
            limit: None,
        },
        limit: Some("the network limits".into()),
    })
}

fn found() -> Vec<Found> {
    let at = |name: &str, address: &str, verdict| Found {
        name: name.into(),
        address: format!("https://{address}"),
        verdict,
    };
    vec![
        at("Lab", "10.0.0.2", Verdict::Trusted),
        at("Lab (2)", "10.0.0.3:8443", Verdict::Trusted),
        at("Old", "10.0.0.9", Verdict::OtherProtocol(0)),
        at("Somebody's", "10.0.0.66", Verdict::OtherAuthority),
    ]
}

fn seen() -> NetworkNews {
    let interface = |name: &str, link, speed, addresses: &[Ipv4Addr]| Interface {
        name: name.into(),
        mac: "0a:1b:2c:3d:4e:5f".into(),
        driver: Some("tg3".into()),
        below: None,
        link,
        speed,
        addresses: addresses.iter().map(|address| (*address, 24)).collect(),
        router: (!addresses.is_empty()).then_some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    let vlan =
        Interface { below: Some("eth0".into()), driver: None, ..interface("vlan5", Some(true), None, &[]) };
    NetworkNews::Seen(Seen {
        interfaces: vec![
            interface("enx0a1b2c3d4e5f", Some(false), None, &[]),
            interface("eth0", Some(true), Some(1000), &[Ipv4Addr::new(10, 0, 0, 57)]),
            interface("eth1", None, None, &[]),
            vlan,
        ],
        dns: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
    })
}

fn key(key: Key) -> Event {
    Event::Key(key)
}

fn typed(text: &str) -> Vec<Event> {
    let key = |letter| match letter {
        '\n' => Key::Enter,
        '\t' => Key::Down,
        letter => Key::Char(letter),
    };
    text.chars().map(|letter| Event::Key(key(letter))).collect()
}

fn waiting() -> Event {
    told(Told::Waiting {
        what: "Looking for the appliance at https://10.0.0.2".into(),
        error: Some(
            "connection refused; check the network cable, and that rootstockd runs at that address".into(),
        ),
    })
}

fn run() -> Vec<Event> {
    vec![
        told(Told::Started { run: 7, sequence: "Lab Mac".into(), steps: 3 }),
        told(Told::Step { step: 2, steps: 3, name: "Apply Image".into() }),
    ]
}

fn question() -> RunQuestion {
    let text = |name: &str, label: &str, help: &str| AskedVariable {
        name: name.into(),
        label: label.into(),
        help: help.into(),
        required: true,
        ..AskedVariable::default()
    };
    let choices = |choices: &[&str]| choices.iter().map(|choice| (*choice).to_owned()).collect();
    RunQuestion {
        variables: vec![
            AskedVariable {
                default: "LAB-C02FEAS00001".into(),
                ..text("OSDComputerName", "Name of this Mac", "as on its sticker, like LAB-12")
            },
            AskedVariable {
                kind: AskedKind::Choice,
                choices: choices(&["Lab", "Library", "Office"]),
                ..text("Room", "Room", "")
            },
            AskedVariable {
                kind: AskedKind::YesNo,
                choices: choices(&["yes", "no"]),
                ..text("Join", "Join the domain", "")
            },
            AskedVariable { secret: true, ..text("PmmOSDJoinPassword", "Password of the join account", "") },
        ],
        ..RunQuestion::default()
    }
}

fn destinations() -> Event {
    let partition = |number, contents: &str, size, why_not: &str| DestinationPartition {
        number,
        contents: contents.into(),
        size,
        why_not: why_not.into(),
    };
    let efi = || partition(1, "EFI (fat32)", 200 << 20, "the EFI System Partition: the firmware's own");
    let disk = |number, node: &str, model: &str, size, external, partitions| DestinationDisk {
        number,
        node: node.into(),
        model: model.into(),
        serial: "S1".into(),
        size,
        external,
        why_not: String::new(),
        partitions,
    };
    let small = "too small: it has 15.0 GiB, the image needs 20.0 GiB";
    let asked = AskedDestination {
        step: 2,
        name: "Apply Image".into(),
        image: "lab-mac 3".into(),
        needs: 20 << 30,
        disks: vec![
            disk(
                Some(0),
                "/dev/sda",
                "APPLE SSD SM0512F",
                500_107_862_016,
                false,
                vec![
                    efi(),
                    partition(2, "Macintosh HD (apfs)", 400 << 30, ""),
                    partition(3, "Scratch (hfs+)", 15 << 30, small),
                ],
            ),
            disk(
                Some(1),
                "/dev/sdb",
                "Portable SSD T7",
                1_000_204_886_016,
                true,
                vec![efi(), partition(2, "Archive (exfat)", 931 << 30, "")],
            ),
            DestinationDisk {
                why_not: "this Mac was started from it, or it cannot be written".into(),
                ..disk(None, "/dev/sdc", "USB Flash Disk", 16 << 30, true, Vec::new())
            },
        ],
    };
    told(Told::Asked(RunQuestion { destination: Some(asked), ..RunQuestion::default() }))
}

fn ended(outcome: Outcome, message: &str, failure: Option<Failure>, can_resume: bool) -> Event {
    let failure = failure.map(Box::new);
    let failed_step = failure.is_some().then(|| {
        Box::new(FailedStep {
            step: 2,
            steps: 3,
            name: "Apply Image".into(),
            place: "steps[1].group[0]".into(),
            groups: vec!["Lab".into()],
        })
    });
    told(Told::Ended { outcome, message: message.into(), failure, can_resume, failed_step })
}

fn with(first: Vec<Event>, then: Vec<Event>) -> Vec<Event> {
    first.into_iter().chain(then).collect()
}

fn over_network(then: Vec<Event>) -> Vec<Event> {
    with(vec![waiting(), key(Key::Function(3)), told(Told::Network(seen()))], then)
}

fn message() -> Event {
    let text = "Please leave this Mac on.\nSomebody from the office comes at three.".into();
    told(Told::Message(TechnicianMessage {
        id: 1,
        text,
        by: "ana".into(),
        sent_ms: 0,
        acknowledged_ms: None,
    }))
}

fn journal() -> Event {
    let line = |number: u64| format!("| installing package {number} of 60");
    Event::Logged((1..=60).map(line).collect())
}

/// Every page by its name, in the order in which a technician meets them.
pub(super) fn scenes() -> Vec<(&'static str, Vec<Event>)> {
    let log_in = || {
        let log_in = Some(SignInAsked { domains: vec!["local".into(), "EXAMPLE".into()] });
        told(Told::Offers { appliance: "Lab".into(), offers: Vec::new(), why_empty: None, log_in })
    };
    let why = "This Mac is in no collection with a deployment. Deploy a sequence to Unknown Macs.";
    let empty = Told::Offers {
        appliance: "Lab".into(),
        offers: Vec::new(),
        why_empty: Some(why.into()),
        log_in: None,
    };
    let wait = RunQuestion {
        message: Some("Put the asset tag under the Mac, then close its lid and open it again.".into()),
        button: Some("Done".into()),
        ..RunQuestion::default()
    };
    let static_address = with(
        vec![key(Key::Down), key(Key::Left)],
        with(typed("\t10.0.0.5/24\t10.0.0.1"), vec![key(Key::Enter)]),
    );
    let in_use = "10.0.0.5 is in use already, by 0a:00:00:00:00:09: take another address";
    let lines = vec![told(Told::Lines(vec!["first line".into(), "last line".into()]))];
    vec![
        ("01-connecting", vec![waiting(), seconds(75)]),
        ("02-appliances", with(vec![told(Told::Appliances(found()))], typed("\t\t\n"))),
        ("03-appliance-by-address", with(vec![told(Told::Appliances(Vec::new()))], typed("\n10.0.0"))),
        ("04-network", over_network(Vec::new())),
        (
            "05-network-static",
            over_network(with(
                static_address.clone(),
                vec![told(Told::Network(NetworkNews::Failed(in_use.into())))],
            )),
        ),
        (
            "06-network-wrong-line",
            over_network(with(vec![key(Key::Down), key(Key::Left)], typed("\t10.0.0.5\n"))),
        ),
        ("07-log-in", with(vec![log_in()], typed("ana\thunter2"))),
        (
            "08-log-in-refused",
            with(
                vec![log_in()],
                with(typed("ana\twrong\n"), vec![told(Told::NotTaken("name or password are wrong".into()))]),
            ),
        ),
        (
            "09-choose",
            vec![
                told(Told::LoggedIn { name: "ana".into(), role: Role::Technician }),
                offers(Purpose::Available),
                key(Key::Down),
            ],
        ),
        ("10-nothing-to-choose", vec![told(empty)]),
        ("11-confirm", vec![offers(Purpose::Available), key(Key::Enter)]),
        ("12-countdown", vec![offers(Purpose::Required), seconds(9)]),
        (
            "13-prompt",
            with(
                run(),
                with(
                    vec![
                        told(Told::Asked(question())),
                        key(Key::Down),
                        key(Key::Right),
                        key(Key::Down),
                        key(Key::Down),
                    ],
                    typed("hunter2"),
                ),
            ),
        ),
        (
            "14-prompt-not-taken",
            with(
                run(),
                with(
                    vec![told(Told::Asked(question()))],
                    with(
                        typed("!\n\n\nhunter2\n"),
                        vec![told(Told::NotTaken(
                            "OSDComputerName: it does not look right: as on its sticker, like LAB-12".into(),
                        ))],
                    ),
                ),
            ),
        ),
        ("14b-destination", with(run(), vec![destinations(), key(Key::Down), seconds(42)])),
        ("14c-destination-confirmed", with(run(), vec![destinations(), key(Key::Enter)])),
        ("15-wait-for-technician", with(run(), vec![told(Told::Asked(wait)), seconds(42)])),
        (
            "16-running",
            with(
                run(),
                vec![
                    seconds(65),
                    progress("writing"),
                    told(Told::Lines(vec!["image lab-mac 3, 20.0 GiB".into()])),
                ],
            ),
        ),
        (
            "17-running-without-a-network",
            vec![
                told(Told::Started { run: 7, sequence: "Lab Mac".into(), steps: 3 }),
                told(Told::StepFailed(failure())),
                told(Told::Step { step: 2, steps: 3, name: "Apply Image".into() }),
                progress("writing"),
                told(Told::Waiting {
                    what: "Waiting for the appliance".into(),
                    error: Some("no route to host".into()),
                }),
            ],
        ),
        ("18-stop", with(run(), vec![progress("writing"), key(Key::Escape)])),
        (
            "19-succeeded",
            with(
                run(),
                with(lines.clone(), vec![ended(Outcome::Succeeded, "3 of 3 steps done.", None, false)]),
            ),
        ),
        (
            "20-failed",
            with(run(), with(lines, vec![ended(Outcome::Failed, "Step 2 failed.", Some(failure()), true)])),
        ),
        ("21-problem", vec![told(Told::Trouble(failure()))]),
        ("22-message", with(run(), vec![progress("writing"), message()])),
        ("23-log", with(run(), vec![journal(), key(Key::Function(2)), key(Key::PageUp)])),
        (
            "24-keyboard",
            with(vec![offers(Purpose::Available), key(Key::Function(4)), key(Key::Down)], typed("zy")),
        ),
        ("25-no-shell", vec![offers(Purpose::Available), key(Key::Function(5))]),
        ("26-help", vec![offers(Purpose::Available), key(Key::Function(1))]),
    ]
}

/// The wizard in front of this Mac, after these events.
pub(super) fn after(events: Vec<Event>) -> State {
    let shut = "This boot environment has no SSH keys: whoever stands here could do anything with this Mac and with what the \
                appliance lets it read. Build the boot files with keys: rootstock media boot --ssh-authkeys FILE.";
    let state = State {
        keyboards: Keyboards {
            layouts: ["us", "gb", "de", "fr", "ch-de", "ch-fr"].map(str::to_owned).to_vec(),
            current: Some("de".into()),
        },
        shell: Shell::Shut(shut.into()),
        ..State::new(Some("https://10.0.0.2"), false)
    };
    let machine = told(Told::Machine(Box::new(machine())));
    [machine].into_iter().chain(events).fold(state, |state, event| update(state, event).0)
}

/// A list of so many offers.
pub(super) fn many(count: i64) -> Event {
    let offers = (0..count).map(|number| offer(number, Purpose::Available)).collect();
    told(Told::Offers { appliance: "Lab".into(), offers, why_empty: None, log_in: None })
}
