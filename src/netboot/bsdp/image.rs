//! Boot image ids: `attributes(16) | index(16)`, compared whole.

use std::fmt;

/// The upper half of an image id: install bit 0x8000, kind 0x7f00, low byte reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub u16);

/// A boot image, as servers and clients name it on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(u32);

/// The parts make no image id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImageId {
    /// Index 0 is invalid, more than 16 bits do not fit.
    #[error("index {0} is outside 1 to 65535")]
    Index(i64),
    /// Seven bits.
    #[error("kind {0} is outside 0 to 127")]
    Kind(i64),
}

impl ImageId {
    /// An id from what NBImageInfo.plist says.
    pub fn new(install: bool, kind: i64, index: i64) -> Result<ImageId, BadImageId> {
        let low = u16::try_from(index).ok().filter(|index| *index != 0).ok_or(BadImageId::Index(index))?;
        let kind = u8::try_from(kind).ok().filter(|kind| *kind < 128).ok_or(BadImageId::Kind(kind))?;
        let attributes = u16::from(install) << 15 | u16::from(kind) << 8;
        Ok(ImageId(u32::from(attributes) << 16 | u32::from(low)))
    }

    /// Upper half.
    pub fn attributes(self) -> Attributes {
        Attributes((self.0 >> 16) as u16)
    }

    /// As it stands in the packet.
    pub fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl From<u32> for ImageId {
    fn from(id: u32) -> ImageId {
        ImageId(id)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// At most `most` bytes of `text`, cut between characters: macOS skips an entry whose name is no UTF-8.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_deployed_servers_come_from_their_parts() {
        assert_eq!(ImageId::new(false, 1, 1), Ok(ImageId(0x0100_0001)));
        assert_eq!(ImageId::new(true, 1, 0x52a), Ok(ImageId(0x8100_052a)));
        assert_eq!(ImageId::new(true, 2, 1095).unwrap().to_string(), "0x82000447");
        assert_eq!(ImageId(0x8200_0447).attributes(), Attributes(0x8200));
    }

    #[test]
    fn index_zero_and_what_does_not_fit_is_refused() {
        assert_eq!(ImageId::new(true, 1, 0), Err(BadImageId::Index(0)));
        assert_eq!(ImageId::new(true, 1, 65_536), Err(BadImageId::Index(65_536)));
        assert_eq!(ImageId::new(true, 128, 1), Err(BadImageId::Kind(128)));
        assert_eq!(ImageId::new(true, -1, 1), Err(BadImageId::Kind(-1)));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("Größe", 4), "Grö");
        assert_eq!(cut("Größe", 3), "Gr");
        assert_eq!(cut("ab", 9), "ab");
    }
}
