//! UDIF (`.dmg`) with zlib or LZFSE: runs, then a block table for each entry of the partition map in an XML list, then the
//! trailer. For the format see `image::source`'s `udif`; names are those that hdiutil gives.

use super::line::in_order;
use super::shape::{Area, Kind, Shape, Stretch, pieces};
use super::{Counted, ExportError, Feed, PIECE};
use crate::image::crc::Crc;
use crate::image::partition::Scheme;

const SECTOR: u64 = 512;

/// Holes that are shorter, between data, are packed with it: a run costs 54 bytes and a table has its limits.
const SHORTEST_HOLE: u64 = 512 << 10;

/// Bytes of a GPT's table of 128 entries.
const GPT_TABLE: u64 = 16 << 10;

/// How runs are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Zlib,
    Lzfse,
}

impl Codec {
    fn run_type(self) -> u32 {
        match self {
            Codec::Zlib => 0x8000_0005,
            Codec::Lzfse => 0x8000_0007,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Codec::Zlib => "zlib",
            Codec::Lzfse => "lzfse",
        }
    }
}

/// One block table.
struct Table {
    name: String,
    /// First sector.
    first: u64,
    sectors: u64,
    stretches: Vec<Stretch>,
    sum: Crc,
    runs: Vec<Run>,
}

struct Run {
    kind: u32,
    sector: u64,
    sectors: u64,
    offset: u64,
    length: u64,
}

const ZERO: u32 = 0;
const STORED: u32 = 1;
const IGNORE: u32 = 2;
const END: u32 = 0xffff_ffff;

/// A stretch of a table on its way through a worker.
struct Job {
    table: usize,
    stretch: Stretch,
    bytes: Vec<u8>,
}

struct Done {
    table: usize,
    stretch: Stretch,
    kind: u32,
    /// What is stored, its sum and that of the bytes before they were packed.
    stored: Vec<u8>,
    stored_sum: Crc,
    sum: Crc,
}

/// Writes it.
pub(super) fn write(
    shape: &Shape,
    feed: &mut Feed<'_>,
    codec: Codec,
    workers: usize,
    out: &mut Counted<'_>,
) -> Result<(), ExportError> {
    let mut tables = tables(shape, gpt_sector(shape, feed)?);
    let mut fork = Crc::NEW;
    let work: Vec<(usize, Stretch)> = tables
        .iter()
        .enumerate()
        .flat_map(|(number, table)| {
            joined(&table.stretches).into_iter().map(move |stretch| (number, stretch))
        })
        .collect();
    let mut pieces =
        work.into_iter().flat_map(|(table, stretch)| pieces(stretch).map(move |piece| (table, piece)));
    let mut next = || {
        let Some((table, stretch)) = pieces.next() else { return Ok(None) };
        feed.reached(stretch.offset)?;
        let mut bytes = Vec::new();
        if stretch.kind == Kind::Data {
            bytes.reserve_exact(PIECE as usize);
            feed.read(stretch, &mut bytes)?;
        }
        Ok(Some(Job { table, stretch, bytes }))
    };
    let zlib = || libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let start = out.written;
    let mut take = |done: std::io::Result<Done>| {
        let done = done.map_err(|source| ExportError::Pack { codec: codec.name(), source })?;
        let table = &mut tables[done.table];
        match done.stretch.kind {
            Kind::Data => table.sum.append(done.sum, done.stretch.length),
            Kind::Zero => table.sum.append_zeros(done.stretch.length),
            Kind::Free => {}
        }
        let length = done.stored.len() as u64;
        table.runs.push(Run {
            kind: done.kind,
            sector: done.stretch.offset / SECTOR - table.first,
            sectors: done.stretch.length / SECTOR,
            offset: out.written - start,
            length,
        });
        fork.append(done.stored_sum, length);
        out.put(&done.stored)
    };
    in_order(workers, &mut next, &zlib, &|packer, job| pack(codec, packer, job), &mut take)?;

    let data = out.written - start;
    let mut master = Vec::new();
    for table in &mut tables {
        table.runs.push(Run { kind: END, sector: table.sectors, sectors: 0, offset: data, length: 0 });
        master.extend(table.sum.value().to_be_bytes());
    }
    let list = property_list(&tables, shape.scheme)?;
    out.put(&list)?;
    let sectors = shape.size / SECTOR;
    let kind = if shape.scheme == Scheme::None { 2 } else { 1 };
    let id = shape.id;
    out.put(&trailer(Trailer {
        data,
        fork,
        list: list.len() as u64,
        master: Crc::of(&master),
        kind,
        sectors,
        id,
    }))
}

fn pack(codec: Codec, zlib: &mut libdeflater::Compressor, job: Job) -> std::io::Result<Done> {
    let Job { table, stretch, bytes } = job;
    let hole = |kind| Done { table, stretch, kind, stored: Vec::new(), stored_sum: Crc::NEW, sum: Crc::NEW };
    match stretch.kind {
        Kind::Zero => return Ok(hole(ZERO)),
        Kind::Free => return Ok(hole(IGNORE)),
        Kind::Data => {}
    }
    if bytes.iter().all(|byte| *byte == 0) {
        let mut sum = Crc::NEW;
        sum.append_zeros(stretch.length);
        return Ok(Done { sum, ..hole(ZERO) });
    }
    let sum = Crc::of(&bytes);
    let mut packed = Vec::new();
    match codec {
        Codec::Zlib => {
            packed.resize(zlib.zlib_compress_bound(bytes.len()), 0);
            let length = zlib.zlib_compress(&bytes, &mut packed).map_err(std::io::Error::other)?;
            packed.truncate(length);
        }
        Codec::Lzfse => drop(lzfse_rust::encode_bytes(&bytes, &mut packed)?),
    }
    let (kind, stored) =
        if packed.len() < bytes.len() { (codec.run_type(), packed) } else { (STORED, bytes) };
    Ok(Done { table, stretch, kind, stored_sum: Crc::of(&stored), stored, sum })
}

/// Short holes beside data become data: they read as zeros.
fn joined(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = Vec::new();
    for (at, stretch) in stretches.iter().enumerate() {
        let next_is_data = stretches.get(at + 1).is_some_and(|next| next.kind == Kind::Data);
        let short = stretch.kind == Kind::Zero && stretch.length < SHORTEST_HOLE;
        match joined.last_mut() {
            Some(last) if last.kind == Kind::Data && stretch.kind == Kind::Data => {
                last.length += stretch.length
            }
            // Zeros only: what is unallocated is not part of any sum.
            Some(last) if last.kind == Kind::Data && short && next_is_data => last.length += stretch.length,
            _ => joined.push(*stretch),
        }
    }
    joined
}

/// Sector of the GPT, where there is one in its usual place.
fn gpt_sector(shape: &Shape, feed: &mut Feed<'_>) -> Result<Option<u64>, ExportError> {
    let Some(head) = shape.areas.first().filter(|_| shape.scheme == Scheme::Gpt) else { return Ok(None) };
    for sector in [512, 4096] {
        if head.size >= 2 * sector + GPT_TABLE && shape.size >= 4 * sector + 2 * GPT_TABLE {
            let mut magic = Vec::new();
            feed.read(Stretch { offset: sector, length: 8, kind: Kind::Data }, &mut magic)?;
            if magic == b"EFI PART" {
                return Ok(Some(sector));
            }
        }
    }
    Ok(None)
}

/// The tables in order, named as hdiutil names them.
fn tables(shape: &Shape, gpt: Option<u64>) -> Vec<Table> {
    let mut parts: Vec<(String, u64, u64, &Area)> = Vec::new();
    let (last, end) = (shape.areas.len().saturating_sub(1), shape.size);
    for (number, area) in shape.areas.iter().enumerate() {
        let (from, to) = (area.offset, area.offset + area.size);
        let mut part = |name: &str, from: u64, to: u64| {
            if from < to {
                parts.push((name.to_owned(), from, to, area));
            }
        };
        match (&area.partition, shape.scheme, gpt) {
            (None, Scheme::None, _) => {
                let kind =
                    area.volume.as_ref().map_or("unknown partition", |volume| volume_type(&volume.kind));
                part(&format!("whole disk ({kind}"), from, to);
            }
            (Some(facts), ..) => part(&format!("{} ({}", clean(&facts.name), clean(&facts.kind)), from, to),
            (None, Scheme::Gpt, Some(sector)) if number == 0 => {
                part("Protective Master Boot Record (MBR", 0, sector);
                part("GPT Header (Primary GPT Header", sector, 2 * sector);
                part("GPT Partition Data (Primary GPT Table", 2 * sector, 2 * sector + GPT_TABLE);
                part(" (Apple_Free", 2 * sector + GPT_TABLE, to);
            }
            (None, Scheme::Gpt, Some(sector)) if number == last && to - from >= sector + GPT_TABLE => {
                part(" (Apple_Free", from, end - sector - GPT_TABLE);
                part("GPT Partition Data (Backup GPT Table", end - sector - GPT_TABLE, end - sector);
                part("GPT Header (Backup GPT Header", end - sector, end);
            }
            (None, Scheme::Apm, _) if number == 0 => {
                part("Driver Descriptor Map (DDM", 0, to.min(SECTOR));
                part("Apple (Apple_partition_map", to.min(SECTOR), to);
            }
            (None, Scheme::Mbr, _) if number == 0 => {
                part("Master Boot Record (MBR", 0, to.min(SECTOR));
                part(" (Apple_Free", to.min(SECTOR), to);
            }
            _ => part(" (Apple_Free", from, to),
        }
    }
    let table = |(number, (name, from, to, area)): (usize, (String, u64, u64, &Area))| Table {
        name: format!("{name} : {number})"),
        first: from / SECTOR,
        sectors: (to - from) / SECTOR,
        stretches: within(&area.stretches, from, to),
        sum: Crc::NEW,
        runs: Vec::new(),
    };
    parts.into_iter().enumerate().map(table).collect()
}

/// The part of stretches that lies between two places.
fn within(stretches: &[Stretch], from: u64, to: u64) -> Vec<Stretch> {
    let cut = |stretch: &Stretch| {
        let (offset, end) = (stretch.offset.max(from), stretch.end().min(to));
        (offset < end).then(|| Stretch { offset, length: end - offset, ..*stretch })
    };
    stretches.iter().filter_map(cut).collect()
}

fn volume_type(kind: &str) -> &'static str {
    match kind {
        "hfs+" => "Apple_HFS",
        "hfsx" => "Apple_HFSX",
        "apfs" => "Apple_APFS",
        "fat12" | "fat16" | "fat32" => "DOS_FAT_32",
        "exfat" | "ntfs" => "Windows_NTFS",
        _ => "unknown partition",
    }
}

/// XML has no control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn mish(table: &Table, id: i32) -> Vec<u8> {
    let mut mish = b"mish\0\0\0\x01".to_vec();
    for field in [table.first, table.sectors, 0] {
        mish.extend(u64::to_be_bytes(field));
    }
    // Sectors that a reader needs room for, then the number of the entry.
    mish.extend(((PIECE / SECTOR) as u32 + 8).to_be_bytes());
    mish.extend(id.to_be_bytes());
    mish.extend([0; 24]);
    mish.extend(sum(table.sum));
    mish.extend((table.runs.len() as u32).to_be_bytes());
    for run in &table.runs {
        mish.extend(run.kind.to_be_bytes());
        mish.extend([0; 4]);
        for field in [run.sector, run.sectors, run.offset, run.length] {
            mish.extend(field.to_be_bytes());
        }
    }
    mish
}

fn property_list(tables: &[Table], scheme: Scheme) -> Result<Vec<u8>, ExportError> {
    // The map's first entry is the disk's first block, which partition maps do not count.
    let base = if scheme == Scheme::None { 0 } else { -1 };
    let entries = tables.iter().zip(base..).map(|(table, id)| {
        let mut entry = plist::Dictionary::new();
        entry.insert("Attributes".into(), "0x0050".into());
        entry.insert("CFName".into(), table.name.as_str().into());
        entry.insert("Data".into(), plist::Value::Data(mish(table, id)));
        entry.insert("ID".into(), id.to_string().into());
        entry.insert("Name".into(), table.name.as_str().into());
        plist::Value::Dictionary(entry)
    });
    let mut fork = plist::Dictionary::new();
    fork.insert("blkx".into(), plist::Value::Array(entries.collect()));
    let mut root = plist::Dictionary::new();
    root.insert("resource-fork".into(), fork.into());
    let mut xml = Vec::new();
    let failed = |error| ExportError::Pack { codec: "XML", source: std::io::Error::other(error) };
    plist::Value::Dictionary(root).to_writer_xml(&mut xml).map_err(failed)?;
    Ok(xml)
}

/// Where the number stands in the trailer.
const ID: usize = 64;

/// The number that an export was given by its shape, of the last 512 bytes of a file; none when that is no `.dmg`.
pub fn dmg_id(trailer: &[u8; 512]) -> Option<u128> {
    let id: [u8; 16] = trailer[ID..ID + 16].try_into().ok()?;
    trailer.starts_with(b"koly").then(|| u128::from_be_bytes(id))
}

struct Trailer {
    data: u64,
    fork: Crc,
    list: u64,
    master: Crc,
    kind: u32,
    sectors: u64,
    id: Option<u128>,
}

fn trailer(Trailer { data, fork, list, master, kind, sectors, id }: Trailer) -> Vec<u8> {
    let mut koly = b"koly".to_vec();
    for field in [4_u32, 512, 1] {
        koly.extend(field.to_be_bytes());
    }
    for field in [0, 0, data, 0, 0] {
        koly.extend(u64::to_be_bytes(field));
    }
    koly.extend(1_u32.to_be_bytes());
    koly.extend(1_u32.to_be_bytes());
    // The number of a set of segments: of one segment, what it holds.
    let content = [master.value(), fork.value(), data as u32, sectors as u32];
    let content = content.iter().fold(0, |id, part| id << 32 | u128::from(*part));
    koly.extend(id.unwrap_or(content).to_be_bytes());
    koly.extend(sum(fork));
    koly.extend(data.to_be_bytes());
    koly.extend(list.to_be_bytes());
    koly.extend([0; 120]);
    koly.extend(sum(master));
    koly.extend(kind.to_be_bytes());
    koly.extend(sectors.to_be_bytes());
    koly.resize(SECTOR as usize, 0);
    koly
}

/// A CRC-32 in a field for any checksum.
fn sum(crc: Crc) -> Vec<u8> {
    let mut field = Vec::with_capacity(136);
    for number in [2, 32, crc.value()] {
        field.extend(number.to_be_bytes());
    }
    field.resize(136, 0);
    field
}
