//! Events of many runs in one transaction: whoever comes while the database is busy goes with the next one, so that the disk is asked
//! to flush once for all who wait, not once for each.
//!
//! The first who comes starts the transaction; what has come by the time that it has begun is in it. Each is undone by itself where
//! it does not fit; where anything fails, all is undone and everybody is tried alone, so that one never spoils another. Nobody is
//! answered before the commit. Must not know: what is appended.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Sqlite, Transaction};
use tokio::sync::oneshot;

use super::audit::{Acting, acting, who_acts};
use super::run::{Append, Appended};
use super::{Db, DbError};

/// Runs that one transaction takes at most: its answers wait for all of them.
const MOST: usize = 128;

/// Those who wait for the next transaction.
pub(super) type Waiting = Arc<Mutex<Vec<Entry>>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    run: i64,
    append: Append,
    now_ms: i64,
    who: Option<Arc<Acting>>,
    answer: oneshot::Sender<Result<Appended, DbError>>,
}

impl Db {
    /// Adds events. They are on the disk when this comes back, also where nobody waits for it any more.
    pub async fn append(&self, run: i64, append: Append, now_ms: i64) -> Result<Appended, DbError> {
        let (answer, told) = oneshot::channel();
        let entry = Entry { run, append, now_ms, who: who_acts(), answer };
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(entry);
            waiting.len() == 1
        };
        if is_first {
            let db = self.clone();
            tokio::spawn(async move { db.append_all().await });
        }
        // Nobody answers only when the process ends.
        told.await.unwrap_or(Err(DbError::Query(sqlx::Error::PoolClosed)))
    }

    async fn append_all(&self) {
        loop {
            let begun = self.begin().await;
            let entries: Vec<Entry> = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(MOST);
                waiting.drain(..count).collect()
            };
            let is_full = entries.len() == MOST;
            let together = match begun {
                Ok(tx) => self.together(tx, &entries).await,
                Err(_) => None,
            };
            match together {
                Some(results) => {
                    for (entry, result) in entries.into_iter().zip(results) {
                        // Who went away is not told.
                        let _ = entry.answer.send(Ok(result));
                    }
                }
                None => {
                    for entry in entries {
                        let result = self.alone(&entry).await;
                        let _ = entry.answer.send(result);
                    }
                }
            }
            // Who came after these found nobody before him and starts a round of his own; who did not fit in has nobody else.
            if !is_full {
                return;
            }
        }
    }

    /// None: it did not work out for all of them, and nothing is written.
    async fn together(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        entries: &[Entry],
    ) -> Option<Vec<Appended>> {
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            sqlx::query("SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            let result = self.one(&mut tx, entry).await.ok()?;
            if result != Appended::Recorded {
                sqlx::query("ROLLBACK TO SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            }
            sqlx::query("RELEASE SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            results.push(result);
        }
        tx.commit().await.ok()?;
        Some(results)
    }

    async fn alone(&self, entry: &Entry) -> Result<Appended, DbError> {
        let mut tx = self.begin().await?;
        let result = self.one(&mut tx, entry).await?;
        if result == Appended::Recorded {
            tx.commit().await?;
        }
        Ok(result)
    }

    async fn one(&self, tx: &mut Transaction<'static, Sqlite>, entry: &Entry) -> Result<Appended, DbError> {
        let work = self.append_in(tx, entry.run, &entry.append, entry.now_ms);
        match &entry.who {
            Some(who) => acting(who.clone(), work).await,
            None => work.await,
        }
    }
}
