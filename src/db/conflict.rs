//! Macs that cannot both be right, by number: found when one says hello, settled by an administrator.

use sqlx::{Row, Sqlite, Transaction};

use super::{Db, DbError, from_word, word};
use crate::api::admin::DeviceConflict;
use crate::sequence::target::identity::Shared;

/// Notes with whom a new device cannot be right.
pub(super) async fn note(
    tx: &mut Transaction<'static, Sqlite>,
    device: i64,
    conflicts: &[(i64, Shared)],
    now_ms: i64,
) -> Result<(), DbError> {
    for (other, shared) in conflicts {
        sqlx::query(
            "INSERT INTO device_conflict (device, other, shared, found_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (device, other) DO NOTHING",
        )
        .bind(device)
        .bind(other)
        .bind(word(shared))
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

impl Db {
    /// Conflicts that nobody has settled, of one device or of all, oldest first.
    pub async fn conflicts(&self, device: Option<i64>) -> Result<Vec<DeviceConflict>, DbError> {
        let rows = sqlx::query(
            "SELECT c.device, c.other, c.shared, c.found_ms, d.serial, d.uuid FROM device_conflict c JOIN device d ON d.id = c.device
             WHERE c.distinct_ms IS NULL AND ($1 = 0 OR c.device = $1 OR c.other = $1) ORDER BY c.found_ms, c.device, c.other LIMIT 1000",
        )
        .bind(device.unwrap_or(0))
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let shared = from_word("shared identity", row.try_get(2)?)?;
                let value: Option<String> = match shared {
                    Shared::Serial => row.try_get(4)?,
                    Shared::Uuid => row.try_get(5)?,
                };
                Ok(DeviceConflict {
                    device: row.try_get(0)?,
                    other: row.try_get(1)?,
                    shared,
                    value: value.unwrap_or_default(),
                    found_ms: row.try_get(3)?,
                })
            })
            .collect()
    }

    /// What a device shares with one that was here before, unsettled: nothing starts by itself on it.
    pub async fn conflict_of(&self, device: i64) -> Result<Option<Shared>, DbError> {
        let word: Option<String> = sqlx::query_scalar(
            "SELECT shared FROM device_conflict WHERE device = $1 AND distinct_ms IS NULL ORDER BY shared LIMIT 1",
        )
        .bind(device)
        .fetch_optional(&self.read)
        .await?;
        word.map(|word| from_word("shared identity", &word)).transpose()
    }

    /// Two devices are two Macs, whatever they share. False when there is no such conflict.
    pub async fn are_distinct(&self, one: i64, other: i64, now_ms: i64) -> Result<bool, DbError> {
        let done = sqlx::query(
            "UPDATE device_conflict SET distinct_ms = $3 WHERE device = $1 AND other = $2 OR device = $2 AND other = $1",
        )
        .bind(one)
        .bind(other)
        .bind(now_ms)
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
