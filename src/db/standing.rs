//! What an Ethernet address says about the Macs that it was seen with.

use sqlx::{AssertSqlSafe, Row};

use super::{Db, DbError, parsed};
use crate::value::MacAddr;

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacStanding {
    /// The address; an adapter's stands for every Mac that it was plugged into.
    pub mac: MacAddr,
    /// One of them is known.
    pub any_known: bool,
    /// One of them is not.
    pub any_unknown: bool,
    /// One of them belongs to a collection to which something is deployed.
    pub any_targeted: bool,
    /// One of them has a run that has not ended.
    pub has_run: bool,
}

impl Db {
    /// Every address that a runner named; something is deployed to the collections of these names.
    pub async fn mac_standings(&self, targeted: &[String]) -> Result<Vec<MacStanding>, DbError> {
        let query = format!(
            "SELECT m.mac, MAX(CASE WHEN d.known THEN 1 ELSE 0 END), MAX(CASE WHEN d.known THEN 0 ELSE 1 END), COUNT(r.id), MAX({})
             FROM device_mac m JOIN device d ON d.id = m.device
             LEFT JOIN run r ON r.device = d.id AND r.outcome IS NULL
             GROUP BY m.mac ORDER BY m.mac",
            belongs(targeted)
        );
        let mut query = sqlx::query(AssertSqlSafe(query));
        for name in targeted {
            query = query.bind(name);
        }
        let rows = query.fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                Ok(MacStanding {
                    mac: parsed("MAC address", row.try_get(0)?)?,
                    any_known: row.try_get::<i64, _>(1)? > 0,
                    any_unknown: row.try_get::<i64, _>(2)? > 0,
                    has_run: row.try_get::<i64, _>(3)? > 0,
                    any_targeted: row.try_get::<i64, _>(4)? > 0,
                })
            })
            .collect()
    }

    /// Whether a Mac that was registered and has not come yet belongs to one of these collections.
    pub async fn any_awaited(&self, targeted: &[String]) -> Result<bool, DbError> {
        let query = format!("SELECT MAX({}) FROM device d WHERE d.seen_ms = 0", belongs(targeted));
        let mut query = sqlx::query_scalar(AssertSqlSafe(query));
        for name in targeted {
            query = query.bind(name);
        }
        let found: Option<i64> = query.fetch_one(&self.read).await?;
        Ok(found.is_some_and(|found| found > 0))
    }
}

/// 1 where the device `d` belongs to one of so many collections, else 0.
fn belongs(targeted: &[String]) -> String {
    if targeted.is_empty() {
        return "0".to_owned();
    }
    let places: Vec<String> = (1..=targeted.len()).map(|place| format!("${place}")).collect();
    format!(
        "CASE WHEN EXISTS (SELECT 1 FROM collection_member cm JOIN collection c ON c.id = cm.collection
         WHERE cm.device = d.id AND c.name IN ({})) THEN 1 ELSE 0 END",
        places.join(", ")
    )
}
