//! `rootstockd`: the appliance.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rootstock::server::Server;
use rootstock::server::config::{Config, FOLDERS, Fragment};
use rootstock::server::listen::check_interfaces;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The Rootstock appliance: starts Macs over the network and images them.
///
/// Settings are TOML. Without --config, all files config.d/*.toml in /usr/lib/rootstock, /run/rootstock and
/// /etc/rootstock are read in this order; later ones win, key by key. What nobody sets has a default.
#[derive(Parser)]
#[command(name = "rootstockd", version, max_term_width = 100)]
struct Arguments {
    /// Settings file; may be given several times, later ones win. Then the config.d folders are not read.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Folder for everything that the appliance keeps; made on first start.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rootstock")]
    data: PathBuf,
    /// Unix socket for the admin's command line [default: rootstock.sock in the data folder]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Check the settings, print those in force, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = settings(&arguments)?;
    if arguments.check {
        check_interfaces(&config)?;
        say(&mut std::io::stdout(), &config.to_string());
        return Ok(());
    }
    let filter =
        EnvFilter::try_from_env("ROOTSTOCK_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| rootstock::server::recent::Tee)
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config, arguments.data))
}

fn settings(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut fragment = Fragment::default();
    if arguments.config.is_empty() {
        fragment = Fragment::read_folders(&FOLDERS)?;
    }
    for file in &arguments.config {
        fragment = Fragment::read(file)?.or(fragment);
    }
    let flags = Fragment { socket: arguments.socket.clone(), ..Fragment::default() };
    Ok(flags.or(fragment).validate()?)
}

async fn serve(config: Config, data: PathBuf) -> anyhow::Result<()> {
    let limits = config.log.0;
    let server = Server::open(config, &data).await?;
    if let Err(error) = rootstock::server::recent::keep_in(&data.join("log"), limits) {
        tracing::warn!("the log is not kept in files: {error}");
    }
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        signalled.cancel();
    });
    for listener in &server.app().listeners {
        tracing::info!("{} on {}", listener.service, listener.address);
    }
    tracing::info!("rootstockd {} is ready, data in {}", env!("CARGO_PKG_VERSION"), data.display());
    notify_ready();
    server.run(stop).await.context("rootstockd stopped")
}

/// Tells the service manager that we serve (sd_notify(3)), if one started us.
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent =
        std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = sent {
        tracing::warn!("the service manager was not told that we are ready: {error}");
    }
}

/// Prints a line; a reader that went away is no error of ours.
fn say(to: &mut impl std::io::Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
