//! A folder of an SMB share and the account that may use it: how people write them, how they are printed.
//!
//! | path | account |
//! |---|---|
//! | `\\server\share\folder\…` | `DOMAIN\user` |
//! | `//server/share/folder/…` | `user@domain` (sent as it is, with no domain beside it, as Windows does) |
//! | `smb://server[:port]/share/folder/…`, `%20` for a space | `user` |
//!
//! Must not know: how a share is reached, passwords.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the longest path.
const LONGEST_PATH: usize = 1024;
/// Bytes of the longest name of an account, and of its domain.
const LONGEST_ACCOUNT: usize = 256;
/// Where SMB is served when nobody says otherwise.
const PORT: u16 = 445;

/// A folder of an SMB share; the share's own when it names none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SharePath {
    server: String,
    port: u16,
    share: String,
    folders: Vec<String>,
}

/// The text is no path of a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSharePath {
    /// Another form.
    #[error(r"{0:?} is no path of an SMB share: write \\server\share\folder, or smb://server/share/folder")]
    Form(String),
    /// An account, perhaps with its password, in the path.
    #[error(
        "an SMB path has no account in it: the account stands beside it, the password in a secret variable"
    )]
    Account,
    /// No name of a host, and no address.
    #[error("{0:?} is no server: write a host name or an IP address")]
    Server(String),
    /// Out of 1 to 65535.
    #[error("{0:?} is no port: 1 to 65535")]
    Port(String),
    /// Only a server.
    #[error(r"the path of an SMB share names the share: \\{0}\SHARE")]
    NoShare(String),
    /// A name that no server has.
    #[error(
        "{0:?} cannot be the name of a share or folder: it is empty, `.`, `..`, too long, ends in a space or full stop, or has a character that Windows does not allow"
    )]
    Name(String),
    /// Longer than anybody needs.
    #[error("a path of {0} bytes: at most {LONGEST_PATH}")]
    Long(usize),
}

impl SharePath {
    /// Host name or address; an IPv6 address without brackets.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Name of the share.
    pub fn share(&self) -> &str {
        &self.share
    }

    /// Folders below the share, outermost first.
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    /// The path of a folder below this one; `\` and `/` both part names, and it may be empty.
    ///
    /// # Errors
    /// See [`BadSharePath`].
    pub fn inside(&self, folder: &str) -> Result<SharePath, BadSharePath> {
        let mut path = self.clone();
        path.folders.extend(names(folder)?);
        match path.to_string().len() {
            0..=LONGEST_PATH => Ok(path),
            long => Err(BadSharePath::Long(long)),
        }
    }
}

/// Names that are parted by either slash; one at either end does not count.
fn names(text: &str) -> Result<Vec<String>, BadSharePath> {
    let text = text.trim_matches(['/', '\\']);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let good = |name: &&str| {
        !matches!(*name, "" | "." | "..")
            && name.len() <= 255
            && !name.ends_with([' ', '.'])
            && !name.chars().any(|c| c.is_control() || "<>:\"|?*".contains(c))
    };
    let one = |name: &str| match Some(name).filter(good) {
        Some(name) => Ok(name.to_owned()),
        None => Err(BadSharePath::Name(shortened(name))),
    };
    text.split(['/', '\\']).map(one).collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for SharePath {
    type Err = BadSharePath;

    fn from_str(text: &str) -> Result<SharePath, BadSharePath> {
        let text = text.trim();
        if text.len() > LONGEST_PATH {
            return Err(BadSharePath::Long(text.len()));
        }
        let url = text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("smb://")).map(|_| &text[6..]);
        let unc = || text.strip_prefix(r"\\").or_else(|| text.strip_prefix("//"));
        let Some(rest) = url.or_else(unc) else { return Err(BadSharePath::Form(shown_form(text))) };
        let (host, below) = rest.split_once(['/', '\\']).unwrap_or((rest, ""));
        if host.contains('@') {
            return Err(BadSharePath::Account);
        }
        let (server, port) = if url.is_some() { host_and_port(host)? } else { (host.to_owned(), PORT) };
        let literal = server.parse::<Ipv6Addr>().is_ok();
        let word = !server.is_empty()
            && server.len() <= 253
            && server.starts_with(|c: char| c.is_ascii_alphanumeric())
            && server.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !word && !literal {
            return Err(BadSharePath::Server(shortened(host)));
        }
        let below = if url.is_some() { decoded(below)? } else { below.to_owned() };
        let mut folders = names(&below)?;
        if folders.is_empty() {
            return Err(BadSharePath::NoShare(server));
        }
        let share = folders.remove(0);
        if share.len() > 80 || share.contains(['[', ']', '+', '=', ';', ',']) {
            return Err(BadSharePath::Name(share));
        }
        Ok(SharePath { server, port, share, folders })
    }
}

/// What may be a password is not repeated.
fn shown_form(text: &str) -> String {
    if text.contains('@') { "…".to_owned() } else { shortened(text) }
}

fn host_and_port(host: &str) -> Result<(String, u16), BadSharePath> {
    let (server, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((server, after)) => (server, after.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((server, port)) => (server, Some(port)),
            None => (host, None),
        },
    };
    let port = match port {
        None => PORT,
        Some(text) => {
            text.parse().ok().filter(|port| *port > 0).ok_or_else(|| BadSharePath::Port(shortened(text)))?
        }
    };
    Ok((server.to_owned(), port))
}

/// A URL's path without its escapes (RFC 3986 section 2.1).
fn decoded(path: &str) -> Result<String, BadSharePath> {
    let wrong = || BadSharePath::Name(shortened(path));
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

impl fmt::Display for SharePath {
    /// As Windows writes it; with a port or an IPv6 address, which that form has not, as a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literal = self.server.contains(':');
        let names = std::iter::once(&self.share).chain(&self.folders);
        if self.port == PORT && !literal {
            write!(f, r"\\{}", self.server)?;
            return names.into_iter().try_for_each(|name| write!(f, r"\{name}"));
        }
        f.write_str("smb://")?;
        if literal {
            write!(f, "[{}]", self.server)?
        } else {
            f.write_str(&self.server)?
        }
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        names.into_iter().try_for_each(|name| write!(f, "/{}", name.replace('%', "%25").replace(' ', "%20")))
    }
}

impl TryFrom<String> for SharePath {
    type Error = BadSharePath;

    fn try_from(text: String) -> Result<SharePath, BadSharePath> {
        text.parse()
    }
}

impl From<SharePath> for String {
    fn from(path: SharePath) -> String {
        path.to_string()
    }
}

/// An account of a share's server or domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShareAccount {
    domain: Option<String>,
    user: String,
}

/// The text names no account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(r"{0:?} is no account: write DOMAIN\user, user@domain or user; the password stands beside it")]
pub struct BadShareAccount(String);

impl ShareAccount {
    /// The domain, where it is named before a backslash.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The name in it; `user@domain` as it is.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl FromStr for ShareAccount {
    type Err = BadShareAccount;

    fn from_str(text: &str) -> Result<ShareAccount, BadShareAccount> {
        let text = text.trim();
        let (domain, user) = match text.split_once('\\') {
            Some((domain, user)) => (Some(domain), user),
            None => (None, text),
        };
        let good = |part: &str, barred: &str| {
            (1..=LONGEST_ACCOUNT).contains(&part.len())
                && !part.chars().any(|c| c.is_control() || barred.contains(c))
        };
        // What no Windows account has; `%` would part a password from it for smbclient.
        let barred = "\\/[]:;|=,+*?<>\"%";
        if !good(user, barred) || !domain.is_none_or(|domain| good(domain, "\\/:*?\"<>|,=@ ")) {
            return Err(BadShareAccount(shortened(text)));
        }
        Ok(ShareAccount { domain: domain.map(str::to_owned), user: user.to_owned() })
    }
}

impl fmt::Display for ShareAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, r"{domain}\{}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

impl TryFrom<String> for ShareAccount {
    type Error = BadShareAccount;

    fn try_from(text: String) -> Result<ShareAccount, BadShareAccount> {
        text.parse()
    }
}

impl From<ShareAccount> for String {
    fn from(account: ShareAccount) -> String {
        account.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Result<SharePath, BadSharePath> {
        text.parse()
    }

    #[test]
    fn section_2_all_forms_of_a_path_mean_the_same_folder() {
        let windows = path(r"\\files.example.org\Images\Lab Macs\2013").unwrap();
        assert_eq!((windows.server(), windows.port(), windows.share()), ("files.example.org", 445, "Images"));
        assert_eq!(windows.folders(), ["Lab Macs", "2013"]);
        for same in [
            "//files.example.org/Images/Lab Macs/2013/",
            "smb://files.example.org/Images/Lab%20Macs/2013",
            "SMB://files.example.org:445/Images/Lab Macs/2013",
            r"\\files.example.org/Images/Lab Macs\2013",
        ] {
            assert_eq!(path(same).unwrap(), windows, "{same}");
        }
        assert_eq!(windows.to_string(), r"\\files.example.org\Images\Lab Macs\2013");
        assert_eq!(path("smb://[fe80::1]:1445/a%25b").unwrap().to_string(), "smb://[fe80::1]:1445/a%25b");
        assert_eq!(path(r"\\server\hidden$").unwrap().share(), "hidden$");
        assert_eq!(path(r"\\s\a").unwrap().inside("b/c").unwrap().to_string(), r"\\s\a\b\c");
        assert_eq!(path(r"\\s\a").unwrap().inside("").unwrap().to_string(), r"\\s\a");
    }

    #[test]
    fn what_is_no_path_is_told_why_and_a_password_in_it_is_not_repeated() {
        use BadSharePath::*;
        for text in ["", "server/share", r"\server\share", "https://server/share", r"C:\images"] {
            assert!(matches!(path(text), Err(Form(_))), "{text}");
        }
        for text in [r"\\server", r"\\server\", "smb://server/"] {
            assert!(matches!(path(text), Err(NoShare(_))), "{text}");
        }
        for text in [r"\\\share", r"\\ser ver\share", "smb://ser:80:90/x", r"\\server:445\share"] {
            assert!(matches!(path(text), Err(Server(_) | Port(_))), "{text}");
        }
        for text in
            [r"\\s\a\..\b", r"\\s\a\b?", r"\\s\a,b", "//s/a//b", "smb://s/a%2", "smb://s/a%00b", r"\\s\a\b."]
        {
            assert!(matches!(path(text), Err(Name(_))), "{text}");
        }
        for text in ["smb://ana:hunter2@server/share", "smbb://ana:hunter2@server/share"] {
            assert!(!path(text).unwrap_err().to_string().contains("hunter2"), "{text}");
        }
        assert!(path(r"\\s\a").unwrap().inside("../b").is_err());
        assert!(path(r"\\s\a").unwrap().inside(&"b/".repeat(600)).is_err());
    }

    #[test]
    fn section_2_accounts_are_read_in_all_forms() {
        let account = |text: &str| text.parse::<ShareAccount>();
        for (text, domain, user) in [
            (r"pmm12.dom\Administrator", Some("pmm12.dom"), "Administrator"),
            ("ana@example.org", None, "ana@example.org"),
            (" guest ", None, "guest"),
        ] {
            let read = account(text).unwrap();
            assert_eq!((read.domain(), read.user()), (domain, user), "{text}");
            assert_eq!(account(&read.to_string()).unwrap(), read);
        }
        for text in ["", r"DOM\", r"\ana", r"a\b\c", "ana%hunter2", "a,uid=0", "a\nb", "a/b"] {
            assert!(account(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_printed_so_that_it_is_read_again(
            text in r"(\\\\|//|smb://)[a-z\[\]:0-9.@%]{0,12}([/\\][a-zA-Z0-9 %$.é]{0,6}){0,4}",
        ) {
            if let Ok(read) = path(&text) {
                prop_assert_eq!(path(&read.to_string()), Ok(read));
            }
        }
    }
}
