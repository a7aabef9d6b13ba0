//! Writes bzip2 streams by the format's description, one block a stream, with everything that a writer may choose.
//!
//! Owns: how a text becomes bits, by the definitions and slowly. Must not know: the decoder in `src/image/source`, so that it cannot
//! agree with itself.

/// What a writer may choose.
#[derive(Clone, Copy, Default)]
pub struct Choices {
    /// Level in the header, 1 to 9.
    pub level: u8,
    /// Whether bits are flipped as early versions did; `flips` has the list of the format or its beginning.
    pub randomised: bool,
    /// Codes, 2 to 6.
    pub codes: usize,
    /// Bits of every symbol beyond those it needs, as far as 20 allow: codes that are not full.
    pub spare: u32,
    /// So many symbols have codes of 1, 2, 3... bits, the others as many more: codes of very different lengths.
    pub steps: u32,
    /// Selectors beyond those in use.
    pub selectors: usize,
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, count: u32, value: u64) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
    }
}

/// CRC-32 of the polynomial 04C11DB7, most significant bit first.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

/// Of 4 to 259 equal bytes: four, and the number of the others.
fn runs(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take(259).take_while(|other| **other == byte).count();
        out.extend(std::iter::repeat_n(byte, run.min(4)));
        if run >= 4 {
            out.push(run as u8 - 4);
        }
        rest = &rest[run..];
    }
    out
}

/// The last column of the sorted rotations, and the row of the text.
fn transform(text: &[u8]) -> (Vec<u8>, usize) {
    let twice = [text, text].concat();
    let mut starts: Vec<usize> = (0..text.len()).collect();
    starts.sort_by_key(|&start| &twice[start..start + text.len()]);
    let last = starts.iter().map(|start| twice[start + text.len() - 1]).collect();
    (last, starts.iter().position(|start| *start == 0).expect("the text is one of its rotations"))
}

/// Move to front, runs of the foremost as digits 0 and 1 that count 1 and 2, the others one higher, and the end.
fn symbols(column: &[u8], used: &[u8]) -> Vec<usize> {
    let mut list = used.to_vec();
    let (mut out, mut run) = (Vec::new(), 0_usize);
    for byte in column.iter().map(Some).chain([None]) {
        let index = byte.map(|byte| list.iter().position(|other| other == byte).expect("a byte in use"));
        if index == Some(0) {
            run += 1;
            continue;
        }
        while run > 0 {
            out.push((run - 1) % 2);
            run = (run - 1) / 2;
        }
        out.push(index.unwrap_or(used.len()) + 1);
        let front = index.map_or(0, |index| index);
        list[..=front].rotate_right(1);
    }
    out
}

/// Lengths of the codes of so many symbols.
fn lengths(symbols: usize, choices: &Choices, code: usize) -> Vec<u32> {
    let steps = choices.steps.min(symbols as u32 - 1).min(11);
    let others = symbols - steps as usize;
    let need = (1..).find(|bits| 1 << bits >= others).unwrap_or(9);
    let spare = (choices.spare + code as u32).min(20 - steps - need);
    let mut all: Vec<u32> = (1..=steps).collect();
    all.resize(symbols, steps + need + spare);
    // Another code, another order.
    all.rotate_right(code * 7 % symbols);
    all
}

/// The code of each symbol: by length, then by number.
fn values(lengths: &[u32]) -> Vec<u64> {
    let mut values = vec![0; lengths.len()];
    let mut value = 0;
    for length in 1..=20 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, have)| **have == length) {
            values[symbol] = value;
            value += 1;
        }
        value <<= 1;
    }
    values
}

/// A stream of one block that holds `bytes`, of which there is at least one. `flips`: distances of the flipped bits.
pub fn stream(bytes: &[u8], choices: &Choices, flips: &[u16]) -> Vec<u8> {
    let mut text = runs(bytes);
    if choices.randomised {
        let mut place = 0;
        for distance in flips.iter().cycle() {
            let Some(byte) = text.get_mut(place + usize::from(*distance) - 2) else { break };
            *byte ^= 1;
            place += usize::from(*distance);
        }
    }
    let (column, origin) = transform(&text);
    let used: Vec<u8> = (0..=255).filter(|byte| column.contains(byte)).collect();
    let symbols = symbols(&column, &used);

    let mut bits = Bits::default();
    b"BZh".iter().for_each(|byte| bits.put(8, u64::from(*byte)));
    bits.put(8, u64::from(b'0' + choices.level));
    bits.put(48, 0x3141_5926_5359);
    bits.put(32, u64::from(crc(bytes)));
    bits.put(1, u64::from(choices.randomised));
    bits.put(24, origin as u64);
    let row = |row: u8| used.iter().filter(move |byte| **byte >> 4 == row);
    (0..16).for_each(|number| bits.put(1, u64::from(row(number).count() > 0)));
    for number in (0..16).filter(|number| row(*number).count() > 0) {
        (0..16).for_each(|column| bits.put(1, u64::from(used.contains(&(number << 4 | column)))));
    }
    let groups: Vec<&[usize]> = symbols.chunks(50).collect();
    let chosen = |group: usize| group * 5 % choices.codes;
    bits.put(3, choices.codes as u64);
    bits.put(15, (groups.len() + choices.selectors) as u64);
    let mut list: Vec<usize> = (0..choices.codes).collect();
    for group in 0..groups.len() + choices.selectors {
        let index = list.iter().position(|code| *code == chosen(group)).expect("a code");
        list[..=index].rotate_right(1);
        (0..index).for_each(|_| bits.put(1, 1));
        bits.put(1, 0);
    }
    let codes: Vec<Vec<u32>> =
        (0..choices.codes).map(|code| lengths(used.len() + 2, choices, code)).collect();
    for lengths in &codes {
        let mut length = lengths[0];
        bits.put(5, u64::from(length));
        for want in lengths {
            while length != *want {
                bits.put(2, if length < *want { 0b10 } else { 0b11 });
                length = if length < *want { length + 1 } else { length - 1 };
            }
            bits.put(1, 0);
        }
    }
    for (number, group) in groups.iter().enumerate() {
        let lengths = &codes[chosen(number)];
        let values = values(lengths);
        group.iter().for_each(|symbol| bits.put(lengths[*symbol], values[*symbol]));
    }
    bits.put(48, 0x1772_4538_5090);
    bits.put(32, u64::from(crc(bytes)));
    bits.bytes
}
