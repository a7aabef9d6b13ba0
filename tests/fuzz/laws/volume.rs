//! A file system of any kind: what an image says of itself is read within bounds, and its map of used bytes covers it.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use rootstock::image::volume::{self, Kind};

use super::assert_fit_for_a_log;

/// Reads and bytes that an image may cost: of one that is small, whatever it claims.
const MOST_READS: u64 = 200_000;
const MOST_BYTES: u64 = 256 << 20;

pub fn check(bytes: &[u8]) {
    read(bytes);
    // Behind a checksum nothing would be found: the same with every checksum of APFS put right.
    if bytes.get(32..36) == Some(b"NXSB") {
        let mut sound = bytes.to_vec();
        for block in sound.chunks_exact_mut(4096) {
            let sum = fletcher(block);
            block[..8].copy_from_slice(&sum.to_le_bytes());
        }
        read(&sound);
    }
}

/// The checksum of an APFS object (Apple File System Reference, "Object checksum").
fn fletcher(object: &[u8]) -> u64 {
    let modulus = u64::from(u32::MAX);
    let (mut low, mut high) = (0_u64, 0_u64);
    for word in object[8..].chunks_exact(4) {
        low = (low + u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))) % modulus;
        high = (high + low) % modulus;
    }
    let first = modulus - (low + high) % modulus;
    (modulus - (low + first) % modulus) << 32 | first
}

fn read(bytes: &[u8]) {
    // The image goes on in zeros, so that what lies beyond it is there to be read.
    let claimed = bytes.len() as u64 + u64::from(bytes.last().copied().unwrap_or(0)) * 4096;
    let mut image = Counted { image: Cursor::new(bytes), end: claimed, at: 0, reads: 0, bytes: 0 };
    let facts = volume::read(&mut image, 0, claimed).expect("reading never fails here");
    for name in facts.encrypted.iter().chain(&facts.label) {
        assert!(!name.chars().any(char::is_control), "control characters in a name: {name:?}");
    }
    if let Some(system) = &facts.system {
        assert_fit_for_a_log(&format!("{} {} {}", system.product, system.version, system.build));
    }
    assert!(facts.top.len() <= 64);
    let start = claimed.min(512);
    for (start, length) in [(0, claimed), (start, claimed - start)] {
        let known =
            match volume::judged_allocation(&mut image, start, length).expect("reading never fails here") {
                Ok(known) => known,
                Err(reason) => {
                    assert_fit_for_a_log(&reason.to_string());
                    continue;
                }
            };
        assert!(start > 0 || facts.kind != Kind::Unknown);
        let mut end = start;
        for pair in known.runs().windows(2) {
            assert_ne!(pair[0].used, pair[1].used, "runs that belong together");
        }
        for run in known.runs() {
            assert!(run.span.offset == end && run.span.length > 0, "a gap at {end}");
            end = run.span.end();
        }
        assert_eq!(end, start + length, "not all is covered");
        assert!(known.runs()[0].used, "what says that it is a volume is in use");
    }
    assert!(image.reads <= MOST_READS, "{} reads of {} bytes", image.reads, bytes.len());
    assert!(image.bytes <= MOST_BYTES, "{} bytes read of {}", image.bytes, bytes.len());
}

/// An image that counts what is read of it.
struct Counted<'a> {
    image: Cursor<&'a [u8]>,
    end: u64,
    at: u64,
    reads: u64,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let length = (self.end.saturating_sub(self.at)).min(buffer.len() as u64) as usize;
        self.image.set_position(self.at);
        let got = self.image.read(&mut buffer[..length])?;
        buffer[got..length].fill(0);
        self.at += length as u64;
        self.bytes += length as u64;
        Ok(length)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.at = at,
            _ => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
        Ok(self.at)
    }
}
