//! Which files a stick has: the boot files of the appliance, a boot menu, and what this stick alone carries.
//!
//! Owns: reading the boot folder and checking that its files belong together, names on the stick, the menu's text.
//! Must not know: file systems, devices.
//!
//! | on the stick | what |
//! |---|---|
//! | `EFI/BOOT/BOOTX64.EFI`, `BOOTIA32.EFI` | GRUB: where firmware looks on removable media (UEFI 2.10 section 3.5.1.1) |
//! | `EFI/BOOT/grub.cfg` | the menu |
//! | `EFI/BOOT/.disk_label`, `.disk_label_2x`, `.disk_label.contentDetails` | the name in Apple's picker |
//! | `rootstock/vmlinuz`, `initramfs.cpio.zst` | the same as over the network |
//! | `rootstock/ssh.cpio.zst`, `wifi.cpio.zst`, `own.cpio` | added to the boot environment where they are asked for |
//! | `README.TXT` | for whoever finds the stick |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::label;
use super::volume::StickFile;
use super::wifi::Network;
use crate::media::boot::{CONTENTS, Made};
use crate::media::cpio::{Node, Tree};
use crate::media::server::Server;
use crate::netboot::arguments::KernelArguments;

/// Files of the boot folder that stand on every stick, and where.
const ALWAYS: [(&str, &str); 4] = [
    ("usb/BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI"),
    ("usb/BOOTIA32.EFI", "EFI/BOOT/BOOTIA32.EFI"),
    ("vmlinuz", "rootstock/vmlinuz"),
    ("initramfs.cpio.zst", "rootstock/initramfs.cpio.zst"),
];
/// Added to the boot environment for SSH.
const SSH: (&str, &str) = ("usb/ssh.cpio.zst", "rootstock/ssh.cpio.zst");
/// Added to the boot environment for a wireless network.
const WIFI: (&str, &str) = ("usb/wifi.cpio.zst", "rootstock/wifi.cpio.zst");
const OWN: &str = "rootstock/own.cpio";

/// Most bytes of `contents.json` that are read.
const LONGEST_LIST: u64 = 16 << 20;
/// Most bytes of one boot file: more is no boot file, and would not be read into memory by old firmware either.
const LONGEST_FILE: u64 = 1 << 30;

/// What is asked for beyond the boot files.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Address of the appliance; none: it is looked for, whatever address the boot files were made with.
    pub server: Option<Server>,
    /// Text of an `authorized_keys` file.
    pub ssh_keys: Option<String>,
    /// Wireless network to join.
    pub wifi: Option<Network>,
    /// More kernel arguments.
    pub arguments: KernelArguments,
}

/// The stick cannot be made from this boot folder.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// There are no boot files, or none for sticks.
    #[error("{} is missing: make the boot files first, on the appliance: rootstock media boot", .0.display())]
    Missing(PathBuf),
    /// The folder has files of two makings.
    #[error("{} is not the file that {CONTENTS} tells of: make the boot files again: rootstock media boot", .0.display())]
    Stale(PathBuf),
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The additions cannot be packed.
    #[error("packing what this stick adds to the boot environment")]
    Pack(#[source] io::Error),
}

/// The part of `contents.json` that is looked at.
#[derive(Deserialize)]
struct List {
    files: Vec<Made>,
}

/// Reads the boot folder and puts the stick's files together.
///
/// # Errors
/// [`ContentError`]
pub fn collect(boot: &Path, wishes: &Wishes) -> Result<Vec<StickFile>, ContentError> {
    let path = boot.join(CONTENTS);
    let list: List =
        serde_json::from_slice(&read(&path, LONGEST_LIST)?).map_err(|_| ContentError::Stale(path))?;
    let mut files = Vec::new();
    let additions =
        [(SSH, wishes.ssh_keys.is_some()), (WIFI, wishes.wifi.is_some())].into_iter().filter(|(_, on)| *on);
    for (from, to) in ALWAYS.into_iter().chain(additions.map(|(names, _)| names)) {
        let path = boot.join(from);
        let bytes = read(&path, LONGEST_FILE)?;
        let told = list.files.iter().find(|made| made.path == from);
        if told.is_none_or(|made| made.sha256 != hexadecimal(&Sha256::digest(&bytes))) {
            return Err(ContentError::Stale(path));
        }
        files.push(StickFile { path: to.to_owned(), bytes });
    }
    if let Some(own) = own_addition(wishes).map_err(ContentError::Pack)? {
        files.push(StickFile { path: OWN.to_owned(), bytes: own });
    }
    files.extend(texts(wishes));
    Ok(files)
}

/// What only this stick has, as an archive that the kernel unpacks over the boot environment.
fn own_addition(wishes: &Wishes) -> io::Result<Option<Vec<u8>>> {
    if wishes.ssh_keys.is_none() && wishes.wifi.is_none() {
        return Ok(None);
    }
    let mut tree = Tree::default();
    if let Some(keys) = &wishes.ssh_keys {
        tree.put("root", Node::Folder(0o700));
        tree.put("root/.ssh", Node::Folder(0o700));
        tree.put("root/.ssh/authorized_keys", Node::File(0o600, keys.clone().into_bytes()));
    }
    if let Some(network) = &wishes.wifi {
        tree.put("etc/wpa_supplicant.conf", Node::File(0o600, network.configuration().into_bytes()));
    }
    let mut archive = Vec::new();
    tree.write(&mut archive)?;
    Ok(Some(archive))
}

fn texts(wishes: &Wishes) -> Vec<StickFile> {
    [
        ("EFI/BOOT/grub.cfg", menu(wishes).into_bytes()),
        ("EFI/BOOT/.disk_label", label::picture(1)),
        ("EFI/BOOT/.disk_label_2x", label::picture(2)),
        ("EFI/BOOT/.disk_label.contentDetails", b"Rootstock".to_vec()),
        ("README.TXT", readme(wishes).into_bytes()),
    ]
    .map(|(path, bytes)| StickFile { path: path.to_owned(), bytes })
    .into()
}

/// The boot menu. `cpuid -l`: the Macs of early 2006 have processors without 64-bit mode.
fn menu(wishes: &Wishes) -> String {
    // Named with nothing behind it the appliance is looked for: the boot environment's own address holds on the network
    // that its boot files were made for, and a stick is carried to others.
    let server = wishes.server.as_ref().map(Server::https).unwrap_or_default();
    let arguments = wishes.arguments.clone().and("rootstock.boot=usb");
    let mut arguments = arguments.and(&format!("rootstock.server={server}"));
    let mut archives = String::from("/rootstock/initramfs.cpio.zst");
    for (wanted, (_, path)) in [(wishes.ssh_keys.is_some(), SSH), (wishes.wifi.is_some(), WIFI)] {
        if wanted {
            archives += &format!(" /{path}");
        }
    }
    if wishes.ssh_keys.is_some() || wishes.wifi.is_some() {
        archives += &format!(" /{OWN}");
    }
    if wishes.wifi.is_some() {
        arguments = arguments.and("rootstock.wifi=1");
    }
    include_str!("../../../boot/grub/stick.cfg")
        .replace("{arguments}", &arguments.for_grub())
        .replace("{archives}", &archives)
}

fn readme(wishes: &Wishes) -> String {
    let finds = match &wishes.server {
        Some(server) => format!("It reports to {}.", server.https()),
        None => "It looks for the appliance that made it on the network, and asks for its address if it finds none."
            .to_owned(),
    };
    let secret = match wishes.wifi {
        Some(_) => "\r\nThe password of a wireless network is readable on it: keep it as you keep a key.\r\n",
        None => "",
    };
    format!(
        "Rootstock: this stick starts a Mac and installs it from its appliance.\r\n\r\n\
         Hold Option (Alt) while the Mac starts and choose Rootstock (or EFI Boot). {finds}\r\n\
         Macs with a T2 chip: first allow booting from external media and no security in Startup Security Utility\r\n\
         (macOS Recovery, Utilities menu).\r\n{secret}"
    )
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, ContentError> {
    let failed = |source| ContentError::Read { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.len() > most => Err(ContentError::Stale(path.to_owned())),
        Ok(_) => fs::read(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ContentError::Missing(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
