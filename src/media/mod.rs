//! Boot files from Debian packages: kernel, initramfs, iPXE, a `.nbi`.
//!
//! Reading order: [`packages`] (what is taken from which package: data) → [`apt`] (resolve, download, check, unpack:
//! the only network) → [`elf`], [`modules`] (what belongs together) → [`cpio`], [`efi`] (bytes) → [`initramfs`] (the
//! file tree) → [`boot`] (all of it into the boot folder, each file whole or not at all).
//!
//! Must not know: how boot files are served, what the runner does.

pub mod cpio;
pub mod efi;
pub mod elf;
pub mod modules;
