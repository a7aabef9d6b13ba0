//! Bits of a byte slice, the most significant first. Beyond the end they are zeros, and `overrun` tells it.
//!
//! Owns: the refill by whole words. Knows nothing of what the bits mean.

/// A reader of bits.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes taken into `buffer`.
    next: usize,
    /// The bits, from the top.
    buffer: u64,
    /// How many of them count.
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, next: 0, buffer: 0, count: 0 }
    }

    /// Afterwards 56 bits or more are at hand.
    #[inline(always)]
    pub fn refill(&mut self) {
        let word = match self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            Some(word) => u64::from_be_bytes(*word),
            None => self.last_word(),
        };
        self.buffer |= word >> self.count;
        self.next += (63 - self.count as usize) >> 3;
        self.count |= 56;
    }

    #[cold]
    fn last_word(&self) -> u64 {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(self.bytes.get(self.next..).unwrap_or_default()) {
            *to = *from;
        }
        u64::from_be_bytes(word)
    }

    /// The next bits, from the top; at least as many as `refill` left.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        self.buffer
    }

    /// Passes over 1 to 32 bits that `refill` brought.
    #[inline(always)]
    pub fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count = self.count.wrapping_sub(bits);
    }

    /// Takes 1 to 32 bits.
    #[inline]
    pub fn take(&mut self, bits: u32) -> u32 {
        self.refill();
        let value = (self.buffer >> (64 - bits)) as u32;
        self.skip(bits);
        value
    }

    /// Takes 32 bits.
    pub fn take_word(&mut self) -> u32 {
        self.take(32)
    }

    pub fn bit(&mut self) -> bool {
        self.take(1) == 1
    }

    /// Bytes that are used, a begun one among them.
    pub fn position(&self) -> usize {
        (self.next * 8 - self.count as usize).div_ceil(8)
    }

    /// Whether bits were taken from beyond the end.
    pub fn overrun(&self) -> bool {
        self.next * 8 - self.count as usize > self.bytes.len() * 8
    }
}
