//! A set as a tar stream (POSIX pax, ustar, and GNU's long names): read without trust, written plainly.
//!
//! | type | taken |
//! |---|---|
//! | `0`, NUL, `7` | file |
//! | `5` | folder |
//! | `L`; `x` with `path`, `size` | belongs to the next entry |
//! | `g`, `K` | passed over |
//! | links, devices, FIFOs, sparse files | refused by name |
//!
//! Owns: bounds on names, headers and numbers of entries. Must not know: where files go.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::layout::entry_path;

const BLOCK: u64 = 512;
/// Entries of one archive. Apple's sets have a few dozen.
const MOST_ENTRIES: usize = 2000;
/// Longest pax header or long name.
const LONGEST_EXTRA: u64 = 64 * 1024;

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `i386/booter`; empty for the top folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// An archive that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BadArchive {
    /// Reading it failed.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// The bytes are no tar header.
    #[error("this is no tar archive: the header at byte {0} is damaged")]
    Damaged(u64),
    /// It ends early.
    #[error("the archive is cut off at byte {0}; copy it again")]
    Cut(u64),
    /// A path that leads elsewhere.
    #[error("`{0}` in the archive is a path that is not unpacked: it is absolute, has `..`, or is too long")]
    Path(String),
    /// A link, a device, a sparse file.
    #[error("`{path}` in the archive is {what}, which a set cannot have; pack plain files")]
    Kind {
        /// Which.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Too many.
    #[error("the archive has more than {MOST_ENTRIES} entries; a netboot set has a few dozen")]
    Many,
    /// A header that is longer than any real one.
    #[error("the archive has an extended header of {0} bytes")]
    LongHeader(u64),
}

/// A tar that is read from front to back; reading gives the bytes of the entry at hand.
pub struct Tar<R> {
    input: R,
    at: u64,
    /// Bytes of the entry that are still to come, and of the padding after them.
    left: u64,
    padding: u64,
    entries: usize,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Extra {
    path: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

impl<R: Read> Tar<R> {
    /// From its first byte.
    pub fn new(input: R) -> Tar<R> {
        Tar { input, at: 0, left: 0, padding: 0, entries: 0 }
    }

    /// The next file or folder; what was not read of the one before is passed over. None at the end.
    pub fn advance(&mut self) -> Result<Option<Entry>, BadArchive> {
        let mut extra = Extra::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(BadArchive::Many);
            }
            let size = header.entry_size().map_err(|_| BadArchive::Damaged(self.at - BLOCK))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.extra(size)?;
                    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                    extra.path = Some(text(name)?);
                }
                EntryType::XHeader => self.pax(size, &mut extra)?,
                EntryType::XGlobalHeader | EntryType::GNULongLink => drop(self.extra(size)?),
                kind => return self.entry(kind, &header, size, extra).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        kind: EntryType,
        header: &Header,
        size: u64,
        extra: Extra,
    ) -> Result<Entry, BadArchive> {
        let raw = match extra.path {
            Some(path) => path,
            None => text(&header.path_bytes())?,
        };
        let path = entry_path(&raw).ok_or_else(|| BadArchive::Path(shown(&raw)))?;
        // Archives of before POSIX mark a folder by the slash at its end only.
        let is_folder = kind == EntryType::Directory || kind == EntryType::Regular && raw.ends_with('/');
        let what = match kind {
            _ if extra.sparse => Some("a sparse file"),
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => None,
            EntryType::Symlink => Some("a symbolic link"),
            EntryType::Link => Some("a hard link"),
            EntryType::Char | EntryType::Block => Some("a device"),
            EntryType::Fifo => Some("a FIFO"),
            EntryType::GNUSparse => Some("a sparse file"),
            _ => Some("of an unknown type"),
        };
        if let Some(what) = what {
            return Err(BadArchive::Kind { path: shown(&raw), what });
        }
        let size = if is_folder { 0 } else { extra.size.unwrap_or(size) };
        self.expect(size)?;
        Ok(Entry { path, size, is_folder })
    }

    /// The next header, none at the two empty blocks of the end.
    fn header(&mut self) -> Result<Option<Header>, BadArchive> {
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            let mut second = [0; BLOCK as usize];
            self.fill(&mut second)?;
            return if second == [0; BLOCK as usize] {
                Ok(None)
            } else {
                Err(BadArchive::Damaged(self.at - BLOCK))
            };
        }
        let sum = header.as_bytes().iter().enumerate();
        // The checksum's own field counts as spaces (POSIX pax, "ustar Interchange Format").
        let sum = sum.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if header.cksum().ok() == Some(sum) {
            Ok(Some(header))
        } else {
            Err(BadArchive::Damaged(self.at - BLOCK))
        }
    }

    /// Content of an entry that describes another.
    fn extra(&mut self, size: u64) -> Result<Vec<u8>, BadArchive> {
        if size > LONGEST_EXTRA {
            return Err(BadArchive::LongHeader(size));
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.left = 0;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(bytes)
    }

    /// Records `LENGTH KEY=VALUE\n` (POSIX pax, "pax Extended Header").
    fn pax(&mut self, size: u64, extra: &mut Extra) -> Result<(), BadArchive> {
        let damaged = BadArchive::Damaged(self.at);
        let bytes = self.extra(size)?;
        for record in tar::PaxExtensions::new(&bytes) {
            let Ok(record) = record else { return Err(damaged) };
            match record.key_bytes() {
                b"path" => extra.path = Some(text(record.value_bytes())?),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    extra.size = Some(size.ok_or(BadArchive::Damaged(self.at))?);
                }
                key if key.starts_with(b"GNU.sparse") || key.starts_with(b"SCHILY.realsize") => {
                    extra.sparse = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn expect(&mut self, size: u64) -> Result<(), BadArchive> {
        let padded = size.checked_next_multiple_of(BLOCK).ok_or(BadArchive::Damaged(self.at))?;
        (self.left, self.padding) = (size, padded - size);
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BadArchive> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BadArchive::Cut(self.at)),
            Err(error) => Err(BadArchive::Read(error)),
        }
    }

    fn skip(&mut self) -> Result<(), BadArchive> {
        let rest = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        let passed =
            io::copy(&mut (&mut self.input).take(rest), &mut io::sink()).map_err(BadArchive::Read)?;
        self.at += passed;
        if passed == rest { Ok(()) } else { Err(BadArchive::Cut(self.at)) }
    }
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.input.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, BadArchive::Cut(self.at).to_string())),
            count => {
                self.at += count as u64;
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, BadArchive> {
    String::from_utf8(bytes.to_vec()).map_err(|_| BadArchive::Path(shown(&String::from_utf8_lossy(bytes))))
}

fn shown(path: &str) -> String {
    path.escape_debug().take(200).collect()
}

/// The header that stands before an entry's bytes.
pub fn head(entry: &Entry) -> Result<[u8; BLOCK as usize], BadArchive> {
    let mut header = Header::new_ustar();
    let path = if entry.is_folder { format!("{}/", entry.path) } else { entry.path.clone() };
    header.set_path(&path).map_err(|_| BadArchive::Path(shown(&path)))?;
    header.set_entry_type(if entry.is_folder { EntryType::Directory } else { EntryType::Regular });
    header.set_mode(if entry.is_folder { 0o755 } else { 0o644 });
    header.set_size(entry.size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Bytes of an archive of these entries, its end included.
pub fn archive_length(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| BLOCK + entry.size.next_multiple_of(BLOCK)).sum::<u64>() + 2 * BLOCK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        Entry { path: path.into(), size, is_folder: false }
    }

    /// An archive as another program writes it: the tar crate's own builder.
    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, BadArchive> {
        let mut tar = Tar::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = tar.advance()? {
            let mut content = Vec::new();
            tar.read_to_end(&mut content).map_err(BadArchive::Read)?;
            found.push((entry, content));
        }
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_again_with_the_length_that_was_told() {
        let entries = [
            Entry { path: "i386".into(), size: 0, is_folder: true },
            file("i386/booter", 700),
            file(&format!("{}/{}", "f".repeat(120), "n".repeat(90)), 512),
        ];
        let mut bytes = Vec::new();
        for entry in &entries {
            bytes.extend(head(entry).unwrap());
            bytes.extend(vec![7; entry.size as usize]);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend([0; 1024]);
        assert_eq!(bytes.len() as u64, archive_length(&entries));
        let found = read(&bytes).unwrap();
        assert!(found.iter().map(|(entry, _)| entry).eq(&entries));
        assert_eq!(found[1].1, [7; 700]);
    }

    #[test]
    fn long_names_of_gnu_and_pax_are_understood() {
        let long = "d/".repeat(3) + &"n".repeat(150);
        let gnu = archive(|builder| {
            let mut header = Header::new_gnu();
            header.set_size(3);
            builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        });
        assert_eq!(read(&gnu).unwrap(), [(file(&long, 3), b"abc".to_vec())]);
        let pax = archive(|builder| {
            builder.append_pax_extensions([("path", b"x/y".as_slice()), ("size", b"3")]).unwrap();
            add(builder, EntryType::Regular, "short", b"abc");
        });
        assert_eq!(read(&pax).unwrap(), [(file("x/y", 3), b"abc".to_vec())]);
    }

    #[test]
    fn links_devices_sparse_files_and_ways_out_are_refused_by_name() {
        let refused = |kind, path: &str| {
            read(&archive(|builder| add(builder, kind, path, b""))).unwrap_err().to_string()
        };
        assert!(refused(EntryType::Symlink, "a").contains("`a` in the archive is a symbolic link"));
        assert!(refused(EntryType::Link, "a").contains("a hard link"));
        assert!(refused(EntryType::Block, "a").contains("a device"));
        assert!(refused(EntryType::Fifo, "a").contains("a FIFO"));
        assert!(refused(EntryType::GNUSparse, "a").contains("a sparse file"));
        assert!(refused(EntryType::Regular, "../a").contains("`../a`"));
        assert!(refused(EntryType::Regular, "/etc/a").contains("`/etc/a`"));
        let sparse = archive(|builder| {
            builder.append_pax_extensions([("GNU.sparse.major", b"1".as_slice())]).unwrap();
            add(builder, EntryType::Regular, "a", b"");
        });
        assert!(read(&sparse).unwrap_err().to_string().contains("sparse"));
    }

    #[test]
    fn an_archive_that_ends_early_or_never_is_refused() {
        let good = archive(|builder| add(builder, EntryType::Regular, "a", &[1; 600]));
        for length in [100, 512, 700, 1536, 2047] {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        assert!(matches!(read(&[1; 1024]), Err(BadArchive::Damaged(0))));
        let many = archive(|builder| {
            (0..=MOST_ENTRIES).for_each(|at| add(builder, EntryType::Regular, &at.to_string(), b""));
        });
        assert!(matches!(read(&many), Err(BadArchive::Many)));
        let long = archive(|builder| add(builder, EntryType::XHeader, "a", &vec![b' '; 70_000]));
        assert!(matches!(read(&long), Err(BadArchive::LongHeader(70_000))));
    }

    proptest! {
        #[test]
        fn a_damaged_archive_is_read_to_an_end_or_to_an_error(at in 0..2560_usize, value: u8, cut in 0..2560_usize) {
            let mut bytes = archive(|builder| {
                builder.append_pax_extensions([("path", b"x/y".as_slice())]).unwrap();
                add(builder, EntryType::Regular, "a", &[1; 600]);
            });
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            let total: usize = read(&bytes).map_or(0, |found| found.iter().map(|(_, bytes)| bytes.len()).sum());
            prop_assert!(total <= bytes.len());
        }
    }
}
