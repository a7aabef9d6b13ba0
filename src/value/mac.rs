//! Ethernet addresses, in every spelling that NBImageInfo.plist, firmware and people use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address. Printed as `0a:1b:2c:3d:4e:5f`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr([u8; 6]);

/// The text is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address: six bytes in hexadecimal, as in 0a:1b:2c:3d:4e:5f")]
pub struct BadMac(String);

impl MacAddr {
    /// An address from its six bytes.
    pub const fn new(bytes: [u8; 6]) -> MacAddr {
        MacAddr(bytes)
    }

    /// The six bytes, first transmitted first.
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = BadMac;

    /// Accepts `:` or `-` between bytes, upper and lower case, bytes without their leading zero
    /// (BSDPy writes `0:1b:…`), and twelve digits with nothing between them.
    fn from_str(text: &str) -> Result<MacAddr, BadMac> {
        let bad = || BadMac(text.chars().take(40).collect());
        if !text.is_ascii() {
            return Err(bad());
        }
        let pieces: Vec<&str> = if text.len() == 12 && !text.contains([':', '-']) {
            (0..6).map(|i| &text[2 * i..2 * i + 2]).collect()
        } else {
            text.split([':', '-']).take(7).collect()
        };
        let pieces: [&str; 6] = pieces.try_into().map_err(|_| bad())?;
        let mut bytes = [0; 6];
        for (byte, piece) in bytes.iter_mut().zip(pieces) {
            let digits = matches!(piece.len(), 1 | 2) && piece.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = digits.then(|| u8::from_str_radix(piece, 16).ok()).flatten().ok_or_else(bad)?;
        }
        Ok(MacAddr(bytes))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<MacAddr, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_in_use_means_the_same_address() {
        let want = MacAddr::new([0, 0x1b, 0x63, 0xaa, 0x0f, 1]);
        for text in ["00:1b:63:aa:0f:01", "0:1b:63:AA:f:1", "00-1B-63-AA-0F-01", "001b63AA0f01"] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        assert_eq!(want.to_string(), "00:1b:63:aa:0f:01");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "00:1b:63:aa:0f",
            "00:1b:63:aa:0f:01:02",
            "00:1b:63:aa:0f:zz",
            "+0:1b:63:aa:0f:01",
            "0:1:2:3:4:é",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }
}
