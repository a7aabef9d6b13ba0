//! Where the bytes of a disk or partition lie: a device node, or a stretch of a disk that is kept in a regular file
//! (a virtual machine's disk; the kernel makes no nodes for its partitions, so they are found through its table).
//!
//! Must not know: what is written there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use gptman::GPT;

use super::identity::{called, partition_node};
use crate::api::runner::{Destination, DiskFacts};

/// How long the kernel is given to make the nodes of a new table.
const NODE_TRIES: u32 = 50;
const NODE_PAUSE: Duration = Duration::from_millis(100);

/// A stretch of a device or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Device node or file to open.
    pub path: PathBuf,
    /// First byte in it; 0 for a device node.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// There is no such place, or it must not be written.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No disk has this number.
    #[error("this Mac has no disk number {number}; it has {have}")]
    NoDisk {
        /// As asked.
        number: u32,
        /// What there is.
        have: String,
    },
    /// A node that is no partition of a numbered disk.
    #[error("`{0}` is no partition of a disk that may be written")]
    Foreign(String),
    /// The partition is not there.
    #[error("disk {disk} has no partition {partition}")]
    NoPartition {
        /// Node of the disk.
        disk: String,
        /// Number asked for.
        partition: u32,
    },
    /// Opening or reading failed.
    #[error("opening {} failed", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The disk with this number.
///
/// # Errors
/// [`PlaceError::NoDisk`] says which there are.
pub fn disk_numbered(disks: &[DiskFacts], number: u32) -> Result<&DiskFacts, PlaceError> {
    disks.iter().find(|disk| disk.number == Some(number)).ok_or_else(|| {
        let have: Vec<_> =
            disks.iter().filter_map(|disk| Some(format!("{}: {}", disk.number?, called(disk)))).collect();
        let have = if have.is_empty() { "none that may be written".to_owned() } else { have.join(", ") };
        PlaceError::NoDisk { number, have }
    })
}

/// Disk and partition number that a destination names.
///
/// # Errors
/// See [`PlaceError`].
pub fn partition_of<'a>(
    destination: &Destination,
    disks: &'a [DiskFacts],
) -> Result<(&'a DiskFacts, u32), PlaceError> {
    match destination {
        Destination::Partition { disk, partition } => Ok((disk_numbered(disks, *disk)?, *partition)),
        Destination::Node(node) => disks
            .iter()
            .filter(|disk| disk.number.is_some())
            .find_map(|disk| {
                let digits = node.rsplit(|c: char| !c.is_ascii_digit()).next()?;
                let number: u32 = digits.parse().ok()?;
                (partition_node(&disk.node, number) == *node).then_some((disk, number))
            })
            .ok_or_else(|| PlaceError::Foreign(node.clone())),
    }
}

/// Where partition `number` of `disk` lies. Waits for the kernel to make its node.
///
/// # Errors
/// See [`PlaceError`].
pub fn partition_place(disk: &DiskFacts, number: u32) -> Result<Place, PlaceError> {
    let disk_path = PathBuf::from(&disk.node);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PlaceError::Open { path, source }
    };
    let missing = || PlaceError::NoPartition { disk: disk.node.clone(), partition: number };
    if is_block_device(&disk_path).map_err(failed(&disk_path))? {
        let node = PathBuf::from(partition_node(&disk.node, number));
        for _ in 0..NODE_TRIES {
            match File::open(&node).and_then(|mut file| file.seek(SeekFrom::End(0))) {
                Ok(size) => return Ok(Place { path: node, offset: 0, size }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => thread::sleep(NODE_PAUSE),
                Err(error) => return Err(failed(&node)(error)),
            }
        }
        return Err(missing());
    }
    let mut file = File::open(&disk_path).map_err(failed(&disk_path))?;
    let gpt = GPT::read_from(&mut file, u64::from(disk.block_size)).map_err(|_| missing())?;
    let known = (1..=gpt.header.number_of_partition_entries).contains(&number) && gpt[number].is_used();
    let sectors = if known { gpt[number].size().ok() } else { None }.ok_or_else(missing)?;
    let block = u64::from(disk.block_size);
    Ok(Place {
        path: disk_path,
        offset: gpt[number].starting_lba.saturating_mul(block),
        size: sectors.saturating_mul(block),
    })
}

fn is_block_device(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.file_type().is_block_device())
}

/// Opens a device or file for reading and writing; a device that is in use is refused (`O_EXCL`, open(2)).
///
/// # Errors
/// As the kernel says; `ResourceBusy` when it is mounted.
pub fn open_writable(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if is_block_device(path)? {
        options.custom_flags(nix::fcntl::OFlag::O_EXCL.bits());
    }
    options.open(path)
}

/// A place as if it were a file of its own.
#[derive(Debug)]
pub struct Stretch {
    file: File,
    offset: u64,
    size: u64,
    position: u64,
}

impl Stretch {
    /// Opens `place` for reading and writing.
    ///
    /// # Errors
    /// See [`open_writable`].
    pub fn open(place: &Place) -> io::Result<Stretch> {
        let file = open_writable(&place.path)?;
        Ok(Stretch { file, offset: place.offset, size: place.size, position: 0 })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// How much of `length` bytes from the position on lies inside.
    fn inside(&self, length: usize) -> usize {
        self.size.saturating_sub(self.position).min(length as u64) as usize
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inside(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Stretch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inside(bytes.len());
        let count = self.file.write_at(&bytes[..length], self.offset + self.position)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stretch {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(number: Option<u32>, node: &str) -> DiskFacts {
        DiskFacts {
            number,
            node: node.into(),
            model: "M".into(),
            serial: String::new(),
            size: 1 << 30,
            block_size: 512,
            external: false,
            contents: Vec::new(),
            health: None,
        }
    }

    #[test]
    fn a_node_belongs_to_the_disk_whose_partition_it_names() {
        let disks = [disk(Some(0), "/dev/nvme0n1"), disk(Some(1), "/dev/sda"), disk(None, "/dev/sdb")];
        let of = |node: &str| {
            partition_of(&Destination::Node(node.into()), &disks)
                .map(|(disk, number)| (disk.number, number))
                .ok()
        };
        assert_eq!(of("/dev/nvme0n1p2"), Some((Some(0), 2)));
        assert_eq!(of("/dev/sda12"), Some((Some(1), 12)));
        for foreign in
            ["/dev/sdb1", "/dev/sda", "/dev/nvme0n12", "/dev/sdc1", "/etc/passwd", "", "/dev/sda99999999999"]
        {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_disk_that_is_not_there_is_refused_with_those_that_are() {
        let disks = [disk(Some(0), "/dev/sda"), disk(None, "/dev/sdb")];
        let error = disk_numbered(&disks, 3).unwrap_err().to_string();
        assert_eq!(error, "this Mac has no disk number 3; it has 0: /dev/sda (M)");
        assert!(disk_numbered(&disks[1..], 0).unwrap_err().to_string().contains("none that may be written"));
    }

    #[test]
    fn a_stretch_ends_where_it_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(b"..........", 0).unwrap();
        let place = Place { path: file.path().into(), offset: 2, size: 4 };
        let mut stretch = Stretch::open(&place).unwrap();
        assert!(stretch.write_all(b"abcde").is_err());
        stretch.seek(SeekFrom::End(-1)).unwrap();
        let mut rest = String::new();
        stretch.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "d");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"..abcd....");
        assert!(stretch.seek(SeekFrom::Current(-9)).is_err());
    }
}
