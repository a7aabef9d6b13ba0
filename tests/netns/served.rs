//! The boot services on their real ports inside a machine of the lab.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rootstock::api::timeline::ClientEvent;
use rootstock::db::Db;
use rootstock::server::netboot::{Bindings, Counters, Settings, Shared, Sockets, run};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lab::{Lab, enter};

const NBI: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key>
    <integer>1</integer><key>Kind</key><integer>1</integer><key>IsInstall</key><true/>
    <key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>
    <key>Architectures</key><array><string>i386</string></array></dict></plist>";

/// A running server; stopped and joined when dropped.
pub struct Served {
    runtime: Runtime,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    events: mpsc::Receiver<ClientEvent>,
    /// Which Mac took which image.
    pub bindings: Arc<Bindings>,
    /// What happened since the start.
    pub counters: Arc<Counters>,
    /// For what clients write.
    pub folder: tempfile::TempDir,
}

/// Bytes of the booter: enough for block numbers to matter, with every value in them.
pub fn booter() -> Vec<u8> {
    (0..3_000_000usize).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Starts the services in `machine`.
pub fn serve(lab: &Lab, machine: &str, change: impl FnOnce(&mut Settings)) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let boot = folder.path().join("boot");
    fs::create_dir_all(boot.join("rootstock.nbi/i386")).unwrap();
    fs::create_dir_all(boot.join("ipxe")).unwrap();
    fs::write(boot.join("rootstock.nbi/NBImageInfo.plist"), NBI).unwrap();
    fs::write(boot.join("rootstock.nbi/i386/booter"), booter()).unwrap();
    fs::write(boot.join("ipxe/snponly.efi"), booter()).unwrap();
    let mut settings = Settings::new(boot);
    change(&mut settings);
    let space = lab.space(machine);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || enter(&space))
        .build()
        .unwrap();
    let (sender, events) = mpsc::channel(1000);
    let stop = CancellationToken::new();
    let sockets = lab.inside(machine, || runtime.block_on(async { Sockets::bind(&settings) })).unwrap();
    let db = runtime.block_on(Db::open(&folder.path().join("db.sqlite3"))).unwrap();
    let counters = Arc::new(Counters::default());
    let bindings = Arc::new(runtime.block_on(Bindings::open(db.clone(), 30)).unwrap());
    let shared = Shared { db, bindings: bindings.clone(), timeline: sender, counters: counters.clone() };
    let task = runtime.spawn(run(sockets, settings, shared, stop.clone()));
    Served { runtime, stop, task: Some(task), events, bindings, counters, folder }
}

impl Served {
    /// The next timeline entry.
    pub fn event(&mut self) -> ClientEvent {
        let waiting = async { tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await };
        self.runtime.block_on(waiting).expect("no timeline entry came").unwrap()
    }

    /// A file beside the boot folder, for a client to write.
    pub fn output(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.runtime.block_on(self.task.take().unwrap()).unwrap();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}
