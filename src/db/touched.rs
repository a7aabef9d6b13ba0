//! Which Macs something was written about, for those who keep in memory what follows from it and do not want to read all Macs again.
//!
//! Transactions that write are numbered; there is one at a time, so when one begins, all before it have ended. What is touched within
//! a transaction bears its number: whoever has read after number N began asks for N and later ones, and misses nothing, whether the
//! one with number N was committed before the reading or after it. In memory and bounded; who asks for more than is remembered reads
//! all. Must not know: what is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Macs that are remembered; beyond that it is cheaper to read all.
const MOST: usize = 4096;

/// The number of the transaction under way, and what was touched when.
#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    turn: u64,
    /// Up to this number it is not known which were touched.
    forgotten: u64,
    devices: BTreeMap<i64, u64>,
}

impl Touched {
    /// A transaction that writes has begun.
    pub fn begin(&self) {
        self.memory().turn += 1;
    }

    /// Number of the one that began last.
    pub fn turn(&self) -> u64 {
        self.memory().turn
    }

    /// Something about this Mac is written in the transaction under way.
    pub fn touch(&self, device: i64) {
        let mut memory = self.memory();
        let turn = memory.turn;
        memory.devices.insert(device, turn);
        if memory.devices.len() > MOST {
            (memory.forgotten, memory.devices) = (turn, BTreeMap::new());
        }
    }

    /// Something about many Macs is.
    pub fn touch_all(&self) {
        let mut memory = self.memory();
        (memory.forgotten, memory.devices) = (memory.turn, BTreeMap::new());
    }

    /// Macs that were touched in the transaction with this number or a later one; none: it may be any of them.
    pub fn since(&self, turn: u64) -> Option<Vec<i64>> {
        let memory = self.memory();
        let touched = memory.devices.iter().filter(|(_, at)| **at >= turn).map(|(device, _)| *device);
        (turn > memory.forgotten || memory.turn == 0).then(|| touched.collect())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_while_somebody_read_is_told_to_him_again() {
        let touched = Touched::default();
        touched.begin();
        touched.touch(7);
        let read_from = touched.turn();
        // That transaction ends after the reading; another one follows.
        touched.begin();
        touched.touch(8);
        assert_eq!(touched.since(read_from), Some(vec![7, 8]));
        assert_eq!(touched.since(touched.turn()), Some(vec![8]));
        touched.begin();
        assert_eq!(touched.since(touched.turn()), Some(vec![]), "whatever there was has ended");
    }

    #[test]
    fn who_asks_for_more_than_is_remembered_is_told_to_read_all() {
        let touched = Touched::default();
        assert_eq!(touched.since(0), Some(vec![]), "nothing was written yet");
        touched.begin();
        for device in 0..=MOST as i64 {
            touched.touch(device);
        }
        let read_from = touched.turn();
        assert_eq!(touched.since(read_from), None);
        touched.begin();
        touched.touch(1);
        assert_eq!((touched.since(read_from), touched.since(touched.turn())), (None, Some(vec![1])));
        touched.touch_all();
        assert_eq!(touched.since(touched.turn()), None);
    }
}
