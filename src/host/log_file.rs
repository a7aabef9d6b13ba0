//! A program's log file, which does not grow without end (task-sequences section 8).
//!
//! | file | what |
//! |---|---|
//! | `NAME.log` | what is written now |
//! | `NAME.1.log.gz` | what was written before it, gzip; the newest |
//! | `NAME.2.log.gz` … | older and older; the oldest goes when there are too many files |
//!
//! The file is packed whole before anything has another name, so that a program that is killed while it rotates loses no line; the
//! worst is that some lines stand in two files. Must not know: what the lines say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

/// How much is kept. Existing means within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    size: u64,
    files: u32,
}

impl Limits {
    /// Bytes that the newest file may have: default, least, most.
    pub const SIZE: (u64, u64, u64) = (1_000_000, 200_000, 4_000_000);
    /// Files that are kept, the newest among them: default, least, most.
    pub const FILES: (u32, u32, u32) = (10, 1, 20);

    /// What was asked for, or the default; what is out of range becomes the nearest that is in it.
    pub fn new(size: Option<u64>, files: Option<u32>) -> Limits {
        let ((size_default, size_least, size_most), (files_default, files_least, files_most)) =
            (Limits::SIZE, Limits::FILES);
        Limits {
            size: size.unwrap_or(size_default).clamp(size_least, size_most),
            files: files.unwrap_or(files_default).clamp(files_least, files_most),
        }
    }

    /// Bytes that the newest file may have.
    pub fn size(self) -> u64 {
        self.size
    }

    /// Files that are kept, the newest among them.
    pub fn files(self) -> u32 {
        self.files
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(None, None)
    }
}

/// The log file. Cheap to clone; one for each program and folder.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    folder: PathBuf,
    name: &'static str,
    limits: Limits,
    file: File,
    size: u64,
}

impl LogFile {
    /// Opens `name.log` in `folder`, which is made when it is absent.
    ///
    /// # Errors
    /// When folder or file cannot be made.
    pub fn open(folder: &Path, name: &'static str, limits: Limits) -> io::Result<LogFile> {
        fs::create_dir_all(folder)?;
        let folder = folder.to_owned();
        let file = append(&current(&folder, name))?;
        let size = file.metadata()?.len();
        // What a program left that was killed while it packed.
        let _ = fs::remove_file(packing(&folder, name));
        let open = Open { folder, name, limits, file, size };
        open.remove_surplus();
        Ok(LogFile(Arc::new(Mutex::new(open))))
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn current(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn packed(folder: &Path, name: &str, number: u32) -> PathBuf {
    folder.join(format!("{name}.{number}.log.gz"))
}

fn packing(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log.gz.new"))
}

impl Open {
    fn rotate(&mut self) -> io::Result<()> {
        let (folder, name) = (&self.folder, self.name);
        if self.limits.files > 1 {
            let fresh = packing(folder, name);
            let mut gz = GzEncoder::new(File::create(&fresh)?, Compression::fast());
            io::copy(&mut File::open(current(folder, name))?, &mut gz)?;
            gz.finish()?.sync_all()?;
            for number in (1..self.limits.files).rev() {
                let (from, to) = (packed(folder, name, number), packed(folder, name, number + 1));
                if from.exists() {
                    fs::rename(from, to)?;
                }
            }
            fs::rename(&fresh, packed(folder, name, 1))?;
        }
        self.file.set_len(0)?;
        self.size = 0;
        self.remove_surplus();
        Ok(())
    }

    /// Also those that were kept under a larger limit. One that cannot go goes the next time.
    fn remove_surplus(&self) {
        for number in self.limits.files..=Limits::FILES.2 + 1 {
            let _ = fs::remove_file(packed(&self.folder, self.name, number));
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = open.size + bytes.len() as u64 > open.limits.size;
        if full && open.size > 0 && open.rotate().is_err() {
            // A disk without room to pack must not grow the file without end: the newest lines count.
            open.file.set_len(0)?;
            open.size = 0;
        }
        let count = open.file.write(bytes)?;
        open.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    fn unpacked(path: &Path) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn section_8_limits_out_of_range_are_clamped_and_absent_ones_are_the_defaults() {
        let of = |size, files| {
            let limits = Limits::new(size, files);
            (limits.size(), limits.files())
        };
        assert_eq!(of(None, None), (1_000_000, 10));
        assert_eq!(of(Some(1), Some(0)), (200_000, 1));
        assert_eq!(of(Some(u64::MAX), Some(21)), (4_000_000, 20));
        assert_eq!(of(Some(200_000), Some(20)), (200_000, 20));
    }

    #[test]
    fn section_8_a_full_log_is_packed_as_number_1_the_others_move_up_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(folder.path(), "prog", Limits::new(Some(200_000), Some(4))).unwrap();
        for number in 0..1100 {
            log.write_all(format!("{number:0999}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(folder.path()), ["prog.log", "prog.1.log.gz", "prog.2.log.gz", "prog.3.log.gz"]);
        assert!(fs::metadata(folder.path().join("prog.log")).unwrap().len() <= 200_000);
        // Nothing between the oldest that is kept and the newest line is missing, nothing is there twice.
        let older = |number| unpacked(&packed(folder.path(), "prog", number));
        let now = fs::read_to_string(folder.path().join("prog.log")).unwrap();
        let all = [older(3), older(2), older(1), now].concat();
        let numbers: Vec<u32> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (400..1100).collect::<Vec<_>>());
    }

    #[test]
    fn section_8_one_file_alone_keeps_no_older_ones_and_a_smaller_limit_takes_effect_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=20 {
            fs::write(packed(folder.path(), "prog", number), "old").unwrap();
        }
        fs::write(packing(folder.path(), "prog"), "half").unwrap();
        fs::write(folder.path().join("other.1.log.gz"), "another program's").unwrap();
        let mut log = LogFile::open(folder.path(), "prog", Limits::new(None, Some(1))).unwrap();
        assert_eq!(names(folder.path()), ["prog.log", "other.1.log.gz"]);
        for _ in 0..5000 {
            log.write_all(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(names(folder.path()), ["prog.log", "other.1.log.gz"]);
    }

    #[test]
    fn section_8_a_log_goes_on_after_a_restart_and_gzip_reads_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::new(Some(200_000), None);
        for start in 0..3 {
            let mut log = LogFile::open(folder.path(), "prog", limits).unwrap();
            log.write_all(&[b'0' + start; 90_000]).unwrap();
        }
        assert_eq!(names(folder.path()), ["prog.log", "prog.1.log.gz"]);
        let path = packed(folder.path(), "prog", 1);
        let other = std::process::Command::new("gzip").args(["-dc"]).arg(&path).output().unwrap();
        assert_eq!(other.stdout, [[b'0'; 90_000], [b'1'; 90_000]].concat());
    }
}
