//! The checksums of a UDIF image, added up while it is decoded.
//!
//! * A table's CRC-32 covers the bytes of its runs in order: stored, packed and zero runs; *ignore runs are left out*.
//! * The data fork's CRC-32 covers the stored bytes of the file; many writers leave it out.
//! * The master checksum is the CRC-32 of the tables' checksums, 4 bytes each, big-endian.
//!
//! None is required; each that is there must match.

use super::super::error::SourceError;
use super::super::extent::NO_TABLE;
use super::super::{Checksums, Input, read_into};
use super::Udif;
use super::trailer::Sum;
use crate::image::crc::Crc;

/// Sums so far.
pub(in super::super) struct Check<'a> {
    udif: &'a Udif,
    tables: Vec<Crc>,
    /// The stored bytes from the start of the data fork to `reached`, as long as runs followed each other.
    fork: Crc,
    reached: u64,
    in_order: bool,
}

impl<'a> Check<'a> {
    pub fn new(udif: &'a Udif) -> Check<'a> {
        Check {
            udif,
            tables: vec![Crc::NEW; udif.tables.len()],
            fork: Crc::NEW,
            reached: udif.trailer.data_fork.at,
            in_order: true,
        }
    }

    /// Whether the CRC of the stored bytes is wanted.
    pub fn wants_stored(&self) -> bool {
        matches!(self.udif.trailer.data_sum, Sum::Crc32(_))
    }

    /// Decoded bytes of a table.
    pub fn decoded(&mut self, table: u32, crc: Crc, length: u64) {
        if let Some(sum) = self.tables.get_mut(table as usize) {
            sum.append(crc, length);
        }
    }

    /// A zero run of a table.
    pub fn zeros(&mut self, table: u32, length: u64) {
        if table != NO_TABLE
            && let Some(sum) = self.tables.get_mut(table as usize)
        {
            sum.append_zeros(length);
        }
    }

    /// Stored bytes at `at` of the file.
    pub fn stored(&mut self, at: u64, crc: Crc, length: u64) {
        self.in_order &= at == self.reached;
        if self.in_order {
            self.fork.append(crc, length);
            self.reached += length;
        }
    }

    /// Compares everything with what the image says.
    pub fn finish(mut self, input: &mut dyn Input) -> Result<Checksums, SourceError> {
        let mut present = false;
        let mut sums = Crc::NEW;
        let mut all_known = true;
        for (table, crc) in self.udif.tables.iter().zip(&self.tables) {
            match table.sum {
                Sum::Crc32(want) => {
                    present = true;
                    compare(|| format!("partition `{}`", table.name), want, *crc)?;
                    sums.append(Crc::of(&want.to_be_bytes()), 4);
                }
                Sum::Absent | Sum::Other(_) => all_known = false,
            }
        }
        if let Sum::Crc32(want) = self.udif.trailer.data_sum {
            present = true;
            self.rest_of_fork(input)?;
            compare(|| "the data fork (the stored bytes of the file)".to_owned(), want, self.fork)?;
        }
        if let (Sum::Crc32(want), true) = (self.udif.trailer.master_sum, all_known) {
            present = true;
            compare(|| "all partition checksums (the master checksum)".to_owned(), want, sums)?;
        }
        Ok(Checksums { present, ok: true })
    }

    /// Reads what no run covered: the end of the fork, or all of it when runs did not follow each other.
    fn rest_of_fork(&mut self, input: &mut dyn Input) -> Result<(), SourceError> {
        let fork = self.udif.trailer.data_fork;
        if !self.in_order || self.reached > fork.end() {
            (self.fork, self.reached) = (Crc::NEW, fork.at);
        }
        let mut buffer = Vec::new();
        while self.reached < fork.end() {
            let length = (fork.end() - self.reached).min(1 << 20);
            read_into(input, self.reached, length as usize, &mut buffer)?;
            self.fork.append(Crc::of(&buffer), length);
            self.reached += length;
        }
        Ok(())
    }
}

fn compare(what: impl Fn() -> String, want: u32, got: Crc) -> Result<(), SourceError> {
    if want == got.value() {
        return Ok(());
    }
    Err(SourceError::Checksum { what: what(), want, got: got.value() })
}
