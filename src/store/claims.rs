//! What imports that are under way count on: no collection takes it away.
//!
//! Owns: one set of chunks an import, and who must still look at it after the import has ended. Must not know: packs, the index.
//!
//! A chunk is claimed while the index is locked for reading, a pack is taken out of the index while it is locked for writing,
//! and the claims are looked at in that same moment. So either the collection sees the claim and the chunk stays, or the
//! import does not find the chunk and stores it anew. An import that ends well has its manifest on the disk before its claims
//! end. A collection that listed the manifests before that goes by the claims, which are kept until it has ended.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::value::Digest;

/// The claims of one import.
#[derive(Debug, Default)]
pub(super) struct Claims {
    chunks: Mutex<HashSet<Digest>>,
    ended: AtomicBool,
}

impl Claims {
    /// Claims a chunk.
    pub fn add(&self, digest: Digest) {
        self.lock().insert(digest);
    }

    /// Claims chunks.
    pub fn extend<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        self.lock().extend(digests);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All claims of one store.
#[derive(Debug, Default)]
pub(super) struct Register(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    claims: Vec<Arc<Claims>>,
    collecting: bool,
}

/// Claims as they were at one moment; more may be added to them meanwhile.
#[derive(Debug)]
pub(super) struct Standing(Vec<Arc<Claims>>);

impl Register {
    /// The claims of an import that begins.
    pub fn begin(&self) -> Arc<Claims> {
        let claims = Arc::new(Claims::default());
        self.lock().claims.push(claims.clone());
        claims
    }

    /// An import has ended, with its manifest on the disk or without one.
    pub fn end(&self, claims: &Arc<Claims>) {
        let mut entries = self.lock();
        if entries.collecting {
            claims.ended.store(true, Ordering::Relaxed);
        } else {
            entries.claims.retain(|other| !Arc::ptr_eq(other, claims));
        }
    }

    /// A collection begins, before it lists the manifests. False: another is at work.
    pub fn begin_collection(&self) -> bool {
        !std::mem::replace(&mut self.lock().collecting, true)
    }

    /// It has ended.
    pub fn end_collection(&self) {
        let mut entries = self.lock();
        entries.collecting = false;
        entries.claims.retain(|claims| !claims.ended.load(Ordering::Relaxed));
    }

    /// All claims. Asked under the lock of the index, it says what counts at that moment.
    pub fn standing(&self) -> Standing {
        Standing(self.lock().claims.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Whether somebody counts on a chunk.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.iter().any(|claims| claims.lock().contains(digest))
    }
}

/// Manifests whose use is not, or not long since, written down elsewhere. Locked while one is made or removed.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<HashMap<Digest, u32>>);

impl Fresh {
    /// By manifest, how many imports made it and have not said that it is recorded.
    pub fn lock(&self) -> MutexGuard<'_, HashMap<Digest, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One import less.
    pub fn recorded(&self, digest: &Digest) {
        if let Some(open) = self.lock().get_mut(digest) {
            *open = open.saturating_sub(1);
        }
    }

    /// Whoever looks from now on at what is recorded sees what is recorded by now; the rest stays fresh.
    pub fn begin_sweep(&self) {
        self.lock().retain(|_, open| *open > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_an_import_that_ends_during_a_collection_count_until_its_end() {
        let register = Register::default();
        let (early, late) = (register.begin(), register.begin());
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        early.add(a);
        late.add(b);
        register.end(&early);
        assert!(!register.standing().contains(&a), "no collection was at work");
        assert!(register.begin_collection() && !register.begin_collection());
        register.end(&late);
        assert!(register.standing().contains(&b));
        register.end_collection();
        assert!(!register.standing().contains(&b));
        assert!(register.begin_collection());
    }
}
