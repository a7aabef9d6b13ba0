//! Which bytes of a region a file system uses.
//!
//! Owns: [`Allocation`] and its promise (runs follow each other, alternate, cover the region), reading a bitmap into
//! it within a bound of memory, why a map is not believed. Must not know: file systems' structures.
//!
//! Everything that is not known to be free counts as used: a map errs on that side only.

use crate::image::chunk::Span;

/// Most runs that are kept: 32 MiB of memory. A volume with more loses its smallest free runs, which count as used.
const MOST_RUNS: usize = 1 << 20;

/// A stretch of a region that is in use, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationRun {
    /// Where it lies, in bytes of the disk or image that the region is a part of.
    pub span: Span,
    /// Whether the file system uses it, or it is not known to be free.
    pub used: bool,
}

/// The used and unallocated bytes of a region: runs follow each other without gap from its first byte to its last, and
/// used and unallocated ones alternate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    block_size: u32,
    runs: Vec<AllocationRun>,
}

impl Allocation {
    /// Bytes of an allocation block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The runs in order.
    pub fn runs(&self) -> &[AllocationRun] {
        &self.runs
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.runs.iter().filter(|run| run.used).map(|run| run.span.length).sum()
    }

    /// Bytes from the start of the region to the end of the last block in use. A header that stands at the very end
    /// (HFS+ has one) would move: it counts by its length, not by its place.
    pub fn needed(&self) -> u64 {
        let tail = 2 * u64::from(self.block_size);
        let region: u64 = self.runs.iter().map(|run| run.span.length).sum();
        match self.runs.as_slice() {
            [.., free, last] if last.used && last.span.length <= tail => region - free.span.length,
            [.., last] if !last.used => region - last.span.length,
            _ => region,
        }
    }

    /// The parts of `span` that lie in the region, in order: each with whether it is in use.
    pub fn within(&self, span: Span) -> impl Iterator<Item = AllocationRun> + '_ {
        let first = self.runs.partition_point(|run| run.span.end() <= span.offset);
        let end = span.offset.saturating_add(span.length);
        self.runs[first..].iter().take_while(move |run| run.span.offset < end).map(move |run| {
            let offset = run.span.offset.max(span.offset);
            let length = run.span.end().min(end) - offset;
            AllocationRun { span: Span { offset, length }, used: run.used }
        })
    }

    /// Whether no byte of `span` is in use. Bytes outside of the region are.
    pub fn is_free(&self, span: Span) -> bool {
        let mut parts = self.within(span);
        span.length == 0 || parts.next().is_some_and(|part| !part.used && part.span == span)
    }
}

/// Why nobody can say which blocks of a volume are free: all of them count as used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Another file system, or none.
    #[error("no file system whose free blocks are known")]
    Unknown,
    /// It was in use.
    #[error("the volume was not unmounted cleanly")]
    Mounted,
    /// Its journal is not empty.
    #[error("the journal of the volume holds transactions that were not carried out")]
    Journal,
    /// A part lies on another device.
    #[error("the volume has a part on another device: {0}")]
    Elsewhere(&'static str),
    /// What it says of its blocks is not consistent.
    #[error("the volume's map of used blocks is not to be believed: {0}")]
    Damaged(&'static str),
}

/// Makes an [`Allocation`] from the front to the end.
pub(super) struct Mapper {
    region: Span,
    block: u32,
    /// End of the last run.
    end: u64,
    runs: Vec<AllocationRun>,
    /// Shorter free runs count as used.
    least: u64,
    most: usize,
}

/// Order of the bits in a byte of a map.
#[derive(Clone, Copy)]
pub(super) enum BitOrder {
    HighFirst,
    LowFirst,
}

impl Mapper {
    /// A map of `region`, of which nothing is known yet.
    pub fn new(region: Span, block: u32) -> Mapper {
        Mapper { region, block, end: region.offset, runs: Vec::new(), least: 1, most: MOST_RUNS }
    }

    /// The next `length` bytes. What lies beyond the region is left out.
    pub fn push(&mut self, length: u64, used: bool) {
        let length = length.min(self.region.end() - self.end);
        if length == 0 {
            return;
        }
        if let Some(last) = self.runs.last_mut()
            && last.used == used
        {
            last.span.length += length;
        } else {
            self.thin();
            // The run before may have become the same kind.
            match self.runs.last_mut() {
                Some(last) if last.used == used => last.span.length += length,
                _ => self.runs.push(AllocationRun { span: Span { offset: self.end, length }, used }),
            }
        }
        self.end += length;
    }

    /// Gives up the last free run if it is too short, and more of them when there are too many runs.
    fn thin(&mut self) {
        let least = self.least;
        if let [.., before, last] = self.runs.as_mut_slice()
            && !last.used
            && last.span.length < least
        {
            before.span.length += last.span.length;
            self.runs.pop();
        }
        if self.runs.len() < self.most {
            return;
        }
        while self.runs.len() >= self.most / 2 {
            self.least = self.least.saturating_mul(2).max(u64::from(self.block));
            let least = self.least;
            for run in &mut self.runs {
                run.used |= run.span.length < least;
            }
            self.runs.dedup_by(|run, before| {
                let same = run.used == before.used;
                before.span.length += if same { run.span.length } else { 0 };
                same
            });
        }
    }

    /// The next blocks, one for each of the first `count` bits of `map`, set when used. Bits that are not there count as
    /// set. Returns how many were clear.
    pub fn push_bits(&mut self, map: &[u8], count: u64, order: BitOrder) -> u64 {
        let (block, mut clear, mut left) = (u64::from(self.block), 0, count);
        let mut bytes = map.iter();
        while left > 0 {
            let Some(&byte) = bytes.next() else {
                self.push(left.saturating_mul(block), true);
                break;
            };
            let bits = left.min(8);
            match byte {
                0xff => self.push(bits * block, true),
                0 => {
                    clear += bits;
                    self.push(bits * block, false);
                }
                _ => {
                    for bit in 0..bits {
                        let used = match order {
                            BitOrder::HighFirst => byte << bit & 0x80 != 0,
                            BitOrder::LowFirst => byte >> bit & 1 != 0,
                        };
                        clear += u64::from(!used);
                        self.push(block, used);
                    }
                }
            }
            left -= bits;
        }
        clear
    }

    /// The map. `reserved` stretches, in bytes of the disk, are used whatever was said of them; what was not
    /// mentioned is used.
    pub fn finish(mut self, reserved: &[Span]) -> Allocation {
        self.push(self.region.end() - self.end, true);
        let region = self.region;
        let mut allocation = Allocation { block_size: self.block, runs: self.runs };
        for span in reserved {
            let mut map = Mapper::new(region, self.block);
            map.most = usize::MAX;
            let (from, to) = (span.offset, span.offset.saturating_add(span.length));
            for run in &allocation.runs {
                let (start, end) = (run.span.offset, run.span.end());
                let (from, to) = (from.clamp(start, end), to.clamp(start, end));
                map.push(from - start, run.used);
                map.push(to.max(from) - from, true);
                map.push(end - to.max(from), run.used);
            }
            allocation.runs = map.runs;
        }
        allocation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(allocation: &Allocation) -> Vec<(u64, u64, bool)> {
        allocation.runs().iter().map(|run| (run.span.offset, run.span.length, run.used)).collect()
    }

    fn region(offset: u64, length: u64) -> Span {
        Span { offset, length }
    }

    #[test]
    fn bits_become_runs_of_bytes_in_either_order() {
        let mut map = Mapper::new(region(100, 24 * 512 + 7), 512);
        assert_eq!(map.push_bits(&[0xff, 0b0011_1111, 0], 24, BitOrder::HighFirst), 10);
        let want = [
            (100, 4096, true),
            (100 + 4096, 1024, false),
            (100 + 10 * 512, 6 * 512, true),
            (100 + 8192, 4096, false),
            (100 + 24 * 512, 7, true),
        ];
        assert_eq!(spans(&map.finish(&[])), want);
        let mut map = Mapper::new(region(0, 4096), 512);
        assert_eq!(map.push_bits(&[0b0011_1111], 8, BitOrder::LowFirst), 2);
        assert_eq!(spans(&map.finish(&[])), [(0, 3072, true), (3072, 1024, false)]);
    }

    #[test]
    fn bits_that_are_missing_and_blocks_beyond_the_region_count_as_used_or_not_at_all() {
        let mut map = Mapper::new(region(0, 2048), 512);
        assert_eq!(map.push_bits(&[], 3, BitOrder::HighFirst), 0);
        map.push(u64::MAX, false);
        assert_eq!(spans(&map.finish(&[])), [(0, 1536, true), (1536, 512, false)]);
    }

    #[test]
    fn reserved_stretches_are_used_wherever_they_lie() {
        let mut map = Mapper::new(region(10, 100), 1);
        map.push(100, false);
        let allocation = map.finish(&[region(0, 12), region(50, 10), region(109, u64::MAX), region(400, 5)]);
        let want = [(10, 2, true), (12, 38, false), (50, 10, true), (60, 49, false), (109, 1, true)];
        assert_eq!(spans(&allocation), want);
        assert_eq!(allocation.used(), 13);
        assert!(allocation.is_free(region(12, 38)) && !allocation.is_free(region(12, 39)));
        assert!(!allocation.is_free(region(0, 5)) && allocation.is_free(region(20, 0)));
        let within: Vec<_> =
            allocation.within(region(11, 45)).map(|run| (run.span.offset, run.used)).collect();
        assert_eq!(within, [(11, true), (12, false), (50, true)]);
    }

    #[test]
    fn what_is_needed_ends_with_the_last_block_in_use_and_a_header_behind_it() {
        let needed = |lengths: &[u64]| {
            let mut map = Mapper::new(region(7, lengths.iter().sum()), 512);
            lengths.iter().enumerate().for_each(|(place, length)| map.push(*length, place % 2 == 0));
            map.finish(&[]).needed()
        };
        assert_eq!(needed(&[4096, 8192, 1024]), 5120);
        assert_eq!(needed(&[4096, 8192, 1024, 512]), 4096 + 8192 + 1024);
        assert_eq!(needed(&[4096, 8192, 4096]), 16384);
        assert_eq!(needed(&[4096]), 4096);
    }

    #[test]
    fn too_many_runs_lose_their_smallest_free_ones() {
        let mut map = Mapper::new(region(0, 1 << 40), 4096);
        map.most = 64;
        for number in 0..1000 {
            map.push(4096, true);
            map.push(if number % 100 == 0 { 1 << 20 } else { 4096 }, false);
        }
        let allocation = map.finish(&[]);
        assert!(allocation.runs().len() <= 64, "{}", allocation.runs().len());
        let free = |run: &&AllocationRun| !run.used && run.span.length == 1 << 20;
        assert_eq!(allocation.runs().iter().filter(free).count(), 10);
    }

    proptest! {
        #[test]
        fn runs_cover_the_region_alternate_and_call_nothing_free_that_was_pushed_as_used(
            pushes in prop::collection::vec((1..9_u64, any::<bool>()), 0..60),
            length in 1..200_u64, reserved in prop::collection::vec((0..220_u64, 0..30_u64), 0..4),
            most in 4..80_usize,
        ) {
            let mut map = Mapper::new(region(5, length), 1);
            map.most = most;
            let mut bytes = Vec::new();
            for (length, used) in pushes {
                map.push(length, used);
                bytes.extend(std::iter::repeat_n(used, length as usize));
            }
            bytes.resize(length as usize, true);
            let reserved: Vec<Span> = reserved.into_iter().map(|(at, length)| region(at, length)).collect();
            for at in reserved.iter().flat_map(|span| span.offset..span.end()) {
                if let Some(used) = at.checked_sub(5).and_then(|at| bytes.get_mut(at as usize)) {
                    *used = true;
                }
            }
            let allocation = map.finish(&reserved);
            let mut end = 5;
            for (number, run) in allocation.runs().iter().enumerate() {
                prop_assert_eq!(run.span.offset, end);
                prop_assert!(run.span.length > 0);
                prop_assert!(number == 0 || allocation.runs()[number - 1].used != run.used);
                end = run.span.end();
                let said = &bytes[run.span.offset as usize - 5..end as usize - 5];
                prop_assert!(run.used || said.iter().all(|used| !used));
                prop_assert!(!run.used || most < 70 || said.iter().all(|used| *used), "nothing had to be given up");
            }
            prop_assert_eq!(end, 5 + length);
        }
    }
}
