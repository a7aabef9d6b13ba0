//! Timelines of network clients, bounded: the newest events of each client, and a bound for all clients together, so that
//! made-up addresses cannot fill the disk.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::device::serial_of;
use super::{Db, DbError, from_word, number, parsed, word};
use crate::api::admin::{Client, ClientSummary};
use crate::api::timeline::ClientEvent;
use crate::value::MacAddr;

/// Events kept of one client.
pub const MOST_EVENTS: i64 = 500;

/// Events kept of all clients.
const MOST_EVENTS_OF_ALL: i64 = 200_000;

/// Events that one statement adds: each statement is a way to the database's thread and back, and each parameter of it is
/// searched for among the others.
const ROWS: usize = 16;

/// `INSERT` of this many events.
fn insert(rows: usize) -> String {
    let row = |row: usize| {
        let [a, b, c, d, e, f] = std::array::from_fn(|column| row * 6 + column + 1);
        format!("(${a}, ${b}, ${c}, ${d}, ${e}, ${f})")
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO client_event (id, mac, at_ms, stage, answered, detail) VALUES {}", rows.join(", "))
}

/// `DELETE` of what is over the bound of this many clients.
fn prune(clients: usize) -> String {
    let macs: Vec<String> = (0..clients).map(|mac| format!("${}", mac + 2)).collect();
    format!(
        "DELETE FROM client_event WHERE id IN (SELECT id FROM
         (SELECT id, ROW_NUMBER() OVER (PARTITION BY mac ORDER BY id DESC) AS place FROM client_event WHERE mac IN ({})) AS placed
         WHERE place > $1)",
        macs.join(", ")
    )
}

impl Db {
    /// Adds events in one transaction and drops what is over the bounds.
    pub async fn add_client_events(&self, events: &[ClientEvent]) -> Result<(), DbError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let last: i64 = sqlx::query_scalar(
            "INSERT INTO counter (name, value) VALUES ('client_event', $1)
             ON CONFLICT (name) DO UPDATE SET value = counter.value + $1 RETURNING value",
        )
        .bind(count)
        .fetch_one(&mut *tx)
        .await?;
        let first = last - count + 1;
        for (id, events) in (first..).step_by(ROWS).zip(events.chunks(ROWS)) {
            let mut query = sqlx::query(AssertSqlSafe(insert(events.len())));
            for (id, event) in (id..).zip(events) {
                query = query
                    .bind(id)
                    .bind(event.mac.to_string())
                    .bind(event.at_ms)
                    .bind(word(&event.stage))
                    .bind(event.answered)
                    .bind(&event.detail);
            }
            query.execute(&mut *tx).await?;
        }
        let macs: BTreeSet<MacAddr> = events.iter().map(|event| event.mac).collect();
        for macs in macs.into_iter().collect::<Vec<_>>().chunks(ROWS) {
            let query = sqlx::query(AssertSqlSafe(prune(macs.len()))).bind(MOST_EVENTS);
            macs.iter().fold(query, |query, mac| query.bind(mac.to_string())).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM client_event WHERE id <= $1")
            .bind(last - MOST_EVENTS_OF_ALL)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Every client with its last event, last seen first.
    pub async fn clients(&self) -> Result<Vec<ClientSummary>, DbError> {
        let rows = sqlx::query(
            "SELECT e.mac, e.at_ms, e.stage, e.answered, e.detail, n.events,
                    (SELECT d.serial FROM device_mac m JOIN device d ON d.id = m.device
                     WHERE m.mac = e.mac ORDER BY m.seen_ms DESC LIMIT 1)
             FROM client_event e
             JOIN (SELECT MAX(id) AS id, COUNT(*) AS events FROM client_event GROUP BY mac) n ON n.id = e.id
             ORDER BY e.id DESC",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ClientSummary {
                    last: event(row)?,
                    events: number("number of events", row.try_get(5)?)?,
                    serial: serial_of(row.try_get(6)?)?,
                    conclusion: None,
                })
            })
            .collect()
    }

    /// The newest events of every client, by client, oldest first.
    pub async fn last_events(&self, of_each: i64) -> Result<Vec<ClientEvent>, DbError> {
        let rows = sqlx::query(
            "SELECT mac, at_ms, stage, answered, detail FROM
               (SELECT *, ROW_NUMBER() OVER (PARTITION BY mac ORDER BY id DESC) AS place FROM client_event)
             WHERE place <= $1 ORDER BY mac, id",
        )
        .bind(of_each)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(event).collect()
    }

    /// Number of clients heard since a time.
    pub async fn count_clients(&self, since_ms: i64) -> Result<u32, DbError> {
        let count = sqlx::query_scalar("SELECT COUNT(DISTINCT mac) FROM client_event WHERE at_ms >= $1")
            .bind(since_ms)
            .fetch_one(&self.read)
            .await?;
        number("number of clients", count)
    }

    /// One client's timeline; none when nothing was heard of it.
    pub async fn client(&self, mac: MacAddr) -> Result<Option<Client>, DbError> {
        let rows = sqlx::query(
            "SELECT mac, at_ms, stage, answered, detail FROM client_event WHERE mac = $1 ORDER BY id",
        )
        .bind(mac.to_string())
        .fetch_all(&self.read)
        .await?;
        let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let devices = self.devices_with(mac).await?;
        Ok((!events.is_empty() || !devices.is_empty()).then_some(Client {
            mac,
            devices,
            events,
            conclusion: None,
        }))
    }
}

fn event(row: &SqliteRow) -> Result<ClientEvent, DbError> {
    Ok(ClientEvent {
        mac: parsed("MAC address", row.try_get(0)?)?,
        at_ms: row.try_get(1)?,
        stage: from_word("stage", row.try_get(2)?)?,
        answered: row.try_get(3)?,
        detail: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::timeline::Stage;

    fn at(mac: u8, at_ms: i64) -> ClientEvent {
        ClientEvent {
            mac: MacAddr::new([2, 0, 0, 0, 0, mac]),
            at_ms,
            stage: Stage::Discover,
            answered: true,
            detail: format!("event {at_ms}"),
        }
    }

    #[tokio::test]
    async fn the_newest_events_of_a_client_are_kept_and_others_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        db.add_client_events(&[at(2, 0)]).await.unwrap();
        let many: Vec<_> = (1..=MOST_EVENTS + 20).map(|n| at(1, n)).collect();
        db.add_client_events(&many[..300]).await.unwrap();
        db.add_client_events(&many[300..]).await.unwrap();
        let client = db.client(many[0].mac).await.unwrap().unwrap();
        assert_eq!(client.events, many[20..]);
        let last = db.last_events(2).await.unwrap();
        assert_eq!(last, [many[518].clone(), many[519].clone(), at(2, 0)]);
        let all = db.clients().await.unwrap();
        assert_eq!(all.iter().map(|client| client.events).collect::<Vec<_>>(), [500, 1]);
        assert!(db.client(MacAddr::new([9; 6])).await.unwrap().is_none());
    }
}
