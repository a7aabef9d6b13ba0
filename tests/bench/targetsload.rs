//! Macs and collections by the thousand, for `./dev bench runs --parts targets`: what one inventory change costs, and one page
//! of a list. Prints one JSON object.
//!
//! Macs come as in a company: nearly all are registered by a list first (10,000 lines at a time), one in fifty is not; then each
//! says its first hello (a thousand in one transaction; a flush for each would measure the disk). What is measured is what a Mac and
//! an admin do: lists taken in, a hello that brings another inventory (one transaction, flushed), and requests to a running
//! appliance through its socket.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a measurement")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rootstock::api::admin::{
    Collection, CollectionDetails, CreateDeployment, Deployment, DeploymentTerms, Device, DeviceSummary,
    EditDevice, ExplainedOffer, RosterReport, RulePreview, RuleText, SavedSequence, SequenceText,
};
use rootstock::api::runner::{
    BatteryFacts, BootMethod, DeviceFacts, DiskFacts, DiskHealth, HealthVerdict, Inventory, NicFacts, Purpose,
};
use rootstock::client::{Client, Patience};
use rootstock::db::{CollectionRow, Db, Greeted, Hello, Newcomers, RosterLine};
use rootstock::server::Server;
use rootstock::server::config::Fragment;
use rootstock::value::{Digest, MacAddr};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const MODELS: [&str; 8] = [
    "iMac14,2",
    "iMac18,3",
    "MacBookPro11,1",
    "MacBookPro14,3",
    "MacBookAir7,2",
    "Macmini7,1",
    "MacPro6,1",
    "iMacPro1,1",
];
const MANY: Newcomers = Newcomers { a_minute: u32::MAX, unknown: u32::MAX };
/// Lines of one list.
const LIST: usize = 10_000;
/// One Mac in so many was not registered before it came.
const STRANGERS: u32 = 50;
/// Rooms that Macs stand in, one tag for each.
const ROOMS: u32 = 40;
const SETTINGS: &str = "[ports]\nhttp = 0\nhttps = 0\ndhcp = 0\nproxy-dhcp = 0\ntftp = 0\n[library]\nkeep-free = '0'\n[announce]\ndns-sd = false\n";

/// A Mac of this number, as it is after so many changes.
fn mac(n: u32, change: u32) -> Hello {
    let [a, b, c, d] = n.to_be_bytes();
    let address = MacAddr::new([2, 0, a, b, c, d]);
    let memory = [4_u64, 8, 16, 32][((n / 8 + change) % 4) as usize] << 30;
    let verdict = if (n + change).is_multiple_of(50) { HealthVerdict::Worn } else { HealthVerdict::Good };
    let disk = DiskFacts {
        number: Some(0),
        node: "/dev/nvme0n1".into(),
        model: format!("APPLE SSD SM0{}12F", n % 3),
        serial: format!("S1K5NYAF{n:06}"),
        size: 500_107_862_016,
        block_size: 512,
        external: false,
        contents: vec!["1 EFI System Partition 200.0 MiB".into(), "2 Macintosh HD 465.1 GiB".into()],
        health: Some(DiskHealth {
            verdict,
            hours: Some(u64::from(n % 20_000)),
            wear: Some(n % 90),
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
        facts: DeviceFacts {
            serial: Some(format!("C02{n:08}").parse().unwrap()),
            uuid: Some(Uuid::from_u128(u128::from(n) + 1)),
            model: Some(MODELS[(n % 8) as usize].parse().unwrap()),
            manufacturer: Some("Apple Inc.".into()),
            macs: vec![address],
            memory,
            cpu: Some("Intel(R) Core(TM) i5-4258U CPU @ 2.40GHz".into()),
            firmware: Some(format!("43{}.140.2.0.0", n % 10)),
            disks: vec![disk],
            inventory: Inventory {
                board: Some("Mac-189A3D4F975D5FFC".into()),
                cores: Some(2 + n % 3 * 2),
                threads: Some(4),
                nics: vec![nic],
                battery: n.is_multiple_of(2).then(|| BatteryFacts {
                    cycles: Some(n % 1500),
                    design: Some(6330),
                    full: Some(6330 - u64::from(n % 3000)),
                    ..BatteryFacts::default()
                }),
                ..Inventory::default()
            },
        },
        boot: BootMethod::Netboot,
        receipt_key: "00".repeat(32),
        boot_id: String::new(),
        token: Digest::of(&[n.to_be_bytes(), change.to_be_bytes()].concat()),
        expires_ms: i64::MAX,
        address: Some([10, b, c, d].into()),
    }
}

/// What a list says of a Mac.
fn line(n: u32) -> RosterLine {
    let about = EditDevice {
        hostname: Some(format!("mac-{n:06}")),
        tag: vec![format!("room-{}", n % ROOMS)],
        ..EditDevice::default()
    };
    let Hello { facts, .. } = mac(n, 0);
    RosterLine {
        line: u64::from(n) + 2,
        serial: facts.serial,
        uuid: facts.uuid,
        about,
        ..RosterLine::default()
    }
}

/// Rules of every kind, none of which holds for all. Number 1 is of those that were seen longest ago.
fn rule(n: u32) -> String {
    let model = MODELS[(n % 8) as usize];
    match n % 8 {
        0 => format!("model = '{model}' and memory >= {} GiB", 4 << (n % 4)),
        1 if n == 1 => format!("serial between C02{:08} and C02{:08}", 0, 799),
        1 => format!("serial between C02{:08} and C02{:08}", n * 400, n * 400 + 399),
        2 => format!("ip in 10.{}.{}.0/24", n % 3, n),
        3 => "model like 'MacBook*' and disk.health != good".to_owned(),
        4 => format!("battery and battery.cycles > {}", 1000 + n),
        5 => format!("firmware >= 43{}.1 and not (model like 'iMac*' or cores > 4)", n % 10),
        6 => format!("serial matches '{n:03}$' or disk.wear > 88"),
        _ => format!("disk.serial like '*{n:03}' and nic.driver in (tg3, bcm5974)"),
    }
}

/// Median and 99th percentile in milliseconds.
fn figures(mut times: Vec<f64>) -> serde_json::Value {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    serde_json::json!({ "median": at(0.5), "p99": at(0.99) })
}

fn measured(rounds: u32, mut once: impl FnMut(u32)) -> serde_json::Value {
    let mut times = Vec::new();
    for round in 0..rounds {
        let began = Instant::now();
        once(round);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    figures(times)
}

/// Seconds that lists and first hellos took.
async fn fill(path: &Path, devices: u32, collections: u32) -> (f64, f64) {
    let db = Db::open(path).await.unwrap();
    for n in 0..collections {
        let row =
            CollectionRow { name: format!("Rule {n:03}"), rule: Some(rule(n)), ..CollectionRow::default() };
        db.save_collection(&row, &[], &[], 1).await.unwrap().unwrap();
    }
    db.settle_stale().await.unwrap();
    let began = Instant::now();
    let registered: Vec<RosterLine> =
        (0..devices).filter(|n| n % STRANGERS != STRANGERS - 1).map(line).collect();
    for part in registered.chunks(LIST) {
        let report = db.import_roster(part, false, 1_600_000_000_000).await.unwrap();
        assert_eq!((report.created as usize, report.faults.len()), (part.len(), 0));
    }
    let listed = began.elapsed().as_secs_f64();
    let eldest = registered.iter().filter(|line| line.line < 802).count() as u32;
    let (row, _) = db.collection("Rule 001").await.unwrap().unwrap();
    assert_eq!((row.members, row.stale), (eldest, false), "lists were judged");
    let began = Instant::now();
    let numbers: Vec<u32> = (0..devices).collect();
    for part in numbers.chunks(1000) {
        let hellos: Vec<Hello> = part.iter().map(|n| mac(*n, 0)).collect();
        let at = 1_700_000_000_000 + i64::from(part[0]);
        let greeted = db.hellos(&hellos, MANY, at).await.unwrap();
        assert!(greeted.iter().all(|one| matches!(one, Greeted::Device(_))));
    }
    db.close().await;
    (listed, began.elapsed().as_secs_f64())
}

/// One Mac after the other comes with another inventory.
async fn change(path: &Path, devices: u32, rounds: u32) -> (serde_json::Value, serde_json::Value, f64) {
    let db = Db::open(path).await.unwrap();
    db.hello(&mac(0, 1), MANY, 1_800_000_000_000).await.unwrap();
    let (mut times, mut memberships) = (Vec::new(), 0);
    for round in 0..rounds {
        let hello = mac((round * 7919 + 13) % devices, round + 2);
        let began = Instant::now();
        let greeted = db.hello(&hello, MANY, 1_800_000_000_001 + i64::from(round)).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        let Greeted::Device(known) = greeted else { panic!("{greeted:?}") };
        memberships += known.collections.len();
    }
    // What the appliance looks at before Macs boot, when something is deployed anew: all of them.
    let deployed: Vec<String> = (0..20).map(|n| format!("Rule {n:03}")).collect();
    let mut looks = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        assert!(db.standings(None, &deployed).await.unwrap().devices.len() as u32 >= devices);
        looks.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    db.close().await;
    (figures(times), figures(looks), memberships as f64 / f64::from(rounds))
}

fn pages(data: &Path, rounds: u32, devices: u32) -> serde_json::Value {
    let stop = CancellationToken::new();
    let (told, ready) = std::sync::mpsc::channel();
    let (stopped, folder) = (stop.clone(), data.to_owned());
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let config = toml::from_str::<Fragment>(SETTINGS).unwrap().validate().unwrap();
            let server = Server::open(config, &folder).await.unwrap();
            told.send(()).unwrap();
            server.run(stopped).await.unwrap();
        });
    });
    ready.recv().unwrap();
    let client = Client::unix(data.join("rootstock.sock")).with_patience(Patience::NONE);
    let list = |query: &str| -> Vec<DeviceSummary> {
        client.get(&format!("/api/v1/devices?limit=100{query}")).unwrap()
    };
    deploy(&client);
    let seen = 1_700_000_000_000 + u64::from(devices / 2 / 1000 * 1000);
    let middle = format!("&after={seen}-{}", devices / 2);
    let number = |n: u32| n * 31 % (devices / STRANGERS) * STRANGERS;
    let serial = |n: u32| format!("C02{:08}", number(n));
    let mut times = serde_json::Map::new();
    let mut take = |name: &str, rounds: u32, once: &mut dyn FnMut(u32)| {
        times.insert(name.to_owned(), measured(rounds, once));
    };
    take("page", rounds, &mut |_| assert!(!list("").is_empty()));
    take("page in the middle", rounds, &mut |_| assert!(!list(&middle).is_empty()));
    take("search, common", rounds, &mut |_| assert!(!list("&search=imac14").is_empty()));
    take("search, one", rounds, &mut |n| assert_eq!(list(&format!("&search={}", serial(n))).len(), 1));
    take("search, none", rounds, &mut |_| assert!(list("&search=zzzz").is_empty()));
    // Many have each word, none has both.
    take("search, never both", rounds, &mut |_| assert!(list("&search=imac14%20439.140").is_empty()));
    take("with a tag", rounds, &mut |n| assert!(!list(&format!("&tag=room-{}", n % ROOMS)).is_empty()));
    take("tag and search", rounds, &mut |n| drop(list(&format!("&tag=room-{}&search=macpro", n % ROOMS))));
    take("members of a collection", rounds, &mut |n| {
        drop(list(&format!("&collection=Rule%20{:03}", n % 200)))
    });
    take("members, seen long ago", rounds, &mut |_| assert!(!list("&collection=Rule%20001").is_empty()));
    take("unknown ones", rounds, &mut |_| assert!(!list("&known=false").is_empty()));
    take("by name", rounds, &mut |n| assert_eq!(list(&format!("&name=mac-{:06}", number(n))).len(), 1));
    take("collections", rounds, &mut |_| drop(client.get::<Vec<Collection>>("/api/v1/collections").unwrap()));
    take("deployments", rounds, &mut |_| drop(client.get::<Vec<Deployment>>("/api/v1/deployments").unwrap()));
    let one = list("&search=mac-0000")[0].id;
    take("one Mac", rounds, &mut |_| drop(client.get::<Device>(&format!("/api/v1/devices/{one}")).unwrap()));
    take("what a Mac is offered", rounds, &mut |_| {
        drop(client.get::<Vec<ExplainedOffer>>(&format!("/api/v1/devices/{one}/offers")).unwrap());
    });
    take("preview of a rule", 3, &mut |_| {
        let rule = RuleText { rule: "memory >= 16 GiB and disk.health != good".into() };
        let found: RulePreview = client.post("/api/v1/collections/preview", &rule).unwrap();
        assert!(found.total >= devices && found.matches > 0);
    });
    take("a collection is made", 1, &mut |_| {
        let wanted =
            serde_json::json!({ "name": "Made last", "rule": "model like 'iMac*' and memory < 16 GiB" });
        let made: CollectionDetails = client.post("/api/v1/collections", &wanted).unwrap();
        assert!(made.summary.members > 0 && !made.summary.stale);
    });
    let before = memory(true);
    let (mut bytes, began) = (0, Instant::now());
    let mut taken = |piece: &[u8]| -> Result<(), ()> {
        bytes += piece.len();
        Ok(())
    };
    client.stream("/api/v1/devices/export", &mut taken).unwrap().unwrap();
    let export = serde_json::json!({
        "seconds": began.elapsed().as_secs_f64(), "bytes": bytes, "memory": memory(false).saturating_sub(before),
    });
    let text: String = std::iter::once("serial,uuid,hostname,tags,collections\n".to_owned())
        .chain((0..LIST).map(|n| format!("C09{n:08},,new-{n:05},room-{};fresh,\n", n % 40)))
        .collect();
    let before = memory(true);
    let began = Instant::now();
    let answer = client.post_bytes("/api/v1/devices/import", text.as_bytes(), 1 << 20).unwrap();
    let report: RosterReport = serde_json::from_slice(&answer).unwrap();
    assert_eq!((report.created as usize, report.faults.len()), (LIST, 0));
    let import = serde_json::json!({
        "lines": LIST, "seconds": began.elapsed().as_secs_f64(), "memory": memory(false).saturating_sub(before),
    });
    stop.cancel();
    thread.join().unwrap();
    serde_json::json!({ "ms": times, "export": export, "import": import })
}

/// Something is deployed to twenty collections.
fn deploy(client: &Client) {
    let yaml = "name: load\nsteps:\n  - format_disk: {partitions: [{name: HD, format: hfs+, size: 100%}]}\n"
        .to_owned();
    let saved: SavedSequence = client.post("/api/v1/sequences", &SequenceText { yaml }).unwrap();
    for n in 0..20 {
        let wanted = CreateDeployment {
            sequence: saved.name.clone(),
            collection: format!("Rule {n:03}"),
            purpose: Purpose::Available,
            terms: DeploymentTerms::default(),
            confirm: None,
        };
        let _: Deployment = client.post("/api/v1/deployments", &wanted).unwrap();
    }
}

/// Most bytes of memory that this program had; from now on, where it is begun anew.
fn memory(anew: bool) -> u64 {
    if anew {
        fs::write("/proc/self/clear_refs", "5").unwrap();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u32| arguments.next().map_or(usual, |text| text.parse().unwrap());
    let (devices, collections, rounds) = (number(1000), number(200), number(200));
    let data = PathBuf::from(arguments.next().expect("targetsload DEVICES COLLECTIONS ROUNDS FOLDER"));
    fs::create_dir_all(&data).unwrap();
    // The daemon makes its own folders and keys; its database is filled before it starts.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let path = data.join("db.sqlite3");
    let (listed, greeted) = runtime.block_on(fill(&path, devices, collections));
    let bytes = fs::metadata(&path).unwrap().len();
    let (changes, looks, memberships) = runtime.block_on(change(&path, devices, rounds));
    let mut told = serde_json::json!({
        "devices": devices, "collections": collections, "listed": listed, "greeted": greeted, "bytes": bytes,
        "memberships": memberships, "change": changes, "look": looks,
    });
    let asked = pages(&data, rounds.min(50), devices);
    for (name, value) in asked.as_object().unwrap() {
        told[name] = value.clone();
    }
    println!("{told}");
}
