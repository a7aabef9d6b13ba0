//! Task sequences as numbered, immutable revisions, and their deployments.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::audit::{Change, record};
use super::{Db, DbError, from_word, next_number, number, word};
use crate::api::admin::{Deployment, SavedSequence};
use crate::api::runner::Purpose;
use crate::value::Digest;

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRow {
    /// Name of the sequence.
    pub name: String,
    /// This revision.
    pub revision: u32,
    /// The newest one.
    pub newest: u32,
    /// Its text.
    pub yaml: String,
    /// When it was saved.
    pub saved_ms: i64,
}

/// A deployment with the newest revision of its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRow {
    /// What the API shows.
    pub deployment: Deployment,
    /// Newest revision.
    pub revision: u32,
    /// Text of the newest revision.
    pub yaml: String,
}

impl Db {
    /// Saves a text as the newest revision; the same text again makes none.
    pub async fn save_sequence(&self, name: &str, yaml: &str, now_ms: i64) -> Result<SavedSequence, DbError> {
        let mut tx = self.begin().await?;
        let id = next_number(&mut tx, "sequence").await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO sequence (id, name) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id",
        )
        .bind(id)
        .bind(name)
        .fetch_one(&mut *tx)
        .await?;
        let newest = sqlx::query(
            "SELECT revision, yaml FROM sequence_revision WHERE sequence = $1 ORDER BY revision DESC LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let mut revision = 0;
        if let Some(row) = newest {
            revision = row.try_get(0)?;
            if row.try_get::<&str, _>(1)? == yaml {
                return Ok(SavedSequence {
                    name: name.to_owned(),
                    revision: number("revision", revision)?,
                    unchanged: true,
                });
            }
        }
        sqlx::query(
            "INSERT INTO sequence_revision (sequence, revision, yaml, saved_ms) VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(revision + 1)
        .bind(yaml)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        // The text may hold sealed secrets; its digest tells which text it was.
        let change = Change {
            action: Some("sequence.save"),
            before: (revision > 0).then(|| serde_json::json!({ "revision": revision })),
            after: Some(
                serde_json::json!({ "revision": revision + 1, "blake3": Digest::of(yaml.as_bytes()).to_string() }),
            ),
            ..Change::of(format!("sequence {name}"), now_ms)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(SavedSequence {
            name: name.to_owned(),
            revision: number("revision", revision + 1)?,
            unchanged: false,
        })
    }

    /// The newest revision of every sequence.
    pub async fn sequences(&self) -> Result<Vec<RevisionRow>, DbError> {
        let rows = sqlx::query(
            "SELECT s.name, r.revision, r.revision, r.yaml, r.saved_ms
             FROM sequence s JOIN sequence_revision r ON r.sequence = s.id
             WHERE r.revision = (SELECT MAX(n.revision) FROM sequence_revision n WHERE n.sequence = s.id)
             ORDER BY s.name",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(revision_row).collect()
    }

    /// One revision, or the newest.
    pub async fn sequence(&self, name: &str, revision: Option<u32>) -> Result<Option<RevisionRow>, DbError> {
        let row = sqlx::query(
            "SELECT s.name, r.revision, (SELECT MAX(n.revision) FROM sequence_revision n WHERE n.sequence = s.id),
                    r.yaml, r.saved_ms
             FROM sequence s JOIN sequence_revision r ON r.sequence = s.id
             WHERE s.name = $1 AND (r.revision = $2 OR $2 = 0) ORDER BY r.revision DESC LIMIT 1",
        )
        .bind(name)
        .bind(i64::from(revision.unwrap_or(0)))
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(revision_row).transpose()
    }

    /// Deletes a sequence with all revisions. Err with one line for each thing that needs it; None when it is absent.
    pub async fn remove_sequence(&self, name: &str) -> Result<Option<Result<(), Vec<String>>>, DbError> {
        let mut tx = self.begin().await?;
        let id: Option<i64> = sqlx::query_scalar("SELECT id FROM sequence WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(id) = id else { return Ok(None) };
        let deployments =
            sqlx::query("SELECT id, collection FROM deployment WHERE sequence = $1 ORDER BY id")
                .bind(id)
                .fetch_all(&mut *tx)
                .await?;
        let runs: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM run WHERE sequence = $1 AND outcome IS NULL ORDER BY id")
                .bind(name)
                .fetch_all(&mut *tx)
                .await?;
        let mut users = Vec::new();
        for row in &deployments {
            let (id, collection): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            users.push(format!("deployment {id} to {collection}"));
        }
        users.extend(runs.iter().map(|run| format!("run {run}")));
        if !users.is_empty() {
            return Ok(Some(Err(users)));
        }
        sqlx::query("DELETE FROM sequence_revision WHERE sequence = $1").bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM sequence WHERE id = $1").bind(id).execute(&mut *tx).await?;
        let change = Change { action: Some("sequence.delete"), ..Change::of(format!("sequence {name}"), 0) };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Some(Ok(())))
    }

    /// Deploys; the same deployment again is the one that exists. None when the sequence is absent.
    pub async fn deploy(
        &self,
        sequence: &str,
        collection: &str,
        purpose: Purpose,
        now_ms: i64,
    ) -> Result<Option<Deployment>, DbError> {
        let mut tx = self.begin().await?;
        let id = next_number(&mut tx, "deployment").await?;
        let row = sqlx::query(
            "INSERT INTO deployment (id, sequence, collection, purpose, created_ms)
             SELECT $1, s.id, $3, $4, $5 FROM sequence s WHERE s.name = $2
             ON CONFLICT (sequence, collection, purpose) DO UPDATE SET purpose = excluded.purpose
             RETURNING id, created_ms",
        )
        .bind(id)
        .bind(sequence)
        .bind(collection)
        .bind(word(&purpose))
        .bind(now_ms)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = &row {
            let after =
                serde_json::json!({ "sequence": sequence, "collection": collection, "purpose": purpose });
            let object = format!("deployment {}", row.try_get::<i64, _>(0)?);
            let change = Change {
                action: Some("deployment.create"),
                after: Some(after),
                ..Change::of(object, now_ms)
            };
            record(&mut tx, change).await?;
        }
        tx.commit().await?;
        row.map(|row| {
            Ok(Deployment {
                id: row.try_get(0)?,
                sequence: sequence.to_owned(),
                collection: collection.to_owned(),
                purpose,
                created_ms: row.try_get(1)?,
            })
        })
        .transpose()
    }

    /// All deployments, oldest first.
    pub async fn deployments(&self) -> Result<Vec<DeploymentRow>, DbError> {
        let rows = sqlx::query(
            "SELECT d.id, s.name, d.collection, d.purpose, d.created_ms, r.revision, r.yaml
             FROM deployment d JOIN sequence s ON s.id = d.sequence
             JOIN sequence_revision r ON r.sequence = s.id
             WHERE r.revision = (SELECT MAX(n.revision) FROM sequence_revision n WHERE n.sequence = s.id)
             ORDER BY d.id",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DeploymentRow {
                    deployment: Deployment {
                        id: row.try_get(0)?,
                        sequence: row.try_get(1)?,
                        collection: row.try_get(2)?,
                        purpose: from_word("purpose", row.try_get(3)?)?,
                        created_ms: row.try_get(4)?,
                    },
                    revision: number("revision", row.try_get(5)?)?,
                    yaml: row.try_get(6)?,
                })
            })
            .collect()
    }

    /// Takes a deployment back; false when there is none.
    pub async fn undeploy(&self, deployment: i64) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "SELECT s.name, d.collection, d.purpose FROM deployment d JOIN sequence s ON s.id = d.sequence WHERE d.id = $1",
        )
        .bind(deployment)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let (sequence, collection, purpose): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        sqlx::query("DELETE FROM deployment WHERE id = $1").bind(deployment).execute(&mut *tx).await?;
        let before =
            serde_json::json!({ "sequence": sequence, "collection": collection, "purpose": purpose });
        let object = format!("deployment {deployment}");
        let change =
            Change { action: Some("deployment.delete"), before: Some(before), ..Change::of(object, 0) };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn revision_row(row: &SqliteRow) -> Result<RevisionRow, DbError> {
    Ok(RevisionRow {
        name: row.try_get(0)?,
        revision: number("revision", row.try_get(1)?)?,
        newest: number("revision", row.try_get(2)?)?,
        yaml: row.try_get(3)?,
        saved_ms: row.try_get(4)?,
    })
}
