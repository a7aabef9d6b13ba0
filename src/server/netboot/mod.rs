//! The boot services at the edge: DHCP on 67 and 4011, TFTP on 69, boot files over plain HTTP.
//!
//! * [`socket`](Sockets): ports, and which interface a packet came by
//! * [`folder`](BootFolder): what the boot folder holds now
//! * `clients`: who was seen, the timeline, what was logged already
//! * [`bindings`](Bindings) and `record`: which Mac took which image, on disk before it is told
//! * [`leases`](Leases), `probe` and `rivals`: addresses, where they are handed out here
//! * `delayed`: offers that are held back
//! * `facts`: the folder, addresses and interfaces, looked at no more often than needed
//! * `dhcp` · `tftp`, `carrier`, `transfer` · `http`: receive, ask the wing, send, log
//! * [`transfers`](Transfers): the TFTP transfers that run, for the administrator
//!
//! Owns: sockets, tasks and the clock of the boot services. Must not know: what an answer says (`netboot` decides).

mod bindings;
mod carrier;
mod clients;
mod delayed;
mod dhcp;
mod facts;
mod folder;
mod http;
mod leases;
mod probe;
mod record;
mod rivals;
mod socket;
mod tftp;
mod transfer;
mod transfers;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use bindings::Bindings;
pub use clients::Counters;
pub use folder::BootFolder;
pub use leases::{Leases, OpenError};
pub use rivals::{RivalError, refuse_beside_others};
pub use socket::{BindError, Sockets};
pub use transfers::Transfers;

use super::verdict::Verdicts;
use crate::api::timeline::ClientEvent;
use crate::db::Db;
use crate::netboot::arguments::KernelArguments;
use crate::netboot::offer::{Door, Policy, Then};
use crate::netboot::pxe;
use crate::netboot::tftp::{Cap, Limits};
use crate::server::nbi::scan::Rules;

/// What the boot services are told. Plain data; [`Settings::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder with `vmlinuz`, `initramfs.cpio.zst`, `*.nbi/`, `ipxe/`.
    pub boot: PathBuf,
    /// Address to listen on; unspecified for all.
    pub listen: Ipv4Addr,
    /// Port numbers; 0 lets the system choose, which only tests want.
    pub ports: Ports,
    /// Interfaces by which DHCP and TFTP are served; empty for all. HTTP follows `listen`.
    pub interfaces: Vec<String>,
    /// Our address in replies, where the interface's own is not the one that clients reach (NAT, container).
    pub advertise: Option<Ipv4Addr>,
    /// Our name, which clients may put into `sname`.
    pub host_name: String,
    /// Port of the HTTPS server, for the runner.
    pub https_port: u16,
    /// More kernel arguments for the boot environment.
    pub kernel_arguments: KernelArguments,
    /// What the site chose about BSDP.
    pub bsdp: Policy,
    /// What becomes of a Mac to which nothing is deployed.
    pub without_deployment: Then,
    /// Which PXE and HTTP boot clients are answered.
    pub pxe: pxe::Policy,
    /// How long an offer to them is held back.
    pub offer_delay: Duration,
    /// Limits of one TFTP transfer.
    pub tftp: Limits,
    /// Clients that get smaller blocks.
    pub tftp_caps: Vec<Cap>,
    /// TFTP transfers at one time, two thirds of them for any one address. Each takes a socket and about 20 KiB.
    pub tftp_transfers: usize,
    /// HTTP connections at one time.
    pub http_connections: usize,
    /// What holds for boot sets.
    pub nbi: Rules,
}

/// Port numbers of the boot services.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// DHCP and BSDP, 67.
    pub dhcp: u16,
    /// proxyDHCP, 4011.
    pub proxy: u16,
    /// TFTP, 69.
    pub tftp: u16,
    /// Plain HTTP, 80.
    pub http: u16,
}

impl Settings {
    /// The defaults for a boot folder.
    pub fn new(boot: PathBuf) -> Settings {
        Settings {
            boot,
            listen: Ipv4Addr::UNSPECIFIED,
            ports: Ports { dhcp: 67, proxy: 4011, tftp: 69, http: 80 },
            interfaces: Vec::new(),
            advertise: None,
            host_name: String::from("rootstock"),
            https_port: 443,
            kernel_arguments: KernelArguments::default(),
            bsdp: Policy::default(),
            without_deployment: Then::Boot,
            pxe: pxe::Policy::default(),
            offer_delay: Duration::ZERO,
            tftp: Limits::default(),
            tftp_caps: Vec::new(),
            tftp_transfers: 384,
            http_connections: 512,
            nbi: Rules::default(),
        }
    }
}

/// What every service needs.
struct Context {
    settings: Settings,
    /// Which devices are known.
    db: Db,
    /// Whether anything is deployed to a Mac.
    verdicts: Verdicts,
    /// Where requests for addresses go; none: the site's DHCP server hands them out.
    desk: Option<leases::Desk>,
    /// Offers that are held back.
    delayed: delayed::Delayed,
    /// Which Mac took which image.
    bindings: Arc<Bindings>,
    /// Changes of bindings on their way to the disk, with the answers that wait for them.
    record: record::Queue,
    /// The port that plain HTTP really has.
    http_port: u16,
    folder: BootFolder,
    lookout: facts::Lookout,
    clients: clients::Clients,
}

/// What the boot services share with the rest of the daemon.
pub struct Shared {
    /// The database.
    pub db: Db,
    /// Which Mac took which image; the admin's API shows them and forgets.
    pub bindings: Arc<Bindings>,
    /// Addresses that are handed out, if they are; the admin's API shows and releases them.
    pub leases: Option<Arc<Leases>>,
    /// Where timeline entries go.
    pub timeline: mpsc::Sender<ClientEvent>,
    /// What happened since the start.
    pub counters: Arc<Counters>,
}

/// Serves until `stop` is cancelled, then joins every task and transfer. Returns early only when a socket is lost.
pub async fn run(
    sockets: Sockets,
    settings: Settings,
    shared: Shared,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let Shared { db, bindings, leases, timeline, counters } = shared;
    let (record, changes) = record::queue();
    let (desk, asked) = leases.clone().map(leases::desk).unzip();
    let context = Arc::new(Context {
        http_port: sockets.http_address()?.port(),
        folder: BootFolder::with_rules(settings.boot.clone(), settings.nbi.clone()),
        clients: clients::Clients::new(timeline, counters),
        lookout: facts::Lookout::default(),
        settings,
        verdicts: Verdicts::new(db.clone()),
        db,
        desk,
        delayed: delayed::Delayed::new(stop.clone()),
        bindings,
        record,
    });
    let Sockets { dhcp, proxy, tftp, http, transfers } = sockets;
    let mut services = JoinSet::new();
    let (dhcp, proxy) = (Arc::new(dhcp), Arc::new(proxy));
    if let (Some(leases), Some(asked)) = (leases, asked) {
        services.spawn(leases::serve(leases, asked, dhcp.clone(), context.clone(), stop.clone()));
    }
    services.spawn(dhcp::serve(Door::Dhcp, dhcp, context.clone(), stop.clone()));
    services.spawn(dhcp::serve(Door::Proxy, proxy, context.clone(), stop.clone()));
    services.spawn(record::write(changes, context.clone(), stop.clone()));
    services.spawn(tftp::serve(tftp, transfers, context.clone(), stop.clone()));
    services.spawn(http::serve(http, context.clone(), stop.clone()));
    let mut result = Ok(());
    while let Some(ended) = services.join_next().await {
        let ended = ended.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        if ended.is_err() && result.is_ok() {
            result = ended;
            stop.cancel();
        }
    }
    context.delayed.ended().await;
    result
}
