//! Writes a UDIF disk image from raw bytes: input for tests and benchmarks.
//!
//! Owns: one `blkx` table of 1 MiB runs, with all checksums that `hdiutil` writes. Knows nothing of the reader in
//! `src/image/source`: it is written from the format's facts, so that the reader cannot agree with itself.
//!
//! `cargo run --release --example mkdmg -- UDZO volume.raw volume.dmg`

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, anyhow, bail};

/// Bytes of one run: 2048 sectors, as `hdiutil` makes them.
const RUN: usize = 1 << 20;
const SECTOR: usize = 512;

/// One of the formats that `hdiutil convert -format` knows.
#[derive(Clone, Copy)]
enum Format {
    Udro,
    Udzo,
    Udbz,
    Ulfo,
    Ulmo,
}

impl Format {
    fn parse(name: &str) -> anyhow::Result<Format> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "UDRO" => Format::Udro,
            "UDZO" => Format::Udzo,
            "UDBZ" => Format::Udbz,
            "ULFO" => Format::Ulfo,
            "ULMO" => Format::Ulmo,
            _ => bail!("`{name}` is none of UDRO, UDZO, UDBZ, ULFO, ULMO"),
        })
    }

    const fn run_type(self) -> u32 {
        match self {
            Format::Udro => 0x0000_0001,
            Format::Udzo => 0x8000_0005,
            Format::Udbz => 0x8000_0006,
            Format::Ulfo => 0x8000_0007,
            Format::Ulmo => 0x8000_0008,
        }
    }

    fn compress(self, raw: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Format::Udro => raw.to_vec(),
            Format::Udzo => {
                let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
                let mut out = vec![0; encoder.zlib_compress_bound(raw.len())];
                let length = encoder.zlib_compress(raw, &mut out)?;
                out.truncate(length);
                out
            }
            Format::Udbz => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
                encoder.write_all(raw)?;
                encoder.finish()?
            }
            // Apple's own encoder: what the pure one writes is right, but 7z refuses some of it.
            Format::Ulfo => {
                let mut out = vec![0; raw.len() + 4096];
                let length =
                    lzfse::encode_buffer(raw, &mut out).map_err(|error| anyhow!("LZFSE: {error:?}"))?;
                out.truncate(length);
                out
            }
            Format::Ulmo => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
                encoder.write_all(raw)?;
                encoder.finish()?
            }
        })
    }
}

/// A run as the `mish` table lists it: type, first sector, sectors, offset in the data fork, stored bytes.
struct Run {
    kind: u32,
    sector: u64,
    sectors: u64,
    offset: u64,
    length: u64,
}

fn checksum(value: u32) -> [u8; 136] {
    let mut field = [0; 136];
    field[..4].copy_from_slice(&2_u32.to_be_bytes());
    field[4..8].copy_from_slice(&32_u32.to_be_bytes());
    field[8..12].copy_from_slice(&value.to_be_bytes());
    field
}

fn mish(runs: &[Run], sectors: u64, crc: u32) -> Vec<u8> {
    let mut table = Vec::new();
    table.extend(b"mish");
    table.extend(1_u32.to_be_bytes());
    table.extend(0_u64.to_be_bytes());
    table.extend(sectors.to_be_bytes());
    table.extend(0_u64.to_be_bytes());
    table.extend(((RUN / SECTOR) as u32 + 8).to_be_bytes());
    table.extend([0; 28]);
    table.extend(checksum(crc));
    table.extend((runs.len() as u32).to_be_bytes());
    for run in runs {
        table.extend(run.kind.to_be_bytes());
        table.extend([0; 4]);
        for field in [run.sector, run.sectors, run.offset, run.length] {
            table.extend(field.to_be_bytes());
        }
    }
    table
}

fn property_list(mish: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let name = "whole disk (unknown partition : 0)";
    let mut entry = plist::Dictionary::new();
    entry.insert("Attributes".into(), "0x0050".into());
    entry.insert("CFName".into(), name.into());
    entry.insert("Data".into(), plist::Value::Data(mish));
    entry.insert("ID".into(), "0".into());
    entry.insert("Name".into(), name.into());
    let mut fork = plist::Dictionary::new();
    fork.insert("blkx".into(), plist::Value::Array(vec![entry.into()]));
    let mut root = plist::Dictionary::new();
    root.insert("resource-fork".into(), fork.into());
    let mut xml = Vec::new();
    plist::Value::Dictionary(root).to_writer_xml(&mut xml)?;
    Ok(xml)
}

fn koly(data_length: u64, data_crc: u32, xml_length: u64, master_crc: u32, sectors: u64) -> Vec<u8> {
    let mut trailer = Vec::with_capacity(SECTOR);
    trailer.extend(b"koly");
    for field in [4_u32, 512, 1] {
        trailer.extend(field.to_be_bytes());
    }
    for field in [0, 0, data_length, 0, 0_u64] {
        trailer.extend(field.to_be_bytes());
    }
    trailer.extend(1_u32.to_be_bytes());
    trailer.extend(1_u32.to_be_bytes());
    trailer.extend([0x52; 16]);
    trailer.extend(checksum(data_crc));
    trailer.extend(data_length.to_be_bytes());
    trailer.extend(xml_length.to_be_bytes());
    trailer.extend([0; 120]);
    trailer.extend(checksum(master_crc));
    trailer.extend(1_u32.to_be_bytes());
    trailer.extend(sectors.to_be_bytes());
    trailer.resize(SECTOR, 0);
    trailer
}

/// Reads up to `count` runs of raw bytes, the last one padded to a whole sector.
fn read_runs(input: &mut impl Read, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut batch = Vec::new();
    for _ in 0..count {
        let mut raw = Vec::with_capacity(RUN);
        input.by_ref().take(RUN as u64).read_to_end(&mut raw)?;
        if raw.is_empty() {
            break;
        }
        raw.resize(raw.len().next_multiple_of(SECTOR), 0);
        batch.push(raw);
    }
    Ok(batch)
}

fn write_image(format: Format, input: &mut impl Read, output: &mut impl Write) -> anyhow::Result<()> {
    let (mut runs, mut sector, mut offset) = (Vec::new(), 0, 0);
    let (mut volume_crc, mut data_crc) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
    let workers = thread::available_parallelism()?.get();
    loop {
        let batch = read_runs(input, workers * 4)?;
        if batch.is_empty() {
            break;
        }
        let packed: Vec<anyhow::Result<Option<Vec<u8>>>> = thread::scope(|scope| {
            let compress =
                |raw: &Vec<u8>| raw.iter().any(|byte| *byte != 0).then(|| format.compress(raw)).transpose();
            let jobs: Vec<_> = batch
                .chunks(4)
                .map(|four| scope.spawn(move || four.iter().map(compress).collect::<Vec<_>>()))
                .collect();
            jobs.into_iter().flat_map(|job| job.join().expect("compression panicked")).collect()
        });
        for (raw, packed) in batch.iter().zip(packed) {
            let sectors = (raw.len() / SECTOR) as u64;
            volume_crc.update(raw);
            let packed = packed?;
            let (kind, stored) = match &packed {
                None => (0, &[][..]),
                Some(packed) if packed.len() < raw.len() => (format.run_type(), &packed[..]),
                Some(_) => (1, &raw[..]),
            };
            output.write_all(stored)?;
            data_crc.update(stored);
            runs.push(Run { kind, sector, sectors, offset, length: stored.len() as u64 });
            sector += sectors;
            offset += stored.len() as u64;
        }
    }
    runs.push(Run { kind: 0xffff_ffff, sector, sectors: 0, offset, length: 0 });
    let crc = volume_crc.finalize();
    let xml = property_list(mish(&runs, sector, crc))?;
    output.write_all(&xml)?;
    let master = crc32fast::hash(&crc.to_be_bytes());
    output.write_all(&koly(offset, data_crc.finalize(), xml.len() as u64, master, sector))?;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [format, raw, out] = &arguments[..] else { bail!("usage: mkdmg UDRO|UDZO|UDBZ|ULFO|ULMO RAW OUT") };
    let mut input = File::open(raw).with_context(|| format!("opening {raw}"))?;
    let mut output = BufWriter::new(File::create(out).with_context(|| format!("creating {out}"))?);
    write_image(Format::parse(format)?, &mut input, &mut output)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
