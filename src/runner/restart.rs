//! Restart and shutdown: everything written down, then the machine goes down. Only where this program is what runs the machine.
//!
//! A restart that a run asks for is reported done before the machine goes down. So it is promised first, in a file beside the log
//! that names this start of the kernel: a runner that is started anew before the machine went down keeps the promise.
//!
//! Must not know: why.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{getpid, getppid, sync};

use super::wizard::Down;

/// Root of an initramfs when the kernel has no tmpfs (statfs(2)).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Name of the file with the promise.
const PROMISE: &str = "restart-promised";

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

fn promise_in(state: &Path) -> PathBuf {
    state.join(PROMISE)
}

/// Promises to restart the machine, which is at the start `boot_id` of its kernel.
pub fn promise(state: &Path, boot_id: &str) {
    if let Err(error) = fs::write(promise_in(state), boot_id) {
        tracing::warn!(%error, "a restart is not remembered when the runner breaks down before it");
    }
}

/// Whether a runner before this one promised to restart the machine, and it is still at the same start of its kernel.
pub fn is_promised(state: &Path, boot_id: &str) -> bool {
    !boot_id.is_empty() && fs::read(promise_in(state)).is_ok_and(|kept| kept == boot_id.as_bytes())
}

/// The promise was kept, or is off.
pub fn forget_promise(state: &Path) {
    // There is none, mostly.
    let _ = fs::remove_file(promise_in(state));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_8_a_promised_restart_is_known_to_the_next_runner_of_the_same_start_and_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_promised(folder.path(), "start 1"));
        promise(folder.path(), "start 1");
        assert!(is_promised(folder.path(), "start 1"));
        assert!(!is_promised(folder.path(), "start 2"), "it was restarted");
        forget_promise(folder.path());
        assert!(!is_promised(folder.path(), "start 1"));
        // A kernel that does not say which start it is of could be any.
        promise(folder.path(), "");
        assert!(!is_promised(folder.path(), ""));
    }
}
