//! Task sequences as numbered, immutable revisions.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record};
use super::{Db, DbError, next_number, number};
use crate::api::admin::SavedSequence;
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

impl Db {
    /// Saves a text as the newest revision; the same text again makes none.
    pub async fn save_sequence(&self, name: &str, yaml: &str, now_ms: i64) -> Result<SavedSequence, DbError> {
        let mut tx = self.begin().await?;
        let saved = save(&mut tx, name, yaml, now_ms).await?;
        if !saved.unchanged {
            tx.commit().await?;
        }
        Ok(saved)
    }

    /// Saves several texts, all or none; none where a sequence has a newer revision than the one that is named with it.
    pub async fn save_sequences(
        &self,
        texts: &[(&str, u32, &str)],
        now_ms: i64,
    ) -> Result<Option<Vec<SavedSequence>>, DbError> {
        let mut tx = self.begin().await?;
        let mut saved = Vec::with_capacity(texts.len());
        for (name, newest, yaml) in texts {
            let now: Option<i64> = sqlx::query_scalar(
                "SELECT MAX(r.revision) FROM sequence_revision r JOIN sequence s ON s.id = r.sequence WHERE s.name = $1",
            )
            .bind(*name)
            .fetch_one(&mut *tx)
            .await?;
            if now != Some(i64::from(*newest)) {
                return Ok(None);
            }
            saved.push(save(&mut tx, name, yaml, now_ms).await?);
        }
        tx.commit().await?;
        Ok(Some(saved))
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

    /// Texts that sequences ever had, the newest first: so many, after so many others.
    pub async fn sequence_texts(&self, limit: u32, after: u32) -> Result<Vec<String>, DbError> {
        let texts = sqlx::query_scalar(
            "SELECT yaml FROM sequence_revision ORDER BY saved_ms DESC, sequence, revision DESC LIMIT $1 OFFSET $2",
        );
        Ok(texts.bind(i64::from(limit)).bind(i64::from(after)).fetch_all(&self.read).await?)
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
}

async fn save(
    tx: &mut Transaction<'static, Sqlite>,
    name: &str,
    yaml: &str,
    now_ms: i64,
) -> Result<SavedSequence, DbError> {
    let id = next_number(tx, "sequence").await?;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO sequence (id, name) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id",
    )
    .bind(id)
    .bind(name)
    .fetch_one(&mut **tx)
    .await?;
    let newest = sqlx::query(
        "SELECT revision, yaml FROM sequence_revision WHERE sequence = $1 ORDER BY revision DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
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
    sqlx::query("INSERT INTO sequence_revision (sequence, revision, yaml, saved_ms) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(revision + 1)
        .bind(yaml)
        .bind(now_ms)
        .execute(&mut **tx)
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
    record(tx, change).await?;
    Ok(SavedSequence { name: name.to_owned(), revision: number("revision", revision + 1)?, unchanged: false })
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
