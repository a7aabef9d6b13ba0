//! All boot files: from packages and the appliance's own facts into the boot folder.
//!
//! Owns: which files the folder gets, the `.nbi`, the script in iPXE. Must not know: how they are served, how a set takes
//! another's place.
//!
//! | in the boot folder | what | who fetches it |
//! |---|---|---|
//! | `vmlinuz`, `initramfs.cpio.zst` | kernel and boot environment, see [`crate::media::folder`] | iPXE, GRUB |
//! | `rootstock.nbi/NBImageInfo.plist` | what the boot set is (reference: Apple's NetBoot sets) | BSDP server |
//! | `rootstock.nbi/i386/booter` | iPXE with our script | a Mac's firmware, by TFTP |
//! | `rootstock.nbi/i386/booter-ia32` | GRUB with the appliance's address | the same of 2006 and 2007 |
//! | `ipxe/snponly.efi`, `ipxe/snponly-ia32.efi` | the same two files | PXE and HTTP boot of other machines |
//! | `ipxe/undionly.kpxe`, `ipxe/snponly-arm64.efi` | iPXE as Debian has it, for BIOS and ARM | PXE |
//! | `grub/ia32.cfg` | kernel and its arguments | GRUB of 32-bit EFI |
//! | `usb/` | what sticks have beside kernel and boot environment | `rootstock media usb` |
//! | `contents.json` | versions and digests of all of it | people, `rootstock media usb` |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::media::apt::{AptError, Archive, Package};
use crate::media::console::{self, ConsoleError};
use crate::media::cpio::Tree;
use crate::media::efi::{BadProgram, with_load_options};
use crate::media::folder::{self, File, FolderError};
use crate::media::grub::{self, GrubError, Platform, Tools};
use crate::media::initramfs::{
    Initramfs, InitramfsError, Own, Unpacked, compose, ssh_addition, static_program, wifi_addition,
};
use crate::media::packages::{
    CONSOLE_PACKAGES, FIRMWARE, GRUB, GRUB_LIBRARIES, GRUB_MODULES, IPXE, KERNEL, LIBRARIES, OTHER_IPXE,
    PROGRAMS, SSH_LIBRARIES, SSH_PROGRAMS, Suite, WIFI_FILES, WIFI_LIBRARIES, WIFI_PROGRAMS,
};
use crate::media::server::Server;
use crate::netboot::arguments::KernelArguments;

/// The list of what was made: written last.
pub const CONTENTS: &str = "contents.json";

/// zstd level of the initramfs: higher ones take minutes and save less than one in a hundred.
const LEVEL: i32 = 15;

/// Why boot files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The appliance has no authority yet.
    #[error("{} is missing: start rootstockd once with this data folder, it makes its certificates", .0.display())]
    NoAuthority(PathBuf),
    /// Packages.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The boot environment.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    /// The boot folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// GRUB.
    #[error(transparent)]
    Grub(#[from] GrubError),
    /// Keyboard layouts and fonts.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// iPXE cannot be changed.
    #[error("iPXE from package {package} cannot be given our script")]
    Ipxe {
        /// Name and version.
        package: String,
        /// Why.
        #[source]
        source: BadProgram,
    },
    /// iPXE of this package does not read load options.
    #[error("iPXE from package {0} does not run its command line as a script; it is older than 2023")]
    OldIpxe(String),
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Data folder of the appliance: has `keys/ca.pem`, gets `boot`.
    pub data: PathBuf,
    /// Folder for packages.
    pub cache: PathBuf,
    /// Debian mirror.
    pub mirror: String,
    /// Use what the cache knows, ask nobody.
    pub offline: bool,
    /// Addresses that are baked in.
    pub server: Server,
    /// The static runner.
    pub runner: PathBuf,
    /// NTP servers, may be empty.
    pub ntp_servers: Vec<String>,
    /// `authorized_keys`; none: no SSH.
    pub ssh_keys: Option<String>,
    /// Further kernel arguments where no script of the server gives them: 32-bit EFI.
    pub arguments: KernelArguments,
}

/// Which packages are taken, in which version: all that is decided before the first download.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// From Debian 12: the kernel first, then firmware, then the rest.
    pub bookworm: Vec<Package>,
    /// From Debian 13.
    pub trixie: Vec<Package>,
    /// Bytes yet to be downloaded.
    pub download: u64,
}

/// One file of the boot folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Path below the boot folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: String,
}

/// What was made, for people and as `contents.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// Kernel release.
    pub kernel: String,
    /// Number of kernel modules.
    pub modules: usize,
    /// Modules that this kernel does not have, and that machines can do without.
    pub modules_absent: Vec<String>,
    /// Firmware that a module names and Debian does not have.
    pub firmware_absent: Vec<String>,
    /// Whether an SSH server is in it.
    pub ssh: bool,
    /// Baked-in address.
    pub server: String,
    /// Files.
    pub files: Vec<Made>,
    /// Packages.
    pub packages: Vec<Package>,
}

/// Finds out what is current and what has to be downloaded. `say` gets a line for each thing that takes time.
///
/// # Errors
/// [`BootError`]
pub fn plan(request: &Request, archive: &Archive, say: &mut dyn FnMut(&str)) -> Result<Plan, BootError> {
    // What is missing here is told before anything is fetched.
    own(request)?;
    for suite in [Suite::Bookworm, Suite::Trixie] {
        if !request.offline {
            say(&format!("fetching the package lists of Debian {}", suite.name()));
            archive.update(suite)?;
        }
    }
    let kernel = archive.behind(Suite::Bookworm, KERNEL)?;
    let mut names = vec![kernel.as_str()];
    names.extend(FIRMWARE);
    names.extend(PROGRAMS.iter().map(|(package, ..)| package));
    names.extend(LIBRARIES);
    names.extend(SSH_PROGRAMS.iter().chain(WIFI_PROGRAMS).map(|(package, ..)| package));
    names.extend(SSH_LIBRARIES);
    names.extend(WIFI_LIBRARIES);
    names.extend(WIFI_FILES.iter().map(|(package, ..)| package));
    names.extend_from_slice(&CONSOLE_PACKAGES);
    names.push(GRUB);
    names.extend(GRUB_MODULES);
    names.extend(GRUB_LIBRARIES);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let bookworm = archive.resolve(Suite::Bookworm, &names)?;
    let trixie = archive.resolve(Suite::Trixie, &[IPXE.0])?;
    let missing = bookworm.iter().chain(&trixie).filter(|package| archive.lacks(package));
    let download = missing.map(|package| package.size).sum();
    Ok(Plan { bookworm, trixie, download })
}

/// Makes all boot files as planned.
///
/// # Errors
/// [`BootError`]; the boot folder then has what it had before, or whole files of both.
pub fn build(
    request: &Request,
    archive: &Archive,
    plan: &Plan,
    say: &mut dyn FnMut(&str),
) -> Result<Contents, BootError> {
    let own = own(request)?;
    say("downloading and unpacking packages");
    let (unpacked, ipxe) = fetch(archive, plan)?;
    let mut files = loaders(request, &ipxe, &plan.trixie[0], &tools(&unpacked))?;
    say("composing and compressing the boot environment");
    let own = Own { console: console::files(&console_tools(&unpacked), &request.cache)?, ..own };
    let Initramfs { tree, release, modules, absent, firmware_absent } = compose(&unpacked, &own)?;
    let kernel = read(&unpacked.kernel.join(format!("boot/vmlinuz-{release}")))?;
    let packed =
        |tree: &Tree| compress(tree).map_err(|source| BootError::File { path: request.data.clone(), source });
    let (kernel_name, initramfs_name) = ("vmlinuz", "initramfs.cpio.zst");
    let pair = [(kernel_name.to_owned(), kernel), (initramfs_name.to_owned(), packed(&tree)?)];
    files.push(("usb/ssh.cpio.zst".into(), packed(&ssh_addition(&tree, &unpacked)?)?));
    files.push(("usb/wifi.cpio.zst".into(), packed(&wifi_addition(&tree, &unpacked)?)?));
    let place = folder::pair_name(&pair);
    let [kernel, initramfs] = [kernel_name, initramfs_name].map(|name| format!("{place}/{name}"));
    files.push((
        "grub/ia32.cfg".into(),
        grub::network_menu(&request.server, &request.arguments, &kernel, &initramfs),
    ));
    // The plist makes the set visible to BSDP clients: it comes last.
    files.push(("rootstock.nbi/NBImageInfo.plist".into(), image_info()));

    let boot = request.data.join("boot");
    folder::publish(&boot, &pair, &files)?;
    archive.forget_older(plan.bookworm.iter().chain(&plan.trixie))?;
    let contents = Contents {
        kernel: release,
        modules,
        modules_absent: absent,
        firmware_absent,
        ssh: own.ssh_keys.is_some(),
        server: own.server,
        files: pair.iter().chain(&files).map(made).collect(),
        packages: plan.bookworm.iter().chain(&plan.trixie).cloned().collect(),
    };
    let text = serde_json::to_vec_pretty(&contents).map_err(io::Error::from);
    let path = boot.join(CONTENTS);
    folder::replace(&path, &text.map_err(|source| BootError::File { path: path.clone(), source })?)?;
    Ok(contents)
}

fn made((path, bytes): &File) -> Made {
    Made { path: path.clone(), size: bytes.len() as u64, sha256: sha256(bytes) }
}

/// The programs that firmware starts.
fn loaders(request: &Request, ipxe: &Path, package: &Package, tools: &Tools) -> Result<Vec<File>, BootError> {
    let booter = booter(&ipxe.join(IPXE.1), package, &request.server)?;
    let ia32 = grub::network(tools, &request.server, &request.cache)?;
    let mut files = Vec::new();
    for (from, to) in OTHER_IPXE {
        files.push((to.to_string(), read(&ipxe.join(from))?));
    }
    for (path, platform) in [("usb/BOOTX64.EFI", Platform::X64), ("usb/BOOTIA32.EFI", Platform::Ia32)] {
        files.push((path.to_owned(), grub::stick(tools, platform, &request.cache)?));
    }
    for (path, bytes) in [("ipxe/snponly.efi", &booter), ("rootstock.nbi/i386/booter", &booter)] {
        files.push((path.to_owned(), bytes.clone()));
    }
    for (path, bytes) in [("ipxe/snponly-ia32.efi", &ia32), ("rootstock.nbi/i386/booter-ia32", &ia32)] {
        files.push((path.to_owned(), bytes.clone()));
    }
    Ok(files)
}

fn folder_of(unpacked: &Unpacked, name: &str) -> PathBuf {
    let found = unpacked.others.iter().find(|(package, _)| package == name);
    found.map(|(_, folder)| folder.clone()).unwrap_or_default()
}

/// Folders of the packages that keyboard layouts and fonts come from.
fn console_tools(unpacked: &Unpacked) -> console::Tools {
    console::Tools {
        packages: CONSOLE_PACKAGES.map(|name| folder_of(unpacked, name)),
        libraries: LIBRARIES.iter().map(|name| folder_of(unpacked, name)).collect(),
    }
}

/// Folders of the packages that GRUB is made with.
fn tools(unpacked: &Unpacked) -> Tools {
    let folder = |name: &str| folder_of(unpacked, name);
    Tools {
        common: folder(GRUB),
        modules: GRUB_MODULES.map(folder),
        libraries: GRUB_LIBRARIES.iter().map(|name| folder(name)).collect(),
    }
}

/// What goes along from this appliance.
fn own(request: &Request) -> Result<Own, BootError> {
    let authority = request.data.join("keys/ca.pem");
    if !authority.exists() {
        return Err(BootError::NoAuthority(authority));
    }
    Ok(Own {
        runner: static_program(&request.runner)?,
        ca: read(&authority)?,
        server: request.server.https(),
        ntp_servers: request.ntp_servers.clone(),
        ssh_keys: request.ssh_keys.clone(),
        console: Vec::new(),
    })
}

fn fetch(archive: &Archive, plan: &Plan) -> Result<(Unpacked, PathBuf), BootError> {
    archive.download(Suite::Bookworm, &plan.bookworm)?;
    archive.download(Suite::Trixie, &plan.trixie)?;
    let mut unpacked = Unpacked::default();
    for (index, package) in plan.bookworm.iter().enumerate() {
        let folder = archive.unpack(package)?;
        match index {
            0 => unpacked.kernel = folder,
            _ if FIRMWARE.contains(&package.name.as_str()) => unpacked.firmware.push(folder),
            _ => unpacked.others.push((package.name.clone(), folder)),
        }
    }
    Ok((unpacked, archive.unpack(&plan.trixie[0])?))
}

/// iPXE with a script that leads to this appliance.
fn booter(ipxe: &Path, package: &Package, server: &Server) -> Result<Vec<u8>, BootError> {
    let name = || format!("{} {}", package.name, package.version);
    let program = read(ipxe)?;
    // Name of the image that iPXE makes of its command line (interface/efi/efi_cmdline.c).
    if !program.windows(9).any(|window| window == b"<CMDLINE>") {
        return Err(BootError::OldIpxe(name()));
    }
    let script = include_str!("../../boot/ipxe/embedded.ipxe").replace("{base}", &server.http());
    // The first word is dropped as the program's name.
    with_load_options(&program, &format!("snponly.efi {script}"))
        .map_err(|source| BootError::Ipxe { package: name(), source })
}

fn compress(tree: &Tree) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    tree.write(&mut encoder)?;
    encoder.finish()
}

/// `NBImageInfo.plist` of a set that has a boot file and nothing else: no root path is told to the client.
fn image_info() -> Vec<u8> {
    // Written out rather than serialized: seven keys, and the bytes are the same with every version of a library.
    // Kind 1 and IsInstall: identifier 0x8100…, which Macs are known to start Linux boot files from.
    br#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Architectures</key>
	<array>
		<string>i386</string>
	</array>
	<key>BootFile</key>
	<string>booter</string>
	<key>Description</key>
	<string>Installs this Mac from the Rootstock appliance</string>
	<key>Index</key>
	<integer>1</integer>
	<key>IsDefault</key>
	<true/>
	<key>IsEnabled</key>
	<true/>
	<key>IsInstall</key>
	<true/>
	<key>Kind</key>
	<integer>1</integer>
	<key>Name</key>
	<string>Rootstock</string>
	<key>SupportsDiskless</key>
	<false/>
	<key>Type</key>
	<string>BootFileOnly</string>
</dict>
</plist>
"#
    .to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, BootError> {
    fs::read(path).map_err(|source| BootError::File { path: path.to_owned(), source })
}
