//! The inverse of the Burrows-Wheeler transform.
//!
//! Owns: the table of places, and how it is walked. Knows nothing of bits and sums.
//!
//! The sorted text is a permutation: each place names the place of the byte that follows. To walk it is a chain of reads
//! over megabytes, each of which waits for the one before. So the walk is begun at several hundred places at once: from
//! each as far as the next of them, several abreast; then the stretches are put in order. A text that repeats itself has a
//! permutation of several cycles, and going round one of them again gives the rest.

/// Entries of a table: the power of two above the 900 000 of the longest block.
const MOST: usize = 1 << 20;

/// Bytes that a walk may have: more than those of the longest block. An odd number of cache lines, so that walks side by side do
/// not write to the same part of the cache.
const LONGEST: usize = 900_160;

/// Walks abreast: as many reads as a processor has under way.
const ABREAST: usize = 16;

/// Stretches of a long text: so many that the walks end nearly together.
const STRETCHES: usize = 512;

/// The least that the beginnings of stretches are apart: short texts lie in the cache as they are.
const LEAST: usize = 64;

/// In an entry: a stretch begins here.
const BEGINS: u32 = 1 << 31;

/// Beyond all texts: where a walk is before its first stretch, and after its last.
const BEFORE: u32 = MOST as u32 - 1;
const AFTER: u32 = MOST as u32 - 2;

/// The memory of a transform, used again: 5 MB, and 18 MB for texts that are made to need it.
pub(super) struct Transform {
    /// For each place in the sorted text its byte, above it the place of what follows, and `BEGINS`.
    table: Box<[u32; MOST]>,
    /// What each walk passed, `LONGEST` bytes a walk.
    walked: Vec<u8>,
    stretches: Vec<Stretch>,
}

/// A part of the text: its bytes in `walked`, and which stretch follows.
#[derive(Clone, Copy, Default)]
struct Stretch {
    walk: usize,
    from: usize,
    to: usize,
    next: usize,
}

impl Transform {
    pub fn new() -> Transform {
        let table: Result<Box<[u32; MOST]>, _> = vec![0; MOST].into_boxed_slice().try_into();
        let Ok(table) = table else { unreachable!("a slice of MOST entries is an array of MOST entries") };
        Transform { table, walked: vec![0; LONGEST * ABREAST], stretches: Vec::new() }
    }

    /// Replaces the last column of the sorted rotations, at most 900 000 bytes, by the text. `counts`: how often each byte
    /// occurs in it. `origin`: the row of the text itself, below the length.
    pub fn invert(&mut self, text: &mut [u8], counts: &[u32; 256], origin: u32) {
        self.sort(text, counts);
        self.walk(text.len(), origin);
        self.join(text);
    }

    fn sort(&mut self, text: &[u8], counts: &[u32; 256]) {
        let mut sum = 0;
        let mut free = counts.map(|count| {
            sum += count;
            sum - count
        });
        for (place, &byte) in (0_u32..).zip(text) {
            let to = &mut free[usize::from(byte)];
            self.table[*to as usize % MOST] = place << 8 | u32::from(byte);
            *to += 1;
        }
    }

    fn walk(&mut self, length: usize, origin: u32) {
        let apart = (length / STRETCHES).max(LEAST).ilog2();
        let count = length.div_ceil(1 << apart) + 1;
        self.stretches.clear();
        self.stretches.resize(count + 1, Stretch::default());
        let mut course = Course {
            stretches: &mut self.stretches,
            under_way: [count; ABREAST],
            origin,
            apart,
            begun: 0,
            open: ABREAST,
        };
        for number in 0..count {
            self.table[course.start(number) as usize % MOST] |= BEGINS;
        }
        self.table[BEFORE as usize] = BEFORE << 8 | BEGINS;
        self.table[AFTER as usize] = AFTER << 8;

        let walks = self.walked.as_chunks_mut::<LONGEST>().0;
        let Some(walks) = walks.first_chunk_mut::<ABREAST>() else { return };
        let mut places = [BEFORE; ABREAST];
        for step in 0..LONGEST {
            for (walk, (place, passed)) in places.iter_mut().zip(&mut *walks).enumerate() {
                let mut entry = self.table[*place as usize % MOST];
                if entry & BEGINS != 0 {
                    *place = course.turn(walk, *place % MOST as u32, step);
                    if course.open == 0 {
                        return;
                    }
                    entry = self.table[*place as usize % MOST];
                }
                passed[step] = entry as u8;
                *place = entry >> 8;
            }
        }
    }

    fn join(&mut self, text: &mut [u8]) {
        let (mut made, mut number) = (0, 0);
        while made < text.len() {
            let Stretch { walk, from, to, next } = self.stretches[number];
            let bytes = &self.walked[walk * LONGEST..][from..to];
            let room = &mut text[made..];
            let length = bytes.len().min(room.len());
            room[..length].copy_from_slice(&bytes[..length]);
            made += length;
            number = next;
        }
    }
}

/// Which stretch each walk is in. The stretches are the one of the origin, those of places as far apart as `1 << apart`, and one that
/// stands for none.
struct Course<'a> {
    stretches: &'a mut Vec<Stretch>,
    under_way: [usize; ABREAST],
    origin: u32,
    apart: u32,
    /// Stretches that were begun.
    begun: usize,
    /// Walks that have not ended.
    open: usize,
}

impl Course<'_> {
    fn start(&self, number: usize) -> u32 {
        if number == 0 { self.origin } else { (number as u32 - 1) << self.apart }
    }

    fn number(&self, place: u32) -> usize {
        if place == self.origin { 0 } else { (place >> self.apart) as usize + 1 }
    }

    /// A walk came to a place where a stretch begins: the place where it begins another one, or the place after all.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, walk: usize, place: u32, step: usize) -> u32 {
        let next = self.number(place);
        let ended = &mut self.stretches[self.under_way[walk]];
        (ended.to, ended.next) = (step, next);
        let none = self.stretches.len() - 1;
        while self.begun < none {
            let number = self.begun;
            self.begun += 1;
            let start = self.start(number);
            // The origin may be one of the others too.
            if number == self.number(start) {
                self.stretches[number] = Stretch { walk, from: step, to: step, next: none };
                self.under_way[walk] = number;
                return start;
            }
        }
        self.under_way[walk] = none;
        self.open -= 1;
        AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition: rotations in order, their last bytes, and the row of the text.
    fn transformed(text: &[u8]) -> (Vec<u8>, u32) {
        let twice = text.repeat(2);
        let mut starts: Vec<usize> = (0..text.len()).collect();
        starts.sort_by_key(|&start| &twice[start..start + text.len()]);
        let last = starts.iter().map(|start| text[(start + text.len() - 1) % text.len()]).collect();
        (last, starts.iter().position(|start| *start == 0).unwrap() as u32)
    }

    fn inverted(transform: &mut Transform, text: &[u8]) -> Vec<u8> {
        let (mut column, origin) = transformed(text);
        let mut counts = [0; 256];
        column.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        transform.invert(&mut column, &counts, origin);
        column
    }

    #[test]
    fn texts_that_repeat_themselves_come_back() {
        let mut transform = Transform::new();
        for (unit, times) in [(1, 1), (1, 700), (2, 350), (3, 1), (65, 9), (640, 3), (1000, 2)] {
            let text: Vec<u8> = (0..unit).map(|n| (n * n % 251) as u8).collect::<Vec<_>>().repeat(times);
            assert!(inverted(&mut transform, &text) == text, "{unit} bytes {times} times");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_text_comes_back(
            unit in prop::collection::vec(0..=3_u8, 1..1500), times in 1..4_usize, step in 1..90_u8
        ) {
            let text: Vec<u8> = unit.repeat(times).iter().map(|byte| byte.wrapping_mul(step)).collect();
            prop_assert!(inverted(&mut Transform::new(), &text) == text);
        }

        /// A damaged block has any column and any origin.
        #[test]
        fn any_column_gives_what_a_single_walk_gives(
            mut column in prop::collection::vec(0..=9_u8, 1..3000), origin: prop::sample::Index
        ) {
            let origin = origin.index(column.len());
            let mut order: Vec<usize> = (0..column.len()).collect();
            order.sort_by_key(|place| column[*place]);
            let mut place = origin;
            let mut expected = Vec::new();
            for _ in 0..column.len() {
                place = order[place];
                expected.push(column[place]);
            }
            let mut counts = [0; 256];
            column.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            Transform::new().invert(&mut column, &counts, origin as u32);
            prop_assert_eq!(column, expected);
        }
    }
}
