//! Bearer tokens: 32 random bytes, kept only as digests.

use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::data::{read_small, write_durably};
use crate::value::{Digest, Secret};

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes; check that /dev/urandom exists")]
pub struct NoRandomness;

/// A new token, 64 hexadecimal digits.
pub fn random() -> Result<Secret, NoRandomness> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(Secret::new(Digest::from_bytes(bytes).to_string()))
}

/// What of a token is kept and compared. A token has 256 bits of chance, so a plain digest cannot be guessed back.
pub fn digest(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

/// Reads the owner's token of `keys/`, or makes it on first start; with an error comes the file.
pub fn admin(keys: &Path) -> Result<Digest, (PathBuf, io::Error)> {
    let path = keys.join("admin.token");
    let failed = |source| (path.clone(), source);
    let text = match read_small(&path).map_err(failed)? {
        Some(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        None => String::new(),
    };
    if text.trim().len() >= 32 {
        return Ok(digest(text.trim()));
    }
    let token = random().map_err(|error| failed(io::Error::other(error)))?;
    write_durably(&path, format!("{}\n", token.expose()).as_bytes(), 0o600).map_err(failed)?;
    Ok(digest(token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.expose().len(), 64);
        assert_ne!(digest(one.expose()), digest(other.expose()));
    }
}
