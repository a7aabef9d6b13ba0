//! Which file of the boot folder a client means, however it spells the path.

use std::fmt;

/// Longest path in bytes.
const LONGEST: usize = 512;
/// Where Apple's server keeps its TFTP root; firmware repeats what NVRAM or an old server said.
const APPLE_ROOT: [&str; 2] = ["private", "tftpboot"];

/// A path relative to the boot folder that cannot lead out of it: no empty part, no `.`, no `..`, no NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootPath(String);

/// The path names nothing that could be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `..` is not resolved but refused.
    #[error("`{0}` leads out of the boot folder")]
    Outside(String),
    /// Empty, or only slashes.
    #[error("the path is empty")]
    Empty,
    /// More than anybody needs.
    #[error("the path has {0} bytes, at most {LONGEST} are read")]
    Long(usize),
    /// Not UTF-8, or with control characters.
    #[error("the path holds bytes that are no text")]
    NoText,
}

impl BootPath {
    /// Reads a path: backslashes are slashes (EFI), double slashes and `.` are dropped, a leading
    /// `/private/tftpboot` is taken off.
    pub fn parse(bytes: &[u8]) -> Result<BootPath, BadPath> {
        if bytes.len() > LONGEST {
            return Err(BadPath::Long(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadPath::NoText)?;
        if text.chars().any(char::is_control) {
            return Err(BadPath::NoText);
        }
        let mut parts: Vec<&str> =
            text.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(BadPath::Outside(text.to_owned()));
        }
        while parts.starts_with(&APPLE_ROOT) {
            parts.drain(..APPLE_ROOT.len());
        }
        if parts.is_empty() { Err(BadPath::Empty) } else { Ok(BootPath(parts.join("/"))) }
    }

    /// Whether this is what iPXE looks for beside itself before it does anything else; that it is not there is normal.
    pub fn is_automatic_script(&self) -> bool {
        self.0.rsplit('/').next() == Some("autoexec.ipxe")
    }

    /// The path, `rootstock.nbi/i386/booter`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_means_the_same_file() {
        for spelling in [
            "x.nbi/i386/booter",
            "/x.nbi/i386/booter",
            "/private/tftpboot/x.nbi/i386/booter",
            "x.nbi\\i386\\booter",
            "//x.nbi//.//i386/booter",
            "\\private/tftpboot\\\\x.nbi/i386/booter",
            "/private/tftpboot/private/tftpboot/x.nbi/i386/booter",
        ] {
            assert_eq!(
                BootPath::parse(spelling.as_bytes()).unwrap().as_str(),
                "x.nbi/i386/booter",
                "{spelling}"
            );
        }
    }

    #[test]
    fn paths_that_lead_out_or_nowhere_are_refused() {
        for path in ["../etc/passwd", "x/../../etc/passwd", "x\\..\\y", "/private/tftpboot/../y", ".."] {
            assert!(matches!(BootPath::parse(path.as_bytes()), Err(BadPath::Outside(_))), "{path}");
        }
        assert_eq!(BootPath::parse(b"/private/tftpboot/"), Err(BadPath::Empty));
        assert_eq!(BootPath::parse(b"/"), Err(BadPath::Empty));
        assert_eq!(BootPath::parse(b"a\nb"), Err(BadPath::NoText));
        assert_eq!(BootPath::parse(b"a\xff"), Err(BadPath::NoText));
        assert_eq!(BootPath::parse(&[b'a'; 513]), Err(BadPath::Long(513)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_inside_and_is_its_own_spelling(path in "[a./\\\\ é\u{1}-]{0,40}") {
            if let Ok(read) = BootPath::parse(path.as_bytes()) {
                prop_assert!(read.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")));
                prop_assert!(!read.as_str().contains('\\'));
                prop_assert_eq!(BootPath::parse(read.as_str().as_bytes()).unwrap(), read);
            }
        }
    }
}
