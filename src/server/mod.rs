//! rootstockd: sockets, tasks, clock, sign-in. Everything is bound and opened before anything is served; one stop signal
//! ends all, and all is joined.
//!
//! In reading order:
//! * `config`, `data`, `authority`, `listen`: what a start needs, each with its own errors
//! * `gate`: how many connections are open
//! * `keys`: the signing keys; `trust`: what is vouched for with them
//! * `library`: the image library on disk; `images`: image versions between library and database
//! * `accounts`, `caller`: who asks; `upload`, `dropped`, `folders`, `naming`: files on their way into the library
//! * `nbi`: boot sets, taken in and changed
//! * `secrets`: how secrets lie on the disk; `nested`: sequences that sequences run; `variables`: of devices and collections
//! * `runs`, `offer`, `receipt`, `wire`: runs over the pure engine; `screens`: what Macs show; `verdict`: what is deployed to whom, before it boots
//! * `notify`: who is told by Notify steps; `files`: what Copy Files steps take
//! * `announce`: DNS-SD
//! * `jobs`, `timeline`: long work, records of clients; `problem`, `recent`: what goes to whoever helps
//! * `http`: API and runner protocol; `netboot`: BSDP, PXE, TFTP, boot files
//!
//! Must not know: SQL (`db`), how packs are laid out (`store`), what decides (`netboot`, `sequence`).

pub mod accounts;
pub mod announce;
pub mod app;
pub mod authority;
pub mod caller;
pub mod captures;
pub mod check;
pub mod clock;
pub mod config;
pub mod data;
mod diagnosis;
pub mod dropped;
mod error;
pub mod files;
pub mod folders;
pub mod gate;
pub mod holds;
pub mod http;
pub mod images;
pub mod jobs;
pub mod keys;
pub mod library;
pub mod listen;
pub mod naming;
pub mod nbi;
pub mod nested;
pub mod netboot;
pub mod notify;
pub mod offer;
pub mod problem;
pub mod receipt;
pub mod recent;
pub mod retention;
pub mod rings;
mod roster;
pub mod runs;
pub mod screens;
pub mod secrets;
pub mod shares;
pub mod targets;
pub mod timeline;
pub mod token;
pub mod trust;
pub mod upkeep;
pub mod upload;
pub mod upstream;
pub mod variables;
pub mod verdict;
mod wire;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::error::ServerError;

use self::app::{App, Appliance};
use self::authority::Authority;
use self::clock::now_ms;
use self::config::Config;
use self::data::DataFolder;
use self::gate::Gate;
use self::jobs::Jobs;
use self::library::Library;
use self::runs::Runs;
use self::secrets::SecretKey;
use self::timeline::Timeline;
use crate::api::admin::Listener;
use crate::api::timeline::ClientEvent;
use crate::db::Db;
use crate::netboot::tftp::Limits;

/// How long requests under way may take after the stop signal.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may be silent between two requests, or take to send the head of one.
const HEAD: Duration = Duration::from_secs(60);
/// How often runs are looked at for their maximum run time.
const EXPIRE: Duration = Duration::from_secs(5);
/// How often the machine's addresses are looked at.
const ADDRESSES: Duration = Duration::from_secs(10);

/// A daemon that is ready: everything is open and bound, nothing is served yet.
pub struct Server {
    app: App,
    authority: Authority,
    https: TcpListener,
    unix: UnixListener,
    boot: Option<(netboot::Sockets, netboot::Settings)>,
    events: mpsc::Receiver<ClientEvent>,
    _data: DataFolder,
}

impl Server {
    /// Opens the data folder and binds all sockets.
    pub async fn open(config: Config, data: &Path) -> Result<Server, ServerError> {
        listen::check_interfaces(&config)?;
        let data = DataFolder::open(data)?;
        let authority = Authority::open(&data.keys())?;
        let admin_token =
            token::admin(&data.keys()).map_err(|(path, source)| ServerError::Token { path, source })?;
        let secrets = Arc::new(SecretKey::open(&data.keys().join("secrets.key"))?);
        let db = Db::open(&data.database()).await?;
        if let Err(error) = db.keep_room().await {
            tracing::warn!("no room is kept for changes on a full disk: {}", http::error::chain(&error));
        }
        let cores = || std::thread::available_parallelism().map_or(2, usize::from);
        let workers = config.library.workers.unwrap_or_else(cores);
        let library =
            Arc::new(Library::open(&data.store(), &data.keys(), workers, config.library.keep_free)?);
        let https = listen::https(config.ports.https)?;
        let https_address = https.local_addr().map_err(lost("https"))?;
        let path = config.socket.clone().unwrap_or_else(|| data.socket());
        let unix = listen::unix(&path)?;
        let mut listeners = vec![
            Listener { service: "https".to_owned(), address: https_address.to_string() },
            Listener { service: "socket".to_owned(), address: path.display().to_string() },
        ];
        let mut transfers = netboot::Transfers::default();
        let boot = if config.network.boot_services {
            let settings = boot_settings(&config, data.boot(), https_address.port());
            let sockets = netboot::Sockets::bind(&settings)?;
            listeners.extend(boot_listeners(&sockets));
            transfers = sockets.transfers();
            Some((sockets, settings))
        } else {
            None
        };
        let bindings = Arc::new(netboot::Bindings::open(db.clone(), config.bsdp.binding_days).await?);
        let folder = netboot::BootFolder::with_rules(data.boot(), config.nbi.rules());
        let shelf = nbi::Shelf::open(folder, config.library.keep_free)?;
        let uploads = upload::Uploads::open(&data.uploads(), config.library.upload_rules())?;
        let leases = open_leases(&config, &db).await?;
        let (timeline, events) = Timeline::new();
        let secrets_of_accounts = secrets.clone();
        let app = Arc::new(Appliance {
            data: data.path().to_owned(),
            runs: Runs::new(
                db.clone(),
                timeline.clone(),
                secrets.clone(),
                notify::Notifier::new(config.notify.clone(), config.name.clone()),
            ),
            members: targets::Members::new(db.clone()),
            screens: Default::default(),
            secrets,
            accounts: accounts::Accounts::new(db.clone(), secrets_of_accounts, config.ldap.clone()),
            db,
            bindings,
            leases,
            captures: captures::Captures::new(library.clone()),
            library,
            shelf,
            uploads,
            jobs: Jobs::default(),
            holds: holds::Holds::default(),
            last_check: check::LastCheck::default(),
            timeline,
            transfers,
            ca_fingerprint: authority.fingerprint(),
            admin_token,
            listeners,
            stopping: CancellationToken::new(),
            started_ms: now_ms(),
            settling: tokio::sync::Mutex::new(()),
            countersigning: tokio::sync::Mutex::new(()),
            config,
        });
        images::sweep(&app).await;
        trust::countersign(&app).await;
        Ok(Server { app, authority, https, unix, boot, events, _data: data })
    }

    /// The daemon's parts.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until `stop` is cancelled or a listener is lost, then ends everything in order: listeners, jobs, records.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Server { app, authority, https, unix, boot, events, _data } = self;
        let announcer = announce::Announcer::start(&app.config, &app.ca_fingerprint, port_of(&https));
        let tls = RustlsConfig::from_config(Arc::new(authority.server(&listen::names(&app.config))?));
        let address = format!("https://{}", address_of(&app.config, &https));
        let hours = app.config.accounts.setup_hours;
        // On a full disk the appliance serves all the same; root there needs no code.
        if let Err(error) = accounts::setup::announce(&app.db, &address, hours, now_ms()).await {
            let error = http::error::chain(&error);
            tracing::error!(
                "no set-up code can be kept: {error}; mend that and start again, or run here: rootstock user setup"
            );
        }
        let mut services: JoinSet<Result<(), ServerError>> = JoinSet::new();
        services.spawn(serve_https(app.clone(), https, tls.clone(), stop.clone()));
        services.spawn(serve_unix(app.clone(), unix, stop.clone()));
        services.spawn(follow_addresses(app.clone(), authority, tls, stop.clone()));
        services.spawn(expire_runs(app.clone(), stop.clone()));
        services.spawn(upkeep::tend(app.clone(), stop.clone()));
        services.spawn(ask_after_people(app.clone(), stop.clone()));
        services.spawn(upload::work::tend(app.clone(), stop.clone()));
        services.spawn(dropped::run(app.clone(), stop.clone()));
        if let Some(announcer) = announcer {
            services.spawn(announcer.run(stop.clone()));
        }
        let (stopping, stopped) = (app.stopping.clone(), stop.clone());
        services.spawn(async move {
            stopped.cancelled().await;
            stopping.cancel();
            Ok(())
        });
        if let Some((sockets, settings)) = boot {
            let shared = netboot::Shared {
                db: app.db.clone(),
                bindings: app.bindings.clone(),
                leases: app.leases.clone(),
                timeline: app.timeline.sender(),
                counters: Arc::default(),
            };
            let stop = stop.clone();
            services.spawn(async move {
                netboot::run(sockets, settings, shared, stop).await.map_err(lost("the boot services"))
            });
        }
        let records = CancellationToken::new();
        let writer = tokio::spawn(timeline::write(app.db.clone(), events, records.clone()));
        let result = join(&mut services, &stop).await;
        app.jobs.close().await;
        app.runs.close().await;
        if let Err(error) = app.runs.save_progress().await {
            tracing::error!("noting how far runs are: {}", http::error::chain(&error));
        }
        app.captures.close().await;
        records.cancel();
        if writer.await.is_err() {
            tracing::error!("the writer of timelines panicked");
        }
        app.db.close().await;
        result
    }
}

/// Host and port that a browser may use, as far as we know.
fn address_of(config: &Config, https: &TcpListener) -> String {
    let named = config.network.names.first().cloned();
    let address = config.network.address.or_else(listen::address).map(|address| address.to_string());
    let host = named.or(address).unwrap_or_else(|| "localhost".to_owned());
    match port_of(https) {
        443 => host,
        port => format!("{host}:{port}"),
    }
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

/// The first error ends all services; every one is joined.
async fn join(
    services: &mut JoinSet<Result<(), ServerError>>,
    stop: &CancellationToken,
) -> Result<(), ServerError> {
    let mut result = Ok(());
    while let Some(ended) = services.join_next().await {
        let ended = ended.unwrap_or_else(|panic| Err(lost("a service")(io::Error::other(panic))));
        if ended.is_err() {
            stop.cancel();
            if result.is_ok() {
                result = ended;
            }
        }
    }
    result
}

async fn serve_https(
    app: App,
    listener: TcpListener,
    tls: RustlsConfig,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let handle = Handle::new();
    let gate = Gate::new(gate::Bounds::default());
    let server = axum_server::from_tcp_rustls(listener, tls).map_err(lost("https"))?;
    // HTTP/1 only: with both, the first bytes are waited for without end, and many requests share one connection uncounted.
    let mut server = server.map(|tls| tls.acceptor(gate)).http1_only().handle(handle.clone());
    // A runner asks on kept-alive connections; a client that does not send a whole head in time is dropped.
    let mut http1 = server.http_builder().http1();
    http1.keep_alive(true).timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEAD);
    let serving = server.serve(http::network(app).into_make_service_with_connect_info::<SocketAddr>());
    let stopping = async {
        stop.cancelled().await;
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = serving => ended.map_err(lost("https")),
        () = stopping => Ok(()),
    }
}

async fn serve_unix(app: App, listener: UnixListener, stop: CancellationToken) -> Result<(), ServerError> {
    let listener = tokio::net::UnixListener::from_std(listener).map_err(lost("the admin's socket"))?;
    let callers = http::socket(app).into_make_service_with_connect_info::<caller::LocalAccount>();
    let serving = axum::serve(listener, callers).with_graceful_shutdown(stop.clone().cancelled_owned());
    within_grace(serving.into_future(), &stop).await.map_err(lost("the admin's socket"))
}

/// Waits for `serving`; after the stop signal no longer than the grace.
async fn within_grace(
    serving: impl Future<Output = io::Result<()>>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = late => Ok(()),
    }
}

/// A machine that gets its address late, or another one, has it in its certificate soon after.
async fn follow_addresses(
    app: App,
    authority: Authority,
    tls: RustlsConfig,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let mut names = listen::names(&app.config);
    while stop.run_until_cancelled(tokio::time::sleep(ADDRESSES)).await.is_some() {
        let now = listen::names(&app.config);
        if now == names {
            continue;
        }
        match authority.server(&now) {
            Ok(config) => {
                tls.reload_from_config(Arc::new(config));
                tracing::info!(
                    "this machine's addresses changed: the server certificate is now for {}",
                    now.join(", ")
                );
                names = now;
            }
            Err(error) => tracing::error!("{}", http::error::chain(&error)),
        }
    }
    Ok(())
}

async fn expire_runs(app: App, stop: CancellationToken) -> Result<(), ServerError> {
    while stop.run_until_cancelled(tokio::time::sleep(EXPIRE)).await.is_some() {
        if let Err(error) = app.runs.expire().await {
            tracing::error!("looking at maximum run times: {}", http::error::chain(&error));
        }
        if let Err(error) = app.runs.save_progress().await {
            tracing::error!("noting how far runs are: {}", http::error::chain(&error));
        }
        if let Err(error) = captures::expire(&app).await {
            tracing::error!("looking for captures that nobody goes on with: {}", http::error::chain(&error));
        }
    }
    Ok(())
}

/// Who left the directory does not stay signed in here.
async fn ask_after_people(app: App, stop: CancellationToken) -> Result<(), ServerError> {
    while stop.run_until_cancelled(tokio::time::sleep(accounts::ASK_AFTER)).await.is_some() {
        app.accounts.ask_after_people(now_ms()).await;
    }
    Ok(())
}

/// The leases, where addresses are handed out here, and nobody else does.
async fn open_leases(config: &Config, db: &Db) -> Result<Option<Arc<netboot::Leases>>, ServerError> {
    let config::Dhcp { plan: Some(plan), force, probe, single_step } = &config.dhcp else { return Ok(None) };
    if !force {
        netboot::refuse_beside_others(plan).await?;
    }
    let leases = netboot::Leases::open(db.clone(), plan.clone(), *probe, *single_step).await?;
    Ok(Some(Arc::new(leases)))
}

fn boot_settings(config: &Config, boot: PathBuf, https_port: u16) -> netboot::Settings {
    let defaults = netboot::Settings::new(boot);
    netboot::Settings {
        ports: netboot::Ports {
            dhcp: config.ports.dhcp,
            proxy: config.ports.proxy_dhcp,
            tftp: config.ports.tftp,
            http: config.ports.http,
        },
        interfaces: config.network.interfaces.clone(),
        advertise: config.network.address,
        https_port,
        bsdp: config.bsdp.policy.clone(),
        without_deployment: config.boot.without_deployment,
        kernel_arguments: config.boot.kernel_arguments.clone(),
        pxe: config.pxe.policy.clone(),
        offer_delay: config.pxe.offer_delay,
        tftp: Limits {
            block_size: config.tftp.max_block_size,
            window: config.tftp.max_window,
            ..Limits::default()
        },
        tftp_caps: config.tftp.caps.clone(),
        tftp_transfers: config.tftp.max_transfers as usize,
        nbi: config.nbi.rules(),
        ..defaults
    }
}

fn lost(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Lost { what, source }
}

fn boot_listeners(sockets: &netboot::Sockets) -> Vec<Listener> {
    [
        ("http", sockets.http_address()),
        ("dhcp", sockets.dhcp_address()),
        ("proxy-dhcp", sockets.proxy_address()),
        ("tftp", sockets.tftp_address()),
    ]
    .into_iter()
    .filter_map(|(service, address)| {
        Some(Listener { service: service.to_owned(), address: address.ok()?.to_string() })
    })
    .collect()
}
