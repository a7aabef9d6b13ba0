//! Numbers in headers, and bounded reads of a part of an image.
//!
//! Every read is total: what lies beyond the end of the bytes reads as zero, so no offset that comes from a file
//! can panic. A parser checks magic and ranges afterwards, as it must anyway.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a header.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The `N` bytes at `at`, zeros beyond the end.
    pub fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some(rest) = self.0.get(at..) {
            let length = rest.len().min(N);
            bytes[..length].copy_from_slice(&rest[..length]);
        }
        bytes
    }

    /// Up to `length` bytes at `at`; fewer at the end.
    pub fn bytes(self, at: usize, length: usize) -> &'a [u8] {
        let rest = self.0.get(at..).unwrap_or_default();
        &rest[..length.min(rest.len())]
    }

    /// Whether `magic` stands at `at`.
    pub fn has(self, at: usize, magic: &[u8]) -> bool {
        self.0.get(at..).is_some_and(|rest| rest.starts_with(magic))
    }

    pub fn u8(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    pub fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    pub fn le16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub fn le32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub fn le64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

/// A part of an image that is read by offset, never beyond its end.
pub(super) struct Window<'a> {
    reader: &'a mut dyn Seekable,
    start: u64,
    size: u64,
}

/// Anything that is read by offset.
pub(super) trait Seekable: Read + Seek {}

impl<T: Read + Seek + ?Sized> Seekable for T {}

impl<'a> Window<'a> {
    /// The `size` bytes of `reader` from `start` on.
    pub fn new(reader: &'a mut dyn Seekable, start: u64, size: u64) -> Window<'a> {
        Window { reader, start, size }
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A part of this part.
    pub fn part(&mut self, start: u64, size: u64) -> Window<'_> {
        let start = start.min(self.size);
        Window { reader: &mut *self.reader, start: self.start + start, size: size.min(self.size - start) }
    }

    /// Up to `length` bytes at `at`: fewer where the part or the reader ends, none beyond.
    pub fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.size.saturating_sub(at));
        let Some(from) = self.start.checked_add(at).filter(|_| length > 0) else { return Ok(Vec::new()) };
        self.reader.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&mut *self.reader).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Text of a fixed field: up to the first NUL, replacement characters for what is not UTF-8.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
}

/// UTF-16 text up to the first NUL, from code units.
pub(super) fn utf16(units: impl Iterator<Item = u16>) -> String {
    char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn what_lies_beyond_the_end_reads_as_zero() {
        let fields = Fields(&[1, 2, 3]);
        assert_eq!(fields.be32(1), 0x0203_0000);
        assert_eq!(fields.le64(usize::MAX), 0);
        assert_eq!(fields.bytes(2, usize::MAX), [3]);
    }

    #[test]
    fn a_window_ends_where_it_or_its_reader_ends() {
        let mut image = Cursor::new(vec![7; 10]);
        let mut window = Window::new(&mut image, 4, 100);
        assert_eq!(window.read(2, 100).unwrap(), [7; 4]);
        assert!(window.read(u64::MAX, 1).unwrap().is_empty());
        assert_eq!(window.part(u64::MAX, u64::MAX).size(), 0);
        assert_eq!(window.part(1, 2).read(0, 9).unwrap(), [7; 2]);
    }
}
