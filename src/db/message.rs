//! Messages to technicians, and the keyboard layout that one chose on a Mac.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Db, DbError, next_number};
use crate::api::wizard::TechnicianMessage;

/// Messages that are kept of a device, the newest.
const MOST_MESSAGES: i64 = 50;

impl Db {
    /// Keeps a message to whoever stands in front of a Mac.
    pub async fn send_message(
        &self,
        device: i64,
        text: &str,
        by: &str,
        now_ms: i64,
    ) -> Result<TechnicianMessage, DbError> {
        let mut tx = self.begin().await?;
        let id = next_number(&mut tx, "technician_message").await?;
        sqlx::query(
            "INSERT INTO technician_message (id, device, text, sender, sent_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(device)
        .bind(text)
        .bind(by)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM technician_message WHERE device = $1 AND id NOT IN
             (SELECT id FROM technician_message WHERE device = $1 ORDER BY id DESC LIMIT $2)",
        )
        .bind(device)
        .bind(MOST_MESSAGES)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let (text, by) = (text.to_owned(), by.to_owned());
        Ok(TechnicianMessage { id, text, by, sent_ms: now_ms, acknowledged_ms: None })
    }

    /// Messages to a Mac, oldest first.
    pub async fn messages(&self, device: i64) -> Result<Vec<TechnicianMessage>, DbError> {
        let rows = sqlx::query(
            "SELECT id, text, sender, sent_ms, acknowledged_ms FROM technician_message WHERE device = $1 ORDER BY id",
        )
        .bind(device)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(message).collect()
    }

    /// Notes that somebody at the Mac has read a message; the first time counts. None: there is no such message to that Mac.
    pub async fn acknowledge_message(
        &self,
        device: i64,
        id: i64,
        now_ms: i64,
    ) -> Result<Option<TechnicianMessage>, DbError> {
        let row = sqlx::query(
            "UPDATE technician_message SET acknowledged_ms = COALESCE(acknowledged_ms, $3) WHERE device = $1 AND id = $2
             RETURNING id, text, sender, sent_ms, acknowledged_ms",
        )
        .bind(device)
        .bind(id)
        .bind(now_ms)
        .fetch_optional(&self.write)
        .await?;
        row.as_ref().map(message).transpose()
    }

    /// The keyboard layout that a person chose on a Mac last.
    pub async fn keyboard(&self, device: i64) -> Result<Option<String>, DbError> {
        Ok(sqlx::query_scalar("SELECT layout FROM device_keyboard WHERE device = $1")
            .bind(device)
            .fetch_optional(&self.read)
            .await?)
    }

    /// Notes the keyboard layout that a person chose on a Mac.
    pub async fn set_keyboard(&self, device: i64, layout: &str) -> Result<(), DbError> {
        sqlx::query(
            "INSERT INTO device_keyboard (device, layout) VALUES ($1, $2)
             ON CONFLICT (device) DO UPDATE SET layout = excluded.layout",
        )
        .bind(device)
        .bind(layout)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Receipt key and boot method of the session that a Mac opened last, while it is good.
    pub async fn last_session(
        &self,
        device: i64,
        now_ms: i64,
    ) -> Result<Option<(String, crate::api::runner::BootMethod)>, DbError> {
        let row = sqlx::query(
            "SELECT receipt_key, boot FROM session WHERE device = $1 AND expires_ms > $2 ORDER BY expires_ms DESC LIMIT 1",
        )
        .bind(device)
        .bind(now_ms)
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| Ok((row.try_get(0)?, super::from_word("boot method", row.try_get(1)?)?))).transpose()
    }
}

fn message(row: &SqliteRow) -> Result<TechnicianMessage, DbError> {
    Ok(TechnicianMessage {
        id: row.try_get(0)?,
        text: row.try_get(1)?,
        by: row.try_get(2)?,
        sent_ms: row.try_get(3)?,
        acknowledged_ms: row.try_get(4)?,
    })
}
