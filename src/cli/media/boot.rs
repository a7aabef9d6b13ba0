//! `rootstock media boot`: boot files.
//!
//! Owns: arguments, defaults that depend on this machine, what is printed. The work is in [`crate::media`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use nix::ifaddrs::getifaddrs;

use super::read_keys;
use crate::media::apt::Archive;
use crate::media::boot::{self, Contents, Plan, Request};
use crate::media::server::Server;
use crate::netboot::arguments::{KernelArguments, USUAL};
use crate::value::ByteSize;

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
    /// Further kernel arguments for Macs with 32-bit EFI; the others get those of the setting
    /// boot.kernel-arguments
    #[arg(long, value_name = "TEXT", default_value = USUAL, allow_hyphen_values = true)]
    kernel_arguments: KernelArguments,
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

/// Makes the boot files.
pub(super) fn run(arguments: BootArguments) -> anyhow::Result<ExitCode> {
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
        arguments: arguments.kernel_arguments,
    })
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
