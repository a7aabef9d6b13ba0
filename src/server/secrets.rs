//! The key that secrets at rest are sealed with: `keys/secrets.key`, outside the database and never in a backup of it.
//!
//! A sealed text is `sealed.v1.KEY.HEX`: the first 8 digits of the key's fingerprint, then nonce and AES-256-GCM (NIST SP
//! 800-38D) of the text. The nonce is the beginning of an HMAC of context and text, so the same text is sealed the same
//! way: who has the database sees that two secrets are equal, and nothing else. Must not know: what is sealed.

use std::fmt::Write;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::data::{read_small, write_durably};

/// How every sealed text begins.
const HEAD: &str = "sealed.v1.";

/// The key.
pub struct SecretKey {
    key: LessSafeKey,
    nonces: hmac::Key,
    id: String,
}

/// The key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or made.
    #[error("the key of secrets {} cannot be read or made", path.display())]
    File {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no key.
    #[error("{} is no key of secrets: 64 hexadecimal digits; put the right file back", .0.display())]
    Damaged(std::path::PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for the key of secrets")]
    NoRandomness,
}

/// A sealed text that this key does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUnseal {
    /// Sealed with another key.
    #[error(
        "a secret was sealed with the key {sealed}, this appliance has {own}: put its keys/secrets.key back, or set the secret anew"
    )]
    OtherKey {
        /// Its key.
        sealed: String,
        /// Ours.
        own: String,
    },
    /// Changed, or sealed for something else.
    #[error("a sealed secret is damaged: set it anew")]
    Damaged,
}

/// Whether a text is sealed.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(HEAD)
}

impl SecretKey {
    /// Reads the key, or makes one that only this account can read.
    pub fn open(path: &Path) -> Result<SecretKey, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let text = match read_small(path).map_err(failed)? {
            Some(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            None => {
                let mut key = [0_u8; 32];
                SystemRandom::new().fill(&mut key).map_err(|_| KeyError::NoRandomness)?;
                let text = format!("{}\n", hex(&key));
                write_durably(path, text.as_bytes(), 0o600).map_err(failed)?;
                text
            }
        };
        let bytes = from_hex(text.trim()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.and_then(|bytes| SecretKey::new(&bytes)).ok_or_else(|| KeyError::Damaged(path.to_owned()))
    }

    fn new(bytes: &[u8; 32]) -> Option<SecretKey> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let derived = |label: &str| hmac::sign(&master, label.as_bytes());
        let key = UnboundKey::new(&AES_256_GCM, derived("rootstock secrets: encryption").as_ref()).ok()?;
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, derived("rootstock secrets: nonces").as_ref());
        let id = hex(derived("rootstock secrets: fingerprint").as_ref().get(..4)?);
        Some(SecretKey { key: LessSafeKey::new(key), nonces, id })
    }

    /// Seals a text; it opens in the same context only.
    pub fn seal(&self, context: &str, text: &str) -> String {
        let mut signing = hmac::Context::with_key(&self.nonces);
        signing.update(context.as_bytes());
        signing.update(&[0]);
        signing.update(text.as_bytes());
        let mut nonce = [0_u8; NONCE_LEN];
        nonce.iter_mut().zip(signing.sign().as_ref()).for_each(|(to, from)| *to = *from);
        let mut bytes = text.as_bytes().to_vec();
        let aad = Aad::from(context.as_bytes());
        let sealed = self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes);
        // Only a text of 64 GiB cannot be sealed; nothing here comes near.
        if sealed.is_err() {
            bytes.clear();
        }
        format!("{HEAD}{}.{}{}", self.id, hex(&nonce), hex(&bytes))
    }

    /// The text behind a sealed one.
    pub fn unseal(&self, context: &str, sealed: &str) -> Result<String, CannotUnseal> {
        let rest = sealed.strip_prefix(HEAD).ok_or(CannotUnseal::Damaged)?;
        let (id, digits) = rest.split_once('.').ok_or(CannotUnseal::Damaged)?;
        if id != self.id {
            let sealed = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
            return Err(CannotUnseal::OtherKey { sealed, own: self.id.clone() });
        }
        let mut bytes = from_hex(digits).ok_or(CannotUnseal::Damaged)?;
        if bytes.len() < NONCE_LEN {
            return Err(CannotUnseal::Damaged);
        }
        let mut text = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| CannotUnseal::Damaged)?;
        let open = self.key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text);
        let open = open.map_err(|_| CannotUnseal::Damaged)?;
        String::from_utf8(open.to_vec()).map_err(|_| CannotUnseal::Damaged)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.len().is_multiple_of(2).then_some(())?;
    digits.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_in_the_same_context_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        let key = SecretKey::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = key.seal("variable", "hünter2\n");
        assert!(is_sealed(&sealed) && !sealed.contains("nter"));
        let again = SecretKey::open(&path).unwrap();
        assert_eq!(again.seal("variable", "hünter2\n"), sealed, "the same text, the same words");
        assert_eq!(again.unseal("variable", &sealed).unwrap(), "hünter2\n");
        assert_eq!(again.unseal("event", &sealed), Err(CannotUnseal::Damaged));
        let other = SecretKey::open(&folder.path().join("other.key")).unwrap();
        assert!(matches!(other.unseal("variable", &sealed), Err(CannotUnseal::OtherKey { .. })));
    }

    #[test]
    fn a_changed_text_and_a_damaged_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        let key = SecretKey::open(&path).unwrap();
        let sealed = key.seal("variable", "x");
        for at in [sealed.len() - 1, sealed.len() - 40] {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(
                key.unseal("variable", &String::from_utf8(bytes).unwrap()),
                Err(CannotUnseal::Damaged)
            );
        }
        for text in ["", "sealed.v1.", "sealed.v1.x.", &sealed[..30]] {
            assert!(key.unseal("variable", text).is_err(), "{text}");
        }
        fs::write(&path, "short").unwrap();
        assert!(matches!(SecretKey::open(&path), Err(KeyError::Damaged(_))));
    }
}
