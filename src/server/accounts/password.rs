//! Passwords: which are taken, and their Argon2id hashes (RFC 9106) as PHC strings.
//!
//! Owns: cost, salt, the rule. Must not know: whose a password is.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};

use crate::server::token::NoRandomness;
use crate::value::Secret;

/// Characters of a password at least and bytes at most. NIST SP 800-63B section 5.1.1.2 asks for 8 at least; this box
/// erases disks.
pub const SHORTEST: usize = 10;
/// See [`SHORTEST`].
pub const LONGEST: usize = 256;

/// Memory in KiB, passes, lanes: the second of OWASP's equal choices, 19 MiB and about 30 ms on this machine.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short.
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    /// Too long.
    #[error("a password has at most {LONGEST} bytes")]
    Long,
    /// Cannot be typed everywhere.
    #[error("a password holds no control characters")]
    Control,
    /// The name, or one character again and again.
    #[error("a password is neither the account's name nor one character repeated")]
    Obvious,
}

/// Looks at a password before it is taken for an account.
///
/// # Errors
/// See [`BadPassword`].
pub fn check(password: &Secret, name: &str) -> Result<(), BadPassword> {
    let text = password.expose();
    let first = text.chars().next();
    if text.chars().count() < SHORTEST {
        Err(BadPassword::Short)
    } else if text.len() > LONGEST {
        Err(BadPassword::Long)
    } else if text.chars().any(char::is_control) {
        Err(BadPassword::Control)
    } else if text.to_lowercase() == name.to_lowercase() || text.chars().all(|c| Some(c) == first) {
        Err(BadPassword::Obvious)
    } else {
        Ok(())
    }
}

/// The hash of a password with a new salt. Takes tens of milliseconds: not on a thread that others wait for.
///
/// # Errors
/// [`NoRandomness`].
pub fn hash(password: &Secret) -> Result<String, NoRandomness> {
    let mut salt = [0_u8; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
    let hash = hasher().hash_password_with_salt(password.expose().as_bytes(), &salt);
    // Only a cost or a salt out of range fails, and both are constants.
    Ok(hash.map(|hash| hash.to_string()).unwrap_or_else(|error| unreachable!("Argon2id: {error}")))
}

/// Whether this is the password; without a hash the same work is done, so that the time tells nothing about names.
pub fn is_right(password: &Secret, hash: Option<&str>) -> bool {
    static NOBODYS: LazyLock<String> = LazyLock::new(|| hash_of_nothing().unwrap_or_else(|_| String::new()));
    let known = hash.is_some();
    let hash = hash.unwrap_or(&NOBODYS);
    let right =
        PasswordVerifier::<str>::verify_password(&hasher(), password.expose().as_bytes(), hash).is_ok();
    right && known
}

fn hash_of_nothing() -> Result<String, NoRandomness> {
    hash(&Secret::new("nobody's"))
}

fn hasher() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.unwrap_or(Params::DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_7_a_hash_is_argon2id_with_its_own_salt_and_knows_its_password_only() {
        let password = Secret::new("correct horse ü");
        let (one, other) = (hash(&password).unwrap(), hash(&password).unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        assert!(is_right(&password, Some(&one)));
        assert!(!is_right(&Secret::new("correct horse u"), Some(&one)));
        assert!(!is_right(&password, None) && !is_right(&Secret::new("nobody's"), None));
        assert!(!is_right(&password, Some("damaged")));
    }

    #[test]
    fn a_password_that_anybody_guesses_is_not_taken() {
        for (text, why) in [
            ("short", BadPassword::Short),
            ("aaaaaaaaaaaa", BadPassword::Obvious),
            ("Administrator", BadPassword::Obvious),
            ("a line\nend of it", BadPassword::Control),
        ] {
            assert_eq!(check(&Secret::new(text), "administrator"), Err(why), "{text}");
        }
        assert_eq!(check(&Secret::new("x".repeat(300)), "a"), Err(BadPassword::Long));
        assert_eq!(check(&Secret::new("correct horse"), "ana"), Ok(()));
    }
}
