//! Events of many runs in one transaction: whoever comes while the database is busy goes with the next one, so that the disk is asked
//! to flush once for all who wait, not once for each.
//!
//! The first who comes starts the transaction; what has come by the time that it has begun is in it. Each is undone by itself where
//! it does not fit; where anything fails or panics, all is undone and everybody is tried alone, so that one never spoils another. Nobody
//! is answered before the commit, and everybody is answered. Must not know: what is appended.

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

/// One of them, and where its answer goes.
#[derive(Debug)]
pub(super) struct Entry {
    wanted: Wanted,
    answer: oneshot::Sender<Result<Appended, DbError>>,
}

/// What is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    run: i64,
    append: Append,
    now_ms: i64,
    who: Option<Arc<Acting>>,
}

impl Db {
    /// Adds events. They are on the disk when this comes back, also where nobody waits for it any more.
    pub async fn append(&self, run: i64, append: Append, now_ms: i64) -> Result<Appended, DbError> {
        let (answer, told) = oneshot::channel();
        let entry = Entry { wanted: Wanted { run, append, now_ms, who: who_acts() }, answer };
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
            let db = self.clone();
            let begun = survived(async move { db.begin().await }).await;
            let entries: Vec<Entry> = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(MOST);
                waiting.drain(..count).collect()
            };
            let is_full = entries.len() == MOST;
            let (all, answers): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|entry| (entry.wanted, entry.answer)).unzip();
            let all: Arc<[Wanted]> = all.into();
            let together = match begun {
                Some(Ok(tx)) => {
                    let (db, all) = (self.clone(), all.clone());
                    survived(async move { db.together(tx, &all).await }).await.flatten()
                }
                _ => None,
            };
            match together {
                Some(results) => {
                    for (answer, result) in answers.into_iter().zip(results) {
                        // Who went away is not told.
                        let _ = answer.send(Ok(result));
                    }
                }
                None => {
                    for (place, answer) in answers.into_iter().enumerate() {
                        let (db, all) = (self.clone(), all.clone());
                        let result = survived(async move { db.alone(&all[place]).await }).await;
                        let _ =
                            answer.send(result.unwrap_or(Err(DbError::Query(sqlx::Error::WorkerCrashed))));
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
    async fn together(&self, mut tx: Transaction<'static, Sqlite>, all: &[Wanted]) -> Option<Vec<Appended>> {
        let mut results = Vec::with_capacity(all.len());
        for wanted in all {
            sqlx::query("SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            let result = self.one(&mut tx, wanted).await.ok()?;
            if result != Appended::Recorded {
                sqlx::query("ROLLBACK TO SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            }
            sqlx::query("RELEASE SAVEPOINT one_run").execute(&mut *tx).await.ok()?;
            results.push(result);
        }
        tx.commit().await.ok()?;
        Some(results)
    }

    async fn alone(&self, wanted: &Wanted) -> Result<Appended, DbError> {
        let mut tx = self.begin().await?;
        let result = self.one(&mut tx, wanted).await?;
        if result == Appended::Recorded {
            tx.commit().await?;
        }
        Ok(result)
    }

    async fn one(&self, tx: &mut Transaction<'static, Sqlite>, wanted: &Wanted) -> Result<Appended, DbError> {
        let work = self.append_in(tx, wanted.run, &wanted.append, wanted.now_ms);
        match &wanted.who {
            Some(who) => acting(who.clone(), work).await,
            None => work.await,
        }
    }
}

/// What this comes to; none when it panics, which ends nothing but this.
async fn survived<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::super::{EventBody, NewRun, Started};
    use super::*;
    use crate::api::runner::{DeviceFacts, Outcome, Progress};
    use crate::db::Ended;
    use crate::value::Digest;

    /// A run of a Mac of its own; its first event is recorded.
    async fn run(db: &Db, number: u8) -> i64 {
        let serial = Some(format!("C02A{number}").parse().unwrap());
        let new = NewRun {
            device: db.greeted(DeviceFacts { serial, ..DeviceFacts::default() }).await,
            deployment: 1,
            sequence: "a".into(),
            revision: 1,
            images: Vec::new(),
            token: Digest::of(&[number]),
            receipt_key: String::new(),
            steps: 1,
            event: "{}".into(),
            started_ms: 1,
        };
        let Started::Created(run) = db.create_run(&new).await.unwrap() else { panic!() };
        run
    }

    fn event(first: i64, text: &str) -> Append {
        Append { events: vec![EventBody::State(text.into())], first, step: 1, ..Append::default() }
    }

    async fn opened() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        (folder, db)
    }

    #[tokio::test]
    async fn many_who_wait_go_together_and_one_that_does_not_fit_undoes_nobody_else() {
        let (_folder, db) = opened().await;
        let mut runs = Vec::new();
        for number in 0..5 {
            runs.push(run(&db, number).await);
        }
        // While somebody else writes, all of them come.
        let busy = db.begin().await.unwrap();
        let turn = db.touched.turn();
        let coming: Vec<_> = runs
            .iter()
            .map(|run| {
                let (db, run) = (db.clone(), *run);
                let first = if run == 3 { 7 } else { 2 };
                let who = Acting::new("ana".into(), "session", None, "run.cancel".into(), || 9);
                let work =
                    async move { db.append(run, event(first, &format!("{{\"run\":{run}}}")), 5).await };
                tokio::spawn(async move { if run == 2 { acting(who, work).await } else { work.await } })
            })
            .collect();
        while db.waiting.lock().unwrap().len() < runs.len() {
            tokio::task::yield_now().await;
        }
        drop(busy);
        let mut results = Vec::new();
        for one in coming {
            results.push(one.await.unwrap().unwrap());
        }
        let want =
            [Appended::Recorded, Appended::Recorded, Appended::Moved, Appended::Recorded, Appended::Recorded];
        assert_eq!(results, want);
        assert_eq!(db.touched.turn(), turn + 1, "one transaction");
        for run in runs {
            let events = db.events(run, 0, 10).await.unwrap();
            assert_eq!(events.len(), if run == 3 { 1 } else { 2 });
        }
        let log =
            db.audit_entries(&crate::db::AuditQuery { limit: 100, ..Default::default() }).await.unwrap();
        let ana: Vec<_> =
            log.iter().filter(|entry| entry.who == "ana").map(|entry| entry.object.as_str()).collect();
        assert_eq!(ana, ["run 2"], "who acts is told for his own event only");
    }

    #[tokio::test]
    async fn where_one_fails_the_others_are_recorded_all_the_same() {
        let (_folder, db) = opened().await;
        let (good, bad) = (run(&db, 1).await, run(&db, 2).await);
        sqlx::query("CREATE TRIGGER no BEFORE INSERT ON run_event WHEN NEW.body = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
            .execute(&db.write)
            .await
            .unwrap();
        let busy = db.begin().await.unwrap();
        let both =
            async { tokio::join!(db.append(good, event(2, "good"), 5), db.append(bad, event(2, "bad"), 5)) };
        let release = async {
            while db.waiting.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(busy);
        };
        let ((fine, failed), ()) = tokio::join!(both, release);
        assert_eq!(fine.unwrap(), Appended::Recorded);
        assert!(failed.is_err());
        assert_eq!(db.events(good, 1, 10).await.unwrap().len(), 1);
        assert!(db.events(bad, 1, 10).await.unwrap().is_empty());
        assert_eq!(db.append(bad, event(2, "well"), 6).await.unwrap(), Appended::Recorded);
    }

    #[tokio::test]
    async fn where_one_panics_everybody_is_answered_those_too_who_wait_for_the_transaction_after() {
        let (_folder, db) = opened().await;
        let run = run(&db, 1).await;
        let busy = db.begin().await.unwrap();
        let clock: fn() -> i64 = || panic!("this clock is broken, as the test wants it");
        let who = Acting::new("ana".into(), "session", None, "run.cancel".into(), clock);
        let all: Vec<_> = (0..2 * MOST + 1)
            .map(|number| {
                let (db, who) = (db.clone(), who.clone());
                let work = async move { db.append(run, event(2, "{}"), 5).await };
                tokio::spawn(async move { if number == 0 { acting(who, work).await } else { work.await } })
            })
            .collect();
        while db.waiting.lock().unwrap().len() < all.len() {
            tokio::task::yield_now().await;
        }
        drop(busy);
        let mut results = Vec::new();
        for one in all {
            results.push(one.await.unwrap());
        }
        assert!(results[0].is_err());
        let count = |what| results[1..].iter().filter(|one| matches!(one, Ok(one) if *one == what)).count();
        assert_eq!((count(Appended::Recorded), count(Appended::Moved)), (1, 2 * MOST - 1));
        assert_eq!(db.append(run, event(3, "{}"), 6).await.unwrap(), Appended::Recorded);
    }

    #[tokio::test]
    async fn progress_is_noted_unless_something_was_recorded_after_it() {
        let (_folder, db) = opened().await;
        let run = run(&db, 1).await;
        let progress = |done| Progress { done, ..Progress::default() };
        let noted = async || db.run(run).await.unwrap().unwrap().progress.map(|progress| progress.done);
        db.save_progress(&[(run, 1, progress(5))]).await.unwrap();
        assert_eq!(noted().await, Some(5));
        db.append(run, event(2, "{}"), 5).await.unwrap();
        db.save_progress(&[(run, 1, progress(6))]).await.unwrap();
        assert_eq!(noted().await, None, "it is of the action before");
        let end = Ended { outcome: Outcome::Failed, message: String::new() };
        db.append(run, Append { ended: Some(end), ..event(3, "{}") }, 5).await.unwrap();
        db.save_progress(&[(run, 3, progress(7))]).await.unwrap();
        assert_eq!(noted().await, None, "it has ended");
    }
}
