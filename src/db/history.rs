//! Runs that end, go on again, and what is kept of them: times of their steps, and when the rest of them goes.

use sqlx::{Row, Sqlite, Transaction};

use super::device::device_name;
use super::run::Ended;
use super::{Db, DbError, from_word, number, word};
use crate::api::admin::{StepState, StepTime};
use crate::api::runner::Outcome;

/// One step of a run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// How it ended.
    pub state: StepState,
    /// First try.
    pub started_ms: Option<i64>,
    /// Last try.
    pub ended_ms: Option<i64>,
    /// Tries.
    pub tries: u32,
    /// Exit code of its script.
    pub exit_code: Option<i32>,
}

/// Writes the steps of a run that ends; those of an earlier end of it go.
pub(super) async fn keep_steps(
    tx: &mut Transaction<'static, Sqlite>,
    run: i64,
    steps: &[StepRow],
) -> Result<(), DbError> {
    sqlx::query("DELETE FROM run_step WHERE run = $1").bind(run).execute(&mut **tx).await?;
    for (place, step) in (1_i64..).zip(steps) {
        sqlx::query(
            "INSERT INTO run_step (run, number, name, kind, state, started_ms, ended_ms, tries, exit_code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(run)
        .bind(place)
        .bind(&step.name)
        .bind(&step.kind)
        .bind(word(&step.state))
        .bind(step.started_ms)
        .bind(step.ended_ms)
        .bind(i64::from(step.tries))
        .bind(step.exit_code.map(i64::from))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// A Mac that a run ended well on is known from then on: it is told, so that its collections are judged anew.
pub(super) async fn end(
    tx: &mut Transaction<'static, Sqlite>,
    run: i64,
    ended: &Ended,
    now_ms: i64,
) -> Result<Option<i64>, DbError> {
    sqlx::query("UPDATE run SET outcome = $2, message = $3, ended_ms = $4 WHERE id = $1 AND outcome IS NULL")
        .bind(run)
        .bind(word(&ended.outcome))
        .bind(&ended.message)
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    if ended.outcome != Outcome::Succeeded {
        return Ok(None);
    }
    let known = "UPDATE device SET known = $2 WHERE id = (SELECT device FROM run WHERE id = $1) RETURNING id";
    Ok(sqlx::query_scalar(known).bind(run).bind(true).fetch_optional(&mut **tx).await?)
}

/// The other run of the device that has not ended; none: this one goes on again.
pub(super) async fn reopen(tx: &mut Transaction<'static, Sqlite>, run: i64) -> Result<Option<i64>, DbError> {
    let other: Option<i64> = sqlx::query_scalar(
        "SELECT o.id FROM run o JOIN run r ON r.device = o.device WHERE r.id = $1 AND o.id <> r.id AND o.outcome IS NULL",
    )
    .bind(run)
    .fetch_optional(&mut **tx)
    .await?;
    if other.is_none() {
        sqlx::query("UPDATE run SET outcome = NULL, message = NULL, ended_ms = NULL WHERE id = $1")
            .bind(run)
            .execute(&mut **tx)
            .await?;
    }
    Ok(other)
}

impl Db {
    /// Steps of this name in runs that have ended, newest first; of one sequence, or of all.
    pub async fn step_times(
        &self,
        step: &str,
        sequence: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StepTime>, DbError> {
        let rows = sqlx::query(
            "SELECT s.run, r.sequence, r.revision, d.facts, s.kind, s.state, s.started_ms, s.ended_ms, s.tries, s.exit_code
             FROM run_step s JOIN run r ON r.id = s.run JOIN device d ON d.id = r.device
             WHERE s.name = $1 AND (r.sequence = $2 OR $2 = '') AND s.started_ms IS NOT NULL
             ORDER BY s.run DESC, s.number DESC LIMIT $3",
        )
        .bind(step)
        .bind(sequence.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let (started, ended): (Option<i64>, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
                let milliseconds =
                    started.zip(ended).map(|(started, ended)| ended.saturating_sub(started).max(0));
                let exit_code: Option<i64> = row.try_get(9)?;
                Ok(StepTime {
                    run: row.try_get(0)?,
                    sequence: row.try_get(1)?,
                    revision: number("revision", row.try_get(2)?)?,
                    device_name: device_name(row.try_get(3)?)?,
                    kind: row.try_get(4)?,
                    state: from_word("state", row.try_get(5)?)?,
                    started_ms: started.unwrap_or(0),
                    milliseconds,
                    tries: number("tries", row.try_get(8)?)?,
                    exit_code: exit_code.map(|code| number("exit code", code)).transpose()?,
                })
            })
            .collect()
    }

    /// Runs that ended before a moment and have their events yet, oldest first.
    pub async fn old_runs(&self, before_ms: i64, limit: u32) -> Result<Vec<i64>, DbError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM run WHERE ended_ms < $1 AND forgotten_ms IS NULL ORDER BY id LIMIT $2",
        )
        .bind(before_ms)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?)
    }

    /// Removes events, log and steps of a run that has ended.
    pub async fn forget_run(&self, run: i64, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE run SET forgotten_ms = $2, token = NULL WHERE id = $1 AND outcome IS NOT NULL",
        )
        .bind(run)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        for table in ["run_event", "run_step", "run_image"] {
            let query = format!("DELETE FROM {table} WHERE run = $1");
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(run).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        self.tokens.forget(run);
        Ok(())
    }

    /// When the details of a run were removed.
    pub async fn forgotten(&self, run: i64) -> Result<Option<i64>, DbError> {
        let row: Option<Option<i64>> = sqlx::query_scalar("SELECT forgotten_ms FROM run WHERE id = $1")
            .bind(run)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.flatten())
    }
}
