//! Accounts: who somebody is, by name and password.
//!
//! In reading order: `password`, `lockout`, `setup`, `directory`, this file.
//!
//! Owns: the way from a name and a password to an account, and what it costs to guess. Must not know: HTTP, what an account
//! is wanted for.

pub mod directory;
pub mod lockout;
pub mod password;
pub mod setup;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::directory::{Directory, DirectoryError, Person};
use self::lockout::{Lockout, Try, Wait};
use super::config::Ldap;
use super::http::error::chain;
use super::secrets::{CannotUnseal, SecretKey};
use crate::api::sign_in::LOCAL;
use crate::db::{AccountRow, Change, Db, DbError, FromDirectory};
use crate::server::token::NoRandomness;
use crate::value::Secret;

/// Passwords that are looked at at the same time: each takes memory and a core.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// How often people of a directory are asked after there.
pub const ASK_AFTER: Duration = Duration::from_secs(60);
/// How old the answer about one may be, in milliseconds.
const ASKED_MS: i64 = 15 * 60_000;
/// Name of the directory's bind password among the sealed settings, and what it is sealed for.
const BIND_PASSWORD: &str = "ldap.password";
/// Longest name of an account, and of its domain.
const LONGEST_NAME: usize = 64;
/// Longest name as it is typed, a mail address too.
const LONGEST_TYPED: usize = 128;

/// All accounts of an appliance.
pub struct Accounts {
    db: Db,
    secrets: Arc<SecretKey>,
    directory: Option<Directory>,
    lockout: Lockout,
    turn: Arc<Semaphore>,
}

/// Where an account is.
enum Place<'a> {
    Local,
    Directory(&'a Directory),
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
    /// In no group that has a role.
    #[error("{0} is in no group of the directory that has a role here")]
    NoRole(String),
    /// The directory says nothing.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its bind password cannot be opened.
    #[error(transparent)]
    Sealed(#[from] CannotUnseal),
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Accounts {
    /// Over this database, and a directory if there is one.
    pub fn new(db: Db, secrets: Arc<SecretKey>, ldap: Option<Ldap>) -> Accounts {
        let (directory, lockout) = (ldap.map(Directory::new), Lockout::default());
        Accounts { db, secrets, directory, lockout, turn: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The directory, if there is one.
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// Whether there are accounts. Disabled ones count: an appliance does not open up because one was locked.
    ///
    /// # Errors
    /// The database.
    pub async fn are_in_use(&self) -> Result<bool, DbError> {
        Ok(self.directory.is_some() || self.db.any_account().await?)
    }

    /// Counts a try at something else that can be guessed; [`Accounts::forgive`] takes it back.
    ///
    /// # Errors
    /// [`SignInError::Wait`].
    pub fn count(&self, what: &str, from: Option<IpAddr>, now_ms: i64) -> Result<Try, SignInError> {
        self.lockout.attempt(what, from, now_ms).map_err(SignInError::Wait)
    }

    /// The try was right.
    pub fn forgive(&self, counted: &Try) {
        self.lockout.forgive(counted);
    }

    /// Where accounts may be, as the log in page offers them.
    pub fn domains(&self) -> Vec<String> {
        // Most people are in the directory.
        let directory = self.directory.iter().map(|directory| directory.settings().domain.clone());
        directory.chain([LOCAL.to_owned()]).collect()
    }

    /// The account, when name and password are right.
    ///
    /// # Errors
    /// See [`SignInError`].
    pub async fn sign_in(&self, attempt: &Attempt<'_>) -> Result<AccountRow, SignInError> {
        let (domain, name) = split(attempt.domain, attempt.name);
        let too_long = attempt.password.expose().len() > password::LONGEST;
        if name.is_empty() || name.chars().count() > LONGEST_TYPED || too_long {
            return Err(SignInError::Wrong);
        }
        let (place, name) = self.place(domain, name, attempt.name).await?;
        let counted = self.lockout.attempt(&name, attempt.from, attempt.now_ms).map_err(SignInError::Wait)?;
        let found = match place {
            Place::Local => self.local(&name, attempt).await,
            Place::Directory(directory) => self.of_directory(directory, &name, attempt).await,
        };
        match &found {
            Ok(_) | Err(SignInError::Disabled(_) | SignInError::NoRole(_)) => self.lockout.forgive(&counted),
            Err(SignInError::Wrong) => self.note_failure(&name, counted.failures, attempt).await?,
            // Nobody looked at the password.
            Err(_) => self.lockout.undo(&counted),
        }
        found
    }

    /// A failure is told in the log; one that locks an account that exists also on record. Names that are made up are not: the
    /// record is kept for ever, and strangers could fill it.
    async fn note_failure(&self, name: &str, failures: u32, attempt: &Attempt<'_>) -> Result<(), DbError> {
        let from = attempt.from.map(|from| from.to_canonical().to_string());
        let shown = from.as_ref().map_or(String::new(), |from| format!(" from {from}"));
        tracing::warn!(failures, "a sign-in as {name:?} failed{shown}");
        if failures <= lockout::ACCOUNT.free || self.db.account("", name).await?.is_none() {
            return Ok(());
        }
        let after = serde_json::json!({ "failures": failures, "from": from });
        let change = Change {
            action: Some("session.locked"),
            after: Some(after),
            by: Some("somebody"),
            ..Change::of(format!("user {name}"), attempt.now_ms)
        };
        self.db.audit(change).await
    }

    /// Where an account is looked for, and by what name: a domain that was typed says it, else the appliance's own come first.
    async fn place(
        &self,
        domain: Option<&str>,
        name: String,
        typed: &str,
    ) -> Result<(Place<'_>, String), SignInError> {
        let directory = self.directory.as_ref();
        match (domain, directory) {
            (Some(domain), _) if domain.eq_ignore_ascii_case(LOCAL) => Ok((Place::Local, name)),
            (Some(domain), Some(directory)) if domain.eq_ignore_ascii_case(&directory.settings().domain) => {
                Ok((Place::Directory(directory), name))
            }
            // `ana@mail.example.org` may be a name that the directory's filter knows.
            (Some(_), Some(directory)) if typed.contains('@') => {
                Ok((Place::Directory(directory), typed.trim().to_lowercase()))
            }
            (Some(domain), _) => Err(SignInError::NoDomain(domain.chars().take(LONGEST_NAME).collect())),
            (None, Some(directory)) if self.db.account("", &name).await?.is_none() => {
                Ok((Place::Directory(directory), name))
            }
            (None, _) => Ok((Place::Local, name)),
        }
    }

    async fn local(&self, name: &str, attempt: &Attempt<'_>) -> Result<AccountRow, SignInError> {
        let found = self.db.account("", name).await?;
        let hash = match &found {
            Some(account) => self.db.password(account.id).await?,
            None => None,
        };
        let right = self.is_right(attempt.password, hash).await?;
        let account = found.filter(|_| right).ok_or(SignInError::Wrong)?;
        if account.disabled {
            return Err(SignInError::Disabled(account.shown()));
        }
        self.db.note_sign_in(account.id, attempt.now_ms).await?;
        Ok(account)
    }

    async fn of_directory(
        &self,
        directory: &Directory,
        name: &str,
        attempt: &Attempt<'_>,
    ) -> Result<AccountRow, SignInError> {
        let bind = self.bind_password().await?;
        let person = directory.authenticate(name, attempt.password, bind.as_ref()).await?;
        let person = person.ok_or(SignInError::Wrong)?;
        let domain = directory.settings().domain.as_str();
        let Some(role) = person.role else {
            self.db.lost_by_directory(domain, &person.name, attempt.now_ms).await?;
            return Err(SignInError::NoRole(format!("{}@{domain}", person.name)));
        };
        let said = FromDirectory { domain, name: &person.name, full_name: &person.full_name, role };
        let account = self.db.heard_from_directory(&said, true, attempt.now_ms).await?;
        if account.disabled {
            return Err(SignInError::Disabled(account.shown()));
        }
        Ok(account)
    }

    /// Whom a name means in the directory; none without one.
    ///
    /// # Errors
    /// See [`SignInError`].
    pub async fn look_up(&self, name: &str) -> Result<Option<Person>, SignInError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let bind = self.bind_password().await?;
        Ok(directory.look_up(name, bind.as_ref()).await?)
    }

    /// Asks the directory after everybody of it who is signed in somewhere or has a token.
    pub async fn ask_after_people(&self, now_ms: i64) {
        if let Err(error) = self.ask_after(now_ms).await {
            tracing::warn!("asking the directory after people: {}", chain(&error));
        }
    }

    async fn ask_after(&self, now_ms: i64) -> Result<(), SignInError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let domain = directory.settings().domain.as_str();
        for account in self.db.to_be_asked_after(domain, now_ms - ASKED_MS).await? {
            let person = self.look_up(&account.name).await?.filter(|person| person.name == account.name);
            match person.and_then(|person| Some((person.role?, person.full_name))) {
                Some((role, full_name)) => {
                    let said = FromDirectory { domain, name: &account.name, full_name: &full_name, role };
                    self.db.heard_from_directory(&said, false, now_ms).await?;
                }
                None => {
                    tracing::warn!(
                        "{} has no role in the directory any more and is signed out",
                        account.shown()
                    );
                    self.db.lost_by_directory(domain, &account.name, now_ms).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether the password of the account that searches is set.
    ///
    /// # Errors
    /// The database.
    pub async fn has_bind_password(&self) -> Result<bool, DbError> {
        Ok(self.db.sealed_setting(BIND_PASSWORD).await?.is_some())
    }

    /// Sets it.
    ///
    /// # Errors
    /// The database.
    pub async fn set_bind_password(&self, password: &Secret) -> Result<(), DbError> {
        self.db.set_sealed_setting(BIND_PASSWORD, &self.secrets.seal(BIND_PASSWORD, password.expose())).await
    }

    /// The password of the account that searches the directory; none: it is not set.
    ///
    /// # Errors
    /// The database; one that does not open.
    pub async fn bind_password(&self) -> Result<Option<Secret>, SignInError> {
        let Some(sealed) = self.db.sealed_setting(BIND_PASSWORD).await? else { return Ok(None) };
        Ok(Some(Secret::new(self.secrets.unseal(BIND_PASSWORD, &sealed)?)))
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
        let secrets = SecretKey::open(&folder.path().join("secrets.key")).unwrap();
        let accounts = Accounts::new(db, Arc::new(secrets), None);
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
