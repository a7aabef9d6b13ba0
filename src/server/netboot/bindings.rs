//! Bindings in memory and in the database: read at start, written through before anybody is told.
//!
//! Readers see a binding only when it is on the disk. So a kill at any moment loses nothing that a Mac was told, and
//! selections of many Macs at once share one flush.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::clients::now_ms;
use crate::db::{Db, DbError};
use crate::netboot::bsdp::{Binding, BindingTable, Change, MOST_BINDINGS, Write};
use crate::value::MacAddr;

const DAY_MS: i64 = 86_400_000;

/// Which Mac took which image.
#[derive(Debug)]
pub struct Bindings {
    table: RwLock<BindingTable>,
    /// One writes at a time: what is planned from the table is written before the table changes again.
    writing: Mutex<Db>,
    /// How long a choice holds; none: for ever.
    lifetime_ms: Option<i64>,
}

impl Bindings {
    /// Reads what is kept. A choice holds for `days`; 0 is for ever.
    pub async fn open(db: Db, days: u32) -> Result<Bindings, DbError> {
        let mut table = BindingTable::default();
        for binding in db.bindings(MOST_BINDINGS).await? {
            table.apply(Write::Put(binding));
        }
        if !table.is_empty() {
            info!(bindings = table.len(), "{} Macs have taken an image from here", table.len());
        }
        let lifetime_ms = (days > 0).then(|| i64::from(days) * DAY_MS);
        let bindings = Bindings { table: RwLock::new(table), writing: Mutex::new(db), lifetime_ms };
        bindings.expire(now_ms()).await?;
        Ok(bindings)
    }

    /// The bindings as they are on the disk. Not to be held while waiting.
    pub fn read(&self) -> RwLockReadGuard<'_, BindingTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change asks for anything to be written.
    pub(super) fn is_news(&self, change: &Change) -> bool {
        self.read().plan(change, now_ms()).is_some()
    }

    /// Makes changes; on return they are on the disk. In order, each MAC address once in a transaction, because what a
    /// change means depends on what is bound already.
    pub(super) async fn commit(&self, changes: &[Change]) -> Result<(), DbError> {
        let db = self.writing.lock().await;
        let mut rest = changes;
        while !rest.is_empty() {
            let mut macs = BTreeSet::new();
            let together = rest.iter().take_while(|change| macs.insert(change.mac())).count();
            let (batch, later) = rest.split_at(together);
            let writes = self.plan(batch);
            self.write(&db, writes).await?;
            rest = later;
        }
        Ok(())
    }

    fn plan(&self, batch: &[Change]) -> Vec<Write> {
        let table = self.read();
        let puts: Vec<Write> = batch.iter().filter_map(|change| table.plan(change, now_ms())).collect();
        let new = puts.iter().filter(|write| table.is_new(write)).count();
        let mut writes = table.make_room(new, MOST_BINDINGS);
        if !writes.is_empty() {
            warn!(
                forgotten = writes.len(),
                "{MOST_BINDINGS} Macs are bound: those that were heard longest ago are forgotten"
            );
        }
        writes.extend(puts);
        writes
    }

    async fn write(&self, db: &Db, writes: Vec<Write>) -> Result<(), DbError> {
        if writes.is_empty() {
            return Ok(());
        }
        db.write_bindings(&writes).await?;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        writes.into_iter().for_each(|write| table.apply(write));
        Ok(())
    }

    /// Forgets one model behind an address, or all of them. Gives back what was forgotten.
    pub async fn forget(&self, mac: MacAddr, system: Option<&str>) -> Result<Vec<Binding>, DbError> {
        let db = self.writing.lock().await;
        let is_meant = |binding: &&Binding| system.is_none_or(|system| system == binding.system);
        let gone: Vec<Binding> = self.read().with(mac).filter(is_meant).cloned().collect();
        let writes = gone.iter().map(|binding| Write::Delete(binding.mac, binding.system.clone())).collect();
        self.write(&db, writes).await?;
        Ok(gone)
    }

    /// Forgets those whose choice is too old. Cheap when there is none.
    pub(super) async fn expire(&self, now_ms: i64) -> Result<(), DbError> {
        let Some(lifetime_ms) = self.lifetime_ms else { return Ok(()) };
        let db = self.writing.lock().await;
        let old = self.read().older_than(now_ms.saturating_sub(lifetime_ms));
        if !old.is_empty() {
            info!(forgotten = old.len(), "{} bindings have expired (bsdp.binding-days)", old.len());
        }
        self.write(&db, old).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::netboot::bsdp::ImageId;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn bind(system: &str, image: u32) -> Change {
        Change::Bind {
            mac: MAC,
            system: system.into(),
            arch: "i386".into(),
            image: ImageId::from(image),
            address: Ipv4Addr::new(10, 0, 1, 93),
            name: "NetBoot-000001".into(),
        }
    }

    async fn db(folder: &tempfile::TempDir) -> Db {
        Db::open(&folder.path().join("db")).await.unwrap()
    }

    #[tokio::test]
    async fn changes_of_one_batch_follow_each_other_and_outlive_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let bindings = Bindings::open(db(&folder).await, 30).await.unwrap();
        let forget = Change::Forget { mac: MAC, system: "a".into() };
        bindings.commit(&[bind("a", 1), bind("b", 2), forget, bind("b", 3)]).await.unwrap();
        assert!(!bindings.is_news(&bind("b", 3)), "a retransmission needs no flush");
        // Nothing is closed: what a second opening reads is what a kill would have left.
        let again = Bindings::open(db(&folder).await, 30).await.unwrap();
        let table = again.read();
        assert_eq!((table.len(), table.of(MAC, "b").unwrap().image), (1, ImageId::from(3)));
    }

    #[tokio::test]
    async fn one_model_or_all_behind_an_address_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let bindings = Bindings::open(db(&folder).await, 30).await.unwrap();
        bindings.commit(&[bind("a", 1), bind("b", 2), bind("c", 3)]).await.unwrap();
        let gone = bindings.forget(MAC, Some("b")).await.unwrap();
        assert_eq!(gone.iter().map(|binding| binding.system.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(bindings.forget(MAC, Some("b")).await.unwrap().is_empty());
        assert_eq!(bindings.forget(MAC, None).await.unwrap().len(), 2);
        assert!(Bindings::open(db(&folder).await, 30).await.unwrap().read().is_empty());
    }

    #[tokio::test]
    async fn a_choice_expires_after_its_days_and_never_where_they_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for (days, left) in [(0, 1), (2, 1), (1, 0)] {
            let bindings = Bindings::open(db(&folder).await, days).await.unwrap();
            bindings.commit(&[bind("a", 1)]).await.unwrap();
            bindings.expire(now_ms() + DAY_MS + 1000).await.unwrap();
            assert_eq!(bindings.read().len(), left, "{days} days");
        }
    }

    #[tokio::test]
    async fn a_choice_that_cannot_be_written_is_not_shown_to_anybody() {
        let folder = tempfile::tempdir().unwrap();
        let db = db(&folder).await;
        let bindings = Bindings::open(db.clone(), 30).await.unwrap();
        db.close().await;
        assert!(bindings.commit(&[bind("a", 1)]).await.is_err());
        assert!(bindings.read().is_empty());
    }
}
