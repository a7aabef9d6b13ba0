//! Boot files from Debian packages: kernel, initramfs, iPXE, a `.nbi`.
//!
//! Reading order: [`packages`] (what is taken from which package: data) → [`apt`] (resolve, download, check, unpack:
//! the only network) → [`elf`], [`modules`] (what belongs together) → [`cpio`], [`efi`] (bytes) → [`initramfs`] (the
//! file tree) →
//! [`server`] (what is baked in) → [`boot`] (all of it into the boot folder, each file whole or not at all).
//!
//! Must not know: how boot files are served, what the runner does.

pub mod apt;
pub mod boot;
pub mod cpio;
pub mod efi;
pub mod elf;
pub mod initramfs;
pub mod modules;
pub mod packages;
pub mod server;
