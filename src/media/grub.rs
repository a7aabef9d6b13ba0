//! GRUB as one file for a firmware that iPXE of Debian does not reach, or a stick.
//!
//! Owns: which modules go into it, how `grub-mkimage` of the unpacked Debian package is run, the text of its
//! configuration. Must not know: apt, where the file goes.
//!
//! | image | finds its configuration | loads |
//! |---|---|---|
//! | stick, 64 and 32 bits | `EFI/BOOT/grub.cfg` on the volume that it was started from | from that volume |
//! | network, 32 bits | in itself: an archive that GRUB reads as a disk | by HTTP from the appliance, by TFTP when its HTTP is not on port 80 |
//!
//! The kernel has 64 bits also where the firmware has 32: Linux starts from there in "mixed mode" (CONFIG_EFI_MIXED).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::media::cpio::Tree;
use crate::media::loader;
use crate::media::server::Server;
use crate::netboot::arguments::KernelArguments;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum GrubError {
    /// A package does not have what is taken from it.
    #[error("{} is missing: the layout of GRUB's packages changed, and src/media/grub.rs has to follow", .0.display())]
    Gone(PathBuf),
    /// The program ended with an error.
    #[error("grub-mkimage for {platform} failed: {said}")]
    Failed {
        /// For which firmware.
        platform: &'static str,
        /// Its last words.
        said: String,
    },
    /// A file cannot be written or read, a program not be started.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The firmware that an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Intel Macs from late 2007 on.
    X64,
    /// Those before, whatever their processor.
    Ia32,
}

impl Platform {
    /// GRUB's name of it.
    const fn name(self) -> &'static str {
        match self {
            Platform::X64 => "x86_64-efi",
            Platform::Ia32 => "i386-efi",
        }
    }
}

/// Unpacked packages.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// `grub-common`: has `grub-mkimage`.
    pub common: PathBuf,
    /// `grub-efi-amd64-bin`, `grub-efi-ia32-bin`.
    pub modules: [PathBuf; 2],
    /// libc and the libraries of `grub-mkimage`: this machine's may be others.
    pub libraries: Vec<PathBuf>,
}

/// What every image needs. No `gfxterm`: firmware's own text output works on every Mac.
const BASE: &[&str] = &[
    "boot",
    "cpuid",
    "configfile",
    "echo",
    "efi_gop",
    "efi_uga",
    "all_video",
    "linux",
    "minicmd",
    "normal",
    "reboot",
    "sleep",
    "test",
];
const STICK: &[&str] = &["fat", "part_gpt", "part_msdos"];
const NETWORK: &[&str] = &["efinet", "http", "memdisk", "net", "newc", "tftp"];

/// GRUB for a stick.
///
/// # Errors
/// [`GrubError`]
pub fn stick(tools: &Tools, platform: Platform, scratch: &Path) -> Result<Vec<u8>, GrubError> {
    // GRUB puts the volume that it was started from in front.
    make(tools, platform, STICK, Configuration::Folder("/EFI/BOOT"), scratch)
}

/// GRUB for 32-bit EFI that starts from the network, with the appliance's address in it.
///
/// # Errors
/// [`GrubError`]
pub fn network(tools: &Tools, server: &Server, scratch: &Path) -> Result<Vec<u8>, GrubError> {
    let mut disk = Tree::default();
    // grub-mkimage: a memory disk sets the prefix to (memdisk)/boot/grub.
    disk.file("boot/grub/grub.cfg", fill(include_str!("../../boot/grub/network.cfg"), server));
    make(tools, Platform::Ia32, NETWORK, Configuration::Inside(&disk), scratch)
}

/// What the network image fetches: kernel and initramfs by their paths in the boot folder.
pub fn network_menu(server: &Server, arguments: &KernelArguments, kernel: &str, initramfs: &str) -> Vec<u8> {
    let arguments = arguments.clone().and(&format!("rootstock.server={}", server.https()));
    fill(include_str!("../../boot/grub/ia32.cfg"), server)
        .replace("{kernel}", kernel)
        .replace("{initramfs}", initramfs)
        .replace("{arguments}", &arguments.for_grub())
        .into_bytes()
}

/// GRUB 2.06 speaks HTTP to port 80 only.
fn fill(text: &str, server: &Server) -> String {
    let (protocol, folder) = if server.http_port() == 80 { ("http", "boot/") } else { ("tftp", "") };
    text.replace("{protocol}", protocol).replace("{folder}", folder).replace("{host}", server.host())
}

/// Where GRUB finds `grub.cfg`.
enum Configuration<'a> {
    /// In this folder of the volume that it was started from.
    Folder(&'a str),
    /// In an archive within itself.
    Inside(&'a Tree),
}

fn make(
    tools: &Tools,
    platform: Platform,
    modules: &[&str],
    configuration: Configuration<'_>,
    scratch: &Path,
) -> Result<Vec<u8>, GrubError> {
    let file = |path: &Path, source| GrubError::File { path: path.to_owned(), source };
    let output = scratch.join(format!("grub-{}.partial", platform.name()));
    let mut command = tools.mkimage(platform, scratch)?;
    command.args(["--format", platform.name(), "--output"]).arg(&output);
    let archive = scratch.join("grub-memdisk.partial");
    match configuration {
        Configuration::Folder(folder) => {
            command.args(["--prefix", folder]);
        }
        Configuration::Inside(disk) => {
            let mut bytes = Vec::new();
            disk.write(&mut bytes)
                .and_then(|()| fs::write(&archive, &bytes))
                .map_err(|e| file(&archive, e))?;
            command.arg("--memdisk").arg(&archive);
        }
    }
    command.args(BASE).args(modules);
    let ended = command.output().map_err(|source| file(&tools.program(), source))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', " · ");
        return Err(GrubError::Failed { platform: platform.name(), said });
    }
    let image = fs::read(&output).map_err(|source| file(&output, source))?;
    for leftover in [&output, &archive] {
        match fs::remove_file(leftover) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file(leftover, source)),
            _ => {}
        }
    }
    Ok(image)
}

impl Tools {
    fn program(&self) -> PathBuf {
        self.common.join("usr/bin/grub-mkimage")
    }

    /// The program under its own dynamic linker and libraries, so that nothing of this machine matters.
    fn mkimage(&self, platform: Platform, scratch: &Path) -> Result<Command, GrubError> {
        let folder = self.modules.iter().map(|root| root.join("usr/lib/grub").join(platform.name()));
        let modules = folder.clone().find(|folder| folder.exists());
        let modules =
            modules.ok_or_else(|| GrubError::Gone(folder.clone().next_back().unwrap_or_default()))?;
        let linker = loader::linker(&self.libraries).map_err(GrubError::Gone)?;
        if !self.program().exists() {
            return Err(GrubError::Gone(self.program()));
        }
        let mut command = loader::command(&linker, &self.libraries, &self.program(), scratch)
            .map_err(|(path, source)| GrubError::File { path, source })?;
        command.arg("--directory").arg(modules);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_menu_names_the_appliance_and_its_files() {
        let server: Server = "192.0.2.10".parse().unwrap();
        let arguments = "quiet".parse().unwrap();
        let text = network_menu(&server, &arguments, "linux-1/vmlinuz", "linux-1/initramfs.cpio.zst");
        let text = String::from_utf8(text).unwrap();
        let line =
            "linux (http,192.0.2.10)/boot/linux-1/vmlinuz 'quiet' 'rootstock.server=https://192.0.2.10'\n";
        assert!(text.contains(line) && !text.contains('{'), "{text}");
        let server = server.with_http_port(8080);
        let text = String::from_utf8(network_menu(&server, &arguments, "vmlinuz", "i")).unwrap();
        assert!(text.contains("(tftp,192.0.2.10)/vmlinuz"), "{text}");
    }

    #[test]
    fn a_package_that_lacks_the_program_is_named() {
        let root = tempfile::tempdir().unwrap();
        let tools = Tools { common: root.path().into(), ..Tools::default() };
        let error = stick(&tools, Platform::X64, root.path()).unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }
}
