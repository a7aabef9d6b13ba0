//! What people and programs show instead of a password: sessions, API tokens, the one-time set-up code. Of each only a digest
//! is kept.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::account::{account, has_owner, insert};
use super::audit::{Change, record};
use super::directory::BELIEVED_MS;
use super::{AccountRow, Changed, Db, DbError, NewAccount, from_json, from_word, json, next_number, word};
use crate::api::admin::{ApiToken, SignedInSession};
use crate::value::{Digest, Role};

/// Sessions that are kept of an account, the newest.
const MOST_SESSIONS: i64 = 16;
/// How old the time of the last use may be before it is written anew.
const USED_MS: i64 = 60_000;

/// Somebody signed in.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// Digest of what is shown.
    pub token: Digest,
    /// Who.
    pub account: i64,
    /// `page`, `api`.
    pub how: &'a str,
    /// From where.
    pub address: &'a str,
    /// When it ends whatever happens.
    pub ends_ms: i64,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// Digest of the token.
    pub token: Digest,
    /// Whose.
    pub account: &'a AccountRow,
    /// What for.
    pub name: &'a str,
    /// What it may at most.
    pub role: Role,
    /// Areas of the API; empty: all.
    pub areas: &'a [String],
    /// When it ends.
    pub expires_ms: Option<i64>,
}

/// A token that was shown.
#[derive(Clone, Debug)]
pub struct KnownToken {
    /// Whose.
    pub account: AccountRow,
    /// What for.
    pub name: String,
    /// What it may at most.
    pub role: Role,
    /// Areas of the API; empty: all.
    pub areas: Vec<String>,
}

macro_rules! owned {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT a.id, a.domain, a.name, a.full_name, a.role, a.disabled, a.created_ms, a.signed_in_ms, a.checked_ms, ",
            $columns,
            " JOIN account a ON a.id = s.account ",
            $rest
        )
    };
}

impl Db {
    /// Opens a session and tells so.
    pub async fn add_session(&self, new: &NewSession<'_>, who: &str, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "DELETE FROM sign_in WHERE ends_ms < $1 OR account = $2 AND token NOT IN
             (SELECT token FROM sign_in WHERE account = $2 ORDER BY used_ms DESC LIMIT $3)",
        )
        .bind(now_ms)
        .bind(new.account)
        .bind(MOST_SESSIONS - 1)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO sign_in (token, account, how, address, began_ms, used_ms, ends_ms) VALUES ($1, $2, $3, $4, $5, $5, $6)",
        )
        .bind(new.token.to_string())
        .bind(new.account)
        .bind(new.how)
        .bind(new.address)
        .bind(now_ms)
        .bind(new.ends_ms)
        .execute(&mut *tx)
        .await?;
        let object = format!("user {who}");
        record(&mut tx, Change { action: Some("session.begin"), ..Change::of(object, now_ms) }).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whose session this is, if it goes on; its last use is noted.
    pub async fn session_account(
        &self,
        token: Digest,
        idle_ms: i64,
        now_ms: i64,
    ) -> Result<Option<AccountRow>, DbError> {
        let row = sqlx::query(owned!(
            "s.used_ms FROM sign_in s",
            "WHERE s.token = $1 AND s.ends_ms > $2 AND s.used_ms > $3 AND a.disabled = $4 AND (a.domain = '' OR a.checked_ms > $5)"
        ))
        .bind(token.to_string())
        .bind(now_ms)
        .bind(now_ms - idle_ms)
        .bind(false)
        .bind(now_ms - BELIEVED_MS)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get::<i64, _>(9)? < now_ms - USED_MS.min(idle_ms / 2) {
            sqlx::query("UPDATE sign_in SET used_ms = $2 WHERE token = $1")
                .bind(token.to_string())
                .bind(now_ms)
                .execute(&self.write)
                .await?;
        }
        account(&row).map(Some)
    }

    /// Ends a session. False when there was none.
    pub async fn end_session(&self, token: Digest, now_ms: i64) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(owned!("s.began_ms FROM sign_in s", "WHERE s.token = $1"))
            .bind(token.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        let who = account(&row)?.shown();
        sqlx::query("DELETE FROM sign_in WHERE token = $1").bind(token.to_string()).execute(&mut *tx).await?;
        let ended = Change::of(format!("user {who}"), now_ms);
        record(&mut tx, Change { action: Some("session.end"), by: Some(&who), ..ended }).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Sessions that go on, used last first.
    pub async fn open_sessions(&self, idle_ms: i64, now_ms: i64) -> Result<Vec<SignedInSession>, DbError> {
        let rows = sqlx::query(owned!(
            "s.how, s.address, s.began_ms, s.used_ms, s.ends_ms FROM sign_in s",
            "WHERE s.ends_ms > $1 AND s.used_ms > $2 ORDER BY s.used_ms DESC"
        ))
        .bind(now_ms)
        .bind(now_ms - idle_ms)
        .fetch_all(&self.read)
        .await?;
        let session = |row: &SqliteRow| {
            Ok(SignedInSession {
                user: account(row)?.shown(),
                how: row.try_get(9)?,
                from: row.try_get(10)?,
                began_ms: row.try_get(11)?,
                used_ms: row.try_get(12)?,
                ends_ms: row.try_get(13)?,
            })
        };
        rows.iter().map(session).collect()
    }

    /// Makes a token; none when the account has one of this name.
    pub async fn add_token(&self, new: &NewToken<'_>, now_ms: i64) -> Result<Option<ApiToken>, DbError> {
        let mut tx = self.begin().await?;
        let same: Option<i64> =
            sqlx::query_scalar("SELECT id FROM api_token WHERE account = $1 AND name = $2")
                .bind(new.account.id)
                .bind(new.name)
                .fetch_optional(&mut *tx)
                .await?;
        if same.is_some() {
            return Ok(None);
        }
        let id = next_number(&mut tx, "api_token").await?;
        sqlx::query(
            "INSERT INTO api_token (id, account, name, role, areas, token, created_ms, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(new.account.id)
        .bind(new.name)
        .bind(word(&new.role))
        .bind(json(&new.areas))
        .bind(new.token.to_string())
        .bind(now_ms)
        .bind(new.expires_ms)
        .execute(&mut *tx)
        .await?;
        let made = ApiToken {
            id,
            user: new.account.shown(),
            name: new.name.to_owned(),
            role: new.role,
            areas: new.areas.to_vec(),
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            used_ms: None,
            used_from: None,
        };
        let after = serde_json::to_value(&made).ok();
        let object = format!("token {} of {}", new.name, made.user);
        record(&mut tx, Change { action: Some("token.create"), after, ..Change::of(object, now_ms) }).await?;
        tx.commit().await?;
        Ok(Some(made))
    }

    /// Whose token this is, if it is good; its last use is noted.
    pub async fn token_account(
        &self,
        token: Digest,
        from: &str,
        now_ms: i64,
    ) -> Result<Option<KnownToken>, DbError> {
        let row = sqlx::query(owned!(
            "s.name, s.role, s.areas, s.used_ms, s.used_from FROM api_token s",
            "WHERE s.token = $1 AND (s.expires_ms > $2 OR s.expires_ms IS NULL) AND a.disabled = $3
             AND (a.domain = '' OR a.checked_ms > $4)"
        ))
        .bind(token.to_string())
        .bind(now_ms)
        .bind(false)
        .bind(now_ms - BELIEVED_MS)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (used, before): (Option<i64>, Option<String>) = (row.try_get(12)?, row.try_get(13)?);
        if used.is_none_or(|used| used < now_ms - USED_MS) || before.as_deref() != Some(from) {
            sqlx::query("UPDATE api_token SET used_ms = $2, used_from = $3 WHERE token = $1")
                .bind(token.to_string())
                .bind(now_ms)
                .bind(from)
                .execute(&self.write)
                .await?;
        }
        Ok(Some(KnownToken {
            account: account(&row)?,
            name: row.try_get(9)?,
            role: from_word("role", row.try_get(10)?)?,
            areas: from_json("areas of a token", row.try_get(11)?)?,
        }))
    }

    /// Tokens, by account and name; of one account only, where it is given.
    pub async fn tokens(&self, of: Option<i64>) -> Result<Vec<ApiToken>, DbError> {
        let rows = sqlx::query(owned!(
            "s.id, s.name, s.role, s.areas, s.created_ms, s.expires_ms, s.used_ms, s.used_from FROM api_token s",
            "WHERE s.account = $1 OR $1 = 0 ORDER BY a.domain, a.name, s.name"
        ))
        .bind(of.unwrap_or(0))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(token).collect()
    }

    /// Takes a token back; none when there is none of this number, or it is of another account than the one that is given.
    pub async fn revoke_token(&self, id: i64, of: Option<i64>) -> Result<Option<ApiToken>, DbError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(owned!(
            "s.id, s.name, s.role, s.areas, s.created_ms, s.expires_ms, s.used_ms, s.used_from FROM api_token s",
            "WHERE s.id = $1 AND (s.account = $2 OR $2 = 0)"
        ))
        .bind(id)
        .bind(of.unwrap_or(0))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let revoked = token(&row)?;
        sqlx::query("DELETE FROM api_token WHERE id = $1").bind(id).execute(&mut *tx).await?;
        let object = format!("token {} of {}", revoked.name, revoked.user);
        let before = serde_json::to_value(&revoked).ok();
        record(&mut tx, Change { action: Some("token.revoke"), before, ..Change::of(object, 0) }).await?;
        tx.commit().await?;
        Ok(Some(revoked))
    }

    /// A new set-up code stands in for the one before it; none when there is an account already.
    pub async fn set_setup_code(&self, code: Digest, expires_ms: i64) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let any: Option<i64> =
            sqlx::query_scalar("SELECT id FROM account LIMIT 1").fetch_optional(&mut *tx).await?;
        sqlx::query("DELETE FROM setup_code").execute(&mut *tx).await?;
        if any.is_none() {
            sqlx::query("INSERT INTO setup_code (id, token, expires_ms) VALUES (1, $1, $2)")
                .bind(code.to_string())
                .bind(expires_ms)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(any.is_none())
    }

    /// Makes the first owner with the code, which is used up with it. None: the code is wrong, expired or used.
    pub async fn set_up(
        &self,
        code: Digest,
        owner: &NewAccount<'_>,
        now_ms: i64,
    ) -> Result<Option<Changed>, DbError> {
        let mut tx = self.begin().await?;
        let good: Option<i64> =
            sqlx::query_scalar("SELECT id FROM setup_code WHERE token = $1 AND expires_ms > $2")
                .bind(code.to_string())
                .bind(now_ms)
                .fetch_optional(&mut *tx)
                .await?;
        if good.is_none() || has_owner(&mut tx).await? {
            return Ok(None);
        }
        let made = insert(&mut tx, owner, now_ms).await?;
        if let Changed::Done(account) = &made {
            sqlx::query("DELETE FROM setup_code").execute(&mut *tx).await?;
            let after = Some(serde_json::json!({ "role": account.role }));
            let object = format!("user {}", account.shown());
            record(&mut tx, Change { action: Some("user.setup"), after, ..Change::of(object, now_ms) })
                .await?;
            tx.commit().await?;
        }
        Ok(Some(made))
    }

    /// A sealed secret of the appliance itself.
    pub async fn sealed_setting(&self, name: &str) -> Result<Option<String>, DbError> {
        let value = sqlx::query_scalar("SELECT value FROM sealed_setting WHERE name = $1").bind(name);
        Ok(value.fetch_optional(&self.read).await?)
    }

    /// Sets one.
    pub async fn set_sealed_setting(&self, name: &str, value: &str) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO sealed_setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&mut *tx)
        .await?;
        let object = format!("setting {name}");
        record(&mut tx, Change::of(object, 0)).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn token(row: &SqliteRow) -> Result<ApiToken, DbError> {
    Ok(ApiToken {
        user: account(row)?.shown(),
        id: row.try_get(9)?,
        name: row.try_get(10)?,
        role: from_word("role", row.try_get(11)?)?,
        areas: from_json("areas of a token", row.try_get(12)?)?,
        created_ms: row.try_get(13)?,
        expires_ms: row.try_get(14)?,
        used_ms: row.try_get(15)?,
        used_from: row.try_get(16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: NewAccount<'static> =
        NewAccount { domain: "", name: "ana", full_name: "", role: Role::Owner, password: Some("h") };

    async fn opened() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite3")).await.unwrap();
        (folder, db)
    }

    async fn ana(db: &Db) -> AccountRow {
        match db.add_account(&OWNER, 1).await.unwrap() {
            Changed::Done(account) => account,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn part_7_a_session_ends_when_it_idles_when_its_time_is_over_and_when_it_is_left() {
        let (_folder, db) = opened().await;
        let ana = ana(&db).await;
        let token = Digest::of(b"t");
        let new = NewSession { token, account: ana.id, how: "page", address: "::1", ends_ms: 1_000_000 };
        db.add_session(&new, "ana", 0).await.unwrap();
        let who =
            async |now| db.session_account(token, 100_000, now).await.unwrap().map(|account| account.name);
        assert_eq!(who(90_000).await.as_deref(), Some("ana"));
        assert_eq!(who(180_000).await.as_deref(), Some("ana"), "it was used meanwhile");
        assert_eq!(who(290_000).await, None, "it was idle");
        db.add_session(&NewSession { token: Digest::of(b"u"), ends_ms: 50, ..new }, "ana", 0).await.unwrap();
        assert!(db.session_account(Digest::of(b"u"), 100_000, 50).await.unwrap().is_none());
        assert!(db.end_session(token, 1).await.unwrap());
        assert!(!db.end_session(token, 1).await.unwrap());
    }

    #[tokio::test]
    async fn part_7_a_token_is_good_until_it_expires_or_is_taken_back_and_tells_its_last_use() {
        let (_folder, db) = opened().await;
        let ana = ana(&db).await;
        let token = Digest::of(b"t");
        let areas = ["images".to_owned()];
        let new = NewToken {
            token,
            account: &ana,
            name: "ci",
            role: Role::Auditor,
            areas: &areas,
            expires_ms: Some(100),
        };
        let made = db.add_token(&new, 1).await.unwrap().unwrap();
        assert!(db.add_token(&new, 1).await.unwrap().is_none(), "a name is there once");
        let known = db.token_account(token, "10.0.0.7", 99).await.unwrap().unwrap();
        assert_eq!((known.role, known.areas), (Role::Auditor, areas.to_vec()));
        assert!(db.token_account(token, "10.0.0.7", 100).await.unwrap().is_none());
        let listed = db.tokens(Some(ana.id)).await.unwrap();
        assert_eq!((listed[0].used_ms, listed[0].used_from.as_deref()), (Some(99), Some("10.0.0.7")));
        assert!(db.revoke_token(made.id, Some(ana.id + 1)).await.unwrap().is_none(), "another's");
        assert!(db.revoke_token(made.id, Some(ana.id)).await.unwrap().is_some());
        assert!(db.token_account(token, "10.0.0.7", 99).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_setup_code_makes_one_owner_once_and_none_after_it_expired() {
        let (_folder, db) = opened().await;
        let code = Digest::of(b"code");
        assert!(db.set_setup_code(code, 100).await.unwrap());
        assert!(db.set_up(Digest::of(b"guess"), &OWNER, 1).await.unwrap().is_none());
        assert!(db.set_up(code, &OWNER, 100).await.unwrap().is_none(), "expired");
        assert!(matches!(db.set_up(code, &OWNER, 99).await.unwrap(), Some(Changed::Done(_))));
        let second = NewAccount { name: "bo", ..OWNER };
        assert!(db.set_up(code, &second, 99).await.unwrap().is_none(), "used");
        assert!(!db.set_setup_code(code, 100).await.unwrap(), "there are accounts");
        assert!(db.set_up(code, &second, 99).await.unwrap().is_none());
    }
}
