//! One block of a bzip2 stream: from its bits to its text.
//!
//! Owns: symbols in use, selectors, code lengths, Huffman codes, move to front, runs, and the bounds of each. Knows nothing
//! of other blocks. What bzip2 1.0.8 accepts is accepted, down to codes that are incomplete or too full: whoever wrote
//! such a stream read it back with that program.

use super::bits::Bits;
use super::transform::Transform;

pub(super) const BLOCK_MARK: u64 = 0x3141_5926_5359;
pub(super) const END_MARK: u64 = 0x1772_4538_5090;

const LONGEST_BLOCK: usize = 900_000;
const MOST_SYMBOLS: usize = 258;
const MOST_SELECTORS: usize = 18_002;
const GROUP: usize = 50;
const LONGEST_CODE: usize = 20;

/// A symbol above all others.
const NOTHING: u16 = u16::MAX;

/// Bits that are looked up at once; longer codes are rare.
const FAST: usize = 10;

/// The codes of one block.
pub(super) struct Huffman {
    codes: [Code; 6],
    selectors: Vec<u8>,
}

impl Default for Huffman {
    fn default() -> Huffman {
        Huffman { codes: [const { Code::NEW }; 6], selectors: Vec::new() }
    }
}

struct Code {
    /// By the next bits: symbol << 5 | length; 0 where the code is longer or there is none.
    fast: [u16; 1 << FAST],
    /// For each length the first value from the top of 20 bits that is too large for it.
    bound: [u32; LONGEST_CODE + 1],
    /// What to take from a code of this length to get its place in `order`.
    base: [u32; LONGEST_CODE + 1],
    order: [u16; MOST_SYMBOLS],
}

impl Code {
    const NEW: Code = Code {
        fast: [0; 1 << FAST],
        bound: [0; LONGEST_CODE + 1],
        base: [0; LONGEST_CODE + 1],
        order: [0; MOST_SYMBOLS],
    };

    fn build(&mut self, lengths: &[u8]) {
        self.fast.fill(0);
        let (mut code, mut placed, mut filled) = (0_u32, 0_usize, 0_usize);
        for length in 1..=LONGEST_CODE {
            let first = code;
            self.base[length] = first.wrapping_sub(placed as u32);
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, have)| usize::from(**have) == length) {
                self.order[placed] = symbol as u16;
                if length <= FAST {
                    let end = (filled + (1 << (FAST - length))).min(1 << FAST);
                    self.fast[filled..end].fill((symbol << 5 | length) as u16);
                    filled = end;
                }
                placed += 1;
                code += 1;
            }
            // Too full a code has bounds beyond 20 bits: they take all that is left.
            self.bound[length] = code << (LONGEST_CODE - length);
            code <<= 1;
        }
    }

    /// Reads a group of symbols, no further than `end` or a code that stands for nothing: how many.
    #[inline(always)]
    fn group(&self, bits: &mut Bits<'_>, end: u16, symbols: &mut [u16; GROUP]) -> usize {
        // A copy, which stays in registers.
        let mut ahead = *bits;
        let mut count = 0;
        for to in symbols {
            ahead.refill();
            let entry = self.fast[(ahead.peek() >> (64 - FAST)) as usize % (1 << FAST)];
            let (symbol, length) =
                if entry != 0 { (entry >> 5, u32::from(entry & 31)) } else { self.long(ahead.peek()) };
            ahead.skip(length);
            *to = symbol;
            count += 1;
            if symbol >= end {
                break;
            }
        }
        *bits = ahead;
        count
    }

    /// A symbol, and the bits of its code.
    #[cold]
    #[inline(never)]
    fn long(&self, next: u64) -> (u16, u32) {
        let value = (next >> (64 - LONGEST_CODE)) as u32;
        let length = (1..=LONGEST_CODE).find(|&length| value < self.bound[length]);
        let place = length.map(|length| (value >> (LONGEST_CODE - length)).wrapping_sub(self.base[length]));
        let symbol = place.and_then(|place| self.order.get(place as usize));
        (symbol.copied().unwrap_or(NOTHING), length.unwrap_or(LONGEST_CODE) as u32)
    }
}

/// A block as it was read. Its memory is used again.
pub(super) struct Block {
    /// The CRC that its bytes should have.
    pub crc: u32,
    /// The row of the text among the sorted rotations.
    origin: u32,
    randomised: bool,
    length: usize,
    /// The last column of the sorted rotations.
    column: Vec<u8>,
    /// How often each byte occurs in it.
    counts: [u32; 256],
    huffman: Box<Huffman>,
}

impl Block {
    pub fn new() -> Block {
        let column = vec![0; LONGEST_BLOCK];
        Block {
            crc: 0,
            origin: 0,
            randomised: false,
            length: 0,
            column,
            counts: [0; 256],
            huffman: Box::default(),
        }
    }

    /// Reads a block after its mark. `most`: bytes that it may have.
    pub fn read(&mut self, bits: &mut Bits<'_>, most: usize) -> Result<(), &'static str> {
        self.crc = bits.take_word();
        self.randomised = bits.bit();
        self.origin = bits.take(24);
        let mut list = [0; 256];
        let used = symbols_in_use(bits, &mut list)?;
        let huffman = &mut self.huffman;
        let groups = read_selectors(bits, &mut huffman.selectors)?;
        for code in &mut huffman.codes[..groups] {
            let mut lengths = [0; MOST_SYMBOLS];
            let lengths = &mut lengths[..used + 2];
            read_lengths(bits, lengths)?;
            code.build(lengths);
        }
        self.counts = [0; 256];
        let column = &mut self.column[..most];
        self.length = read_symbols(bits, huffman, used as u16 + 1, list, column, &mut self.counts)?;
        if self.origin as usize >= self.length {
            return Err("its origin lies outside it");
        }
        Ok(())
    }

    /// Makes the text of it.
    pub fn text(&mut self, transform: &mut Transform) -> &[u8] {
        let text = &mut self.column[..self.length];
        transform.invert(text, &self.counts, self.origin);
        if self.randomised {
            derandomise(text);
        }
        text
    }
}

/// Early versions flipped bits of texts that repeat themselves, at places of a fixed list.
fn derandomise(text: &mut [u8]) {
    let mut base = 0;
    for step in RANDOM.iter().cycle() {
        let Some(byte) = text.get_mut(base + usize::from(*step) - 2) else { return };
        *byte ^= 1;
        base += usize::from(*step);
    }
}

fn symbols_in_use(bits: &mut Bits<'_>, list: &mut [u8; 256]) -> Result<usize, &'static str> {
    let rows = bits.take(16);
    let mut used = 0;
    for row in (0..16).filter(|row| rows & 0x8000 >> row != 0) {
        let columns = bits.take(16);
        for column in (0..16).filter(|column| columns & 0x8000 >> column != 0) {
            list[used] = row << 4 | column;
            used += 1;
        }
    }
    if used == 0 { Err("no byte occurs in it") } else { Ok(used) }
}

/// Which code each group of symbols has. More than a block can need are read and not kept.
fn read_selectors(bits: &mut Bits<'_>, selectors: &mut Vec<u8>) -> Result<usize, &'static str> {
    let (groups, count) = (bits.take(3) as usize, bits.take(15) as usize);
    if !(2..=6).contains(&groups) {
        return Err("it has other than 2 to 6 codes");
    }
    if count == 0 {
        return Err("it has no groups of symbols");
    }
    selectors.clear();
    let mut list = [0_u8, 1, 2, 3, 4, 5];
    for number in 0..count {
        bits.refill();
        let index = bits.peek().leading_ones() as usize;
        if index >= groups {
            return Err("a group of symbols has a code that is not there");
        }
        bits.skip(index as u32 + 1);
        list[..=index].rotate_right(1);
        if number < MOST_SELECTORS {
            selectors.push(list[0]);
        }
    }
    Ok(groups)
}

fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), &'static str> {
    let mut length = bits.take(5);
    for to in lengths {
        loop {
            if !(1..=LONGEST_CODE as u32).contains(&length) {
                return Err("a code has other than 1 to 20 bits");
            }
            if !bits.bit() {
                break;
            }
            length = if bits.bit() { length - 1 } else { length + 1 };
        }
        *to = length as u8;
    }
    Ok(())
}

/// Reads all symbols: bytes of the last column go to `text`. 0 and 1 are digits of a run's length, `end` ends.
fn read_symbols(
    bits: &mut Bits<'_>,
    huffman: &Huffman,
    end: u16,
    list: [u8; 256],
    text: &mut [u8],
    counts: &mut [u32; 256],
) -> Result<usize, &'static str> {
    const LONG: &str = "it is longer than a block may be";
    let mut front = Front::new(list);
    let (mut made, mut run, mut digit) = (0_usize, 0_usize, 1_usize);
    let mut symbols = [0; GROUP];
    for selector in &huffman.selectors {
        let code = &huffman.codes[usize::from(*selector)];
        let count = code.group(bits, end, &mut symbols);
        for &symbol in &symbols[..count] {
            if symbol <= 1 {
                if digit >= 2 << 20 {
                    return Err("a run that is too long");
                }
                run += digit << symbol;
                digit <<= 1;
                continue;
            }
            if run > 0 {
                let byte = front.first();
                text.get_mut(made..made + run).ok_or(LONG)?.fill(byte);
                counts[usize::from(byte)] += run as u32;
                made += run;
                (run, digit) = (0, 1);
            }
            if symbol >= end {
                return if symbol == end { Ok(made) } else { Err("a code that stands for nothing") };
            }
            let byte = front.take(symbol as usize - 1);
            *text.get_mut(made).ok_or(LONG)? = byte;
            counts[usize::from(byte)] += 1;
            made += 1;
        }
        if bits.overrun() {
            return Err("it ends too early");
        }
    }
    Err("it has more symbols than groups")
}

/// A list of bytes in which the one that is taken comes to the front: the first 16 in one word, the others behind.
struct Front {
    near: u128,
    far: [u8; 256],
}

impl Front {
    fn new(list: [u8; 256]) -> Front {
        let mut near = [0; 16];
        near.copy_from_slice(&list[..16]);
        let mut far = [0; 256];
        far[..240].copy_from_slice(&list[16..]);
        Front { near: u128::from_le_bytes(near), far }
    }

    #[inline(always)]
    fn first(&self) -> u8 {
        self.near as u8
    }

    #[inline(always)]
    fn take(&mut self, index: usize) -> u8 {
        if index < 16 {
            let byte = (self.near >> (8 * index)) as u8;
            let behind = u128::MAX << (8 * index) << 8;
            self.near = self.near & behind | (self.near << 8 | u128::from(byte)) & !behind;
            return byte;
        }
        let index = (index - 16) & 255;
        let byte = self.far[index];
        self.far.copy_within(..index, 1);
        self.far[0] = (self.near >> 120) as u8;
        self.near = self.near << 8 | u128::from(byte);
        byte
    }
}

/// Distances of the flipped bits: a list of the format.
pub(super) const RANDOM: [u16; 512] = [
    619, 720, 127, 481, 931, 816, 813, 233, 566, 247, 985, 724, 205, 454, 863, 491, 741, 242, 949, 214, 733,
    859, 335, 708, 621, 574, 73, 654, 730, 472, 419, 436, 278, 496, 867, 210, 399, 680, 480, 51, 878, 465,
    811, 169, 869, 675, 611, 697, 867, 561, 862, 687, 507, 283, 482, 129, 807, 591, 733, 623, 150, 238, 59,
    379, 684, 877, 625, 169, 643, 105, 170, 607, 520, 932, 727, 476, 693, 425, 174, 647, 73, 122, 335, 530,
    442, 853, 695, 249, 445, 515, 909, 545, 703, 919, 874, 474, 882, 500, 594, 612, 641, 801, 220, 162, 819,
    984, 589, 513, 495, 799, 161, 604, 958, 533, 221, 400, 386, 867, 600, 782, 382, 596, 414, 171, 516, 375,
    682, 485, 911, 276, 98, 553, 163, 354, 666, 933, 424, 341, 533, 870, 227, 730, 475, 186, 263, 647, 537,
    686, 600, 224, 469, 68, 770, 919, 190, 373, 294, 822, 808, 206, 184, 943, 795, 384, 383, 461, 404, 758,
    839, 887, 715, 67, 618, 276, 204, 918, 873, 777, 604, 560, 951, 160, 578, 722, 79, 804, 96, 409, 713,
    940, 652, 934, 970, 447, 318, 353, 859, 672, 112, 785, 645, 863, 803, 350, 139, 93, 354, 99, 820, 908,
    609, 772, 154, 274, 580, 184, 79, 626, 630, 742, 653, 282, 762, 623, 680, 81, 927, 626, 789, 125, 411,
    521, 938, 300, 821, 78, 343, 175, 128, 250, 170, 774, 972, 275, 999, 639, 495, 78, 352, 126, 857, 956,
    358, 619, 580, 124, 737, 594, 701, 612, 669, 112, 134, 694, 363, 992, 809, 743, 168, 974, 944, 375, 748,
    52, 600, 747, 642, 182, 862, 81, 344, 805, 988, 739, 511, 655, 814, 334, 249, 515, 897, 955, 664, 981,
    649, 113, 974, 459, 893, 228, 433, 837, 553, 268, 926, 240, 102, 654, 459, 51, 686, 754, 806, 760, 493,
    403, 415, 394, 687, 700, 946, 670, 656, 610, 738, 392, 760, 799, 887, 653, 978, 321, 576, 617, 626, 502,
    894, 679, 243, 440, 680, 879, 194, 572, 640, 724, 926, 56, 204, 700, 707, 151, 457, 449, 797, 195, 791,
    558, 945, 679, 297, 59, 87, 824, 713, 663, 412, 693, 342, 606, 134, 108, 571, 364, 631, 212, 174, 643,
    304, 329, 343, 97, 430, 751, 497, 314, 983, 374, 822, 928, 140, 206, 73, 263, 980, 736, 876, 478, 430,
    305, 170, 514, 364, 692, 829, 82, 855, 953, 676, 246, 369, 970, 294, 750, 807, 827, 150, 790, 288, 923,
    804, 378, 215, 828, 592, 281, 565, 555, 710, 82, 896, 831, 547, 261, 524, 462, 293, 465, 502, 56, 661,
    821, 976, 991, 658, 869, 905, 758, 745, 193, 768, 550, 608, 933, 378, 286, 215, 979, 792, 961, 61, 688,
    793, 644, 986, 403, 106, 366, 905, 644, 372, 567, 466, 434, 645, 210, 389, 550, 919, 135, 780, 773, 635,
    389, 707, 100, 626, 958, 165, 504, 920, 176, 193, 713, 857, 265, 203, 50, 668, 108, 645, 990, 626, 197,
    510, 357, 358, 850, 858, 364, 936, 638,
];
