//! Accounts of people: their rows, and technicians who signed in at a Mac.
//!
//! Names come in lower case and passwords as hashes. An appliance that has an owner keeps one: what would take the last one
//! away is refused in the transaction that would do it.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record};
use super::directory::BELIEVED_MS;
use super::{Db, DbError, from_word, next_number, word};
use crate::value::{Digest, Role};

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Its number.
    pub id: i64,
    /// Empty: the appliance's own; else the directory.
    pub domain: String,
    /// In lower case.
    pub name: String,
    /// Of the person; may be empty.
    pub full_name: String,
    /// What it may.
    pub role: Role,
    /// Whether it may nothing.
    pub disabled: bool,
    /// When it was made, or came from its directory first.
    pub created_ms: i64,
    /// When somebody signed in with it last.
    pub signed_in_ms: Option<i64>,
    /// Of a directory's: when it was looked up there last.
    pub checked_ms: Option<i64>,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount<'a> {
    /// Empty: the appliance's own.
    pub domain: &'a str,
    /// In lower case.
    pub name: &'a str,
    /// Of the person.
    pub full_name: &'a str,
    /// What it may.
    pub role: Role,
    /// Argon2id hash; none for a directory's.
    pub password: Option<&'a str>,
}

/// What is changed of an account; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange<'a> {
    /// What it may.
    pub role: Option<Role>,
    /// Whether it may nothing.
    pub disabled: Option<bool>,
    /// Argon2id hash.
    pub password: Option<&'a str>,
    /// Of the person.
    pub full_name: Option<&'a str>,
}

/// What came of a change to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is so now.
    Done(AccountRow),
    /// There is no such account.
    Absent,
    /// One of this name exists.
    Exists,
    /// It is the last owner that can sign in.
    LastOwner,
}

/// A technician at a Mac.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass<'a> {
    /// Digest of the pass.
    pub token: Digest,
    /// Who.
    pub account: i64,
    /// At which Mac.
    pub device: i64,
    /// Which start of its runner.
    pub receipt_key: &'a str,
    /// Until when.
    pub expires_ms: i64,
}

/// Passes that are kept of a Mac, the newest.
const MOST_PASSES: i64 = 4;

const COLUMNS: &str = "id, domain, name, full_name, role, disabled, created_ms, signed_in_ms, checked_ms";

impl AccountRow {
    /// `ana`, `ana@EXAMPLE`: how people are shown it, and how records name it.
    pub fn shown(&self) -> String {
        shown(&self.domain, &self.name)
    }
}

/// Name of an account with its directory.
pub fn shown(domain: &str, name: &str) -> String {
    if domain.is_empty() { name.to_owned() } else { format!("{name}@{domain}") }
}

impl Db {
    /// All accounts, the appliance's own first.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, DbError> {
        let text = format!("SELECT {COLUMNS} FROM account ORDER BY domain, name");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&self.read).await?;
        rows.iter().map(account).collect()
    }

    /// One account.
    pub async fn account(&self, domain: &str, name: &str) -> Result<Option<AccountRow>, DbError> {
        let text = format!("SELECT {COLUMNS} FROM account WHERE domain = $1 AND name = $2");
        let row =
            sqlx::query(sqlx::AssertSqlSafe(text)).bind(domain).bind(name).fetch_optional(&self.read).await?;
        row.as_ref().map(account).transpose()
    }

    /// The hash of an account's password.
    pub async fn password(&self, account: i64) -> Result<Option<String>, DbError> {
        let hash = sqlx::query_scalar("SELECT password FROM account WHERE id = $1").bind(account);
        Ok(hash.fetch_optional(&self.read).await?.flatten())
    }

    /// Whether there is any account, disabled ones too.
    pub async fn any_account(&self) -> Result<bool, DbError> {
        let one: Option<i64> =
            sqlx::query_scalar("SELECT id FROM account LIMIT 1").fetch_optional(&self.read).await?;
        Ok(one.is_some())
    }

    /// Makes an account.
    pub async fn add_account(&self, new: &NewAccount<'_>, now_ms: i64) -> Result<Changed, DbError> {
        let mut tx = self.begin().await?;
        let made = insert(&mut tx, new, now_ms).await?;
        if let Changed::Done(account) = &made {
            record(&mut tx, Change { after: Some(told(account)), ..Change::of(object(account), now_ms) })
                .await?;
            tx.commit().await?;
        }
        Ok(made)
    }

    /// Changes an account. A new password, another role or a lock ends its sessions.
    pub async fn change_account(
        &self,
        domain: &str,
        name: &str,
        change: &AccountChange<'_>,
    ) -> Result<Changed, DbError> {
        let mut tx = self.begin().await?;
        let Some(before) = find(&mut tx, domain, name).await? else { return Ok(Changed::Absent) };
        let role = change.role.unwrap_or(before.role);
        let disabled = change.disabled.unwrap_or(before.disabled);
        sqlx::query(
            "UPDATE account SET role = $2, disabled = $3, password = COALESCE($4, password), full_name = COALESCE($5, full_name)
             WHERE id = $1",
        )
        .bind(before.id)
        .bind(word(&role))
        .bind(disabled)
        .bind(change.password)
        .bind(change.full_name)
        .execute(&mut *tx)
        .await?;
        if before.role == Role::Owner && (role != Role::Owner || disabled) && !has_owner(&mut tx).await? {
            return Ok(Changed::LastOwner);
        }
        if role != before.role || disabled || change.password.is_some() {
            end_sessions(&mut tx, before.id).await?;
        }
        let after = AccountRow {
            role,
            disabled,
            full_name: change.full_name.map_or(before.full_name.clone(), str::to_owned),
            ..before.clone()
        };
        let mut told_after = told(&after);
        if change.password.is_some() {
            told_after["password"] = "set anew".into();
        }
        let told =
            Change { before: Some(told(&before)), after: Some(told_after), ..Change::of(object(&after), 0) };
        record(&mut tx, told).await?;
        tx.commit().await?;
        Ok(Changed::Done(after))
    }

    /// Removes an account with its sessions and tokens. What it did stays told by its name.
    pub async fn remove_account(&self, domain: &str, name: &str) -> Result<Changed, DbError> {
        let mut tx = self.begin().await?;
        let Some(before) = find(&mut tx, domain, name).await? else { return Ok(Changed::Absent) };
        end_sessions(&mut tx, before.id).await?;
        sqlx::query("DELETE FROM api_token WHERE account = $1").bind(before.id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM account WHERE id = $1").bind(before.id).execute(&mut *tx).await?;
        if before.role == Role::Owner && !before.disabled && !has_owner(&mut tx).await? {
            return Ok(Changed::LastOwner);
        }
        record(&mut tx, Change { before: Some(told(&before)), ..Change::of(object(&before), 0) }).await?;
        tx.commit().await?;
        Ok(Changed::Done(before))
    }

    /// Ends whatever an account is signed in to. False when there is no such account.
    pub async fn end_all_sessions(&self, domain: &str, name: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let Some(account) = find(&mut tx, domain, name).await? else { return Ok(false) };
        end_sessions(&mut tx, account.id).await?;
        record(&mut tx, Change::of(object(&account), 0)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes that somebody signed in with an account.
    pub async fn note_sign_in(&self, account: i64, now_ms: i64) -> Result<(), DbError> {
        sqlx::query("UPDATE account SET signed_in_ms = $2 WHERE id = $1")
            .bind(account)
            .bind(now_ms)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// A technician signed in at a Mac.
    pub async fn add_pass(&self, pass: &Pass<'_>, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "DELETE FROM technician WHERE expires_ms < $1 OR device = $2 AND token NOT IN
             (SELECT token FROM technician WHERE device = $2 ORDER BY began_ms DESC LIMIT $3)",
        )
        .bind(now_ms)
        .bind(pass.device)
        .bind(MOST_PASSES - 1)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO technician (token, account, device, receipt_key, began_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(pass.token.to_string())
        .bind(pass.account)
        .bind(pass.device)
        .bind(pass.receipt_key)
        .bind(now_ms)
        .bind(pass.expires_ms)
        .execute(&mut *tx)
        .await?;
        let at = Some(serde_json::json!({ "device": pass.device }));
        let object = format!("device {}", pass.device);
        record(
            &mut tx,
            Change { action: Some("technician.sign-in"), after: at, ..Change::of(object, now_ms) },
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Who a pass is of: for its Mac and this start of its runner only, and while the account may.
    pub async fn technician(
        &self,
        token: Digest,
        device: i64,
        receipt_key: &str,
        now_ms: i64,
    ) -> Result<Option<AccountRow>, DbError> {
        let row = sqlx::query(
            "SELECT a.id, a.domain, a.name, a.full_name, a.role, a.disabled, a.created_ms, a.signed_in_ms, a.checked_ms
             FROM technician t JOIN account a ON a.id = t.account
             WHERE t.token = $1 AND t.device = $2 AND t.receipt_key = $3 AND t.expires_ms > $4 AND a.disabled = $5
               AND (a.domain = '' OR a.checked_ms > $6)",
        )
        .bind(token.to_string())
        .bind(device)
        .bind(receipt_key)
        .bind(now_ms)
        .bind(false)
        .bind(now_ms - BELIEVED_MS)
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(account).transpose()
    }

    /// Whose pass it is and until when, for its Mac and this start of its runner: in whose name something is recorded. Whether the
    /// account may do it is another question.
    pub async fn pass_holder(
        &self,
        token: Digest,
        device: i64,
        receipt_key: &str,
    ) -> Result<Option<(String, i64)>, DbError> {
        let row = sqlx::query(
            "SELECT a.domain, a.name, t.expires_ms FROM technician t JOIN account a ON a.id = t.account
             WHERE t.token = $1 AND t.device = $2 AND t.receipt_key = $3",
        )
        .bind(token.to_string())
        .bind(device)
        .bind(receipt_key)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((shown(row.try_get(0)?, row.try_get(1)?), row.try_get(2)?)))
    }

    /// A technician leaves a Mac.
    pub async fn end_pass(&self, token: Digest, device: i64, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "SELECT a.domain, a.name FROM technician t JOIN account a ON a.id = t.account
             WHERE t.token = $1 AND t.device = $2",
        )
        .bind(token.to_string())
        .bind(device)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(()) };
        let who = shown(row.try_get(0)?, row.try_get(1)?);
        sqlx::query("DELETE FROM technician WHERE token = $1 AND device = $2")
            .bind(token.to_string())
            .bind(device)
            .execute(&mut *tx)
            .await?;
        let left = Change::of(format!("device {device}"), now_ms);
        record(&mut tx, Change { action: Some("technician.sign-out"), by: Some(&who), ..left }).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// What the audit log calls it.
fn object(account: &AccountRow) -> String {
    format!("user {}", account.shown())
}

/// What the audit log is told of it.
fn told(account: &AccountRow) -> serde_json::Value {
    serde_json::json!({ "role": account.role, "disabled": account.disabled, "full_name": account.full_name })
}

pub(super) async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    new: &NewAccount<'_>,
    now_ms: i64,
) -> Result<Changed, DbError> {
    if find(tx, new.domain, new.name).await?.is_some() {
        return Ok(Changed::Exists);
    }
    let id = next_number(tx, "account").await?;
    sqlx::query(
        "INSERT INTO account (id, domain, name, full_name, role, password, disabled, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(new.domain)
    .bind(new.name)
    .bind(new.full_name)
    .bind(word(&new.role))
    .bind(new.password)
    .bind(false)
    .bind(now_ms)
    .execute(&mut **tx)
    .await?;
    Ok(Changed::Done(AccountRow {
        id,
        domain: new.domain.to_owned(),
        name: new.name.to_owned(),
        full_name: new.full_name.to_owned(),
        role: new.role,
        disabled: false,
        created_ms: now_ms,
        signed_in_ms: None,
        checked_ms: None,
    }))
}

pub(super) async fn find(
    tx: &mut Transaction<'static, Sqlite>,
    domain: &str,
    name: &str,
) -> Result<Option<AccountRow>, DbError> {
    let text = format!("SELECT {COLUMNS} FROM account WHERE domain = $1 AND name = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(text)).bind(domain).bind(name).fetch_optional(&mut **tx).await?;
    row.as_ref().map(account).transpose()
}

/// Whether an owner that can sign in without a directory is left.
pub(super) async fn has_owner(tx: &mut Transaction<'static, Sqlite>) -> Result<bool, DbError> {
    let one: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM account WHERE role = $1 AND disabled = $2 AND password IS NOT NULL LIMIT 1",
    )
    .bind(word(&Role::Owner))
    .bind(false)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(one.is_some())
}

/// Ends whatever an account is signed in to.
pub(super) async fn end_sessions(tx: &mut Transaction<'static, Sqlite>, account: i64) -> Result<(), DbError> {
    sqlx::query("DELETE FROM technician WHERE account = $1").bind(account).execute(&mut **tx).await?;
    sqlx::query("DELETE FROM sign_in WHERE account = $1").bind(account).execute(&mut **tx).await?;
    Ok(())
}

pub(super) fn account(row: &SqliteRow) -> Result<AccountRow, DbError> {
    Ok(AccountRow {
        id: row.try_get(0)?,
        domain: row.try_get(1)?,
        name: row.try_get(2)?,
        full_name: row.try_get(3)?,
        role: from_word("role", row.try_get(4)?)?,
        disabled: row.try_get(5)?,
        created_ms: row.try_get(6)?,
        signed_in_ms: row.try_get(7)?,
        checked_ms: row.try_get(8)?,
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

    #[tokio::test]
    async fn the_last_owner_stays() {
        let (_folder, db) = opened().await;
        assert!(matches!(db.add_account(&OWNER, 1).await.unwrap(), Changed::Done(_)));
        assert_eq!(db.add_account(&OWNER, 1).await.unwrap(), Changed::Exists);
        let lesser = AccountChange { role: Some(Role::Administrator), ..AccountChange::default() };
        let locked = AccountChange { disabled: Some(true), ..AccountChange::default() };
        for change in [&lesser, &locked] {
            assert_eq!(db.change_account("", "ana", change).await.unwrap(), Changed::LastOwner);
        }
        assert_eq!(db.remove_account("", "ana").await.unwrap(), Changed::LastOwner);
        let directory = NewAccount { domain: "EX", name: "eva", password: None, ..OWNER };
        db.add_account(&directory, 1).await.unwrap();
        assert_eq!(
            db.remove_account("", "ana").await.unwrap(),
            Changed::LastOwner,
            "a directory may be gone"
        );
        db.add_account(&NewAccount { name: "bo", ..OWNER }, 1).await.unwrap();
        assert!(matches!(db.remove_account("", "ana").await.unwrap(), Changed::Done(_)));
        assert_eq!(db.accounts().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_pass_is_good_at_its_mac_for_its_runner_until_it_expires_or_the_account_is_locked() {
        let (_folder, db) = opened().await;
        db.add_account(&OWNER, 1).await.unwrap();
        let Changed::Done(bo) = db.add_account(&NewAccount { name: "bo", ..OWNER }, 1).await.unwrap() else {
            panic!("made")
        };
        let token = Digest::of(b"pass");
        let pass = Pass { token, account: bo.id, device: 7, receipt_key: "k", expires_ms: 100 };
        db.add_pass(&pass, 1).await.unwrap();
        let who = async |device, key, now| {
            db.technician(token, device, key, now).await.unwrap().map(|account| account.name)
        };
        assert_eq!(who(7, "k", 99).await.as_deref(), Some("bo"));
        assert_eq!(who(8, "k", 99).await, None);
        assert_eq!(who(7, "other", 99).await, None);
        assert_eq!(who(7, "k", 100).await, None);
        let locked = AccountChange { disabled: Some(true), ..AccountChange::default() };
        db.change_account("", "bo", &locked).await.unwrap();
        assert_eq!(who(7, "k", 99).await, None);
    }
}
