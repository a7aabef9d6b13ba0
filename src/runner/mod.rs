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
//! | [`find`], [`network`] | where the appliance is, and the way to it |
//! | [`work`] → [`perform`] | the conversation with the appliance → one assignment |
//! | [`format`](mod@format), [`apply`], [`verify`], [`copy`], [`startup`], [`capture`] and [`share`], [`script`] with [`orphan`], [`restart`] | the actions |
//! | [`variables`] | what scripts read and set; the tool they call |
//! | [`place`], [`target`], [`destinations`] | where the bytes of a partition lie; partitions that an image may go to |
//! | [`desk`] | the remote twin: what the screen shows, what people say here and from afar |
//! | [`keyboard`] | keyboard layouts of the console |
//! | [`link`], [`report`], [`receipt`], [`rates`], [`failure`] | what the worker says, to whom |
//! | [`clock`] with [`ntp`], [`log`], [`show`] | the edge |
//!
//! Five threads: the worker talks to the appliance and acts; the network thread sets interfaces up; two at the desk tell the appliance
//! what the screen shows and listen for what people say from afar; the first thread owns the screen. They meet in channels.
//!
//! Must not know: how a run is decided (the appliance does), how a restore orders its writes (`image::restore` does).

pub mod apply;
pub mod attend;
pub mod capture;
pub mod clock;
pub mod copy;
pub mod desk;
pub mod destinations;
pub mod failure;
pub mod find;
pub mod format;
pub mod identity;
pub mod keyboard;
pub mod link;
pub mod log;
pub mod network;
pub mod ntp;
pub mod orphan;
pub mod perform;
pub mod place;
pub mod rates;
pub mod receipt;
pub mod report;
pub mod restart;
pub mod script;
pub mod settings;
pub mod share;
pub mod show;
pub mod startup;
pub mod target;
pub mod variables;
pub mod verify;
pub mod wizard;
pub mod work;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use crate::host::LogFile;
use desk::Desk;
use link::Link;
use log::Console;
use network::{Kept, Network, System};
use settings::{Asked, Flags, Settings, USAGE};
use show::{Faces, Sources, Takers};
use wizard::{Down, Shell, State, Terminal};

/// Runs the program of this process. Exit codes: 0 a restart was asked for (and is somebody else's to do) · 1 the runner cannot
/// work, with a line that says why · 2 the command line was wrong.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if variables::is_for_tool(&words) {
        return ExitCode::from(variables::tool(&words, &mut std::io::stdout(), &mut std::io::stderr()));
    }
    let words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let flags = match Flags::parse(words) {
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
    let left = orphan::end_scripts(&settings.state);
    if left > 0 {
        tracing::warn!(
            "a script of the runner before this one was still at work and was ended: {left} processes"
        );
    }
    if restart::is_promised(&settings.state, &identity::boot_id(&settings.root)) {
        tracing::warn!("the runner before this one did not come to restart this Mac; it is restarted now");
        return go_down(Down::Restart, &settings);
    }
    let faces = faces(&settings);
    run(&settings, faces)
}

fn run(settings: &Settings, faces: Faces) -> ExitCode {
    let (news, seen) = mpsc::channel();
    let (worker_orders, taken) = mpsc::channel();
    let (network_news, network_seen) = mpsc::channel();
    let (network_orders, network_taken) = mpsc::channel();
    let (errands, errands_taken) = mpsc::channel();
    let place = Kept::place(&settings.state);
    let state = State {
        place: place.clone(),
        wire: Kept::wire(&settings.state),
        keyboards: keyboard::found(&settings.root, &settings.state, settings.keyboard.as_deref()),
        shell: shell(settings),
        attended: faces.terminal.is_some(),
        ..State::new(
            place.server.as_ref().or(settings.server.as_ref()).map(String::as_str),
            settings.unattended,
        )
    };
    let network = Network {
        system: System { root: settings.root.clone(), ..System::of_boot_environment() },
        state: settings.state.clone(),
        owned: restart::owns_the_machine(),
    };
    // On their own to the end: a DHCP server or an appliance that does not answer must not hold a restart up.
    let desk = Desk::default();
    let (telling, listening, desk_news) = (desk.clone(), desk.clone(), network_news.clone());
    thread::spawn(move || telling.tell(&errands_taken, &desk_news));
    let desk_news = network_news.clone();
    thread::spawn(move || listening.listen(&desk_news));
    thread::spawn(move || network.serve(&network_taken, &network_news));
    let takers = Takers { worker: worker_orders, network: network_orders, desk: errands };
    let sources = Sources { worker: &seen, others: &network_seen };
    let worked = thread::scope(|scope| {
        let worker =
            scope.spawn(move || work::work(settings, &Link::new(news, taken, place).with_desk(desk)));
        show::show(state, faces, &sources, &takers, settings);
        // A worker that still waits for orders ends with its screen.
        drop(takers);
        worker.join()
    });
    let Ok(down) = worked else {
        return complain(&"the worker broke down; see rootstock-runner.log", ExitCode::FAILURE);
    };
    go_down(down, settings)
}

fn go_down(down: Down, settings: &Settings) -> ExitCode {
    match restart::go_down(down, settings.keep_running) {
        Ok(restart::Restart::Kept) => {
            // Whoever started this program restarts the machine.
            restart::forget_promise(&settings.state);
            ExitCode::SUCCESS
        }
        Err(error) => complain(&failure::chain(&error), ExitCode::FAILURE),
    }
}

/// Who may come by SSH may have a shell here too; nobody else, as long as nobody has said who they are.
fn shell(settings: &Settings) -> Shell {
    match settings.has_ssh_keys {
        true => Shell::Open,
        false => Shell::Shut(
            "This boot environment has no SSH keys: whoever stands here could do anything with this Mac and with what the \
             appliance lets it read. Build the boot files with keys: rootstock media boot --ssh-authkeys FILE."
                .to_owned(),
        ),
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
    if let Ok(file) = LogFile::open(&settings.state, "rootstock-runner", settings.log) {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || file.clone())
            .with_ansi(false);
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
