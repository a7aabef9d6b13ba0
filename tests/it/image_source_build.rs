//! Images for the tests of `image::source`: fixtures, the shared corpus, and UDIF files put together field by field.

use std::fs;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use rootstock::image::source::{DecodeError, Decoded, Piece, Source, SourceError};
use sha2::{Digest as _, Sha256};

pub const SECTOR: u64 = 512;
pub const ZERO: u32 = 0;
pub const STORED: u32 = 1;
pub const IGNORE: u32 = 2;
pub const ZLIB: u32 = 0x8000_0005;
pub const END: u32 = 0xffff_ffff;

/// Bytes of a committed fixture.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Path of a fixture.
pub fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

/// A stored UDIF image, which the repository keeps compressed.
pub fn stored_fixture() -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&fixture("disk-udro.dmg.gz")[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

/// All UDIF fixtures: the same disk in every packing.
pub fn udif_fixtures() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<_> = ["disk-udzo.dmg", "disk-udbz.dmg", "disk-ulfo.dmg", "disk-ulmo.dmg"]
        .map(|name| (name, fixture(name)))
        .into();
    all.push(("disk-udro.dmg", stored_fixture()));
    all
}

/// SHA-256 of what every fixture decodes to.
pub fn fixture_digest() -> String {
    String::from_utf8(fixture("disk.sha256")).unwrap().trim().to_owned()
}

/// The shared corpus of images that Macs made, where this machine has it.
pub fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("ROOTSTOCK_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    Some(shared.join("corpus")).filter(|folder| folder.join("MANIFEST.tsv").is_file())
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a decode gave.
pub struct Whole {
    pub decoded: Decoded,
    pub digest: String,
    pub holes: u64,
}

/// Decodes into a digest, and holds the pieces to their contract: contiguous from 0 to the end.
pub fn decode(
    bytes: impl Read + std::io::Seek + Send + 'static,
    workers: usize,
) -> Result<Whole, SourceError> {
    gather(&mut Source::open(bytes)?, workers)
}

/// The same for a source that is open.
pub fn gather(source: &mut Source, workers: usize) -> Result<Whole, SourceError> {
    let promised = source.size();
    let (mut hash, mut next, mut holes) = (Sha256::new(), 0, 0);
    let decoded = source.decode(workers, &mut |piece| {
        let (offset, length) = match piece {
            Piece::Data { offset, bytes } => {
                hash.update(bytes);
                (offset, bytes.len() as u64)
            }
            Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => {
                for _ in 0..length / SECTOR {
                    hash.update([0; SECTOR as usize]);
                }
                hash.update(vec![0; (length % SECTOR) as usize]);
                holes += length;
                (offset, length)
            }
        };
        assert_eq!(offset, next, "a piece is out of order");
        assert!(length > 0, "an empty piece at {offset}");
        next += length;
        Ok::<_, ()>(())
    });
    let decoded = decoded.map_err(|error| match error {
        DecodeError::Source(error) => error,
        DecodeError::Sink(()) => unreachable!("the sink takes everything"),
    })?;
    assert_eq!(next, decoded.size);
    assert!(promised.is_none_or(|size| size == decoded.size));
    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Whole { decoded, digest, holes })
}

pub fn decode_bytes(bytes: Vec<u8>) -> Result<Whole, SourceError> {
    decode(Cursor::new(bytes), 2)
}

/// One run of a block table: type, sector, sectors, offset, length.
pub type Run = (u32, u64, u64, u64, u64);

/// One block table.
pub struct Table {
    pub first: u64,
    pub sectors: u64,
    pub data_offset: u64,
    pub crc: Option<u32>,
    pub runs: Vec<Run>,
    /// What the count field says, where it lies.
    pub count: Option<u32>,
}

impl Table {
    pub fn new(first: u64, sectors: u64, runs: Vec<Run>) -> Table {
        Table { first, sectors, data_offset: 0, crc: None, runs, count: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut mish = b"mish\0\0\0\x01".to_vec();
        for field in [self.first, self.sectors, self.data_offset] {
            mish.extend(field.to_be_bytes());
        }
        mish.extend([0; 32]);
        mish.extend(sum(self.crc));
        mish.extend(self.count.unwrap_or(self.runs.len() as u32).to_be_bytes());
        for (kind, sector, sectors, offset, length) in &self.runs {
            mish.extend(kind.to_be_bytes());
            mish.extend([0; 4]);
            for field in [sector, sectors, offset, length] {
                mish.extend(field.to_be_bytes());
            }
        }
        mish
    }
}

fn sum(crc: Option<u32>) -> Vec<u8> {
    let mut field = Vec::new();
    for number in crc.map_or([0; 3], |crc| [2, 32, crc]) {
        field.extend(u32::to_be_bytes(number));
    }
    field.resize(136, 0);
    field
}

/// A UDIF file: what stands in front, the data fork, tables; the trailer's fields follow unless they are given.
#[derive(Default)]
pub struct Udif {
    pub front: Vec<u8>,
    pub data: Vec<u8>,
    pub tables: Vec<Table>,
    pub sectors: Option<u64>,
    pub data_crc: Option<u32>,
    pub master_crc: Option<u32>,
    pub xml: Option<Vec<u8>>,
    pub xml_length: Option<u64>,
    pub segments: u32,
    /// The tables stand in a classic resource fork instead of an XML list.
    pub fork: bool,
    /// Beside the tables stands a licence.
    pub licence: bool,
}

/// Id and data.
type Resource = (i16, Vec<u8>);

/// What `hdiutil udifrez` puts in for a licence: kinds and ids of resources.
const LICENCE: [(&str, i16); 5] =
    [("LPic", 5000), ("STR#", 5002), ("TEXT", 5002), ("TMPL", 128), ("styl", 5002)];

impl Udif {
    pub fn bytes(&self) -> Vec<u8> {
        let made = || if self.fork { self.resource_fork() } else { self.resources() };
        let xml = self.xml.clone().unwrap_or_else(made);
        let sectors = self.sectors.unwrap_or_else(|| {
            self.tables.iter().map(|table| table.first + table.sectors).max().unwrap_or(0)
        });
        let (fork, length) = (self.front.len() as u64, self.data.len() as u64);
        let mut koly = b"koly\0\0\0\x04\0\0\x02\0\0\0\0\x01".to_vec();
        let list = self.xml_length.unwrap_or(xml.len() as u64);
        let (in_fork, in_list) =
            if self.fork { ((fork + length, list), (0, 0)) } else { ((0, 0), (fork + length, list)) };
        for field in [0, fork, length, in_fork.0, in_fork.1] {
            koly.extend(field.to_be_bytes());
        }
        koly.extend(1_u32.to_be_bytes());
        koly.extend(self.segments.max(1).to_be_bytes());
        koly.extend([7; 16]);
        koly.extend(sum(self.data_crc));
        koly.extend(u64::to_be_bytes(in_list.0));
        koly.extend(u64::to_be_bytes(in_list.1));
        koly.extend([0; 120]);
        koly.extend(sum(self.master_crc));
        koly.extend(1_u32.to_be_bytes());
        koly.extend(sectors.to_be_bytes());
        koly.extend([0; 12]);
        assert_eq!(koly.len(), 512);
        [self.front.clone(), self.data.clone(), xml, koly].concat()
    }

    fn resources(&self) -> Vec<u8> {
        let tables = self.tables.iter().enumerate().map(|(number, table)| {
            let mut entry = plist::Dictionary::new();
            entry.insert("Name".into(), format!("part {number}").into());
            entry.insert("Data".into(), plist::Value::Data(table.bytes()));
            plist::Value::Dictionary(entry)
        });
        let mut fork = plist::Dictionary::new();
        fork.insert("blkx".into(), plist::Value::Array(tables.collect()));
        for (kind, id) in LICENCE.iter().filter(|_| self.licence) {
            let mut entry = plist::Dictionary::new();
            entry.insert("Attributes".into(), "0x0000".into());
            entry.insert("Data".into(), plist::Value::Data(b"You agree to everything.".to_vec()));
            entry.insert("ID".into(), id.to_string().into());
            entry.insert("Name".into(), "English".into());
            fork.insert((*kind).into(), plist::Value::Array(vec![entry.into()]));
        }
        let mut root = plist::Dictionary::new();
        root.insert("resource-fork".into(), fork.into());
        let mut xml = Vec::new();
        plist::Value::Dictionary(root).to_writer_xml(&mut xml).unwrap();
        xml
    }
}

impl Udif {
    /// The tables, and the licence, as a resource fork.
    fn resource_fork(&self) -> Vec<u8> {
        let licence = LICENCE.iter().filter(|_| self.licence);
        let mut kinds: Vec<(&str, Vec<Resource>)> =
            licence.map(|(kind, id)| (*kind, vec![(*id, b"You agree to everything.".to_vec())])).collect();
        let tables = self.tables.iter().zip(0..).map(|(table, id)| (id, table.bytes())).collect();
        kinds.insert(kinds.len() / 2, ("blkx", tables));
        let (mut data, mut references) = (Vec::new(), Vec::new());
        let mut types = ((kinds.len() - 1) as u16).to_be_bytes().to_vec();
        for (kind, resources) in &kinds {
            types.extend(kind.as_bytes());
            types.extend(((resources.len() - 1) as u16).to_be_bytes());
            types.extend(((2 + 8 * kinds.len() + references.len()) as u16).to_be_bytes());
            for (id, bytes) in resources {
                references.extend(id.to_be_bytes());
                // Every name is `part 0`, whatever its number.
                references.extend(0_u16.to_be_bytes());
                references.extend((data.len() as u32).to_be_bytes());
                references.extend([0; 4]);
                data.extend((bytes.len() as u32).to_be_bytes());
                data.extend(bytes);
            }
        }
        let list = [types, references].concat();
        let map = [
            &[0; 24][..],
            &28_u16.to_be_bytes(),
            &(28 + list.len() as u16).to_be_bytes(),
            &list,
            b"\x06part 0",
        ];
        let map = map.concat();
        let mut fork = Vec::new();
        for field in [256, 256 + data.len() as u32, data.len() as u32, map.len() as u32] {
            fork.extend(field.to_be_bytes());
        }
        fork.resize(256, 0);
        [fork, data, map].concat()
    }
}

/// A stored and a zlib run with everything right, for tests that then lie about one thing.
pub fn honest() -> Udif {
    let text: Vec<u8> = (0..2048_u32).flat_map(u32::to_le_bytes).collect();
    let mut packed = Vec::new();
    flate2::read::ZlibEncoder::new(&text[..], flate2::Compression::new(6)).read_to_end(&mut packed).unwrap();
    let stored = vec![5; 1024];
    let packed_length = packed.len() as u64;
    let data = [packed, stored.clone()].concat();
    let crc = crc32fast::hash(&[&text[..], &stored].concat());
    let runs =
        vec![(ZLIB, 0, 16, 0, packed_length), (STORED, 16, 2, packed_length, 1024), (END, 18, 0, 0, 0)];
    Udif {
        data_crc: Some(crc32fast::hash(&data)),
        master_crc: Some(crc32fast::hash(&crc.to_be_bytes())),
        tables: vec![Table { crc: Some(crc), ..Table::new(0, 18, runs) }],
        data,
        ..Udif::default()
    }
}
