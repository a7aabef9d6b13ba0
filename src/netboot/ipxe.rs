//! The script that iPXE fetches from us: kernel, initramfs, kernel arguments, and what to do when one is missing.
//!
//! Owns: the text. Must not know: HTTP, which files there are.

use std::fmt::Write as _;

/// Kernel in the boot folder.
pub const KERNEL: &str = "vmlinuz";
/// Initramfs in the boot folder.
pub const INITRAMFS: &str = "initramfs.cpio.zst";

/// What a script tells.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// Where boot files are: `http://10.0.0.1`.
    pub files: &'a str,
    /// Folder of kernel and initramfs below `/boot/`, with a slash at its end, or nothing. It is named by what is in it:
    /// both files come from one making, also when others are made meanwhile.
    pub pair: &'a str,
    /// Where the runner reports: `https://10.0.0.1:443`.
    pub server: &'a str,
    /// More kernel arguments, separated by spaces.
    pub arguments: &'a str,
    /// Boot files that are not there.
    pub missing: &'a [&'a str],
}

impl Script<'_> {
    /// The script. It repeats itself every ten seconds when something fails: a server that is being set up, a cable that
    /// is being plugged, heal without a hand on the Mac.
    pub fn text(&self) -> String {
        let Script { files, pair, server, arguments, missing } = self;
        let mut text = String::from("#!ipxe\n");
        if missing.is_empty() {
            let arguments =
                arguments.split_ascii_whitespace().fold(String::new(), |all, one| all + " " + one);
            let _ = writeln!(text, "echo Rootstock: fetching {KERNEL} and {INITRAMFS} from {files}");
            let _ = writeln!(
                text,
                "kernel {files}/boot/{pair}{KERNEL} initrd={INITRAMFS} rootstock.server={server}{arguments} || goto failed"
            );
            let _ = writeln!(
                text,
                "initrd {files}/boot/{pair}{INITRAMFS} || goto failed\nboot || goto failed\n:failed"
            );
            let _ =
                writeln!(text, "echo Rootstock: {files} did not deliver. Check cable and server, then wait.");
        } else {
            let missing = missing.join(" and ");
            let _ = writeln!(
                text,
                "echo Rootstock: {files} has no {missing}. On the server: rootstock media boot"
            );
        }
        let _ = writeln!(text, "imgfree\nsleep 10\nchain --replace {files}/boot/ipxe?mac=${{mac}} || exit 1");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Script<'_> = Script {
        files: "http://10.0.0.1",
        pair: "linux-1f/",
        server: "https://10.0.0.1:443",
        arguments: " quiet\nconsole=ttyS0 ",
        missing: &[],
    };

    #[test]
    fn kernel_and_initramfs_are_named_with_one_line_of_arguments() {
        let text = SCRIPT.text();
        let kernel = "kernel http://10.0.0.1/boot/linux-1f/vmlinuz initrd=initramfs.cpio.zst \
                      rootstock.server=https://10.0.0.1:443 quiet console=ttyS0 || goto failed";
        assert_eq!(text.lines().nth(2), Some(kernel));
        assert!(text.contains("\ninitrd http://10.0.0.1/boot/linux-1f/initramfs.cpio.zst "), "{text}");
        assert!(text.starts_with("#!ipxe\n") && text.contains("\n:failed\n"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_remedy_and_tried_again() {
        let text = Script { missing: &[KERNEL, INITRAMFS], ..SCRIPT }.text();
        assert!(
            text.contains("has no vmlinuz and initramfs.cpio.zst. On the server: rootstock media boot"),
            "{text}"
        );
        assert!(!text.contains("kernel "), "{text}");
        assert!(text.contains("chain --replace http://10.0.0.1/boot/ipxe?mac=${mac}"), "{text}");
    }
}
