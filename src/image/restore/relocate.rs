//! Chunks that lie elsewhere on the target are copied to their cells before anything else is written.
//!
//! Owns: the order, in which no chunk is overwritten before it was read, with one chunk in memory at most. Must not know:
//! how places were found. What cannot be copied is fetched.

use std::collections::{HashMap, VecDeque};

use crate::image::chunk::{CHUNK, Verified};
use crate::image::restore::stage::Opened;
use crate::image::restore::{Progress, RestoreError, Scratch, Target};

/// Where a chunk was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Place on the target.
    pub offset: u64,
    /// The data cell that begins there, when it may be overwritten.
    pub cell: Option<u32>,
}

/// A cell, and where its chunk was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// Number of the cell.
    pub cell: u32,
    /// Where from.
    pub from: Source,
}

/// One step of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Do the move.
    Do(usize),
    /// Read the source of the move and remember it: its cell is about to be overwritten.
    Remember(usize),
}

/// A cell is filled when nobody will read what it holds. What is left then are rings, each cell's content wanted by the next:
/// one chunk of a ring is remembered, and the ring is open.
fn order(moves: &[Move]) -> Vec<Step> {
    let by_cell: HashMap<u32, usize> =
        moves.iter().enumerate().map(|(number, one)| (one.cell, number)).collect();
    let overwrites = |number: usize| moves[number].from.cell.and_then(|cell| by_cell.get(&cell).copied());
    let mut readers = vec![0_u32; moves.len()];
    (0..moves.len()).filter_map(overwrites).for_each(|number| readers[number] += 1);
    let mut ready: VecDeque<usize> = (0..moves.len()).filter(|number| readers[*number] == 0).collect();
    let (mut done, mut steps) = (vec![false; moves.len()], Vec::with_capacity(moves.len()));
    let mut next_ring = 0;
    loop {
        while let Some(number) = ready.pop_front() {
            if std::mem::replace(&mut done[number], true) {
                continue;
            }
            steps.push(Step::Do(number));
            if let Some(freed) = overwrites(number) {
                readers[freed] -= 1;
                if readers[freed] == 0 {
                    ready.push_back(freed);
                }
            }
        }
        let Some(start) = (next_ring..moves.len()).find(|number| !done[*number]) else { return steps };
        next_ring = start + 1;
        // Remembered, its source's cell may be filled; that frees the next, and the last of the ring is `start` itself.
        steps.push(Step::Remember(start));
        ready.extend(overwrites(start));
    }
}

/// Does the moves. Which cells are filled now: a source that no longer reads as it did fills none.
pub(super) fn relocate<T: Target + ?Sized>(
    opened: &Opened<'_, T>,
    moves: &[Move],
    progress: &Progress,
) -> Result<Vec<bool>, RestoreError> {
    let plan = opened.plan();
    let mut filled = vec![false; if moves.is_empty() { 0 } else { plan.cells() as usize }];
    let mut remembered: Option<(usize, Option<Verified<'static>>)> = None;
    let mut scratch = Scratch::new();
    for step in order(moves) {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        let (Step::Do(number) | Step::Remember(number)) = step;
        let one = moves[number];
        let cell = plan.cell(one.cell);
        let read = |scratch: &mut Scratch| {
            debug_assert!(cell.span.length <= CHUNK);
            let bytes = scratch.of(cell.span.length);
            let read = opened.target().read_back(one.from.offset, bytes).is_ok();
            let chunk = read.then(|| Verified::seal(&*bytes)).filter(|chunk| chunk.digest() == cell.digest);
            chunk.map(Verified::into_owned)
        };
        match step {
            Step::Remember(_) => remembered = Some((number, read(&mut scratch))),
            Step::Do(_) => {
                let chunk = match remembered.take_if(|(of, _)| *of == number) {
                    Some((_, chunk)) => chunk,
                    None => read(&mut scratch),
                };
                if let Some(chunk) = chunk {
                    opened.write_chunk(one.cell, &chunk)?;
                    filled[one.cell as usize] = true;
                    progress.add_copied(cell.span.length);
                }
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A disk of numbers: each cell wants a number that lies somewhere, or nothing.
        #[test]
        fn every_cell_gets_what_lay_at_its_source_before(
            sources in prop::collection::vec(prop::option::of(0..24_u32), 24)
        ) {
            let cells: Vec<(u32, u32)> = (0..).zip(&sources).filter_map(|(cell, from)| Some((cell, (*from)?))).collect();
            let moves: Vec<Move> = cells
                .iter()
                .filter(|(cell, from)| cell != from)
                .map(|&(cell, from)| Move { cell, from: Source { offset: from.into(), cell: Some(from) } })
                .collect();
            let mut disk: Vec<u32> = (0..24).collect();
            let (mut remembered, mut at_once, mut filled) = (HashMap::new(), 0, 0);
            for step in order(&moves) {
                match step {
                    Step::Remember(number) => {
                        remembered.insert(number, disk[moves[number].from.offset as usize]);
                        at_once = at_once.max(remembered.len());
                    }
                    Step::Do(number) => {
                        let one = moves[number];
                        let content = remembered.remove(&number).unwrap_or(disk[one.from.offset as usize]);
                        disk[one.cell as usize] = content;
                        prop_assert_eq!(u64::from(content), one.from.offset);
                        filled += 1;
                    }
                }
            }
            prop_assert_eq!(filled, moves.len());
            prop_assert!(at_once <= 1 && remembered.is_empty());
        }
    }
}
