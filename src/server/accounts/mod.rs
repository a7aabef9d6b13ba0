//! Accounts: who somebody is, by name and password.
//!
//! In reading order: `password`, `lockout`, this file.
//!
//! Owns: the way from a name and a password to an account, and what it costs to guess. Must not know: HTTP, what an account
//! is wanted for.

pub mod lockout;
pub mod password;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::lockout::{Lockout, Wait};
use crate::api::sign_in::LOCAL;
use crate::db::{AccountRow, Db, DbError};
use crate::server::token::NoRandomness;
use crate::value::Secret;

/// Passwords that are looked at at the same time: each takes memory and a core.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// Longest name of an account, and of its domain.
const LONGEST_NAME: usize = 64;

/// All accounts of an appliance.
pub struct Accounts {
    db: Db,
    lockout: Lockout,
    turn: Arc<Semaphore>,
}

/// Somebody wants to be an account.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// [`LOCAL`] or a directory; none: wherever the name is found.
    pub domain: Option<&'a str>,
    /// As typed.
    pub name: &'a str,
    /// As typed.
    pub password: &'a Secret,
    /// From where; none: on this machine.
    pub from: Option<IpAddr>,
    /// Now.
    pub now_ms: i64,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Which of the two is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// The password is right, the account is not to be used.
    #[error("the account {0} is disabled")]
    Disabled(String),
    /// Too many failures.
    #[error("too many sign-ins failed {}; the next try is possible in {} s", if .0.address { "from this address" } else { "with this name" }, .0.seconds)]
    Wait(Wait),
    /// Too many sign in at the same time.
    #[error("too many people sign in at this moment")]
    Busy,
    /// The domain is neither here nor a directory.
    #[error("there is no domain {0:?}")]
    NoDomain(String),
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Accounts {
    /// Over this database.
    pub fn new(db: Db) -> Accounts {
        Accounts { db, lockout: Lockout::default(), turn: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether there are accounts. Disabled ones count: an appliance does not open up because one was locked.
    ///
    /// # Errors
    /// The database.
    pub async fn are_in_use(&self) -> Result<bool, DbError> {
        self.db.any_account().await
    }

    /// Where accounts may be, as the log in page offers them.
    pub fn domains(&self) -> Vec<String> {
        vec![LOCAL.to_owned()]
    }

    /// The account, when name and password are right.
    ///
    /// # Errors
    /// See [`SignInError`].
    pub async fn sign_in(&self, attempt: &Attempt<'_>) -> Result<AccountRow, SignInError> {
        let (domain, name) = split(attempt.domain, attempt.name);
        if name.is_empty()
            || name.chars().count() > LONGEST_NAME
            || attempt.password.expose().len() > password::LONGEST
        {
            return Err(SignInError::Wrong);
        }
        if let Some(domain) = domain
            && !domain.eq_ignore_ascii_case(LOCAL)
        {
            return Err(SignInError::NoDomain(domain.chars().take(LONGEST_NAME).collect()));
        }
        let counted = self.lockout.attempt(&name, attempt.from, attempt.now_ms).map_err(SignInError::Wait)?;
        let found = self.db.account("", &name).await?;
        let hash = match &found {
            Some(account) => self.db.password(account.id).await?,
            None => None,
        };
        let right = self.is_right(attempt.password, hash).await;
        if matches!(right, Err(SignInError::Busy)) {
            self.lockout.undo(&counted);
        }
        match found {
            Some(account) if right? => {
                self.lockout.forgive(&counted);
                if account.disabled {
                    return Err(SignInError::Disabled(account.shown()));
                }
                self.db.note_sign_in(account.id, attempt.now_ms).await?;
                Ok(account)
            }
            _ => {
                tracing::warn!(
                    failures = counted.failures,
                    "a sign-in as {name:?} failed{}",
                    attempt.from.map_or(String::new(), |from| format!(" from {}", from.to_canonical()))
                );
                Err(SignInError::Wrong)
            }
        }
    }

    async fn is_right(&self, password: &Secret, hash: Option<String>) -> Result<bool, SignInError> {
        let turn = tokio::time::timeout(TURN, self.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(SignInError::Busy) };
        let password = password.clone();
        let looked = spawn_blocking(move || {
            let _turn = turn;
            password::is_right(&password, hash.as_deref())
        });
        looked.await.map_err(|_| SignInError::Busy)
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// [`SignInError::Busy`], [`SignInError::NoRandomness`].
    pub async fn hash(&self, password: &Secret) -> Result<String, SignInError> {
        let turn = tokio::time::timeout(TURN, self.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(SignInError::Busy) };
        let password = password.clone();
        let hashed = spawn_blocking(move || {
            let _turn = turn;
            password::hash(&password)
        });
        Ok(hashed.await.map_err(|_| SignInError::Busy)??)
    }
}

/// `DOMAIN\user` and `user@domain` say the domain too; names are compared in lower case.
fn split<'a>(domain: Option<&'a str>, name: &'a str) -> (Option<&'a str>, String) {
    let name = name.trim();
    let (within, name) = match (name.split_once('\\'), name.rsplit_once('@')) {
        (Some((domain, name)), _) => (Some(domain), name),
        (None, Some((name, domain))) => (Some(domain), name),
        (None, None) => (None, name),
    };
    let domain = domain.or(within).map(str::trim).filter(|domain| !domain.is_empty());
    (domain, name.trim().to_lowercase())
}

/// Whether a text may be the name of an account.
pub fn is_account_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(inside)
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

/// The rule of [`is_account_name`], for people.
pub const ACCOUNT_NAME_RULE: &str =
    "1 to 64 small letters, digits, dots, dashes and underscores, a letter or digit first";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Role;

    #[test]
    fn a_name_may_carry_its_domain_as_windows_and_mail_write_it() {
        assert_eq!(split(None, " Ana "), (None, "ana".into()));
        assert_eq!(split(None, "EXAMPLE\\Ana"), (Some("EXAMPLE"), "ana".into()));
        assert_eq!(split(None, "ana@example.org"), (Some("example.org"), "ana".into()));
        assert_eq!(split(Some("local"), "ana@x"), (Some("local"), "ana".into()));
        assert_eq!(split(Some(" "), "ana"), (None, "ana".into()));
    }

    #[test]
    fn names_of_accounts_can_stand_in_a_path() {
        for good in ["ana", "a.b-c_d", "7of9"] {
            assert!(is_account_name(good), "{good}");
        }
        for bad in ["", "Ana", ".a", "a b", "a/b", "a@b", "ä"] {
            assert!(!is_account_name(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_locked_is_not_even_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite3")).await.unwrap();
        let accounts = Accounts::new(db);
        let (right, wrong) = (Secret::new("correct horse"), Secret::new("wrong horse"));
        let hash = accounts.hash(&right).await.unwrap();
        let new = crate::db::NewAccount {
            domain: "",
            name: "ana",
            full_name: "",
            role: Role::Technician,
            password: Some(&hash),
        };
        accounts.db.add_account(&new, 1).await.unwrap();
        let attempt = async |password, now_ms| {
            let attempt = Attempt { domain: None, name: "ana", password, from: None, now_ms };
            accounts.sign_in(&attempt).await
        };
        assert_eq!(attempt(&right, 5).await.unwrap().name, "ana");
        for _ in 0..=lockout::ACCOUNT.free {
            assert!(matches!(attempt(&wrong, 10).await, Err(SignInError::Wrong)));
        }
        assert!(matches!(attempt(&right, 10).await, Err(SignInError::Wait(_))));
        assert_eq!(attempt(&right, 10_000).await.unwrap().name, "ana");
    }
}
