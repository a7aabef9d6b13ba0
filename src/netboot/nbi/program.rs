//! What the head of a booter says about the firmware that can start it, and whether its end is there.
//!
//! | magic | what | reference |
//! |---|---|---|
//! | `MZ` … `PE\0\0` | one EFI program; machine 0x014c is IA-32, 0x8664 x86-64 | Microsoft PE/COFF 3.3.1, 4 |
//! | b9 fa f1 0e | Apple's fat EFI binary: several of them, found by CPU type | as iPXE's `efifatbin` writes it |
//!
//! Must not know: where the file lies, which models have which firmware.

/// Apple's fat EFI magic 0x0ef1fab9, little endian.
const FAT: [u8; 4] = [0xb9, 0xfa, 0xf1, 0x0e];
/// CPU types of Mach-O (mach/machine.h): i386, and the same with the 64-bit flag.
const CPU_I386: u32 = 7;
const CPU_X86_64: u32 = 0x0100_0007;
const PE_I386: u16 = 0x014c;
const PE_X86_64: u16 = 0x8664;
/// Programs in a fat binary; real ones have two.
const MOST_PROGRAMS: u32 = 16;

/// Width of a Mac's EFI firmware: it starts programs of its own width only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// IA-32, the Intel Macs of 2006 and some of 2007.
    Bits32,
    /// x86-64.
    Bits64,
}

/// A booter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// An EFI program.
    Efi {
        /// 32-bit firmware can start it.
        ia32: bool,
        /// 64-bit firmware can start it.
        x64: bool,
    },
    /// Something else: left to the Mac that asks for it.
    Unknown,
    /// The file ends before the program does: it is being copied, or was cut off.
    Cut {
        /// Where the program ends.
        need: u64,
    },
}

impl Program {
    /// Bytes of a file that are enough to judge it.
    pub const HEAD: usize = 4096;

    /// Judges a file by its first bytes and its size.
    pub fn of(head: &[u8], size: u64) -> Program {
        if head.starts_with(&FAT) { fat(head, size) } else { portable(head, size) }
    }

    /// Whether firmware of this width may be given the program. What is unknown is not ruled out.
    pub fn starts_on(self, width: Width) -> bool {
        match (self, width) {
            (Program::Efi { ia32, .. }, Width::Bits32) => ia32,
            (Program::Efi { x64, .. }, Width::Bits64) => x64,
            (Program::Unknown, _) => true,
            (Program::Cut { .. }, _) => false,
        }
    }
}

fn fat(head: &[u8], size: u64) -> Program {
    let Some(count) = long(head, 4).filter(|count| (1..=MOST_PROGRAMS).contains(count)) else {
        return Program::Unknown;
    };
    let (mut ia32, mut x64, mut need) = (false, false, 0);
    for at in (0..count as usize).map(|index| 8 + index * 20) {
        let (Some(cpu), Some(offset), Some(length)) =
            (long(head, at), long(head, at + 8), long(head, at + 12))
        else {
            return Program::Unknown;
        };
        ia32 |= cpu == CPU_I386;
        x64 |= cpu == CPU_X86_64;
        need = need.max(u64::from(offset) + u64::from(length));
    }
    if need > size { Program::Cut { need } } else { Program::Efi { ia32, x64 } }
}

fn portable(head: &[u8], size: u64) -> Program {
    let at = long(head, 0x3c).filter(|_| head.starts_with(b"MZ")).map(|at| at as usize);
    let Some(at) = at.filter(|at| at.checked_add(4).is_some_and(|end| head.get(*at..end) == Some(b"PE\0\0")))
    else {
        return Program::Unknown;
    };
    let (Some(machine), Some(sections), Some(optional)) =
        (short(head, at + 4), short(head, at + 6), short(head, at + 20))
    else {
        return Program::Unknown;
    };
    // Section headers have 40 bytes; SizeOfRawData and PointerToRawData are at 16 and 20 (PE/COFF section 4).
    let table = at + 24 + usize::from(optional);
    let ends = (0..usize::from(sections)).map_while(|index| {
        let (length, offset) = (long(head, table + index * 40 + 16)?, long(head, table + index * 40 + 20)?);
        Some(if length == 0 { 0 } else { u64::from(offset) + u64::from(length) })
    });
    let need = ends.max().unwrap_or(0);
    match machine {
        _ if need > size => Program::Cut { need },
        PE_I386 => Program::Efi { ia32: true, x64: false },
        PE_X86_64 => Program::Efi { ia32: false, x64: true },
        _ => Program::Efi { ia32: false, x64: false },
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_le_bytes)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    two.try_into().ok().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A PE with one section that ends at byte 0x300.
    fn pe(machine: u16) -> Vec<u8> {
        let mut head = vec![0; 0x300];
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x80;
        head[0x80..0x84].copy_from_slice(b"PE\0\0");
        head[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
        head[0x86] = 1;
        head[0x94] = 0xf0;
        let section = 0x80 + 24 + 0xf0;
        head[section + 16..section + 20].copy_from_slice(&0x100_u32.to_le_bytes());
        head[section + 20..section + 24].copy_from_slice(&0x200_u32.to_le_bytes());
        head
    }

    fn fat_of(cpus: &[u32]) -> Vec<u8> {
        let mut head = FAT.to_vec();
        head.extend((cpus.len() as u32).to_le_bytes());
        for cpu in cpus {
            for word in [*cpu, 3, 0x100, 0x200, 0] {
                head.extend(word.to_le_bytes());
            }
        }
        head.resize(0x300, 0);
        head
    }

    #[test]
    fn the_machine_field_tells_which_firmware_can_start_it() {
        let of = |bytes: &[u8]| Program::of(bytes, 0x300);
        assert_eq!(of(&pe(PE_X86_64)), Program::Efi { ia32: false, x64: true });
        assert_eq!(of(&pe(PE_I386)), Program::Efi { ia32: true, x64: false });
        assert_eq!(of(&fat_of(&[CPU_I386, CPU_X86_64])), Program::Efi { ia32: true, x64: true });
        assert_eq!(of(b"#!ipxe"), Program::Unknown);
        assert!(Program::Unknown.starts_on(Width::Bits32) && !of(&pe(PE_X86_64)).starts_on(Width::Bits32));
    }

    #[test]
    fn a_program_whose_end_is_missing_is_recognised() {
        assert_eq!(Program::of(&pe(PE_X86_64), 0x2ff), Program::Cut { need: 0x300 });
        assert_eq!(Program::of(&fat_of(&[CPU_I386]), 0x2ff), Program::Cut { need: 0x300 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..3_u8, size: u64,
        ) {
            let magic: &[u8] = match kind { 0 => b"", 1 => b"MZ", _ => &FAT };
            let length = magic.len().min(bytes.len());
            bytes[..length].copy_from_slice(&magic[..length]);
            if let Program::Cut { need } = Program::of(&bytes, size) {
                prop_assert!(need > size);
            }
        }
    }
}
