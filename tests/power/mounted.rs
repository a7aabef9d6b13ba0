//! Disks that are in use: refused by whoever would write to them, or needs them to stay as they are.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::appliance::Appliance;
use crate::mounts::{Mounted, ext4, private};

/// A loop device over a file; let go when dropped.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &std::path::Path) -> Loop {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(made.status.success(), "losetup: {}", String::from_utf8_lossy(&made.stderr));
        Loop(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("--detach").arg(&self.0).output());
    }
}

#[test]
fn a_mounted_disk_is_neither_captured_nor_written_and_it_is_said_where_it_is_mounted() {
    private();
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let file = folder.path().join("disk");
    fs::write(&file, ext4(24 << 20)).unwrap();
    let device = Loop::over(&file);
    let (node, path) = (device.0.display().to_string(), file.display().to_string());
    appliance.must(&["image", "import", &path, "--name", "lab"]);

    let mounted = Mounted::device(&device.0);
    fs::write(mounted.path().join("kept"), "what is there").unwrap();
    let place = mounted.path().display().to_string();
    for words in [
        ["image", "capture", "--from", &node, "--name", "captured"],
        ["image", "restore", "lab", "--to", &node, "--json"],
        // By the file under the device, too.
        ["image", "capture", "--from", &path, "--name", "captured"],
        ["image", "restore", "lab", "--to", &path, "--json"],
    ] {
        let done = appliance.run(&words);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("is mounted at") && said.contains(&place), "{words:?}: {said}");
    }
    assert_eq!(fs::read_to_string(mounted.path().join("kept")).unwrap(), "what is there");
    let images = appliance.json(&["image", "list"]);
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    // Looking does not disturb: to compare is allowed.
    assert_ne!(appliance.run(&["image", "compare", "lab", "--with", &node]).status.code(), Some(2));

    drop(mounted);
    appliance.must(&["image", "capture", "--from", &node, "--name", "captured"]);
    appliance.must(&["image", "restore", "lab", "--to", &node]);
    let back = folder.path().join("back");
    appliance.must(&["image", "restore", "captured", "--to", back.to_str().unwrap()]);
    let mounted = Mounted::image(&back);
    assert_eq!(fs::read_to_string(mounted.path().join("kept")).unwrap(), "what is there");
}
