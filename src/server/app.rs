//! What every handler may use: the daemon's parts, put together once.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::captures::Captures;
use super::check::LastCheck;
use super::config::Config;
use super::holds::Holds;
use super::jobs::Jobs;
use super::library::Library;
use super::nbi::Shelf;
use super::netboot::{Bindings, Leases, Transfers};
use super::runs::Runs;
use super::screens::Screens;
use super::secrets::SecretKey;
use super::targets::Members;
use super::timeline::Timeline;
use super::upload::Uploads;
use crate::api::admin::Listener;
use crate::db::Db;
use crate::value::Digest;

/// The appliance, for handlers. Cheap to clone.
pub type App = Arc<Appliance>;

/// The daemon's parts.
pub struct Appliance {
    /// Settings in force.
    pub config: Config,
    /// Data folder.
    pub data: PathBuf,
    /// Database.
    pub db: Db,
    /// Who somebody is.
    pub accounts: Accounts,
    /// Which Mac took which boot image.
    pub bindings: Arc<Bindings>,
    /// Addresses that are handed out; none: the site's DHCP server does it.
    pub leases: Option<Arc<Leases>>,
    /// Packs and manifests.
    pub library: Arc<Library>,
    /// Boot sets.
    pub shelf: Shelf,
    /// Seals secrets.
    pub secrets: Arc<SecretKey>,
    /// Files on their way in.
    pub uploads: Uploads,
    /// Runs at work.
    pub runs: Runs,
    /// Members of collections.
    pub members: Members,
    /// What Macs show their technicians.
    pub screens: Screens,
    /// Captures that are held.
    pub captures: Captures,
    /// Imports and other long work.
    pub jobs: Jobs,
    /// What the last check of the library found.
    pub last_check: LastCheck,
    /// Image versions that the appliance itself works with.
    pub holds: Holds,
    /// Records of clients.
    pub timeline: Timeline,
    /// TFTP transfers that run.
    pub transfers: Transfers,
    /// SHA-256 of the CA certificate.
    pub ca_fingerprint: String,
    /// Digest of the admin token.
    pub admin_token: Digest,
    /// What listens where.
    pub listeners: Vec<Listener>,
    /// Cancelled when the daemon stops: whoever waits for news is answered at once.
    pub stopping: CancellationToken,
    /// Milliseconds since 1970 UTC when the daemon started.
    pub started_ms: i64,
    /// Held by a sweep of manifests without a row: one at a time.
    pub settling: Mutex<()>,
    /// Held while receipts are countersigned: one at a time.
    pub countersigning: Mutex<()>,
}

impl Appliance {
    /// The folder of files for Copy Files steps.
    pub fn files(&self) -> PathBuf {
        self.data.join("files")
    }
}

/// Whether a request came over the network or through the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Unix socket: a program on this machine that may open it.
    Socket,
    /// HTTPS with a token.
    Network,
}
