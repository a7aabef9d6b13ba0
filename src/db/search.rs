//! Lists of Macs: pages, found by words, tags and names.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row};

use super::device::{SUMMARY_COLUMNS, summary};
use super::{Db, DbError};
use crate::api::admin::DeviceSummary;

/// Macs that one query reads.
const ROWS: usize = 200;

/// What is looked for; what is left out is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Words that all stand in what is known of the Mac.
    pub words: Vec<String>,
    /// Whether it is known.
    pub known: Option<bool>,
    /// A tag, whatever its case.
    pub tag: Option<String>,
    /// A collection that administrators made, by its number.
    pub collection: Option<i64>,
    /// Exactly this serial number, UUID or name.
    pub name: Option<String>,
    /// After the Mac that was seen then and has this number.
    pub after: Option<(i64, i64)>,
    /// At most so many.
    pub limit: u32,
}

impl Db {
    /// One page, last seen first.
    pub async fn devices(&self, search: &Search) -> Result<Vec<DeviceSummary>, DbError> {
        // Numbers first: rows are long, and a page shows few of them.
        let mut tables = String::from("device d");
        let mut conditions: Vec<String> = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        let mut numbers: Vec<i64> = Vec::new();
        let mut text = |value: String| {
            texts.push(value);
            format!("${}", texts.len())
        };
        if let Some(tag) = &search.tag {
            let place = text(tag.to_lowercase());
            conditions.push(format!("d.id IN (SELECT device FROM device_tag WHERE tag = {place})"));
        }
        if let Some(name) = &search.name {
            let (exact, folded) = (text(name.trim().to_uppercase()), text(name.trim().to_lowercase()));
            conditions.push(format!(
                "(UPPER(d.serial) = {exact} OR d.uuid = {folded} OR LOWER(d.hostname) = {folded})"
            ));
        }
        if !search.words.is_empty() {
            tables.push_str(" JOIN device_text x ON x.device = d.id");
            for word in &search.words {
                let place = text(format!("%{}%", escaped(&word.to_lowercase())));
                conditions.push(format!("x.text LIKE {place} ESCAPE '\\'"));
            }
        }
        let first_number = texts.len();
        let mut number = |value: i64| {
            numbers.push(value);
            format!("${}", first_number + numbers.len())
        };
        if let Some(known) = search.known {
            let place = number(i64::from(known));
            conditions.push(format!("CASE WHEN d.known THEN 1 ELSE 0 END = {place}"));
        }
        if let Some(collection) = search.collection {
            let place = number(collection);
            conditions
                .push(format!("d.id IN (SELECT device FROM collection_member WHERE collection = {place})"));
        }
        if let Some((seen, id)) = search.after {
            let (seen, id) = (number(seen), number(id));
            conditions.push(format!("(d.seen_ms, d.id) < ({seen}, {id})"));
        }
        let limit = number(i64::from(search.limit));
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let query =
            format!("SELECT d.id FROM {tables}{filter} ORDER BY d.seen_ms DESC, d.id DESC LIMIT {limit}");
        let mut query = sqlx::query(AssertSqlSafe(query));
        for text in texts {
            query = query.bind(text);
        }
        for number in numbers {
            query = query.bind(number);
        }
        let rows = query.fetch_all(&self.read).await?;
        let found: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        self.summaries(&found).await
    }

    /// What lists show of these Macs, in this order.
    pub async fn summaries(&self, devices: &[i64]) -> Result<Vec<DeviceSummary>, DbError> {
        let mut found: BTreeMap<i64, DeviceSummary> = BTreeMap::new();
        for part in devices.chunks(ROWS) {
            let query =
                format!("SELECT {SUMMARY_COLUMNS} FROM device d WHERE d.id IN ({})", places(part.len()));
            let mut query = sqlx::query(AssertSqlSafe(query));
            for device in part {
                query = query.bind(device);
            }
            let mut tags = self.tags(part).await?;
            for row in query.fetch_all(&self.read).await? {
                let (mut one, _) = summary(&row)?;
                one.tags = tags.remove(&one.id).unwrap_or_default();
                found.insert(one.id, one);
            }
        }
        Ok(devices.iter().filter_map(|device| found.remove(device)).collect())
    }

    /// Tags of these Macs as they were typed, by name; at most [`ROWS`] Macs.
    pub(super) async fn tags(&self, devices: &[i64]) -> Result<BTreeMap<i64, Vec<String>>, DbError> {
        let query = format!(
            "SELECT device, spelling FROM device_tag WHERE device IN ({}) ORDER BY device, tag",
            places(devices.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(query));
        for device in devices {
            query = query.bind(device);
        }
        let mut tags: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for row in query.fetch_all(&self.read).await? {
            tags.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
        }
        Ok(tags)
    }
}

/// `$1, $2, …`
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

/// A word without the signs that LIKE obeys.
fn escaped(word: &str) -> String {
    word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
