//! Resumable upload, tus protocol 1.0.0 (<https://tus.io/protocols/resumable-upload>): its header values as types, for both ends.
//!
//! | header | here |
//! |---|---|
//! | `Tus-Resumable`, `Tus-Version` | [`VERSION`] |
//! | `Tus-Extension` | [`EXTENSIONS`] |
//! | `Tus-Checksum-Algorithm`, `Upload-Checksum` | [`Algorithm`], [`Checksum`] |
//! | `Upload-Metadata` | [`Metadata`], and [`keys`] |
//! | `Upload-Expires` | [`http_date`] |
//!
//! Must not know: how bytes travel, where they are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::value::{decode_base64, encode_base64};

/// The only version spoken.
pub const VERSION: &str = "1.0.0";
/// What is spoken beyond the core.
pub const EXTENSIONS: &str = "creation,creation-with-upload,checksum,termination,expiration";
/// Content type of a body that goes into an upload.
pub const CONTENT_TYPE: &str = "application/offset+octet-stream";
/// Status of a body that does not have the checksum that was announced.
pub const CHECKSUM_MISMATCH: u16 = 460;
/// Answer to the request that completed an upload: number of the job that imports it.
pub const JOB_HEADER: &str = "rootstock-job";
/// With the last bytes of an upload: BLAKE3 digest of the whole file, hexadecimal. Not part of tus.
pub const DIGEST_HEADER: &str = "rootstock-digest";

/// Keys of `Upload-Metadata` that mean something here; others are kept and not looked at.
pub mod keys {
    /// Name of the file, as uploaders send it.
    pub const FILE: &str = "filename";
    /// Name of the image; without it, it is made from the name of the file.
    pub const NAME: &str = "name";
    /// Note of the version.
    pub const NOTE: &str = "note";
    /// SHA-256 of the whole file, hexadecimal.
    pub const SHA256: &str = "sha256";
    /// What tells the same file again: any text of at most 200 bytes.
    pub const FINGERPRINT: &str = "fingerprint";
    /// `request`: is imported when that is asked for, not by itself. For a file that needs a password.
    pub const IMPORT: &str = "import";
}

/// Longest `Upload-Metadata` that is read.
const LONGEST_METADATA: usize = 8 << 10;

/// A header value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// `Upload-Metadata`.
    #[error(
        "Upload-Metadata is not `key BASE64, key BASE64, …` of at most 8 KiB with UTF-8 texts, each key once"
    )]
    Metadata,
    /// `Upload-Checksum`.
    #[error("Upload-Checksum is not an algorithm (sha1, sha256, crc32) and the digest in Base64")]
    Checksum,
}

/// What a client says of a file: texts by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// The text of a key; an empty one is none.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// With another key. Keys here are the fixed words of [`keys`].
    pub fn with(mut self, key: &'static str, text: impl Into<String>) -> Metadata {
        self.0.insert(key.to_owned(), text.into());
        self
    }
}

impl FromStr for Metadata {
    type Err = BadHeader;

    fn from_str(text: &str) -> Result<Metadata, BadHeader> {
        let mut texts = BTreeMap::new();
        if text.len() > LONGEST_METADATA {
            return Err(BadHeader::Metadata);
        }
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let bytes = decode_base64(value.trim()).ok_or(BadHeader::Metadata)?;
            let value = String::from_utf8(bytes).map_err(|_| BadHeader::Metadata)?;
            if texts.insert(key.to_owned(), value).is_some() {
                return Err(BadHeader::Metadata);
            }
        }
        Ok(Metadata(texts))
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, text)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{key} {}", encode_base64(text.as_bytes()))?;
        }
        Ok(())
    }
}

/// Algorithms of `Upload-Checksum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 4 bytes, big-endian.
    Crc32,
}

impl Algorithm {
    /// As `Tus-Checksum-Algorithm` lists them.
    pub const ALL: &str = "sha1,sha256,crc32";

    fn length(self) -> usize {
        match self {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Crc32 => 4,
        }
    }
}

/// What the body of one request must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How.
    pub algorithm: Algorithm,
    /// To what.
    pub digest: Vec<u8>,
}

impl FromStr for Checksum {
    type Err = BadHeader;

    fn from_str(text: &str) -> Result<Checksum, BadHeader> {
        let (name, digest) = text.trim().split_once(' ').ok_or(BadHeader::Checksum)?;
        let algorithm = match name {
            "sha1" => Algorithm::Sha1,
            "sha256" => Algorithm::Sha256,
            "crc32" => Algorithm::Crc32,
            _ => return Err(BadHeader::Checksum),
        };
        let digest = decode_base64(digest.trim()).ok_or(BadHeader::Checksum)?;
        if digest.len() != algorithm.length() {
            return Err(BadHeader::Checksum);
        }
        Ok(Checksum { algorithm, digest })
    }
}

/// IMF-fixdate (RFC 9110 section 5.6.7) of milliseconds since 1970 UTC: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // To the year 9999: the form has four digits.
    let seconds = ms.div_euclid(1000).clamp(0, 253_402_300_799);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970, days);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!(
        "{}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        left + 1,
        MONTHS[month],
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_texts_by_key_and_a_key_may_stand_alone() {
        let read: Metadata = "filename bGFiLmRtZw==, private,note w7w=".parse().unwrap();
        assert_eq!((read.get("filename"), read.get("note")), (Some("lab.dmg"), Some("ü")));
        assert_eq!((read.get("private"), read.get("absent")), (None, None));
        assert_eq!(read.to_string().parse(), Ok(read));
        assert_eq!("".parse(), Ok(Metadata::default()));
        for text in ["a b$", "a YQ==,a YQ==", "a /w==", &"a YQ==,".repeat(2000)] {
            assert_eq!(text.parse::<Metadata>(), Err(BadHeader::Metadata), "{text:.20}");
        }
    }

    #[test]
    fn a_checksum_has_a_known_algorithm_and_its_length() {
        let read: Checksum = "crc32 AAAAAQ==".parse().unwrap();
        assert_eq!(read, Checksum { algorithm: Algorithm::Crc32, digest: vec![0, 0, 0, 1] });
        for text in ["", "sha1", "md5 AAAA", "sha1 AAAA", "sha256 $", "crc32"] {
            assert_eq!(text.parse::<Checksum>(), Err(BadHeader::Checksum), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(951_782_400_999), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(-1), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
