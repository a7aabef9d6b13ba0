//! Room that removed rows leave behind is given back to the file system.
//!
//! SQLite keeps freed pages for itself. A file that this version made gives them back a few at a time, in short transactions
//! (`auto_vacuum = INCREMENTAL`), so that nobody waits for it; a file of an earlier version is written anew once (`VACUUM`), when no
//! run is at work and it is worth it. These are SQLite's own words; PostgreSQL does the same by itself (autovacuum). Must not know:
//! when.

use sqlx::Row;

use super::{Db, DbError};

/// Pages that one step gives back: 4 MiB.
const STEP: i64 = 1024;
/// Free pages that stay: the next rows go there.
const RESERVE: i64 = 1024;
/// Free pages that are worth writing a whole file anew for: 16 MiB, and half of the file.
const WORTH: i64 = 4 * STEP;
/// Bytes of changes that [`Db::keep_room`] makes room for, and the 2 MiB that a connection keeps in memory.
const ROOM: i64 = 5 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// Pages of the file, free ones among them, bytes of one, and the mode of giving them back.
struct Pages {
    all: i64,
    free: i64,
    size: i64,
    incremental: bool,
}

impl Pages {
    fn bytes(&self) -> u64 {
        u64::try_from(self.all.saturating_mul(self.size)).unwrap_or(0)
    }
}

impl Db {
    /// Gives back what is free beyond a reserve, and shortens the write-ahead log.
    pub async fn compact(&self) -> Result<Compacted, DbError> {
        let before = self.pages().await?;
        if before.incremental {
            let mut free = before.free;
            while free > RESERVE {
                let step = STEP.min(free - RESERVE);
                let vacuum = format!("PRAGMA incremental_vacuum({step})");
                sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum)).execute(&self.write).await?;
                let now = self.pages().await?.free;
                if now >= free {
                    break;
                }
                free = now;
            }
        } else if before.free >= WORTH
            && before.free >= before.all / 2
            && self.active_runs().await?.is_empty()
        {
            sqlx::raw_sql("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").execute(&self.write).await?;
        }
        // A reader that is at work keeps the log; it is shortened the next time.
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.write).await?;
        Ok(Compacted { before: before.bytes(), after: self.pages().await?.bytes() })
    }

    /// Makes the write-ahead log as long as a good many changes are, while there is room: on a full disk they are written there. Asked
    /// for after what shortens the log: an end of the daemon, and [`Db::compact`].
    ///
    /// # Errors
    /// The database; also where the disk is full already.
    pub async fn keep_room(&self) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::raw_sql("CREATE TABLE room (bytes BLOB)").execute(&mut *tx).await?;
        // More than the cache of a connection holds is written at once, though it never comes into force.
        sqlx::query("INSERT INTO room VALUES (zeroblob($1))").bind(ROOM).execute(&mut *tx).await?;
        Ok(tx.rollback().await?)
    }

    async fn pages(&self) -> Result<Pages, DbError> {
        let row = sqlx::query(
            "SELECT p.page_count, f.freelist_count, s.page_size, a.auto_vacuum FROM pragma_page_count p, pragma_freelist_count f,
             pragma_page_size s, pragma_auto_vacuum a",
        )
        .fetch_one(&self.write)
        .await?;
        let mode: i64 = row.try_get(3)?;
        Ok(Pages {
            all: row.try_get(0)?,
            free: row.try_get(1)?,
            size: row.try_get(2)?,
            incremental: mode == 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    async fn fill_and_empty(db: &Db) {
        sqlx::query("CREATE TABLE bulk (text TEXT)").execute(&db.write).await.unwrap();
        sqlx::query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2200)
             INSERT INTO bulk SELECT hex(zeroblob(5000)) FROM n",
        )
        .execute(&db.write)
        .await
        .unwrap();
        sqlx::query("DELETE FROM bulk").execute(&db.write).await.unwrap();
    }

    #[tokio::test]
    async fn the_log_is_long_before_the_disk_is_full_and_nothing_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::open(&path).await.unwrap();
        let before = db.pages().await.unwrap().all;
        db.keep_room().await.unwrap();
        assert!(size(&folder.path().join("db-wal")) > 2 << 20);
        assert_eq!(db.pages().await.unwrap().all, before);
        assert!(!db.any_account().await.unwrap());
    }

    fn size(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().len()
    }

    #[tokio::test]
    async fn room_of_removed_rows_is_given_back_but_for_a_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::open(&path).await.unwrap();
        fill_and_empty(&db).await;
        let compacted = db.compact().await.unwrap();
        assert!(compacted.before > 20 << 20, "{compacted:?}");
        assert!((4 << 20..8 << 20).contains(&compacted.after), "{compacted:?}");
        assert_eq!(size(&path), compacted.after, "the log is folded in");
        assert_eq!(size(&folder.path().join("db-wal")), 0);
        assert_eq!(db.compact().await.unwrap().after, compacted.after);
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_version_is_written_anew_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let mut earlier =
            SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE early (text TEXT)").execute(&mut earlier).await.unwrap();
        sqlx::Connection::close(earlier).await.unwrap();
        let db = Db::open(&path).await.unwrap();
        assert!(!db.pages().await.unwrap().incremental);
        fill_and_empty(&db).await;
        let compacted = db.compact().await.unwrap();
        assert!(compacted.after < 4 << 20 && size(&path) == compacted.after, "{compacted:?}");
        assert!(db.pages().await.unwrap().incremental);
    }
}
