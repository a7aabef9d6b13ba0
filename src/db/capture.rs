//! Captures: a row lives from the first request until some time after the end, so that a sender goes on after a restart of
//! the appliance and an end whose answer got lost is told again.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Db, DbError, big, number, parsed};
use crate::api::capture::{Capture, Made};
use crate::value::Digest;

/// A capture that begins.
#[derive(Clone, Debug)]
pub struct NewCapture {
    /// Finds it again.
    pub resume: String,
    /// Name of the image.
    pub image: String,
    /// Note for the version.
    pub note: String,
    /// What is captured.
    pub source: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Who.
    pub by: String,
    /// Run and action that it belongs to.
    pub run: Option<(i64, u32)>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, image, note, source, size, used, actor, run, started_ms, heard_ms, version, manifest, added \
             FROM capture ",
            $rest
        )
    };
}

impl Db {
    /// The capture that can be gone on with, else a new one.
    pub async fn open_capture(&self, new: &NewCapture, now_ms: i64) -> Result<Capture, DbError> {
        let mut tx = self.begin().await?;
        let known: Option<i64> = sqlx::query_scalar("SELECT id FROM capture WHERE resume = $1")
            .bind(&new.resume)
            .fetch_optional(&mut *tx)
            .await?;
        let id = match known {
            Some(id) => {
                sqlx::query("UPDATE capture SET heard_ms = $2, used = $3, note = $4 WHERE id = $1")
                    .bind(id)
                    .bind(now_ms)
                    .bind(big(new.used))
                    .bind(&new.note)
                    .execute(&mut *tx)
                    .await?;
                id
            }
            None => {
                let id = super::next_number(&mut tx, "capture").await?;
                sqlx::query(
                    "INSERT INTO capture (id, resume, image, note, source, size, used, actor, run, number,
                     started_ms, heard_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
                )
                .bind(id)
                .bind(&new.resume)
                .bind(&new.image)
                .bind(&new.note)
                .bind(&new.source)
                .bind(big(new.size))
                .bind(big(new.used))
                .bind(&new.by)
                .bind(new.run.map(|(run, _)| run))
                .bind(new.run.map(|(_, number)| i64::from(number)))
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
                id
            }
        };
        let row = sqlx::query(select!("WHERE id = $1")).bind(id).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        read(&row)
    }

    /// One capture.
    pub async fn capture(&self, id: i64) -> Result<Option<Capture>, DbError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id).fetch_optional(&self.read).await?;
        row.as_ref().map(read).transpose()
    }

    /// The capture that is action `number` of a run.
    pub async fn run_capture(&self, run: i64, number: u32) -> Result<Option<Capture>, DbError> {
        let row = sqlx::query(select!("WHERE run = $1 AND number = $2"))
            .bind(run)
            .bind(i64::from(number))
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// All captures that are remembered, newest first.
    pub async fn captures(&self) -> Result<Vec<Capture>, DbError> {
        let rows = sqlx::query(select!("ORDER BY id DESC")).fetch_all(&self.read).await?;
        rows.iter().map(read).collect()
    }

    /// The sender of a capture was heard.
    pub async fn hear_capture(&self, id: i64, now_ms: i64) -> Result<(), DbError> {
        sqlx::query("UPDATE capture SET heard_ms = $2 WHERE id = $1")
            .bind(id)
            .bind(now_ms)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// A version of this image with this manifest that was made since `since_ms`: a capture whose end was not written down
    /// any more made it.
    pub async fn version_made(
        &self,
        image: &str,
        manifest: Digest,
        since_ms: i64,
    ) -> Result<Option<u32>, DbError> {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT v.version FROM image i JOIN image_version v ON v.image = i.id
             WHERE i.name = $1 AND v.manifest = $2 AND v.imported_ms >= $3 ORDER BY v.version LIMIT 1",
        )
        .bind(image)
        .bind(manifest.to_string())
        .bind(since_ms)
        .fetch_optional(&self.read)
        .await?;
        found.map(|version| number("image version", version)).transpose()
    }

    /// A capture is finished. One of a run stays to be found by it; another can be begun anew.
    pub async fn finish_capture(&self, id: i64, made: &Made, now_ms: i64) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE capture SET version = $2, manifest = $3, added = $4, heard_ms = $5,
             resume = CASE WHEN run IS NULL THEN $6 ELSE resume END WHERE id = $1",
        )
        .bind(id)
        .bind(i64::from(made.version))
        .bind(made.manifest.to_string())
        .bind(big(made.added))
        .bind(now_ms)
        .bind(format!("finished {id}"))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Forgets a capture. True when it was there.
    pub async fn forget_capture(&self, id: i64) -> Result<bool, DbError> {
        let gone = sqlx::query("DELETE FROM capture WHERE id = $1").bind(id).execute(&self.write).await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Forgets captures whose sender was not heard since `before_ms`, unless their run goes on; their numbers.
    pub async fn expire_captures(&self, before_ms: i64) -> Result<Vec<i64>, DbError> {
        let mut tx = self.begin().await?;
        let gone: Vec<i64> = sqlx::query_scalar(
            "SELECT c.id FROM capture c LEFT JOIN run r ON r.id = c.run
             WHERE c.heard_ms < $1 AND (c.run IS NULL OR r.outcome IS NOT NULL) ORDER BY c.id",
        )
        .bind(before_ms)
        .fetch_all(&mut *tx)
        .await?;
        for id in &gone {
            sqlx::query("DELETE FROM capture WHERE id = $1").bind(id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(gone)
    }
}

fn read(row: &SqliteRow) -> Result<Capture, DbError> {
    let image: String = row.try_get(1)?;
    let version: Option<i64> = row.try_get(10)?;
    let manifest: Option<String> = row.try_get(11)?;
    let made = match (version, manifest) {
        (Some(version), Some(manifest)) => Some(Made {
            image: image.clone(),
            version: number("image version", version)?,
            manifest: parsed("manifest digest", &manifest)?,
            added: number("bytes", row.try_get::<Option<i64>, _>(12)?.unwrap_or(0))?,
        }),
        _ => None,
    };
    Ok(Capture {
        id: row.try_get(0)?,
        image,
        note: row.try_get(2)?,
        source: row.try_get(3)?,
        size: number("size of a capture", row.try_get(4)?)?,
        used: number("size of a capture", row.try_get(5)?)?,
        by: row.try_get(6)?,
        run: row.try_get(7)?,
        started_ms: row.try_get(8)?,
        heard_ms: row.try_get(9)?,
        made,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(resume: &str, run: Option<(i64, u32)>) -> NewCapture {
        NewCapture {
            resume: resume.into(),
            image: "lab".into(),
            note: String::new(),
            source: "disk".into(),
            size: 10,
            used: 5,
            by: "root".into(),
            run,
        }
    }

    #[tokio::test]
    async fn a_capture_is_gone_on_with_until_it_is_finished_and_one_of_a_run_is_never_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite3")).await.unwrap();
        let made = Made { image: "lab".into(), version: 4, manifest: Digest::of(b"m"), added: 7 };
        let first = db.open_capture(&new("a", None), 1).await.unwrap();
        assert_eq!(db.open_capture(&new("a", None), 2).await.unwrap().id, first.id);
        db.finish_capture(first.id, &made, 3).await.unwrap();
        assert_eq!(db.capture(first.id).await.unwrap().unwrap().made, Some(made.clone()));
        assert_ne!(db.open_capture(&new("a", None), 4).await.unwrap().id, first.id);

        let of_run = db.open_capture(&new("run 9 action 2", Some((9, 2))), 5).await.unwrap();
        db.finish_capture(of_run.id, &made, 6).await.unwrap();
        let again = db.open_capture(&new("run 9 action 2", Some((9, 2))), 7).await.unwrap();
        assert_eq!((again.id, again.made), (of_run.id, Some(made.clone())));
        assert_eq!(db.run_capture(9, 2).await.unwrap().unwrap().made, Some(made));
        assert_eq!(db.run_capture(9, 3).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_heard_any_more_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite3")).await.unwrap();
        let old = db.open_capture(&new("a", None), 1).await.unwrap();
        let young = db.open_capture(&new("b", None), 1).await.unwrap();
        db.hear_capture(young.id, 50).await.unwrap();
        assert_eq!(db.expire_captures(20).await.unwrap(), [old.id]);
        assert_eq!(db.captures().await.unwrap().len(), 1);
        assert!(db.forget_capture(young.id).await.unwrap() && !db.forget_capture(young.id).await.unwrap());
    }
}
