//! ELF files, as far as boot files need them: what a kernel module says about itself, which libraries a program loads.
//!
//! Owns: sections by name of a 64-bit little-endian file. Must not know: where modules and libraries lie.

/// Why a file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a 64-bit ELF file for x86-64, or cut off")]
pub struct BadElf;

/// One ELF file in memory.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    file: &'a [u8],
    table: u64,
    row: u64,
    rows: u64,
    names: u64,
}

const NEEDED: u64 = 1;

/// Bytes of the file header.
const HEADER: usize = 64;

impl<'a> Elf<'a> {
    /// Reads the header (System V ABI, "ELF Header").
    ///
    /// # Errors
    /// [`BadElf`]
    pub fn read(file: &'a [u8]) -> Result<Elf<'a>, BadElf> {
        // EI_CLASS 64-bit, EI_DATA little-endian, EI_VERSION 1; e_machine EM_X86_64.
        if !file.starts_with(b"\x7fELF\x02\x01\x01") || number(file, 18, 2) != Some(62) {
            return Err(BadElf);
        }
        let field = |at, size| number(file, at, size).ok_or(BadElf);
        Ok(Elf { file, table: field(40, 8)?, row: field(58, 2)?, rows: field(60, 2)?, names: field(62, 2)? })
    }

    /// Content of the section called `name`.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.content(self.names)?;
        (0..self.rows).find_map(|index| {
            let at = self.row_at(index)?;
            let own = text(names, number(self.file, at, 4)?)?;
            (own == name).then(|| self.content(index))?
        })
    }

    /// Libraries that the dynamic linker must find (`DT_NEEDED`), empty for a static program.
    pub fn needed(&self) -> Vec<&'a str> {
        let (Some(dynamic), Some(strings)) = (self.section(".dynamic"), self.section(".dynstr")) else {
            return Vec::new();
        };
        dynamic
            .chunks_exact(16)
            .filter(|entry| number(entry, 0, 8) == Some(NEEDED))
            .filter_map(|entry| text(strings, number(entry, 8, 8)?))
            .collect()
    }

    /// Path of the dynamic linker; none for a static program.
    pub fn interpreter(&self) -> Option<&'a str> {
        text(self.section(".interp")?, 0)
    }

    /// The file without what the kernel does not load: symbols, debug information, the section table itself. They stand
    /// behind the last segment and make most of a program that was not stripped.
    pub fn stripped(&self) -> Vec<u8> {
        let field = |at, size| number(self.file, at, size).unwrap_or(0);
        let (table, row, rows) = (field(32, 8), field(54, 2), field(56, 2));
        let segment = |index: u64| {
            let at = table.checked_add(row.checked_mul(index)?)?;
            number(self.file, at.checked_add(8)?, 8)?.checked_add(number(self.file, at.checked_add(32)?, 8)?)
        };
        let ends: Option<Vec<u64>> = (0..rows).map(segment).collect();
        let last = ends.unwrap_or_default().into_iter().max().and_then(|end| usize::try_from(end).ok());
        match last.filter(|end| (HEADER..self.file.len()).contains(end)) {
            Some(end) => {
                let mut file = self.file[..end].to_vec();
                // e_shoff, then e_shentsize, e_shnum and e_shstrndx: no section table.
                file[40..48].fill(0);
                file[58..64].fill(0);
                file
            }
            None => self.file.to_vec(),
        }
    }

    /// `key=value` pairs of a kernel module.
    pub fn module_info(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let section = self.section(".modinfo").unwrap_or_default();
        section
            .split(|byte| *byte == 0)
            .filter_map(|pair| std::str::from_utf8(pair).ok())
            .filter_map(|pair| pair.split_once('='))
    }

    fn row_at(&self, index: u64) -> Option<u64> {
        self.table.checked_add(self.row.checked_mul(index)?)
    }

    fn content(&self, index: u64) -> Option<&'a [u8]> {
        let at = self.row_at(index)?;
        let begin = number(self.file, at.checked_add(24)?, 8)?;
        let end = begin.checked_add(number(self.file, at.checked_add(32)?, 8)?)?;
        self.file.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)
    }
}

fn number(bytes: &[u8], at: u64, size: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let mut wide = [0; 8];
    wide[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    Some(u64::from_le_bytes(wide))
}

fn text(strings: &[u8], at: u64) -> Option<&str> {
    let rest = strings.get(usize::try_from(at).ok()?..)?;
    std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An ELF file with these sections and nothing else.
    pub(in crate::media) fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[18] = 62;
        let mut names = vec![0];
        let mut rows = Vec::new();
        let mut row = |name: usize, begin: usize, length: usize| {
            let mut bytes = [0; 64];
            bytes[..4].copy_from_slice(&(name as u32).to_le_bytes());
            bytes[24..32].copy_from_slice(&(begin as u64).to_le_bytes());
            bytes[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            rows.extend_from_slice(&bytes);
        };
        for (name, content) in sections {
            row(names.len(), file.len(), content.len());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            file.extend_from_slice(content);
        }
        row(0, file.len(), names.len());
        file.extend_from_slice(&names);
        let table = file.len() as u64;
        file.extend_from_slice(&rows);
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58] = 64;
        file[60] = sections.len() as u8 + 1;
        file[62] = sections.len() as u8;
        file
    }

    #[test]
    fn sections_are_found_by_name() {
        let file = elf(&[(".text", b"code"), (".modinfo", b"license=GPL\0depends=a,b\0")]);
        let elf = Elf::read(&file).unwrap();
        assert_eq!(elf.section(".text"), Some(&b"code"[..]));
        assert_eq!(elf.section(".data"), None);
        let info: Vec<_> = elf.module_info().collect();
        assert_eq!(info, [("license", "GPL"), ("depends", "a,b")]);
    }

    #[test]
    fn needed_libraries_are_named_in_order() {
        let mut dynamic = Vec::new();
        for (tag, value) in [(NEEDED, 1u64), (5, 99), (NEEDED, 8), (0, 0)] {
            dynamic.extend_from_slice(&tag.to_le_bytes());
            dynamic.extend_from_slice(&value.to_le_bytes());
        }
        let file = elf(&[(".dynamic", &dynamic), (".dynstr", b"\0libz.1\0libc.6\0")]);
        assert_eq!(Elf::read(&file).unwrap().needed(), ["libz.1", "libc.6"]);
    }

    #[test]
    fn a_stripped_program_ends_with_its_last_segment_and_still_runs() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let stripped = Elf::read(&program).unwrap().stripped();
        assert!(stripped.len() < program.len());
        assert_eq!(stripped[HEADER..], program[HEADER..stripped.len()]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stripped");
        std::fs::write(&path, stripped).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(path).arg("--list").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("media::elf"), "{output:?}");
    }

    #[test]
    fn what_has_no_segments_is_left_whole() {
        let file = elf(&[(".modinfo", b"a=b\0")]);
        assert_eq!(Elf::read(&file).unwrap().stripped(), file);
    }

    #[test]
    fn a_cut_or_damaged_file_gives_nothing_and_does_not_panic() {
        let whole = elf(&[(".modinfo", b"a=b\0"), (".dynstr", b"\0x\0"), (".dynamic", &[1; 32])]);
        for length in 0..whole.len() {
            if let Ok(elf) = Elf::read(&whole[..length]) {
                let _ = (elf.needed(), elf.interpreter(), elf.module_info().count(), elf.stripped());
            }
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            if let Ok(elf) = Elf::read(&damaged) {
                let _ = (elf.needed(), elf.interpreter(), elf.module_info().count(), elf.stripped());
            }
        }
        assert_eq!(Elf::read(b"#!/bin/sh").unwrap_err(), BadElf);
    }
}
