//! The audit log: an entry is written in the transaction that makes the change.
//!
//! Who acts is not handed through every function: whoever serves a request says it once, [`acting`], and everything that is
//! done within it, [`record`]s under that name. Without one the appliance itself acts. What was done and never recorded is told
//! by whoever served it, from the request ([`Acting::was_recorded`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use super::search::escaped;
use super::{Db, DbError, from_json, json};
use crate::api::admin::{AuditEntry, AuditVerdict, Chain};

tokio::task_local! {
    static ACTING: Arc<Acting>;
}

/// Refuses changes and removals.
pub(super) const APPEND_ONLY: &str = include_str!("append_only/sqlite.sql");

/// Who acts, from where, and what they asked for.
#[derive(Debug)]
pub struct Acting {
    /// `ana`, `root on the appliance`.
    pub who: String,
    /// `session`, `token`, `admin-token`, `socket`, `mac`, `appliance`, `nobody`.
    pub how: &'static str,
    /// Address.
    pub from: Option<String>,
    /// What was asked for, `image.promote`.
    pub action: String,
    /// The clock of the daemon.
    pub clock: fn() -> i64,
    recorded: AtomicBool,
}

impl Acting {
    /// Nothing is recorded yet.
    pub fn new(
        who: String,
        how: &'static str,
        from: Option<String>,
        action: String,
        clock: fn() -> i64,
    ) -> Arc<Acting> {
        Arc::new(Acting { who, how, from, action, clock, recorded: AtomicBool::new(false) })
    }

    /// The same one, for work that goes on after the request.
    pub fn later(&self) -> Arc<Acting> {
        let Acting { who, how, from, action, clock, .. } = self;
        Acting::new(who.clone(), how, from.clone(), action.clone(), *clock)
    }

    /// Whether a change was recorded under this name.
    pub fn was_recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }
}

/// What is done within `future` is done by this one.
pub async fn acting<F: Future>(who: Arc<Acting>, future: F) -> F::Output {
    ACTING.scope(who, future).await
}

/// The one who acts, for work that goes on elsewhere.
pub fn who_acts() -> Option<Arc<Acting>> {
    ACTING.try_with(Arc::clone).ok()
}

/// One thing that was done.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// What; none: what was asked for.
    pub action: Option<&'a str>,
    /// To what, `image lab`.
    pub object: String,
    /// What was so, without secrets.
    pub before: Option<Value>,
    /// What is so now, without secrets.
    pub after: Option<Value>,
    /// Now, where nobody acts who has a clock.
    pub now_ms: i64,
    /// Who, where nobody acts; none: the appliance itself.
    pub by: Option<&'a str>,
}

impl Change<'_> {
    /// Of this object, and nothing more is told.
    pub fn of(object: impl Into<String>, now_ms: i64) -> Change<'static> {
        Change { action: None, object: object.into(), before: None, after: None, now_ms, by: None }
    }
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// By whom: the beginning of their name.
    pub who: Option<String>,
    /// What: the beginning of the action.
    pub action: Option<String>,
    /// To what: a part of the object.
    pub object: Option<String>,
    /// Not before.
    pub since_ms: i64,
    /// Only those before this number; 0: all.
    pub before: i64,
    /// At most.
    pub limit: u32,
}

impl Db {
    /// Records what was done outside of the database.
    pub async fn audit(&self, change: Change<'_>) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Entries, newest first.
    pub async fn audit_entries(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, DbError> {
        let escaped = |text: &Option<String>| escaped(text.as_deref().unwrap_or_default());
        let rows = sqlx::query(
            "SELECT number, at_ms, who, how, address, action, object, before_value, after_value, prev, hash FROM audit
             WHERE who LIKE $1 ESCAPE '\\' AND action LIKE $2 ESCAPE '\\' AND object LIKE $3 ESCAPE '\\'
               AND at_ms >= $4 AND (number < $5 OR $5 = 0)
             ORDER BY number DESC LIMIT $6",
        )
        .bind(format!("{}%", escaped(&query.who)))
        .bind(format!("{}%", escaped(&query.action)))
        .bind(format!("%{}%", escaped(&query.object)))
        .bind(query.since_ms)
        .bind(query.before)
        .bind(i64::from(query.limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(entry).collect()
    }

    /// Entries after a number, oldest first: for an export and for looking at the chain.
    pub async fn audit_after(&self, number: i64, limit: u32) -> Result<Vec<AuditEntry>, DbError> {
        let rows = sqlx::query(
            "SELECT number, at_ms, who, how, address, action, object, before_value, after_value, prev, hash FROM audit
             WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .bind(number)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(entry).collect()
    }

    /// Looks at the whole chain.
    pub async fn verify_audit(&self, known: Option<(i64, String)>) -> Result<AuditVerdict, DbError> {
        let mut chain = Chain::new();
        if let Some((number, hash)) = known {
            chain = chain.known(number, hash);
        }
        let (mut entries, mut hash) = (0, String::new());
        loop {
            let page = self.audit_after(entries, 1000).await?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                if let Err(broken) = chain.follow(&entry) {
                    return Ok(AuditVerdict { entries, hash, broken: Some(broken.to_string()) });
                }
                (entries, hash) = (entry.number, entry.hash);
            }
        }
        let broken = chain.end().err().map(|broken| broken.to_string());
        Ok(AuditVerdict { entries, hash, broken })
    }

    /// Number and hash of the last entry.
    pub async fn audit_head(&self) -> Result<Option<(i64, String)>, DbError> {
        head(&mut *self.read.acquire().await?).await
    }
}

/// Writes an entry, in the transaction of what it tells of.
pub(super) async fn record(tx: &mut Transaction<'static, Sqlite>, change: Change<'_>) -> Result<(), DbError> {
    let acting = who_acts();
    let (last, prev) = head(tx).await?.unwrap_or_default();
    let asked = acting.as_ref().map(|acting| acting.action.as_str());
    let mut entry = AuditEntry {
        number: last + 1,
        at_ms: acting.as_ref().map_or(change.now_ms, |acting| (acting.clock)()),
        who: acting
            .as_ref()
            .map(|acting| acting.who.as_str())
            .or(change.by)
            .unwrap_or("the appliance")
            .to_owned(),
        how: acting.as_ref().map_or("appliance", |acting| acting.how).to_owned(),
        from: acting.as_ref().and_then(|acting| acting.from.clone()),
        action: change.action.or(asked).unwrap_or("change").to_owned(),
        object: change.object,
        before: change.before,
        after: change.after,
        prev,
        hash: String::new(),
    };
    entry.hash = entry.counted();
    sqlx::query(
        "INSERT INTO audit (number, at_ms, who, how, address, action, object, before_value, after_value, prev, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(entry.number)
    .bind(entry.at_ms)
    .bind(&entry.who)
    .bind(&entry.how)
    .bind(&entry.from)
    .bind(&entry.action)
    .bind(&entry.object)
    .bind(entry.before.as_ref().map(json))
    .bind(entry.after.as_ref().map(json))
    .bind((!entry.prev.is_empty()).then_some(&entry.prev))
    .bind(&entry.hash)
    .execute(&mut **tx)
    .await?;
    if let Some(acting) = acting {
        acting.recorded.store(true, Ordering::Relaxed);
    }
    Ok(())
}

async fn head(connection: &mut SqliteConnection) -> Result<Option<(i64, String)>, DbError> {
    let row = sqlx::query("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

fn entry(row: &SqliteRow) -> Result<AuditEntry, DbError> {
    let value = |place: usize| -> Result<Option<Value>, DbError> {
        let text: Option<String> = row.try_get(place)?;
        text.map(|text| from_json("value of the audit log", &text)).transpose()
    };
    Ok(AuditEntry {
        number: row.try_get(0)?,
        at_ms: row.try_get(1)?,
        who: row.try_get(2)?,
        how: row.try_get(3)?,
        from: row.try_get(4)?,
        action: row.try_get(5)?,
        object: row.try_get(6)?,
        before: value(7)?,
        after: value(8)?,
        prev: row.try_get::<Option<String>, _>(9)?.unwrap_or_default(),
        hash: row.try_get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn opened(folder: &tempfile::TempDir) -> Db {
        Db::open(&folder.path().join("db.sqlite3")).await.unwrap()
    }

    fn change(object: &str) -> Change<'static> {
        let after = Some(json!({"b": 1, "a": 2}));
        Change { action: Some("test"), after, ..Change::of(object, 5) }
    }

    #[tokio::test]
    async fn a_line_cannot_be_changed_or_removed_and_one_that_was_all_the_same_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let db = opened(&folder).await;
        for object in ["one", "two", "three"] {
            db.audit(change(object)).await.unwrap();
        }
        for forbidden in ["UPDATE audit SET who = 'x' WHERE number = 2", "DELETE FROM audit WHERE number = 3"]
        {
            let error = sqlx::query(forbidden).execute(&db.write).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{error}");
        }
        assert_eq!(db.verify_audit(None).await.unwrap().broken, None);
        sqlx::query("DROP TRIGGER audit_is_not_removed").execute(&db.write).await.unwrap();
        let error = sqlx::query("DELETE FROM audit WHERE number = 2").execute(&db.write).await.unwrap_err();
        assert!(error.to_string().contains("FOREIGN KEY"), "a row that another follows on: {error}");
        sqlx::query("PRAGMA foreign_keys = OFF").execute(&db.write).await.unwrap();
        sqlx::query("DELETE FROM audit WHERE number = 2").execute(&db.write).await.unwrap();
        let verdict = db.verify_audit(None).await.unwrap();
        assert_eq!(verdict.broken.as_deref(), Some("entry 2 is missing: entry 3 follows on entry 1"));
        db.close().await;
        let db = opened(&folder).await;
        let error = sqlx::query("DELETE FROM audit").execute(&db.write).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "the next start protects it again: {error}");
    }

    #[tokio::test]
    async fn who_acts_is_told_wherever_the_change_is_made_and_a_change_that_is_dropped_leaves_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let db = opened(&folder).await;
        let ana = Acting::new("ana".into(), "session", Some("10.0.0.7".into()), "image.promote".into(), || 9);
        acting(ana.clone(), async {
            let mut tx = db.begin().await.unwrap();
            record(&mut tx, change("dropped")).await.unwrap();
            drop(tx);
            db.audit(Change { action: None, ..change("kept") }).await.unwrap();
        })
        .await;
        assert!(ana.was_recorded());
        db.audit(change("by itself")).await.unwrap();
        let entries = db.audit_entries(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.number, entry.who.as_str(), entry.action.as_str(), entry.at_ms))
            .collect();
        assert_eq!(told, [(2, "the appliance", "test", 5), (1, "ana", "image.promote", 9)]);
        let query = AuditQuery { who: Some("an".into()), limit: 10, ..AuditQuery::default() };
        assert_eq!(db.audit_entries(&query).await.unwrap().len(), 1);
    }
}
