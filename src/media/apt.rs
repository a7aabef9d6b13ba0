//! Debian packages: which versions are current, their files in a cache folder, unpacked.
//!
//! Owns: a private apt configuration (own sources, lists and state; the machine's are neither read nor changed, except
//! its proxy settings), downloads and their SHA-256, unpacking with `dpkg-deb`. Must not know: what is in the packages.
//!
//! Trust: apt checks the archive's signature with Debian's keyring and every file against the signed lists. A file
//! that is already in the cache is checked again before it is used.
//!
//! | in the cache folder | what |
//! |---|---|
//! | `apt/SUITE/` | sources, lists, an empty package state |
//! | `packages/` | `.deb` files |
//! | `unpacked/NAME_VERSION/` | their content |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::media::packages::Suite;

/// Keys of Debian's archive: installed on every Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Why packages could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A program is not installed.
    #[error("{program} cannot be started; boot files are made on Debian (packages apt, dpkg)")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keyring is missing.
    #[error("{KEYRING} is missing: apt-get install debian-archive-keyring")]
    Keyring,
    /// A program ended with an error.
    #[error("{what} failed: {said}")]
    Failed {
        /// What was being done.
        what: String,
        /// Last lines of its error output.
        said: String,
    },
    /// Output of apt that makes no sense.
    #[error("apt says nothing usable about {package} in {suite}; remove {} and try again", cache.display())]
    Unclear {
        /// Package asked for.
        package: String,
        /// Suite asked in.
        suite: &'static str,
        /// Folder to remove.
        cache: PathBuf,
    },
    /// A downloaded file is not the one in the signed list.
    #[error("{} has SHA-256 {found}, the archive's list says {expected}; remove it and try again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A file of the cache could not be used.
    #[error("{} cannot be written or read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A package in the version that is current in its suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// File name of the `.deb`.
    pub file: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Its SHA-256 as the archive's signed list has it.
    pub sha256: String,
}

impl Package {
    /// Reads a line of `apt-get download --print-uris`: `'URI' FILE SIZE SHA256:HEX`.
    fn parse(line: &str) -> Option<Package> {
        let mut words = line.split_whitespace().skip(1);
        let (file, size, sha256) = (words.next()?, words.next()?, words.next()?);
        let sha256 = sha256.strip_prefix("SHA256:")?;
        let (name, rest) = file.strip_suffix(".deb")?.split_once('_')?;
        let version = rest.rsplit_once('_')?.0.replace("%3a", ":");
        let plain =
            !file.contains('/') && sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then_some(Package {
            name: name.to_owned(),
            version,
            file: file.to_owned(),
            size: size.parse().ok()?,
            sha256: sha256.to_owned(),
        })
    }
}

/// The cache folder and where packages come from.
#[derive(Debug)]
pub struct Archive {
    cache: PathBuf,
    mirror: String,
    /// Held while this lives: two that unpack at once would take each other's halves.
    _lock: fs::File,
}

impl Archive {
    /// Packages from `mirror` (`http://deb.debian.org`: has `debian` and `debian-security`), kept below `cache`.
    ///
    /// # Errors
    /// [`AptError::Keyring`], [`AptError::File`]
    pub fn open(cache: &Path, mirror: &str) -> Result<Archive, AptError> {
        if !Path::new(KEYRING).exists() {
            return Err(AptError::Keyring);
        }
        for folder in ["packages", "unpacked"] {
            create(&cache.join(folder))?;
        }
        let cache = cache.canonicalize().map_err(|source| AptError::File { path: cache.into(), source })?;
        let path = cache.join("lock");
        let lock = fs::File::create(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|source| AptError::File { path, source })?;
        Ok(Archive { cache, mirror: mirror.trim_end_matches('/').to_owned(), _lock: lock })
    }

    /// Fetches the lists of `suite`: what is current from now on.
    ///
    /// # Errors
    /// [`AptError::Failed`] when the mirror cannot be reached or its signature is wrong.
    pub fn update(&self, suite: Suite) -> Result<(), AptError> {
        let root = self.root(suite);
        for folder in ["lists/partial", "archives/partial"] {
            create(&root.join(folder))?;
        }
        write(&root.join("status"), "")?;
        write(&root.join("sources.list"), &sources(&self.mirror, suite))?;
        let what = format!("fetching the package lists of {} from {}", suite.name(), self.mirror);
        // Without Error-Mode apt takes an unreachable mirror for a warning.
        self.apt("apt-get", suite, &["-qq", "-o", "APT::Update::Error-Mode=any", "update"], &what).map(drop)
    }

    /// The package that the metapackage `meta` stands for: the first that it depends on.
    ///
    /// # Errors
    /// [`AptError::Failed`], [`AptError::Unclear`]
    pub fn behind(&self, suite: Suite, meta: &str) -> Result<String, AptError> {
        let what = format!("asking for {meta}");
        let output = self.apt("apt-cache", suite, &["show", "--no-all-versions", meta], &what)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let name = depends.and_then(|list| list.split([' ', ',']).next()).filter(|name| !name.is_empty());
        name.map(str::to_owned).ok_or_else(|| self.unclear(suite, meta))
    }

    /// Current versions of `names`, in their order.
    ///
    /// # Errors
    /// [`AptError::Failed`], [`AptError::Unclear`]
    pub fn resolve(&self, suite: Suite, names: &[&str]) -> Result<Vec<Package>, AptError> {
        let what = format!("looking up {} in {}", names.join(", "), suite.name());
        let arguments = [&["-qq", "--print-uris", "download"], names].concat();
        let output = self.apt("apt-get", suite, &arguments, &what)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: BTreeMap<String, Package> =
            text.lines().filter_map(Package::parse).map(|package| (package.name.clone(), package)).collect();
        names.iter().map(|name| found.remove(*name).ok_or_else(|| self.unclear(suite, name))).collect()
    }

    /// Whether the file of `package` has yet to be downloaded.
    pub fn lacks(&self, package: &Package) -> bool {
        !self.file(package).exists()
    }

    /// Downloads what is not in the cache and checks every file.
    ///
    /// # Errors
    /// [`AptError::Failed`], [`AptError::Damaged`], [`AptError::File`]
    pub fn download(&self, suite: Suite, packages: &[Package]) -> Result<(), AptError> {
        let missing: Vec<&str> = packages.iter().filter(|p| self.lacks(p)).map(|p| p.name.as_str()).collect();
        if !missing.is_empty() {
            let what = format!("downloading {}", missing.join(", "));
            let arguments = [&["-qq", "download"], missing.as_slice()].concat();
            self.apt_in(&self.cache.join("packages"), "apt-get", suite, &arguments, &what)?;
        }
        packages.iter().try_for_each(|package| check(&self.file(package), &package.sha256))
    }

    /// Folder with the content of `package`, unpacked when it is not yet.
    ///
    /// # Errors
    /// [`AptError::Failed`], [`AptError::File`]
    pub fn unpack(&self, package: &Package) -> Result<PathBuf, AptError> {
        let folder = self.cache.join("unpacked").join(format!("{}_{}", package.name, package.version));
        if folder.exists() {
            return Ok(folder);
        }
        let partial = folder.with_extension("partial");
        match fs::remove_dir_all(&partial) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(AptError::File { path: partial, source });
            }
            _ => {}
        }
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(self.file(package)).arg(&partial);
        run(command, "dpkg-deb", &format!("unpacking {}", package.file))?;
        fs::rename(&partial, &folder).map_err(|source| AptError::File { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// Removes older versions of `current` from the cache: a kernel takes 400 MB there.
    ///
    /// # Errors
    /// [`AptError::File`]
    pub fn forget_older<'a>(
        &self,
        current: impl Iterator<Item = &'a Package> + Clone,
    ) -> Result<(), AptError> {
        for (folder, suffix) in [("packages", ".deb"), ("unpacked", "")] {
            let folder = self.cache.join(folder);
            let failed = |source| AptError::File { path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if is_older(&name, suffix, current.clone()) {
                    let removed =
                        if suffix.is_empty() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.map_err(|source| AptError::File { path: path.clone(), source })?;
                }
            }
        }
        Ok(())
    }

    fn root(&self, suite: Suite) -> PathBuf {
        self.cache.join("apt").join(suite.name())
    }

    fn file(&self, package: &Package) -> PathBuf {
        self.cache.join("packages").join(&package.file)
    }

    fn unclear(&self, suite: Suite, package: &str) -> AptError {
        AptError::Unclear { package: package.to_owned(), suite: suite.name(), cache: self.root(suite) }
    }

    /// In the suite's own folder: `--print-uris` leaves out what already lies in the folder where it runs.
    fn apt(
        &self,
        program: &'static str,
        suite: Suite,
        arguments: &[&str],
        what: &str,
    ) -> Result<Output, AptError> {
        self.apt_in(&self.root(suite), program, suite, arguments, what)
    }

    fn apt_in(
        &self,
        folder: &Path,
        program: &'static str,
        suite: Suite,
        arguments: &[&str],
        what: &str,
    ) -> Result<Output, AptError> {
        let root = self.root(suite);
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(folder);
        for (key, value) in [
            ("Dir::Etc::sourcelist", root.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State", root.clone()),
            ("Dir::State::lists", root.join("lists")),
            ("Dir::State::status", root.join("status")),
            ("Dir::Cache", root.clone()),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        for option in [
            "APT::Architecture=amd64",
            "Acquire::Languages=none",
            "Acquire::Retries=1",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // All folders are ours: nothing to fence off with another user, who could not write here.
            "APT::Sandbox::User=",
        ] {
            command.arg("-o").arg(option);
        }
        command.args(arguments);
        run(command, program, what)
    }
}

/// Whether `entry` of the cache is another version of one of `current`. A kernel has its version in the package's name.
fn is_older<'a>(entry: &str, suffix: &str, current: impl Iterator<Item = &'a Package> + Clone) -> bool {
    const KERNEL: &str = "linux-image-";
    let Some((name, _)) = entry.strip_suffix(suffix).and_then(|entry| entry.split_once('_')) else {
        return false;
    };
    let same = |package: &Package| {
        package.name == name || name.starts_with(KERNEL) && package.name.starts_with(KERNEL)
    };
    let kept =
        |package: &Package| entry == package.file || entry == format!("{}_{}", package.name, package.version);
    current.clone().any(same) && !current.clone().any(kept)
}

/// Text of `sources.list`.
fn sources(mirror: &str, suite: Suite) -> String {
    let (name, components) = (suite.name(), suite.components());
    let line = |archive: &str, suite: String| {
        format!("deb [arch=amd64 signed-by={KEYRING}] {mirror}/{archive} {suite} {components}\n")
    };
    line("debian", name.to_owned())
        + &line("debian", format!("{name}-updates"))
        + &line("debian-security", format!("{name}-security"))
}

fn run(mut command: Command, program: &'static str, what: &str) -> Result<Output, AptError> {
    let output = command.output().map_err(|source| AptError::Start { program, source })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let said = lines[lines.len().saturating_sub(5)..].join(" · ");
    Err(AptError::Failed { what: what.to_owned(), said })
}

fn check(path: &Path, expected: &str) -> Result<(), AptError> {
    let failed = |source| AptError::File { path: path.to_owned(), source };
    let mut hasher = Sha256::new();
    let mut reader = io::BufReader::with_capacity(1 << 16, fs::File::open(path).map_err(failed)?);
    loop {
        let bytes = reader.fill_buf().map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        let length = bytes.len();
        reader.consume(length);
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    Err(AptError::Damaged { path: path.to_owned(), found, expected: expected.to_owned() })
}

fn create(folder: &Path) -> Result<(), AptError> {
    fs::create_dir_all(folder).map_err(|source| AptError::File { path: folder.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), AptError> {
    fs::write(path, text).map_err(|source| AptError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_apt_becomes_a_package() {
        let sha256 = "5".repeat(64);
        let line =
            format!("'http://m/b_1%2b2.deb' busybox-static_1%3a1.35.0-4+b1_amd64.deb 928188 SHA256:{sha256}");
        let package = Package::parse(&line).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("busybox-static", "1:1.35.0-4+b1"));
        assert_eq!((package.size, package.sha256), (928_188, sha256));
    }

    #[test]
    fn a_line_without_a_sha256_or_with_a_path_is_no_package() {
        let sha256 = "5".repeat(64);
        assert_eq!(Package::parse("'http://m/x.deb' x_1_amd64.deb 9 MD5Sum:00"), None);
        assert_eq!(Package::parse(&format!("'u' ../x_1_amd64.deb 9 SHA256:{sha256}")), None);
        assert_eq!(Package::parse("E: something"), None);
    }

    #[test]
    fn only_other_versions_of_what_is_current_are_older() {
        let package =
            |line: &str| Package::parse(&format!("'u' {line} 9 SHA256:{}", "5".repeat(64))).unwrap();
        let current = [
            package("linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb"),
            package("dosfstools_4.2-1_amd64.deb"),
        ];
        let older = |entry: &str, suffix: &str| is_older(entry, suffix, current.iter());
        assert!(older("linux-image-6.1.0-50-amd64_6.1.176-1_amd64.deb", ".deb"));
        assert!(older("linux-image-6.1.0-50-amd64_6.1.176-1", ""));
        assert!(older("dosfstools_4.2-0_amd64.deb", ".deb"));
        assert!(!older("dosfstools_4.2-1_amd64.deb", ".deb") && !older("dosfstools_4.2-1", ""));
        assert!(!older("dropbear-bin_2022.83-1_amd64.deb", ".deb"));
        assert!(!older("dosfstools_4.2-0.partial", ".deb"));
    }

    #[test]
    fn security_updates_are_among_the_sources() {
        let text = sources("http://mirror", Suite::Bookworm);
        assert!(
            text.contains("http://mirror/debian-security bookworm-security main non-free-firmware\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.contains(KEYRING)));
    }

    #[test]
    fn a_changed_file_in_the_cache_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(file.path(), good).unwrap();
        fs::write(file.path(), "abd").unwrap();
        let error = check(file.path(), good).unwrap_err().to_string();
        assert!(error.contains(good) && error.contains(&*file.path().to_string_lossy()), "{error}");
    }
}
