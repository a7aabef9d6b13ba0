//! What is known of each Mac by its model identifier: name, years, firmware, processor, and how it can be imaged.
//!
//! Owns: the facts ([`table`]) and what follows from them. Must not know: how a Mac asks, what is deployed.
//! A model that is not in the table is unknown; nothing is derived from the look of an identifier.

mod table;

use std::cmp::Ordering;

use serde::Serialize;

/// What a Mac's firmware is, so what it can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// EFI 1.10 of 32 bits: starts 32-bit EFI programs only.
    Efi32,
    /// EFI of 64 bits.
    Efi64,
    /// Apple's boot loader of Apple silicon: starts nothing from the network.
    Iboot,
}

/// The chip that decides what the firmware may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Nobody: the firmware starts what it finds.
    Nothing,
    /// The T2 of Intel Macs from the end of 2017 on. No NetBoot, whatever its security level.
    T2,
    /// Apple silicon.
    AppleSilicon,
}

/// The way to image a Mac.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Imaging {
    /// Power on with N held.
    NKey,
    /// N starts Apple's own NetBoot sets; a 64-bit Linux kernel cannot run.
    AppleSets,
    /// From a USB stick, after starting up from external media was allowed.
    Usb,
    /// Not by a disk image: DFU restore, Erase All Content and Settings, or the macOS installer.
    AppleTools,
}

/// One Mac, as identified by Apple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Model {
    /// `MacBookPro11,1`: SMBIOS product name, last part of BSDP's option 60, `hw.model`.
    pub identifier: &'static str,
    /// What Apple sells it as. Several machines under one identifier are all named.
    pub name: &'static str,
    /// The first and the last year in which a machine of this identifier came out.
    pub years: (u16, u16),
    /// What the firmware is.
    pub firmware: Firmware,
    /// Width of the processor in bits.
    pub processor_bits: u8,
    /// What guards the start.
    pub guard: Guard,
    /// The last macOS that Apple supports on it, where there will be no newer one.
    pub newest_macos: Option<&'static str>,
    /// Where the row was read.
    pub source: &'static str,
    /// What of the row could not be confirmed by a document or a report.
    pub unconfirmed: Option<&'static str>,
}

/// The Mac with exactly this identifier.
pub fn by_identifier(identifier: &str) -> Option<&'static Model> {
    let wanted = parts(identifier)?;
    let row = table::MODELS.binary_search_by(|model| match parts(model.identifier) {
        Some(own) => own.cmp(&wanted),
        None => Ordering::Less,
    });
    // `MacBook01,1` has the same parts and is no identifier.
    row.ok().map(|row| &table::MODELS[row]).filter(|model| model.identifier == identifier)
}

/// Every Mac, by family and number.
pub fn all() -> &'static [Model] {
    table::MODELS
}

/// Macs whose identifier or name has all words of `text`, in any case.
pub fn search(text: &str) -> impl Iterator<Item = &'static Model> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    table::MODELS.iter().filter(move |model| {
        let of_model = format!("{} {}", model.identifier, model.name).to_lowercase();
        !words.is_empty() && words.iter().all(|word| of_model.contains(word))
    })
}

/// `MacBookPro11,1` as (`MacBookPro`, 11, 1): the order of the table.
fn parts(identifier: &str) -> Option<(&str, u16, u16)> {
    let digits = identifier.find(|c: char| c.is_ascii_digit())?;
    let (family, numbers) = identifier.split_at(digits);
    let (major, minor) = numbers.split_once(',')?;
    Some((family, major.parse().ok()?, minor.parse().ok()?))
}

impl Model {
    /// How this Mac can be imaged.
    pub fn imaging(&self) -> Imaging {
        match (self.guard, self.processor_bits) {
            (Guard::AppleSilicon, _) => Imaging::AppleTools,
            (Guard::T2, _) => Imaging::Usb,
            (Guard::Nothing, 64) => Imaging::NKey,
            (Guard::Nothing, _) => Imaging::AppleSets,
        }
    }

    /// Why this Mac cannot run our boot environment from the network, or `None` if it can.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self.imaging() {
            Imaging::NKey => None,
            Imaging::AppleSets => Some("its processor has 32 bits, and the boot environment needs 64"),
            Imaging::Usb => Some("its T2 chip starts nothing from the network; use the USB stick"),
            Imaging::AppleTools => Some("Apple silicon starts nothing from the network"),
        }
    }
}

impl Imaging {
    /// What to do, step by step.
    pub fn steps(self) -> &'static [&'static str] {
        match self {
            Imaging::NKey => &[
                "connect it by Ethernet; without a port, by Apple's Thunderbolt or USB Ethernet adapter",
                "power on and hold N until the globe shows, or hold Option and choose the network volume",
            ],
            Imaging::AppleSets => &[
                "its 32-bit processor cannot run Rootstock's boot environment",
                "Apple's own NetBoot sets that name it start with N held",
                "otherwise start it in target disk mode (hold T) and restore from another Mac",
            ],
            // Apple Support 102522, Startup Security Utility.
            Imaging::Usb => &[
                "the T2 chip never starts from the network: use the stick of `rootstock media usb`",
                "power on with Command-R held, then Utilities > Startup Security Utility",
                "choose No Security, and Allow booting from external or removable media",
                "attach a USB keyboard: Linux does not see the built-in one of portables",
                "power on with Option held and choose the stick",
            ],
            // Apple Support 108900, 102664, 101578.
            Imaging::AppleTools => &[
                "Apple silicon starts only what Apple signed: no disk image can be written to it",
                "with macOS on it: Erase All Content and Settings",
                "without: DFU mode and Restore in Finder or Apple Configurator on another Mac",
                "or the macOS installer from a USB stick; set it up by device management",
            ],
        }
    }

    /// In a few words.
    pub fn in_words(self) -> &'static str {
        match self {
            Imaging::NKey => "N key",
            Imaging::AppleSets => "Apple's NetBoot sets only",
            Imaging::Usb => "USB stick",
            Imaging::AppleTools => "Apple's tools: Erase All Content, DFU restore, installer",
        }
    }
}

impl Firmware {
    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Firmware::Efi32 => "EFI, 32 bits",
            Firmware::Efi64 => "EFI, 64 bits",
            Firmware::Iboot => "iBoot",
        }
    }
}

impl Guard {
    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Guard::Nothing => "none",
            Guard::T2 => "Apple T2",
            Guard::AppleSilicon => "Apple silicon",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_family_and_number_without_duplicates() {
        for pair in all().windows(2) {
            let of = |row: usize| parts(pair[row].identifier).unwrap();
            assert!(of(0) < of(1), "{} before {}", pair[0].identifier, pair[1].identifier);
        }
    }

    #[test]
    fn every_row_is_found_by_its_identifier_and_nothing_else_is() {
        for model in all() {
            assert_eq!(by_identifier(model.identifier), Some(model));
        }
        for unknown in ["", "iMac", "iMac99,1", "MacBook01,1", "imac4,1", "iMac4,1 ", "PowerMac3,1", "iMac4,"]
        {
            assert_eq!(by_identifier(unknown), None, "{unknown}");
        }
        assert_eq!(by_identifier("VirtualMac2,1"), None, "a virtual machine is no model of this table");
    }

    #[test]
    fn the_t2_macs_are_those_of_apple_support_103265() {
        let t2: Vec<_> = all().iter().filter(|m| m.guard == Guard::T2).map(|m| m.identifier).collect();
        let expected = "MacBookAir8,1 MacBookAir8,2 MacBookAir9,1 MacBookPro15,1 MacBookPro15,2 MacBookPro15,3 \
                        MacBookPro15,4 MacBookPro16,1 MacBookPro16,2 MacBookPro16,3 MacBookPro16,4 MacPro7,1 \
                        Macmini8,1 iMac20,1 iMac20,2 iMacPro1,1";
        assert_eq!(t2, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn the_32_bit_firmwares_are_those_of_2006_and_their_successors_of_early_2007() {
        let efi32: Vec<_> =
            all().iter().filter(|m| m.firmware == Firmware::Efi32).map(|m| m.identifier).collect();
        let expected = "MacBook1,1 MacBook2,1 MacBookPro1,1 MacBookPro1,2 MacBookPro2,1 MacBookPro2,2 \
                        MacPro1,1 MacPro2,1 Macmini1,1 Macmini2,1 Xserve1,1 iMac4,1 iMac4,2 iMac5,1 iMac5,2 \
                        iMac6,1";
        assert_eq!(efi32, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_32_bit_processor_stands_behind_a_32_bit_firmware_of_2006() {
        let narrow: Vec<_> = all().iter().filter(|m| m.processor_bits == 32).collect();
        let names: Vec<_> = narrow.iter().map(|m| m.identifier).collect();
        assert_eq!(
            names,
            ["MacBook1,1", "MacBookPro1,1", "MacBookPro1,2", "Macmini1,1", "iMac4,1", "iMac4,2"]
        );
        assert!(narrow.iter().all(|m| m.firmware == Firmware::Efi32 && m.years == (2006, 2006)));
    }

    #[test]
    fn every_way_to_image_has_steps_and_only_the_n_key_has_no_obstacle() {
        for (identifier, way) in [
            ("iMac4,1", Imaging::AppleSets),
            ("iMac5,1", Imaging::NKey),
            ("iMac19,1", Imaging::NKey),
            ("MacBookPro14,3", Imaging::NKey),
            ("MacBookPro15,1", Imaging::Usb),
            ("Mac14,2", Imaging::AppleTools),
        ] {
            let model = by_identifier(identifier).unwrap();
            assert_eq!((model.imaging(), model.obstacle().is_none()), (way, way == Imaging::NKey));
            assert!(!way.steps().is_empty());
        }
    }

    #[test]
    fn years_are_in_order_and_agree_with_the_chip() {
        for model in all() {
            let (first, last) = model.years;
            assert!(first <= last && first >= 2006, "{}", model.identifier);
            assert!(model.guard != Guard::AppleSilicon || first >= 2020, "{}", model.identifier);
            assert!(
                model.guard == Guard::AppleSilicon || model.newest_macos.is_some(),
                "{}",
                model.identifier
            );
            assert_eq!(model.guard == Guard::AppleSilicon, model.firmware == Firmware::Iboot);
            assert!(model.name.contains(&first.to_string()), "{}: {}", model.identifier, model.name);
        }
    }

    #[test]
    fn a_search_finds_by_words_of_the_name_in_any_case() {
        let found: Vec<_> = search("mini LATE 2014").map(|m| m.identifier).collect();
        assert_eq!(found, ["Macmini7,1"]);
        assert_eq!(search("  ").count(), 0);
        assert!(search("macbookpro11").count() == 5);
    }
}
