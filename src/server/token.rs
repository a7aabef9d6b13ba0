//! Bearer tokens: 32 random bytes, kept only as digests.

use ring::rand::{SecureRandom, SystemRandom};

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
