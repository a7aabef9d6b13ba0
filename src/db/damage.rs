//! Versions whose stored chunks are damaged.

use sqlx::Row;

use super::ring::version_in;
use super::{Db, DbError, parsed};
use crate::value::Digest;

impl Db {
    /// Manifest, image and number of every version.
    pub async fn manifest_versions(&self) -> Result<Vec<(Digest, String, u32)>, DbError> {
        let rows = sqlx::query(
            "SELECT v.manifest, i.name, v.version FROM image i JOIN image_version v ON v.image = i.id
             ORDER BY i.name, v.version",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let version = version_in(row, 2)?;
                Ok((parsed("manifest digest", row.try_get(0)?)?, row.try_get(1)?, version))
            })
            .collect()
    }

    /// Says of all versions with this manifest what is wrong with them, or that nothing is. True when that is news.
    pub async fn set_damage(&self, manifest: Digest, damage: Option<&str>) -> Result<bool, DbError> {
        let done = sqlx::query(
            "UPDATE image_version SET damage = $2
             WHERE manifest = $1 AND COALESCE(damage, '') <> COALESCE($2, '')",
        )
        .bind(manifest.to_string())
        .bind(damage)
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What is known to be wrong with the versions of an image, by their number.
    pub(super) async fn damage_of(&self, image: &str) -> Result<Vec<(u32, String)>, DbError> {
        let rows = sqlx::query(
            "SELECT v.version, v.damage FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 AND v.damage IS NOT NULL",
        )
        .bind(image)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| Ok((version_in(row, 0)?, row.try_get(1)?))).collect()
    }
}
