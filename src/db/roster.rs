//! Many Macs at once: what a list says of them, all or nothing; and the list of all.

use std::collections::BTreeMap;

use sqlx::{Row, Sqlite, Transaction};
use uuid::Uuid;

use super::audit::{Change, record};
use super::{Db, DbError, VariableRow, about, parsed};
use crate::api::admin::{EditDevice, RosterFault, RosterReport};
use crate::sequence::target::identity::{Candidate, Identity, identify};
use crate::value::Serial;

/// Most faults that are told.
const MOST_FAULTS: usize = 100;

/// One line of a list.
#[derive(Clone, Debug, Default)]
pub struct RosterLine {
    /// Its place in the file.
    pub line: u64,
    /// The Mac.
    pub serial: Option<Serial>,
    /// The Mac.
    pub uuid: Option<Uuid>,
    /// What is said of it. Tags that are not named go when `all_tags` is set.
    pub about: EditDevice,
    /// Whether the tags that are named are all that it has.
    pub all_tags: bool,
    /// Names of collections into which it is put.
    pub collections: Vec<String>,
    /// Variables that are set; values of secret ones sealed.
    pub set: Vec<VariableRow>,
    /// Names of variables that are taken away.
    pub unset: Vec<String>,
}

/// One Mac of the list of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosterRow {
    /// Its number.
    pub id: i64,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its inventory, as JSON.
    pub facts: String,
    /// Whether it is known.
    pub known: bool,
    /// Its name.
    pub hostname: String,
    /// A note.
    pub note: String,
    /// To whom it belongs.
    pub owner: String,
    /// When it was seen last; 0: never.
    pub seen_ms: i64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Collections that it was put into.
    pub collections: Vec<String>,
    /// Its variables.
    pub variables: Vec<RosterVariable>,
}

/// One variable of a Mac; of a secret one only that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterVariable {
    /// Its name.
    pub name: String,
    /// Its value; none when it is secret.
    pub value: Option<String>,
}

impl Db {
    /// Takes a list in. Where a line is wrong, nothing is changed and every fault is told; `dry_run` changes nothing either way.
    pub async fn import_roster(
        &self,
        lines: &[RosterLine],
        dry_run: bool,
        now_ms: i64,
    ) -> Result<RosterReport, DbError> {
        let mut tx = self.begin().await?;
        let mut report =
            RosterReport { lines: u32::try_from(lines.len()).unwrap_or(u32::MAX), ..RosterReport::default() };
        let mut collections = BTreeMap::new();
        for row in sqlx::query("SELECT id, folded FROM collection").fetch_all(&mut *tx).await? {
            collections.insert(row.try_get::<String, _>(1)?, row.try_get::<i64, _>(0)?);
        }
        let mut seen: BTreeMap<i64, u64> = BTreeMap::new();
        let mut changed_devices = Vec::new();
        for line in lines {
            let fault = |column: &str, message: String| RosterFault {
                line: line.line,
                column: column.to_owned(),
                message,
            };
            if report.faults.len() >= MOST_FAULTS {
                break;
            }
            let found = find(&mut tx, line).await?;
            let (device, created) = match found {
                Identity::Known(device) => (device, false),
                Identity::New(others) if others.is_empty() => {
                    (about::register(&mut tx, line.serial.as_ref(), line.uuid, now_ms).await?, true)
                }
                Identity::New(others) => {
                    let numbers: Vec<String> = others.iter().map(|(id, _)| id.to_string()).collect();
                    let message = format!(
                        "serial number and UUID belong to different Macs, or several have them: devices {}",
                        numbers.join(", ")
                    );
                    report.faults.push(fault("", message));
                    continue;
                }
            };
            if let Some(before) = seen.insert(device, line.line) {
                report.faults.push(fault("", format!("the Mac stands in line {before} already")));
                continue;
            }
            if let Err(error) = about::check(&line.about) {
                report.faults.push(fault("", error.to_string()));
                continue;
            }
            let mut changed = write(&mut tx, device, line).await?;
            for name in &line.collections {
                let Some(collection) = collections.get(&name.to_lowercase()) else {
                    report.faults.push(fault("collections", format!("there is no collection `{name}`")));
                    continue;
                };
                let done = sqlx::query(
                    "INSERT INTO collection_direct (collection, device) VALUES ($1, $2) ON CONFLICT (collection, device) DO NOTHING",
                )
                .bind(collection)
                .bind(device)
                .execute(&mut *tx)
                .await?;
                changed |= done.rows_affected() > 0;
            }
            match (created, changed) {
                (true, _) => report.created += 1,
                (false, true) => report.changed += 1,
                (false, false) => report.unchanged += 1,
            }
            if created || changed {
                changed_devices.push(device);
            }
        }
        if dry_run || !report.faults.is_empty() {
            return Ok(report);
        }
        self.settle_many(&mut tx, &changed_devices).await?;
        let after = serde_json::json!({
            "lines": report.lines, "created": report.created, "changed": report.changed, "unchanged": report.unchanged,
        });
        record(&mut tx, Change { after: Some(after), ..Change::of("devices", now_ms) }).await?;
        tx.commit().await?;
        Ok(report)
    }

    /// Numbers of the Macs with this serial number or UUID.
    pub async fn with_identity(
        &self,
        serial: Option<&Serial>,
        uuid: Option<Uuid>,
    ) -> Result<Vec<i64>, DbError> {
        let query = "SELECT id FROM device WHERE serial = $1 OR uuid = $2 ORDER BY id LIMIT 100";
        Ok(sqlx::query_scalar(query)
            .bind(serial.map(Serial::as_str))
            .bind(uuid.map(|uuid| uuid.to_string()))
            .fetch_all(&self.read)
            .await?)
    }

    /// Names of the variables that some Mac has and that are not secret, each once whatever its case, by name.
    pub async fn roster_variables(&self) -> Result<Vec<String>, DbError> {
        let query = "SELECT MIN(spelling) FROM variable WHERE scope = 'device' AND secret = $1 GROUP BY name ORDER BY name";
        Ok(sqlx::query_scalar(query).bind(false).fetch_all(&self.read).await?)
    }

    /// Macs after a number, with everything that a list says of them.
    pub async fn roster(&self, after: i64, limit: u32) -> Result<Vec<RosterRow>, DbError> {
        let rows = sqlx::query(
            "SELECT id, serial, uuid, facts, known, hostname, note, owner, seen_ms FROM device WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            all.push(RosterRow {
                id: row.try_get(0)?,
                serial: row.try_get(1)?,
                uuid: row.try_get(2)?,
                facts: row.try_get(3)?,
                known: row.try_get(4)?,
                hostname: row.try_get(5)?,
                note: row.try_get(6)?,
                owner: row.try_get(7)?,
                seen_ms: row.try_get(8)?,
                ..RosterRow::default()
            });
        }
        let (Some(first), Some(last)) = (all.first().map(|one| one.id), all.last().map(|one| one.id)) else {
            return Ok(all);
        };
        let place: BTreeMap<i64, usize> =
            all.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
        for (query, tags) in [
            (
                "SELECT device, spelling FROM device_tag WHERE device BETWEEN $1 AND $2 ORDER BY device, tag",
                true,
            ),
            (
                "SELECT m.device, c.name FROM collection_direct m JOIN collection c ON c.id = m.collection
                 WHERE m.device BETWEEN $1 AND $2 ORDER BY m.device, c.folded",
                false,
            ),
        ] {
            for row in sqlx::query(query).bind(first).bind(last).fetch_all(&self.read).await? {
                let Some(place) = place.get(&row.try_get(0)?) else { continue };
                let list = if tags { &mut all[*place].tags } else { &mut all[*place].collections };
                list.push(row.try_get(1)?);
            }
        }
        let variables = sqlx::query(
            "SELECT d.id, v.spelling, v.value, v.secret FROM device d
             JOIN variable v ON v.scope = 'device' AND v.owner = CAST(d.id AS TEXT) WHERE d.id BETWEEN $1 AND $2 ORDER BY d.id, v.name",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&self.read)
        .await?;
        for row in variables {
            let Some(place) = place.get(&row.try_get(0)?) else { continue };
            let secret: bool = row.try_get(3)?;
            let value = if secret { None } else { Some(row.try_get(2)?) };
            all[*place].variables.push(RosterVariable { name: row.try_get(1)?, value });
        }
        Ok(all)
    }
}

async fn find(tx: &mut Transaction<'static, Sqlite>, line: &RosterLine) -> Result<Identity, DbError> {
    let rows = sqlx::query("SELECT id, serial, uuid FROM device WHERE serial = $1 OR uuid = $2 ORDER BY seen_ms DESC, id LIMIT 100")
        .bind(line.serial.as_ref().map(Serial::as_str))
        .bind(line.uuid.map(|uuid| uuid.to_string()))
        .fetch_all(&mut **tx)
        .await?;
    let mut candidates = Vec::with_capacity(rows.len());
    for row in rows {
        let (serial, uuid): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        candidates.push(Candidate {
            id: row.try_get(0)?,
            serial: serial.map(|text| parsed("serial number", &text)).transpose()?,
            uuid: uuid.map(|text| parsed("UUID", &text)).transpose()?,
        });
    }
    Ok(identify(line.serial.as_ref(), line.uuid, &candidates))
}

/// True when something was not so already.
async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    device: i64,
    line: &RosterLine,
) -> Result<bool, DbError> {
    let mut edit = line.about.clone();
    if line.all_tags {
        let tags: Vec<String> = sqlx::query_scalar("SELECT tag FROM device_tag WHERE device = $1")
            .bind(device)
            .fetch_all(&mut **tx)
            .await?;
        let named: Vec<String> = edit.tag.iter().map(|tag| tag.to_lowercase()).collect();
        edit.untag.extend(tags.into_iter().filter(|tag| !named.contains(tag)));
    }
    let mut changed = about::write(tx, device, &edit).await?;
    // One that was registered by its serial number alone is told its UUID, and the other way round.
    let told = sqlx::query(
        "UPDATE device SET serial = COALESCE(serial, $2), uuid = COALESCE(uuid, $3)
         WHERE id = $1 AND (serial IS NULL AND $2 IS NOT NULL OR uuid IS NULL AND $3 IS NOT NULL)",
    )
    .bind(device)
    .bind(line.serial.as_ref().map(Serial::as_str))
    .bind(line.uuid.map(|uuid| uuid.to_string()))
    .execute(&mut **tx)
    .await?;
    changed |= told.rows_affected() > 0;
    for VariableRow { name, value, secret } in &line.set {
        let done = sqlx::query(
            "INSERT INTO variable (scope, owner, name, spelling, value, secret) VALUES ('device', CAST($1 AS TEXT), $2, $3, $4, $5)
             ON CONFLICT (scope, owner, name) DO UPDATE SET spelling = excluded.spelling, value = excluded.value,
             secret = excluded.secret
             WHERE variable.spelling <> excluded.spelling OR variable.value <> excluded.value OR variable.secret <> excluded.secret",
        )
        .bind(device)
        .bind(name.as_str().to_ascii_lowercase())
        .bind(name.as_str())
        .bind(value)
        .bind(secret)
        .execute(&mut **tx)
        .await?;
        changed |= done.rows_affected() > 0;
    }
    for name in &line.unset {
        let done = sqlx::query(
            "DELETE FROM variable WHERE scope = 'device' AND owner = CAST($1 AS TEXT) AND name = $2",
        )
        .bind(device)
        .bind(name.to_ascii_lowercase())
        .execute(&mut **tx)
        .await?;
        changed |= done.rows_affected() > 0;
    }
    Ok(changed)
}
