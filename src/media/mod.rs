//! Boot files from Debian packages: kernel, initramfs, iPXE, GRUB, a `.nbi`; USB sticks from boot files.
//!
//! Reading order: [`packages`] (what is taken from which package: data) → [`apt`] (resolve, download, check, unpack:
//! the only network) → [`elf`], [`modules`] (what belongs together) → [`cpio`], [`efi`] (bytes) → [`initramfs`] (the
//! file tree) →
//! [`server`] (what is baked in) → [`loader`] (programs of packages, run here) → [`grub`] (GRUB as one file), [`console`] (keyboard
//! layouts, fonts) → [`folder`] (a set takes another's place) →
//! [`boot`] (all of it into the boot folder) → [`stick`] (from the boot folder on to a USB stick).
//!
//! Must not know: how boot files are served, what the runner does.

pub mod apt;
pub mod boot;
pub mod console;
pub mod cpio;
pub mod efi;
pub mod elf;
pub mod folder;
pub mod grub;
pub mod initramfs;
pub mod loader;
pub mod modules;
pub mod packages;
pub mod server;
pub mod stick;
