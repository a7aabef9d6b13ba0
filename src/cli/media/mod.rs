//! `rootstock media …`: boot files, and sticks made from them.
//!
//! Owns: the verbs, and what they share. The work is in [`crate::media`].

mod boot;
mod confirm;
mod usb;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;

/// Verbs of `rootstock media`.
#[derive(Subcommand)]
pub enum Command {
    /// Make kernel, boot environment and boot loaders from Debian packages
    #[command(after_help = "\
Takes about a minute; packages (120 MB) are kept in the cache folder and used again. The machine itself is not \
changed: no package is installed.\n
Run it again after a change of the appliance's address, and now and then for Debian's security updates. rootstockd \
serves the new files at once.")]
    Boot(boot::BootArguments),
    /// Make a USB stick that starts Macs which cannot start from the network
    #[command(after_help = "\
Everything on the stick is erased. It is written only when it is not in use, and after what is on it was shown and \
agreed to; then it is read back and compared. A stick that was pulled out half-way has no partitions.\n
On the Mac: hold Option (Alt), choose Rootstock. Macs with a T2 chip must first be allowed to boot from external media \
(Startup Security Utility in macOS Recovery).")]
    Usb(usb::UsbArguments),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// What stopped it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Boot(arguments) => boot::run(arguments),
            Command::Usb(arguments) => usb::run(arguments),
        }
    }
}

/// The keys, when there is at least one: an empty file would be taken for "SSH is on" and let nobody in.
fn read_keys(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let is_key =
        |line: &str| line.split_whitespace().any(|w| w.starts_with("ssh-") || w.starts_with("ecdsa-"));
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself is not shown: it may be of a private key.
        if !is_key(line) {
            bail!(
                "line {number} of {} is no public SSH key, as ssh-keygen writes into a .pub file",
                path.display()
            );
        }
        count += 1;
    }
    if count == 0 {
        bail!("{} has no SSH key in it", path.display());
    }
    Ok(text)
}
