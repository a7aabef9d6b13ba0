//! What the appliance vouches for beside manifests: the key that follows its own, and the receipts that it keeps. All of it
//! is checked offline, with one key of the appliance that the checker knows.
//!
//! | signed with the appliance's key | over |
//! |---|---|
//! | [`KeyLink`] | the next key and since when it signs: so that an old key leads to every later one |
//! | [`KeptReceipt`] | a runner's receipt, its signature, its key, when it was kept |
//!
//! Every message begins with a purpose of its own and has its parts with their lengths. Must not know: where keys are kept.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::api::runner::Receipt;
use crate::image::manifest::{ManifestKey, Signer};

const KEY: &[u8] = b"rootstock key 1\0";
const RECEIPT: &[u8] = b"rootstock receipt 1\0";
/// Version of a [`KeptReceipt`].
pub const FORMAT: u32 = 1;
/// Links that are followed: more rotations than anybody makes.
const MOST_LINKS: usize = 1000;

/// One signing key, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeyLink {
    /// Ed25519 public key, hexadecimal.
    pub key: String,
    /// When it began to sign, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// The key before it; none: it is the first.
    pub by: Option<String>,
    /// Signature of the key before it, hexadecimal.
    pub signature: Option<String>,
}

/// A receipt as the appliance keeps and exports it: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeptReceipt {
    /// Version of this form.
    pub format: u32,
    /// The receipt, as the runner wrote and signed it: JSON.
    pub receipt: String,
    /// The runner's signature, hexadecimal.
    pub signature: String,
    /// The runner's key, which it named when it said hello.
    pub public_key: String,
    /// When the appliance took it in, milliseconds since 1970 UTC.
    pub kept_ms: i64,
    /// The appliance's signature over all of the above, hexadecimal.
    pub countersignature: String,
    /// The appliance's key that signed.
    pub countersigned_by: String,
    /// From the appliance's first key to that one.
    pub chain: Vec<KeyLink>,
}

/// Why a key or a receipt is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// Another version.
    #[error("it has form {0}, which this version does not read")]
    Format(u32),
    /// A text that should be a key or a signature.
    #[error("its {0} is not hexadecimal of the right length")]
    Spelling(&'static str),
    /// Changed after the runner signed it.
    #[error("the runner's signature does not fit: it was changed, or another runner signed it")]
    Runner,
    /// Changed after the appliance signed it.
    #[error("the countersignature does not fit: it was changed after the appliance kept it")]
    Countersignature,
    /// Not by the appliance that the checker knows.
    #[error(
        "it was countersigned with key {by}, which key {known} does not lead to: it is another appliance's"
    )]
    Stranger {
        /// The key that signed.
        by: String,
        /// The key that the checker knows.
        known: String,
    },
    /// Signed, and not readable.
    #[error("its text is no receipt")]
    Text,
}

impl KeyLink {
    /// The first key of an appliance.
    pub fn first(key: ManifestKey, since_ms: i64) -> KeyLink {
        KeyLink { key: key.to_string(), since_ms, by: None, signature: None }
    }

    /// The key that follows that of `before`.
    pub fn next(before: &Signer, key: ManifestKey, since_ms: i64) -> KeyLink {
        let key = key.to_string();
        let signature = before.vouch(KEY, &link_message(&key, since_ms));
        KeyLink { key, since_ms, by: Some(before.key().to_string()), signature: Some(hex(&signature)) }
    }

    /// Whether `known` vouches for this key.
    fn is_by(&self, known: &ManifestKey) -> bool {
        let signature = self.signature.as_deref().and_then(bytes::<64>);
        self.by.as_deref() == Some(known.to_string().as_str())
            && signature.is_some_and(|signature| {
                known.has_vouched(KEY, &link_message(&self.key, self.since_ms), &signature)
            })
    }
}

/// Whether `links` lead from the key `known` to `to`: each key signed by the one before it.
pub fn leads(links: &[KeyLink], known: ManifestKey, to: ManifestKey) -> bool {
    let mut at = known;
    for _ in 0..links.len().min(MOST_LINKS) {
        if at == to {
            return true;
        }
        let next = links.iter().find(|link| link.is_by(&at)).and_then(|link| link.key.parse().ok());
        let Some(next) = next else { return false };
        at = next;
    }
    at == to
}

impl KeptReceipt {
    /// Countersigns what a runner signed.
    pub fn new(
        signed: (String, String, String),
        kept_ms: i64,
        signer: &Signer,
        chain: Vec<KeyLink>,
    ) -> KeptReceipt {
        let (receipt, signature, public_key) = signed;
        let mut kept = KeptReceipt {
            format: FORMAT,
            receipt,
            signature,
            public_key,
            kept_ms,
            countersignature: String::new(),
            countersigned_by: signer.key().to_string(),
            chain,
        };
        kept.countersignature = hex(&signer.vouch(RECEIPT, &kept.message()));
        kept
    }

    /// Checks everything; with `known`, also that it is that appliance's.
    ///
    /// # Errors
    /// See [`NotVouched`].
    pub fn check(&self, known: Option<ManifestKey>) -> Result<Receipt, NotVouched> {
        if self.format != FORMAT {
            return Err(NotVouched::Format(self.format));
        }
        let receipt = runners_receipt(&self.receipt, &self.signature, &self.public_key)?;
        let by: ManifestKey =
            self.countersigned_by.parse().map_err(|_| NotVouched::Spelling("countersigning key"))?;
        let signature =
            bytes::<64>(&self.countersignature).ok_or(NotVouched::Spelling("countersignature"))?;
        if !by.has_vouched(RECEIPT, &self.message(), &signature) {
            return Err(NotVouched::Countersignature);
        }
        if let Some(known) = known.filter(|known| !leads(&self.chain, *known, by)) {
            return Err(NotVouched::Stranger { by: by.to_string(), known: known.to_string() });
        }
        Ok(receipt)
    }

    fn message(&self) -> Vec<u8> {
        let texts = [&self.receipt, &self.signature, &self.public_key];
        message(&texts.map(String::as_str), self.kept_ms)
    }
}

/// A receipt, believed with the signature of the runner that named this key in its hello.
///
/// # Errors
/// [`NotVouched::Spelling`], [`NotVouched::Runner`], [`NotVouched::Text`].
pub fn runners_receipt(receipt: &str, signature: &str, public_key: &str) -> Result<Receipt, NotVouched> {
    let runner: ManifestKey = public_key.parse().map_err(|_| NotVouched::Spelling("public key"))?;
    let signature = bytes::<64>(signature).ok_or(NotVouched::Spelling("signature"))?;
    if !runner.has_vouched(b"", receipt.as_bytes(), &signature) {
        return Err(NotVouched::Runner);
    }
    serde_json::from_str(receipt).map_err(|_| NotVouched::Text)
}

fn link_message(key: &str, since_ms: i64) -> Vec<u8> {
    message(&[key], since_ms)
}

fn message(texts: &[&str], at_ms: i64) -> Vec<u8> {
    let mut message = at_ms.to_le_bytes().to_vec();
    for text in texts {
        message.extend_from_slice(&(text.len() as u64).to_le_bytes());
        message.extend_from_slice(text.as_bytes());
    }
    message
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::Ed25519KeyPair;

    use super::*;

    fn signer() -> Signer {
        Signer::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
    }

    fn signed(runner: &Signer) -> (String, String, String) {
        let receipt = Receipt::of_a_test();
        let text = serde_json::to_string(&receipt).unwrap();
        let signature = hex(&runner.vouch(b"", text.as_bytes()));
        (text, signature, runner.key().to_string())
    }

    #[test]
    fn an_old_key_leads_to_every_later_one_and_no_foreign_one_enters() {
        let (one, two, three, stranger) = (signer(), signer(), signer(), signer());
        let links = vec![
            KeyLink::first(one.key(), 0),
            KeyLink::next(&one, two.key(), 1),
            KeyLink::next(&two, three.key(), 2),
        ];
        assert!(leads(&links, one.key(), three.key()) && leads(&links, two.key(), three.key()));
        assert!(leads(&[], one.key(), one.key()));
        assert!(!leads(&links, three.key(), one.key()), "a new key says nothing of the old");
        let mut forged = links.clone();
        forged[2] = KeyLink { by: Some(two.key().to_string()), ..KeyLink::next(&stranger, three.key(), 2) };
        assert!(!leads(&forged, one.key(), three.key()));
        forged[2] = KeyLink { since_ms: 3, ..links[2].clone() };
        assert!(!leads(&forged, one.key(), three.key()), "a changed date");
        forged[2] = KeyLink { key: stranger.key().to_string(), ..links[2].clone() };
        assert!(!leads(&forged, one.key(), stranger.key()));
    }

    #[test]
    fn a_kept_receipt_proves_the_runner_and_the_appliance_and_every_change_is_seen() {
        let (runner, old, new, other) = (signer(), signer(), signer(), signer());
        let chain = vec![KeyLink::first(old.key(), 0), KeyLink::next(&old, new.key(), 1)];
        let kept = KeptReceipt::new(signed(&runner), 5, &new, chain);
        assert_eq!(kept.check(None).unwrap().run, 7);
        assert_eq!(kept.check(Some(old.key())).unwrap().run, 7, "who knows the old key only");
        assert!(matches!(kept.check(Some(other.key())), Err(NotVouched::Stranger { .. })));
        let changed = |with: &dyn Fn(&mut KeptReceipt)| {
            let mut changed = kept.clone();
            with(&mut changed);
            changed.check(Some(old.key())).unwrap_err()
        };
        assert_eq!(changed(&|kept| kept.receipt = kept.receipt.replace(":7", ":8")), NotVouched::Runner);
        assert_eq!(changed(&|kept| kept.kept_ms = 6), NotVouched::Countersignature);
        assert_eq!(changed(&|kept| kept.format = 2), NotVouched::Format(2));
        assert_eq!(changed(&|kept| kept.signature.clear()), NotVouched::Spelling("signature"));
        // Signed again by somebody else, runner and appliance: only the known key tells.
        let forged = KeptReceipt::new(signed(&other), 5, &other, kept.chain.clone());
        assert!(forged.check(None).is_ok());
        assert!(matches!(forged.check(Some(old.key())), Err(NotVouched::Stranger { .. })));
    }
}
