//! What an Ethernet address says about the Macs that it was seen with.

use sqlx::Row;

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
    /// One of them has a run that has not ended.
    pub has_run: bool,
}

impl Db {
    /// Every address that a runner named.
    pub async fn mac_standings(&self) -> Result<Vec<MacStanding>, DbError> {
        let rows = sqlx::query(
            "SELECT m.mac, MAX(CASE WHEN d.known THEN 1 ELSE 0 END), MAX(CASE WHEN d.known THEN 0 ELSE 1 END), COUNT(r.id)
             FROM device_mac m JOIN device d ON d.id = m.device
             LEFT JOIN run r ON r.device = d.id AND r.outcome IS NULL
             GROUP BY m.mac ORDER BY m.mac",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(MacStanding {
                    mac: parsed("MAC address", row.try_get(0)?)?,
                    any_known: row.try_get::<i64, _>(1)? > 0,
                    any_unknown: row.try_get::<i64, _>(2)? > 0,
                    has_run: row.try_get::<i64, _>(3)? > 0,
                })
            })
            .collect()
    }
}
