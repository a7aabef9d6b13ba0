//! Restart and shutdown: everything written down, then the machine goes down. Only where this program is what runs the machine.
//!
//! Must not know: why.

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{getpid, getppid, sync};

use super::wizard::Down;

/// Root of an initramfs when the kernel has no tmpfs (statfs(2)).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What a restart came to, when it returns at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// This process does not own the machine (or was told to keep it running): it just ends.
    Kept,
}

/// The machine could not be restarted.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses to let the machine go down; switch it off by hand")]
pub struct RestartError(#[source] nix::Error);

/// Whether this program runs the machine: it was started by the first process, and the root file system lies in memory,
/// as in the boot environment. On anybody's workstation, restarting or setting the clock is not ours to do.
pub fn owns_the_machine() -> bool {
    let started_by_init = getpid().as_raw() == 1 || getppid().as_raw() == 1;
    let in_memory = statfs("/").is_ok_and(|root| matches!(root.filesystem_type(), TMPFS_MAGIC | RAMFS_MAGIC));
    started_by_init && in_memory
}

/// Restarts the machine or switches it off, unless it is not ours.
///
/// # Errors
/// When the kernel refuses.
pub fn go_down(down: Down, keep_running: bool) -> Result<Restart, RestartError> {
    sync();
    if keep_running || !owns_the_machine() {
        return Ok(Restart::Kept);
    }
    let mode = match down {
        Down::Restart => RebootMode::RB_AUTOBOOT,
        Down::ShutDown => RebootMode::RB_POWER_OFF,
    };
    match reboot(mode) {
        Err(error) => Err(RestartError(error)),
        Ok(never) => match never {},
    }
}
