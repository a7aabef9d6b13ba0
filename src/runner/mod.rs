//! The program that a booted Mac runs: says who it is, asks for one action at a time, does it, reports. No tokio, no libc
//! needed: one static binary in the initramfs.
//!
//! In reading order:
//!
//! | room | what |
//! |---|---|
//! | [`settings`] | flags, kernel command line, baked files |
//! | [`identity`] | who this Mac is, which disks it has |
//! | [`wizard`] | pages as data, drawn on a terminal or told as lines |
//! | [`work`] → [`perform`] | the conversation with the appliance → one assignment |
//! | [`format`](mod@format), [`apply`], [`script`], [`restart`] | the actions |
//! | [`place`], [`target`] | where the bytes of a partition lie |
//! | [`link`], [`report`], [`receipt`], [`rates`], [`failure`] | what the worker says, to whom |
//! | [`clock`] with [`ntp`], [`log`], [`show`] | the edge |
//!
//! Two threads: the worker talks to the appliance and acts; the first thread owns the screen. They meet in two channels.
//!
//! Must not know: how a run is decided (the appliance does), how a restore orders its writes (`image::restore` does).

pub mod apply;
pub mod clock;
pub mod failure;
pub mod format;
pub mod identity;
pub mod link;
pub mod log;
pub mod ntp;
pub mod perform;
pub mod place;
pub mod rates;
pub mod receipt;
pub mod report;
pub mod restart;
pub mod script;
pub mod settings;
pub mod show;
pub mod target;
pub mod wizard;
pub mod work;

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use link::Link;
use log::{Console, LogFile};
use settings::{Asked, Flags, Settings, USAGE};
use show::Faces;
use wizard::{State, Terminal};

/// Runs the program of this process. Exit codes: 0 a restart was asked for (and is somebody else's to do) · 1 the runner cannot
/// work, with a line that says why · 2 the command line was wrong.
pub fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => return say(USAGE, ExitCode::SUCCESS),
        Ok(Asked::Version) => {
            return say(concat!("rootstock-runner ", env!("CARGO_PKG_VERSION"), "\n"), ExitCode::SUCCESS);
        }
        Err(error) => return complain(&error, ExitCode::from(2)),
    };
    let settings = match Settings::read(flags) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, ExitCode::FAILURE),
    };
    start_log(&settings);
    let faces = faces(&settings);
    run(&settings, faces)
}

fn run(settings: &Settings, faces: Faces) -> ExitCode {
    let (news, seen) = mpsc::channel();
    let (orders, taken) = mpsc::channel();
    let state = State::new(&settings.server, settings.unattended);
    let worked = thread::scope(|scope| {
        let worker = scope.spawn(move || work::work(settings, &Link::new(news, taken)));
        show::show(state, faces, &seen, &orders);
        worker.join()
    });
    if worked.is_err() {
        return complain(&"the worker broke down; see runner.log", ExitCode::FAILURE);
    }
    match restart::restart(settings.keep_running) {
        Ok(restart::Restart::Kept) => ExitCode::SUCCESS,
        Err(error) => complain(&failure::chain(&error), ExitCode::FAILURE),
    }
}

/// The wizard on its terminal and lines on the serial consoles; where there is neither, lines on standard output.
fn faces(settings: &Settings) -> Faces {
    let terminal = settings.console.as_deref().and_then(|path| {
        Terminal::open(path)
            .inspect_err(|error| tracing::warn!("plain lines only: {}", failure::chain(error)))
            .ok()
    });
    let serial = |path: &std::path::PathBuf| {
        Console::serial(path)
            .inspect_err(|error| tracing::info!("no console {}: {error}", path.display()))
            .ok()
    };
    let mut consoles: Vec<Console> = settings.serial.iter().filter_map(serial).collect();
    if terminal.is_none() && consoles.is_empty() {
        consoles.push(Console::new(std::io::stdout(), "\n"));
    }
    Faces { terminal, consoles }
}

/// A log that cannot be written is no reason not to image a Mac.
fn start_log(settings: &Settings) {
    if let Ok(file) = LogFile::open(&settings.state) {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(file).with_ansi(false);
        if let Err(error) = log.try_init() {
            let _ = writeln!(std::io::stderr(), "no log: {error}");
        }
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    // Nobody is left to tell when standard error is gone too.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    code
}
