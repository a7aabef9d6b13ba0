//! Tokens of runs, remembered: a runner shows its own several times a second.
//!
//! Owns: that none outlives its row. Only this process changes the file, so whatever takes a token from a row says so here, after
//! the commit. Must not know: what a token is good for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::value::Digest;

/// Tokens that are remembered; beyond that all are read anew.
const MOST: usize = 16_384;

/// Digests of tokens, and the runs that they belong to.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Grows whenever a token ends.
    generation: u64,
    runs: HashMap<Digest, i64>,
}

/// When a row was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(u64);

impl Tokens {
    /// The run; Err: look for it in the database, and hand this to [`Tokens::keep`].
    pub fn get(&self, token: Digest) -> Result<i64, Asked> {
        let memory = self.memory();
        memory.runs.get(&token).copied().ok_or(Asked(memory.generation))
    }

    /// Remembers what a row says, unless a token ended since it was asked for: it may have been this one.
    pub fn keep(&self, asked: Asked, token: Digest, run: i64) {
        let mut memory = self.memory();
        if memory.generation != asked.0 {
            return;
        }
        if memory.runs.len() >= MOST {
            memory.runs.clear();
        }
        memory.runs.insert(token, run);
    }

    /// The run has another token now, or none.
    pub fn forget(&self, run: i64) {
        let mut memory = self.memory();
        memory.generation += 1;
        memory.runs.retain(|_, of| *of != run);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_ended_while_its_row_was_read_is_not_remembered() {
        let tokens = Tokens::default();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let asked = tokens.get(one).unwrap_err();
        tokens.keep(asked, one, 1);
        assert_eq!(tokens.get(one).unwrap(), 1);
        let asked = tokens.get(other).unwrap_err();
        tokens.forget(2);
        tokens.keep(asked, other, 2);
        assert!(tokens.get(other).is_err(), "it may be the one that ended");
        tokens.forget(1);
        assert!(tokens.get(one).is_err());
    }
}
