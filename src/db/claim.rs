//! Who asks for a run that goes on: the Mac that a runner speaks for, and which start of it a receipt key belongs to.

use sqlx::Row;

use super::device::{find, identity};
use super::{Db, DbError};
use crate::api::runner::DeviceFacts;

impl Db {
    /// The device that these facts are of, if it is there already; nothing is changed.
    pub async fn device_of(&self, facts: &DeviceFacts) -> Result<Option<i64>, DbError> {
        let mut tx = self.read.begin().await?;
        let (serial, uuid) = identity(facts);
        Ok(find(&mut tx, facts, serial, uuid).await?.ok().map(|(device, _)| device))
    }

    /// Which start of its kernel the runner with this receipt key is of; empty: not known.
    pub async fn boot_id(&self, device: i64, receipt_key: &str) -> Result<String, DbError> {
        let row = sqlx::query("SELECT boot_id FROM session WHERE device = $1 AND receipt_key = $2 LIMIT 1")
            .bind(device)
            .bind(receipt_key)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }
}
