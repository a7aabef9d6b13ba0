//! Scripts of a runner that is gone: a runner that was killed leaves its script at work, alone. The next one ends it before it says
//! hello, so that no script runs beside the one that follows, or beside itself.
//!
//! They are found by their environment, which names the folder of variables that this program's state folder holds; so nothing
//! has to be written down before a script starts. Must not know: the appliance, what scripts do.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

use super::variables::FOLDER;

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);
/// Looks: a script that starts others while it is ended is looked for again.
const LOOKS: u32 = 100;
/// Names of what a script leaves in the state folder.
const LEAVINGS: [&str; 2] = ["script-", "variables-"];

/// Ends what scripts of an earlier runner left at work, and removes their files. How many processes there were.
pub fn end_scripts(state: &Path) -> usize {
    let mut ended = 0;
    for look in 0..LOOKS {
        let left = left_over(Path::new("/proc"), state);
        if left.is_empty() {
            break;
        }
        if look == 0 {
            ended = left.len();
        }
        left.into_iter().for_each(end);
        thread::sleep(GLANCE);
    }
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let is_left = |start: &&str| entry.file_name().as_bytes().starts_with(start.as_bytes());
        if LEAVINGS.iter().any(is_left) {
            // They lie in memory and harm nobody where they stay.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
    ended
}

/// The whole group of a script; a process alone where it made a group of its own, or is in ours.
fn end(process: Pid) {
    // ESRCH: it ended in between, which is what is wanted.
    if let Ok(group) = getpgid(Some(process))
        && group != getpgrp()
    {
        let _ = killpg(group, Signal::SIGKILL);
    }
    let _ = kill(process, Signal::SIGKILL);
}

/// Processes whose environment names a folder of variables below `state`. Those that have ended have no environment.
fn left_over(proc: &Path, state: &Path) -> Vec<Pid> {
    let mut wanted = format!("{FOLDER}=").into_bytes();
    wanted.extend_from_slice(state.join(LEAVINGS[1]).as_os_str().as_bytes());
    let own = getpid();
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    let is_ours = |process: &Pid| {
        let environment = fs::read(proc.join(process.to_string()).join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&wanted))
    };
    numbers.filter(|process| *process != own).filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    fn script(state: &Path) -> Child {
        let folder = state.join("variables-1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(state.join("script-1"), "x").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & wait"]).env(FOLDER, folder).process_group(0);
        shell.spawn().unwrap()
    }

    #[test]
    fn section_8_the_script_of_a_runner_that_is_gone_is_ended_with_what_it_started_and_nobody_else_s() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut left, mut kept) = (script(mine.path()), script(other.path()));
        fs::write(mine.path().join("rootstock-runner.log"), "kept").unwrap();
        assert!(end_scripts(mine.path()) >= 1);
        assert!(!left.wait().unwrap().success());
        assert!(left_over(Path::new("/proc"), mine.path()).is_empty());
        let names: Vec<_> =
            fs::read_dir(mine.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["rootstock-runner.log"]);
        assert!(kept.try_wait().unwrap().is_none());
        assert!(end_scripts(other.path()) >= 1);
        kept.wait().unwrap();
        assert_eq!(end_scripts(other.path()), 0);
    }
}
