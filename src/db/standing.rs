//! What is known of a Mac before it boots: its addresses, whether it is known, whether something is deployed to it.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Db, DbError, parsed};
use crate::value::MacAddr;

/// Macs that one query reads, where not all are read.
const ROWS: usize = 200;

/// One Mac.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStanding {
    /// Its number.
    pub device: i64,
    /// The addresses that it was seen with; an adapter's is that of every Mac that it was plugged into.
    pub macs: Vec<MacAddr>,
    /// Whether it is known.
    pub known: bool,
    /// Whether it belongs to a collection to which something is deployed.
    pub targeted: bool,
    /// Whether it has a run that has not ended.
    pub has_run: bool,
}

/// How Macs stand, all of them or those that something was written about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standings {
    /// Whoever has this asks for what came after it.
    pub upto: u64,
    /// The Macs that were read anew; none: all.
    pub read: Option<Vec<i64>>,
    /// Those of them that have addresses.
    pub devices: Vec<DeviceStanding>,
}

impl Db {
    /// Devices that were seen with an address, the one seen last first.
    pub async fn devices_with(&self, mac: MacAddr) -> Result<Vec<i64>, DbError> {
        Ok(sqlx::query_scalar(
            "SELECT device FROM device_mac WHERE mac = $1 ORDER BY seen_ms DESC, device DESC",
        )
        .bind(mac.to_string())
        .fetch_all(&self.read)
        .await?)
    }

    /// How Macs stand, where something is deployed to the collections of these names: all, or what was written since an answer
    /// that was given for the same names.
    pub async fn standings(&self, since: Option<u64>, targeted: &[String]) -> Result<Standings, DbError> {
        let upto = self.touched.turn();
        let read = since.and_then(|since| self.touched.since(since));
        let mut devices = Vec::new();
        let mut tx = self.read.begin().await?;
        match &read {
            None => read_part(&mut tx, targeted, &[], &mut devices).await?,
            Some(some) => {
                for part in some.chunks(ROWS) {
                    read_part(&mut tx, targeted, part, &mut devices).await?;
                }
            }
        }
        Ok(Standings { upto, read, devices })
    }

    /// Whether a Mac that was registered and has not come yet belongs to one of these collections.
    pub async fn any_awaited(&self, targeted: &[String]) -> Result<bool, DbError> {
        if targeted.is_empty() {
            return Ok(false);
        }
        let query = format!(
            "SELECT d.id FROM device d JOIN collection_member m ON m.device = d.id JOIN collection c ON c.id = m.collection
             WHERE d.seen_ms = 0 AND c.name IN ({}) LIMIT 1",
            places(1, targeted.len())
        );
        let mut query = sqlx::query_scalar(AssertSqlSafe(query));
        for name in targeted {
            query = query.bind(name);
        }
        let found: Option<i64> = query.fetch_optional(&self.read).await?;
        Ok(found.is_some())
    }
}

/// Four narrow queries, each along an index: rows of Macs are long, and one row for each address and collection is many.
async fn read_part(
    connection: &mut SqliteConnection,
    targeted: &[String],
    only: &[i64],
    into: &mut Vec<DeviceStanding>,
) -> Result<(), DbError> {
    let mut found: BTreeMap<i64, DeviceStanding> = BTreeMap::new();
    let query = format!("SELECT m.device, m.mac FROM device_mac m{}", among("WHERE", "m.device", only));
    for row in bound(&query, only, &[]).fetch_all(&mut *connection).await? {
        let device = row.try_get(0)?;
        let fresh =
            || DeviceStanding { device, macs: Vec::new(), known: false, targeted: false, has_run: false };
        let mac = parsed("MAC address", row.try_get(1)?)?;
        found.entry(device).or_insert_with(fresh).macs.push(mac);
    }
    let query = format!("SELECT d.id FROM device d WHERE d.known = TRUE{}", among(" AND", "d.id", only));
    for row in bound(&query, only, &[]).fetch_all(&mut *connection).await? {
        found.get_mut(&row.try_get(0)?).into_iter().for_each(|one| one.known = true);
    }
    let query =
        format!("SELECT r.device FROM run r WHERE r.outcome IS NULL{}", among(" AND", "r.device", only));
    for row in bound(&query, only, &[]).fetch_all(&mut *connection).await? {
        found.get_mut(&row.try_get(0)?).into_iter().for_each(|one| one.has_run = true);
    }
    if !targeted.is_empty() {
        let query = format!(
            "SELECT m.device FROM collection c JOIN collection_member m ON m.collection = c.id WHERE c.name IN ({}){}",
            places(only.len() + 1, targeted.len()),
            among(" AND", "m.device", only)
        );
        for row in bound(&query, only, targeted).fetch_all(&mut *connection).await? {
            found.get_mut(&row.try_get(0)?).into_iter().for_each(|one| one.targeted = true);
        }
    }
    into.extend(found.into_values());
    Ok(())
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bound<'a>(query: &str, numbers: &[i64], names: &[String]) -> Query<'a> {
    let mut query = sqlx::query(AssertSqlSafe(query.to_owned()));
    for number in numbers {
        query = query.bind(*number);
    }
    for name in names {
        query = query.bind(name.clone());
    }
    query
}

/// A condition that a column is one of so many numbers; nothing where all are asked for.
fn among(word: &str, column: &str, only: &[i64]) -> String {
    if only.is_empty() {
        return String::new();
    }
    format!(" {} {column} IN ({})", word.trim(), places(1, only.len()))
}

/// `$3, $4, …`
fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{CollectionRow, NewRun, Started};
    use super::*;
    use crate::api::runner::DeviceFacts;
    use crate::value::Digest;

    async fn greet(db: &Db, number: u8) -> i64 {
        let facts = DeviceFacts {
            serial: Some(format!("C02A{number}").parse().unwrap()),
            macs: vec![MacAddr::new([2, 0, 0, 0, 0, number])],
            ..DeviceFacts::default()
        };
        db.greeted(facts).await
    }

    #[tokio::test]
    async fn only_macs_that_something_was_written_about_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let lab = ["Lab".to_owned()];
        let (one, other) = (greet(&db, 1).await, greet(&db, 2).await);
        let all = db.standings(None, &lab).await.unwrap();
        assert_eq!((all.read.as_ref(), all.devices.len()), (None, 2));
        // The last transaction might have ended after the reading.
        let again = db.standings(Some(all.upto), &lab).await.unwrap();
        assert_eq!(again.read, Some(vec![other]));
        let new = NewRun {
            device: one,
            deployment: 1,
            sequence: "a".into(),
            revision: 1,
            images: Vec::new(),
            token: Digest::of(b"t"),
            receipt_key: String::new(),
            steps: 1,
            event: "{}".into(),
            started_ms: 1,
        };
        assert_eq!(db.create_run(&new).await.unwrap(), Started::Created(1));
        let with_run = db.standings(Some(again.upto), &lab).await.unwrap();
        assert!(with_run.devices.iter().any(|standing| standing.device == one && standing.has_run));
        let row =
            CollectionRow { name: "Lab".into(), rule: Some("serial = C02A2".into()), ..Default::default() };
        db.save_collection(&row, &[], &[], 1).await.unwrap().unwrap();
        db.settle_stale().await.unwrap();
        let judged = db.standings(Some(with_run.upto), &lab).await.unwrap();
        assert_eq!(judged.read, None, "members of a collection were judged anew");
        let targeted: Vec<i64> =
            judged.devices.iter().filter(|standing| standing.targeted).map(|one| one.device).collect();
        assert_eq!(targeted, [other]);
        assert!(!db.any_awaited(&lab).await.unwrap());
    }
}
