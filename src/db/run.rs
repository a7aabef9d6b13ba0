//! Runs as recorded events. One transaction holds an event and everything that follows from it, so that a reader never
//! sees a run whose list line and events disagree.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record, who_acts};
use super::device::device_name;
use super::history::{StepRow, end, keep_steps, reopen};
use super::{Db, DbError, StoredVersion, big, from_json, from_word, json, next_number, number};
use crate::api::admin::RunSummary;
use crate::api::runner::{Outcome, Progress, SignedReceipt};
use crate::value::Digest;

/// Everything that a new run is pinned to.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Device it runs on.
    pub device: i64,
    /// Deployment it came from.
    pub deployment: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Its revision.
    pub revision: u32,
    /// Image versions that it applies.
    pub images: Vec<StoredVersion>,
    /// Digest of its token.
    pub token: Digest,
    /// Key that its receipts must be signed with.
    pub receipt_key: String,
    /// Number of steps.
    pub steps: u32,
    /// Its first event, as JSON.
    pub event: String,
    /// Now.
    pub started_ms: i64,
}

/// What came of starting a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A new run with this number.
    Created(i64),
    /// The device has a run that has not ended.
    Active(i64),
    /// A pinned image version was deleted meanwhile.
    ImageGone,
}

/// A run as it is kept.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// What lists show.
    pub summary: RunSummary,
    /// Deployment it came from.
    pub deployment: i64,
    /// Key that its receipts must be signed with.
    pub receipt_key: String,
    /// Progress that was written last.
    pub progress: Option<Progress>,
    /// One line, when it has ended.
    pub message: Option<String>,
    /// How far its log is.
    pub logged: Logged,
}

/// How far the log of a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Action that the last lines are of.
    pub action: u32,
    /// Number of its line that comes next.
    pub next: u64,
    /// Bytes of the whole log.
    pub bytes: u64,
}

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Number within the run, from 1.
    pub number: i64,
    /// When.
    pub at_ms: i64,
    /// JSON of an engine event, or log lines.
    pub body: EventBody,
}

/// What an event row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// JSON of an engine event.
    State(String),
    /// Lines of the run's log.
    Log(String),
}

/// A run's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// One line.
    pub message: String,
}

/// Events to add, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// In order.
    pub events: Vec<EventBody>,
    /// Number that the first of them gets: one more than the last recorded.
    pub first: i64,
    /// Place of the step at work, from 1.
    pub step: u32,
    /// Progress to show until there is a newer one.
    pub progress: Option<Progress>,
    /// Set when the run ends with these events.
    pub ended: Option<Ended>,
    /// Set when lines of the log are among the events, or are counted from the start again.
    pub logged: Option<Logged>,
    /// Receipt of an assignment, with the key that it was checked with.
    pub receipt: Option<(u32, SignedReceipt, String)>,
    /// Set when a run that had ended goes on with these events.
    pub reopens: bool,
    /// Its steps, when the run ends with these events.
    pub steps: Vec<StepRow>,
}

/// What came of adding events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// They are recorded.
    Recorded,
    /// Another event was recorded before them; nothing was changed.
    Moved,
    /// The run cannot go on: its device has another one that has not ended; nothing was changed.
    Busy(i64),
}

const SUMMARY: &str = "SELECT r.id, r.sequence, r.revision, r.device, d.facts, r.outcome, r.step, r.steps, r.started_ms, r.ended_ms
     FROM run r JOIN device d ON d.id = r.device ORDER BY r.id DESC LIMIT $1";
const SUMMARY_OF_DEVICE: &str = "SELECT r.id, r.sequence, r.revision, r.device, d.facts, r.outcome, r.step, r.steps, r.started_ms, r.ended_ms
     FROM run r JOIN device d ON d.id = r.device WHERE r.device = $1 ORDER BY r.id DESC LIMIT $2";

impl Db {
    /// Makes a run with its first events, unless the device has one that goes on.
    pub async fn create_run(&self, new: &NewRun) -> Result<Started, DbError> {
        let mut tx = self.begin().await?;
        let active: Option<i64> =
            sqlx::query_scalar("SELECT id FROM run WHERE device = $1 AND outcome IS NULL")
                .bind(new.device)
                .fetch_optional(&mut *tx)
                .await?;
        if let Some(run) = active {
            return Ok(Started::Active(run));
        }
        self.touched.touch(new.device);
        let id = next_number(&mut tx, "run").await?;
        sqlx::query(
            "INSERT INTO run (id, device, deployment, sequence, revision, token, receipt_key, step, steps, started_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)",
        )
        .bind(id)
        .bind(new.device)
        .bind(new.deployment)
        .bind(&new.sequence)
        .bind(i64::from(new.revision))
        .bind(new.token.to_string())
        .bind(&new.receipt_key)
        .bind(i64::from(new.steps))
        .bind(new.started_ms)
        .execute(&mut *tx)
        .await?;
        for image in &new.images {
            let pinned = sqlx::query(
                "INSERT INTO run_image (run, manifest, image, version)
                 SELECT $1, v.manifest, i.name, v.version FROM image i JOIN image_version v ON v.image = i.id
                 WHERE i.name = $2 AND v.version = $3 ON CONFLICT (run, manifest, image, version) DO NOTHING",
            )
            .bind(id)
            .bind(&image.image)
            .bind(i64::from(image.version))
            .execute(&mut *tx)
            .await?;
            if pinned.rows_affected() == 0 {
                return Ok(Started::ImageGone);
            }
        }
        insert_event(&mut tx, id, 1, new.started_ms, &EventBody::State(new.event.clone())).await?;
        let images: Vec<_> = new.images.iter().map(|one| format!("{} {}", one.image, one.version)).collect();
        let after = serde_json::json!({
            "sequence": new.sequence, "revision": new.revision, "device": new.device, "deployment": new.deployment, "images": images,
        });
        let change = Change {
            action: Some("run.start"),
            after: Some(after),
            ..Change::of(format!("run {id}"), new.started_ms)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Started::Created(id))
    }

    /// Adds events within a transaction. Where the answer is not that they are recorded, it must be undone.
    pub(super) async fn append_in(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        run: i64,
        append: &Append,
        now_ms: i64,
    ) -> Result<Appended, DbError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM run_event WHERE run = $1")
            .bind(run)
            .fetch_one(&mut **tx)
            .await?;
        if last.unwrap_or(0) + 1 != append.first {
            return Ok(Appended::Moved);
        }
        if append.reopens
            && let Some(other) = reopen(tx, run).await?
        {
            return Ok(Appended::Busy(other));
        }
        if append.reopens || append.ended.is_some() {
            let device = sqlx::query_scalar("SELECT device FROM run WHERE id = $1");
            let device: Option<i64> = device.bind(run).fetch_optional(&mut **tx).await?;
            device.into_iter().for_each(|device| self.touched.touch(device));
        }
        for (number, event) in (append.first..).zip(&append.events) {
            insert_event(tx, run, number, now_ms, event).await?;
        }
        sqlx::query("UPDATE run SET step = $2, progress = $3 WHERE id = $1")
            .bind(run)
            .bind(i64::from(append.step))
            .bind(append.progress.as_ref().map(json))
            .execute(&mut **tx)
            .await?;
        if let Some(logged) = &append.logged {
            sqlx::query("UPDATE run SET log_action = $2, log_next = $3, log_bytes = $4 WHERE id = $1")
                .bind(run)
                .bind(i64::from(logged.action))
                .bind(big(logged.next))
                .bind(big(logged.bytes))
                .execute(&mut **tx)
                .await?;
        }
        if let Some((assignment, signed, key)) = &append.receipt {
            sqlx::query(
                "INSERT INTO receipt (run, assignment, receipt, signature, public_key) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (run, assignment) DO NOTHING",
            )
            .bind(run)
            .bind(i64::from(*assignment))
            .bind(&signed.receipt)
            .bind(&signed.signature)
            .bind(key)
            .execute(&mut **tx)
            .await?;
        }
        if let Some(ended) = &append.ended {
            if let Some(device) = end(tx, run, ended, now_ms).await? {
                self.settle(tx, device).await?;
            }
            keep_steps(tx, run, &append.steps).await?;
        }
        // What a person says to a run; what its Mac reports stands among its events.
        if who_acts().is_some() {
            record(tx, Change::of(format!("run {run}"), now_ms)).await?;
        }
        Ok(Appended::Recorded)
    }

    /// Notes how far the actions at work are, for readers after a restart: of each run, the number of the last event when it was so.
    /// Where another one was recorded meanwhile, nothing is noted.
    pub async fn save_progress(&self, all: &[(i64, i64, Progress)]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        for (run, last, progress) in all {
            sqlx::query(
                "UPDATE run SET progress = $2 WHERE id = $1 AND outcome IS NULL
                 AND $3 = (SELECT MAX(number) FROM run_event WHERE run = $1)",
            )
            .bind(*run)
            .bind(json(progress))
            .bind(*last)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Gives the run of a runner that was started anew a new token; the old one ends.
    pub async fn renew_token(&self, run: i64, token: Digest, receipt_key: &str) -> Result<(), DbError> {
        sqlx::query("UPDATE run SET token = $2, receipt_key = $3 WHERE id = $1")
            .bind(run)
            .bind(token.to_string())
            .bind(receipt_key)
            .execute(&self.write)
            .await?;
        self.tokens.forget(run);
        Ok(())
    }

    /// The run that a token belongs to.
    pub async fn run_of_token(&self, token: Digest) -> Result<Option<i64>, DbError> {
        let asked = match self.tokens.get(token) {
            Ok(run) => return Ok(Some(run)),
            Err(asked) => asked,
        };
        let run = sqlx::query_scalar("SELECT id FROM run WHERE token = $1")
            .bind(token.to_string())
            .fetch_optional(&self.read)
            .await?;
        if let Some(run) = run {
            self.tokens.keep(asked, token, run);
        }
        Ok(run)
    }

    /// Runs that have not ended.
    pub async fn active_runs(&self) -> Result<Vec<i64>, DbError> {
        Ok(sqlx::query_scalar("SELECT id FROM run WHERE outcome IS NULL ORDER BY id")
            .fetch_all(&self.read)
            .await?)
    }

    /// The run of a device that has not ended.
    pub async fn active_run(&self, device: i64) -> Result<Option<i64>, DbError> {
        Ok(sqlx::query_scalar("SELECT id FROM run WHERE device = $1 AND outcome IS NULL")
            .bind(device)
            .fetch_optional(&self.read)
            .await?)
    }

    /// Runs, newest first.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunSummary>, DbError> {
        let rows = sqlx::query(SUMMARY).bind(i64::from(limit)).fetch_all(&self.read).await?;
        rows.iter().map(summary).collect()
    }

    /// Runs of one device, newest first.
    pub async fn runs_of(&self, device: i64, limit: u32) -> Result<Vec<RunSummary>, DbError> {
        let rows =
            sqlx::query(SUMMARY_OF_DEVICE).bind(device).bind(i64::from(limit)).fetch_all(&self.read).await?;
        rows.iter().map(summary).collect()
    }

    /// One run.
    pub async fn run(&self, run: i64) -> Result<Option<RunRow>, DbError> {
        let row = sqlx::query(
            "SELECT r.id, r.sequence, r.revision, r.device, d.facts, r.outcome, r.step, r.steps, r.started_ms, r.ended_ms,
                    r.deployment, r.receipt_key, r.progress, r.message, r.log_action, r.log_next, r.log_bytes
             FROM run r JOIN device d ON d.id = r.device WHERE r.id = $1",
        )
        .bind(run)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let progress: Option<String> = row.try_get(12)?;
        Ok(Some(RunRow {
            summary: summary(&row)?,
            deployment: row.try_get(10)?,
            receipt_key: row.try_get(11)?,
            progress: progress.map(|text| from_json("progress", &text)).transpose()?,
            message: row.try_get(13)?,
            logged: Logged {
                action: number("action", row.try_get(14)?)?,
                next: number("line number", row.try_get(15)?)?,
                bytes: number("length of a log", row.try_get(16)?)?,
            },
        }))
    }

    /// Events after a number, oldest first.
    pub async fn events(&self, run: i64, after: i64, limit: u32) -> Result<Vec<EventRow>, DbError> {
        let rows = sqlx::query(
            "SELECT number, at_ms, kind, body FROM run_event WHERE run = $1 AND number > $2 ORDER BY number LIMIT $3",
        )
        .bind(run)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(event_row).collect()
    }

    /// What the run is the fold of, and the number of the last event of any kind.
    pub async fn state_events(&self, run: i64) -> Result<(Vec<EventRow>, i64), DbError> {
        let rows = sqlx::query(
            "SELECT number, at_ms, kind, body FROM run_event WHERE run = $1 AND kind = 'state' ORDER BY number",
        )
        .bind(run)
        .fetch_all(&self.read)
        .await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM run_event WHERE run = $1")
            .bind(run)
            .fetch_one(&self.read)
            .await?;
        Ok((rows.iter().map(event_row).collect::<Result<_, _>>()?, last.unwrap_or(0)))
    }

    /// Signed receipts in the order of assignments.
    pub async fn receipts(&self, run: i64) -> Result<Vec<SignedReceipt>, DbError> {
        let rows = sqlx::query("SELECT receipt, signature FROM receipt WHERE run = $1 ORDER BY assignment")
            .bind(run)
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| Ok(SignedReceipt { receipt: row.try_get(0)?, signature: row.try_get(1)? }))
            .collect()
    }

    /// Whether a run is pinned to a manifest.
    pub async fn run_may_read(&self, run: i64, manifest: Digest) -> Result<bool, DbError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM run_image WHERE run = $1 AND manifest = $2")
                .bind(run)
                .bind(manifest.to_string())
                .fetch_one(&self.read)
                .await?;
        Ok(count > 0)
    }

    /// Image versions that a run is pinned to, `lab-mac 3`.
    pub async fn run_images(&self, run: i64) -> Result<Vec<String>, DbError> {
        let rows = sqlx::query("SELECT image, version FROM run_image WHERE run = $1 ORDER BY image, version")
            .bind(run)
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| Ok(format!("{} {}", row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?)))
            .collect()
    }
}

async fn insert_event(
    tx: &mut Transaction<'static, Sqlite>,
    run: i64,
    number: i64,
    at_ms: i64,
    event: &EventBody,
) -> Result<(), DbError> {
    let (kind, body) = match event {
        EventBody::State(body) => ("state", body),
        EventBody::Log(body) => ("log", body),
    };
    sqlx::query("INSERT INTO run_event (run, number, at_ms, kind, body) VALUES ($1, $2, $3, $4, $5)")
        .bind(run)
        .bind(number)
        .bind(at_ms)
        .bind(kind)
        .bind(body)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn event_row(row: &SqliteRow) -> Result<EventRow, DbError> {
    let (kind, body): (&str, String) = (row.try_get(2)?, row.try_get(3)?);
    let body = if kind == "log" { EventBody::Log(body) } else { EventBody::State(body) };
    Ok(EventRow { number: row.try_get(0)?, at_ms: row.try_get(1)?, body })
}

fn summary(row: &SqliteRow) -> Result<RunSummary, DbError> {
    let outcome: Option<String> = row.try_get(5)?;
    Ok(RunSummary {
        id: row.try_get(0)?,
        sequence: row.try_get(1)?,
        revision: number("revision", row.try_get(2)?)?,
        device: row.try_get(3)?,
        device_name: device_name(row.try_get(4)?)?,
        outcome: outcome.map(|text| from_word("outcome", &text)).transpose()?,
        step: number("step", row.try_get(6)?)?,
        steps: number("number of steps", row.try_get(7)?)?,
        started_ms: row.try_get(8)?,
        ended_ms: row.try_get(9)?,
    })
}
