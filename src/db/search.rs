//! Lists of Macs: pages, found by words, tags and names.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row};

use super::device::{SUMMARY_COLUMNS, summary};
use super::{Db, DbError};
use crate::api::admin::DeviceSummary;

/// Macs that one query reads.
const ROWS: usize = 200;
/// So many Macs that have some words are looked up one by one sooner than they are met on the way through all: whether there are more is
/// found by reading what is known of them.
const FEW_WITH_WORDS: i64 = 500;
/// The same of a tag or a collection, which are read along an index.
const FEW_MARKED: i64 = 5000;

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

/// Conditions with their values, in the order of their places.
#[derive(Default)]
struct Conditions {
    all: Vec<String>,
    texts: Vec<String>,
    numbers: Vec<i64>,
    /// Whether the query names Macs, so that nobody asks it again.
    passing: bool,
}

impl Conditions {
    /// Texts come before numbers.
    fn text(&mut self, value: String) -> String {
        self.texts.push(value);
        format!("${}", self.texts.len())
    }

    fn number(&mut self, value: i64) -> String {
        self.numbers.push(value);
        format!("${}", self.texts.len() + self.numbers.len())
    }

    async fn ids(self, db: &Db, before: &str, after: &str) -> Result<Vec<i64>, DbError> {
        let filter =
            if self.all.is_empty() { String::new() } else { format!(" WHERE {}", self.all.join(" AND ")) };
        let mut query =
            sqlx::query_scalar(AssertSqlSafe(format!("{before}{filter}{after}"))).persistent(!self.passing);
        for text in self.texts {
            query = query.bind(text);
        }
        for number in self.numbers {
            query = query.bind(number);
        }
        Ok(query.fetch_all(&db.read).await?)
    }
}

/// How the words stand in what is known of a Mac, the row `x`.
fn words(search: &Search, conditions: &mut Conditions) -> Vec<String> {
    let like = |word: &String| {
        let place = conditions.text(format!("%{}%", escaped(&word.to_lowercase())));
        format!("x.text LIKE {place} ESCAPE '\\'")
    };
    search.words.iter().map(like).collect()
}

impl Db {
    /// One page, last seen first. What few Macs have is looked up; what many have is soon found on the way from the one seen last to
    /// the one seen first.
    pub async fn devices(&self, search: &Search) -> Result<Vec<DeviceSummary>, DbError> {
        let few = match self.few(search).await? {
            Some(few) if few.is_empty() => return Ok(Vec::new()),
            few => few,
        };
        let mut conditions = Conditions::default();
        if let Some(tag) = &search.tag {
            let place = conditions.text(tag.to_lowercase());
            let tagged =
                format!("EXISTS (SELECT 1 FROM device_tag t WHERE t.device = d.id AND t.tag = {place})");
            conditions.all.push(tagged);
        }
        if let Some(name) = &search.name {
            let exact = conditions.text(name.trim().to_uppercase());
            let folded = conditions.text(name.trim().to_lowercase());
            conditions.all.push(format!(
                "(UPPER(d.serial) = {exact} OR d.uuid = {folded} OR LOWER(d.hostname) = {folded})"
            ));
        }
        if !search.words.is_empty() {
            let all = words(search, &mut conditions).join(" AND ");
            conditions
                .all
                .push(format!("EXISTS (SELECT 1 FROM device_text x WHERE x.device = d.id AND {all})"));
        }
        if let Some(known) = search.known {
            conditions.all.push(format!("d.known = {}", if known { "TRUE" } else { "FALSE" }));
        }
        if let Some(few) = few {
            // Numbers of our own, no text of anybody.
            let few: Vec<String> = few.iter().map(i64::to_string).collect();
            conditions.all.push(format!("d.id IN ({})", few.join(", ")));
            conditions.passing = true;
        }
        if let Some(collection) = search.collection {
            let place = conditions.number(collection);
            conditions.all.push(format!(
                "EXISTS (SELECT 1 FROM collection_member m WHERE m.collection = {place} AND m.device = d.id)"
            ));
        }
        if let Some((seen, id)) = search.after {
            let (seen, id) = (conditions.number(seen), conditions.number(id));
            conditions.all.push(format!("(d.seen_ms, d.id) < ({seen}, {id})"));
        }
        let limit = conditions.number(i64::from(search.limit));
        // Numbers first: rows are long, and a page shows few of them.
        let order = format!(" ORDER BY d.seen_ms DESC, d.id DESC LIMIT {limit}");
        let found = conditions.ids(self, "SELECT d.id FROM device d", &order).await?;
        self.summaries(&found).await
    }

    /// The Macs that a word, a tag or a collection leaves, where these are few; none: as far as is known, there are many.
    async fn few(&self, search: &Search) -> Result<Option<Vec<i64>>, DbError> {
        let mut probes = Vec::new();
        if !search.words.is_empty() {
            let mut one = Conditions::default();
            let all = words(search, &mut one);
            one.all.extend(all);
            probes.push((one, "SELECT x.device FROM device_text x", FEW_WITH_WORDS));
        }
        if let Some(tag) = &search.tag {
            let mut one = Conditions::default();
            let place = one.text(tag.to_lowercase());
            one.all.push(format!("t.tag = {place}"));
            probes.push((one, "SELECT t.device FROM device_tag t", FEW_MARKED));
        }
        if let Some(collection) = search.collection {
            let mut one = Conditions::default();
            let place = one.number(collection);
            one.all.push(format!("m.collection = {place}"));
            probes.push((one, "SELECT m.device FROM collection_member m", FEW_MARKED));
        }
        let mut fewest: Option<Vec<i64>> = None;
        for (mut one, query, most) in probes {
            let limit = format!(" LIMIT {}", one.number(most + 1));
            let found = one.ids(self, query, &limit).await?;
            if found.len() as i64 <= most && fewest.as_ref().is_none_or(|fewest| found.len() < fewest.len()) {
                fewest = Some(found);
            }
        }
        Ok(fewest)
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

/// A text without the signs that LIKE obeys, for `ESCAPE '\\'`.
pub(super) fn escaped(word: &str) -> String {
    word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
