//! Collections that administrators made: definitions. Their members: `member`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record};
use super::member::{GENERATION, definitions};
use super::{Db, DbError, next_number, number};
use crate::sequence::target::collection::{Circle, Collections};

/// A collection as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionRow {
    /// Its number; 0 for one that is to be made.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its rule as it was written.
    pub rule: Option<String>,
    /// Of equal variables the one of the higher number wins.
    pub priority: i64,
    /// How many Macs belong to it.
    pub members: u32,
    /// Whether they are being judged anew.
    pub stale: bool,
    /// Milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// Milliseconds since 1970 UTC.
    pub changed_ms: i64,
    /// Names of collections whose Macs belong to it.
    pub includes: Vec<String>,
    /// Names of collections whose Macs never do.
    pub excludes: Vec<String>,
}

/// Why a collection was not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSaved {
    /// There is another one of this name.
    Name(String),
    /// There is no such collection.
    NoCollection(String),
    /// There is no such Mac.
    NoDevice(i64),
    /// It would stand in itself.
    Circle(Circle),
    /// There are as many as there may be.
    TooMany,
}

/// Most collections.
pub const MOST_COLLECTIONS: i64 = 2000;

const COLUMNS: &str =
    "SELECT id, name, description, rule, priority, members, stale, created_ms, changed_ms FROM collection";

impl Db {
    /// All collections, by name.
    pub async fn all_collections(&self) -> Result<Vec<CollectionRow>, DbError> {
        let query = format!("{COLUMNS} ORDER BY folded");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.read).await?;
        let mut all: Vec<CollectionRow> = rows.iter().map(row).collect::<Result<_, _>>()?;
        let mut parts: BTreeMap<i64, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let rows = sqlx::query(
            "SELECT p.collection, p.role, c.name FROM collection_part p JOIN collection c ON c.id = p.other ORDER BY c.folded",
        )
        .fetch_all(&self.read)
        .await?;
        for row in rows {
            let (includes, excludes) = parts.entry(row.try_get(0)?).or_default();
            let part = if row.try_get::<&str, _>(1)? == "exclude" { excludes } else { includes };
            part.push(row.try_get(2)?);
        }
        for one in &mut all {
            (one.includes, one.excludes) = parts.remove(&one.id).unwrap_or_default();
        }
        Ok(all)
    }

    /// The collection of this name, whatever its case, with the numbers of its direct members.
    pub async fn collection(&self, name: &str) -> Result<Option<(CollectionRow, Vec<i64>)>, DbError> {
        let folded = name.trim().to_lowercase();
        let Some(one) =
            self.all_collections().await?.into_iter().find(|one| one.name.to_lowercase() == folded)
        else {
            return Ok(None);
        };
        let direct =
            sqlx::query_scalar("SELECT device FROM collection_direct WHERE collection = $1 ORDER BY device")
                .bind(one.id)
                .fetch_all(&self.read)
                .await?;
        Ok(Some((one, direct)))
    }

    /// Makes or changes a collection (by its number), with these Macs put in and taken out. Its members are judged afterwards.
    pub async fn save_collection(
        &self,
        wanted: &CollectionRow,
        add: &[i64],
        remove: &[i64],
        now_ms: i64,
    ) -> Result<Result<i64, NotSaved>, DbError> {
        let mut tx = self.begin().await?;
        let folded = wanted.name.to_lowercase();
        let rows = sqlx::query("SELECT id, folded, name, rule FROM collection").fetch_all(&mut *tx).await?;
        let mut ids = BTreeMap::new();
        let mut before = None;
        for row in &rows {
            ids.insert(row.try_get::<String, _>(1)?, row.try_get::<i64, _>(0)?);
            if row.try_get::<i64, _>(0)? == wanted.id {
                before = Some((row.try_get::<String, _>(2)?, row.try_get::<Option<String>, _>(3)?));
            }
        }
        if ids.get(&folded).is_some_and(|id| *id != wanted.id) {
            return Ok(Err(NotSaved::Name(wanted.name.clone())));
        }
        if wanted.id == 0 && rows.len() as i64 >= MOST_COLLECTIONS {
            return Ok(Err(NotSaved::TooMany));
        }
        let mut parts = BTreeMap::new();
        for (names, role) in [(&wanted.includes, "include"), (&wanted.excludes, "exclude")] {
            for name in names {
                match ids.get(&name.trim().to_lowercase()) {
                    Some(id) => parts.insert(*id, role),
                    None => return Ok(Err(NotSaved::NoCollection(name.clone()))),
                };
            }
        }
        let id = if wanted.id == 0 { next_number(&mut tx, "collection").await? } else { wanted.id };
        write_row(&mut tx, id, &folded, wanted, now_ms).await?;
        sqlx::query("DELETE FROM collection_part WHERE collection = $1").bind(id).execute(&mut *tx).await?;
        for (other, role) in parts {
            sqlx::query("INSERT INTO collection_part (collection, other, role) VALUES ($1, $2, $3)")
                .bind(id)
                .bind(other)
                .bind(role)
                .execute(&mut *tx)
                .await?;
        }
        for device in add {
            let added = sqlx::query(
                "INSERT INTO collection_direct (collection, device) SELECT $1, id FROM device WHERE id = $2
                 ON CONFLICT (collection, device) DO UPDATE SET device = excluded.device",
            )
            .bind(id)
            .bind(device)
            .execute(&mut *tx)
            .await?;
            if added.rows_affected() == 0 {
                return Ok(Err(NotSaved::NoDevice(*device)));
            }
        }
        for device in remove {
            sqlx::query("DELETE FROM collection_direct WHERE collection = $1 AND device = $2")
                .bind(id)
                .bind(device)
                .execute(&mut *tx)
                .await?;
        }
        let all = match Collections::new(definitions(&mut tx).await?) {
            Ok(all) => all,
            Err(circle) => return Ok(Err(NotSaved::Circle(circle))),
        };
        for stale in all.with_dependents(&BTreeSet::from([id])) {
            sqlx::query("UPDATE collection SET stale = $2 WHERE id = $1")
                .bind(stale)
                .bind(true)
                .execute(&mut *tx)
                .await?;
        }
        let before_rule = before.clone();
        if let Some((name, _)) = before.filter(|(name, _)| *name != wanted.name) {
            for change in [
                "UPDATE deployment SET collection = $2 WHERE collection = $1",
                "UPDATE variable SET owner = $2 WHERE scope = 'collection' AND owner = $1",
            ] {
                sqlx::query(change).bind(&name).bind(&wanted.name).execute(&mut *tx).await?;
            }
        }
        next_number(&mut tx, GENERATION).await?;
        let after = serde_json::json!({
            "name": wanted.name, "rule": wanted.rule, "priority": wanted.priority, "includes": wanted.includes,
            "excludes": wanted.excludes, "put in": add, "taken out": remove,
        });
        let change = Change {
            before: before_rule.map(|(name, rule)| serde_json::json!({ "name": name, "rule": rule })),
            after: Some(after),
            ..Change::of(format!("collection {}", wanted.name), now_ms)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Ok(id))
    }

    /// Deletes a collection with its variables. Err with one line for each thing that needs it; None when it is absent.
    pub async fn remove_collection(&self, name: &str) -> Result<Option<Result<(), Vec<String>>>, DbError> {
        let mut tx = self.begin().await?;
        let found = sqlx::query("SELECT id, name FROM collection WHERE folded = $1")
            .bind(name.trim().to_lowercase())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(found) = found else { return Ok(None) };
        let (id, name): (i64, String) = (found.try_get(0)?, found.try_get(1)?);
        let deployments: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM deployment WHERE collection = $1 ORDER BY id")
                .bind(&name)
                .fetch_all(&mut *tx)
                .await?;
        let others: Vec<String> = sqlx::query_scalar(
            "SELECT c.name FROM collection_part p JOIN collection c ON c.id = p.collection WHERE p.other = $1 ORDER BY c.folded",
        )
        .bind(id)
        .fetch_all(&mut *tx)
        .await?;
        let mut users: Vec<String> = deployments.iter().map(|id| format!("deployment {id}")).collect();
        users.extend(others.iter().map(|other| format!("the collection {other}")));
        if !users.is_empty() {
            return Ok(Some(Err(users)));
        }
        for table in ["collection_member", "collection_direct", "collection_part"] {
            let query = format!("DELETE FROM {table} WHERE collection = $1");
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM variable WHERE scope = 'collection' AND owner = $1")
            .bind(&name)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM collection WHERE id = $1").bind(id).execute(&mut *tx).await?;
        next_number(&mut tx, GENERATION).await?;
        record(&mut tx, Change::of(format!("collection {name}"), 0)).await?;
        tx.commit().await?;
        Ok(Some(Ok(())))
    }
}

async fn write_row(
    tx: &mut Transaction<'static, Sqlite>,
    id: i64,
    folded: &str,
    wanted: &CollectionRow,
    now_ms: i64,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO collection (id, folded, name, description, rule, priority, members, stale, created_ms, changed_ms)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $8)
         ON CONFLICT (id) DO UPDATE SET folded = excluded.folded, name = excluded.name, description = excluded.description,
         rule = excluded.rule, priority = excluded.priority, changed_ms = excluded.changed_ms",
    )
    .bind(id)
    .bind(folded)
    .bind(&wanted.name)
    .bind(&wanted.description)
    .bind(&wanted.rule)
    .bind(wanted.priority)
    .bind(true)
    .bind(now_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn row(row: &SqliteRow) -> Result<CollectionRow, DbError> {
    Ok(CollectionRow {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        description: row.try_get(2)?,
        rule: row.try_get(3)?,
        priority: row.try_get(4)?,
        members: number("number of members", row.try_get(5)?)?,
        stale: row.try_get(6)?,
        created_ms: row.try_get(7)?,
        changed_ms: row.try_get(8)?,
        includes: Vec::new(),
        excludes: Vec::new(),
    })
}
