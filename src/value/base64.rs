//! Base64 (RFC 4648 section 4): how bytes are spelled in a header or in a text.
//!
//! Owns: with padding out, with or without it in. Must not know: what is spelled.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be missing, as some programs leave it away; so may the care for bits behind the last byte.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// With padding.
pub fn encode_base64(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// The same back. None: the text is no base64.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_there_and_back_for_every_length_and_refuses_what_is_none() {
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37) ^ length).collect();
            let text = encode_base64(&bytes);
            assert_eq!(decode_base64(&text), Some(bytes.clone()), "{text}");
            assert_eq!(decode_base64(text.trim_end_matches('=')), Some(bytes));
        }
        assert_eq!(encode_base64(b"hello"), "aGVsbG8=");
        for text in ["a", "a===", "aGV$", "ab cd", "é"] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }
}
