//! The signature over a manifest: the appliance vouches for what its Macs will run.
//!
//! Owns: Ed25519 (RFC 8032) over the canonical bytes with a prefix of our own, and the file that carries both.
//! Must not know: where keys are kept, how they are made.
//!
//! | field | size |
//! |---|---|
//! | `RSSIGNM1` | 8 |
//! | public key of the signer | 32 |
//! | signature | 64 |
//! | canonical bytes of the manifest | rest |

use std::fmt;
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::image::manifest::{BadManifest, Manifest};
use crate::value::Digest;

const MAGIC: &[u8; 8] = b"RSSIGNM1";
/// Keeps a signature made here from meaning anything elsewhere, and the other way round.
const PURPOSE: &[u8] = b"rootstock manifest 1\0";
const HEAD: usize = 8 + 32 + 64;

/// Largest signed manifest that is read: 4 TiB of data, at 32 bytes a chunk.
pub const MAX_SIGNED: u64 = 2 << 30;

/// Ed25519 public key that manifests are checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ManifestKey([u8; 32]);

/// A text or file that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Public keys are spelt as 64 hexadecimal digits.
    #[error("a manifest key is 64 lower-case hexadecimal digits")]
    Text,
    /// The bytes are no PKCS#8 document with an Ed25519 key.
    #[error("the signing key is no PKCS#8 document with an Ed25519 key: {0}")]
    Pkcs8(String),
}

/// Signs manifests.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads a private key (PKCS#8 v1 or v2, RFC 5958).
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pkcs8(document: &[u8]) -> Result<Signer, BadKey> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(document)
            .map(Signer)
            .map_err(|error| BadKey::Pkcs8(error.to_string()))
    }

    /// The public half.
    pub fn key(&self) -> ManifestKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        ManifestKey(key)
    }

    /// Signs something else than a manifest: `purpose` keeps the two apart, and must begin like no other.
    pub fn vouch(&self, purpose: &[u8], body: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(&[purpose, body].concat()).as_ref());
        signature
    }

    /// Signs.
    pub fn sign(&self, manifest: &Manifest) -> SignedManifest {
        let body = manifest.encode();
        let signature = self.0.sign(&[PURPOSE, &body].concat());
        let mut file = Vec::with_capacity(HEAD + body.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&self.key().0);
        file.extend_from_slice(signature.as_ref());
        file.extend_from_slice(&body);
        SignedManifest { digest: Digest::of(&body), file }
    }
}

impl ManifestKey {
    /// Whether this key signed `body` for that purpose.
    pub fn has_vouched(&self, purpose: &[u8], body: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&[purpose, body].concat(), signature).is_ok()
    }
}

/// A signed manifest as it is kept and sent. Nothing of it is believed before [`SignedManifest::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct SignedManifest {
    digest: Digest,
    file: Vec<u8>,
}

/// Why a signed manifest is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Another kind of file.
    #[error("no signed manifest: it is too short or begins with other bytes than RSSIGNM1")]
    Magic,
    /// Signed by somebody else.
    #[error("manifest {digest} is signed with key {by}, which is not this appliance's")]
    Stranger {
        /// Which manifest.
        digest: Digest,
        /// Key in the file.
        by: ManifestKey,
    },
    /// Changed after it was signed.
    #[error("manifest {digest} was changed after it was signed: its signature does not fit")]
    Signature {
        /// What the manifest hashes to now.
        digest: Digest,
    },
    /// It is signed, but it is another manifest than the one asked for.
    #[error("asked for manifest {expected}, got {got}")]
    Other {
        /// Asked for.
        expected: Digest,
        /// Got.
        got: Digest,
    },
    /// Signed and not readable: by a newer version of the appliance.
    #[error("manifest {digest} is signed but not readable")]
    Unreadable {
        /// Which manifest.
        digest: Digest,
        /// Why.
        #[source]
        source: BadManifest,
    },
}

impl SignedManifest {
    /// Bytes in front of the manifest: what differs when it is signed again.
    pub const HEAD: usize = HEAD;

    /// Takes over the bytes of a file or an answer.
    ///
    /// # Errors
    /// When they are no signed manifest at all; the signature is not looked at.
    pub fn from_bytes(file: Vec<u8>) -> Result<SignedManifest, Untrusted> {
        match file.get(HEAD..) {
            Some(body) if file.starts_with(MAGIC) => Ok(SignedManifest { digest: Digest::of(body), file }),
            _ => Err(Untrusted::Magic),
        }
    }

    /// Name of the manifest in it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key that it names as its signer's.
    pub fn signed_by(&self) -> ManifestKey {
        let mut by = [0; 32];
        by.copy_from_slice(&self.file[8..40]);
        ManifestKey(by)
    }

    /// The bytes to keep or send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.file
    }

    /// Checks that one of `keys` signed it and that it is the manifest `expected`, then reads it.
    ///
    /// # Errors
    /// See [`Untrusted`].
    pub fn verify(&self, expected: Digest, keys: &[ManifestKey]) -> Result<Manifest, Untrusted> {
        let digest = self.digest;
        let by = self.signed_by();
        if !keys.contains(&by) {
            return Err(Untrusted::Stranger { digest, by });
        }
        let (signature, body) = (&self.file[40..HEAD], &self.file[HEAD..]);
        UnparsedPublicKey::new(&ED25519, by.0)
            .verify(&[PURPOSE, body].concat(), signature)
            .map_err(|_| Untrusted::Signature { digest })?;
        if digest != expected {
            return Err(Untrusted::Other { expected, got: digest });
        }
        Manifest::decode(body).map_err(|source| Untrusted::Unreadable { digest, source })
    }

    /// Reads the manifest without looking at the signature: for listings and for finding what a store must keep.
    ///
    /// # Errors
    /// When it is not readable.
    pub fn contents(&self) -> Result<Manifest, Untrusted> {
        Manifest::decode(&self.file[HEAD..])
            .map_err(|source| Untrusted::Unreadable { digest: self.digest, source })
    }
}

impl fmt::Debug for SignedManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedManifest({}, {} bytes)", self.digest, self.file.len())
    }
}

impl fmt::Display for ManifestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Digest::from_bytes(self.0), f)
    }
}

impl fmt::Debug for ManifestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ManifestKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<ManifestKey, BadKey> {
        text.parse().map(|digits: Digest| ManifestKey(*digits.as_bytes())).map_err(|_| BadKey::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::{Region, Run, Sha256};
    use crate::image::partition::Scheme;

    /// Keys for tests: the PKCS#8 wrapping of RFC 8410 section 7 around 32 bytes of seed.
    fn signer(seed: u8) -> Signer {
        let mut document = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        document.extend([seed; 32]);
        Signer::from_pkcs8(&document).unwrap()
    }

    fn manifest() -> Manifest {
        let runs = vec![Run::Data(vec![Digest::of(b"x")])];
        let region = Region { start: 0, size: 1, partition: None, volume: None, runs };
        Manifest::new(Sha256([7; 32]), Scheme::None, vec![region]).unwrap()
    }

    #[test]
    fn a_signed_manifest_is_believed_with_the_right_key_and_name_only() {
        let signed = signer(1).sign(&manifest());
        let (name, key) = (signed.digest(), signer(1).key());
        assert_eq!(signed.verify(name, &[signer(2).key(), key]), Ok(manifest()));
        assert_eq!(
            signed.verify(name, &[signer(2).key()]),
            Err(Untrusted::Stranger { digest: name, by: key })
        );
        let other = Digest::of(b"other");
        assert_eq!(signed.verify(other, &[key]), Err(Untrusted::Other { expected: other, got: name }));
    }

    #[test]
    fn no_flipped_bit_of_a_signed_manifest_is_believed() {
        let signed = signer(1).sign(&manifest());
        for place in 0..signed.as_bytes().len() {
            let mut bytes = signed.as_bytes().to_vec();
            bytes[place] ^= 1;
            let believed = SignedManifest::from_bytes(bytes)
                .and_then(|changed| changed.verify(changed.digest(), &[signer(1).key()]));
            assert!(believed.is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_key_survives_printing_and_parsing() {
        assert_eq!(signer(3).key().to_string().parse(), Ok(signer(3).key()));
        assert_eq!("ab".parse::<ManifestKey>(), Err(BadKey::Text));
    }
}
