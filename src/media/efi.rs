//! An EFI program with built-in load options: how iPXE gets our script.
//!
//! Owns: one change to a PE32+ file, a section `.script` with the text and a few instructions that hand it over.
//! Must not know: what the script says, where the program came from.
//!
//! iPXE runs its command line (`EFI_LOADED_IMAGE_PROTOCOL.LoadOptions`) as a script. A Mac's firmware hands over
//! none, and Debian's iPXE is built without a script of its own. So the new entry point looks its own image up, points
//! the load options at the text beside it, and jumps to the old entry point with registers and stack as the firmware
//! left them. No compiler is needed, and the bytes of iPXE itself stay Debian's.
//!
//! Layout: PE format specification sections "Optional Header" and "Section Table"; UEFI 2.10 sections 4.3 (system
//! table), 4.4 (boot services), 7.3 (`HandleProtocol`), 9.1 (loaded image).

/// Why a file could not be given load options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProgram {
    /// Not what this module changes.
    #[error("not an EFI program for x86-64 (PE32+): {0}")]
    NotEfi(&'static str),
    /// Signed: a change would break the signature, and Secure Boot would then refuse the program.
    #[error("the program is signed, and a changed copy would be refused")]
    Signed,
    /// No free bytes between the section table and what follows it.
    #[error("no room for one more entry in the section table")]
    Full,
    /// The text is not ASCII or too long.
    #[error("the script must be ASCII and shorter than 32 KiB, this one has {0} bytes")]
    Script(usize),
}

/// Bytes of one entry of the section table.
const SECTION: usize = 40;

/// The instructions at the new entry point. Zero bytes at [`SCRIPT_AT`], [`SIZE_AT`] and [`JUMP_AT`] are filled in.
///
/// On entry the stack is 8 below a multiple of 16, and the 32 bytes above the return address are ours (Microsoft
/// x64 calling convention, which UEFI 2.10 section 2.3.4 takes over).
#[rustfmt::skip]
const STUB: [u8; 99] = [
    0x48, 0x83, 0xec, 0x38,                         // sub  rsp, 0x38
    0x48, 0x89, 0x4c, 0x24, 0x40,                   // mov  [rsp+0x40], rcx      image handle
    0x48, 0x89, 0x54, 0x24, 0x48,                   // mov  [rsp+0x48], rdx      system table
    0x48, 0x8b, 0x42, 0x60,                         // mov  rax, [rdx+0x60]      BootServices
    0x48, 0x8d, 0x15, 0x3a, 0x00, 0x00, 0x00,       // lea  rdx, [rip+0x3a]      guid, the last 16 bytes
    0x4c, 0x8d, 0x44, 0x24, 0x20,                   // lea  r8, [rsp+0x20]
    0xff, 0x90, 0x98, 0x00, 0x00, 0x00,             // call [rax+0x98]           HandleProtocol
    0x48, 0x85, 0xc0,                               // test rax, rax
    0x75, 0x17,                                     // jnz  +0x17                without options rather than not at all
    0x48, 0x8b, 0x44, 0x24, 0x20,                   // mov  rax, [rsp+0x20]      loaded image
    0x48, 0x8d, 0x0d, 0x00, 0x00, 0x00, 0x00,       // lea  rcx, [rip+script]
    0x48, 0x89, 0x48, 0x38,                         // mov  [rax+0x38], rcx      LoadOptions
    0xc7, 0x40, 0x30, 0x00, 0x00, 0x00, 0x00,       // mov  dword [rax+0x30], n  LoadOptionsSize
    0x48, 0x8b, 0x4c, 0x24, 0x40,                   // mov  rcx, [rsp+0x40]
    0x48, 0x8b, 0x54, 0x24, 0x48,                   // mov  rdx, [rsp+0x48]
    0x48, 0x83, 0xc4, 0x38,                         // add  rsp, 0x38
    0xe9, 0x00, 0x00, 0x00, 0x00,                   // jmp  old entry point
    // EFI_LOADED_IMAGE_PROTOCOL_GUID 5B1B31A1-9562-11D2-8E3F-00A0C969723B
    0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11, 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b,
];

/// Where the distance to the script stands, counted from the instruction after it.
const SCRIPT_AT: usize = 49;
/// Where the size of the script in bytes stands.
const SIZE_AT: usize = 60;
/// Where the distance to the old entry point stands, counted from the instruction after it.
const JUMP_AT: usize = 79;
/// Where the script begins in the section.
const SCRIPT: usize = 112;

/// Longest script: far more than anybody writes, far less than a firmware would mind.
const LONGEST: usize = 32 * 1024;

/// Gives `program` the load options `script`. iPXE drops the first word, as it would drop the program's name.
///
/// # Errors
/// [`BadProgram`]: the file is not one that can be changed so, or the script is not ASCII.
pub fn with_load_options(program: &[u8], script: &str) -> Result<Vec<u8>, BadProgram> {
    if !script.is_ascii() || script.is_empty() || script.len() >= LONGEST {
        return Err(BadProgram::Script(script.len()));
    }
    let pe = Headers::read(program)?;
    let wide: Vec<u8> = script.bytes().flat_map(|byte| [byte, 0]).collect();

    let mut section = STUB.to_vec();
    section.resize(SCRIPT, 0);
    section.extend_from_slice(&wide);
    let begin = pe.size_of_image;
    let relative = |target: u32, at: usize| target.wrapping_sub(begin.wrapping_add(at as u32 + 4));
    put(&mut section, SCRIPT_AT, (SCRIPT - SCRIPT_AT - 4) as u32);
    put(&mut section, SIZE_AT, wide.len() as u32);
    put(&mut section, JUMP_AT, relative(pe.entry, JUMP_AT));

    let length = section.len() as u32;
    section.resize(section.len().next_multiple_of(pe.file_alignment as usize), 0);
    let mut file = program.to_vec();
    file.resize(file.len().next_multiple_of(pe.file_alignment as usize), 0);

    let row = pe.table_end;
    file[row..row + 8].copy_from_slice(b".script\0");
    put(&mut file, row + 8, length);
    put(&mut file, row + 12, begin);
    put(&mut file, row + 16, section.len() as u32);
    let place = u32::try_from(file.len()).map_err(|_| BadProgram::NotEfi("it is 4 GiB or larger"))?;
    put(&mut file, row + 20, place);
    // IMAGE_SCN_CNT_CODE, CNT_INITIALIZED_DATA, MEM_EXECUTE, MEM_READ
    put(&mut file, row + 36, 0x6000_0060);
    let sections = pe.sections + 1;
    file[pe.coff + 2..pe.coff + 4].copy_from_slice(&sections.to_le_bytes());
    put(&mut file, pe.optional + 16, begin);
    put(&mut file, pe.optional + 56, (begin + length).next_multiple_of(pe.section_alignment));
    // CheckSum 0: not computed. EFI loaders do not look at it.
    put(&mut file, pe.optional + 64, 0);
    file.append(&mut section);
    Ok(file)
}

/// What is needed from the headers, bounds checked.
struct Headers {
    coff: usize,
    optional: usize,
    sections: u16,
    table_end: usize,
    entry: u32,
    section_alignment: u32,
    file_alignment: u32,
    size_of_image: u32,
}

impl Headers {
    fn read(file: &[u8]) -> Result<Headers, BadProgram> {
        let wrong = BadProgram::NotEfi;
        let word = |at: usize| get(file, at).ok_or(wrong("it ends within its headers"));
        if !file.starts_with(b"MZ") {
            return Err(wrong("it does not begin with MZ"));
        }
        let signature = word(0x3c)? as usize;
        if word(signature)? != u32::from_le_bytes(*b"PE\0\0") {
            return Err(wrong("it has no PE signature"));
        }
        let coff = signature + 4;
        let (machine, sections) = (word(coff)? as u16, (word(coff)? >> 16) as u16);
        let optional = coff + 20;
        if machine != 0x8664 || word(optional)? as u16 != 0x020b {
            return Err(wrong("it is for another processor"));
        }
        if word(optional + 68)? as u16 != 10 {
            return Err(wrong("it is not an EFI application"));
        }
        if word(optional + 108)? > 4 && word(optional + 112 + 4 * 8 + 4)? != 0 {
            return Err(BadProgram::Signed);
        }
        let optional_size = (word(coff + 16)? & 0xffff) as usize;
        let table_end = optional + optional_size + usize::from(sections) * SECTION;
        let free = file.get(table_end..table_end + SECTION).ok_or(BadProgram::Full)?;
        if table_end + SECTION > word(optional + 60)? as usize || free.iter().any(|byte| *byte != 0) {
            return Err(BadProgram::Full);
        }
        let headers = Headers {
            coff,
            optional,
            sections,
            table_end,
            entry: word(optional + 16)?,
            section_alignment: word(optional + 32)?,
            file_alignment: word(optional + 36)?,
            size_of_image: word(optional + 56)?,
        };
        let sane = |alignment: u32| alignment.is_power_of_two() && alignment <= 1 << 16;
        let bounded = headers.size_of_image < 1 << 30
            && headers.size_of_image.is_multiple_of(headers.section_alignment);
        if !sane(headers.section_alignment) || !sane(headers.file_alignment) || !bounded {
            return Err(wrong("its alignments or sizes make no sense"));
        }
        Ok(headers)
    }
}

fn get(file: &[u8], at: usize) -> Option<u32> {
    let bytes = file.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest EFI application: headers and one section of code at 0x1000.
    fn program() -> Vec<u8> {
        let mut file = vec![0; 0x600];
        file[..2].copy_from_slice(b"MZ");
        put(&mut file, 0x3c, 0x40);
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        put(&mut file, 0x44, 0x0001_8664);
        put(&mut file, 0x44 + 16, 0xf0);
        let optional = 0x58;
        for (at, value) in [
            (0, 0x020b),
            (16, 0x1004),
            (32, 0x1000),
            (36, 0x200),
            (56, 0x2000),
            (60, 0x400),
            (68, 10),
            (108, 16),
        ] {
            put(&mut file, optional + at, value);
        }
        let row = optional + 0xf0;
        file[row..row + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x10), (12, 0x1000), (16, 0x200), (20, 0x400), (36, 0x6000_0020)] {
            put(&mut file, row + at, value);
        }
        file
    }

    #[test]
    fn the_new_entry_point_ends_at_the_old_one_and_finds_guid_and_script() {
        let script = "x echo hello\n";
        let file = with_load_options(&program(), script).unwrap();
        let optional = 0x58;
        let entry = get(&file, optional + 16).unwrap();
        assert_eq!(entry, 0x2000);
        let row = optional + 0xf0 + SECTION;
        assert_eq!(&file[row..row + 8], b".script\0");
        let place = get(&file, row + 20).unwrap() as usize;
        let code = &file[place..];
        let jump = get(code, JUMP_AT).unwrap();
        assert_eq!(code[JUMP_AT - 1], 0xe9);
        assert_eq!((entry + JUMP_AT as u32 + 4).wrapping_add(jump), 0x1004);
        let text = SCRIPT_AT + 4 + get(code, SCRIPT_AT).unwrap() as usize;
        let size = get(code, SIZE_AT).unwrap() as usize;
        let units: Vec<u16> =
            code[text..text + size].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(String::from_utf16(&units).unwrap(), script);
        let guid = 25 + get(code, 21).unwrap() as usize;
        assert_eq!(code[guid..guid + 4], 0x5B1B_31A1_u32.to_le_bytes());
        assert_eq!(get(&file, optional + 56), Some(0x3000));
    }

    #[test]
    fn the_program_before_the_new_section_stays_as_it_was() {
        let before = program();
        let after = with_load_options(&before, "x y").unwrap();
        assert_eq!(after[0x400..before.len()], before[0x400..]);
        assert_eq!(after, with_load_options(&before, "x y").unwrap());
    }

    #[test]
    fn a_signed_program_a_full_table_and_other_files_are_refused() {
        let mut signed = program();
        put(&mut signed, 0x58 + 112 + 36, 8);
        assert_eq!(with_load_options(&signed, "x y"), Err(BadProgram::Signed));
        let mut full = program();
        full[0x58 + 0xf0 + SECTION] = 1;
        assert_eq!(with_load_options(&full, "x y"), Err(BadProgram::Full));
        assert!(matches!(with_load_options(b"#!/bin/sh", "x y"), Err(BadProgram::NotEfi(_))));
        assert_eq!(with_load_options(&program(), "\u{e4}"), Err(BadProgram::Script(2)));
    }

    #[test]
    fn a_cut_or_damaged_program_is_an_error_and_not_a_panic() {
        let whole = program();
        for length in 0..whole.len() {
            let _ = with_load_options(&whole[..length], "x y");
        }
        for at in 0..0x200 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = with_load_options(&damaged, "x y");
        }
    }
}
