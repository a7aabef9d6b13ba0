//! What option 17 tells the kernel: RootPath, read as Apple's server reads it (bootplib nbimages.c, xnu bsd/kern/netboot.c).
//!
//! | type | RootPath | option 17 |
//! |---|---|---|
//! | HTTP | a file of the set | `http://SERVER/boot/X.nbi/FILE`, percent-escaped |
//! | HTTP | `http://…` with an address | as it is |
//! | NFS | a file of the set | `nfs:SERVER:EXPORT:X.nbi/FILE`, if the site exports the boot folder |
//! | NFS | `ADDRESS:EXPORT[:IMAGE]` | the same with `nfs:` before it |
//!
//! The kernel resolves no names: every path must hold an address. Colons in EXPORT are escaped with a backslash.

use std::net::Ipv4Addr;
use std::str::FromStr;

use super::info::BadSet;

/// Bytes of one DHCP option.
const LONGEST: usize = 255;
/// The longest beginning that our own address gives a URL.
const WIDEST_HTTP: &str = "http://255.255.255.255:65535/boot/";
const WIDEST_NFS: &str = "nfs:255.255.255.255:";

/// What option 17 tells the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPath {
    /// A file of a folder, percent-escaped below the HTTP server's `/boot/`.
    Ours(String),
    /// A file of a folder behind this machine's NFS export: `EXPORT:X.nbi/FILE`, to be completed with our address.
    OursByNfs(String),
    /// `http://…` or `nfs:…` on another server, sent as it is.
    Elsewhere(String),
}

/// The NFS export that shows the boot folder: `[ADDRESS:]PATH`. The export itself is the site's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsExport {
    address: Option<Ipv4Addr>,
    path: String,
}

/// Not the name of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an NFS export is `/PATH` of this machine, or `ADDRESS:/PATH`, of at most 150 bytes")]
pub struct BadExport;

impl FromStr for NfsExport {
    type Err = BadExport;

    fn from_str(text: &str) -> Result<NfsExport, BadExport> {
        let (address, path) = match text.split_once(':') {
            Some((host, path)) if !host.contains('/') => (Some(host.parse().map_err(|_| BadExport)?), path),
            _ => (None, text),
        };
        let good = path.starts_with('/') && path.len() <= 150 && !path.chars().any(char::is_control);
        if good { Ok(NfsExport { address, path: path.to_owned() }) } else { Err(BadExport) }
    }
}

impl std::fmt::Display for NfsExport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}:{}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// Reads RootPath of a set; also gives the file of the set that it names.
pub(super) fn read(
    folder: &str,
    kind: &str,
    path: &str,
    export: Option<&NfsExport>,
) -> Result<(RootPath, Option<String>), BadSet> {
    let wrong = |want| BadSet::Wrong { key: "RootPath", want };
    if path.contains(char::is_control) {
        return Err(wrong("text without control characters"));
    }
    let root = match kind {
        "HTTP" if path.starts_with("http://") => {
            if !has_address(authority(path)) {
                return Err(wrong("a URL with an IPv4 address: the kernel that reads it resolves no names"));
            }
            (RootPath::Elsewhere(path.to_owned()), None)
        }
        "HTTP" if path.contains("://") => return Err(wrong("a file of the set or an http:// URL")),
        "HTTP" => {
            let file = super::info::inside("RootPath", path)?;
            (RootPath::Ours(format!("{}/{}", escape(folder), escape(file))), Some(file.to_owned()))
        }
        "NFS" if path.contains(':') => {
            if !has_address(path) {
                return Err(wrong(
                    "`ADDRESS:EXPORT:IMAGE` with an IPv4 address: the kernel resolves no names",
                ));
            }
            (RootPath::Elsewhere(format!("nfs:{path}")), None)
        }
        "NFS" => {
            let file = super::info::inside("RootPath", path)?;
            let NfsExport { address, path: mount } = export.ok_or(BadSet::NoExport)?;
            let rest = format!("{}:{folder}/{file}", mount.replace(':', "\\:"));
            let root = match address {
                Some(address) => RootPath::Elsewhere(format!("nfs:{address}:{rest}")),
                None => RootPath::OursByNfs(rest),
            };
            (root, Some(file.to_owned()))
        }
        other => return Err(BadSet::Type(other.escape_debug().take(40).collect())),
    };
    let (before, text) = match &root.0 {
        RootPath::Ours(text) => (WIDEST_HTTP, text),
        RootPath::OursByNfs(text) => (WIDEST_NFS, text),
        RootPath::Elsewhere(text) => ("", text),
    };
    let length = before.len() + text.len();
    if length > LONGEST { Err(BadSet::RootPath { path: path.to_owned(), length }) } else { Ok(root) }
}

/// Host and port of an http URL, without the user before them.
fn authority(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn has_address(text: &str) -> bool {
    text.split([':', '/']).next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok())
}

/// Percent-escapes everything but unreserved characters and slashes (RFC 3986 section 2.3).
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(kind: &str, path: &str, export: Option<&str>) -> Result<RootPath, BadSet> {
        let export: Option<NfsExport> = export.map(|text| text.parse().unwrap());
        read("x y.nbi", kind, path, export.as_ref()).map(|(root, _)| root)
    }

    #[test]
    fn a_file_of_the_set_becomes_a_url_below_our_address() {
        let (root, file) = read("x y.nbi", "HTTP", "Net Install.dmg", None).unwrap();
        assert_eq!(root, RootPath::Ours("x%20y.nbi/Net%20Install.dmg".into()));
        assert_eq!(file.as_deref(), Some("Net Install.dmg"));
    }

    #[test]
    fn a_path_on_another_server_must_begin_with_an_address() {
        let same = |path: &str| RootPath::Elsewhere(path.to_owned());
        for url in ["http://10.0.1.7/NetBoot/x.dmg", "http://u:p@10.0.1.7:8080/x.dmg"] {
            assert_eq!(root("HTTP", url, None).unwrap(), same(url));
        }
        for url in ["http://server/x.dmg", "http://10.0.1.7@server/x.dmg", "ftp://10.0.1.7/x.dmg"] {
            assert!(matches!(root("HTTP", url, None), Err(BadSet::Wrong { .. })), "{url}");
        }
        assert_eq!(root("NFS", "10.0.1.7:/nb:x.dmg", None).unwrap(), same("nfs:10.0.1.7:/nb:x.dmg"));
        assert!(matches!(root("NFS", "server:/nb:x.dmg", None), Err(BadSet::Wrong { .. })));
    }

    #[test]
    fn an_nfs_root_of_the_set_needs_the_sites_export_whose_colons_are_escaped() {
        assert!(matches!(root("NFS", "NetBoot.dmg", None), Err(BadSet::NoExport)));
        assert_eq!(
            root("NFS", "NetBoot.dmg", Some("/srv/a:b")).unwrap(),
            RootPath::OursByNfs("/srv/a\\:b:x y.nbi/NetBoot.dmg".into())
        );
        assert_eq!(
            root("NFS", "NetBoot.dmg", Some("10.0.0.9:/srv")).unwrap(),
            RootPath::Elsewhere("nfs:10.0.0.9:/srv:x y.nbi/NetBoot.dmg".into())
        );
        for bad in ["srv", "host:/srv", "", "10.0.0.9:srv"] {
            assert_eq!(bad.parse::<NfsExport>(), Err(BadExport), "{bad}");
        }
    }

    #[test]
    fn what_option_17_cannot_hold_with_the_longest_address_is_refused() {
        let room = LONGEST - WIDEST_HTTP.len() - "x%20y.nbi/".len();
        assert!(root("HTTP", &"d".repeat(room), None).is_ok());
        assert!(matches!(
            root("HTTP", &"d".repeat(room + 1), None),
            Err(BadSet::RootPath { length: 256, .. })
        ));
        assert!(root("HTTP", &"ü".repeat(room / 6 + 1), None).is_err(), "a letter takes six bytes");
    }
}
