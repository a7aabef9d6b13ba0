//! Deployments: a sequence, a collection and terms, as they were typed.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::audit::{Change, record};
use super::{Db, DbError, from_word, next_number, number, word};
use crate::api::admin::{Deployment, DeploymentTerms};
use crate::api::runner::{Outcome, Purpose};
use crate::sequence::target::terms::Past;

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

/// What [`terms`] reads.
const TERMS: &str =
    "d.starts, d.expires, d.zone, d.imaging_window, d.paused, d.rerun, d.independent, d.countdown";

impl Db {
    /// Deploys; the same sequence, collection and purpose again changes the terms. None when the sequence is absent.
    pub async fn deploy(
        &self,
        sequence: &str,
        collection: &str,
        purpose: Purpose,
        terms: &DeploymentTerms,
        now_ms: i64,
    ) -> Result<Option<Deployment>, DbError> {
        let mut tx = self.begin().await?;
        let id = next_number(&mut tx, "deployment").await?;
        let id: Option<i64> = sqlx::query_scalar(
            "INSERT INTO deployment (id, sequence, collection, purpose, created_ms)
             SELECT $1, s.id, $3, $4, $5 FROM sequence s WHERE s.name = $2
             ON CONFLICT (sequence, collection, purpose) DO UPDATE SET purpose = excluded.purpose
             RETURNING id",
        )
        .bind(id)
        .bind(sequence)
        .bind(collection)
        .bind(word(&purpose))
        .bind(now_ms)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(id) = id else { return Ok(None) };
        write(&mut tx, id, purpose, terms).await?;
        let after = serde_json::json!({
            "sequence": sequence, "collection": collection, "purpose": purpose, "terms": terms,
        });
        let change = Change {
            action: Some("deployment.create"),
            after: Some(after),
            ..Change::of(format!("deployment {id}"), now_ms)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        self.deployment(id).await
    }

    /// Changes the terms of a deployment; false when it is absent.
    pub async fn set_terms(
        &self,
        before: &Deployment,
        terms: &DeploymentTerms,
        now_ms: i64,
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let found = write(&mut tx, before.id, before.purpose, terms).await?;
        if found {
            let change = Change {
                before: Some(serde_json::json!({ "terms": before.terms })),
                after: Some(serde_json::json!({ "terms": terms })),
                ..Change::of(format!("deployment {}", before.id), now_ms)
            };
            record(&mut tx, change).await?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// One deployment.
    pub async fn deployment(&self, deployment: i64) -> Result<Option<Deployment>, DbError> {
        let query = format!(
            "SELECT d.id, s.name, d.collection, d.purpose, d.created_ms, {TERMS}
             FROM deployment d JOIN sequence s ON s.id = d.sequence WHERE d.id = $1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(deployment).fetch_optional(&self.read).await?;
        row.as_ref().map(row_of).transpose()
    }

    /// All deployments, oldest first.
    pub async fn deployments(&self) -> Result<Vec<DeploymentRow>, DbError> {
        let query = format!(
            "SELECT d.id, s.name, d.collection, d.purpose, d.created_ms, {TERMS}, r.revision, r.yaml
             FROM deployment d JOIN sequence s ON s.id = d.sequence
             JOIN sequence_revision r ON r.sequence = s.id
             WHERE r.revision = (SELECT MAX(n.revision) FROM sequence_revision n WHERE n.sequence = s.id)
             ORDER BY d.id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                Ok(DeploymentRow {
                    deployment: row_of(row)?,
                    revision: number("revision", row.try_get(13)?)?,
                    yaml: row.try_get(14)?,
                })
            })
            .collect()
    }

    /// Image versions that the last run of a deployment on a device was pinned to, `lab-mac 3`.
    pub async fn images_of_last_run(&self, device: i64, deployment: i64) -> Result<Vec<String>, DbError> {
        let run: Option<i64> =
            sqlx::query_scalar("SELECT MAX(id) FROM run WHERE device = $1 AND deployment = $2")
                .bind(device)
                .bind(deployment)
                .fetch_one(&self.read)
                .await?;
        match run {
            Some(run) => self.run_images(run).await,
            None => Ok(Vec::new()),
        }
    }

    /// What happened with each deployment on a device before.
    pub async fn past_of_deployments(&self, device: i64) -> Result<BTreeMap<i64, Past>, DbError> {
        let rows = sqlx::query(
            "SELECT deployment, MAX(CASE WHEN outcome = $2 THEN 1 ELSE 0 END), MAX(revision) FROM run WHERE device = $1 GROUP BY deployment",
        )
        .bind(device)
        .bind(word(&Outcome::Succeeded))
        .fetch_all(&self.read)
        .await?;
        let past = |row: &SqliteRow| {
            let past = Past {
                ran: true,
                succeeded: row.try_get::<i64, _>(1)? > 0,
                revision: number("revision", row.try_get(2)?)?,
            };
            Ok((row.try_get(0)?, past))
        };
        rows.iter().map(past).collect()
    }

    /// Takes a deployment back; false when there is none.
    pub async fn undeploy(&self, deployment: i64) -> Result<bool, DbError> {
        let Some(before) = self.deployment(deployment).await? else { return Ok(false) };
        let mut tx = self.begin().await?;
        let done =
            sqlx::query("DELETE FROM deployment WHERE id = $1").bind(deployment).execute(&mut *tx).await?;
        let was = serde_json::json!({
            "sequence": before.sequence, "collection": before.collection, "purpose": before.purpose, "terms": before.terms,
        });
        let change = Change {
            action: Some("deployment.delete"),
            before: Some(was),
            ..Change::of(format!("deployment {deployment}"), 0)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

async fn write(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    deployment: i64,
    purpose: Purpose,
    terms: &DeploymentTerms,
) -> Result<bool, DbError> {
    let usual = if purpose == Purpose::Required { "if-failed" } else { "always" };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let done = sqlx::query(
        "UPDATE deployment SET starts = $2, expires = $3, zone = $4, imaging_window = $5, paused = $6, rerun = $7,
         independent = $8, countdown = $9 WHERE id = $1",
    )
    .bind(deployment)
    .bind(text(&terms.from))
    .bind(text(&terms.expires))
    .bind(terms.zone.clone().unwrap_or_else(|| "UTC".to_owned()))
    .bind(text(&terms.window))
    .bind(terms.paused.unwrap_or(false))
    .bind(terms.rerun.clone().unwrap_or_else(|| usual.to_owned()))
    .bind(terms.independent.unwrap_or(true))
    .bind(terms.countdown.map(i64::from))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

fn row_of(row: &SqliteRow) -> Result<Deployment, DbError> {
    let text = |column: usize| -> Result<Option<String>, DbError> {
        Ok(Some(row.try_get::<String, _>(column)?).filter(|text| !text.is_empty()))
    };
    let purpose = from_word("purpose", row.try_get(3)?)?;
    let countdown: Option<i64> = row.try_get(12)?;
    Ok(Deployment {
        id: row.try_get(0)?,
        sequence: row.try_get(1)?,
        collection: row.try_get(2)?,
        purpose,
        created_ms: row.try_get(4)?,
        terms: DeploymentTerms {
            from: text(5)?,
            expires: text(6)?,
            zone: text(7)?.filter(|zone| zone != "UTC"),
            window: text(8)?,
            paused: Some(row.try_get(9)?).filter(|paused| *paused),
            // Of an Available one it says nothing.
            rerun: text(10)?.filter(|_| purpose == Purpose::Required),
            independent: Some(row.try_get(11)?).filter(|independent| !independent),
            countdown: countdown.map(|seconds| number("countdown", seconds)).transpose()?,
        },
        closed: None,
    })
}
