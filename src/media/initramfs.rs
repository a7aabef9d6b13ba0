//! The file tree of the boot environment.
//!
//! Owns: which file stands where, and that nothing is missing that another file needs (libraries, module
//! dependencies, a static runner). Must not know: apt, the boot folder, compression.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::media::console::Files;
use crate::media::cpio::{Node, Tree};
use crate::media::elf::{BadElf, Elf};
use crate::media::modules::{Catalogue, Module, SelectError, Selection};
use crate::media::packages::{
    APPLETS, FILES, MODULES, OPTIONAL_MODULES, PROGRAMS, SBIN_APPLETS, SSH_PROGRAMS, WIFI_FILES,
    WIFI_MODULES, WIFI_PROGRAMS,
};

/// Why the tree cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A file of a package or of ours cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A package does not have what is taken from it.
    #[error("package {package} has no {path}: its layout changed, and src/media/packages.rs has to follow")]
    Gone {
        /// Package.
        package: String,
        /// Path in it.
        path: String,
    },
    /// A file is not a program for this processor.
    #[error("{} is no program for x86-64", path.display())]
    NoProgram {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: BadElf,
    },
    /// The runner needs libraries.
    #[error("{} is not a static program (it loads {needs}); build it with target-feature=+crt-static", path.display())]
    NotStatic {
        /// Which file.
        path: PathBuf,
        /// What it loads.
        needs: String,
    },
    /// No package has a library.
    #[error("{program} needs {library}, which none of the packages has")]
    NoLibrary {
        /// Who needs it.
        program: String,
        /// What is missing.
        library: String,
    },
    /// The kernel lacks a module that Macs need.
    #[error("kernel {release} has no module {}", missing.join(", "))]
    NoModules {
        /// Kernel release.
        release: String,
        /// Names.
        missing: Vec<String>,
    },
    /// The modules do not fit together.
    #[error(transparent)]
    Select(#[from] SelectError<Box<InitramfsError>>),
}

/// Folders with the content of the packages.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    /// Kernel package.
    pub kernel: PathBuf,
    /// Package name → folder of firmware packages.
    pub firmware: Vec<PathBuf>,
    /// Package name and folder of everything else.
    pub others: Vec<(String, PathBuf)>,
}

/// What is ours, not Debian's.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The static `rootstock-runner`, see [`static_program`].
    pub runner: Vec<u8>,
    /// Certificate authority of the appliance, PEM.
    pub ca: Vec<u8>,
    /// Address of the appliance's HTTPS.
    pub server: String,
    /// NTP servers, may be empty.
    pub ntp_servers: Vec<String>,
    /// Text of an `authorized_keys` file; none: no SSH server goes along.
    pub ssh_keys: Option<String>,
    /// Keyboard layouts and fonts, see `console`.
    pub console: Files,
}

/// The tree and what to tell about it.
#[derive(Clone, Debug)]
pub struct Initramfs {
    /// All files.
    pub tree: Tree,
    /// `6.1.0-56-amd64`
    pub release: String,
    /// Modules that went along.
    pub modules: usize,
    /// Optional modules that this kernel has not.
    pub absent: Vec<String>,
    /// Firmware that a module names and no package has.
    pub firmware_absent: Vec<String>,
}

/// Composes the tree.
///
/// # Errors
/// [`InitramfsError`] names the file, package or module.
pub fn compose(unpacked: &Unpacked, own: &Own) -> Result<Initramfs, InitramfsError> {
    let mut tree = Tree::default();
    skeleton(&mut tree);
    scripts(&mut tree);
    configuration(&mut tree, own);
    tree.program("bin/rootstock-runner", own.runner.as_slice());
    let ssh = if own.ssh_keys.is_some() { SSH_PROGRAMS } else { &[] };
    for (package, from, to) in PROGRAMS.iter().chain(ssh) {
        program(&mut tree, unpacked, package, from, to)?;
    }
    for (package, path) in FILES {
        tree.file(path, read(&place(unpacked, package, path)?)?);
    }
    for (folder, applets) in [("bin", APPLETS), ("sbin", SBIN_APPLETS)] {
        for applet in applets {
            tree.link(&format!("{folder}/{applet}"), "/bin/busybox");
        }
    }
    let wanted = [MODULES, OPTIONAL_MODULES].concat();
    let (release, selection) = modules(&mut tree, &unpacked.kernel, &wanted)?;
    let firmware_absent = firmware(&mut tree, unpacked, &selection)?;
    Ok(Initramfs {
        tree,
        release,
        modules: selection.modules.len(),
        absent: selection.absent,
        firmware_absent,
    })
}

/// What a stick adds for SSH where `base` has no server for it.
///
/// # Errors
/// [`InitramfsError`]
pub fn ssh_addition(base: &Tree, unpacked: &Unpacked) -> Result<Tree, InitramfsError> {
    let mut tree = base.clone();
    for (package, from, to) in SSH_PROGRAMS {
        program(&mut tree, unpacked, package, from, to)?;
    }
    Ok(tree.beyond(base))
}

/// What a stick adds for wireless networks: drivers with their firmware, and the program that joins.
///
/// # Errors
/// [`InitramfsError`]
pub fn wifi_addition(base: &Tree, unpacked: &Unpacked) -> Result<Tree, InitramfsError> {
    let mut tree = base.clone();
    for (package, from, to) in WIFI_PROGRAMS {
        program(&mut tree, unpacked, package, from, to)?;
    }
    for (package, from, to) in WIFI_FILES {
        tree.file(to, read(&place(unpacked, package, from)?)?);
    }
    tree.program("sbin/wireless-up", include_str!("../../boot/wireless-up"));
    let wanted = [MODULES, OPTIONAL_MODULES, WIFI_MODULES].concat();
    let (_, selection) = modules(&mut tree, &unpacked.kernel, &wanted)?;
    // Drivers name the firmware of every board there is, Apple's or not: what Debian lacks is no news.
    firmware(&mut tree, unpacked, &selection)?;
    Ok(tree.beyond(base))
}

fn skeleton(tree: &mut Tree) {
    for folder in ["dev", "etc", "mnt", "proc", "run", "sys", "tmp"] {
        tree.put(folder, Node::Folder(0o755));
    }
    tree.put("root", Node::Folder(0o700));
    // The kernel opens /dev/console for init before devtmpfs is mounted.
    tree.put("dev/console", Node::Character(5, 1));
    tree.put("dev/null", Node::Character(1, 3));
}

fn scripts(tree: &mut Tree) {
    tree.program("init", include_str!("../../boot/init"));
    tree.program("sbin/hotplug", include_str!("../../boot/hotplug"));
    tree.program("sbin/wired-up", include_str!("../../boot/wired-up"));
    tree.program("sbin/address", include_str!("../../boot/address"));
}

fn configuration(tree: &mut Tree, own: &Own) {
    // `*` is no password's hash: nobody signs in with one, at no console and through no network.
    tree.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    tree.put("etc/shadow", Node::File(0o600, b"root:*:19000::::::\n".to_vec()));
    tree.file("etc/group", "root:x:0:\ntty:x:5:\n");
    tree.file("etc/shells", "/bin/sh\n");
    tree.file("etc/hosts", "127.0.0.1 localhost\n");
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.file("etc/rootstock/ca.pem", own.ca.as_slice());
    tree.file("etc/rootstock/server", format!("{}\n", own.server));
    if !own.ntp_servers.is_empty() {
        tree.file("etc/rootstock/ntp-servers", own.ntp_servers.join("\n") + "\n");
    }
    for (path, bytes) in &own.console {
        tree.file(path, bytes.as_slice());
    }
    if let Some(keys) = &own.ssh_keys {
        tree.put("root/.ssh", Node::Folder(0o700));
        tree.put("root/.ssh/authorized_keys", Node::File(0o600, keys.clone().into_bytes()));
    }
}

/// Reads a program that runs without a libc beside it, without its symbols and debug information.
///
/// # Errors
/// [`InitramfsError::Read`], [`InitramfsError::NoProgram`], [`InitramfsError::NotStatic`]
pub fn static_program(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    let bytes = read(path)?;
    let elf = Elf::read(&bytes).map_err(|source| InitramfsError::NoProgram { path: path.into(), source })?;
    let mut needs = elf.needed();
    needs.extend(elf.interpreter());
    if !needs.is_empty() {
        return Err(InitramfsError::NotStatic { path: path.into(), needs: needs.join(", ") });
    }
    Ok(elf.stripped())
}

/// A program with its dynamic linker and its libraries, and theirs.
fn program(
    tree: &mut Tree,
    unpacked: &Unpacked,
    package: &str,
    from: &str,
    to: &str,
) -> Result<(), InitramfsError> {
    let mut open = vec![(place(unpacked, package, from)?, to.to_owned())];
    while let Some((path, to)) = open.pop() {
        let bytes = read(&path)?;
        let elf = Elf::read(&bytes).map_err(|source| InitramfsError::NoProgram { path, source })?;
        let linker = elf.interpreter().map(|linker| linker.trim_start_matches('/').to_owned());
        for (library, place) in elf
            .needed()
            .into_iter()
            .map(|name| (name.to_owned(), format!("lib/x86_64-linux-gnu/{name}")))
            .chain(linker.map(|linker| (linker.rsplit('/').next().unwrap_or("").to_owned(), linker)))
        {
            if !tree.has(&place) {
                let found = find_library(unpacked, &library).ok_or_else(|| InitramfsError::NoLibrary {
                    program: to.clone(),
                    library: library.clone(),
                })?;
                open.push((found, place));
            }
        }
        tree.program(&to, bytes);
    }
    Ok(())
}

/// Where `path` of `package` was unpacked.
fn place(unpacked: &Unpacked, package: &str, path: &str) -> Result<PathBuf, InitramfsError> {
    let folder = unpacked.others.iter().find(|(name, _)| name == package).map(|(_, folder)| folder);
    folder
        .map(|folder| folder.join(path))
        .filter(|place| place.exists())
        .ok_or_else(|| InitramfsError::Gone { package: package.to_owned(), path: path.to_owned() })
}

fn find_library(unpacked: &Unpacked, name: &str) -> Option<PathBuf> {
    let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    let roots = unpacked.others.iter().map(|(_, folder)| folder);
    let places = roots.flat_map(|root| folders.map(|folder| root.join(folder).join(name)));
    // `exists` follows links: libz.so.1 → libz.so.1.2.13.
    places.into_iter().find(|place| place.exists())
}

fn modules(tree: &mut Tree, kernel: &Path, wanted: &[&str]) -> Result<(String, Selection), InitramfsError> {
    let all = kernel.join("lib/modules");
    let release = names(&all)?.into_iter().next().unwrap_or_default();
    let folder = all.join(&release);
    let mut paths = Vec::new();
    collect(&folder, "kernel", &mut paths)?;
    let builtin = String::from_utf8_lossy(&read(&folder.join("modules.builtin"))?).into_owned();
    let catalogue = Catalogue::new(paths.iter().map(String::as_str), &builtin);

    let selection = Selection::make(wanted, &catalogue, |path| {
        let path = folder.join(path);
        let bytes = read(&path).map_err(Box::new)?;
        Module::read(&bytes).map_err(|source| Box::new(InitramfsError::NoProgram { path, source }))
    })?;
    let missing: Vec<String> =
        selection.absent.iter().filter(|name| MODULES.contains(&name.as_str())).cloned().collect();
    if !missing.is_empty() {
        return Err(InitramfsError::NoModules { release, missing });
    }
    let place = format!("lib/modules/{release}");
    for name in selection.modules.keys() {
        let path = &catalogue.paths[name];
        tree.file(&format!("{place}/{path}"), read(&folder.join(path))?);
    }
    tree.file(&format!("{place}/modules.dep"), selection.dep(&catalogue));
    tree.file(&format!("{place}/modules.alias"), selection.alias());
    tree.file(&format!("{place}/modules.builtin"), builtin);
    Ok((release, selection))
}

fn firmware(
    tree: &mut Tree,
    unpacked: &Unpacked,
    selection: &Selection,
) -> Result<Vec<String>, InitramfsError> {
    let mut absent = Vec::new();
    for name in selection.firmware() {
        let place = format!("lib/firmware/{name}");
        match unpacked.firmware.iter().map(|folder| folder.join(&place)).find(|path| path.exists()) {
            Some(path) => tree.file(&place, read(&path)?),
            None => absent.push(name.to_owned()),
        }
    }
    Ok(absent)
}

/// Paths of all files below `root/below`, relative to `root`.
fn collect(root: &Path, below: &str, paths: &mut Vec<String>) -> Result<(), InitramfsError> {
    for name in names(&root.join(below))? {
        let path = format!("{below}/{name}");
        if root.join(&path).is_dir() {
            collect(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, InitramfsError> {
    let failed = |source| InitramfsError::Read { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    fs::read(path).map_err(|source| InitramfsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::cpio::Node;
    use crate::media::elf::tests::elf;
    use crate::media::packages::{LIBRARIES, OPTIONAL_MODULES};

    fn put(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn dynamic(library: &str) -> Vec<u8> {
        let mut section = Vec::new();
        for number in [1u64, 1, 0, 0] {
            section.extend_from_slice(&number.to_le_bytes());
        }
        elf(&[
            (".interp", b"/lib64/ld.so\0"),
            (".dynamic", &section),
            (".dynstr", format!("\0{library}\0").as_bytes()),
        ])
    }

    /// Packages with every file that is taken, `without` one kernel module.
    fn packages(root: &Path, without: &str) -> Unpacked {
        let kernel = root.join("kernel");
        let folder = kernel.join("lib/modules/6.1.0-test");
        for name in MODULES.iter().chain(OPTIONAL_MODULES).filter(|name| **name != without) {
            let info: &[u8] =
                if *name == "tg3" { b"firmware=tigon/tg3.bin\0firmware=tigon/none.bin\0" } else { b"" };
            put(&folder.join(format!("kernel/drivers/{name}.ko")), &elf(&[(".modinfo", info)]));
        }
        put(&folder.join("modules.builtin"), b"");
        put(&root.join("firmware/lib/firmware/tigon/tg3.bin"), b"firmware");
        let mut others = Vec::new();
        for (package, path, _) in PROGRAMS.iter().chain(SSH_PROGRAMS) {
            put(&root.join(package).join(path), &dynamic("libc.so.6"));
            others.push(((*package).to_owned(), root.join(package)));
        }
        let libc = root.join(LIBRARIES[0]);
        for name in ["libc.so.6", "ld.so"] {
            put(&libc.join("lib/x86_64-linux-gnu").join(name), &elf(&[]));
        }
        for (_, path) in FILES {
            put(&libc.join(path), b"data");
        }
        others.push((LIBRARIES[0].to_owned(), libc));
        Unpacked { kernel, firmware: vec![root.join("firmware")], others }
    }

    fn own() -> Own {
        Own {
            runner: elf(&[]),
            ca: b"PEM".to_vec(),
            server: "https://192.0.2.1".to_owned(),
            ..Own::default()
        }
    }

    fn file<'a>(initramfs: &'a Initramfs, path: &str) -> Option<(u32, &'a [u8])> {
        initramfs.tree.entries().find_map(|(at, node)| match node {
            Node::File(mode, bytes) if at == path => Some((*mode, bytes.as_slice())),
            _ => None,
        })
    }

    #[test]
    fn programs_bring_their_libraries_and_modules_their_firmware() {
        let root = tempfile::tempdir().unwrap();
        let made = compose(&packages(root.path(), ""), &own()).unwrap();
        for path in [
            "init",
            "bin/busybox",
            "sbin/mkapfs",
            "lib64/ld.so",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib/firmware/tigon/tg3.bin",
            "lib/modules/6.1.0-test/kernel/drivers/nvme.ko",
            "bin/rootstock-runner",
        ] {
            assert!(made.tree.has(path), "{path}");
        }
        assert_eq!(made.firmware_absent, ["tigon/none.bin"]);
        assert_eq!(file(&made, "etc/rootstock/server"), Some((0o644, &b"https://192.0.2.1\n"[..])));
    }

    #[test]
    fn the_same_packages_give_the_same_bytes() {
        let bytes = || {
            let root = tempfile::tempdir().unwrap();
            let mut archive = Vec::new();
            compose(&packages(root.path(), ""), &own()).unwrap().tree.write(&mut archive).unwrap();
            archive
        };
        assert!(bytes() == bytes());
    }

    #[test]
    fn section_7_without_keys_there_is_no_ssh_server_and_with_keys_nobody_else_reads_them() {
        let root = tempfile::tempdir().unwrap();
        let unpacked = packages(root.path(), "");
        let without = compose(&unpacked, &own()).unwrap();
        assert!(!without.tree.has("sbin/dropbear") && !without.tree.has("root/.ssh"));
        let keys = Some("ssh-ed25519 AAAA admin\n".to_owned());
        let with = compose(&unpacked, &Own { ssh_keys: keys, ..own() }).unwrap();
        assert!(with.tree.has("sbin/dropbear"));
        let (mode, text) = file(&with, "root/.ssh/authorized_keys").unwrap();
        assert_eq!((mode, text), (0o600, &b"ssh-ed25519 AAAA admin\n"[..]));
    }

    #[test]
    fn a_module_that_macs_need_must_be_there_and_others_may_be_absent() {
        let root = tempfile::tempdir().unwrap();
        let error = compose(&packages(root.path(), "nvme"), &own()).unwrap_err().to_string();
        assert!(error.contains("6.1.0-test has no module nvme"), "{error}");
        let root = tempfile::tempdir().unwrap();
        let made = compose(&packages(root.path(), "simpledrm"), &own()).unwrap();
        assert_eq!(made.absent, ["simpledrm"]);
    }

    #[test]
    fn a_missing_library_and_a_dynamic_runner_are_named() {
        let root = tempfile::tempdir().unwrap();
        let unpacked = packages(root.path(), "");
        fs::remove_file(root.path().join("libc6/lib/x86_64-linux-gnu/libc.so.6")).unwrap();
        let error = compose(&unpacked, &own()).unwrap_err().to_string();
        assert!(error.contains("libc.so.6") && error.contains("bin/busybox"), "{error}");
        let runner = root.path().join("runner");
        put(&runner, &dynamic("libssl.so"));
        let error = static_program(&runner).unwrap_err().to_string();
        assert!(error.contains("libssl.so") && error.contains("crt-static"), "{error}");
    }
}
