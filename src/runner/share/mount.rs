//! An SMB share as a folder: the kernel's own client (`cifs`), asked by mount(2).
//!
//! Owns: the address of the server, the options, what an error number of that system call means, unmounting. The password is
//! in the options alone, which no other process sees. Must not know: what is written there.
//!
//! SMB 2.1 to 3.1.1, whatever both sides speak best (Linux, `vers=default`). `cache=none`: what is read comes from the server.
//! `soft`: a server that is gone is an error, not a process that hangs; `echo_interval`: it is noticed within half a minute.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::sequence::capture::ShareFolder;
use crate::value::SharePath;

/// How long the server may take to answer to its port.
const CONNECT: Duration = Duration::from_secs(5);
/// What stands in every mount.
const OPTIONS: &str =
    "cache=none,soft,echo_interval=10,iocharset=utf8,uid=0,gid=0,file_mode=0600,dir_mode=0700";

/// Why a share is no folder here.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Its name has no address.
    #[error("the server {server} was not found")]
    NoHost {
        /// As it was given.
        server: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// Nothing answers.
    #[error("{address} does not answer")]
    Silent {
        /// The last one that was tried.
        address: SocketAddr,
        /// What the network says.
        #[source]
        source: io::Error,
    },
    /// The account, its password, or what it may.
    #[error(
        "the server does not let {account} in: the name or password is wrong, or the account may not use {path}"
    )]
    Account {
        /// Who.
        account: String,
        /// Where.
        path: SharePath,
    },
    /// The password, or the account, has had its time.
    #[error("the password of {0} has expired")]
    Expired(String),
    /// No share, or no folder, of this name.
    #[error("{0}: the server has no such share, or no such folder in it")]
    NoFolder(SharePath),
    /// This kernel has no client.
    #[error("this boot environment has no SMB client")]
    NoClient(#[source] io::Error),
    /// Anything else.
    #[error("the share {path} cannot be opened")]
    Other {
        /// Which.
        path: SharePath,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    /// Whether it may be better in a moment.
    pub fn may_pass(&self) -> bool {
        match self {
            MountError::NoHost { .. } | MountError::Silent { .. } | MountError::Other { .. } => true,
            MountError::Account { .. }
            | MountError::Expired(_)
            | MountError::NoFolder(_)
            | MountError::NoClient(_) => false,
        }
    }
}

/// A share that is a folder as long as this lives.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    /// A file of it was opened.
    used: bool,
}

impl Mounted {
    /// Opens the share at the folder `at`, which is made.
    ///
    /// # Errors
    /// See [`MountError`].
    pub fn open(share: &ShareFolder, at: &Path) -> Result<Mounted, MountError> {
        let path = &share.path;
        let other = |source| MountError::Other { path: path.clone(), source };
        fs::create_dir_all(at).map_err(other)?;
        let address = reachable(path)?;
        // mount(2) takes a page of options.
        let options = options(share, address);
        let source = source_of(path);
        let mounted = mount(
            Some(source.as_str()),
            at,
            Some("cifs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some(options.as_str()),
        );
        match mounted {
            Ok(()) => Ok(Mounted { at: at.to_owned(), used: false }),
            Err(number) => Err(meaning(number, share)),
        }
    }

    /// Whether [`Mounted::use_it`] was called.
    pub fn was_used(&self) -> bool {
        self.used
    }

    /// A file of it is opened: who opens it again does so because something was wrong.
    pub fn use_it(&mut self) {
        self.used = true;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached at once, whatever is still open there; a server that is gone cannot be waited for.
        if let Err(error) = umount2(&self.at, MntFlags::MNT_DETACH) {
            tracing::debug!(%error, "the share stays mounted at {}", self.at.display());
        }
    }
}

/// The first address of the server that answers.
fn reachable(path: &SharePath) -> Result<SocketAddr, MountError> {
    let server = path.server();
    let no_host = |source| MountError::NoHost { server: server.to_owned(), source };
    let addresses = (server, path.port()).to_socket_addrs().map_err(no_host)?;
    let mut last = no_host(io::ErrorKind::NotFound.into());
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(address),
            Err(source) => last = MountError::Silent { address, source },
        }
    }
    Err(last)
}

/// `//server/share/folder`, as the kernel reads it.
fn source_of(path: &SharePath) -> String {
    let mut source = format!("//{}/{}", path.server(), path.share());
    for folder in path.folders() {
        source.push('/');
        source.push_str(folder);
    }
    source
}

fn options(share: &ShareFolder, address: SocketAddr) -> String {
    let ip = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => IpAddr::to_string(&address.ip()),
    };
    let mut options = format!("{OPTIONS},ip={ip},port={}", address.port());
    let mut add = |key: &str, value: &str| {
        // A comma ends a value, two are one (Linux, fs_context.c: smb3_fs_context_parse_monolithic).
        options.push_str(&format!(",{key}={}", value.replace(',', ",,")));
    };
    add("username", share.account.user());
    if let Some(domain) = share.account.domain() {
        add("domain", domain);
    }
    add("password", share.password.expose());
    options
}

fn meaning(number: Errno, share: &ShareFolder) -> MountError {
    let path = share.path.clone();
    match number {
        Errno::EACCES => MountError::Account { account: share.account.to_string(), path },
        Errno::EKEYEXPIRED | Errno::EKEYREVOKED => MountError::Expired(share.account.to_string()),
        Errno::ENOENT | Errno::ENXIO => MountError::NoFolder(path),
        Errno::ENODEV | Errno::ENOSYS => MountError::NoClient(number.into()),
        other => MountError::Other { path, source: other.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Secret;

    fn share(path: &str, account: &str, password: &str) -> ShareFolder {
        let path: SharePath = path.parse().unwrap();
        ShareFolder {
            folder: path.clone(),
            path,
            account: account.parse().unwrap(),
            password: Secret::new(password),
        }
    }

    #[test]
    fn the_kernel_is_told_server_account_and_password_and_a_comma_in_it_ends_nothing() {
        let share = share(r"\\files\Images\Lab Macs", r"DOM\ana", "a,uid=7,");
        assert_eq!(source_of(&share.path), "//files/Images/Lab Macs");
        let options = options(&share, "10.0.0.7:445".parse().unwrap());
        let (fixed, own) = options.split_at(OPTIONS.len());
        assert_eq!(fixed, OPTIONS);
        assert_eq!(own, ",ip=10.0.0.7,port=445,username=ana,domain=DOM,password=a,,uid=7,,");
    }

    #[test]
    fn what_the_kernel_refuses_with_is_told_without_the_password() {
        let share = share(r"\\files\Images", "ana", "hunter2");
        for (number, word, may_pass) in [
            (Errno::EACCES, "does not let ana in", false),
            (Errno::ENOENT, "no such share", false),
            (Errno::EKEYEXPIRED, "expired", false),
            (Errno::ENODEV, "no SMB client", false),
            (Errno::EHOSTDOWN, "cannot be opened", true),
        ] {
            let error = meaning(number, &share);
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.may_pass(), may_pass, "{error}");
            assert!(!format!("{error:?} {share:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let gone = reachable(&"smb://no-such-host.invalid/x".parse().unwrap()).unwrap_err();
        assert!(matches!(&gone, MountError::NoHost { server, .. } if server == "no-such-host.invalid"));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = reachable(&format!("smb://127.0.0.1:{}/x", closed.port()).parse().unwrap()).unwrap_err();
        assert!(matches!(silent, MountError::Silent { address, .. } if address == closed), "{silent}");
    }
}
