//! Macs by serial number and UUID. Addresses are hints and never decide who a Mac is: one dongle serves many.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, Sqlite, Transaction};
use uuid::Uuid;

use super::models::{largest_disk, model};
use super::{Db, DbError, from_json, from_word, json, next_number, parsed, word};
use crate::api::admin::{Device, DeviceSummary};
use crate::api::runner::{BootMethod, DeviceFacts};
use crate::sequence::target::identity::{Candidate, Identity, Shared, identify};
use crate::value::{Digest, MacAddr, Serial};

/// A runner that said who it is.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Inventory.
    pub facts: DeviceFacts,
    /// How it was started.
    pub boot: BootMethod,
    /// Its receipt key.
    pub receipt_key: String,
    /// Which start of its kernel it is of; empty: not known.
    pub boot_id: String,
    /// Digest of the session token that it is given.
    pub token: Digest,
    /// Until when that is good.
    pub expires_ms: i64,
    /// Where it speaks from.
    pub address: Option<IpAddr>,
}

/// The device behind a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Number of the device.
    pub device: i64,
    /// Whether it is known; an unknown one belongs to *Unknown Macs*.
    pub known: bool,
    /// Whether this was its first word.
    pub first: bool,
    /// Numbers of the collections that it belongs to.
    pub collections: BTreeSet<i64>,
}

/// How many devices strangers may bring in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomers {
    /// New ones within a minute.
    pub a_minute: u32,
    /// Unknown ones in all.
    pub unknown: u32,
}

/// Which bound of [`Newcomers`] is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// New ones within a minute.
    Minute,
    /// Unknown ones in all.
    Total,
}

/// What came of a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// A session was opened.
    Device(Known),
    /// It would be a new device, and there is no room; nothing was changed.
    Full(Full),
}

/// Sessions that are kept of a device, the newest: its runner has one.
const MOST_SESSIONS: i64 = 8;
/// Addresses that are kept of a device, those seen last.
const MOST_MACS: i64 = 64;
/// An unknown device that was silent for so long, and never ran anything, makes room for another.
const SILENT_MS: i64 = 24 * 3600 * 1000;

impl Db {
    /// Finds the device or makes an unknown one, takes over its inventory, judges its collections, and opens a session.
    pub async fn hello(&self, hello: &Hello, newcomers: Newcomers, now_ms: i64) -> Result<Greeted, DbError> {
        let mut tx = self.begin().await?;
        let greeted = self.greet(&mut tx, hello, newcomers, now_ms).await?;
        // Where there is no room, silent ones may have made some all the same; nothing else was changed.
        if matches!(greeted, Greeted::Device(_)) {
            tx.commit().await?;
        }
        Ok(greeted)
    }

    /// The same for many in one transaction, for programs that make load.
    pub async fn hellos(
        &self,
        hellos: &[Hello],
        newcomers: Newcomers,
        now_ms: i64,
    ) -> Result<Vec<Greeted>, DbError> {
        let mut tx = self.begin().await?;
        let mut greeted = Vec::with_capacity(hellos.len());
        for hello in hellos {
            greeted.push(self.greet(&mut tx, hello, newcomers, now_ms).await?);
        }
        tx.commit().await?;
        Ok(greeted)
    }

    async fn greet(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        hello: &Hello,
        newcomers: Newcomers,
        now_ms: i64,
    ) -> Result<Greeted, DbError> {
        let (serial, uuid) = identity(&hello.facts);
        let found = find(tx, &hello.facts, serial, uuid).await?;
        let address = hello.address.map_or(String::new(), |address| address.to_canonical().to_string());
        let (device, known) = match found {
            Ok((device, known)) => {
                sqlx::query(
                    "UPDATE device SET serial = COALESCE($2, serial), uuid = COALESCE($3, uuid), boot = $4,
                     facts = $5, seen_ms = $6, address = $7, model = $8, largest_disk = $9,
                     first_seen_ms = CASE WHEN seen_ms = 0 THEN $6 ELSE first_seen_ms END WHERE id = $1",
                )
                .bind(device)
                .bind(serial.map(Serial::as_str))
                .bind(uuid.map(|uuid| uuid.to_string()))
                .bind(word(&hello.boot))
                .bind(json(&hello.facts))
                .bind(now_ms)
                .bind(address)
                .bind(model(&hello.facts))
                .bind(largest_disk(&hello.facts))
                .execute(&mut **tx)
                .await?;
                (device, known)
            }
            Err(ref conflicts) => {
                if let Some(full) = self.full(tx, newcomers, now_ms).await? {
                    return Ok(Greeted::Full(full));
                }
                let device = next_number(tx, "device").await?;
                sqlx::query(
                    "INSERT INTO device (id, serial, uuid, known, boot, facts, first_seen_ms, seen_ms, address, model, largest_disk)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10)",
                )
                .bind(device)
                .bind(serial.map(Serial::as_str))
                .bind(uuid.map(|uuid| uuid.to_string()))
                .bind(false)
                .bind(word(&hello.boot))
                .bind(json(&hello.facts))
                .bind(now_ms)
                .bind(address)
                .bind(model(&hello.facts))
                .bind(largest_disk(&hello.facts))
                .execute(&mut **tx)
                .await?;
                super::conflict::note(tx, device, conflicts, now_ms).await?;
                (device, false)
            }
        };
        super::inventory::keep(tx, device, &hello.facts, now_ms).await?;
        let collections = self.settle(tx, device).await?;
        remember(tx, device, hello, now_ms).await?;
        Ok(Greeted::Device(Known { device, known, first: found.is_err(), collections }))
    }

    /// Device and receipt key of a session that has not expired.
    pub async fn session(
        &self,
        token: Digest,
        now_ms: i64,
    ) -> Result<Option<(i64, String, BootMethod)>, DbError> {
        let row =
            sqlx::query("SELECT device, receipt_key, boot FROM session WHERE token = $1 AND expires_ms > $2")
                .bind(token.to_string())
                .bind(now_ms)
                .fetch_optional(&self.read)
                .await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?, from_word("boot method", row.try_get(2)?)?)))
            .transpose()
    }

    /// One device; its runs are left empty here.
    pub async fn device(&self, device: i64) -> Result<Option<Device>, DbError> {
        let query = format!(
            "SELECT {SUMMARY_COLUMNS}, d.boot, d.first_seen_ms, d.note, d.owner, d.address FROM device d WHERE d.id = $1"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(device).fetch_optional(&self.read).await?;
        let Some(row) = row else { return Ok(None) };
        let (mut summary, facts) = summary(&row)?;
        summary.tags = self.tags(&[device]).await?.remove(&device).unwrap_or_default();
        Ok(Some(Device {
            summary,
            uuid: facts.uuid,
            manufacturer: facts.manufacturer,
            memory: facts.memory,
            cpu: facts.cpu,
            firmware: facts.firmware,
            boot: from_word("boot method", row.try_get(5)?)?,
            disks: facts.disks,
            inventory: facts.inventory,
            changes: self.inventory_changes(device).await?,
            address: row.try_get(9)?,
            note: row.try_get(7)?,
            owner: row.try_get(8)?,
            collections: self.collections_of(device).await?.into_iter().map(|(name, _)| name).collect(),
            conflicts: self.conflicts(Some(device)).await?,
            first_seen_ms: row.try_get(6)?,
            runs: Vec::new(),
        }))
    }

    /// The name that an administrator gave a device; none: no device, or no name.
    pub async fn device_hostname(&self, device: i64) -> Result<Option<String>, DbError> {
        let name: Option<String> = sqlx::query_scalar("SELECT hostname FROM device WHERE id = $1")
            .bind(device)
            .fetch_optional(&self.read)
            .await?;
        Ok(name.filter(|name| !name.is_empty()))
    }

    /// Inventory as the device gave it last, and whether it is known.
    pub async fn device_facts(&self, device: i64) -> Result<Option<(DeviceFacts, bool)>, DbError> {
        let row = sqlx::query("SELECT facts, known FROM device WHERE id = $1")
            .bind(device)
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| Ok((from_json("inventory of a device", row.try_get(0)?)?, row.try_get(1)?))).transpose()
    }

    /// Whether there is no room for one more unknown device; makes room where that harms nobody.
    async fn full(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        newcomers: Newcomers,
        now_ms: i64,
    ) -> Result<Option<Full>, DbError> {
        if at_least(tx, newcomers.a_minute, now_ms - 60_000).await? {
            return Ok(Some(Full::Minute));
        }
        if !at_least(tx, newcomers.unknown, i64::MIN).await? {
            return Ok(None);
        }
        for device in forget_silent(tx, now_ms).await? {
            self.touched.touch(device);
        }
        Ok(at_least(tx, newcomers.unknown, i64::MIN).await?.then_some(Full::Total))
    }
}

/// Whether there are so many unknown devices that were seen first after this time; no more than these are counted.
async fn at_least(tx: &mut Transaction<'static, Sqlite>, many: u32, after_ms: i64) -> Result<bool, DbError> {
    let counted: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT 1 FROM device WHERE known = $1 AND first_seen_ms > $2 LIMIT $3) AS newcomers",
    )
    .bind(false)
    .bind(after_ms)
    .bind(i64::from(many))
    .fetch_one(&mut **tx)
    .await?;
    Ok(counted >= i64::from(many))
}

async fn forget_silent(tx: &mut Transaction<'static, Sqlite>, now_ms: i64) -> Result<Vec<i64>, DbError> {
    let silent: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM device WHERE known = $1 AND seen_ms < $2
           AND NOT EXISTS (SELECT 1 FROM run WHERE run.device = device.id) ORDER BY seen_ms LIMIT 100",
    )
    .bind(false)
    .bind(now_ms - SILENT_MS)
    .fetch_all(&mut **tx)
    .await?;
    for device in &silent {
        forget(tx, *device).await?;
    }
    Ok(silent)
}

/// Addresses and session of a runner that said hello; what is over the bounds goes.
async fn remember(
    tx: &mut Transaction<'static, Sqlite>,
    device: i64,
    hello: &Hello,
    now_ms: i64,
) -> Result<(), DbError> {
    for mac in &hello.facts.macs {
        sqlx::query(
            "INSERT INTO device_mac (device, mac, seen_ms) VALUES ($1, $2, $3)
             ON CONFLICT (device, mac) DO UPDATE SET seen_ms = excluded.seen_ms",
        )
        .bind(device)
        .bind(mac.to_string())
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    }
    sqlx::query(
        "DELETE FROM device_mac WHERE device = $1 AND mac NOT IN
         (SELECT mac FROM device_mac WHERE device = $1 ORDER BY seen_ms DESC, mac LIMIT $2)",
    )
    .bind(device)
    .bind(MOST_MACS)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM session WHERE expires_ms < $1 OR device = $2 AND token NOT IN
         (SELECT token FROM session WHERE device = $2 ORDER BY expires_ms DESC LIMIT $3)",
    )
    .bind(now_ms)
    .bind(device)
    .bind(MOST_SESSIONS - 1)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO session (token, device, receipt_key, boot, expires_ms, boot_id) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(hello.token.to_string())
    .bind(device)
    .bind(&hello.receipt_key)
    .bind(word(&hello.boot))
    .bind(hello.expires_ms)
    .bind(&hello.boot_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Everything that is kept of a device goes; it must have no runs.
pub(super) async fn forget(tx: &mut Transaction<'static, Sqlite>, device: i64) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE collection SET members = members - 1 WHERE id IN (SELECT collection FROM collection_member WHERE device = $1)",
    )
    .bind(device)
    .execute(&mut **tx)
    .await?;
    for table in [
        "DELETE FROM session WHERE device = $1",
        "DELETE FROM technician WHERE device = $1",
        "DELETE FROM device_mac WHERE device = $1",
        "DELETE FROM device_text WHERE device = $1",
        "DELETE FROM device_tag WHERE device = $1",
        "DELETE FROM device_inventory WHERE device = $1",
        "DELETE FROM device_conflict WHERE device = $1 OR other = $1",
        "DELETE FROM collection_direct WHERE device = $1",
        "DELETE FROM collection_member WHERE device = $1",
        "DELETE FROM variable WHERE scope = 'device' AND owner = CAST($1 AS TEXT)",
        "DELETE FROM device WHERE id = $1",
    ] {
        sqlx::query(table).bind(device).execute(&mut **tx).await?;
    }
    Ok(())
}

/// What [`summary`] reads, of the table `device` called `d`.
pub(super) const SUMMARY_COLUMNS: &str = "d.id, d.known, d.facts, d.seen_ms, d.hostname";

/// What lists show of a device, without its tags; and its inventory.
pub(super) fn summary(row: &SqliteRow) -> Result<(DeviceSummary, DeviceFacts), DbError> {
    let facts: DeviceFacts = from_json("inventory of a device", row.try_get(2)?)?;
    let summary = DeviceSummary {
        id: row.try_get(0)?,
        serial: facts.serial.clone(),
        model: facts.model.clone(),
        macs: facts.macs.clone(),
        known: row.try_get(1)?,
        seen_ms: row.try_get(3)?,
        hostname: row.try_get(4)?,
        tags: Vec::new(),
    };
    Ok((summary, facts))
}

/// What of serial number and UUID can tell this Mac from others. Boards without their own carry filler texts.
pub(super) fn identity(facts: &DeviceFacts) -> (Option<&Serial>, Option<Uuid>) {
    let filler = |serial: &&Serial| {
        let text = serial.as_str().to_ascii_lowercase();
        let same = text.bytes().all(|b| Some(b) == text.bytes().next());
        !(same
            || ["system serial number", "to be filled by o.e.m.", "not specified", "none", "default string"]
                .contains(&text.as_str()))
    };
    (facts.serial.as_ref().filter(filler), facts.uuid.filter(|uuid| !uuid.is_nil() && !uuid.is_max()))
}

/// The device and whether it is known; else those that it cannot be right beside. Without serial number and UUID, model, one
/// address and the disks decide together.
pub(super) async fn find(
    tx: &mut Transaction<'static, Sqlite>,
    facts: &DeviceFacts,
    serial: Option<&Serial>,
    uuid: Option<Uuid>,
) -> Result<Result<(i64, bool), Vec<(i64, Shared)>>, DbError> {
    if serial.is_none() && uuid.is_none() {
        return Ok(find_by_hints(tx, facts).await?.ok_or_else(Vec::new));
    }
    let rows = sqlx::query(
        "SELECT id, serial, uuid, known FROM device WHERE serial = $1 OR uuid = $2 ORDER BY seen_ms DESC, id LIMIT 100",
    )
    .bind(serial.map(Serial::as_str))
    .bind(uuid.map(|uuid| uuid.to_string()))
    .fetch_all(&mut **tx)
    .await?;
    let mut candidates = Vec::with_capacity(rows.len());
    let mut known = Vec::new();
    for row in &rows {
        let (id, uuid): (i64, Option<String>) = (row.try_get(0)?, row.try_get(2)?);
        let uuid = uuid.map(|text| parsed("UUID", &text)).transpose()?;
        candidates.push(Candidate { id, serial: serial_of(row.try_get(1)?)?, uuid });
        if row.try_get(3)? {
            known.push(id);
        }
    }
    Ok(match identify(serial, uuid, &candidates) {
        Identity::Known(id) => Ok((id, known.contains(&id))),
        Identity::New(conflicts) => Err(conflicts),
    })
}

async fn find_by_hints(
    tx: &mut Transaction<'static, Sqlite>,
    facts: &DeviceFacts,
) -> Result<Option<(i64, bool)>, DbError> {
    let rows =
        sqlx::query("SELECT id, known, facts FROM device WHERE serial IS NULL AND uuid IS NULL ORDER BY id")
            .fetch_all(&mut **tx)
            .await?;
    for row in rows {
        let other: DeviceFacts = from_json("inventory of a device", row.try_get(2)?)?;
        // One adapter serves many Macs of one model: another disk inside is another Mac.
        let disk = |facts: &DeviceFacts| {
            let inside = facts.disks.iter().find(|disk| !disk.external && !disk.serial.is_empty());
            inside.map(|disk| disk.serial.clone())
        };
        let other_disk = disk(&other).zip(disk(facts)).is_some_and(|(one, other)| one != other);
        let shares_address = other.macs.iter().any(|mac| facts.macs.contains(mac));
        if other.model == facts.model && shares_address && !other_disk {
            return Ok(Some((row.try_get(0)?, row.try_get(1)?)));
        }
    }
    Ok(None)
}

/// What people call a device: its serial number, else its UUID, else an address.
pub(super) fn device_name(facts: &str) -> Result<String, DbError> {
    let facts: DeviceFacts = from_json("inventory of a device", facts)?;
    let (serial, uuid) = identity(&facts);
    Ok(serial
        .map(Serial::to_string)
        .or_else(|| uuid.map(|uuid| uuid.to_string()))
        .or_else(|| facts.macs.first().map(MacAddr::to_string))
        .unwrap_or_else(|| "a Mac without a name".to_owned()))
}

/// The device with this serial number as its own, for a client's list line.
pub(super) fn serial_of(text: Option<&str>) -> Result<Option<Serial>, DbError> {
    text.map(|text| parsed("serial number", text)).transpose()
}

#[cfg(test)]
impl Hello {
    /// Of a Mac with these facts; its session ends at 100.
    fn of(facts: DeviceFacts, token: Digest) -> Hello {
        Hello {
            facts,
            boot: BootMethod::Netboot,
            receipt_key: String::new(),
            boot_id: String::new(),
            token,
            expires_ms: 100,
            address: None,
        }
    }
}

#[cfg(test)]
impl Db {
    /// A Mac with these facts said hello at 1: its number.
    pub(super) async fn greeted(&self, facts: DeviceFacts) -> i64 {
        let hello = Hello::of(facts.clone(), Digest::of(json(&facts).as_bytes()));
        let many = Newcomers { a_minute: 1000, unknown: 1000 };
        match self.hello(&hello, many, 1).await.unwrap() {
            Greeted::Device(known) => known.device,
            full => panic!("{full:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(serial: Option<&str>, uuid: Option<u128>, mac: u8) -> Hello {
        let facts = DeviceFacts {
            serial: serial.map(|text| text.parse().unwrap()),
            uuid: uuid.map(Uuid::from_u128),
            model: Some("iMac14,2".parse().unwrap()),
            macs: vec![MacAddr::new([2, 0, 0, 0, 0, mac])],
            memory: 8 << 30,
            ..DeviceFacts::default()
        };
        let token = [mac, serial.map_or(0, |s| s.len() as u8), uuid.unwrap_or(0) as u8, rand()];
        Hello::of(facts, Digest::of(&token))
    }

    fn rand() -> u8 {
        use std::sync::atomic::{AtomicU8, Ordering};
        static NEXT: AtomicU8 = AtomicU8::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    async fn who(db: &Db, serial: Option<&str>, uuid: Option<u128>, mac: u8) -> i64 {
        greet(db, &hello(serial, uuid, mac), 1).await.device
    }

    const MANY: Newcomers = Newcomers { a_minute: 100, unknown: 100 };

    async fn greet(db: &Db, hello: &Hello, now_ms: i64) -> Known {
        match db.hello(hello, MANY, now_ms).await.unwrap() {
            Greeted::Device(known) => known,
            full => panic!("{full:?}"),
        }
    }

    #[tokio::test]
    async fn strangers_bring_in_so_many_devices_a_minute_and_in_all_and_silent_ones_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let few = Newcomers { a_minute: 2, unknown: 3 };
        let said = async |uuid: u128, now_ms| {
            let greeted = db.hello(&hello(None, Some(uuid), uuid as u8), few, now_ms).await.unwrap();
            match greeted {
                Greeted::Device(known) => Ok(known.first),
                Greeted::Full(full) => Err(full),
            }
        };
        assert_eq!(
            [said(1, 0).await, said(2, 0).await, said(3, 1).await],
            [Ok(true), Ok(true), Err(Full::Minute)]
        );
        assert_eq!(said(1, 1).await, Ok(false), "one that was here before is always heard");
        assert_eq!(said(3, 60_000).await, Ok(true));
        assert_eq!(said(4, 120_000).await, Err(Full::Total));
        assert_eq!(db.count_devices().await.unwrap(), (3, 3));
        let day = SILENT_MS + 60_000;
        assert_eq!([said(1, day).await, said(4, day).await], [Ok(false), Ok(true)]);
        assert_eq!(db.count_devices().await.unwrap(), (3, 3), "the one that was silent for a day is gone");
        assert_eq!(said(2, day).await, Err(Full::Total));
    }

    #[tokio::test]
    async fn a_device_keeps_its_newest_sessions_and_addresses_only() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let mut tokens = Vec::new();
        for at in 0..100_u8 {
            let mut hello = hello(Some("C02A"), Some(1), at);
            hello.token = Digest::of(&[at]);
            hello.expires_ms = 1000 + i64::from(at);
            greet(&db, &hello, i64::from(at)).await;
            tokens.push(hello.token);
        }
        let mut open = 0;
        for token in &tokens {
            open += i64::from(db.session(*token, 100).await.unwrap().is_some());
        }
        assert_eq!(open, MOST_SESSIONS);
        assert!(db.session(tokens[99], 100).await.unwrap().is_some());
        let seen = async |mac| db.devices_with(MacAddr::new([2, 0, 0, 0, 0, mac])).await.unwrap().len();
        assert_eq!([seen(99).await, seen(36).await, seen(35).await], [1, 1, 0]);
    }

    #[tokio::test]
    async fn section_6_serial_and_uuid_decide_and_a_shared_dongle_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let first = who(&db, Some("C02A"), Some(1), 7).await;
        assert_eq!(who(&db, Some("C02A"), Some(1), 8).await, first);
        assert_ne!(who(&db, Some("C02B"), Some(2), 7).await, first, "the dongle moved to another Mac");
        assert_ne!(who(&db, Some("C02A"), Some(3), 7).await, first, "a cloned serial number");
        assert_eq!(who(&db, Some("C02C"), None, 9).await, who(&db, Some("C02C"), Some(4), 9).await);
        assert_eq!(db.devices_with(MacAddr::new([2, 0, 0, 0, 0, 7])).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn section_6_filler_serials_and_nil_uuids_do_not_make_macs_one() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let first = who(&db, Some("To Be Filled By O.E.M."), Some(0), 1).await;
        assert_ne!(who(&db, Some("To Be Filled By O.E.M."), Some(0), 2).await, first);
        assert_eq!(who(&db, Some("000000"), Some(0), 1).await, first, "model and address are the same");
    }

    #[tokio::test]
    async fn a_session_ends_at_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let hello = hello(Some("C02A"), None, 1);
        let known = greet(&db, &hello, 1).await;
        assert!(known.first && !known.known);
        assert_eq!(db.session(hello.token, 99).await.unwrap().unwrap().0, known.device);
        assert!(db.session(hello.token, 100).await.unwrap().is_none());
    }
}
