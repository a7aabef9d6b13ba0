//! Before a Mac boots: whether anything is deployed to it, by its Ethernet address.
//!
//! Owns: the table of addresses and its age. A look at the database answers every packet of the next second; a database that
//! does not answer at once holds up nobody: what was known before has to do. Must not know: what follows for the Mac; that
//! is `netboot::offer`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::http::error::chain;
use super::offer::{Mac, offers};
use crate::api::runner::BootMethod;
use crate::db::{Db, DbError, DeploymentRow, MacStanding};
use crate::value::MacAddr;

/// How old a look may be.
const FRESH: Duration = Duration::from_secs(1);
/// How long a packet waits for a new one.
const PATIENCE: Duration = Duration::from_millis(50);

/// What may be said about any address.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// Whether a Mac that nobody knows is offered something.
    unknown: bool,
    /// Whether a known Mac is.
    known: bool,
    /// Addresses of Macs that were here before.
    macs: HashMap<MacAddr, MacStanding>,
}

impl Table {
    fn of(deployments: &[DeploymentRow], macs: Vec<MacStanding>) -> Table {
        // Purpose and countdown make no difference to whether there is an offer at all.
        let offered = |known| {
            let mac = Mac { known, boot: BootMethod::Netboot, succeeded: &[] };
            !offers(deployments.to_vec(), &mac, 0).is_empty()
        };
        Table {
            unknown: offered(false),
            known: offered(true),
            macs: macs.into_iter().map(|standing| (standing.mac, standing)).collect(),
        }
    }

    /// An adapter's address stands for every Mac that it was plugged into: what may be deployed to one of them counts.
    fn something_for(&self, mac: MacAddr) -> bool {
        match self.macs.get(&mac) {
            None => self.unknown,
            Some(standing) => {
                standing.has_run
                    || (standing.any_known && self.known)
                    || (standing.any_unknown && self.unknown)
            }
        }
    }
}

/// The table and when it was made. Cheap to clone.
#[derive(Clone)]
pub struct Verdicts(Arc<Inner>);

struct Inner {
    db: Db,
    /// None before the first look.
    last: Mutex<Option<(Instant, Arc<Table>)>>,
    looking: AtomicBool,
}

impl Verdicts {
    /// Looks into this database.
    pub fn new(db: Db) -> Verdicts {
        Verdicts(Arc::new(Inner { db, last: Mutex::default(), looking: AtomicBool::new(false) }))
    }

    /// Whether anything is deployed to the Mac with this address. Before the first look, yes: a Mac is not turned away by
    /// a slow disk.
    pub async fn something_is_deployed_to(&self, mac: MacAddr) -> bool {
        let last = self.last();
        let is_fresh = last.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        let table = match is_fresh {
            true => last,
            false => self.look().await.or(last),
        };
        table.is_none_or(|(_, table)| table.something_for(mac))
    }

    fn last(&self) -> Option<(Instant, Arc<Table>)> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One look at a time; whoever comes meanwhile goes by the last one.
    async fn look(&self) -> Option<(Instant, Arc<Table>)> {
        if self.0.looking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let own = self.clone();
        let looking = tokio::spawn(async move {
            match own.read().await {
                Ok(table) => {
                    let made = (now(), Arc::new(table));
                    *own.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
                }
                Err(error) => tracing::warn!("what is deployed to whom cannot be read: {}", chain(&error)),
            }
            own.0.looking.store(false, Ordering::Release);
        });
        tokio::time::timeout(PATIENCE, looking).await.ok()?.ok()?;
        self.last()
    }

    async fn read(&self) -> Result<Table, DbError> {
        Ok(Table::of(&self.0.db.deployments().await?, self.0.db.mac_standings().await?))
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge notes when it looked")]
fn now() -> Instant {
    Instant::now()
}
