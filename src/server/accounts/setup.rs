//! The one-time code that makes the first owner: shown by the start of a daemon that has no account, kept as a digest.
//!
//! Owns: its spelling, and when there is one. Must not know: pages.

use std::io::{self, Write};

use ring::rand::{SecureRandom, SystemRandom};

use crate::db::{Db, DbError};
use crate::server::token::{self, NoRandomness};
use crate::value::{Digest, Secret};

/// Crockford's base 32: no letter looks like a digit.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code: 100 bits.
const LENGTH: usize = 20;

/// A new code, `4K7QM-2XW0T-…`.
///
/// # Errors
/// [`NoRandomness`].
pub fn code() -> Result<Secret, NoRandomness> {
    let mut bytes = [0_u8; LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    let mut text = String::new();
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    Ok(Secret::new(text))
}

/// What of a code is kept and compared, however a person typed it.
pub fn digest(typed: &Secret) -> Digest {
    let letters = typed.expose().chars().take(256).filter(char::is_ascii_alphanumeric);
    let plain: String = letters
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .collect();
    token::digest(&plain)
}

/// Makes a code where there is no account, and says it where whoever started the daemon reads it.
///
/// # Errors
/// The database.
pub async fn announce(db: &Db, address: &str, hours: u32, now_ms: i64) -> Result<(), DbError> {
    if db.any_account().await? {
        return Ok(());
    }
    let Ok(code) = code() else {
        tracing::error!("no set-up code: {NoRandomness}");
        return Ok(());
    };
    if db.set_setup_code(digest(&code), now_ms + i64::from(hours) * 3_600_000).await? {
        let how = format!("open {address}/setup, or run on the appliance: rootstock user setup");
        tracing::warn!("nobody has an account here yet: {how}");
        // Not through the log: that is kept in files, and goes along with a problem report.
        let line = format!("One-time set-up code, good for {hours} hours: {}\n", code.expose());
        if let Err(error) = io::stderr().write_all(line.as_bytes()) {
            tracing::error!("the one-time set-up code could not be told: {error}; {how}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = code().unwrap();
        assert_eq!(code.expose().len(), 23);
        let typed = Secret::new(format!("  {} ", code.expose().to_lowercase().replace('-', " ")));
        assert_eq!(digest(&typed), digest(&code));
        assert_eq!(digest(&Secret::new("O1L-i")), digest(&Secret::new("0111")));
        assert_ne!(digest(&Secret::new("0111")), digest(&Secret::new("0112")));
    }
}
