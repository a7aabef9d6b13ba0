//! Before a Mac boots: whether anything is deployed to it, by its Ethernet address.
//!
//! Owns: the table of addresses and its age. A look at the database answers every packet of the next second; a database that
//! does not answer at once holds up nobody: what was known before has to do. A look reads deployments and the Macs that something
//! was written about since the last one; all Macs are read at the first look, and when something begins or ceases to be deployed to
//! a collection. Must not know: what follows for the Mac; that is `netboot::offer`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock::now_ms;
use super::http::error::chain;
use super::nested;
use super::offer::{Collection, Mac, judge};
use crate::api::runner::BootMethod;
use crate::db::{Db, DbError, DeploymentRow, DeviceStanding, Standings};
use crate::sequence::program::Others;
use crate::value::MacAddr;

/// How old a look may be.
const FRESH: Duration = Duration::from_secs(1);
/// A look that took long is good for so many times as long: looking never takes more than a small share of the machine.
const SHARE: u32 = 20;
/// How long a packet waits for a new one.
const PATIENCE: Duration = Duration::from_millis(50);

/// What may be said about any address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    /// Whether a Mac that nobody knows is offered something.
    unknown: bool,
    /// Whether a known Mac is.
    known: bool,
    /// Whether something is deployed to a collection of which a Mac was registered and has not come yet: any address may be its.
    awaited: bool,
    /// Collections to which something is deployed that may begin now.
    open: Vec<String>,
    /// Number of the last write that is in it, see [`Standings::upto`].
    upto: u64,
    /// Macs that were here before.
    devices: HashMap<i64, DeviceStanding>,
    /// Their addresses; an adapter's is that of several.
    macs: HashMap<MacAddr, Vec<i64>>,
}

impl Table {
    /// Takes over how Macs stand: all of them, or those that were read anew.
    fn take(&mut self, standings: Standings) {
        match &standings.read {
            None => (self.devices, self.macs) = Default::default(),
            Some(read) => read.iter().for_each(|device| self.forget(*device)),
        }
        for standing in standings.devices {
            for mac in &standing.macs {
                self.macs.entry(*mac).or_default().push(standing.device);
            }
            self.devices.insert(standing.device, standing);
        }
        self.upto = standings.upto;
    }

    fn forget(&mut self, device: i64) {
        let Some(standing) = self.devices.remove(&device) else { return };
        for mac in standing.macs {
            if let Some(devices) = self.macs.get_mut(&mac) {
                devices.retain(|other| *other != device);
                if devices.is_empty() {
                    self.macs.remove(&mac);
                }
            }
        }
    }

    /// An adapter's address stands for every Mac that it was plugged into: what may be deployed to one of them counts.
    fn something_for(&self, mac: MacAddr) -> bool {
        let Some(devices) = self.macs.get(&mac) else { return self.unknown || self.awaited };
        devices.iter().filter_map(|device| self.devices.get(device)).any(|standing| {
            let offered = if standing.known { self.known } else { self.unknown };
            standing.has_run || standing.targeted || offered
        })
    }
}

/// The table, and until when it is fresh.
struct Looked {
    due: Instant,
    table: Table,
}

/// The table and when it was made. Cheap to clone.
#[derive(Clone)]
pub struct Verdicts(Arc<Inner>);

struct Inner {
    db: Db,
    /// None before the first look.
    last: Mutex<Option<Looked>>,
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
        if self.last().as_ref().is_none_or(|last| now() >= last.due) {
            self.look().await;
        }
        self.last().as_ref().is_none_or(|last| last.table.something_for(mac))
    }

    fn last(&self) -> MutexGuard<'_, Option<Looked>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look at a time; whoever comes meanwhile goes by the last one.
    async fn look(&self) {
        if self.0.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let own = self.clone();
        let looking = tokio::spawn(async move {
            let began = now();
            if let Err(error) = own.read().await {
                tracing::warn!("what is deployed to whom cannot be read: {}", chain(&error));
            }
            let ended = now();
            if let Some(last) = own.last().as_mut() {
                last.due = ended + FRESH.max((ended - began) * SHARE);
            }
            own.0.looking.store(false, Ordering::Release);
        });
        // A packet goes by what is known when its time is over; the look goes on.
        let _ = tokio::time::timeout(PATIENCE, looking).await;
    }

    async fn read(&self) -> Result<(), DbError> {
        let deployments = self.0.db.deployments().await?;
        let others = nested::of_deployments(&self.0.db, &deployments).await?;
        let now_ms = now_ms();
        let open = collections_with_offers(&deployments, &others, now_ms);
        // What is known of members is of these collections and of no others.
        let before =
            |last: &Looked| (last.table.open == open).then_some((last.table.upto, last.table.awaited));
        let before = self.last().as_ref().and_then(before);
        let standings = self.0.db.standings(before.map(|(upto, _)| upto), &open).await?;
        let nothing_new = standings.read.as_ref().is_some_and(Vec::is_empty);
        let awaited = match before {
            Some((_, awaited)) if nothing_new => awaited,
            _ => self.0.db.any_awaited(&open).await?,
        };
        let (unknown, known) = offered(&deployments, &others, now_ms);
        let whole = standings.read.is_none();
        let mut fresh = Table { unknown, known, awaited, open, ..Table::default() };
        if whole {
            fresh.take(standings);
            // What was known before is let go of after the lock.
            drop(self.last().replace(Looked { due: now(), table: fresh }));
        } else if let Some(Looked { table, .. }) = self.last().as_mut() {
            (table.unknown, table.known, table.awaited) = (unknown, known, awaited);
            table.take(standings);
        }
        Ok(())
    }
}

/// Whether an unknown Mac is offered something, and whether a known one is.
fn offered(deployments: &[DeploymentRow], others: &Others, now_ms: i64) -> (bool, bool) {
    // Purpose, countdown and past make no difference to whether there is an offer at all.
    let to = |known| {
        let mac = Mac::new(known, BootMethod::Netboot, now_ms);
        !judge(deployments.to_vec(), others, &mac, 0).offers.is_empty()
    };
    (to(false), to(true))
}

/// Names of collections that administrators made and to which something is deployed that may begin now.
fn collections_with_offers(deployments: &[DeploymentRow], others: &Others, now_ms: i64) -> Vec<String> {
    let names = deployments.iter().map(|row| row.deployment.collection.to_lowercase());
    let mut mac = Mac::new(true, BootMethod::Netboot, now_ms);
    mac.collections = names.filter(|name| Collection::named(name).is_none()).collect();
    let offers = judge(deployments.to_vec(), others, &mac, 0).explained;
    let open = offers.into_iter().filter(|line| line.place.is_some() || line.code == "shadowed");
    let mut names: Vec<String> = open.map(|line| line.collection).collect();
    names.retain(|name| Collection::named(name).is_none());
    names.sort();
    names.dedup();
    names
}

#[expect(clippy::disallowed_methods, reason = "the edge notes when it looked")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::Deployment;
    use crate::api::runner::Purpose;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn to(collection: &str, more: &str) -> DeploymentRow {
        DeploymentRow {
            deployment: Deployment {
                id: 1,
                sequence: "a".to_owned(),
                collection: collection.to_owned(),
                purpose: Purpose::Available,
                created_ms: 0,
                terms: Default::default(),
                closed: None,
            },
            revision: 1,
            yaml: format!("name: a\n{more}steps: [{{restart: }}]\n"),
        }
    }

    fn standing(device: i64, known: bool) -> DeviceStanding {
        DeviceStanding { device, macs: vec![MAC], known, targeted: false, has_run: false }
    }

    fn table(rows: &[DeploymentRow], devices: Vec<DeviceStanding>) -> Table {
        let (unknown, known) = offered(rows, &Others::new(), 0);
        let mut table = Table { unknown, known, ..Table::default() };
        table.take(Standings { upto: 1, read: None, devices });
        table
    }

    #[test]
    fn an_address_that_was_never_seen_is_an_unknown_macs() {
        let something = |rows: &[DeploymentRow]| table(rows, Vec::new()).something_for(MAC);
        assert!(something(&[to("Unknown Macs", "")]) && something(&[to("All Macs", "")]));
        assert!(!something(&[]) && !something(&[to("Mars", "")]));
        assert!(!something(&[to("All Macs", "disabled: true\n")]), "a disabled sequence is not offered");
    }

    #[test]
    fn a_known_mac_is_judged_as_known_and_an_adapter_of_several_as_any_of_them() {
        let unknown_only = [to("Unknown Macs", "")];
        let at_work = DeviceStanding { has_run: true, ..standing(1, true) };
        for (devices, something) in [
            (vec![standing(1, true)], false),
            (vec![standing(1, false)], true),
            (vec![standing(1, true), standing(2, false)], true),
            (vec![at_work.clone()], true),
        ] {
            assert_eq!(table(&unknown_only, devices.clone()).something_for(MAC), something, "{devices:?}");
        }
        assert!(table(&[], vec![at_work]).something_for(MAC), "its run goes on");
    }

    #[test]
    fn macs_that_were_read_anew_replace_what_was_known_of_them() {
        let mut table = table(&[to("Unknown Macs", "")], vec![standing(1, false), standing(2, true)]);
        assert!(table.something_for(MAC));
        let read = |read: &[i64], devices| Standings { upto: 2, read: Some(read.to_vec()), devices };
        table.take(read(&[1], vec![standing(1, true)]));
        assert!(!table.something_for(MAC), "the unknown one is known now");
        let other = MacAddr::new([2, 0, 0, 0, 0, 9]);
        table.take(read(&[2], vec![DeviceStanding { macs: vec![other], ..standing(2, true) }]));
        assert!(!table.something_for(other));
        table.take(read(&[1, 2], Vec::new()));
        assert!(table.something_for(MAC) && table.something_for(other), "both are forgotten: unknown again");
        assert!(table.macs.is_empty() && table.devices.is_empty());
    }

    #[test]
    fn section_6_a_member_of_a_collection_and_one_that_is_awaited_are_let_in() {
        let lab = [to("Lab", "")];
        assert_eq!(collections_with_offers(&lab, &Others::new(), 0), ["Lab"]);
        assert!(collections_with_offers(&[to("Lab", "disabled: true\n")], &Others::new(), 0).is_empty());
        let member = DeviceStanding { targeted: true, ..standing(1, true) };
        assert!(table(&lab, vec![member]).something_for(MAC));
        let awaited = |devices| Table { awaited: true, ..table(&lab, devices) };
        assert!(!awaited(vec![standing(1, true)]).something_for(MAC));
        assert!(awaited(Vec::new()).something_for(MAC) && !table(&lab, Vec::new()).something_for(MAC));
    }

    #[tokio::test]
    async fn one_look_answers_for_a_second_and_before_the_first_nobody_is_turned_away() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let verdicts = Verdicts::new(db.clone());
        verdicts.0.looking.store(true, Ordering::Release);
        assert!(verdicts.something_is_deployed_to(MAC).await, "somebody else is looking for the first time");
        verdicts.0.looking.store(false, Ordering::Release);
        // A slow machine may take longer than a packet waits; then the look that goes on is waited for here.
        while verdicts.something_is_deployed_to(MAC).await {
            tokio::task::yield_now().await;
        }
        let due = || verdicts.last().as_ref().unwrap().due;
        let first = due();
        for last in 0..100 {
            verdicts.something_is_deployed_to(MacAddr::new([2, 0, 0, 0, 1, last])).await;
        }
        assert!(due() == first || now() >= first, "a hundred packets, at most one look a second");
    }
}
