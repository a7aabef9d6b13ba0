//! Who uses a block device: for the message that says why it was not opened.
//!
//! Owns: reading `/proc/self/mountinfo`, `/proc/swaps` and `/sys`. Must not know: how devices are opened.
//! Evidence only: whether a device may be opened is decided by the kernel, not here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is known of the users of `device` and of its partitions: `mounted at /data`, `swap`, `part of md0`.
pub(super) fn users(device: &Path) -> Vec<String> {
    let Some(sys) = sys_folder(device) else { return Vec::new() };
    let names = parts(&sys);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut users = Vec::new();
    for (name, number) in names {
        users.extend(mounted(&mounts, &number).map(|at| format!("{name} is mounted at {at}")));
        let node = format!("/dev/{name}");
        if swaps.lines().any(|line| line.split_whitespace().next() == Some(&node)) {
            users.push(format!("{name} is swap"));
        }
        let holders = fs::read_dir(Path::new("/sys/class/block").join(&name).join("holders"));
        for holder in holders.into_iter().flatten().flatten() {
            users.push(format!("{name} is part of {}", holder.file_name().display()));
        }
    }
    users
}

/// Users of the loop devices that lie over the file at `path` and can write it.
pub(super) fn users_of_file(path: &Path) -> Vec<String> {
    let Ok(path) = fs::canonicalize(path) else { return Vec::new() };
    let mut users = Vec::new();
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        let node = Path::new("/dev").join(device.file_name());
        if Path::new(backing.trim_end_matches('\n')) == path && !read_only(&node) {
            users.extend(self::users(&node));
        }
    }
    users
}

/// Whether the kernel has the device as read-only.
pub(super) fn read_only(device: &Path) -> bool {
    let flag = sys_folder(device).and_then(|folder| fs::read_to_string(folder.join("ro")).ok());
    flag.is_some_and(|flag| flag.trim() == "1")
}

pub(super) fn sys_folder(device: &Path) -> Option<PathBuf> {
    let number = fs::metadata(device).ok()?.rdev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
}

/// Name and number of a device and of its partitions.
fn parts(sys: &Path) -> Vec<(String, String)> {
    let one = |folder: &Path| {
        let number = fs::read_to_string(folder.join("dev")).ok()?;
        Some((folder.file_name()?.to_str()?.to_owned(), number.trim().to_owned()))
    };
    let inner = fs::read_dir(sys).into_iter().flatten().flatten().map(|entry| entry.path());
    let partitions = inner.filter(|path| path.join("partition").exists());
    one(sys).into_iter().chain(partitions.filter_map(|path| one(&path))).collect()
}

/// Mount points of the device `number` (`259:1`); fields of proc(5) mountinfo.
fn mounted<'a>(mounts: &'a str, number: &'a str) -> impl Iterator<Item = &'a str> {
    mounts.lines().filter_map(move |line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == number).then(|| fields.nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_by_device_number() {
        let mounts = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                      37 35 98:1 / /data rw - ext4 /dev/sdb1 rw\n";
        assert_eq!(mounted(mounts, "98:0").collect::<Vec<_>>(), ["/mnt2"]);
        assert_eq!(mounted(mounts, "98:1").collect::<Vec<_>>(), ["/data"]);
        assert_eq!(mounted(mounts, "98:10").count(), 0);
    }
}
