//! Macs and collections by the thousand, for `./dev bench runs --parts targets`: what one inventory change costs, and one page
//! of a list. Prints one JSON object.
//!
//! Macs are made in one go and on the disk that is named; what is measured is what a Mac and an admin do: a hello that brings
//! another inventory (one transaction, flushed), and requests to a running appliance through its socket.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a measurement")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rootstock::api::admin::{DeviceSummary, RulePreview, RuleText};
use rootstock::api::runner::{
    BatteryFacts, BootMethod, DeviceFacts, DiskFacts, DiskHealth, HealthVerdict, Inventory, NicFacts,
};
use rootstock::client::{Client, Patience};
use rootstock::db::{CollectionRow, Db, Greeted, Hello, Newcomers};
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

/// Rules of every kind, none of which holds for all.
fn rule(n: u32) -> String {
    let model = MODELS[(n % 8) as usize];
    match n % 8 {
        0 => format!("model = '{model}' and memory >= {} GiB", 4 << (n % 4)),
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

async fn fill(path: &Path, devices: u32, collections: u32) {
    let db = Db::open(path).await.unwrap();
    for n in 0..collections {
        let row =
            CollectionRow { name: format!("Rule {n:03}"), rule: Some(rule(n)), ..CollectionRow::default() };
        db.save_collection(&row, &[], &[], 1).await.unwrap().unwrap();
    }
    db.settle_stale().await.unwrap();
    let numbers: Vec<u32> = (0..devices).collect();
    for part in numbers.chunks(1000) {
        let hellos: Vec<Hello> = part.iter().map(|n| mac(*n, 0)).collect();
        let at = 1_700_000_000_000 + i64::from(part[0]);
        let greeted = db.hellos(&hellos, MANY, at).await.unwrap();
        assert!(greeted.iter().all(|one| matches!(one, Greeted::Device(_))));
    }
    db.close().await;
}

/// One Mac after the other comes with another inventory.
async fn change(path: &Path, devices: u32, rounds: u32) -> (serde_json::Value, f64) {
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
    db.close().await;
    (figures(times), memberships as f64 / f64::from(rounds))
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
    let first = measured(rounds, |_| assert!(!list("").is_empty()));
    let deep = list("").len();
    let seen = 1_700_000_000_000 + u64::from(devices / 2 / 1000 * 1000);
    let middle = format!("&after={seen}-{}", devices / 2);
    let after = measured(rounds, |_| drop(list(&middle)));
    let common = measured(rounds, |_| assert!(!list("&search=imac14").is_empty()));
    let rare =
        measured(rounds, |n| assert_eq!(list(&format!("&search=C02{:08}", n * 31 % devices)).len(), 1));
    let nothing = measured(rounds, |_| assert!(list("&search=zzzz").is_empty()));
    let members = measured(rounds, |n| drop(list(&format!("&collection=Rule%20{:03}", n % 200))));
    let unknown = measured(rounds, |_| assert!(!list("&known=false").is_empty()));
    let name = measured(rounds, |n| assert_eq!(list(&format!("&name=C02{:08}", n * 31 % devices)).len(), 1));
    let collections =
        measured(rounds, |_| drop(client.get::<serde_json::Value>("/api/v1/collections").unwrap()));
    let preview = measured(3, |_| {
        let rule = RuleText { rule: "memory >= 16 GiB and disk.health != good".into() };
        drop(client.post::<_, RulePreview>("/api/v1/collections/preview", &rule).unwrap());
    });
    stop.cancel();
    thread.join().unwrap();
    serde_json::json!({
        "page": first, "page in the middle": after, "search, common": common, "search, one": rare, "search, none": nothing,
        "members of a collection": members, "unknown ones": unknown, "by name": name, "collections": collections,
        "preview of a rule": preview, "page length": deep,
    })
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
    let began = Instant::now();
    runtime.block_on(fill(&path, devices, collections));
    let filled = began.elapsed().as_secs_f64();
    let bytes = fs::metadata(&path).unwrap().len();
    let (changes, memberships) = runtime.block_on(change(&path, devices, rounds));
    let pages = pages(&data, rounds.min(50), devices);
    println!(
        "{}",
        serde_json::json!({
            "devices": devices, "collections": collections, "filled": filled, "bytes": bytes,
            "memberships": memberships, "change": changes, "ms": pages,
        })
    );
}
