//! What is taken from which Debian package: data, no code that decides.
//!
//! Owns: names of packages, suites, files, kernel modules, applets. Must not know: how they are fetched or packed.

/// Debian suites that packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// Debian 12 with its security updates: everything that runs in the boot environment.
    Bookworm,
    /// Debian 13, for iPXE alone: Debian 12 has one of 2019, which does not run its command line as a script
    /// (added upstream in 2023) and is slower to start.
    Trixie,
}

impl Suite {
    /// Name on a mirror.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
        }
    }

    /// Components that hold what we take.
    pub const fn components(self) -> &'static str {
        match self {
            Suite::Bookworm => "main non-free-firmware",
            Suite::Trixie => "main",
        }
    }
}

/// Depends on the newest kernel package of its suite.
pub const KERNEL: &str = "linux-image-amd64";

/// Firmware of network adapters. Only the files that chosen modules name are taken.
pub const FIRMWARE: &[&str] = &["firmware-misc-nonfree", "firmware-realtek", "firmware-brcm80211"];

/// Programs: package, path in the package, path in the initramfs. Libraries follow from the programs.
pub const PROGRAMS: &[(&str, &str, &str)] = &[
    ("busybox-static", "bin/busybox", "bin/busybox"),
    ("dosfstools", "sbin/mkfs.fat", "sbin/mkfs.fat"),
    ("exfatprogs", "usr/sbin/mkfs.exfat", "sbin/mkfs.exfat"),
    ("apfsprogs", "usr/sbin/mkapfs", "sbin/mkapfs"),
    ("kbd", "bin/setfont", "sbin/setfont"),
];

/// `loadkeys`, keyboard layouts, fonts.
pub const CONSOLE_PACKAGES: [&str; 3] = ["kbd", "console-data", "console-setup-linux"];

/// Keyboard layouts: what they are called here, and Debian's map of a Mac's keyboard. Without dead keys where there is a choice:
/// passwords are typed.
pub const KEYMAPS: &[(&str, &str)] = &[
    ("us", "qwerty/mac-usb-us.kmap.gz"),
    ("gb", "qwerty/mac-usb-uk.kmap.gz"),
    ("de", "qwertz/mac-usb-de-latin1-nodeadkeys.kmap.gz"),
    ("fr", "azerty/mac-usb-fr.kmap.gz"),
    ("ch-de", "qwertz/mac-usb-de_CH.kmap.gz"),
    ("ch-fr", "qwertz/mac-usb-fr_CH-latin1.kmap.gz"),
];

/// Fonts of the console, by the height of their letters; `boot/init` chooses by the size of the screen.
pub const CONSOLE_FONTS: &[&str] = &["Uni2-Terminus16", "Uni2-Terminus24x12", "Uni2-Terminus32x16"];

/// Files that programs read when they run: package, path in the package and in the initramfs. mkfs.fat writes volume
/// labels in code page 850, which libc converts with a module.
pub const FILES: &[(&str, &str)] = &[
    ("libc6", "usr/lib/x86_64-linux-gnu/gconv/IBM850.so"),
    ("libc6", "usr/lib/x86_64-linux-gnu/gconv/gconv-modules"),
    ("libc6", "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/gconv-modules-extra.conf"),
];

/// Packages of the libraries that [`PROGRAMS`] need.
pub const LIBRARIES: &[&str] = &["libc6"];

/// SSH server: in the boot environment when keys are given, for sticks always in a file of its own.
pub const SSH_PROGRAMS: &[(&str, &str, &str)] = &[
    ("dropbear-bin", "usr/sbin/dropbear", "sbin/dropbear"),
    ("dropbear-bin", "usr/bin/dropbearkey", "bin/dropbearkey"),
];

/// Packages of the libraries that [`SSH_PROGRAMS`] need.
pub const SSH_LIBRARIES: &[&str] = &["libcrypt1", "libtomcrypt1", "libtommath1", "libgmp10", "zlib1g"];

/// Joins wireless networks: for sticks, in a file of its own.
pub const WIFI_PROGRAMS: &[(&str, &str, &str)] =
    &[("wpasupplicant", "sbin/wpa_supplicant", "sbin/wpa_supplicant")];

/// Packages of the libraries that [`WIFI_PROGRAMS`] need.
pub const WIFI_LIBRARIES: &[&str] = &[
    "libssl3",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libnl-route-3-200",
    "libpcsclite1",
    "libdbus-1-3",
    "libsystemd0",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libzstd1",
];

/// What the law allows radios in each country: package, path in the package, path in the initramfs. Without it the
/// kernel allows what is allowed everywhere.
pub const WIFI_FILES: &[(&str, &str, &str)] = &[
    ("wireless-regdb", "lib/firmware/regulatory.db-debian", "lib/firmware/regulatory.db"),
    ("wireless-regdb", "lib/firmware/regulatory.db.p7s-debian", "lib/firmware/regulatory.db.p7s"),
];

/// Wireless adapters of Macs that Debian has driver and firmware for, and what the kernel encrypts with where the
/// adapter does not. BCM4331, BCM4360 and their kin (most Macs of 2011-2015) have none.
pub const WIFI_MODULES: &[&str] = &["brcmfmac", "brcmsmac", "ath9k", "ath5k", "ccm", "ctr", "cmac", "gcm"];

/// GRUB: the program that makes an image, and modules for 64-bit and for 32-bit EFI.
pub const GRUB: &str = "grub-common";
/// See [`GRUB`].
pub const GRUB_MODULES: [&str; 2] = ["grub-efi-amd64-bin", "grub-efi-ia32-bin"];
/// Packages of the libraries that `grub-mkimage` needs.
pub const GRUB_LIBRARIES: &[&str] =
    &["libc6", "liblzma5", "libdevmapper1.02.1", "libselinux1", "libudev1", "libpcre2-8-0"];

/// Programs in iPXE's package for other machines, and their place in the boot folder. They have no script of ours: the
/// server knows iPXE by its user class and gives it one.
pub const OTHER_IPXE: &[(&str, &str)] = &[
    ("usr/lib/ipxe/undionly.kpxe", "ipxe/undionly.kpxe"),
    ("usr/lib/ipxe/ipxe-arm64.efi", "ipxe/snponly-arm64.efi"),
];

/// iPXE, and the program in it that uses the firmware's own network driver: on a Mac the only one that drives every
/// adapter that the firmware can start from.
pub const IPXE: (&str, &str) = ("ipxe", "usr/lib/ipxe/snponly.efi");

/// Modules that must go along: a kernel that lacks one of them is refused.
pub const MODULES: &[&str] = &[
    // Ethernet: in Macs and their Thunderbolt adapters (tg3, sky2, forcedeth, e1000e, igb, atlantic), USB adapters.
    "tg3",
    "sky2",
    "forcedeth",
    "e1000e",
    "e1000",
    "igb",
    "igc",
    "ixgbe",
    "atlantic",
    "r8169",
    "r8152",
    "ax88179_178a",
    "asix",
    "aqc111",
    "cdc_ether",
    "cdc_ncm",
    "thunderbolt",
    "thunderbolt_net",
    // VLANs, for the runner's network page.
    "8021q",
    // Disks and the buses that they sit on.
    "nvme",
    "ahci",
    "ata_piix",
    "sd_mod",
    "usb_storage",
    "uas",
    "firewire_ohci",
    "firewire_sbp2",
    "xhci_pci",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    // Keyboards and trackpads. From 2015 on they sit on SPI behind Intel's LPSS.
    "usbhid",
    "hid_generic",
    "hid_apple",
    "applespi",
    "intel_lpss_pci",
    "spi_pxa2xx_platform",
    "bcm5974",
    "appletouch",
    // File systems and firmware variables.
    "hfsplus",
    "exfat",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "efivarfs",
    "loop",
    // SMB shares, for Capture Image, and what SMB 3 signs and encrypts with: it is asked for by other names than its files have.
    "cifs",
    "sha512_generic",
    "cmac",
    "ccm",
    "gcm",
    "ctr",
    "ghash_generic",
];

/// Modules that go along where the kernel has them. Debian 12 has no simpledrm: its built-in efifb draws instead.
pub const OPTIONAL_MODULES: &[&str] = &[
    "simpledrm",
    "hid_magicmouse",
    "hid_appleir",
    "applesmc",
    // Virtual machines.
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "vmxnet3",
];

/// Commands of busybox that get a name of their own.
pub const APPLETS: &[&str] = &[
    "ash",
    "awk",
    "basename",
    "blkdiscard",
    "blockdev",
    "cat",
    "chmod",
    "chown",
    "chroot",
    "clear",
    "cmp",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "dmesg",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "fdisk",
    "find",
    "free",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "hostname",
    "hwclock",
    "id",
    "ifconfig",
    "insmod",
    "ip",
    "kill",
    "killall",
    "less",
    "ln",
    "loadkmap",
    "losetup",
    "ls",
    "lsmod",
    "md5sum",
    "mkdir",
    "mknod",
    "mktemp",
    "mount",
    "mv",
    "nc",
    "nslookup",
    "od",
    "ping",
    "pidof",
    "poweroff",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "reboot",
    "reset",
    "rm",
    "rmdir",
    "sed",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "strings",
    "stty",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "top",
    "touch",
    "tr",
    "true",
    "umount",
    "vi",
    "wget",
];

/// Commands of busybox that stand in `/sbin`: the kernel itself calls `/sbin/modprobe`.
pub const SBIN_APPLETS: &[&str] = &["modprobe", "rmmod", "udhcpc", "uevent", "getty"];
