//! partclone images that partclone itself wrote, from file systems that other programs made.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootstock::image::source::{Piece, Source};

fn run(program: &str, arguments: &[&str], log: &Path) {
    let told = Command::new(program).args(arguments).arg("-L").arg(log).output();
    let told = told.unwrap_or_else(|error| panic!("this test needs {program} (package partclone): {error}"));
    assert!(told.status.success(), "{program}: {}", String::from_utf8_lossy(&told.stderr));
}

/// A FAT32 volume of the fixtures, unpacked: it has used and free clusters.
fn volume(folder: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/fat32.img.xz");
    let mut bytes = Vec::new();
    std::io::copy(&mut liblzma::read::XzDecoder::new(File::open(packed).unwrap()), &mut bytes).unwrap();
    let path = folder.join("fat32.img");
    fs::write(&path, bytes).unwrap();
    path
}

fn decode(path: &Path) -> (Vec<u8>, bool) {
    let mut disk = Vec::new();
    let mut source = Source::open(File::open(path).unwrap()).unwrap();
    let decoded = source
        .decode(2, &mut |piece| {
            match piece {
                Piece::Data { bytes, .. } => disk.extend_from_slice(bytes),
                Piece::Zero { length, .. } | Piece::Unallocated { length, .. } => {
                    disk.resize(disk.len() + length as usize, 0);
                }
            }
            Ok::<(), Infallible>(())
        })
        .unwrap();
    (disk, decoded.checksums.present)
}

#[test]
fn what_partclone_saves_is_read_as_partclone_restores_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, image) = (folder.path().join("log"), folder.path().join("saved.pc"));
    let (volume, restored) = (volume(folder.path()), folder.path().join("restored.img"));
    let [from, saved, to] = [&volume, &image, &restored].map(|path| path.to_str().unwrap());
    for (sums, extra) in [(true, &["-a1"][..]), (false, &["-a0"]), (true, &["-a1", "-k", "7"])] {
        let save = [&["-c", "-F", "-s", from, "-O", saved], extra].concat();
        run("partclone.fat", &save, &log);
        // There, and empty: partclone 0.3.23 looks at what is there, also where nothing is.
        fs::write(&restored, []).unwrap();
        run("partclone.restore", &["-C", "-s", saved, "-O", to], &log);
        let mut want = fs::read(&restored).unwrap();
        let (got, has_sums) = decode(&image);
        // A regular file ends with the last used block that was restored into it.
        want.resize(got.len(), 0);
        assert!(got == want, "{extra:?}");
        assert_eq!(has_sums, sums, "{extra:?}");
        let packed = folder.path().join("saved.pc.zst");
        let mut writer = zstd::Encoder::new(File::create(&packed).unwrap(), 3).unwrap();
        writer.write_all(&fs::read(&image).unwrap()).unwrap();
        writer.finish().unwrap();
        assert!(decode(&packed).0 == want, "{extra:?} compressed");
    }
}
