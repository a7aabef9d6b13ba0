//! Receipts of restores, over all runs: kept for ever, countersigned by the appliance.

use sqlx::Row;

use super::{Db, DbError, number};

/// A receipt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// Its run.
    pub run: i64,
    /// Number of the assignment.
    pub assignment: u32,
    /// What the runner signed.
    pub receipt: String,
    /// The runner's signature.
    pub signature: String,
    /// The runner's key.
    pub public_key: String,
    /// The appliance's word; none: not yet.
    pub counter: Option<Countersignature>,
}

/// The appliance's word on a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersignature {
    /// When it was given, milliseconds since 1970 UTC.
    pub kept_ms: i64,
    /// The signature.
    pub signature: String,
    /// The key.
    pub by: String,
}

const COLUMNS: &str = "SELECT run, assignment, receipt, signature, public_key, kept_ms, countersignature, countersigned_by FROM receipt";

impl Db {
    /// Receipts that the appliance has not signed yet, at most `limit`.
    pub async fn unsigned_receipts(&self, limit: u32) -> Result<Vec<ReceiptRow>, DbError> {
        let query = format!("{COLUMNS} WHERE countersignature IS NULL ORDER BY run, assignment LIMIT $1");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(i64::from(limit)).fetch_all(&self.read).await?;
        rows.iter().map(receipt_row).collect()
    }

    /// Keeps the appliance's word on receipts, each by its run and assignment; the first word stays.
    pub async fn countersign(&self, words: &[(i64, u32, Countersignature)]) -> Result<(), DbError> {
        if words.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for (run, assignment, word) in words {
            sqlx::query(
                "UPDATE receipt SET kept_ms = $3, countersignature = $4, countersigned_by = $5
                 WHERE run = $1 AND assignment = $2 AND countersignature IS NULL",
            )
            .bind(*run)
            .bind(i64::from(*assignment))
            .bind(word.kept_ms)
            .bind(&word.signature)
            .bind(&word.by)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Receipts of one run or of all, in order, after an assignment of a run, at most `limit`.
    pub async fn kept_receipts(
        &self,
        run: Option<i64>,
        after: (i64, u32),
        limit: u32,
    ) -> Result<Vec<ReceiptRow>, DbError> {
        let query = format!(
            "{COLUMNS} WHERE (run = $1 OR $1 = 0) AND (run > $2 OR run = $2 AND assignment > $3) ORDER BY run, assignment LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(run.unwrap_or(0))
            .bind(after.0)
            .bind(i64::from(after.1))
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(receipt_row).collect()
    }
}

fn receipt_row(row: &sqlx::sqlite::SqliteRow) -> Result<ReceiptRow, DbError> {
    let word: (Option<i64>, Option<String>, Option<String>) =
        (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?);
    Ok(ReceiptRow {
        run: row.try_get(0)?,
        assignment: number("assignment", row.try_get(1)?)?,
        receipt: row.try_get(2)?,
        signature: row.try_get(3)?,
        public_key: row.try_get(4)?,
        counter: match word {
            (Some(kept_ms), Some(signature), Some(by)) => Some(Countersignature { kept_ms, signature, by }),
            _ => None,
        },
    })
}
