//! The appliance's signing key, the keys before it, and how one follows another.
//!
//! | in `keys/` | what |
//! |---|---|
//! | `manifest.key` | the key that signs now (PKCS#8) |
//! | `manifest.pub` | its public half |
//! | `manifest.trust` | every key there was, each signed by the one before it, and which are believed (JSON) |
//! | `manifest.key.next` | the next key, until it is the one that signs |
//!
//! A rotation writes the next key, then the trust in it, then puts it in place; a start finishes what was cut off. Macs learn
//! the believed keys at every hello, over TLS with the authority of their boot files: so boot files and sticks that were
//! made before a rotation go on working, and no other key gets in. Must not know: manifests, HTTP.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};

use super::clock::now_ms;
use super::data::{read_small, write_durably};
use crate::api::trust::{KeyLink, leads};
use crate::image::manifest::{BadKey, ManifestKey, Signer};

const FORMAT: u32 = 1;

/// The keys of one appliance.
pub struct Keys {
    folder: PathBuf,
    held: RwLock<Held>,
}

struct Held {
    signer: Arc<Signer>,
    trust: Trust,
}

/// `manifest.trust`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trust {
    format: u32,
    keys: Vec<Known>,
}

/// One key, as it is kept and told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The key and who vouches for it.
    pub link: KeyLink,
    /// When it stopped to be believed; none: it is.
    pub retired_ms: Option<i64>,
}

/// Why a key cannot be used, changed or retired.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing a file.
    #[error("the signing key {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The key is damaged: it is never replaced by a new one, because Macs refuse manifests of a key they do not know.
    #[error("the signing key {} is damaged; put it back from a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: BadKey,
    },
    /// The list of keys is damaged, or was changed by hand.
    #[error("{} {why}; put the folder of keys back from a backup", .path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No such key.
    #[error("{0} is no key of this appliance")]
    Absent(String),
    /// It signs.
    #[error("{0} is the key that signs now")]
    Current(ManifestKey),
}

impl Keys {
    /// Reads the keys of a folder; makes the first at the first start.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(folder: &Path) -> Result<Keys, KeyError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let path = folder.join("manifest.key");
        let mut signer = match read(&path)? {
            Some(signer) => signer,
            None => make(&path)?,
        };
        let trust_path = folder.join("manifest.trust");
        let trust = match read_small(&trust_path).map_err(at(&trust_path))? {
            None => {
                let first = Known { link: KeyLink::first(signer.key(), now_ms()), retired_ms: None };
                let trust = Trust { format: FORMAT, keys: vec![first] };
                trust.write(&trust_path)?;
                trust
            }
            Some(bytes) => serde_json::from_slice::<Trust>(&bytes).map_err(|error| KeyError::Trust {
                path: trust_path.clone(),
                why: format!("is damaged ({error})"),
            })?,
        };
        // What a rotation left that was cut off: finished where the next key is believed already, else nothing happened.
        let next_path = folder.join("manifest.key.next");
        if let Some(next) = read(&next_path).ok().flatten() {
            if trust.newest() == Some(next.key()) {
                put_in_place(&next_path, &path)?;
                signer = next;
            } else {
                fs::remove_file(&next_path).map_err(at(&next_path))?;
            }
        }
        trust.check(&signer.key()).map_err(|why| KeyError::Trust { path: trust_path, why })?;
        let keys =
            Keys { folder: folder.to_owned(), held: RwLock::new(Held { signer: Arc::new(signer), trust }) };
        keys.write_public()?;
        Ok(keys)
    }

    /// The key that signs now.
    pub fn signer(&self) -> Arc<Signer> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).signer.clone()
    }

    /// Keys whose signature is believed, the one that signs first.
    pub fn believed(&self) -> Vec<ManifestKey> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let known = held.trust.keys.iter().rev().filter(|known| known.retired_ms.is_none());
        known.filter_map(|known| known.link.key.parse().ok()).collect()
    }

    /// Every key there was, oldest first.
    pub fn all(&self) -> Vec<Known> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).trust.keys.clone()
    }

    /// From the first key to the one that signs.
    pub fn chain(&self) -> Vec<KeyLink> {
        self.all().into_iter().map(|known| known.link).collect()
    }

    /// A new key signs from now on; those before it are still believed. When this returns, that outlives a power cut.
    ///
    /// # Errors
    /// See [`KeyError`]; the key before it signs on, or, after a restart, the new one.
    pub fn rotate(&self) -> Result<ManifestKey, KeyError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let next_path = self.folder.join("manifest.key.next");
        let next = make(&next_path)?;
        let mut trust = held.trust.clone();
        let link = KeyLink::next(&held.signer, next.key(), now_ms());
        trust.keys.push(Known { link, retired_ms: None });
        trust.write(&self.folder.join("manifest.trust"))?;
        // From here on the new key is the one that signs, whatever happens.
        held.trust = trust;
        held.signer = Arc::new(next);
        let key = held.signer.key();
        drop(held);
        put_in_place(&next_path, &self.folder.join("manifest.key"))?;
        self.write_public()?;
        Ok(key)
    }

    /// A key that signed before is not believed any more. Nothing that must be read may be signed with it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn retire(&self, key: ManifestKey) -> Result<(), KeyError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.signer.key() == key {
            return Err(KeyError::Current(key));
        }
        let (mut trust, text) = (held.trust.clone(), key.to_string());
        let known =
            trust.keys.iter_mut().find(|known| known.link.key == text).ok_or(KeyError::Absent(text))?;
        known.retired_ms = known.retired_ms.or(Some(now_ms()));
        trust.write(&self.folder.join("manifest.trust"))?;
        held.trust = trust;
        Ok(())
    }

    /// For programs that may not read the private half.
    fn write_public(&self) -> Result<(), KeyError> {
        let path = self.folder.join("manifest.pub");
        let text = format!("{}\n", self.signer().key());
        match read_small(&path).map_err(at(&path))? {
            Some(bytes) if bytes == text.as_bytes() => Ok(()),
            _ => write_durably(&path, text.as_bytes(), 0o644).map_err(at(&path)),
        }
    }
}

impl Trust {
    fn newest(&self) -> Option<ManifestKey> {
        self.keys.last()?.link.key.parse().ok()
    }

    /// Every key follows from the one before it, and the last is the one that signs.
    fn check(&self, current: &ManifestKey) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("has form {}, which this version does not read", self.format));
        }
        let links: Vec<KeyLink> = self.keys.iter().map(|known| known.link.clone()).collect();
        let keys: Vec<ManifestKey> = links.iter().filter_map(|link| link.key.parse().ok()).collect();
        match keys.first() {
            Some(first) if keys.len() == links.len() && keys.last() == Some(current) => {
                let follows = keys.iter().all(|key| leads(&links, *first, *key));
                follows
                    .then_some(())
                    .ok_or_else(|| "holds a key that the one before it did not sign".to_owned())
            }
            _ => Err(format!("does not end with {current}, the key in manifest.key")),
        }
    }

    fn write(&self, path: &Path) -> Result<(), KeyError> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other).map_err(at(path))?;
        write_durably(path, &text, 0o644).map_err(at(path))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyError + use<> {
    let path = path.to_owned();
    move |source| KeyError::File { path, source }
}

fn read(path: &Path) -> Result<Option<Signer>, KeyError> {
    let Some(document) = read_small(path).map_err(at(path))? else { return Ok(None) };
    let signer = Signer::from_pkcs8(&document);
    signer.map(Some).map_err(|source| KeyError::Damaged { path: path.to_owned(), source })
}

fn make(path: &Path) -> Result<Signer, KeyError> {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let made = made.map_err(|_| at(path)(io::Error::other("no random numbers to make a key from")))?;
    write_durably(path, made.as_ref(), 0o600).map_err(at(path))?;
    Signer::from_pkcs8(made.as_ref()).map_err(|source| KeyError::Damaged { path: path.to_owned(), source })
}

fn put_in_place(from: &Path, to: &Path) -> Result<(), KeyError> {
    let folder = to.parent().unwrap_or(Path::new("/"));
    fs::rename(from, to).and_then(|()| fs::File::open(folder)?.sync_all()).map_err(at(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_the_old_key_believed_until_it_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let old = keys.signer().key();
        let new = keys.rotate().unwrap();
        assert_eq!((keys.signer().key(), keys.believed()), (new, vec![new, old]));
        assert!(matches!(keys.retire(new), Err(KeyError::Current(_))));
        let again = Keys::open(folder.path()).unwrap();
        assert_eq!((again.signer().key(), again.believed()), (new, vec![new, old]));
        again.retire(old).unwrap();
        let again = Keys::open(folder.path()).unwrap();
        assert_eq!((again.believed(), again.all().len()), (vec![new], 2));
        assert!(leads(&again.chain(), old, new), "receipts of before still lead here");
        let public = fs::read_to_string(folder.path().join("manifest.pub")).unwrap();
        assert_eq!(public.trim(), new.to_string());
    }

    #[test]
    fn a_rotation_that_is_cut_off_anywhere_is_finished_or_did_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let old = Keys::open(folder.path()).unwrap().signer().key();
        let (next, key) = (folder.path().join("manifest.key.next"), folder.path().join("manifest.key"));
        // Cut off after the next key was written.
        make(&next).unwrap();
        assert_eq!(Keys::open(folder.path()).unwrap().signer().key(), old);
        assert!(!next.exists());
        // Cut off before the next key was put in place.
        let before = fs::read(&key).unwrap();
        let new = Keys::open(folder.path()).unwrap().rotate().unwrap();
        fs::rename(&key, &next).unwrap();
        fs::write(&key, before).unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        assert_eq!((keys.signer().key(), keys.believed()), (new, vec![new, old]));
    }

    #[test]
    fn a_key_that_nobody_vouched_for_is_not_taken() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Keys::open(one.path()).unwrap();
        Keys::open(other.path()).unwrap();
        fs::copy(other.path().join("manifest.key"), one.path().join("manifest.key")).unwrap();
        let error = Keys::open(one.path()).err().unwrap().to_string();
        assert!(error.contains("manifest.trust does not end with") && error.contains("backup"), "{error}");
        fs::write(one.path().join("manifest.key"), b"damaged").unwrap();
        assert!(matches!(Keys::open(one.path()), Err(KeyError::Damaged { .. })));
    }
}
