//! `rootstock media …`: boot files.
//!
//! Owns: arguments, defaults that depend on this machine, what is printed. The work is in [`crate::media`].

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nix::ifaddrs::getifaddrs;

use crate::media::apt::Archive;
use crate::media::boot::{self, Contents, Plan, Request};
use crate::media::server::Server;
use crate::value::ByteSize;

/// Verbs of `rootstock media`.
#[derive(Subcommand)]
pub enum Command {
    /// Make kernel, boot environment and network boot loader from Debian packages
    #[command(after_help = "\
Takes about a minute; packages (100 MB) are kept in the cache folder and used again. The machine itself is not \
changed: no package is installed.\n
Run it again after a change of the appliance's address, and now and then for Debian's security updates. rootstockd \
serves the new files at once.")]
    Boot(BootArguments),
}

/// `rootstock media boot`
#[derive(Args)]
pub struct BootArguments {
    /// Data folder of rootstockd: has keys/ca.pem, gets boot/
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rootstock")]
    data: PathBuf,
    /// Address of this appliance as the Macs reach it: 192.0.2.10 or https://boot.example.org:8443 [default: the
    /// only address of this machine]
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Server>,
    /// Port of the plain HTTP listener
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,
    /// Servers that the booted Mac takes the time from, before it trusts certificates
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    ntp_servers: Vec<String>,
    /// Let the holders of these keys sign in as root by SSH while a Mac is booted [default: nobody can]
    #[arg(long, value_name = "FILE")]
    ssh_authkeys: Option<PathBuf>,
    /// The static rootstock-runner [default: beside this program]
    #[arg(long, value_name = "FILE")]
    runner: Option<PathBuf>,
    /// Folder for packages [default: cache in the data folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Debian mirror
    #[arg(long, value_name = "URL", default_value = "http://deb.debian.org")]
    mirror: String,
    /// Use the package lists of the last time
    #[arg(long)]
    offline: bool,
    /// Only tell which packages would be taken
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// What stopped it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Boot(arguments) => make_boot_files(arguments),
        }
    }
}

fn make_boot_files(arguments: BootArguments) -> anyhow::Result<ExitCode> {
    let (json, dry_run) = (arguments.json, arguments.dry_run);
    let request = request(arguments)?;
    let mut say = |line: &str| eprintln!("{line}");
    let archive = Archive::open(&request.cache, &request.mirror)?;
    let plan = boot::plan(&request, &archive, &mut say)?;
    if dry_run {
        match json {
            true => println!("{}", serde_json::to_string_pretty(&plan)?),
            false => print_plan(&plan),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let contents = boot::build(&request, &archive, &plan, &mut say)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&contents)?),
        false => print_contents(&contents, &request.data.join("boot")),
    }
    Ok(ExitCode::SUCCESS)
}

fn request(arguments: BootArguments) -> anyhow::Result<Request> {
    let ssh_keys = arguments.ssh_authkeys.as_deref().map(read_keys).transpose()?;
    let server = match arguments.server {
        Some(server) => server,
        None => only_address()?,
    };
    let runner = match arguments.runner {
        Some(path) => path,
        None => {
            std::env::current_exe().context("finding rootstock-runner")?.with_file_name("rootstock-runner")
        }
    };
    Ok(Request {
        cache: arguments.cache.unwrap_or_else(|| arguments.data.join("cache")),
        data: arguments.data,
        mirror: arguments.mirror,
        offline: arguments.offline,
        server: server.with_http_port(arguments.http_port),
        runner,
        ntp_servers: arguments.ntp_servers,
        ssh_keys,
    })
}

/// The keys, when there is at least one: an empty file would be taken for "SSH is on" and let nobody in.
fn read_keys(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let is_key =
        |line: &str| line.split_whitespace().any(|w| w.starts_with("ssh-") || w.starts_with("ecdsa-"));
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself is not shown: it may be of a private key.
        if !is_key(line) {
            bail!(
                "line {number} of {} is no public SSH key, as ssh-keygen writes into a .pub file",
                path.display()
            );
        }
        count += 1;
    }
    if count == 0 {
        bail!("{} has no SSH key in it", path.display());
    }
    Ok(text)
}

/// The IPv4 address of this machine, if it has only one that others can reach.
fn only_address() -> anyhow::Result<Server> {
    let found: BTreeSet<IpAddr> = getifaddrs()
        .context("listing the addresses of this machine")?
        .filter_map(|interface| interface.address?.as_sockaddr_in().map(|address| IpAddr::V4(address.ip())))
        .filter(|address| !address.is_loopback() && !is_link_local(address))
        .collect();
    let mut addresses = found.iter();
    match (addresses.next(), addresses.next()) {
        (Some(address), None) => Ok(address.to_string().parse()?),
        (None, _) => bail!("this machine has no IPv4 address; name the appliance's with --server"),
        (Some(_), Some(_)) => {
            let list: Vec<String> = found.iter().map(IpAddr::to_string).collect();
            bail!(
                "this machine has several addresses ({}); name the one that the Macs reach with --server",
                list.join(", ")
            )
        }
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_link_local())
}

fn print_plan(plan: &Plan) {
    for package in plan.bookworm.iter().chain(&plan.trixie) {
        println!("{:<40} {:<40} {}", package.name, package.version, ByteSize(package.size));
    }
    println!("to download: {}", ByteSize(plan.download));
}

fn print_contents(contents: &Contents, boot: &Path) {
    for file in &contents.files {
        println!(
            "{:<42} {:>12}  sha256 {}",
            boot.join(&file.path).display(),
            ByteSize(file.size).to_string(),
            file.sha256
        );
    }
    println!(
        "kernel {} with {} modules; Macs find the appliance at {}",
        contents.kernel, contents.modules, contents.server
    );
    if !contents.modules_absent.is_empty() {
        println!("not in this kernel, and not needed: {}", contents.modules_absent.join(", "));
    }
    if !contents.firmware_absent.is_empty() {
        println!("firmware that Debian does not have: {}", contents.firmware_absent.join(", "));
    }
    println!("SSH: {}", if contents.ssh { "root, with the given keys" } else { "off" });
}
