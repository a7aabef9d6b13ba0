//! Accounts that come from a directory: what it says of them is kept until it is asked again.

use super::account::{account, end_sessions, find};
use super::audit::{Change, record};
use super::{AccountRow, Db, DbError, next_number, word};
use crate::value::Role;

/// How long what a directory said is believed while it cannot be asked, in milliseconds.
pub(super) const BELIEVED_MS: i64 = 24 * 3_600_000;

/// What a directory says of a person.
#[derive(Clone, Copy, Debug)]
pub struct FromDirectory<'a> {
    /// Name of the directory.
    pub domain: &'a str,
    /// In lower case.
    pub name: &'a str,
    /// Of the person.
    pub full_name: &'a str,
    /// What they may.
    pub role: Role,
}

impl Db {
    /// Takes over what a directory says. Another role ends the sessions that began with the one before.
    pub async fn heard_from_directory(
        &self,
        said: &FromDirectory<'_>,
        signed_in: bool,
        now_ms: i64,
    ) -> Result<AccountRow, DbError> {
        let mut tx = self.begin().await?;
        let before = find(&mut tx, said.domain, said.name).await?;
        let id = match &before {
            Some(before) => before.id,
            None => {
                let id = next_number(&mut tx, "account").await?;
                sqlx::query(
                    "INSERT INTO account (id, domain, name, full_name, role, disabled, created_ms)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(id)
                .bind(said.domain)
                .bind(said.name)
                .bind(said.full_name)
                .bind(word(&said.role))
                .bind(false)
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
                id
            }
        };
        sqlx::query(
            "UPDATE account SET full_name = $2, role = $3, checked_ms = $4, signed_in_ms = CASE WHEN $5 THEN $4 ELSE signed_in_ms END
             WHERE id = $1",
        )
        .bind(id)
        .bind(said.full_name)
        .bind(word(&said.role))
        .bind(now_ms)
        .bind(signed_in)
        .execute(&mut *tx)
        .await?;
        if before.as_ref().is_none_or(|before| before.role != said.role) {
            end_sessions(&mut tx, id).await?;
            let role = |role: Role| Some(serde_json::json!({ "role": role }));
            let change = Change {
                action: Some("user.from-directory"),
                before: before.as_ref().and_then(|before| role(before.role)),
                after: role(said.role),
                ..Change::of(format!("user {}@{}", said.name, said.domain), now_ms)
            };
            record(&mut tx, change).await?;
        }
        let after = find(&mut tx, said.domain, said.name).await?;
        tx.commit().await?;
        after.ok_or(DbError::Query(sqlx::Error::RowNotFound))
    }

    /// The directory does not know the person any more, or gives them no role: nothing that they have is good until it does.
    pub async fn lost_by_directory(&self, domain: &str, name: &str, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let Some(before) = find(&mut tx, domain, name).await? else { return Ok(()) };
        if before.checked_ms == Some(0) {
            return Ok(());
        }
        sqlx::query("UPDATE account SET checked_ms = 0 WHERE id = $1")
            .bind(before.id)
            .execute(&mut *tx)
            .await?;
        end_sessions(&mut tx, before.id).await?;
        let change = Change {
            action: Some("user.lost-by-directory"),
            before: Some(serde_json::json!({ "role": before.role })),
            ..Change::of(format!("user {}", before.shown()), now_ms)
        };
        record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Accounts of a directory that are signed in somewhere or have a token, and were not asked after since `before_ms`.
    pub async fn to_be_asked_after(&self, domain: &str, before_ms: i64) -> Result<Vec<AccountRow>, DbError> {
        let rows = sqlx::query(
            "SELECT a.id, a.domain, a.name, a.full_name, a.role, a.disabled, a.created_ms, a.signed_in_ms, a.checked_ms FROM account a
             WHERE a.domain = $1 AND a.checked_ms > 0 AND a.checked_ms < $2
               AND (EXISTS (SELECT 1 FROM sign_in s WHERE s.account = a.id) OR EXISTS (SELECT 1 FROM api_token t WHERE t.account = a.id)
                    OR EXISTS (SELECT 1 FROM technician t WHERE t.account = a.id))
             ORDER BY a.checked_ms LIMIT 500",
        )
        .bind(domain)
        .bind(before_ms)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(account).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{NewSession, NewToken};
    use crate::value::Digest;

    #[tokio::test]
    async fn who_leaves_the_directory_or_is_not_asked_after_for_a_day_is_signed_in_nowhere() {
        // As clocks go: long after 1970.
        const T: i64 = 10 * BELIEVED_MS;
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite3")).await.unwrap();
        let said = FromDirectory { domain: "EX", name: "eva", full_name: "Eva", role: Role::Administrator };
        let eva = db.heard_from_directory(&said, true, T + 1_000).await.unwrap();
        let (session, token) = (Digest::of(b"s"), Digest::of(b"t"));
        let new = NewSession { token: session, account: eva.id, how: "api", address: "", ends_ms: i64::MAX };
        db.add_session(&new, "eva", T + 1_000).await.unwrap();
        let new =
            NewToken { token, account: &eva, name: "ci", role: Role::Auditor, areas: &[], expires_ms: None };
        db.add_token(&new, T + 1_000).await.unwrap();
        let good = async |now| {
            let session = db.session_account(session, i64::MAX / 4, now).await.unwrap().is_some();
            (session, db.token_account(token, "", now).await.unwrap().is_some())
        };
        assert_eq!(good(T + 2_000).await, (true, true));
        assert_eq!(db.to_be_asked_after("EX", T + 2_000).await.unwrap().len(), 1);
        assert_eq!(good(T + 1_000 + BELIEVED_MS).await, (false, false), "the directory was silent for a day");
        db.lost_by_directory("EX", "eva", T + 2_000).await.unwrap();
        assert_eq!(good(T + 2_000).await, (false, false));
        assert!(db.to_be_asked_after("EX", T + 9_000).await.unwrap().is_empty());
        db.heard_from_directory(&said, true, T + 3_000).await.unwrap();
        assert_eq!(good(T + 4_000).await, (false, true), "the token is good again, the session has ended");
    }
}
