//! Before a Mac boots: whether anything is deployed to it, by its Ethernet address.
//!
//! Owns: the table of addresses and its age. A look at the database answers every packet of the next second; a database that
//! does not answer at once holds up nobody: what was known before has to do. Must not know: what follows for the Mac; that
//! is `netboot::offer`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::now_ms;
use super::http::error::chain;
use super::nested;
use super::offer::{Collection, Mac, judge};
use crate::api::runner::BootMethod;
use crate::db::{Db, DbError, DeploymentRow, MacStanding};
use crate::sequence::program::Others;
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
    /// Whether something is deployed to a collection of which a Mac was registered and has not come yet: any address may be its.
    awaited: bool,
    /// Addresses of Macs that were here before.
    macs: HashMap<MacAddr, MacStanding>,
}

impl Table {
    fn of(
        deployments: &[DeploymentRow],
        others: &Others,
        macs: Vec<MacStanding>,
        awaited: bool,
        now_ms: i64,
    ) -> Table {
        // Purpose, countdown and past make no difference to whether there is an offer at all.
        let offered = |known| {
            let mac = Mac::new(known, BootMethod::Netboot, now_ms);
            !judge(deployments.to_vec(), others, &mac, 0).offers.is_empty()
        };
        Table {
            unknown: offered(false),
            known: offered(true),
            awaited,
            macs: macs.into_iter().map(|standing| (standing.mac, standing)).collect(),
        }
    }

    /// An adapter's address stands for every Mac that it was plugged into: what may be deployed to one of them counts.
    fn something_for(&self, mac: MacAddr) -> bool {
        match self.macs.get(&mac) {
            None => self.unknown || self.awaited,
            Some(standing) => {
                standing.has_run
                    || standing.any_targeted
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
        let deployments = self.0.db.deployments().await?;
        let others = nested::of_deployments(&self.0.db, &deployments).await?;
        let now_ms = now_ms();
        let open = collections_with_offers(&deployments, &others, now_ms);
        let standings = self.0.db.mac_standings(&open).await?;
        let awaited = self.0.db.any_awaited(&open).await?;
        Ok(Table::of(&deployments, &others, standings, awaited, now_ms))
    }
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

    fn standing(any_known: bool, any_unknown: bool, has_run: bool) -> MacStanding {
        MacStanding { mac: MAC, any_known, any_unknown, any_targeted: false, has_run }
    }

    #[test]
    fn an_address_that_was_never_seen_is_an_unknown_macs() {
        let something =
            |rows: &[DeploymentRow]| Table::of(rows, &Others::new(), Vec::new(), false, 0).something_for(MAC);
        assert!(something(&[to("Unknown Macs", "")]) && something(&[to("All Macs", "")]));
        assert!(!something(&[]) && !something(&[to("Mars", "")]));
        assert!(!something(&[to("All Macs", "disabled: true\n")]), "a disabled sequence is not offered");
    }

    #[test]
    fn a_known_mac_is_judged_as_known_and_an_adapter_of_several_as_any_of_them() {
        let unknown_only = [to("Unknown Macs", "")];
        for (standing, something) in [
            (standing(true, false, false), false),
            (standing(false, true, false), true),
            (standing(true, true, false), true),
            (standing(true, false, true), true),
        ] {
            assert_eq!(
                Table::of(&unknown_only, &Others::new(), vec![standing], false, 0).something_for(MAC),
                something,
                "{standing:?}"
            );
        }
        assert!(
            Table::of(&[], &Others::new(), vec![standing(true, false, true)], false, 0).something_for(MAC),
            "its run goes on"
        );
    }

    #[test]
    fn section_6_a_member_of_a_collection_and_one_that_is_awaited_are_let_in() {
        let lab = [to("Lab", "")];
        assert_eq!(collections_with_offers(&lab, &Others::new(), 0), ["Lab"]);
        assert!(collections_with_offers(&[to("Lab", "disabled: true\n")], &Others::new(), 0).is_empty());
        let member = MacStanding { any_targeted: true, ..standing(true, false, false) };
        let table = |macs, awaited| Table::of(&lab, &Others::new(), macs, awaited, 0);
        assert!(table(vec![member], false).something_for(MAC));
        assert!(!table(vec![standing(true, false, false)], true).something_for(MAC));
        assert!(table(Vec::new(), true).something_for(MAC) && !table(Vec::new(), false).something_for(MAC));
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
        let first = verdicts.last().unwrap().1;
        for last in 0..100 {
            verdicts.something_is_deployed_to(MacAddr::new([2, 0, 0, 0, 1, last])).await;
        }
        let (at, now) = verdicts.last().unwrap();
        assert!(
            Arc::ptr_eq(&first, &now) || at.elapsed() < FRESH,
            "a hundred packets, at most one look a second"
        );
    }
}
