//! All SQL: rows in, typed values out. One file a noun.
//!
//! Owns: the schema and its migrations, transactions, how values are spelled in columns. Must not know: files other than
//! its own, sockets, what decides a run.
//!
//! SQLite in WAL mode, one file. One connection writes, so a transaction never fails half-way because another wrote
//! before it; four read beside it. `synchronous = FULL`: what was committed outlives a power cut. Queries use `$1` and
//! the words that SQLite and PostgreSQL share.

mod about;
mod account;
mod audit;
mod binding;
mod capture;
mod claim;
mod client;
mod collection;
mod compact;
mod conflict;
mod damage;
mod deployment;
mod device;
mod directory;
mod group;
mod history;
mod image;
mod inventory;
mod lease;
mod member;
mod message;
mod models;
mod receipt;
mod ring;
mod roster;
mod run;
mod schema;
mod search;
mod sequence;
mod session;
mod standing;
mod tokens;
mod touched;
mod variable;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

pub use about::{BadAbout, CannotForget, CannotMerge};
pub use account::{AccountChange, AccountRow, Changed, NewAccount, Pass};
pub use audit::{Acting, AuditQuery, Change, acting, who_acts};
pub use capture::NewCapture;
pub use client::MOST_EVENTS;
pub use collection::{CollectionRow, MOST_COLLECTIONS, NotSaved};
pub use compact::Compacted;
pub use deployment::DeploymentRow;
pub use device::{Full, Greeted, Hello, Known, Newcomers};
pub use directory::FromDirectory;
pub use history::StepRow;
pub use image::{NewVersion, Removal, StoredVersion};
pub use member::Preview;
pub use receipt::{Countersignature, ReceiptRow};
pub use ring::{Move, Standing};
pub use roster::{RosterLine, RosterRow, RosterVariable};
pub use run::{Append, Appended, Ended, EventBody, EventRow, Logged, NewRun, RunRow, Started};
pub use search::Search;
pub use sequence::RevisionRow;
pub use session::{KnownToken, NewSession, NewToken};
pub use standing::{DeviceStanding, Standings};
pub use variable::{Owner, VariableRow};

/// Bytes that the write-ahead log keeps once its content is in the file.
const LOG_LIMIT: &str = "16777216";

/// The database of one appliance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    read: SqlitePool,
    write: SqlitePool,
    /// Rules of collections, compiled.
    compiled: Arc<Mutex<member::Compiled>>,
    /// Macs that something was written about.
    touched: Arc<touched::Touched>,
    /// Tokens of runs.
    tokens: Arc<tokens::Tokens>,
    /// Events that wait for the next transaction.
    waiting: group::Waiting,
}

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file cannot be opened or brought up to date.
    #[error("the database {} cannot be opened; restore it from a backup, or move it away to start empty", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The file was written by a newer version, or its schema was changed by hand.
    #[error("the database {} does not fit this version of rootstockd; start the version that wrote it", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A query failed.
    #[error("the database did not answer")]
    Query(#[from] sqlx::Error),
    /// A column holds what no version of this program writes.
    #[error("the database holds an unreadable {what}: {found}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// What was found, shortened.
        found: String,
    },
}

impl DbError {
    /// Whether nothing was written because the disk is full: SQLITE_FULL.
    pub fn is_full(&self) -> bool {
        matches!(self, DbError::Query(sqlx::Error::Database(error)) if error.code().as_deref() == Some("13"))
    }
}

impl Db {
    /// Opens the file, makes it when absent, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Db, DbError> {
        let failed = |source| DbError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A burst of writes leaves a log of no more than this.
            .pragma("journal_size_limit", LOG_LIMIT)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        // Said of a file that is made now only: the word itself is written down each time it is said, and a disk may be full. An
        // earlier file keeps its mode until it is compacted.
        let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        let mode = |options: SqliteConnectOptions| match is_new {
            true => options.auto_vacuum(SqliteAutoVacuum::Incremental),
            false => options,
        };
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(mode(options.clone()))
            .await
            .map_err(failed)?;
        schema::migrations()
            .run(&write)
            .await
            .map_err(|source| DbError::Migrate { path: path.to_owned(), source })?;
        sqlx::raw_sql(audit::APPEND_ONLY).execute(&write).await.map_err(failed)?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(failed)?;
        Ok(Db {
            read,
            write,
            compiled: Arc::default(),
            touched: Arc::default(),
            tokens: Arc::default(),
            waiting: Arc::default(),
        })
    }

    /// Waits for queries under way and closes the file; the write-ahead log is folded in.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// A transaction that holds the only writing connection until it is committed or dropped.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, DbError> {
        let begun = match self.write.begin_with("BEGIN IMMEDIATE").await {
            // On a full disk SQLite takes a transaction back by itself; the connection then believes for ever that it is in one.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.write.acquire().await?.close().await?;
                self.write.begin_with("BEGIN IMMEDIATE").await?
            }
            begun => begun?,
        };
        self.touched.begin();
        Ok(begun)
    }
}

/// The next number of a sequence of numbers: 1, 2, 3, …; never one twice.
async fn next_number(tx: &mut Transaction<'static, Sqlite>, name: &str) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO counter (name, value) VALUES ($1, 1)
         ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value",
    )
    .bind(name)
    .fetch_one(&mut **tx)
    .await?)
}

fn unreadable(what: &'static str, found: &str) -> DbError {
    DbError::Unreadable { what, found: found.chars().take(120).collect() }
}

/// A number from a column, where it must fit.
fn number<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, DbError> {
    T::try_from(value).map_err(|_| unreadable(what, &value.to_string()))
}

/// A size into a column. Beyond 2^63 nothing exists.
fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value as JSON text.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("plain values become JSON: {error}"))
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| unreadable(what, text))
}

/// A value that is one word in JSON, without its quotes.
fn word<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

fn from_word<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| unreadable(what, text))
}

/// A value that prints itself and reads what it printed.
fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|_| unreadable(what, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_are_never_given_twice_and_a_dropped_transaction_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite3");
        let db = Db::open(&path).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(next_number(&mut tx, "run").await.unwrap(), 1);
        assert_eq!(next_number(&mut tx, "run").await.unwrap(), 2);
        tx.commit().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(next_number(&mut tx, "run").await.unwrap(), 3);
        drop(tx);
        db.close().await;
        let db = Db::open(&path).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(next_number(&mut tx, "run").await.unwrap(), 3);
        assert_eq!(next_number(&mut tx, "image").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite3");
        std::fs::write(
            &path,
            "not a database, but longer than one hundred bytes so that SQLite looks at its head".repeat(3),
        )
        .unwrap();
        let error = Db::open(&path).await.unwrap_err().to_string();
        assert!(error.contains("db.sqlite3 cannot be opened"), "{error}");
    }
}
