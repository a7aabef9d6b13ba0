//! What administrators say of a Mac: its name, tags, note, owner; registered before it comes, merged with another, forgotten.

use sqlx::{Row, Sqlite, Transaction};
use uuid::Uuid;

use super::audit::{Change, record};
use super::device::forget;
use super::{Db, DbError, json, next_number, word};
use crate::api::admin::EditDevice;
use crate::api::runner::{BootMethod, DeviceFacts};
use crate::sequence::target::fact::OWNERS;
use crate::value::Serial;

/// Longest name of a Mac: what DNS takes of a whole name (RFC 1035 section 2.3.4).
const LONGEST_HOSTNAME: usize = 253;
/// Longest note.
const LONGEST_NOTE: usize = 4096;
/// Longest tag.
const LONGEST_TAG: usize = 64;
/// Most tags of a Mac.
const MOST_TAGS: i64 = 100;

/// What cannot be said of a Mac.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAbout {
    /// No name of a computer.
    #[error(
        "`{0}` is no name of a computer: 1 to {LONGEST_HOSTNAME} characters, none of them a control character or `/`"
    )]
    Hostname(String),
    /// Too long, or not to be printed.
    #[error("a note has at most {LONGEST_NOTE} bytes")]
    Note,
    /// Another word.
    #[error("`{0}` is no owner: {words}, or nothing", words = OWNERS.join(", "))]
    Owner(String),
    /// No tag.
    #[error("`{0}` is no tag: 1 to {LONGEST_TAG} letters, digits or -_.:/@+")]
    Tag(String),
    /// As many as there may be.
    #[error("it has {MOST_TAGS} tags already")]
    TooManyTags,
}

/// Why two devices were not made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotMerge {
    /// There is no such device.
    Absent(i64),
    /// Both have runs that have not ended.
    Busy,
}

/// Why a device was not forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotForget {
    /// There is no such device.
    Absent,
    /// It has so many runs, which are kept.
    Runs(i64),
}

/// Looks at what is said, without doing it.
pub(super) fn check(about: &EditDevice) -> Result<(), BadAbout> {
    let shortened = |text: &str| text.chars().take(60).filter(|c| !c.is_control()).collect::<String>();
    if let Some(name) = about.hostname.as_deref().filter(|name| !name.is_empty()) {
        let bad = name.len() > LONGEST_HOSTNAME
            || name.trim() != name
            || name.chars().any(|c| c.is_control() || c == '/');
        if bad {
            return Err(BadAbout::Hostname(shortened(name)));
        }
    }
    if about.note.as_ref().is_some_and(|note| note.len() > LONGEST_NOTE) {
        return Err(BadAbout::Note);
    }
    if let Some(owner) = about.owner.as_deref().filter(|owner| !owner.is_empty() && !OWNERS.contains(owner)) {
        return Err(BadAbout::Owner(shortened(owner)));
    }
    for tag in &about.tag {
        let good = (1..=LONGEST_TAG).contains(&tag.len())
            && tag.chars().all(|c| c.is_alphanumeric() || "-_.:/@+".contains(c));
        if !good {
            return Err(BadAbout::Tag(shortened(tag)));
        }
    }
    Ok(())
}

/// Writes what is said. True when it was not so already.
pub(super) async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    device: i64,
    about: &EditDevice,
) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT known, hostname, note, owner FROM device WHERE id = $1")
        .bind(device)
        .fetch_one(&mut **tx)
        .await?;
    let before: (bool, String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let after = (
        about.known.unwrap_or(before.0),
        about.hostname.clone().unwrap_or_else(|| before.1.clone()),
        about.note.clone().unwrap_or_else(|| before.2.clone()),
        about.owner.clone().unwrap_or_else(|| before.3.clone()),
    );
    let mut changed = before != after;
    if changed {
        sqlx::query("UPDATE device SET known = $2, hostname = $3, note = $4, owner = $5 WHERE id = $1")
            .bind(device)
            .bind(after.0)
            .bind(after.1)
            .bind(after.2)
            .bind(after.3)
            .execute(&mut **tx)
            .await?;
    }
    for tag in &about.untag {
        let done = sqlx::query("DELETE FROM device_tag WHERE device = $1 AND tag = $2")
            .bind(device)
            .bind(tag.to_lowercase())
            .execute(&mut **tx)
            .await?;
        changed |= done.rows_affected() > 0;
    }
    for tag in &about.tag {
        let done = sqlx::query(
            "INSERT INTO device_tag (device, tag, spelling) VALUES ($1, $2, $3)
             ON CONFLICT (device, tag) DO UPDATE SET spelling = excluded.spelling WHERE device_tag.spelling <> excluded.spelling",
        )
        .bind(device)
        .bind(tag.to_lowercase())
        .bind(tag)
        .execute(&mut **tx)
        .await?;
        changed |= done.rows_affected() > 0;
    }
    Ok(changed)
}

/// A device that has not come yet.
pub(super) async fn register(
    tx: &mut Transaction<'static, Sqlite>,
    serial: Option<&Serial>,
    uuid: Option<Uuid>,
    now_ms: i64,
) -> Result<i64, DbError> {
    let facts = DeviceFacts { serial: serial.cloned(), uuid, ..DeviceFacts::default() };
    let device = next_number(tx, "device").await?;
    sqlx::query(
        "INSERT INTO device (id, serial, uuid, known, boot, facts, first_seen_ms, seen_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
    )
    .bind(device)
    .bind(serial.map(Serial::as_str))
    .bind(uuid.map(|uuid| uuid.to_string()))
    .bind(true)
    .bind(word(&BootMethod::Unknown))
    .bind(json(&facts))
    .bind(now_ms)
    .execute(&mut **tx)
    .await?;
    Ok(device)
}

impl Db {
    /// Changes what is said of a device. None when it is absent.
    pub async fn edit_device(
        &self,
        device: i64,
        about: &EditDevice,
    ) -> Result<Option<Result<(), BadAbout>>, DbError> {
        if let Err(error) = check(about) {
            return Ok(Some(Err(error)));
        }
        let mut tx = self.begin().await?;
        let here: Option<i64> = sqlx::query_scalar("SELECT id FROM device WHERE id = $1")
            .bind(device)
            .fetch_optional(&mut *tx)
            .await?;
        if here.is_none() {
            return Ok(None);
        }
        write(&mut tx, device, about).await?;
        let tags: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM device_tag WHERE device = $1")
            .bind(device)
            .fetch_one(&mut *tx)
            .await?;
        if tags > MOST_TAGS {
            return Ok(Some(Err(BadAbout::TooManyTags)));
        }
        self.settle(&mut tx, device).await?;
        let change =
            Change { after: Some(serde_json::json!(about)), ..Change::of(format!("device {device}"), 0) };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Some(Ok(())))
    }

    /// Two devices are one Mac: `newer` came with another logic board, and goes; what it says of itself, its runs and addresses
    /// become those of `older`, whose number, name, variables and collections stay.
    pub async fn merge_devices(&self, newer: i64, older: i64) -> Result<Result<(), CannotMerge>, DbError> {
        let mut tx = self.begin().await?;
        let mut rows = Vec::new();
        for device in [newer, older] {
            let row = sqlx::query(
                "SELECT serial, uuid, boot, facts, first_seen_ms, seen_ms, address, model, largest_disk FROM device WHERE id = $1",
            )
            .bind(device)
            .fetch_optional(&mut *tx)
            .await?;
            match row {
                Some(row) => rows.push(row),
                None => return Ok(Err(CannotMerge::Absent(device))),
            }
        }
        let active: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM run WHERE (device = $1 OR device = $2) AND outcome IS NULL",
        )
        .bind(newer)
        .bind(older)
        .fetch_one(&mut *tx)
        .await?;
        if newer == older || active > 1 {
            return Ok(Err(CannotMerge::Busy));
        }
        // Of two that are one Mac, the one that spoke last says what it is now.
        let spoke: i64 = rows[0].try_get(5)?;
        if spoke >= rows[1].try_get::<i64, _>(5)? {
            sqlx::query(
                "UPDATE device SET serial = COALESCE($2, serial), uuid = COALESCE($3, uuid), boot = $4, facts = $5, seen_ms = $6,
                 address = $7, model = $8, largest_disk = $9 WHERE id = $1",
            )
            .bind(older)
            .bind(rows[0].try_get::<Option<String>, _>(0)?)
            .bind(rows[0].try_get::<Option<String>, _>(1)?)
            .bind(rows[0].try_get::<String, _>(2)?)
            .bind(rows[0].try_get::<String, _>(3)?)
            .bind(spoke)
            .bind(rows[0].try_get::<String, _>(6)?)
            .bind(rows[0].try_get::<Option<String>, _>(7)?)
            .bind(rows[0].try_get::<Option<i64>, _>(8)?)
            .execute(&mut *tx)
            .await?;
        }
        for change in [
            "UPDATE run SET device = $2 WHERE device = $1",
            "UPDATE session SET device = $2 WHERE device = $1",
            "UPDATE technician SET device = $2 WHERE device = $1",
            "INSERT INTO device_mac (device, mac, seen_ms) SELECT $2, mac, seen_ms FROM device_mac WHERE device = $1
             ON CONFLICT (device, mac) DO NOTHING",
            "INSERT INTO device_inventory (device, at_ms, facts) SELECT $2, at_ms, facts FROM device_inventory WHERE device = $1
             ON CONFLICT (device, at_ms) DO NOTHING",
            "INSERT INTO device_tag (device, tag, spelling) SELECT $2, tag, spelling FROM device_tag WHERE device = $1
             ON CONFLICT (device, tag) DO NOTHING",
            "INSERT INTO collection_direct (collection, device) SELECT collection, $2 FROM collection_direct WHERE device = $1
             ON CONFLICT (collection, device) DO NOTHING",
            "INSERT INTO variable (scope, owner, name, spelling, value, secret)
             SELECT scope, CAST($2 AS TEXT), name, spelling, value, secret FROM variable
             WHERE scope = 'device' AND owner = CAST($1 AS TEXT) ON CONFLICT (scope, owner, name) DO NOTHING",
        ] {
            sqlx::query(change).bind(newer).bind(older).execute(&mut *tx).await?;
        }
        forget(&mut tx, newer).await?;
        self.touched.touch(newer);
        self.settle(&mut tx, older).await?;
        let change = Change {
            before: Some(serde_json::json!({ "devices": [newer, older] })),
            after: Some(serde_json::json!({ "device": older })),
            ..Change::of(format!("device {older}"), 0)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Forgets a device that never ran anything.
    pub async fn forget_device(&self, device: i64) -> Result<Result<(), CannotForget>, DbError> {
        let mut tx = self.begin().await?;
        let runs: Option<i64> = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM run WHERE device = d.id) FROM device d WHERE d.id = $1",
        )
        .bind(device)
        .fetch_optional(&mut *tx)
        .await?;
        match runs {
            None => return Ok(Err(CannotForget::Absent)),
            Some(0) => {}
            Some(runs) => return Ok(Err(CannotForget::Runs(runs))),
        }
        forget(&mut tx, device).await?;
        self.touched.touch(device);
        record(&mut tx, Change::of(format!("device {device}"), 0)).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}
