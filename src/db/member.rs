//! Members of collections, kept beside the Macs: judged anew for one Mac when something about it changes, for all Macs when a
//! collection changes.
//!
//! One Mac costs a handful of indexed reads and as many rules as there are; only what differs is written. A changed collection
//! is marked stale and judged in short transactions, so that Macs are served meanwhile; every step may be repeated, and a stop in
//! between is made up for at the next start. What a Mac is offered is judged for that Mac itself, never read from a stale table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection, Transaction};
use tokio::task::JoinSet;

use super::{Db, DbError, from_json, parsed};
use crate::api::admin::DeviceSummary;
use crate::api::inventory;
use crate::api::runner::DeviceFacts;
use crate::sequence::target::collection::{Collections, Definition, Why};
use crate::sequence::target::fact::{Fact, Subject};
use crate::sequence::target::rule::Rule;

/// Macs that one transaction judges.
const CHUNK: i64 = 500;
/// Memberships that one statement adds or takes away.
const ROWS: usize = 50;
/// Counter that grows with every change of a definition.
pub(super) const GENERATION: &str = "collections";

/// Compiled collections with the generation that they are of.
pub(super) type Compiled = Option<(i64, Arc<Collections>)>;

/// One Mac as it is judged.
struct Loaded {
    id: i64,
    mac: Subject,
    text: String,
    direct: BTreeSet<i64>,
    current: BTreeSet<i64>,
}

/// For which Macs a rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// How many.
    pub matches: u32,
    /// How many Macs there are.
    pub total: u32,
    /// The first of them.
    pub members: Vec<DeviceSummary>,
}

/// What of them is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// What rules ask.
    Rules,
    /// Their memberships, too.
    Members,
    /// What a search looks through, too.
    All,
}

/// Which Macs are loaded, at most [`CHUNK`] of them.
#[derive(Clone, Copy)]
enum Part<'a> {
    One(i64),
    /// The first from one number to another.
    Between(i64, i64),
    These(&'a [i64]),
}

impl Part<'_> {
    /// A query whose `{}` is the condition that this column is one of theirs.
    fn query(self, text: &str, column: &str) -> Query<'static, Sqlite, SqliteArguments> {
        let condition = match self {
            Part::One(_) => format!("{column} = $1"),
            Part::Between(..) => format!("{column} BETWEEN $1 AND $2"),
            // Numbers of our own, no text of anybody.
            Part::These(ids) => {
                let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
                format!("{column} IN ({})", ids.join(", "))
            }
        };
        let query = sqlx::query(AssertSqlSafe(text.replace("{}", &condition)));
        match self {
            Part::One(id) => query.bind(id),
            Part::Between(from, to) => query.bind(from).bind(to),
            // Never the same text again.
            Part::These(_) => query.persistent(false),
        }
    }
}

impl Db {
    /// Judges one Mac anew: its collections, and what a search finds it by. The numbers of its collections.
    pub(super) async fn settle(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        device: i64,
    ) -> Result<BTreeSet<i64>, DbError> {
        Ok(self.settle_part(tx, Part::One(device)).await?.pop().unwrap_or_default())
    }

    /// The same for many, without asking for each of them by itself.
    pub(super) async fn settle_many(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        devices: &[i64],
    ) -> Result<(), DbError> {
        for part in devices.chunks(CHUNK as usize) {
            self.settle_part(tx, Part::These(part)).await?;
        }
        Ok(())
    }

    /// The collections of each, by number.
    async fn settle_part(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        part: Part<'_>,
    ) -> Result<Vec<BTreeSet<i64>>, DbError> {
        let all = self.collections(tx).await?;
        let macs = load(tx, part, What::All).await?;
        let wanted: Vec<BTreeSet<i64>> =
            macs.iter().map(|one| all.of(&one.mac, &one.direct, &one.current, |_| true)).collect();
        let changes = macs.iter().zip(&wanted).map(|(one, wanted)| (one.id, &one.current, wanted));
        write_changes(tx, changes).await?;
        for one in &macs {
            self.touched.touch(one.id);
            sqlx::query(
                "INSERT INTO device_text (device, text) VALUES ($1, $2)
                 ON CONFLICT (device) DO UPDATE SET text = excluded.text WHERE device_text.text <> excluded.text",
            )
            .bind(one.id)
            .bind(&one.text)
            .execute(&mut **tx)
            .await?;
        }
        Ok(wanted)
    }

    /// Judges one Mac anew, after its variables were changed.
    pub async fn settle_device(&self, device: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        self.settle(&mut tx, device).await?;
        Ok(tx.commit().await?)
    }

    /// Judges every Mac anew for the collections that are stale. Ends when none is.
    pub async fn settle_stale(&self) -> Result<(), DbError> {
        let (mut after, mut began) = (0, None);
        loop {
            let mut tx = self.begin().await?;
            let generation = generation(&mut tx).await?;
            let stale: Vec<i64> = sqlx::query_scalar("SELECT id FROM collection WHERE stale = $1")
                .bind(true)
                .fetch_all(&mut *tx)
                .await?;
            if stale.is_empty() {
                return Ok(());
            }
            if began.replace(generation) != Some(generation) {
                after = 0;
            }
            self.touched.touch_all();
            let stale: BTreeSet<i64> = stale.into_iter().collect();
            let all = self.collections(&mut tx).await?;
            let chunk = load(&mut tx, Part::Between(after + 1, i64::MAX), What::Members).await?;
            let judged: Vec<BTreeSet<i64>> = chunk
                .iter()
                .map(|one| all.of(&one.mac, &one.direct, &one.current, |id| stale.contains(&id)))
                .collect();
            let changes = chunk.iter().zip(&judged).map(|(one, wanted)| (one.id, &one.current, wanted));
            write_changes(&mut tx, changes).await?;
            after = chunk.last().map_or(after, |last| last.id);
            if (chunk.len() as i64) < CHUNK {
                for id in stale {
                    sqlx::query("UPDATE collection SET stale = $2 WHERE id = $1")
                        .bind(id)
                        .bind(false)
                        .execute(&mut *tx)
                        .await?;
                }
            }
            tx.commit().await?;
        }
    }

    /// For which Macs a rule holds; the first `shown` of them with what lists show. Two halves are read at the same time: two of the
    /// four readers stay for others.
    pub async fn preview(&self, rule: &Rule, shown: usize) -> Result<Preview, DbError> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT MAX(id) FROM device").fetch_one(&self.read).await?;
        let (middle, rule) = (last.unwrap_or(0) / 2, Arc::new(rule.clone()));
        let mut halves = JoinSet::new();
        for (from, to) in [(i64::MIN, middle), (middle + 1, i64::MAX)] {
            let (db, rule) = (self.clone(), rule.clone());
            halves.spawn(async move { (from, db.preview_part(&rule, from, to, shown).await) });
        }
        let mut parts = BTreeMap::new();
        while let Some(half) = halves.join_next().await {
            // One that panicked is no answer.
            let (from, part) = half.map_err(|_| sqlx::Error::WorkerCrashed)?;
            parts.insert(from, part?);
        }
        let (mut found, mut matches, mut total) = (Vec::new(), 0_u32, 0_u32);
        for (_, (first, holds, all)) in parts {
            found.extend(first);
            matches = matches.saturating_add(holds);
            total = total.saturating_add(all);
        }
        found.truncate(shown);
        Ok(Preview { matches, total, members: self.summaries(&found).await? })
    }

    /// The first Macs from one number to another for which a rule holds, for how many it does, and how many there are.
    async fn preview_part(
        &self,
        rule: &Rule,
        mut from: i64,
        to: i64,
        shown: usize,
    ) -> Result<(Vec<i64>, u32, u32), DbError> {
        let mut reader = self.read.acquire().await?;
        let (mut first, mut matches, mut total) = (Vec::new(), 0_u32, 0_u32);
        loop {
            let chunk = load(&mut reader, Part::Between(from, to), What::Rules).await?;
            total = total.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
            for one in chunk.iter().filter(|one| rule.holds(&one.mac)) {
                matches = matches.saturating_add(1);
                if first.len() < shown {
                    first.push(one.id);
                }
            }
            match chunk.last() {
                Some(last) if chunk.len() as i64 >= CHUNK && last.id < to => from = last.id + 1,
                _ => return Ok((first, matches, total)),
            }
        }
    }

    /// Why a Mac belongs to each collection, or does not; judged now.
    pub async fn explain_collections(&self, device: i64) -> Result<Vec<(Definition, Why)>, DbError> {
        let mut tx = self.read.begin().await?;
        let all = self.collections_in(&mut tx).await?;
        let Some(one) = load(&mut tx, Part::One(device), What::Members).await?.pop() else {
            return Ok(Vec::new());
        };
        let explained = all.explained(&one.mac, &one.direct);
        Ok(explained.into_iter().map(|(definition, why)| (definition.clone(), why)).collect())
    }

    /// Names and priorities of the collections that a Mac belongs to, judged now.
    pub async fn collections_of(&self, device: i64) -> Result<Vec<(String, i64)>, DbError> {
        let mut tx = self.read.begin().await?;
        let all = self.collections_in(&mut tx).await?;
        let Some(one) = load(&mut tx, Part::One(device), What::Members).await?.pop() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for id in all.of(&one.mac, &one.direct, &one.current, |_| true) {
            let row = sqlx::query("SELECT name, priority FROM collection WHERE id = $1")
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(row) = row {
                found.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        Ok(found)
    }

    async fn collections(&self, tx: &mut Transaction<'static, Sqlite>) -> Result<Arc<Collections>, DbError> {
        self.collections_in(tx).await
    }

    /// Compiled once for each generation. Only for transactions that have not changed a definition themselves: what is kept here
    /// must be committed.
    async fn collections_in(&self, connection: &mut SqliteConnection) -> Result<Arc<Collections>, DbError> {
        let generation = generation(connection).await?;
        let kept = || self.compiled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((of, all)) = kept().as_ref()
            && *of == generation
        {
            return Ok(all.clone());
        }
        let definitions = definitions(connection).await?;
        // A circle is refused when it is made; a database that has one serves Macs all the same.
        let all = Arc::new(Collections::new(definitions).unwrap_or_default());
        *kept() = Some((generation, all.clone()));
        Ok(all)
    }
}

async fn generation(connection: &mut SqliteConnection) -> Result<i64, DbError> {
    let value: Option<i64> = sqlx::query_scalar("SELECT value FROM counter WHERE name = $1")
        .bind(GENERATION)
        .fetch_optional(connection)
        .await?;
    Ok(value.unwrap_or(0))
}

/// All definitions. A rule that this version cannot read holds for nobody.
pub(super) async fn definitions(connection: &mut SqliteConnection) -> Result<Vec<Definition>, DbError> {
    let rows =
        sqlx::query("SELECT id, name, rule FROM collection ORDER BY id").fetch_all(&mut *connection).await?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (id, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let rule: Option<String> = row.try_get(2)?;
        let rule = rule.and_then(|text| Rule::read(&text).ok());
        all.insert(id, Definition { id, name, rule, ..Definition::default() });
    }
    let parts = sqlx::query("SELECT collection, other, role FROM collection_part ORDER BY collection, other")
        .fetch_all(&mut *connection)
        .await?;
    for row in parts {
        let (collection, other): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let Some(one) = all.get_mut(&collection) else { continue };
        match row.try_get::<&str, _>(2)? {
            "exclude" => one.excludes.push(other),
            _ => one.includes.push(other),
        }
    }
    Ok(all.into_values().collect())
}

/// In the order of their numbers.
async fn load(connection: &mut SqliteConnection, part: Part<'_>, what: What) -> Result<Vec<Loaded>, DbError> {
    let text = format!(
        "SELECT id, facts, known, boot, hostname, note, owner, address FROM device WHERE {{}} ORDER BY id LIMIT {CHUNK}"
    );
    let rows = part.query(&text, "id").fetch_all(&mut *connection).await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let facts: DeviceFacts = from_json("inventory of a device", row.try_get(1)?)?;
        let mut mac = inventory::subject(&facts);
        let texts: [(Fact, String); 4] = [
            (Fact::Boot, row.try_get(3)?),
            (Fact::Hostname, row.try_get(4)?),
            (Fact::Note, row.try_get(5)?),
            (Fact::Owner, row.try_get(6)?),
        ];
        let address: String = row.try_get(7)?;
        mac.flag(Fact::Known, row.try_get(2)?);
        let mut text = if what == What::All { searched(&facts) } else { Vec::new() };
        for (fact, value) in texts {
            if what == What::All && fact != Fact::Boot && !value.is_empty() {
                text.push(value.clone());
            }
            mac.text(fact, value);
        }
        if let Ok(ip) = address.parse() {
            mac.ip(Fact::Ip, ip);
            text.extend((what == What::All).then_some(address));
        }
        let text = text.join("\n").to_lowercase();
        loaded.push(Loaded {
            id: row.try_get(0)?,
            mac,
            text,
            direct: BTreeSet::new(),
            current: BTreeSet::new(),
        });
    }
    let (Some(first), Some(last)) = (loaded.first().map(|one| one.id), loaded.last().map(|one| one.id))
    else {
        return Ok(loaded);
    };
    let part = if let Part::Between(..) = part { Part::Between(first, last) } else { part };
    let place: BTreeMap<i64, usize> = loaded.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
    let tags = "SELECT device, spelling FROM device_tag WHERE {} ORDER BY device, tag";
    for row in part.query(tags, "device").fetch_all(&mut *connection).await? {
        let Some(place) = place.get(&row.try_get(0)?) else { continue };
        let tag: String = row.try_get(1)?;
        if what == What::All {
            loaded[*place].text.push('\n');
            loaded[*place].text.push_str(&tag.to_lowercase());
        }
        loaded[*place].mac.text(Fact::Tag, tag);
    }
    let variables = "SELECT d.id, v.spelling, v.value FROM device d
         JOIN variable v ON v.scope = 'device' AND v.owner = CAST(d.id AS TEXT) WHERE {} AND v.secret = FALSE";
    for row in part.query(variables, "d.id").fetch_all(&mut *connection).await? {
        let Some(place) = place.get(&row.try_get(0)?) else { continue };
        let name = parsed("name of a variable", row.try_get(1)?)?;
        loaded[*place].mac.variable(name, row.try_get(2)?);
    }
    if what != What::Rules {
        for (table, direct) in [("collection_direct", true), ("collection_member", false)] {
            let query = format!("SELECT device, collection FROM {table} WHERE {{}}");
            for row in part.query(&query, "device").fetch_all(&mut *connection).await? {
                let Some(place) = place.get(&row.try_get(0)?) else { continue };
                let one = &mut loaded[*place];
                let set = if direct { &mut one.direct } else { &mut one.current };
                set.insert(row.try_get(1)?);
            }
        }
    }
    Ok(loaded)
}

/// What a search looks through, of what the Mac says of itself.
fn searched(facts: &DeviceFacts) -> Vec<String> {
    let inventory = &facts.inventory;
    let mut text: Vec<String> = Vec::new();
    text.extend(facts.serial.as_ref().map(ToString::to_string));
    text.extend(facts.uuid.map(|uuid| uuid.to_string()));
    text.extend(facts.model.as_ref().map(ToString::to_string));
    text.extend(
        [&facts.manufacturer, &facts.cpu, &facts.firmware, &inventory.board].into_iter().flatten().cloned(),
    );
    text.extend(facts.macs.iter().map(ToString::to_string));
    for disk in &facts.disks {
        text.extend([disk.model.clone(), disk.serial.clone()]);
    }
    for nic in &inventory.nics {
        text.push(nic.mac.to_string());
        text.extend(nic.driver.clone());
        text.extend(nic.addresses.iter().map(ToString::to_string));
    }
    text.extend(inventory.memory_modules.iter().map(|module| module.part.clone()));
    text.retain(|line| !line.is_empty());
    text.dedup();
    text
}

/// Writes what differs, and the numbers of members with it.
async fn write_changes<'a>(
    tx: &mut Transaction<'static, Sqlite>,
    changes: impl Iterator<Item = (i64, &'a BTreeSet<i64>, &'a BTreeSet<i64>)>,
) -> Result<(), DbError> {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for (device, current, wanted) in changes {
        for collection in wanted.difference(current) {
            added.push((*collection, device));
            *counts.entry(*collection).or_default() += 1;
        }
        for collection in current.difference(wanted) {
            removed.push((*collection, device));
            *counts.entry(*collection).or_default() -= 1;
        }
    }
    for rows in added.chunks(ROWS) {
        let places: Vec<String> =
            (0..rows.len()).map(|row| format!("(${}, ${})", 2 * row + 1, 2 * row + 2)).collect();
        let query =
            format!("INSERT INTO collection_member (collection, device) VALUES {}", places.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(query));
        for (collection, device) in rows {
            query = query.bind(*collection).bind(*device);
        }
        query.execute(&mut **tx).await?;
    }
    for (collection, device) in removed {
        sqlx::query("DELETE FROM collection_member WHERE collection = $1 AND device = $2")
            .bind(collection)
            .bind(device)
            .execute(&mut **tx)
            .await?;
    }
    for (collection, change) in counts.into_iter().filter(|(_, change)| *change != 0) {
        sqlx::query("UPDATE collection SET members = members + $2 WHERE id = $1")
            .bind(collection)
            .bind(change)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
