//! Rings of images: where they point, every decision about versions, what needs a version.
//!
//! A pointer and the row of history that tells of its move are written in one transaction.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record};
use super::{Db, DbError, from_json, from_word, json, next_number, number, word};
use crate::api::admin::{ImageEvent, ImageEventKind, ImageVersion, Retention};
use crate::sequence::model::Sequence;
use crate::value::{Pick, Ring, Rings};

/// What a decision about the rings of an image is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Where they point.
    pub rings: Rings,
    /// Numbers of all versions, ascending.
    pub versions: Vec<u32>,
    /// Every decision, oldest first.
    pub history: Vec<ImageEvent>,
}

/// A decision: a ring moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub ring: Ring,
    /// Where to; one that exists.
    pub version: u32,
    /// Why.
    pub kind: ImageEventKind,
}

/// One thing to be told by the history of an image.
pub(super) struct NewEvent<'a> {
    pub image: i64,
    pub at_ms: i64,
    pub by: &'a str,
    pub kind: ImageEventKind,
    pub ring: Option<Ring>,
    pub from: Option<u32>,
    pub to: Option<u32>,
    pub detail: &'a str,
}

impl Db {
    /// Rings, versions and history of an image; none when there never was one of this name.
    pub async fn standing(&self, name: &str) -> Result<Option<Standing>, DbError> {
        let mut connection = self.read.acquire().await?;
        let Some(image) = id_of(&mut connection, name).await? else { return Ok(None) };
        standing(&mut connection, image).await.map(Some)
    }

    /// Where the rings of every image point that has one that points somewhere.
    pub async fn all_rings(&self) -> Result<Vec<(String, Rings)>, DbError> {
        let rows = sqlx::query(
            "SELECT i.name, r.ring, r.version FROM image i JOIN image_ring r ON r.image = i.id ORDER BY i.name",
        )
        .fetch_all(&self.read)
        .await?;
        let mut all: Vec<(String, Rings)> = Vec::new();
        for row in &rows {
            let name: String = row.try_get(0)?;
            if all.last().is_none_or(|(last, _)| *last != name) {
                all.push((name, Rings::default()));
            }
            if let Some((_, rings)) = all.last_mut() {
                let (ring, version) = pointer(row, 1)?;
                *rings.get_mut(ring) = Some(version);
            }
        }
        Ok(all)
    }

    /// Moves a ring as `decide` says of what is so when it is written; `Ok(None)`: nothing is to be moved. None when there is
    /// no such image.
    pub async fn move_ring<E>(
        &self,
        name: &str,
        by: &str,
        now_ms: i64,
        decide: impl FnOnce(&Standing) -> Result<Option<Move>, E>,
    ) -> Result<Option<Result<Standing, E>>, DbError> {
        let mut tx = self.begin().await?;
        let Some(image) = id_of(&mut tx, name).await? else { return Ok(None) };
        let before = standing(&mut tx, image).await?;
        if before.versions.is_empty() {
            return Ok(None);
        }
        let decided = match decide(&before) {
            Ok(decided) => decided,
            Err(error) => return Ok(Some(Err(error))),
        };
        let Some(Move { ring, version, kind }) = decided else { return Ok(Some(Ok(before))) };
        point(&mut tx, image, ring, Some(version)).await?;
        let (from, to) = (before.rings.get(ring), Some(version));
        let event = NewEvent { image, at_ms: now_ms, by, kind, ring: Some(ring), from, to, detail: "" };
        tell(&mut tx, &event).await?;
        let after = standing(&mut tx, image).await?;
        tx.commit().await?;
        Ok(Some(Ok(after)))
    }

    /// Changes the note of a version. False when there is none.
    pub async fn set_note(
        &self,
        name: &str,
        version: u32,
        note: &str,
        by: &str,
        now_ms: i64,
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let Some(found) = version_named(&mut tx, name, version).await? else { return Ok(false) };
        let VersionRow { image, facts, .. } = found;
        let facts: ImageVersion = from_json("image version", &facts)?;
        let facts = ImageVersion { note: note.to_owned(), ..facts };
        sqlx::query("UPDATE image_version SET facts = $3 WHERE image = $1 AND version = $2")
            .bind(image)
            .bind(i64::from(version))
            .bind(json(&facts))
            .execute(&mut *tx)
            .await?;
        let kind = ImageEventKind::Noted;
        let event = NewEvent {
            image,
            at_ms: now_ms,
            by,
            kind,
            ring: None,
            from: None,
            to: Some(version),
            detail: note,
        };
        tell(&mut tx, &event).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The rules of an image of its own: `Some(None)` when it has none; none when there is no such image.
    pub async fn retention(&self, name: &str) -> Result<Option<Option<Retention>>, DbError> {
        let row: Option<Option<String>> = sqlx::query_scalar("SELECT retention FROM image WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.read)
            .await?;
        row.map(|text| text.map(|text| from_json("retention", &text)).transpose()).transpose()
    }

    /// Gives an image rules of its own, or takes them away. False when there is no such image.
    pub async fn set_retention(
        &self,
        name: &str,
        retention: Option<Retention>,
        by: &str,
        now_ms: i64,
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let Some(image) = id_of(&mut tx, name).await? else { return Ok(false) };
        let text = retention.as_ref().map(json);
        sqlx::query("UPDATE image SET retention = $2 WHERE id = $1")
            .bind(image)
            .bind(&text)
            .execute(&mut *tx)
            .await?;
        let kind = ImageEventKind::Retention;
        let detail = text.as_deref().unwrap_or("as the settings say");
        let event = NewEvent { image, at_ms: now_ms, by, kind, ring: None, from: None, to: None, detail };
        tell(&mut tx, &event).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// What needs a version, one line each.
    pub(super) async fn needed_by(&self, name: &str, version: u32) -> Result<Vec<String>, DbError> {
        let mut connection = self.read.acquire().await?;
        let Some(image) = id_of(&mut connection, name).await? else { return Ok(Vec::new()) };
        let standing = standing(&mut connection, image).await?;
        users(&mut connection, name, version, &standing).await
    }
}

/// Number of an image.
pub(super) async fn id_of(connection: &mut SqliteConnection, name: &str) -> Result<Option<i64>, DbError> {
    let id = sqlx::query_scalar("SELECT id FROM image WHERE name = $1").bind(name);
    Ok(id.fetch_optional(connection).await?)
}

/// Rings, versions and history of an image.
pub(super) async fn standing(connection: &mut SqliteConnection, image: i64) -> Result<Standing, DbError> {
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM image_version WHERE image = $1 ORDER BY version")
            .bind(image)
            .fetch_all(&mut *connection)
            .await?;
    let versions =
        versions.into_iter().map(|version| number("image version", version)).collect::<Result<_, _>>()?;
    let pointers = sqlx::query("SELECT ring, version FROM image_ring WHERE image = $1")
        .bind(image)
        .fetch_all(&mut *connection)
        .await?;
    let mut rings = Rings::default();
    for row in &pointers {
        let (ring, version) = pointer(row, 0)?;
        *rings.get_mut(ring) = Some(version);
    }
    let events = sqlx::query(
        "SELECT id, at_ms, actor, kind, ring, was, version, detail FROM image_event WHERE image = $1 ORDER BY id",
    )
    .bind(image)
    .fetch_all(connection)
    .await?;
    Ok(Standing { rings, versions, history: events.iter().map(event).collect::<Result<_, _>>()? })
}

/// The number of a version in column `place`.
pub(super) fn version_in(row: &SqliteRow, place: usize) -> Result<u32, DbError> {
    number("image version", row.try_get(place)?)
}

/// A ring in column `place`, and in the next where it points.
fn pointer(row: &SqliteRow, place: usize) -> Result<(Ring, u32), DbError> {
    Ok((from_word("ring", row.try_get(place)?)?, version_in(row, place + 1)?))
}

/// A version as it is written down.
pub(super) struct VersionRow {
    /// Id of its image.
    pub image: i64,
    /// Digest of its manifest.
    pub manifest: String,
    /// Everything else, as JSON.
    pub facts: String,
}

/// The version of this number of the image of this name.
pub(super) async fn version_named(
    connection: &mut SqliteConnection,
    name: &str,
    version: u32,
) -> Result<Option<VersionRow>, DbError> {
    let row = sqlx::query(
        "SELECT i.id, v.manifest, v.facts FROM image i JOIN image_version v ON v.image = i.id
         WHERE i.name = $1 AND v.version = $2",
    )
    .bind(name)
    .bind(i64::from(version))
    .fetch_optional(connection)
    .await?;
    let read = |row: SqliteRow| {
        Ok(VersionRow { image: row.try_get(0)?, manifest: row.try_get(1)?, facts: row.try_get(2)? })
    };
    row.map(read).transpose()
}

fn event(row: &SqliteRow) -> Result<ImageEvent, DbError> {
    let version = |place: usize| -> Result<Option<u32>, DbError> {
        row.try_get::<Option<i64>, _>(place)?.map(|version| number("image version", version)).transpose()
    };
    let ring: Option<String> = row.try_get(4)?;
    Ok(ImageEvent {
        number: row.try_get(0)?,
        at_ms: row.try_get(1)?,
        by: row.try_get(2)?,
        kind: from_word("kind of decision", row.try_get(3)?)?,
        ring: ring.map(|ring| from_word("ring", &ring)).transpose()?,
        from: version(5)?,
        to: version(6)?,
        detail: row.try_get(7)?,
    })
}

/// Points a ring to a version, or nowhere.
pub(super) async fn point(
    tx: &mut Transaction<'static, Sqlite>,
    image: i64,
    ring: Ring,
    version: Option<u32>,
) -> Result<(), DbError> {
    let query = match version {
        Some(version) => sqlx::query(
            "INSERT INTO image_ring (image, ring, version) VALUES ($1, $2, $3)
             ON CONFLICT (image, ring) DO UPDATE SET version = excluded.version",
        )
        .bind(image)
        .bind(ring.name())
        .bind(i64::from(version)),
        None => {
            sqlx::query("DELETE FROM image_ring WHERE image = $1 AND ring = $2").bind(image).bind(ring.name())
        }
    };
    query.execute(&mut **tx).await?;
    Ok(())
}

/// Adds a row of history.
pub(super) async fn tell(tx: &mut Transaction<'static, Sqlite>, event: &NewEvent<'_>) -> Result<(), DbError> {
    let id = next_number(tx, "image_event").await?;
    sqlx::query(
        "INSERT INTO image_event (id, image, at_ms, actor, kind, ring, was, version, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(event.image)
    .bind(event.at_ms)
    .bind(event.by)
    .bind(word(&event.kind))
    .bind(event.ring.map(Ring::name))
    .bind(event.from.map(i64::from))
    .bind(event.to.map(i64::from))
    .bind(event.detail)
    .execute(&mut **tx)
    .await?;
    let name: String = sqlx::query_scalar("SELECT name FROM image WHERE id = $1")
        .bind(event.image)
        .fetch_one(&mut **tx)
        .await?;
    let told = |version: Option<u32>| {
        version.map(|version| serde_json::json!({ "version": version, "ring": event.ring }))
    };
    let mut after = told(event.to);
    if !event.detail.is_empty() {
        after.get_or_insert_with(|| serde_json::json!({}))["detail"] = event.detail.into();
    }
    let action = format!("image.{}", word(&event.kind));
    let change = Change {
        action: Some(&action),
        before: told(event.from),
        after,
        by: Some(event.by),
        ..Change::of(format!("image {name}"), event.at_ms)
    };
    record(tx, change).await
}

/// What needs a version: rings beyond draft, runs that go on, and deployed sequences, which name it or would be left
/// without any version.
pub(super) async fn users(
    connection: &mut SqliteConnection,
    name: &str,
    version: u32,
    standing: &Standing,
) -> Result<Vec<String>, DbError> {
    let mut users: Vec<String> = [Ring::Production, Ring::Test]
        .into_iter()
        .filter(|ring| standing.rings.get(*ring) == Some(version))
        .map(|ring| format!("ring {ring}"))
        .collect();
    let runs = sqlx::query(
        "SELECT r.id, r.sequence FROM run r JOIN run_image p ON p.run = r.id
         WHERE r.outcome IS NULL AND p.image = $1 AND p.version = $2 ORDER BY r.id",
    )
    .bind(name)
    .bind(i64::from(version))
    .fetch_all(&mut *connection)
    .await?;
    for row in &runs {
        let (run, sequence): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        users.push(format!("run {run} of sequence {sequence}"));
    }
    let deployed = sqlx::query(
        "SELECT d.id, s.name, d.collection, r.yaml FROM deployment d JOIN sequence s ON s.id = d.sequence
         JOIN sequence_revision r ON r.sequence = s.id
         WHERE r.revision = (SELECT MAX(n.revision) FROM sequence_revision n WHERE n.sequence = s.id) ORDER BY d.id",
    )
    .fetch_all(connection)
    .await?;
    let last = standing.versions == [version];
    for row in &deployed {
        let (id, sequence, collection): (i64, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // A revision that this version cannot read starts nowhere.
        let Ok(read) = Sequence::from_yaml(row.try_get(3)?) else { continue };
        let needs = |pick: Pick| {
            pick == Pick::Version(version)
                || (last && pick.of(&standing.rings, standing.versions.iter().copied()) == Some(version))
        };
        if read.picks(name).any(needs) {
            users.push(format!("sequence {sequence}, deployment {id} to {collection}"));
        }
    }
    Ok(users)
}
