//! All boot files: from packages and the appliance's own facts into the boot folder.
//!
//! Owns: which files the folder gets, that each of them is replaced whole, the `.nbi`, the script in iPXE.
//! Must not know: how they are served.
//!
//! | in the boot folder | what | who fetches it |
//! |---|---|---|
//! | `vmlinuz`, `initramfs.cpio.zst` | kernel and boot environment | iPXE |
//! | `rootstock.nbi/NBImageInfo.plist` | what the boot set is (reference: Apple's NetBoot sets) | BSDP server |
//! | `rootstock.nbi/i386/booter` | iPXE with our script | a Mac's firmware, by TFTP |
//! | `ipxe/snponly.efi` | the same file | PXE and HTTP boot of other machines |
//! | `contents.json` | versions and digests of all of it | people |

use std::fs;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::media::apt::{AptError, Archive, Package};
use crate::media::efi::{BadProgram, with_load_options};
use crate::media::initramfs::{Initramfs, InitramfsError, Own, Unpacked, compose, static_program};
use crate::media::packages::{
    FIRMWARE, IPXE, KERNEL, LIBRARIES, PROGRAMS, SSH_LIBRARIES, SSH_PROGRAMS, Suite,
};
use crate::media::server::Server;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    if request.ssh_keys.is_some() {
        names.extend(SSH_PROGRAMS.iter().map(|(package, ..)| package));
        names.extend(SSH_LIBRARIES);
    }
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
    let booter = booter(&ipxe, &plan.trixie[0], &request.server)?;
    say("composing and compressing the boot environment");
    let Initramfs { tree, release, modules, absent, firmware_absent } = compose(&unpacked, &own)?;
    let kernel = read(&unpacked.kernel.join(format!("boot/vmlinuz-{release}")))?;

    let boot = request.data.join("boot");
    let initramfs = compress(&tree).map_err(|source| BootError::File { path: boot.clone(), source })?;
    // The plist makes the set visible to BSDP clients: it comes last.
    let files = [
        ("vmlinuz", kernel),
        ("initramfs.cpio.zst", initramfs),
        ("ipxe/snponly.efi", booter.clone()),
        ("rootstock.nbi/i386/booter", booter),
        ("rootstock.nbi/NBImageInfo.plist", image_info()),
    ];
    let mut made = Vec::new();
    for (path, bytes) in files {
        replace(&boot.join(path), &bytes)?;
        made.push(Made { path: path.to_owned(), size: bytes.len() as u64, sha256: sha256(&bytes) });
    }
    archive.forget_older(plan.bookworm.iter().chain(&plan.trixie))?;
    let contents = Contents {
        kernel: release,
        modules,
        modules_absent: absent,
        firmware_absent,
        ssh: own.ssh_keys.is_some(),
        server: own.server,
        files: made,
        packages: plan.bookworm.iter().chain(&plan.trixie).cloned().collect(),
    };
    let text = serde_json::to_vec_pretty(&contents).map_err(io::Error::from);
    let path = boot.join("contents.json");
    replace(&path, &text.map_err(|source| BootError::File { path: path.clone(), source })?)?;
    Ok(contents)
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
    let ipxe = archive.unpack(&plan.trixie[0])?.join(IPXE.1);
    Ok((unpacked, ipxe))
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

fn compress(tree: &crate::media::cpio::Tree) -> io::Result<Vec<u8>> {
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

/// Writes `path` so that a reader sees the old file or the new one, also after a power cut.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), BootError> {
    let failed = |source| BootError::File { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.partial"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed)
}
