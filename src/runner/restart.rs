//! Restart: everything written down, then the machine goes down. Only where this program is what runs the machine.
//!
//! Must not know: why.

use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{getpid, getppid, sync};

/// What a restart came to, when it returns at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// This process does not own the machine (or was told to keep it running): it just ends.
    Kept,
}

/// The machine could not be restarted.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses to restart the machine; switch it off and on")]
pub struct RestartError(#[source] nix::Error);

/// Whether this process is, or was started by, the first process of the machine: the boot environment's init. On
/// anybody's workstation it is neither.
fn owns_the_machine() -> bool {
    getpid().as_raw() == 1 || getppid().as_raw() == 1
}

/// Restarts the machine, unless it is not ours.
///
/// # Errors
/// When the kernel refuses.
pub fn restart(keep_running: bool) -> Result<Restart, RestartError> {
    sync();
    if keep_running || !owns_the_machine() {
        return Ok(Restart::Kept);
    }
    match reboot(RebootMode::RB_AUTOBOOT) {
        Err(error) => Err(RestartError(error)),
        Ok(never) => match never {},
    }
}
