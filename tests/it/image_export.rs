//! Images that leave the library, judged by other programs: 7z, dmg2img, qemu-img, bmaptool, partclone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::image::export::{self, ExportError, Exported, Format, Odd, Out, Received, Shape, Unfit};
use rootstock::image::ingest::Progress;
use rootstock::server::library::{Imported, Library};
use rootstock::store::StoredImage;
use tempfile::TempDir;

use crate::image_source::mkvolume;
use crate::image_source_build::*;

struct Kept {
    folder: TempDir,
    library: Library,
    image: Imported,
}

impl Kept {
    /// Takes a file in.
    fn new(name: &str, bytes: &[u8]) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::open(&folder.path().join("store"), &folder.path().join("keys"), 2, 0).unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let image = library.import(&path, &Progress::default()).unwrap();
        Kept { folder, library, image }
    }

    /// A GPT disk with an EFI partition and an HFS+ volume, and its bytes.
    fn disk() -> (Kept, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        mkvolume::write(&path, 8 << 20, 5).unwrap();
        let bytes = fs::read(path).unwrap();
        (Kept::new("disk.img", &bytes), bytes)
    }

    fn shape(&self, partition: Option<u32>) -> Shape {
        Shape::new(&self.image.manifest, partition).unwrap()
    }

    fn write(&self, shape: &Shape, format: Format, workers: usize) -> (PathBuf, Exported) {
        let mut image = StoredImage::new(self.library.store(), self.image.manifest.regions());
        let mut out = Vec::new();
        let exported = export::export(shape, &mut image, format, workers, &mut out, &mut |_| true).unwrap();
        assert_eq!(exported.size, shape.size);
        let path = self.folder.path().join(format!("out.{format}"));
        fs::write(&path, out).unwrap();
        (path, exported)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All partitions of a disk image as 7z unpacks them, one behind the other. It checks every CRC-32.
fn by_7z(path: &Path) -> Vec<u8> {
    let output = Command::new("7z").args(["x", "-so", "-tdmg"]).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs 7z: {error}"));
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What our own source makes of it.
fn decoded(path: &Path) -> Whole {
    decode(File::open(path).unwrap(), 2).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn raw_and_packed_raw_are_the_bytes_that_were_imported() {
    let (kept, bytes) = Kept::disk();
    let source = kept.image.manifest.source().to_string();
    let whole = kept.shape(None);
    let free = whole.unallocated();
    let (raw, exported) = kept.write(&whole, Format::Raw, 2);
    assert_eq!(exported.unallocated, free);
    let got = fs::read(raw).unwrap();
    if free == 0 {
        assert!(got == bytes && sha256(&got) == source);
    }
    let (packed, _) = kept.write(&whole, Format::RawZst, 3);
    assert_eq!(decoded(&packed).digest, sha256(&got));
    assert!(decoded(&packed).decoded.checksums.present);
    told("zstd", &["-tq", text(&packed)]);
    // One partition is the bytes of that partition.
    let region = kept.image.manifest.partition(2).unwrap().clone();
    let (part, _) = kept.write(&kept.shape(Some(2)), Format::Raw, 2);
    assert!(fs::read(part).unwrap() == got[region.start as usize..][..region.size as usize]);
}

#[test]
fn bmaptool_writes_an_export_by_its_map_and_compares_every_range() {
    let (kept, _) = Kept::disk();
    let (raw, _) = kept.write(&kept.shape(None), Format::Raw, 2);
    let (packed, exported) = kept.write(&kept.shape(None), Format::RawZst, 2);
    let (image, bmap) = (kept.path("lab.img.zst"), kept.path("lab.img.zst.bmap"));
    fs::rename(packed, &image).unwrap();
    fs::write(&bmap, exported.bmap.unwrap()).unwrap();
    let out = kept.path("restored.img");
    told("bmaptool", &["copy", "--bmap", text(&bmap), text(&image), text(&out)]);
    assert!(fs::read(&out).unwrap() == fs::read(raw).unwrap());
    // A byte that is not as the map says is found.
    let wrong = fs::read_to_string(&bmap).unwrap().replacen("<Range chksum=\"", "<Range chksum=\"0", 1);
    fs::write(&bmap, wrong).unwrap();
    let refused =
        Command::new("bmaptool").args(["copy", "--bmap", text(&bmap), text(&image), text(&out)]).output();
    assert!(!refused.unwrap().status.success());
}

#[test]
fn disk_images_are_read_by_7z_dmg2img_and_qemu_img_and_have_every_checksum() {
    let (kept, _) = Kept::disk();
    let (raw, _) = kept.write(&kept.shape(None), Format::Raw, 2);
    let want = fs::read(raw).unwrap();
    for (format, workers) in [(Format::Udzo, 1), (Format::Udzo, 5), (Format::Ulfo, 2)] {
        let (path, _) = kept.write(&kept.shape(None), format, workers);
        let dmg = kept.path("lab.dmg");
        fs::rename(&path, &dmg).unwrap();
        let whole = decoded(&dmg);
        assert_eq!(whole.digest, sha256(&want), "{format}");
        assert!(whole.decoded.checksums.present);
        let listed = told("7z", &["l", "-slt", "-tdmg", text(&dmg)]);
        for name in ["MBR : 0", "Primary GPT Header : 1", "Apple_HFS : ", "Backup GPT Header : "] {
            assert!(listed.contains(name), "{name}: {listed}");
        }
        assert!(by_7z(&dmg) == want, "7z reads other bytes of {format}");
        if format == Format::Ulfo {
            // The others do not know LZFSE: qemu-img refuses it, dmg2img 1.6.7 writes wrong bytes.
            continue;
        }
        let out = kept.path("out.img");
        told("qemu-img", &["convert", "-f", "dmg", "-O", "raw", text(&dmg), text(&out)]);
        assert!(fs::read(&out).unwrap() == want, "qemu-img reads other bytes");
        fs::remove_file(&out).unwrap();
        told("dmg2img", &["-s", text(&dmg), text(&out)]);
        let got = fs::read(&out).unwrap();
        assert!(
            want.starts_with(&got) && want[got.len()..].iter().all(|&byte| byte == 0),
            "dmg2img reads other bytes"
        );
    }
    // A single volume is a disk image without a map.
    let (path, _) = kept.write(&kept.shape(Some(2)), Format::Udzo, 2);
    let region = kept.image.manifest.partition(2).unwrap();
    assert_eq!(decoded(&path).digest, sha256(&want[region.start as usize..][..region.size as usize]));
}

/// A volume with bytes, zeros and much that is unallocated.
fn holed() -> (Vec<u8>, Vec<u8>) {
    let mut data = vec![0; 3 << 20];
    data.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * at / 977 % 251) as u8);
    data[1024..1026].copy_from_slice(b"H+");
    let sectors = (data.len() as u64) / SECTOR;
    let runs = vec![
        (STORED, 0, sectors, 0, data.len() as u64),
        (ZERO, sectors, 4096, 0, 0),
        (IGNORE, sectors + 4096, 8192, 0, 0),
        (END, sectors + 12288, 0, 0, 0),
    ];
    let table = Table { crc: None, ..Table::new(0, sectors + 12288, runs) };
    let udif = Udif { tables: vec![table], data: data.clone(), ..Udif::default() };
    data.resize(data.len() + 12288 * SECTOR as usize, 0);
    (udif.bytes(), data)
}

#[test]
fn what_is_unallocated_stays_so_in_every_format_that_can_say_it() {
    let (udif, want) = holed();
    let kept = Kept::new("holed.dmg", &udif);
    let shape = kept.shape(None);
    let free = shape.unallocated();
    assert!(free >= 4 << 20, "{free} bytes of the image are unallocated");
    for format in [Format::Udzo, Format::Ulfo] {
        let (path, exported) = kept.write(&shape, format, 2);
        assert_eq!(exported.unallocated, free);
        let whole = decoded(&path);
        assert_eq!(whole.digest, sha256(&want));
        assert!(whole.holes >= free, "{format}: {} of {free}", whole.holes);
    }
    let (_, exported) = kept.write(&shape, Format::RawZst, 2);
    let bmap = exported.bmap.unwrap();
    let mapped = (want.len() as u64 - free) / 4096;
    assert!(bmap.contains(&format!("<MappedBlocksCount> {mapped} <")), "{bmap}");
}

#[test]
fn partclone_restores_the_blocks_that_are_used() {
    let (udif, want) = holed();
    let kept = Kept::new("holed.dmg", &udif);
    let (path, exported) = kept.write(&kept.shape(None), Format::Partclone, 2);
    assert!(exported.written < want.len() as u64 - exported.unallocated + (64 << 10));
    let whole = decoded(&path);
    assert_eq!((whole.digest, whole.holes), (sha256(&want), exported.unallocated));
    let (out, log) = (kept.path("restored.img"), kept.path("log"));
    File::create(&out).unwrap().set_len(want.len() as u64).unwrap();
    let told = told("partclone.restore", &["-C", "-s", text(&path), "-O", text(&out), "-L", text(&log)]);
    assert!(told.contains("successfully"), "{told}");
    let mut got = fs::read(&out).unwrap();
    got.resize(want.len(), 0);
    assert!(got == want);
    // And what partclone checks without writing.
    let checked =
        Command::new("partclone.chkimg").args(["-s", text(&path), "-L", text(&log)]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_disk_with_partitions_is_no_partclone_image_and_a_partition_that_is_not_there_is_named() {
    let (kept, _) = Kept::disk();
    let mut image = StoredImage::new(kept.library.store(), kept.image.manifest.regions());
    let mut out = Vec::new();
    let refused =
        export::export(&kept.shape(None), &mut image, Format::Partclone, 1, &mut out, &mut |_| true)
            .unwrap_err();
    assert!(refused.to_string().contains("--partition, it has 1, 2"), "{refused}");
    assert!(out.is_empty());
    let absent = Shape::new(&kept.image.manifest, Some(9)).unwrap_err();
    assert!(matches!(absent, Unfit::NoPartition { number: 9, .. }));
    let stopped =
        export::export(&kept.shape(None), &mut image, Format::Udzo, 2, &mut out, &mut |done| done < 1 << 20);
    assert!(matches!(stopped, Err(ExportError::Stopped)));
}

/// A disk that becomes full.
struct Full(u64);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Out for Full {}

#[test]
fn a_full_disk_ends_every_format_in_its_error() {
    let (kept, _) = Kept::disk();
    for format in [Format::Raw, Format::RawZst, Format::Udzo, Format::Ulfo] {
        let mut image = StoredImage::new(kept.library.store(), kept.image.manifest.regions());
        let end = export::export(&kept.shape(None), &mut image, format, 2, &mut Full(1 << 20), &mut |_| true);
        assert!(matches!(end, Err(ExportError::Write(_))), "{format}: {end:?}");
    }
}

#[test]
fn images_that_macs_made_leave_as_they_came() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; made images test the same code");
        return;
    };
    for name in
        ["go-apfs-v2-basic-lzfse.dmg", "Sparkle-SparkleTestCodeSignApp.dmg", "go-apfs-v2-hfs-apm.img.gz"]
    {
        let bytes = fs::read(corpus.join(name)).unwrap();
        let want = decode_bytes(bytes.clone()).unwrap().digest;
        let kept = Kept::new(name, &bytes);
        let (raw, _) = kept.write(&kept.shape(None), Format::Raw, 2);
        assert_eq!(sha256(&fs::read(raw).unwrap()), want, "{name}");
        for format in [Format::RawZst, Format::Udzo, Format::Ulfo] {
            let (path, _) = kept.write(&kept.shape(None), format, 2);
            assert_eq!(decoded(&path).digest, want, "{name} as {format}");
            if format != Format::RawZst {
                assert_eq!(sha256(&by_7z(&path)), want, "7z of {name} as {format}");
            }
        }
    }
}

#[test]
fn a_packed_export_is_compared_as_it_comes_and_goes_on_behind_its_last_whole_frame() {
    let (udif, want) = holed();
    let kept = Kept::new("holed.dmg", &udif);
    let shape = kept.shape(None);
    let (path, exported) = kept.write(&shape, Format::RawZst, 2);
    let packed = fs::read(path).unwrap();
    let (mut bytes, mut received) = (Vec::new(), Received::new(&kept.image.manifest, &shape));
    let mut keep = |frame: export::Frame<'_>| {
        assert_eq!(frame.at, bytes.len() as u64);
        bytes.extend_from_slice(frame.bytes);
        Ok::<(), Odd>(())
    };
    // In odd pieces, cut off in the middle of a frame.
    for piece in packed[..packed.len() / 2].chunks(1000) {
        received.take(piece, &mut keep).unwrap();
    }
    received.cut_off();
    let (from, mut rest) = (received.at(), Vec::new());
    assert!(from > 0 && !received.is_complete());
    let mut image = StoredImage::new(kept.library.store(), kept.image.manifest.regions());
    let made =
        export::export_from(from, &shape, &mut image, Format::RawZst, 2, &mut rest, &mut |_| true).unwrap();
    assert!(made.bmap.is_none() && packed.ends_with(&rest), "the rest is as it was");
    received.take(&rest, &mut keep).unwrap();
    assert!(received.is_complete() && Some(received.bmap()) == exported.bmap);
    assert!(bytes == want);
    // Every flipped byte is noticed before anything of its frame counts.
    for at in (0..packed.len()).step_by(packed.len() / 97) {
        let mut bad = packed.clone();
        bad[at] ^= 0x20;
        let mut received = Received::new(&kept.image.manifest, &shape);
        let taken = received.take(&bad, &mut |frame: export::Frame<'_>| {
            assert!(want[frame.at as usize..].starts_with(frame.bytes));
            Ok::<(), Odd>(())
        });
        assert!(taken.is_err() || !received.is_complete(), "byte {at}");
    }
    let refused = shape.may_begin(5, Format::Udzo).unwrap_err();
    assert!(refused.to_string().contains("only raw.zst"), "{refused}");
}
