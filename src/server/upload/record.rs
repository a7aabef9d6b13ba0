//! What is written down about an upload, in `upload.json` of its folder: whole or not at all, with a version.
//!
//! Must not know: how many bytes are there (`ledger`), requests.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::server::data::{read_small, write_durably};
use crate::value::Digest;

const FORMAT: u32 = 1;

/// One upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    format: u32,
    /// Name of the image.
    pub name: String,
    /// Name of the file.
    pub file: String,
    /// Note of the version.
    pub note: Option<String>,
    /// Bytes of the whole file.
    pub size: u64,
    /// SHA-256 that the whole file must have, hexadecimal.
    pub sha256: Option<String>,
    /// BLAKE3 that the whole file must have.
    pub digest: Option<Digest>,
    /// What the uploader tells the same file by.
    pub fingerprint: Option<String>,
    /// `Upload-Metadata` as it was sent.
    pub metadata: String,
    /// Whether the import waits until it is asked for.
    pub on_request: bool,
    /// Who sends it.
    pub uploader: String,
    /// Milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// What came of it.
    pub end: End,
}

/// What came of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Nothing yet.
    None,
    /// No version, and why.
    Failed {
        /// What, where, why.
        error: String,
        /// What to do.
        next_step: String,
    },
    /// A version.
    Done {
        /// Its number.
        version: u32,
    },
}

impl Record {
    /// Of an upload that was just asked for.
    pub fn new(name: String, file: String, size: u64, uploader: String, now_ms: i64) -> Record {
        Record {
            format: FORMAT,
            name,
            file,
            note: None,
            size,
            sha256: None,
            digest: None,
            fingerprint: None,
            metadata: String::new(),
            on_request: false,
            uploader,
            created_ms: now_ms,
            end: End::None,
        }
    }

    /// Reads it; none when it is absent, damaged, or of another version.
    pub fn read(path: &Path) -> io::Result<Option<Record>> {
        let bytes = read_small(path)?.unwrap_or_default();
        let record = serde_json::from_slice::<Record>(&bytes).ok();
        Ok(record.filter(|record| record.format == FORMAT))
    }

    /// Writes it. When this returns, it outlives a power cut.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        write_durably(path, &text, 0o600)
    }
}
