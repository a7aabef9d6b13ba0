//! CRC-32 (ISO-HDLC, reflected polynomial EDB88320) that is put together from pieces.
//!
//! Workers compute the CRC of the bytes they decoded; the CRC of a partition follows from those of its pieces and
//! their lengths, whatever thread made them. Zeros cost no reading. The arithmetic is that of polynomials over GF(2):
//! to append n bytes is to multiply the register by x^8n modulo the polynomial.

const POLYNOMIAL: u32 = 0xEDB8_8320;

/// x^(2^k) modulo the polynomial; x has order 2^32 - 1, so 32 entries serve every exponent.
const SQUARES: [u32; 32] = {
    let mut table = [0; 32];
    table[0] = 1 << 30;
    let mut k = 1;
    while k < 32 {
        table[k] = multiply(table[k - 1], table[k - 1]);
        k += 1;
    }
    table
};

/// a · b modulo the polynomial, both with the coefficient of x^0 in the top bit.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = if b & 1 == 1 { b >> 1 ^ POLYNOMIAL } else { b >> 1 };
    }
    product
}

/// x^8n modulo the polynomial.
fn shift(mut bytes: u64) -> u32 {
    let mut power = 1 << 31;
    let mut k = 3;
    while bytes > 0 {
        if bytes & 1 == 1 {
            power = multiply(SQUARES[k & 31], power);
        }
        bytes >>= 1;
        k += 1;
    }
    power
}

/// A CRC-32 that grows piece by piece.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Crc(u32);

impl Crc {
    /// CRC of no bytes.
    pub const NEW: Crc = Crc(0);

    /// CRC of `bytes`.
    pub fn of(bytes: &[u8]) -> Crc {
        Crc(crc32fast::hash(bytes))
    }

    /// Appends `length` bytes whose own CRC is `next`.
    pub fn append(&mut self, next: Crc, length: u64) {
        self.0 = multiply(shift(length), self.0) ^ next.0;
    }

    /// Appends `length` zero bytes.
    pub fn append_zeros(&mut self, length: u64) {
        self.0 = !multiply(shift(length), !self.0);
    }

    /// The value as it stands in files.
    pub fn value(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(Crc::of(b"123456789").value(), 0xCBF4_3926);
    }

    proptest! {
        #[test]
        fn pieces_and_zeros_add_up_to_the_whole(a: Vec<u8>, zeros in 0..5000_usize, b: Vec<u8>) {
            let mut pieced = Crc::NEW;
            pieced.append(Crc::of(&a), a.len() as u64);
            pieced.append_zeros(zeros as u64);
            pieced.append(Crc::of(&b), b.len() as u64);
            let whole: Vec<u8> = a.into_iter().chain(std::iter::repeat_n(0, zeros)).chain(b).collect();
            prop_assert_eq!(pieced.value(), crc32fast::hash(&whole));
        }
    }

    #[test]
    fn terabytes_of_zeros_cost_nothing_and_add_up() {
        let (mut at_once, mut by_halves) = (Crc::of(b"x"), Crc::of(b"x"));
        at_once.append_zeros(1 << 60);
        by_halves.append_zeros(1 << 59);
        by_halves.append_zeros(1 << 59);
        assert_eq!(at_once.value(), by_halves.value());
    }
}
