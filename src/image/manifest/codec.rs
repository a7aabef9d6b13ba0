//! Canonical bytes of a manifest.
//!
//! Owns: the layout below; exactly one sequence of bytes for each manifest. Must not know: signatures, files.
//!
//! All numbers little-endian. A text is `u16` length and UTF-8. An optional part is a byte 0, or a byte 1 and the part.
//!
//! | field | size |
//! |---|---|
//! | `RSMANIF2` | 8 |
//! | SHA-256 of the decoded image | 32 |
//! | scheme: 0 none, 1 GPT, 2 APM, 3 MBR | 1 |
//! | number of regions | 2 |
//! | each region: size `u64` (starts follow); optional partition: number `u32`, type, name; optional volume: type, label, size `u64`, optional used `u64`, block `u32`; number of runs `u32` | |
//! | each run: kind (1 data, 2 zero, 3 unallocated), number of cells `u32` (a cell has 64 KiB), for data the digests (32 each) | |

use crate::image::manifest::{Manifest, NoImage, PartitionFacts, Region, Run, Sha256, VolumeFacts};
use crate::image::partition::Scheme;
use crate::value::Digest;

const MAGIC: &[u8; 8] = b"RSMANIF2";

/// Bytes that are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Another kind of file, or a version that this program does not know.
    #[error("no manifest of version 2: it begins with other bytes than RSMANIF2")]
    Magic,
    /// Version 1 had cells of another size.
    #[error("a manifest of version 1, made by an older version of Rootstock: import the image again")]
    Older,
    /// Ends too early, or goes on after its end.
    #[error("the manifest is cut short or has foreign bytes at byte {at}")]
    Length {
        /// Where.
        at: usize,
    },
    /// A field has a value that does not exist.
    #[error("byte {at} of the manifest: {what} cannot be {value}")]
    Field {
        /// Where the field ends.
        at: usize,
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// The parts do not fit together.
    #[error(transparent)]
    NoImage(#[from] NoImage),
}

impl Manifest {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + 33 * self.digests().count());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.source().0);
        out.push(match self.scheme() {
            Scheme::None => 0,
            Scheme::Gpt => 1,
            Scheme::Apm => 2,
            Scheme::Mbr => 3,
        });
        out.extend_from_slice(&(self.regions().len() as u16).to_le_bytes());
        for region in self.regions() {
            encode_region(&mut out, region);
        }
        out
    }

    /// Reads canonical bytes. Memory is bounded by the length of `bytes`.
    ///
    /// # Errors
    /// See [`BadManifest`].
    pub fn decode(bytes: &[u8]) -> Result<Manifest, BadManifest> {
        let mut input = Input { bytes, at: 0 };
        match input.take(8) {
            Ok(magic) if magic == MAGIC => {}
            Ok(b"RSMANIF1") => return Err(BadManifest::Older),
            _ => return Err(BadManifest::Magic),
        }
        let source = Sha256(input.array()?);
        let scheme = match input.u8()? {
            0 => Scheme::None,
            1 => Scheme::Gpt,
            2 => Scheme::Apm,
            3 => Scheme::Mbr,
            other => return Err(input.bad("scheme", other.into())),
        };
        let count = input.u16()?;
        let mut regions: Vec<Region> = Vec::new();
        for _ in 0..count {
            let start = regions.last().map_or(0, |last| last.start.saturating_add(last.size));
            regions.push(decode_region(&mut input, start)?);
        }
        if input.at != bytes.len() {
            return Err(BadManifest::Length { at: input.at });
        }
        Ok(Manifest::new(source, scheme, regions)?)
    }
}

fn encode_region(out: &mut Vec<u8>, region: &Region) {
    out.extend_from_slice(&region.size.to_le_bytes());
    out.push(region.partition.is_some().into());
    if let Some(partition) = &region.partition {
        out.extend_from_slice(&partition.number.to_le_bytes());
        encode_text(out, &partition.kind);
        encode_text(out, &partition.name);
    }
    out.push(region.volume.is_some().into());
    if let Some(volume) = &region.volume {
        encode_text(out, &volume.kind);
        encode_text(out, &volume.label);
        out.extend_from_slice(&volume.size.to_le_bytes());
        out.push(volume.used.is_some().into());
        out.extend(volume.used.iter().flat_map(|used| used.to_le_bytes()));
        out.extend_from_slice(&volume.block_size.to_le_bytes());
    }
    out.extend_from_slice(&(region.runs.len() as u32).to_le_bytes());
    for run in &region.runs {
        let kind = match run {
            Run::Data(_) => 1,
            Run::Zero(_) => 2,
            Run::Unallocated(_) => 3,
        };
        out.push(kind);
        out.extend_from_slice(&(run.cells() as u32).to_le_bytes());
        if let Run::Data(digests) = run {
            digests.iter().for_each(|digest| out.extend_from_slice(digest.as_bytes()));
        }
    }
}

/// Texts come from partition maps and volume headers, whose fields are far below 64 KiB; longer ones are cut.
fn encode_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(u16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn decode_region(input: &mut Input<'_>, start: u64) -> Result<Region, BadManifest> {
    let size = input.u64()?;
    let partition = match input.flag("partition mark")? {
        true => Some(PartitionFacts { number: input.u32()?, kind: input.text()?, name: input.text()? }),
        false => None,
    };
    let volume = match input.flag("volume mark")? {
        true => Some(VolumeFacts {
            kind: input.text()?,
            label: input.text()?,
            size: input.u64()?,
            used: if input.flag("used mark")? { Some(input.u64()?) } else { None },
            block_size: input.u32()?,
        }),
        false => None,
    };
    let count = input.u32()?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let (kind, cells) = (input.u8()?, input.u32()?);
        runs.push(match kind {
            1 => Run::Data(input.digests(cells)?),
            2 => Run::Zero(cells.into()),
            3 => Run::Unallocated(cells.into()),
            other => return Err(input.bad("run kind", other.into())),
        });
    }
    Ok(Region { start, size, partition, volume, runs })
}

/// A cursor whose every read is checked.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadManifest> {
        let taken = self.bytes[self.at..].get(..count).ok_or(BadManifest::Length { at: self.at })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadManifest> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| BadManifest::Length { at })
    }

    fn u8(&mut self) -> Result<u8, BadManifest> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, BadManifest> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, BadManifest> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, BadManifest> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, BadManifest> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.bad(what, other.into())),
        }
    }

    fn text(&mut self) -> Result<String, BadManifest> {
        let length = self.u16()?;
        let text = self.take(length.into())?;
        String::from_utf8(text.to_vec()).map_err(|_| self.bad("text length", length.into()))
    }

    fn digests(&mut self, count: u32) -> Result<Vec<Digest>, BadManifest> {
        let length = (count as usize).checked_mul(32).ok_or(BadManifest::Length { at: self.at })?;
        let table = self.take(length)?.as_chunks::<32>().0;
        Ok(table.iter().map(|bytes| Digest::from_bytes(*bytes)).collect())
    }

    fn bad(&self, what: &'static str, value: u32) -> BadManifest {
        BadManifest::Field { at: self.at, what, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::CHUNK;
    use proptest::prelude::*;

    fn run() -> impl Strategy<Value = Run> {
        prop_oneof![
            prop::collection::vec(any::<[u8; 32]>().prop_map(Digest::from_bytes), 1..4).prop_map(Run::Data),
            (1..5_u64).prop_map(Run::Zero),
            (1..1_000_000_u64).prop_map(Run::Unallocated),
        ]
    }

    fn region() -> impl Strategy<Value = Region> {
        let partition = (any::<u32>(), ".{0,12}", ".{0,12}")
            .prop_map(|(number, kind, name)| PartitionFacts { number, kind, name });
        let volume = (".{0,9}", ".{0,9}", any::<u64>(), any::<Option<u64>>(), any::<u32>()).prop_map(
            |(kind, label, size, used, block_size)| VolumeFacts { kind, label, size, used, block_size },
        );
        let parts = (
            prop::option::of(partition),
            prop::option::of(volume),
            prop::collection::vec(run(), 1..6),
            1..=CHUNK,
        );
        parts.prop_map(|(partition, volume, mut runs, last)| {
            runs.dedup_by_key(|run| std::mem::discriminant(run));
            let cells: u64 = runs.iter().map(Run::cells).sum();
            Region { start: 0, size: (cells - 1) * CHUNK + last, partition, volume, runs }
        })
    }

    pub fn manifest() -> impl Strategy<Value = Manifest> {
        (any::<[u8; 32]>(), prop::collection::vec(region(), 1..4)).prop_map(|(source, mut regions)| {
            let mut start = 0;
            for region in &mut regions {
                region.start = start;
                start += region.size;
            }
            Manifest::new(Sha256(source), Scheme::Apm, regions).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_manifest_survives_its_bytes(manifest in manifest()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }

        #[test]
        fn whatever_decodes_has_exactly_these_bytes(manifest in manifest(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = manifest.encode();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(other) = Manifest::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn every_cut_is_noticed(manifest in manifest(), place in any::<prop::sample::Index>()) {
            let bytes = manifest.encode();
            prop_assert!(Manifest::decode(&bytes[..place.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn a_manifest_of_the_first_version_says_so() {
        assert_eq!(Manifest::decode(b"RSMANIF1\0\0\0"), Err(BadManifest::Older));
        assert_eq!(Manifest::decode(b"RSMAN"), Err(BadManifest::Magic));
    }

    #[test]
    fn a_count_beyond_the_end_allocates_nothing() {
        let region = Region {
            start: 0,
            size: 1,
            partition: None,
            volume: None,
            runs: vec![Run::Data(vec![Digest::of(b"")])],
        };
        let mut bytes = Manifest::new(Sha256([0; 32]), Scheme::None, vec![region]).unwrap().encode();
        let count = bytes.len() - 36;
        bytes[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Manifest::decode(&bytes), Err(BadManifest::Length { at: count + 4 }));
    }
}
