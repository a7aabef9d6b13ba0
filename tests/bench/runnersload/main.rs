//! As many simulated runners as are asked for on one `rootstockd`, for `./dev bench runs --parts runners,storm`. Prints one JSON object.
//!
//! `runnersload MODE MACS SECONDS FOLDER ROOTSTOCKD`; the modes:
//! * `runners`: Macs come within ten seconds, each works at a run of so many seconds and reports progress twice a second.
//! * `storm`: the same; in the middle of their runs the daemon is killed (SIGKILL) and started again at once.
//!
//! Owns: what is measured, and when. Must not know: what a runner says (`mac`), how it travels (`wire`), the daemon (`appliance`).

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a measurement")]

mod appliance;
mod mac;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use appliance::Appliance;
use mac::{Kind, Mac, Seen, Weather};
use serde_json::{Value, json};

/// All Macs come within this time: a lab that is switched on.
const RAMP: Duration = Duration::from_secs(10);
/// Until the first action of the last one is under way.
const SETTLED: Duration = Duration::from_secs(4);
/// Stack of a thread: there are three a Mac.
const STACK: usize = 256 << 10;

/// Milliseconds: how many, the median, the 99th percentile, the most.
fn figures(mut times: Vec<f64>) -> Value {
    if times.is_empty() {
        return Value::Null;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    json!({ "count": times.len(), "median": at(0.5), "p99": at(0.99), "most": at(1.0) })
}

fn latencies(seen: &[Seen]) -> Value {
    let of = |kind: Kind| {
        let all = seen.iter().flat_map(|seen| &seen.times);
        figures(all.filter(|(of, _)| *of == kind).map(|(_, time)| time.as_secs_f64() * 1000.0).collect())
    };
    json!({
        "hello": of(Kind::Hello), "start": of(Kind::Start), "next": of(Kind::Next), "progress": of(Kind::Progress),
        "log": of(Kind::Log), "done": of(Kind::Done),
    })
}

/// Starts all Macs, spread over the ramp.
fn lab(
    appliance: &Appliance,
    weather: &Arc<Weather>,
    macs: u32,
    seconds: u32,
) -> Vec<thread::JoinHandle<Seen>> {
    let began = Instant::now();
    let mut workers = Vec::new();
    for number in 0..macs {
        let at = RAMP * number / macs;
        thread::sleep(at.saturating_sub(began.elapsed()));
        let mac = Mac::new(number, appliance, weather.clone(), seconds);
        workers.push(thread::Builder::new().stack_size(STACK).spawn(move || mac.live()).unwrap());
    }
    thread::sleep(SETTLED);
    workers
}

fn ended(workers: Vec<thread::JoinHandle<Seen>>) -> Vec<Seen> {
    let seen: Vec<Seen> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    for wrong in seen.iter().filter_map(|seen| seen.wrong.as_ref()).take(5) {
        eprintln!("{wrong}");
    }
    seen
}

fn runners(mut appliance: Appliance, macs: u32, seconds: u32) -> Value {
    let weather = Arc::new(Weather::default());
    let workers = lab(&appliance, &weather, macs, seconds);
    let (began, cpu) = (Instant::now(), appliance.cpu());
    // All of them are at work for so long.
    thread::sleep(Duration::from_secs(u64::from(seconds)).saturating_sub(RAMP + SETTLED + SETTLED));
    let share = (appliance.cpu() - cpu) / began.elapsed().as_secs_f64();
    let seen = ended(workers);
    weather.over.store(true, Ordering::Relaxed);
    let peak = appliance.peak_memory();
    let at_work = appliance.database();
    appliance.stop();
    let stopped = appliance.database();
    json!({
        "macs": macs, "seconds": seconds, "succeeded": seen.iter().filter(|seen| seen.succeeded).count(),
        "lost_progress": seen.iter().map(|seen| seen.lost).sum::<u32>(), "cpu": share, "peak_memory": peak,
        "database": stopped, "database_at_work": at_work, "database_a_run": stopped as f64 / f64::from(macs),
        "ms": latencies(&seen),
    })
}

fn storm(mut appliance: Appliance, macs: u32, seconds: u32) -> Value {
    let weather = Arc::new(Weather::default());
    let workers = lab(&appliance, &weather, macs, seconds);
    appliance.kill();
    weather.storm.store(true, Ordering::Relaxed);
    let began = Instant::now();
    appliance.start();
    let ready = began.elapsed().as_secs_f64();
    let seen = ended(workers);
    weather.over.store(true, Ordering::Relaxed);
    let peak = appliance.peak_memory();
    appliance.stop();
    let mut went_on: Vec<f64> =
        seen.iter().filter_map(|seen| Some((seen.went_on? - began).as_secs_f64())).collect();
    went_on.sort_by(f64::total_cmp);
    json!({
        "macs": macs, "succeeded": seen.iter().filter(|seen| seen.succeeded).count(), "ready": ready,
        "went_on": went_on.len(), "median": went_on.get(went_on.len() / 2), "last": went_on.last(),
        "forgotten": seen.iter().map(|seen| seen.forgotten).sum::<u32>(), "peak_memory": peak, "ms": latencies(&seen),
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut word = || arguments.next().expect("runnersload MODE MACS SECONDS FOLDER ROOTSTOCKD");
    let (mode, macs, seconds) = (word(), word().parse().unwrap(), word().parse().unwrap());
    let appliance = Appliance::new(PathBuf::from(word()), PathBuf::from(word()));
    let made = match mode.as_str() {
        "runners" => runners(appliance, macs, seconds),
        "storm" => storm(appliance, macs, seconds),
        other => panic!("there is no mode {other}"),
    };
    println!("{made}");
    // Threads that still wait for news end with the process.
    std::process::exit(0);
}
