//! Images and their versions. A version row exists only when its manifest is durable; the number of a deleted version is
//! never given again.

use sqlx::Row;

use super::{Db, DbError, big, from_json, json, number, parsed};
use crate::api::admin::{Image, ImageSummary, ImageVersion};
use crate::value::Digest;

/// What an import found out about a new version.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Name of the image.
    pub image: String,
    /// Everything but `version` and `used_by`, which the database fills in.
    pub facts: ImageVersion,
}

/// One version for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// Name of the image.
    pub image: String,
    /// Number.
    pub version: u32,
    /// Its manifest.
    pub manifest: Digest,
    /// Bytes of the decoded image.
    pub size: u64,
}

/// What came of deleting a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Gone. `orphan`: its manifest, when no other version has the same.
    Removed {
        /// Manifest that nothing needs any more.
        orphan: Option<Digest>,
    },
    /// There is no such version.
    Absent,
    /// Something needs it: one line each.
    InUse(Vec<String>),
}

impl Db {
    /// Adds a version and returns its number.
    pub async fn add_version(&self, new: &NewVersion) -> Result<u32, DbError> {
        let mut tx = self.begin().await?;
        let id = super::next_number(&mut tx, "image").await?;
        let row = sqlx::query(
            "INSERT INTO image (id, name, last_version) VALUES ($1, $2, 1)
             ON CONFLICT (name) DO UPDATE SET last_version = image.last_version + 1 RETURNING id, last_version",
        )
        .bind(id)
        .bind(&new.image)
        .fetch_one(&mut *tx)
        .await?;
        let (image, version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let version = number("image version", version)?;
        let facts = ImageVersion { version, used_by: Vec::new(), ..new.facts.clone() };
        sqlx::query(
            "INSERT INTO image_version (image, version, manifest, size, imported_ms, facts)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(image)
        .bind(i64::from(version))
        .bind(facts.manifest.to_string())
        .bind(big(facts.size))
        .bind(facts.imported_ms)
        .bind(json(&facts))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(version)
    }

    /// All images that have a version.
    pub async fn images(&self) -> Result<Vec<ImageSummary>, DbError> {
        let rows = sqlx::query(
            "SELECT i.name, v.version, v.size, v.imported_ms,
                    (SELECT COUNT(*) FROM image_version c WHERE c.image = i.id)
             FROM image i JOIN image_version v ON v.image = i.id
             WHERE v.version = (SELECT MAX(n.version) FROM image_version n WHERE n.image = i.id)
             ORDER BY i.name",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ImageSummary {
                    name: row.try_get(0)?,
                    version: number("image version", row.try_get(1)?)?,
                    size: number("image size", row.try_get(2)?)?,
                    imported_ms: row.try_get(3)?,
                    versions: number("number of versions", row.try_get(4)?)?,
                })
            })
            .collect()
    }

    /// One image with all versions, or none when it has none.
    pub async fn image(&self, name: &str) -> Result<Option<Image>, DbError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT v.facts FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 ORDER BY v.version DESC",
        )
        .bind(name)
        .fetch_all(&self.read)
        .await?;
        let mut versions = rows
            .iter()
            .map(|text| from_json("image version", text))
            .collect::<Result<Vec<ImageVersion>, _>>()?;
        for version in &mut versions {
            version.used_by = self.version_used_by(name, version.version).await?;
        }
        Ok((!versions.is_empty()).then(|| Image { name: name.to_owned(), versions }))
    }

    /// A version by number, or the newest.
    pub async fn version(&self, name: &str, version: Option<u32>) -> Result<Option<StoredVersion>, DbError> {
        let row = sqlx::query(
            "SELECT i.name, v.version, v.manifest, v.size FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 AND (v.version = $2 OR $2 = 0) ORDER BY v.version DESC LIMIT 1",
        )
        .bind(name)
        .bind(i64::from(version.unwrap_or(0)))
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| {
            Ok(StoredVersion {
                image: row.try_get(0)?,
                version: number("image version", row.try_get(1)?)?,
                manifest: parsed("manifest digest", row.try_get(2)?)?,
                size: number("image size", row.try_get(3)?)?,
            })
        })
        .transpose()
    }

    /// Name and number of every version.
    pub async fn version_numbers(&self) -> Result<Vec<(String, u32)>, DbError> {
        let rows =
            sqlx::query("SELECT i.name, v.version FROM image i JOIN image_version v ON v.image = i.id")
                .fetch_all(&self.read)
                .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, number("image version", row.try_get(1)?)?))).collect()
    }

    /// Every manifest that a version needs: what a collection of garbage must keep.
    pub async fn manifests(&self) -> Result<Vec<Digest>, DbError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT manifest FROM image_version").fetch_all(&self.read).await?;
        rows.iter().map(|text| parsed("manifest digest", text)).collect()
    }

    /// Deletes a version unless a run that goes on is pinned to it.
    pub async fn remove_version(&self, name: &str, version: u32) -> Result<Removal, DbError> {
        let mut tx = self.begin().await?;
        let manifest: Option<String> = sqlx::query_scalar(
            "SELECT v.manifest FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 AND v.version = $2",
        )
        .bind(name)
        .bind(i64::from(version))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(manifest) = manifest else { return Ok(Removal::Absent) };
        let users =
            sqlx::query(RUNS_THAT_USE).bind(name).bind(i64::from(version)).fetch_all(&mut *tx).await?;
        if !users.is_empty() {
            return Ok(Removal::InUse(users.iter().map(run_line).collect::<Result<_, _>>()?));
        }
        sqlx::query(
            "DELETE FROM image_version WHERE version = $2 AND image = (SELECT id FROM image WHERE name = $1)",
        )
        .bind(name)
        .bind(i64::from(version))
        .execute(&mut *tx)
        .await?;
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM image_version WHERE manifest = $1")
            .bind(&manifest)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        let orphan = if others == 0 { Some(parsed("manifest digest", &manifest)?) } else { None };
        Ok(Removal::Removed { orphan })
    }

    async fn version_used_by(&self, name: &str, version: u32) -> Result<Vec<String>, DbError> {
        let rows =
            sqlx::query(RUNS_THAT_USE).bind(name).bind(i64::from(version)).fetch_all(&self.read).await?;
        rows.iter().map(run_line).collect()
    }
}

const RUNS_THAT_USE: &str = "SELECT r.id, r.sequence FROM run r JOIN run_image p ON p.run = r.id
     WHERE r.outcome IS NULL AND p.image = $1 AND p.version = $2 ORDER BY r.id";

fn run_line(row: &sqlx::sqlite::SqliteRow) -> Result<String, DbError> {
    let (run, sequence): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(format!("run {run} of sequence {sequence}"))
}
