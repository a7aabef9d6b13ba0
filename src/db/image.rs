//! Images and their versions. A version row exists only when its manifest is durable; the number of a deleted version is
//! never given again.

use std::collections::BTreeMap;

use sqlx::Row;

use super::ring::{self, NewEvent, VersionRow};
use super::{Db, DbError, big, from_json, json, number, parsed};
use crate::api::admin::{Image, ImageEventKind, ImageSummary, ImageVersion};
use crate::value::{Digest, Pick, Ring, Rings};

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
    /// What is wrong with its stored chunks, as far as is known.
    pub damage: Option<String>,
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
    /// Adds a version, points draft to it, and returns its number.
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
        let facts = ImageVersion {
            version,
            used_by: Vec::new(),
            rings: Vec::new(),
            damage: String::new(),
            ..new.facts.clone()
        };
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
        let draft = ring::standing(&mut tx, image).await?.rings.draft;
        ring::point(&mut tx, image, Ring::Draft, Some(version)).await?;
        let event = NewEvent {
            image,
            at_ms: facts.imported_ms,
            by: if facts.uploader.is_empty() { "an import" } else { &facts.uploader },
            kind: ImageEventKind::Added,
            ring: Some(Ring::Draft),
            from: draft,
            to: Some(version),
            detail: &facts.source,
        };
        ring::tell(&mut tx, &event).await?;
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
        let all: BTreeMap<String, Rings> = self.all_rings().await?.into_iter().collect();
        rows.iter()
            .map(|row| {
                let name: String = row.try_get(0)?;
                Ok(ImageSummary {
                    rings: all.get(&name).copied().unwrap_or_default(),
                    name,
                    version: ring::version_in(row, 1)?,
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
        let standing = self.standing(name).await?.unwrap_or_default();
        let damaged: BTreeMap<u32, String> = self.damage_of(name).await?.into_iter().collect();
        for version in &mut versions {
            version.damage = damaged.get(&version.version).cloned().unwrap_or_default();
            version.used_by = self.needed_by(name, version.version).await?;
            version.rings = standing.rings.of(version.version);
        }
        let retention = self.retention(name).await?.flatten();
        let rings = standing.rings;
        Ok((!versions.is_empty()).then(|| Image { name: name.to_owned(), rings, retention, versions }))
    }

    /// A version by number or ring, or the usual one.
    pub async fn version(&self, name: &str, pick: impl Into<Pick>) -> Result<Option<StoredVersion>, DbError> {
        let standing = self.standing(name).await?.unwrap_or_default();
        let Some(version) = pick.into().of(&standing.rings, standing.versions) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT i.name, v.version, v.manifest, v.size, v.damage FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 AND v.version = $2",
        )
        .bind(name)
        .bind(i64::from(version))
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| {
            Ok(StoredVersion {
                image: row.try_get(0)?,
                version: ring::version_in(&row, 1)?,
                manifest: parsed("manifest digest", row.try_get(2)?)?,
                size: number("image size", row.try_get(3)?)?,
                damage: row.try_get(4)?,
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
        rows.iter().map(|row| Ok((row.try_get(0)?, ring::version_in(row, 1)?))).collect()
    }

    /// Every manifest that a version needs: what a collection of garbage must keep.
    pub async fn manifests(&self) -> Result<Vec<Digest>, DbError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT manifest FROM image_version").fetch_all(&self.read).await?;
        rows.iter().map(|text| parsed("manifest digest", text)).collect()
    }

    /// Deletes a version unless something needs it. Draft moves on to the newest that is left.
    pub async fn remove_version(
        &self,
        name: &str,
        version: u32,
        by: &str,
        why: &str,
        now_ms: i64,
    ) -> Result<Removal, DbError> {
        let mut tx = self.begin().await?;
        let Some(found) = ring::version_named(&mut tx, name, version).await? else {
            return Ok(Removal::Absent);
        };
        let VersionRow { image, manifest, .. } = found;
        let standing = ring::standing(&mut tx, image).await?;
        let users = ring::users(&mut tx, name, version, &standing).await?;
        if !users.is_empty() {
            return Ok(Removal::InUse(users));
        }
        sqlx::query("DELETE FROM image_version WHERE image = $1 AND version = $2")
            .bind(image)
            .bind(i64::from(version))
            .execute(&mut *tx)
            .await?;
        let event = NewEvent {
            image,
            at_ms: now_ms,
            by,
            kind: ImageEventKind::Deleted,
            ring: None,
            from: Some(version),
            to: None,
            detail: why,
        };
        ring::tell(&mut tx, &event).await?;
        if standing.rings.draft == Some(version) {
            let newest = standing.versions.iter().copied().filter(|other| *other != version).max();
            ring::point(&mut tx, image, Ring::Draft, newest).await?;
            let kind = ImageEventKind::MovedOn;
            let (ring, detail) = (Some(Ring::Draft), "");
            ring::tell(&mut tx, &NewEvent { kind, ring, to: newest, detail, ..event }).await?;
        }
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM image_version WHERE manifest = $1")
            .bind(&manifest)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        let orphan = if others == 0 { Some(parsed("manifest digest", &manifest)?) } else { None };
        Ok(Removal::Removed { orphan })
    }
}
