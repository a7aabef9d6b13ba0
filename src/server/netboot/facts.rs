//! What answers depend on outside the packet: the boot folder, this machine's addresses, the interfaces that are served.
//!
//! Looking takes some file system calls and a netlink dump, too much for every packet of a busy wire. Looks are counted:
//! while few packets come each is answered by what is so at that moment; under load twice a second has to do. So a
//! change takes effect at once where a person tries it out, and within half a second in the worst case.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::Context;
use super::clients::now;
use super::folder::Catalog;
use crate::netboot::intake::{Buckets, Rate};

/// Looks in the long run, and after a pause.
const LOOKS: Rate = Rate { a_second: 2, burst: 10 };
/// How long a look may take before packets are answered by what was known before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at one time: each that hangs on a broken disk takes a thread.
const MOST_LOOKS: usize = 4;

/// One look.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub catalog: Arc<Catalog>,
    /// Every address of this machine, and the advertised one.
    pub own: Vec<Ipv4Addr>,
    /// Indexes of the interfaces that are served; none: all.
    pub served: Option<Vec<u32>>,
}

/// What was seen last.
pub(super) struct Lookout {
    last: Mutex<Arc<Facts>>,
    looks: Mutex<Buckets<()>>,
    under_way: Arc<AtomicUsize>,
}

impl Default for Lookout {
    fn default() -> Lookout {
        Lookout { last: Mutex::default(), looks: Mutex::new(Buckets::new(LOOKS)), under_way: Arc::default() }
    }
}

impl Facts {
    fn look(context: &Context) -> Facts {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
        let own = context.settings.advertise.into_iter().chain(addresses);
        let names = &context.settings.interfaces;
        let indexes = names.iter().filter_map(|name| nix::net::if_::if_nametoindex(name.as_str()).ok());
        Facts {
            catalog: context.folder.catalog(),
            own: own.filter(|address| !address.is_unspecified()).collect(),
            served: (!names.is_empty()).then(|| indexes.collect()),
        }
    }

    /// Whether packets of this interface are answered.
    pub(super) fn serves(&self, interface: u32) -> bool {
        self.served.as_ref().is_none_or(|served| served.contains(&interface))
    }
}

impl Lookout {
    fn last(&self) -> Arc<Facts> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is so now, or was so at most half a second ago.
    pub(super) async fn facts(context: &Arc<Context>) -> Arc<Facts> {
        let lookout = &context.lookout;
        let is_due = lookout.looks.lock().unwrap_or_else(PoisonError::into_inner).admits((), now());
        if !is_due || lookout.under_way.load(Ordering::Relaxed) >= MOST_LOOKS {
            return lookout.last();
        }
        lookout.under_way.fetch_add(1, Ordering::Relaxed);
        let (looking, under_way) = (context.clone(), lookout.under_way.clone());
        // A broken disk can hold a look up; then what was known before has to do.
        let look = tokio::task::spawn_blocking(move || {
            let facts = Arc::new(Facts::look(&looking));
            under_way.fetch_sub(1, Ordering::Relaxed);
            facts
        });
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(facts)) => {
                *lookout.last.lock().unwrap_or_else(PoisonError::into_inner) = facts.clone();
                facts
            }
            Ok(Err(_)) | Err(_) => {
                if context.clients.may_complain(Ipv4Addr::UNSPECIFIED, "look").is_some() {
                    warn!(
                        "the boot folder does not answer; Macs are offered what it held before: check its disk"
                    );
                }
                lookout.last()
            }
        }
    }
}
